//! What docs/style.md says that can be counted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The most words that a newcomer is asked to read.
const README_WORDS: usize = 1_500;
/// The longest map of the code, in bytes.
const MAP_BYTES: usize = 8 * 1024;
const VAGUE: [&str; 6] = ["nobody", "somebody", "everybody", "anybody", "whoever", "can't"];
/// Pages that quote the words.
const QUOTING: [&str; 2] = ["docs/style.md", "tests/style.rs"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The files below a folder with one of these extensions.
fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(files(&entry, extensions));
        } else if entry.extension().is_some_and(|one| extensions.iter().any(|wanted| one == *wanted)) {
            found.push(entry);
        }
    }
    found
}

/// Everything that users and operators read which is no code.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<_> =
        ["README.md", "SECURITY.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "docker-compose.yml"]
            .map(|name| root().join(name))
            .into();
    pages.extend(files(&root().join("docs"), &["md", "yaml", "json"]));
    pages.extend(files(&root().join("deploy"), &["yml", "yaml", "json", "toml", "service", "conf", "sh"]));
    pages.extend(files(&root().join("src"), &["html"]));
    pages.extend(files(&root().join(".github"), &["md", "yml"]));
    pages
}

fn vague_words(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '\'' || c == '_' || c == '`'));
    words.filter(|word| VAGUE.iter().any(|vague| word.eq_ignore_ascii_case(vague))).collect()
}

/// Where a file has such a word.
fn vague_lines(path: &Path) -> Vec<String> {
    let name = path.strip_prefix(root()).unwrap().display().to_string();
    if QUOTING.contains(&name.as_str()) {
        return Vec::new();
    }
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().enumerate();
    lines
        .flat_map(|(number, line)| vague_words(line).into_iter().map(move |word| (number + 1, word)))
        .map(|(number, word)| format!("{name}:{number}: {word}"))
        .collect()
}

#[test]
fn no_page_has_a_word_that_hides_the_actor() {
    let found: Vec<String> = pages().iter().flat_map(|page| vague_lines(page)).collect();
    assert!(found.is_empty(), "see docs/style.md: {found:#?}");
}

#[test]
fn neither_code_nor_comments_have_a_word_that_hides_the_actor() {
    let folders = ["src", "tests", "tools", "fuzz/fuzz_targets"];
    let sources = folders.iter().flat_map(|folder| files(&root().join(folder), &["rs", "sql", "patch"]));
    let found: Vec<String> = sources.flat_map(|source| vague_lines(&source)).collect();
    assert!(found.is_empty(), "see docs/style.md: {found:#?}");
}

#[test]
fn what_a_newcomer_reads_first_is_short() {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).unwrap();
    let (words, bytes) = (read("README.md").split_whitespace().count(), read("ARCHITECTURE.md").len());
    assert!(words <= README_WORDS, "README.md: {words} words");
    assert!(bytes <= MAP_BYTES, "ARCHITECTURE.md: {bytes} bytes");
}

/// Relative links lead to files, and to headings that are there.
#[test]
fn every_link_of_a_page_leads_somewhere() {
    let mut lost = Vec::new();
    for page in pages().into_iter().filter(|page| page.extension().is_some_and(|one| one == "md")) {
        let text = std::fs::read_to_string(&page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") || target.contains(' ') {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let text = || std::fs::read_to_string(&file).unwrap();
            let is_there = || text().lines().filter(|line| line.starts_with('#')).any(|line| slug(line) == heading);
            if !file.exists() || (!heading.is_empty() && !is_there()) {
                lost.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(lost.is_empty(), "{lost:#?}");
}

/// A heading as the link to it.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn the_words_are_found() {
    assert_eq!(vague_words("It fails for Everybody; see `nobody` and can't."), ["Everybody", "can't"]);
    assert_eq!(slug("## A pooler in front of the database"), "a-pooler-in-front-of-the-database");
}

/// The type that a line defines. A `type` inside of an `impl` is what a trait asks for and has the trait's name for it.
fn defined_type(line: &str) -> Option<&str> {
    let code = line.trim_start();
    let code = code.strip_prefix("pub").map_or(code, |rest| rest.split_once(' ').map_or("", |(_, rest)| rest));
    let (keyword, rest) = code.split_once(' ')?;
    let is_type =
        ["struct", "enum", "trait", "union"].contains(&keyword) || (keyword == "type" && !line.starts_with(' '));
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    is_type.then(|| &rest[..end])
}

#[test]
fn a_type_name_is_defined_once() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in files(&root().join("src"), &["rs"]) {
        let text = std::fs::read_to_string(&path).unwrap();
        for name in text.lines().filter_map(defined_type) {
            places.entry(name.to_owned()).or_default().push(path.display().to_string());
        }
    }
    assert!(places.len() > 300, "only {} types were found", places.len());
    let twice: Vec<_> = places.into_iter().filter(|(_, places)| places.len() > 1).collect();
    assert!(twice.is_empty(), "a type needs a name of its own: {twice:#?}");
}

#[test]
fn definitions_of_types_are_found() {
    let lines =
        ["pub(super) struct One<'a> {", "    enum Two {", "type Three = u8;", "    type Output = u8;", "let x = 1;"];
    assert_eq!(lines.map(defined_type), [Some("One"), Some("Two"), Some("Three"), None, None]);
}
