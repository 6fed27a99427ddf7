mod person;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use palestra_envs::baseline::random_policy;
use palestra_envs::{End, Env, Episode, FIRST_EVALUATION, Observation, Registry, Step, Turn};
use serde::Serialize;

use super::output::{Output, STANDARD_OUTPUT};
use super::policy;
use crate::{Error, Result};
use palestra_learn::rollout::RolloutEvent;
use person::Person;

/// Play an environment, or watch it played
///
/// You play in the terminal: each turn shows the state and the legal actions, and asks for your action: type it and
/// press Enter. Where actions are directions, arrow keys are actions too. An action that is not legal is asked for again,
/// and costs no turn. End the input (Ctrl-D) to stop.
///
/// With --policy you watch a policy instead: `random` chooses among the legal actions, `scripted` is the environment's
/// own policy, if it has one, and the directory of a run is the model trained there.
///
/// Writes nothing but its output.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra play frozen-lake-4x4
  palestra play frozen-lake-4x4 --policy scripted --delay 0.5
  palestra play frozen-lake-4x4 --policy random --episodes 10 --json | jq .mean_return
  palestra play frozen-lake-4x4 --policy runs/frozen-lake-ppo")]
pub struct Args {
    /// Name of a registered environment, or path of a TOML definition
    env: String,
    /// Policy that plays: human, random, scripted, or the directory of a run
    #[arg(long, default_value = "human", value_name = "POLICY")]
    policy: String,
    /// Seed of the first episode; it rises by 1 with each further episode
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Number of episodes to play
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    episodes: u64,
    /// Seconds to wait after each turn of a policy that you watch
    #[arg(long, default_value = "0", value_name = "SECONDS", value_parser = seconds)]
    delay: Duration,
}

/// Policy that chooses the actions.
enum Actor {
    Person(Person),
    Random,
    Scripted,
}

/// Episodes in the output of `--json`.
#[derive(Serialize)]
struct Played<'a> {
    env_id: &'a str,
    policy: &'a str,
    mean_return: f64,
    episodes: &'a [Episode],
}

pub fn run(args: &Args, registry: &Registry, output: &mut Output) -> Result<ExitCode> {
    let mut env = registry.make(&args.env)?;
    let mut actor = match args.policy.as_str() {
        "human" if output.wants_json() => {
            let reason = "--json: a person plays in the terminal; choose another policy with --policy";
            return Err(Error::Config(reason.to_string()));
        }
        "human" => Actor::Person(Person::at_terminal()),
        "random" => Actor::Random,
        "scripted" => Actor::Scripted,
        folder if Path::new(folder).is_dir() => return watch_trained(args, registry, output),
        other => {
            let reason =
                format!("--policy {other}: no such policy; it is human, random, scripted or a run's directory");
            return Err(Error::Config(reason));
        }
    };
    let mut episodes = Vec::new();
    for number in 0..args.episodes {
        let seed = args.seed.wrapping_add(number);
        let mut sink = io::sink();
        let screen: &mut dyn Write = if output.wants_json() { &mut sink } else { output.screen() };
        let episode = play(&mut *env, seed, &mut actor, args.delay, screen)?;
        let stopped = episode.end.is_none();
        episodes.push(Episode { policy_id: args.policy.clone(), ..episode });
        if stopped {
            break;
        }
    }
    report(args, &env.spec().id, &episodes, output)
}

/// Shows the model of a run at play in the named environment.
fn watch_trained(args: &Args, registry: &Registry, output: &mut Output) -> Result<ExitCode> {
    let agent = policy::trained(&args.policy, &args.env, registry, &[] as &[&str])?;
    let env_id = registry.build(agent.spec.env()?)?.spec().id.clone();
    let mut sink = io::sink();
    let screen: &mut dyn Write = if output.wants_json() { &mut sink } else { output.screen() };
    let played = agent.spec.watch(&agent.policy, registry, args.seed, args.episodes, &mut |number, seen, env| {
        let shown = match seen {
            RolloutEvent::Started => {
                let game = number - FIRST_EVALUATION + 1;
                writeln!(screen, "{env_id}, game {game}{}\n\n{}", limit_of(env), env.render().trim_end())
            }
            RolloutEvent::Stepped(action, step) => writeln!(screen, "> {action}")
                .and_then(|()| show_step(step, screen))
                .and_then(|()| writeln!(screen, "{}", env.render().trim_end())),
        };
        shown.and_then(|()| screen.flush()).map_err(Error::io(STANDARD_OUTPUT))?;
        std::thread::sleep(args.delay);
        Ok(())
    })?;
    let episodes: Vec<Episode> = played.into_iter().map(|played| played.episode).collect();
    if !output.wants_json() {
        for episode in &episodes {
            output.line(format!("{} turns, return {}", episode.turns.len(), episode.total_reward() as f32 + 0.0))?;
        }
    }
    report(args, &env_id, &episodes, output)
}

