//! `docs/reference/`: the keys of a run file, made from the code's own documentation, and the metrics.
//!
//! `UPDATE_REFERENCE=1` (`cargo xtask docs`) writes `docs/reference/keys.md` anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use palestra::config::RunFile;
use palestra::reference;
use palestra_learn::learners::LEARNERS;

/// Sections of a run file: name, source file and type. Learners' sections come from their table.
const SECTIONS: [(&str, &str, &str); 17] = [
    ("", "src/config.rs", "RunFile"),
    ("template_limits", "crates/text/src/tokenizer/chat_template/limits.rs", "TemplateLimits"),
    ("env", "envs/src/definition.rs", "Definition"),
    ("env.wrappers", "envs/src/wrappers.rs", "Wrappers"),
    ("reward", "envs/src/reward/definition.rs", "RewardDefinition"),
    ("data", "crates/learn/src/source/replay.rs", "DataConfig"),
    ("text", "crates/learn/src/source/text_config.rs", "TextConfig"),
    ("text.corpus", "crates/learn/src/source/text_config.rs", "CorpusConfig"),
    ("preferences", "crates/learn/src/source/preferences.rs", "PreferenceConfig"),
    ("lora", "crates/model/src/lora.rs", "LoraConfig"),
    ("model", "crates/model/src/config.rs", "ModelConfig"),
    ("rollout", "crates/learn/src/rollout.rs", "RolloutConfig"),
    ("rollout.sampling", "crates/model/src/math/sampling.rs", "Sampling"),
    ("optimizer", "crates/model/src/optim.rs", "OptimizerConfig"),
    ("optimizer.group", "crates/model/src/optim.rs", "ParameterGroup"),
    ("train", "src/config/sections.rs", "TrainConfig"),
    ("evaluation", "src/config/sections.rs", "EvaluationConfig"),
];

/// Source file and type of each learner's section.
const LEARNER_TYPES: [(&str, &str, &str); 14] = [
    ("ppo", "ppo.rs", "PpoConfig"),
    ("grpo", "group.rs", "GroupConfig"),
    ("bc", "offline/behaviour_cloning.rs", "BehaviourCloningConfig"),
    ("filtered_bc", "offline/behaviour_cloning.rs", "FilteredConfig"),
    ("awr", "offline/awr.rs", "AwrConfig"),
    ("mc", "offline/monte_carlo.rs", "MonteCarloConfig"),
    ("cql", "offline/cql.rs", "CqlConfig"),
    ("iql", "offline/iql.rs", "IqlConfig"),
    ("ilql", "offline/ilql.rs", "IlqlConfig"),
    ("decision_transformer", "offline/decision_transformer.rs", "DecisionTransformerConfig"),
    ("supervised", "supervised.rs", "SupervisedConfig"),
    ("reward_model", "reward_model.rs", "RewardModelConfig"),
    ("dpo", "dpo.rs", "DpoConfig"),
    ("kto", "kto.rs", "KtoConfig"),
];

/// A field of a configuration.
struct Field {
    name: String,
    of: String,
    meaning: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Public fields of a struct with their documentation, as its source has them.
fn fields(file: &str, name: &str) -> Vec<Field> {
    let text = std::fs::read_to_string(root().join(file)).unwrap();
    let head = format!("pub struct {name} {{");
    let at = text.find(&head).unwrap_or_else(|| panic!("{file} has no {name}"));
    let body = text[at + head.len()..].split_once("\n}").map_or("", |(body, _)| body);
    let (mut found, mut meaning, mut renamed) = (Vec::new(), Vec::new(), None);
    for line in body.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            meaning.push(text.trim().to_string());
        } else if line.starts_with("#[serde") {
            renamed = line
                .split_once("rename = \"")
                .and_then(|(_, rest)| rest.split('"').next())
                .map(String::from)
                .or(renamed);
        } else if let Some((name, of)) = line.strip_prefix("pub ").and_then(|line| line.split_once(": ")) {
            let name = renamed.take().unwrap_or_else(|| name.to_string());
            let of = of.trim_end_matches(',').to_string();
            found.push(Field { name, of, meaning: meaning.join(" ") });
            meaning.clear();
        }
    }
    found
}

/// Type of a field as people write its value.
fn value_type(of: &str) -> &'static str {
    let of = of.strip_prefix("Option<").map_or(of, |of| of.trim_end_matches('>'));
    match of {
        "bool" => "true or false",
        "f32" | "f64" => "number",
        "u32" | "u64" | "usize" | "NonZeroU32" | "std::num::NonZeroU32" => "whole number",
        "String" | "PathBuf" | "ChatDate" => "text",
        "Vec<String>" => "list of texts",
        "(f64, f64)" => "two numbers",
        "Options" | "Wrappers" | "Sampling" => "table",
        _ if of.starts_with("Vec<") => "tables",
        _ => "word or table",
    }
}

