//! The page in a real browser, where `PALESTRA_BROWSER` names one of Chromium's kind:
//!
//!     PALESTRA_BROWSER=chromium cargo test -p palestra-labels --release browser
//!
//! `PALESTRA_SCREENSHOTS` names a directory for pictures of what was seen. Without the first variable nothing is tested.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use palestra_datasets::preferences::{Message, Text};
use palestra_labels::{Store, Verdict};
use serde_json::{Value, json};

use crate::served::*;

/// A browser without a window, spoken to in Chromium's DevTools protocol over two pipes.
struct Browser {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: Option<String>,
    count: u64,
    /// What the page asked for, and what it complained of.
    requests: Vec<String>,
    complaints: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Browser {
    fn start(program: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        // The browser reads commands from descriptor 3 and answers on 4.
        let mut process = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 1>/dev/null 2>&1 0</dev/null", program])
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args(["--remote-debugging-pipe", &format!("--user-data-dir={}", profile.path().display())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        let (requests, complaints) = (Vec::new(), Vec::new());
        let mut browser = Self { process, to, from, session: None, count: 0, requests, complaints, _profile: profile };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let session = browser.call("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        browser.session = session["sessionId"].as_str().map(String::from);
        for domain in ["Page", "Runtime", "Network", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.count += 1;
        let mut command = json!({"id": self.count, "method": method, "params": params});
        if let Some(session) = &self.session {
            command["sessionId"] = session.as_str().into();
        }
        self.to.write_all(format!("{command}\0").as_bytes()).unwrap();
        loop {
            let mut message = Vec::new();
            self.from.read_until(0, &mut message).unwrap();
            let message: Value =
                serde_json::from_slice(message.strip_suffix(b"\0").expect("the browser is gone")).unwrap();
            if message["id"] == self.count {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            let params = &message["params"];
            match message["method"].as_str() {
                Some("Network.requestWillBeSent") => {
                    self.requests.push(params["request"]["url"].as_str().unwrap().into())
                }
                Some("Runtime.exceptionThrown") => self.complaints.push(params.to_string()),
                Some("Log.entryAdded") if params["entry"]["level"] == "error" => {
                    self.complaints.push(params.to_string())
                }
                _ => {}
            }
        }
    }

    /// The value of an expression of JavaScript.
    fn value(&mut self, expression: &str) -> Value {
        let found = self.call("Runtime.evaluate", json!({"expression": expression, "returnByValue": true}));
        assert!(found["exceptionDetails"].is_null(), "{expression}: {found}");
        found["result"]["value"].clone()
    }

    fn wait_for(&mut self, expression: &str) {
        let since = Instant::now();
        // A page that is not there yet has none of what is asked for.
        let expression = &format!("(() => {{ try {{ return {expression} }} catch {{ return false }} }})()");
        while self.value(expression) != true {
            if since.elapsed() > Duration::from_secs(60) {
                let page = self.value("document.body.innerText");
                panic!("never came true: {expression}; on the page: {page}; complaints: {:?}", self.complaints);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn press(&mut self, key: &str) {
        let text = if key.len() == 1 { key } else { "" };
        self.call("Input.dispatchKeyEvent", json!({"type": "keyDown", "key": key, "text": text}));
        self.call("Input.dispatchKeyEvent", json!({"type": "keyUp", "key": key}));
    }

    fn resize(&mut self, width: u32, height: u32, is_phone: bool) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone});
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }

    fn colours(&mut self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    fn picture(&mut self, name: &str) {
        let Some(directory) = std::env::var_os("PALESTRA_SCREENSHOTS").map(PathBuf::from) else { return };
        std::fs::create_dir_all(&directory).unwrap();
        let picture = self.call("Page.captureScreenshot", json!({"format": "png"}));
        std::fs::write(directory.join(name), base64(picture["data"].as_str().unwrap())).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        bits = bits << 6 | u32::from(digit(byte));
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

const HOSTILE: &str = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">\n\
    </script></style><b>bold</b> &amp; [link](javascript:alert(1))";

fn to_judge() -> Made {
    let long = "A longer answer, as models write them, so that one sees how lines are broken. ".repeat(6);
    let talk = [("system", "Be brief."), ("user", HOSTILE)];
    let talk = talk.map(|(role, content)| Message { role: role.to_string(), content: content.to_string() });
    let mut messages = item("", &["yes", "no"]);
    messages.prompt = Text::Messages(talk.to_vec());
    let items = vec![
        item("Why is the sky blue?\n\nExplain it to a child.", &[HOSTILE, &long]),
        messages,
        item("Which of three?", &["one", "two", "three"]),
        item("How good is this?", &["a single answer"]),
    ];
    made(1, items)
}

#[test]
fn people_judge_in_a_browser() {
    let Ok(program) = std::env::var("PALESTRA_BROWSER") else { return };
    let made = to_judge();
    let token = Store::open(&made.file).unwrap().invite("ada", true).unwrap();
    let address = serve(&made.file, true);
    let browser = &mut Browser::start(&program);
    browser.resize(1280, 800, false);
    browser.colours("light");

    // Without a token one is asked for; a link with one opens the page, and the token leaves the address.
    browser.call("Page.navigate", json!({"url": format!("http://{address}/")}));
    browser.wait_for("!document.getElementById('enter').hidden");
    browser.call("Page.navigate", json!({"url": format!("http://{address}/#{token}")}));
    browser.wait_for("!document.getElementById('judge').hidden");
    assert_eq!(browser.value("location.hash"), "");

    // Markup in answers is text.
    let answers = "[...document.querySelectorAll('.answer .text')].map(node => node.textContent)";
    let shown = browser.value(answers);
    assert!(shown.as_array().unwrap().contains(&HOSTILE.into()), "{shown}");
    assert_eq!(browser.value("document.querySelectorAll('main img, main script, main b').length"), 0);
    assert_eq!(browser.value("document.title"), "Palestra: which answer is better?");
    browser.picture("desktop-light.png");
    browser.colours("dark");
    browser.picture("desktop-dark.png");

    // On a phone nothing stands out at the side, answers are below each other, and buttons are large.
    browser.resize(390, 844, true);
    assert_eq!(browser.value("document.documentElement.scrollWidth <= 390"), true);
    let tops = "[...document.querySelectorAll('.answer')].map(node => node.getBoundingClientRect().top)";
    let tops = browser.value(tops);
    assert!(tops[0].as_f64() < tops[1].as_f64(), "{tops}");
    let small = "[...document.querySelectorAll('main button')].filter(node => node.offsetParent && node.offsetHeight < 44).length";
    assert_eq!(browser.value(small), 0);
    browser.picture("phone-dark.png");
    browser.colours("light");
    browser.value("document.getElementById('verdicts').scrollIntoView(false)");
    browser.picture("phone-light-below.png");
    browser.resize(1280, 800, false);

    // Keys: ratings of both, a comment, the first is better; undone, it is there again, and becomes a tie.
    for key in ["r", "4", "2", "c"] {
        browser.press(key);
    }
    browser.call("Input.insertText", json!({"text": "b is <i>too long</i>"}));
    browser.press("Escape");
    browser.press("1");
    browser.wait_for("document.getElementById('count').textContent === '1 of 4'");
    browser.press("u");
    browser.wait_for("document.getElementById('count').textContent === '0 of 4'");
    assert_eq!(browser.value("document.getElementById('comment').value"), "b is <i>too long</i>");
    assert_eq!(browser.value("document.querySelectorAll('.better')[0].classList.contains('was')"), true);
    assert_eq!(browser.value("document.querySelectorAll('.rates [aria-pressed=true]').length"), 2);
    browser.press("t");
    browser.wait_for("document.querySelectorAll('.role').length === 2");
    assert_eq!(browser.value("document.querySelectorAll('#prompt .text')[1].textContent"), HOSTILE);
    browser.press("ArrowRight");

    // Three answers are ranked with the mouse.
    browser.wait_for("document.querySelectorAll('.answer').length === 3");
    browser.picture("three.png");
    browser.value("document.getElementById('rank').click()");
    for place in [2, 0, 1] {
        browser.value(&format!("document.querySelectorAll('.better')[{place}].click()"));
    }
    browser.wait_for("document.querySelectorAll('.answer').length === 1");
    browser.value("document.querySelectorAll('.rates button')[2].click()");
    browser.value("document.getElementById('rated').click()");
    browser.wait_for("!document.getElementById('done').hidden");
    browser.value("document.getElementById('admin').click()");
    browser.wait_for("document.querySelectorAll('#counts table').length >= 4");
    browser.picture("counts.png");

    check_kept(&made.file);
    let origin = format!("http://{address}/");
    let outside: Vec<_> =
        browser.requests.iter().filter(|url| !url.starts_with(&origin) && !url.starts_with("data:")).collect();
    assert!(outside.is_empty(), "{outside:?}");
    // That it was asked for a token is what the browser complains of, and nothing else.
    browser.complaints.retain(|complaint| !complaint.contains("status of 401"));
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

fn check_kept(file: &Path) {
    let judged = Store::open(file).unwrap().judged().unwrap();
    let [tie, second, ranking, rated] = &judged[..] else { panic!("{judged:?}") };
    assert_eq!((&tie.label.verdict, tie.label.comment.as_str()), (&Verdict::Tie, "b is <i>too long</i>"));
    let ratings: Vec<_> = tie.shown.iter().map(|place| tie.label.ratings[*place]).collect();
    assert_eq!(ratings, [Some(4.0), Some(2.0)]);
    assert_eq!(second.label.verdict, Verdict::Best { answer: second.shown[1] });
    let answers = [2, 0, 1].map(|shown| ranking.shown[shown]).to_vec();
    assert_eq!(ranking.label.verdict, Verdict::Ranking { answers });
    assert_eq!((&rated.label.verdict, &rated.label.ratings), (&Verdict::Rated, &vec![Some(3.0)]));
}
