//! A download in pieces of the size that stores want, hashed and counted as they go by.

use bytes::Bytes;
use object_store::PutPayload;
use sha2::{Digest, Sha256};

use super::Trouble;
use super::source::Download;

/// What was written, or read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Whole {
    /// In bytes.
    pub(super) length: u64,
    /// In hexadecimal.
    pub(super) sha256: String,
}

/// The least that a piece holds, in bytes. S3 takes no smaller ones than 5 MiB.
const LEAST: u64 = 8 << 20;
/// S3 takes no more pieces of one object.
const MOST_PIECES: u64 = 10_000;

/// The pieces of one download, all but the last of the same size (some stores insist).
#[derive(Debug)]
pub(super) struct Pieces {
    download: Download,
    size: usize,
    /// What came beyond the last piece.
    over: Bytes,
    digest: Sha256,
    length: u64,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) bytes: PutPayload,
    /// Whether none follows it.
    pub(super) last: bool,
}

impl Pieces {
    pub(super) fn of(download: Download) -> Self {
        let size = LEAST.max(download.most().div_ceil(MOST_PIECES));
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        Self { download, size, over: Bytes::new(), digest: Sha256::new(), length: 0 }
    }

    pub(super) async fn next(&mut self) -> Result<Piece, Trouble> {
        let (mut chunks, mut held) = (Vec::new(), 0);
        loop {
            let mut chunk = std::mem::take(&mut self.over);
            if chunk.is_empty() {
                match self.download.next().await? {
                    Some(more) => chunk = more,
                    None => return Ok(Piece { bytes: chunks.into_iter().collect(), last: true }),
                }
                self.digest.update(&chunk);
                self.length += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            }
            if held + chunk.len() > self.size {
                self.over = chunk.split_off(self.size - held);
                chunks.push(chunk);
                return Ok(Piece { bytes: chunks.into_iter().collect(), last: false });
            }
            held += chunk.len();
            chunks.push(chunk);
        }
    }

    /// What all of them were. To be asked after the last one.
    pub(super) fn whole(self) -> Whole {
        Whole { length: self.length, sha256: hex::encode(self.digest.finalize()) }
    }
}
