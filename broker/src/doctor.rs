//! Could a broker run here? Checked by `doctor` and at every start; each failure has a cause and a cure.

use std::net::{IpAddr, SocketAddr};

use ringmq_storage_engine::preflight::{self, Check, Needs};

use crate::config::Config;
use crate::runtime::placement;

/// Descriptors beside connections: segments, indexes, snapshots, rings.
const DESCRIPTORS_BASE: u64 = 512;

/// What is looked at beside the machine.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Shards that would run.
    pub shards: usize,
    /// Threads that would run them.
    pub executors: usize,
    /// Whether a name server would run in the process.
    pub embedded_namesrv: bool,
}

impl Plan {
    /// What the configuration asks for on this machine.
    pub fn of(config: &Config, embedded_namesrv: bool) -> Self {
        let shards = match config.node.shards {
            0 => placement::default_shards(),
            shards => shards as usize,
        };
        Self {
            shards,
            executors: shards.min(placement::parallelism()).max(1),
            embedded_namesrv,
        }
    }
}

/// Checks of the machine: kernel, io_uring, memory, disk, descriptors.
pub fn machine(config: &Config, plan: Plan) -> Vec<Check> {
    let connections = u64::from(config.limits.connections_max) * plan.shards as u64;
    preflight::check(&Needs {
        directory: config.node.data_dir.clone(),
        executors: plan.executors as u64,
        io_memory_bytes: placement::io_memory_bytes(plan.executors) as u64,
        descriptors: DESCRIPTORS_BASE + 64 * plan.shards as u64 + connections,
    })
}

/// Checks of the ports. A start does not need them: it binds the ports, which says the same.
pub fn ports(config: &Config, plan: Plan) -> Vec<Check> {
    let mut checks = Vec::new();
    for shard in 0..plan.shards {
        if let Some(port) = shard_port(config, shard) {
            checks.push(port_check(config.node.listen, port, "base_port (--port)"));
        }
        if let Some(port) = second_port(config, shard) {
            let name = "base_port (--port), minus 2 for RocketMQ clients";
            checks.push(port_check(config.node.listen, port, name));
        }
    }
    checks.push(port_check(
        config.admin.listen,
        config.admin.port,
        "admin.port (--admin-port)",
    ));
    if plan.embedded_namesrv {
        checks.push(port_check(
            config.node.listen,
            config.dev.namesrv_port,
            "dev.namesrv_port (--namesrv-port)",
        ));
    }
    checks
}

/// The port two below a shard's: RocketMQ's "VIP channel". `None`: the system chooses the shard's port.
pub fn second_port(config: &Config, shard: usize) -> Option<u16> {
    shard_port(config, shard)?
        .checked_sub(2)
        .filter(|port| *port > 0)
}

/// The port of a shard; `None`: out of range.
pub fn shard_port(config: &Config, shard: usize) -> Option<u16> {
    match config.node.base_port {
        0 => Some(0),
        base => u16::try_from(usize::from(base) + 10 * shard).ok(),
    }
}

fn port_check(address: IpAddr, port: u16, key: &str) -> Check {
    let wanted = SocketAddr::new(address, port);
    let mut check = Check {
        name: "port",
        ok: true,
        found: format!("{wanted} is free"),
        cause: String::new(),
        cure: String::new(),
    };
    if let Err(error) = crate::runtime::listen(wanted) {
        check.ok = false;
        check.found = format!("{wanted}: {error}");
        check.cause = port_cause(&error).to_owned();
        check.cure = format!("stop what uses it (`ss -ltnp`), or set {key}");
    }
    check
}

fn port_cause(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "another process listens there",
        std::io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address",
        std::io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE",
        _ => "the address cannot be bound",
    }
}

/// A check as people read it.
pub fn describe(check: &Check) -> String {
    let mark = match (check.ok, check.is_warning()) {
        (true, false) => "ok  ",
        (true, true) => "warn",
        (false, _) => "FAIL",
    };
    let mut text = format!("{mark} {}: {}", check.name, check.found);
    if !check.cause.is_empty() {
        text.push_str("\n     cause: ");
        text.push_str(&check.cause);
    }
    if !check.cure.is_empty() {
        text.push_str("\n     cure:  ");
        text.push_str(&check.cure);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_fails_with_cause_and_cure() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = taken.local_addr().expect("bound");
        let check = port_check(address.ip(), address.port(), "admin.port");
        assert!(!check.ok);
        let text = describe(&check);
        assert!(
            text.starts_with("FAIL port")
                && text.contains("cause: another process")
                && text.contains("admin.port"),
            "{text}"
        );
        drop(taken);
        assert!(port_check(address.ip(), address.port(), "admin.port").ok);
    }
}
