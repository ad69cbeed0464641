//! Hello: agrees on version and features, and tells the client its limits.

use super::Refusal;
use crate::shard::ShardSettings;
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::limits::{BATCH_BYTES_MAX, CLIENT_ID_BYTES_MAX, FRAME_BYTES_MAX};
use ringmq_wire::native::{
    VERSION,
    schema::{HelloRequest, HelloResponseT},
};

/// Features of this broker; none are defined in version 1.
const FEATURES: u64 = 0;

/// Pure: what to answer.
pub fn negotiate(
    settings: &ShardSettings,
    request: &HelloRequest<'_>,
) -> Result<HelloResponseT, Refusal> {
    let (min, max) = (request.version_min(), request.version_max());
    if !(min..=max).contains(&VERSION) {
        return Err(Refusal::new(
            ErrorCode::UnsupportedVersion,
            format!("this broker speaks version {VERSION}, the client {min} to {max}"),
        ));
    }
    let client_id = request.client_id();
    let printable = !client_id.chars().any(char::is_control);
    if client_id.is_empty() || client_id.len() > CLIENT_ID_BYTES_MAX || !printable {
        return Err(Refusal::new(
            ErrorCode::InvalidName,
            format!("a client id has 1 to {CLIENT_ID_BYTES_MAX} printable bytes"),
        ));
    }
    let limits = &settings.limits;
    Ok(HelloResponseT {
        version: VERSION,
        features: request.features() & FEATURES,
        server: Some(settings.name.clone()),
        cluster: Some(settings.cluster.clone()),
        max_frame_bytes: FRAME_BYTES_MAX as u32,
        max_batch_bytes: BATCH_BYTES_MAX as u32,
        max_message_bytes: u32::try_from(limits.message_bytes_max).unwrap_or(u32::MAX),
        in_flight_bytes_max: limits.connection_bytes_max as u64,
        connection_idle_ms: u32::try_from(limits.idle_ms).unwrap_or(u32::MAX),
    })
}
