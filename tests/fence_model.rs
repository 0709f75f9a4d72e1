//! The fence between deletions and job starters (docs/job-starters.md), checked over every interleaving.
//!
//! One request, handed out again and again to two workers that crash anywhere; two job starters; a provider that may
//! carry a `DELETE` out long after it was sent. What is modelled of the worker is the order of its durable and outward
//! steps in `src/eraser.rs`; a step here is one that others can see. Starters that crash need no step of their own: the
//! rest goes on from every state in which they do nothing more.

use stateright::{Checker, Model, Property};

/// Times the request is handed out: a first delivery, and returns after a wait, a crash or a lost connection.
const ATTEMPTS: u8 = 4;
const CRASHES: u8 = 2;

/// The rules in force; all true is how the worker and docs/job-starters.md have it.
#[derive(Clone, Copy)]
#[allow(clippy::struct_excessive_bools)] // each is a rule of its own, to be left out alone
struct Rules {
    /// The worker records its intent before it asks the guard; else only before it sends the `DELETE`.
    intent_first: bool,
    /// A starter registers its job before it asks the worker.
    register_first: bool,
    /// A starter backs off from `requested`, not only from `deleting` and `deleted`.
    heeds_requested: bool,
    /// A `DELETE` that may have been sent is told as `deleting` even after its request has failed.
    remembers_failed: bool,
}

const RULES: Rules = Rules { intent_first: true, register_first: true, heeds_requested: true, remembers_failed: true };

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Decision {
    Deleted,
    Failed,
}

/// The row of the one request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Ledger {
    begun: bool,
    /// Sticky, as in the real one.
    deleting: bool,
    decision: Option<Decision>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Worker {
    Idle,
    /// The next thing is the question to the guard.
    Asking,
    /// The guard said free.
    Free,
    /// `deleting` is on record.
    Recorded,
    /// The `DELETE` is out of the house.
    Sent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Starter {
    Idle,
    /// One of two steps is done: registered, or (wrong way round) told to go on.
    Between,
    Running,
    BackedOff,
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    ledger: Ledger,
    workers: [Worker; 2],
    starters: [Starter; 2],
    /// What the job registry calls in progress.
    registered: [bool; 2],
    exists: bool,
    /// `DELETE`s the provider has and has not carried out yet.
    pending: u8,
    attempts: u8,
    crashes: u8,
    crashed_before_delete: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Take(usize),
    AskGuard(usize),
    Record(usize),
    Send(usize),
    /// It looks for the asset, and decides or goes on.
    Look(usize),
    GiveUp(usize),
    Crash(usize),
    CarryOut,
    Register(usize),
    AskWorker(usize),
    End(usize),
}

impl World {
    fn open(&self) -> bool {
        self.ledger.decision.is_none()
    }

    /// What `GET /v1/assets/{asset_id}` leads a starter to: may it go on?
    fn may_start(&self, rules: Rules) -> bool {
        let Ledger { begun, deleting, decision } = self.ledger;
        match decision {
            Some(Decision::Deleted) => false,
            Some(Decision::Failed) => !(deleting && rules.remembers_failed),
            None if deleting => false,
            None => !(begun && rules.heeds_requested),
        }
    }

    fn enabled(&self, step: Step, rules: Rules) -> bool {
        let worker = |one: usize, phase| self.workers[one] == phase;
        match step {
            Step::Take(one) => worker(one, Worker::Idle) && self.open() && self.attempts > 0,
            Step::AskGuard(one) => worker(one, Worker::Asking),
            Step::Record(one) => worker(one, Worker::Free),
            Step::Send(one) => worker(one, Worker::Recorded),
            Step::Look(one) => worker(one, Worker::Sent),
            // Every retry is used up: nobody knows what became of a DELETE that was sent.
            Step::GiveUp(one) => worker(one, Worker::Asking) && self.open() && self.attempts == 0,
            Step::Crash(one) => !worker(one, Worker::Idle) && self.crashes > 0,
            Step::CarryOut => self.pending > 0,
            Step::Register(one) | Step::AskWorker(one) => {
                let first = rules.register_first == matches!(step, Step::Register(_));
                self.starters[one] == if first { Starter::Idle } else { Starter::Between }
            }
            Step::End(one) => self.starters[one] == Starter::Running,
        }
    }

    fn worker_step(&mut self, step: Step, rules: Rules) {
        match step {
            Step::Take(one) => {
                self.attempts -= 1;
                self.ledger.begun |= rules.intent_first;
                self.workers[one] = Worker::Asking;
            }
            // In use: put off, to be taken again.
            Step::AskGuard(one) => {
                self.workers[one] = if self.registered.contains(&true) { Worker::Idle } else { Worker::Free };
            }
            // A ledger that says "decided" meanwhile takes no such record, and nothing is sent.
            Step::Record(one) if !self.open() => self.workers[one] = Worker::Idle,
            Step::Record(one) => {
                self.ledger.begun = true;
                self.ledger.deleting = true;
                self.workers[one] = Worker::Recorded;
            }
            Step::Send(one) => {
                self.pending += 1;
                self.workers[one] = Worker::Sent;
            }
            // Still there: the next DELETE begins with the guard again.
            Step::Look(one) if self.exists => self.workers[one] = Worker::Asking,
            Step::Look(one) => {
                self.ledger.decision.get_or_insert(Decision::Deleted);
                self.workers[one] = Worker::Idle;
            }
            Step::GiveUp(one) => {
                self.ledger.decision.get_or_insert(Decision::Failed);
                self.workers[one] = Worker::Idle;
            }
            Step::Crash(one) => {
                self.crashes -= 1;
                self.crashed_before_delete |= matches!(self.workers[one], Worker::Free | Worker::Recorded);
                self.workers[one] = Worker::Idle;
            }
            _ => {}
        }
    }

    fn other_step(&mut self, step: Step, rules: Rules) {
        match step {
            Step::CarryOut => {
                self.pending -= 1;
                self.exists = false;
            }
            Step::Register(one) => {
                self.registered[one] = true;
                self.starters[one] = if rules.register_first { Starter::Between } else { Starter::Running };
            }
            Step::AskWorker(one) => {
                let go = if rules.register_first { Starter::Running } else { Starter::Between };
                let may = self.may_start(rules);
                self.starters[one] = if may { go } else { Starter::BackedOff };
                self.registered[one] &= may;
            }
            Step::End(one) => {
                self.registered[one] = false;
                self.starters[one] = Starter::Done;
            }
            _ => {}
        }
    }
}

impl Model for Rules {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            ledger: Ledger::default(),
            workers: [Worker::Idle; 2],
            starters: [Starter::Idle; 2],
            registered: [false; 2],
            exists: true,
            pending: 0,
            attempts: ATTEMPTS,
            crashes: CRASHES,
            crashed_before_delete: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Step>) {
        let each: [fn(usize) -> Step; 10] = [
            Step::Take,
            Step::AskGuard,
            Step::Record,
            Step::Send,
            Step::Look,
            Step::GiveUp,
            Step::Crash,
            Step::Register,
            Step::AskWorker,
            Step::End,
        ];
        let all = each.into_iter().flat_map(|step| [step(0), step(1)]).chain([Step::CarryOut]);
        actions.extend(all.filter(|step| world.enabled(*step, *self)));
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut next = world.clone();
        next.worker_step(step, *self);
        next.other_step(step, *self);
        // A bound, since a look that still finds the asset leads to one more DELETE, for ever.
        (next.pending <= 3).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(SAFE, |_, world: &World| world.exists || !world.starters.contains(&Starter::Running)),
            Property::sometimes("the asset is deleted", |_, world: &World| {
                world.ledger.decision == Some(Decision::Deleted)
            }),
            Property::sometimes("two jobs run at once", |_, world: &World| world.starters == [Starter::Running; 2]),
            Property::sometimes("a starter backs off", |_, world: &World| world.starters.contains(&Starter::BackedOff)),
            Property::sometimes("a worker crashes between guard and DELETE", |_, world: &World| {
                world.crashed_before_delete
            }),
            Property::sometimes("a job runs, ends, and the asset is deleted then", |_, world: &World| {
                world.starters.contains(&Starter::Done) && world.ledger.decision == Some(Decision::Deleted)
            }),
            Property::sometimes("a DELETE is carried out after its request has failed", |_, world: &World| {
                world.ledger.decision == Some(Decision::Failed) && !world.exists
            }),
        ]
    }
}

