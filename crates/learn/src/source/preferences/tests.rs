use std::collections::BTreeSet;

use super::*;
use crate::batch::Single;
use crate::collective::Alone;
use palestra_text::Tokenizer;

/// Preference files in a temporary folder.
struct Files(tempfile::TempDir);

impl Files {
    fn with(lines: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("preferences.jsonl"), lines).unwrap();
        Self(folder)
    }

    fn config(&self) -> PreferenceConfig {
        let file = self.0.path().join("preferences.jsonl").display().to_string();
        PreferenceConfig { files: vec![file], validation_share: 0.25, ..PreferenceConfig::default() }
    }

    fn open(&self, config: &PreferenceConfig, kinds: PreferenceKinds) -> Result<PreferenceData> {
        let tokenizer = Tokenizer::from_alphabet("abcdefghijklmnopqrstuvwxyz 0123456789\n").unwrap();
        PreferenceData::open(config, &tokenizer, None, 12, kinds)
    }

    fn refused(&self, kinds: PreferenceKinds) -> String {
        self.open(&self.config(), kinds).unwrap_err().to_string()
    }
}

fn pair(prompt: &str, chosen: &str, rejected: &str, more: &str) -> String {
    format!("{{\"prompt\": \"{prompt}\", \"chosen\": \"{chosen}\", \"rejected\": \"{rejected}\"{more}}}\n")
}

/// Eight prompts of two topics, each with three answers and two pairs.
fn eight_prompts() -> Files {
    let pairs = |number: usize| {
        let topic = format!(", \"topic\": \"t{}\"", number % 4);
        let prompt = format!("p{number}");
        pair(&prompt, " good", " bad", &topic) + &pair(&prompt, " good", " so so", &topic)
    };
    Files::with(&(0..8).map(pairs).collect::<String>())
}

#[test]
fn each_answer_is_encoded_once_and_pairs_name_it() {
    let files = eight_prompts();
    let found = files.open(&files.config(), PreferenceKinds::All).unwrap();
    assert_eq!((found.training.len(), found.validation.len()), (6, 2));
    for prompt in found.training.iter().chain(&found.validation) {
        assert_eq!((prompt.answers.len(), prompt.pairs.len()), (3, 2));
        let places: Vec<_> = prompt.pairs.iter().map(|pair| (pair.chosen, pair.rejected)).collect();
        assert_eq!(places, [(0, 1), (0, 2)]);
        // `p0`, then ` good` and the end.
        assert_eq!(prompt.answers[0].counted, (2..8).collect::<Vec<_>>());
    }
    let counts = found.counts;
    assert_eq!((counts.read, counts.prompts, counts.answers, counts.kept), (16, 8, 24, 16));
}

#[test]
fn whole_topics_are_held_out_in_turn() {
    let files = eight_prompts();
    let mut seen = BTreeSet::new();
    for fold in 0..2 {
        let config =
            PreferenceConfig { validation_by: Some("topic".into()), validation_share: 0.5, fold, ..files.config() };
        let found = files.open(&config, PreferenceKinds::All).unwrap();
        let topics = |prompts: &[PromptPreferences]| -> BTreeSet<String> {
            prompts.iter().map(|prompt| prompt.group.as_ref().unwrap().to_string()).collect()
        };
        let (training, validation) = (topics(&found.training), topics(&found.validation));
        assert!(training.is_disjoint(&validation) && validation.len() == 2, "{training:?} {validation:?}");
        seen.extend(validation);
    }
    assert_eq!(seen.len(), 4, "each topic is held out once");
    let many = PreferenceConfig { validation_by: Some("topic".into()), validation_share: 0.1, ..files.config() };
    let error = files.open(&many, PreferenceKinds::All).unwrap_err().to_string();
    assert!(
        error.starts_with("preferences.validation_share: 0.1 makes 10 parts, and the files have 4 groups"),
        "{error}"
    );
    let without = PreferenceConfig { validation_by: Some("theme".into()), ..files.config() };
    let error = files.open(&without, PreferenceKinds::All).unwrap_err().to_string();
    assert!(
        error.contains("preferences.jsonl: line 1, theme: missing, and preferences.validation_by names it"),
        "{error}"
    );
}

