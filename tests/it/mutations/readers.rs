//! Readers of files and messages from outside, and a whole file for each.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use palestra::config::RunFile;
use palestra::corpus;
use palestra::datasets::log::{Log, ReadOptions};
use palestra::datasets::rows::Rows;
use palestra::datasets::{preferences, shards};
use palestra::envs::process::serve;
use palestra::envs::{Definition, Registry};
use palestra::labels::server::{Options, Server};
use palestra::labels::{Store, items_of_file};
use palestra::language_model::LanguageModel;
use palestra::model::ops::open_device;
use palestra::model::{read_config, read_model};
use palestra::text::{ChatTemplate, Message, Tokenizer};

use crate::command::Sandbox;
use crate::tiny_run::{LAKE, write_model};

/// Answers of a program to a hello, a reset and a step.
const ANSWERS: &str = r#"{"type":"hello","protocol":1,"spec":{"id":"letters-v1","max_turns":2,"reward_range":[0,1],"alphabet":"ab?"}}
{"type":"reset","session":0,"observation":"?","legal_actions":["up","b"],"info":{"row":{"answer":"a"}}}
{"type":"step","session":0,"observation":[{"role":"user","content":"?"}],"reward":0.5,"terminated":true,"info":{}}
"#;

const REQUESTS: &str = r#"{"type":"hello","protocol":1,"role":"env","worker":0}
{"type":"reset","session":0,"seed":7,"options":{}}
{"type":"step","session":0,"action":"up"}
{"type":"render","session":0}
{"type":"close","session":0}
"#;

/// A reader, by the file that it reads.
pub struct Reader {
    pub file: &'static str,
    pub read: fn(&Path),
}

pub const READERS: [Reader; 21] = [
    Reader { file: "run.toml", read: |path| drop(RunFile::load(path, &[] as &[&str])) },
    Reader {
        file: "rows.jsonl",
        read: |path| drop(Rows::open(path).map(|rows| rows.take_while(Result::is_ok).count())),
    },
    Reader { file: "items.csv", read: read_items },
    Reader { file: "items.tsv", read: read_items },
    Reader {
        file: "preferences.jsonl",
        read: |path| drop(preferences::read(path).map(|rows| rows.take_while(Result::is_ok).count())),
    },
    Reader { file: "log.parquet", read: read_log },
    Reader {
        file: "rows.parquet",
        read: |path| drop(Rows::open(path).map(|rows| rows.take_while(Result::is_ok).count())),
    },
    Reader { file: "pages.warc", read: read_archive },
    Reader { file: "pages.warc.gz", read: read_archive },
    Reader { file: "m/tokenizer.json", read: |path| drop(Tokenizer::from_file(path)) },
    Reader { file: "m/chat_template.jinja", read: read_template },
    Reader { file: "m/config.json", read: |path| drop(read_config(path.parent().unwrap_or(path))) },
    Reader { file: "m/model.safetensors", read: |path| drop(read_model(path.parent().unwrap_or(path))) },
    Reader { file: "seeds/q8.gguf", read: read_gguf },
    Reader { file: "adapters/adapter_config.json", read: read_adapters_of },
    Reader { file: "adapters/adapter_model.safetensors", read: read_adapters_of },
    Reader { file: "lake.toml", read: |path| play(&Definition::from_file(path)) },
    Reader { file: "answers.jsonl", read: play_program },
    Reader { file: "requests.jsonl", read: serve_requests },
    Reader { file: "label.http", read: send_to_label_server },
    Reader { file: "tale.tokens", read: |path| drop(shards::Shard::open(path)) },
];

fn read_log(path: &Path) {
    let options = ReadOptions { skip_bad: true, ..ReadOptions::default() };
    let Ok(log) = Log::open(&[path.to_string_lossy()], options) else { return };
    log.episodes().take_while(Result::is_ok).count();
}

fn read_archive(path: &Path) {
    let out = path.with_file_name("corpus");
    let settings = corpus::Settings {
        inputs: vec![path.display().to_string()],
        out: out.display().to_string(),
        threads: 1,
        skip_bad: true,
        ..corpus::Settings::default()
    };
    // An archive without a page that is kept is an error.
    if corpus::build(&settings, &corpus::Options::default()).is_ok() {
        std::fs::remove_dir_all(out).unwrap();
    }
}

fn read_gguf(path: &Path) {
    // A file that is no model, and one with another tokenizer, are errors.
    drop(read_model(path));
    drop(Tokenizer::from_file(path));
    drop(ChatTemplate::from_directory(path));
}

fn read_items(path: &Path) {
    drop(items_of_file(path, false).map(|items| items.take_while(Result::is_ok).count()));
}

fn read_template(path: &Path) {
    let messages = [Message::new("user", "a"), Message::new("assistant", "b")];
    // An invalid template, and one that fails, are errors.
    let _ = ChatTemplate::from_file(path, None).and_then(|template| template.mark(&messages));
}

fn read_adapters_of(path: &Path) {
    let directory = path.parent().unwrap_or(path);
    // The base model is another directory; here it is the one that the adapters were made for.
    let device = open_device("flex").unwrap();
    let base = LanguageModel::open(&fixture("llama"), &device);
    if let Ok(base) = base {
        drop(base.with_adapters(directory));
    }
}

