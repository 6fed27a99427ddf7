use std::process::ExitCode;

use palestra_envs::Registry;

use crate::{Error, Result};

/// Serve an environment to another program, over standard input and output
///
/// Speaks the protocol of docs/process-protocol.md: one line of JSON for each request and each answer. The Python package
/// plays all environments with it as Gymnasium's: gymnasium.make("palestra/snake-6x6-v1").
///
/// Writes nothing but its answers.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra serve snake-6x6
  echo '{\"type\":\"hello\",\"protocol\":1}' | palestra serve frozen-lake-4x4")]
pub struct Args {
    /// Name of a registered environment, or path of a TOML definition
    env: String,
}

pub fn run(args: &Args, registry: &Registry) -> Result<ExitCode> {
    let definition = registry.definition(&args.env)?;
    registry.build(&definition)?;
    let (input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    match palestra_envs::process::serve(&|| registry.build(&definition), input, &mut output) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::Data(format!("standard input: {error}")))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}
