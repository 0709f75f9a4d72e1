//! Compressed bodies. The worker asks for none, and some servers and gateways compress all the same.

use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::Fault;

/// The body that `encoding` (a `Content-Encoding`) says was compressed; at most `limit` bytes of it, however small it came.
pub(super) fn inflate(encoding: &str, body: Vec<u8>, limit: usize) -> Result<Vec<u8>, Fault> {
    match encoding.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(body),
        "gzip" | "x-gzip" => bounded(MultiGzDecoder::new(&*body), limit),
        // By the letter it is zlib's format; some servers send the bare one.
        "deflate" => match bounded(ZlibDecoder::new(&*body), limit) {
            Err(Fault::Unreadable) => bounded(DeflateDecoder::new(&*body), limit),
            other => other,
        },
        _ => Err(Fault::Encoding),
    }
}

fn bounded(reader: impl Read, limit: usize) -> Result<Vec<u8>, Fault> {
    let (mut whole, most) = (Vec::new(), u64::try_from(limit).unwrap_or(u64::MAX));
    let read = reader.take(most.saturating_add(1)).read_to_end(&mut whole);
    match read {
        Ok(_) if whole.len() > limit => Err(Fault::TooLarge),
        Ok(_) => Ok(whole),
        Err(_) => Err(Fault::Unreadable),
    }
}

#[cfg(test)]
mod tests;
