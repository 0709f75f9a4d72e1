//! As much of kustomize as deploy/kubernetes uses: resources, a namespace, strategic-merge patches. It is small so that the
//! tests need nothing that Debian has not; where there is a kubectl, it has to render the same.

use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value};

/// Each document of a file, or of what `kubectl` printed.
pub fn documents(yaml: &str, from: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(yaml).unwrap_or_else(|error| panic!("{from}: {error}"))
}

pub fn file(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    documents(&text, &path.display().to_string())
}

/// What `kubectl apply -k` of this folder applies.
pub fn folder(path: &Path) -> Vec<Value> {
    let kustomization = file(&path.join("kustomization.yaml")).remove(0);
    let known = ["apiVersion", "kind", "namespace", "resources", "patches"];
    for key in kustomization.as_object().unwrap().keys() {
        assert!(known.contains(&key.as_str()), "{}: {key} is not rendered by these tests", path.display());
    }
    let mut all = Vec::new();
    for resource in kustomization["resources"].as_array().unwrap() {
        let resource = path.join(resource.as_str().unwrap());
        all.extend(if resource.is_dir() { folder(&resource) } else { file(&resource) });
    }
    for patch in kustomization["patches"].as_array().into_iter().flatten() {
        for patch in file(&path.join(patch["path"].as_str().unwrap())) {
            apply(&mut all, patch);
        }
    }
    if let Some(namespace) = kustomization["namespace"].as_str() {
        for object in all.iter_mut().filter(|object| object["kind"] != "Namespace") {
            object["metadata"]["namespace"] = namespace.into();
        }
    }
    all
}

/// The same by `kubectl`, if there is one that is new enough to know `patches`.
pub fn by_kubectl(path: &Path) -> Option<Vec<Value>> {
    let version = Command::new("kubectl").args(["version", "--client"]).output().ok()?;
    if !String::from_utf8_lossy(&version.stdout).contains("Kustomize Version: v5") {
        return None;
    }
    let out = Command::new("kubectl").arg("kustomize").arg(path).output().unwrap();
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && error.is_empty(), "kubectl kustomize: {error}");
    Some(documents(&String::from_utf8(out.stdout).unwrap(), "kubectl kustomize"))
}

fn apply(all: &mut Vec<Value>, mut patch: Value) {
    let same = |object: &Value| {
        object["kind"] == patch["kind"]
            && object["apiVersion"] == patch["apiVersion"]
            && object["metadata"]["name"] == patch["metadata"]["name"]
    };
    let at = all.iter().position(same).unwrap_or_else(|| panic!("a patch of nothing: {patch}"));
    match patch.as_object_mut().unwrap().remove("$patch") {
        Some(what) => {
            assert_eq!(what, "delete");
            all.remove(at);
        }
        None => merge(&mut all[at], patch),
    }
}

fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    into.remove(&key);
                } else {
                    merge(into.entry(key).or_insert(Value::Object(Map::new())), value);
                }
            }
        }
        (Value::Array(into), Value::Array(patch)) if patch.iter().all(|element| key_of(element).is_some()) => {
            for element in patch {
                match into.iter_mut().find(|other| key_of(other) == key_of(&element)) {
                    Some(other) => merge(other, element),
                    None => into.push(element),
                }
            }
        }
        (into, patch) => *into = patch,
    }
}

/// By what elements of a list are told apart.
fn key_of(element: &Value) -> Option<&str> {
    ["mountPath", "name"].iter().find_map(|key| element[key].as_str())
}
