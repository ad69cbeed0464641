//! Delay levels on the simulated disk, in virtual time.

mod crash;
mod damage;
mod retention;
mod world;
