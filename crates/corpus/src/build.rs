//! A run from files to shards: reading, cleaning, removing duplicates and writing, each ahead of the next.
//!
//! A thread reads documents in the order of the input, a pool cleans them, a thread looks for duplicates in that order,
//! and a thread writes. Queues between them are short, so that memory is bounded; every decision is made in the order of
//! the input, so that the output is the same on any number of threads.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use rayon::prelude::*;

use crate::clean::{Cleaner, signature_of};
use crate::duplicates::Index;
use crate::error::{Error, Result};
use crate::input::{InputFile, RawDocument, find_inputs, read_file};
use crate::judged::{Judged, Outcome, judge};
use crate::report::Report;
use crate::rule::{Failed, Rule};
use crate::settings::Settings;
use crate::shards::{Row, ShardWriter, id_text, read_back};
use crate::tally::{Sample, Tally, Text, excerpt};
use crate::work::{Manifest, Position, Start, Work};

/// How a run goes, beside what it makes.
#[derive(Default)]
pub struct Options<'a> {
    /// Throw away what an earlier, unfinished run left.
    pub restart: bool,
    /// Told now and then how far the run is.
    pub on_progress: Option<&'a (dyn Fn(Progress) + Sync)>,
    /// Told of what a person should know and no error is: files that were passed over, an earlier run that is gone on with.
    pub on_note: Option<&'a dyn Fn(&str)>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the input files read.
    pub bytes: u64,
    /// Bytes of all input files.
    pub total_bytes: u64,
    /// Documents that were judged.
    pub documents: u64,
    /// Documents that were kept.
    pub kept: u64,
}

/// What the writer is to do next.
enum Order {
    Write(Vec<Row>),
    /// Close the pair of shards and save the manifest, to which their names are added.
    Seal(Box<Manifest>),
}

/// So much is read before it is handed to the pool, for each of its threads.
const CHUNK_BYTES: usize = 1 << 20;
const CHUNK_DOCUMENTS: usize = 1024;

/// Makes a corpus, or goes on making it, or finds it made; gives its report.
///
/// # Errors
/// Settings, inputs and output folders that cannot be used, before anything is written; then, in the order of the input,
/// the first document that cannot be read, unless those are to be passed over; and a corpus of which nothing is left.
pub fn build(settings: &Settings, options: &Options<'_>) -> Result<Report> {
    settings.check()?;
    let (files, unknown) = find_inputs(&settings.inputs)?;
    let note = |text: String| options.on_note.iter().for_each(|on_note| on_note(&text));
    if let Some(first) = unknown.first() {
        note(format!(
            "passed over {} files whose names do not tell what they are, such as {}",
            unknown.len(),
            first.display()
        ));
    }
    let cleaner = Cleaner::new(settings)?;
    let (work, mut manifest) = match Work::start(settings, &files, options.restart)? {
        Start::Work(work, manifest) => (work, manifest),
        Start::Done => {
            note(format!("{} is whole already, made with these settings from these files", settings.out));
            return Report::load(&settings.out);
        }
    };
    if manifest.pairs > 0 {
        let read = manifest.tally.read.documents;
        note(format!("going on with {} behind {read} documents", work.folder.display()));
    }
    let processed =
        if manifest.finished { Ok(()) } else { process(settings, options, &files, &cleaner, &work, &mut manifest) };
    if let Err(error) = processed {
        // What has finished shards can be gone on with; the rest is not worth a folder.
        match work.has_shards() {
            true => note(format!(
                "{} keeps the shards that are finished; the same command goes on behind them",
                work.folder.display()
            )),
            false => work.discard()?,
        }
        return Err(error);
    }
    if manifest.shards.is_empty() {
        work.discard()?;
        return Err(Error::Empty(nothing_left(&manifest.tally)));
    }
    let report = Report::new(&work.folder, settings, &files, &manifest)?;
    work.write("report.json", &report.to_json())?;
    work.write("report.html", &report.to_html())?;
    work.write("corpus.toml", &settings.to_toml())?;
    work.finish()?;
    Ok(report)
}

