//! deploy/kubernetes: each object is one that Kubernetes knows, all references between them fit, and what they say about the
//! worker is so. (It has not been on a cluster.)

mod render;
mod schema;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

fn root(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn variant(name: &str) -> Vec<Value> {
    render::folder(&root("deploy/kubernetes").join(name))
}

fn secrets() -> Vec<Value> {
    render::file(&root("deploy/kubernetes/secrets.example.yaml"))
}

fn of_kind<'a>(all: &'a [Value], kind: &str) -> Vec<&'a Value> {
    all.iter().filter(|object| object["kind"] == kind).collect()
}

fn named<'a>(all: &'a [Value], kind: &str, name: &Value) -> &'a Value {
    let found = of_kind(all, kind).into_iter().find(|object| object["metadata"]["name"] == *name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

fn pod(all: &[Value]) -> &Value {
    &of_kind(all, "Deployment")[0]["spec"]["template"]
}

fn container(all: &[Value]) -> &Value {
    &pod(all)["spec"]["containers"][0]
}

fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

/// Whether a selector's labels are all among these.
fn selects(selector: &Value, labels: &Value) -> bool {
    let wanted = selector.as_object().unwrap_or_else(|| panic!("no labels: {selector}"));
    !wanted.is_empty() && wanted.iter().all(|(label, value)| labels[label] == *value)
}

const VARIANTS: [&str; 2] = ["base", "single"];

#[test]
fn each_object_is_one_that_kubernetes_knows() {
    for object in VARIANTS.iter().flat_map(|name| variant(name)).chain(secrets()) {
        schema::check(&object);
    }
    let kinds: Vec<_> = variant("base").iter().map(|object| object["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds.len(), 12, "{kinds:?}");
}

#[test]
fn kustomize_renders_what_the_tests_look_at() {
    for name in VARIANTS {
        let Some(mut theirs) = render::by_kubectl(&root("deploy/kubernetes").join(name)) else {
            eprintln!("no kubectl with kustomize 5 here: not compared");
            return;
        };
        let mut ours = variant(name);
        for all in [&mut ours, &mut theirs] {
            for object in all.iter_mut() {
                sort_by_name(object);
            }
            all.sort_by_key(|object| format!("{}/{}", object["kind"], object["metadata"]["name"]));
        }
        assert_eq!(ours.len(), theirs.len(), "{name}");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs, "{name}");
        }
    }
}

/// The order of what is told apart by name means nothing.
fn sort_by_name(value: &mut Value) {
    match value {
        Value::Array(list) => {
            list.iter_mut().for_each(sort_by_name);
            if list.iter().all(|element| element["name"].is_string() && element["alert"].is_null()) {
                list.sort_by_key(|element| element["name"].as_str().unwrap().to_owned());
            }
        }
        Value::Object(object) => object.values_mut().for_each(sort_by_name),
        _ => {}
    }
}

/// Namespaces that may ask `/v1` have no business at its login.
fn only_who_may_look_reaches_the_console(rules: &[Value]) {
    let of_port = |name: &str| -> Vec<&Value> {
        let rules = rules.iter().filter(|rule| array(&rule["ports"]).iter().any(|port| port["port"] == name));
        rules.flat_map(|rule| array(&rule["from"])).collect()
    };
    let (may_look, may_ask) = (of_port("console"), of_port("http"));
    let label = json!({"namespaceSelector": {"matchLabels": {"asset-eraser.example/may-look": "true"}}});
    assert_eq!(may_look, [&label]);
    assert!(!may_ask.contains(&&label));
}

#[test]
fn every_name_label_and_port_leads_somewhere() {
    for variant_name in VARIANTS {
        let all = variant(variant_name);
        let (labels, port) = (&pod(&all)["metadata"]["labels"], &container(&all)["ports"][0]["name"]);
        let deployment = of_kind(&all, "Deployment")[0];
        assert!(selects(&deployment["spec"]["selector"]["matchLabels"], labels));
        named(&all, "ServiceAccount", &pod(&all)["spec"]["serviceAccountName"]);
        let service = of_kind(&all, "Service")[0];
        assert!(selects(&service["spec"]["selector"], labels));
        assert_eq!(&service["spec"]["ports"][0]["targetPort"], port);
        let monitor = &named(&all, "ServiceMonitor", &"asset-eraser".into())["spec"];
        assert!(selects(&monitor["selector"]["matchLabels"], &service["metadata"]["labels"]));
        assert_eq!(monitor["endpoints"][0]["port"], service["spec"]["ports"][0]["name"]);
        // The alerts look for this job.
        assert_eq!(service["metadata"]["labels"][monitor["jobLabel"].as_str().unwrap()], "asset-eraser");
        let policy = &of_kind(&all, "NetworkPolicy")[0]["spec"];
        assert!(selects(&policy["podSelector"]["matchLabels"], labels));
        assert_eq!(&policy["ingress"][0]["ports"][0]["port"], port);
        only_who_may_look_reaches_the_console(array(&policy["ingress"]));
        let spread = &pod(&all)["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"];
        assert!(selects(spread, labels));
        for budget in of_kind(&all, "PodDisruptionBudget") {
            assert!(selects(&budget["spec"]["selector"]["matchLabels"], labels));
        }
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            assert_eq!(&container(&all)[probe]["httpGet"]["port"], port);
        }
        for scaled in of_kind(&all, "ScaledObject") {
            named(&all, "Deployment", &scaled["spec"]["scaleTargetRef"]["name"]);
            let authentication = &scaled["spec"]["triggers"][0]["authenticationRef"]["name"];
            let reference = &named(&all, "TriggerAuthentication", authentication)["spec"]["secretTargetRef"][0];
            assert_secret(&reference["name"], &reference["key"]);
        }
        volumes_are_there(&all);
    }
}

