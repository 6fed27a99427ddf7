//! The checker: every built-in environment passes, and every flaw is found by its rule.

use std::sync::atomic::{AtomicU32, Ordering};

use palestra_envs::check::{CheckOptions, RULES, Report, Severity, check};
use palestra_envs::{Definition, End, Env, EnvSpec, Error, Observation, Registry, Result, Step};

/// Possible flaws of the corridor below.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Flaw {
    Sound,
    MakeFails,
    RangeUpsideDown,
    SpecChanges,
    IdWithoutVersion,
    PanicsBeforeReset,
    PanicsOnForeignText,
    RenderPanics,
    ResetFails,
    PlaysBeforeReset,
    PlaysAfterTheEnd,
    RefusesUnknownAction,
    GlobalCounter,
    InstanceCounter,
    KeepsPosition,
    SeedUnused,
    StochasticUndeclared,
    RewardNotFinite,
    RewardOutOfRange,
    NeverEnds,
    /// Not a flaw, but the checker has no action to play and no difference to find.
    ListsNothing,
    ForbidsLegal,
    ScriptForbidden,
    NoLegalActions,
    LetterNotInAlphabet,
    RendersEscapes,
}

use Flaw::*;

/// Each flaw with the rule that catches it.
const FLAWS: [(Flaw, &str); 24] = [
    (MakeFails, "make"),
    (RangeUpsideDown, "spec"),
    (SpecChanges, "spec"),
    (IdWithoutVersion, "id-version"),
    (PanicsBeforeReset, "no-panic"),
    (PanicsOnForeignText, "no-panic"),
    (RenderPanics, "no-panic"),
    (ResetFails, "reset"),
    (PlaysBeforeReset, "step-before-reset"),
    (PlaysAfterTheEnd, "step-after-end"),
    (RefusesUnknownAction, "step-error"),
    (GlobalCounter, "same-seed"),
    (InstanceCounter, "fresh-instance"),
    (KeepsPosition, "half-played"),
    (SeedUnused, "seed-matters"),
    (StochasticUndeclared, "seed-ignored"),
    (RewardNotFinite, "reward"),
    (RewardOutOfRange, "reward"),
    (NeverEnds, "max-turns"),
    (ForbidsLegal, "legal-actions"),
    (ScriptForbidden, "legal-actions"),
    (NoLegalActions, "legal-actions"),
    (LetterNotInAlphabet, "alphabet"),
    (RendersEscapes, "render"),
];

static INSTANCES: AtomicU32 = AtomicU32::new(0);
static RESETS: AtomicU32 = AtomicU32::new(0);

/// A corridor of four cells: the seed selects the start, `r` moves right, the last cell ends the episode.
struct Corridor {
    flaw: Flaw,
    spec: EnvSpec,
    instance: u32,
    cell: u32,
    turns: u32,
    running: bool,
    played: bool,
}

impl Corridor {
    fn build(flaw: Flaw) -> Result<Box<dyn Env>> {
        if flaw == MakeFails {
            return Err(Error::Definition("the corridor is closed".to_string()));
        }
        let spec = EnvSpec {
            id: if flaw == IdWithoutVersion { "corridor" } else { "corridor-v1" }.to_string(),
            max_turns: Some(6),
            reward_range: if flaw == RangeUpsideDown { (1.0, 0.0) } else { (0.0, 1.0) },
            optimal_return: Some(1.0),
            solved_return: None,
            stochastic: flaw != StochasticUndeclared,
            reproducible: true,
            tasks: None,
            alphabet: Some("0123456789 lr".to_string()),
        };
        let instance = INSTANCES.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Self { flaw, spec, instance, cell: 0, turns: 0, running: false, played: false }))
    }

    fn observe(&self) -> Observation {
        let text = match self.flaw {
            GlobalCounter => format!("{} {}", self.cell, RESETS.fetch_add(1, Ordering::Relaxed)),
            InstanceCounter => format!("{} {}", self.cell, self.instance),
            ListsNothing => String::new(),
            LetterNotInAlphabet => format!("cell {}", self.cell),
            _ => self.cell.to_string(),
        };
        let legal = if self.flaw == NoLegalActions { vec![] } else { vec!["l".to_string(), "r".to_string()] };
        let legal_actions = (self.flaw != ListsNothing).then(|| legal.into());
        Observation { content: text.into(), legal_actions, ..Observation::default() }
    }
}

