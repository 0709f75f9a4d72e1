//! The settings of the pages for people.

use secrecy::ExposeSecret;

use super::checks::{address, secret};
use super::raw::RawConsole;
use super::source::Source;
use super::{ConfigError, ConsoleSettings};

/// Shortest password, in characters. A person who guesses it can replay and drop dead letters.
const SHORTEST: usize = 12;

pub(super) fn console(source: &Source, raw: &RawConsole) -> Result<Option<ConsoleSettings>, ConfigError> {
    let password = secret(source, "console.password", raw.password.as_ref(), raw.password_file.as_ref())?;
    if !raw.enabled.0.unwrap_or(false) {
        return Ok(None);
    }
    let listen = raw.listen.as_deref().map(|given| address(source, "console.listen", given)).transpose()?;
    let user = raw.user.clone().unwrap_or_else(|| "operator".to_owned());
    // A colon ends the user's name in HTTP's basic login.
    if user.is_empty() || user.contains(':') || user.chars().any(char::is_control) {
        return Err(source.problem("console.user", "must be a name without colons and control characters"));
    }
    let Some(password) = password else {
        let problem = "is required with console.enabled = true: set console.password, or console.password_file to the path \
                       of a file that holds it";
        return Err(source.problem("console.password", problem));
    };
    if password.expose_secret().len() < SHORTEST {
        return Err(source.problem("console.password", format!("must have {SHORTEST} characters or more")));
    }
    Ok(Some(ConsoleSettings { listen, user, password }))
}

#[cfg(test)]
mod tests {
    use crate::settings::Settings;

    #[test]
    fn the_console_is_off_unless_it_is_enabled_and_never_without_a_password() {
        let load = |set: &[(&str, &str)]| {
            let all = [("PROVIDER__TOKEN", "x"), ("GUARD__NONE", "true")].iter().chain(set);
            Settings::load(None, all.map(|(key, value)| (format!("ASSET_ERASER__{key}"), (*value).to_owned())))
        };
        let (on, long) = (("CONSOLE__ENABLED", "true"), ("CONSOLE__PASSWORD", "0123456789ab"));
        assert!(load(&[]).unwrap().console.is_none() && load(&[long]).unwrap().console.is_none());
        assert_eq!(load(&[on, long]).unwrap().console.unwrap().user, "operator");
        for (set, key) in [
            (vec![on], "console.password"),
            (vec![on, ("CONSOLE__PASSWORD", "short")], "console.password"),
            (vec![on, long, ("CONSOLE__USER", "a:b")], "console.user"),
            (vec![on, long, ("CONSOLE__LISTEN", "9465")], "console.listen"),
        ] {
            let error = load(&set).unwrap_err().to_string();
            assert!(error.starts_with(key) && !error.contains("short"), "{error}");
        }
    }
}
