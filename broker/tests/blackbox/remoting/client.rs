//! One connection of a RocketMQ client: sends requests, tells answers from the broker's own requests.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use ringmq_wire::remoting::body::routes::TopicRoute;
use ringmq_wire::remoting::body::{self, topics::perm};
use ringmq_wire::remoting::{
    Command, FramePrefix, Header, Serialization, request_code as code, response_code,
};

use crate::harness::PATIENCE;

pub type Frame = (Command, Vec<u8>);

pub struct Client {
    stream: TcpStream,
    incoming: Receiver<Frame>,
    next_opaque: i32,
    /// Answers that were read while another was waited for.
    answers: BTreeMap<i32, Frame>,
    /// Requests of the broker that nobody looked at yet.
    pub requests: Vec<Frame>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the shard listens");
        let mut reading = stream.try_clone().expect("a second handle");
        let (sender, incoming) = channel();
        std::thread::spawn(move || {
            while let Some(frame) = read_frame(&mut reading) {
                if sender.send(frame).is_err() {
                    return;
                }
            }
        });
        Self {
            stream,
            incoming,
            next_opaque: 1,
            answers: BTreeMap::new(),
            requests: Vec::new(),
        }
    }

    /// Sends a request and returns its number.
    pub fn send(&mut self, command: Command, body: &[u8]) -> i32 {
        let opaque = self.next_opaque;
        self.next_opaque += 1;
        let command = Command { opaque, ..command };
        self.write(&command, body);
        opaque
    }

    /// Answers a request of the broker.
    pub fn answer(&mut self, command: Command, body: &[u8]) {
        self.write(&command, body);
    }

    fn write(&mut self, command: &Command, body: &[u8]) {
        let frame = command.encode(Serialization::Json, body);
        self.stream.write_all(&frame).expect("sent");
    }

    /// Sends a request and waits for its answer.
    pub fn ask(&mut self, command: Command, body: &[u8]) -> Frame {
        let opaque = self.send(command, body);
        self.answer_to(opaque)
    }

    /// Waits for the answer to that request.
    pub fn answer_to(&mut self, opaque: i32) -> Frame {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = self.answers.remove(&opaque) {
                return answer;
            }
            assert!(self.receive(deadline), "no answer to {opaque}");
        }
    }

    /// Takes the broker's next request with that code.
    pub fn request(&mut self, code: i32) -> Frame {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self
                .requests
                .iter()
                .position(|(asked, _)| asked.code == code);
            if let Some(found) = found {
                return self.requests.remove(found);
            }
            assert!(self.receive(deadline), "never asked {code}");
        }
    }

    /// Receives what comes within that time.
    pub fn listen(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while self.receive(deadline) {}
    }

    fn receive(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(frame) = self.incoming.recv_timeout(left) else {
            return false;
        };
        if frame.0.is_response() {
            self.answers.insert(frame.0.opaque, frame);
        } else {
            self.requests.push(frame);
        }
        true
    }
}

/// A message for a queue of a topic, made after RocketMQ's template if it is not there.
pub fn send(topic: &str, queue: i32) -> Command {
    Command::request(code::SEND_MESSAGE_V2, 0)
        .field("a", "producers")
        .field("b", topic)
        .field("c", "TBW102")
        .field("d", 4)
        .field("e", queue)
        .field("f", 0)
        .field("g", 1234)
        .field("h", 0)
        .field("i", "")
        .field("j", 0)
        .field("m", false)
}

/// What a group reads of queue 0 from there on, without waiting.
pub fn pull(topic: &str, group: &str, offset: u64) -> Command {
    Command::request(code::PULL_MESSAGE, 0)
        .field("consumerGroup", group)
        .field("topic", topic)
        .field("queueId", 0)
        .field("queueOffset", offset)
        .field("maxMsgNums", 32)
        .field("sysFlag", 4)
        .field("commitOffset", 0)
        .field("suspendTimeoutMillis", 0)
        .field("subscription", "*")
        .field("subVersion", 1)
}

/// The route as a client of RocketMQ 5 asks a name server for it; `None`: nobody serves the topic.
pub fn route(names: &mut Client, topic: &str) -> Option<TopicRoute> {
    let command = Command::request(code::GET_ROUTEINFO_BY_TOPIC, 0).field("topic", topic);
    let (answer, bytes) = names.ask(command, &[]);
    (answer.code == response_code::SUCCESS).then(|| body::decode(&bytes).expect("a route"))
}

/// Whether producers find queues to write.
pub fn is_written(route: &TopicRoute) -> bool {
    let mut queues = route.queues.iter();
    queues.any(|queues| queues.perm & perm::WRITE != 0)
}

impl Drop for Client {
    fn drop(&mut self) {
        // Wakes the reading thread; the broker may have been faster.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn read_frame(stream: &mut TcpStream) -> Option<Frame> {
    let mut prefix = [0; 8];
    stream.read_exact(&mut prefix).ok()?;
    let prefix = FramePrefix::parse(&prefix)
        .expect("a frame")
        .expect("eight bytes");
    let mut header = vec![0; prefix.header_bytes()];
    stream.read_exact(&mut header).ok()?;
    let mut body = vec![0; prefix.body_bytes()];
    stream.read_exact(&mut body).ok()?;
    let header = Header::parse(prefix.serialization(), &header).expect("a header");
    Some((Command::from_header(&header), body))
}
