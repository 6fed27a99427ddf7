use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use burn::tensor::TensorData;
use palestra_datasets::MISSING_END;
use palestra_datasets::log::{Log, LogWriter, ReadOptions, WriteOptions};
use palestra_envs::{End, EnvSpec, Observation, Options, Registry, Turn};

use super::*;
use crate::learners::OnPolicy;
use crate::learners::ppo::{Ppo, PpoConfig};
use crate::trajectory::{ActionToken, Segment};
use palestra_model::ops::{available_devices, open_device};
use palestra_model::{GenerationConfig, Heads, ModelConfig, parameters};
use palestra_testing::assert_close;
use palestra_text::Tokenizer;

mod messages;

/// An environment of two or three turns: it shows a letter and allows any of four actions. An odd seed is truncated in
/// the third turn, an even one terminates in the second.
struct Letters {
    spec: EnvSpec,
    seed: u64,
    turn: u64,
}

impl Letters {
    fn build(_: &Options) -> palestra_envs::Result<Box<dyn Env>> {
        Ok(Box::new(Self { spec: Self::spec_of(), seed: 0, turn: 0 }))
    }

    fn spec_of() -> EnvSpec {
        EnvSpec {
            id: "letters-v1".into(),
            max_turns: Some(3),
            reward_range: (0.0, 1.0),
            optimal_return: None,
            solved_return: None,
            stochastic: true,
            reproducible: true,
            tasks: None,
            alphabet: Some("abcd".into()),
        }
    }

    fn observation(&self) -> Observation {
        let text = ["a", "bc", "cab", "d"][((self.seed + self.turn) % 4) as usize].to_string();
        let actions: Vec<String> = ["a", "b", "ab", "cd"].map(String::from).into();
        Observation { content: text.into(), legal_actions: Some(actions.into()), ..Observation::default() }
    }
}

impl Env for Letters {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }
    fn reset(&mut self, seed: u64) -> palestra_envs::Result<Observation> {
        (self.seed, self.turn) = (seed, 0);
        Ok(self.observation())
    }
    fn step(&mut self, action: &str) -> palestra_envs::Result<Step> {
        self.turn += 1;
        let end = match (self.seed % 2, self.turn) {
            (0, 2) => Some(End::Terminated),
            (_, 3) => Some(End::Truncated),
            _ => None,
        };
        Ok(Step { observation: self.observation(), reward: action.len() as f32, end, invalid_action: false })
    }
    fn render(&self) -> String {
        self.observation().content.to_string()
    }
}

/// [`Letters`] that lists no legal action in its second turn.
struct Stuck(Letters);

impl Env for Stuck {
    fn spec(&self) -> &EnvSpec {
        self.0.spec()
    }
    fn reset(&mut self, seed: u64) -> palestra_envs::Result<Observation> {
        self.0.reset(seed)
    }
    fn step(&mut self, action: &str) -> palestra_envs::Result<Step> {
        let mut step = self.0.step(action)?;
        step.observation.legal_actions = Some(Vec::new().into());
        Ok(step)
    }
    fn render(&self) -> String {
        self.0.render()
    }
}

#[test]
fn a_turn_without_a_legal_action_is_named() {
    each_rollout(Context::Observation, 1, |mut rollout, policy| {
        let build = |_: &Options| {
            let spec = EnvSpec { id: "stuck-v1".into(), ..Letters::spec_of() };
            Ok(Box::new(Stuck(Letters { spec, seed: 0, turn: 0 })) as Box<dyn Env>)
        };
        let registry = Registry::builtin().with("stuck", build);
        rollout.pool = Pool::new(&registry, &registry.definition("stuck").unwrap(), 1).unwrap();
        let error = rollout.play(policy, 1, 5..6, &Sampling::default()).err().unwrap().to_string();
        assert!(error.starts_with("stuck-v1: episode 5, turn 1: legal_actions: the list is empty"), "{error}");
    });
}

