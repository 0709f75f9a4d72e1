//! From the checked requests to confirmations and answers, through every loss of the broker.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::batch::Batch;
use super::bits::Bits;
use super::progress::{Numbers, ProgressView};
use super::spool::SpooledRequest;
use super::tally::{Result as Told, Tally};
use crate::neighbours::broker::publisher::Routed;
use crate::neighbours::broker::requester::{Answers, Ask, Requester, ResultMessage, is_other_user, is_refusal};
use crate::neighbours::broker::{BrokerError, BrokerState};
use crate::platform::retry::{Backoff, Budget};
use crate::settings;

/// Most requests whose confirmation is waited for at once: enough that no request waits for the way there and back. They are
/// in memory meanwhile, some hundred bytes each, 64 KiB at the very most.
const UNDER_WAY: usize = 1_000;

/// How long a broker is looked for, or may refuse to take requests, before it is given up: as long as a restart takes.
const AGAIN: Budget = Budget {
    initial: Duration::from_millis(500),
    max_interval: Duration::from_secs(10),
    max_elapsed: Duration::from_secs(300),
};

/// A session that has lasted so long did not fail at once, and is looked for anew. Longer than it may take to open one.
const LONG: Duration = Duration::from_secs(60);

/// How long a lost session is waited for to say why: the task that publishes hears of a refusal, all others only of the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What keeps a worker from answering us at all.
pub(super) const NO_ANSWER: &str = "No answer at all: does a worker run? May its user write to amq.default? Does its \
                                    publishers.allow, if set, name our user?";

/// Sends a batch, and hears what comes of it.
pub(super) struct Sending<'a> {
    broker: &'a settings::BrokerSettings,
    batch: &'a Batch,
    progress: &'a ProgressView,
    /// What the requests carry as the user who asks; nothing once the broker says that it knows us by another name.
    user: RefCell<Option<String>>,
    /// With `--wait`: how long without an answer until those that have none are asked for again.
    ask_again: Option<Duration>,
    /// Tells this run's answers from whatever else may come.
    run: String,
    /// The broker has them.
    confirmed: RefCell<Bits>,
    /// The broker has them from this session, to whose channel the answers go.
    asked: RefCell<Bits>,
    answered: RefCell<Bits>,
    last_answer: Cell<Instant>,
    tally: RefCell<Tally>,
    results: RefCell<Option<BufWriter<File>>>,
}

/// Why a session has ended.
enum Broken {
    /// To be tried again in another.
    Lost(BrokerError),
    /// Not to be tried again.
    Final(String),
}

impl From<BrokerError> for Broken {
    fn from(error: BrokerError) -> Self {
        if is_refusal(&error) { Self::Final(error.to_string()) } else { Self::Lost(error) }
    }
}

impl<'a> Sending<'a> {
    pub(super) fn new(
        broker: &'a settings::BrokerSettings,
        batch: &'a Batch,
        progress: &'a ProgressView,
        ask_again: Option<Duration>,
        results: Option<File>,
    ) -> Self {
        let done = || RefCell::new(batch.duplicates.clone());
        Self {
            broker,
            batch,
            progress,
            user: RefCell::new(broker.user()),
            ask_again,
            run: uuid::Uuid::new_v4().simple().to_string(),
            confirmed: done(),
            asked: done(),
            answered: done(),
            last_answer: Cell::new(Instant::now()),
            tally: RefCell::default(),
            results: RefCell::new(results.map(BufWriter::new)),
        }
    }

    /// How far it is.
    pub(super) fn numbers(&self) -> Numbers {
        let without = |bits: &RefCell<Bits>| bits.borrow().count() - self.batch.duplicates.count();
        Numbers {
            confirmed: without(&self.confirmed),
            answered: self.ask_again.map(|_| without(&self.answered)),
            total: self.batch.total(),
            outcomes: self.tally.borrow().brief(),
        }
    }

