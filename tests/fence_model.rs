//! The fence between deletions and job starters (docs/job-starters.md), checked over every interleaving.
//!
//! One request, delivered again and again to two workers, also as two copies at once; workers that end anywhere; two job
//! starters; a provider that may carry a `DELETE` out long after it was sent. What is modelled of the worker is the order of
//! its durable and outward steps in `src/engine/eraser.rs`; a step here is one that others can see.
//!
//! A worker may stand still between any two steps, for ever too. So what the ledger can promise is not that no `DELETE`
//! leaves a worker late, but that each was recorded before, by the attempt that owned the request then; and that is what
//! keeps the asset of a job.
//!
//! | Not modelled | Why not |
//! | --- | --- |
//! | the brake, the copy of an asset, suspects, publishing | they add waits between steps, and each step may wait here |
//! | the age of a guard's answer | it may have any age here |
//! | dry runs, and messages that are no request | they send no `DELETE`, and an asset stays unknown |
//! | a ledger that does not answer | the attempt ends as in a crash |
//! | starters that crash | the rest goes on from every state in which they do nothing more |
//! | `provider.verify = false` | the provider's word is believed then, and there is no look to model |

mod world;

use stateright::{Checker, HasDiscoveries, Model, Property};

use self::world::{Asset, Decision, Outcome, Starter, Step, World};

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
    /// Every `DELETE` of a request is recorded before it is sent, not only the first.
    every_delete_asks: bool,
    /// The ledger takes records only from the attempt that began last.
    attempts_are_owned: bool,
    /// A job in progress rejects a request only if no `DELETE` is out.
    reject_waits_for_a_delete: bool,
    /// A `DELETE` that was recorded and is withheld is taken off the record.
    withheld_is_taken_back: bool,
    /// Starters are answered by a server that takes writes, never by a standby that lags.
    reads_the_primary: bool,
}

const RULES: Rules = Rules {
    intent_first: true,
    register_first: true,
    heeds_requested: true,
    remembers_failed: true,
    every_delete_asks: true,
    attempts_are_owned: true,
    reject_waits_for_a_delete: true,
    withheld_is_taken_back: true,
    reads_the_primary: true,
};

const SAFE: &str = "no asset is deleted while a job that was started uses it";
const RECORDED: &str = "every DELETE was recorded before it was sent";
const FENCED: &str = "an attempt goes on to a DELETE only while it owns the open request";
const UNTOUCHED: &str = "for a request that was rejected as in use no DELETE is ever sent";
const TOLD: &str = "for a request whose answer says that no DELETE was sent none is ever sent";
const BELIEVED: &str =
    "an answer says that a DELETE was sent only if one was or its attempt was cut off before the call";
const GONE: &str = "an asset is answered gone only when it is";

impl World {
    fn answered(&self, asked: impl Fn(Decision) -> bool) -> bool {
        self.ledger.decision.is_some_and(asked)
    }

    fn has(&self, outcome: Outcome) -> bool {
        self.answered(|decision| decision.outcome == outcome)
    }

    fn is_told_apart(&self) -> bool {
        let doubtful = self.past.sent || self.past.cut_before_call || self.is_leaving();
        doubtful || !self.answered(|decision| decision.sent)
    }
}

impl Model for Rules {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(Asset::Present), World::new(Asset::Absent)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Step>) {
        let each: [fn(usize) -> Step; 18] = [
            Step::Take,
            Step::Look,
            Step::NoLook,
            Step::AskGuard,
            Step::Record,
            Step::Send,
            Step::Withhold,
            Step::PutOff,
            Step::Reject,
            Step::Refuse,
            Step::GiveUp,
            Step::Decide,
            Step::Crash,
            Step::HandBack,
            Step::Register,
            Step::AskWorker,
            Step::AskStandby,
            Step::Close,
        ];
        let once = [Step::TakeInVain, Step::CarryOut, Step::Replicate];
        let all = each.into_iter().flat_map(|step| [step(0), step(1)]).chain(once);
        actions.extend(all.filter(|step| world.is_enabled(*step, *self)));
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut next = world.clone();
        next.take(step, *self);
        next.is_within_bounds().then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(SAFE, |_, world: &World| {
                world.asset != Asset::Removed || !world.starters.contains(&Starter::Running)
            }),
            Property::always(RECORDED, |_, world: &World| !world.past.unrecorded),
            Property::always(FENCED, |_, world: &World| !world.past.unfenced),
            Property::always(UNTOUCHED, |_, world: &World| !world.has(Outcome::RejectedInUse) || !world.past.sent),
            Property::always(TOLD, |_, world: &World| {
                let untold = world.answered(|decision| !decision.is_gone() && !decision.sent);
                !untold || !world.past.sent
            }),
            Property::always(BELIEVED, |_, world: &World| world.is_told_apart()),
            Property::always(GONE, |_, world: &World| {
                world.asset != Asset::Present || !world.answered(Decision::is_gone)
            }),
        ];
        properties.extend(reached());
        properties
    }
}

