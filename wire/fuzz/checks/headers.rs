//! Header tables of every request and answer: what the verifier lets pass can be unpacked.

use ringmq_wire::native::{header, schema};

macro_rules! unpack {
    ($bytes:expr, $($table:ident)*) => {
        $(if let Ok(table) = header::<schema::$table>($bytes) { let _ = table.unpack(); })*
    };
}

pub fn check(bytes: &[u8]) {
    unpack!(
        bytes,
        ClusterInfoRequest
        ClusterInfoResponse
        ClusterTopicsRequest
        ClusterTopicsResponse
        ErrorResponse
        FetchRequest
        FetchResponse
        GroupDeleteRequest
        GroupDeleteResponse
        GroupDescribeRequest
        GroupDescribeResponse
        GroupHeartbeatRequest
        GroupHeartbeatResponse
        GroupJoinRequest
        GroupJoinResponse
        GroupLeaveRequest
        GroupLeaveResponse
        GroupListRequest
        GroupListResponse
        HelloRequest
        HelloResponse
        LeaseAcquireRequest
        LeaseAcquireResponse
        LeaseReleaseRequest
        LeaseReleaseResponse
        MessageQueryRequest
        MessageQueryResponse
        OffsetCommitRequest
        OffsetCommitResponse
        OffsetFetchRequest
        OffsetFetchResponse
        OffsetQueryRequest
        OffsetQueryResponse
        OffsetResetRequest
        OffsetResetResponse
        PingRequest
        PingResponse
        ProduceRequest
        ProduceResponse
        RouteQueryRequest
        RouteQueryResponse
        RouteWatchRequest
        RouteWatchResponse
        ShardHeartbeatRequest
        ShardHeartbeatResponse
        ShardRegisterRequest
        ShardRegisterResponse
        ShardStatusRequest
        ShardStatusResponse
        ShardUnregisterRequest
        ShardUnregisterResponse
        TopicCreateRequest
        TopicCreateResponse
        TopicDeleteRequest
        TopicDeleteResponse
        TopicDescribeRequest
        TopicDescribeResponse
        TopicListRequest
        TopicListResponse
        TopicUpdateRequest
        TopicUpdateResponse
    );
}
