//! The table of request kinds.
//!
//! Requests that carry or return bulk bytes, or belong to the connection itself (Hello, Produce, Fetch,
//! MessageQuery), are not here: the session handles them.

use super::{Refusal, SessionInfo};
use crate::shard::Shard;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::native::{self, flags, schema};
use std::pin::Pin;

/// A request at work; gives a whole answer frame.
pub type Answering = Pin<Box<dyn Future<Output = Result<Vec<u8>, Refusal>>>>;

/// `Kind => request table, handler;` where the handler is
/// `async fn(&Shard<D, R>, &SessionInfo, XRequestT) -> Result<XResponseT, Refusal>`.
macro_rules! table {
    ($shard:ident, $session:ident, $kind:ident, $correlation_id:ident, $header:ident;
     $($variant:ident => $request:ident, $handle:path;)*) => {
        match $kind {
            $(Kind::$variant => {
                let request = native::header::<schema::$request>($header)
                    .map_err(Refusal::from)?
                    .unpack();
                let (shard, session) = ($shard.clone(), $session.clone());
                Ok(Box::pin(async move {
                    let response = $handle(&shard, &session, request).await?;
                    let pack = |builder: &mut _| response.pack(builder);
                    Ok(native::encode($kind, flags::RESPONSE, $correlation_id, 0, pack))
                }))
            })*
            _ => Err(Refusal::new(
                ErrorCode::UnsupportedKind,
                format!("a shard does not answer {} requests", $kind.name()),
            )),
        }
    };
}

/// Reads the request's header and starts to answer it. Nothing is done before the first poll.
pub fn dispatch<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    session: &std::rc::Rc<SessionInfo>,
    kind: Kind,
    correlation_id: u64,
    header: &[u8],
) -> Result<Answering, Refusal> {
    table! { shard, session, kind, correlation_id, header;
        Ping => PingRequest, super::ping::handle;
        TopicCreate => TopicCreateRequest, super::topic_create::handle;
        TopicUpdate => TopicUpdateRequest, super::topic_update::handle;
        TopicDelete => TopicDeleteRequest, super::topic_delete::handle;
        TopicList => TopicListRequest, super::topic_list::handle;
        TopicDescribe => TopicDescribeRequest, super::topic_describe::handle;
        OffsetQuery => OffsetQueryRequest, super::offset_query::handle;
        OffsetCommit => OffsetCommitRequest, super::offset_commit::handle;
        OffsetFetch => OffsetFetchRequest, super::offset_fetch::handle;
        OffsetReset => OffsetResetRequest, super::offset_reset::handle;
        LeaseAcquire => LeaseAcquireRequest, super::lease_acquire::handle;
        LeaseRelease => LeaseReleaseRequest, super::lease_release::handle;
        GroupJoin => GroupJoinRequest, super::group_join::handle;
        GroupHeartbeat => GroupHeartbeatRequest, super::group_heartbeat::handle;
        GroupLeave => GroupLeaveRequest, super::group_leave::handle;
        GroupList => GroupListRequest, super::group_list::handle;
        GroupDescribe => GroupDescribeRequest, super::group_describe::handle;
        GroupDelete => GroupDeleteRequest, super::group_delete::handle;
        ShardStatus => ShardStatusRequest, super::shard_status::handle;
    }
}
