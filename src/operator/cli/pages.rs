//! `asset-eraser completions` and `asset-eraser man`: what the command line says about itself, for shells and for `man`.

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

/// Prints the completions of a shell.
///
/// # Errors
/// They cannot be written.
pub fn completions(mut command: Command, shell: Shell) -> Result<(), Box<dyn Error>> {
    let (name, mut text) = (command.get_name().to_owned(), Vec::new());
    // The library gives up the process when it cannot write; memory takes everything.
    clap_complete::generate(shell, &mut command, &name, &mut text);
    printed(with_one_name(&String::from_utf8(text)?, &name).as_bytes())
}

/// For bash, the library writes a name with a hyphen in it in two ways, and then completes nothing behind a command
/// (<https://github.com/clap-rs/clap/issues/6421>).
fn with_one_name(text: &str, name: &str) -> String {
    text.replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__"))
}

/// Prints the first page, or writes all of them into a folder, one a command, and names them.
///
/// # Errors
/// They cannot be written.
pub fn man(mut command: Command, folder: Option<&Path>) -> Result<(), Box<dyn Error>> {
    // `help` has a page for every other command, which say the same.
    command = command.disable_help_subcommand(true);
    let Some(folder) = folder else {
        return printed(&page(command)?.1);
    };
    let mut written = Vec::new();
    for (name, page) in pages(command)? {
        let path = folder.join(name);
        std::fs::write(&path, page).map_err(|error| format!("{}: {error}", path.display()))?;
        writeln!(written, "{}", path.display())?;
    }
    printed(&written)
}

/// Every page with the name of its file.
fn pages(mut command: Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    command.build();
    let mut pages = Vec::new();
    let mut left = vec![command];
    while let Some(command) = left.pop() {
        left.extend(command.get_subcommands().filter(|command| !command.is_hide_set()).cloned());
        pages.push(page(command)?);
    }
    pages.sort();
    Ok(pages)
}

fn page(command: Command) -> io::Result<(String, Vec<u8>)> {
    let man = Man::new(command).source(concat!("asset-eraser ", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render(&mut page)?;
    Ok((man.get_filename(), page))
}

/// A reader that takes only the beginning is no error.
fn printed(text: &[u8]) -> Result<(), Box<dyn Error>> {
    match io::stdout().write_all(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}
