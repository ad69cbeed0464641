//! Flags. Each one that sets a key is only another way to write it; [`crate::config`] does the rest.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// RingMQ broker.
#[derive(Debug, Parser)]
#[command(name = "ringmq-broker", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Name server and broker in one process, for this machine, in the foreground
    Dev {
        #[command(flatten)]
        settings: SettingFlags,
        /// Port of the name server; 0: any free one
        #[arg(long, value_name = "PORT")]
        namesrv_port: Option<u16>,
    },
    /// A broker
    Run(SettingFlags),
    /// Looks at every byte of a stopped data directory; changes nothing. Ends with 0 if all is whole, 1 if not
    Check {
        /// The data directory
        data_dir: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Makes derived files of a stopped data directory again; without --apply, says what it would do
    Repair {
        /// The data directory
        data_dir: PathBuf,
        /// Do it
        #[arg(long)]
        apply: bool,
        /// Give up everything at and above a position that `check` named, acknowledged messages included
        #[arg(long, value_name = "SHARD@POSITION")]
        cut_tail: Vec<crate::offline::CutTail>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Checks whether a broker could run here, and says what to do if not
    Doctor {
        #[command(flatten)]
        settings: SettingFlags,
    },
}

/// Flags of all commands.
#[derive(Debug, Args)]
pub struct SettingFlags {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where everything is stored
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Shards; 0: one a core, at most 8
    #[arg(long, value_name = "N")]
    pub shards: Option<u32>,
    /// Address to bind to
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Port of shard 0, the others follow in steps of 10; 0: any free ones
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// What clients are told to connect to
    #[arg(long, value_name = "HOST[:BASEPORT]")]
    pub advertise: Option<String>,
    /// Name servers, separated by commas
    #[arg(long, value_name = "HOST:PORT,…")]
    pub namesrv: Option<String>,
    /// Port of /healthz, /readyz and /metrics; 0: any free one
    #[arg(long, value_name = "PORT")]
    pub admin_port: Option<u16>,
    /// Address to bind the HTTP side to
    #[arg(long, value_name = "ADDR")]
    pub admin_listen: Option<String>,
    /// Name of this node
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Name of the cluster
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// human or json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// What to log, e.g. info or info,ringmq_broker=debug
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// Sets any key of the configuration
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub set: Vec<(String, String)>,
    /// Prints the configuration that would be used, every key explained, and ends
    #[arg(long)]
    pub print_config: bool,
}

impl SettingFlags {
    /// The settings as (key, value, how it was written).
    pub fn settings(&self) -> Vec<(String, String, String)> {
        let text = |value: &Option<String>| value.clone();
        let number = |value: Option<u32>| value.map(|value| value.to_string());
        let port = |value: Option<u16>| number(value.map(u32::from));
        let named = [
            (
                "data_dir",
                "--data-dir",
                self.data_dir.as_ref().map(|dir| dir.display().to_string()),
            ),
            ("shards", "--shards", number(self.shards)),
            ("listen", "--listen", text(&self.listen)),
            ("base_port", "--port", port(self.port)),
            ("advertise", "--advertise", text(&self.advertise)),
            ("namesrv", "--namesrv", text(&self.namesrv)),
            ("admin.port", "--admin-port", port(self.admin_port)),
            ("admin.listen", "--admin-listen", text(&self.admin_listen)),
            ("node", "--node", text(&self.node)),
            ("cluster", "--cluster", text(&self.cluster)),
            ("log.format", "--log-format", text(&self.log_format)),
            ("log.filter", "--log", text(&self.log)),
        ];
        let generic = self
            .set
            .iter()
            .map(|(key, value)| (key.clone(), value.clone(), format!("--set {key}")));
        // Named flags after --set: they are the more deliberate ones.
        generic
            .chain(named.into_iter().filter_map(|(key, flag, value)| {
                value.map(|value| (key.to_owned(), value, flag.to_owned()))
            }))
            .collect()
    }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .ok_or_else(|| format!("{text:?} is not KEY=VALUE"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_sets_a_known_key() {
        let cli = Cli::parse_from([
            "ringmq-broker",
            "run",
            "--data-dir",
            "d",
            "--shards",
            "1",
            "--listen",
            "127.0.0.1",
            "--port",
            "0",
            "--advertise",
            "h",
            "--namesrv",
            "a:1,b:2",
            "--admin-port",
            "0",
            "--admin-listen",
            "127.0.0.1",
            "--node",
            "n",
            "--cluster",
            "c",
            "--log-format",
            "json",
            "--log",
            "debug",
            "--set",
            "topics.auto_create=false",
        ]);
        let Command::Run(flags) = cli.command else {
            panic!("not run")
        };
        let sources = crate::config::Sources {
            flags: flags.settings(),
            ..Default::default()
        };
        let (config, _) =
            crate::config::load(crate::config::Config::default(), &sources).expect("known keys");
        assert_eq!(config.node.namesrv, ["a:1", "b:2"]);
        assert!(!config.topics.auto_create);
        assert_eq!(sources.flags.len(), 13);
    }
}
