//! Values on the command line: durations, sizes, places in a queue. Pure but for the clock that a relative time needs.

use crate::args::Retention;
use crate::time::{now_ms, parse_utc};
use ringmq::{OffsetSpec, StartAt};
use std::time::Duration;

/// A place in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Earliest,
    Latest,
    Offset(u64),
    TimeMs(i64),
}

impl From<Start> for StartAt {
    fn from(start: Start) -> Self {
        match start {
            Start::Earliest => Self::Earliest,
            Start::Latest => Self::Latest,
            Start::Offset(offset) => Self::Offset(offset),
            Start::TimeMs(time_ms) => Self::TimeMs(time_ms),
        }
    }
}

impl From<Start> for OffsetSpec {
    fn from(start: Start) -> Self {
        match start {
            Start::Earliest => Self::Earliest,
            Start::Latest => Self::Latest,
            Start::Offset(offset) => Self::Offset(offset),
            Start::TimeMs(time_ms) => Self::TimeMs(time_ms),
        }
    }
}

pub(crate) fn parse_start(text: &str) -> Result<Start, String> {
    match text {
        "earliest" => return Ok(Start::Earliest),
        "latest" => return Ok(Start::Latest),
        _ => {}
    }
    if let Ok(offset) = text.parse() {
        return Ok(Start::Offset(offset));
    }
    if let Some(seconds) = text.strip_prefix('@') {
        let seconds = seconds.parse::<f64>().ok().filter(|s| s.is_finite());
        return seconds
            .map(|seconds| Start::TimeMs((seconds * 1e3) as i64))
            .ok_or_else(|| "after @ come seconds since 1970".to_string());
    }
    if let Some(ago) = text.strip_prefix('-') {
        let ago_ms = i64::try_from(parse_duration(ago)?.as_millis());
        return Ok(Start::TimeMs(
            now_ms().saturating_sub(ago_ms.unwrap_or(i64::MAX)),
        ));
    }
    parse_utc(text).map(Start::TimeMs).ok_or_else(|| {
        "a place is earliest, latest, an offset, or a time: 2026-01-31T12:00:00Z, @1769860800, -15m"
            .to_string()
    })
}

/// `500ms`, `10s`, `2m`, `72h`, `7d`; a bare number is seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit_ms = match unit {
        "ms" => 1.0,
        "" | "s" => 1e3,
        "m" => 60e3,
        "h" => 3_600e3,
        "d" => 86_400e3,
        _ => f64::NAN,
    };
    let ms = number.parse::<f64>().unwrap_or(f64::NAN) * unit_ms;
    let century_ms = 36_525.0 * 86_400e3;
    if (0.0..=century_ms).contains(&ms) {
        Ok(Duration::from_millis(ms.round() as u64))
    } else {
        Err("a duration is a number with ms, s, m, h or d: 500ms, 10s, 72h".to_string())
    }
}

pub(crate) fn parse_retention(text: &str) -> Result<Retention, String> {
    if text == "default" {
        return Ok(Retention(None));
    }
    match parse_duration(text)? {
        Duration::ZERO => Err("messages cannot be kept for no time at all".to_string()),
        kept => Ok(Retention(Some(kept))),
    }
}

/// `65536`, `64k`, `4m`, `1g`.
pub(crate) fn parse_bytes(text: &str) -> Result<u32, String> {
    let lower = text.to_ascii_lowercase();
    let (number, shift) = match lower.as_bytes().last() {
        Some(b'k') => (&lower[..lower.len() - 1], 10),
        Some(b'm') => (&lower[..lower.len() - 1], 20),
        Some(b'g') => (&lower[..lower.len() - 1], 30),
        _ => (&lower[..], 0),
    };
    let bytes = number
        .parse::<u32>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift));
    bytes.ok_or_else(|| "a size is a number of bytes under 4 GiB: 65536, 64k, 4m".to_string())
}

/// Escapes for what is hard to type.
pub(crate) fn parse_separator(text: &str) -> Result<String, String> {
    let separator = text.replace("\\t", "\t").replace("\\0", "\0");
    if separator.is_empty() {
        return Err("a separator has at least one character".to_string());
    }
    Ok(separator)
}

pub(crate) fn parse_property(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_string(), value.to_string()))
        }
        _ => Err("a property is NAME=VALUE, neither of them empty".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        assert_eq!(parse_start("earliest"), Ok(Start::Earliest));
        assert_eq!(parse_start("17"), Ok(Start::Offset(17)));
        assert_eq!(parse_start("@1.5"), Ok(Start::TimeMs(1_500)));
        assert_eq!(
            parse_start("1970-01-02T00:00:01Z"),
            Ok(Start::TimeMs(86_401_000))
        );
        let Ok(Start::TimeMs(ago)) = parse_start("-1h") else {
            panic!("a time");
        };
        assert!((now_ms() - 3_600_000 - ago).abs() < 60_000);
        for wrong in ["", "soon", "-", "@", "@inf", "-1y", "2026-13-01T00:00:00Z"] {
            assert!(parse_start(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_and_sizes() {
        assert_eq!(parse_duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(604_800)));
        for wrong in ["", "s", "1w", "1e9", "99999999d", "-1s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_bytes("4M"), Ok(4 << 20));
        for wrong in ["", "k", "4g", "-1"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_retention("default"), Ok(Retention(None)));
        assert!(parse_retention("0s").is_err());
        assert!(parse_property("a=").is_err());
        assert_eq!(parse_property("a=b=c"), Ok(("a".into(), "b=c".into())));
    }
}
