use std::path::PathBuf;

use super::*;
use crate::{Answer, Label, NewItem, Verdict};

fn store(settings: Settings) -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::create(&directory.path().join("labels.db"), settings).unwrap();
    (directory, store)
}

fn item(prompt: &str, gold: Option<usize>) -> NewItem {
    let answers = ["yes", "no"].map(|text| Answer { text: text.into(), policy: Some(format!("says {text}")) }).into();
    NewItem { prompt: prompt.into(), answers, gold, gap: None }
}

fn add(store: &mut Store, items: Vec<NewItem>) -> Result<Added> {
    store.add(items.into_iter().map(Ok::<_, Error>))
}

fn numbered(count: usize) -> Vec<NewItem> {
    (0..count).map(|number| item(&format!("prompt {number}"), None)).collect()
}

fn first() -> Label {
    Label::of(Verdict::Best { answer: 0 })
}

/// Labels all available items of an annotator, and returns the items in order.
fn label_all(store: &mut Store, name: &str, label: &Label) -> Vec<ItemId> {
    let person = store.annotator(name).unwrap();
    let mut items = Vec::new();
    while let Some(task) = store.next(&person).unwrap() {
        assert_eq!(store.next(&person).unwrap().unwrap(), task, "the same until it is labelled");
        store.submit(&person, task.item, label, 1.0).unwrap();
        items.push(task.item);
    }
    items
}

#[test]
fn nobody_is_given_an_item_twice_and_each_goes_to_as_many_as_asked() {
    let (_directory, mut store) = store(Settings { overlap: 2, seed: 1 });
    add(&mut store, numbered(5)).unwrap();
    let ada = label_all(&mut store, "ada", &first());
    assert_eq!(ada, [1, 2, 3, 4, 5]);
    assert_eq!(label_all(&mut store, "ben", &first()), [1, 2, 3, 4, 5]);
    assert_eq!(label_all(&mut store, "cyd", &first()), [0i64; 0], "two have labelled each of them");
    store.set_overlap(3).unwrap();
    assert_eq!(label_all(&mut store, "cyd", &first()).len(), 5);
    assert_eq!(label_all(&mut store, "ada", &first()).len(), 0);
    assert_eq!(store.labelled().unwrap().len(), 15);
}

#[test]
fn two_at_once_get_different_items_and_a_skip_asks_somebody_else() {
    let (_directory, mut store) = store(Settings::default());
    add(&mut store, numbered(2)).unwrap();
    let (ada, ben) = (store.annotator("ada").unwrap(), store.annotator("ben").unwrap());
    let (of_ada, of_ben) = (store.next(&ada).unwrap().unwrap().item, store.next(&ben).unwrap().unwrap().item);
    assert_ne!(of_ada, of_ben);
    store.submit(&ada, of_ada, &Label::of(Verdict::Skip), 1.0).unwrap();
    assert_eq!(store.next(&ada).unwrap(), None, "the other is with ben");
    store.submit(&ben, of_ben, &first(), 1.0).unwrap();
    assert_eq!(store.next(&ben).unwrap().unwrap().item, of_ada);
    // An annotator who leaves keeps an assigned item for half an hour.
    let sql = "UPDATE open SET since = since - 1801 WHERE annotator = ?1";
    assert_eq!(store.connection.execute(sql, [ben.id]).unwrap(), 1);
    let cyd = store.annotator("cyd").unwrap();
    assert_eq!(store.next(&cyd).unwrap().unwrap().item, of_ada);
}

#[test]
fn a_label_is_kept_of_the_answers_and_not_of_where_they_stood() {
    let (_directory, mut store) = store(Settings { overlap: 1, seed: 3 });
    add(&mut store, numbered(20)).unwrap();
    let ada = store.annotator("ada").unwrap();
    while let Some(task) = store.next(&ada).unwrap() {
        let answer = task.answers.iter().position(|answer| *answer == "yes").unwrap();
        store.submit(&ada, task.item, &Label::of(Verdict::Best { answer }), f64::NAN).unwrap();
    }
    let labelled = store.labelled().unwrap();
    assert!(labelled.iter().all(|labelled| labelled.label.best() == Some(0) && labelled.seconds == 0.0));
    let shown_first = labelled.iter().filter(|labelled| labelled.shown == [0, 1]).count();
    assert!((1..20).contains(&shown_first), "both orders occur: {shown_first}");
    assert_eq!(store.labelled_of(labelled[3].item).unwrap(), labelled[3..4]);
}

