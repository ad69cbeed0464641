//! Recognising a protocol by the first bytes, so that a wrong port costs one readable line
//! instead of a riddle. Pure.

use ringmq_wire::native::PREFACE;

/// What a client that opened with other bytes seems to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// A TLS handshake on a plain port.
    Tls,
    /// HTTP/2 with prior knowledge; usually a RocketMQ 5 gRPC client.
    Http2,
    Http1,
    /// A RingMQ client of another protocol version.
    OtherVersion(u8),
    Unknown,
}

/// The verdict on the first bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Not enough bytes to tell.
    Incomplete,
    Native,
    /// RocketMQ's remoting protocol.
    Remoting,
    Foreign(Foreign),
}

/// Looks at the first bytes of a connection.
pub fn recognise(first: &[u8]) -> Opening {
    if let Some(opening) = first.get(..PREFACE.len()) {
        if opening == PREFACE {
            return Opening::Native;
        }
        if opening[..4] == PREFACE[..4] {
            return Opening::Foreign(Foreign::OtherVersion(opening[4]));
        }
    } else if PREFACE.starts_with(first) || (first.len() > 4 && first[..4] == PREFACE[..4]) {
        return Opening::Incomplete;
    }
    if first.len() < 4 {
        return Opening::Incomplete;
    }
    // A big-endian length up to 16 MiB, as every remoting frame begins.
    if let [0, ..] | [1, 0, 0, 0, ..] = first {
        return Opening::Remoting;
    }
    let methods: [&[u8]; 6] = [b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI", b"DELE"];
    Opening::Foreign(match first {
        [0x16, 0x03, ..] => Foreign::Tls,
        [b'P', b'R', b'I', b' ', ..] => Foreign::Http2,
        _ if methods.iter().any(|method| first.starts_with(method)) => Foreign::Http1,
        _ => Foreign::Unknown,
    })
}

impl Foreign {
    /// One sentence for the log: what it is, and what to do about it.
    pub fn explanation(&self) -> String {
        match self {
            Self::Tls => "a TLS handshake: this port speaks plain text, switch TLS off in the client".into(),
            Self::Http2 => {
                "HTTP/2, as a RocketMQ 5 gRPC client opens: this port speaks RingMQ's native and RocketMQ's remoting protocol".into()
            }
            Self::Http1 => {
                "an HTTP request: a broker's admin port serves HTTP, this one does not"
                    .into()
            }
            Self::OtherVersion(version) => {
                format!("RingMQ's native protocol in version {version}: this server speaks version 1")
            }
            Self::Unknown => "bytes of an unknown protocol".into(),
        }
    }

    /// An answer in the client's own protocol, where it has one for this.
    pub fn answer(&self) -> Vec<u8> {
        match self {
            Self::Tls => vec![0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46], // fatal alert: protocol version
            Self::Http1 => {
                let body =
                    "This is a RingMQ name server. It speaks RingMQ's native protocol, not HTTP.\n";
                format!(
                    "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
                     Connection: close\r\n\r\n{body}",
                    body.len()
                )
                .into_bytes()
            }
            Self::Http2 => {
                let text = b"this is a RingMQ name server: native protocol only";
                let mut out = vec![0, 0, 0, 4, 0, 0, 0, 0, 0]; // empty SETTINGS
                out.extend_from_slice(&[0, 0, 8 + text.len() as u8, 7, 0, 0, 0, 0, 0]); // GOAWAY
                out.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1]); // no stream was served, protocol error
                out.extend_from_slice(text);
                out
            }
            Self::OtherVersion(_) | Self::Unknown => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openings_are_told_apart() {
        for cut in 0..PREFACE.len() {
            assert_eq!(recognise(&PREFACE[..cut]), Opening::Incomplete);
        }
        assert_eq!(recognise(&PREFACE), Opening::Native);
        assert_eq!(recognise(b"RNGQ\x01\0\0\0more"), Opening::Native);
        let foreign = |bytes: &[u8]| match recognise(bytes) {
            Opening::Foreign(foreign) => foreign,
            other => panic!("{other:?}"),
        };
        assert_eq!(foreign(b"RNGQ\x02\0\0\0"), Foreign::OtherVersion(2));
        assert_eq!(foreign(b"\x16\x03\x01\x02"), Foreign::Tls);
        assert_eq!(foreign(b"PRI * HTTP/2.0"), Foreign::Http2);
        assert_eq!(foreign(b"GET / HTTP/1.1"), Foreign::Http1);
        assert_eq!(recognise(&[0, 0, 1, 20, 0, 0, 1, 16]), Opening::Remoting);
        assert_eq!(recognise(&[1, 0, 0, 0]), Opening::Remoting);
        assert_eq!(foreign(b"hello"), Foreign::Unknown);
    }
}
