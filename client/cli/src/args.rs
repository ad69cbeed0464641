//! The command line.

use crate::values::{
    Start, parse_bytes, parse_duration, parse_retention, parse_separator, parse_start,
};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use ringmq::DEFAULT_NAME_SERVER;
use std::path::PathBuf;
use std::time::Duration;

/// Talk to a RingMQ cluster: topics, messages, consumer groups.
#[derive(Debug, Parser)]
#[command(
    name = "ringmq",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage."
)]
pub(crate) struct Arguments {
    /// Name servers, host:port, separated by commas or semicolons
    ///
    /// Without it the variables RINGMQ_NAMESRV and then NAMESRV_ADDR are looked at, then 127.0.0.1:9876.
    #[arg(long, global = true, value_name = "LIST")]
    namesrv: Option<String>,
    /// How long one request may take, retries included
    #[arg(long, global = true, value_name = "D", default_value = "10s", value_parser = parse_duration)]
    pub(crate) request_timeout: Duration,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create, look at, change and delete topics
    #[command(subcommand)]
    Topic(TopicCommand),
    /// Send lines of a file or of stdin as messages
    Produce(Produce),
    /// Print messages
    Consume(Consume),
    /// Look at consumer groups, move and delete them
    #[command(subcommand)]
    Group(GroupCommand),
    /// Look at single messages
    #[command(subcommand)]
    Message(MessageCommand),
    /// Look at the cluster
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Print a completion script for a shell
    Completions { shell: Shell },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// Create a topic over all writable shards
    Create {
        name: String,
        /// Queues in all, dealt over the shards
        #[arg(long, short = 'q', default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=65_536))]
        queues: u32,
        #[command(flatten)]
        settings: TopicSettings,
        #[command(flatten)]
        format: FormatArg,
    },
    /// List all topics
    List {
        #[command(flatten)]
        format: FormatArg,
    },
    /// Show a topic and its queues
    Describe {
        name: String,
        #[command(flatten)]
        format: FormatArg,
    },
    /// Change a topic; what is not given stays as it is
    #[command(group(ArgGroup::new("change").required(true).multiple(true)
        .args(["queues", "retention", "max_message_bytes", "readable", "writable"])))]
    Update {
        name: String,
        /// Queues in all; may only grow
        #[arg(long, short = 'q', value_parser = clap::value_parser!(u32).range(1..=65_536))]
        queues: Option<u32>,
        #[command(flatten)]
        settings: TopicSettings,
        /// Whether messages may be read
        #[arg(long, value_name = "BOOL")]
        readable: Option<bool>,
        /// Whether messages may be sent
        #[arg(long, value_name = "BOOL")]
        writable: Option<bool>,
        #[command(flatten)]
        format: FormatArg,
    },
    /// Delete a topic and its messages
    Delete { name: String },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct TopicSettings {
    /// How long messages are kept (72h, 7d), or "default" for the broker's retention, which is also the most
    #[arg(long, value_name = "D", value_parser = parse_retention)]
    pub(crate) retention: Option<Retention>,
    /// Largest message (64k, 4m), or 0 for the broker's limit
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) max_message_bytes: Option<u32>,
}

/// A topic's own retention, or the broker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retention(pub(crate) Option<Duration>);

