//! What docs/style.md says that can be counted.

use std::path::{Path, PathBuf};

/// The most words that a newcomer is asked to read.
const README_WORDS: usize = 1_500;
const VAGUE: [&str; 6] = ["nobody", "somebody", "everybody", "anybody", "whoever", "can't"];
/// Pages that quote the words, and what is generated or not ours to word.
const QUOTING: [&str; 1] = ["docs/style.md"];

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
    pages
}

fn vague_words(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '\'' || c == '_' || c == '`'));
    words.filter(|word| VAGUE.iter().any(|vague| word.eq_ignore_ascii_case(vague))).collect()
}

/// The strings of a line of code, more or less: what stands between quotes.
fn strings(line: &str) -> String {
    if line.trim_start().starts_with("//") {
        return String::new();
    }
    line.split('"').skip(1).step_by(2).collect::<Vec<_>>().join(" ")
}

#[test]
fn no_page_has_a_word_that_hides_the_actor() {
    let mut found = Vec::new();
    for page in pages() {
        let name = page.strip_prefix(root()).unwrap().display().to_string();
        if QUOTING.contains(&name.as_str()) {
            continue;
        }
        for (number, line) in std::fs::read_to_string(&page).unwrap().lines().enumerate() {
            found.extend(vague_words(line).iter().map(|word| format!("{name}:{}: {word}", number + 1)));
        }
    }
    assert!(found.is_empty(), "see docs/style.md: {found:#?}");
}

#[test]
fn no_text_of_the_program_has_a_word_that_hides_the_actor() {
    let mut found = Vec::new();
    for source in files(&root().join("src"), &["rs"]) {
        let name = source.strip_prefix(root()).unwrap().display().to_string();
        if name.contains("tests") {
            continue;
        }
        let text = std::fs::read_to_string(&source).unwrap();
        let program = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for (number, line) in program.lines().enumerate() {
            let said = strings(line);
            found.extend(vague_words(&said).iter().map(|word| format!("{name}:{}: {word}", number + 1)));
        }
    }
    assert!(found.is_empty(), "see docs/style.md: {found:#?}");
}

#[test]
fn the_readme_is_short() {
    let words = std::fs::read_to_string(root().join("README.md")).unwrap().split_whitespace().count();
    assert!(words <= README_WORDS, "{words} words");
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
    assert_eq!(strings(r#"    let text = "for nobody"; // "a comment""#), "for nobody a comment");
    assert_eq!(slug("## A pooler in front of the database"), "a-pooler-in-front-of-the-database");
}
