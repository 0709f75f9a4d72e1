//! The connection's bytes on their way to the AMQP library: all as they come, but for what publishers wrote about messages.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::Stream;
use lapin::tcp::{AMQPUriTcpExt, AsyncTcpStream, OwnedTLSConfig};
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::clean::Frames;

/// Read from the network at once, in bytes.
const CHUNK: usize = 32 * 1024;

type PlainStream = AsyncTcpStream<<Tokio as Reactor>::TcpStream>;
type Kit = RuntimeParts<Tokio, Cleaning>;

/// Connects; what the library reads is clean.
///
/// A broker may be away for long, and the library leaves something behind each time: a task where it has to open a stream
/// and cannot, so it is given one that is open; a thread where no task waits any more for a handshake that does not end, so
/// its stream fails then.
pub(super) async fn connect(
    uri: AMQPUri,
    properties: ConnectionProperties,
    tls: OwnedTLSConfig,
    longest_body: u64,
) -> lapin::Result<Connection> {
    let frame_max = uri.query.frame_max.unwrap_or_default();
    let runtime = Runtime::new(Kit::new(Tokio::current(), Cleaning(Tokio::current())));
    let plain = Runtime::new(Tokio::current());
    let given_up = CancellationToken::new();
    let waiting = given_up.clone().drop_guard();
    let opened = Mutex::new(Some(uri.connect_with_config_async(tls.as_ref(), &plain).await?));
    let connect = async move |uri: AMQPUri, _: Runtime<Kit>| {
        let first = opened.lock().unwrap_or_else(PoisonError::into_inner).take();
        let stream = match first {
            Some(stream) => stream,
            // It was closed at once, and the library tries again.
            None => uri.connect_with_config_async(tls.as_ref(), &plain).await?,
        };
        Ok(AsyncTcpStream::Plain(Cleaned::new(stream, Frames::new(frame_max, longest_body), given_up.clone())))
    };
    let connected = Connection::connector(uri, runtime, connect, properties).await?;
    waiting.disarm();
    Ok(connected)
}

/// Tokio, whose connections are cleaned.
#[derive(Clone, Debug)]
struct Cleaning(Tokio);

impl Reactor for Cleaning {
    type TcpStream = Cleaned;
    type Sleep = <Tokio as Reactor>::Sleep;

    /// For sockets that were opened elsewhere. The AMQP library opens its own, below.
    fn register<H: Read + Write + Send + 'static>(
        &self,
        _socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<Cleaned, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, dur: Duration) -> Self::Sleep {
        self.0.sleep(dur)
    }

    fn interval(&self, dur: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(dur)
    }

    fn tcp_connect_addr(&self, addr: SocketAddr) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let connecting = self.0.tcp_connect_addr(addr);
        async {
            Ok(Cleaned::new(AsyncTcpStream::Plain(connecting.await?), Frames::new(0, 0), CancellationToken::new()))
        }
    }
}

/// A stream whose frames are cleaned as they come.
struct Cleaned {
    inner: PlainStream,
    frames: Frames,
    chunk: Box<[u8]>,
    given_up: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Cleaned {
    /// Fails once it is `given_up`.
    fn new(inner: PlainStream, frames: Frames, given_up: CancellationToken) -> Self {
        let given_up = Box::pin(given_up.cancelled_owned());
        Self { inner, frames, chunk: vec![0; CHUNK].into(), given_up }
    }
}

impl AsyncRead for Cleaned {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        loop {
            let given = this.frames.give(to);
            if given > 0 || to.is_empty() {
                return Poll::Ready(Ok(given));
            }
            let Poll::Ready(read) = Pin::new(&mut this.inner).poll_read(cx, &mut this.chunk) else {
                ready!(this.given_up.as_mut().poll(cx));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            };
            let read = read?;
            if read == 0 {
                return Poll::Ready(Ok(0));
            }
            this.frames.take(&this.chunk[..read]);
        }
    }
}

impl AsyncWrite for Cleaned {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, from)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}
