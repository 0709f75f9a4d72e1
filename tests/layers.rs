//! Imports point down: which module may use which. `ARCHITECTURE.md` says what each is for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The layers, the highest first: a folder each. A module uses modules of its own layer or of a lower one, and no two use
/// each other.
const LAYERS: [&str; 6] = ["operator", "engine", "neighbours", "platform", "settings", "contract"];
/// What only tests and fuzzers use.
const FOR_TESTS: [&str; 1] = ["fuzzing"];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The place of a module's layer among [`LAYERS`].
fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| Some(*layer) == module.split("::").next())
}

/// Each file of the program with the module that it belongs to: `neighbours::broker`. `settings` is a module and a layer.
fn files(folder: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let is_for_tests = name == "tests" || name == "test_http" || name == "oracle";
        if path.is_dir() && !is_for_tests {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_for_tests {
            found.extend(named(&module_of(&path)).into_iter().map(|module| (module, path.clone())));
        }
    }
    found
}

/// The modules that the part of an import after `crate::` names.
fn named(part: &str) -> Vec<String> {
    let layer = word(part);
    match part[layer.len()..].strip_prefix("::") {
        Some(group) if layer != "settings" && group.starts_with('{') => {
            outermost(&group[1..]).iter().map(|part| format!("{layer}::{}", word(part.trim_start()))).collect()
        }
        Some(rest) if layer != "settings" => vec![format!("{layer}::{}", word(rest))],
        _ => vec![layer],
    }
}

/// The modules of the crate that a text uses: `crate::one::…`, `crate::{one, two::…}`.
fn used(text: &str) -> BTreeSet<String> {
    let program = text.split("#[cfg(test)]").next().unwrap();
    let code: Vec<&str> = program.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let mut used = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => used.extend(named(rest)),
            Some(group) => used.extend(outermost(group).iter().flat_map(|part| named(part.trim_start()))),
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

/// A file as a module: `broker::clean::rest`.
fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix(source()).unwrap().with_extension("");
    let parts: Vec<_> = inside.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    parts.join("::")
}

/// The paths that a file imports, without groups, as they are written.
fn imported(text: &str) -> Vec<String> {
    let program = text.split("#[cfg(test)]").next().unwrap();
    let mut paths = Vec::new();
    for (at, _) in program.match_indices("use ") {
        let before = program[..at].rsplit('\n').next().unwrap().trim_start();
        if ["", "pub ", "pub(super) ", "pub(crate) "].contains(&before) {
            let statement = program[at + 4..].split(';').next().unwrap();
            expand("", &statement.split_whitespace().collect::<String>(), &mut paths);
        }
    }
    paths
}

fn expand(before: &str, path: &str, paths: &mut Vec<String>) {
    match path.split_once('{') {
        None => paths.push(format!("{before}{path}")),
        Some((base, group)) => {
            for part in outermost(group) {
                expand(&format!("{before}{base}"), part, paths);
            }
        }
    }
}

/// The module of the crate that a path of `module` leads to.
fn target(module: &str, path: &str, modules: &BTreeSet<String>) -> Option<String> {
    let mut base: Vec<&str> = module.split("::").collect();
    let mut parts: Vec<&str> = path.split("::").collect();
    match parts[0] {
        "crate" => base.clear(),
        "self" | "super" => {}
        _ => return None,
    }
    while matches!(parts.first(), Some(&("crate" | "self" | "super"))) {
        if parts.remove(0) == "super" {
            base.pop();
        }
    }
    base.extend(parts);
    while !base.is_empty() && !modules.contains(&base.join("::")) {
        base.pop();
    }
    Some(base.join("::")).filter(|target| !target.is_empty())
}

/// Whether one of them is inside of the other: a module and its parts may know each other.
fn are_nested(one: &str, other: &str) -> bool {
    let is_in = |inner: &str, outer: &str| inner == outer || inner.starts_with(&format!("{outer}::"));
    is_in(one, other) || is_in(other, one)
}

/// What each file uses, but for the modules around it and in it.
fn uses() -> BTreeMap<String, BTreeSet<String>> {
    let files: Vec<PathBuf> = files(&source()).into_iter().map(|(_, path)| path).collect();
    let modules: BTreeSet<String> = files.iter().map(|path| module_of(path)).collect();
    let of = |path: &Path| {
        let (module, text) = (module_of(path), std::fs::read_to_string(path).unwrap());
        let targets = imported(&text).into_iter().filter_map(|path| target(&module, &path, &modules));
        let others = targets.filter(|target| !are_nested(&module, target)).collect();
        (module, others)
    };
    files.iter().map(|path| of(path)).collect()
}

/// Everything that is used from here on, directly or not.
fn reached(from: &str, uses: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(module) = next.pop() {
        for other in uses.get(&module).into_iter().flatten() {
            if reached.insert(other.clone()) {
                next.push(other.clone());
            }
        }
    }
    reached
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let uses = uses();
    assert!(uses.values().map(BTreeSet::len).sum::<usize>() > 300, "too few imports were found");
    let circles: Vec<_> = uses.keys().filter(|module| reached(module, &uses).contains(*module)).collect();
    assert!(circles.is_empty(), "each of these uses itself by way of others: {circles:?}");
}

#[test]
fn every_folder_is_a_layer() {
    let lib = std::fs::read_to_string(source().join("lib.rs")).unwrap();
    let modules = lib.lines().filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod "));
    for module in modules.map(|name| name.trim_end_matches(';')) {
        assert!(LAYERS.contains(&module) || FOR_TESTS.contains(&module), "{module} is no layer of tests/layers.rs");
    }
}

#[test]
fn no_import_points_up() {
    let imports = imports();
    assert!(imports.len() > 50, "only {} imports were found", imports.len());
    for (module, other, file) in imports {
        let (Some(from), Some(to)) = (layer(&module), layer(&other)) else { continue };
        assert!(from <= to, "src/{file}: {module} uses {other}, and {} is above {}", LAYERS[to], LAYERS[from]);
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
    let text = "use crate::{neighbours::broker::{A, B}, settings::Http,\n    platform::{text, retry}};\n// crate::comment\nlet x = crate::neighbours::ledger::X;\n#[cfg(test)]\nuse crate::operator::cli;";
    let wanted = ["neighbours::broker", "neighbours::ledger", "platform::retry", "platform::text", "settings"];
    assert_eq!(used(text), BTreeSet::from(wanted.map(str::to_owned)));
    assert_eq!(
        imported("use std::x;\npub(super) use super::{a::{B, c::D},\n    e};\nlet reuse x;"),
        ["std::x", "super::a::B", "super::a::c::D", "super::e"]
    );
    let modules = BTreeSet::from(["a::b", "a::c", "d"].map(str::to_owned));
    assert_eq!(target("a::b", "super::c::Thing", &modules).as_deref(), Some("a::c"));
    assert_eq!(target("a::b", "crate::d", &modules).as_deref(), Some("d"));
    assert_eq!(target("a::b", "std::d", &modules), None);
}
