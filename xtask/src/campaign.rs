//! Campaigns against the program: each attacks one promise of docs/reliability.md for a while, and tells what held.
//!
//! A campaign runs the program as a person does. It knows commands and files, and nothing of what is in the program.

mod disk;
mod kill;
mod load;
mod programs;
mod ranks;
mod soak;
mod tests;
mod work;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::Result;

/// A campaign: its name, its promise, how many minutes it takes by default, and the campaign itself.
struct Campaign {
    name: &'static str,
    promise: &'static str,
    minutes: f64,
    /// The program that `--program` names; empty if the campaign runs tests alone.
    program: &'static str,
    run: fn(&Request) -> Result<String>,
}

/// Requested of a campaign: its length, and the program that it attacks.
struct Request {
    deadline: Deadline,
    /// The program or folder that is built already, as [`Campaign::program`] says; else the campaign builds it.
    program: Option<PathBuf>,
}

const CAMPAIGNS: [Campaign; 7] = [
    Campaign {
        name: "kill",
        promise: "a command that is killed at any moment goes on to the same bytes",
        minutes: 10.0,
        program: "the program",
        run: kill::run,
    },
    Campaign {
        name: "ranks",
        promise: "a rank that is killed or hangs ends the run in time, and it goes on to the same bytes",
        minutes: 15.0,
        program: "the program, with the feature mpi",
        run: ranks::run,
    },
    Campaign {
        name: "disk",
        promise: "a write that fails leaves old files whole, and names the file",
        minutes: 10.0,
        program: "the program, with the feature failpoints",
        run: disk::run,
    },
    Campaign {
        name: "load",
        promise: "a hundred people label at once, beside slow clients and kills",
        minutes: 10.0,
        program: "the program; the load test is taken from examples/ beside it, if it is there",
        run: load::run,
    },
    Campaign {
        name: "soak",
        promise: "memory and open files of long training and serving do not grow",
        minutes: 60.0,
        program: "the program; the load test is taken from examples/ beside it, if it is there",
        run: soak::run,
    },
    Campaign {
        name: "properties",
        promise: "batch is the sum of its parts, packing and caches change nothing, resumed is run through",
        minutes: 10.0,
        program: "",
        run: tests::properties,
    },
    Campaign {
        name: "fuzz",
        promise: "no bytes end a reader with a panic, nor take its time or memory",
        minutes: 10.0,
        program: "a folder with the built targets of libFuzzer, and no mutations are run",
        run: tests::fuzz,
    },
];

/// The end of a campaign.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    begin: Instant,
    length: Duration,
}

impl Deadline {
    fn is_over(self) -> bool {
        self.begin.elapsed() >= self.length
    }

    /// Time that is left, in whole seconds and at least one.
    fn seconds(self) -> u64 {
        self.length.saturating_sub(self.begin.elapsed()).as_secs().max(1)
    }
}

/// Runs the campaign that the arguments name.
///
/// # Errors
/// A broken promise, with how to see it again; a program that cannot be built.
pub fn run(arguments: &[String]) -> Result<()> {
    let (campaign, minutes, program) = parse(arguments)?;
    eprintln!("{}: {} ({minutes} minutes)", campaign.name, campaign.promise);
    // The campaign calls it from folders of its own.
    let absolute = |path: PathBuf| path.canonicalize().map_err(|error| format!("{}: {error}", path.display()));
    let program = program.map(absolute).transpose()?;
    let deadline = Deadline { begin: Instant::now(), length: Duration::from_secs_f64(minutes * 60.0) };
    let told = (campaign.run)(&Request { deadline, program })?;
    println!("{}: {told}; {:.1} minutes", campaign.name, deadline.begin.elapsed().as_secs_f64() / 60.0);
    Ok(())
}

/// The campaign, its minutes, and the program that it is given.
fn parse(arguments: &[String]) -> Result<(&'static Campaign, f64, Option<PathBuf>)> {
    let built = |one: &Campaign| match one.program {
        "" => String::new(),
        program => format!("\n{:14}PATH: {program}", ""),
    };
    let line = |one: &Campaign| format!("  {:11} {}{}", one.name, one.promise, built(one));
    let listed: Vec<String> = CAMPAIGNS.iter().map(line).collect();
    let usage = format!("cargo xtask campaign NAME [--minutes N | --hours N] [--program PATH]\n{}", listed.join("\n"));
    let Some((name, mut rest)) = arguments.split_first() else { return Err(usage) };
    let campaign = CAMPAIGNS.iter().find(|campaign| campaign.name == name);
    let campaign = campaign.ok_or_else(|| format!("no campaign `{name}`\n{usage}"))?;
    let number = |text: &str| text.parse().ok().filter(|number: &f64| *number > 0.0 && *number < 1e5);
    let (mut minutes, mut program) = (None, None);
    while let [option, value, more @ ..] = rest {
        match option.as_str() {
            "--minutes" if minutes.is_none() => minutes = Some(number(value).ok_or_else(|| usage.clone())?),
            "--hours" if minutes.is_none() => minutes = Some(60.0 * number(value).ok_or_else(|| usage.clone())?),
            "--program" if campaign.program.is_empty() => {
                return Err(format!(
                    "--program: the campaign {name} runs tests, and no program that is built; leave it out"
                ));
            }
            "--program" if program.is_none() => program = Some(PathBuf::from(value)),
            _ => return Err(usage),
        }
        rest = more;
    }
    if rest.is_empty() { Ok((campaign, minutes.unwrap_or(campaign.minutes), program)) } else { Err(usage) }
}

/// Numbers that look random, from the seed that a campaign prints.
struct Random(u64);

impl Random {
    /// A generator with a seed of the clock, or with that of `PALESTRA_SEED`, to run a campaign again.
    fn new() -> Result<Self> {
        let seed = match std::env::var("PALESTRA_SEED") {
            Ok(text) => text.parse().map_err(|_| format!("PALESTRA_SEED={text}: should be a whole number"))?,
            Err(_) => std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_nanos() as u64),
        };
        eprintln!("PALESTRA_SEED={seed}");
        Ok(Self(seed))
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn a_campaign_and_its_length_are_read() {
        let parsed = |text: &str| {
            let words: Vec<String> = text.split_whitespace().map(String::from).collect();
            parse(&words).map(|(campaign, minutes, program)| (campaign.name, minutes, program))
        };
        assert_eq!(parsed("kill"), Ok(("kill", 10.0, None)));
        assert_eq!(parsed("soak --hours 2"), Ok(("soak", 120.0, None)));
        assert_eq!(parsed("load --program p --minutes 0.5"), Ok(("load", 0.5, Some("p".into()))));
        let wrong =
            ["", "war", "kill 5", "kill --minutes x", "kill --minutes -1", "kill --hours 1 2", "kill --program"];
        for wrong in wrong.into_iter().chain(["kill --minutes 1 --hours 1"]) {
            let error = parsed(wrong).unwrap_err();
            assert!(error.contains("--minutes N | --hours N] [--program PATH]\n  kill "), "{error}");
        }
        assert!(parsed("properties --program p").unwrap_err().starts_with("--program: the campaign properties runs"));
    }
}
