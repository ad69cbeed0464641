//! A message on its way from a RocketMQ producer into a batch.
//!
//! The body goes in as the producer made it, compressed or not. Beside it the envelope keeps everything else word for
//! word; keys, tag and the user's properties are also stored natively, for native consumers, filters and the index.

use super::Refused;
use super::send::REGION;
use crate::state::system::RETRY_PREFIX;
use ringmq_wire::batch::{BatchError, BatchOptions, BatchPieces, Envelope, Record};
use ringmq_wire::limits::{BATCH_RECORDS_MAX, PROPERTIES_BYTES_MAX};
use ringmq_wire::remoting::batch::InnerMessages;
use ringmq_wire::remoting::fields::SendFields;
use ringmq_wire::remoting::message::{body_crc, sys_flag};
use ringmq_wire::remoting::properties::{self, name};
use ringmq_wire::remoting::response_code;
use std::net::{IpAddr, SocketAddr};

/// About what a broker adds to a message's properties, beside the name of its cluster.
const ADDED_BYTES: usize = 128;

/// A send, checked.
pub struct Incoming<'a> {
    messages: Vec<Message<'a>>,
    is_batch: bool,
    born_time_ms: i64,
    sys_flag: i32,
    reconsume_times: i32,
    born_host: (IpAddr, u32),
    /// The level at which the message is to be delivered later.
    delay: Option<i32>,
}

struct Message<'a> {
    body: &'a [u8],
    flag: i32,
    /// As it will be delivered.
    properties: String,
}

impl<'a> Incoming<'a> {
    /// Takes a send apart and refuses what cannot be stored. `new_key` makes the unique key that a message lacks.
    pub fn read(
        peer: SocketAddr,
        cluster: &str,
        fields: &SendFields<'_>,
        body: &'a [u8],
        new_key: impl Fn() -> String,
    ) -> Result<Self, Refused> {
        let mut shared =
            String::with_capacity(fields.properties.bytes_max() + ADDED_BYTES + cluster.len());
        fields.properties.append_to(&mut shared);
        let known = Known::of(&shared);
        let delay = known.delay.and_then(|level| level.parse().ok());
        let delay = delay.filter(|level: &i32| *level > 0);
        refuse_special(&known, fields.reconsume_times, delay)?;
        let messages = if fields.batch {
            let mut messages = batch_messages(fields, &shared, delay, body)?;
            for message in &mut messages {
                let lacks = Known::of(&message.properties).lacks(cluster);
                message.complete(cluster, lacks, &new_key)?;
            }
            messages
        } else {
            let lacks = known.lacks(cluster);
            let mut message = Message {
                body,
                flag: fields.flag,
                properties: shared,
            };
            message.complete(cluster, lacks, &new_key)?;
            vec![message]
        };
        Ok(Self {
            messages,
            is_batch: fields.batch,
            born_time_ms: fields.born_timestamp,
            sys_flag: fields.sys_flag & !sys_flag::TRANSACTION,
            reconsume_times: fields.reconsume_times,
            born_host: (peer.ip().to_canonical(), peer.port().into()),
            delay,
        })
    }

    /// The level at which the message is to be delivered later.
    pub fn delay(&self) -> Option<i32> {
        self.delay
    }

    /// Refuses bodies over the limit; of a batch, all of them together.
    pub fn check_sizes(&self, bytes_max: usize) -> Result<(), Refused> {
        let bytes: usize = self.messages.iter().map(|message| message.body.len()).sum();
        if bytes <= bytes_max {
            return Ok(());
        }
        let remark = format!("message body of {bytes} bytes is over the limit of {bytes_max}");
        Err(Refused::new(response_code::MESSAGE_ILLEGAL, remark))
    }

    /// The unique key of a single message.
    pub fn unique_key(&self) -> Option<String> {
        let message = self.messages.first().filter(|_| !self.is_batch)?;
        properties::get(&message.properties, name::UNIQUE_KEY).map(str::to_owned)
    }

    /// How many messages there are.
    pub fn count(&self) -> u32 {
        self.messages.len() as u32
    }

    /// All of them as one batch, in pieces: bodies stay where they were received.
    pub fn batch<T>(&self, use_it: impl FnOnce(&[&[u8]]) -> T) -> Result<T, Refused> {
        let parts: Vec<Parts<'_>> = self.messages.iter().map(Parts::of).collect();
        let mut pieces = BatchPieces::new();
        for (message, parts) in self.messages.iter().zip(&parts) {
            let record = self.record(message, parts);
            pieces.push(&record).map_err(|error| illegal(&error))?;
        }
        Ok(use_it(&pieces.finish(&BatchOptions::default())))
    }

