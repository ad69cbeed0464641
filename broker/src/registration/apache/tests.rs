//! Against a scripted name server that behaves as Apache's does.

use super::super::Registration;
use super::super::tests::{node, topic, until};
use ringmq_wire::native::schema::TopicSettingsT;
use ringmq_wire::remoting::body::registration::{RegisterBody, checksum};
use ringmq_wire::remoting::body::topics::{DataVersion, TopicConfig};
use ringmq_wire::remoting::body::{decode, encode};
use ringmq_wire::remoting::{Command, FramePrefix, Header, Serialization, request_code as code};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What it was asked, and the versions it knows by broker name.
#[derive(Default)]
struct Heard {
    requests: Vec<(Command, Vec<u8>)>,
    versions: BTreeMap<String, DataVersion>,
}

impl Heard {
    fn count(&self, code: i32) -> usize {
        let requests = self.requests.iter();
        requests.filter(|(request, _)| request.code == code).count()
    }
    /// The last registration of a broker.
    fn registered(&self, broker: &str) -> Option<RegisterBody> {
        let mut requests = self.requests.iter().rev();
        let (request, body) = requests.find(|(request, _)| {
            request.code == code::REGISTER_BROKER && request.get("brokerName") == Some(broker)
        })?;
        let crc = request.required("bodyCrc32").unwrap();
        Some(RegisterBody::decode(body, false, crc, request.version).unwrap())
    }
}

type Shared = Arc<Mutex<Heard>>;

/// Listens on a free port, or on the given one again.
async fn apache(listen: &str, heard: Shared) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind(listen).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(serve(stream, heard.clone()));
        }
    });
    (address, tasks)
}

/// Closes the connection on what is no frame, answers the rest.
async fn serve(mut stream: TcpStream, heard: Shared) {
    loop {
        let mut head = [0; 8];
        if stream.read_exact(&mut head).await.is_err() {
            return;
        }
        let Ok(Some(prefix)) = FramePrefix::parse(&head) else {
            return;
        };
        let mut rest = vec![0; prefix.frame_bytes() - 8];
        stream.read_exact(&mut rest).await.unwrap();
        let body = rest.split_off(prefix.header_bytes());
        let request = Header::parse(prefix.serialization(), &rest).unwrap();
        let request = Command::from_header(&request);
        let (answer, answer_body) = answer(&heard, &request, &body);
        heard.lock().unwrap().requests.push((request, body));
        let frame = answer.encode(Serialization::Json, &answer_body);
        stream.write_all(&frame).await.unwrap();
    }
}

fn answer(heard: &Shared, request: &Command, body: &[u8]) -> (Command, Vec<u8>) {
    let ok = Command::response(0, request.opaque);
    let versions = &mut heard.lock().unwrap().versions;
    let name = request.get("brokerName").unwrap_or_default().to_owned();
    match request.code {
        code::REGISTER_BROKER => {
            let body: RegisterBody = decode(body).unwrap();
            versions.insert(name, body.topics.data_version);
            (ok, Vec::new())
        }
        code::QUERY_DATA_VERSION => {
            let known = versions.get(&name);
            let changed = known != Some(&decode(body).unwrap());
            (
                ok.field("changed", changed),
                known.map_or(Vec::new(), encode),
            )
        }
        code::UNREGISTER_BROKER | code::GET_NAMESRV_CONFIG => (ok, Vec::new()),
        unknown => panic!("asked for {unknown}"),
    }
}

#[tokio::test]
async fn shards_register_at_an_apache_name_server_as_brokers() {
    let heard = Shared::default();
    let (address, server) = apache("127.0.0.1:0", heard.clone()).await;
    let node = node("a", 1, 2);
    let mut settings = TopicSettingsT::default();
    settings.inherit = true;
    settings.write_queues = 1;
    let mut first = topic("t");
    first.queues = 3;
    first.settings = Some(Box::new(settings));
    node.share_put(0, first);
    let registration = Registration::start(&node, &[address.to_string()]);
    until(|| registration.reach() == (1, 1)).await;
    let body = heard.lock().unwrap().registered("s00-a").unwrap();
    let config = &body.topics.topics["t"];
    assert_eq!(
        (config.perm, config.read_queues, config.write_queues),
        (7, 3, 1)
    );
    assert!(
        heard
            .lock()
            .unwrap()
            .registered("s01-a")
            .unwrap()
            .topics
            .topics
            .is_empty()
    );

    // A change is there as soon as it is confirmed; what is gone is named once more, without permission.
    node.share_put(0, topic("u"));
    node.share_removed(0, "t");
    let version = node.shares(0, |table| table.version());
    registration.watcher().confirmed(0, version).await;
    assert_eq!(registration.links[0].borrow().confirmed[0], version);
    let body = heard.lock().unwrap().registered("s00-a").unwrap();
    assert_eq!(body.topics.data_version.counter as u64, version);
    let config = &body.topics.topics;
    assert_eq!((config["u"].perm, config["t"].perm), (6, 0));

    // A shard that takes no messages says so.
    node.share_put(1, topic("w"));
    node.set_writable(false);
    let perm = |body: RegisterBody| body.topics.topics.get("w").map(|topic| topic.perm);
    until(|| heard.lock().unwrap().registered("s01-a").and_then(perm) == Some(4)).await;

    // It starts anew and knows nothing: it is told everything again.
    drop(server);
    until(|| registration.reach() == (1, 0)).await;
    let again = Shared::default();
    let (_, server) = apache(&address.to_string(), again.clone()).await;
    until(|| registration.reach() == (1, 1)).await;
    let names = again.lock().unwrap().versions.len();
    assert_eq!(names, 2);
    registration.leave().await;
    assert_eq!(again.lock().unwrap().count(code::UNREGISTER_BROKER), 2);
    drop(server);
}

#[test]
fn a_table_that_fills_more_than_a_frame_is_compressed() {
    let mut body = RegisterBody::default();
    for number in 0..100 {
        let name = format!("topic-{number}");
        let topic = TopicConfig {
            name: name.clone(),
            ..TopicConfig::default()
        };
        body.topics.topics.insert(name, topic);
    }
    let plain_bytes = encode(&body).len();
    let (_, is_folded) = super::in_a_frame(&body, plain_bytes).expect("it fits");
    assert!(!is_folded);
    let (bytes, is_folded) = super::in_a_frame(&body, plain_bytes - 1).expect("it fits so");
    assert!(is_folded);
    let read = RegisterBody::decode(&bytes, true, checksum(&bytes), 479);
    assert_eq!(read.expect("ours"), body);
    assert!(super::in_a_frame(&body, 100).is_err(), "not even so");
}
