//! What a request asks for. A closed list of names; any other number is answered with
//! [`super::response_code::REQUEST_CODE_NOT_SUPPORTED`].

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal;)*) => {
        $($(#[doc = $doc])* pub const $name: i32 = $code;)*

        /// Every known code, in rising order.
        pub const ALL: &[i32] = &[$($name),*];

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
    /// Store one message; long field names.
    SEND_MESSAGE = 10;
    /// Read messages of a queue; may be held until there are some.
    PULL_MESSAGE = 11;
    /// Find messages by key.
    QUERY_MESSAGE = 12;
    /// Where a group is in a queue.
    QUERY_CONSUMER_OFFSET = 14;
    /// Commit where a group is in a queue.
    UPDATE_CONSUMER_OFFSET = 15;
    /// Create a topic or change its settings.
    UPDATE_AND_CREATE_TOPIC = 17;
    /// The same for several topics.
    UPDATE_AND_CREATE_TOPIC_LIST = 18;
    /// Settings of all topics.
    GET_ALL_TOPIC_CONFIG = 21;
    /// Change settings of the broker.
    UPDATE_BROKER_CONFIG = 25;
    /// Settings of the broker.
    GET_BROKER_CONFIG = 26;
    /// Figures of the broker.
    GET_BROKER_RUNTIME_INFO = 28;
    /// First offset at or behind a time.
    SEARCH_OFFSET_BY_TIMESTAMP = 29;
    /// Offset behind the last message of a queue.
    GET_MAX_OFFSET = 30;
    /// Offset of the first message of a queue.
    GET_MIN_OFFSET = 31;
    /// When the first message of a queue was stored.
    GET_EARLIEST_MSG_STORETIME = 32;
    /// One message by its place in the log.
    VIEW_MESSAGE_BY_ID = 33;
    /// A client says who it is and what it subscribes to.
    HEART_BEAT = 34;
    /// A client leaves a group.
    UNREGISTER_CLIENT = 35;
    /// Deliver a message again later.
    CONSUMER_SEND_MSG_BACK = 36;
    /// Commit or roll back a half message.
    END_TRANSACTION = 37;
    /// Client ids of a group.
    GET_CONSUMER_LIST_BY_GROUP = 38;
    /// To a producer: what became of a half message?
    CHECK_TRANSACTION_STATE = 39;
    /// To a consumer: members of its group changed.
    NOTIFY_CONSUMER_IDS_CHANGED = 40;
    /// Lock queues for consumption in order.
    LOCK_BATCH_MQ = 41;
    /// Release such locks.
    UNLOCK_BATCH_MQ = 42;
    /// All offsets of all groups.
    GET_ALL_CONSUMER_OFFSET = 43;
    /// Progress of the delay levels.
    GET_ALL_DELAY_OFFSET = 45;
    /// Is this subscription acceptable?
    CHECK_CLIENT_CONFIG = 46;
    /// Progress of the timer.
    GET_TIMER_CHECK_POINT = 60;
    /// Figures of the timer.
    GET_TIMER_METRICS = 61;
    /// Name server: set a pair.
    PUT_KV_CONFIG = 100;
    /// Name server: read a pair.
    GET_KV_CONFIG = 101;
    /// Name server: remove a pair.
    DELETE_KV_CONFIG = 102;
    /// Name server: a broker and its topics.
    REGISTER_BROKER = 103;
    /// Name server: a broker leaves.
    UNREGISTER_BROKER = 104;
    /// Name server: brokers and queues of a topic.
    GET_ROUTEINFO_BY_TOPIC = 105;
    /// Name server: all brokers.
    GET_BROKER_CLUSTER_INFO = 106;
    /// Create a group or change its settings.
    UPDATE_AND_CREATE_SUBSCRIPTIONGROUP = 200;
    /// Settings of all groups.
    GET_ALL_SUBSCRIPTIONGROUP_CONFIG = 201;
    /// Offsets of a topic's queues.
    GET_TOPIC_STATS_INFO = 202;
    /// Connected members of a group.
    GET_CONSUMER_CONNECTION_LIST = 203;
    /// Connected producers of a group.
    GET_PRODUCER_CONNECTION_LIST = 204;
    /// Name server: send no more producers to a broker.
    WIPE_WRITE_PERM_OF_BROKER = 205;
    /// Name server: all topics.
    GET_ALL_TOPIC_LIST_FROM_NAMESERVER = 206;
    /// Remove a group's settings.
    DELETE_SUBSCRIPTIONGROUP = 207;
    /// How far a group is behind.
    GET_CONSUME_STATS = 208;
    /// Remove a topic.
    DELETE_TOPIC_IN_BROKER = 215;
    /// Name server: forget a topic.
    DELETE_TOPIC_IN_NAMESRV = 216;
    /// Name server: a topic with given routes.
    REGISTER_TOPIC_IN_NAMESRV = 217;
    /// Name server: all pairs of a namespace.
    GET_KVLIST_BY_NAMESPACE = 219;
    /// To a consumer: go on from these offsets.
    RESET_CONSUMER_CLIENT_OFFSET = 220;
    /// To a consumer: where are you?
    GET_CONSUMER_STATUS_FROM_CLIENT = 221;
    /// Set a group back or forth by time.
    INVOKE_BROKER_TO_RESET_OFFSET = 222;
    /// Ask the members of a group where they are.
    INVOKE_BROKER_TO_GET_CONSUMER_STATUS = 223;
    /// Name server: topics of a cluster.
    GET_TOPICS_BY_CLUSTER = 224;
    /// Create or change several groups.
    UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST = 225;
    /// Groups that read a topic.
    QUERY_TOPIC_CONSUME_BY_WHO = 300;
    /// Times of a group's progress in a topic.
    QUERY_CONSUME_TIME_SPAN = 303;
    /// Name server: topics named after clusters and brokers.
    GET_SYSTEM_TOPIC_LIST_FROM_NS = 304;
    /// Topics that the broker keeps for itself.
    GET_SYSTEM_TOPIC_LIST_FROM_BROKER = 305;
    /// Remove expired index files.
    CLEAN_EXPIRED_CONSUMEQUEUE = 306;
    /// Ask a member how it is.
    GET_CONSUMER_RUNNING_INFO = 307;
    /// Offsets of groups compared.
    QUERY_CORRECTION_OFFSET = 308;
    /// Let a member consume one message now.
    CONSUME_MESSAGE_DIRECTLY = 309;
    /// Store one message; field names of one letter.
    SEND_MESSAGE_V2 = 310;
    /// Name server: topics with the unit mark.
    GET_UNIT_TOPIC_LIST = 311;
    /// Name server: topics with the unit subscription mark.
    GET_HAS_UNIT_SUB_TOPIC_LIST = 312;
    /// Name server: topics with the second mark and without the first.
    GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST = 313;
    /// Copy a group's offsets to another.
    CLONE_GROUP_OFFSET = 314;
    /// One statistic of the broker.
    VIEW_BROKER_STATS_DATA = 315;
    /// Remove topics that nobody uses.
    CLEAN_UNUSED_TOPIC = 316;
    /// How far all groups are behind.
    GET_BROKER_CONSUME_STATS = 317;
    /// Name server: change settings.
    UPDATE_NAMESRV_CONFIG = 318;
    /// Name server: settings.
    GET_NAMESRV_CONFIG = 319;
    /// Store several messages.
    SEND_BATCH_MESSAGE = 320;
    /// Entries of a queue's index.
    QUERY_CONSUME_QUEUE = 321;
    /// Name server: have the topics of a broker changed?
    QUERY_DATA_VERSION = 322;
    /// Check a half message again.
    RESUME_CHECK_HALF_MESSAGE = 323;
    /// Answer a request message; long field names.
    SEND_REPLY_MESSAGE = 324;
    /// Answer a request message; field names of one letter.
    SEND_REPLY_MESSAGE_V2 = 325;
    /// To a producer: the answer to its request message.
    PUSH_REPLY_MESSAGE_TO_CLIENT = 326;
    /// Name server: send producers to a broker again.
    ADD_WRITE_PERM_OF_BROKER = 327;
    /// All connected producers.
    GET_ALL_PRODUCER_INFO = 328;
    /// Remove expired log files.
    DELETE_EXPIRED_COMMITLOG = 329;
    /// Topics that a group reads.
    QUERY_TOPICS_BY_CONSUMER = 343;
    /// A group's subscription to a topic.
    QUERY_SUBSCRIPTION_BY_CONSUMER = 345;
    /// Settings of a topic.
    GET_TOPIC_CONFIG = 351;
    /// Settings of a group.
    GET_SUBSCRIPTIONGROUP_CONFIG = 352;
    /// Whether a group may read a topic.
    UPDATE_AND_GET_GROUP_FORBIDDEN = 353;
    /// As `PULL_MESSAGE`, from a lite pull consumer.
    LITE_PULL_MESSAGE = 361;
    /// Take back a message that is still to be delivered.
    RECALL_MESSAGE = 370;
    /// Queues of one member, as the broker assigns them.
    QUERY_ASSIGNMENT = 400;
    /// How a group reads a topic.
    SET_MESSAGE_REQUEST_MODE = 401;
    /// How all groups read all topics.
    GET_ALL_MESSAGE_REQUEST_MODE = 402;
    /// A topic with queues mapped over brokers.
    UPDATE_AND_CREATE_STATIC_TOPIC = 513;
    /// Name server: all brokers of a name.
    GET_BROKER_MEMBER_GROUP = 901;
    /// Name server: a broker is alive.
    BROKER_HEARTBEAT = 904;
    /// Container: start a broker.
    ADD_BROKER = 905;
    /// Container: stop a broker.
    REMOVE_BROKER = 906;
    /// State of replication.
    GET_BROKER_HA_STATUS = 907;
    /// Progress of replication.
    RESET_MASTER_FLUSH_OFFSET = 908;
    /// Limits for reading old messages.
    UPDATE_COLD_DATA_FLOW_CTR_CONFIG = 2001;
    /// Remove such limits.
    REMOVE_COLD_DATA_FLOW_CTR_CONFIG = 2002;
    /// Such limits.
    GET_COLD_DATA_FLOW_CTR_INFO = 2003;
    /// How log files are read ahead.
    SET_COMMITLOG_READ_MODE = 2004;
    /// Create a user.
    AUTH_CREATE_USER = 3001;
    /// Change a user.
    AUTH_UPDATE_USER = 3002;
    /// Remove a user.
    AUTH_DELETE_USER = 3003;
    /// One user.
    AUTH_GET_USER = 3004;
    /// All users.
    AUTH_LIST_USER = 3005;
    /// Create access rules.
    AUTH_CREATE_ACL = 3006;
    /// Change access rules.
    AUTH_UPDATE_ACL = 3007;
    /// Remove access rules.
    AUTH_DELETE_ACL = 3008;
    /// Access rules of one subject.
    AUTH_GET_ACL = 3009;
    /// All access rules.
    AUTH_LIST_ACL = 3010;
    /// Read messages that others will not get for a while.
    POP_MESSAGE = 200050;
    /// Such a message is done.
    ACK_MESSAGE = 200051;
    /// Read without any effect.
    PEEK_MESSAGE = 200052;
    /// Others get such a message later, or sooner.
    CHANGE_MESSAGE_INVISIBLETIME = 200053;
    /// Wait until there is something to read.
    NOTIFICATION = 200054;
    /// How many requests wait.
    POLLING_INFO = 200055;
    /// Leave a form of storage of such messages.
    POP_ROLLBACK = 200056;
    /// Several such messages are done.
    BATCH_ACK_MESSAGE = 200151;
}

/// The code of a binary header, which has room for its lower 16 bits only.
pub(super) fn restore(code: i16) -> i32 {
    let cut = i32::from(code);
    let large = ALL
        .iter()
        .rev()
        .take_while(|known| **known > i32::from(i16::MAX));
    large
        .copied()
        .find(|known| *known as i16 == code)
        .unwrap_or(cut)
}
