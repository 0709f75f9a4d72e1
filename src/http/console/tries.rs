//! How fast passwords can be tried at the console: by all clients together, and whatever a client does.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// How long the next try waits after a wrong one.
const WRONG: Duration = Duration::from_millis(500);
/// Tries that may wait for their turn. More are refused unseen.
const WAITING: usize = 8;

/// One try has its turn at a time, and nothing is looked at before its turn: an answer that came sooner for the right
/// password would tell it to a client that does not wait for the others.
pub(super) struct Tries {
    places: Arc<Semaphore>,
    turn: Arc<Mutex<()>>,
}

/// While this is held, no other try is looked at.
pub(super) struct Turn {
    _place: OwnedSemaphorePermit,
    _turn: OwnedMutexGuard<()>,
}

impl Default for Tries {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(1 + WAITING)), turn: Arc::default() }
    }
}

impl Tries {
    /// Waits for the turn; `None` if too many wait already.
    pub(super) async fn turn(&self) -> Option<Turn> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Turn { _place: place, _turn: Arc::clone(&self.turn).lock_owned().await })
    }
}

impl Turn {
    /// Ends a wrong try. The next one waits, even if the client of this one has gone.
    pub(super) async fn end_wrong(self) {
        let held = tokio::spawn(async move {
            tokio::time::sleep(WRONG).await;
            drop(self);
        });
        if held.await.is_err() {
            tracing::error!("the wait after a wrong login has failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn wrong_tries_of_all_clients_take_turns_also_if_the_client_has_gone() {
        let (tries, began) = (Tries::default(), Instant::now());
        for _ in 0..3 {
            let turn = tries.turn().await.unwrap();
            assert!(turn.end_wrong().now_or_never().is_none());
        }
        drop(tries.turn().await.unwrap());
        assert!(began.elapsed() >= 3 * WRONG, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn right_ones_wait_for_none_and_more_than_may_wait_are_refused() {
        let tries = Tries::default();
        for _ in 0..1_000 {
            drop(tries.turn().await.unwrap());
        }
        let first = tries.turn().await.unwrap();
        let mut waiting: Vec<_> = (0..WAITING).map(|_| Box::pin(tries.turn())).collect();
        assert!(waiting.iter_mut().all(|turn| turn.as_mut().now_or_never().is_none()));
        assert!(tries.turn().now_or_never().unwrap().is_none());
        drop(first);
        assert!(waiting.remove(0).now_or_never().flatten().is_some());
    }
}
