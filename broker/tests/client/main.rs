//! The client library against real broker processes on a real disk.

mod cluster;
mod library;
mod pauses;
mod program;
