use std::io::{self, BufRead, IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::output::{Output, STANDARD_OUTPUT};
use crate::language_model::{LanguageModel, Writing, Written};
use crate::math::Sampling;
use crate::ops::{available_devices, open_device, set_threads};
use crate::tokenizer::Message;
use crate::{Error, Result};

/// Let a language model write, or talk with it
///
/// MODEL is a Hugging Face directory (config.json, model.safetensors or shards, tokenizer.json) or the directory of a
/// run, whose last checkpoint is taken. The prompt is given or read from standard input; what the model writes appears
/// as it is written. With --chat each line of standard input is a message, in the chat template of the directory.
/// Tokens are chosen as the directory's generation_config.json says, else the likeliest; options say otherwise.
///
/// Writes nothing but its output; how fast it was goes to standard error.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra generate models/smollm2 --prompt 'Once upon a time' --max-new-tokens 50
  palestra generate models/smollm2 --chat --system 'You are terse.'
  palestra generate models/smollm2 --temperature 0.8 --top-p 0.9 --seed 1 < prompt.txt
  palestra generate models/smollm2 --prompt 'Q: 2 + 2 =' --stop '\\n' --json | jq -r .text
  palestra generate models/smollm2 --adapter runs/finance/adapter --chat")]
pub struct Args {
    /// A Hugging Face model directory, or the directory of a run
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// What to go on from; read from standard input where it is not given
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Talk: --prompt, or each line of standard input, is a message to be answered
    #[arg(long)]
    chat: bool,
    /// The message that a conversation begins with
    #[arg(long, value_name = "TEXT", requires = "chat")]
    system: Option<String>,
    /// The most tokens to write (in each answer)
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..))]
    max_new_tokens: u64,
    /// A text that ends what is written; may be given again; \n is a line break
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Take the likeliest token, whatever the directory says
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p", "min_p"])]
    greedy: bool,
    /// Divides the logits: below 1 sharpens, above 1 flattens; 0 is greedy
    #[arg(long, value_name = "T")]
    temperature: Option<f32>,
    /// Sample among the K likeliest tokens; 0 is all
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Sample among the fewest likeliest tokens with this probability together
    #[arg(long, value_name = "P")]
    top_p: Option<f32>,
    /// Sample among tokens at least this fraction as likely as the likeliest
    #[arg(long, value_name = "P")]
    min_p: Option<f32>,
    /// Fixes what is sampled
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Adapters to put on the model: a PEFT directory, or that of a run
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// What to compute on: flex, libtorch, libtorch-cuda:<index>; libtorch where it is built in
    #[arg(long, value_name = "D")]
    device: Option<String>,
    /// Threads of libtorch
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