/// Runs a test on every device, with the given number of parallel environments.
pub(super) fn each_rollout(context: Context, environments: usize, test: impl Fn(Rollout, &Policy)) {
    for device in available_devices() {
        let device = open_device(device).unwrap();
        let registry = Registry::builtin().with("letters", Letters::build);
        let definition = registry.definition("letters").unwrap();
        let pool = Pool::new(&registry, &definition, environments).unwrap();
        let tokenizer = Tokenizer::from_alphabet("abcd").unwrap();
        let shape = ModelConfig { context: 32, layers: 1, width: 8, heads: 2, ..ModelConfig::default() };
        let policy = Policy::new(
            &shape.resolve(tokenizer.vocab_size()).unwrap(),
            Heads { value: true, critic: None },
            3,
            &device,
        );
        let mut weights = parameters::collect(&policy);
        let head = (0..8).map(|i| i as f32 - 3.0).collect::<Vec<_>>();
        weights.insert("value_head.weight".into(), TensorData::new(head, [8, 1]));
        let policy = parameters::replace(policy, weights).unwrap();
        let config = RolloutConfig { context, environments, ..RolloutConfig::default() };
        let encoding = config.encoding(32);
        test(Rollout::new(pool, Encoder::new(tokenizer, encoding), config, None), &policy);
    }
}

/// Environments that wait for each other: the first step of each ends when all others are in theirs, which only calls at
/// once can do. One of them waits for longer, until others have played an episode.
struct Waiting {
    letters: Letters,
    meeting: Arc<Meeting>,
    number: usize,
    is_first: bool,
}

#[derive(Default)]
struct Meeting {
    count: Mutex<(usize, usize)>,
    changed: Condvar,
}

impl Meeting {
    /// Changes the counts of steps and of episodes, and waits until they are as they should be.
    fn wait(&self, change: impl FnOnce(&mut (usize, usize)), until: impl Fn(&(usize, usize)) -> bool) -> bool {
        let mut count = self.count.lock().unwrap();
        change(&mut count);
        self.changed.notify_all();
        let (count, late) =
            self.changed.wait_timeout_while(count, Duration::from_secs(20), |count| !until(count)).unwrap();
        drop(count);
        !late.timed_out()
    }
}

impl Env for Waiting {
    fn spec(&self) -> &EnvSpec {
        self.letters.spec()
    }
    fn reset(&mut self, seed: u64) -> palestra_envs::Result<Observation> {
        self.is_first = true;
        self.letters.reset(seed)
    }
    fn step(&mut self, action: &str) -> palestra_envs::Result<Step> {
        let is_first = std::mem::take(&mut self.is_first);
        let (own, number) = (usize::from(is_first), self.number);
        let met = self.meeting.wait(|count| count.0 += own, |count| count.0 >= 3 && (number % 3 > 0 || count.1 >= 2));
        assert!(met, "the environments are called one after the other");
        let step = self.letters.step(action)?;
        self.meeting.wait(|count| count.1 += usize::from(step.end.is_some()), |_| true);
        Ok(step)
    }
    fn waits(&self) -> bool {
        true
    }
    fn render(&self) -> String {
        self.letters.render()
    }
}

#[test]
fn environments_that_wait_are_called_at_once_and_do_not_stop_the_others() {
    each_rollout(Context::Transcript, 3, |mut rollout, policy| {
        let (expected, _) = rollout.play(policy, 3, 0..9, &Sampling::default()).unwrap();
        let (meeting, built) = (Arc::<Meeting>::default(), AtomicUsize::new(0));
        let build = move |_: &Options| {
            let letters = Letters { spec: Letters::spec_of(), seed: 0, turn: 0 };
            let number = built.fetch_add(1, Ordering::Relaxed);
            Ok(Box::new(Waiting { letters, meeting: Arc::clone(&meeting), number, is_first: true }) as Box<dyn Env>)
        };
        let registry = Registry::builtin().with("waiting", build);
        let pool = Pool::new(&registry, &registry.definition("waiting").unwrap(), 3).unwrap();
        let config = RolloutConfig { schedule: None, ..rollout.config.clone() };
        let mut rollout = Rollout::new(pool, rollout.encoder.clone(), config, None);
        assert_eq!(rollout.config.schedule, Some(Schedule::Ready), "it is the default of what waits");
        let (played, _) = rollout.play(policy, 3, 0..9, &Sampling::default()).unwrap();
        assert_eq!(played.len(), expected.len());
        for (found, expected) in played.iter().zip(&expected) {
            let actions =
                |it: &RolloutResult| it.episode.turns.iter().map(|turn| turn.action.clone()).collect::<Vec<_>>();
            assert_eq!(actions(found), actions(expected), "who is ready changes no result but for rounding");
        }
    });
}

