//! Text from outside as people may see it: what the eye cannot see is written out, such as `<U+200B>`. So nothing in it moves
//! the cursor of a terminal, or turns the direction of what stands beside it.

use std::fmt::{self, Write};
use std::io;

use askama::filters::{Escaper, Html};

/// The longest text that an error shows, in characters.
const MOST_SHOWN: usize = 64;

/// For one line of a terminal: white space as spaces, and what else cannot be seen as code points.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            _ if !is_hidden(character) => plain.push(character),
            _ if character.is_whitespace() => plain.push(' '),
            _ => plain.push_str(&named(character)),
        }
    }
    plain
}

/// The same for more than one line.
#[must_use]
pub fn plain_lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// JSON that says the same, with what cannot be seen escaped.
#[must_use]
pub fn plain_json(json: &str) -> String {
    escaped(json, |character| is_hidden(character) && !character.is_ascii_whitespace())
}

/// The text with some characters as JSON escapes them.
fn escaped(text: &str, which: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if !which(character) {
            escaped.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing into a String cannot fail.
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    }
    escaped
}

/// HTML, with the code points of what cannot be seen. White space stays: a browser shows it as such.
#[derive(Clone, Copy, Debug)]
pub struct Page;

impl Escaper for Page {
    fn write_escaped_str<W: Write>(&self, mut page: W, text: &str) -> fmt::Result {
        let is_named = |character: char| is_hidden(character) && !character.is_whitespace();
        for part in text.split_inclusive(is_named) {
            let seen = part.trim_end_matches(is_named);
            Html.write_escaped_str(&mut page, seen)?;
            part[seen.len()..].chars().try_for_each(|hidden| Html.write_escaped_str(&mut page, &named(hidden)))?;
        }
        Ok(())
    }
}

/// Lines of the log, JSON or not: hidden characters beyond ASCII as JSON escapes them. Those of ASCII are escaped before, and
/// a terminal's colours are made of them.
#[derive(Debug)]
pub struct LogLines<W>(pub W);

impl<W: io::Write> io::Write for LogLines<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_all(line).map(|()| line.len())
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        let is_escaped = |character: char| !character.is_ascii() && is_hidden(character);
        match std::str::from_utf8(line) {
            Ok(text) if text.contains(is_escaped) => self.0.write_all(escaped(text, is_escaped).as_bytes()),
            _ => self.0.write_all(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// For an error: the text with each character that cannot be seen as its code point, and cut where it is long; in quotes where
/// a space is at one of its ends.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut shown = String::new();
    for (at, character) in text.chars().enumerate() {
        if at == MOST_SHOWN {
            shown.push('…');
            break;
        }
        if is_hidden(character) {
            shown.push_str(&named(character));
        } else {
            shown.push(character);
        }
    }
    match text.trim_matches(' ') {
        _ if text.is_empty() => "empty".to_owned(),
        trimmed if trimmed != text => format!("\"{shown}\""),
        _ => shown,
    }
}

fn named(character: char) -> String {
    format!("<{}>", code_point(character))
}

/// As Unicode's charts write it: `U+200B`.
#[must_use]
pub fn code_point(character: char) -> String {
    format!("U+{:04X}", u32::from(character))
}

/// Whether a character is not seen, or looks like a space and is none: control and format characters, and every space
/// but the one of ASCII.
#[must_use]
pub fn is_hidden(character: char) -> bool {
    let looks_like_a_space = character.is_whitespace() && character != ' ';
    character.is_control() || looks_like_a_space || is_format(character)
}

/// What Unicode calls format characters (Cf), and the letters, marks and symbols that show nothing.
fn is_format(character: char) -> bool {
    matches!(
        u32::from(character),
        0xAD | 0x34F
            | 0x600..=0x605
            | 0x61C
            | 0x6DD
            | 0x70F
            | 0x115F..=0x1160
            | 0x17B4..=0x17B5
            | 0x180B..=0x180F
            | 0x200B..=0x200F
            | 0x202A..=0x202E
            | 0x2060..=0x206F
            | 0x2800
            | 0x3164
            | 0xFE00..=0xFE0F
            | 0xFEFF
            | 0xFFA0
            | 0xFFF0..=0xFFFB
            | 0xFFFE..=0xFFFF
            | 0x1_BCA0..=0x1_BCA3
            | 0x1_D173..=0x1_D17A
            | 0xE_0000..=0xE_0FFF
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_written_out() {
        for (text, wanted) in [
            ("a-1\u{200b}", "a-1<U+200B>"),
            ("\u{feff}a\u{a0}b\u{ad}c\u{202e}", "<U+FEFF>a<U+00A0>b<U+00AD>c<U+202E>"),
            ("a\tb\0\u{1b}[2J", "a<U+0009>b<U+0000><U+001B>[2J"),
            ("Müller, “Fall 7”", "Müller, “Fall 7”"),
            ("u\u{308}", "u\u{308}"),
            ("a-1 ", "\"a-1 \""),
            ("", "empty"),
        ] {
            assert_eq!(quoted(text), wanted);
        }
        assert_eq!(quoted(&"x".repeat(65)), format!("{}…", "x".repeat(64)));
        assert!(!is_hidden(' ') && is_hidden('\u{3000}') && is_hidden('\u{e0041}'));
    }

    const HOSTILE: &str = "<b>a\u{202e}\u{200b}\u{e0041}\n\u{1b}[2J\u{85}\u{9b}1m é";

    #[test]
    fn a_line_of_a_terminal_has_nothing_that_cannot_be_seen() {
        assert_eq!(plain(HOSTILE), "<b>a<U+202E><U+200B><U+E0041> <U+001B>[2J <U+009B>1m é");
    }

    #[test]
    fn json_says_the_same_and_shows_all_of_it() {
        let value = serde_json::json!({"a": [HOSTILE, "\u{7f}\u{a0}"]});
        let json = plain_json(&format!("{value:#}"));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), value);
        assert!(!json.contains(|character: char| is_hidden(character) && character != '\n'), "{json}");
    }

    #[test]
    fn a_page_has_the_code_points_of_what_cannot_be_seen() {
        let mut page = String::new();
        Page.write_escaped_str(&mut page, HOSTILE).unwrap();
        let wanted = "&#60;b&#62;a&#60;U+202E&#62;&#60;U+200B&#62;&#60;U+E0041&#62;\n&#60;U+001B&#62;[2J\u{85}&#60;U+009B&#62;1m é";
        assert_eq!(page, wanted);
    }

    #[test]
    fn a_line_of_the_log_keeps_its_colours_and_turns_no_direction() {
        let mut log = LogLines(Vec::new());
        io::Write::write_all(&mut log, "\u{1b}[2mé\u{202e}\u{9b}\n".as_bytes()).unwrap();
        assert_eq!(String::from_utf8(log.0).unwrap(), "\u{1b}[2mé\\u202e\\u009b\n");
    }
}
