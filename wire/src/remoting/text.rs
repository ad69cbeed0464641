//! A string as it lies in a header: plain, or with JSON escapes that have been checked.

use std::borrow::Cow;

/// A string inside a header. Escapes are resolved when asked for, so that a header is read without allocation.
#[derive(Debug, Clone, Copy, Default)]
pub struct Text<'a> {
    raw: &'a str,
    escaped: bool,
}

impl<'a> Text<'a> {
    /// A string that stands for itself.
    pub fn plain(raw: &'a str) -> Self {
        Self {
            raw,
            escaped: false,
        }
    }

    /// The string as it lies there, escapes and all.
    pub(super) fn raw(&self) -> &'a str {
        self.raw
    }

    /// Bytes of the resolved string, at most.
    pub fn bytes_max(&self) -> usize {
        self.raw.len()
    }

    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The string; borrowed unless it has escapes.
    pub fn to_str(&self) -> Cow<'a, str> {
        if !self.escaped {
            return Cow::Borrowed(self.raw);
        }
        let mut out = String::with_capacity(self.raw.len());
        self.append_to(&mut out);
        Cow::Owned(out)
    }

    /// Appends the string to one that the caller keeps, without a second copy.
    pub fn append_to(&self, out: &mut String) {
        if !self.escaped {
            out.push_str(self.raw);
            return;
        }
        let mut rest = self.raw;
        while let Some(at) = rest.find('\\') {
            out.push_str(&rest[..at]);
            let (resolved, taken) = resolve(&rest.as_bytes()[at..]);
            out.push(resolved);
            rest = &rest[at + taken..];
        }
        out.push_str(rest);
    }

    /// Whether the string equals `other`.
    pub fn is(&self, other: &str) -> bool {
        if self.escaped {
            self.to_str() == other
        } else {
            self.raw == other
        }
    }
}

/// Bytes of the escape at the start of `bytes` (a backslash is there), if it is whole and known.
fn escape_bytes(bytes: &[u8]) -> Option<usize> {
    match bytes.get(1)? {
        b'"' | b'\\' | b'/' | b'\'' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => bytes
            .get(2..6)
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .map(|_| 6),
        _ => None,
    }
}

/// The character behind a checked escape, and the bytes that it takes; two escapes if they make a surrogate pair.
fn resolve(bytes: &[u8]) -> (char, usize) {
    let plain = match bytes[1] {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return resolve_unicode(bytes),
        other => char::from(other),
    };
    (plain, 2)
}

fn resolve_unicode(bytes: &[u8]) -> (char, usize) {
    let first = utf16_unit(&bytes[2..6]);
    if let Some(plain) = char::from_u32(first) {
        return (plain, 6);
    }
    let second = match bytes.get(6..12) {
        Some([b'\\', b'u', digits @ ..]) if digits.iter().all(u8::is_ascii_hexdigit) => {
            utf16_unit(digits)
        }
        _ => return (char::REPLACEMENT_CHARACTER, 6),
    };
    if (0xD800..0xDC00).contains(&first) && (0xDC00..0xE000).contains(&second) {
        let point = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
        (
            char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER),
            12,
        )
    } else {
        (char::REPLACEMENT_CHARACTER, 6)
    }
}

fn utf16_unit(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |unit, digit| {
        unit << 4 | char::from(*digit).to_digit(16).unwrap_or(0)
    })
}

/// Reads the string at the start of `rest`, whose opening quote has been taken: the text, and the bytes it took with its
/// closing quote. Control characters may stand as they are. The error is the place where it goes wrong.
pub(super) fn quoted(rest: &str, quote: u8) -> Result<(Text<'_>, usize), usize> {
    let bytes = rest.as_bytes();
    let mut at = 0;
    let mut escaped = false;
    loop {
        match bytes.get(at) {
            Some(byte) if *byte == quote => break,
            Some(b'\\') => {
                escaped = true;
                at += escape_bytes(&bytes[at..]).ok_or(at)?;
            }
            Some(_) => at += 1,
            None => return Err(at),
        }
    }
    let raw = &rest[..at];
    Ok((Text { raw, escaped }, at + 1))
}