#[test]
fn fewer_rows_than_environments_change_a_rollout_by_rounding_alone() {
    for context in [Context::Observation, Context::Transcript] {
        each_rollout(context, 5, |mut rollout, policy| {
            let (expected, _) = rollout.play(policy, 3, 0..12, &Sampling::default()).unwrap();
            for rows in [1, 3, 5] {
                rollout.config.rows = Some(rows);
                let (played, _) = rollout.play(policy, 3, 0..12, &Sampling::default()).unwrap();
                for (found, expected) in played.iter().zip(&expected) {
                    assert_same_tokens(&found.trajectory, &expected.trajectory);
                    let numbers = |it: &RolloutResult| {
                        it.trajectory.actions().flat_map(|action| [action.log_prob, action.value]).collect::<Vec<_>>()
                    };
                    assert_close!(numbers(found), numbers(expected), 1e-4);
                }
            }
        });
    }
}

#[test]
fn a_rollout_that_is_repeated_has_the_same_bits() {
    for context in [Context::Observation, Context::Transcript] {
        each_rollout(context, 5, |mut rollout, policy| {
            let mut bits = || {
                let (played, _) = rollout.play(policy, 3, 0..12, &Sampling::default()).unwrap();
                let actions = played.iter().flat_map(|played| played.trajectory.actions());
                actions.map(|action| (action.log_prob.to_bits(), action.value.to_bits())).collect::<Vec<_>>()
            };
            assert_eq!(bits(), bits());
        });
    }
}

#[test]
fn a_truncated_end_is_valued_and_a_terminated_one_is_not() {
    for context in [Context::Observation, Context::Transcript] {
        each_rollout(context, 4, |mut rollout, policy| {
            let (played, _) = rollout.play(policy, 1, 0..12, &Sampling::default()).unwrap();
            let ends: Vec<Option<End>> = played.iter().map(|played| played.episode.end).collect();
            assert!(ends.contains(&Some(End::Truncated)) && ends.contains(&Some(End::Terminated)), "{ends:?}");
            for RolloutResult { episode, trajectory, .. } in &played {
                let mut read = match context {
                    Context::Observation => Vec::new(),
                    Context::Transcript => trajectory.segments.last().unwrap().tokens.clone(),
                };
                read.push(1); // <|observation|>
                rollout
                    .encoder
                    .tokenizer()
                    .encode(&episode.final_observation.as_ref().unwrap().as_text(), &mut read)
                    .unwrap();
                read.push(2); // <|action|>
                let value = state_values(policy, &[&read])[0];
                let expected = if episode.end == Some(End::Truncated) { value } else { 0.0 };
                assert!((trajectory.last_value - expected).abs() < 1e-5);
                assert!(value != 0.0, "a value of 0 shows nothing");
            }
        });
    }
}

#[test]
fn how_many_are_played_at_once_changes_nothing() {
    for context in [Context::Observation, Context::Transcript] {
        for device in 0..available_devices().len() {
            let all = std::cell::RefCell::new(Vec::new());
            for environments in [1, 3, 12] {
                let seen = std::cell::Cell::new(0);
                each_rollout(context, environments, |mut rollout, policy| {
                    if seen.replace(seen.get() + 1) == device {
                        let (played, timings) = rollout.play(policy, 5, 20..32, &Sampling::default()).unwrap();
                        assert_eq!(
                            timings.turns,
                            played.iter().map(|played| played.episode.turns.len()).sum::<usize>()
                        );
                        let text = |played: &RolloutResult| {
                            let actions = played.episode.turns.iter().map(|turn| turn.action.clone());
                            (played.episode.id.clone(), actions.collect::<Vec<_>>())
                        };
                        all.borrow_mut().push(played.iter().map(text).collect::<Vec<_>>());
                    }
                });
            }
            let all = all.into_inner();
            assert_eq!((&all[0], &all[0]), (&all[1], &all[2]));
            let ids: Vec<&str> = all[0].iter().map(|(id, _)| id.as_str()).collect();
            assert_eq!((ids.len(), ids[0], ids[11]), (12, "5-20", "5-31"), "in the order of their numbers");
        }
    }
}