fn process(
    settings: &Settings,
    options: &Options<'_>,
    files: &[InputFile],
    cleaner: &Cleaner,
    work: &Work,
    manifest: &mut Manifest,
) -> Result<()> {
    let near = settings.duplicates.near.get().is_some();
    let mut index = Index::new(near);
    read_back(&work.folder, &manifest.shards, |id, text, language| {
        let signature = if near { signature_of(text, language) } else { None };
        index.add(id, signature.as_ref());
    })?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(settings.threads)
        .stack_size(STACK)
        .build()
        .map_err(|error| Error::Settings(format!("`threads` is {}: {error}", settings.threads)))?;
    let start = manifest.position;
    let bytes = AtomicU64::new(files.iter().take(start.file).map(|file| file.bytes).sum());
    let progress = |tally: &Tally| {
        if let Some(on_progress) = options.on_progress {
            let total_bytes = files.iter().map(|file| file.bytes).sum();
            let (documents, kept) = (tally.read.documents, tally.kept().documents);
            on_progress(Progress { bytes: bytes.load(Ordering::Relaxed), total_bytes, documents, kept });
        }
    };
    let chunk_bytes = CHUNK_BYTES * pool.current_num_threads();
    let read_before = manifest.tally.read.documents;
    let limit = if settings.max_documents == 0 { u64::MAX } else { settings.max_documents.saturating_sub(read_before) };
    thread::scope(|scope| {
        let (raw_to, raw_from) = sync_channel::<Vec<RawDocument>>(1);
        let (judged_to, judged_from) = sync_channel::<Vec<Judged>>(1);
        let (orders_to, orders_from) = sync_channel::<Order>(4);
        let bytes = &bytes;
        scope.spawn(move || {
            let on_bytes = |count| {
                bytes.fetch_add(count, Ordering::Relaxed);
            };
            read_all(files, start, limit, chunk_bytes, settings, &on_bytes, &raw_to);
        });
        let pool = &pool;
        scope.spawn(move || {
            for chunk in raw_from {
                let judge = |document| judge(document, settings, cleaner);
                let judged: Vec<Judged> = pool.install(|| chunk.into_par_iter().map(judge).collect());
                if judged_to.send(judged).is_err() {
                    break; // a document was wrong, or the disk is full
                }
            }
        });
        let writer = ShardWriter::new(&work.folder, manifest.pairs, settings.shards.zstd_level);
        let writing = scope.spawn(move || write_all(writer, &work.folder, orders_from));
        let chosen = choose(settings, files, manifest, &mut index, judged_from, orders_to, &progress);
        let written = writing.join().expect("the writer does not panic");
        // A failed writer is why no more orders were taken.
        let shards = written?;
        manifest.shards.extend(shards);
        chosen
    })
}

/// Parsers of HTML call themselves as deep as a page is nested.
const STACK: usize = 64 << 20;

