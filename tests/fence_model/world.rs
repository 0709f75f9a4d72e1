//! The state of the model, and what each step does to it.

use super::Rules;

/// How often the request is delivered: at first, as a second copy, and again after a wait, a crash or a lost connection.
const DELIVERIES: u8 = 4;
/// How often a worker ends in the middle of an attempt.
const ENDS: u8 = 2;
/// The most `DELETE`s that one attempt knows of. Without a bound they would go on for ever while the asset is found.
const MOST_DELETES: u8 = 3;

/// What a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Outcome {
    Deleted,
    AlreadyAbsent,
    /// Rejected, as a job in progress uses the asset and the request does not want to wait.
    RejectedInUse,
    /// Rejected for any other reason, as for an asset that is protected or another one than was meant.
    Rejected,
    Failed,
}

/// The answer on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Decision {
    pub outcome: Outcome,
    /// Whether a `DELETE` may have been sent, as the attempt that decided knew it.
    pub sent: bool,
}

impl Decision {
    /// Whether the asset is known to be gone.
    pub(super) const fn is_gone(self) -> bool {
        matches!(self.outcome, Outcome::Deleted | Outcome::AlreadyAbsent)
    }
}

/// The attempt whose token is in the row. Tokens are random, and a worker has one attempt at a time: so a token is told
/// by its worker, and that of an attempt which ended with its worker equals no other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Owner {
    #[default]
    NoAttempt,
    Worker(usize),
    /// The worker of that attempt has crashed.
    Crashed,
}

/// The row of the one request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Ledger {
    pub begun: bool,
    pub owner: Owner,
    /// `DELETE`s that may have been sent.
    pub deletes: u8,
    pub decision: Option<Decision>,
}

/// What `GET /v1/assets/{asset_id}` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Standing {
    #[default]
    Unknown,
    Requested,
    Deleting,
    Deleted,
}

impl Ledger {
    fn standing(&self, rules: Rules) -> Standing {
        match self.decision {
            Some(decision) if decision.is_gone() => Standing::Deleted,
            Some(_) if !rules.remembers_failed => Standing::Unknown,
            _ if self.deletes > 0 => Standing::Deleting,
            None if self.begun => Standing::Requested,
            _ => Standing::Unknown,
        }
    }

    /// Whether the ledger takes a record from the attempt of this worker: a decision ends every attempt.
    fn takes_from(&self, one: usize, rules: Rules) -> bool {
        self.decision.is_none() && (self.owner == Owner::Worker(one) || !rules.attempts_are_owned)
    }
}

/// Where an attempt is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Phase {
    /// The worker has no attempt.
    #[default]
    Idle,
    /// The next thing is the look at the asset.
    Looking,
    /// The next thing is the question to the guard.
    Asking,
    /// The guard said free.
    Free,
    /// The call is about to leave the process, or the `DELETE` is about to be withheld.
    Leaving,
    /// The `DELETE` is out of the house.
    Sent,
    /// The outcome is known, and not on record.
    Deciding(Outcome),
}

/// One worker with its attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Worker {
    pub phase: Phase,
    /// `DELETE`s that may have been sent, as the attempt knows it.
    deletes: u8,
    /// Whether another attempt has begun since. The worker does not know it; the properties do.
    superseded: bool,
    /// Whether the `DELETE` that is about to leave is on record.
    recorded: bool,
    /// Whether its attempt owned the open request when it went on to that `DELETE`. The worker does not know it.
    fenced: bool,
}

