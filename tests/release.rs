//! What the Debian package and the workflows name is there. (`make try-deb` installs the package for real.)

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// `[package.metadata.deb]` of Cargo.toml.
fn package() -> toml::Table {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    manifest["package"]["metadata"]["deb"].as_table().unwrap().clone()
}

/// Source, target and mode of each file in the package.
fn assets() -> Vec<(String, String, String)> {
    let package = package();
    let text = |value: &toml::Value| value.as_str().unwrap().to_owned();
    let asset = |asset: &toml::Value| (text(&asset[0]), text(&asset[1]), text(&asset[2]));
    package["assets"].as_array().unwrap().iter().map(asset).collect()
}

#[test]
fn each_file_of_the_debian_package_is_there() {
    for (source, _, _) in assets() {
        // Made by deploy/debian/build.sh.
        if let Some(made) = source.strip_prefix("target/pages/") {
            let folder = made.split('/').next().unwrap();
            assert!(read("deploy/debian/build.sh").contains(&format!("target/pages/{folder}")), "{source}");
            continue;
        }
        let file = source.strip_suffix("*.md").unwrap_or(&source);
        assert!(source.starts_with("target/release/") || root().join(file).exists(), "{source}");
    }
    let package = package();
    let named = ["extended-description-file", "maintainer-scripts"].map(|key| package[key].as_str().unwrap());
    for file in named.into_iter().chain([package["license-file"][0].as_str().unwrap()]) {
        assert!(root().join(file).exists(), "{file}");
    }
    // cargo-deb finds both by their names, and says nothing if they are not there.
    let units = Path::new(package["systemd-units"]["unit-scripts"].as_str().unwrap()).to_owned();
    for name in ["asset-eraser.service", "asset-eraser.sysusers"] {
        assert!(root().join(&units).join(name).exists(), "{name}");
    }
}

#[test]
fn the_package_keeps_secrets_from_other_users_and_starts_nothing() {
    let (_, _, mode) = assets().into_iter().find(|(_, target, _)| target == "etc/asset-eraser/").unwrap();
    assert_eq!(mode, "640");
    let package = package();
    let units = package["systemd-units"].as_table().unwrap();
    assert_eq!((units["enable"].as_bool(), units["start"].as_bool()), (Some(false), Some(false)));
}

#[test]
fn the_package_s_scripts_have_a_place_for_the_commands_of_cargo_deb() {
    for script in ["postinst", "postrm"] {
        let text = read(&format!("deploy/debian/{script}"));
        assert!(text.starts_with("#!/bin/sh\n") && text.contains("\nset -e\n"), "{script}");
        assert_eq!(text.lines().filter(|line| *line == "#DEBHELPER#").count(), 1, "{script}");
    }
}

/// The workflows, by name.
fn workflows() -> [(&'static str, String); 2] {
    ["ci.yml", "release.yml"].map(|name| (name, read(&format!(".github/workflows/{name}"))))
}

#[test]
fn a_workflow_has_no_more_permissions_than_its_jobs_name_and_uses_actions_by_commit() {
    for (name, text) in workflows() {
        let workflow: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(workflow["permissions"], serde_json::json!({}), "{name}");
        for (job, it) in workflow["jobs"].as_object().unwrap() {
            assert!(it["permissions"].is_object(), "{name}: {job}");
        }
        for action in text.lines().filter_map(|line| line.split("uses: ").nth(1)) {
            if let Some(path) = action.strip_prefix("./") {
                assert!(root().join(path).exists(), "{name}: {action}");
                continue;
            }
            let (commit, version) = action.split_once('@').unwrap().1.split_once(" # v").expect(action);
            assert!(commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit()), "{name}: {action}");
            assert!(!version.is_empty() && action.starts_with("actions/"), "{name}: {action}");
        }
    }
}

#[test]
fn each_command_of_a_workflow_is_there() {
    let makefile = read("Makefile");
    let mut found = 0;
    for (name, text) in workflows() {
        for line in text.lines().map(|line| line.trim().trim_start_matches("- run: ")) {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("make") => {
                    let target = format!("\n{}:", words.next().unwrap());
                    assert!(makefile.contains(&target), "{name}: {line}");
                }
                Some(program) if program.starts_with("deploy/") || program.starts_with(".ci/") => {
                    assert!(root().join(program).exists(), "{name}: {line}");
                }
                _ => continue,
            }
            found += 1;
        }
    }
    assert!(found >= 6, "{found} commands");
}
