use std::path::PathBuf;
use std::process::ExitCode;

use palestra_labels::server::{Bound, Options};
use palestra_labels::{Settings, Store};
use serde::Serialize;

use super::order::OrderArgs;
use super::sample::SampleArgs;
use super::{Output, QuestionArgs};
use crate::{Error, Result};

/// Serve the page on which people label answers
///
/// The page shows a prompt and its answers side by side, as Markdown, in a random order that is stored with each label.
/// It is in English and Spanish, works on phones, and has a key for each button: A or B (or 1, 2, the arrows) that answer
/// is better, T tie, X all bad, S skip, R and digits ratings, K ranking, M comment, U undo, P and N earlier and later
/// labels of your own.
///
/// Whoever opens the page on this machine labels as --name, and sees counts and exports. Every other annotator needs a
/// token: --invite prints a link with a new one. The link is shown once, and ends an earlier link of the same name. With
/// --address the page is open to other machines; then everybody needs a token.
///
/// --prompts and --from sample answers into the store first, as `palestra label add` does.
///
/// Writes labels into the store. Each label is on the disk before it is acknowledged. Runs until Ctrl-C.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra label serve answers.db
  palestra label serve answers.db --invite ada --invite ben
  palestra label serve answers.db --guidelines guidelines.md --criterion helpful --criterion true --strength
  palestra label serve answers.db --address 0.0.0.0:7878 --invite ada --admin eve
  palestra label serve answers.db --prompts prompts.jsonl --from runs/old --from runs/new")]
pub struct Args {
    /// Label store, as `palestra label add` creates it; created if answers are sampled into it
    store: PathBuf,
    /// Host and port to listen on
    #[arg(long, default_value_t = Options::default().address)]
    address: String,
    /// Name of the annotator at this machine
    #[arg(long, default_value_t = Options::default().person)]
    name: String,
    /// Make a new token for this annotator, and print the link
    #[arg(long, value_name = "NAME")]
    invite: Vec<String>,
    /// Make a new token for an annotator who also sees counts and exports, and print the link
    #[arg(long, value_name = "NAME")]
    admin: Vec<String>,
    /// Require a token on this machine too: if several people use it, or behind a proxy
    #[arg(long)]
    require_token: bool,
    /// Guidelines for annotators, a Markdown file; the page shows them beside the items
    #[arg(long, value_name = "FILE")]
    guidelines: Option<PathBuf>,
    #[command(flatten)]
    questions: QuestionArgs,
    /// Language of prompts and answers, such as en or pt-BR, for screen readers and hyphenation
    #[arg(long, value_name = "TAG")]
    language: Option<String>,
    #[command(flatten)]
    order: OrderArgs,
    /// Seed of sampled answers and, for a new store, of the order in which answers are shown
    #[arg(long, default_value_t = Settings::default().seed, requires = "prompts")]
    seed: u64,
    #[command(flatten)]
    sample: SampleArgs,
}

/// Output of `--json` before the page is served.
#[derive(Serialize)]
struct Serving {
    address: String,
    is_open_here: bool,
    links: Vec<Link>,
}

#[derive(Serialize)]
struct Link {
    name: String,
    link: String,
}

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    let sampler = args.sample.open(args.seed)?;
    let opened = if sampler.is_none() { Some(Store::open(&args.store)?) } else { None };
    // Bound before anything is changed in the store: an address that is taken must not end anybody's link.
    let guidelines = args.guidelines.as_ref().map(|file| {
        std::fs::read_to_string(file)
            .map_err(|error| Error::Config(format!("--guidelines {}: {error}", file.display())))
    });
    let options = Options {
        address: args.address.clone(),
        person: args.name.clone(),
        require_token: args.require_token,
        guidelines: guidelines.transpose()?,
        criteria: args.questions.criterion.clone(),
        strength: args.questions.strength,
        language: args.language.clone(),
    };
    let bound = Bound::new(&options)?;
    let mut store = match (opened, sampler) {
        (Some(store), _) => store,
        (None, sampler) => {
            let mut store = Store::create(&args.store, Settings { seed: args.seed, ..Settings::default() })?;
            if let Some(sampler) = sampler {
                let (added, _) = sampler.add_to(&mut store, None, output)?;
                tracing::info!("{}: {} items added", args.store.display(), added.added);
            }
            store
        }
    };
    args.order.apply(&mut store)?;
    let invited = args.invite.iter().map(|name| (name.as_str(), false));
    let invited: Vec<_> = invited.chain(args.admin.iter().map(|name| (name.as_str(), true))).collect();
    let tokens = store.invite_all(&invited)?;
    let server = bound.of_store(store)?;
    let address = server.address();
    if !address.ip().is_loopback() {
        tracing::warn!(
            "{address} is open to other machines, and what they send can be read on the way, tokens too: use a network \
             that you trust, an SSH tunnel, or a proxy with TLS"
        );
    }
    let link = |((name, _), token): (&(&str, bool), &String)| Link {
        name: (*name).to_string(),
        link: format!("http://{address}/#{token}"),
    };
    let links = invited.iter().zip(&tokens).map(link);
    let serving =
        Serving { address: format!("http://{address}/"), is_open_here: server.is_open_here(), links: links.collect() };
    output.report(&serving, told(&serving, &args.name))?;
    output.flush()?;
    server.run()?;
    Ok(ExitCode::SUCCESS)
}

fn told(serving: &Serving, name: &str) -> String {
    let own = match serving.is_open_here {
        true => format!("{} for {name}, on this machine", serving.address),
        false => format!("{} for everybody with a token", serving.address),
    };
    let links = serving.links.iter().map(|Link { name, link }| format!("\n{link} for {name}"));
    format!("{own}{}\nCtrl-C ends it; every label is kept.", links.collect::<String>())
}