impl Worker {
    /// Ends the time between the record of a `DELETE` and its call.
    const fn goes_to(&mut self, phase: Phase) {
        (self.phase, self.recorded, self.fenced) = (phase, false, false);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Starter {
    Idle,
    /// One of two steps is done: registered, or (wrong way round) told to go on.
    Between,
    Running,
    /// It was told not to start, and has not closed its job in the registry. Once it has, it may try again.
    Refused,
    Done,
}

impl Starter {
    /// Whether the registry has its job as in progress.
    const fn is_registered(self, rules: Rules) -> bool {
        match self {
            Self::Running | Self::Refused => true,
            Self::Between => rules.register_first,
            Self::Idle | Self::Done => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Asset {
    Present,
    /// A `DELETE` of the worker was carried out.
    Removed,
    /// It was gone before.
    Absent,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub ledger: Ledger,
    /// What a standby that lags behind says.
    pub standby: Standing,
    pub workers: [Worker; 2],
    pub starters: [Starter; 2],
    pub asset: Asset,
    /// `DELETE`s the provider has and has not carried out yet.
    pending: u8,
    deliveries: u8,
    ends: u8,
    /// What has happened, for the properties.
    pub past: Past,
}

/// What has happened so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own
pub(super) struct Past {
    pub sent: bool,
    /// A `DELETE` was sent that was not on record.
    pub unrecorded: bool,
    /// A `DELETE` was sent that its attempt had no right to go on to.
    pub unfenced: bool,
    /// An attempt ended, or was superseded, between its record of a `DELETE` and the call.
    pub cut_before_call: bool,
    pub withheld: bool,
    pub superseded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    Take(usize),
    /// A delivery that begins no attempt: the request is decided, or its attempt is left alone.
    TakeInVain,
    Look(usize),
    /// The settings do not want a look.
    NoLook(usize),
    AskGuard(usize),
    Record(usize),
    Send(usize),
    /// The `DELETE` that was recorded is withheld: it is late, or the guard was asked again.
    Withhold(usize),
    PutOff(usize),
    /// A job uses the asset, and the request does not want to wait.
    Reject(usize),
    /// The asset is protected, or is another one than was meant.
    Refuse(usize),
    /// Every retry is used up, or the deadline has passed.
    GiveUp(usize),
    Decide(usize),
    Crash(usize),
    /// The worker shuts down.
    HandBack(usize),
    CarryOut,
    Register(usize),
    AskWorker(usize),
    /// The same, where a standby answers.
    AskStandby(usize),
    Replicate,
    /// A job ends, or one that was refused is closed.
    Close(usize),
}

impl World {
    pub(super) fn new(asset: Asset) -> Self {
        Self {
            ledger: Ledger::default(),
            standby: Standing::default(),
            workers: [Worker::default(), Worker::default()],
            starters: [Starter::Idle; 2],
            asset,
            pending: 0,
            deliveries: DELIVERIES,
            ends: ENDS,
            past: Past::default(),
        }
    }

    /// Whether it is within the bounds of the model.
    pub(super) fn is_within_bounds(&self) -> bool {
        self.workers.iter().all(|worker| worker.deletes <= MOST_DELETES)
    }

    /// Whether a worker still may send, or may still take back, what it has recorded.
    pub(super) fn is_leaving(&self) -> bool {
        self.workers.iter().any(|worker| worker.phase == Phase::Leaving)
    }

    fn in_use(&self, rules: Rules) -> bool {
        self.starters.iter().any(|starter| starter.is_registered(rules))
    }

    pub(super) fn is_enabled(&self, step: Step, rules: Rules) -> bool {
        match step {
            Step::Register(one) | Step::AskWorker(one) | Step::AskStandby(one) => {
                let first = rules.register_first == matches!(step, Step::Register(_));
                let reads = !matches!(step, Step::AskStandby(_)) || !rules.reads_the_primary;
                reads && self.starters[one] == if first { Starter::Idle } else { Starter::Between }
            }
            Step::Close(one) => matches!(self.starters[one], Starter::Running | Starter::Refused),
            Step::Replicate => !rules.reads_the_primary && self.standby != self.ledger.standing(rules),
            Step::CarryOut => self.pending > 0,
            Step::TakeInVain => {
                let decided = self.ledger.decision.is_some();
                self.deliveries > 0 && (decided || self.ledger.owner != Owner::NoAttempt)
            }
            Step::Take(one) => self.deliveries > 0 && self.ledger.decision.is_none() && self.phase(one) == Phase::Idle,
            Step::Crash(one) | Step::HandBack(one) => self.ends > 0 && self.phase(one) != Phase::Idle,
            _ => self.is_enabled_in_attempt(step, rules),
        }
    }

    fn is_enabled_in_attempt(&self, step: Step, rules: Rules) -> bool {
        let deletes = |one: usize| self.workers[one].deletes;
        match step {
            Step::Look(one) => matches!(self.phase(one), Phase::Looking | Phase::Sent),
            Step::NoLook(one) => self.phase(one) == Phase::Looking && deletes(one) == 0,
            Step::Refuse(one) => self.phase(one) == Phase::Looking,
            Step::AskGuard(one) => self.phase(one) == Phase::Asking && !self.in_use(rules),
            Step::Reject(one) => {
                let may = deletes(one) == 0 || !rules.reject_waits_for_a_delete;
                self.phase(one) == Phase::Asking && self.in_use(rules) && may
            }
            Step::Record(one) => self.phase(one) == Phase::Free,
            Step::Send(one) | Step::Withhold(one) => self.phase(one) == Phase::Leaving,
            Step::PutOff(one) | Step::GiveUp(one) => {
                matches!(self.phase(one), Phase::Looking | Phase::Asking | Phase::Free | Phase::Sent)
            }
            Step::Decide(one) => matches!(self.phase(one), Phase::Deciding(_)),
            _ => false,
        }
    }

    fn phase(&self, one: usize) -> Phase {
        self.workers[one].phase
    }

    pub(super) fn take(&mut self, step: Step, rules: Rules) {
        match step {
            Step::Take(one) => self.begin(one, rules),
            Step::TakeInVain => self.deliveries -= 1,
            Step::Look(one) => self.look(one),
            Step::NoLook(one) => self.workers[one].phase = Phase::Asking,
            Step::AskGuard(one) => self.workers[one].phase = Phase::Free,
            Step::Record(one) => self.record(one, rules),
            Step::Send(one) => self.send(one),
            Step::Withhold(one) => self.withhold(one, rules),
            Step::PutOff(one) => self.put_off(one, rules),
            Step::Reject(one) => self.workers[one].phase = Phase::Deciding(Outcome::RejectedInUse),
            Step::Refuse(one) => self.workers[one].phase = Phase::Deciding(Outcome::Rejected),
            Step::GiveUp(one) => self.workers[one].phase = Phase::Deciding(Outcome::Failed),
            Step::Decide(one) => self.decide(one, rules),
            Step::Crash(one) => self.end(one, Owner::Crashed),
            Step::HandBack(one) => self.end(one, Owner::NoAttempt),
            _ => self.step_of_others(step, rules),
        }
        self.sort();
    }

    /// The first delivery, a redelivery or a second copy: the attempt that begins now owns the request.
    fn begin(&mut self, one: usize, rules: Rules) {
        self.deliveries -= 1;
        for worker in self.workers.iter_mut().filter(|worker| worker.phase != Phase::Idle) {
            worker.superseded = true;
            self.past.superseded = true;
        }
        self.ledger.begun |= rules.intent_first;
        self.ledger.owner = Owner::Worker(one);
        self.workers[one] = Worker { phase: Phase::Looking, deletes: self.ledger.deletes, ..Worker::default() };
    }

    fn look(&mut self, one: usize) {
        let worker = &mut self.workers[one];
        // The only `DELETE` has found nothing: the asset was gone before.
        let only = worker.phase == Phase::Sent && worker.deletes == 1;
        worker.phase = match self.asset {
            Asset::Present => Phase::Asking,
            Asset::Absent if only => Phase::Deciding(Outcome::AlreadyAbsent),
            _ if worker.deletes == 0 => Phase::Deciding(Outcome::AlreadyAbsent),
            _ => Phase::Deciding(Outcome::Deleted),
        };
    }

    fn record(&mut self, one: usize, rules: Rules) {
        let asks = rules.every_delete_asks || self.workers[one].deletes == 0;
        if asks && !self.ledger.takes_from(one, rules) {
            return self.give_way(one);
        }
        if asks {
            self.ledger.begun = true;
            self.ledger.deletes += 1;
        }
        let worker = &mut self.workers[one];
        worker.recorded = asks;
        worker.fenced = !worker.superseded && self.ledger.decision.is_none();
        worker.deletes += 1;
        worker.phase = Phase::Leaving;
    }

    fn send(&mut self, one: usize) {
        let worker = &mut self.workers[one];
        self.pending += 1;
        self.past.sent = true;
        self.past.unrecorded |= !worker.recorded;
        self.past.unfenced |= !worker.fenced;
        worker.goes_to(Phase::Sent);
    }

    fn withhold(&mut self, one: usize, rules: Rules) {
        if !rules.withheld_is_taken_back {
            return self.workers[one].goes_to(Phase::Asking);
        }
        if !self.ledger.takes_from(one, rules) {
            return self.give_way(one);
        }
        self.past.withheld = true;
        self.ledger.deletes = self.ledger.deletes.saturating_sub(1);
        let worker = &mut self.workers[one];
        worker.deletes -= 1;
        worker.goes_to(Phase::Asking);
    }

    fn put_off(&mut self, one: usize, rules: Rules) {
        if self.ledger.takes_from(one, rules) {
            self.ledger.owner = Owner::NoAttempt;
        }
        self.give_way(one);
    }

    /// The first decision wins.
    fn decide(&mut self, one: usize, rules: Rules) {
        let Phase::Deciding(outcome) = self.phase(one) else { return };
        if self.ledger.takes_from(one, rules) {
            self.ledger.decision = Some(Decision { outcome, sent: self.workers[one].deletes > 0 });
            self.ledger.owner = Owner::NoAttempt;
        }
        self.give_way(one);
    }

    /// The worker has no attempt any more.
    fn give_way(&mut self, one: usize) {
        self.past.cut_before_call |= self.phase(one) == Phase::Leaving;
        self.workers[one] = Worker::default();
    }

    fn end(&mut self, one: usize, owner: Owner) {
        self.ends -= 1;
        if self.ledger.owner == Owner::Worker(one) {
            self.ledger.owner = owner;
        }
        self.give_way(one);
    }

    fn step_of_others(&mut self, step: Step, rules: Rules) {
        match step {
            Step::CarryOut => {
                self.pending -= 1;
                self.asset = if self.asset == Asset::Present { Asset::Removed } else { self.asset };
            }
            Step::Register(one) => {
                self.starters[one] = if rules.register_first { Starter::Between } else { Starter::Running };
            }
            Step::AskWorker(one) => self.told(one, self.ledger.standing(rules), rules),
            Step::AskStandby(one) => self.told(one, self.standby, rules),
            Step::Replicate => self.standby = self.ledger.standing(rules),
            Step::Close(one) => {
                let ran = self.starters[one] == Starter::Running;
                self.starters[one] = if ran { Starter::Done } else { Starter::Idle };
            }
            _ => {}
        }
    }

    /// What a starter makes of the answer.
    fn told(&mut self, one: usize, standing: Standing, rules: Rules) {
        let may = match standing {
            Standing::Unknown => true,
            Standing::Requested => !rules.heeds_requested,
            Standing::Deleting | Standing::Deleted => false,
        };
        self.starters[one] = match (may, rules.register_first) {
            (true, true) => Starter::Running,
            (true, false) => Starter::Between,
            (false, true) => Starter::Refused,
            (false, false) => Starter::Idle,
        };
    }

    /// Two workers, or two starters, that have changed places are the same world.
    fn sort(&mut self) {
        self.starters.sort_unstable();
        if self.workers[0] > self.workers[1] {
            self.workers.swap(0, 1);
            if let Owner::Worker(one) = self.ledger.owner {
                self.ledger.owner = Owner::Worker(1 - one);
            }
        }
    }
}
