//! SECURITY.md names a test for each claim: they have to exist.

use std::collections::BTreeSet;
use std::path::Path;

fn sources(dir: &Path, all: &mut String) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|end| end == "rs") {
            all.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_test_and_file_that_the_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let quoted: BTreeSet<&str> = page.split('`').skip(1).step_by(2).collect();
    let mut all = String::new();
    for folder in ["src", "tests"] {
        sources(&root.join(folder), &mut all);
    }
    // A test is a sentence; no setting and no metric has so many words.
    let sentence =
        |text: &&&str| text.matches('_').count() > 3 && text.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric());
    let tests: Vec<_> = quoted.iter().filter(sentence).collect();
    assert!(tests.len() > 30, "{tests:?}");
    for test in tests {
        assert!(all.contains(&format!("fn {test}()")), "SECURITY.md names a test {test}");
    }
    for file in quoted.iter().filter(|text| text.starts_with("src/") || text.starts_with("tests/")) {
        assert!(root.join(file).exists(), "SECURITY.md names a file {file}");
    }
}
