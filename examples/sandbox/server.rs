//! The accept loop: hyper around the router, because axum alone cannot break a connection on purpose.

use std::{convert::Infallible, future::Future, io, pin::pin, time::Duration};

use axum::{Router, response::Response};
use hyper::{
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

/// How long calls may still run after a stop; what hangs longer hangs on purpose.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Pause after a failed `accept` (out of file descriptors, mostly), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A response that carries this extension is never sent: its connection is closed instead.
#[derive(Clone, Copy)]
pub struct Cut;

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
    let service = service_fn(move |request| {
        let answer = inner.call(request);
        async move { or_cut(answer.await) }
    });
    let mut served = pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    // Errors are the client going away or a cut that was asked for: nothing to tell anybody.
    tokio::select! {
        _ = served.as_mut() => return,
        _ = stopped.wait_for(|stopped| *stopped) => served.as_mut().graceful_shutdown(),
    }
    let _ = served.await;
}

/// hyper closes the connection without a byte of answer when the service fails.
fn or_cut(answer: Result<Response, Infallible>) -> io::Result<Response> {
    let Ok(response) = answer;
    if response.extensions().get::<Cut>().is_some() {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    Ok(response)
}
