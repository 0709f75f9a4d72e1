//! The accept loop: hyper around the router, because axum alone cannot break a connection on purpose.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, response::Response};
use hyper::{
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::raw::Raw;

/// How long calls may still run after a stop; what hangs longer hangs on purpose.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Pause after a failed `accept` (out of file descriptors, mostly), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A response that carries this extension is never sent: this is done to its connection instead, which is closed then.
#[derive(Clone)]
pub enum Unsent {
    Cut,
    Raw(Raw),
}

/// Serves `router` until `stop` resolves, then lets running calls finish for [`STOP_GRACE`].
pub async fn run(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let (stopping, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            // Finished tasks are collected as they end, or the set would grow with every connection.
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { connections.spawn(connection(stream, router.clone(), stopped.clone())); }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    stopping.send_replace(true);
    // A timeout is no error: dropping the set aborts the calls that hang.
    let _ = timeout(STOP_GRACE, async { while connections.join_next().await.is_some() {} }).await;
}

async fn connection(stream: TcpStream, router: Router, mut stopped: watch::Receiver<bool>) {
    // Small answers at once: without it the measured latency is Nagle's, not ours.
    let _ = stream.set_nodelay(true);
    let inner = TowerToHyperService::new(router);
    let raw = Arc::new(Mutex::new(None));
    let kept = raw.clone();
    let service = service_fn(move |request| {
        let (answer, kept) = (inner.call(request), kept.clone());
        // Boxed, because only a connection of such a service can be had back.
        Box::pin(async move { or_unsent(answer.await, &kept) })
    });
    let mut served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // Errors are the client going away or an answer that was not to be sent: there is nothing to report.
    let stopping = tokio::select! {
        _ = poll_fn(|context| served.poll_without_shutdown(context)) => false,
        _ = stopped.wait_for(|stopped| *stopped) => true,
    };
    if stopping {
        Pin::new(&mut served).graceful_shutdown();
        let _ = poll_fn(|context| served.poll_without_shutdown(context)).await;
    }
    let raw = raw.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut stream = served.into_parts().io.into_inner();
    if let Some(raw) = raw {
        let _ = raw.send(&mut stream).await;
    }
    let _ = stream.shutdown().await;
}

/// hyper gives up the connection without a byte of answer when the service fails.
fn or_unsent(answer: Result<Response, Infallible>, raw: &Mutex<Option<Raw>>) -> io::Result<Response> {
    let Ok(mut response) = answer;
    match response.extensions_mut().remove::<Unsent>() {
        None => return Ok(response),
        Some(Unsent::Cut) => {}
        Some(Unsent::Raw(plan)) => *raw.lock().unwrap_or_else(PoisonError::into_inner) = Some(plan),
    }
    Err(io::ErrorKind::ConnectionAborted.into())
}
