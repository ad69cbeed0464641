//! A broker's registration at a name server: request 103.
//!
//! The body is JSON, or one zlib stream of
//! ```text
//! length i32 | data version, JSON | topics i32 | each: length i32 | settings in words
//! length i32 | filter servers, JSON | from version 5 on: mappings i32 | each: length i32 | JSON
//! ```
//! Settings in words: name, read queues, write queues, permission, filter type, attributes in JSON; one space between.

use std::io::{Read, Write};

use serde::{Deserialize, Serialize};

use super::dialect::BodyError;
use super::scalar::or_empty;
use super::topics::{TopicConfig, TopicFilterType, TopicTable};
use crate::remoting::reader::{LengthError, Reader};

/// Most bytes that a compressed registration may unfold to.
pub const UNFOLDED_BYTES_MAX: usize = 64 << 20;
/// The first version whose compressed registrations carry mappings.
const VERSION_WITH_MAPPINGS: i32 = 413;

/// The topics of a broker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RegisterBody {
    #[serde(rename = "filterServerList", deserialize_with = "or_empty")]
    pub filter_servers: Vec<String>,
    #[serde(rename = "topicConfigSerializeWrapper")]
    pub topics: TopicTable,
}

/// Why a registration cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    #[error("crc32 not match: {expected} announced, {found} found")]
    Checksum { expected: u32, found: u32 },
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Length(#[from] LengthError),
    #[error("the compressed registration cannot be unfolded: {0}")]
    Zlib(#[from] std::io::Error),
    #[error("the compressed registration unfolds to more than {UNFOLDED_BYTES_MAX} bytes")]
    TooLarge,
    #[error("`{0}` are no settings of a topic")]
    Topic(String),
}

impl RegisterBody {
    /// Reads a body. `crc` is what the request announces for it, 0 for nothing; `version` is the sender's.
    pub fn decode(
        body: &[u8],
        compressed: bool,
        crc: u32,
        version: i32,
    ) -> Result<Self, RegistrationError> {
        let found = checksum(body);
        if crc != 0 && crc != found {
            return Err(RegistrationError::Checksum {
                expected: crc,
                found,
            });
        }
        if body.is_empty() {
            return Ok(Self::default());
        }
        if !compressed {
            return Ok(super::decode(body)?);
        }
        let mut unfolded = Vec::new();
        let mut stream = flate2::read::ZlibDecoder::new(body).take(UNFOLDED_BYTES_MAX as u64 + 1);
        stream.read_to_end(&mut unfolded)?;
        if unfolded.len() > UNFOLDED_BYTES_MAX {
            return Err(RegistrationError::TooLarge);
        }
        unfold(&unfolded, version)
    }
}

impl RegisterBody {
    /// The compressed body, as senders of version 5 write it. It has no room for a topic's sysFlag and order; attributes
    /// are left out, because name servers of version 4 do not read settings with them.
    pub fn fold(&self) -> std::io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        put_counted(&mut plain, &super::encode(&self.topics.data_version));
        put_count(&mut plain, self.topics.topics.len());
        for topic in self.topics.topics.values() {
            put_counted(&mut plain, words(topic).as_bytes());
        }
        put_counted(&mut plain, &super::encode(&self.filter_servers));
        put_count(&mut plain, 0);
        let mut stream = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        stream.write_all(&plain)?;
        stream.finish()
    }
}

fn words(topic: &TopicConfig) -> String {
    let filter = match topic.topic_filter_type {
        TopicFilterType::SingleTag => "SINGLE_TAG",
        TopicFilterType::MultiTag => "MULTI_TAG",
    };
    let (read, write) = (topic.read_queues, topic.write_queues);
    format!("{} {read} {write} {} {filter}", topic.name, topic.perm)
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    out.extend_from_slice(&count.to_be_bytes());
}

fn put_counted(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// What a request announces for its body, compressed or not.
pub fn checksum(body: &[u8]) -> u32 {
    crc32fast::hash(body) & 0x7FFF_FFFF
}

fn unfold(bytes: &[u8], version: i32) -> Result<RegisterBody, RegistrationError> {
    let mut reader = Reader { rest: bytes };
    let mut body = RegisterBody::default();
    body.topics.data_version = super::decode(counted(&mut reader, "data version")?)?;
    for _ in 0..reader.i32("topics")? {
        let topic = topic(counted(&mut reader, "topic")?)?;
        body.topics.topics.insert(topic.name.clone(), topic);
    }
    body.filter_servers = super::decode(counted(&mut reader, "filter servers")?)?;
    if version >= VERSION_WITH_MAPPINGS {
        // Mappings are for topics that we do not serve; they are only walked over, to see that they are whole.
        for _ in 0..reader.i32("mappings")? {
            counted(&mut reader, "mapping")?;
        }
    }
    Ok(body)
}

fn counted<'a>(reader: &mut Reader<'a>, what: &'static str) -> Result<&'a [u8], LengthError> {
    let length = reader.i32(what)?;
    reader.take(what, length)
}

fn topic(bytes: &[u8]) -> Result<TopicConfig, RegistrationError> {
    let text = std::str::from_utf8(bytes).map_err(|_| BodyError::NotUtf8)?;
    let no_settings = || RegistrationError::Topic(text.chars().take(200).collect());
    let mut words = text.splitn(6, ' ');
    let mut word = || words.next().ok_or_else(no_settings);
    let name = word()?.to_owned();
    let mut number = || word()?.parse().map_err(|_| no_settings());
    let (read_queues, write_queues, perm) = (number()?, number()?, number()?);
    let topic_filter_type = match word()? {
        "MULTI_TAG" => TopicFilterType::MultiTag,
        _ => TopicFilterType::SingleTag,
    };
    let attributes = match words.next().map(str::trim) {
        None | Some("") => Default::default(),
        Some(attributes) => super::decode(attributes.as_bytes())?,
    };
    Ok(TopicConfig {
        attributes,
        perm,
        read_queues,
        topic_filter_type,
        name,
        write_queues,
        ..TopicConfig::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_folded_is_read_by_both_ages_and_is_smaller() {
        let mut body = RegisterBody::default();
        body.topics.data_version.counter = 7;
        for number in 0..1000 {
            let name = format!("a-topic-with-a-long-name-{number}");
            let topic = TopicConfig {
                name: name.clone(),
                perm: number % 8,
                read_queues: number,
                write_queues: 2 * number,
                ..TopicConfig::default()
            };
            body.topics.topics.insert(name, topic);
        }
        let folded = body.fold().expect("in memory");
        assert!(folded.len() * 10 < crate::remoting::body::encode(&body).len());
        for version in [407, 479] {
            let crc = checksum(&folded);
            let read = RegisterBody::decode(&folded, true, crc, version).expect("ours");
            assert_eq!(read, body, "{version}");
        }
        let one = words(&body.topics.topics["a-topic-with-a-long-name-3"]);
        assert_eq!(one, "a-topic-with-a-long-name-3 3 6 3 SINGLE_TAG");
    }
}
