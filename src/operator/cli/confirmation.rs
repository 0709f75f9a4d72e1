//! Asking before what cannot be undone.

use std::error::Error;
use std::io::{BufRead, IsTerminal, Write};

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consent {
    /// The whole word `yes`.
    Yes,
    /// Anything else.
    No,
    /// Standard input is no terminal.
    NobodyThere,
}

/// Asks on `out`, and reads the answer from the terminal on standard input.
///
/// # Errors
/// The question cannot be written, or the answer cannot be read.
pub(super) fn ask(question: &str, out: &mut impl Write) -> std::io::Result<Consent> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Ok(Consent::NobodyThere);
    }
    write!(out, "{question} [yes/no] ")?;
    out.flush()?;
    Ok(if is_yes(&mut input.lock())? { Consent::Yes } else { Consent::No })
}

/// Asks on the terminal. Only the whole word `yes` is a yes.
///
/// # Errors
/// Where there is no terminal to ask on.
pub(super) fn confirmed(question: &str) -> Result<bool, Box<dyn Error>> {
    match ask(question, &mut std::io::stdout())? {
        Consent::Yes => Ok(true),
        Consent::No => Ok(false),
        Consent::NobodyThere => Err("nothing was done: there is no terminal to ask on; say --yes".into()),
    }
}

fn is_yes(input: &mut impl BufRead) -> std::io::Result<bool> {
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
            assert_eq!(is_yes(&mut answer.as_bytes()).unwrap(), wanted, "{answer:?}");
        }
    }
}