    pub(super) fn tally(&self) -> std::cell::Ref<'_, Tally> {
        self.tally.borrow()
    }

    /// The line up to which the broker has everything.
    pub(super) fn confirmed_until(&self) -> std::io::Result<Option<u64>> {
        self.batch.spool.whole_until(&self.confirmed.borrow())
    }

    /// What was answered so far is in the file of results.
    pub(super) fn flush(&self) -> std::io::Result<()> {
        self.results.borrow_mut().as_mut().map_or(Ok(()), Write::flush)
    }

    /// Sends everything, and with `--wait` hears every answer.
    ///
    /// # Errors
    /// What cannot be mended by trying again, or has not been for long.
    pub(super) async fn run(&self) -> Result<(), String> {
        let (mut again, mut ever, mut before) = (AGAIN.start(), false, self.done());
        loop {
            let began = Instant::now();
            let user = self.user.borrow().clone();
            let ended = match Requester::open(self.broker, user.as_deref()).await {
                Ok(requester) => {
                    ever = true;
                    let ended = self.session(&requester).await;
                    requester.close().await;
                    ended
                }
                // What has never been reached is a mistake sooner than a fault.
                Err(error) if !ever => return Err(format!("the broker at {}: {error}", self.broker.place())),
                Err(error) => Err(error.into()),
            };
            let error = match ended {
                Ok(()) => return Ok(()),
                Err(Broken::Final(problem)) => return Err(problem),
                Err(Broken::Lost(error)) => error,
            };
            // A session that has waited quietly for hours is no failure either.
            if self.done() != before || began.elapsed() > LONG {
                before = self.done();
                again = AGAIN.start();
            }
            self.wait_for_broker(&mut again, &error).await?;
        }
    }

    async fn wait_for_broker(&self, again: &mut Backoff, error: &BrokerError) -> Result<(), String> {
        let Some(delay) = again.next(None) else { return Err(error.to_string()) };
        self.progress.note(&format!("{error}; trying again"));
        tokio::time::sleep(delay).await;
        Ok(())
    }

    /// Grows whenever there is progress.
    fn done(&self) -> u64 {
        self.confirmed.borrow().count() + self.answered.borrow().count()
    }

    async fn session(&self, requester: &Requester) -> Result<(), Broken> {
        let work = async {
            let Some(ask_again) = self.ask_again else { return self.publish_all(requester).await };
            let answers = requester.answers().await?;
            tokio::select! {
                broken = self.keep_asking(requester, ask_again) => broken,
                heard = self.hear(answers) => heard,
            }
        };
        let lost = async {
            requester.lost().cancelled().await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        tokio::select! {
            ended = work => ended,
            () = lost => Err(Broken::Lost(BrokerError::Lost)),
            never = self.tell_blocked(requester) => match never {},
        }
    }

    /// Publishes what has no answer, and again when none has come for long: an answer may have been lost. Ends only when
    /// that goes wrong.
    async fn keep_asking(&self, requester: &Requester, mut pause: Duration) -> Result<(), Broken> {
        loop {
            // On another channel its answer would not be heard.
            self.asked.replace(self.answered.borrow().clone());
            self.publish_all(requester).await?;
            self.last_answer.set(Instant::now());
            loop {
                let due = self.last_answer.get() + pause;
                if due <= Instant::now() {
                    break;
                }
                tokio::time::sleep_until(due).await;
            }
            let pause_shown = humantime::format_duration(pause);
            self.progress.note(&format!("no answer for {pause_shown}; asking again for those that are missing"));
            if self.numbers().answered == Some(0) {
                self.progress.note(NO_ANSWER);
            }
            // A request that waits for a job is in the queues once more each time.
            pause *= 2;
        }
    }

    /// Publishes until the broker has everything.
    async fn publish_all(&self, requester: &Requester) -> Result<(), Broken> {
        let (mut again, mut before) = (AGAIN.start(), self.done());
        while self.publish_until_refused(requester).await? {
            if self.done() != before {
                before = self.done();
                again = AGAIN.start();
            }
            let problem = "the broker does not take all requests; is the queue full?";
            let Some(delay) = again.next(None) else { return Err(Broken::Final(problem.to_owned())) };
            self.progress.note(&format!("{problem} Trying again"));
            tokio::time::sleep(delay).await;
        }
        Ok(())
    }

    /// Publishes once what this session has not yet. True when the broker did not take all of it.
    async fn publish_until_refused(&self, requester: &Requester) -> Result<bool, Broken> {
        let mut reader = self.batch.spool.reader();
        let mut under_way = FuturesUnordered::new();
        let mut refused = false;
        loop {
            while under_way.len() < UNDER_WAY && !refused {
                let read = reader.read_unset(&self.asked.borrow());
                let read = read.map_err(|error| Broken::Final(format!("temporary file: {error}")))?;
                let Some(record) = read else { break };
                let (index, ask) = (record.index, self.ask(record));
                under_way.push(async move { (index, requester.publish(&ask).await) });
            }
            let Some((index, routed)) = under_way.next().await else { return Ok(refused) };
            match routed {
                Ok(Routed::Yes) => {
                    self.asked.borrow_mut().set(index);
                    self.confirmed.borrow_mut().set(index);
                }
                Ok(Routed::Refused) => refused = true,
                Ok(Routed::No) => {
                    let problem = "no queue takes requests: none is bound to the exchange with the key request; a worker \
                                   with the same broker.prefix makes it when it starts";
                    return Err(Broken::Final(problem.to_owned()));
                }
                Err(error) if is_other_user(&error) && self.user.take().is_some() => {
                    self.progress
                        .note("the broker knows us as another user than broker.url says; going on without user_id");
                    return Err(Broken::Lost(error));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn ask(&self, record: SpooledRequest) -> Ask {
        let SpooledRequest { index, line, request_id, body, .. } = record;
        let correlation = self.ask_again.map(|_| format!("{}.{index}.{line}", self.run));
        Ask { request_id, body, correlation }
    }

    /// Hears answers until there is one to everything.
    async fn hear(&self, mut answers: Answers) -> Result<(), Broken> {
        while self.answered.borrow().count() < self.batch.spool.count() {
            let Some(answer) = answers.next().await else {
                tokio::time::sleep(LAST_WORDS).await;
                return Err(Broken::Lost(BrokerError::Lost));
            };
            self.take(&answer).map_err(|error| Broken::Final(format!("--results: {error}")))?;
        }
        Ok(())
    }

    /// An answer may come more than once, and counts once.
    fn take(&self, answer: &ResultMessage) -> std::io::Result<()> {
        let Some((index, line)) = self.place(&answer.correlation) else { return Ok(()) };
        let told = match Told::of_event(&answer.body) {
            Ok(told) => told,
            Err(error) => {
                self.progress.note(&format!("{} {line}: its answer cannot be read: {error}", self.batch.unit));
                return Ok(());
            }
        };
        self.last_answer.set(Instant::now());
        if !self.answered.borrow_mut().set(index) {
            return Ok(());
        }
        if let Some(results) = self.results.borrow_mut().as_mut() {
            results.write_all(&told.to_line(line)?)?;
        }
        self.tally.borrow_mut().take(line, told);
        Ok(())
    }

    /// Whose answer it is: index and line.
    fn place(&self, correlation: &str) -> Option<(u64, u64)> {
        let (index, line) = correlation.strip_prefix(&self.run)?.strip_prefix('.')?.split_once('.')?;
        let index = index.parse().ok().filter(|index| *index < self.batch.spool.count())?;
        Some((index, line.parse().ok()?))
    }

    /// For ever: the end of the session is heard elsewhere.
    async fn tell_blocked(&self, requester: &Requester) -> Infallible {
        let mut state = requester.state();
        loop {
            if state.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            let text = match *state.borrow_and_update() {
                BrokerState::Blocked => "the broker takes no messages now (memory or disk alarm); waiting",
                BrokerState::Connected => "the broker takes messages again",
                BrokerState::Connecting | BrokerState::Refused(_) => continue,
            };
            self.progress.note(text);
        }
    }
}
