//! Plays a scenario: round by round, server by server, step by step.

use super::marks::{Watcher, unix_ms};
use super::outcome::{EntrantOutcome, Outcome, Round, StepOutcome};
use super::scenario::{Command, Entrant, Kind, LIMIT, Scenario, Step};
use super::server::{Places, Server, durability};
use crate::BenchError;
use crate::machine::Machine;
use crate::server_usage;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Child;

/// Plays all rounds. What could not be measured is said in the outcome; the others go on.
pub(super) async fn play(scenario: Scenario, places: &Places) -> Outcome {
    // The disk that the data will lie on, if the directory is not there yet.
    let disk = places.data_dir.ancestors().find(|path| path.exists());
    let mut outcome = Outcome {
        machine: Machine::look(disk.unwrap_or(Path::new("/"))),
        began_unix_ms: unix_ms(),
        entrants: scenario
            .entrants
            .iter()
            .map(|e| entrant_outcome(e, places))
            .collect(),
        scenario,
    };
    let Outcome {
        scenario, entrants, ..
    } = &mut outcome;
    for number in 0..scenario.rounds {
        for (entrant, played) in scenario.entrants.iter().zip(entrants.iter_mut()) {
            if played.missing.is_some() || number >= scenario.rounds_of(entrant) {
                continue;
            }
            let directory = places
                .data_dir
                .join(format!("{}-{}", scenario.name, entrant.name));
            match play_round(scenario, entrant, places, &directory, played).await {
                Ok(round) => {
                    tell(scenario, entrant, number, &round);
                    played.rounds.push(round);
                }
                Err(error) => {
                    tracing::warn!(scenario = scenario.name, entrant = entrant.name, "{error}");
                    played.missing = Some(error.to_string());
                }
            }
            // What is left over is seen in the directory's name.
            let _ = std::fs::remove_dir_all(&directory);
        }
    }
    outcome
}

/// Whether RingMQ was measured and lost nothing.
pub(super) fn is_good(outcome: &Outcome) -> bool {
    let mut ours = outcome.entrants.iter().filter(|e| e.server == Kind::Ringmq);
    ours.all(|entrant| {
        let mut steps = entrant.rounds.iter().flat_map(|round| &round.steps);
        let lost = |step: &StepOutcome| step.report["missing_messages"].as_u64() > Some(0);
        entrant.missing.is_none() && !steps.any(lost)
    })
}

fn entrant_outcome(entrant: &Entrant, places: &Places) -> EntrantOutcome {
    EntrantOutcome {
        name: entrant.name.clone(),
        server: entrant.server,
        version: places.version(entrant.server),
        durability: durability(entrant).to_owned(),
        command: String::new(),
        missing: None,
        rounds: Vec::new(),
    }
}

async fn play_round(
    scenario: &Scenario,
    entrant: &Entrant,
    places: &Places,
    directory: &Path,
    played: &mut EntrantOutcome,
) -> Result<Round, BenchError> {
    std::fs::create_dir_all(directory).map_err(|e| failed("make the directory of", e))?;
    let mut stage = Stage {
        places,
        entrant,
        directory,
        round: Round::default(),
    };
    if entrant.server == Kind::Limit {
        stage.limit().await?;
        return Ok(stage.round);
    }
    let mut server = Server::start(places, entrant, directory).await?;
    let mut background: Vec<(&Step, Running)> = Vec::new();
    let mut watcher = Watcher::start(server.admin);
    for step in scenario.steps_of(entrant) {
        match step.command {
            Command::Idle => stage.idle(step, &server).await,
            Command::Restart => {
                stage.keep(watcher.take()).await;
                server.stop().await?;
                server = Server::start(places, entrant, directory).await?;
                watcher = Watcher::start(server.admin);
                stage.push(
                    step,
                    &server.command,
                    json!({ "ready_ms": server.ready_ms }),
                );
            }
            _ if step.background => background.push((step, stage.begin(step, &server)?)),
            _ => {
                let running = stage.begin(step, &server)?;
                stage.finish(step, running).await?;
            }
        }
    }
    for (step, running) in background {
        stage.finish(step, running).await?;
    }
    stage.keep(watcher).await;
    played.command.clone_from(&server.command);
    server.stop().await?;
    Ok(stage.round)
}

/// Where a round of one entrant is.
struct Stage<'a> {
    places: &'a Places,
    entrant: &'a Entrant,
    directory: &'a Path,
    round: Round,
}

/// A command of this program that runs.
struct Running {
    child: Child,
    line: String,
    began_unix_ms: u64,
}

