//! The lines of an input, as an editor numbers them: in whichever encoding its first bytes name, with any line end.

mod utf16;

use std::io::{self, BufRead, BufReader, Read};

use self::utf16::Utf16;
use crate::contract::message::request::MAX_BODY;
use crate::platform::text::code_point;

/// The longest line, in bytes. One that is longer can be no request, and is not read to its end.
pub(super) const MOST_LINE: usize = 4 * MAX_BODY;

/// Bytes that are read at once.
const AT_ONCE: usize = 128 * 1024;

/// What DOS and its heirs write behind the last line (Ctrl-Z).
const END_OF_FILE: u8 = 0x1A;

/// How an input is written, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf16 { little: bool },
    Utf32,
}

/// One line, without what ends it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) number: u64,
    /// Its text, or why it has none.
    pub(super) text: Result<String, String>,
    /// LF, CRLF, CR, or nothing at the end of the input.
    pub(super) end: &'static str,
}

/// Reads one line after the other.
pub(super) struct Lines<R> {
    from: BufReader<Decoded<R>>,
    encoding: Encoding,
    number: u64,
}

impl<R: Read> Lines<R> {
    /// # Errors
    /// The first bytes cannot be read, or are those of an encoding that is not read.
    pub(super) fn new(mut from: R) -> Result<Self, String> {
        let mut head = Vec::new();
        from.by_ref().take(4).read_to_end(&mut head).map_err(|error| error.to_string())?;
        let encoding = encoding(&head);
        let from = io::Cursor::new(head).chain(from);
        let from = match encoding {
            Encoding::Utf8 => Decoded::Utf8(from),
            Encoding::Utf16 { little } => Decoded::Utf16(Utf16::new(from, little)),
            Encoding::Utf32 => return Err("line 1: is UTF-32; save the list as UTF-8".to_owned()),
        };
        Ok(Self { from: BufReader::with_capacity(AT_ONCE, from), encoding, number: 0 })
    }

    /// The next line; `None` after the last one.
    ///
    /// # Errors
    /// It cannot be read, or has no end.
    pub(super) fn next(&mut self) -> Result<Option<Line>, String> {
        let mut bytes = Vec::new();
        let end = self.read(&mut bytes).map_err(|error| error.to_string())?;
        let number = self.number + 1;
        if bytes.len() >= MOST_LINE {
            return Err(format!("line {number}: is longer than {MOST_LINE} bytes"));
        }
        let is_last = self.from.fill_buf().map_err(|error| error.to_string())?.is_empty();
        while is_last && bytes.last() == Some(&END_OF_FILE) {
            bytes.pop();
        }
        if is_last && bytes.is_empty() {
            return Ok(None);
        }
        self.number = number;
        Ok(Some(Line { number, text: self.text(bytes), end }))
    }

    /// Reads up to an end, which it returns, or up to the limit.
    fn read(&mut self, line: &mut Vec<u8>) -> io::Result<&'static str> {
        while line.len() < MOST_LINE {
            let bytes = self.from.fill_buf()?;
            if bytes.is_empty() {
                return Ok("");
            }
            let Some(at) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                let length = bytes.len();
                line.extend_from_slice(bytes);
                self.from.consume(length);
                continue;
            };
            let end = bytes[at];
            line.extend_from_slice(&bytes[..at]);
            self.from.consume(at + 1);
            return if end == b'\n' { Ok("\n") } else { self.after_carriage_return() };
        }
        Ok("")
    }

    /// CRLF is one end, and a CR alone is one, too.
    fn after_carriage_return(&mut self) -> io::Result<&'static str> {
        if self.from.fill_buf()?.first() != Some(&b'\n') {
            return Ok("\r");
        }
        self.from.consume(1);
        Ok("\r\n")
    }

    fn text(&self, bytes: Vec<u8>) -> Result<String, String> {
        let mut text = String::from_utf8(bytes).map_err(|_| self.encoding.refusal().to_owned())?;
        if self.number == 1 {
            let marks = text.len() - text.trim_start_matches('\u{feff}').len();
            text.drain(..marks);
        }
        if text.starts_with('\u{feff}') {
            return Err("begins with a byte order mark (U+FEFF), as where two files were joined; remove it".to_owned());
        }
        if let Some(at) = text.chars().position(|character| character == '\0') {
            let nul = code_point('\0');
            return Err(format!("has {nul} as character {}; if the list is UTF-16, save it as UTF-8", at + 1));
        }
        Ok(text)
    }
}

/// By the byte order mark.
fn encoding(head: &[u8]) -> Encoding {
    match head {
        [0xFF, 0xFE, 0, 0] | [0, 0, 0xFE, 0xFF] => Encoding::Utf32,
        [0xFF, 0xFE, ..] => Encoding::Utf16 { little: true },
        [0xFE, 0xFF, ..] => Encoding::Utf16 { little: false },
        _ => Encoding::Utf8,
    }
}