#[derive(Debug, Args)]
pub(crate) struct Produce {
    pub(crate) topic: String,
    /// File to read, one message a line; "-" is stdin
    #[arg(long, short = 'f', value_name = "FILE", default_value = "-")]
    pub(crate) file: PathBuf,
    /// What separates the key from the body within a line; a line without it has no key
    #[arg(long, short = 'k', value_name = "S", value_parser = parse_separator)]
    pub(crate) key_separator: Option<String>,
    /// Tag of every message
    #[arg(long, value_name = "T")]
    pub(crate) tag: Option<String>,
    /// Property of every message; may be given several times
    #[arg(long, value_name = "K=V", value_parser = crate::values::parse_property)]
    pub(crate) property: Vec<(String, String)>,
    /// Queue of every message
    ///
    /// Without it messages with a key go to the queue that the key chooses, others to the reachable queues in turn.
    #[arg(long, value_name = "N")]
    pub(crate) queue: Option<u32>,
    /// Line n goes to queue (n - 1) modulo queues, reachable or not
    #[arg(long, conflicts_with_all = ["queue", "key_separator"])]
    pub(crate) queues_in_turn: bool,
    /// When the broker answers
    #[arg(long, value_enum, default_value_t = Acks::Durable)]
    pub(crate) acks: Acks,
    /// How batches are compressed
    #[arg(long, value_enum, default_value_t = Compression::None)]
    pub(crate) compression: Compression,
    /// How long to try to send a message, through broker restarts
    #[arg(long, value_name = "D", default_value = "2m", value_parser = parse_duration)]
    pub(crate) delivery_timeout: Duration,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Acks {
    /// Once the message is on disk
    Durable,
    /// Once it is in the broker's memory
    Received,
    /// Not at all
    None,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Compression {
    None,
    Lz4,
    Zstd,
}

#[derive(Debug, Args)]
pub(crate) struct Consume {
    pub(crate) topic: String,
    /// Group whose place is kept at the broker; without it all queues are read and nothing is kept
    #[arg(long, short = 'g', value_name = "G")]
    pub(crate) group: Option<String>,
    /// Where to start in queues where the group has no place yet: earliest, latest, an offset, or a time
    /// (2026-01-31T12:00:00Z, @1769860800, -15m)
    ///
    /// A new group starts at latest; without a group reading starts at earliest, with --follow at latest.
    #[arg(long, value_name = "WHERE", value_parser = parse_start, allow_hyphen_values = true)]
    pub(crate) from: Option<Start>,
    /// Read this queue alone; may be given several times; not with a group, which deals the queues itself
    #[arg(long, value_name = "N", conflicts_with = "group")]
    pub(crate) queue: Vec<u32>,
    /// Stop after this many messages
    #[arg(long, value_name = "N")]
    pub(crate) max: Option<u64>,
    /// Go on at the end and wait for new messages
    #[arg(long)]
    pub(crate) follow: bool,
    /// Only messages with this tag; may be given several times
    #[arg(long, value_name = "T")]
    pub(crate) tag: Vec<String>,
    /// Bodies, one a line, or one JSON object a line
    #[arg(long, short = 'o', value_enum, default_value_t = MessageFormat::Body)]
    pub(crate) output: MessageFormat,
    /// Stop when nothing has come for this long
    #[arg(long, value_name = "D", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MessageFormat {
    Body,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// List all groups
    List {
        #[command(flatten)]
        format: FormatArg,
    },
    /// Show a group's members and its place in each queue
    Describe {
        group: String,
        #[command(flatten)]
        format: FormatArg,
    },
    /// Delete a group without members and its offsets
    Delete { group: String },
    /// Move a group to another place in a topic
    ResetOffsets {
        group: String,
        topic: String,
        /// earliest, latest, an offset, or a time (2026-01-31T12:00:00Z, @1769860800, -15m)
        #[arg(long, value_name = "WHERE", value_parser = parse_start, allow_hyphen_values = true)]
        to: Start,
        /// In this queue alone; may be given several times
        #[arg(long, value_name = "N")]
        queue: Vec<u32>,
        /// Even where a member is reading; it goes on from the new place only after a restart
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        format: FormatArg,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum MessageCommand {
    /// Show messages found by queue and offset, by key, or by log position
    #[command(
        group(ArgGroup::new("by").required(true).args(["offset", "key", "position"])),
        after_help = "Examples:\n  ringmq message get orders --queue 0 --offset 17\n  \
                      ringmq message get orders --key order-4711\n  \
                      ringmq message get --position 268435456 --shard s00-dev"
    )]
    Get {
        /// Needed with --offset and --key
        #[arg(required_unless_present = "position")]
        topic: Option<String>,
        /// Offset within the queue
        #[arg(long, value_name = "N", requires = "queue")]
        offset: Option<u64>,
        /// Queue of the offset
        #[arg(long, value_name = "N", conflicts_with_all = ["key", "position"])]
        queue: Option<u32>,
        /// Key of the messages, newest first
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        /// Most messages to show for a key
        #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        max: u32,
        /// Position in a shard's log
        #[arg(long, value_name = "P", conflicts_with = "topic")]
        position: Option<u64>,
        /// Shard of the position; without it all shards are asked
        #[arg(long, value_name = "NAME", requires = "position")]
        shard: Option<String>,
        #[command(flatten)]
        format: FormatArg,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show the shards and how they are
    Status {
        #[command(flatten)]
        format: FormatArg,
    },
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct FormatArg {
    /// A table for people or JSON for scripts
    #[arg(long, short = 'o', value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

impl Arguments {
    /// The flag, else RINGMQ_NAMESRV, else NAMESRV_ADDR, else this host.
    pub(crate) fn name_servers(&self) -> Vec<String> {
        let variable = |name| std::env::var(name).ok();
        let given = [
            self.namesrv.clone(),
            variable("RINGMQ_NAMESRV"),
            variable("NAMESRV_ADDR"),
        ];
        let lists = given.into_iter().flatten().map(|list| split_list(&list));
        let mut chosen = lists.filter(|list| !list.is_empty());
        chosen
            .next()
            .unwrap_or_else(|| vec![DEFAULT_NAME_SERVER.to_string()])
    }
}

fn split_list(list: &str) -> Vec<String> {
    let addresses = list.split([',', ';']).map(str::trim);
    addresses
        .filter(|address| !address.is_empty())
        .map(ToString::to_string)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn name_server_lists_have_commas_or_semicolons() {
        assert_eq!(split_list(" a:1, b:2;c:3,"), ["a:1", "b:2", "c:3"]);
        assert!(split_list(" ;, ").is_empty());
    }

    #[test]
    fn what_cannot_be_combined_is_refused() {
        let accepted = |line: &str| Arguments::try_parse_from(line.split_whitespace()).is_ok();
        assert!(accepted("ringmq consume t --group g --from -15m"));
        assert!(accepted("ringmq consume t --queue 1 --queue 2"));
        assert!(!accepted("ringmq consume t --queue 1 --group g"));
        assert!(!accepted("ringmq topic update t"));
        assert!(accepted("ringmq topic update t --retention default"));
        assert!(!accepted("ringmq message get t"));
        assert!(!accepted("ringmq message get t --offset 1"));
        assert!(accepted("ringmq message get t --offset 1 --queue 0"));
        assert!(accepted("ringmq message get --position 4096"));
        assert!(!accepted("ringmq message get --key k"));
        assert!(!accepted("ringmq produce t --queue 1 --queues-in-turn"));
    }
}