#[test]
fn tokens_hold_what_the_text_does() {
    for context in [Context::Observation, Context::Transcript] {
        each_rollout(context, 4, |mut rollout, policy| {
            let (played, _) = rollout.play(policy, 1, 0..8, &Sampling::default()).unwrap();
            for RolloutResult { episode, trajectory, .. } in &played {
                let segments = if context == Context::Observation { episode.turns.len() } else { 1 };
                assert_eq!(trajectory.segments.len(), segments);
                let rewards: f32 = trajectory.actions().map(|action| action.reward).sum();
                assert_eq!(f64::from(rewards), episode.total_reward());
                for (number, turn) in episode.turns.iter().enumerate() {
                    let written: Vec<u32> = trajectory
                        .segments
                        .iter()
                        .flat_map(|segment| segment.actions.iter().map(|action| (segment.tokens[action.at], action)))
                        .filter(|(_, action)| action.turn == number)
                        .map(|(token, _)| token)
                        .collect();
                    assert_eq!(rollout.encoder.tokenizer().decode(&written).unwrap(), turn.action);
                    assert_eq!(turn.action_ids.as_ref(), Some(&written));
                }
                let read: Vec<String> = trajectory
                    .segments
                    .iter()
                    .map(|segment| rollout.encoder.tokenizer().decode(&segment.tokens).unwrap())
                    .collect();
                let text = episode.turns.iter().map(|turn| turn.observation.to_string() + &turn.action);
                assert_eq!(read.concat(), text.collect::<String>());
            }
        });
    }
}

#[test]
fn a_stop_text_ends_an_action_and_is_no_part_of_it() {
    each_rollout(Context::Observation, 4, |mut rollout, policy| {
        rollout.config.legal_actions_only = false;
        rollout.config.stop = vec!["b".into(), "c".into()];
        rollout.encoder = Encoder::new(rollout.encoder.tokenizer().clone(), rollout.config.encoding(32));
        let (played, _) = rollout.play(policy, 1, 0..20, &Sampling::default()).unwrap();
        let turns: Vec<&Turn> = played.iter().flat_map(|played| &played.episode.turns).collect();
        assert!(turns.iter().all(|turn| turn.action.chars().all(|c| "ad".contains(c))));
        let stopped = |turn: &&&Turn| {
            let written = rollout.encoder.tokenizer().decode(turn.action_ids.as_ref().unwrap()).unwrap();
            written.len() == turn.action.len() + 1 && written.ends_with(['b', 'c'])
        };
        assert!(turns.iter().filter(stopped).count() > 10, "most texts meet a b or a c");
    });
}

#[test]
fn any_of_several_end_tokens_ends_an_action_and_is_no_part_of_it() {
    each_rollout(Context::Observation, 4, |mut rollout, policy| {
        rollout.config.legal_actions_only = false;
        let tokenizer = rollout.encoder.tokenizer().clone();
        let b = tokenizer.encode_beginning("b").unwrap()[0];
        let generation = GenerationConfig { eos: vec![b], ..GenerationConfig::default() };
        let ends = EndTokens::new(tokenizer.special().end, &generation);
        rollout.encoder = Encoder::new(tokenizer, rollout.config.encoding(32)).with_ends(ends.clone());
        let (played, _) = rollout.play(policy, 1, 0..20, &Sampling::default()).unwrap();
        let turns: Vec<&Turn> = played.iter().flat_map(|played| &played.episode.turns).collect();
        assert!(turns.iter().all(|turn| !turn.action.contains('b')));
        for end in ends.ids() {
            let ended = |turn: &&&Turn| turn.action_ids.as_ref().unwrap().last() == Some(end);
            assert!(turns.iter().filter(ended).count() > 5, "some texts end with {end}");
        }
        let before_last = |turn: &Turn| ends.before(turn.action_ids.as_ref().unwrap()).to_vec();
        assert!(turns.iter().all(|turn| before_last(turn).iter().all(|token| !ends.ids().contains(token))));
    });
}

