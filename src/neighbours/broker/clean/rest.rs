//! AMQP's data types, walked over in their place.

/// AMQP's `SUBSTITUTE`: stands for each byte of a text that is none. UTF-8, and in no ID that a request may have, so a
/// name that was never written is never taken for one.
const SUBSTITUTE: u8 = 0x1a;
/// How deep tables and arrays may stand in each other. Deeper ones become byte arrays, which look the same from outside.
pub(super) const MOST_NESTED: u8 = 32;

/// What has not been walked over yet. Each step is `None` where the bytes end before their time.
pub(super) struct Rest<'a>(pub &'a mut [u8]);

impl<'a> Rest<'a> {
    pub fn bytes(&mut self, length: usize) -> Option<&'a mut [u8]> {
        let (bytes, rest) = std::mem::take(&mut self.0).split_at_mut_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    /// What stands behind a length of four bytes.
    pub fn long(&mut self) -> Option<&'a mut [u8]> {
        let length = self.bytes(4)?;
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        self.bytes(usize::try_from(length).ok()?)
    }

    /// A short text, made one where it is none.
    pub fn text(&mut self) -> Option<()> {
        let length = self.bytes(1)?[0];
        let text = self.bytes(length.into())?;
        if std::str::from_utf8(text).is_err() {
            text.iter_mut().filter(|byte| !byte.is_ascii()).for_each(|byte| *byte = SUBSTITUTE);
        }
        Some(())
    }

    /// An entry of a table; `depth` is how many tables and arrays it stands in.
    pub fn entry(&mut self, depth: u8) -> Option<()> {
        self.text()?;
        self.value(depth)
    }

    /// A value with the letter of its type, as RabbitMQ uses them.
    fn value(&mut self, depth: u8) -> Option<()> {
        if depth >= MOST_NESTED
            && let Some(kind @ (b'A' | b'F')) = self.0.first_mut()
        {
            *kind = b'x';
        }
        match self.bytes(1)?[0] {
            b'F' => table(self.long()?, depth + 1),
            b'A' => array(self.long()?, depth + 1),
            b'S' | b'x' => self.long().map(drop),
            b'V' => Some(()),
            b't' | b'b' | b'B' => self.bytes(1).map(drop),
            b's' | b'U' | b'u' => self.bytes(2).map(drop),
            b'I' | b'i' | b'f' => self.bytes(4).map(drop),
            b'D' => self.bytes(5).map(drop),
            b'L' | b'l' | b'd' | b'T' => self.bytes(8).map(drop),
            _ => None,
        }
    }
}

pub(super) fn table(entries: &mut [u8], depth: u8) -> Option<()> {
    let mut rest = Rest(entries);
    while !rest.0.is_empty() {
        rest.entry(depth)?;
    }
    Some(())
}

fn array(values: &mut [u8], depth: u8) -> Option<()> {
    let mut rest = Rest(values);
    while !rest.0.is_empty() {
        rest.value(depth)?;
    }
    Some(())
}