/// What `--json` tells.
#[derive(Serialize)]
struct Report<'a> {
    model: String,
    seed: u64,
    #[serde(flatten)]
    last: Option<&'a Written>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    messages: Vec<Message>,
}

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    args.threads.into_iter().for_each(|count| set_threads(count.into()));
    let device = args.device.as_deref().or(available_devices().last().copied()).unwrap_or("flex");
    let mut model = LanguageModel::open(&args.model, &open_device(device).map_err(Error::Device)?)?;
    if let Some(directory) = &args.adapter {
        model = model.with_adapters(directory)?;
    }
    let writing = Writing {
        sampling: sampling(args, model.sampling())?,
        max_new_tokens: usize::try_from(args.max_new_tokens).unwrap_or(usize::MAX),
        stop: args.stop.iter().map(|text| text.replace("\\n", "\n")).collect(),
        seed: args.seed,
    };
    let mut report =
        Report { model: args.model.display().to_string(), seed: args.seed, last: None, messages: Vec::new() };
    let last;
    if args.chat {
        (report.messages, last) = talk(args, &model, writing, output)?;
    } else {
        let prompt = match &args.prompt {
            Some(prompt) => prompt.clone(),
            None => read_all()?,
        };
        last = Some(write(&model, &model.encode(&prompt)?, &writing, output)?);
    }
    report.last = last.as_ref();
    if output.wants_json() {
        output.report(&report, "")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A conversation until the input ends; what was said, and how the last answer was written.
fn talk(
    args: &Args,
    model: &LanguageModel,
    mut writing: Writing,
    output: &mut Output,
) -> Result<(Vec<Message>, Option<Written>)> {
    let template = model.chat.as_ref().ok_or_else(|| {
        Error::Config(format!(
            "--chat: {} has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json); \
             leave --chat out",
            args.model.display()
        ))
    })?;
    let mut messages: Vec<Message> = args.system.iter().map(|text| Message::new("system", text)).collect();
    let mut last = None;
    let mut lines = io::stdin().lock().lines();
    loop {
        let said = match &args.prompt {
            Some(_) if last.is_some() => break,
            Some(prompt) => prompt.clone(),
            None => match next_line(&mut lines)? {
                Some(line) if line.trim().is_empty() => continue,
                Some(line) => line,
                None => break,
            },
        };
        messages.push(Message::new("user", said));
        let prompt = model.encode(&template.render(&messages, true)?)?;
        let written = write(model, &prompt, &writing, output)?;
        messages.push(Message::new("assistant", written.text.clone()));
        writing.seed = writing.seed.wrapping_add(1); // another answer to the same question
        last = Some(written);
    }
    Ok((messages, last))
}

/// Shows the text as it comes, unless one JSON object is asked for.
fn write(model: &LanguageModel, prompt: &[u32], writing: &Writing, output: &mut Output) -> Result<Written> {
    let (shown, quiet) = (!output.wants_json(), output.is_quiet());
    let screen = output.screen();
    let mut tell = |piece: &str| {
        if !shown {
            return Ok(());
        }
        write!(screen, "{piece}").and_then(|()| screen.flush()).map_err(Error::io(STANDARD_OUTPUT))
    };
    let written = model.write(prompt, writing, &mut tell)?;
    tell("\n")?;
    if !quiet {
        let Written { prompt_tokens, tokens, seconds, tokens_per_second, .. } = &written;
        eprintln!(
            "{prompt_tokens} tokens read, {} written in {seconds:.2} s: {tokens_per_second:.1} tokens/s",
            tokens.len()
        );
    }
    Ok(written)
}

/// What the options say, over what the directory says. To say how to sample is to sample.
fn sampling(args: &Args, own: Sampling) -> Result<Sampling> {
    if args.greedy {
        return Ok(Sampling::GREEDY);
    }
    let asked = args.top_k.is_some() || args.top_p.is_some() || args.min_p.is_some();
    let own = if asked && own == Sampling::GREEDY { Sampling::default() } else { own };
    let sampling = Sampling {
        temperature: args.temperature.unwrap_or(own.temperature),
        top_k: args.top_k.unwrap_or(own.top_k),
        top_p: args.top_p.unwrap_or(own.top_p),
        min_p: args.min_p.unwrap_or(own.min_p),
    };
    if !(sampling.temperature >= 0.0 && sampling.temperature.is_finite()) {
        return Err(Error::Config(format!("--temperature: {} is not 0 or above", sampling.temperature)));
    }
    if !(sampling.top_p > 0.0 && sampling.top_p <= 1.0) {
        return Err(Error::Config(format!("--top-p: {} is not above 0 and at most 1", sampling.top_p)));
    }
    if !(0.0..=1.0).contains(&sampling.min_p) {
        return Err(Error::Config(format!("--min-p: {} is not between 0 and 1", sampling.min_p)));
    }
    Ok(sampling)
}

const STANDARD_INPUT: &str = "standard input";

fn read_all() -> Result<String> {
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text).map_err(Error::io(STANDARD_INPUT))?;
    // The line break that a shell or an editor puts at the end is none of the prompt's.
    Ok(text.strip_suffix('\n').map(String::from).unwrap_or(text))
}

fn next_line(lines: &mut impl Iterator<Item = io::Result<String>>) -> Result<Option<String>> {
    if io::stdin().is_terminal() {
        eprint!("> ");
    }
    lines.next().transpose().map_err(Error::io(STANDARD_INPUT))
}
