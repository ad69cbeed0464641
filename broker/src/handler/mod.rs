//! Requests: one file a kind, whatever the protocol that brought them.
//!
//! A handler is `async fn handle(shard, session, request) -> Result<response, Refusal>`. It decides on a short
//! borrow of the state, appends at most one outcome record, and before it answers waits until everything that
//! the answer exposes is durable. A handler never holds a borrow over an await.
//!
//! A new kind: add its file, and its row in `dispatch.rs`.

mod dispatch;
pub mod ping;
mod refusal;

pub use dispatch::{Answering, dispatch};
pub use refusal::Refusal;

use std::net::SocketAddr;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Number of the connection within its shard, never reused; for logs.
    pub connection: u64,
    /// From Hello.
    pub client_id: String,
    pub peer: SocketAddr,
}
