//! Why the worker waits, stops and buries: closed sets, which end as labels of metrics, in headers of messages, on `/readyz`
//! and in the ledger. A word here is part of the contract.

/// Why consuming has stopped. Each cause concerns all requests, and no request loses a step of its ladder for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// The provider refuses the key (401, 403), for a probe, too.
    ProviderKey,
    /// The control asset is not found: the key, the account or the address is wrong.
    ControlLost,
    /// Many different assets in a row were not found, and none was found, while no control asset is set.
    NothingFound,
    /// The circuit is open: the provider fails for different assets, and for a probe.
    ProviderDown,
    /// The provider asked to slow down (`Retry-After`).
    ProviderBusy,
    /// The guard answers for no asset, and for no probe.
    GuardDown,
    /// The ledger cannot be written, and nothing is deleted without a record.
    Ledger,
    /// The ledger shows less than this worker has seen of it: a standby that lagged was promoted, or an old copy restored.
    LedgerWentBack,
    /// As many deletions have begun as the operator allows.
    Brake,
    /// No wait queue takes a request that has to wait: they are full, by a policy for instance.
    WaitQueues,
}

impl Stop {
    /// Every cause there is.
    pub const ALL: [Self; 10] = [
        Self::ProviderKey,
        Self::ControlLost,
        Self::NothingFound,
        Self::ProviderDown,
        Self::ProviderBusy,
        Self::GuardDown,
        Self::Ledger,
        Self::LedgerWentBack,
        Self::Brake,
        Self::WaitQueues,
    ];

    /// The name on `/readyz`, in metrics and in log lines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProviderKey => "provider_key",
            Self::ControlLost => "control_lost",
            Self::NothingFound => "nothing_found",
            Self::ProviderDown => "provider_down",
            Self::ProviderBusy => "provider_busy",
            Self::GuardDown => "guard_down",
            Self::Ledger => "ledger",
            Self::LedgerWentBack => "ledger_went_back",
            Self::Brake => "brake",
            Self::WaitQueues => "wait_queues",
        }
    }
}

/// Why a request is put off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOff {
    /// A job uses the asset.
    InUse,
    /// The guard gave no answer for this asset.
    Guard,
    /// No copy could be made.
    Backup,
    /// A call to the provider failed.
    Provider,
    /// The provider answered "deleted" and still has the asset: its deletion may take a while.
    StillPresent,
    /// The turn of the request did not come at the provider's pace.
    Pace,
    /// The broker did not take an event.
    Broker,
    /// The line was stopped while the request had arrived already.
    LineStopped,
    /// Another worker has taken the attempt over.
    Superseded,
    /// It may be the request that its workers die of, and another such request is at work.
    Suspect,
    /// No queue takes its result.
    Unroutable,
    /// The dead queue does not take it.
    DeadQueue,
    /// Consuming has stopped while it was worked on.
    Stopped(Stop),
}

impl PutOff {
    /// Every reason beside the causes that stop consuming.
    const OWN: [Self; 12] = [
        Self::InUse,
        Self::Guard,
        Self::Backup,
        Self::Provider,
        Self::StillPresent,
        Self::Pace,
        Self::Broker,
        Self::LineStopped,
        Self::Superseded,
        Self::Suspect,
        Self::Unroutable,
        Self::DeadQueue,
    ];

    /// Every reason there is.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::OWN.into_iter().chain(Stop::ALL.map(Self::Stopped))
    }

    /// The name in metrics, in the header of a copy and in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InUse => "in_use",
            Self::Guard => "guard",
            Self::Backup => "backup",
            Self::Provider => "provider",
            Self::StillPresent => "still_present",
            Self::Pace => "pace",
            Self::Broker => "broker",
            Self::LineStopped => "line_stopped",
            Self::Superseded => "superseded",
            Self::Suspect => "suspect",
            Self::Unroutable => "unroutable",
            Self::DeadQueue => "dead_queue",
            Self::Stopped(stop) => stop.as_str(),
        }
    }
}

/// Why a message is buried in the dead queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buried {
    /// It is no valid request.
    InvalidRequest,
    /// Its publisher may not ask.
    PublisherNotAllowed,
    /// Its workers ended in the middle of it too often.
    DeliveryLimit,
}

impl Buried {
    /// Every reason there is.
    pub const ALL: [Self; 3] = [Self::InvalidRequest, Self::PublisherNotAllowed, Self::DeliveryLimit];

    /// The name in metrics and in the header of a dead letter.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::PublisherNotAllowed => "publisher_not_allowed",
            Self::DeliveryLimit => "delivery_limit",
        }
    }
}

/// What a policy of the broker may limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyLimit {
    /// How many messages a queue may hold.
    Length,
    /// How often a message may be delivered.
    Deliveries,
}

impl PolicyLimit {
    /// Every limit that is tried.
    pub const ALL: [Self; 2] = [Self::Length, Self::Deliveries];

    /// The name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Deliveries => "deliveries",
        }
    }

    /// What it does, for an operator.
    #[must_use]
    pub const fn harm(self) -> &'static str {
        match self {
            Self::Length => {
                "a policy limits the length of queues with this prefix: requests that have to wait, dead letters and results \
                 have no place once it is reached"
            }
            Self::Deliveries => {
                "a policy limits the deliveries of queues with this prefix: dead letters are lost from sight after a few \
                 looks, and requests are buried after a few lost connections"
            }
        }
    }
}
