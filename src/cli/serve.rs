use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use palestra_envs::Registry;
use palestra_envs::process::{self, answer_lines};
use serde::Deserialize;
use serde_json::{Value, json};

use super::writing::quantization;
use crate::actor::{ActOptions, Actor, State};
use crate::{Error, Result};
use palestra_model::ops::set_threads;
use palestra_model::quantize::Quantization;

/// Serve an environment or a policy to another program, over standard input and output
///
/// Speaks the protocol of docs/process-protocol.md: one line of JSON for each request and each answer. The Python package
/// plays all environments with it as Gymnasium's: gymnasium.make("palestra/snake-6x6-v1"). With --policy the program sends
/// observations, and gets actions: palestra.Policy in Python.
///
/// Writes nothing but its answers.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra serve snake-6x6
  echo '{\"type\":\"hello\",\"protocol\":1}' | palestra serve frozen-lake-4x4
  palestra serve --policy runs/snake-ppo
  palestra serve --policy runs/snake-ppo/checkpoints/step-00000010
  palestra serve --policy models/smollm2 --threads 2")]
pub struct Args {
    /// Name of a registered environment, or path of a TOML definition
    #[arg(required_unless_present = "policy")]
    env: Option<String>,
    /// Policy to serve instead: the directory of a run, of one of its checkpoints, or of a model, or a GGUF file
    #[arg(long, value_name = "DIR", conflicts_with = "env")]
    policy: Option<PathBuf>,
    /// Device to compute on: auto, cpu, cuda, cuda:<index>, flex, libtorch [default: the run's `device`, or auto]
    #[arg(long, value_name = "D", requires = "policy")]
    device: Option<String>,
    /// Number of threads that libtorch uses [default: as in the run]
    #[arg(long, value_name = "N", requires = "policy", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Form of the matrices of the policy's blocks and output layer: none, bf16, int8 or nf4
    #[arg(long, value_name = "FORM", default_value = "none", requires = "policy", value_parser = quantization)]
    quantize: Quantization,
    /// Key of the run file to change, such as rollout.max_new_tokens=8; can be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "policy")]
    overrides: Vec<String>,
}

pub fn run(args: &Args, registry: &Registry) -> Result<ExitCode> {
    let (input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let served = match &args.policy {
        Some(path) => {
            let actor = Actor::open(path, registry, &args.overrides, args.device.as_deref())?;
            let mut actor = actor.quantized(args.quantize);
            args.threads.into_iter().for_each(|count| set_threads(count.into()));
            serve_policy(&mut actor, input, &mut output)
        }
        None => {
            let env = args.env.as_deref().unwrap_or_default(); // clap asks for it
            let definition = registry.definition(env)?;
            registry.build(&definition)?;
            process::serve(&|| registry.build(&definition), input, &mut output)
        }
    };
    match served {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Data(format!("standard input: {error}"))),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Request of any type; `act` has further fields.
#[derive(Deserialize)]
struct Request {
    #[serde(rename = "type")]
    kind: String,
    session: Option<u64>,
}

/// Fields of the request `act`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Act {
    #[serde(rename = "type")]
    _kind: String,
    #[serde(rename = "session")]
    _session: Option<u64>,
    states: Vec<State>,
    #[serde(default)]
    temperature: Option<f32>,
    #[serde(default)]
    max_new_tokens: Option<usize>,
}

/// Answers requests for actions until they end.
fn serve_policy(actor: &mut Actor, input: impl Read, output: &mut dyn Write) -> io::Result<()> {
    answer_lines(input, output, &mut |line| {
        let Request { kind, session } = serde_json::from_str(line)?;
        let answer = match (kind.as_str(), session) {
            ("close", None) => return Ok(ControlFlow::Break(())),
            ("close", Some(_)) => return Ok(ControlFlow::Continue(None)),
            ("hello", _) => Ok(json!({ "protocol": process::VERSION, "policy": { "context": actor.context() } })),
            ("act", _) => act(actor, line),
            (other, _) => Err(Error::Data(format!("no message `{other}`; a policy answers `hello` and `act`"))),
        };
        let (kind, mut answer) = match answer {
            Ok(answer) => (kind, answer),
            Err(error) => ("error".to_string(), json!({ "message": error.to_string() })),
        };
        answer["type"] = kind.into();
        if let Some(session) = session {
            answer["session"] = session.into();
        }
        Ok(ControlFlow::Continue(Some(answer)))
    })
}

fn act(actor: &mut Actor, line: &str) -> Result<Value> {
    let Act { states, temperature, max_new_tokens, .. } =
        serde_json::from_str(line).map_err(|error| Error::Data(format!("its message `act`: {error}")))?;
    let actions = actor.act(&states, &ActOptions { temperature, max_new_tokens })?;
    Ok(json!({ "actions": actions }))
}
