//! Makes readable what a publisher may have written into a message, before the AMQP library reads it.
//!
//! The broker passes on names and texts that are not UTF-8, tables within tables within tables, and headers that are larger
//! than a frame may be. The library gives a connection up over the first and the last, and overflows its stack over the
//! second. Then the message cannot be taken out of its queue, and comes back first, each time, before all others.
//!
//! The library also holds each body whole. A body that is longer than any that is read is left out here, by the size that the
//! content header announces, and a header of ours says how long it was.

mod methods;
mod properties;
mod rest;

use std::collections::BTreeMap;

pub(super) use self::properties::BODY_LEFT_OUT;

#[cfg(any(test, fuzzing))]
pub(super) use self::properties::is_readable;

/// Type, channel and size of a frame.
const FRAME_HEAD: usize = 7;
const FRAME_END: usize = 1;
/// What a frame adds to its payload, in bytes.
pub(super) const AROUND: usize = FRAME_HEAD + FRAME_END;
const METHOD: u8 = 1;
const CONTENT_HEADER: u8 = 2;
const BODY: u8 = 3;

/// The longest frame that is held until all of it is here, in bytes. No broker lets a publisher write a longer header,
/// unless its `frame_max` was raised; of those only the size of the body is read.
const LONGEST_HELD: usize = 16 * 1024 * 1024;
/// The least that AMQP allows for `frame_max`, in bytes.
const LEAST_FRAME_MAX: u32 = 4096;

/// The bytes from the broker, frame by frame.
#[derive(Debug)]
pub(super) struct Frames {
    /// What has come and is not handed on yet.
    bytes: Vec<u8>,
    /// How much of it is fit to be handed on.
    fit: usize,
    /// How much of a frame that needs no look has still to come.
    passing: usize,
    /// How much of a frame that is left out has still to come.
    skipping: usize,
    /// The longest frame that the library takes, in bytes.
    longest: u32,
    /// The longest body that the library is given, in bytes.
    longest_body: u64,
    /// How many bytes of a body that is left out have still to come on a channel.
    left_out: BTreeMap<[u8; 2], u64>,
}

impl Frames {
    /// The library asks the broker for frames of at most `frame_max` bytes.
    pub(super) fn new(frame_max: u32, longest_body: u64) -> Self {
        let (bytes, left_out) = (Vec::new(), BTreeMap::new());
        Self { bytes, fit: 0, passing: 0, skipping: 0, longest: frame_max, longest_body, left_out }
    }

    /// Takes what has come.
    pub(super) fn take(&mut self, come: &[u8]) {
        self.bytes.extend_from_slice(come);
        while self.frame().is_some() {}
    }

    /// Hands on as much as there is and fits.
    pub(super) fn give(&mut self, to: &mut [u8]) -> usize {
        let length = self.fit.min(to.len());
        to[..length].copy_from_slice(&self.bytes[..length]);
        self.bytes.drain(..length);
        self.fit -= length;
        length
    }

    /// Makes one more frame fit; `None` where that needs bytes that have not come.
    fn frame(&mut self) -> Option<()> {
        self.go_on();
        let next = &self.bytes[self.fit..];
        let head = *next.first_chunk::<FRAME_HEAD>()?;
        let whole = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize + AROUND;
        match head[0] {
            CONTENT_HEADER if whole > LONGEST_HELD => self.unseen(whole)?,
            METHOD if whole <= LONGEST_HELD => self.method(whole)?,
            CONTENT_HEADER => self.content_header(whole)?,
            BODY if self.is_left_out([head[1], head[2]], whole - AROUND) => self.skipping = whole,
            _ => self.passing = whole,
        }
        Some(())
    }

    /// Passes on, or leaves out, what has come of a frame that was begun.
    fn go_on(&mut self) {
        let skipped = self.skipping.min(self.bytes.len() - self.fit);
        self.bytes.drain(self.fit..self.fit + skipped);
        self.skipping -= skipped;
        let passed = self.passing.min(self.bytes.len() - self.fit);
        (self.fit, self.passing) = (self.fit + passed, self.passing - passed);
    }

    fn method(&mut self, whole: usize) -> Option<()> {
        let frame = self.bytes[self.fit..].get_mut(..whole)?;
        let tuned = methods::clean(&mut frame[FRAME_HEAD..whole - FRAME_END]);
        self.fit += whole;
        if let Some(offered @ 1..) = tuned {
            self.longest = self.longest.min(offered.max(LEAST_FRAME_MAX));
        }
        Some(())
    }

    fn content_header(&mut self, whole: usize) -> Option<()> {
        let longest = self.longest as usize - AROUND;
        let frame = self.bytes[self.fit..].get_mut(..whole)?;
        let payload = &mut frame[FRAME_HEAD..whole - FRAME_END];
        let cleaned = properties::clean(payload, longest);
        match self.longest_body.checked_sub(properties::body_size(payload)) {
            Some(_) if cleaned.is_none() => self.fit += whole,
            Some(_) => self.replace(whole, &cleaned.unwrap_or_default()),
            None => {
                let payload = cleaned.unwrap_or_else(|| payload.to_vec());
                let other = self.without_body(&payload);
                self.replace(whole, &other);
            }
        }
        Some(())
    }

    /// The payload of a content header for a message without its body, whose frames are left out from now on.
    fn without_body(&mut self, payload: &[u8]) -> Vec<u8> {
        let channel = [self.bytes[self.fit + 1], self.bytes[self.fit + 2]];
        self.left_out.insert(channel, properties::body_size(payload));
        properties::without_body(payload)
    }

    /// Whether the next part of a body is one that is left out.
    fn is_left_out(&mut self, channel: [u8; 2], part: usize) -> bool {
        let Some(left) = self.left_out.get_mut(&channel) else { return false };
        *left = left.saturating_sub(part as u64);
        if *left == 0 {
            self.left_out.remove(&channel);
        }
        true
    }

    /// A content header of which only the beginning is looked at.
    fn unseen(&mut self, whole: usize) -> Option<()> {
        let looked_at = FRAME_HEAD + properties::BEFORE_FLAGS;
        let mut other = properties::left_out(self.bytes[self.fit..].get(FRAME_HEAD..looked_at)?, "they are too long");
        if properties::body_size(&other) > self.longest_body {
            other = self.without_body(&other);
        }
        self.replace(looked_at, &other);
        self.skipping = whole - looked_at;
        Some(())
    }

    /// Puts a frame with another payload in the place of the next `length` bytes.
    fn replace(&mut self, length: usize, payload: &[u8]) {
        let [kind, high, low] = [0, 1, 2].map(|at| self.bytes[self.fit + at]);
        let size = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
        let frame = [&[kind, high, low][..], &size, payload, &[0xce]].concat();
        let after = self.fit + frame.len();
        self.bytes.splice(self.fit..self.fit + length, frame);
        self.fit = after;
    }
}

#[cfg(test)]
mod tests;