#[test]
fn labels_that_cannot_be_are_refused_and_what_is_there_stays() {
    let (_directory, mut store) = store(Settings::default());
    add(&mut store, numbered(2)).unwrap();
    let ada = store.annotator("ada").unwrap();
    let task = store.next(&ada).unwrap().unwrap();
    let mut refusal = |item: ItemId, label: &Label| store.submit(&ada, item, label, 1.0).unwrap_err().to_string();
    assert_eq!(refusal(99, &first()), "item 99: there is no such item in the store; label what the store gave out");
    assert_eq!(refusal(2, &first()), "item 2: was not given to ada; label what the store gave out");
    let wrong = Label::of(Verdict::Best { answer: 7 });
    assert!(refusal(1, &wrong).contains("answer 7 where one from 0 to 1 should be"));
    store.submit(&ada, task.item, &first(), 1.0).unwrap();
    store.submit(&ada, task.item, &first(), 1.0).unwrap();
    let error = store.submit(&ada, task.item, &Label::of(Verdict::Tie), 1.0).unwrap_err().to_string();
    assert_eq!(error, "item 1: ada has labelled it before, and not like this; undo that label first");
    let labelled = store.labelled().unwrap();
    assert_eq!((labelled.len(), labelled[0].label.best()), (1, Some(labelled[0].shown[0])));
}

#[test]
fn undo_brings_the_item_back_as_it_was_shown() {
    let (_directory, mut store) = store(Settings::default());
    add(&mut store, numbered(9)).unwrap();
    let ada = store.annotator("ada").unwrap();
    assert_eq!(store.undo(&ada).unwrap(), None);
    for _ in 0..9 {
        let task = store.next(&ada).unwrap().unwrap();
        let label = Label { ratings: vec![Some(4.0), None], comment: "so".into(), ..first() };
        store.submit(&ada, task.item, &label, 1.0).unwrap();
        store.next(&ada).unwrap();
        assert_eq!(store.undo(&ada).unwrap(), Some((task.clone(), label)));
        assert_eq!(store.next(&ada).unwrap(), Some(task.clone()));
        store.submit(&ada, task.item, &Label::of(Verdict::Tie), 1.0).unwrap();
    }
    assert_eq!(store.progress(&ada).unwrap(), LabelProgress { done: 9, left: 0 });
}

#[test]
fn everybody_is_checked_and_checks_are_spread() {
    let (_directory, mut store) = store(Settings::default());
    let mut items = numbered(18);
    items.extend([item("check a", Some(0)), item("check b", Some(1))]);
    add(&mut store, items).unwrap();
    let given = label_all(&mut store, "ada", &first());
    let places: Vec<usize> = given.iter().enumerate().filter(|(_, item)| **item > 18).map(|(place, _)| place).collect();
    assert_eq!(places, [4, 14]);
    assert_eq!(label_all(&mut store, "ben", &first()), [19, 20], "the rest is labelled");
    let summary = crate::summary::summary(&store).unwrap();
    assert_eq!((summary.items, summary.finished, summary.gold, summary.labels), (18, 18, 2, 18));
    assert!(summary.annotators.iter().all(|person| person.gold == 2));
}

#[test]
fn the_same_item_is_added_once_and_a_bad_one_leaves_nothing() {
    let (_directory, mut store) = store(Settings::default());
    let mut turned = item("p", None);
    turned.answers.reverse();
    let added = add(&mut store, vec![item("p", None), turned]).unwrap();
    assert_eq!((added.added, added.known, added.ids), (1, 1, vec![1, 1]));
    let error = add(&mut store, vec![item("q", None), item("r", Some(2))]).unwrap_err().to_string();
    assert!(error.contains("item 1, gold: 2 where a place from 0 to 1 should be"), "{error}");
    assert_eq!(store.item_counts().unwrap(), [1, 0, 0]);
}

