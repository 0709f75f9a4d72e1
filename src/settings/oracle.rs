//! What holds for every text of settings. Asked by the property tests and by the fuzzer.

use super::source::Source;
use super::{ConfigError, Settings, validate};
use crate::operator::cli;

/// Stands for every secret: nothing that is told may hold it.
pub(crate) const MARKER: &str = "s3cr3t";
/// Between the file and the lines of the environment, each `SECTION__KEY=value`.
const ENVIRONMENT: &str = "\n---\n";

/// The input is a file and, behind a line `---`, variables.
pub(crate) fn settings(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    // Files of the machine that this runs on are no part of it.
    if text.to_lowercase().contains("_file") {
        return;
    }
    let (file, environment) = text.split_once(ENVIRONMENT).unwrap_or((text, ""));
    let variables = environment.lines().filter_map(|line| line.split_once('='));
    let variables = variables.map(|(key, value)| (format!("ASSET_ERASER__{key}"), value.to_owned()));
    let secret = is_kept_secret(text);
    match load(file, variables) {
        Ok(settings) => accepted(&settings, secret),
        Err(error) => refused(&error, secret),
    }
}

fn load(file: &str, variables: impl IntoIterator<Item = (String, String)>) -> Result<Settings, ConfigError> {
    let source = Source::new(Some(("settings.toml".to_owned(), file.to_owned())), variables)?;
    validate::settings(&source, &source.parse()?)
}

/// Whether the marker stands only where a secret belongs: as a token or as the password of an address.
fn is_kept_secret(text: &str) -> bool {
    let proper = |line: &str| {
        let line = line.trim_start();
        let variable = |end: &str| {
            let (section, value) = line.split_once(end)?;
            section.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_').then_some(value)
        };
        let token = line.strip_prefix("token = \"").or_else(|| variable("__TOKEN="));
        let url = line.strip_prefix("url = \"").or_else(|| variable("__URL="));
        let password = url.and_then(|url| url.split_once(&format!(":{MARKER}@")));
        match (token, password) {
            // Nothing but the secret: an input that puts a key or a word beside it tells it itself.
            (Some(token), _) => token.strip_suffix('"').unwrap_or(token) == MARKER,
            (None, Some((user, behind))) => {
                let scheme = ["amqp://", "amqps://", "http://", "https://", "postgres://", "postgresql://"];
                let user = scheme.iter().find_map(|scheme| user.strip_prefix(scheme));
                let plain = user.is_some_and(|user| user.bytes().all(|byte| byte.is_ascii_alphanumeric()));
                plain && !behind.contains(MARKER)
            }
            (None, None) => false,
        }
    };
    // A text of several lines may hold any of these as a part of something else.
    let one_line = !["\"\"\"", "'''"].iter().any(|quotes| text.contains(quotes));
    one_line && text.contains(MARKER) && text.lines().filter(|line| line.contains(MARKER)).all(proper)
}

fn accepted(settings: &Settings, secret: bool) {
    let shown = cli::config::print(settings);
    if secret {
        assert!(!format!("{settings:?}").contains(MARKER));
        assert!(!shown.contains(MARKER), "{shown}");
    }
    // What is shown is settings again, the same ones; unless an address could not be shown without its password, or a
    // list depends on the user in one.
    if !shown.contains("url = \"***\"") && settings.publishers.is_none() {
        match load(&shown, []) {
            Ok(again) => assert_eq!(cli::config::print(&again), shown),
            Err(error) => panic!("{error}\n{shown}"),
        }
    }
}

fn refused(error: &ConfigError, secret: bool) {
    let said = error.to_string();
    if secret {
        assert!(!said.contains(MARKER), "{said}");
    }
    match error {
        ConfigError::File { file, problem } => assert!(!file.is_empty() && !problem.is_empty()),
        // The key may be empty, where that is what was written; the place is told in any case.
        ConfigError::Key { key: _, place, problem } => assert!(!place.is_empty() && !problem.is_empty(), "{said}"),
    }
}
