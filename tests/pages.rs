//! Completions and manual pages: shells and `man` take what is printed.

use std::process::{Command, Stdio};

/// Runs the binary with no settings at all.
fn printed(args: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_asset-eraser"))
        .args(args)
        .env("ASSET_ERASER__PROVIDER__TIMEOUT", "not a duration: it is not read")
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// What bash offers after these words, the last of them begun.
fn offered(words: &[&str]) -> Vec<String> {
    // As readline calls it.
    let script = r#"
        source <(printf '%s' "$SCRIPT")
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        [[ $(complete -p asset-eraser) =~ -F\ ([^ ]+) ]]
        "${BASH_REMATCH[1]}" asset-eraser "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let out = Command::new("bash")
        .args(["--norc", "-c", script, "bash"])
        .args(words)
        .env("SCRIPT", printed(&["completions", "bash"]))
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && error.is_empty(), "{error}");
    String::from_utf8(out.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_and_options() {
    assert_eq!(offered(&["asset-eraser", "sub"]), ["submit"]);
    assert_eq!(offered(&["asset-eraser", "submit", "--expect"]), ["--expect-type", "--expect-name"]);
    assert_eq!(offered(&["asset-eraser", "submit", "--on-in-use", "re"]), ["reject"]);
    assert_eq!(offered(&["asset-eraser", "ledger", "v"]), ["verify"]);
}

#[test]
fn other_shells_get_theirs() {
    assert!(printed(&["completions", "zsh"]).starts_with("#compdef asset-eraser"));
    assert!(printed(&["completions", "fish"]).contains("complete -c asset-eraser"));
}

#[test]
fn every_command_has_a_page_that_groff_takes_without_a_warning() {
    let install = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/dev/install.sh");
    let installed = Command::new(install).arg("groff").status().unwrap();
    assert!(installed.success(), "install.sh groff: {installed}");
    let dir = tempfile::tempdir().unwrap();
    let written = printed(&["man", "--dir", dir.path().to_str().unwrap()]);
    let names: Vec<&str> = written.lines().map(|line| line.rsplit('/').next().unwrap()).collect();
    for name in ["asset-eraser.1", "asset-eraser-run.1", "asset-eraser-submit.1", "asset-eraser-ledger-show.1"] {
        assert!(names.contains(&name), "{names:?}");
    }
    for path in written.lines() {
        let out = Command::new("groff")
            .args(["-man", "-ww", "-Tutf8", "-P-cbou", path])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let (page, warned) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success() && warned.is_empty(), "{path}: {warned}");
        assert!(page.contains("NAME") && page.contains("DESCRIPTION"), "{path}: {page}");
    }
    assert_eq!(printed(&["man"]), std::fs::read_to_string(dir.path().join("asset-eraser.1")).unwrap());
}
