//! RingMQ's bytes on the network, and the record batch that is also its form on disk.
//!
//! Codecs only: no sockets, no async, no clock. Decoders borrow from their input and survive arbitrary bytes.
//! All integers are little-endian, except in RocketMQ's own protocol.
//!
//! - [`batch`]: record batch v1, encoded once by the producer, stored and delivered as it is.
//! - [`native`]: connection preface, frames, and the FlatBuffers headers of `schema/native.fbs`.
//! - [`remoting`]: RocketMQ's own protocol.
//! - [`codes`]: request kinds and error codes; numbers are never reused.
//! - [`limits`]: every bound, in one place.
#![deny(unsafe_code)]

// The generated code names it.
extern crate alloc;

pub mod batch;
pub mod codes;
pub mod limits;
pub mod native;
#[cfg(feature = "remoting")]
pub mod remoting;
