//! Small pieces of work for the program: each a folder of inputs, commands that prepare it, and one command whose output is
//! known to the byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::programs::{ended, palestra};
use crate::Result;
use crate::guard::Guarded;

/// A command with a known result.
pub struct Work {
    pub name: &'static str,
    files: &'static [(&'static str, &'static str)],
    prepare: &'static [&'static str],
    /// The command; `OUT` stands for its output.
    command: &'static str,
    /// Added to go on after a kill; empty if the command just starts again.
    pub resume: &'static str,
    /// Files of the output that must be the same to the byte: names or beginnings of names. Empty for all.
    same: &'static [&'static str],
    /// A command that shows an output which holds the time of day: what it shows is compared, without times.
    show: &'static str,
}

const TALE: &str = include_str!("tale.txt");
const PREFERENCES: &str = include_str!("preferences.jsonl");

/// The part of a run that is the same to the byte: the last checkpoint.
const CHECKPOINT: &[&str] = &["checkpoints/"];

/// A vocabulary learned from the tale.
const TOKENIZER: &str = "tokenizer train tale.txt --vocab-size 270 --out bpe";

const LOG: &[&str] = &["rollout lake.toml --policy random --episodes 50 --seed 5 --out log.parquet"];

/// An environment with short observations.
const LAKE: &str = "id = \"lake\"\nkind = \"frozen-lake\"\noptions = { view = \"compact\", limit = 30 }\n";

const fn of_log(name: &'static str, files: &'static [(&'static str, &'static str)]) -> Work {
    Work {
        name,
        files,
        prepare: LOG,
        command: "train run.toml --quiet --out OUT",
        resume: "--resume",
        same: CHECKPOINT,
        show: "",
    }
}

const fn of_preferences(name: &'static str, files: &'static [(&'static str, &'static str)]) -> Work {
    Work {
        name,
        files,
        prepare: &[TOKENIZER],
        command: "train run.toml --quiet --out OUT",
        resume: "--resume",
        same: CHECKPOINT,
        show: "",
    }
}

const fn of_play(name: &'static str, files: &'static [(&'static str, &'static str)]) -> Work {
    Work {
        name,
        files,
        prepare: &[],
        command: "train run.toml --quiet --out OUT",
        resume: "--resume",
        same: CHECKPOINT,
        show: "",
    }
}

macro_rules! play_file {
    ($learner:literal) => {
        &[(
            "run.toml",
            concat!(
                "name = \"run\"\nseed = 3\n[env]\nid = \"frozen-lake-4x4\"\noptions = { view = \"compact\", limit = 30 }\n",
                "[model]\nfamily = \"gpt2\"\ncontext = 16\nlayers = 1\nwidth = 16\nheads = 2\n",
                "[rollout]\nepisodes = 32\nenvironments = 8\ngroup = 4\n[evaluation]\nepisodes = 4\n",
                $learner,
                "\n[train]\nupdates = 12\ncheckpoint_every = 2\nthreads = 1\n"
            ),
        )]
    };
}

macro_rules! log_file {
    ($learner:literal) => {
        &[
            ("lake.toml", LAKE),
            (
                "run.toml",
                concat!(
                    "name = \"run\"\nseed = 3\n[data]\nfiles = [\"log.parquet\"]\nbatch = 8\nsteps = 2\n",
                    "[env]\nfile = \"lake.toml\"\n",
                    "[model]\nfamily = \"gpt2\"\ncontext = 16\nlayers = 1\nwidth = 16\nheads = 2\n",
                    "[evaluation]\nepisodes = 4\n",
                    $learner,
                    "\n[train]\nupdates = 12\ncheckpoint_every = 2\nthreads = 1\n"
                ),
            ),
        ]
    };
}

macro_rules! preference_files {
    ($learner:literal) => {
        &[
            ("tale.txt", TALE),
            ("preferences.jsonl", PREFERENCES),
            (
                "run.toml",
                concat!(
                    "name = \"run\"\nseed = 3\n[preferences]\nfiles = [\"preferences.jsonl\"]\nbatch = 4\nwindow = 64\n",
                    "tokenizer = \"bpe/tokenizer.json\"\n",
                    "[model]\nfamily = \"gpt2\"\ncontext = 64\nlayers = 1\nwidth = 16\nheads = 2\n",
                    $learner,
                    "\n[train]\nupdates = 12\ncheckpoint_every = 2\nthreads = 1\n"
                ),
            ),
        ]
    };
}

