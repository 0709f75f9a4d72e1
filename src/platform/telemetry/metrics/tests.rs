//! Assertions on what a scrape sees.

use super::*;

#[test]
fn every_result_is_there_as_zero_before_its_first_event() {
    let text = Metrics::new().unwrap().render().unwrap();
    for line in [
        r#"asset_eraser_results_total{cause="none",outcome="deleted"} 0"#,
        r#"asset_eraser_results_total{cause="none",outcome="already_absent"} 0"#,
        r#"asset_eraser_results_total{cause="none",outcome="would_delete"} 0"#,
        r#"asset_eraser_results_total{cause="invalid_request",outcome="rejected"} 0"#,
        r#"asset_eraser_results_total{cause="attempts_exhausted",outcome="failed"} 0"#,
        r#"asset_eraser_results_total{cause="protected",outcome="rejected"} 0"#,
        r#"asset_eraser_results_total{cause="publisher_not_allowed",outcome="rejected"} 0"#,
        r#"asset_eraser_line_stopped{cause="provider_key"} 0"#,
        "asset_eraser_panics_total 0",
        concat!(r#"asset_eraser_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#),
    ] {
        assert!(text.lines().any(|l| l == line), "{line} not in\n{text}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_process_is_measured() {
    assert!(Metrics::new().unwrap().render().unwrap().contains("process_resident_memory_bytes "));
}

#[test]
fn label_values_from_outside_never_make_a_new_series() {
    let metrics = Metrics::new().unwrap();
    metrics.result("asset-20260330", "anything");
    let text = metrics.render().unwrap();
    assert!(text.contains(r#"results_total{cause="other",outcome="other"} 1"#), "{text}");
    assert!(!text.contains("asset-20260330"));
}

#[test]
fn waits_from_10_ms_to_24_h_fall_into_a_bucket() {
    let metrics = Metrics::new().unwrap();
    metrics.decided_after(Duration::from_millis(9));
    metrics.decided_after(Duration::from_secs(24 * 3600));
    let text = metrics.render().unwrap();
    assert!(text.contains(r#"decided_after_seconds_bucket{le="0.01"} 1"#), "{text}");
    assert!(text.contains(r#"decided_after_seconds_bucket{le="86400"} 2"#), "{text}");
}

#[test]
fn what_happens_is_counted() {
    let metrics = Metrics::new().unwrap();
    let clone = metrics.clone();
    clone.result("deleted", "");
    clone.in_flight_inc();
    clone.in_flight_inc();
    clone.in_flight_dec();
    clone.broker_connected(true);
    clone.provider_call("delete", "ok", Duration::from_millis(20));
    clone.ledger_commit(3, Duration::from_millis(1));
    clone.consumer_worked();
    let text = metrics.render().unwrap();
    for line in [
        r#"asset_eraser_results_total{cause="none",outcome="deleted"} 1"#,
        "asset_eraser_in_flight 1",
        "asset_eraser_broker_connected 1",
        r#"asset_eraser_provider_calls_total{operation="delete",result="ok"} 1"#,
        r#"asset_eraser_provider_call_seconds_bucket{operation="delete",le="0.025"} 1"#,
        "asset_eraser_ledger_changes_total 3",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} not in\n{text}");
    }
    assert!(!text.lines().any(|l| l == "asset_eraser_consumer_last_worked_timestamp_seconds 0"));
}
