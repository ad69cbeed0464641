//! Scenarios: files that hold everything that defines a run.
//!
//! A scenario names **entrants** (servers under some setting), **steps** (commands of this program, done against each
//! entrant in order) and **claims** (what the figures are to show). Flags are written as they are on the command line,
//! with `_` for `-`, and are checked by the same parser before anything runs.

use crate::args::Arguments;
use clap::Parser;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Flags of a command by name.
pub(super) type Flags = BTreeMap<String, toml::Value>;

/// One file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    /// The file's name without its ending; in results, not in files.
    #[serde(default)]
    pub(super) name: String,
    pub(super) title: String,
    /// Which of the project's performance targets this is about.
    pub(super) target: u32,
    /// Why it is measured in this way.
    #[serde(default)]
    pub(super) about: String,
    #[serde(default = "five")]
    pub(super) rounds: u32,
    #[serde(rename = "entrant")]
    pub(super) entrants: Vec<Entrant>,
    #[serde(rename = "step", default)]
    pub(super) steps: Vec<Step>,
    #[serde(rename = "claim", default)]
    pub(super) claims: Vec<Claim>,
}

/// A server under some setting.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entrant {
    pub(super) name: String,
    pub(super) server: Kind,
    #[serde(default = "one")]
    pub(super) shards: u32,
    /// `KEY=VALUE` of the server's configuration.
    #[serde(default)]
    pub(super) set: Vec<String>,
    /// When a foreign server syncs what it acknowledges. RingMQ always does.
    #[serde(default)]
    pub(super) sync: Sync,
    /// Fewer rounds than the scenario's: for servers whose figures are only there to compare with.
    #[serde(default)]
    pub(super) rounds: Option<u32>,
    /// Flags by step that replace those of the step. For the limit: those of step `limit`.
    #[serde(default)]
    pub(super) with: BTreeMap<String, Flags>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// RingMQ's broker.
    Ringmq,
    /// This program's server that stores nothing.
    Null,
    /// No server: what the machine can do.
    Limit,
    Rocketmq,
    Nats,
    Redis,
    Iggy,
    Kafka,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Sync {
    /// Before every answer.
    #[default]
    Always,
    /// When the server or the kernel likes.
    Never,
}

/// Something done against an entrant.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) command: Command,
    #[serde(default)]
    pub(super) with: Flags,
    /// Runs while the next steps run.
    #[serde(default)]
    pub(super) background: bool,
    /// Entrants that do this step; empty: all.
    #[serde(default)]
    pub(super) only: Vec<String>,
    /// A rate that depends on what an earlier step of the same round reached.
    #[serde(default)]
    pub(super) rate: Option<RateOf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Command {
    Produce,
    Consume,
    Latency,
    /// The server is left alone for `seconds`, and looked at.
    Idle,
    /// The server is stopped cleanly and started again on its directory.
    Restart,
}

/// `share` of the messages a second of step `of`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RateOf {
    pub(super) of: String,
    pub(super) share: f64,
}

/// What a figure is to show. Figures are named `entrant/step/path.in.the.report`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claim {
    pub(super) text: String,
    pub(super) figure: String,
    /// The best of these is compared with; none: the bound stands for itself.
    #[serde(default)]
    pub(super) against: Vec<String>,
    #[serde(default)]
    pub(super) at_least: Option<f64>,
    #[serde(default)]
    pub(super) at_most: Option<f64>,
}

fn five() -> u32 {
    5
}

fn one() -> u32 {
    1
}

impl Scenario {
    /// Reads and checks a file. The error says where and what.
    pub(super) fn load(path: &Path) -> Result<Self, String> {
        let at = |why: String| format!("{}: {why}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| at(error.to_string()))?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::parse(&stem, &text).map_err(at)
    }

    pub(super) fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut scenario: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if !scenario.name.is_empty() {
            return Err("a scenario is named by its file, not by a key".to_owned());
        }
        name.clone_into(&mut scenario.name);
        scenario.check()?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), String> {
        unique("entrant", self.entrants.iter().map(|e| &e.name))?;
        unique("step", self.steps.iter().map(|s| &s.name))?;
        if self.rounds == 0 || self.entrants.is_empty() {
            return Err("a scenario has at least one round and one entrant".to_owned());
        }
        for entrant in &self.entrants {
            for name in entrant.with.keys() {
                if name != LIMIT && !self.steps.iter().any(|step| step.name == *name) {
                    return Err(format!("entrant {}: there is no step {name}", entrant.name));
                }
            }
            for step in self.steps_of(entrant) {
                let named = |why| format!("entrant {}, step {}: {why}", entrant.name, step.name);
                step.check(self, entrant).map_err(named)?;
            }
            if entrant.server == Kind::Limit {
                let arguments = entrant.limit_arguments();
                parse(&arguments).map_err(|why| format!("entrant {}: {why}", entrant.name))?;
            }
        }
        self.claims
            .iter()
            .try_for_each(|claim| self.check_claim(claim))
    }

