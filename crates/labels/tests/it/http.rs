use std::collections::BTreeSet;

use palestra_datasets::preferences::{Preference, Record, read};
use palestra_labels::Store;
use palestra_labels::export::{Form, Naming, records};
use palestra_labels::server::{Options, Server};
use serde_json::{Value, json};

use crate::served::*;

/// The key of the local annotator, as contained in the page.
fn key_of(page: &str) -> String {
    let after = page.split("palestra-key\" content=\"").nth(1).unwrap();
    after.split('"').next().unwrap().to_string()
}

#[test]
fn two_annotators_at_once_label_everything_and_nothing_twice() {
    let made = made(2, numbered(12));
    let mut store = Store::open(&made.file).unwrap();
    let tokens = [store.invite("ada", false).unwrap(), store.invite("ben", false).unwrap()];
    let address = serve(&made.file, false);
    let label = |token: String| {
        let mut items = BTreeSet::new();
        let mut shown = get(address, "/api/next", &token).json();
        while shown["task"] != Value::Null {
            let item = shown["task"]["item"].clone();
            assert!(items.insert(item.as_i64().unwrap()), "{item} a second time");
            assert!(!shown["task"].to_string().contains("writes"), "the policy is hidden: {shown}");
            let yes = shown["task"]["answers"].as_array().unwrap().iter().position(|answer| answer == "yes").unwrap();
            shown = post(address, "/api/label", &token, &best(&item, yes)).json();
        }
        items
    };
    let [of_ada, of_ben] = std::thread::scope(|scope| {
        tokens.map(|token| scope.spawn(move || label(token))).map(|thread| thread.join().unwrap())
    });
    assert_eq!(of_ada, (1..=12).collect());
    assert_eq!(of_ben, of_ada);
    let records = records(&store, Form::Pairs { ties: false }, Naming::Pseudonyms).unwrap();
    let is_yes = |record: &Record| matches!(&record.preference, Preference::Better { chosen, .. } if *chosen == "yes");
    assert!(records.len() == 24 && records.iter().all(is_yes));
}

#[test]
fn only_those_who_are_known_get_in_and_only_admins_see_counts() {
    let made = made(1, numbered(2));
    let mut store = Store::open(&made.file).unwrap();
    let (ada, admin) = (store.invite("ada", false).unwrap(), store.invite("eve", true).unwrap());
    let address = serve(&made.file, true);
    for token in ["", "00000000000000000000000000000000"] {
        for path in ["/api/next", "/api/summary", "/api/export/pairs/jsonl"] {
            assert_eq!(get(address, path, token).status, 401, "{path}");
        }
        assert_eq!(post(address, "/api/undo", token, &json!({})).status, 401);
    }
    assert_eq!(key_of(&get(address, "/", "").text()), "", "a token is asked for");
    assert_eq!(get(address, "/api/summary", &ada).status, 403);
    assert_eq!(get(address, "/api/export/pairs/jsonl", &ada).status, 403);
    assert_eq!(get(address, "/api/summary", &admin).json()["items"], 2);
    assert_eq!(get(address, "/api/export/all/jsonl", &admin).status, 404);
    let empty = get(address, "/api/export/pairs/jsonl", &admin);
    assert!(empty.status == 503 && empty.text().contains("nothing was labelled yet"), "{empty:?}");
    assert_eq!(get(address, "/etc/passwd", &admin).status, 404);
    // After a new invitation, only the new token is valid.
    store.invite("ada", false).unwrap();
    assert_eq!(get(address, "/api/next", &ada).status, 401);
}

