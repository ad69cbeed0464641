//! JSON bodies, in Java's dialect too, and registrations: what is read and written is read again the same.

use ringmq_wire::remoting::body::groups::GroupConfig;
use ringmq_wire::remoting::body::heartbeat::Heartbeat;
use ringmq_wire::remoting::body::locks::LockRequest;
use ringmq_wire::remoting::body::registration::RegisterBody;
use ringmq_wire::remoting::body::routes::TopicRoute;
use ringmq_wire::remoting::body::stats::{ClientStatus, ResetOffsets};
use ringmq_wire::remoting::body::{decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// What is read and written is read again the same.
fn settles<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(value) = decode::<T>(bytes) {
        assert_eq!(
            decode::<T>(&encode(&value)).expect("what was written"),
            value
        );
    }
}

pub fn check(bytes: &[u8]) {
    settles::<Heartbeat>(bytes);
    settles::<LockRequest>(bytes);
    settles::<GroupConfig>(bytes);
    settles::<TopicRoute>(bytes);
    settles::<RegisterBody>(bytes);
    let _ = decode::<ClientStatus>(bytes);
    if let Ok(value) = decode::<ResetOffsets>(bytes) {
        assert_eq!(
            decode::<ResetOffsets>(&value.encode()).expect("what was written"),
            value
        );
    }
    let _ = RegisterBody::decode(bytes, true, 0, 479);
    let _ = RegisterBody::decode(bytes, true, 0, 409);
}
