use super::*;
use crate::{Error, Registry, Turn};
use palestra_datasets::RULES;

/// An episode with this text as its last action, after a turn with reward 1 from the rules.
fn episode(action: &str) -> Episode {
    let turn = |action: &str, reward| Turn { action: action.into(), reward, ..Turn::default() };
    Episode { id: format!("of {action}"), turns: vec![turn("first", 1.0), turn(action, 0.0)], ..Episode::default() }
}

fn definition(text: &str) -> RewardDefinition {
    palestra_settings::parse_toml("reward.toml", text).unwrap()
}

fn rewards(definitions: &[&str]) -> Result<Rewards> {
    let definitions: Vec<RewardDefinition> = definitions.iter().map(|text| definition(text)).collect();
    Registry::builtin().with_reward("odd", |_| Ok(Box::new(Odd))).rewards(&definitions)
}

/// Scores of single texts by one reward.
fn scores<const N: usize>(text: &str, answers: [&str; N]) -> [Option<f32>; N] {
    let rewards = rewards(&[text]).unwrap();
    let mut episodes = answers.map(episode);
    let name = rewards.names().next().unwrap().to_string();
    let scores = rewards.score(&mut episodes).unwrap();
    std::array::from_fn(|at| scores[at].scores[&name])
}

/// Fails for `?`, gives a score that is not a number for `!`, and one score too few for each answer `-`.
struct Odd;

impl Reward for Odd {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Option<f32>>> {
        let score = |episode: &Episode| match answer(episode) {
            "?" => Some(None),
            "!" => Some(Some(f32::NAN)),
            "-" => None,
            text => Some(Some(text.len() as f32)),
        };
        Ok(episodes.iter().filter_map(score).collect())
    }

    fn source(&self) -> RewardSource {
        RewardSource::Model
    }
}

#[test]
fn lengths_near_a_target_and_within_a_limit() {
    let near = "kind = 'length'\noptions = { unit = 'words', target = 4 }";
    assert_eq!(scores(near, ["a b c d", "a b", "", "a b c d e f g h i"]), [Some(1.0), Some(0.5), Some(0.0), Some(0.0)]);
    let within = "kind = 'length'\noptions = { max = 100, cache = 20 }";
    let texts = [50, 80, 90, 100, 101].map(|length| "x".repeat(length));
    let found = scores(within, std::array::from_fn::<&str, 5, _>(|at| &texts[at]));
    assert_eq!(found, [0.0, 0.0, -0.5, -1.0, -1.0].map(Some));
    assert_eq!(scores("kind = 'length'\noptions = { unit = 'tokens', max = 3 }", ["a"]), [None], "no ids, no length");
}

#[test]
fn patterns_are_found_and_counted() {
    assert_eq!(scores("kind = 'pattern'\noptions.pattern = 'a'", ["banana", "b"]), [Some(1.0), Some(0.0)]);
    let whole = "kind = 'pattern'\noptions = { pattern = 'a|b', whole = true }";
    assert_eq!(scores(whole, ["a", "ab", "b\n"]), [Some(1.0), Some(0.0), Some(0.0)]);
    let counted = "kind = 'pattern'\noptions = { pattern = 'a', count = true, at_most = 2 }";
    assert_eq!(scores(counted, ["banana", "a", ""]), [Some(2.0), Some(1.0), Some(0.0)]);
}

#[test]
fn words_count_for_and_against() {
    let lexicon = "kind = 'lexicon'\noptions.words = { good = 1.0, \"Don't\" = -0.5 }";
    assert_eq!(scores(lexicon, ["Good, goods.", "don't good GOOD", ""]), [Some(1.0), Some(1.5), Some(0.0)]);
    let per_word = format!("{lexicon}\noptions.per_word = true");
    assert_eq!(scores(&per_word, ["good a b good", ""]), [Some(0.5), Some(0.0)]);
}

