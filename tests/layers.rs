//! Imports point down: which module may use which. `ARCHITECTURE.md` says what each is for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The layers, the highest first. A module uses modules of its own layer or of a lower one, and no two use each other.
const LAYERS: [(&str, &[&str]); 6] = [
    ("operator", &["cli", "http"]),
    ("engine", &["dead", "eraser", "worker"]),
    ("neighbours", &["backup", "broker", "guard", "ledger", "pace", "provider"]),
    ("platform", &["crypto", "database", "panics", "retry", "telemetry", "text"]),
    ("settings", &["config"]),
    ("contract", &["json", "message", "reasons"]),
];
/// What only tests and fuzzers use.
const FOR_TESTS: [&str; 2] = ["fuzzing", "test_http"];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|(_, modules)| modules.contains(&module))
}

/// Each file of the program with the module that it belongs to.
fn files(folder: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !name.contains("test")
            && name != "oracle"
        {
            let inside = path.strip_prefix(source()).unwrap();
            let module = inside.components().next().unwrap().as_os_str().to_string_lossy().replace(".rs", "");
            found.push((module, path));
        }
    }
    found
}

/// The modules of the crate that a text uses: `crate::one::…`, `crate::{one, two::…}`.
fn used(text: &str) -> BTreeSet<String> {
    let program = text.split("#[cfg(test)]").next().unwrap();
    let code: Vec<&str> = program.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let mut used = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => drop(used.insert(word(rest))),
            Some(group) => used.extend(outermost(group).iter().map(|part| word(part.trim_start()))),
        }
    }
    used
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The parts of a group of imports, up to its end, without those of the groups in it.
fn outermost(group: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0_u32, 0);
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(&group[from..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts
}

/// Every import of a module by another, with the file it stands in.
fn imports() -> BTreeSet<(String, String, String)> {
    let mut imports = BTreeSet::new();
    for (module, path) in files(&source()) {
        let file = path.strip_prefix(source()).unwrap().display().to_string();
        let used = used(&std::fs::read_to_string(&path).unwrap());
        let others = used.into_iter().filter(|other| *other != module && layer(other).is_some());
        imports.extend(others.map(|other| (module.clone(), other, file.clone())));
    }
    imports
}

#[test]
fn every_module_is_in_a_layer() {
    let lib = std::fs::read_to_string(source().join("lib.rs")).unwrap();
    let modules = lib.lines().filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod "));
    for module in modules.map(|name| name.trim_end_matches(';')) {
        assert!(layer(module).is_some() || FOR_TESTS.contains(&module), "{module} is in no layer of tests/layers.rs");
    }
}

#[test]
fn no_import_points_up() {
    let imports = imports();
    assert!(imports.len() > 50, "only {} imports were found", imports.len());
    for (module, other, file) in imports {
        let (Some(from), Some(to)) = (layer(&module), layer(&other)) else { continue };
        let (above, below) = (LAYERS[to].0, LAYERS[from].0);
        assert!(from <= to, "src/{file}: {module} ({below}) uses {other} ({above}), which is above it");
    }
}

#[test]
fn no_two_modules_use_each_other() {
    let pairs: BTreeSet<_> = imports().into_iter().map(|(module, other, _)| (module, other)).collect();
    let both: Vec<_> = pairs.iter().filter(|(a, b)| pairs.contains(&(b.clone(), a.clone()))).collect();
    assert!(both.is_empty(), "{both:?}");
}

#[test]
fn imports_are_found_in_every_form() {
    let text = "use crate::{broker::{A, B}, pace::gate::Gate,\n    text};\n// crate::comment\nlet x = crate::ledger::X;\n#[cfg(test)]\nuse crate::cli;";
    let wanted = ["broker", "ledger", "pace", "text"].map(str::to_owned);
    assert_eq!(used(text), BTreeSet::from(wanted));
}
