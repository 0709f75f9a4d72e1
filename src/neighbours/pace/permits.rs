//! Counts who works, and makes the rest wait. The number may change while some work: it only counts, and decides nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// So many at once. Clones share the count.
#[derive(Clone, Debug)]
pub struct Permits(Arc<PermitsParts>);

#[derive(Debug)]
struct PermitsParts {
    semaphore: Arc<Semaphore>,
    state: Mutex<PermitState>,
    limit: watch::Sender<usize>,
}

#[derive(Debug)]
struct PermitState {
    limit: usize,
    /// Handed out and not yet given back.
    out: usize,
    /// How many of those are not to be handed out again: the limit has shrunk below them.
    debt: usize,
}

/// Leave to work on one request, until it is dropped.
#[derive(Debug)]
pub struct WorkPermit {
    inner: Arc<PermitsParts>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Permits {
    /// So many at once, at least one.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let limit = limit.max(1);
        let state = Mutex::new(PermitState { limit, out: 0, debt: 0 });
        let (semaphore, limit) = (Arc::new(Semaphore::new(limit)), watch::Sender::new(limit));
        Self(Arc::new(PermitsParts { semaphore, state, limit }))
    }

    /// Waits until one is free. Cancel-safe: a permit that was taken and is dropped is given back.
    pub async fn acquire(&self) -> WorkPermit {
        let permit = Arc::clone(&self.0.semaphore).acquire_owned().await.ok();
        self.0.state().out += 1;
        WorkPermit { inner: Arc::clone(&self.0), permit }
    }

    /// From now on so many at once, at least one. Calls in progress go on.
    pub fn set(&self, limit: usize) {
        let limit = limit.max(1);
        let mut state = self.0.state();
        if limit > state.limit {
            let more = limit - state.limit;
            let paid = more.min(state.debt);
            state.debt -= paid;
            self.0.semaphore.add_permits(more - paid);
        } else {
            let fewer = state.limit - limit;
            state.debt += fewer - self.0.semaphore.forget_permits(fewer);
        }
        state.limit = limit;
        self.0.limit.send_if_modified(|known| std::mem::replace(known, limit) != limit);
    }

    /// How many work now.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.0.state().out
    }

    /// The limit, to be watched.
    #[must_use]
    pub fn limit(&self) -> watch::Receiver<usize> {
        self.0.limit.subscribe()
    }
}

impl PermitsParts {
    fn state(&self) -> MutexGuard<'_, PermitState> {
        // Three numbers, changed without anything that could panic in between.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WorkPermit {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        state.out -= 1;
        if state.debt > 0
            && let Some(permit) = self.permit.take()
        {
            state.debt -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::poll_immediate;

    use super::*;

    /// As many as are free now.
    async fn take_all(permits: &Permits) -> Vec<WorkPermit> {
        let mut taken = Vec::new();
        while let Some(permit) = poll_immediate(Box::pin(permits.acquire())).await {
            taken.push(permit);
        }
        taken
    }

    #[tokio::test]
    async fn it_grows_and_shrinks_while_some_work() {
        let permits = Permits::new(4);
        let mut working = take_all(&permits).await;
        assert_eq!((working.len(), permits.busy()), (4, 4));
        permits.set(2);
        working.pop();
        assert!(take_all(&permits).await.is_empty(), "three work, two may");
        working.pop();
        assert!(take_all(&permits).await.is_empty());
        working.pop();
        assert_eq!(take_all(&permits).await.len(), 1);
        permits.set(5);
        working.extend(take_all(&permits).await);
        assert_eq!((working.len(), permits.busy()), (5, 5));
        permits.set(1);
        permits.set(3);
        drop(working);
        assert_eq!(take_all(&permits).await.len(), 3, "no permit was lost or made up on the way");
    }

    #[tokio::test]
    async fn one_may_always_work() {
        let permits = Permits::new(0);
        permits.set(0);
        assert_eq!(take_all(&permits).await.len(), 1);
    }
}
