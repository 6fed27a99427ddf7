use super::*;
use crate::{Answer, Label, NewItem, Settings, Strength, items_of_file, labelled_items_of_file};

/// Rows that the tests record with the real packages: see `crates/labels/tests/exchange/record.py`.
const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/exchange/");

/// Two pairs, one of them a conversation, and a ranking of three, labelled by two annotators in every way.
fn labelled() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::create(&directory.path().join("labels.db"), Settings { overlap: 2, seed: 3 }).unwrap();
    let item = |prompt: &str, answers: &[&str]| NewItem {
        prompt: serde_json::from_str(prompt).unwrap(),
        answers: answers
            .iter()
            .map(|text| Answer { text: (*text).into(), policy: Some(format!("writes {text}")) })
            .collect(),
        gold: None,
        gap: None,
    };
    let talk = r#"[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]"#;
    let items =
        [item("\"Why is the sky blue?\"", &["a", "b"]), item(talk, &["a", "b"]), item("\"Three?\"", &["a", "b", "c"])];
    store.add(items.map(Ok::<_, Error>)).unwrap();
    for (name, kind) in [("Ada Lovelace", 0), ("Ben", 1)] {
        let person = store.annotator(name).unwrap();
        while let Some(task) = store.next(&person).unwrap() {
            let place = |text: &str| task.answers.iter().position(|answer| *answer == text).unwrap();
            let verdict = match (task.item, kind) {
                (1, _) => Verdict::Best { answer: place("a") },
                (2, 0) => Verdict::Tie,
                (2, _) => Verdict::Skip,
                (_, 0) => Verdict::Ranking { answers: ["c", "a", "b"].map(place).to_vec() },
                _ => Verdict::AllBad,
            };
            let mut label = Label::of(verdict);
            if task.item == 1 {
                label.strength = Some(Strength::Much);
                label.comment = "shorter".to_string();
                label.ratings = vec![None; 2];
                label.ratings[place("a")] = Some(4.5);
                label.criteria.insert("True?".to_string(), vec![Some(3.0); 2]);
            }
            store.submit(&person, task.item, &label, 2.0).unwrap();
        }
    }
    (directory, store)
}

#[test]
fn the_json_of_argilla_and_label_studio_is_as_recorded() {
    let (_directory, store) = labelled();
    for (tool, name) in [(Tool::Argilla, "argilla.json"), (Tool::LabelStudio, "label-studio.json")] {
        let exported = export(&store, tool, Naming::Pseudonyms).unwrap();
        assert!(!exported.to_string().contains("Ada"), "{exported}");
        let file = format!("{RECORDED}{name}");
        if std::env::var_os("UPDATE_EXCHANGE").is_some() {
            std::fs::write(&file, format!("{exported:#}\n")).unwrap();
            std::fs::write(format!("{RECORDED}labeling.xml"), label_studio_config(&exported)).unwrap();
        }
        let recorded: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(exported, recorded, "{name}");
    }
    let named = export(&store, Tool::LabelStudio, Naming::Names).unwrap().to_string();
    assert!(named.contains("Ada Lovelace"), "{named}");
    let tasks = export(&store, Tool::LabelStudio, Naming::Pseudonyms).unwrap();
    let recorded = std::fs::read_to_string(format!("{RECORDED}labeling.xml")).unwrap();
    assert_eq!(label_studio_config(&tasks), recorded);
}

/// The files that the packages wrote: Argilla's `Record.to_dict`, and tasks as Label Studio's converter of its SDK reads
/// and writes them.
#[test]
fn what_the_packages_wrote_is_read() {
    let read = |name: &str| -> Vec<NewItem> {
        let file = format!("{RECORDED}{name}");
        items_of_file(file.as_ref(), false).unwrap().map(Result::unwrap).collect()
    };
    let texts = |item: &NewItem| item.answers.iter().map(|answer| answer.text.to_string()).collect::<Vec<_>>();
    for name in ["from-argilla.json", "from-label-studio.json", "argilla.json", "label-studio.json"] {
        let items = read(name);
        assert_eq!(items.len(), 3, "{name}");
        assert_eq!(items[0].prompt, "Why is the sky blue?", "{name}");
        assert_eq!(texts(&items[0]), ["a", "b"], "{name}");
        assert_eq!(texts(&items[2]), ["a", "b", "c"], "{name}");
        assert_eq!(items[2].answers[2].policy.as_deref(), Some("writes c"), "{name}");
    }
    assert!(matches!(read("from-argilla.json")[1].prompt, Content::Messages(_)), "a conversation stays one");
}

/// Annotator, verdict, ratings, criteria, strength and comment of all labels, by item.
fn told(store: &Store) -> Vec<(i64, String, Label)> {
    let labelled = store.labelled().unwrap().into_iter();
    let mut told: Vec<_> = labelled.map(|one| (one.item, one.annotator, one.label)).collect();
    told.sort_by_key(|(item, annotator, _)| (*item, annotator.clone()));
    told
}