    fn check_claim(&self, claim: &Claim) -> Result<(), String> {
        let wrong = |why: String| Err(format!("claim {:?}: {why}", claim.text));
        if claim.at_least.is_some() == claim.at_most.is_some() {
            return wrong("either at_least or at_most".to_owned());
        }
        for figure in std::iter::once(&claim.figure).chain(&claim.against) {
            let mut parts = figure.splitn(3, '/');
            let entrant = parts.next().unwrap_or_default();
            let Some(entrant) = self.entrants.iter().find(|e| e.name == entrant) else {
                return wrong(format!("there is no entrant {entrant:?}"));
            };
            let step = parts.next().unwrap_or_default();
            let known = match entrant.server {
                Kind::Limit => step == LIMIT,
                _ => self.steps_of(entrant).any(|s| s.name == step),
            };
            if !known || parts.next().is_none() {
                return wrong(format!("{figure:?} is not ENTRANT/STEP/PATH"));
            }
        }
        Ok(())
    }

    /// What this entrant does.
    pub(super) fn steps_of<'a>(&'a self, entrant: &'a Entrant) -> impl Iterator<Item = &'a Step> {
        let runs = entrant.server != Kind::Limit;
        self.steps
            .iter()
            .filter(move |step| runs && (step.only.is_empty() || step.only.contains(&entrant.name)))
    }

    pub(super) fn rounds_of(&self, entrant: &Entrant) -> u32 {
        entrant.rounds.unwrap_or(self.rounds).min(self.rounds)
    }
}

/// The one step of entrants without a server.
pub(super) const LIMIT: &str = "limit";

impl Entrant {
    pub(super) fn limit_arguments(&self) -> Vec<String> {
        let mut arguments = vec![LIMIT.to_owned()];
        let none = Flags::new();
        put_flags(self.with.get(LIMIT).unwrap_or(&none), &mut arguments);
        arguments
    }
}

impl Step {
    /// The command line for this entrant, without what says where the server is.
    pub(super) fn arguments(&self, entrant: &Entrant) -> Vec<String> {
        let command = match self.command {
            Command::Produce => "produce",
            Command::Consume => "consume",
            Command::Latency => "latency",
            Command::Idle | Command::Restart => return Vec::new(),
        };
        let mut flags = self.with.clone();
        let own = entrant.with.get(&self.name).into_iter().flatten();
        flags.extend(own.map(|(key, value)| (key.clone(), value.clone())));
        let mut arguments = vec![command.to_owned()];
        put_flags(&flags, &mut arguments);
        arguments
    }

    /// Seconds of `idle`.
    pub(super) fn seconds(&self) -> f64 {
        let seconds = self.with.get("seconds");
        let number =
            |value: &toml::Value| value.as_float().or(value.as_integer().map(|n| n as f64));
        seconds.and_then(number).unwrap_or(10.0)
    }

    fn check(&self, scenario: &Scenario, entrant: &Entrant) -> Result<(), String> {
        if let Some(rate) = &self.rate {
            let mut earlier = scenario
                .steps_of(entrant)
                .take_while(|s| s.name != self.name);
            if !earlier.any(|step| step.name == rate.of) {
                return Err(format!(
                    "there is no earlier step {:?} to take a rate from",
                    rate.of
                ));
            }
            if !(rate.share > 0.0 && rate.share <= 1.0) {
                return Err("a share is above 0 and at most 1".to_owned());
            }
        }
        match self.command {
            Command::Idle | Command::Restart => {
                let unknown = self.with.keys().find(|key| *key != "seconds");
                unknown.map_or(Ok(()), |key| {
                    Err(format!("{key} is not a key of this step"))
                })
            }
            _ => parse(&self.arguments(entrant)),
        }
    }
}

fn put_flags(flags: &Flags, arguments: &mut Vec<String>) {
    for (key, value) in flags {
        let flag = format!("--{}", key.replace('_', "-"));
        match value {
            toml::Value::Boolean(true) => arguments.push(flag),
            toml::Value::Boolean(false) => {}
            toml::Value::String(text) => arguments.extend([flag, text.clone()]),
            other => arguments.extend([flag, other.to_string()]),
        }
    }
}

/// Asks the command line's own parser.
fn parse(arguments: &[String]) -> Result<(), String> {
    let line = std::iter::once("ringmq-bench".to_owned()).chain(arguments.iter().cloned());
    match Arguments::try_parse_from(line) {
        Ok(_) => Ok(()),
        Err(error) => Err(error
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()),
    }
}

fn unique<'a>(what: &str, names: impl Iterator<Item = &'a String>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for name in names {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(format!(
                "{what} {name:?}: a name has letters, digits and - only"
            ));
        }
        if !seen.insert(name) {
            return Err(format!("{what} {name} is there twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
