//! Apache RocketMQ's remoting protocol: the bytes that its clients, brokers and name servers exchange over TCP.
//!
//! Codecs only, as in the rest of this crate. All integers are big-endian. What comes in is read leniently, because
//! clients of many languages and ages differ; what goes out has the one form that all of them read.
//!
//! - [`frame`]: lengths and the kind of header, 8 bytes before everything else.
//! - [`header`]: a received header, borrowed, read in one pass, JSON or binary.
//! - [`command`]: an owned header, for what is sent and for everything off the hot path.
//! - [`fields`]: typed fields of the requests on the hot path.
//! - [`message`], [`batch`]: messages as brokers deliver them, and as producers send several of them.
//! - [`message_id`], [`properties`]: parts of messages.
//! - [`body`]: bodies that are JSON.
//! - [`request_code`], [`response_code`]: the registry of numbers.
//! - [`language`]: what a peer says it is written in.
//! - [`text`]: a string as it lies in a header, with or without JSON escapes.
//!
//! Sources: observed traffic of RocketMQ 4.9.7 and 5.3.3, described in `docs/remoting.md`.

pub mod batch;
pub mod body;
pub mod command;
pub mod fields;
pub mod frame;
pub mod header;
pub mod language;
pub mod message;
pub mod message_id;
pub mod properties;
mod reader;
pub mod request_code;
pub mod response_code;
pub mod text;

pub use command::Command;
pub use frame::{FRAME_BYTES_MAX, FrameError, FramePrefix, HEADER_BYTES_MAX, Serialization};
pub use header::{FieldError, FieldValue, Header, HeaderError};
pub use language::Language;
pub use reader::LengthError;

/// The version that we state in every command: that of RocketMQ 5.3.3. Java clients refuse to pull with anything but
/// tags from a broker whose version is below 232.
pub const VERSION: i32 = 479;

/// Bits of the `flag` of a header.
pub mod flag {
    /// An answer.
    pub const RESPONSE: i32 = 1;
    /// A request that must not be answered.
    pub const ONEWAY: i32 = 2;
}
