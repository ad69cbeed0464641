//! Bodies of send requests and of answers to pulls.

use crate::args::Load;
use crate::payload;
use crate::protocol::{Fetched, Look};
use std::time::Duration;

/// One message is sent as it is; more are put behind each other, each with its lengths.
///
/// ```text
///  total bytes | magic 0 | CRC 0 | flag 0 | body bytes | body | property bytes 0
///  i32         | i32     | i32   | i32    | i32        |      | i16
/// ```
pub(crate) fn encode<'a>(load: &Load, bodies: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    const OVERHEAD: usize = 22;
    let mut out = Vec::new();
    for body in bodies {
        if load.batch == 1 {
            return body.to_vec();
        }
        out.extend_from_slice(&((OVERHEAD + body.len()) as u32).to_be_bytes());
        out.extend_from_slice(&[0; 12]);
        out.extend_from_slice(&(body.len() as u32).to_be_bytes());
        out.extend_from_slice(body);
        out.extend_from_slice(&[0; 2]);
    }
    out
}

// Where things are in a stored message whose hosts are IPv4 addresses; see the protocol's description in `docs/`.
const TOTAL_AT: usize = 0;
const CRC_AT: usize = 8;
const SYS_FLAG_AT: usize = 36;
const HOSTS_AT: usize = 48;
const HOST_BYTES: usize = 8;
const HOST_V6_BYTES: usize = 20;
const BORN_HOST_V6: u32 = 0x10;
const STORE_HOST_V6: u32 = 0x20;

/// Adds the stored messages of a pull's answer.
pub(crate) fn count(mut body: &[u8], look: Look, fetched: &mut Fetched) -> Result<(), String> {
    while !body.is_empty() {
        let total = number(body, TOTAL_AT).ok_or("a message without a length")? as usize;
        let (message, rest) = body
            .split_at_checked(total)
            .filter(|_| total > 0)
            .ok_or_else(|| format!("a message of {total} bytes in {}", body.len()))?;
        fetched.messages += 1;
        fetched.bytes += total as u64;
        if look != Look::Count {
            look_into(message, look, fetched).ok_or("a message cut short")??;
        }
        body = rest;
    }
    Ok(())
}

fn look_into(message: &[u8], look: Look, fetched: &mut Fetched) -> Option<Result<(), String>> {
    let flag = number(message, SYS_FLAG_AT)?;
    let host = |bit| {
        if flag & bit == 0 {
            HOST_BYTES
        } else {
            HOST_V6_BYTES
        }
    };
    // Born host, store time, store host, reconsume times, transaction offset.
    let body_at = HOSTS_AT + host(BORN_HOST_V6) + 8 + host(STORE_HOST_V6) + 4 + 8;
    let length = number(message, body_at)? as usize;
    let body = message.get(body_at + 4..)?.get(..length)?;
    if look == Look::Verify && crc32(body) & 0x7FFF_FFFF != number(message, CRC_AT)? {
        return Some(Err("a body with a wrong checksum".into()));
    }
    if look == Look::Stamps {
        fetched
            .stamps
            .extend(payload::stamp(body).map(Duration::from_nanos));
    }
    Some(Ok(()))
}

fn number(message: &[u8], at: usize) -> Option<u32> {
    let bytes = message.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*bytes))
}

fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}
