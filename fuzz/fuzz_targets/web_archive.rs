#![no_main]

use libfuzzer_sys::fuzz_target;
use palestra::corpus::{Options, Settings, build};

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    let is_packed = bytes.starts_with(&[0x1f, 0x8b]);
    let file = folder.path().join(if is_packed { "pages.warc.gz" } else { "pages.warc" });
    std::fs::write(&file, bytes).expect("a file");
    let settings = Settings {
        inputs: vec![file.display().to_string()],
        out: folder.path().join("corpus").display().to_string(),
        threads: 1,
        skip_bad: true,
        ..Settings::default()
    };
    // An archive without a page that is kept is an error.
    drop(build(&settings, &Options::default()));
});