#[test]
fn tokens_are_not_in_the_file_and_a_new_one_replaces_the_old() {
    let (directory, mut store) = store(Settings::default());
    let old = store.invite("ada", false).unwrap();
    let new = store.invite("ada", true).unwrap();
    assert_eq!(store.holder(&old).unwrap(), None);
    assert_eq!(store.holder("").unwrap(), None);
    let ada = store.holder(&new).unwrap().unwrap();
    assert!(ada.is_admin && ada.name == "ada");
    drop(store);
    let bytes = std::fs::read(directory.path().join("labels.db")).unwrap();
    assert!(bytes.windows(3).any(|part| part == b"ada"));
    assert!(!bytes.windows(new.len()).any(|part| part == new.as_bytes()));
    let (_directory, mut store) = self::store(Settings::default());
    assert!(store.annotator(" \n").unwrap_err().to_string().starts_with("annotator \"\": should be 1 to 100 bytes"));
}

#[test]
fn files_that_are_no_store_are_refused_and_left_as_they_are() {
    let (directory, store) = store(Settings::default());
    let file = |name: &str| directory.path().join(name);
    let refusal = |file: PathBuf| Store::open(&file).map(|_| ()).unwrap_err().to_string();
    assert!(refusal(file("none.db")).contains("none.db: there is no such label store"));
    std::fs::write(file("text.db"), "a text, and no database at all; ".repeat(99)).unwrap();
    assert!(refusal(file("text.db")).contains("is no label store"));
    Connection::open(file("other.db")).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    let before = std::fs::read(file("other.db")).unwrap();
    assert!(refusal(file("other.db")).contains("is a database, but no label store"));
    assert!(std::fs::read(file("other.db")).unwrap() == before);
    assert!(Store::create(&file("nowhere/labels.db"), Settings::default()).is_err());
    let zero = Store::create(&file("zero.db"), Settings { overlap: 0, seed: 0 }).map(|_| ()).unwrap_err().to_string();
    assert!(zero.contains("overlap 0 where at least 1"), "{zero}");

    store.connection.pragma_update(None, "user_version", 4).unwrap();
    let error = refusal(file("labels.db"));
    assert!(error.contains("is a label store of version 4, and this program knows version 3"), "{error}");
}

