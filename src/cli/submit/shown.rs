//! Text of an input as an error shows it: what the eye cannot see is written out, such as `<U+200B>`.

use std::fmt::Write;

/// The longest text that is shown, in characters.
const MOST_SHOWN: usize = 64;

/// The text with each character that cannot be seen as its code point, and cut where it is long; in quotes where a space
/// is at one of its ends.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for (at, character) in text.chars().enumerate() {
        if at == MOST_SHOWN {
            shown.push('…');
            break;
        }
        if is_hidden(character) {
            // Writing into a String cannot fail.
            let _ = write!(shown, "<{}>", code_point(character));
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

/// As Unicode's charts write it: `U+200B`.
pub(super) fn code_point(character: char) -> String {
    format!("U+{:04X}", u32::from(character))
}

/// Whether a character is not seen, or looks like a space and is none: control and format characters, and every space
/// but the one of ASCII.
pub(super) fn is_hidden(character: char) -> bool {
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
            assert_eq!(shown(text), wanted);
        }
        assert_eq!(shown(&"x".repeat(65)), format!("{}…", "x".repeat(64)));
        assert!(!is_hidden(' ') && is_hidden('\u{3000}') && is_hidden('\u{e0041}'));
    }
}
