//! Statistics as people read them.

use std::fmt::{self, Display, Formatter};

use super::{Stats, Tally, grouped, percent, short};

impl Display for Stats {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write_sizes(f)?;
        self.write_returns(f)?;
        self.write_ends(f)?;
        self.write_actions(f)?;
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
            writeln!(f)?;
            line(f, title, summary)?;
            write!(f, "{}", summary.histogram)?;
        }
        let Some(rewards) = &self.rewards else { return Ok(()) };
        let (min, max) = (short(rewards.min.into()), short(rewards.max.into()));
        writeln!(f)?;
        let text = format!("mean {}, std {}, min {min}, max {max}", short(rewards.mean), short(rewards.std));
        line(f, "Rewards", text)?;
        write_tally(f, "", "values", &rewards.values)
    }

    fn write_ends(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let ends = &self.ends;
        writeln!(f)?;
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
        line(f, "Invalid actions", self.invalid_actions)?;
        line(f, "Log-probs", self.log_probs)?;
        line(f, "Action ids", self.action_ids)?;
        let coverage = &self.coverage;
        line(f, "Observations", format!("{} different", coverage.observations))?;
        line(f, "", format!("{} different pairs of observation and action", coverage.pairs))?;
        if let Some(tried) = &coverage.legal_actions_tried {
            line(f, "Legal actions", format!("{tried} tried, over the observations that list them"))?;
        }
        Ok(())
    }
}

/// Texts with their counts, a line each; a tally of a single text takes one line in all.
fn write_tally(f: &mut Formatter<'_>, title: &str, of: &str, tally: &Tally) -> fmt::Result {
    let total = tally.total();
    if total == 0 {
        return Ok(());
    }
    let share = |count: u64| percent(count as f64 / total as f64);
    if let ([only], 0) = (tally.top.as_slice(), tally.others) {
        return line(f, title, format!("{} in all {} {of}", shown(&only.name), grouped(total)));
    }
    if !title.is_empty() {
        writeln!(f)?;
    }
    line(f, title, format!("{} different", tally.distinct))?;
    let wide = tally.top.iter().map(|named| shown(&named.name).chars().count()).max().unwrap_or_default().min(40);
    let rows = tally.top.iter().map(|named| (shown(&named.name), named.count));
    let others = (tally.others > 0).then(|| ("all others".to_string(), tally.others));
    for (name, count) in rows.chain(others) {
        writeln!(f, "    {name:<wide$}  {:>12}  {:>7}", grouped(count), share(count))?;
    }
    Ok(())
}

/// On one line whatever it holds: line ends and tabs as their escapes.
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

fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} bytes"),
        1_000..1_000_000 => format!("{:.1} KB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.1} GB", count as f64 / 1e9),
    }
}
