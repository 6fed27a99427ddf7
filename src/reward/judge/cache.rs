//! Replies on disk, each under the hash of its request, so that no answer is judged twice.

use std::path::PathBuf;

use palestra_files::write_atomically;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub(super) struct Cache {
    directory: PathBuf,
}

impl Cache {
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The reply to a request, if it is kept. A file that is no reply to it is as good as none.
    pub fn read(&self, address: &str, request: &Value) -> Option<String> {
        let kept: Value = serde_json::from_slice(&std::fs::read(self.file(address, request)).ok()?).ok()?;
        let is_its = kept["address"] == address && kept["request"] == *request;
        kept["reply"].as_str().filter(|_| is_its).map(String::from)
    }

    /// Keeps a reply.
    pub fn write(&self, address: &str, request: &Value, reply: &str) -> Result<(), String> {
        let file = self.file(address, request);
        let kept = json!({ "address": address, "request": request, "reply": reply }).to_string();
        std::fs::create_dir_all(&self.directory).map_err(|error| format!("{}: {error}", self.directory.display()))?;
        write_atomically(&file, kept.as_bytes()).map_err(|error| error.to_string())
    }

    fn file(&self, address: &str, request: &Value) -> PathBuf {
        let hash = Sha256::digest(format!("{address}\n{request}"));
        let name: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        self.directory.join(name + ".json")
    }
}
