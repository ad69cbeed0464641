//! The result of a soak, for people and for programs.

use super::args::Arguments;
use super::ledger::{Counts, Ledger};
use super::progress::Progress;
use super::sampling::{Flatness, Life, Sample};
use crate::BenchError;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// What a run shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// Nothing was violated, and the server's memory and descriptors stood still (or were not watched long enough).
    Passed,
    /// Nothing was violated, but the group was so slow that retention removed messages before it read them: what became
    /// of those is not known.
    Inconclusive,
    /// Something that must not be.
    Failed,
}

/// Everything about a run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    command: &'static str,
    version: &'static str,
    parameters: serde_json::Value,
    verdict: Verdict,
    seconds: f64,
    messages: Counts,
    violations: Vec<String>,
    /// Errors that a restart excuses.
    troubles: BTreeMap<String, u64>,
    restarts: usize,
    server: Vec<Life>,
    /// Over the last life; nothing if it was too short.
    server_flatness: Option<Flatness>,
    generator: Option<Life>,
    generator_flatness: Option<Flatness>,
    group: Progress,
}

impl Report {
    pub(super) fn new(arguments: &Arguments, ledger: &Ledger, seconds: f64) -> Self {
        let (violations, troubles) = ledger.words();
        let messages = ledger.counts();
        let verdict = match (messages.violations, messages.expired_for_group) {
            (0, 0) => Verdict::Passed,
            (0, _) => Verdict::Inconclusive,
            _ => Verdict::Failed,
        };
        Self {
            command: "soak",
            version: env!("CARGO_PKG_VERSION"),
            parameters: serde_json::to_value(arguments).unwrap_or_default(),
            verdict,
            seconds,
            messages,
            violations,
            troubles,
            restarts: 0,
            server: Vec::new(),
            server_flatness: None,
            generator: None,
            generator_flatness: None,
            group: Progress::default(),
        }
    }

    pub(super) fn passed(&self) -> bool {
        self.verdict == Verdict::Passed
    }

    pub(super) fn with_server(mut self, lives: Vec<Life>, flatness: Option<Flatness>) -> Self {
        self.restarts = lives.len().saturating_sub(1);
        self.server = lives;
        if !flatness.is_none_or(|flatness| flatness.is_flat()) {
            self.verdict = Verdict::Failed;
        }
        self.server_flatness = flatness;
        self
    }

    pub(super) fn with_generator(mut self, life: Life, flatness: Option<Flatness>) -> Self {
        self.generator = Some(life);
        self.generator_flatness = flatness;
        self
    }

    pub(super) fn with_progress(mut self, group: Progress) -> Self {
        self.group = group;
        self
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let verdict = match self.verdict {
            Verdict::Passed => "passed",
            Verdict::Inconclusive => "INCONCLUSIVE",
            Verdict::Failed => "FAILED",
        };
        let m = &self.messages;
        let _ = writeln!(
            text,
            "soak {verdict}: {} messages acknowledged in {:.0} s, {} delivered to the group, {} again; \
             {} restarts; {} violations",
            m.acknowledged, self.seconds, m.delivered, m.redelivered, self.restarts, m.violations
        );
        let _ = writeln!(
            text,
            "{:>16}: {} read, {} expired before them",
            "slow readers", m.read_slowly, m.expired_for_slow
        );
        let Progress {
            behind_max,
            still_s_max,
            still_until_s,
            ..
        } = self.group;
        let _ = writeln!(
            text,
            "{:>16}: at most {behind_max} messages behind, {still_s_max:.0} s without a delivery (until {still_until_s:.0} s)",
            "group"
        );
        if m.expired_for_group > 0 {
            let _ = writeln!(
                text,
                "{:>16}: retention removed {} messages before the group read them",
                "group", m.expired_for_group
            );
        }
        for life in &self.server {
            life_line(&mut text, "server", life);
        }
        if let Some(life) = &self.generator {
            life_line(&mut text, "generator", life);
        }
        let flatness = [
            ("server", &self.server_flatness),
            ("generator", &self.generator_flatness),
        ];
        for (who, flatness) in flatness {
            flatness_line(&mut text, who, flatness.as_ref());
        }
        for (what, count) in &self.troubles {
            let _ = writeln!(text, "{count:>16} times {what}");
        }
        for words in &self.violations {
            let _ = writeln!(text, "{:>16}: {words}", "violation");
        }
        text
    }

    /// Writes the report where it is wanted.
    pub(super) fn publish(&self, json: Option<&Path>) -> Result<(), BenchError> {
        crate::report::write(self, &self.text(), json)
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn life_line(text: &mut String, who: &str, life: &Life) {
    let _ = write!(text, "{who:>16} {}:", life.pid);
    for sample in [&life.first, &life.middle, &life.last]
        .into_iter()
        .flatten()
    {
        let Sample {
            at_s,
            rss_bytes,
            descriptors,
            threads,
        } = sample;
        let _ = write!(
            text,
            " [{at_s:.0} s: {:.1} MiB, {descriptors} descriptors, {threads} threads]",
            mib(*rss_bytes)
        );
    }
    let end = match life.end {
        None => "",
        Some(super::broker::End::Stopped) => " stopped",
        Some(super::broker::End::Killed) => " killed",
    };
    let _ = writeln!(text, "{end}");
}

fn flatness_line(text: &mut String, who: &str, flatness: Option<&Flatness>) {
    let Some(flatness) = flatness else {
        let _ = writeln!(text, "{who:>16} memory: too few readings to judge");
        return;
    };
    let verdict = if flatness.is_flat() { "flat" } else { "GROWS" };
    let (rss, descriptors) = (&flatness.rss_bytes, &flatness.descriptors);
    let _ = writeln!(
        text,
        "{who:>16} memory: {verdict}: {:.1} -> {:.1} MiB, {} -> {} descriptors over {} readings",
        mib(rss.early),
        mib(rss.late),
        descriptors.early,
        descriptors.late,
        flatness.readings
    );
}