#[test]
fn a_logged_episode_has_the_tokens_that_it_was_played_with() {
    for context in [Context::Observation, Context::Transcript] {
        for legal_actions_only in [true, false] {
            each_rollout(context, 4, |mut rollout, policy| {
                rollout.config.legal_actions_only = legal_actions_only;
                rollout.config.max_new_tokens = 2;
                rollout.encoder = Encoder::new(rollout.encoder.tokenizer().clone(), rollout.config.encoding(32));
                let (played, _) = rollout.play(policy, 1, 0..8, &Sampling::default()).unwrap();
                let hash = rollout.encoder.tokenizer().fingerprint().to_string();
                for RolloutResult { episode, trajectory, .. } in &played {
                    let with_ids = Episode { tokenizer_hash: Some(hash.clone()), ..episode.clone() };
                    assert_same_tokens(&rollout.encoder.trajectory(&with_ids).unwrap(), trajectory);
                    // A text that reached the max length has no end token, and its text does not show that.
                    if legal_actions_only {
                        assert_same_tokens(&rollout.encoder.trajectory(episode).unwrap(), trajectory);
                    }
                }
            });
        }
    }
}

pub(super) fn assert_same_tokens(logged: &Trajectory, played: &Trajectory) {
    assert_eq!((logged.end, logged.segments.len()), (played.end, played.segments.len()));
    assert_eq!(logged.final_prompt, played.final_prompt);
    for (logged, played) in logged.segments.iter().zip(&played.segments) {
        assert_eq!(logged.tokens, played.tokens);
        let told = |action: &ActionToken| (action.at, action.turn, action.reward, action.allowed.clone());
        let told = |segment: &Segment| segment.actions.iter().map(told).collect::<Vec<_>>();
        assert_eq!(told(logged), told(played));
    }
}

#[test]
fn a_mixture_knows_how_likely_its_actions_were() {
    each_rollout(Context::Observation, 64, |rollout, policy| {
        let mut rollout = rollout.exploring(0.5);
        let mut probabilities = |sampling| {
            let (played, _) = rollout.play(policy, 1, 0..256, &sampling).unwrap();
            let turns = played.iter().flat_map(|played| &played.episode.turns);
            let probability = |turn: &Turn| {
                let [log_prob] = turn.log_probs.as_deref().unwrap() else { panic!("one for the whole action") };
                assert_eq!(turn.action_ids, None);
                f64::from(*log_prob).exp()
            };
            turns.map(probability).collect::<Vec<_>>()
        };
        let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
        // The mean of 1 / p over actions drawn from p is the number of possible actions.
        let inverse = mean(probabilities(Sampling::default()).iter().map(|p| 1.0 / p).collect());
        assert!((inverse - 4.0).abs() < 0.25, "{inverse} actions of 4");
        let greedy = probabilities(Sampling::GREEDY);
        let is = |p: &f64, expected: f64| (p - expected).abs() < 1e-6;
        assert!(greedy.iter().all(|p| is(p, 0.625) || is(p, 0.125)), "the policy's own choice is certain");
        let own = greedy.iter().filter(|p| is(p, 0.625)).count() as f64 / greedy.len() as f64;
        assert!((own - 0.625).abs() < 0.06, "{own} of the actions are the policy's");
    });
}