#[test]
fn other_pages_cannot_act_for_who_sits_at_this_machine() {
    let made = made(1, numbered(2));
    let address = serve(&made.file, false);
    let page = |host: &str| request(address, "GET /", &format!("Host: {host}\r\n"), b"").unwrap();
    let own = page(&address.to_string());
    let key = key_of(&own.text());
    assert_eq!(key.len(), 32);
    assert_eq!(key_of(&page("evil.example").text()), "", "a name that leads here gets no key");
    for rule in ["default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'", "form-action 'none'"] {
        assert!(own.head.contains(rule), "{}", own.head);
    }
    assert!(!own.head.contains("unsafe-inline") && !own.head.contains("access-control"), "{}", own.head);
    assert!(!own.text().contains("//cdn") && !own.text().contains("http://") && !own.text().contains("https://"));

    let item = get(address, "/api/next", &key).json()["task"]["item"].clone();
    let body = best(&item, 0).to_string();
    let head = format!("Host: {address}\r\nAuthorization: Bearer {key}\r\n");
    for kind in ["text/plain", "application/x-www-form-urlencoded"] {
        let head = format!("{head}Content-Type: {kind}\r\n");
        assert_eq!(request(address, "POST /api/label", &head, body.as_bytes()).unwrap().status, 415);
    }
    let head = format!("{head}Content-Type: application/json\r\n");
    let flood = format!("{{\"item\": 1, \"label\": \"{}\"}}", "x".repeat(70_000));
    assert_eq!(request(address, "POST /api/label", &head, flood.as_bytes()).unwrap().status, 413);
    assert_eq!(Store::open(&made.file).unwrap().labelled().unwrap().len(), 0);
    assert_eq!(request(address, "POST /api/label", &head, body.as_bytes()).unwrap().status, 200);
}

#[test]
fn what_is_wrong_with_a_label_is_said_and_nothing_of_it_is_kept() {
    let made = made(1, numbered(3));
    let address = serve(&made.file, false);
    let key = key_of(&get(address, "/", "").text());
    let item = get(address, "/api/next", &key).json()["task"]["item"].clone();
    let refused = |status: u16, body: &Value, expected: &str| {
        let reply = post(address, "/api/label", &key, body);
        let error = reply.json()["error"].as_str().unwrap().to_string();
        assert!(reply.status == status && error.contains(expected), "{status} {expected}: {reply:?}");
    };
    let rated = |rating: Value| json!({"item": item, "label": {"verdict": {"kind": "rated"}, "ratings": [rating, null]}, "seconds": 1});
    refused(404, &best(&json!(77), 0), "item 77: there is no such item");
    refused(403, &best(&json!(3), 0), "item 3: was not given to me");
    refused(422, &best(&item, 5), "answer 5 where one from 0 to 1 should be");
    refused(422, &rated(json!(9)), "9 where a number from 1 to 5 should be");
    refused(422, &rated(json!("NaN")), "invalid type");
    refused(
        422,
        &json!({"item": item, "label": {"verdict": {"kind": "worst"}}, "seconds": 1}),
        "unknown variant `worst`",
    );
    let head = format!("Host: {address}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n");
    assert_eq!(request(address, "POST /api/label", &head, b"{\"item\": NaN}").unwrap().status, 400);
    assert_eq!(Store::open(&made.file).unwrap().labelled().unwrap().len(), 0);
    assert_eq!(post(address, "/api/label", &key, &best(&item, 0)).status, 200);
    assert_eq!(post(address, "/api/label", &key, &best(&item, 0)).status, 200, "the same once more");
    refused(409, &best(&item, 1), "me has labelled it before, and not like this");
    let undone = post(address, "/api/undo", &key, &json!({})).json();
    assert_eq!((&undone["task"]["item"], &undone["said"]["verdict"]["answer"]), (&item, &json!(0)));
    assert_eq!(post(address, "/api/label", &key, &best(&item, 1)).status, 200);
}

