//! The sockets of a broker, bound before anything starts.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::doctor;
use crate::runtime::listen;

/// How long a port may be taken: the kernel lets go of those of a killed broker a moment after its end.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// Why the broker has not its ports.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    #[error(
        "cannot listen on {address}: {cause}; set another port with {flag}, or 0 for any free one"
    )]
    Listen {
        address: SocketAddr,
        flag: &'static str,
        cause: io::Error,
    },
    #[error("{0} shards do not fit above port {1}")]
    TooMany(usize, u16),
}

/// The port of each shard, and the one two below it, which RocketMQ's clients may be set to use. On free ports there is
/// no second one: what is two below belongs to somebody else.
pub fn bind_shards(
    config: &Config,
    shards: usize,
) -> Result<Vec<(TcpListener, Option<TcpListener>)>, PortError> {
    let bind_port = |port, flag| bind(SocketAddr::new(config.node.listen, port), flag);
    (0..shards)
        .map(|shard| {
            let port = doctor::shard_port(config, shard)
                .ok_or(PortError::TooMany(shards, config.node.base_port))?;
            let second = doctor::second_port(config, shard);
            let second = second.map(|port| bind_port(port, "--port (this is that port minus 2)"));
            Ok((bind_port(port, "--port")?, second.transpose()?))
        })
        .collect()
}

/// Binds one address; `flag` is what sets it. Waits a moment for one that is taken.
pub fn bind(address: SocketAddr, flag: &'static str) -> Result<TcpListener, PortError> {
    bind_within(PATIENCE, address).map_err(|cause| PortError::Listen {
        address,
        flag,
        cause,
    })
}

fn bind_within(patience: Duration, address: SocketAddr) -> io::Result<TcpListener> {
    let deadline = Instant::now() + patience;
    let mut said = false;
    loop {
        match listen(address) {
            Err(error) if is_taken(&error) && Instant::now() < deadline => {
                if !said {
                    tracing::warn!(%address, "the port is taken; trying again for a moment");
                    said = true;
                }
                thread::sleep(PAUSE);
            }
            bound => return bound,
        }
    }
}

fn is_taken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

/// What was bound; `wanted` is what was asked for.
pub fn local(listener: &TcpListener, wanted: SocketAddr) -> Result<SocketAddr, PortError> {
    listener.local_addr().map_err(|cause| PortError::Listen {
        address: wanted,
        flag: "--port",
        cause,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_comes_free_is_waited_for() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = taken.local_addr().expect("bound");
        let refused = bind_within(Duration::ZERO, address).expect_err("taken");
        assert!(is_taken(&refused));
        let freeing = thread::spawn(move || {
            thread::sleep(2 * PAUSE);
            drop(taken);
        });
        bind_within(Duration::from_secs(60), address).expect("free again");
        freeing.join().expect("ended");
    }
}
