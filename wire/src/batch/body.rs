//! Bodies that a RocketMQ producer compressed. The broker leaves them so; its clients undo it by `sysFlag`.

use super::{BatchError, Envelope};
use std::io::Read;

/// `sysFlag`: the producer compressed the body.
pub(crate) const COMPRESSED: i32 = 1;
/// `sysFlag`: the three bits that say how.
pub(crate) const KIND: i32 = 0x700;
const LZ4: i32 = 0x100;
const ZSTD: i32 = 0x200;
const ZLIB: i32 = 0x300;
/// What clients before 4.9.5 and 5.0 write, which knew nothing else than zlib.
const UNSAID: i32 = 0;

impl Envelope<'_> {
    /// Whether the body is to be undone by [`Self::plain_body`].
    pub fn is_compressed(&self) -> bool {
        self.sys_flag & COMPRESSED != 0
    }

    /// The body as the producing application gave it, if it has at most `bytes_max` bytes.
    pub fn plain_body(&self, body: &[u8], bytes_max: usize) -> Result<Vec<u8>, BatchError> {
        if !self.is_compressed() {
            return Ok(body.to_vec());
        }
        match self.sys_flag & KIND {
            UNSAID | ZLIB => unfold(flate2::read::ZlibDecoder::new(body), bytes_max),
            LZ4 => unfold(lz4_flex::frame::FrameDecoder::new(body), bytes_max),
            ZSTD => unfold(
                zstd::stream::read::Decoder::with_buffer(body).map_err(|e| failed(&e))?,
                bytes_max,
            ),
            other => Err(BatchError::Compression(format!(
                "sysFlag says {other:#x}, which is no known compression"
            ))),
        }
    }
}

fn unfold(stream: impl Read, bytes_max: usize) -> Result<Vec<u8>, BatchError> {
    let mut plain = Vec::new();
    let mut stream = stream.take(bytes_max as u64 + 1);
    stream.read_to_end(&mut plain).map_err(|e| failed(&e))?;
    if plain.len() > bytes_max {
        return Err(BatchError::TooLarge {
            bytes: plain.len(),
            limit: bytes_max,
        });
    }
    Ok(plain)
}

fn failed(error: &std::io::Error) -> BatchError {
    BatchError::Compression(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn envelope(sys_flag: i32) -> Envelope<'static> {
        Envelope {
            flag: 0,
            sys_flag,
            reconsume_times: 0,
            body_crc: 0,
            prepared_position: 0,
            born_host: None,
            properties: "",
        }
    }

    fn zlib(plain: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(5));
        out.write_all(plain).expect("in memory");
        out.finish().expect("in memory")
    }

    fn lz4(plain: &[u8]) -> Vec<u8> {
        let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
        out.write_all(plain).expect("in memory");
        out.finish().expect("in memory")
    }

    #[test]
    fn every_kind_of_rocketmqs_clients_is_undone() {
        let plain = b"the same again and ".repeat(1000);
        let all = [
            (0x1, zlib(&plain)),
            (0x301, zlib(&plain)),
            (0x101, lz4(&plain)),
            (0x201, zstd::bulk::compress(&plain, 3).expect("in memory")),
            (0x300, plain.clone()),
        ];
        for (sys_flag, body) in all {
            let envelope = envelope(sys_flag);
            let undone = envelope.plain_body(&body, plain.len());
            assert_eq!(undone.as_ref(), Ok(&plain), "{sys_flag:#x}");
            if envelope.is_compressed() {
                let tight = envelope.plain_body(&body, plain.len() - 1);
                assert!(matches!(tight, Err(BatchError::TooLarge { .. })));
                assert!(envelope.plain_body(b"none of it", 100).is_err());
            }
        }
        assert!(envelope(0x701).plain_body(b"x", 100).is_err());
    }

    /// What a Java client of 4.9.7 made of 5,000 zero bytes.
    #[test]
    fn a_captured_body_is_undone() {
        let hex = "785eedc13101000000c2a0f54f6d0a3fa00000000080b70113880001";
        let body: Vec<u8> = (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hex"))
            .collect();
        let undone = envelope(0x301).plain_body(&body, 5_000);
        assert_eq!(undone, Ok(vec![0; 5_000]));
    }
}
