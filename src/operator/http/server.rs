//! Connections over HTTP: at most so many, each with a limited time for what it sends.
//!
//! When there are as many as there may be, the next one takes the place of the one that has been idle longest. So idle and
//! half-sent connections keep no probe away, and no file descriptor that the rest of the worker needs.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::platform::telemetry::metrics::Metrics;

/// Longest time for the head of a request, from the end of the last one: so long may a connection be idle.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// Longest time for the body of a request and the work on it. The longest question to a ledger takes 30 s.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);
/// Longest head of a request, in bytes.
const LARGEST_HEAD: usize = 32 * 1024;
/// How long to wait when the system has no descriptor for another connection.
const NO_DESCRIPTOR: Duration = Duration::from_millis(200);

/// The fewest and the most connections at once.
pub(super) const FEWEST: usize = 16;
const MOST: usize = 512;

/// A quarter of the descriptors that this process may have open, within bounds.
pub(super) fn most_connections() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(descriptors / 4).unwrap_or(usize::MAX).clamp(FEWEST, MOST)
}

/// Every connection that is open.
struct OpenConnections {
    most: usize,
    open: Mutex<BTreeMap<u64, OpenConnection>>,
    /// One has ended, or has become idle.
    room: Notify,
    metrics: Metrics,
}

struct OpenConnection {
    /// Since when it works on no request; `None` while it does.
    idle: Option<Instant>,
    close: CancellationToken,
}

impl OpenConnections {
    fn new(most: usize, metrics: Metrics) -> Self {
        Self { most, open: Mutex::default(), room: Notify::new(), metrics }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, OpenConnection>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more, at the cost of an idle one if need be; waits while all are at work.
    async fn seat(self: &Arc<Self>, number: u64) -> Seat {
        loop {
            let room = self.room.notified();
            if let Some(seat) = self.take(number) {
                return seat;
            }
            room.await;
        }
    }

    fn take(self: &Arc<Self>, number: u64) -> Option<Seat> {
        let mut open = self.open();
        if open.len() >= self.most {
            let idle = open.iter().filter_map(|(number, one)| Some((one.idle?, *number)));
            let longest = idle.min()?.1;
            open.remove(&longest).inspect(|one| one.close.cancel())?;
            self.metrics.http_connection_closed();
            self.metrics.http_connection_displaced();
        }
        let close = CancellationToken::new();
        open.insert(number, OpenConnection { idle: Some(Instant::now()), close: close.clone() });
        self.metrics.http_connection_opened();
        Some(Seat { number, close, connections: self.clone() })
    }

    fn mark(&self, number: u64, idle: Option<Instant>) {
        if let Some(one) = self.open().get_mut(&number) {
            one.idle = idle;
        }
        if idle.is_some() {
            self.room.notify_one();
        }
    }

    fn remove(&self, number: u64) {
        if self.open().remove(&number).is_some() {
            self.metrics.http_connection_closed();
        }
        self.room.notify_one();
    }
}

/// The place of one connection, given up when this is dropped.
struct Seat {
    number: u64,
    /// Cancelled when another connection takes the place.
    close: CancellationToken,
    connections: Arc<OpenConnections>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.connections.remove(self.number);
    }
}

/// While this lasts, a connection is at work.
struct AtWork<'a>(&'a Seat);

impl<'a> AtWork<'a> {
    fn on(seat: &'a Seat) -> Self {
        seat.connections.mark(seat.number, None);
        Self(seat)
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.connections.mark(self.0.number, Some(Instant::now()));
    }
}

/// Serves until `shutdown` is cancelled, and lets running requests finish.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    most: usize,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let (connections, tasks) = (Arc::new(OpenConnections::new(most, metrics)), TaskTracker::new());
    let router = TowerToHyperService::new(router);
    for number in 0_u64.. {
        let next = async {
            let stream = accepted(&listener).await;
            (stream, connections.seat(number).await)
        };
        let (stream, seat) = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            next = next => next,
        };
        tasks.spawn(connection(stream, seat, router.clone(), shutdown.clone()));
    }
    tasks.close();
    tasks.wait().await;
}

/// The next connection. What is wrong with one that was not accepted, or that the process has no descriptor left, passes.
async fn accepted(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if is_of_one(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "no HTTP connection can be accepted now");
                tokio::time::sleep(NO_DESCRIPTOR).await;
            }
        }
    }
}

fn is_of_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn connection(stream: TcpStream, seat: Seat, router: TowerToHyperService<Router>, shutdown: CancellationToken) {
    let service = service_fn(|request| answered(request, &seat, &router));
    let mut served = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_LIMIT)
            .max_buf_size(LARGEST_HEAD)
            .serve_connection(TokioIo::new(stream), service)
    );
    // What went wrong with it is the client's to know.
    tokio::select! {
        _ = served.as_mut() => return,
        () = seat.close.cancelled() => return,
        () = shutdown.cancelled() => served.as_mut().graceful_shutdown(),
    }
    let _ = served.await;
}

async fn answered(
    request: Request<Incoming>,
    seat: &Seat,
    router: &TowerToHyperService<Router>,
) -> Result<Response, Infallible> {
    let _at_work = AtWork::on(seat);
    let answer = tokio::time::timeout(REQUEST_LIMIT, router.call(request.map(Body::new))).await;
    answer.unwrap_or_else(|_| Ok(StatusCode::REQUEST_TIMEOUT.into_response()))
}
