//! `report.html`: a page on what was dropped and why. One file, light or dark as the browser prefers.

use std::fmt::Write;

use palestra_display::{Page, bytes, escape, grouped, percent};

use crate::report::{DroppedBy, Report};
use crate::tally::{Changed, Sample};

impl Report {
    /// Returns the report as a self-contained HTML page.
    pub fn to_html(&self) -> String {
        page(self)
    }
}

/// Returns the page of a report. All text is escaped, so markup and scripts of a document are shown and never run.
fn page(report: &Report) -> String {
    let body = [
        facts(report),
        section("Funnel", funnel(report)),
        section("Dropped by each rule", dropped(&report.dropped, report.documents)),
        section("Changed", changed(&report.changed)),
        section("Languages of what was kept", languages(report)),
        section("Lengths in words", lengths(report)),
        section("Samples of what was kept", report.kept_samples.iter().map(sample).collect()),
        section("Shards", shards(report)),
        section("Settings", format!("<pre>{}</pre>\n", escape(&report.settings.to_toml()))),
    ]
    .concat();
    let title = format!("Corpus {}", report.out);
    let body = format!("<h1>Corpus <code>{}</code></h1>\n{body}", escape(&report.out));
    Page { title: &title, head: "", css: include_str!("page.css"), body: &body, script: "" }.to_html()
}

fn facts(report: &Report) -> String {
    let kept = report.kept();
    let row = |name: &str, value: String| format!("<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>\n");
    let rows = [
        row(
            "Read",
            format!(
                "{} documents, {}, in {} files",
                grouped(report.documents),
                bytes(report.document_bytes),
                grouped(report.files)
            ),
        ),
        row(
            "Kept",
            format!(
                "{} documents ({}), {}",
                grouped(kept.documents),
                percent(share(kept.documents, report.documents)),
                bytes(kept.bytes)
            ),
        ),
        row("For training", format!("{} documents, {}", grouped(report.train.documents), bytes(report.train.bytes))),
        row(
            "For validation",
            format!("{} documents, {}", grouped(report.validation.documents), bytes(report.validation.bytes)),
        ),
    ];
    format!("<table class=\"facts\">\n{}</table>\n", rows.concat())
}

fn funnel(report: &Report) -> String {
    let mut bars = bar("Read", report.documents, report.documents, "");
    for step in &report.funnel {
        let note = if step.dropped > 0 { format!("− {}", grouped(step.dropped)) } else { String::new() };
        bars += &bar(step.step.title(), step.left, report.documents, &note);
    }
    format!("<p class=\"soft\">Documents that each step left.</p>\n{bars}")
}

fn dropped(dropped: &[DroppedBy], documents: u64) -> String {
    if dropped.is_empty() {
        return "<p>Nothing was dropped.</p>\n".into();
    }
    let most = dropped.iter().map(|by| by.count.documents).max().unwrap_or(1);
    let mut html = String::new();
    for by in dropped {
        let note = format!("{} · {}", percent(share(by.count.documents, documents)), bytes(by.count.bytes));
        let head = bar(&by.rule.name(), by.count.documents, most, &note);
        let samples: String = by.samples.iter().map(sample).collect();
        let _ = writeln!(html, "<details><summary>{head}</summary><div class=\"body\">{samples}</div></details>");
    }
    format!(
        "<p class=\"soft\">A document is dropped by the first rule that it fails. Open a rule for samples.</p>\n{html}"
    )
}

fn sample(sample: &Sample) -> String {
    let detail = if sample.detail.is_empty() { String::new() } else { format!(" — {}", escape(&sample.detail)) };
    let place = format!("{}, {}", escape(&sample.source), sample.row);
    let mut html =
        format!("<p class=\"place\">{place}{detail}</p>\n<pre class=\"wrap\">{}</pre>\n", escape(&sample.excerpt));
    if let Some(original) = &sample.original {
        let _ = write!(
            html,
            "<p class=\"place\">which is like {}, {}:</p>\n<pre class=\"wrap original\">{}</pre>\n",
            escape(&original.source),
            original.row,
            escape(&original.excerpt)
        );
    }
    html
}

