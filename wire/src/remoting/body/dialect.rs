//! The dialect of JSON that RocketMQ's Java library writes and accepts.
//!
//! Beyond JSON: keys may be numbers, bare words, or objects (`{{"queueId":0}:5}`), which become the text of that object;
//! strings may have single quotes and raw control characters; an object `{"$ref":"$.a[0].b"}` stands for a value
//! that occurs elsewhere in the same body.

use serde_json::{Map, Number, Value};

/// How deep values may be nested.
const DEPTH_MAX: usize = 32;
/// Most values of a body in the dialect, those counted twice to which a reference points. What carries more than
/// this is strict JSON.
const VALUES_MAX: usize = 1 << 20;

/// Why a body cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body is not UTF-8")]
    NotUtf8,
    #[error("{expected} expected at byte {at} of the body")]
    Syntax { expected: &'static str, at: usize },
    #[error("values of the body are nested deeper than {DEPTH_MAX}")]
    Depth,
    #[error("the body has more than {VALUES_MAX} values")]
    TooManyValues,
    #[error("the body is not what it should be: {0}")]
    Content(String),
}

/// Reads one value and nothing else.
pub fn parse(body: &[u8]) -> Result<Value, BodyError> {
    let text = std::str::from_utf8(body).map_err(|_| BodyError::NotUtf8)?;
    let mut parser = Parser {
        text,
        at: 0,
        values: 0,
        references: false,
    };
    let value = parser.value(DEPTH_MAX)?;
    parser.space();
    if parser.at < text.len() {
        return Err(parser.expected("the end"));
    }
    if !parser.references {
        return Ok(value);
    }
    let mut values = parser.values;
    resolve(&value, &value, &mut values)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    values: usize,
    references: bool,
}

impl<'a> Parser<'a> {
    fn expected(&self, expected: &'static str) -> BodyError {
        BodyError::Syntax {
            expected,
            at: self.at,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn takes(&mut self, byte: u8) -> bool {
        self.space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Result<Value, BodyError> {
        count(&mut self.values)?;
        if depth == 0 {
            return Err(BodyError::Depth);
        }
        self.space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(quote @ (b'"' | b'\'')) => self.string(quote).map(Value::String),
            _ => {
                let word = self.word()?;
                scalar(word).ok_or_else(|| self.expected("a value"))
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, BodyError> {
        self.at += 1;
        let mut members = Map::new();
        if self.takes(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            let key = self.key(depth - 1)?;
            self.references |= key == "$ref";
            if !self.takes(b':') {
                return Err(self.expected("`:`"));
            }
            members.insert(key, self.value(depth - 1)?);
            if self.takes(b'}') {
                return Ok(Value::Object(members));
            }
            if !self.takes(b',') {
                return Err(self.expected("`,` or `}`"));
            }
        }
    }

    fn key(&mut self, depth: usize) -> Result<String, BodyError> {
        self.space();
        match self.peek() {
            Some(b'{') => self.value(depth).map(|object| object.to_string()),
            Some(quote @ (b'"' | b'\'')) => self.string(quote),
            _ => self.word().map(str::to_owned),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, BodyError> {
        self.at += 1;
        let mut items = Vec::new();
        if self.takes(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth - 1)?);
            if self.takes(b']') {
                return Ok(Value::Array(items));
            }
            if !self.takes(b',') {
                return Err(self.expected("`,` or `]`"));
            }
        }
    }

    fn string(&mut self, quote: u8) -> Result<String, BodyError> {
        let (text, taken) =
            super::super::text::quoted(&self.text[self.at + 1..], quote).map_err(|at| {
                BodyError::Syntax {
                    expected: "the rest of a string",
                    at: self.at + 1 + at,
                }
            })?;
        self.at += 1 + taken;
        Ok(text.to_str().into_owned())
    }

    fn word(&mut self) -> Result<&'a str, BodyError> {
        let rest = &self.text.as_bytes()[self.at..];
        let part = |byte: &u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_' | b'$')
        };
        let length = rest.iter().take_while(|byte| part(byte)).count();
        if length == 0 {
            return Err(self.expected("a value"));
        }
        let word = &self.text[self.at..self.at + length];
        self.at += length;
        Ok(word)
    }
}

fn count(values: &mut usize) -> Result<(), BodyError> {
    *values += 1;
    if *values > VALUES_MAX {
        return Err(BodyError::TooManyValues);
    }
    Ok(())
}

fn scalar(word: &str) -> Option<Value> {
    match word {
        "null" => return Some(Value::Null),
        "true" => return Some(Value::Bool(true)),
        "false" => return Some(Value::Bool(false)),
        _ => {}
    }
    if let Ok(number) = word.parse::<i64>() {
        return Some(number.into());
    }
    Number::from_f64(word.parse().ok()?).map(Value::Number)
}

/// A copy of `value` with what its references point to in `root`. References within such a target stay as they are.
fn resolve(value: &Value, root: &Value, values: &mut usize) -> Result<Value, BodyError> {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(path)) = members.get("$ref") {
                let target = find(root, path).unwrap_or(&Value::Null);
                count_all(target, values)?;
                return Ok(target.clone());
            }
            let members = members.iter();
            let members =
                members.map(|(key, value)| Ok((key.clone(), resolve(value, root, values)?)));
            members.collect::<Result<Map<_, _>, _>>().map(Value::Object)
        }
        Value::Array(items) => {
            let items = items.iter().map(|item| resolve(item, root, values));
            items.collect::<Result<Vec<_>, _>>().map(Value::Array)
        }
        other => Ok(other.clone()),
    }
}

fn count_all(value: &Value, values: &mut usize) -> Result<(), BodyError> {
    count(values)?;
    match value {
        Value::Object(members) => members
            .values()
            .try_for_each(|member| count_all(member, values)),
        Value::Array(items) => items.iter().try_for_each(|item| count_all(item, values)),
        _ => Ok(()),
    }
}

/// What a path such as `$.a[0].b` points to.
fn find<'a>(root: &'a Value, path: &str) -> Option<&'a Value> {
    let steps = path.strip_prefix('$')?;
    let mut steps = steps.split(['.', '[']).filter(|step| !step.is_empty());
    steps.try_fold(root, |value, step| match step.strip_suffix(']') {
        Some(index) => value.get(index.parse::<usize>().ok()?),
        None => value.get(step),
    })
}
