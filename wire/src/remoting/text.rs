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

    /// The string, if it lies there as it is.
    pub(super) fn as_plain(&self) -> Option<&'a str> {
        (!self.escaped).then_some(self.raw)
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
        let bytes = self.raw.as_bytes();
        let mut from = 0;
        while let Some(plain) = bytes[from..].iter().position(|byte| *byte == b'\\') {
            let at = from + plain;
            out.push_str(&self.raw[from..at]);
            let (resolved, taken) = resolve(&bytes[at..]);
            out.push(resolved);
            from = at + taken;
        }
        out.push_str(&self.raw[from..]);
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

/// Appends these bytes as upper-case hexadecimal digits.
pub fn append_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 0xF)]));
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

/// The digits are checked.
fn utf16_unit(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |unit, digit| {
        // Letters of either case have bit 6, and 1 in their low bits stands for ten.
        unit << 4 | u32::from((digit & 0xF) + 9 * (digit >> 6))
    })
}

/// Bytes before the first quote or backslash, eight at a time.
#[inline]
pub(super) fn plain_bytes(bytes: &[u8], quote: u8) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    // The lowest of the bits that are set is at the first byte that is zero.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7);
    let mut at = 0;
    while let Some(eight) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*eight);
        let found = zeros(word ^ (ONES * u64::from(quote))) | zeros(word ^ (ONES * 0x5C));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = bytes[at..].iter();
    at + rest
        .take_while(|byte| **byte != quote && **byte != b'\\')
        .count()
}

/// Reads the string at the start of `rest`, whose opening quote has been taken: the text, and the bytes it took with its
/// closing quote. Control characters may stand as they are. The error is the place where it goes wrong.
pub(super) fn quoted(rest: &str, quote: u8) -> Result<(Text<'_>, usize), usize> {
    let bytes = rest.as_bytes();
    let mut at = 0;
    let mut escaped = false;
    loop {
        at += plain_bytes(&bytes[at..], quote);
        if at == bytes.len() {
            return Err(at);
        }
        if bytes[at] == quote {
            break;
        }
        escaped = true;
        at += escape_bytes(&bytes[at..]).ok_or(at)?;
    }
    let raw = &rest[..at];
    Ok((Text { raw, escaped }, at + 1))
}
