//! Values as lenient as Java's library reads them: numbers and booleans also as strings, `null` as nothing.

use std::fmt;

use serde::de::{DeserializeOwned, Error, Visitor};
use serde::{Deserialize, Deserializer};

/// What stands where a value should be, before it is known to be one.
enum Scalar {
    Nothing,
    Boolean(bool),
    Number(i64),
    Text(String),
}

struct ScalarVisitor;

impl Visitor<'_> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a number, a string, true, false or null")
    }
    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Nothing)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Boolean(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar::Number(value))
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Scalar, E> {
        let number = i64::try_from(value);
        number
            .map(Scalar::Number)
            .map_err(|_| E::custom("a number over 64 bits"))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar::Number(value as i64))
    }
    fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Scalar, E> {
        Ok(Scalar::Text(value))
    }
}

/// A number, also as a string; nothing is 0.
pub fn number<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i64>,
{
    let number = match deserializer.deserialize_any(ScalarVisitor)? {
        Scalar::Nothing => 0,
        Scalar::Boolean(value) => i64::from(value),
        Scalar::Number(value) => value,
        Scalar::Text(text) => text
            .trim()
            .parse()
            .map_err(|_| Error::custom(format!("`{text}` is not a number")))?,
    };
    T::try_from(number).map_err(|_| Error::custom(format!("{number} is out of range")))
}

/// `true` in any case, as a string or not, and every number but 0; everything else is false.
pub fn boolean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(match deserializer.deserialize_any(ScalarVisitor)? {
        Scalar::Nothing => false,
        Scalar::Boolean(value) => value,
        Scalar::Number(value) => value != 0,
        Scalar::Text(text) => text.eq_ignore_ascii_case("true"),
    })
}

/// A string; a number or boolean is its text, nothing is the empty string.
pub fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match deserializer.deserialize_any(ScalarVisitor)? {
        Scalar::Nothing => String::new(),
        Scalar::Boolean(value) => value.to_string(),
        Scalar::Number(value) => value.to_string(),
        Scalar::Text(text) => text,
    })
}

/// A list or map whose `null` is an empty one.
pub fn or_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// One of `names`, or its place among them as a number, also in a string.
pub(super) fn choice<'de, D, T: Copy>(deserializer: D, choices: &[(T, &str)]) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
{
    let found = match deserializer.deserialize_any(ScalarVisitor)? {
        Scalar::Number(number) => usize::try_from(number).ok().and_then(|at| choices.get(at)),
        Scalar::Text(text) => match text.parse::<usize>() {
            Ok(number) => choices.get(number),
            Err(_) => choices.iter().find(|(_, name)| *name == text),
        },
        Scalar::Nothing | Scalar::Boolean(_) => None,
    };
    found
        .map(|(choice, _)| *choice)
        .ok_or_else(|| Error::custom("not one of the known names and numbers"))
}

/// An enum that travels by name, and is read by name or number.
macro_rules! named {
    ($(#[$meta:meta])* $type:ident { $($(#[$doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $type { $($(#[$doc])* $variant,)* }

        impl $type {
            const ALL: &'static [(Self, &'static str)] = &[$((Self::$variant, $name)),*];

            /// The name on the wire.
            pub fn name(self) -> &'static str {
                Self::ALL[self as usize].1
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::remoting::body::scalar::choice(deserializer, Self::ALL)
            }
        }
    };
}
pub(super) use named;