fn read_all(
    files: &[InputFile],
    start: Position,
    limit: u64,
    chunk_bytes: usize,
    settings: &Settings,
    on_bytes: &(dyn Fn(u64) + Sync),
    to: &SyncSender<Vec<RawDocument>>,
) {
    let mut chunk = Vec::new();
    let (mut size, mut sent) = (0, 0);
    for (number, file) in files.iter().enumerate().skip(start.file) {
        let skip = if number == start.file { start.record } else { 0 };
        let mut sink = |document: RawDocument| {
            if sent == limit {
                return ControlFlow::Break(());
            }
            sent += 1;
            size += document.size();
            chunk.push(document);
            if size < chunk_bytes && chunk.len() < CHUNK_DOCUMENTS {
                return ControlFlow::Continue(());
            }
            size = 0;
            match to.send(std::mem::take(&mut chunk)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        };
        if read_file(file, number, skip, settings, on_bytes, &mut sink).is_break() {
            break;
        }
    }
    // Where nobody takes it, the reason is told elsewhere.
    let _ = to.send(chunk);
}

/// Takes the documents in their order, drops duplicates, and gives the writer its orders.
fn choose(
    settings: &Settings,
    files: &[InputFile],
    manifest: &mut Manifest,
    index: &mut Index,
    from: Receiver<Vec<Judged>>,
    to: SyncSender<Order>,
    progress: &dyn Fn(&Tally),
) -> Result<()> {
    let mut text_bytes = 0;
    let mut rows = Vec::new();
    let mut next = manifest.position;
    // The writer tells why it stopped when it is joined.
    let order = |order: Order| to.send(order).is_ok();
    for chunk in from {
        for judged in chunk {
            next = Position { file: judged.position.file, record: judged.position.record + 1 };
            let Some(row) = admit(settings, &mut manifest.tally, index, judged)? else { continue };
            text_bytes += row.clean.text.len() as u64;
            rows.push(row);
            if text_bytes >= settings.shards.text_bytes {
                manifest.advance(next, files);
                manifest.pairs += 1;
                let sealed =
                    order(Order::Write(std::mem::take(&mut rows))) && order(Order::Seal(manifest.clone().into()));
                if !sealed {
                    return Ok(());
                }
                text_bytes = 0;
            }
        }
        if !order(Order::Write(std::mem::take(&mut rows))) {
            return Ok(());
        }
        progress(&manifest.tally);
    }
    manifest.advance(next, files);
    manifest.pairs += 1;
    manifest.finished = true;
    order(Order::Seal(manifest.clone().into()));
    Ok(())
}

/// Counts a document; gives its row where it stays.
fn admit(settings: &Settings, tally: &mut Tally, index: &mut Index, judged: Judged) -> Result<Option<Row>> {
    let Judged { file, row, size, split_key, changes, outcome, .. } = judged;
    let clean = match outcome {
        Outcome::Error(error) => {
            // The others that hold it were dropped with their chunk, or hold what is the same error.
            return Err(Arc::try_unwrap(error).unwrap_or_else(|error| Error::Input(error.to_string())));
        }
        Outcome::Dropped { failed, excerpt, bytes, words } => {
            tally.read(size, &changes);
            let text = Text { source: &file, row, bytes, words };
            let sample = |rank| sample(&file, row, failed.detail.clone(), excerpt, rank);
            tally.drop(&failed, sample, &text);
            return Ok(None);
        }
        Outcome::Clean(clean) => clean,
    };
    tally.read(size, &changes);
    let text = Text { source: &file, row, bytes: clean.text.len() as u64, words: u64::from(clean.words) };
    let duplicate = if settings.duplicates.exact && index.has(clean.id) {
        Some(Failed::new(Rule::ExactDuplicate, id_text(clean.id)))
    } else {
        let near = settings.duplicates.near.get().zip(clean.signature.as_ref());
        near.and_then(|(least, signature)| index.nearest(signature, least)).map(|found| {
            Failed::new(Rule::NearDuplicate, format!("{:.2} like {}", found.similarity, id_text(found.id)))
        })
    };
    if let Some(failed) = duplicate {
        let sample = |rank| sample(&file, row, failed.detail.clone(), excerpt(&clean.text), rank);
        tally.drop(&failed, sample, &text);
        return Ok(None);
    }
    index.add(clean.id, clean.signature.as_ref());
    let validation = is_validation(split_key.unwrap_or(clean.id), settings.split.validation);
    let sample = |rank| sample(&file, row, String::new(), excerpt(&clean.text), rank);
    tally.keep(sample, &text, clean.language, validation);
    Ok(Some(Row { clean, source: file, row, validation }))
}

fn sample(file: &Arc<str>, row: u64, detail: String, excerpt: String, rank: u64) -> Sample {
    Sample { source: file.to_string(), row, detail, excerpt, original: None, rank }
}

/// Whether a document is one of the share that is held out: by its hash alone, so that it is so in every corpus.
fn is_validation(key: u64, share: f64) -> bool {
    // The hash names the document as well; another mix of it chooses.
    let mixed = (key ^ (key >> 31)).wrapping_mul(0x7fb5_d329_728e_a185);
    (((mixed ^ (mixed >> 27)).wrapping_mul(0x81da_def4_bc2d_d44d) >> 11) as f64 / (1u64 << 53) as f64) < share
}

/// Does what it is told, and gives the shards that were finished, whose names the manifests that it saves all have.
fn write_all(
    mut writer: ShardWriter,
    folder: &std::path::Path,
    orders: Receiver<Order>,
) -> Result<Vec<crate::shards::Shard>> {
    let mut finished = Vec::new();
    for order in orders {
        match order {
            Order::Write(rows) => rows.into_iter().try_for_each(|row| writer.write(row))?,
            Order::Seal(mut manifest) => {
                finished.extend(writer.seal()?);
                manifest.shards.extend(finished.iter().cloned());
                manifest.save(folder)?;
            }
        }
    }
    Ok(finished)
}

fn nothing_left(tally: &Tally) -> String {
    let read = tally.read.documents;
    if read == 0 {
        return "the input has no document; name files that have some".to_string();
    }
    let mut dropped: Vec<_> = tally.dropped.iter().collect();
    dropped.sort_by_key(|(_, count)| std::cmp::Reverse(count.documents));
    let reasons: Vec<String> = dropped
        .iter()
        .map(|(rule, count)| {
            let example = tally.samples.get(rule).and_then(|samples| samples.first());
            let example = example.map_or(String::new(), |sample| {
                format!(" (such as {}, {}: {})", sample.source, sample.row, sample.detail)
            });
            format!("{} by {}{example}", count.documents, rule.name())
        })
        .collect();
    format!(
        "nothing is left of {read} documents: {}; loosen a rule in its section of the settings, or switch it off",
        reasons.join(", ")
    )
}