impl Stage<'_> {
    /// Starts a command against the server.
    fn begin(&self, step: &Step, server: &Server) -> Result<Running, BenchError> {
        let mut arguments = step.arguments(self.entrant);
        arguments.extend(server.flags.iter().cloned());
        if let Some(pid) = server.pid() {
            arguments.extend(["--server-pid".to_owned(), pid.to_string()]);
        }
        if let Some(rate) = &step.rate {
            let reached = self.throughput_of(&rate.of).ok_or_else(|| {
                BenchError::Cluster(format!("step {} has no rate to take a share of", rate.of))
            })?;
            arguments.extend([
                "--rate".to_owned(),
                format!("{:.0}", (reached * rate.share).max(1.0)),
            ]);
        }
        self.spawn(&step.name, arguments)
    }

    fn throughput_of(&self, step: &str) -> Option<f64> {
        let step = self.round.steps.iter().find(|done| done.name == step)?;
        step.report
            .pointer("/throughput/messages_per_second")?
            .as_f64()
    }

    fn spawn(&self, name: &str, mut arguments: Vec<String>) -> Result<Running, BenchError> {
        let line = format!("ringmq-bench {}", arguments.join(" "));
        let json = self.directory.join(format!("{name}.json"));
        arguments.extend(["--json".to_owned(), json.display().to_string()]);
        let child = tokio::process::Command::new(&self.places.this)
            .args(&arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| failed("start a command against", e))?;
        Ok(Running {
            child,
            line,
            began_unix_ms: unix_ms(),
        })
    }

    async fn finish(&mut self, step: &Step, running: Running) -> Result<(), BenchError> {
        let (line, began) = (running.line.clone(), running.began_unix_ms);
        let mut report = self.result(&step.name, running).await?;
        if step.command == Command::Consume && step.with.contains_key("verify") {
            report["missing_messages"] = self.missing(&report);
        }
        self.round.steps.push(StepOutcome {
            name: step.name.clone(),
            command: line,
            began_unix_ms: began,
            report,
        });
        Ok(())
    }

    /// Messages that were acknowledged in this round and could not be read back.
    fn missing(&self, read_back: &Value) -> Value {
        let steps = self.round.steps.iter();
        let acknowledged: u64 = steps
            .filter(|step| step.report["command"] == "produce")
            .filter_map(|step| step.report["messages_in_all"].as_u64())
            .sum();
        let read = read_back["messages_in_all"].as_u64().unwrap_or(0);
        acknowledged.saturating_sub(read).into()
    }

    async fn result(&self, name: &str, running: Running) -> Result<Value, BenchError> {
        let line = running.line;
        let output = running.child.wait_with_output().await;
        let output = output.map_err(|e| failed("wait for a command against", e))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(BenchError::Cluster(format!("{line}: {said}")));
        }
        let path = self.directory.join(format!("{name}.json"));
        let text = std::fs::read_to_string(&path).map_err(|e| failed("read the result of", e))?;
        serde_json::from_str(&text).map_err(|error| BenchError::Cluster(format!("{line}: {error}")))
    }

    async fn limit(&mut self) -> Result<(), BenchError> {
        let mut arguments = self.entrant.limit_arguments();
        let directory = self.directory.display().to_string();
        arguments.extend(["--directory".to_owned(), directory]);
        let running = self.spawn(LIMIT, arguments)?;
        let (command, began_unix_ms) = (running.line.clone(), running.began_unix_ms);
        let report = self.result(LIMIT, running).await?;
        self.round.steps.push(StepOutcome {
            name: LIMIT.to_owned(),
            command,
            began_unix_ms,
            report,
        });
        Ok(())
    }

    /// What the server uses when nobody asks it for anything.
    async fn idle(&mut self, step: &Step, server: &Server) {
        let look = || server.pid().and_then(server_usage::process);
        let before = look();
        tokio::time::sleep(Duration::from_secs_f64(step.seconds())).await;
        let used = before.zip(look()).map(|(before, now)| {
            json!({
                "rss_mib": now.rss_bytes as f64 / f64::from(1 << 20),
                "cpu_percent": (now.cpu_seconds - before.cpu_seconds) / step.seconds() * 100.0,
                "ready_ms": server.ready_ms,
                "binary_mib": self.places.binary_mib(self.entrant.server),
            })
        });
        self.push(step, &server.command, used.unwrap_or(Value::Null));
    }

    fn push(&mut self, step: &Step, command: &str, report: Value) {
        self.round.steps.push(StepOutcome {
            name: step.name.clone(),
            command: command.to_owned(),
            began_unix_ms: unix_ms(),
            report,
        });
    }

    async fn keep(&mut self, watcher: Option<Watcher>) {
        if let Some(watcher) = watcher {
            self.round.marks.extend(watcher.finish().await);
        }
    }
}

/// One line a step, so that a long run can be followed.
fn tell(scenario: &Scenario, entrant: &Entrant, number: u32, round: &Round) {
    for step in &round.steps {
        let figure = |pointer: &str| step.report.pointer(pointer).and_then(Value::as_f64);
        let mut text = format!(
            "{} {}/{} {} {}:",
            scenario.name,
            number + 1,
            scenario.rounds_of(entrant),
            entrant.name,
            step.name
        );
        let shown = [
            ("/throughput/messages_per_second", "messages/s"),
            ("/throughput/mb_per_second", "MB/s"),
            ("/acknowledged/p50_us", "µs p50"),
            ("/acknowledged/p99_us", "µs p99"),
            ("/acknowledged/p99_9_us", "µs p99.9"),
            ("/best_mb_per_second", "MB/s limit"),
            ("/best_read_mb_per_second", "MB/s read"),
            ("/durable_round_trip_p50_us", "µs disk + loopback"),
            ("/processor_lost_percent", "% of the processors lost"),
            ("/processor_gap_max_us", "µs longest loss"),
            ("/rss_mib", "MiB"),
            ("/cpu_percent", "% CPU"),
            ("/ready_ms", "ms to ready"),
            ("/missing_messages", "missing"),
        ];
        for (pointer, unit) in shown {
            if let Some(value) = figure(pointer) {
                text += &format!(" {} {unit}", super::claims::short(value));
            }
        }
        text.push('\n');
        // A closed pipe is the reader's decision.
        let _ = crate::report::print(&text);
    }
}

fn failed(operation: &'static str, source: std::io::Error) -> BenchError {
    BenchError::Io {
        operation,
        address: "the server under test".into(),
        source,
    }
}
