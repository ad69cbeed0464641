//! Addresses as operators write them, and what clients are told.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// `HOST:PORT`, with IPv6 hosts in brackets.
pub fn parse_host_port(text: &str) -> Result<(String, u16), String> {
    let wrong = || format!("{text:?} is not HOST:PORT");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let valid = match bare {
        Some(bare) => bare.parse::<IpAddr>().is_ok(),
        None => is_host(host),
    };
    if !valid || port == 0 {
        return Err(wrong());
    }
    Ok((host.to_owned(), port))
}

/// `HOST[:BASEPORT]`, or nothing.
pub fn parse_advertise(text: &str) -> Result<Option<(String, Option<u16>)>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let (host, port) = match parse_host_port(text) {
        Ok((host, port)) => (host, Some(port)),
        Err(_) => match text.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => (format!("[{address}]"), None),
            _ if is_host(text) => (text.to_owned(), None),
            _ => return Err(format!("{text:?} is not HOST or HOST:PORT")),
        },
    };
    if matches!(host.as_str(), "0.0.0.0" | "[::]") {
        return Err(format!(
            "{host} is no address that a client could connect to; name the host or its address"
        ));
    }
    Ok(Some((host, port)))
}

fn is_host(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= 253
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

/// The host that clients are told when nothing is configured: the listening address, or for "all addresses" the one
/// that the default route would use. The flag says that it was chosen, not given.
pub fn default_host(listen: IpAddr) -> (String, bool) {
    if !listen.is_unspecified() {
        return (host_of(listen), false);
    }
    (
        host_of(outgoing_address().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))),
        true,
    )
}

/// The address as a host: IPv6 in brackets.
pub fn host_of(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

fn outgoing_address() -> Option<IpAddr> {
    // Connecting a datagram socket sends nothing; it makes the kernel choose the route. The address is one reserved for
    // documentation, so any default route will do.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    let target: SocketAddr = SocketAddr::from(([203, 0, 113, 1], 9));
    socket.connect(target).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_told_apart() {
        assert_eq!(parse_host_port("a.b:1"), Ok(("a.b".to_owned(), 1)));
        assert_eq!(parse_host_port("[::1]:9"), Ok(("[::1]".to_owned(), 9)));
        for wrong in [
            "a",
            "a:",
            ":1",
            "a:0",
            "a:70000",
            "a b:1",
            "::1:9",
            "http://a:1",
        ] {
            assert!(parse_host_port(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn advertised_addresses_are_ones_to_connect_to() {
        assert_eq!(parse_advertise(""), Ok(None));
        assert_eq!(parse_advertise("h"), Ok(Some(("h".to_owned(), None))));
        assert_eq!(parse_advertise("h:5"), Ok(Some(("h".to_owned(), Some(5)))));
        assert_eq!(parse_advertise("::1"), Ok(Some(("[::1]".to_owned(), None))));
        for wrong in ["0.0.0.0", "0.0.0.0:10911", "::", "a b", "h:x"] {
            assert!(parse_advertise(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_bound_address_is_advertised_as_it_is() {
        assert_eq!(
            default_host("127.0.0.1".parse().expect("address")),
            ("127.0.0.1".to_owned(), false)
        );
        let (host, chosen) = default_host("0.0.0.0".parse().expect("address"));
        assert!(chosen && host != "0.0.0.0");
    }
}
