//! Asking a person before something that can't be undone.

use std::io::{BufRead, IsTerminal, Write};

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The whole word.
    Yes,
    /// Anything else.
    No,
    /// Standard input is no terminal.
    NobodyThere,
}

/// Asks on `out`, and reads the answer from the terminal on standard input.
///
/// # Errors
/// The question can't be written, or the answer can't be read.
pub(super) fn ask(question: &str, out: &mut impl Write) -> std::io::Result<Answer> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Ok(Answer::NobodyThere);
    }
    write!(out, "{question} [yes/no] ")?;
    out.flush()?;
    Ok(if confirmed(&mut input.lock())? { Answer::Yes } else { Answer::No })
}

/// The whole word: what it allows can't be undone.
fn confirmed(input: &mut impl BufRead) -> std::io::Result<bool> {
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_word_confirms() {
        for (answer, wanted) in [("yes\n", true), ("YES\r\n", true), ("y\n", false), ("no\n", false), ("", false)] {
            assert_eq!(confirmed(&mut answer.as_bytes()).unwrap(), wanted, "{answer:?}");
        }
    }
}