/// Defaults of all sections, as a resolved run writes them.
fn defaults(learner: &str) -> toml::Table {
    let data = match LEARNERS.iter().find(|kind| kind.name == learner).map(|kind| format!("{:?}", kind.data)) {
        Some(data) if data == "Log" => "[data]\nfiles = ['f']\n",
        Some(data) if data == "Text" => "[text]\nfiles = ['f']\n",
        Some(data) if data == "Preferences" => "[preferences]\nfiles = ['f']\ntokenizer = 't'\n",
        _ => "[env]\nid = 'e'\n",
    };
    let group = if learner == "grpo" { "[rollout]\ngroup = 2\n" } else { "" };
    let text = format!("name = 'n'\n{data}[{learner}]\n{group}");
    let run = RunFile::from_toml("run.toml", &text, &[] as &[&str]).unwrap();
    toml::from_str(&run.to_toml().unwrap()).unwrap()
}

fn default_of(section: &str, key: &str) -> Option<String> {
    let learner = match section.split('.').next().unwrap_or_default() {
        "text" => "supervised",
        "preferences" => "dpo",
        "data" => "bc",
        name if LEARNERS.iter().any(|kind| kind.name == name) => name,
        _ => "ppo",
    };
    let table = defaults(learner);
    let shown = match section {
        "lora" => toml::Table::try_from(palestra_model::lora::LoraConfig::default()).unwrap().get(key).cloned(),
        "model" => toml::Table::try_from(palestra_model::ModelConfig::default()).unwrap().get(key).cloned(),
        "" => table.get(key).cloned(),
        _ => section
            .split('.')
            .try_fold(toml::Value::Table(table), |at, key| at.get(key).cloned())
            .and_then(|at| at.get(key).cloned()),
    };
    let is_ours =
        |value: &toml::Value| ["n", "e", "f", "t"].iter().any(|it| value.to_string().contains(&format!("\"{it}\"")));
    shown.filter(|value| !value.is_table() && !is_ours(value)).map(|value| palestra::config::shown_value(&value))
}

fn keys() -> String {
    let mut text = "# Keys of a run file\n\nMade from the code's own documentation by `cargo xtask docs`; `palestra keys NAME` prints an entry. A key that has no \
                    default may be left out unless its text says otherwise. Runs that start from a model have other defaults for some keys \
                    ([fine-tuning.md](../fine-tuning.md#defaults)).\n"
        .to_string();
    let learners =
        LEARNER_TYPES.iter().map(|(name, file, of)| (*name, format!("crates/learn/src/learners/{file}"), *of));
    let sections = SECTIONS.iter().map(|(name, file, of)| (*name, file.to_string(), *of));
    for (section, file, of) in sections.chain(learners) {
        let title = if section.is_empty() { "At the top".to_string() } else { format!("[{section}]") };
        let _ = write!(text, "\n## {title}\n");
        let found = fields(&file, of);
        if found.is_empty() {
            text += "\nIt has no keys.\n";
        }
        for Field { name, of, meaning } in found {
            let is_section = section.is_empty()
                && (of.contains("Config")
                    || of.contains("Limits")
                    || of.contains("Definition")
                    || of.contains("NamedLearner"));
            if is_section {
                continue;
            }
            let path = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
            let default = default_of(section, &name).map_or_else(String::new, |value| format!("; default `{value}`"));
            let here = palestra::config::names_elsewhere(&path);
            let elsewhere =
                if here.is_empty() { String::new() } else { format!(". Elsewhere: `{}`", here.join("`, `")) };
            let _ = write!(text, "\n### {path}\n{}{default}{elsewhere}.\n\n{meaning}\n", value_type(&of));
        }
    }
    text
}

#[test]
fn the_reference_of_keys_is_what_the_code_says() {
    let file = root().join("docs/reference/keys.md");
    let made = keys();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&file, &made).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = made.lines().zip(written.lines()).find(|(made, written)| made != written);
    assert!(made == written, "docs/reference/keys.md is old ({differs:?}): run `cargo xtask docs`");
}

#[test]
fn every_learner_has_its_keys_in_the_reference() {
    let listed: Vec<&str> = LEARNER_TYPES.iter().map(|(name, ..)| *name).collect();
    assert_eq!(listed, LEARNERS.iter().map(|kind| kind.name).collect::<Vec<_>>());
}

#[test]
fn every_metric_of_the_code_is_in_the_reference() {
    let mut found = BTreeSet::new();
    for folder in ["crates/learn/src", "src/train_run"] {
        for path in glob::glob(&format!("{}/{folder}/**/*.rs", root().display())).unwrap().flatten() {
            if path.to_string_lossy().contains("tests") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let groups = [
                "episode",
                "objective",
                "policy",
                "val",
                "values",
                "loss",
                "rewards",
                "logps",
                "data",
                "text",
                "validation",
                "eval",
                "update",
                "optimizer",
                "rollout",
                "throughput",
            ];
            for literal in code.split('"').skip(1).step_by(2) {
                let is_metric = literal.split_once('/').is_some_and(|(group, name)| {
                    groups.contains(&group)
                        && !name.is_empty()
                        && name.bytes().all(|byte| {
                            byte == b'_' || byte == b'/' || byte.is_ascii_lowercase() || byte.is_ascii_digit()
                        })
                });
                if is_metric && literal != "text/plain" {
                    found.insert(literal.to_string());
                }
            }
        }
    }
    assert!(found.len() > 60, "{found:?}");
    let missing: Vec<&String> = found.iter().filter(|name| reference::metrics().find(name).is_err()).collect();
    assert!(missing.is_empty(), "docs/reference/metrics.md lacks {missing:?}");
}
