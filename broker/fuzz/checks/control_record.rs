//! Control records: what decodes has one encoding.

use ringmq_broker::state::ControlRecord;

pub fn check(bytes: &[u8]) {
    if let Ok(record) = ControlRecord::decode(bytes) {
        assert_eq!(record.encode(), bytes, "{record:?}");
    }
}