/// Adapters beside a model that a text run made.
const ADAPTERS: &[(&str, &str)] = &[
    ("tale.txt", TALE),
    ("preferences.jsonl", PREFERENCES),
    (
        "base.toml",
        "name = \"base\"\nseed = 3\n[text]\nfiles = [\"tale.txt\"]\nbatch = 4\nsamples = 0\ntokenizer = \"bpe/tokenizer.json\"\n\
         [model]\nfamily = \"gpt2\"\ncontext = 64\nlayers = 1\nwidth = 16\nheads = 2\n\
         [train]\nupdates = 2\nthreads = 1\n",
    ),
    (
        "run.toml",
        "name = \"run\"\nseed = 3\nstart_from = \"base/checkpoints/step-00000002\"\n\
         [preferences]\nfiles = [\"preferences.jsonl\"]\nbatch = 4\nwindow = 64\n[dpo]\n\
         [lora]\nrank = 2\ntargets = [\"*.attention.query\", \"*.attention.value\"]\n\
         [train]\nupdates = 12\ncheckpoint_every = 2\nthreads = 1\n",
    ),
];

const CONVERSATIONS: &[(&str, &str)] = &[
    ("tale.txt", TALE),
    ("chat.jsonl", include_str!("chat.jsonl")),
    ("chat.jinja", "{% for m in messages %}{{ '<' + m.role + '>' + m['content'] }}{% endfor %}"),
    (
        "run.toml",
        "name = \"run\"\nseed = 3\n[text]\nfiles = [\"chat.jsonl\"]\nformat = \"messages\"\nbatch = 4\nsamples = 0\n\
         tokenizer = \"bpe/tokenizer.json\"\nchat_template = \"chat.jinja\"\n\
         [model]\nfamily = \"gpt2\"\ncontext = 64\nlayers = 1\nwidth = 16\nheads = 2\n\
         [train]\nupdates = 12\ncheckpoint_every = 2\nthreads = 1\n",
    ),
];

const TEXT: &[(&str, &str)] = &[
    ("tale.txt", TALE),
    (
        "run.toml",
        "name = \"run\"\nseed = 3\n[text]\nfiles = [\"tale.txt\"]\nbatch = 4\nsamples = 1\nsample_tokens = 8\n\
         [model]\nfamily = \"gpt2\"\ncontext = 16\nlayers = 1\nwidth = 16\nheads = 2\n\
         [train]\nupdates = 12\ncheckpoint_every = 2\nthreads = 1\n",
    ),
];

/// All work. What is added to the program gets a line here.
pub const WORK: &[Work] = &[
    of_play("ppo", play_file!("[ppo]\nepochs = 2\nbatch = 64\nkl_coefficient = 0.05\nkl_target = 0.5")),
    of_play("grpo", play_file!("[grpo]\n")),
    of_log("bc", log_file!("[bc]\n")),
    of_log("awr", log_file!("[awr]\n")),
    of_log("iql", log_file!("[iql]\n")),
    of_log("ilql", log_file!("[ilql]\n")),
    of_log("cql", log_file!("[cql]\n")),
    of_log("mc", log_file!("[mc]\n")),
    of_log("decision transformer", log_file!("[decision_transformer]\ntarget_return = 1.0\ndecimals = 0")),
    of_preferences("dpo", preference_files!("[dpo]")),
    of_preferences("kto", preference_files!("[kto]")),
    of_preferences("reward model", preference_files!("[reward_model]")),
    Work { prepare: &[TOKENIZER, "train base.toml --quiet --out base"], ..of_preferences("lora", ADAPTERS) },
    of_preferences("sft", CONVERSATIONS),
    of_play("text", TEXT),
    Work {
        name: "rollout",
        files: &[],
        prepare: &[],
        command: "rollout frozen-lake-4x4 --policy random --episodes 3000 --seed 5 --out OUT.parquet --overwrite",
        resume: "",
        same: &[],
        show: "log show OUT.parquet --best 3000 --json",
    },
    Work {
        name: "tokenizer train",
        files: &[("tale.txt", TALE)],
        prepare: &[],
        command: "tokenizer train tale.txt --vocab-size 300 --out OUT --overwrite",
        resume: "",
        same: &[],
        show: "",
    },
    Work {
        name: "tokenizer encode",
        files: &[("tale.txt", TALE)],
        prepare: &["tokenizer train tale.txt --vocab-size 300 --out bpe"],
        command: "tokenizer encode tale.txt --tokenizer bpe --out OUT.tokens --overwrite",
        resume: "",
        same: &[],
        show: "",
    },
    Work {
        name: "corpus",
        files: &[("tale.txt", TALE)],
        prepare: &[],
        command: "corpus tale.txt --out OUT --set read.text_unit=line --no-filters",
        resume: "",
        same: &["train", "validation"],
        show: "",
    },
];