#[test]
fn a_store_that_another_program_holds_says_so_and_nothing_is_lost() {
    let (directory, mut store) = store(Settings::default());
    add(&mut store, numbered(1)).unwrap();
    let ada = store.annotator("ada").unwrap();
    let task = store.next(&ada).unwrap().unwrap();
    let other = Connection::open(directory.path().join("labels.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    store.connection.busy_timeout(Duration::from_millis(1)).unwrap();
    let error = store.submit(&ada, task.item, &first(), 1.0).unwrap_err().to_string();
    assert!(error.contains("labels.db: is held by another program") && error.contains("try again"), "{error}");
    other.execute_batch("ROLLBACK").unwrap();
    store.submit(&ada, task.item, &first(), 1.0).unwrap();
    assert_eq!(store.labelled().unwrap().len(), 1);
}

#[test]
fn invitations_are_made_all_or_none() {
    let (_directory, mut store) = store(Settings::default());
    let old = store.invite("ada", false).unwrap();
    assert!(store.invite_all(&[("ada", false), ("bad\u{7}", false)]).is_err());
    assert!(store.holder(&old).unwrap().is_some(), "the link still works");
    let tokens = store.invite_all(&[("ada", false), ("eve", true)]).unwrap();
    assert!(store.holder(&old).unwrap().is_none());
    let names: Vec<String> = tokens.iter().map(|token| store.holder(token).unwrap().unwrap().name).collect();
    assert_eq!(names, ["ada", "eve"]);
}

/// Refuses a statement that reads a table from end to end, or sorts.
pub(super) fn refuse_scans(connection: &Connection, sql: &str) {
    let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    // The parameters of a plan need no values.
    let mut rows = explain.raw_query();
    while let Some(row) = rows.next().unwrap() {
        let step: String = row.get(3).unwrap();
        let is_slow = step.contains("SCAN") && step != "SCAN CONSTANT ROW" || step.contains("TEMP B-TREE");
        assert!(!is_slow, "{step}: {sql}");
    }
}

/// The tables of the queues, in the order of items and annotators.
fn queues(store: &Store) -> Vec<String> {
    let sql = "SELECT 'taken', item, taken, 0, 0 FROM turn UNION ALL SELECT key, value, 0, 0, 0 FROM counter WHERE key <> 'clock'
        UNION ALL SELECT name, labels, given, given_gold, barred FROM annotator ORDER BY 1, 2";
    let mut select = store.connection.prepare(sql).unwrap();
    let row = |row: &rusqlite::Row| {
        Ok(format!("{} {:?}", row.get::<_, String>(0)?, [1, 2, 3, 4].map(|column| row.get::<_, i64>(column).unwrap())))
    };
    select.query_map([], row).unwrap().collect::<rusqlite::Result<_>>().unwrap()
}

/// Number of items that an annotator may still be given, counted from all assignments and labels.
fn left(store: &Store, annotator: &Annotator) -> i64 {
    let sql = "SELECT count(*) FROM item AS i WHERE
        NOT EXISTS (SELECT 1 FROM assignment AS a WHERE a.item = i.id AND a.annotator = ?1) AND (gold IS NOT NULL OR
        (SELECT count(*) FROM assignment AS a LEFT JOIN label AS l ON l.item = a.item AND l.annotator = a.annotator
         LEFT JOIN open AS o ON o.item = a.item AND o.annotator = a.annotator
         WHERE a.item = i.id AND CASE WHEN l.id IS NULL THEN o.is_held ELSE NOT l.is_skip END) < ?2)
        OR EXISTS (SELECT 1 FROM open AS o WHERE o.item = i.id AND o.annotator = ?1)";
    store.connection.query_row(sql, (annotator.id, store.settings().unwrap().overlap), |row| row.get(0)).unwrap()
}

#[test]
fn what_is_kept_is_what_counting_gives() {
    use rand::{RngExt, SeedableRng};
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(5);
    let (_directory, mut store) = store(Settings { overlap: 2, seed: 1 });
    let mut items = numbered(12);
    items.extend([item("check a", Some(0)), item("check b", Some(1))]);
    add(&mut store, items).unwrap();
    let people = ["ada", "ben", "cyd", "dan"].map(|name| store.annotator(name).unwrap());
    for step in 0..60 {
        let person = &people[random.random_range(0..people.len())];
        match random.random_range(0..16) {
            0..8 => {
                if let Some(task) = store.next(person).unwrap() {
                    store.submit(person, task.item, &first(), 1.0).unwrap();
                }
            }
            8..11 => {
                if let Some(task) = store.next(person).unwrap() {
                    store.submit(person, task.item, &Label::of(Verdict::Skip), 1.0).unwrap();
                }
            }
            11..13 => drop(store.undo(person).unwrap()),
            13 => {
                if let Some(own) = store.own_label(person, random.random_range(1..4)).unwrap() {
                    let label = if random.random_range(0..2) == 0 { first() } else { Label::of(Verdict::Skip) };
                    store.revise_once(person, None, own.task.item, &label).unwrap();
                }
            }
            14 => drop(store.connection.execute("UPDATE open SET since = since - 1801", []).unwrap()),
            _ => store.set_overlap(random.random_range(1..4)).unwrap(),
        }
        let next = store.next(person).unwrap();
        let left = left(&store, person);
        assert_eq!(store.progress(person).unwrap().left as i64, left, "step {step}");
        assert_eq!(next.is_some(), left > 0, "step {step}");
        let kept = queues(&store);
        choice::recount(&store.connection).unwrap();
        assert_eq!(queues(&store), kept, "step {step}");
    }
}

#[test]
fn the_clock_of_a_store_is_not_the_time_of_day_and_never_goes_back() {
    let (_directory, mut store) = store(Settings::default());
    add(&mut store, numbered(2)).unwrap();
    let ada = store.annotator("ada").unwrap();
    store.next(&ada).unwrap();
    let since = |store: &Store| {
        store.connection.query_row("SELECT max(since) FROM open", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert!(since(&store) < 60, "seconds for which the store was open");
    store.connection.execute("UPDATE counter SET value = 5000 WHERE key = 'clock'", []).unwrap();
    let mut other = Store::open(store.file()).unwrap();
    let ben = other.annotator("ben").unwrap();
    other.next(&ben).unwrap();
    assert!((5000..5060).contains(&since(&store)), "later than what another program saw");
    let mut clock = Clock { seconds: 0, read: Instant::now() };
    assert_eq!([clock.at_least(70), clock.at_least(20)], [70, 70]);
}

#[test]
fn a_store_of_version_1_is_brought_to_this_one() {
    let (_directory, mut store) = store(Settings { overlap: 2, seed: 0 });
    add(&mut store, numbered(6)).unwrap();
    let (ada, ben) = (store.annotator("ada").unwrap(), store.annotator("ben").unwrap());
    for person in [&ada, &ben, &ada] {
        let task = store.next(person).unwrap().unwrap();
        store.submit(person, task.item, &first(), 1.0).unwrap();
    }
    let open = store.next(&ada).unwrap().unwrap();
    let kept = queues(&store);
    let older = "ALTER TABLE item DROP COLUMN gap; DROP TABLE turn; DROP TABLE open; DROP TABLE passed; DROP TABLE counter; DROP TABLE change;
        ALTER TABLE annotator DROP COLUMN labels; ALTER TABLE annotator DROP COLUMN given;
        ALTER TABLE annotator DROP COLUMN given_gold; ALTER TABLE annotator DROP COLUMN barred; PRAGMA user_version = 1";
    store.connection.execute_batch(older).unwrap();
    let file = store.file().to_owned();
    drop(store);
    let mut store = Store::open(&file).unwrap();
    assert_eq!(queues(&store), kept);
    assert_eq!(store.next(&ada).unwrap(), Some(open));
    assert_eq!(store.undo_once(&ben, Some("k")).unwrap().map(|(task, _)| task.item), Some(1));
}

#[test]
fn a_store_of_version_2_gets_scores() {
    let (_directory, mut store) = store(Settings::default());
    add(&mut store, numbered(2)).unwrap();
    let kept = queues(&store);
    store.connection.execute_batch("ALTER TABLE item DROP COLUMN gap; PRAGMA user_version = 2").unwrap();
    let file = store.file().to_owned();
    drop(store);
    let mut store = Store::open(&file).unwrap();
    assert_eq!(queues(&store), kept);
    assert_eq!(store.order_by_uncertainty().unwrap(), 0);
}

#[test]
fn own_labels_are_looked_at_again_and_changed() {
    let (_directory, mut store) = store(Settings::default());
    add(&mut store, numbered(3)).unwrap();
    let (ada, ben) = (store.annotator("ada").unwrap(), store.annotator("ben").unwrap());
    assert_eq!(store.own_label(&ada, 1).unwrap(), None);
    let mut given = Vec::new();
    for answer in [0, 1] {
        let task = store.next(&ada).unwrap().unwrap();
        store.submit(&ada, task.item, &Label::of(Verdict::Best { answer }), 4.0).unwrap();
        given.push(OwnLabel { task, label: Label::of(Verdict::Best { answer }) });
    }
    let open = store.next(&ada).unwrap().unwrap();
    assert_eq!(store.own_label(&ada, 2).unwrap().as_ref(), Some(&given[0]));
    assert_eq!(store.own_label(&ada, 1).unwrap().as_ref(), Some(&given[1]));
    assert_eq!([store.own_label(&ada, 0).unwrap(), store.own_label(&ada, 3).unwrap()], [None, None]);
    let item = given[0].task.item;
    store.revise_once(&ada, Some("k"), item, &Label::of(Verdict::Tie)).unwrap();
    store.revise_once(&ada, Some("k"), item, &Label::of(Verdict::AllBad)).unwrap();
    assert_eq!(store.own_label(&ada, 2).unwrap().unwrap().label, Label::of(Verdict::Tie), "a key is used once");
    assert_eq!(store.next(&ada).unwrap(), Some(open), "the open item stays");
    assert_eq!(store.labelled_of(item).unwrap()[0].seconds, 4.0);
    let error = store.revise_once(&ben, None, item, &Label::of(Verdict::Tie)).unwrap_err().to_string();
    assert_eq!(error, "item 1: has no label of ben to change; label it first");
    // A label that becomes a skip gives the item to another.
    store.revise_once(&ada, None, item, &Label::of(Verdict::Skip)).unwrap();
    assert_eq!(store.next(&ben).unwrap().unwrap().item, item);
}

#[test]
fn the_least_sure_items_come_first() {
    let (_directory, mut store) = store(Settings::default());
    let gaps = [None, Some(2.0), Some(0.1), Some(0.5), None];
    let items = numbered(5).into_iter().zip(gaps).map(|(item, gap)| NewItem { gap, ..item }).collect();
    assert_eq!(add(&mut store, items).unwrap().scored, 3);
    let (ada, ben) = (store.annotator("ada").unwrap(), store.annotator("ben").unwrap());
    let open = store.next(&ben).unwrap().unwrap().item;
    assert_eq!((open, store.order_by_uncertainty().unwrap()), (1, 3));
    let task = store.next(&ada).unwrap().unwrap();
    assert_eq!(task.item, 3);
    store.submit(&ada, task.item, &first(), 1.0).unwrap();
    // Newer scores of an item that is there.
    let newer = vec![NewItem { gap: Some(0.2), ..item("prompt 4", None) }];
    assert_eq!(add(&mut store, newer).unwrap(), Added { added: 0, known: 1, scored: 1, labels: 0, ids: vec![5] });
    store.order_by_uncertainty().unwrap();
    assert_eq!(label_all(&mut store, "ada", &first()), [5, 4, 2]);
    assert_eq!([crate::gap(&[0.5, 2.0, 1.75]), crate::gap(&[1.0]), crate::gap(&[])], [Some(0.25), None, None]);
}

#[test]
fn a_failed_change_of_several_takes_no_other_with_it() {
    let (_directory, mut store) = store(Settings::default());
    add(&mut store, numbered(2)).unwrap();
    let (ada, ben) = (store.annotator("ada").unwrap(), store.annotator("ben").unwrap());
    store.begin().unwrap();
    let task = store.next(&ada).unwrap().unwrap();
    store.submit(&ada, task.item, &first(), 1.0).unwrap();
    assert!(add(&mut store, vec![item("new", None), item("bad", Some(9))]).is_err());
    assert!(store.submit(&ben, task.item, &first(), 1.0).is_err());
    let other = Store::open(store.file()).unwrap();
    assert_eq!(other.labelled().unwrap().len(), 0, "nothing is seen before the end");
    store.commit().unwrap();
    assert_eq!((other.labelled().unwrap().len(), other.item_counts().unwrap()[0]), (1, 2));
}

#[test]
fn a_store_that_was_changed_by_others_is_an_error_and_no_panic() {
    let changes = [
        ("UPDATE label SET label = '{\"verdict\":{\"kind\":\"best\",\"answer\":7}}'", "answer 7 where one from 0 to 1"),
        ("UPDATE label SET label = '{\"verdict\":{\"kind\":\"ranking\",\"answers\":[0,0]}}'", "each of the 2 answers"),
        ("UPDATE label SET label = 'no JSON'", "expected"),
        ("UPDATE label SET shown = '[0,5]'", "was shown as [0, 5], of 2"),
        ("DELETE FROM answer", "has 0 answers where 1 to 9 should be"),
        ("UPDATE item SET gold = 3", "its gold answer is 3, of 2"),
        ("UPDATE item SET prompt = '{'", "EOF"),
        ("UPDATE setting SET value = -1 WHERE key = 'overlap'", "its overlap is no number of annotators"),
        ("DELETE FROM setting", "has no setting"),
        ("DELETE FROM turn; DELETE FROM open", ""),
        ("DELETE FROM counter", ""),
    ];
    for (change, expected) in changes {
        let (_directory, mut store) = store(Settings::default());
        add(&mut store, numbered(2)).unwrap();
        let ada = store.annotator("ada").unwrap();
        let task = store.next(&ada).unwrap().unwrap();
        store.submit(&ada, task.item, &first(), 1.0).unwrap();
        store.connection.execute_batch(&format!("PRAGMA foreign_keys = 0; {change}")).unwrap();
        let mut errors = vec![
            store.labelled().err(),
            crate::summary::summary(&store).err(),
            crate::queue::scores(&store).err(),
            store.progress(&ada).err(),
            store.next(&ada).err(),
            store.submit(&ada, task.item, &Label::of(Verdict::Skip), 1.0).err(),
        ];
        errors.push(store.undo(&ada).err());
        let told: Vec<String> = errors.into_iter().flatten().map(|error| error.to_string()).collect();
        assert!(told.iter().any(|error| error.contains(expected)), "{change}: {told:?}");
    }
}