#[test]
fn people_who_disagree_and_answers_that_lose_what_differs() {
    let by = |name: &str| format!(", \"annotator\": \"{name}\"");
    let lines = [
        pair("p", " a", " b", &by("x")),
        pair("p", " b", " a", &by("y")),
        pair("p", " a", " b", &by("z")),
        pair("q", " a", " b", ""),
        // Equal in the twelve tokens of a row.
        pair("r", " the same to here then a", " the same to here then b", ""),
        pair("s", " a", " b", ""),
        pair("t", " a", " b", ", \"tie\": true"),
    ];
    let files = Files::with(&lines.concat());
    let open = |conflicts, kinds| files.open(&PreferenceConfig { conflicts, ..files.config() }, kinds).unwrap();
    let weights = |found: &PreferenceData| -> Vec<f32> {
        let all = found.training.iter().chain(&found.validation);
        let mut weights: Vec<f32> = all.flat_map(|prompt| &prompt.pairs).map(|pair| pair.weight).collect();
        weights.sort_by(f32::total_cmp);
        weights
    };
    let majority = open(Conflicts::Majority, PreferenceKinds::All);
    assert_eq!(weights(&majority), [1.0, 1.0, 1.0, 1.0]);
    assert_eq!((majority.counts.conflicts, majority.counts.cut, majority.counts.dropped), (1, 2, 1));
    assert_eq!(weights(&open(Conflicts::Share, PreferenceKinds::All)), [1.0 / 3.0, 2.0 / 3.0, 1.0, 1.0, 1.0]);
    assert_eq!(weights(&open(Conflicts::All, PreferenceKinds::All)).len(), 6);
    // A tie has no better answer.
    let lines = lines.concat() + &pair("u", " a", " b", "");
    let files = Files::with(&lines);
    let pairs = files.open(&files.config(), PreferenceKinds::Pairs).unwrap();
    assert_eq!((weights(&pairs).len(), pairs.counts.unused), (4, 1));
}

#[test]
fn labels_are_made_of_pairs_and_have_answers_to_other_prompts() {
    let files = eight_prompts();
    let found = files.open(&files.config(), PreferenceKinds::Labels).unwrap();
    let prompt = &found.training[0];
    assert!(prompt.pairs.is_empty());
    let labels: Vec<(usize, f32)> = prompt.labels.iter().map(|label| (label.answer, label.value)).collect();
    assert_eq!(labels, [(0, 1.0), (1, 0.0), (0, 1.0), (2, 0.0)]);
    let next = &found.training[1];
    assert_eq!((prompt.mismatched.len(), prompt.answers.len(), next.answers.len()), (3, 3, 3));
    for (mixed, (own, other)) in prompt.mismatched.iter().zip(prompt.answers.iter().zip(&next.answers)) {
        assert_eq!(mixed.tokens[..2], own.tokens[..2]);
        assert_eq!(mixed.tokens[2..], other.tokens[2..]);
        assert_eq!(mixed.counted, other.counted);
    }
}

#[test]
fn prompts_come_whole_in_an_order_that_a_resumed_run_goes_on_with() {
    let files = eight_prompts();
    let device = Device::flex();
    let config = PreferenceConfig { batch: 3, ..files.config() };
    let source = || {
        let preferences = files.open(&config, PreferenceKinds::All).unwrap();
        PreferenceSource::new(preferences, config.clone(), 5, device.clone())
    };
    let tokens = |source: &mut PreferenceSource| -> Vec<i64> {
        let parts = source.next_parts(&Alone);
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].totals.pairs, 4.0, "two prompts of two pairs");
        parts[0].answers[0].read.tokens.to_data().iter::<i64>().collect()
    };
    let mut whole = source();
    let drawn: Vec<Vec<i64>> = (0..7).map(|_| tokens(&mut whole)).collect();
    assert!(drawn[..3].iter().collect::<BTreeSet<_>>().len() == 3);
    assert_ne!(drawn[..3], drawn[3..6], "each epoch has an order of its own");
    let mut first = source();
    (0..4).for_each(|_| drop(tokens(&mut first)));
    let state = serde_json::to_value(first.place).unwrap();
    let mut resumed = source();
    resumed.place = serde_json::from_value(state).unwrap();
    assert_eq!((4..7).map(|_| tokens(&mut resumed)).collect::<Vec<_>>(), drawn[4..]);
}

