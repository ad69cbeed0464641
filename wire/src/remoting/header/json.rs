//! JSON headers, read in one pass.
//!
//! Not a general JSON reader: it knows the eight names of a header and is as lenient as RocketMQ's own. Control
//! characters may stand in strings as they are, numbers and booleans among the fields count as their text, unknown
//! names are skipped, a `null` is as good as nothing.

use super::{FieldArray, Header, HeaderError};
use crate::remoting::language::Language;
use crate::remoting::text::{Text, plain_bytes, quoted};

/// How deep a skipped value may be nested.
pub(super) const DEPTH_MAX: usize = 16;

pub(super) fn parse(bytes: &[u8]) -> Result<Header<'_>, HeaderError> {
    let text = std::str::from_utf8(bytes).map_err(|_| HeaderError::NotUtf8)?;
    let mut scanner = Scanner { text, at: 0 };
    let mut code = None;
    let mut header = Header {
        code: 0,
        language: Language::Other,
        version: 0,
        opaque: 0,
        flag: 0,
        remark: None,
        fields: FieldArray::new(),
    };
    scanner.members(|scanner, name| {
        match name.raw() {
            "code" => code = scanner.number("code")?,
            "flag" => header.flag = scanner.number("flag")?.unwrap_or(0),
            "opaque" => header.opaque = scanner.number("opaque")?.unwrap_or(0),
            "version" => header.version = scanner.number("version")?.unwrap_or(0),
            "language" => header.language = language(scanner.scalar()?),
            "remark" => header.remark = scanner.scalar()?,
            "extFields" => scanner.fields(&mut header.fields)?,
            _ => scanner.skip(DEPTH_MAX)?,
        }
        Ok(())
    })?;
    scanner.space();
    if scanner.at < text.len() {
        return Err(scanner.expected("the end"));
    }
    header.code = code.ok_or(HeaderError::NoCode)?;
    Ok(header)
}

/// A name, or its number as a text.
fn language(value: Option<Text<'_>>) -> Language {
    let Some(value) = value else {
        return Language::Other;
    };
    let raw = value.raw();
    match raw.parse::<u8>() {
        Ok(number) => Language::of_number(number),
        Err(_) => Language::of_name(raw),
    }
}

/// A place in the header.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn expected(&self, expected: &'static str) -> HeaderError {
        HeaderError::Syntax {
            expected,
            at: self.at,
        }
    }

    #[inline(always)]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// Takes `byte` if it comes next, behind any space.
    #[inline(always)]
    fn takes(&mut self, byte: u8) -> bool {
        // Hardly any client writes spaces.
        if self.peek() != Some(byte) {
            self.space();
            if self.peek() != Some(byte) {
                return false;
            }
        }
        self.at += 1;
        true
    }

    fn take(&mut self, byte: u8, expected: &'static str) -> Result<(), HeaderError> {
        if self.takes(byte) {
            Ok(())
        } else {
            Err(self.expected(expected))
        }
    }

    /// Reads an object; `member` is called behind each name and colon, and must take the value.
    fn members(
        &mut self,
        mut member: impl FnMut(&mut Self, Text<'a>) -> Result<(), HeaderError>,
    ) -> Result<(), HeaderError> {
        self.take(b'{', "`{`")?;
        if self.takes(b'}') {
            return Ok(());
        }
        loop {
            self.take(b'"', "a name in quotes")?;
            let name = self.string()?;
            self.take(b':', "`:`")?;
            member(self, name)?;
            if self.takes(b'}') {
                return Ok(());
            }
            self.take(b',', "`,` or `}`")?;
        }
    }

    /// Reads the rest of a string whose quote has been taken, and its closing quote.
    ///
    /// Always inlined, as what leads here is: a text that goes through memory to its field waits for its own stores.
    #[inline(always)]
    fn string(&mut self) -> Result<Text<'a>, HeaderError> {
        let bytes = self.text.as_bytes();
        let end = self.at + plain_bytes(&bytes[self.at..], b'"');
        // All but the properties of a message are without escapes.
        if bytes.get(end) != Some(&b'"') {
            return self.escaped_string();
        }
        let text = Text::plain(&self.text[self.at..end]);
        self.at = end + 1;
        Ok(text)
    }

    #[inline(never)]
    fn escaped_string(&mut self) -> Result<Text<'a>, HeaderError> {
        let (text, taken) = quoted(&self.text[self.at..], b'"').map_err(|at| {
            self.at += at;
            match self.peek() {
                Some(_) => self.expected("a known escape"),
                None => self.expected("`\"`"),
            }
        })?;
        self.at += taken;
        Ok(text)
    }

    /// Reads a string, or a number, `true` or `false` as its text; `None` for `null`, and for an object or array,
    /// which is skipped.
    #[inline(always)]
    fn scalar(&mut self) -> Result<Option<Text<'a>>, HeaderError> {
        if self.takes(b'"') {
            return self.string().map(Some);
        }
        self.bare()
    }

    /// The same for what is not a string.
    #[inline(never)]
    fn bare(&mut self) -> Result<Option<Text<'a>>, HeaderError> {
        if matches!(self.peek(), Some(b'{' | b'[')) {
            self.skip(DEPTH_MAX)?;
            return Ok(None);
        }
        let word = self.word()?;
        Ok((word != "null").then(|| Text::plain(word)))
    }

    /// Reads a number, `true`, `false` or `null`, without asking whether it is one.
    fn word(&mut self) -> Result<&'a str, HeaderError> {
        let rest = &self.text.as_bytes()[self.at..];
        let part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        let length = rest.iter().take_while(|byte| part(byte)).count();
        if length == 0 {
            return Err(self.expected("a value"));
        }
        let word = &self.text[self.at..self.at + length];
        self.at += length;
        Ok(word)
    }

    fn number(&mut self, name: &'static str) -> Result<Option<i32>, HeaderError> {
        let Some(text) = self.scalar()? else {
            return Ok(None);
        };
        let number = text.raw().parse();
        number.map(Some).map_err(|_| HeaderError::Number { name })
    }

    fn fields(&mut self, fields: &mut FieldArray<'a>) -> Result<(), HeaderError> {
        self.space();
        if self.peek() != Some(b'{') {
            return self.skip(DEPTH_MAX);
        }
        self.members(|scanner, name| match scanner.scalar()? {
            Some(value) => fields.push(name, value),
            None => Ok(()),
        })
    }

    /// Passes over one value of any kind.
    fn skip(&mut self, depth: usize) -> Result<(), HeaderError> {
        if depth == 0 {
            return Err(HeaderError::Depth);
        }
        self.space();
        match self.peek() {
            Some(b'{') => self.members(|scanner, _| scanner.skip(depth - 1)),
            Some(b'[') => self.skip_array(depth),
            _ => self.scalar().map(drop),
        }
    }

    fn skip_array(&mut self, depth: usize) -> Result<(), HeaderError> {
        self.take(b'[', "`[`")?;
        if self.takes(b']') {
            return Ok(());
        }
        loop {
            self.skip(depth - 1)?;
            if self.takes(b']') {
                return Ok(());
            }
            self.take(b',', "`,` or `]`")?;
        }
    }
}
