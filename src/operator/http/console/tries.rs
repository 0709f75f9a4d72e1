//! How fast passwords can be tried at the console: by all clients together, and whatever a client does.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// How long the next try waits after a wrong one.
const WRONG: Duration = Duration::from_millis(500);
/// Tries that may wait. More are refused without a look at the password.
const WAITING: usize = 8;

/// One password is compared at a time, and each try waits until the one before it has ended. If the right password were
/// answered sooner, a client could guess as fast as it gives up waiting.
pub(super) struct Tries {
    places: Arc<Semaphore>,
    one_at_a_time: Arc<Mutex<()>>,
}

/// One try. While it lasts, no other password is compared.
pub(super) struct LoginTry {
    _place: OwnedSemaphorePermit,
    _alone: OwnedMutexGuard<()>,
}

impl Default for Tries {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(1 + WAITING)), one_at_a_time: Arc::default() }
    }
}

impl Tries {
    /// Waits until the tries before it have ended; `None` if too many wait already.
    pub(super) async fn begin(&self) -> Option<LoginTry> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(LoginTry { _place: place, _alone: Arc::clone(&self.one_at_a_time).lock_owned().await })
    }
}

impl LoginTry {
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
    async fn wrong_tries_of_all_clients_wait_for_each_other_also_if_the_client_has_gone() {
        let (tries, began) = (Tries::default(), Instant::now());
        for _ in 0..3 {
            let wrong = tries.begin().await.unwrap();
            assert!(wrong.end_wrong().now_or_never().is_none());
        }
        drop(tries.begin().await.unwrap());
        assert!(began.elapsed() >= 3 * WRONG, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn right_ones_wait_for_none_and_more_than_may_wait_are_refused() {
        let tries = Tries::default();
        for _ in 0..1_000 {
            drop(tries.begin().await.unwrap());
        }
        let first = tries.begin().await.unwrap();
        let mut waiting: Vec<_> = (0..WAITING).map(|_| Box::pin(tries.begin())).collect();
        assert!(waiting.iter_mut().all(|next| next.as_mut().now_or_never().is_none()));
        assert!(tries.begin().now_or_never().unwrap().is_none());
        drop(first);
        assert!(waiting.remove(0).now_or_never().flatten().is_some());
    }
}
