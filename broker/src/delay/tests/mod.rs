//! Delay levels on the simulated disk, in virtual time.

mod crash;
mod retention;
mod world;
