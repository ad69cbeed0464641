//! Registrations, one after the other.

use super::*;

fn topic(name: &str) -> (String, TopicConfig) {
    let config = TopicConfig {
        name: name.into(),
        ..TopicConfig::default()
    };
    (name.into(), config)
}

fn registration(name: &str, id: i64, topics: &[&str]) -> Registration {
    Registration {
        cluster: "c".into(),
        name: name.into(),
        id,
        address: format!("{name}:{id}"),
        ha_address: format!("ha-{name}:{id}"),
        enable_acting_master: false,
        timeout_ms: HEARTBEAT_TIMEOUT_MS_DEFAULT,
        version: DataVersion::default(),
        topics: topics.iter().map(|name| topic(name)).collect(),
        connection: 1,
    }
}

fn table() -> BrokerTable {
    BrokerTable::new(BrokerLimits {
        brokers_max: 3,
        topics_max: 5,
    })
}

fn topics(table: &BrokerTable, name: &str) -> Vec<String> {
    let name = table.name(name);
    name.map_or(Vec::new(), |name| name.topics.keys().cloned().collect())
}

#[test]
fn the_master_says_what_the_topics_are_and_copies_are_told_where_it_is() {
    let mut table = table();
    let answer = table.register(registration("a", 1, &["x", "y"]), 0);
    assert_eq!(answer, Ok(Registered::default()));
    assert_eq!(topics(&table, "a"), [""; 0]);
    table
        .register(registration("a", 0, &["t", "u"]), 0)
        .unwrap();
    let answer = table.register(registration("a", 1, &["x"]), 0).unwrap();
    assert_eq!(answer.master, Some(("a:0".into(), "ha-a:0".into())));
    assert_eq!(topics(&table, "a"), ["t", "u"]);
}

#[test]
fn a_single_topic_is_added_to_those_of_a_known_broker_only() {
    let mut table = table();
    let single = || registration("a", 0, &["new"]);
    assert_eq!(table.register(single(), 0), Err(BrokerRefusal::SingleTopic));
    table
        .register(registration("a", 0, &["t", "u"]), 0)
        .unwrap();
    table.register(single(), 0).unwrap();
    assert_eq!(topics(&table, "a"), ["new", "t", "u"]);
}

#[test]
fn the_last_broker_of_a_name_takes_its_topics_along() {
    let mut table = table();
    table
        .register(registration("a", 0, &["t", "u"]), 0)
        .unwrap();
    table.register(registration("a", 1, &[]), 60_000).unwrap();
    assert!(!table.unregister("a", 0, "elsewhere:1"));
    table.expire(120_000);
    assert_eq!(topics(&table, "a"), ["t", "u"]);
    assert_eq!(table.id_of("a", "a:0"), None);
    assert!(table.heartbeat("a", 1, "a:1", 170_000));
    table.expire(289_999);
    assert!(table.name("a").is_some());
    table.expire(290_000);
    assert!(table.name("a").is_none());
    assert!(!table.heartbeat("a", 1, "a:1", 290_000));
}

#[test]
fn a_closed_connection_takes_the_brokers_that_came_by_it() {
    let mut table = table();
    table
        .register(registration("a", 0, &["t", "u"]), 0)
        .unwrap();
    let other = Registration {
        connection: 2,
        ..registration("b", 0, &["t", "u"])
    };
    table.register(other, 0).unwrap();
    assert_eq!(table.connection_closed(1), [("a".into(), 0)]);
    assert!(table.name("a").is_none() && table.name("b").is_some());
    assert_eq!(table.connection_closed(1), []);
}

#[test]
fn limits_hold_and_make_room_again() {
    let mut table = table();
    table
        .register(registration("a", 0, &["1", "2", "3"]), 0)
        .unwrap();
    let over = registration("b", 0, &["1", "2", "3"]);
    assert_eq!(
        table.register(over.clone(), 0),
        Err(BrokerRefusal::TooManyTopics(5))
    );
    table.delete_topic("1", Some("c"));
    table.delete_topic("2", Some("another"));
    table.register(over, 0).unwrap();
    table.register(registration("c", 0, &[]), 0).unwrap();
    let fourth = table.register(registration("d", 0, &[]), 0);
    assert_eq!(fourth, Err(BrokerRefusal::TooManyBrokers(3)));
    let fourth = table.put_topic("c", topic("more").1);
    assert_eq!(fourth, Err(BrokerRefusal::TooManyTopics(5)));
    assert!(table.unregister("b", 0, "b:0"));
    table.put_topic("c", topic("more").1).unwrap();
    table.register(registration("d", 0, &[]), 0).unwrap();
}

#[test]
fn another_address_takes_a_number_over_unless_its_state_is_older() {
    let mut table = table();
    let with = |address: &str, state_version| Registration {
        address: address.into(),
        version: DataVersion {
            state_version,
            ..DataVersion::default()
        },
        ..registration("a", 0, &[])
    };
    table.register(with("old:1", 5), 0).unwrap();
    assert_eq!(
        table.register(with("new:1", 4), 0),
        Err(BrokerRefusal::Older)
    );
    table.register(with("new:1", 5), 0).unwrap();
    assert_eq!(table.id_of("a", "new:1"), Some(0));
    assert_eq!(table.version("a", 0, "old:1"), None);
}

#[test]
fn wiped_brokers_stay_wiped_whatever_they_register() {
    let mut table = table();
    table
        .register(registration("a", 0, &["t", "u"]), 0)
        .unwrap();
    assert_eq!(table.set_wiped("a", true), Some(2));
    table
        .register(registration("a", 0, &["t", "v"]), 0)
        .unwrap();
    let name = table.name("a").unwrap();
    assert!(
        name.topics
            .values()
            .all(|topic| shown_perm(name, topic) == perm::READ)
    );
    assert_eq!(table.set_wiped("a", false), Some(3));
    let name = table.name("a").unwrap();
    assert_eq!(
        shown_perm(name, &name.topics["t"]),
        perm::READ | perm::WRITE
    );
    assert_eq!(table.set_wiped("b", true), None);
}
