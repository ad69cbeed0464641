//! Tests of the index as a whole.

mod bytes;
mod catalog;
mod model;
mod segment;
mod size;