    /// The only message, as a record.
    pub fn single<T>(&self, use_it: impl FnOnce(&Record<'_>) -> T) -> Option<T> {
        let message = self.messages.first().filter(|_| !self.is_batch)?;
        Some(use_it(&self.record(message, &Parts::of(message))))
    }

    fn record<'m>(&'m self, message: &'m Message<'_>, parts: &'m Parts<'_>) -> Record<'m> {
        Record {
            born_time_ms: self.born_time_ms,
            keys: &parts.keys,
            tag: parts.tag,
            properties: &parts.properties,
            envelope: Some(Envelope {
                flag: message.flag,
                sys_flag: self.sys_flag,
                reconsume_times: self.reconsume_times,
                body_crc: body_crc(message.body),
                prepared_position: 0,
                born_host: Some(self.born_host),
                properties: &message.properties,
            }),
            body: message.body,
        }
    }
}

/// What native consumers get of a message's properties.
struct Parts<'a> {
    keys: Vec<&'a str>,
    tag: &'a str,
    properties: Vec<(&'a str, &'a str)>,
}

impl<'a> Parts<'a> {
    fn of(message: &'a Message<'_>) -> Self {
        let (mut keys, mut tag, mut own) = ("", "", Vec::new());
        for (name, value) in properties::pairs(&message.properties) {
            match name {
                name::KEYS => keys = value,
                name::TAGS => tag = value,
                _ if is_users(name) => own.push((name, value)),
                _ => {}
            }
        }
        let keys = keys.split(' ').filter(|key| !key.is_empty());
        Self {
            keys: keys.collect(),
            tag,
            properties: own,
        }
    }
}

/// The properties that decide what becomes of a message, found in one pass; of two with one name the later.
#[derive(Default)]
struct Known<'a> {
    delay: Option<&'a str>,
    transaction_prepared: Option<&'a str>,
    unique_key: Option<&'a str>,
    region: Option<&'a str>,
    trace_switch: Option<&'a str>,
    cluster: Option<&'a str>,
    has_timer: bool,
    has_pop_receipt: bool,
}

impl<'a> Known<'a> {
    fn of(text: &'a str) -> Self {
        let mut known = Self::default();
        for (name, value) in properties::pairs(text) {
            match name {
                name::DELAY => known.delay = Some(value),
                name::TRANSACTION_PREPARED => known.transaction_prepared = Some(value),
                name::UNIQUE_KEY => known.unique_key = Some(value),
                name::MSG_REGION => known.region = Some(value),
                name::TRACE_SWITCH => known.trace_switch = Some(value),
                name::CLUSTER => known.cluster = Some(value),
                name::TIMER_DELAY_SECONDS
                | name::TIMER_DELAY_MILLIS
                | name::TIMER_DELIVER_MILLIS => known.has_timer = true,
                name::POP_RECEIPT => known.has_pop_receipt = true,
                _ => {}
            }
        }
        known
    }

    fn lacks(&self, cluster: &str) -> Lacks {
        let standing = |found: Option<&str>, right: &str| match found {
            None => Standing::Missing,
            Some(found) if found == right => Standing::Right,
            Some(_) => Standing::Wrong,
        };
        Lacks {
            region: standing(self.region, REGION),
            trace_switch: standing(self.trace_switch, "true"),
            cluster: standing(self.cluster, cluster),
            has_key: self.unique_key.is_some(),
            has_pop_receipt: self.has_pop_receipt,
        }
    }
}

/// What a message's properties lack, and have too much, when they come from a producer.
#[derive(Clone, Copy)]
struct Lacks {
    region: Standing,
    trace_switch: Standing,
    cluster: Standing,
    has_key: bool,
    has_pop_receipt: bool,
}

/// How a property that brokers add stands in what a producer sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Missing,
    Right,
    Wrong,
}

impl Message<'_> {
    /// Adds what brokers add and removes what they remove.
    fn complete(
        &mut self,
        cluster: &str,
        lacks: Lacks,
        new_key: impl Fn() -> String,
    ) -> Result<(), Refused> {
        let ours = [
            (name::MSG_REGION, REGION, lacks.region),
            (name::TRACE_SWITCH, "true", lacks.trace_switch),
            (name::CLUSTER, cluster, lacks.cluster),
        ];
        let is_wrong = |name: &str| {
            let wrong = |ours: &(&str, &str, Standing)| ours.0 == name && ours.2 == Standing::Wrong;
            name == name::POP_RECEIPT || ours.iter().any(wrong)
        };
        let text = &mut self.properties;
        if lacks.has_pop_receipt || ours.iter().any(|ours| ours.2 == Standing::Wrong) {
            properties::remove(text, is_wrong);
        }
        text.reserve(ADDED_BYTES + cluster.len());
        for (name, value, standing) in ours {
            if standing != Standing::Right {
                properties::append(text, name, value);
            }
        }
        if !lacks.has_key {
            properties::append(text, name::UNIQUE_KEY, &new_key());
        }
        if text.len() > PROPERTIES_BYTES_MAX {
            let remark = format!(
                "message properties of {} bytes are over the limit of {PROPERTIES_BYTES_MAX}",
                text.len()
            );
            return Err(Refused::new(response_code::MESSAGE_ILLEGAL, remark));
        }
        Ok(())
    }
}

