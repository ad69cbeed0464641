//! The registry of numbers on the wire. A number is never given another meaning; retired ones stay as gaps.

macro_rules! registry {
    ($(#[$doc:meta])* $name:ident: $repr:ty { $($(#[$vdoc:meta])* $variant:ident = $value:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr($repr)]
        #[non_exhaustive]
        pub enum $name { $($(#[$vdoc])* $variant = $value,)* }

        impl $name {
            /// All registered values, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The value with this number, if it is registered.
            pub const fn from_number(number: $repr) -> Option<Self> {
                match number { $($value => Some(Self::$variant),)* _ => None }
            }
            /// The number on the wire.
            pub const fn number(self) -> $repr { self as $repr }
            /// The name, for logs and metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }
        }
    };
}

registry! {
    /// What a native frame asks for or answers.
    Kind: u16 {
        /// First request of a connection.
        Hello = 1,
        /// Keeps a connection alive.
        Ping = 2,
        /// Appends one record batch.
        Produce = 10,
        /// Long poll over a fetch session.
        Fetch = 11,
        /// Single messages by position, offset or key.
        MessageQuery = 12,
        TopicCreate = 20,
        TopicUpdate = 21,
        TopicDelete = 22,
        TopicList = 23,
        TopicDescribe = 24,
        OffsetQuery = 30,
        OffsetCommit = 31,
        OffsetFetch = 32,
        OffsetReset = 33,
        GroupJoin = 40,
        GroupHeartbeat = 41,
        GroupLeave = 42,
        LeaseAcquire = 43,
        LeaseRelease = 44,
        GroupList = 45,
        GroupDescribe = 46,
        GroupDelete = 47,
        ShardRegister = 60,
        ShardHeartbeat = 61,
        ShardUnregister = 62,
        RouteQuery = 63,
        RouteWatch = 64,
        ClusterInfo = 65,
        ClusterTopics = 66,
        ShardStatus = 80,
    }
}

registry! {
    /// Why a request was refused.
    ErrorCode: u16 {
        /// A defect of the server; its log says more.
        Internal = 1,
        /// The frame or header cannot be read; the connection is closed after this answer.
        Malformed = 2,
        /// The request is understood but asks for something impossible; the message says what.
        InvalidRequest = 3,
        /// This server does not serve that kind of request.
        UnsupportedKind = 4,
        /// No common protocol version.
        UnsupportedVersion = 5,
        /// A limit is reached (memory, in-flight bytes, connections); try again later.
        Busy = 6,
        /// The server is shutting down; use another shard or try again later.
        Stopping = 7,
        /// The first request of the connection must be Hello.
        HelloRequired = 8,
        /// The deadline passed inside the server. The request may have been done.
        TimedOut = 9,

        /// The disk is full; reads go on, appends work again when space returns.
        NoSpace = 20,
        /// The shard's log failed and stopped; a restart recovers it.
        LogFailed = 21,
        /// Stored bytes are damaged; see position and next_offset.
        Corrupt = 22,
        /// The shard is read-only because of damage found at start.
        ReadOnly = 23,

        TopicNotFound = 30,
        TopicExists = 31,
        AutoCreateDisabled = 32,
        /// The queue number is not in the topic.
        QueueNotFound = 33,
        /// The queue lives on another shard; ask for the route again.
        WrongShard = 34,
        /// The topic was deleted and made again since the client learned of it.
        StaleIncarnation = 35,
        TopicNotWritable = 36,
        TopicNotReadable = 37,
        /// Not a valid name.
        InvalidName = 38,

        /// The batch cannot be read or its checksum does not match.
        BadBatch = 50,
        MessageTooLarge = 51,
        /// A message holds what RocketMQ clients could not carry.
        NotCarryable = 52,
        /// Sequence after a gap: an earlier batch of this producer is missing.
        OutOfOrderSequence = 53,
        /// The shard does not know this producer (any more) and the sequence is not 0.
        UnknownProducer = 54,
        /// A newer epoch of this producer wrote already.
        StaleEpoch = 55,
        /// An old duplicate whose result is no longer known; it was stored.
        DuplicateForgotten = 56,

        /// The offset is below the queue's minimum or above its end.
        OffsetOutOfRange = 60,
        /// The session number is not of this connection.
        UnknownSession = 61,
        /// As many fetches of this session as may be are unanswered already.
        SessionBusy = 62,
        /// The slot is in use, or not in the session.
        BadSlot = 63,
        MessageNotFound = 64,

        /// The member is not (any more) in the group at this node; join again.
        UnknownMember = 70,
        /// Another member holds the queue's lease.
        LeaseHeld = 71,
        /// The committer does not hold the queue's lease.
        LeaseLost = 72,
        GroupNotFound = 73,
        GroupNotEmpty = 74,
        /// The group has members of the other protocol.
        GroupOfOtherProtocol = 75,

        /// The name server does not hold that version; register with base_version 0.
        StaleRegistration = 90,
        /// A live shard with this name has another data directory.
        ShardNameTaken = 91,
    }
}

impl ErrorCode {
    /// Whether the same request may succeed later without anyone changing anything.
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Busy
                | Self::Stopping
                | Self::TimedOut
                | Self::NoSpace
                | Self::LogFailed
                | Self::WrongShard
        )
    }
}
