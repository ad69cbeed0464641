//! How a request went. What stands in `remark` is for people, the code is for clients.

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal;)*) => {
        $($(#[doc = $doc])* pub const $name: i32 = $code;)*

        /// The name of a code, for logs, metrics and errors.
        pub fn name(code: i32) -> &'static str {
            match code {
                $($name => stringify!($name),)*
                _ => "UNKNOWN",
            }
        }
    };
}

codes! {
    /// Done.
    SUCCESS = 0;
    /// Anything that has no code of its own.
    SYSTEM_ERROR = 1;
    /// Too much at once; try again later.
    SYSTEM_BUSY = 2;
    /// Nobody here knows that request.
    REQUEST_CODE_NOT_SUPPORTED = 3;
    /// A transaction could not be ended.
    TRANSACTION_FAILED = 4;
    /// Stored, but not known to be on disk. We never answer it: producers count it as sent.
    FLUSH_DISK_TIMEOUT = 10;
    /// Stored, but on no replica. We never answer it: producers count it as sent.
    SLAVE_NOT_AVAILABLE = 11;
    /// Stored, but not known to be on a replica. We never answer it: producers count it as sent.
    FLUSH_SLAVE_TIMEOUT = 12;
    /// A message over a limit, or with settings that contradict each other.
    MESSAGE_ILLEGAL = 13;
    /// This broker takes no messages now; another one may.
    SERVICE_NOT_AVAILABLE = 14;
    /// The peer is too old.
    VERSION_NOT_SUPPORTED = 15;
    /// Topic or group may not be used like that.
    NO_PERMISSION = 16;
    /// There is no such topic here.
    TOPIC_NOT_EXIST = 17;
    /// There is such a topic already.
    TOPIC_EXIST_ALREADY = 18;
    /// Nothing behind that offset yet.
    PULL_NOT_FOUND = 19;
    /// Nothing matched; go on from the given offset.
    PULL_RETRY_IMMEDIATELY = 20;
    /// That offset is not there; go on from the given one.
    PULL_OFFSET_MOVED = 21;
    /// Nothing found.
    QUERY_NOT_FOUND = 22;
    /// The filter cannot be read.
    SUBSCRIPTION_PARSE_FAILED = 23;
    /// The group does not subscribe to that topic.
    SUBSCRIPTION_NOT_EXIST = 24;
    /// The broker knows an older subscription only.
    SUBSCRIPTION_NOT_LATEST = 25;
    /// There is no such group.
    SUBSCRIPTION_GROUP_NOT_EXIST = 26;
    /// The broker has no compiled filter.
    FILTER_DATA_NOT_EXIST = 27;
    /// The broker has an older compiled filter.
    FILTER_DATA_NOT_LATEST = 28;
    /// A field has a value that cannot be.
    INVALID_PARAMETER = 29;
    /// The transaction belongs to another group.
    TRANSACTION_STATE_GROUP_WRONG = 203;
    /// The message names no buyer.
    NO_BUYER_ID = 204;
    /// Not a matter of this unit.
    NOT_IN_CURRENT_UNIT = 205;
    /// The group has no connected member.
    CONSUMER_NOT_ONLINE = 206;
    /// A member did not answer in time.
    CONSUME_MSG_TIMEOUT = 207;
    /// There is no such message.
    NO_MESSAGE = 208;
    /// Too many requests wait already.
    POLLING_FULL = 209;
    /// Nothing came while the request waited.
    POLLING_TIMEOUT = 210;
    /// There is no such broker.
    BROKER_NOT_EXIST = 211;
    /// The index is still being built.
    BROKER_DISPATCH_NOT_COMPLETE = 212;
    /// Not for groups that read everything each.
    BROADCAST_CONSUMPTION = 213;
    /// The reader is too fast.
    FLOW_CONTROL = 215;
    /// The queue is served by another broker.
    NOT_LEADER_FOR_QUEUE = 501;
    /// Not possible in this state.
    ILLEGAL_OPERATION = 604;
    /// The broker is stopping; use another one.
    GO_AWAY = 1500;
    /// There is no such user.
    USER_NOT_EXIST = 3001;
    /// There are no such access rules.
    POLICY_NOT_EXIST = 3002;
}
