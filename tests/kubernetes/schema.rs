//! Whether an object is one that Kubernetes knows. Its own kinds are read into the types that `k8s-openapi` makes of the API
//! description, and written back: what is lost on the way is a field that does not exist. For the kinds of the
//! Prometheus operator and of KEDA the fields that are used are written down here, as their descriptions have them.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::serde::Serialize;
use k8s_openapi::serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Panics over what is wrong with it.
pub fn check(object: &Value) {
    let kind = format!("{}/{}", object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
    match kind.as_str() {
        "apps/v1/Deployment" => round_trip::<Deployment>(object),
        "v1/ConfigMap" => round_trip::<ConfigMap>(object),
        "v1/Namespace" => round_trip::<Namespace>(object),
        "v1/PersistentVolumeClaim" => round_trip::<PersistentVolumeClaim>(object),
        "v1/Secret" => round_trip::<Secret>(object),
        "v1/Service" => round_trip::<Service>(object),
        "v1/ServiceAccount" => round_trip::<ServiceAccount>(object),
        "networking.k8s.io/v1/NetworkPolicy" => round_trip::<NetworkPolicy>(object),
        "policy/v1/PodDisruptionBudget" => round_trip::<PodDisruptionBudget>(object),
        custom => {
            assert!(object["metadata"]["name"].is_string(), "{custom}");
            fits(&object["spec"], &custom_spec(custom), &format!("{custom}.spec"));
        }
    }
}

fn round_trip<T: DeserializeOwned + Serialize>(object: &Value) {
    let read: T = serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error}: {object}"));
    assert_kept(object, &serde_json::to_value(read).unwrap(), object["kind"].as_str().unwrap());
}

fn assert_kept(written: &Value, read: &Value, at: &str) {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => {
            for (key, value) in written {
                let kept = read.get(key).unwrap_or_else(|| panic!("Kubernetes knows no field {at}.{key}"));
                assert_kept(value, kept, &format!("{at}.{key}"));
            }
        }
        (Value::Array(written), Value::Array(read)) => {
            assert_eq!(written.len(), read.len(), "{at}");
            for (written, read) in written.iter().zip(read) {
                assert_kept(written, read, &format!("{at}[]"));
            }
        }
        _ => assert_eq!(written, read, "{at}"),
    }
}

/// Shapes: `"string"`, `"number"`, `["list of this"]`, `{"*": "a map of any keys"}`, or an object; a key with a `!` has to be
/// there.
fn custom_spec(kind: &str) -> Value {
    match kind {
        "monitoring.coreos.com/v1/ServiceMonitor" => json!({
            "jobLabel": "string",
            "selector!": {"matchLabels": {"*": "string"}},
            "namespaceSelector": {"any": "boolean", "matchNames": ["string"]},
            "endpoints!": [{"port": "string", "path": "string", "interval": "string", "params": {"*": ["string"]}}],
        }),
        "monitoring.coreos.com/v1/PrometheusRule" => json!({
            "groups": [{"name!": "string", "interval": "string", "rules": [{
                "alert": "string", "expr!": "string", "for": "string",
                "labels": {"*": "string"}, "annotations": {"*": "string"},
            }]}],
        }),
        "keda.sh/v1alpha1/TriggerAuthentication" => json!({
            "secretTargetRef": [{"parameter!": "string", "name!": "string", "key!": "string"}],
        }),
        "keda.sh/v1alpha1/ScaledObject" => json!({
            "scaleTargetRef!": {"name!": "string", "kind": "string", "apiVersion": "string"},
            "minReplicaCount": "number", "maxReplicaCount": "number",
            "cooldownPeriod": "number", "pollingInterval": "number",
            "fallback": {"failureThreshold!": "number", "replicas!": "number"},
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {
                "scaleDown": {"stabilizationWindowSeconds": "number"},
            }}},
            "triggers!": [{
                "type!": "string", "metadata!": {"*": "string"}, "authenticationRef": {"name!": "string"},
            }],
        }),
        other => panic!("nothing is known of {other}"),
    }
}

fn fits(value: &Value, shape: &Value, at: &str) {
    match shape {
        Value::String(kind) => {
            let is = match value {
                Value::String(_) => "string",
                Value::Number(_) => "number",
                Value::Bool(_) => "boolean",
                _ => "something else",
            };
            assert_eq!(is, kind, "{at}: {value}");
        }
        Value::Array(element) => {
            let list = value.as_array().unwrap_or_else(|| panic!("{at} is no list: {value}"));
            for value in list {
                fits(value, &element[0], &format!("{at}[]"));
            }
        }
        Value::Object(shape) => {
            let object = value.as_object().unwrap_or_else(|| panic!("{at} is no object: {value}"));
            for key in shape.keys().filter_map(|key| key.strip_suffix('!')) {
                assert!(object.contains_key(key), "{at}.{key} is missing");
            }
            for (key, value) in object {
                let shape = shape.get(key).or_else(|| shape.get(&format!("{key}!"))).or_else(|| shape.get("*"));
                fits(value, shape.unwrap_or_else(|| panic!("{at} has no field {key}")), &format!("{at}.{key}"));
            }
        }
        other => panic!("no shape: {other}"),
    }
}

#[test]
#[should_panic(expected = "Kubernetes knows no field Service.spec.ports[].targetport")]
fn a_misspelt_field_is_found() {
    check(&json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"},
        "spec": {"ports": [{"port": 1, "targetport": "http"}]},
    }));
}

#[test]
#[should_panic(expected = "ScaledObject.spec has no field minReplicas")]
fn a_misspelt_field_of_a_custom_kind_is_found() {
    check(&json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "a"},
        "spec": {"scaleTargetRef": {"name": "a"}, "triggers": [], "minReplicas": 1},
    }));
}
