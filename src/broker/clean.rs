//! Makes readable what a publisher may have written into the properties of a message, before the AMQP library reads it.
//!
//! The broker passes on names and texts that are not UTF-8, and tables within tables within tables. The library gives a
//! connection up over the first and overflows its stack over the second. Either way nobody could take the message out of
//! the queue, and it came back first, each time, before everybody else's.
//!
//! Everything is changed in its place and keeps its length, so no frame has to be written anew.

use std::io;

/// AMQP's `SUBSTITUTE`: stands for each byte of a text that is none. UTF-8, and in no ID that a request may have, so a
/// name that nobody wrote is never taken for one.
const SUBSTITUTE: u8 = 0x1a;
/// How deep tables and arrays may stand in each other. Deeper ones become byte arrays, which look the same from outside.
const MOST_NESTED: u8 = 32;
/// The longest content header that is taken, in bytes: several times what a broker lets a publisher write.
const LONGEST_HEADER: usize = 1024 * 1024;

/// Type, channel and size of a frame.
const FRAME_HEAD: usize = 7;
const FRAME_END: usize = 1;
const CONTENT_HEADER: u8 = 2;
/// Class, weight and body size, before the flags.
const BEFORE_FLAGS: usize = 12;

/// What a property is made of, in the order of their flags, from the highest bit.
#[derive(Clone, Copy)]
enum Kind {
    Short,
    Table,
    Bytes(usize),
}

const PROPERTIES: [Kind; 14] = [
    Kind::Short,    // content_type
    Kind::Short,    // content_encoding
    Kind::Table,    // headers
    Kind::Bytes(1), // delivery_mode
    Kind::Bytes(1), // priority
    Kind::Short,    // correlation_id
    Kind::Short,    // reply_to
    Kind::Short,    // expiration
    Kind::Short,    // message_id
    Kind::Bytes(8), // timestamp
    Kind::Short,    // type
    Kind::Short,    // user_id
    Kind::Short,    // app_id
    Kind::Short,    // cluster_id
];

/// The bytes from the broker, frame by frame.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// What has come and is not handed on yet.
    bytes: Vec<u8>,
    /// How much of it is fit to be handed on.
    fit: usize,
    /// How much of a frame that needs no look has still to come.
    passing: usize,
}

impl Frames {
    /// Takes what has come.
    ///
    /// # Errors
    /// A content header that no broker lets anybody write.
    pub(super) fn take(&mut self, come: &[u8]) -> io::Result<()> {
        self.bytes.extend_from_slice(come);
        loop {
            let new = self.bytes.len() - self.fit;
            let passing = self.passing.min(new);
            (self.fit, self.passing) = (self.fit + passing, self.passing - passing);
            let next = &mut self.bytes[self.fit..];
            let Some(head) = next.first_chunk::<FRAME_HEAD>() else { return Ok(()) };
            let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
            let whole = FRAME_HEAD + size + FRAME_END;
            if head[0] != CONTENT_HEADER {
                self.passing = whole;
            } else if whole > LONGEST_HEADER {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a content header of more than 1 MiB"));
            } else if next.len() < whole {
                return Ok(());
            } else {
                // What can't be followed to its end is nothing that a broker has checked; the library says so.
                let _ = content_header(&mut next[FRAME_HEAD..FRAME_HEAD + size]);
                self.fit += whole;
            }
        }
    }

    /// Hands on as much as there is and fits.
    pub(super) fn give(&mut self, to: &mut [u8]) -> usize {
        let length = self.fit.min(to.len());
        to[..length].copy_from_slice(&self.bytes[..length]);
        self.bytes.drain(..length);
        self.fit -= length;
        length
    }
}

/// Walks over the properties, changing what has to be; `None` where they end before their time.
pub(super) fn content_header(payload: &mut [u8]) -> Option<()> {
    let mut rest = Rest(payload);
    rest.bytes(BEFORE_FLAGS)?;
    let flags = rest.bytes(2)?;
    let flags = u16::from_be_bytes([flags[0], flags[1]]);
    for (at, kind) in PROPERTIES.iter().enumerate() {
        if flags & (1 << (15 - at)) == 0 {
            continue;
        }
        match kind {
            Kind::Short => rest.text()?,
            Kind::Table => table(rest.long()?, 0)?,
            Kind::Bytes(length) => drop(rest.bytes(*length)?),
        }
    }
    Some(())
}

fn table(entries: &mut [u8], depth: u8) -> Option<()> {
    let mut rest = Rest(entries);
    while !rest.0.is_empty() {
        rest.text()?;
        value(&mut rest, depth)?;
    }
    Some(())
}

fn array(values: &mut [u8], depth: u8) -> Option<()> {
    let mut rest = Rest(values);
    while !rest.0.is_empty() {
        value(&mut rest, depth)?;
    }
    Some(())
}

/// A value with the letter of its type, as RabbitMQ uses them.
fn value(rest: &mut Rest<'_>, depth: u8) -> Option<()> {
    if depth >= MOST_NESTED
        && let Some(kind @ (b'A' | b'F')) = rest.0.first_mut()
    {
        *kind = b'x';
    }
    match rest.bytes(1)?[0] {
        b'F' => table(rest.long()?, depth + 1),
        b'A' => array(rest.long()?, depth + 1),
        b'S' | b'x' => rest.long().map(drop),
        b'V' => Some(()),
        b't' | b'b' | b'B' => rest.bytes(1).map(drop),
        b's' | b'U' | b'u' => rest.bytes(2).map(drop),
        b'I' | b'i' | b'f' => rest.bytes(4).map(drop),
        b'D' => rest.bytes(5).map(drop),
        b'L' | b'l' | b'd' | b'T' => rest.bytes(8).map(drop),
        _ => None,
    }
}

/// What has not been walked over yet.
struct Rest<'a>(&'a mut [u8]);

impl<'a> Rest<'a> {
    fn bytes(&mut self, length: usize) -> Option<&'a mut [u8]> {
        let (bytes, rest) = std::mem::take(&mut self.0).split_at_mut_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    /// What stands behind a length of four bytes.
    fn long(&mut self) -> Option<&'a mut [u8]> {
        let length = self.bytes(4)?;
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        self.bytes(usize::try_from(length).ok()?)
    }

    /// A short text, made one where it is none.
    fn text(&mut self) -> Option<()> {
        let length = self.bytes(1)?[0];
        let text = self.bytes(length.into())?;
        if std::str::from_utf8(text).is_err() {
            text.iter_mut().filter(|byte| !byte.is_ascii()).for_each(|byte| *byte = SUBSTITUTE);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;