fn assert_secret(name: &Value, key: &Value) {
    let secrets = secrets();
    let secret = named(&secrets, "Secret", name);
    assert!(secret["stringData"][key.as_str().unwrap()].is_string(), "secret {name} has no {key}");
}

fn volumes_are_there(all: &[Value]) {
    let volumes = array(&pod(all)["spec"]["volumes"]);
    for mount in array(&container(all)["volumeMounts"]) {
        assert!(volumes.iter().any(|volume| volume["name"] == mount["name"]), "{mount}");
    }
    for volume in volumes {
        if let Some(name) = volume["configMap"].get("name") {
            named(all, "ConfigMap", name);
        } else if let Some(name) = volume["secret"].get("secretName") {
            named(&secrets(), "Secret", name);
        } else {
            named(all, "PersistentVolumeClaim", &volume["persistentVolumeClaim"]["claimName"]);
        }
    }
}

/// Runs `asset-eraser config` with the settings of a variant, and gives what it prints.
fn settings_in_force(all: &[Value]) -> String {
    let dir = tempfile::tempdir().unwrap();
    for secret in secrets() {
        for (key, value) in secret["stringData"].as_object().unwrap() {
            std::fs::write(dir.path().join(key), value.as_str().unwrap()).unwrap();
        }
    }
    let mount = |name: &str| {
        let mounts = array(&container(all)["volumeMounts"]);
        mounts.iter().find(|mount| mount["name"] == name).unwrap()["mountPath"].as_str().unwrap().to_owned()
    };
    // Everything that is mounted, in this folder.
    let here = |text: &str| {
        ["settings", "tokens", "urls"]
            .iter()
            .fold(text.to_owned(), |text, name| text.replace(&mount(name), dir.path().to_str().unwrap()))
    };
    for (key, value) in of_kind(all, "ConfigMap")[0]["data"].as_object().unwrap() {
        std::fs::write(dir.path().join(key), here(value.as_str().unwrap())).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_asset-eraser"));
    command.env_clear().arg("config");
    for variable in array(&container(all)["env"]) {
        // Secrets are files: every user who may look at a process sees its variables.
        command.env(variable["name"].as_str().unwrap(), here(variable["value"].as_str().unwrap()));
    }
    let out = command.output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn the_worker_takes_the_settings_and_they_fit_the_pod() {
    for (name, ledger) in [("base", "postgres://"), ("single", "sqlite:///var/lib/asset-eraser/")] {
        let all = variant(name);
        let printed = settings_in_force(&all);
        let value = |key: &str| {
            let start = format!("{key} = ");
            printed.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("no {key}: {printed}"))
        };
        let port = &container(&all)["ports"][0]["containerPort"];
        assert_eq!(value("listen"), format!("\"0.0.0.0:{port}\""));
        assert!(printed.contains(&format!("url = \"{ledger}")), "{printed}");

        let grace = humantime::parse_duration(value("grace").trim_matches('"')).unwrap();
        let source = std::fs::read_to_string(root("src/engine/worker.rs")).unwrap();
        let hand_back = source.split("const HAND_BACK: Duration = Duration::from_secs(").nth(1).unwrap();
        let hand_back = Duration::from_secs(hand_back.split(')').next().unwrap().parse().unwrap());
        // And some seconds more, for open HTTP connections, the broker's and the ledger's closing.
        let needed = grace + hand_back + Duration::from_secs(10);
        let given = pod(&all)["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert!(Duration::from_secs(given) >= needed, "{given} s, {needed:?} needed");
    }
}

#[test]
fn the_worker_gets_no_rights_and_is_restarted_only_when_it_is_dead() {
    for name in VARIANTS {
        let all = variant(name);
        let (pod, worker) = (&pod(&all)["spec"], container(&all));
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        for id in ["runAsUser", "runAsGroup", "fsGroup"] {
            assert_eq!(pod["securityContext"][id], 10001, "{id}, as in the image");
        }
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let own = serde_json::json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        });
        assert_eq!(worker["securityContext"], own);
        assert!(
            worker["resources"]["limits"]["memory"].is_string() && worker["resources"]["requests"]["cpu"].is_string()
        );
        // Being ready is about the broker and the provider, too; no restart brings those back.
        assert_eq!(worker["livenessProbe"]["httpGet"]["path"], "/livez");
        assert_eq!(worker["startupProbe"]["httpGet"]["path"], "/livez");
        assert_eq!(worker["readinessProbe"]["httpGet"]["path"], "/readyz");
        assert_eq!(worker["image"], concat!("asset-eraser:", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn a_ledger_file_never_has_two_workers() {
    let single = variant("single");
    let deployment = &of_kind(&single, "Deployment")[0]["spec"];
    assert_eq!(deployment["replicas"], 1);
    assert_eq!(deployment["strategy"], serde_json::json!({"type": "Recreate"}));
    assert!(of_kind(&single, "ScaledObject").is_empty() && of_kind(&single, "PodDisruptionBudget").is_empty());
    let ledger = &of_kind(&single, "ConfigMap")[0]["data"]["ledger-url"];
    let mounts = array(&container(&single)["volumeMounts"]);
    let mount = mounts.iter().find(|mount| mount["name"] == "ledger").unwrap()["mountPath"].as_str().unwrap();
    assert!(ledger.as_str().unwrap().starts_with(&format!("sqlite://{mount}/")), "{ledger}");
}

#[test]
fn the_alerts_are_those_of_deploy_prometheus() {
    let printed = Command::new(root("deploy/kubernetes/prometheus-rule.sh")).output().unwrap();
    let file = std::fs::read_to_string(root("deploy/kubernetes/base/prometheus-rule.yaml")).unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), file, "deploy/kubernetes/prometheus-rule.sh makes it anew");
    let rule = render::file(&root("deploy/kubernetes/base/prometheus-rule.yaml")).remove(0);
    assert_eq!(rule["spec"], render::file(&root("deploy/prometheus/alerts.yml"))[0]);
}
