//! Requests of RocketMQ's tools about topics and groups, and messages that come back, through the table of requests.

use super::{Answer, Caller, Origin, Request, dispatch};
use crate::delay;
use crate::handler::automatic::ensure_system_topics;
use crate::limits::Limits;
use crate::node::NodeHandle;
use crate::session::link::Link;
use crate::shard::{Shard, ShardSettings};
use crate::state::ShardState;
use ringmq_storage_engine::disk::sim::{SimDisk, SimDiskOptions};
use ringmq_storage_engine::runtime::sim::{SimExecutor, SimRuntime};
use ringmq_storage_engine::store::{Store, StoreOptions};
use ringmq_wire::batch::Record;
use ringmq_wire::remoting::body::groups::{GroupConfig, GroupTable};
use ringmq_wire::remoting::body::topics::{TopicConfig, TopicTable};
use ringmq_wire::remoting::{Command, body, request_code, response_code};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

struct World {
    shard: Shard<SimDisk, SimRuntime>,
    caller: Rc<Caller<SimDisk>>,
}

impl World {
    async fn ask(&self, code: i32, fields: &[(&'static str, &str)], body: &[u8]) -> Answer {
        let mut command = Command::request(code, 1);
        for (name, value) in fields {
            command = command.field(*name, *value);
        }
        let body = body.to_vec();
        dispatch(&self.shard, &self.caller, Request { command, body }).await
    }

    async fn put_topic(
        &self,
        name: &str,
        queues: [&str; 2],
        more: &[(&'static str, &str)],
    ) -> Answer {
        let mut fields = vec![
            ("topic", name),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", queues[0]),
            ("writeQueueNums", queues[1]),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("topicSysFlag", "0"),
            ("order", "false"),
        ];
        fields.extend(more);
        self.ask(request_code::UPDATE_AND_CREATE_TOPIC, &fields, b"")
            .await
    }

    async fn topics(&self) -> TopicTable {
        let answer = self.ask(request_code::GET_ALL_TOPIC_CONFIG, &[], b"").await;
        body::decode(&answer.body).expect("readable")
    }

    async fn groups(&self) -> GroupTable {
        let code = request_code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG;
        let answer = self.ask(code, &[], b"").await;
        body::decode(&answer.body).expect("readable")
    }
}

fn on_shard<F: Future<Output = ()> + 'static>(test: impl FnOnce(Rc<World>) -> F + 'static) {
    let executor = SimExecutor::new(5);
    let runtime = executor.runtime();
    let disk = SimDisk::new(&runtime, SimDiskOptions::default());
    let ended = executor.run(async move {
        let state = ShardState::default();
        let store = Store::open(disk, runtime.clone(), StoreOptions::test_min(), state);
        let store = store.await.expect("opens");
        let settings = ShardSettings::new("test", "a", 0, Limits::TEST_MIN);
        let node = NodeHandle::detached("a").0;
        let shard = Shard::new(settings, store, runtime, node);
        ensure_system_topics(&shard).await.expect("made");
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 10_911));
        let origin = Origin {
            number: 1,
            peer: here,
            local: here,
        };
        let link = Rc::new(Link::new(&shard));
        let caller = Rc::new(Caller::new(&shard, link, origin));
        test(Rc::new(World {
            shard: shard.clone(),
            caller,
        }))
        .await;
        shard.store().stop().await.expect("stopped");
    });
    ended.expect("the test ends");
}

#[test]
fn topics_are_put_listed_and_deleted() {
    on_shard(|world| async move {
        let before = world.topics().await;
        assert_eq!(before.topics["TBW102"].perm, 7);
        assert_eq!(before.topics["SCHEDULE_TOPIC_XXXX"].read_queues, 18);
        let answer = world.put_topic(
            "orders",
            ["4", "2"],
            &[("attributes", "+message.type=FIFO")],
        );
        assert_eq!(answer.await.code, response_code::SUCCESS);
        let after = world.topics().await;
        assert_ne!(after.data_version, before.data_version);
        let orders = &after.topics["orders"];
        assert_eq!((orders.read_queues, orders.write_queues), (4, 2));
        assert_eq!(orders.attributes["message.type"], "FIFO");
        let fields = [("topic", "orders")];
        let answer = world
            .ask(request_code::GET_TOPIC_CONFIG, &fields, b"")
            .await;
        let one: TopicConfig = body::decode(&answer.body).expect("readable");
        assert_eq!(one, *orders);
        for _ in 0..2 {
            let answer = world.ask(request_code::DELETE_TOPIC_IN_BROKER, &fields, b"");
            assert_eq!(
                answer.await.code,
                response_code::SUCCESS,
                "also if it is gone"
            );
        }
        let answer = world
            .ask(request_code::GET_TOPIC_CONFIG, &fields, b"")
            .await;
        assert_eq!(answer.code, response_code::TOPIC_NOT_EXIST);
    });
}

#[test]
fn several_topics_are_put_at_once() {
    on_shard(|world| async move {
        let list = br#"{"topicConfigList":[
            {"topicName":"a","readQueueNums":2,"writeQueueNums":2,"perm":4,"attributes":{"+message.type":"NORMAL"}},
            {"topicName":"not good","readQueueNums":1,"writeQueueNums":1,"perm":6},
            {"topicName":"c"}]}"#;
        let code = request_code::UPDATE_AND_CREATE_TOPIC_LIST;
        let answer = world.ask(code, &[], list).await;
        assert_eq!(answer.code, response_code::INVALID_PARAMETER);
        let topics = world.topics().await.topics;
        assert_eq!((topics["a"].perm, topics["a"].write_queues), (4, 2));
        assert_eq!(topics["a"].attributes["message.type"], "NORMAL");
        assert!(!topics.contains_key("c"), "it stops where it cannot go on");
    });
}

