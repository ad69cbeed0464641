//! The text form of properties.

use std::collections::BTreeMap;

use proptest::prelude::*;
use ringmq_wire::remoting::properties::{append, encode, get, pairs, remove, set};

#[test]
fn pairs_without_a_name_or_a_value_are_absent_and_the_later_of_two_counts() {
    let text = "a\u{1}1\u{2}\u{1}x\u{2}b\u{1}\u{2}junk\u{2}a\u{1}2\u{1}3";
    let found: Vec<_> = pairs(text).collect();
    assert_eq!(found, [("a", "1"), ("a", "2\u{1}3")]);
    assert_eq!(get(text, "a"), Some("2\u{1}3"));
    assert_eq!(get(text, "b"), None);
}

#[test]
fn a_property_is_added_behind_the_separator_that_old_producers_leave_out() {
    for mut text in [String::new(), "a\u{1}1".into(), "a\u{1}1\u{2}".into()] {
        let first = text.clone();
        append(&mut text, "b", "2");
        assert_eq!(get(&text, "b"), Some("2"));
        assert_eq!(get(&text, "a"), get(&first, "a"));
    }
}

#[test]
fn what_is_not_there_is_removed_without_a_change() {
    let before = "a\u{1}1\u{2}odd\u{2}\u{2}b\u{1}2";
    let mut text = before.to_string();
    remove(&mut text, |name| name == "c");
    assert_eq!(text, before);
    remove(&mut text, |name| name == "a");
    assert_eq!(text, "b\u{1}2\u{2}");
}

proptest! {
    #[test]
    fn any_text_has_the_pairs_that_splitting_it_gives(text in "[a\u{1}\u{2}ü]{0,24}") {
        let split = |pair: &'_ str| {
            let (name, value) = pair.split_once('\u{1}')?;
            (!name.is_empty() && !value.is_empty()).then(|| (name.to_owned(), value.to_owned()))
        };
        let expected: Vec<_> = text.split('\u{2}').filter_map(split).collect();
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        prop_assert_eq!(pairs(&text).map(owned).collect::<Vec<_>>(), expected.clone());
        let backwards: Vec<_> = pairs(&text).rev().map(owned).collect();
        prop_assert!(backwards.iter().rev().eq(&expected));
    }

    #[test]
    fn a_text_is_a_map(
        pairs_in in prop::collection::vec(("[a-c]{1,2}", "[x-z]{1,3}"), 0..8), last: bool, name in "[a-c]{1,2}",
    ) {
        let mut map: BTreeMap<&str, &str> = BTreeMap::new();
        map.extend(pairs_in.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let mut text = encode(pairs_in.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        if last {
            text.pop();
        }
        prop_assert_eq!(pairs(&text).collect::<BTreeMap<_, _>>(), map.clone());
        set(&mut text, &name, "new");
        map.insert(&name, "new");
        prop_assert_eq!(pairs(&text).collect::<BTreeMap<_, _>>(), map.clone());
        prop_assert_eq!(pairs(&text).filter(|(found, _)| *found == name).count(), 1);
        remove(&mut text, |found| found == name);
        map.remove(name.as_str());
        prop_assert_eq!(pairs(&text).collect::<BTreeMap<_, _>>(), map);
    }
}
