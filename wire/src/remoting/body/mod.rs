//! Bodies that are JSON: read leniently, written in the one strict, compact form that clients of all languages read.
//!
//! - [`decode`] reads JSON, and the dialect that RocketMQ's Java library writes and accepts; see [`dialect`].
//! - [`encode`] writes. No space is put anywhere: the Go client splits some bodies as text.
//! - [`queue_map`]: the one form that is no JSON, maps with queues as keys.
//!
//! Numbers may come as strings, enums as names or numbers, sets may be missing: see [`scalar`].

pub mod connections;
pub mod dialect;
pub mod groups;
pub mod heartbeat;
pub mod locks;
pub mod queue_map;
pub mod registration;
pub mod routes;
pub mod scalar;
pub mod stats;
pub mod topics;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use dialect::BodyError;

/// Reads a body. Bytes that are strict JSON are read at once; others are taken for the dialect.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let value = dialect::parse(body)?;
    serde_json::from_value(value).map_err(|error| BodyError::Content(error.to_string()))
}

/// Writes a body.
///
/// # Panics
/// Never, for the types of this module: none of them has keys that are no strings.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("maps of bodies have keys that are strings or numbers")
}
