//! Tests of the page in a real browser. They are ignored unless asked for, and need a Chromium-based one:
//!
//!     PALESTRA_BROWSER=chromium cargo test -p palestra-labels --release browser -- --ignored
//!
//! `PALESTRA_SCREENSHOTS` names a directory for screenshots.

mod driver;

use std::path::Path;

use palestra_datasets::{Content, Message};
use palestra_labels::summary::summary;
use palestra_labels::{Store, Verdict};
use serde_json::json;

use crate::kill::start;
use crate::served::*;
use driver::Browser;

const HOSTILE: &str = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">\n\
    </script></style><b>bold</b> &amp; [link](javascript:alert(1))";

fn to_label() -> Made {
    let long = "A longer answer, as models write them, so that one sees how lines are broken. ".repeat(6);
    let talk = [("system", "Be brief."), ("user", HOSTILE)];
    let talk = talk.map(|(role, content)| Message::new(role, content));
    let mut messages = item("", &["yes", "no"]);
    messages.prompt = Content::Messages(talk.to_vec());
    let items = vec![
        item("Why is the sky blue?\n\nExplain it to a child.", &[HOSTILE, &long]),
        messages,
        item("Which of three?", &["one", "two", "three"]),
        item("How good is this?", &["a single answer"]),
    ];
    made(1, items)
}

