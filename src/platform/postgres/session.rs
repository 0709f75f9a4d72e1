//! What is asked for in a session, by statements in it: a pooler in between may refuse the options of a start-up message,
//! or drop them without a word.

use postgres_protocol::escape::escape_literal;

/// Settings by name, and their values in the server's own spelling.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SessionSettings(Vec<(String, String)>);

/// How long a setting lasts.
#[derive(Clone, Copy)]
pub(super) enum Lasting {
    Session,
    Transaction,
}

impl SessionSettings {
    /// What the parameter `options` of a URL asks for: `-c NAME=VALUE` or `--NAME=VALUE`, any number of them; a blank in
    /// a value has a backslash before it.
    ///
    /// # Errors
    /// A sentence that repeats nothing of it.
    pub(super) fn of_options(options: &str) -> Result<Self, String> {
        let mut words = words(options).into_iter();
        let mut settings = Vec::new();
        while let Some(word) = words.next() {
            let setting = match word.strip_prefix("-c") {
                Some("") => words.next(),
                Some(setting) => Some(setting.to_owned()),
                None => word.strip_prefix("--").map(ToOwned::to_owned),
            };
            settings.push(setting.as_deref().and_then(pair).ok_or("its options must each be -c NAME=VALUE")?);
        }
        Ok(Self(settings))
    }

    /// With more settings, which win over those of the same name.
    pub(super) fn and(mut self, more: &[(&str, String)]) -> Self {
        self.0.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        self
    }

    /// The statement that sets them all, in their order; nothing for none. The server answers with an error, and so does
    /// nothing else of the message, if it does not take one.
    pub(super) fn statement(&self, lasting: Lasting) -> String {
        let local = matches!(lasting, Lasting::Transaction);
        let set = |(name, value): &(String, String)| {
            let (name, value) = (escape_literal(name), escape_literal(value));
            format!("pg_catalog.set_config({name}, {value}, {local})")
        };
        let all: Vec<String> = self.0.iter().map(set).collect();
        if all.is_empty() { String::new() } else { format!("SELECT {};", all.join(", ")) }
    }
}

/// As libpq spells a name: dashes stand for underscores.
fn pair(setting: &str) -> Option<(String, String)> {
    let (name, value) = setting.split_once('=')?;
    (!name.is_empty()).then(|| (name.replace('-', "_"), value.to_owned()))
}

/// Words between blanks, where a backslash makes the next character a part of the word.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => words.last_mut().map(|word| word.extend(characters.next())).unwrap_or_default(),
            blank if blank.is_ascii_whitespace() => words.push(String::new()),
            other => words.last_mut().map(|word| word.push(other)).unwrap_or_default(),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(options: &str) -> String {
        SessionSettings::of_options(options).unwrap().statement(Lasting::Session)
    }

    #[test]
    fn options_become_one_statement_and_the_last_of_a_name_comes_last() {
        assert_eq!(statement(" "), "");
        let all = statement(r"-c search_path=a,b  -cstatement_timeout=5s --my-own.x=it\ 's\\");
        let parts = [
            "set_config('search_path', 'a,b', false)",
            "set_config('statement_timeout', '5s', false)",
            r"set_config('my_own.x',  E'it ''s\\', false)",
        ];
        let at: Vec<_> = parts.iter().map(|part| all.find(part).unwrap_or_else(|| panic!("{all}"))).collect();
        assert!(at.is_sorted(), "{all}");
        let more = SessionSettings::of_options("-c a=1").unwrap().and(&[("a", "2".to_owned())]);
        assert!(more.statement(Lasting::Transaction).ends_with("set_config('a', '2', true);"));
    }

    #[test]
    fn options_that_cannot_be_set_in_a_session_are_refused_and_not_quoted() {
        for options in ["-B 3", "-c", "-c secret", "secret", "-c =secret"] {
            let refused = SessionSettings::of_options(options).unwrap_err();
            assert!(!refused.contains("secret") && refused.contains("-c NAME=VALUE"), "{refused}");
        }
    }
}
