use std::io::{self, BufRead, IsTerminal, Read, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::output::{Output, STANDARD_OUTPUT};
use super::writing::{MachineArgs, QuantizeArgs, WritingArgs};
use crate::language_model::{LanguageModel, Writing, Written};
use crate::{Error, Result};
use palestra_text::Message;

/// Generate text with a language model, or chat with it
///
/// MODEL is a Hugging Face directory (config.json, model.safetensors or shards, tokenizer.json), a GGUF file, or the
/// directory of a run, whose best or else last checkpoint is used. The prompt is given or read from standard input; the
/// generated text appears token by token. With --chat each line of standard input is a message, in the chat template of
/// the directory. Tokens are chosen as the directory's generation_config.json says, otherwise greedily; options override
/// this.
///
/// Writes nothing but its output; the speed goes to standard error.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra generate models/smollm2 --prompt 'Once upon a time' --max-new-tokens 50
  palestra generate models/smollm2 --prompt 'Once upon a time' --quantize int8
  palestra generate models/smollm2 --chat --system 'You are terse.'
  palestra generate models/smollm2 --temperature 0.8 --top-p 0.9 --seed 1 < prompt.txt
  palestra generate models/smollm2 --prompt 'Q: 2 + 2 =' --stop '\\n' --json | jq -r .text
  palestra generate models/smollm2 --adapter runs/finance/adapter --chat")]
pub struct Args {
    /// Directory of a Hugging Face model or of a run, or a GGUF file
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Text to continue [default: read from standard input]
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Chat: --prompt, or each line of standard input, is a message to be answered
    #[arg(long)]
    chat: bool,
    /// System message that the conversation begins with
    #[arg(long, value_name = "TEXT", requires = "chat")]
    system: Option<String>,
    #[command(flatten)]
    writing: WritingArgs,
    /// Seed of the sampling
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Adapters to put on the model: a PEFT directory, or the directory of a run
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    #[command(flatten)]
    quantize: QuantizeArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

/// Output of `--json`.
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
    let (form, device) = (args.quantize.quantize, args.machine.open()?);
    let model = match &args.adapter {
        Some(directory) => LanguageModel::open(&args.model, &device)?.with_adapters(directory)?.quantized(form),
        None => LanguageModel::open_quantized(&args.model, form, &device)?,
    };
    let writing = args.writing.over(model.sampling()?, args.seed)?;
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

/// Holds a conversation until the input ends. Returns what was said, and how the last answer was written.
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
        let prompt = model.encode_rendered(&template.render(&messages, true)?)?;
        let written = write(model, &prompt, &writing, output)?;
        messages.push(Message::new("assistant", written.text.clone()));
        writing.seed = writing.seed.wrapping_add(1); // another answer to the same question
        last = Some(written);
    }
    Ok((messages, last))
}

/// Shows the text as it is generated, unless the output is a JSON object.
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
        let _ = writeln!(
            io::stderr(),
            "{prompt_tokens} tokens read, {} written in {seconds:.2} s: {tokens_per_second:.1} tokens/s",
            tokens.len()
        );
    }
    Ok(written)
}

const STANDARD_INPUT: &str = "standard input";

fn read_all() -> Result<String> {
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text).map_err(Error::io(STANDARD_INPUT))?;
    // A line break that a shell or an editor puts at the end is not part of the prompt.
    Ok(text.strip_suffix('\n').map(String::from).unwrap_or(text))
}

fn next_line(lines: &mut impl Iterator<Item = io::Result<String>>) -> Result<Option<String>> {
    if io::stdin().is_terminal() {
        let _ = write!(io::stderr(), "> ");
    }
    lines.next().transpose().map_err(Error::io(STANDARD_INPUT))
}