#[test]
fn exports_are_read_again_as_what_was_labelled() {
    let items =
        vec![item("pair", &["a", "b"]), item("tie", &["a", "b"]), item("three", &["a", "b", "c"]), item("one", &["a"])];
    let made = made(1, items);
    let mut store = Store::open(&made.file).unwrap();
    let admin = store.invite("ada", true).unwrap();
    let address = serve(&made.file, true);
    let verdicts = [
        json!({"kind": "best", "answer": 1}),
        json!({"kind": "tie"}),
        json!({"kind": "ranking", "answers": [2, 0, 1]}),
        json!({"kind": "all_bad"}),
    ];
    let ratings = [json!([2, 4.5]), json!([]), json!([]), json!([1])];
    for (verdict, ratings) in verdicts.iter().zip(ratings) {
        let item = get(address, "/api/next", &admin).json()["task"]["item"].clone();
        let label = json!({"verdict": verdict, "ratings": ratings, "comment": "so <b>it</b> is"});
        assert_eq!(
            post(address, "/api/label", &admin, &json!({"item": item, "label": label, "seconds": 2.04})).status,
            200
        );
    }
    let csv = get(address, "/api/export/ratings/csv", &admin).text();
    assert!(csv.starts_with("prompt,completion,rating,annotator,"), "{csv}");
    assert!(csv.contains(",annotator-1,") && !csv.contains("ada"), "{csv}");
    for (name, count) in [("pairs", 4), ("pairs+ties", 5), ("best", 2), ("labels", 4), ("ratings", 3)] {
        let expected = records(&store, Form::named(name).unwrap(), Naming::Pseudonyms).unwrap();
        assert_eq!(expected.len(), count, "{name}");
        for format in ["jsonl", "parquet"] {
            let reply = get(address, &format!("/api/export/{name}/{format}"), &admin);
            assert!(reply.status == 200 && reply.head.contains("attachment"), "{}", reply.head);
            let file = made.directory.path().join(format!("{name}.{format}"));
            std::fs::write(&file, &reply.body).unwrap();
            let again: Vec<Record> = read(&file).unwrap().collect::<Result<_, _>>().unwrap();
            assert_eq!(again, expected, "{name}.{format}");
        }
    }
    let pairs = records(&store, Form::Pairs { ties: false }, Naming::Pseudonyms).unwrap();
    assert!(matches!(pairs[0].preference, Preference::Better { margin: Some(2.5), .. }), "{:?}", pairs[0]);
    assert_eq!(pairs[0].other["comment"], "so <b>it</b> is");
    let summary = get(address, "/api/summary", &admin).json();
    assert_eq!((&summary["labels"], &summary["finished"]), (&json!(4), &json!(4)));
    let wins: u64 = summary["policies"].as_array().unwrap().iter().map(|policy| policy["wins"].as_u64().unwrap()).sum();
    assert_eq!(wins, 4);
}

