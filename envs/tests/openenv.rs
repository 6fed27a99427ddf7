//! Environments of OpenEnv: a server that is played, one that fails in every way, and one of the reference package.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use palestra_envs::{Definition, End, Env, Error, FailureKind, Registry};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use tungstenite::Message;
use tungstenite::protocol::{Role, WebSocket};

/// Behaviour of a server on a request.
enum Reply {
    Say(String),
    Close,
    Hang,
}

/// Starts a server on loopback and returns its address. It ends with the process.
fn server(reply: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let reply = Arc::new(reply);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let reply = Arc::clone(&reply);
            std::thread::spawn(move || serve(stream.unwrap(), &*reply));
        }
    });
    address
}

/// Starts a server with TLS, whose certificate is `tls/localhost.pem`: made for this test, with a key that is no secret.
fn secure_server(reply: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> String {
    let chain: Vec<CertificateDer> =
        CertificateDer::pem_file_iter(tls_file("localhost.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(tls_file("localhost.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            serve(rustls::StreamOwned::new(connection, stream.unwrap()), &reply);
        }
    });
    address
}

fn tls_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

fn serve(mut stream: impl Read + Write, reply: &dyn Fn(&Value) -> Reply) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return, // as from a client that does not trust the certificate
        }
    }
    let head = String::from_utf8(head).unwrap();
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    let key = STANDARD.encode(Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")));
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade";
    write!(stream, "{head}\r\nsec-websocket-accept: {key}\r\n\r\n").unwrap();
    let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
    while let Ok(message) = socket.read() {
        let Message::Text(text) = message else { continue };
        let request: Value = serde_json::from_str(&text).unwrap();
        match reply(&request) {
            Reply::Say(text) => _ = socket.send(Message::text(text)),
            Reply::Close => return,
            Reply::Hang => std::thread::sleep(Duration::from_secs(30)),
        }
    }
}

fn observation(fields: Value, reward: Value, done: bool) -> Reply {
    Reply::Say(
        json!({ "type": "observation", "data": { "observation": fields, "reward": reward, "done": done } }).to_string(),
    )
}

/// A game in which the number that stands in the observation wins.
fn guess(request: &Value) -> Reply {
    let data = &request["data"];
    match request["type"].as_str().unwrap() {
        "reset" => observation(json!({ "number": data["seed"], "moves": [1, "two"] }), Value::Null, false),
        "step" if data["guess"].as_i64().is_some_and(|guess| guess < 0) => Reply::Say(
            json!({ "type": "error", "data": { "message": "Invalid message", "code": "VALIDATION_ERROR" } })
                .to_string(),
        ),
        "step" => observation(json!({ "number": 0, "moves": [] }), json!(2), data["guess"] == 7),
        _ => Reply::Close,
    }
}

fn make(url: &str, more: &str) -> palestra_envs::Result<Box<dyn Env>> {
    let text = format!("kind = 'openenv'\n[options]\nurl = '{url}'\n{more}\n");
    Registry::builtin().build(&Definition::from_toml("guess.toml", &text)?)
}

const TEMPLATES: &str = "action = { guess = '{action:json}', by = 'me' }\nobservation = 'guess {number}'";

#[test]
fn a_server_is_played() {
    let mut env = make(&server(guess), &format!("{TEMPLATES}\nlegal_actions = 'moves'")).unwrap();
    assert_eq!((env.spec().id.as_str(), env.spec().reproducible), ("openenv-v1", false));
    assert!(matches!(env.step("7"), Err(Error::NotRunning { .. })));
    let first = env.reset((5 << 32) + 7).unwrap();
    assert_eq!(first.content, "guess 7", "a seed has 32 bits");
    assert_eq!(first.legal_actions.as_deref(), Some(["1".to_string(), "two".to_string()].as_slice()));
    for wrong in ["seven", "-1"] {
        let step = env.step(wrong).unwrap();
        assert_eq!((step.invalid_action, step.reward, step.end), (true, 0.0, None));
        assert_eq!(step.observation.content, "guess 7");
    }
    assert_eq!(env.step("8").unwrap().reward, 2.0);
    assert_eq!(env.step("7").unwrap().end, Some(End::Terminated));
    assert!(matches!(env.step("7"), Err(Error::NotRunning { .. })));
    assert_eq!(env.reset(1).unwrap().content, "guess 1");
}

#[test]
fn a_server_with_tls_is_played_by_who_trusts_it() {
    let url = secure_server(guess);
    let trusting = |file: &str| format!("{TEMPLATES}\nca_file = '{}'", tls_file(file).display());
    let mut env = make(&url, &trusting("localhost.pem")).unwrap();
    assert_eq!(env.reset(7).unwrap().content, "guess 7");
    assert_eq!(env.step("8").unwrap().reward, 2.0);
    drop(env);
    // The well-known authorities did not sign it.
    let told = make(&url, TEMPLATES).unwrap().reset(7).unwrap_err().to_string();
    assert!(told.contains("cannot be connected to: ") && told.contains("UnknownIssuer"), "{told}");
    let told = make(&url, &trusting("localhost.key")).map(drop).unwrap_err().to_string();
    assert!(told.starts_with("guess.toml:") && told.contains("it must be a file of certificates in PEM"), "{told}");
    let told = make("http://127.0.0.1:1", &trusting("localhost.pem")).map(drop).unwrap_err().to_string();
    assert!(told.contains("is reached without TLS"), "{told}");
}

