//! What a run is like beside its faults: drawn from its seed.

use fastrand::Rng;

use super::plan::Store;

/// The user whose requests a run with `publishers.allow` takes; the test itself.
pub const PUBLISHER: &str = "guest";
/// The worker's own user in such a run.
pub const WORKER: &str = "eraser";
/// The asset that must always be found.
pub const CONTROL: &str = "control";
/// A user who may not ask.
pub const INTRUDER: &str = "mallory";

/// The settings and servers of a run. The default is the plainest run.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each of them is drawn by itself")]
pub struct Conditions {
    /// Copies of assets go into a bucket of an S3 server, else into a folder.
    pub bucket: bool,
    /// `brake.max_deletions`.
    pub brake: Option<usize>,
    /// Whether `ledger.compact_after` and `retry.max_age` are one hour.
    pub compacts: bool,
    /// `broker.delivery_limit`, where it is small.
    pub delivery_limit: Option<u32>,
    /// Whether `publishers.allow` names [`PUBLISHER`] alone.
    pub publishers: bool,
    /// `broker.started_events`, with a queue bound for them.
    pub started_events: bool,
    /// Whether `provider.confirm_target` is off.
    pub blind: bool,
    /// Whether `provider.control_asset` is set.
    pub control: bool,
    /// Whether the database has a standby, to which it fails over once.
    pub standby: bool,
    /// Whether the clocks of workers jump.
    pub clocks_jump: bool,
    /// Whether the broker takes only small frames.
    pub small_frames: bool,
    /// Whether a reader is bound for results whose queue refuses all of them.
    pub refusing_reader: bool,
    /// Whether the workers reach the database through a pooler.
    pub pooler: bool,
}

impl Conditions {
    pub fn draw(random: &mut Rng, assets: usize, store: Store) -> Self {
        let brake = (random.u32(0..4) == 0).then(|| random.usize(assets / 3..assets / 2));
        // The clock of an SQLite ledger is the worker's, so a jump lets the brake's window pass.
        let clocks_jump = random.u32(0..3) > 0 && (store == Store::Postgres || brake.is_none());
        Self {
            // A bucket takes no request that is signed with a clock that is far off.
            bucket: !clocks_jump && random.u32(0..3) > 0,
            brake,
            compacts: store == Store::Postgres,
            delivery_limit: (random.u32(0..3) == 0).then(|| random.u32(5..9)),
            publishers: random.u32(0..3) == 0,
            started_events: random.bool(),
            standby: store == Store::Postgres && random.u32(0..3) == 0,
            blind: random.u32(0..6) == 0,
            control: random.bool(),
            clocks_jump,
            small_frames: random.u32(0..4) == 0,
            refusing_reader: random.u32(0..4) == 0,
            pooler: store == Store::Postgres && random.u32(0..3) == 0,
        }
    }

    /// Settings beside the usual ones of a run.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("BROKER__DELIVERY_LIMIT", self.delivery_limit.unwrap_or(1000).to_string()),
            ("BROKER__STARTED_EVENTS", self.started_events.to_string()),
            ("PROVIDER__CONFIRM_TARGET", (!self.blind).to_string()),
        ];
        if self.control {
            settings.push(("PROVIDER__CONTROL_ASSET", CONTROL.to_owned()));
        }
        if let Some(brake) = self.brake {
            settings.push(("BRAKE__MAX_DELETIONS", brake.to_string()));
        }
        if self.compacts {
            settings.extend(["RETRY__MAX_AGE", "LEDGER__COMPACT_AFTER"].map(|key| (key, "1h".to_owned())));
        }
        if self.publishers {
            settings.push(("PUBLISHERS__ALLOW", PUBLISHER.to_owned()));
        }
        settings
    }
}
