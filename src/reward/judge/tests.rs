//! The judge against a small server on loopback that speaks OpenAI's chat completions.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use palestra_envs::{Episode, RewardDefinition, Turn};

use super::*;

/// A server that answers each request with the next status and text. Returns its address, and the requests: the header
/// `authorization`, and the body.
fn serve(replies: &[(u16, &str)]) -> (String, Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/v1", listener.local_addr().unwrap());
    let mut replies: VecDeque<(u16, String)> =
        replies.iter().map(|(status, text)| (*status, text.to_string())).collect();
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        while let Some((status, text)) = replies.pop_front() {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut line, mut length, mut key) = (String::new(), 0, String::new());
            while reader.read_line(&mut line).unwrap() > 2 {
                let header = line.trim().to_lowercase();
                length = header.strip_prefix("content-length: ").map_or(length, |length| length.parse().unwrap());
                if header.starts_with("authorization: ") {
                    key = line.trim()["authorization: ".len()..].to_string();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let _ = sender.send((key, serde_json::from_slice(&body).unwrap()));
            let reply = json!({ "choices": [{ "message": { "role": "assistant", "content": text } }] }).to_string();
            let head = format!(
                "HTTP/1.1 {status} x\r\nretry-after: 0\r\nconnection: close\r\ncontent-length: {}",
                reply.len()
            );
            write!(stream, "{head}\r\n\r\n{reply}").unwrap();
        }
    });
    (address, requests)
}

fn judge(url: &str, more: &str) -> Result<Box<dyn Reward>> {
    let text = format!(
        "kind = 'judge'\n[options]\nurl = '{url}'\njudge = 'small'\ntemplate = 'Is {{answer}} right for {{prompt}} ({{solution}})? {{{{}}}}'\n{more}"
    );
    let definition: RewardDefinition = palestra_settings::parse_toml("reward.toml", &text).unwrap();
    build(&definition.written_in("reward.toml", &text, "").options, &Arc::default())
}

fn episode(prompt: &str, action: &str) -> Episode {
    let info = Some(r#"{"row": {"solution": 4}}"#.to_string());
    let turn = Turn { observation: prompt.into(), action: action.into(), info, ..Turn::default() };
    Episode { id: action.into(), turns: vec![turn], ..Episode::default() }
}

#[test]
fn the_score_is_read_from_the_reply() {
    let (url, requests) = serve(&[(200, "Score: 3. No: **Score:** 7.5"), (200, "I do not know"), (200, "score = 11")]);
    let judge = judge(&url, "concurrency = 1\nrange = [0, 10]\nsystem = 'Be strict.'").unwrap();
    let episodes = ["4", "5", "6"].map(|answer| episode("2+2", answer));
    assert_eq!(judge.score(&episodes).unwrap(), [Some(7.5), None, None]);
    let (key, body) = requests.recv().unwrap();
    assert_eq!((key.as_str(), body["model"].as_str(), body["max_tokens"].as_u64()), ("", Some("small"), Some(512)));
    assert_eq!(body["messages"][0]["content"], "Be strict.");
    assert_eq!(body["messages"][1]["content"], "Is 4 right for 2+2 (4)? {}");
}

#[test]
fn failures_that_may_pass_are_tried_again_and_others_end_the_run() {
    let (url, _requests) = serve(&[(429, ""), (503, ""), (200, "Score: 1")]);
    assert_eq!(judge(&url, "retries = 2").unwrap().score(&[episode("p", "a")]).unwrap(), [Some(1.0)]);
    let (url, _requests) = serve(&[(500, ""), (500, "")]);
    assert_eq!(judge(&url, "retries = 1").unwrap().score(&[episode("p", "a")]).unwrap(), [None], "no reply, no score");
    let (url, _requests) = serve(&[(401, "no key")]);
    let error = judge(&url, "").unwrap().score(&[episode("p", "a")]).unwrap_err().to_string();
    assert!(error.starts_with("reward judge: http://127.0.0.1:") && error.contains("401"), "{error}");
}

#[test]
fn a_reply_is_kept_on_disk_by_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let more = format!("directory = '{}'", folder.path().join("replies").display());
    let (url, requests) = serve(&[(200, "Score: 1"), (200, "Score: 2")]);
    for (answer, score) in [("a", 1.0), ("a", 1.0), ("b", 2.0), ("a", 1.0)] {
        assert_eq!(judge(&url, &more).unwrap().score(&[episode("p", answer)]).unwrap(), [Some(score)]);
    }
    assert_eq!(requests.iter().count(), 2);
}

#[test]
fn the_key_comes_from_the_environment() {
    // A variable that every process of cargo's tests has.
    let (url, requests) = serve(&[(200, "Score: 1")]);
    judge(&url, "key_variable = 'CARGO_MANIFEST_DIR'").unwrap().score(&[episode("p", "a")]).unwrap();
    assert_eq!(requests.recv().unwrap().0, format!("Bearer {}", env!("CARGO_MANIFEST_DIR")));
    let error = judge(&url, "key_variable = 'PALESTRA_NO_KEY'").err().unwrap().to_string();
    assert_eq!(error, "reward.toml:6: options.key_variable: the environment has no variable `PALESTRA_NO_KEY`");
}

#[test]
fn wrong_options_are_told() {
    let told = |options: &str| {
        let text = format!("kind = 'judge'\n[options]\n{options}");
        let definition: RewardDefinition = palestra_settings::parse_toml("reward.toml", &text).unwrap();
        build(&definition.options, &Arc::default()).err().unwrap().to_string()
    };
    let right = "url = 'http://x'\njudge = 'y'\ntemplate = '{answer}'\n";
    assert!(told("judge = 'y'").contains("options.url: it needs an address"));
    assert!(told("url = 'http://x'").contains("options.judge: it is missing"));
    assert!(told("url = 'http://x'\njudge = 'y'\ntemplate = 'hi'").contains("does not show the judge the answer"));
    assert!(told(&format!("{right}pattern = '[0-9]'")).contains("options.pattern: it has no group"));
    assert!(told(&format!("{right}concurrency = 0")).contains("options.concurrency: 0 is not at least 1"));
    let row = fill("{answer} {column}", &episode("p", "a")).unwrap_err();
    assert_eq!(row, "template: the row of episode a has no column `column`");
}