#[test]
fn labels_of_the_packages_are_taken_over_by_annotator() {
    let (_directory, exported) = labelled();
    let expected: Vec<Label> = told(&exported).into_iter().map(|(.., label)| label).collect();
    for name in ["from-argilla.json", "from-label-studio.json"] {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::create(&directory.path().join("again.db"), Settings { overlap: 2, seed: 1 }).unwrap();
        let file = format!("{RECORDED}{name}");
        let read = || labelled_items_of_file(file.as_ref(), false).unwrap();
        assert!(read().all(|item| item.unwrap().1.left.is_empty()), "{name}");
        let skips = usize::from(name == "from-label-studio.json");
        assert_eq!(store.add_labelled(read()).unwrap().labels, 5 + skips, "{name}: Argilla has no skips");
        assert_eq!(store.add_labelled(read()).unwrap().labels, 0, "{name}: they are there");
        let found = told(&store);
        let annotators: Vec<&str> = found.iter().map(|(_, annotator, _)| annotator.as_str()).collect();
        let [ada, ben] = match name {
            "from-argilla.json" => ["annotator-1", "annotator-2"].map(user_id),
            _ => ["annotator-1", "annotator-2"].map(String::from),
        };
        assert!(annotators.contains(&ada.as_str()) && annotators.contains(&ben.as_str()), "{annotators:?}");
        // Ratings are whole numbers there, and names of criteria identifiers.
        let comparable = |label: &Label| {
            let ratings: Vec<_> = label.ratings.iter().map(|rating| rating.map(f64::round)).collect();
            let criteria = label.criteria.iter().map(|(name, ratings)| (question(name), ratings.clone())).collect();
            Label { ratings, criteria, ..label.clone() }
        };
        let is_kept = |label: &&Label| skips == 1 || label.verdict != Verdict::Skip;
        let mut expected: Vec<String> =
            expected.iter().filter(is_kept).map(|label| format!("{:?}", comparable(label))).collect();
        let mut labels: Vec<String> = found.iter().map(|(.., label)| format!("{:?}", comparable(label))).collect();
        expected.sort();
        labels.sort();
        assert_eq!(labels, expected, "{name}");
        let me = store.annotator(&ada).unwrap();
        assert_eq!(store.next(&me).unwrap(), None, "{name}: all is labelled");
    }
}

#[test]
fn labels_of_other_data_sets_are_read_and_the_rest_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let labels = |json: &str| {
        let file = directory.path().join("a.json");
        std::fs::write(&file, json).unwrap();
        let (_, given) = labelled_items_of_file(&file, false).unwrap().next().unwrap().unwrap();
        let labels = given.labels.into_iter().map(|given| (given.annotator, given.label)).collect::<Vec<_>>();
        (labels, given.left.into_iter().collect::<Vec<_>>())
    };
    let (found, left) = labels(
        r#"[{"fields": {"instruction": "p", "response1": "a", "response2": "b"}, "responses": {
            "which": [{"value": "response2", "user_id": "u", "status": "submitted"},
                      {"value": "response1", "user_id": "v", "status": "draft"},
                      {"value": null, "user_id": "w", "status": "discarded"}],
            "order": [{"value": [{"value": "response1", "rank": 1}, {"value": "response2", "rank": 1}], "user_id": "x"}],
            "why": [{"value": "shorter", "user_id": "u"}], "quality_2": [{"value": 7, "user_id": "u"}]}}]"#,
    );
    let of = |name: &str, verdict: Verdict| (name.to_string(), Label::of(verdict));
    let best = Verdict::Best { answer: 1 };
    assert_eq!(found[..1], [of("u", best)]);
    assert!(found[1..].contains(&of("w", Verdict::Skip)) && found[1..].contains(&of("x", Verdict::Tie)), "{found:?}");
    assert_eq!(found.len(), 3, "a draft is no label");
    let one = |name: &str| (name.to_string(), 1);
    assert_eq!(left, [one("quality_2"), one("which"), one("why")]);

    let (found, left) = labels(
        r#"[{"data": {"prompt": "p", "answer_1": "a", "answer_2": "b"}, "annotations": [
            {"completed_by": 3, "lead_time": 2.5, "result": [
                {"from_name": "pw", "to_name": "one,two", "type": "pairwise", "value": {"selected": "left"}}]},
            {"completed_by": {"id": 4, "email": "ada@example.org"}, "result": [
                {"from_name": "pw", "to_name": "answer_1,answer_2", "type": "pairwise", "value": {"selected": "right"}},
                {"from_name": "stars", "to_name": "answer_1", "type": "rating", "value": {"rating": 2}}]}]}]"#,
    );
    let stars = std::collections::BTreeMap::from([("stars".to_string(), vec![Some(2.0), None])]);
    let rated = Label { criteria: stars, ..Label::of(Verdict::Best { answer: 1 }) };
    assert_eq!(found, [("ada@example.org".to_string(), rated)]);
    assert_eq!(left, [one("pw")], "names of no answer");
}

#[test]
fn what_is_no_item_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.json");
    std::fs::write(&file, r#"[{"fields": {"text": "a"}}]"#).unwrap();
    let error = items_of_file(&file, false).unwrap().next().unwrap().unwrap_err().to_string();
    assert!(error.contains("fields: has not what an item needs; it should have one of prompt, instruction"), "{error}");
    std::fs::write(&file, r#"[{"data": "a"}]"#).unwrap();
    let error = items_of_file(&file, false).unwrap().next().unwrap().unwrap_err().to_string();
    assert!(error.contains("data: \"a\" where an object of texts should be"), "{error}");
}
