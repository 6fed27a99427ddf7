//! Display of statistics as text.

use std::fmt::{self, Display, Formatter};

use palestra_display::{bytes, grouped, percent, significant};

use super::{Stats, Tally};

impl Display for Stats {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write_sizes(f)?;
        writeln!(f)?;
        self.write_returns(f)?;
        writeln!(f)?;
        self.write_ends(f)?;
        writeln!(f)?;
        self.write_actions(f)?;
        writeln!(f)?;
        write_tally(f, "Environments", "episodes", &self.envs)?;
        write_tally(f, "Policies", "episodes", &self.policies)?;
        write_tally(f, "Splits", "episodes", &self.splits)
    }
}

impl Stats {
    fn write_sizes(&self, f: &mut Formatter<'_>) -> fmt::Result {
        line(f, "Files", format!("{}, {} in {} row groups", self.files, bytes(self.file_bytes), self.row_groups))?;
        if self.cut_files > 0 {
            let text = format!("{} without an end, as their writer was killed or is still writing", self.cut_files);
            line(f, "", text)?;
        }
        let text = format!("{}, {} of text and ids", grouped(self.rows), bytes(self.text_bytes));
        line(f, "Rows", text)?;
        line(f, "Episodes", grouped(self.episodes))?;
        if self.skipped > 0 {
            line(f, "", format!("{} files, row groups or episodes passed over", grouped(self.skipped)))?;
        }
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|(name, files)| match *files == self.files {
                true => (*name).to_string(),
                false => format!("{name} (in {files} of {} files)", self.files),
            })
            .collect();
        wrapped(f, "Columns", &columns)
    }

    fn write_returns(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (title, summary) in [("Returns", &self.returns), ("Lengths", &self.lengths)] {
            let Some(summary) = summary else { continue };
            line(f, title, summary)?;
            for bar in summary.histogram.to_string().lines() {
                line(f, "", format!("  {bar}"))?;
            }
        }
        let Some(rewards) = &self.rewards else { return Ok(()) };
        let (min, max) = (significant(rewards.min.into()), significant(rewards.max.into()));
        let text =
            format!("mean {}, std {}, min {min}, max {max}", significant(rewards.mean), significant(rewards.std));
        line(f, "Rewards", text)?;
        write_tally(f, "", "turns", &rewards.values)
    }

    fn write_ends(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let ends = &self.ends;
        let (terminated, truncated, cut) = (grouped(ends.terminated), grouped(ends.truncated), grouped(ends.cut));
        line(f, "Ends", format!("{terminated} terminated, {truncated} truncated, {cut} cut"))?;
        if ends.truncated_without_final_observation > 0 {
            let count = grouped(ends.truncated_without_final_observation);
            line(f, "", format!("{count} truncated without a final observation"))?;
        }
        write_tally(f, "End reasons", "episodes", &ends.reasons)
    }

    fn write_actions(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_tally(f, "Actions", "turns", &self.actions)?;
        line(f, "Invalid actions", format!("in {} turns", self.invalid_actions))?;
        line(f, "Log-probs", format!("in {} turns", self.log_probs))?;
        line(f, "Action ids", format!("in {} turns", self.action_ids))?;
        let coverage = &self.coverage;
        line(f, "Observations", format!("{} different", coverage.observations))?;
        line(f, "", format!("{} different pairs of observation and action", coverage.pairs))?;
        if let Some(tried) = &coverage.legal_actions_tried {
            line(f, "Legal actions", format!("{tried} tried, of the observations that list them"))?;
        }
        Ok(())
    }
}

/// Writes texts with their counts, one per line; a tally of a single text takes one line in total.
fn write_tally(f: &mut Formatter<'_>, title: &str, of: &str, tally: &Tally) -> fmt::Result {
    let total = tally.total();
    if total == 0 {
        return Ok(());
    }
    if let ([only], 0) = (tally.top.as_slice(), tally.others) {
        return line(f, title, format!("{} in all {} {of}", shown(&only.name), grouped(total)));
    }
    line(f, title, format!("{} different in {} {of}", tally.distinct, grouped(total)))?;
    let named = tally.top.iter().map(|named| (shown(&named.name), named.count));
    let others = (tally.others > 0).then(|| ("(all others)".to_string(), tally.others));
    let rows: Vec<_> = named.chain(others).map(|(name, count)| (name, grouped(count), count)).collect();
    let names = rows.iter().map(|row| row.0.chars().count()).max().unwrap_or_default().min(48);
    let counts = rows.iter().map(|row| row.1.len()).max().unwrap_or_default();
    for (name, grouped, count) in rows {
        let share = percent(count as f64 / total as f64);
        line(f, "", format!("  {name:<names$}  {grouped:>counts$}  {share:>6}"))?;
    }
    Ok(())
}

/// Returns a text on one line: line breaks and tabs are escaped.
fn shown(name: &str) -> String {
    name.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\"")
}

fn line(f: &mut Formatter<'_>, title: &str, text: impl Display) -> fmt::Result {
    writeln!(f, "{title:<16}{text}")
}

fn wrapped(f: &mut Formatter<'_>, title: &str, words: &[String]) -> fmt::Result {
    let mut lines = vec![String::new()];
    for (place, word) in words.iter().enumerate() {
        let comma = if place + 1 < words.len() { ", " } else { "" };
        let last = lines.last_mut().expect("at least one");
        if last.len() + word.len() > 80 {
            *last = last.trim_end().to_string();
            lines.push(format!("{word}{comma}"));
        } else {
            *last += &format!("{word}{comma}");
        }
    }
    for (place, text) in lines.iter().enumerate() {
        line(f, if place == 0 { title } else { "" }, text)?;
    }
    Ok(())
}
