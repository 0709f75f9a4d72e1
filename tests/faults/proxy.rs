//! A network that breaks: a TCP proxy between the worker and a server.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::clock::now_ms;

/// What happens to one answer of the server.
#[derive(Clone, Copy, Debug)]
pub enum Break {
    /// Not a byte of it arrives: the request was sent, and the connection is reset.
    Unanswered,
    /// Some bytes of it arrive, then the connection is reset.
    After(usize),
}

/// A proxy for one server; stops when dropped.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    upstream: Mutex<String>,
    /// Raised to reset every connection there is.
    resets: watch::Sender<u64>,
    /// While true nothing is passed on, in either direction, and new connections get no further either.
    frozen: watch::Sender<bool>,
    /// What every piece of an answer waits for. Requests are never held up: a `DELETE` that arrives late would look as
    /// if it had been sent late.
    delay_ms: AtomicU64,
    breaks: Mutex<VecDeque<Break>>,
    /// When answers were broken or connections reset, in milliseconds since 1970.
    troubles: Mutex<Vec<i64>>,
}

impl Proxy {
    pub async fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shared = Arc::new(Shared {
            upstream: Mutex::new(upstream.to_owned()),
            resets: watch::Sender::new(0),
            frozen: watch::Sender::new(false),
            delay_ms: AtomicU64::new(0),
            breaks: Mutex::default(),
            troubles: Mutex::default(),
        });
        let port = listener.local_addr().unwrap().port();
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Self { port, shared, accepting }
    }

    /// A proxy for the server of a URL, and the URL that leads through the proxy.
    pub async fn before(url: &str) -> (Self, String) {
        let mut through = url::Url::parse(url).unwrap();
        let upstream = format!("{}:{}", through.host_str().unwrap(), through.port().unwrap());
        let proxy = Self::start(&upstream).await;
        through.set_port(Some(proxy.port)).unwrap();
        (proxy, through.to_string())
    }

    /// Leads the connections that are opened from now on to another server.
    pub fn lead_to(&self, upstream: &str) {
        upstream.clone_into(&mut self.shared.upstream.lock().unwrap());
    }

    /// Resets every connection.
    pub fn cut(&self) {
        self.shared.trouble();
        self.shared.resets.send_modify(|resets| *resets += 1);
    }

    /// Half-open: nothing arrives any more, and neither side notices. [`Self::thaw`] ends it with a reset, so that nothing
    /// that was held back ever arrives.
    pub fn freeze(&self) {
        self.shared.trouble();
        self.shared.frozen.send_replace(true);
    }

    pub fn thaw(&self) {
        self.cut();
        self.shared.frozen.send_replace(false);
    }

    pub fn delay(&self, by: Duration) {
        self.shared.delay_ms.store(u64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// The next answers, one each.
    pub fn break_answers(&self, breaks: impl IntoIterator<Item = Break>) {
        self.shared.breaks.lock().unwrap().extend(breaks);
    }

    /// When something was broken so far.
    pub fn troubles(&self) -> Vec<i64> {
        self.shared.troubles.lock().unwrap().clone()
    }

    /// Everything works again.
    pub fn mend(&self) {
        self.delay(Duration::ZERO);
        self.shared.breaks.lock().unwrap().clear();
        if *self.shared.frozen.borrow() {
            self.thaw();
        }
    }
}

impl Shared {
    fn trouble(&self) {
        self.troubles.lock().unwrap().push(now_ms());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let shared = shared.clone();
        tokio::spawn(async move {
            let mut resets = shared.resets.subscribe();
            tokio::select! {
                _ = resets.changed() => {}
                // Either side has ended, in an error or not: the other side is cut off too.
                () = pass(client, &shared) => {}
            }
        });
    }
}

/// Until one side ends; then both sockets are dropped. They are dropped with a reset, as that is what breaks are.
async fn pass(client: TcpStream, shared: &Shared) {
    let upstream = shared.upstream.lock().unwrap().clone();
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    for socket in [&client, &server] {
        let (reset, hurry) = (socket.set_zero_linger(), socket.set_nodelay(true));
        if reset.and(hurry).is_err() {
            return;
        }
    }
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        () = requests(from_client, to_server, shared) => {}
        () = answers(from_server, to_client, shared) => {}
    }
}

async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        melted(shared).await;
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        melted(shared).await;
        tokio::time::sleep(Duration::from_millis(shared.delay_ms.load(Ordering::Relaxed))).await;
        let broken = shared.breaks.lock().unwrap().pop_front();
        let kept = match broken {
            None => read,
            Some(Break::Unanswered) => return shared.trouble(),
            Some(Break::After(kept)) => kept.min(read),
        };
        if broken.is_some() {
            shared.trouble();
        }
        if to.write_all(&bytes[..kept]).await.is_err() {
            return;
        }
        if broken.is_some() {
            // A reset throws away what the other side has not read yet; the bytes should be seen.
            tokio::time::sleep(Duration::from_millis(5)).await;
            return;
        }
    }
}

/// While it is frozen this never ends: thawing resets the connection, which drops the task that waits here.
async fn melted(shared: &Shared) {
    if *shared.frozen.borrow() {
        std::future::pending::<()>().await;
    }
}
