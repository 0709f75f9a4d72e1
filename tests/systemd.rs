//! deploy/systemd: the unit stops nothing short, restarts what a restart can mend, and leaves the worker no rights.
//! (That the worker lives with it was tried by hand: see SECURITY.md.)

use std::path::{Path, PathBuf};
use std::process::Command;

fn root(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd").join(name)
}

fn unit() -> String {
    std::fs::read_to_string(root("asset-eraser.service")).unwrap()
}

fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

#[test]
fn the_unit_waits_for_a_shutdown_and_restarts_all_but_wrong_settings() {
    let unit = unit();
    // As in the Deployment: worker.grace, 5 s to hand back, and some seconds to close connections.
    assert_eq!(values(&unit, "TimeoutStopSec"), ["45s"]);
    assert_eq!(values(&unit, "Restart"), ["always"]);
    assert_eq!(values(&unit, "StartLimitIntervalSec"), ["0"]);
    assert_eq!(values(&unit, "RestartPreventExitStatus"), ["2"]);
    let wrong = Command::new(env!("CARGO_BIN_EXE_asset-eraser")).env_clear().args(["run"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2), "settings without a token are wrong");
}

#[test]
fn the_worker_takes_the_settings_and_finds_its_tokens_and_its_ledger() {
    let (unit, dir) = (unit(), tempfile::tempdir().unwrap());
    let settings = std::fs::read_to_string(root("asset-eraser.toml")).unwrap();
    let credentials = "/run/credentials/asset-eraser.service";
    for credential in values(&unit, "LoadCredential") {
        let (name, file) = credential.split_once(':').unwrap();
        assert_eq!(file, format!("/etc/asset-eraser/{name}"));
        assert!(settings.contains(&format!("\"{credentials}/{name}\"")), "{name}");
        std::fs::write(dir.path().join(name), "TOKEN-OF-A-TEST\n").unwrap();
    }
    let file = dir.path().join("asset-eraser.toml");
    std::fs::write(&file, settings.replace(credentials, dir.path().to_str().unwrap())).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_asset-eraser"));
    let out = command.env_clear().arg("--config").arg(file).arg("config").output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let printed = String::from_utf8(out.stdout).unwrap();
    // The one folder that it can write to.
    assert_eq!(values(&unit, "StateDirectory"), ["asset-eraser"]);
    assert!(printed.contains("url = \"sqlite:///var/lib/asset-eraser/"), "{printed}");
    assert!(printed.contains("grace = \"25s\""), "TimeoutStopSec is made for it: {printed}");
}

#[test]
fn the_worker_gets_no_rights() {
    let unit = unit();
    for line in [
        "User=asset-eraser",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "PrivateDevices=yes",
        "PrivateUsers=yes",
        "MemoryDenyWriteExecute=yes",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
        "SystemCallFilter=@system-service",
        "UMask=0077",
        "LimitCORE=0",
    ] {
        assert!(unit.lines().any(|it| it == line), "{line}");
    }
    assert!(values(&unit, "ReadWritePaths").is_empty());
}

/// The unit with the program that is tested.
fn with_program(unit: &str) -> String {
    let start = "ExecStart=asset-eraser ";
    assert_eq!(unit.matches(start).count(), 1);
    unit.replace(start, concat!("ExecStart=", env!("CARGO_BIN_EXE_asset-eraser"), " "))
}

#[test]
fn systemd_finds_the_unit_right_and_little_exposed() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("no systemd-analyze here: not asked");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("asset-eraser.service");
    // `verify` wants the program to be there.
    std::fs::write(&path, with_program(&unit())).unwrap();
    // 10 times the figure that is printed: 0 is nothing exposed, 9.6 a unit without any of this.
    for args in [&["verify"][..], &["security", "--offline=true", "--no-pager", "--threshold=12"]] {
        let out = Command::new("systemd-analyze").args(args).arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        assert!(out.status.success(), "{args:?}: {said}");
    }
}