#[test]
fn an_answer_is_held_against_its_reference() {
    let rewards = rewards(&[
        "kind = 'reference'",
        "kind = 'reference'\nname = 'within'\noptions = { by = 'contains', \
                             ignore_case = true, column = 'name' }",
    ])
    .unwrap();
    let told = |action: &str, info: Option<&str>| {
        let mut episode = episode(action);
        episode.turns[1].info = info.map(str::to_string);
        let scores = rewards.score(std::slice::from_mut(&mut episode)).unwrap().remove(0);
        [scores.scores["reference"], scores.scores["within"], scores.total]
    };
    let info = Some(r#"{"row": {"answer": " 4 ", "name": "Four"}, "name": "five"}"#);
    assert_eq!(told("4", info), [Some(1.0), Some(0.0), Some(1.0)]);
    assert_eq!(told("it is four", info), [Some(0.0), Some(1.0), Some(1.0)]);
    assert_eq!(told("5", Some(r#"{"answer": 5}"#)), [Some(1.0), None, None], "no reference is no score");
    assert_eq!(told("5", None), [None, None, None]);
}

#[test]
fn scores_are_summed_by_weight_and_told_apart() {
    let rewards =
        rewards(&["kind = 'odd'\nweight = 0.5", "kind = 'pattern'\noptions.pattern = 'b'\nweight = -3.0\nname = 'b'"]);
    let rewards = rewards.unwrap();
    let mut episodes = [episode("abcd"), episode("aa"), episode("?")];
    episodes[1].turns[1].reward = 10.0;
    let scores = rewards.score(&mut episodes).unwrap();
    assert_eq!(scores.iter().map(|scores| scores.total).collect::<Vec<_>>(), [Some(-1.0), Some(1.0), None]);
    let last = |at: usize| &episodes[at].turns[1];
    let parts = |at: usize| last(at).reward_parts.iter().map(|(name, part)| (name.as_str(), *part)).collect::<Vec<_>>();
    assert_eq!((last(0).reward, parts(0)), (-1.0, vec![("b", -3.0), ("odd", 2.0)]));
    assert_eq!((last(1).reward, parts(1)), (11.0, vec![("b", 0.0), ("odd", 1.0), (RULES, 10.0)]));
    assert_eq!((last(2).reward, parts(2)), (0.0, vec![]), "without a score nothing is added, not even 0");
    assert_eq!(episodes[0].turns[0].reward_parts.len(), 0);
    assert_eq!(episodes[0].reward_source.as_deref(), Some("model"));
    assert_eq!((last(1).by_rules(), last(0).by_rules(), episodes[0].turns[0].by_rules()), (10.0, 0.0, 1.0));
    let summary = RewardSummary::of(scores.iter().map(|scores| &scores.scores));
    let RewardSummary { mean, std, scored, missing } = summary["odd"];
    assert_eq!((mean, scored, missing), (3.0, 2, 1));
    assert!((std - 2f64.sqrt()).abs() < 1e-12);
}

#[test]
fn without_rewards_nothing_changes() {
    let mut played = episode("a");
    let scores = Rewards::default().score(std::slice::from_mut(&mut played)).unwrap();
    assert_eq!((scores[0].total, played), (Some(0.0), episode("a")));
}

#[test]
fn a_reward_that_fails_is_named() {
    let told = |text: &str, answers: &[&str]| {
        let mut episodes: Vec<Episode> = answers.iter().map(|answer| episode(answer)).collect();
        match rewards(&[text]).unwrap().score(&mut episodes) {
            Err(error @ Error::Reward { .. }) => error.to_string(),
            other => panic!("{other:?}"),
        }
    };
    let strict = "kind = 'odd'\nmissing = 'error'";
    assert_eq!(
        told(strict, &["a", "?"]),
        "reward odd: episode of ? has no score; missing = \"drop\" leaves out such episodes and counts them"
    );
    let named = "kind = 'odd'\nname = 'strange'";
    assert_eq!(told(named, &["!"]), "reward strange: episode of !: NaN is no score; it must be a finite number");
    assert_eq!(told(named, &["a", "-"]), "reward strange: it gave 1 scores for 2 episodes");
}

#[test]
fn wrong_definitions_are_told_with_their_place() {
    let told = |text: &str| {
        #[derive(Deserialize)]
        struct File {
            reward: Vec<RewardDefinition>,
        }
        let File { reward } = palestra_settings::parse_toml("run.toml", text).unwrap();
        let written = reward.into_iter().enumerate();
        let written: Vec<RewardDefinition> =
            written.map(|(at, reward)| reward.written_in("run.toml", text, &format!("reward.{at}"))).collect();
        Registry::builtin().rewards(&written).err().expect("refused").to_string()
    };
    let second = "[[reward]]\nkind = 'length'\noptions.target = 3\n";
    let cases = [
        (
            "[[reward]]\nkind = 'lenght'",
            "run.toml:5: reward.1.kind: no kind of reward `lenght`; did you mean `length`?",
        ),
        (
            "[[reward]]\nkind = 'length'\noptions.max = 3",
            "run.toml:5: reward.1.kind: name: there are two rewards `length`",
        ),
        (
            "[[reward]]\nkind = 'pattern'\n[reward.options]\npatern = 'a'",
            "run.toml:7: unknown key `patern` in [reward.1.options]; did you mean `pattern`?",
        ),
        (
            "[[reward]]\nkind = 'pattern'\n[reward.options]\npattern = '('",
            "run.toml:7: reward.1.options.pattern: regex",
        ),
        ("[[reward]]\nkind = 'pattern'\n", "run.toml:4: reward.1.options.pattern: it is missing; "),
        ("[[reward]]\nkind = 'lexicon'\noptions.words = { 'a b' = 1.0 }", "reward.1.options.words: \"a b\" = 1 is not"),
        ("[[reward]]\nkind = 'pattern'\noptions.pattern = 'a'\nname = 'rules'", "name: \"rules\" names no reward"),
        (
            "[[reward]]\nkind = 'pattern'\noptions.pattern = 'a'\nname = 'missing_end'",
            "name: \"missing_end\" names no reward",
        ),
        ("[[reward]]\nkind = 'pattern'\noptions.pattern = 'a'\nweight = inf", "weight: inf must be finite"),
    ];
    for (text, expected) in cases {
        let told = told(&format!("{second}{text}"));
        assert!(told.contains(expected), "{told:?} lacks {expected:?}");
    }
}

#[test]
fn rewards_see_the_answer_proper() {
    let boxed = "kind = 'length'\noptions = { target = 2 }\nextract = { boxed = true }";
    assert_eq!(scores(boxed, ["so \\boxed{42}", "42", "\\boxed{1}\\boxed{}"]), [Some(1.0), Some(0.0), Some(0.0)]);
    let format = "kind = 'format'\noptions = { xml = 'answer' }";
    assert_eq!(scores(format, ["<answer>1</answer>", "<answer>1"]), [Some(1.0), Some(0.0)]);
    let told = |text: &str| rewards(&[text]).err().unwrap().to_string();
    assert!(told("kind = 'format'").contains("format needs one of"));
    assert!(told("kind = 'format'\noptions.pattern = '('").contains("options.pattern: pattern: regex"));
    assert!(
        told("kind = 'length'\noptions.max = 2\nextract = { xml = '<' }").contains("extract: xml: \"<\" names no tag")
    );
}

#[test]
fn answers_are_compared_as_mathematics() {
    let rewards = rewards(&["kind = 'math'\nextract = { boxed = true }"]).unwrap();
    let score = |action: &str, info: Option<&str>| {
        let mut episode = episode(action);
        episode.turns[1].info = info.map(str::to_string);
        rewards.score(std::slice::from_mut(&mut episode)).unwrap()[0].total
    };
    let info = Some(r#"{"row": {"answer": 0.5}}"#);
    assert_eq!(score(r"\boxed{\frac{1}{2}}", info), Some(1.0));
    assert_eq!((score(r"\boxed{2}", info), score("0.5", info)), (Some(0.0), Some(0.0)));
    assert_eq!(score(r"\boxed{2}", None), None, "no reference is no score");
}

#[test]
fn every_turn_can_be_scored() {
    let rewards =
        rewards(&["kind = 'odd'\nper = 'turn'\nweight = 0.5", "kind = 'pattern'\noptions.pattern = 'b'"]).unwrap();
    let mut episodes = [episode("abcd"), episode("?")];
    let scores = rewards.score(&mut episodes).unwrap();
    assert_eq!((scores[0].total, scores[0].scores["odd"]), (Some(5.5), Some(9.0)), "`first` and `abcd`");
    let parts = |turn: &Turn| turn.reward_parts.iter().map(|(name, part)| (name.clone(), *part)).collect::<Vec<_>>();
    let part = |name: &str, part: f32| (name.to_string(), part);
    assert_eq!(parts(&episodes[0].turns[0]), [part("odd", 2.5), part(RULES, 1.0)]);
    assert_eq!(parts(&episodes[0].turns[1]), [part("odd", 2.0), part("pattern", 1.0)]);
    assert_eq!((scores[1].total, scores[1].scores["odd"]), (None, None), "one turn without a score");
    assert_eq!(episodes[1].turns[0].reward, 1.0);
}

#[test]
fn a_program_gives_scores() {
    // The number of letters `a` in a request is that of the answers, less those of `episodes`, `actions` and the like.
    let program = |body: &str| {
        let script = format!(
            "while read -r line; do s=${{line#*\\\"session\\\":}}; s=${{s%%[,\\}}]*}}; case $line in \
             *'\"hello\"'*) echo '{{\"type\":\"hello\",\"protocol\":1}}' ;; *'\"score\"'*) {body} ;; esac; done"
        );
        let quoted = toml::Value::from(script);
        format!(
            "kind = 'process'\noptions = {{ command = ['sh', '-c', {quoted}], batch = 2, workers = 2, max_failures = 1 }}"
        )
    };
    let told = "case $line in *bad*) t='1.5,null' ;; *) t=0.25 ;; esac; \
                echo '{\"type\":\"score\",\"session\":'$s',\"scores\":['$t']}'";
    assert_eq!(scores(&program(told), ["bad", "b", "c"]), [Some(1.5), None, Some(0.25)]);
    let wrong = program("echo '{\"type\":\"error\",\"session\":'$s',\"message\":\"no\"}'");
    assert_eq!(scores(&wrong, ["a"]), [None], "a batch that fails has no scores");
    let mut three = ["a", "b", "c"].map(episode);
    let error = rewards(&[&wrong]).unwrap().score(&mut three).unwrap_err().to_string();
    assert!(error.contains("2 failures, more than `max_failures` = 1") && error.contains("no"), "{error}");
}