impl Encoding {
    /// What is said of a line that is written otherwise.
    fn refusal(self) -> &'static str {
        match self {
            Self::Utf16 { .. } => "is not UTF-16, as its first bytes say; save the list as UTF-8",
            Self::Utf8 | Self::Utf32 => "is not UTF-8; save the list as UTF-8",
        }
    }
}

/// What was read for the byte order mark, and the rest.
type WithPrefix<R> = io::Chain<io::Cursor<Vec<u8>>, R>;

/// Gives UTF-8, whatever it reads.
enum Decoded<R> {
    Utf8(WithPrefix<R>),
    Utf16(Utf16<WithPrefix<R>>),
}

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match self {
                Self::Utf8(from) => from.read(to),
                Self::Utf16(from) => from.read(to),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line as `NUMBER TEXT`, or `NUMBER! PROBLEM`.
    fn read(bytes: &[u8]) -> Vec<String> {
        let mut lines = Lines::new(bytes).unwrap();
        let mut seen = Vec::new();
        while let Some(Line { number, text, .. }) = lines.next().unwrap() {
            seen.push(text.map_or_else(|problem| format!("{number}! {problem}"), |text| format!("{number} {text}")));
        }
        seen
    }

    fn utf16(text: &str, little: bool) -> Vec<u8> {
        let bytes = |unit: u16| if little { unit.to_le_bytes() } else { unit.to_be_bytes() };
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn each_line_end_counts_as_one_as_in_an_editor() {
        let wanted = ["1 a", "2 b", "3 c", "4 ", "5 d", "6 ", "7 e"];
        assert_eq!(read(b"a\nb\r\nc\r\rd\n\r\ne"), wanted);
        assert_eq!(read(b"a\n"), ["1 a"]);
        assert_eq!(read(b""), [""; 0]);
        let ends = |bytes: &'static [u8]| {
            let mut lines = Lines::new(bytes).unwrap();
            std::iter::from_fn(move || lines.next().unwrap().map(|line| line.end)).collect::<Vec<_>>()
        };
        assert_eq!(ends(b"a\nb\r\nc\rd"), ["\n", "\r\n", "\r", ""]);
    }

    #[test]
    fn a_carriage_return_at_the_end_of_what_is_read_at_once_is_joined_with_its_line_feed() {
        let mut text = vec![b'x'; AT_ONCE - 1];
        text.extend(b"\r\ny");
        let seen = read(&text);
        assert_eq!((seen.len(), seen[1].as_str()), (2, "2 y"));
    }

    #[test]
    fn utf16_with_a_byte_order_mark_is_read() {
        for little in [true, false] {
            assert_eq!(read(&utf16("\u{feff}ä😀\r\nb\u{feff}\n", little)), ["1 ä😀", "2 b\u{feff}"]);
            let mut cut = utf16("\u{feff}a\nb", little);
            cut.push(b'x');
            assert_eq!(read(&cut)[1], "2! is not UTF-16, as its first bytes say; save the list as UTF-8");
        }
        let long = "😀".repeat(30_000);
        assert_eq!(read(&utf16(&format!("\u{feff}{long}\nb"), true)), [format!("1 {long}"), "2 b".to_owned()]);
        let alone = [&[0xFF, 0xFE][..], &0xD800_u16.to_le_bytes(), &[b'a', 0, b'\n', 0, b'b', 0]].concat();
        let seen = read(&alone);
        assert!(seen[0].starts_with("1! is not UTF-16") && seen[1] == "2 b", "{seen:?}");
    }

    #[test]
    fn bytes_that_are_no_text_of_the_encoding_are_named() {
        assert_eq!(read(b"a\n\xff\nb"), ["1 a", "2! is not UTF-8; save the list as UTF-8", "3 b"]);
        let nul = "1! has U+0000 as character 2; if the list is UTF-16, save it as UTF-8";
        assert_eq!(read(&utf16("ab", true)), [nul]);
        for mark in [[0xFF, 0xFE, 0, 0], [0, 0, 0xFE, 0xFF]] {
            let problem = Lines::new(&mark[..]).err().unwrap();
            assert_eq!(problem, "line 1: is UTF-32; save the list as UTF-8");
        }
    }

    #[test]
    fn a_byte_order_mark_belongs_to_the_beginning() {
        let seen = read("\u{feff}\u{feff}a\n\u{feff}b\n".as_bytes());
        assert_eq!(seen[0], "1 a");
        assert!(seen[1].starts_with("2! begins with a byte order mark (U+FEFF)"), "{seen:?}");
    }

    #[test]
    fn control_z_ends_the_input_and_nothing_else() {
        for text in [&b"a\nb\x1a"[..], b"a\nb\n\x1a", b"a\nb\n\x1a\x1a", b"a\r\nb\r\n\x1a\r\n"] {
            assert_eq!(read(text), ["1 a", "2 b"]);
        }
        assert_eq!(read(b"a\n\x1a\nb"), ["1 a", "2 \u{1a}", "3 b"]);
    }
}
