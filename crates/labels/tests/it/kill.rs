//! A server that is killed with SIGKILL during labeling.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use palestra_labels::server::{Options, Server};
use palestra_labels::{ItemId, Store};

use crate::served::*;

/// Environment variable with the store that the child process serves.
const STORE: &str = "PALESTRA_LABELS_TEST_STORE";

/// Environment variable with the address to listen on.
const ADDRESS: &str = "PALESTRA_LABELS_TEST_ADDRESS";

/// The server in a process of its own, which the tests kill.
#[test]
#[ignore = "child process of the tests beside it"]
fn child() {
    let file = std::env::var_os(STORE).expect("set by the test that starts this process");
    let options = Options { address: std::env::var(ADDRESS).unwrap(), ..options(true) };
    let server = Server::bind(Store::open(Path::new(&file)).unwrap(), &options).unwrap();
    println!("\nserving at {}", server.address());
    server.run().unwrap();
}

/// Starts a server of a store in a separate process that requires tokens; port 0 takes a free one.
pub fn start(file: &Path, address: &str) -> (Child, SocketAddr) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "kill::child", "--nocapture"])
        .env(STORE, file)
        .env(ADDRESS, address)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines.find_map(|line| line.unwrap().strip_prefix("serving at ").map(String::from)).unwrap();
    // Later output of the child is not read; it writes none.
    (child, address.parse().unwrap())
}

/// Labels items until the server is gone. Returns the acknowledged answers, by item.
fn label(address: SocketAddr, token: &str, count: &AtomicUsize) -> BTreeMap<ItemId, usize> {
    let mut acknowledged = BTreeMap::new();
    let Ok(mut shown) = try_get(address, "/api/next", token).map(|reply| reply.json()) else { return acknowledged };
    while let Some(item) = shown["task"]["item"].as_i64() {
        let answer = (item % 2) as usize;
        match try_post(address, "/api/label", token, &best(&item.into(), answer)) {
            Ok(reply) => shown = reply.json(),
            Err(_) => break,
        }
        acknowledged.insert(item, answer);
        count.fetch_add(1, Ordering::SeqCst);
    }
    acknowledged
}

#[test]
fn no_acknowledged_label_is_lost() {
    let made = made(2, numbered(400));
    let mut store = Store::open(&made.file).unwrap();
    let people = [("ada", store.invite("ada", false).unwrap()), ("ben", store.invite("ben", false).unwrap())];
    drop(store);
    let mut acknowledged: BTreeMap<&str, BTreeMap<ItemId, usize>> = BTreeMap::new();
    for _ in 0..2 {
        let (mut child, address) = start(&made.file, "127.0.0.1:0");
        let count = AtomicUsize::new(0);
        let heard = std::thread::scope(|scope| {
            let labelling =
                people.each_ref().map(|(name, token)| (*name, scope.spawn(|| label(address, token, &count))));
            while count.load(Ordering::SeqCst) < 30 {
                std::thread::yield_now();
            }
            child.kill().unwrap();
            child.wait().unwrap();
            labelling.map(|(name, thread)| (name, thread.join().unwrap()))
        });
        for (name, heard) in heard {
            acknowledged.entry(name).or_default().extend(heard);
        }
        let store = Store::open(&made.file).unwrap();
        let labelled = store.labelled().unwrap();
        for (name, labels) in &acknowledged {
            for (item, answer) in labels {
                let kept = labelled.iter().find(|labelled| labelled.item == *item && labelled.annotator == *name);
                let kept = kept.unwrap_or_else(|| panic!("the label of {name} for item {item} is lost"));
                assert_eq!(kept.label.best(), Some(kept.shown[*answer]), "{name}, item {item}");
            }
        }
        let heard: usize = acknowledged.values().map(BTreeMap::len).sum();
        // At the moment of the kill, each of the two annotators may have been waiting for one more response.
        assert!(heard >= 30 && labelled.len() <= heard + 4, "{heard} acknowledged, {} kept", labelled.len());
    }
}