#[test]
fn a_mixture_that_writes_freely_does_not_know() {
    each_rollout(Context::Transcript, 4, |rollout, policy| {
        let mut rollout = rollout.exploring(0.5);
        rollout.config.legal_actions_only = false;
        rollout.config.max_new_tokens = 1; // shorter than some legal actions
        rollout.encoder = Encoder::new(rollout.encoder.tokenizer().clone(), rollout.config.encoding(32));
        let (played, _) = rollout.play(policy, 1, 0..20, &Sampling::default()).unwrap();
        let turns: Vec<&Turn> = played.iter().flat_map(|played| &played.episode.turns).collect();
        assert!(turns.iter().all(|turn| turn.log_probs.is_none() && turn.action_ids.is_none()));
        let whole = turns.iter().filter(|turn| ["ab", "cd"].contains(&turn.action.as_str())).count();
        assert!(whole > 5, "{whole} random actions of two letters among {}", turns.len());
    });
}

#[test]
fn episodes_of_a_group_begin_alike_and_are_sampled_apart() {
    each_rollout(Context::Observation, 3, |mut rollout, policy| {
        let alone: Vec<Option<u64>> = (0..3).map(|number| Some(palestra_envs::episode_seed(5, number))).collect();
        rollout.config.group = 4;
        let (played, _) = rollout.play(policy, 5, 0..12, &Sampling::default()).unwrap();
        let groups: Vec<u64> = played.iter().map(|played| played.trajectory.group).collect();
        assert_eq!(groups, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]);
        assert_eq!(played.len(), 4 * alone.len());
        for (group, seed) in played.chunks(4).zip(alone) {
            let actions =
                |played: &RolloutResult| played.episode.turns.iter().map(|t| t.action.clone()).collect::<Vec<_>>();
            assert!(group.iter().all(|played| played.episode.seed == seed));
            assert!(group.iter().any(|played| actions(played) != actions(&group[0])), "each has numbers of its own");
        }
    });
}

/// Scores the number of letters, and fails for answers that end in d.
struct Length;

impl palestra_envs::Reward for Length {
    fn score(&self, episodes: &[Episode]) -> palestra_envs::Result<Vec<Option<f32>>> {
        let score = |episode: &Episode| {
            let text = palestra_envs::reward::answer(episode);
            (!text.ends_with('d')).then_some(text.len() as f32)
        };
        Ok(episodes.iter().map(score).collect())
    }
}

#[test]
fn scores_land_on_the_last_token_and_what_has_none_is_left_as_it_is() {
    let reward = palestra_envs::RewardDefinition { weight: 10.0, ..palestra_envs::RewardDefinition::of_kind("length") };
    let rewards = || Rewards::new([(reward.clone(), Box::new(Length) as Box<dyn palestra_envs::Reward>)]).unwrap();
    each_rollout(Context::Transcript, 4, |rollout, policy| {
        let mut rollout = rollout.with_rewards(rewards());
        let (played, _) = rollout.play(policy, 2, 0..32, &Sampling::default()).unwrap();
        let totals = |played: &[RolloutResult]| {
            played
                .iter()
                .map(|played| (played.episode.total_reward(), played.trajectory.total_reward()))
                .collect::<Vec<_>>()
        };
        rollout.config.schedule = Some(Schedule::Ready);
        let (beside, _) = rollout.play(policy, 2, 0..32, &Sampling::default()).unwrap();
        assert_eq!(totals(&beside), totals(&played), "scored while others are played");
        let mut each = Vec::new();
        let mut take = |number: u64, played: RolloutResult| {
            each.push((number, played.episode.total_reward()));
            Ok::<(), crate::Error>(())
        };
        rollout.play_each(policy, 2, 0..32, &Sampling::default(), &mut |_, _, _| Ok(()), &mut take).unwrap();
        each.sort_by_key(|(number, _)| *number);
        assert_eq!(
            each.iter().map(|(_, total)| *total).collect::<Vec<_>>(),
            played.iter().map(|played| played.episode.total_reward()).collect::<Vec<_>>(),
            "scored together or in parts"
        );
        assert!(
            played.iter().any(RolloutResult::is_scored) && !played.iter().all(RolloutResult::is_scored),
            "the example shows both"
        );
        for RolloutResult { episode, trajectory, scores, .. } in &played {
            let last = episode.turns.last().unwrap();
            let own = last.action.len() as f32; // what the game gives
            let expected = scores["length"].map_or(own, |score| own + 10.0 * score);
            assert_eq!(last.reward, expected);
            assert_eq!(trajectory.actions().last().unwrap().reward, expected);
            assert!((f64::from(trajectory.total_reward()) - episode.total_reward()).abs() < 1e-4);
        }
        let metrics = summary(&played);
        let missing = played.iter().filter(|played| !played.is_scored()).count() as f64;
        assert_eq!(metrics["rewards/length_missing"], missing);
        assert!(metrics["rewards/rules_mean"] > 0.0 && metrics["rewards/length_mean"] > 0.0);
    });
}

