use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use palestra_datasets::shards::Shard;
use serde::Serialize;

use super::{Output, TextArgs, open_tokenizer};
use crate::Result;
use palestra_learn::source::check_tokenizer;
use palestra_text::Tokenizer;

/// Number of the longest tokens to show.
const LONGEST: usize = 10;
/// Tokens of a shard read at once.
const TOKENS_AT_ONCE: u64 = 1 << 20;

/// Summarise how a tokenizer encodes texts, or the contents of token shards
///
/// Prints the number of tokens, bytes per token, the share of unknown tokens, the share of the vocabulary that is used,
/// and the longest tokens. A shard (*.tokens) is checked against its checksums.
///
/// Writes nothing but its output.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_long_help = "\
Examples:
  palestra tokenizer stats --tokenizer tokenizers/english held-out.txt
  palestra tokenizer stats --tokenizer tokenizers/english train.tokens --json | jq .bytes_per_token")]
pub struct Args {
    #[command(flatten)]
    texts: TextArgs,
    /// Tokenizer: a tokenizer.json, or the directory that it is in
    #[arg(long, value_name = "PATH")]
    tokenizer: PathBuf,
}

#[derive(Serialize)]
struct Stats {
    vocab_size: usize,
    fingerprint: String,
    documents: u64,
    tokens: u64,
    text_bytes: u64,
    bytes_per_token: f64,
    unknown_tokens: u64,
    unknown_share: f64,
    used_tokens: usize,
    used_share: f64,
    longest_tokens: Vec<Token>,
}

#[derive(Serialize)]
struct Token {
    id: u32,
    text: String,
    bytes: u32,
    count: u64,
}

/// Counts so far.
struct Tally {
    counts: Vec<u64>,
    documents: u64,
    text_bytes: u64,
}

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    let tokenizer = open_tokenizer(&args.tokenizer)?;
    let mut tally = Tally { counts: vec![0; tokenizer.vocab_size()], documents: 0, text_bytes: 0 };
    let (shards, texts): (Vec<&String>, Vec<&String>) =
        args.texts.files.iter().partition(|file| file.ends_with(".tokens"));
    for file in shards {
        tally.add_shard(Path::new(file), &tokenizer)?;
    }
    if !texts.is_empty() {
        let files = texts.into_iter().cloned().collect();
        let texts = TextArgs { files, column: args.texts.column.clone(), split: args.texts.split.clone() };
        for text in texts.open()? {
            let text = text?;
            let mut ids = Vec::new();
            tokenizer.encode(&text, &mut ids)?;
            tally.add(&ids);
            tally.documents += 1;
            tally.text_bytes += text.len() as u64;
        }
    }
    let stats = tally.sum_up(&tokenizer);
    output.report(&stats, stats.to_string().trim_end())?;
    Ok(ExitCode::SUCCESS)
}

impl Tally {
    fn add_shard(&mut self, file: &Path, tokenizer: &Tokenizer) -> Result<()> {
        let shard = Shard::open(file)?;
        check_tokenizer(&shard, tokenizer)?;
        shard.verify()?;
        let header = shard.header().clone();
        let mut at = 0;
        while at < header.tokens {
            let end = (at + TOKENS_AT_ONCE).min(header.tokens);
            self.add(&shard.read(at..end)?);
            at = end;
        }
        self.documents += header.documents;
        self.text_bytes += header.text_bytes;
        Ok(())
    }

    fn add(&mut self, ids: &[u32]) {
        ids.iter().for_each(|&id| self.counts[id as usize] += 1);
    }

    fn sum_up(self, tokenizer: &Tokenizer) -> Stats {
        let Self { counts, documents, text_bytes } = self;
        let tokens: u64 = counts.iter().sum();
        let unknown_tokens = tokenizer.unknown().map_or(0, |id| counts[id as usize]);
        let used_tokens = counts.iter().filter(|&&count| count > 0).count();
        let bytes = tokenizer.token_bytes();
        let mut longest: Vec<u32> = (0..counts.len() as u32).filter(|&id| counts[id as usize] > 0).collect();
        longest.sort_by_key(|&id| (std::cmp::Reverse(bytes[id as usize]), id));
        let token = |id: u32| Token {
            id,
            text: tokenizer.decode(&[id]).unwrap_or_default(),
            bytes: bytes[id as usize],
            count: counts[id as usize],
        };
        let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        Stats {
            vocab_size: tokenizer.vocab_size(),
            fingerprint: tokenizer.fingerprint().to_string(),
            documents,
            tokens,
            text_bytes,
            bytes_per_token: share(text_bytes, tokens),
            unknown_tokens,
            unknown_share: share(unknown_tokens, tokens),
            used_tokens,
            used_share: share(used_tokens as u64, counts.len() as u64),
            longest_tokens: longest.into_iter().take(LONGEST).map(token).collect(),
        }
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "documents        {}", self.documents)?;
        writeln!(f, "text             {} bytes", self.text_bytes)?;
        writeln!(f, "tokens           {}", self.tokens)?;
        writeln!(f, "bytes per token  {:.3}", self.bytes_per_token)?;
        writeln!(f, "unknown          {:.3} %", 100.0 * self.unknown_share)?;
        writeln!(f, "vocabulary       {} tokens, {:.1} % of them used", self.vocab_size, 100.0 * self.used_share)?;
        writeln!(f, "longest tokens   bytes  times")?;
        for Token { text, bytes, count, .. } in &self.longest_tokens {
            writeln!(f, "                 {bytes:>5}  {count:>5}  {text:?}")?;
        }
        Ok(())
    }
}
