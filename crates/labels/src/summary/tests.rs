use super::*;
use crate::{Answer, Label, NewItem, Settings, Store};

/// A store with items of the policies old and new, the better answer always stored first.
fn store(overlap: u32, count: usize) -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::create(&directory.path().join("labels.db"), Settings { overlap, seed: 1 }).unwrap();
    let item = |number: usize| NewItem {
        prompt: format!("prompt {number}").as_str().into(),
        answers: ["new", "old"].map(|text| Answer { text: text.into(), policy: Some(text.to_string()) }).into(),
        gold: (number == 0).then_some(0),
        gap: None,
    };
    store.add((0..count).map(item).map(Ok::<_, crate::Error>)).unwrap();
    (directory, store)
}

/// Labels all items of an annotator by the number of the prompt.
fn label_all(store: &mut Store, name: &str, seconds: impl Fn(usize) -> f64, best: impl Fn(usize) -> &'static str) {
    let person = store.annotator(name).unwrap();
    while let Some(task) = store.next(&person).unwrap() {
        let number: usize = task.prompt.as_text().strip_prefix("prompt ").unwrap().parse().unwrap();
        let answer = task.answers.iter().position(|answer| *answer == best(number)).unwrap();
        let ratings = vec![Some(if number.is_multiple_of(2) { 4.0 } else { 2.0 }); 2];
        let label = Label { ratings, ..Label::of(Verdict::Best { answer }) };
        store.submit(&person, task.item, &label, seconds(number)).unwrap();
    }
}

#[test]
fn agreement_of_two_who_differ_on_one_of_five() {
    let (_directory, mut store) = store(2, 11);
    label_all(&mut store, "ada", |number| if number <= 5 { 9.0 } else { 3.0 }, |_| "new");
    label_all(&mut store, "ben", |_| 1.0, |number| if number == 3 || number == 8 { "old" } else { "new" });
    let summary = summary(&store).unwrap();
    // One item of eleven is gold: it is in no count but its own.
    assert_eq!((summary.items, summary.gold, summary.labels), (10, 1, 20));
    assert_eq!(summary.verdicts.values().sum::<u64>(), 20);
    let agreement = summary.agreement.unwrap();
    // The better answer is nearly always stored first. Two answers agree by chance on half of the items.
    assert_eq!((agreement.items, agreement.share), (10, 0.8));
    assert!((agreement.kappa.unwrap() - 0.6).abs() < 1e-9, "{agreement:?}");
    assert_eq!(summary.pairs.len(), 1);
    assert_eq!(summary.pairs[0].agreement, agreement);
    // Each answer has two equal ratings, and they differ between items.
    assert_eq!(summary.ratings.len(), 1);
    assert_eq!((summary.ratings[0].answers, summary.ratings[0].alpha), (20, Some(1.0)));
    let new = &summary.policies[0];
    assert_eq!((new.name.as_str(), new.results.wins, new.results.losses), ("new", 18, 2));
    assert!(new.results.interval[0] > 0.5 && new.elo.unwrap().interval[0] > 1000.0, "{new:?}");
    let disputed: Vec<&str> = summary.disputed.iter().map(|one| one.prompt.as_str()).collect();
    assert_eq!(disputed, ["prompt 3", "prompt 8"]);
    assert_eq!(summary.disputed[0].votes, BTreeMap::from([("answer 0".to_string(), 1), ("answer 1".to_string(), 1)]));
    let ada = &summary.annotators[0];
    assert_eq!((ada.labels, ada.gold, ada.gold_right, ada.agreement), (10, 1, 1, Some(0.8)));
    assert_eq!(ada.halves.map(|half| half.seconds), [Some(9.0), Some(3.0)]);
    assert_eq!(ada.halves.map(|half| half.agreement), [Some(0.8), Some(0.8)]);
    let text = summary.to_string();
    for line in [
        "agreement 80.0 % of choices on 10 items, kappa 0.600\n",
        "agreement ada and ben: 80.0 % of choices on 10 items, kappa 0.600\n",
        "ratings   0.00 apart on average, Krippendorff's alpha 1.000, on 20 answers\n",
        "drift     ada: median 9.0 s in the first half of the labels, 3.0 s in the second; agrees with 80.0 %, then 80.0 %\n",
        "disputed  item 4: answer 0 1, answer 1 1 (prompt 3)\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn a_store_without_labels_has_no_statistics_but_its_items() {
    let (_directory, store) = store(1, 3);
    let summary = summary(&store).unwrap();
    assert_eq!((summary.items, summary.labels, summary.agreement), (2, 0, None));
    assert_eq!(summary.to_string(), "items     2, 0 labelled by 1 or more; 1 checks besides\nlabels    0\n");
}
