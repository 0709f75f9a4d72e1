//! What was checked, in a temporary file without a name: what is published is what was checked, whatever becomes of the
//! input meanwhile, and all of it can be published again.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;

use super::bits::Bits;

/// One request, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SpooledRequest {
    /// Counted from 0.
    pub(super) index: u64,
    /// Where it stands in the input.
    pub(super) line: u64,
    pub(super) request_id: String,
    /// Whether its ID is the input's own.
    pub(super) own_id: bool,
    pub(super) body: Vec<u8>,
}

/// Takes the requests one after the other.
pub(super) struct SpoolWriter {
    file: BufWriter<File>,
    count: u64,
}

impl SpoolWriter {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { file: BufWriter::with_capacity(128 * 1024, tempfile::tempfile()?), count: 0 })
    }

    /// The index of what is written next.
    pub(super) fn next_index(&self) -> u64 {
        self.count
    }

    pub(super) fn write(&mut self, line: u64, request_id: &str, own_id: bool, body: &[u8]) -> io::Result<()> {
        self.file.write_all(&line.to_le_bytes())?;
        self.file.write_all(&[u8::from(own_id)])?;
        for part in [request_id.as_bytes(), body] {
            let length = u32::try_from(part.len()).map_err(io::Error::other)?;
            self.file.write_all(&length.to_le_bytes())?;
            self.file.write_all(part)?;
        }
        self.count += 1;
        Ok(())
    }

    pub(super) fn finish(self) -> io::Result<Spool> {
        Ok(Spool { file: self.file.into_inner().map_err(io::IntoInnerError::into_error)?, count: self.count })
    }
}

/// All requests, to be read as often as needed.
#[derive(Debug)]
pub(super) struct Spool {
    file: File,
    count: u64,
}

impl Spool {
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn reader(&self) -> SpoolReader<'_> {
        let from = From { file: &self.file, at: 0 };
        SpoolReader { from: BufReader::with_capacity(128 * 1024, from), next: 0, count: self.count }
    }

    /// The line of the last request before which, itself included, all bits are set; `None` if the first is not.
    pub(super) fn whole_until(&self, bits: &Bits) -> io::Result<Option<u64>> {
        let (mut reader, mut last) = (self.reader(), None);
        while let Some(record) = reader.read()? {
            if !bits.get(record.index) {
                break;
            }
            last = Some(record.line);
        }
        Ok(last)
    }
}

/// Reads from a place of its own: several readers of one file don't move each other.
struct From<'a> {
    file: &'a File,
    at: u64,
}

impl Read for From<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(to, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Goes through the requests once.
pub(super) struct SpoolReader<'a> {
    from: BufReader<From<'a>>,
    next: u64,
    count: u64,
}

impl SpoolReader<'_> {
    pub(super) fn read(&mut self) -> io::Result<Option<SpooledRequest>> {
        if self.next == self.count {
            return Ok(None);
        }
        let (mut line, mut own_id) = ([0; 8], [0; 1]);
        self.from.read_exact(&mut line)?;
        self.from.read_exact(&mut own_id)?;
        let (request_id, body) = (self.part()?, self.part()?);
        let request_id = String::from_utf8(request_id).map_err(io::Error::other)?;
        let (line, own_id) = (u64::from_le_bytes(line), own_id != [0]);
        let record = SpooledRequest { index: self.next, line, request_id, own_id, body };
        self.next += 1;
        Ok(Some(record))
    }

    /// The next one whose bit is not set.
    pub(super) fn read_unset(&mut self, bits: &Bits) -> io::Result<Option<SpooledRequest>> {
        while let Some(record) = self.read()? {
            if !bits.get(record.index) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    fn part(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.from.read_exact(&mut length)?;
        let mut part = vec![0; u32::from_le_bytes(length) as usize];
        self.from.read_exact(&mut part)?;
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_by_every_reader() {
        let mut writer = SpoolWriter::new().unwrap();
        for line in 0..1000_u64 {
            writer
                .write(line + 2, &format!("r{line}"), line % 2 == 0, &vec![b'x'; usize::try_from(line).unwrap()])
                .unwrap();
        }
        let spool = writer.finish().unwrap();
        let (mut one, mut other) = (spool.reader(), spool.reader());
        for line in 0..1000 {
            let record = one.read().unwrap().unwrap();
            assert_eq!((record.index, record.line, record.body.len() as u64), (line, line + 2, line));
            assert_eq!(record.own_id, line % 2 == 0);
            assert_eq!(other.read().unwrap().unwrap(), record);
        }
        assert_eq!(one.read().unwrap(), None);
        let mut bits = Bits::new(1000);
        assert_eq!(spool.whole_until(&bits).unwrap(), None);
        for index in [0, 1, 3] {
            bits.set(index);
        }
        assert_eq!(spool.whole_until(&bits).unwrap(), Some(3));
        let mut unset = spool.reader();
        assert_eq!([2, 4].map(|_| unset.read_unset(&bits).unwrap().unwrap().index), [2, 4]);
    }
}
