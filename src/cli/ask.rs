//! Asking before what can't be undone.

use std::error::Error;
use std::io::{BufRead, IsTerminal, Write};

/// Asks on the terminal. Only the whole word `yes` is a yes.
///
/// # Errors
/// Where there is no terminal to ask on.
pub(super) fn confirmed(question: &str) -> Result<bool, Box<dyn Error>> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err("nothing was done: there is no terminal to ask on; say --yes".into());
    }
    let mut out = std::io::stdout();
    write!(out, "{question} [yes/no] ")?;
    out.flush()?;
    Ok(is_yes(&mut input.lock())?)
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
