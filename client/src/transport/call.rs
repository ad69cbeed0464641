//! Request kinds as types: what goes out, what comes back.

use ringmq_wire::{
    codes::Kind,
    native::{self, FrameError, schema},
};

/// A request that has exactly one kind of answer.
pub(crate) trait Call {
    /// Its number on the wire.
    const KIND: Kind;
    /// The answer's header.
    type Response: Send + 'static;

    /// The frame up to its payload.
    fn frame(&self, correlation_id: u64, payload_bytes: usize) -> Vec<u8>;
    /// Reads the answer's header.
    fn response(header: &[u8]) -> Result<Self::Response, FrameError>;
}

macro_rules! calls {
    ($($kind:ident: $request:ident => $response:ident / $table:ident,)*) => {$(
        impl Call for schema::$request {
            const KIND: Kind = Kind::$kind;
            type Response = schema::$response;

            fn frame(&self, correlation_id: u64, payload_bytes: usize) -> Vec<u8> {
                native::encode(Self::KIND, 0, correlation_id, payload_bytes, |b| self.pack(b))
            }

            fn response(header: &[u8]) -> Result<Self::Response, FrameError> {
                Ok(native::header::<schema::$table<'_>>(header)?.unpack())
            }
        }
    )*};
}

calls! {
    Hello: HelloRequestT => HelloResponseT / HelloResponse,
    Ping: PingRequestT => PingResponseT / PingResponse,
    Produce: ProduceRequestT => ProduceResponseT / ProduceResponse,
    Fetch: FetchRequestT => FetchResponseT / FetchResponse,
    MessageQuery: MessageQueryRequestT => MessageQueryResponseT / MessageQueryResponse,
    TopicCreate: TopicCreateRequestT => TopicCreateResponseT / TopicCreateResponse,
    TopicUpdate: TopicUpdateRequestT => TopicUpdateResponseT / TopicUpdateResponse,
    TopicDelete: TopicDeleteRequestT => TopicDeleteResponseT / TopicDeleteResponse,
    TopicDescribe: TopicDescribeRequestT => TopicDescribeResponseT / TopicDescribeResponse,
    OffsetQuery: OffsetQueryRequestT => OffsetQueryResponseT / OffsetQueryResponse,
    OffsetCommit: OffsetCommitRequestT => OffsetCommitResponseT / OffsetCommitResponse,
    OffsetFetch: OffsetFetchRequestT => OffsetFetchResponseT / OffsetFetchResponse,
    OffsetReset: OffsetResetRequestT => OffsetResetResponseT / OffsetResetResponse,
    GroupJoin: GroupJoinRequestT => GroupJoinResponseT / GroupJoinResponse,
    GroupHeartbeat: GroupHeartbeatRequestT => GroupHeartbeatResponseT / GroupHeartbeatResponse,
    GroupLeave: GroupLeaveRequestT => GroupLeaveResponseT / GroupLeaveResponse,
    LeaseAcquire: LeaseAcquireRequestT => LeaseAcquireResponseT / LeaseAcquireResponse,
    LeaseRelease: LeaseReleaseRequestT => LeaseReleaseResponseT / LeaseReleaseResponse,
    GroupList: GroupListRequestT => GroupListResponseT / GroupListResponse,
    GroupDescribe: GroupDescribeRequestT => GroupDescribeResponseT / GroupDescribeResponse,
    GroupDelete: GroupDeleteRequestT => GroupDeleteResponseT / GroupDeleteResponse,
    RouteQuery: RouteQueryRequestT => RouteQueryResponseT / RouteQueryResponse,
    RouteWatch: RouteWatchRequestT => RouteWatchResponseT / RouteWatchResponse,
    ClusterInfo: ClusterInfoRequestT => ClusterInfoResponseT / ClusterInfoResponse,
    ClusterTopics: ClusterTopicsRequestT => ClusterTopicsResponseT / ClusterTopicsResponse,
    ShardStatus: ShardStatusRequestT => ShardStatusResponseT / ShardStatusResponse,
}