#[test]
fn scores_returns_and_log_agree_with_rules_rewards_and_missing_ends() {
    let reward = palestra_envs::RewardDefinition { weight: 10.0, ..palestra_envs::RewardDefinition::of_kind("length") };
    for context in [Context::Observation, Context::Transcript] {
        each_rollout(context, 4, |mut rollout, policy| {
            rollout.config.legal_actions_only = false;
            rollout.config.max_new_tokens = 2;
            rollout.config.missing_end_penalty = 0.25;
            rollout.encoder = Encoder::new(rollout.encoder.tokenizer().clone(), rollout.config.encoding(32));
            let parts = [(reward.clone(), Box::new(Length) as Box<dyn palestra_envs::Reward>)];
            let mut rollout = rollout.with_rewards(Rewards::new(parts).unwrap());
            let (mut played, _) = rollout.play(policy, 2, 0..32, &Sampling::default()).unwrap();
            let returns = summary(&played);

            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("log.parquet");
            let mut writer = LogWriter::create(&path, WriteOptions::default()).unwrap();
            played.retain(RolloutResult::is_scored);
            played.iter().for_each(|played| writer.write(&played.episode).unwrap());
            writer.finish().unwrap();
            let log = Log::open(&[path.display().to_string()], ReadOptions::default()).unwrap();
            let logged: Vec<Episode> = log.episodes().map(|logged| logged.unwrap().episode).collect();
            assert_eq!(logged.len(), played.len());

            let mut learner = Ppo::new(PpoConfig::default(), 1.0).unwrap();
            let trajectories: Vec<Trajectory> = played.iter().map(|played| played.trajectory.clone()).collect();
            let (_, prepared) = learner.prepare(&trajectories);
            let mean = logged.iter().map(Episode::total_reward).sum::<f64>() / logged.len() as f64;
            assert!((returns["episode/return_mean"] - mean).abs() < 1e-12);
            assert!((prepared["objective/scores"] - mean).abs() < 1e-6, "{} and {mean}", prepared["objective/scores"]);

            let mut seen = std::collections::BTreeSet::new();
            for (RolloutResult { episode, scores, .. }, logged) in played.iter().zip(&logged) {
                assert_eq!(episode.turns.len(), logged.turns.len());
                for (number, (turn, logged)) in episode.turns.iter().zip(&logged.turns).enumerate() {
                    let ids = turn.action_ids.as_ref().unwrap();
                    let ended = ids.last() == rollout.encoder.tokenizer().special().end.as_ref();
                    let rules = turn.action.len() as f32;
                    let penalty = if ended { 0.0 } else { -0.25 };
                    let is_last = number + 1 == episode.turns.len();
                    let weighted = is_last.then(|| 10.0 * scores["length"].unwrap());
                    assert_eq!(turn.reward, rules + penalty + weighted.unwrap_or(0.0));
                    assert_eq!((turn.by_rules(), turn.reward_parts.get("length").copied()), (rules, weighted));
                    assert_eq!(turn.reward_parts.get(MISSING_END).copied(), (!ended).then_some(penalty));
                    assert_eq!((logged.reward, &logged.reward_parts), (turn.reward, &turn.reward_parts));
                    seen.insert((ended, is_last));
                }
            }
            assert_eq!(seen.len(), 4, "turns with and without an end token, last and not: {seen:?}");
            assert!(returns["rewards/missing_end_mean"] < 0.0);
        });
    }
}
