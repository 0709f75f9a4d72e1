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

#[test]
fn what_the_compose_file_mounts_is_there_and_names_its_services() {
    let compose: serde_json::Value = serde_saphyr::from_str(&file("docker-compose.yml")).unwrap();
    let services = compose["services"].as_object().unwrap();
    let mut mounted = Vec::new();
    for (name, service) in services {
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let volume = volume.as_str().unwrap();
            if let Some((from, to)) = volume.strip_prefix("./").and_then(|volume| volume.split_once(':')) {
                let path = format!("{}/{from}", env!("CARGO_MANIFEST_DIR"));
                assert!(std::path::Path::new(&path).exists(), "{name} mounts {from}");
                assert!(to.ends_with(":ro"), "{name} could change {from}");
                mounted.push(to.trim_end_matches(":ro").to_owned());
            }
        }
    }
    let scraped = file("deploy/prometheus/prometheus.yml");
    let datasource = file("deploy/grafana/provisioning/datasources/prometheus.yml");
    for (text, address, service) in [
        (&scraped, "worker:9464", "worker"),
        (&scraped, "rabbitmq:15692", "rabbitmq"),
        (&datasource, "http://prometheus:9090", "prometheus"),
    ] {
        assert!(text.contains(address) && services.contains_key(service), "{address}");
    }
    let provider = file("deploy/grafana/provisioning/dashboards/asset-eraser.yml");
    let folder = mounted.iter().find_map(|to| to.strip_suffix("/asset-eraser.json")).unwrap();
    assert!(provider.contains(&format!("path: {folder} ")), "{provider}");
    // As the Deployment's terminationGracePeriodSeconds, which is held to worker.grace.
    assert_eq!(compose["services"]["worker"]["stop_grace_period"], "45s");
}