#[test]
fn what_no_topic_can_be_is_said() {
    on_shard(|world| async move {
        let put = async |name, queues| world.put_topic(name, queues, &[]).await.code;
        for system in [
            "TBW102",
            "SCHEDULE_TOPIC_XXXX",
            "rmq_sys_x",
            "s00-a",
            "test_REPLY_TOPIC",
        ] {
            assert_eq!(
                put(system, ["1", "1"]).await,
                response_code::INVALID_PARAMETER,
                "{system}"
            );
        }
        for (name, queues) in [
            ("not good", ["1", "1"]),
            ("none", ["0", "0"]),
            ("none", ["-1", "0"]),
        ] {
            assert_eq!(
                put(name, queues).await,
                response_code::INVALID_PARAMETER,
                "{name} {queues:?}"
            );
        }
        let unknown = world.put_topic("t", ["1", "1"], &[("attributes", "+queue.type=BatchCQ")]);
        assert_eq!(unknown.await.code, response_code::INVALID_PARAMETER);
        let fields = [("topic", "SCHEDULE_TOPIC_XXXX")];
        let answer = world
            .ask(request_code::DELETE_TOPIC_IN_BROKER, &fields, b"")
            .await;
        assert_eq!(answer.code, response_code::INVALID_PARAMETER);
    });
}

#[test]
fn groups_are_put_forbidden_and_deleted() {
    on_shard(|world| async move {
        let config = br#"{"groupName":"g","retryMaxTimes":3,"consumeBroadcastEnable":false}"#;
        let code = request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
        assert_eq!(
            world.ask(code, &[], config).await.code,
            response_code::SUCCESS
        );
        let fields = [("group", "g"), ("topic", "orders"), ("readable", "false")];
        let code = request_code::UPDATE_AND_GET_GROUP_FORBIDDEN;
        let answer = world.ask(code, &fields, b"").await;
        assert_eq!(
            answer.body,
            br#"{"group":"g","readable":false,"topic":"orders"}"#
        );
        // Put again, it stays forbidden.
        let list =
            br#"{"groupConfigList":[{"groupName":"g","retryMaxTimes":4},{"groupName":"h"}]}"#;
        let code = request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST;
        assert_eq!(
            world.ask(code, &[], list).await.code,
            response_code::SUCCESS
        );
        let table = world.groups().await;
        assert_eq!(table.groups["g"].retry_max_times, 4);
        assert_eq!(
            table.groups["h"],
            GroupConfig {
                name: "h".to_owned(),
                ..GroupConfig::default()
            }
        );
        assert_eq!(table.forbidden_table["g"]["orders"], 1);
        let group = [("group", "g")];
        let code = request_code::GET_SUBSCRIPTIONGROUP_CONFIG;
        let answer = world.ask(code, &group, b"").await;
        let one: GroupConfig = body::decode(&answer.body).expect("readable");
        assert_eq!(one, table.groups["g"]);
        let fields = [("groupName", "g"), ("cleanOffset", "true")];
        let delete = world.ask(request_code::DELETE_SUBSCRIPTIONGROUP, &fields, b"");
        assert_eq!(delete.await.code, response_code::SUCCESS);
        let answer = world.ask(code, &group, b"").await;
        assert_eq!(answer.code, response_code::SUBSCRIPTION_GROUP_NOT_EXIST);
        assert_ne!(world.groups().await.data_version, table.data_version);
    });
}

#[test]
fn bodies_that_are_none_are_said() {
    on_shard(|world| async move {
        for code in [
            request_code::UPDATE_AND_CREATE_TOPIC_LIST,
            request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
            request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST,
        ] {
            let answer = world.ask(code, &[], b"{").await;
            assert_eq!(answer.code, response_code::INVALID_PARAMETER, "{code}");
        }
        let own = br#"{"groupName":"CID_RMQ_SYS_SCHEDULE"}"#;
        let code = request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
        assert_eq!(
            world.ask(code, &[], own).await.code,
            response_code::INVALID_PARAMETER
        );
    });
}

#[test]
fn a_message_is_sent_back() {
    on_shard(|world| async move {
        world.put_topic("orders", ["1", "1"], &[]).await;
        let record = Record {
            born_time_ms: 7,
            keys: &[],
            tag: "",
            properties: &[],
            envelope: None,
            body: b"body",
        };
        let stored = delay::store(&world.shard, "orders", 0, &record).expect("stored");
        world
            .shard
            .store()
            .durable(stored.end)
            .await
            .expect("durable");
        let offset = stored.position.0.to_string();
        let ask = async |offset: &str, level: &str| {
            let fields = [
                ("offset", offset),
                ("group", "g"),
                ("delayLevel", level),
                ("originTopic", "orders"),
                ("unitMode", "false"),
                ("maxReconsumeTimes", "16"),
            ];
            world
                .ask(request_code::CONSUMER_SEND_MSG_BACK, &fields, b"")
                .await
        };
        assert_eq!(ask(&offset, "0").await.code, response_code::SUCCESS);
        assert_eq!(world.shard.with_state(delay::waiting), 1);
        assert_eq!(ask(&offset, "-1").await.code, response_code::SUCCESS);
        let topics = world.topics().await.topics;
        assert!(topics.contains_key("%RETRY%g") && topics.contains_key("%DLQ%g"));
        for nowhere in ["99999999", "-5"] {
            let answer = ask(nowhere, "0").await;
            assert_eq!(answer.code, response_code::SYSTEM_ERROR);
            let remark = answer.remark.unwrap_or_default();
            assert!(
                remark.starts_with("look message by offset failed"),
                "{remark}"
            );
        }
    });
}