#[test]
fn steps_score_each_beginning_of_an_answer_and_a_policy_learns_from_the_whole() {
    let row = |number| {
        format!("{{\"prompt\": \"p{number}\", \"completions\": [\" a\", \"b\"], \"labels\": [true, false]}}\n")
    };
    let files = Files::with(&(0..4).map(row).collect::<String>());
    let labels = |kinds| {
        let found = files.open(&files.config(), kinds).unwrap();
        let prompt = &found.training[0];
        let label = |label: &Single| (prompt.answers[label.answer].counted.len(), label.value);
        prompt.labels.iter().map(label).collect::<Vec<_>>()
    };
    // ` a` and the end; ` a`, a new line, `b` and the end.
    assert_eq!(labels(PreferenceKinds::All), [(3, 1.0), (5, 0.0)]);
    assert_eq!(labels(PreferenceKinds::Labels), [(5, 0.0)]);
}

#[test]
fn what_cannot_be_learned_from_is_refused() {
    assert!(
        Files::with("").refused(PreferenceKinds::All).contains("preferences.jsonl: is empty: it should have a row")
    );
    let nan = Files::with("{\"prompt\": \"p\", \"completion\": \" a\", \"rating\": NaN}\n");
    assert!(
        nan.refused(PreferenceKinds::All).contains("line 1, the line: is no JSON"),
        "{}",
        nan.refused(PreferenceKinds::All)
    );
    let labels = Files::with("{\"prompt\": \"p\", \"completion\": \" a\", \"label\": true}\n");
    let error = labels.refused(PreferenceKinds::Pairs);
    assert!(error.contains("of 1 preferences none is left to learn from: 1 are no pairs of a better"), "{error}");
    let unknown = Files::with(&pair("p", " é", " b", ""));
    assert!(
        unknown.refused(PreferenceKinds::All).contains("preferences.jsonl: line 1, completion: "),
        "{}",
        unknown.refused(PreferenceKinds::All)
    );
    let messages =
        "{\"prompt\": [{\"role\": \"user\", \"content\": \"p\"}], \"chosen\": \" a\", \"rejected\": \" b\"}\n";
    let error = Files::with(messages).refused(PreferenceKinds::All);
    assert!(error.contains("line 1, messages: there is no chat template to write it with"), "{error}");
    let twice = pair("p", " a", " b", ", \"annotator\": \"x\"") + &pair("p", " b", " a", ", \"annotator\": \"x\"");
    assert!(
        Files::with(&twice).refused(PreferenceKinds::All).contains("annotator \"x\" labelled the same answers twice")
    );
}

#[test]
fn impossible_settings_are_refused_by_name() {
    let files = eight_prompts();
    let refused = |config: PreferenceConfig| config.check().unwrap_err().to_string();
    assert_eq!(refused(PreferenceConfig::default()), "preferences.files: name files of preferences");
    assert_eq!(refused(PreferenceConfig { batch: 0, ..files.config() }), "preferences.batch: 0 is not at least 1");
    let share = refused(PreferenceConfig { validation_share: 0.9, ..files.config() });
    assert_eq!(share, "preferences.validation_share: 0.9 is not above 0 and at most 0.5");
    let fold = refused(PreferenceConfig { fold: 4, ..files.config() });
    assert_eq!(fold, "preferences.fold: 4 is not below 4, the parts that validation_share makes");
}

#[test]
fn whole_texts_that_part_anywhere_are_learned_and_equal_ones_left_out() {
    let whole = |chosen: &str, rejected: &str| format!("{{\"chosen\": \"{chosen}\", \"rejected\": \"{rejected}\"}}\n");
    let lines = [
        whole("i think", "i thank"),
        whole("it is yes", "it is"),
        whole("same", "same"),
        pair("p", " a", " a", ""),
        whole("so it is", "no"),
        whole("a b", "a c"),
    ];
    let files = Files::with(&lines.concat());
    let found = files.open(&files.config(), PreferenceKinds::All).unwrap();
    let counts = found.counts;
    assert_eq!((counts.read, counts.equal, counts.kept, counts.dropped, counts.apart), (6, 2, 4, 0, 0));
    assert!(counts.to_string().contains("; 2 left out, since both answers are the same"), "{counts}");
    let all: Vec<_> = found.training.iter().chain(&found.validation).collect();
    let of_prompt = |count: usize| {
        let is_it = |prompt: &&&PromptPreferences| prompt.answers[0].tokens.len() == count;
        let prompt = all.iter().find(is_it).unwrap();
        [0, 1].map(|answer| prompt.answers[answer].counted.clone())
    };
    // `i th`, then `ink` or `ank` and the end; `it is`, then ` yes` or nothing and the end.
    assert_eq!(of_prompt(8), [vec![4, 5, 6, 7], vec![4, 5, 6, 7]]);
    assert_eq!(of_prompt(10), [vec![5, 6, 7, 8, 9], vec![5]]);
}