#[test]
fn every_failure_costs_one_episode_and_is_told() {
    let failing = |way: &'static str| {
        server(move |request| match (way, request["data"]["seed"].as_u64()) {
            (_, Some(2)) => guess(request),
            ("hang", _) => Reply::Hang,
            ("close", _) => Reply::Close,
            ("prose", _) => Reply::Say("Hello!".to_string()),
            ("flood", _) => Reply::Say("x".repeat(5000)),
            ("state", _) => Reply::Say(json!({ "type": "state", "data": {} }).to_string()),
            ("field", _) => observation(json!({ "board": 1 }), Value::Null, false),
            _ => Reply::Say(
                json!({ "type": "error", "data": { "message": "full", "code": "CAPACITY_REACHED" } }).to_string(),
            ),
        })
    };
    for (way, kind, told) in [
        ("hang", FailureKind::Timeout, "it gave no answer within 0.5 seconds (`timeout`)"),
        ("close", FailureKind::Exit, "the connection broke"),
        ("prose", FailureKind::NoJson, "it wrote \"Hello!\", which is no JSON"),
        ("flood", FailureKind::Flood, "it wrote a message of more than 4096 bytes (`max_message_bytes`)"),
        ("state", FailureKind::Protocol, "its answer has the type `state`; `observation` would be right"),
        ("field", FailureKind::Protocol, "the observation has no field `number`; it has `board`"),
        ("error", FailureKind::Error, "full"),
    ] {
        let more = format!("{TEMPLATES}\ntimeout = 0.5\nmax_message_bytes = 4096");
        let mut env = make(&failing(way), &more).unwrap();
        let error = env.reset(1).unwrap_err();
        assert_eq!(error.episode_failure(), Some(kind), "{way}: {error}");
        assert!(error.to_string().contains(told), "{way}: {error}");
        assert_eq!(env.reset(2).unwrap().content, "guess 2", "{way}");
    }
}

#[test]
fn a_server_that_is_not_there_is_told() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut env = make(&format!("http://{free}"), &format!("{TEMPLATES}\nmax_failures = 1")).unwrap();
    let error = env.reset(1).unwrap_err();
    assert_eq!(error.episode_failure(), Some(FailureKind::Start));
    assert!(error.to_string().contains(&format!("ws://{free}/ws cannot be connected to: ")), "{error}");
    let error = env.reset(1).unwrap_err().to_string();
    assert!(error.contains("2 failures, more than `max_failures` = 1; the last one: ws://"), "{error}");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let web = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let _ = stream.read(&mut [0; 1024]);
        write!(stream, "HTTP/1.1 404 Not Found\r\n\r\n").unwrap();
    });
    let error = make(&format!("http://{web}"), TEMPLATES).unwrap().reset(1).unwrap_err().to_string();
    assert!(error.contains("it answered \"HTTP/1.1 404 Not Found\" to the handshake of a WebSocket"), "{error}");
}

#[test]
fn wrong_options_are_refused() {
    let refused = |url: &str, more: &str| make(url, more).err().unwrap().to_string();
    let here = "http://127.0.0.1:1";
    for (told, message) in [
        ("guess.toml:3: options.url: `localhost` has no scheme", refused("localhost", TEMPLATES)),
        ("options.action: it has no place for the action", refused(here, "action = { guess = 1 }\nobservation = 'x'")),
        ("options.observation: it is missing", refused(here, "action = { guess = '{action}' }")),
        ("options.timeout: 0 is not above 0", refused(here, &format!("{TEMPLATES}\ntimeout = 0.0"))),
    ] {
        assert!(message.contains(told), "{message}");
    }
}

/// Server of the reference package, ended with this value.
struct Reference(Child);

impl Drop for Reference {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the environment that the package `openenv-core` makes for a new project, which repeats messages.
fn start_reference(python: &str, folder: &Path, port: u16) -> Reference {
    let made = Command::new(python).args(["-m", "openenv.cli", "init", "echo"]).current_dir(folder).output().unwrap();
    assert!(folder.join("echo/server/app.py").exists(), "{made:?}");
    let mut server = Command::new(python);
    server.args(["-m", "uvicorn", "server.app:app", "--port", &port.to_string()]).current_dir(folder.join("echo"));
    Reference(server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

#[test]
#[ignore = "needs Python with openenv-core, which the environment variable PYTHON names: cargo test --test openenv -- --ignored"]
fn an_environment_of_the_reference_package_is_played() {
    let python = std::env::var("PYTHON").expect("PYTHON names a Python with openenv-core");
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _server = start_reference(&python, folder.path(), port);
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(began.elapsed() < Duration::from_secs(300), "the server does not start");
        std::thread::sleep(Duration::from_millis(50));
    }
    let more = "action = { message = '{action}' }\nobservation = '{echoed_message} ({message_length})'";
    let mut env = make(&format!("http://127.0.0.1:{port}"), more).unwrap();
    assert!(env.reset(7).unwrap().content.to_string().ends_with("ready! (0)"));
    let step = env.step("Hello").unwrap();
    assert_eq!((step.observation.content.to_string().as_str(), step.reward, step.end), ("Hello (5)", 0.5, None));
    assert_eq!(env.step("Bye").unwrap().observation.content, "Bye (3)");
}