impl Work {
    /// Makes the folder with the inputs, and prepares it.
    pub fn lay_out(&self, program: &Path, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for (name, text) in self.files {
            fs::write(folder.join(name), text).map_err(|error| format!("{name}: {error}"))?;
        }
        for command in self.prepare {
            let output = ended(&mut palestra(program, folder, command))?;
            if !output.status.success() {
                return Err(format!("{}: {command}: {}", self.name, String::from_utf8_lossy(&output.stderr)));
            }
        }
        Ok(())
    }

    /// The command, with its output under this name.
    pub fn command(&self, program: &Path, folder: &Path, out: &str, more: &str) -> Command {
        palestra(program, folder, &format!("{} {more}", self.command.replace("OUT", out)))
    }

    pub fn start(&self, program: &Path, folder: &Path, out: &str, more: &str) -> Result<Guarded> {
        let mut command = self.command(program, folder, out, more);
        Guarded::start(command.stdout(Stdio::null()).stderr(Stdio::piped()))
    }

    /// The files of an output that must be the same to the byte, by name; of a run's checkpoints the last.
    pub fn result(&self, program: &Path, folder: &Path, out: &str) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut found = BTreeMap::new();
        if !self.show.is_empty() {
            let output = ended(&mut palestra(program, folder, &self.show.replace("OUT", out)))?;
            if !output.status.success() {
                return Err(format!("{}: {out}: {}", self.name, String::from_utf8_lossy(&output.stderr)));
            }
            let shown = String::from_utf8_lossy(&output.stdout).replace(out, "OUT");
            found.insert("what it shows".to_string(), without_times(&shown).into_bytes());
            return Ok(found);
        }
        let suffixes = ["", ".parquet", ".tokens"];
        let path = suffixes.iter().map(|suffix| folder.join(format!("{out}{suffix}"))).find(|path| path.exists());
        let path = path.ok_or_else(|| format!("{}: no output {out}", self.name))?;
        read_all(&path, "", &mut found)?;
        let last = found.keys().filter_map(|name| name.strip_prefix("checkpoints/")?.split('/').next()).max();
        let last = last.map(|last| format!("checkpoints/{last}/"));
        found.retain(|name, _| {
            let is_asked = self.same.is_empty() || self.same.iter().any(|same| name.starts_with(same));
            let is_old = last.as_ref().is_some_and(|last| name.starts_with("checkpoints/") && !name.starts_with(last));
            is_asked && !is_old
        });
        match found.is_empty() {
            true => Err(format!("{}: {out} has none of its files", self.name)),
            false => Ok(found),
        }
    }
}

/// JSON without the times of turns.
fn without_times(json: &str) -> String {
    let mut parts = json.split("\"timestamp\":");
    let begin = parts.next().unwrap_or_default().to_string();
    parts.fold(begin, |text, part| text + part.trim_start_matches(|character: char| character.is_ascii_digit()))
}

fn read_all(path: &Path, name: &str, found: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    let at = |error: std::io::Error| format!("{}: {error}", path.display());
    if !path.is_dir() {
        found.insert(name.to_string(), fs::read(path).map_err(at)?);
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(at)? {
        let entry = entry.map_err(at)?;
        let own = entry.file_name().to_string_lossy().into_owned();
        let own = if name.is_empty() { own } else { format!("{name}/{own}") };
        read_all(&entry.path(), &own, found)?;
    }
    Ok(())
}

/// The first file that differs between two results.
pub fn difference(ours: &BTreeMap<String, Vec<u8>>, theirs: &BTreeMap<String, Vec<u8>>) -> Option<String> {
    let names = ours.keys().chain(theirs.keys());
    names.into_iter().find(|name| ours.get(*name) != theirs.get(*name)).cloned()
}