fn report(args: &Args, env_id: &str, episodes: &[Episode], output: &mut Output) -> Result<ExitCode> {
    if output.wants_json() {
        let total: f64 = episodes.iter().map(|episode| episode.total_reward()).sum();
        let mean_return = total / episodes.len() as f64;
        output.report(&Played { env_id, policy: &args.policy, mean_return, episodes }, "")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Plays one episode and shows it. An episode that a person stops has no end.
fn play(env: &mut dyn Env, seed: u64, actor: &mut Actor, delay: Duration, screen: &mut dyn Write) -> Result<Episode> {
    let show = |result: io::Result<()>| result.map_err(Error::io(STANDARD_OUTPUT));
    let env_id = env.spec().id.clone();
    show(writeln!(screen, "{env_id}, seed {seed}{}\n", limit_of(env)))?;
    let mut episode = Episode { id: format!("{env_id}/{seed}"), env_id, seed: Some(seed), ..Episode::default() };
    let mut observation = env.reset(seed)?;
    let mut random = random_policy(!seed); // another stream than the environment's
    while episode.end.is_none() {
        show(show_state(env, &observation, matches!(actor, Actor::Person(_)), screen))?;
        let legal = observation.legal_actions.as_deref();
        let action = match actor {
            Actor::Person(person) => match person.act(legal, screen)? {
                Some(action) => action,
                None => break,
            },
            Actor::Random if observation.legal_actions.is_none() => {
                return Err(Error::Config(format!("{}: lists no legal actions for a random policy", env.spec().id)));
            }
            Actor::Random => random(&observation),
            Actor::Scripted => env
                .scripted_action()
                .ok_or_else(|| Error::Config(format!("{}: there is no scripted policy", env.spec().id)))?,
        };
        if !matches!(actor, Actor::Person(_)) {
            show(writeln!(screen, "> {action}"))?;
        }
        let step = env.step(&action)?;
        show(show_step(&step, screen))?;
        episode.turns.push(Turn {
            observation: observation.content,
            action,
            reward: step.reward,
            legal_actions: observation.legal_actions.map(|legal| legal.to_vec()),
            invalid_action: step.invalid_action,
            ..Turn::default()
        });
        episode.end = step.end;
        observation = step.observation;
        std::thread::sleep(delay);
    }
    episode.final_observation = Some(observation.content);
    show(show_end(env, &episode, screen))?;
    Ok(episode)
}

/// The limit of an episode, wrappers included, for its title.
fn limit_of(env: &dyn Env) -> String {
    env.spec().max_turns.map_or_else(String::new, |limit| format!(", at most {limit} turns"))
}

fn show_state(env: &dyn Env, observation: &Observation, ask: bool, screen: &mut dyn Write) -> io::Result<()> {
    writeln!(screen, "{}", env.render().trim_end())?;
    if let Some(legal) = observation.legal_actions.as_ref().filter(|_| ask) {
        writeln!(screen, "actions: {}", legal.join(", "))?;
    }
    screen.flush()
}

fn show_step(step: &Step, screen: &mut dyn Write) -> io::Result<()> {
    let invalid = if step.invalid_action { "  (not a legal action)" } else { "" };
    writeln!(screen, "reward {}{invalid}\n", step.reward)?;
    screen.flush()
}

fn show_end(env: &dyn Env, episode: &Episode, screen: &mut dyn Write) -> io::Result<()> {
    let how = match episode.end {
        Some(End::Terminated) => "The episode is over",
        Some(End::Truncated) => "The episode was cut off at its limit",
        None => "\nStopped",
    };
    if episode.end.is_some() {
        writeln!(screen, "{}", env.render().trim_end())?;
    }
    let turns = match episode.turns.len() {
        1 => "1 turn".to_string(),
        turns => format!("{turns} turns"),
    };
    writeln!(screen, "{how} after {turns}. Return: {}\n", episode.total_reward() as f32 + 0.0)?;
    screen.flush()
}

/// Parses an argument of seconds.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "it must be a number of seconds, such as 0.5".to_string())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| "it must be 0 or more".to_string())
}