impl Env for Corridor {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: u64) -> Result<Observation> {
        if self.flaw == ResetFails && self.played {
            return Err(Error::Unknown("no second episode".to_string()));
        }
        if self.flaw == SpecChanges && self.played {
            self.spec.max_turns = Some(60);
        }
        // With this flaw, the position of an unfinished episode is kept.
        if self.flaw != KeepsPosition || !self.running {
            self.cell = if self.flaw == SeedUnused { 0 } else { (seed % 3) as u32 };
        }
        (self.turns, self.running) = (0, true);
        self.played = true;
        Ok(self.observe())
    }

    fn step(&mut self, action: &str) -> Result<Step> {
        assert!(self.flaw != PanicsBeforeReset || self.played, "no episode");
        let plays_on =
            (self.flaw == PlaysAfterTheEnd && self.played) || (self.flaw == PlaysBeforeReset && !self.played);
        if !self.running && !plays_on {
            return Err(Error::NotRunning { env: self.spec.id.clone(), when: "without an episode" });
        }
        if self.flaw == PanicsOnForeignText && !action.is_empty() {
            let _ = &action[..1];
        }
        self.turns += 1;
        let valid = matches!(action, "l" | "r");
        if self.flaw == RefusesUnknownAction && !valid {
            return Err(Error::Unknown(action.to_string()));
        }
        match action {
            "r" => self.cell = (self.cell + 1).min(3),
            "l" => self.cell = self.cell.saturating_sub(1),
            _ => {}
        }
        let reached = self.cell == 3;
        let end = if self.flaw == NeverEnds {
            None
        } else if reached {
            Some(End::Terminated)
        } else {
            (self.turns >= 6).then_some(End::Truncated)
        };
        self.running = end.is_none();
        let reward = match self.flaw {
            RewardNotFinite if reached => f32::NAN,
            RewardOutOfRange if reached => 2.0,
            _ => f32::from(u8::from(reached)),
        };
        let forbidden = self.flaw == ForbidsLegal && action == "l";
        Ok(Step { observation: self.observe(), reward, end, invalid_action: forbidden || !valid })
    }

    fn render(&self) -> String {
        assert!(self.flaw != RenderPanics || self.running, "nothing to draw");
        let mark = if self.flaw == RendersEscapes { "\u{1b}[1m" } else { "" };
        format!("{mark}cell {} of 3\n", self.cell)
    }

    fn scripted_action(&self) -> Option<String> {
        (self.running && self.flaw != ListsNothing)
            .then(|| if self.flaw == ScriptForbidden { "rr" } else { "r" }.to_string())
    }
}

fn check_corridor(flaw: Flaw) -> Report {
    check(&|| Corridor::build(flaw), CheckOptions::default())
}

#[test]
fn a_sound_environment_has_no_findings() {
    let report = check_corridor(Sound);
    assert!(report.findings.is_empty(), "{report}");
    assert!(report.episodes > 20 && report.turns > 50);
}

#[test]
fn every_flaw_is_caught_by_its_rule() {
    for (flaw, rule) in FLAWS {
        let report = check_corridor(flaw);
        assert!(!report.passed(), "{flaw:?} passed");
        let errors = report.findings.iter().filter(|finding| finding.severity == Severity::Error);
        let rules: Vec<&str> = errors.map(|finding| finding.rule).collect();
        assert!(rules.contains(&rule), "{flaw:?}: {report}");
        // A reward range with swapped bounds contains no reward; the other flaws break only one rule.
        assert!(rules.len() == 1 || flaw == RangeUpsideDown, "{flaw:?}: {report}");
    }
}

#[test]
fn what_cannot_be_checked_is_a_warning() {
    let report = check_corridor(ListsNothing);
    assert!(report.passed(), "{report}");
    assert!(report.findings.len() == 1 && report.findings[0].rule == "seed-matters", "{report}");
}

#[test]
fn every_rule_has_a_flaw_that_it_catches() {
    for (rule, _) in RULES {
        assert!(FLAWS.iter().any(|(_, caught_by)| *caught_by == rule), "{rule}");
    }
}

#[test]
fn every_built_in_environment_passes() {
    let registry = Registry::builtin();
    for entry in registry.entries() {
        let report = check(&|| registry.make(entry.name), CheckOptions::default());
        assert!(report.passed(), "{report}");
    }
}

#[test]
fn every_view_of_the_grid_games_passes() {
    let registry = Registry::builtin();
    for name in ["cliff-walking", "double-t-maze", "frozen-lake-4x4"] {
        for view in ["text", "compact", "none"] {
            let mut definition = Definition::named(name);
            definition.options.set("view", view);
            let report = check(&|| registry.build(&definition), CheckOptions::default());
            assert!(report.findings.is_empty(), "{view}: {report}");
        }
    }
}

#[test]
fn a_report_is_for_people_and_for_programs() {
    let report = check_corridor(RewardOutOfRange);
    let text = report.to_string();
    assert!(text.starts_with("error[reward] episode "), "{text}");
    assert!(text.contains(": reward 2 is outside reward_range (0, 1) ("), "{text}");
    assert!(text.lines().last().unwrap().starts_with("corridor-v1: FAILED ("), "{text}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["findings"][0]["rule"], "reward");
    assert_eq!(json["findings"][0]["severity"], "error");
}
