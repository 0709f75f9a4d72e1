//! UTF-16 read as UTF-8.

use std::io::{self, Read};

/// Bytes that are read at once.
const AT_ONCE: usize = 16 * 1024;

/// Stands for what is no UTF-16: a byte that UTF-8 does not have, so that its line is refused.
const WRONG: u8 = 0xFF;

/// Reads code units, and gives UTF-8.
pub(super) struct Utf16<R> {
    from: R,
    little: bool,
    /// A byte that waits for the other one of its code unit.
    half: Option<u8>,
    /// The first half of a character that takes two code units.
    high: Option<u16>,
    out: Vec<u8>,
    /// How much of `out` was given away.
    at: usize,
}

impl<R: Read> Utf16<R> {
    pub(super) fn new(from: R, little: bool) -> Self {
        Self { from, little, half: None, high: None, out: Vec::new(), at: 0 }
    }

    /// Reads on; nothing is left to give away at the end.
    fn fill(&mut self) -> io::Result<()> {
        let mut bytes = vec![0; AT_ONCE];
        let length = self.from.read(&mut bytes)?;
        (self.at, self.out) = (0, Vec::new());
        if length == 0 {
            let cut = self.half.take().is_some() | self.high.take().is_some();
            self.out.extend(cut.then_some(WRONG));
            return Ok(());
        }
        let units = self.units(&bytes[..length]);
        for decoded in char::decode_utf16(units) {
            match decoded {
                Ok(character) => self.out.extend(character.encode_utf8(&mut [0; 4]).bytes()),
                Err(_) => self.out.push(WRONG),
            }
        }
        Ok(())
    }

    /// The code units of these bytes, with what was left before; what is not whole is left for the next time.
    fn units(&mut self, bytes: &[u8]) -> Vec<u16> {
        let bytes: Vec<u8> = self.half.take().into_iter().chain(bytes.iter().copied()).collect();
        let (pairs, rest) = bytes.as_chunks::<2>();
        self.half = rest.first().copied();
        let unit = |pair: &[u8; 2]| if self.little { u16::from_le_bytes(*pair) } else { u16::from_be_bytes(*pair) };
        let mut units: Vec<u16> = self.high.into_iter().chain(pairs.iter().map(unit)).collect();
        self.high = units.pop_if(|unit| (0xD800..0xDC00).contains(unit));
        units
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.at == self.out.len() {
            let before = (self.half, self.high);
            self.fill()?;
            // A byte or two may make no character yet.
            if self.out.is_empty() && (self.half, self.high) == before {
                return Ok(0);
            }
        }
        let length = to.len().min(self.out.len() - self.at);
        to[..length].copy_from_slice(&self.out[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}