/// What the model has to reach: otherwise it would hold for want of behaviour.
fn reached() -> Vec<Property<Rules>> {
    vec![
        Property::sometimes("the asset is deleted", |_, world: &World| world.has(Outcome::Deleted)),
        Property::sometimes("the asset was gone before", |_, world: &World| world.has(Outcome::AlreadyAbsent)),
        Property::sometimes("it is rejected as in use", |_, world: &World| world.has(Outcome::RejectedInUse)),
        Property::sometimes("it is rejected after a DELETE", |_, world: &World| {
            world.has(Outcome::Rejected) && world.past.sent
        }),
        Property::sometimes("two jobs run at once", |_, world: &World| world.starters == [Starter::Running; 2]),
        Property::sometimes("a starter backs off", |_, world: &World| world.starters.contains(&Starter::Refused)),
        Property::sometimes("a worker ends between record and DELETE", |_, world: &World| world.past.cut_before_call),
        Property::sometimes("a DELETE is withheld, and the request is deleted later", |_, world: &World| {
            world.past.withheld && world.has(Outcome::Deleted)
        }),
        Property::sometimes("an attempt is superseded, and the request is deleted", |_, world: &World| {
            world.past.superseded && world.has(Outcome::Deleted)
        }),
        Property::sometimes("a job runs, ends, and the asset is deleted then", |_, world: &World| {
            world.starters.contains(&Starter::Done) && world.has(Outcome::Deleted)
        }),
        Property::sometimes("a DELETE is carried out after its request has failed", |_, world: &World| {
            world.has(Outcome::Failed) && world.asset == Asset::Removed
        }),
        Property::sometimes(
            "a DELETE that was recorded before the decision may leave its worker after it",
            |_, world: &World| world.ledger.decision.is_some() && world.is_leaving(),
        ),
    ]
}

/// The steps that lead to a world in which the promise is broken, the fewest there are.
fn counterexample(rules: Rules, promise: &'static str) -> Vec<Step> {
    let only = HasDiscoveries::AllOf([promise].into());
    let checker = rules.checker().finish_when(only).spawn_bfs().join();
    let path =
        checker.discovery(promise).expect("this rule is needed, so there is a way to break the promise without it");
    path.into_actions()
}

#[test]
fn the_promises_hold_over_every_interleaving() {
    let checker = RULES.checker().threads(2).spawn_bfs().join();
    println!("{} states, {} of them different", checker.state_count(), checker.unique_state_count());
    assert!(checker.unique_state_count() > 100_000, "the model has lost most of its states");
    checker.assert_properties();
}

#[test]
fn an_intent_recorded_after_the_guard_is_too_late() {
    let steps = counterexample(Rules { intent_first: false, ..RULES }, SAFE);
    let at = |wanted: fn(&Step) -> bool| steps.iter().position(wanted).unwrap();
    let (guard, register) =
        (at(|step| matches!(step, Step::AskGuard(_))), at(|step| matches!(step, Step::Register(_))));
    let (asked, recorded) = (at(|step| matches!(step, Step::AskWorker(_))), at(|step| matches!(step, Step::Record(_))));
    assert!(guard < register && asked < recorded, "{steps:?}");
}

#[test]
fn asking_before_registering_is_too_early() {
    counterexample(Rules { register_first: false, ..RULES }, SAFE);
}

#[test]
fn a_starter_that_goes_on_at_requested_can_lose_its_asset() {
    counterexample(Rules { heeds_requested: false, ..RULES }, SAFE);
}

#[test]
fn a_failed_request_whose_delete_is_still_on_its_way_is_not_over() {
    let steps = counterexample(Rules { remembers_failed: false, ..RULES }, SAFE);
    assert!(steps.iter().any(|step| matches!(step, Step::GiveUp(_) | Step::Refuse(_) | Step::Reject(_))), "{steps:?}");
}

#[test]
fn an_answer_of_a_standby_that_lags_can_lose_the_asset() {
    let steps = counterexample(Rules { reads_the_primary: false, ..RULES }, SAFE);
    assert!(steps.iter().any(|step| matches!(step, Step::AskStandby(_))), "{steps:?}");
}

#[test]
fn a_delete_that_does_not_ask_the_ledger_can_be_one_of_a_superseded_attempt() {
    let rules = Rules { every_delete_asks: false, ..RULES };
    counterexample(rules, RECORDED);
    let steps = counterexample(rules, FENCED);
    assert_eq!(steps.iter().filter(|step| matches!(step, Step::Take(_))).count(), 2, "{steps:?}");
}

#[test]
fn an_attempt_whose_token_is_not_compared_can_delete_beside_its_successor() {
    let rules = Rules { attempts_are_owned: false, ..RULES };
    counterexample(rules, FENCED);
    counterexample(rules, UNTOUCHED);
}

#[test]
fn a_rejection_while_a_delete_is_out_would_not_be_one() {
    counterexample(Rules { reject_waits_for_a_delete: false, ..RULES }, UNTOUCHED);
}

#[test]
fn a_withheld_delete_that_stays_on_record_would_be_told_as_sent() {
    let steps = counterexample(Rules { withheld_is_taken_back: false, ..RULES }, BELIEVED);
    assert!(steps.iter().any(|step| matches!(step, Step::Withhold(_))), "{steps:?}");
}