#[test]
#[ignore = "needs a browser: PALESTRA_BROWSER=chromium cargo test -p palestra-labels --release browser -- --ignored"]
fn people_label_in_a_browser() {
    let program = std::env::var("PALESTRA_BROWSER").expect("PALESTRA_BROWSER names a browser");
    let made = to_label();
    let token = Store::open(&made.file).unwrap().invite("ada", true).unwrap();
    let address = serve(&made.file, true);
    let browser = &mut Browser::start(&program);
    browser.resize(1280, 800, false);
    browser.colours("light");

    // Without a token the page asks for one. A link with a token opens the page, and the token is removed from the
    // address.
    browser.call("Page.navigate", json!({"url": format!("http://{address}/")}));
    browser.wait_for("!document.getElementById('enter').hidden");
    browser.call("Page.navigate", json!({"url": format!("http://{address}/#{token}")}));
    browser.wait_for("!document.getElementById('label').hidden");
    assert_eq!(browser.value("location.hash"), "");

    // Markup in answers is shown as text, in Markdown and without.
    assert_eq!(browser.value("document.querySelectorAll('main img, main script, main b').length"), 0);
    let rendered = browser.value("document.getElementById('answers').innerText");
    assert!(rendered.as_str().unwrap().contains("<script>document.title"), "{rendered}");
    browser.value("document.getElementById('plain').click()");
    let answers = "[...document.querySelectorAll('.answer .text')].map(node => node.textContent)";
    let shown = browser.value(answers);
    assert!(shown.as_array().unwrap().contains(&HOSTILE.into()), "{shown}");
    assert_eq!(browser.value("document.querySelectorAll('main img, main script, main b').length"), 0);
    assert_eq!(browser.value("document.title"), "Palestra: which answer is better?");
    browser.picture("desktop-light.png");
    browser.colours("dark");
    browser.picture("desktop-dark.png");

    // On a phone nothing overflows horizontally, answers are stacked vertically, and buttons are large.
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

    // Keys: ratings of both, a comment, and the verdict that the first is better. After an undo, the item is shown
    // again and is labeled as a tie.
    for key in ["r", "4", "2", "m"] {
        browser.press(key);
    }
    browser.call("Input.insertText", json!({"text": "b is <i>too long</i>"}));
    browser.press("Escape");
    browser.press("a");
    browser.wait_for("document.getElementById('count').textContent === '1 of 4'");
    browser.press("u");
    browser.wait_for("document.getElementById('count').textContent === '0 of 4'");
    assert_eq!(browser.value("document.getElementById('comment').value"), "b is <i>too long</i>");
    assert_eq!(browser.value("document.querySelectorAll('.better')[0].classList.contains('was')"), true);
    assert_eq!(browser.value("document.querySelectorAll('.rates [aria-pressed=true]').length"), 2);
    browser.press("t");

    // Three answers are ranked with the mouse. The item that was open before the undo comes last.
    browser.wait_for("document.querySelectorAll('.answer').length === 3");
    browser.picture("three.png");
    browser.value("document.getElementById('rank').click()");
    for place in [2, 0, 1] {
        browser.value(&format!("document.querySelectorAll('.better')[{place}].click()"));
    }
    browser.wait_for("document.querySelectorAll('.answer').length === 1");
    browser.value("document.querySelectorAll('.rates button')[2].click()");
    browser.value("document.getElementById('rated').click()");
    browser.wait_for("document.querySelectorAll('.role').length === 2");
    assert_eq!(browser.value("document.querySelectorAll('#prompt .text')[1].textContent"), HOSTILE);

    // An earlier label is looked at, and changed; the open item is still there.
    browser.press("p");
    browser
        .wait_for("!document.getElementById('revising').hidden && document.querySelectorAll('.answer').length === 1");
    browser.press("r");
    browser.press("3");
    browser.press("Enter");
    browser.wait_for("document.querySelectorAll('.role').length === 2");
    browser.press("ArrowRight");
    browser.wait_for("!document.getElementById('done').hidden");
    browser.value("document.getElementById('admin').click()");
    browser.wait_for("document.querySelectorAll('#counts table').length >= 4");
    browser.picture("counts.png");

    check_kept(&made.file);
    let origin = format!("http://{address}/");
    let outside: Vec<_> =
        browser.requests.iter().filter(|url| !url.starts_with(&origin) && !url.starts_with("data:")).collect();
    assert!(outside.is_empty(), "{outside:?}");
    // The only complaint of the browser is about the request without a token.
    browser.complaints.retain(|complaint| !complaint.contains("status of 401"));
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

fn check_kept(file: &Path) {
    let labelled = Store::open(file).unwrap().labelled().unwrap();
    let [tie, second, ranking, rated] = &labelled[..] else { panic!("{labelled:?}") };
    assert_eq!((&tie.label.verdict, tie.label.comment.as_str()), (&Verdict::Tie, "b is <i>too long</i>"));
    let ratings: Vec<_> = tie.shown.iter().map(|place| tie.label.ratings[*place]).collect();
    assert_eq!(ratings, [Some(4.0), Some(2.0)]);
    assert_eq!(second.label.verdict, Verdict::Best { answer: second.shown[1] });
    let answers = [2, 0, 1].map(|shown| ranking.shown[shown]).to_vec();
    assert_eq!(ranking.label.verdict, Verdict::Ranking { answers });
    assert_eq!((&rated.label.verdict, &rated.label.ratings), (&Verdict::Rated, &vec![Some(3.0)]));
}

/// Chooses the answer of the simulated annotator: `yes` or `no` by the number of the prompt.
fn choose(browser: &mut Browser, is_ben: bool) {
    let prompt = browser.value("document.querySelector('#prompt .text').textContent.trim()");
    let number: usize = prompt.as_str().unwrap().strip_prefix("prompt ").unwrap().parse().unwrap();
    let differs = is_ben && number.is_multiple_of(5);
    let word = if number.is_multiple_of(3) == differs { "yes" } else { "no" };
    let find = format!(
        "[...document.querySelectorAll('.answer .text')].findIndex(node => node.textContent.trim() === '{word}')"
    );
    let place = browser.value(&find).as_u64().unwrap();
    browser.press(if place == 0 { "1" } else { "ArrowRight" });
}

#[test]
#[ignore = "needs a browser: PALESTRA_BROWSER=chromium cargo test -p palestra-labels --release browser -- --ignored"]
fn two_people_in_browsers_at_once_lose_no_label_when_the_server_is_killed() {
    let program = std::env::var("PALESTRA_BROWSER").expect("PALESTRA_BROWSER names a browser");
    const ITEMS: usize = 20;
    let mut items = numbered(ITEMS);
    items[3].gold = Some(1); // these two check who labels: no is known to be right, and yes
    items[4].gold = Some(0);
    let made = made(2, items);
    let mut store = Store::open(&made.file).unwrap();
    let tokens = [store.invite("ada", true).unwrap(), store.invite("ben", false).unwrap()];
    let (mut server, address) = start(&made.file, "127.0.0.1:0");
    let mut browsers = tokens.map(|token| {
        let mut browser = Browser::start(&program);
        browser.call("Page.navigate", json!({"url": format!("http://{address}/#{token}")}));
        browser.wait_for("!document.getElementById('label').hidden");
        browser
    });
    for done in 0..ITEMS {
        if done == 8 {
            for browser in &mut browsers {
                browser.wait_for("document.getElementById('count').textContent.startsWith('8 of')");
            }
            server.kill().unwrap();
            server.wait().unwrap();
            for (person, browser) in browsers.iter_mut().enumerate() {
                choose(browser, person == 1);
                browser.wait_for("!document.getElementById('notice').hidden");
            }
            browsers[0].picture("unreachable.png");
            server = start(&made.file, &address.to_string()).0;
        }
        for (person, browser) in browsers.iter_mut().enumerate() {
            browser.wait_for(&format!("document.getElementById('count').textContent.startsWith('{done} of')"));
            choose(browser, person == 1);
        }
    }
    for browser in &mut browsers {
        browser.wait_for("!document.getElementById('done').hidden");
    }
    let ada = &mut browsers[0];
    ada.value("document.getElementById('admin').click()");
    ada.wait_for("!document.getElementById('counts').hidden");
    ada.picture("agreement.png");
    let page = ada.value("document.getElementById('tables').innerText");
    server.kill().unwrap();
    server.wait().unwrap();

    let labelled = store.labelled().unwrap();
    assert_eq!(labelled.len(), 2 * ITEMS, "each item by each person, once");
    for labelled in &labelled {
        let Content::Text(prompt) = &labelled.prompt else { panic!("{labelled:?}") };
        let number: usize = prompt.strip_prefix("prompt ").unwrap().parse().unwrap();
        let differs = labelled.annotator == "ben" && number.is_multiple_of(5);
        assert_eq!(labelled.label.best(), Some(usize::from(number.is_multiple_of(3) != differs)), "{labelled:?}");
    }
    let summary = summary(&store).unwrap();
    let kappas = [summary.pairs[0].agreement.kappa.unwrap(), summary.agreement.unwrap().kappa.unwrap()];
    for kappa in kappas {
        // On the 18 items that are not gold, the annotators differ on 0, 5, 10 and 15: (14/18 - 1/2) / (1/2).
        assert!((kappa - 5.0 / 9.0).abs() < 1e-9, "{kappas:?}");
        assert!(page.as_str().unwrap().contains("0.556"), "{page}");
    }
    let checked: Vec<_> = summary.annotators.iter().map(|person| (person.gold_right, person.gold)).collect();
    assert_eq!(checked, [(2, 2), (2, 2)]);
}
