//! The tasks beside the worker. None of them ends before it is told to: one that does would leave a process that looks
//! alive, and is not.

use std::error::Error;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::platform::panics::caught;
use crate::platform::telemetry::metrics::Metrics;

/// How a task ended: its name, and why, where that was no order.
type Ended = (&'static str, Result<(), String>);

/// Owns the tasks.
pub(super) struct Background {
    tasks: JoinSet<Ended>,
    /// Cancelled when the process is to end, which all tasks see; cancelled here when a task has ended before.
    shutdown: CancellationToken,
    metrics: Metrics,
    /// The first one that ended badly.
    failed: Option<String>,
}

impl Background {
    pub(super) fn new(shutdown: CancellationToken, metrics: Metrics) -> Self {
        Self { tasks: JoinSet::new(), shutdown, metrics, failed: None }
    }

    /// Runs `work` until it ends by itself, which it does after the shutdown only.
    pub(super) fn run<E: Error>(
        &mut self,
        name: &'static str,
        work: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let metrics = self.metrics.clone();
        self.tasks.spawn(async move {
            let ended = caught(work).await;
            if ended.is_err() {
                metrics.panicked();
            }
            (name, ended.and_then(|result| result.map_err(|error| error.to_string())))
        });
    }

    /// Waits for `main`. A task that ends meanwhile shuts everything down: a process that ends is started again.
    pub(super) async fn watch<T>(&mut self, main: impl Future<Output = T>) -> T {
        let mut main = std::pin::pin!(main);
        loop {
            tokio::select! {
                done = &mut main => return done,
                Some(ended) = self.tasks.join_next() => self.ended(ended),
            }
        }
    }

    /// Waits for all of them, which have been told to end.
    ///
    /// # Errors
    /// One of them has ended badly, or too early.
    pub(super) async fn all_ended(mut self) -> Result<(), String> {
        while let Some(ended) = self.tasks.join_next().await {
            self.ended(ended);
        }
        self.failed.map_or(Ok(()), Err)
    }

    fn ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        let why = match ended {
            Ok((_, Ok(()))) if self.shutdown.is_cancelled() => return,
            Ok((name, Ok(()))) => format!("{name} has ended without being told to"),
            Ok((name, Err(why))) => format!("{name} has ended: {why}"),
            Err(error) => format!("a task was lost: {error}"),
        };
        tracing::error!(why, "shutting down: a part of the process is gone");
        self.failed.get_or_insert(why);
        self.shutdown.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    async fn ended_by(work: impl Future<Output = io::Result<()>> + Send + 'static) -> (Result<(), String>, String) {
        let (shutdown, metrics) = (CancellationToken::new(), Metrics::new().unwrap());
        let mut beside = Background::new(shutdown.clone(), metrics.clone());
        let told = shutdown.clone();
        beside.run("the other", async move {
            told.cancelled().await;
            io::Result::Ok(())
        });
        beside.run("the one", work);
        // The worker: it works until the shutdown.
        beside.watch(shutdown.cancelled()).await;
        (beside.all_ended().await, metrics.render().unwrap())
    }

    #[tokio::test]
    async fn a_task_that_panics_ends_the_process() {
        let (ended, metrics) = ended_by(async { panic!("boom") }).await;
        assert_eq!(ended, Err("the one has ended: boom".to_owned()));
        assert!(metrics.contains("asset_eraser_panics_total 1"), "{metrics}");
    }

    #[tokio::test]
    async fn so_does_one_that_fails_or_just_ends() {
        let (ended, metrics) = ended_by(async { Err(io::Error::other("no socket")) }).await;
        assert_eq!(ended, Err("the one has ended: no socket".to_owned()));
        assert!(metrics.contains("asset_eraser_panics_total 0"), "{metrics}");
        let (ended, _) = ended_by(async { Ok(()) }).await;
        assert_eq!(ended, Err("the one has ended without being told to".to_owned()));
    }

    #[tokio::test]
    async fn one_that_is_told_to_end_may() {
        let shutdown = CancellationToken::new();
        let mut beside = Background::new(shutdown.clone(), Metrics::new().unwrap());
        let told = shutdown.clone();
        beside.run("the signal", async move {
            told.cancel();
            io::Result::Ok(())
        });
        beside.watch(shutdown.cancelled()).await;
        assert_eq!(beside.all_ended().await, Ok(()));
    }
}
