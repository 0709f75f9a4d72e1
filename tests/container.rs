//! What docker-compose.yml and the Dockerfile take away from our programs. (That the engine does so, and that the worker
//! lives with it, is tried by hand: see SECURITY.md.)

fn file(name: &str) -> String {
    std::fs::read_to_string(format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The lines below `head`, as long as they are indented deeper.
fn block<'a>(text: &'a str, head: &str) -> Vec<&'a str> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut lines = text.lines().skip_while(|line| *line != head);
    let depth = indent(lines.next().unwrap_or_else(|| panic!("no {head:?}")));
    lines.take_while(|line| line.trim().is_empty() || indent(line) > depth).collect()
}

#[test]
fn a_container_of_ours_can_write_only_into_the_ledger_s_volume_and_get_no_more_rights() {
    let compose = file("docker-compose.yml");
    let locked = block(&compose, "x-locked: &locked");
    for setting in [
        "user: \"10001:10001\"",
        "read_only: true",
        "cap_drop: [ALL]",
        "security_opt: [\"no-new-privileges:true\"]",
        "pids_limit: 256",
        "mem_limit: 512m",
    ] {
        assert!(locked.iter().any(|line| line.trim().split(" #").next() == Some(setting)), "{setting}: {locked:?}");
    }
    for service in ["worker", "sandbox", "demo"] {
        let lines: Vec<&str> = block(&compose, &format!("  {service}:")).iter().map(|line| line.trim()).collect();
        assert!(lines.contains(&"<<: *locked"), "{service}: {lines:?}");
        // What the service says itself would count instead.
        let own =
            ["user:", "read_only:", "cap_", "security_opt:", "privileged:", "pids_limit:", "mem_limit:", "tmpfs:"];
        assert!(!lines.iter().any(|line| own.iter().any(|key| line.starts_with(key))), "{service}: {lines:?}");
    }
    let volumes = block(&compose, "  worker:").into_iter().find(|line| line.trim().starts_with("volumes:")).unwrap();
    assert_eq!(volumes.trim(), "volumes: [\"ledger:/var/lib/asset-eraser\"]");
}

#[test]
fn the_image_runs_as_a_user_without_rights_by_number() {
    let dockerfile = file("deploy/Dockerfile");
    let users: Vec<&str> = dockerfile.lines().filter(|line| line.starts_with("USER")).collect();
    // By number, since Kubernetes can tell only of a number that it is not root.
    assert_eq!(users, ["USER 10001:10001"]);
    let (base, later) = dockerfile.split_once("USER 10001:10001").unwrap();
    assert!(base.contains("AS base") && !base.contains("AS worker"), "before the targets that are run");
    assert!(later.contains("FROM base AS worker") && later.contains("FROM base AS demo"), "{later}");
    assert!(!dockerfile.contains("chmod +s") && !later.contains("RUN"), "nothing is changed after that");
}