#[test]
fn an_address_for_others_needs_somebody_with_a_token() {
    let made = made(1, numbered(1));
    let bind = |address: &str, require_token| {
        let options = Options { address: address.to_string(), require_token, ..options(false) };
        Server::bind(Store::open(&made.file).unwrap(), &options)
    };
    let refusal = |address: &str, require_token| bind(address, require_token).map(|_| ()).unwrap_err().to_string();
    assert!(refusal("0.0.0.0:0", false).contains("needs a token of everybody, and nobody has one yet"));
    assert!(refusal("127.0.0.1:0", true).contains("nobody has one yet"));
    assert!(refusal("somewhere", false).contains("is no address"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(refusal(&taken.local_addr().unwrap().to_string(), false).contains("another --address may be free"));
    Store::open(&made.file).unwrap().invite("ada", false).unwrap();
    assert!(!bind("0.0.0.0:0", false).unwrap().is_open_here());
}

#[test]
fn a_change_that_is_repeated_with_its_key_is_made_once() {
    let made = made(1, numbered(3));
    let address = serve(&made.file, false);
    let key = key_of(&get(address, "/", "").text());
    let mut items = Vec::new();
    for number in 0..2 {
        let item = get(address, "/api/next", &key).json()["task"]["item"].clone();
        let mut label = best(&item, 0);
        label["key"] = json!(format!("label {number}"));
        assert_eq!(post(address, "/api/label", &key, &label).status, 200);
        items.push((item, label));
    }
    let undo = |change: &str| post(address, "/api/undo", &key, &json!({"key": change})).json();
    let [first, second] = [(); 2].map(|()| undo("undo 0"));
    assert_eq!(first, second, "a lost reply comes again");
    assert_eq!((&first["task"]["item"], &first["progress"]["done"]), (&items[1].0, &json!(1)));
    assert_eq!(first["said"]["verdict"]["answer"], 0);
    // The label that was undone comes once more, late.
    assert_eq!(post(address, "/api/label", &key, &items[1].1).json()["progress"]["done"], 1);
    assert_eq!(undo("undo 1")["progress"]["done"], 0);
    let long = post(address, "/api/undo", &key, &json!({"key": "k".repeat(65)}));
    assert_eq!(long.status, 422, "{long:?}");
}

#[test]
fn what_is_asked_and_what_one_said_before() {
    let made = made(1, vec![item("**Why**?", &["<b>one</b>", "$x^2$"]), item("q", &["a", "b"])]);
    let options = Options {
        guidelines: Some("# Rules\n\n<script>x</script>".to_string()),
        criteria: vec!["helpful".to_string()],
        strength: true,
        language: Some("en".to_string()),
        ..options(false)
    };
    let server = Server::bind(Store::open(&made.file).unwrap(), &options).unwrap();
    let address = server.address();
    std::thread::spawn(move || server.run());
    let key = key_of(&get(address, "/", "").text());
    assert_eq!(get(address, "/api/setup", "").status, 401);
    let setup = get(address, "/api/setup", &key).json();
    assert_eq!(setup["guidelines"], "<h3>Rules</h3>\n<pre><code>&lt;script&gt;x&lt;/script&gt;</code></pre>\n");
    assert_eq!(
        (&setup["criteria"], &setup["strength"], &setup["language"]),
        (&json!(["helpful"]), &json!(true), &json!("en"))
    );

    let shown = get(address, "/api/next", &key).json();
    assert_eq!(shown["prompt_html"], json!(["<p><strong>Why</strong>?</p>\n"]));
    let html = shown["answers_html"].to_string();
    assert!(html.contains("&lt;b&gt;one") && html.contains("<msup>"), "{html}");
    let item = shown["task"]["item"].clone();
    assert_eq!(get(address, "/api/own/1", &key).status, 404);
    let label =
        json!({"verdict": {"kind": "best", "answer": 1}, "strength": "much", "criteria": {"helpful": [1, null]}});
    assert_eq!(post(address, "/api/label", &key, &json!({"item": item, "label": label, "seconds": 1})).status, 200);
    let own = get(address, "/api/own/1", &key).json();
    assert_eq!((&own["task"]["item"], &own["back"], &own["said"]["strength"]), (&item, &json!(1), &json!("much")));
    assert_eq!(own["said"]["criteria"], json!({"helpful": [1.0, null]}));
    let tie = json!({"item": item, "label": {"verdict": {"kind": "tie"}}, "key": "k"});
    let next = post(address, "/api/revise", &key, &tie).json();
    assert!(next["task"]["item"] != item && next["back"].is_null(), "{next}");
    assert_eq!(get(address, "/api/own/1", &key).json()["said"]["verdict"]["kind"], "tie");
    let other = post(address, "/api/revise", &key, &json!({"item": next["task"]["item"], "label": tie["label"]}));
    assert!(other.status == 403 && other.text().contains("has no label of me to change"), "{other:?}");
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let made = made(1, numbered(1));
    let cases = [
        (Options { criteria: vec![String::new()], ..options(false) }, "criteria: \"\" where a name of 1 to 100"),
        (Options { criteria: vec!["a".into(), "a".into()], ..options(false) }, "criteria: \"a\" is there twice"),
        (Options { criteria: (0..21).map(|at| at.to_string()).collect(), ..options(false) }, "criteria: are 21"),
        (Options { language: Some("English!".into()), ..options(false) }, "language: \"English!\" where a tag"),
    ];
    for (options, expected) in cases {
        let error = Server::bind(Store::open(&made.file).unwrap(), &options).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_verdict_with_what_does_not_belong_to_it_is_refused() {
    let made = made(1, numbered(1));
    let address = serve(&made.file, false);
    let key = key_of(&get(address, "/", "").text());
    let item = get(address, "/api/next", &key).json()["task"]["item"].clone();
    for kind in ["tie", "all_bad", "skip", "rated"] {
        let label = json!({"verdict": {"kind": kind, "answer": 1}, "ratings": [1, 2]});
        let reply = post(address, "/api/label", &key, &json!({"item": item, "label": label, "seconds": 1}));
        assert!(reply.status == 422 && reply.text().contains("unknown field `answer`"), "{kind}: {reply:?}");
    }
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for_long_by_others() {
    use std::io::Write;
    let made = made(1, numbered(1));
    let address = serve(&made.file, false);
    let key = key_of(&get(address, "/", "").text());
    let head =
        format!("Host: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\nContent-Length: 99\r\n");
    let slow: Vec<_> = (0..50)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            write!(stream, "POST /api/label HTTP/1.1\r\n{head}\r\n{{").unwrap();
            stream
        })
        .collect();
    assert_eq!(get(address, "/api/next", &key).status, 200);
    drop(slow);
}
