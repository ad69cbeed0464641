//! What a run leaves: one JSON file a scenario, with everything that the report needs.

use super::marks::Mark;
use super::scenario::{Kind, Scenario};
use crate::BenchError;
use crate::machine::Machine;
use crate::spread::Spread;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A scenario that was run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) scenario: Scenario,
    pub(super) machine: Machine,
    pub(super) began_unix_ms: u64,
    pub(super) entrants: Vec<EntrantOutcome>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EntrantOutcome {
    pub(super) name: String,
    pub(super) server: Kind,
    pub(super) version: String,
    /// What an acknowledgement of this server means.
    pub(super) durability: String,
    /// How the server was started, last.
    pub(super) command: String,
    /// Why there are no figures, or not all of them.
    pub(super) missing: Option<String>,
    pub(super) rounds: Vec<Round>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Round {
    pub(super) steps: Vec<StepOutcome>,
    pub(super) marks: Vec<Mark>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StepOutcome {
    pub(super) name: String,
    /// The command line that anybody can repeat.
    pub(super) command: String,
    /// When it began.
    pub(super) began_unix_ms: u64,
    pub(super) report: serde_json::Value,
}

impl Outcome {
    pub(super) fn load(path: &Path) -> Result<Self, BenchError> {
        let wrong = |why: String| BenchError::Cluster(format!("{}: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))
    }

    pub(super) fn save(&self, directory: &Path) -> Result<(), BenchError> {
        let path = directory.join(format!("{}.json", self.scenario.name));
        let failed = |source| BenchError::Json {
            path: path.display().to_string(),
            source,
        };
        std::fs::create_dir_all(directory).map_err(failed)?;
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| failed(std::io::Error::other(error)))?;
        std::fs::write(&path, text).map_err(failed)
    }

    /// A figure over the rounds, by its name `entrant/step/path.in.the.report`.
    pub(super) fn figure(&self, name: &str) -> Option<Spread> {
        let mut parts = name.splitn(3, '/');
        let (entrant, step, path) = (parts.next()?, parts.next()?, parts.next()?);
        let entrant = self.entrants.iter().find(|e| e.name == entrant)?;
        Spread::of(entrant.figures(step, path))
    }
}

impl EntrantOutcome {
    /// The figure of each round that has it.
    pub(super) fn figures<'a>(
        &'a self,
        step: &'a str,
        path: &str,
    ) -> impl Iterator<Item = f64> + 'a {
        let pointer = format!("/{}", path.replace('.', "/"));
        self.steps(step)
            .filter_map(move |step| step.report.pointer(&pointer)?.as_f64())
    }

    /// A step in every round.
    pub(super) fn steps<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a StepOutcome> {
        let steps = self.rounds.iter().flat_map(|round| &round.steps);
        steps.filter(move |step| step.name == name)
    }
}
