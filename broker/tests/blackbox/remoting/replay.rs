//! What real clients of RocketMQ 4.9 and 5.3 sent for their groups, sent to our broker: it answers as theirs did.

use std::collections::{BTreeMap, BTreeSet};

use ringmq_wire::remoting::body::groups::ConsumerIds;
use ringmq_wire::remoting::body::heartbeat::{CheckClient, Heartbeat};
use ringmq_wire::remoting::body::locks::{LockAnswer, LockRequest};
use ringmq_wire::remoting::properties::{self, name};
use ringmq_wire::remoting::{Command, body, request_code as code};

use super::captures::{self, Asked};
use super::client::Client;
use crate::harness::{Broker, scratch};
use crate::wire::Wire;

/// What is played here; sends and pulls are in [`super::messages`].
const WANTED: [i32; 7] = [
    code::HEART_BEAT,
    code::UNREGISTER_CLIENT,
    code::GET_CONSUMER_LIST_BY_GROUP,
    code::LOCK_BATCH_MQ,
    code::UNLOCK_BATCH_MQ,
    code::CHECK_CLIENT_CONFIG,
    code::SEND_REPLY_MESSAGE_V2,
];

/// One program's conversation with a broker of its own.
struct Replay {
    broker: Broker,
    shard: String,
    client: Client,
    /// Group → client ids that are in it.
    members: BTreeMap<String, BTreeSet<String>>,
    /// Queues that somebody locked, by topic and number.
    locked: BTreeSet<(String, i32)>,
}

impl Replay {
    fn play(&mut self, asked: &Asked) {
        let command = asked.command.clone();
        match command.code {
            code::HEART_BEAT => self.heartbeat(command, &asked.body),
            code::UNREGISTER_CLIENT => {
                if let Some(group) = command.get("consumerGroup") {
                    self.members.remove(group);
                }
                assert_eq!(self.client.ask(command, &[]).0.code, 0);
            }
            code::GET_CONSUMER_LIST_BY_GROUP => self.list(command),
            code::LOCK_BATCH_MQ | code::UNLOCK_BATCH_MQ => self.lock(command, &asked.body),
            code::CHECK_CLIENT_CONFIG => {
                let said: CheckClient = body::decode(&asked.body).expect("a subscription");
                let wanted = i32::from(!said.subscription.is_by_tag());
                assert_eq!(self.client.ask(command, &asked.body).0.code, wanted);
            }
            _ => self.reply(command, &asked.body),
        }
    }

    fn heartbeat(&mut self, command: Command, bytes: &[u8]) {
        let said: Heartbeat = body::decode(bytes).expect("a heartbeat");
        let (answer, _) = self.client.ask(command, bytes);
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
        assert!(answer.version >= 401, "or SQL is refused by Java clients");
        for consumer in said.consumers {
            let ids = self.members.entry(consumer.group.clone()).or_default();
            if ids.insert(said.client_id.clone()) {
                let (told, _) = self.client.request(code::NOTIFY_CONSUMER_IDS_CHANGED);
                assert_eq!(told.get("consumerGroup"), Some(&*consumer.group));
            }
        }
    }

    fn list(&mut self, command: Command) {
        let group = command.get("consumerGroup").expect("a group").to_owned();
        let (answer, bytes) = self.client.ask(command, &[]);
        match self.members.get(&group) {
            None => assert_eq!(answer.code, 1, "the selection has no heartbeat of it"),
            Some(ids) => {
                let listed: ConsumerIds = body::decode(&bytes).expect("ids");
                assert_eq!(listed.ids, Vec::from_iter(ids.clone()));
            }
        }
    }

    fn lock(&mut self, command: Command, bytes: &[u8]) {
        let mut wanted: LockRequest = body::decode(bytes).expect("queues");
        for queue in &mut wanted.queues {
            queue.broker_name.clone_from(&self.shard);
            if !queue.topic.starts_with('%') {
                let mut wire = Wire::connect(self.broker.shards[0]);
                wire.create(&queue.topic, 8, false).expect("made, or there");
            }
        }
        let locks = command.code == code::LOCK_BATCH_MQ;
        let (answer, bytes) = self.client.ask(command, &body::encode(&wanted));
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
        // Retry topics come with a heartbeat, which the selection may not have.
        let queues = wanted.queues.into_iter();
        let queues = queues.filter(|queue| !queue.topic.starts_with('%'));
        if locks {
            let locked: LockAnswer = body::decode(&bytes).expect("queues");
            let queues: Vec<_> = queues.collect();
            assert!(queues.iter().all(|queue| locked.queues.contains(queue)));
            let names = queues
                .into_iter()
                .map(|queue| (queue.topic, queue.queue_id));
            self.locked.extend(names);
        } else {
            for queue in queues {
                self.locked.remove(&(queue.topic, queue.queue_id));
            }
        }
    }

    /// The requester is one of ours; its answer is what the responder is told.
    fn reply(&mut self, command: Command, bytes: &[u8]) {
        let said = command.get("i").expect("properties").to_owned();
        let requester = properties::get(&said, name::REPLY_TO_CLIENT).expect("who waits");
        let heartbeat = Heartbeat {
            client_id: requester.to_owned(),
            producers: vec![Default::default()],
            ..Heartbeat::default()
        };
        let mut heartbeat = heartbeat;
        heartbeat.producers[0].group = "requesters".to_owned();
        let mut waiting = Client::connect(self.broker.shards[0]);
        let beat = Command::request(code::HEART_BEAT, 0);
        assert_eq!(waiting.ask(beat, &body::encode(&heartbeat)).0.code, 0);
        let opaque = self.client.send(command.clone(), bytes);
        let (pushed, reply) = waiting.request(code::PUSH_REPLY_MESSAGE_TO_CLIENT);
        assert_eq!(reply, bytes);
        assert_eq!(pushed.get("topic"), command.get("b"));
        assert_eq!(pushed.get("bornTimestamp"), command.get("g"));
        let told = pushed.get("properties").expect("properties");
        for (name, value) in properties::pairs(&said) {
            assert_eq!(properties::get(told, name), Some(value));
        }
        waiting.answer(Command::response(0, pushed.opaque), b"");
        assert_eq!(self.client.answer_to(opaque).0.code, 0);
    }
}

#[test]
fn real_clients_are_answered_as_their_broker_did() {
    let mut programs: BTreeMap<&str, Vec<Asked>> = BTreeMap::new();
    for asked in captures::asked(&WANTED) {
        programs.entry(asked.program).or_default().push(asked);
    }
    assert!(programs.len() > 8, "the fixture is cut");
    let mut codes = BTreeSet::new();
    for requests in programs.values() {
        let home = scratch();
        let broker = Broker::dev(
            &home.path().join("data"),
            &["--set", "cluster=DefaultCluster", "--set", "node=replay"],
        );
        let mut replay = Replay {
            client: Client::connect(broker.shards[0]),
            shard: "s00-replay".to_owned(),
            broker,
            members: BTreeMap::new(),
            locked: BTreeSet::new(),
        };
        for asked in requests {
            codes.insert(asked.command.code);
            replay.play(asked);
        }
    }
    assert_eq!(
        codes.len(),
        WANTED.len(),
        "every kind of request was played: {codes:?}"
    );
}
