//! `ringmq-broker`: arguments in, exit code out.

mod allocator;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use ringmq_broker::cli::{Cli, Command, SettingFlags};
use ringmq_broker::config::{self, Config, Sources};
use ringmq_broker::{doctor, logging, offline, output, process, signals};

/// Wrong arguments or configuration, as clap has it.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    allocator::keep_pages();
    match Cli::parse().command {
        Command::Dev {
            settings,
            namesrv_port,
        } => {
            let port = namesrv_port.map(|port| {
                (
                    "dev.namesrv_port".to_owned(),
                    port.to_string(),
                    "--namesrv-port".to_owned(),
                )
            });
            with_config(Config::dev(), &settings, port, |config, notes| {
                serve(config, notes, true)
            })
        }
        Command::Run(settings) => {
            with_config(Config::default(), &settings, None, |config, notes| {
                serve(config, notes, false)
            })
        }
        Command::Check { data_dir, json } => check(&data_dir, json),
        Command::Repair {
            data_dir,
            apply,
            cut_tail,
            json,
        } => repair(&data_dir, apply, &cut_tail, json),
        Command::Doctor { settings } => {
            with_config(Config::default(), &settings, None, |config, _| {
                examine(&config)
            })
        }
    }
}

fn with_config(
    base: Config,
    flags: &SettingFlags,
    more: Option<(String, String, String)>,
    then: impl FnOnce(Config, Vec<String>) -> ExitCode,
) -> ExitCode {
    let file = match &flags.config {
        None => None,
        Some(path) => match std::fs::read_to_string(path) {
            Ok(text) => Some((path.clone(), text)),
            Err(error) => {
                output::fatal(&format!("cannot read {}: {error}", path.display()));
                return ExitCode::from(EXIT_USAGE);
            }
        },
    };
    let mut settings = flags.settings();
    settings.extend(more);
    let sources = Sources {
        file,
        environment: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        flags: settings,
    };
    match config::load(base, &sources) {
        Err(error) => {
            output::fatal(&error.to_string());
            ExitCode::from(EXIT_USAGE)
        }
        Ok((config, _)) if flags.print_config => {
            output::line(config::print(&config).trim_end());
            ExitCode::SUCCESS
        }
        Ok((config, notes)) => then(config, notes),
    }
}

fn serve(config: Config, notes: Vec<String>, embedded_namesrv: bool) -> ExitCode {
    if let Err(error) = logging::start(&config.log) {
        output::fatal(&error);
        return ExitCode::from(EXIT_USAGE);
    }
    for note in notes {
        tracing::warn!("{note}");
    }
    let served = signals::listen()
        .map_err(|error| format!("signals cannot be handled: {error}"))
        .and_then(|requests| {
            let broker =
                process::start(config, embedded_namesrv).map_err(|error| error.to_string())?;
            output::line(&broker.ready_line());
            broker.serve(&requests).map_err(|error| error.to_string())
        });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::fatal(&error);
            ExitCode::FAILURE
        }
    }
}

/// 0: whole; 1: something is damaged; 2: it cannot be looked at.
fn check(data_dir: &Path, json: bool) -> ExitCode {
    match offline::check(data_dir) {
        Ok(view) => {
            let text = if json {
                serde_json::to_string_pretty(&view).unwrap_or_default()
            } else {
                offline::describe(&view)
            };
            output::line(text.trim_end());
            ExitCode::from(u8::from(!view.is_whole()))
        }
        Err(error) => {
            output::fatal(&error.to_string());
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn repair(data_dir: &Path, apply: bool, cuts: &[offline::CutTail], json: bool) -> ExitCode {
    match offline::repair(data_dir, cuts, apply) {
        Ok(actions) => {
            let text = if json {
                serde_json::json!({ "applied": apply, "actions": actions }).to_string()
            } else {
                offline::describe_repair(&actions, apply)
            };
            output::line(text.trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => {
            output::fatal(&error.to_string());
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn examine(config: &Config) -> ExitCode {
    let plan = doctor::Plan::of(config, false);
    let mut checks = doctor::machine(config, plan);
    checks.extend(doctor::ports(config, plan));
    for check in &checks {
        output::line(&doctor::describe(check));
    }
    if checks.iter().all(|check| check.ok) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
