//! Attributes of topics, as RocketMQ's tools change them: `+name=value,-name`.

use super::Refuse;
use super::entries::Attributes;
use super::limits::{ATTRIBUTE_BYTES_MAX, TOPIC_ATTRIBUTES_MAX};
use ringmq_wire::codes::ErrorCode;

/// (name, values that this broker can do; none: any)
const KNOWN: [(&str, &[&str]); 4] = [
    ("queue.type", &["SimpleCQ"]),
    ("cleanup.policy", &["DELETE"]),
    (
        "message.type",
        &[
            "UNSPECIFIED",
            "NORMAL",
            "FIFO",
            "DELAY",
            "TRANSACTION",
            "MIXED",
        ],
    ),
    ("reserve.time", &[]),
];

/// What `old` becomes by `changes`.
pub fn change(old: Attributes, changes: &str) -> Result<Attributes, Refuse> {
    let mut attributes = old;
    let changes = changes.split(',').map(str::trim);
    for change in changes.filter(|change| !change.is_empty()) {
        let (sign, rest) = change.split_at_checked(1).unwrap_or((change, ""));
        let (name, value) = match (sign, rest.split_once('=')) {
            ("+", Some((name, value))) => (name, Some(value)),
            ("-", None) => (rest, None),
            _ => {
                return Err(invalid(format!(
                    "{change:?} is neither +name=value nor -name"
                )));
            }
        };
        check(name, value)?;
        let place = attributes.binary_search_by(|(known, _)| (**known).cmp(name));
        match (place, value) {
            (Ok(at), Some(value)) => attributes[at].1 = value.into(),
            (Ok(at), None) => drop(attributes.remove(at)),
            (Err(at), Some(value)) => attributes.insert(at, (name.into(), value.into())),
            (Err(_), None) => {}
        }
    }
    Ok(attributes)
}

fn check(name: &str, value: Option<&str>) -> Result<(), Refuse> {
    let Some((_, values)) = KNOWN.iter().find(|(known, _)| *known == name) else {
        return Err(invalid(format!("attribute {name:?} is not known")));
    };
    let Some(value) = value else {
        return Ok(());
    };
    let possible = values.is_empty() || values.contains(&value);
    if possible && (1..=ATTRIBUTE_BYTES_MAX).contains(&value.len()) {
        return Ok(());
    }
    Err(invalid(format!(
        "attribute {name} cannot be {value:?} here; possible: {}",
        if values.is_empty() {
            "a short text".to_owned()
        } else {
            values.join(", ")
        }
    )))
}

fn invalid(message: String) -> Refuse {
    Refuse::new(ErrorCode::InvalidRequest, message)
}

const _: () = assert!(KNOWN.len() <= TOPIC_ATTRIBUTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(attributes: &Attributes) -> Vec<(&str, &str)> {
        attributes
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect()
    }

    #[test]
    fn attributes_are_added_changed_and_removed() {
        let first =
            change(Vec::new(), "+message.type=FIFO, +cleanup.policy=DELETE").expect("valid");
        assert_eq!(
            pairs(&first),
            [("cleanup.policy", "DELETE"), ("message.type", "FIFO")]
        );
        let second =
            change(first, "+message.type=NORMAL,-cleanup.policy,-reserve.time").expect("valid");
        assert_eq!(pairs(&second), [("message.type", "NORMAL")]);
        assert_eq!(change(second.clone(), "").expect("nothing"), second);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for wrong in [
            "message.type=FIFO",
            "+message.type",
            "+queue.type=BatchCQ",
            "+x=y",
            "-x",
            "+reserve.time=",
            "é",
        ] {
            assert!(change(Vec::new(), wrong).is_err(), "{wrong}");
        }
    }
}