const SAFE: &str = "no asset is deleted while a job that was started uses it";

/// The steps that lead to a job whose asset is deleted under it, the fewest there are.
fn counterexample(rules: Rules) -> Vec<Step> {
    let checker = rules.checker().spawn_bfs().join();
    let path = checker.discovery(SAFE).expect("this rule is needed, so there is a way to break the promise without it");
    path.into_actions()
}

#[test]
fn no_asset_is_deleted_under_a_job_whose_starter_follows_the_protocol() {
    let checker = RULES.checker().spawn_bfs().join();
    println!("{} states, {} of them different", checker.state_count(), checker.unique_state_count());
    assert!(checker.unique_state_count() > 10_000, "the model has lost most of its states");
    checker.assert_properties();
}

#[test]
fn an_intent_recorded_after_the_guard_is_too_late() {
    let steps = counterexample(Rules { intent_first: false, ..RULES });
    let at = |wanted: fn(&Step) -> bool| steps.iter().position(wanted).unwrap();
    let (guard, register) =
        (at(|step| matches!(step, Step::AskGuard(_))), at(|step| matches!(step, Step::Register(_))));
    let (asked, recorded) = (at(|step| matches!(step, Step::AskWorker(_))), at(|step| matches!(step, Step::Record(_))));
    assert!(guard < register && asked < recorded, "{steps:?}");
}

#[test]
fn asking_before_registering_is_too_early() {
    counterexample(Rules { register_first: false, ..RULES });
}

#[test]
fn a_starter_that_goes_on_at_requested_can_lose_its_asset() {
    counterexample(Rules { heeds_requested: false, ..RULES });
}

#[test]
fn a_failed_request_whose_delete_is_still_on_its_way_is_not_over() {
    let steps = counterexample(Rules { remembers_failed: false, ..RULES });
    assert!(steps.iter().any(|step| matches!(step, Step::GiveUp(_))), "{steps:?}");
}
