//! Settings of a run as a person reads them before it starts: every value, those that differ from the defaults marked.

use std::fmt::Write as _;

use palestra_settings::parse_toml_table;

use super::RunFile;
use super::defaults;
use super::learner::WithLearner;
use crate::Result;
use palestra_learn::learners::Data;

/// Columns of a line.
const WIDTH: usize = 110;

impl RunFile {
    /// Lists the settings of the learner, the optimiser and the sections beside them, a line or more each. A value that
    /// is not the default is followed by `*`.
    ///
    /// # Errors
    /// A value that TOML cannot write.
    pub fn settings(&self) -> Result<String> {
        let sections: &[&str] = match self.learner.config.data() {
            Data::Play => &[self.learner.name, "rollout", "lora", "optimizer", "train"],
            Data::Log | Data::Text | Data::Preferences => &[self.learner.name, "lora", "optimizer", "train"],
        };
        let (ours, defaults) = (self.as_table()?, self.with_defaults()?.as_table()?);
        let mut lines = String::new();
        for section in sections {
            let Some(toml::Value::Table(values)) = ours.get(*section) else { continue };
            let default = defaults.get(*section).and_then(toml::Value::as_table);
            let mut line = format!("  {section:<12}");
            for (key, value) in values {
                let mark = if default.and_then(|default| default.get(key)) == Some(value) { "" } else { "*" };
                let item = format!("  {key} = {}{mark}", shown_value(value));
                if line.len() + item.len() > WIDTH && line.trim() != *section {
                    let _ = writeln!(lines, "{}", line.trim_end());
                    line = format!("  {:<12}", "");
                }
                line += &item;
            }
            let _ = writeln!(lines, "{}", line.trim_end());
        }
        Ok(lines.trim_end().to_string())
    }

    /// The run with the defaults of its learner and of its start in place of its settings.
    fn with_defaults(&self) -> Result<Self> {
        let mut table = toml::Table::from_iter([("name".to_string(), self.name.clone().into())]);
        let ours = self.as_table()?;
        let data = ["env", "data", "text", "preferences", "start_from"];
        table.extend(data.into_iter().filter_map(|key| Some((key.to_string(), ours.get(key)?.clone()))));
        table.insert(self.learner.name.to_string(), toml::Table::new().into());
        if self.lora.is_some() {
            table.insert("lora".to_string(), toml::Table::new().into());
        }
        defaults::fill(&mut table, self);
        parse_toml_table("defaults", &table).map(|WithLearner(run)| run).map_err(super::config)
    }

    fn as_table(&self) -> Result<toml::Table> {
        toml::Table::try_from(self).map_err(|error| crate::Error::Config(format!("{}: {error}", self.name)))
    }
}

/// A value as a person writes it: a number in the fewest digits that mean it.
pub fn shown_value(value: &toml::Value) -> String {
    match value {
        // Settings of 32 bits have more digits in 64.
        toml::Value::Float(number) if f64::from(*number as f32) == *number => format!("{:?}", *number as f32),
        toml::Value::Float(number) => format!("{number:?}"),
        toml::Value::Array(values) => format!("[{}]", values.iter().map(shown_value).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_the_defaults_is_marked() {
        let text =
            "name = 'x'\nstart_from = 'm'\n[preferences]\nfiles = ['a.jsonl']\n[dpo]\nbeta = 0.2\n[lora]\nrank = 4\n";
        let run = RunFile::from_toml("run.toml", text, &["optimizer.warmup=0.03"]).unwrap();
        let shown = run.settings().unwrap();
        for part in ["  beta = 0.2*", "  rank = 4*", "  warmup = 0.03 ", "  learning_rate = 1e-5 ", "  epochs = 1.0"] {
            assert!(format!("{shown} ").replace('\n', " ").contains(part), "{part} is missing from:\n{shown}");
        }
        assert!(!shown.contains("rollout"), "{shown}");
        assert!(shown.lines().all(|line| line.len() <= WIDTH), "{shown}");
    }
}
