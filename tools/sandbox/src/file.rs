//! The bytes of an asset's file: as many as it is said to have, never in memory, and the same each time.
//!
//! A file is the same block over and over, but that each begins with its number. So no piece of it can be lost, doubled
//! or moved without its digest changing, and making gigabytes costs nothing. Each asset has a block of its own.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use sha2::{Digest, Sha256};

use super::world::Asset;

/// Bytes of a block.
pub const BLOCK: u64 = 64 * 1024;

/// What there is to send.
#[derive(Clone)]
pub struct Content {
    pub length: u64,
    pub media: &'static str,
    block: Arc<Vec<u8>>,
}

impl Content {
    pub fn of(id: &str, asset: &Asset) -> Self {
        let media = match asset.kind.as_str() {
            "Image" => "image/png",
            "Video" => "video/mp4",
            "Audio" => "audio/mpeg",
            _ => "application/octet-stream",
        };
        Self { length: asset.size, media, block: Arc::new(block_of(id)) }
    }

    /// The piece at a place, to the end of its block, however long the file is said to be.
    pub fn piece(&self, at: u64) -> Bytes {
        let (number, offset) = (at / BLOCK, usize::try_from(at % BLOCK).unwrap_or_default());
        let mut piece = self.block.as_ref().clone();
        piece[..8].copy_from_slice(&number.to_le_bytes());
        Bytes::from(piece).slice(offset..)
    }

    /// The piece at a place, as far as the file goes; nothing at its end.
    fn piece_within(&self, at: u64) -> Option<Bytes> {
        let left = self.length.checked_sub(at).filter(|left| *left > 0)?;
        let mut piece = self.piece(at);
        piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        Some(piece)
    }

    /// In lower case hex.
    pub fn sha256(&self) -> String {
        let mut digest = Sha256::new();
        let mut at = 0;
        while let Some(piece) = self.piece_within(at) {
            digest.update(&piece);
            at += piece.len() as u64;
        }
        hex::encode(digest.finalize())
    }
}

/// Bytes that follow from the ID alone: a digest, the digest of that, and so on.
fn block_of(id: &str) -> Vec<u8> {
    let mut digest = Sha256::digest(id);
    let mut block = Vec::new();
    while (block.len() as u64) < BLOCK {
        block.extend_from_slice(&digest);
        digest = Sha256::digest(digest);
    }
    block
}

/// The plain answer: whole, with its length.
pub fn streamed(content: Content) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content.media)),
        (header::CONTENT_LENGTH, content.length.into()),
    ];
    let pieces = stream::unfold((content, 0), |(content, at)| async move {
        let piece = content.piece_within(at)?;
        let next = at + piece.len() as u64;
        Some((Ok::<_, std::io::Error>(piece), (content, next)))
    });
    (headers, Body::from_stream(pieces)).into_response()
}
