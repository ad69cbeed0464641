//! The table for documents, and the figures that both forms of the report share.

use super::claims::{judge, short};
use super::outcome::{EntrantOutcome, Outcome};
use crate::spread::Spread;
use std::fmt::Write as _;

/// Figures of a step that are worth a column, where a step has them: path in the report, and unit.
const FIGURES: [(&str, &str); 15] = [
    ("throughput.messages_per_second", "messages/s"),
    ("throughput.mb_per_second", "MB/s"),
    ("acknowledged.p50_us", "µs p50"),
    ("acknowledged.p99_us", "µs p99"),
    ("acknowledged.p99_9_us", "µs p99.9"),
    ("delivered.p50_us", "µs delivered p50"),
    ("server_cpu_per_million", "server CPU s a million"),
    ("generator_cpu_per_million", "generator CPU s a million"),
    ("missing_messages", "acknowledged and missing"),
    ("best_mb_per_second", "MB/s best of the loop"),
    ("best_read_mb_per_second", "MB/s best of the reads"),
    ("durable_round_trip_p50_us", "µs disk + loopback"),
    ("rss_mib", "MiB resident"),
    ("cpu_percent", "% CPU idle"),
    ("ready_ms", "ms to ready"),
];

/// One step of one entrant over the rounds.
pub(super) struct Row<'a> {
    pub(super) entrant: &'a EntrantOutcome,
    pub(super) step: String,
    pub(super) figures: Vec<(&'static str, Spread)>,
}

/// What was measured, in the order of the scenario.
pub(super) fn rows(outcome: &Outcome) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for entrant in &outcome.entrants {
        let Some(first) = entrant.rounds.first() else {
            continue;
        };
        for step in &first.steps {
            let figures = FIGURES.iter().filter_map(|(path, unit)| {
                let spread = Spread::of(entrant.figures(&step.name, path))?;
                Some((*unit, spread))
            });
            rows.push(Row {
                entrant,
                step: step.name.clone(),
                figures: figures.collect(),
            });
        }
    }
    rows
}

/// Claims first, then every figure with the command that made it.
pub(super) fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    if let Some(first) = outcomes.first() {
        let _ = writeln!(text, "Measured on {}.\n", first.machine);
    }
    text += "| target | claim | verdict | figures |\n|---|---|---|---|\n";
    for outcome in outcomes {
        for claim in &outcome.scenario.claims {
            let judged = judge(claim, outcome);
            let (target, verdict) = (outcome.scenario.target, judged.verdict.words());
            let _ = writeln!(
                text,
                "| {target} | {} | **{verdict}** | {} |",
                judged.text, judged.because
            );
        }
    }
    for outcome in outcomes {
        scenario(outcome, &mut text);
    }
    text
}

fn scenario(outcome: &Outcome, text: &mut String) {
    let scenario = &outcome.scenario;
    let _ = writeln!(text, "\n### {}: {}\n", scenario.target, scenario.title);
    if !scenario.about.is_empty() {
        let _ = writeln!(text, "{}\n", scenario.about.trim());
    }
    *text += "| entrant | step | median (smallest–largest of the rounds) |\n|---|---|---|\n";
    for row in rows(outcome) {
        let figures: Vec<String> = row
            .figures
            .iter()
            .map(|(unit, s)| figure(unit, s))
            .collect();
        let _ = writeln!(
            text,
            "| {} | {} | {} |",
            row.entrant.name,
            row.step,
            figures.join("; ")
        );
    }
    text.push('\n');
    for entrant in &outcome.entrants {
        if let Some(missing) = &entrant.missing {
            let _ = writeln!(
                text,
                "- {} was not measured, or not wholly: {missing}",
                entrant.name
            );
        }
    }
    for entrant in outcome.entrants.iter().filter(|e| !e.rounds.is_empty()) {
        let version = if entrant.version.is_empty() { "" } else { ", " };
        let _ = writeln!(
            text,
            "- {}: {}{version}{}",
            entrant.name, entrant.durability, entrant.version
        );
    }
    text.push('\n');
    for row in rows(outcome) {
        if let Some(step) = row.entrant.steps(&row.step).next() {
            let _ = writeln!(text, "    {}", step.command);
        }
    }
}

/// `1,234 MB/s (1,200–1,300)`.
pub(super) fn figure(unit: &str, spread: &Spread) -> String {
    let median = short(spread.median);
    if spread.rounds == 1 {
        return format!("{median} {unit}");
    }
    let (min, max) = (short(spread.min), short(spread.max));
    format!("{median} {unit} ({min}–{max})")
}