/// Plays an episode of one action.
fn play(definition: &palestra::envs::Result<Definition>) {
    let Ok(definition) = definition else { return };
    if let Ok(mut env) = Registry::builtin().build(definition)
        && env.reset(1).is_ok()
    {
        drop(env.step("up"));
    }
}

/// Plays in a program whose answers are the lines of a file, whatever is asked.
fn play_program(path: &Path) {
    let text = format!(
        "kind = \"process\"\n[options]\ncommand = [\"cat\", {:?}]\ntimeout = 2\nstart_timeout = 2\n",
        path.display().to_string()
    );
    play(&Definition::from_toml("program.toml", &text));
}

fn serve_requests(path: &Path) {
    let requests = std::fs::read(path).unwrap();
    // Requests that are none end the program with an error.
    drop(serve(&|| Registry::builtin().make("cliff-walking"), requests.as_slice(), &mut Vec::new()));
}

/// Sends bytes to a label server, which must answer the next call.
fn send_to_label_server(path: &Path) {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    let address = *ADDRESS.get_or_init(|| {
        let store = path.with_file_name("sky.db");
        let server = Server::bind(
            Store::open(&store).unwrap(),
            &Options { address: "127.0.0.1:0".into(), ..Options::default() },
        );
        let server = server.unwrap();
        let address = server.address();
        std::thread::spawn(move || server.run());
        address
    });
    let ask = |bytes: &[u8], is_all: bool| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        // The server may close the connection before it has read everything, and does where a request ends early.
        let sent = stream.write_all(bytes);
        if is_all {
            let _ = sent.and_then(|()| stream.shutdown(Shutdown::Write));
        }
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
        String::from_utf8_lossy(&reply).into_owned()
    };
    let reply = ask(&std::fs::read(path).unwrap(), true);
    assert!(!reply.starts_with("HTTP/1.1 5"), "{reply}");
    let next = ask(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", false);
    assert!(next.starts_with("HTTP/1.1 200"), "the server answers no more: {next}");
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transformers/fixtures").join(name)
}

/// A whole file for each reader.
pub fn whole_files() -> Sandbox {
    let sandbox = Sandbox::new()
        .with("run.toml", LAKE)
        .with("tale.txt", &"the fox met the hen\n".repeat(40))
        .with("rows.jsonl", &"{\"text\": \"caf\\u00e9\", \"n\": [1, 2.5e3, null]}\n".repeat(20))
        .with(
            "lake.toml",
            "id = \"lake\"\nkind = \"frozen-lake\"\n[options]\nview = \"compact\"\nlimit = 30\n[wrappers]\nlimit = 9\n",
        )
        .with("answers.jsonl", ANSWERS)
        .with("requests.jsonl", REQUESTS)
        .with("items.csv", &format!("prompt,chosen,rejected\n{}", "Sky?,\"blue, \"\"light\"\"\",\"a\nb\"\n".repeat(20)))
        .with("items.tsv", &format!("prompt\tcompletion\tpolicy\n{}", "Sky?\tblue\tx\n".repeat(20)))
        .with("items.jsonl", "{\"prompt\": \"Sky?\", \"completions\": [\"blue\", \"red\"]}\n")
        .with("preferences.jsonl", &"{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\"}\n".repeat(20));
    for file in ["pages.warc", "pages.warc.gz"] {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/web_archive");
        std::fs::copy(seeds.join(file), sandbox.path().join(file)).unwrap();
    }
    write_model(sandbox.path(), "{% for m in messages %}{{ '<' + m.role + '>' + m['content'] | trim }}{% endfor %}");
    let seeds = sandbox.path().join("seeds");
    std::fs::create_dir_all(&seeds).unwrap();
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/gguf/q8.gguf"), seeds.join("q8.gguf"))
        .unwrap();
    let adapters = sandbox.path().join("adapters");
    std::fs::create_dir_all(&adapters).unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(fixture("llama-lora").join(file), adapters.join(file)).unwrap();
    }
    let commands = [
        "label add sky.db items.jsonl --quiet",
        "rollout frozen-lake-4x4 --policy random --episodes 8 --seed 5 --out log.parquet --quiet",
        "rollout frozen-lake-4x4 --policy random --episodes 8 --seed 6 --out rows.parquet --quiet",
        "tokenizer encode tale.txt --tokenizer m --out tale.tokens --quiet",
    ];
    for command in commands {
        sandbox.run(&command.split(' ').collect::<Vec<_>>()).success();
    }
    let token = Store::open(&sandbox.path().join("sky.db")).unwrap().invite("ben", false).unwrap();
    let label = r#"{"item":1,"key":"k","seconds":1.5,"label":{"verdict":{"kind":"best","answer":0},"ratings":[4,null],"comment":"c"}}"#;
    let request = format!(
        "POST /api/label HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{label}",
        label.len()
    );
    std::fs::write(sandbox.path().join("label.http"), request).unwrap();
    // The store of the label server lies beside the bytes that it is sent.
    let place = READERS.iter().position(|reader| reader.file == "label.http").unwrap();
    let place = sandbox.path().join(format!("mutated-{place}"));
    std::fs::create_dir_all(&place).unwrap();
    std::fs::rename(sandbox.path().join("sky.db"), place.join("sky.db")).unwrap();
    sandbox
}
