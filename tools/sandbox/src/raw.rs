//! A file sent by hand over the bare connection: hyper sends no answer that contradicts itself.

use std::{io, time::Duration};

use serde::Deserialize;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    time::sleep,
};

use super::file::Content;

/// Steps a second in which a slow file comes.
const STEPS: u64 = 10;

/// How the bytes of a file come. Without any field: as they should.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sending {
    /// What tells where the body ends: `length`, `chunked`, or `close` (nothing but the end of the connection).
    framing: Framing,
    /// What `Content-Length` says; else the size of the file.
    declared: Option<u64>,
    /// How many bytes really come; else the size of the file. More than that are made up.
    bytes: Option<u64>,
    /// They never end.
    endless: bool,
    /// With `chunked`: the connection ends where the last chunk should be.
    cut: bool,
    /// After so many bytes nothing more comes…
    stall_at: Option<u64>,
    /// …for so long; else for ever.
    stall_ms: Option<u64>,
    bytes_per_s: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Framing {
    #[default]
    Length,
    Chunked,
    Close,
}

impl Sending {
    /// Itself, or what is wrong with it.
    pub fn checked(self) -> Result<Self, String> {
        if self.declared.is_some() && self.framing != Framing::Length {
            return Err("declared is for the framing length".into());
        }
        if self.cut && self.framing != Framing::Chunked {
            return Err("cut is for the framing chunked; with length, let fewer bytes come than are declared".into());
        }
        if self.endless && self.bytes.is_some() {
            return Err("either endless or bytes".into());
        }
        if self.bytes_per_s.is_some_and(|rate| rate < STEPS) {
            return Err(format!("bytes_per_s must be at least {STEPS}"));
        }
        if self.stall_ms.is_some() && self.stall_at.is_none() {
            return Err("stall_ms needs stall_at".into());
        }
        Ok(self)
    }
}

/// What is sent, and how.
#[derive(Clone)]
pub struct Raw {
    pub content: Content,
    pub sending: Sending,
}

impl Raw {
    /// Sends it all; the owner of the connection closes it.
    ///
    /// # Errors
    ///
    /// Those of the connection: the client has had enough.
    pub async fn send(&self, out: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        out.write_all(self.head().as_bytes()).await?;
        let Sending { stall_at, stall_ms, .. } = self.sending;
        let last = if self.sending.endless { u64::MAX } else { self.sending.bytes.unwrap_or(self.content.length) };
        let stall = stall_at.filter(|at| *at <= last);
        let mut at = 0;
        loop {
            if stall == Some(at) {
                out.flush().await?;
                match stall_ms {
                    Some(ms) => sleep(Duration::from_millis(ms)).await,
                    // Ends when the sandbox does.
                    None => std::future::pending().await,
                }
            }
            if at == last {
                break;
            }
            let until = stall.filter(|stall| *stall > at).unwrap_or(last);
            at += self.piece(out, at, until).await?;
        }
        if self.sending.framing == Framing::Chunked && !self.sending.cut {
            out.write_all(b"0\r\n\r\n").await?;
        }
        out.flush().await
    }

    fn head(&self) -> String {
        let framing = match self.sending.framing {
            Framing::Length => {
                format!("content-length: {}\r\n", self.sending.declared.unwrap_or(self.content.length))
            }
            Framing::Chunked => "transfer-encoding: chunked\r\n".into(),
            Framing::Close => String::new(),
        };
        format!("HTTP/1.1 200 OK\r\ncontent-type: {}\r\n{framing}connection: close\r\n\r\n", self.content.media)
    }

    /// Sends the next piece, which ends at `until` at the latest, and gives its length.
    async fn piece(&self, out: &mut (impl AsyncWrite + Unpin), at: u64, until: u64) -> io::Result<u64> {
        let step = self.sending.bytes_per_s.map(|rate| rate / STEPS);
        let most = step.unwrap_or(u64::MAX).min(until - at);
        let mut piece = self.content.piece(at);
        piece.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        if self.sending.framing == Framing::Chunked {
            out.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
            out.write_all(&piece).await?;
            out.write_all(b"\r\n").await?;
        } else {
            out.write_all(&piece).await?;
        }
        if step.is_some() {
            out.flush().await?;
            sleep(Duration::from_secs(1) / u32::try_from(STEPS).unwrap_or(1)).await;
        }
        Ok(piece.len() as u64)
    }
}
