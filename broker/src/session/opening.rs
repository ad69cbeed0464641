//! What opens a connection: our preface, or bytes of another protocol that ended up on this port.
//!
//! A client that speaks the wrong protocol gets one clear line in the log, and an answer where its protocol has
//! one that needs no handshake.

use ringmq_wire::native::PREFACE;

/// Bytes that are enough to tell in every case.
pub const OPENING_BYTES_MAX: usize = 16;

/// The first bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Not enough bytes to tell.
    Incomplete,
    /// The preface of native protocol v1, [`PREFACE`] long.
    Native,
    /// RocketMQ remoting: a length of at most 16 MiB and the kind of its header.
    Remoting,
    Foreign(Foreign),
}

/// A protocol that is not served here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// A native client with a preface that this broker does not know; the byte is its version.
    NativeVersion(u8),
    /// TLS ClientHello.
    Tls,
    /// HTTP/2 with prior knowledge: gRPC, so a RocketMQ 5 client.
    Http2,
    /// HTTP/1: a browser, a health check, a scraper.
    Http1,
    /// None of these.
    Unknown,
}

impl Foreign {
    /// For the log: what it is and what to do.
    pub fn explain(self) -> &'static str {
        match self {
            Self::NativeVersion(_) => {
                "a RingMQ client with an unknown version of the preface: update the broker"
            }
            Self::Tls => "a TLS handshake on a plain port: switch TLS off in the client",
            Self::Http2 => {
                "HTTP/2 (a RocketMQ 5 gRPC client?): use a RocketMQ remoting client or RingMQ's own"
            }
            Self::Http1 => {
                "an HTTP request: the admin port serves /healthz, /readyz and /metrics, this port does not"
            }
            Self::Unknown => "bytes of an unknown protocol",
        }
    }

    /// What to send before closing, where the protocol has an answer.
    pub fn answer(self) -> Option<&'static [u8]> {
        match self {
            Self::Http1 => Some(HTTP_ANSWER.as_bytes()),
            // A fatal handshake_failure alert: the client reports it instead of a bare end of stream.
            Self::Tls => Some(&[0x15, 3, 1, 0, 2, 2, 40]),
            // GOAWAY behind the server's empty SETTINGS: last stream 0, error HTTP_1_1_REQUIRED.
            Self::Http2 => Some(&[
                0, 0, 0, 4, 0, 0, 0, 0, 0, //
                0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 13,
            ]),
            Self::NativeVersion(_) | Self::Unknown => None,
        }
    }
}

const HTTP_ANSWER: &str = "HTTP/1.1 400 Bad Request\r\n\
Content-Type: text/plain\r\n\
Content-Length: 98\r\n\
Connection: close\r\n\
\r\n\
This is a RingMQ broker port. /healthz, /readyz and /metrics are on the admin port, 9680 if unset.";

const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
const HTTP1_METHODS: [&[u8]; 8] = [
    b"GET ",
    b"POST ",
    b"PUT ",
    b"HEAD ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
    b"CONNECT ",
];

/// Looks at the first bytes of a connection; never asks for more than [`OPENING_BYTES_MAX`].
pub fn recognise(bytes: &[u8]) -> Opening {
    let same = bytes.len().min(PREFACE.len());
    if bytes[..same] == PREFACE[..same] {
        return if same == PREFACE.len() {
            Opening::Native
        } else {
            Opening::Incomplete
        };
    }
    if bytes.starts_with(&PREFACE[..4]) {
        return Opening::Foreign(Foreign::NativeVersion(bytes[4]));
    }
    let known = [(HTTP2_PREFACE, Foreign::Http2)]
        .into_iter()
        .chain(HTTP1_METHODS.map(|method| (method, Foreign::Http1)));
    let mut incomplete = false;
    for (start, foreign) in known {
        if bytes.starts_with(start) {
            return Opening::Foreign(foreign);
        }
        incomplete |= start.starts_with(bytes);
    }
    match bytes {
        _ if incomplete => Opening::Incomplete,
        [0x16] | [0x16, 3] => Opening::Incomplete,
        [0x16, 3, ..] => Opening::Foreign(Foreign::Tls),
        [0, ..] | [1] | [1, 0] | [1, 0, 0] | [1, 0, 0, 0] if bytes.len() < 5 => Opening::Incomplete,
        [0, _, _, _, 0 | 1, ..] | [1, 0, 0, 0, 0 | 1, ..] => Opening::Remoting,
        _ => Opening::Foreign(Foreign::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tells_what_it_knows() {
        let cases: [(&[u8], Foreign); 10] = [
            (b"GET / HTTP/1.1\r\n", Foreign::Http1),
            (b"POST /x HTTP/1.1\r\n", Foreign::Http1),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Foreign::Http2),
            (
                &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0, 0, 0, 0, 0],
                Foreign::Tls,
            ),
            // Remoting with a length over 16 MiB, or an unknown kind of header.
            (&[1, 0, 0, 1, 0, 0, 0, 0], Foreign::Unknown),
            (&[0, 0, 1, 0, 2, 0, 0, 0], Foreign::Unknown),
            (b"RNGQ\x02\0\0\0", Foreign::NativeVersion(2)),
            (b"RNGQ\x01\0\0\x01", Foreign::NativeVersion(1)),
            (b"SSH-2.0-OpenSSH", Foreign::Unknown),
            (b"PROXY TCP4 1.2.3.4", Foreign::Unknown),
        ];
        for (bytes, foreign) in cases {
            assert_eq!(recognise(bytes), Opening::Foreign(foreign), "{bytes:?}");
        }
        assert_eq!(recognise(b"RNGQ\x01\0\0\0rest"), Opening::Native);
        for remoting in [&[0, 0, 1, 0x10, 0, 0, 0, 0xf0, b'{'][..], &[1, 0, 0, 0, 1]] {
            assert_eq!(recognise(remoting), Opening::Remoting, "{remoting:?}");
        }
    }

    #[test]
    fn http_answer_says_its_length() {
        let (head, body) = HTTP_ANSWER.split_once("\r\n\r\n").expect("has a body");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
    }

    proptest! {
        #[test]
        fn a_longer_look_never_changes_the_answer(bytes in prop::collection::vec(any::<u8>(), 0..32)) {
            let mut decided = None;
            for len in 0..=bytes.len() {
                let opening = recognise(&bytes[..len]);
                match decided {
                    None if opening != Opening::Incomplete => decided = Some(opening),
                    None => prop_assert!(len < OPENING_BYTES_MAX),
                    Some(earlier) => prop_assert_eq!(earlier, opening),
                }
            }
        }
    }
}