/// The messages of a batch, each with what they share.
fn batch_messages<'a>(
    fields: &SendFields<'_>,
    shared: &str,
    delay: Option<i32>,
    body: &'a [u8],
) -> Result<Vec<Message<'a>>, Refused> {
    let illegal = |remark: String| Refused::new(response_code::MESSAGE_ILLEGAL, remark);
    if delay.is_some() || fields.topic.starts_with(RETRY_PREFIX) {
        return Err(illegal(
            "a batch takes no delayed messages, and none to be tried again".to_owned(),
        ));
    }
    let mut messages = Vec::new();
    for inner in InnerMessages::new(body) {
        let inner = inner.map_err(|error| illegal(format!("the batch cannot be read: {error}")))?;
        if messages.len() == BATCH_RECORDS_MAX {
            return Err(illegal(format!(
                "a batch has at most {BATCH_RECORDS_MAX} messages"
            )));
        }
        let mut text = inner.properties.to_owned();
        for (name, value) in properties::pairs(shared) {
            // A message's own properties count, its unique key above all.
            if properties::get(&text, name).is_none() && name != name::UNIQUE_KEY {
                properties::append(&mut text, name, value);
            }
        }
        messages.push(Message {
            body: inner.body,
            flag: inner.flag,
            properties: text,
        });
    }
    if messages.is_empty() {
        return Err(illegal("the batch has no messages".to_owned()));
    }
    Ok(messages)
}

/// Refuses what would have to wait somewhere else before it may be read.
fn refuse_special(known: &Known<'_>, retries: i32, delay: Option<i32>) -> Result<(), Refused> {
    let is_prepared = known
        .transaction_prepared
        .is_some_and(|value| value.eq_ignore_ascii_case("true"));
    // Old consumers send a message of a committed transaction back with its mark.
    let is_retry = retries > 0 && delay.is_some();
    if is_prepared && !is_retry {
        let remark = "sending transaction message is forbidden: this broker has no transactions";
        return Err(Refused::new(response_code::NO_PERMISSION, remark));
    }
    // A delay level counts before a time.
    if delay.is_none() && known.has_timer {
        let remark = "this broker has no timers; delay levels it has";
        return Err(Refused::new(response_code::SYSTEM_ERROR, remark));
    }
    Ok(())
}

fn illegal(error: &BatchError) -> Refused {
    Refused::new(response_code::MESSAGE_ILLEGAL, error.to_string())
}

/// Whether a property is the user's own, and not one that producers, consumers and brokers of RocketMQ write by
/// themselves. Source: what its 4.9.7 and 5.3.3 clients send.
fn is_users(name: &str) -> bool {
    !matches!(
        name,
        name::UNIQUE_KEY
            | name::WAIT
            | name::MSG_REGION
            | name::TRACE_SWITCH
            | name::CLUSTER
            | name::DELAY
            | name::RETRY_TOPIC
            | name::REAL_TOPIC
            | name::REAL_QUEUE_ID
            | name::TRANSACTION_PREPARED
            | name::PRODUCER_GROUP
            | name::ORIGIN_MESSAGE_ID
            | name::RECONSUME_TIME
            | name::MAX_RECONSUME_TIMES
            | name::PUSH_REPLY_TIME
            | name::TIMER_DELAY_SECONDS
            | name::TIMER_DELAY_MILLIS
            | name::TIMER_DELIVER_MILLIS
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAMES: [&str; 8] = [
        name::MSG_REGION,
        name::TRACE_SWITCH,
        name::CLUSTER,
        name::UNIQUE_KEY,
        name::POP_RECEIPT,
        name::DELAY,
        name::TIMER_DELAY_MILLIS,
        "mine",
    ];
    const VALUES: [&str; 5] = ["", "true", REGION, "here", "7"];

    proptest! {
        /// Whatever a producer wrote, in whatever order and however often, its own properties stay and the broker's are right.
        #[test]
        fn a_message_keeps_its_own_properties_and_gets_the_brokers(
            pairs in prop::collection::vec(
                (prop::sample::select(&NAMES[..]), prop::sample::select(&VALUES[..])), 0..12),
        ) {
            let text = properties::encode(pairs.iter().copied());
            let known = Known::of(&text);
            prop_assert_eq!(known.delay, properties::get(&text, name::DELAY));
            prop_assert_eq!(known.has_timer, properties::get(&text, name::TIMER_DELAY_MILLIS).is_some());
            let lacks = known.lacks("here");
            let mut message = Message { body: b"", flag: 0, properties: text.clone() };
            prop_assert!(message.complete("here", lacks, || "made".to_owned()).is_ok());
            let now = |name| properties::get(&message.properties, name);
            prop_assert_eq!(now(name::MSG_REGION), Some(REGION));
            prop_assert_eq!(now(name::TRACE_SWITCH), Some("true"));
            prop_assert_eq!(now(name::CLUSTER), Some("here"));
            prop_assert_eq!(now(name::POP_RECEIPT), None);
            let key = properties::get(&text, name::UNIQUE_KEY).unwrap_or("made");
            prop_assert_eq!(now(name::UNIQUE_KEY), Some(key));
            for own in [name::DELAY, "mine"] {
                prop_assert_eq!(now(own), properties::get(&text, own));
            }
        }
    }
}
