//! The program at a terminal: a person who plays by arrow keys, and a second Ctrl-C. A terminal of its own is made by
//! `script` of util-linux.

#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::command::Sandbox;

/// Time in which each expected text must appear.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program, running at a terminal.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    /// Pieces of what stands on the screen, as they come.
    pieces: Receiver<Vec<u8>>,
    screen: String,
}

impl Terminal {
    fn run(sandbox: &Sandbox, arguments: &str) -> Self {
        let mut child = Command::new("script")
            .args(["-q", "-e", "-c", &format!("{} {arguments}", env!("CARGO_BIN_EXE_palestra")), "/dev/null"])
            .current_dir(sandbox.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script of util-linux (Debian: bsdutils) makes the terminal");
        let (keys, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (send, pieces) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                if send.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, keys, pieces, screen: String::new() }
    }

    /// Waits for a text, and forgets what stood before it.
    #[track_caller]
    fn expect(&mut self, text: &str) {
        assert!(self.shows(text, PATIENCE), "no {text:?} in {:?}", self.screen);
    }

    /// Presses keys until a text appears. Ctrl-D is lost where the program has asked and does not read keys yet.
    #[track_caller]
    fn press_until(&mut self, keys: &str, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.press(keys);
            if self.shows(text, Duration::from_secs(2)) {
                return;
            }
            assert!(Instant::now() < deadline, "no {text:?} in {:?}", self.screen);
        }
    }

    /// True if a text appears in time; what stood before it is forgotten.
    fn shows(&mut self, text: &str, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(at) = self.screen.find(text) {
                self.screen.drain(..at + text.len());
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.pieces.recv_timeout(left) {
                Ok(piece) => self.screen += &String::from_utf8_lossy(&piece),
                Err(_) => return false,
            }
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    fn code(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

#[test]
fn arrow_keys_are_actions() {
    let sandbox = Sandbox::new();
    let mut terminal = Terminal::run(&sandbox, "play cliff-walking");
    terminal.expect("turn 0\r\nactions: ");
    terminal.expect("\r\n> ");
    terminal.press("\x1b[A");
    terminal.expect("up\r\nreward -1\r\n");
    terminal.expect("turn 1\r\n");
    terminal.expect("\r\n> ");
    terminal.press("\x1b[C");
    terminal.expect("right\r\nreward -1\r\n");
    terminal.expect("\r\n> ");
    // Letters are typed and taken back; a word is an action too.
    terminal.press("jumpx\x7f\r");
    terminal.expect("\"jump\" is no legal action, and costs no turn; there are: ");
    terminal.expect("\r\n> ");
    terminal.press("Left\r");
    terminal.expect("turn 3\r\n");
    terminal.expect("\r\n> ");
    terminal.press_until("\x04", "Stopped after 3 turns. Return: -3\r\n");
    assert_eq!(terminal.code(), Some(0));
}

/// Run whose first update takes longer than the test.
const LONG: &str = "\
name = \"long\"
device = \"flex\"
[env]
id = \"frozen-lake-4x4\"
options = { view = \"compact\" }
[model]
layers = 1
width = 16
heads = 2
[rollout]
episodes = 400000
environments = 16
[evaluation]
episodes = 1
[ppo]
[train]
threads = 1
";

#[test]
fn a_second_ctrl_c_ends_a_run_at_once() {
    let sandbox = Sandbox::new().with("long.toml", LONG);
    let mut terminal = Terminal::run(&sandbox, "train long.toml");
    terminal.expect("evaluating the model before training");
    // The run listens to signals from when it writes metrics.
    let deadline = Instant::now() + PATIENCE;
    while !sandbox.path().join("runs/long/metrics.jsonl").exists() {
        assert!(Instant::now() < deadline, "the run does not begin: {}", terminal.screen);
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(500));
    terminal.press("\x03");
    terminal.expect("a second Ctrl-C ends at once and loses it\r\n");
    terminal.press("\x03");
    terminal.expect("ended at once: what was done since the last checkpoint is lost; --resume goes on from there\r\n");
    assert_eq!(terminal.code(), Some(130));
}
