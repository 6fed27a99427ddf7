#![no_main]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::thread;

use libfuzzer_sys::fuzz_target;
use palestra::labels::server::{Options, Server};
use palestra::labels::{Answer, NewItem, Settings, Store};

/// A server of one item, which runs until the program ends. Its person needs no token.
fn address() -> SocketAddr {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    *ADDRESS.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder").keep();
        let mut store = Store::create(&folder.join("labels.db"), Settings::default()).expect("a store");
        let answers = ["blue", "red"].map(|text| Answer { text: text.into(), policy: None });
        let item = NewItem { prompt: "Sky?".into(), answers: answers.into(), gold: None, gap: None };
        store.add([Ok::<_, palestra::labels::Error>(item)]).expect("an item");
        let options = Options { address: "127.0.0.1:0".into(), ..Options::default() };
        let server = Server::bind(store, &options).expect("a server");
        let address = server.address();
        thread::spawn(move || server.run());
        address
    })
}

// The bytes are all that a connection sends. The server must not answer that it is broken, and must answer the next one.
fuzz_target!(|bytes: &[u8]| {
    let mut stream = TcpStream::connect(address()).expect("a connection");
    let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    assert!(!reply.starts_with(b"HTTP/1.1 500"), "{}", String::from_utf8_lossy(&reply));
});