fn changed(changed: &Changed) -> String {
    let mut rows = Vec::new();
    for (charset, count) in &changed.charsets {
        rows.push((format!("documents read as {charset}"), *count));
    }
    rows.push(("documents with mojibake undone".into(), changed.mojibake));
    rows.push(("lines without terminal punctuation removed".into(), changed.lines.terminal_punctuation));
    rows.push(("lines of too few words removed".into(), changed.lines.words_per_line));
    rows.push(("lines with \"javascript\" removed".into(), changed.lines.javascript_lines));
    rows.push(("lines on cookies, privacy, terms removed".into(), changed.lines.policy_lines));
    rows.push(("addresses of e-mail replaced".into(), changed.scrubbed.email));
    rows.push(("IP addresses replaced".into(), changed.scrubbed.ip));
    rows.push(("phone numbers replaced".into(), changed.scrubbed.phone));
    let most = rows.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let bars: String =
        rows.iter().filter(|(_, count)| *count > 0).map(|(name, count)| bar(name, *count, most, "")).collect();
    if bars.is_empty() { "<p>Nothing was changed but white space and Unicode forms.</p>\n".into() } else { bars }
}

fn languages(report: &Report) -> String {
    const SHOWN: usize = 20;
    let mut languages: Vec<_> = report.languages.iter().collect();
    languages.sort_by_key(|(code, count)| (std::cmp::Reverse(count.documents), *code));
    let most = languages.first().map_or(1, |(_, count)| count.documents);
    let name = |code: &str| whatlang::Lang::from_code(code).map_or("not known", |lang| lang.eng_name());
    let bars = languages
        .iter()
        .take(SHOWN)
        .map(|(code, count)| bar(&format!("{} ({code})", name(code)), count.documents, most, &bytes(count.bytes)));
    let rest = languages.len().saturating_sub(SHOWN);
    let more = if rest > 0 { format!("<p class=\"soft\">and {rest} more in report.json</p>\n") } else { String::new() };
    bars.collect::<String>() + &more
}

fn lengths(report: &Report) -> String {
    let histogram = |lengths: &[u64]| -> String {
        let most = lengths.iter().copied().max().unwrap_or(1);
        let first = lengths.iter().position(|count| *count > 0).unwrap_or(0);
        let bin = |(bin, count): (usize, &u64)| {
            let from = if bin == 0 { 0 } else { 1u64 << bin };
            bar(&format!("{} to {}", grouped(from), grouped((2u64 << bin) - 1)), *count, most, "")
        };
        lengths.iter().enumerate().skip(first).map(bin).collect()
    };
    let kept = format!("<h3>Kept</h3>\n{}", histogram(&report.kept_lengths));
    match report.dropped_lengths.is_empty() {
        true => kept,
        false => format!("{kept}<h3>Dropped</h3>\n{}", histogram(&report.dropped_lengths)),
    }
}

fn shards(report: &Report) -> String {
    let row = |shard: &crate::shards::Shard| {
        format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            escape(&shard.name),
            grouped(shard.documents),
            bytes(shard.text_bytes),
            bytes(shard.file_bytes)
        )
    };
    let rows: String = report.shards.iter().map(row).collect();
    format!(
        "<div class=\"scroll\"><table class=\"figures\"><thead><tr><th>File</th><th>Documents</th><th>Text</th><th>Size</th>\
         </tr></thead>\n{rows}</table></div>\n"
    )
}

/// Returns a line of a bar chart.
fn bar(name: &str, count: u64, most: u64, note: &str) -> String {
    let width = 100.0 * count as f64 / most.max(1) as f64;
    format!(
        "<div class=\"bar\"><span class=\"name\">{}</span><span class=\"track\"><span style=\"width:{width:.2}%\"></span>\
         </span><span class=\"count\">{}</span><span class=\"note\">{}</span></div>\n",
        escape(name),
        grouped(count),
        escape(note)
    )
}

fn section(title: &str, body: String) -> String {
    if body.is_empty() { body } else { format!("<section>\n<h2>{title}</h2>\n{body}</section>\n") }
}

fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}
