use super::*;
use crate::contract::message::RequestId;

fn entry(request: &str, outcome: Option<&str>, waited_for: Option<&str>) -> (Entry, Vec<Change>) {
    let entry = Entry {
        request_id: RequestId::parse(request).unwrap(),
        asset_id: Some(format!("asset-{request}")),
        case_id: Some("c".to_owned()),
        request: None,
        dry_run: false,
        state: if outcome.is_some() { "decided" } else { "waiting" },
        attempts: 1,
        waited_for: waited_for.map(str::to_owned),
        backup: None,
        outcome: outcome.map(str::to_owned),
        proof: outcome.filter(|outcome| *outcome == "deleted").map(|_| Proof::Erased),
        event: None,
        first_seen: Timestamp::UNIX_EPOCH,
        updated: Timestamp::UNIX_EPOCH,
    };
    (entry, Vec::new())
}

fn case(size: u32, decided: &[(&str, u32)]) -> Case {
    let decided = decided.iter().map(|(outcome, count)| ((*outcome).to_owned(), *count)).collect();
    Case { size, decided, event: None }
}

#[test]
fn what_is_missing_of_a_case_is_counted_and_named() {
    let requests = [entry("r1", Some("deleted"), None), entry("r2", None, Some("in_use")), entry("r3", None, None)];
    let report = |case: Option<&Case>| ErasureReport::new("c", case, &requests, Timestamp::UNIX_EPOCH);
    let open = "Requests that are open: 2: r2 (asset asset-r2, waits: in_use), r3 (asset asset-r3).";
    for (size, decided, parts) in [
        (
            5,
            &[("deleted", 1)][..],
            &["; 2 of them have not arrived: they were never asked, or are still in a queue.", open][..],
        ),
        (5, &[("deleted", 1), ("rejected", 1)], &["; 1 of them have not arrived", "have no line here: 1.", open]),
        (3, &[("deleted", 1)], &["said to have 3 requests, and all of them have arrived.", open]),
        (2, &[("deleted", 1)], &["said to have 2 requests, and 3 have arrived.", open]),
    ] {
        let said = report(Some(&case(size, decided))).missing_parts();
        assert_eq!(said.len(), parts.len(), "{said:?}");
        for (said, part) in said.iter().zip(parts) {
            assert!(said.contains(part), "{said}");
        }
    }
    assert!(report(None).missing_parts()[0].starts_with("No request said how many requests the case has"));
    let json = serde_json::to_value(report(Some(&case(5, &[("deleted", 1)])))).unwrap();
    assert_eq!((&json["missing"], &json["open"][0]["waits_for"]), (&2.into(), &"in_use".into()));
    assert_eq!(json["open"][1]["request_id"], "r3");
}

#[test]
fn what_is_unconfirmed_is_never_counted_as_erased() {
    let with = |request: &str, outcome: &str, proof| {
        let (mut entry, history) = entry(request, Some(outcome), None);
        entry.proof = Some(proof);
        entry.event = Some(format!(r#"{{"data":{{"proof":"{}"}}}}"#, proof.as_str()));
        (entry, history)
    };
    let requests = [
        with("r1", "deleted", Proof::Erased),
        with("r2", "deleted", Proof::ProviderWord),
        with("r3", "deleted", Proof::Unconfirmed),
        with("r4", "already_absent", Proof::Absent),
        with("r5", "already_absent", Proof::Unconfirmed),
    ];
    let report = ErasureReport::new("c", None, &requests, Timestamp::UNIX_EPOCH);
    assert_eq!(report.proofs, BTreeMap::from([("erased", 1), ("provider_word", 1), ("unconfirmed", 2), ("absent", 1)]));
    let classes: Vec<_> = report.lines.iter().map(ReportedRequest::class).collect();
    assert_eq!(classes, ["gone", "gone", "not", "gone", "not"]);
    let page = report.render().unwrap();
    assert_eq!(page.matches("UNCONFIRMED").count(), 2);
    assert!(page.contains("not counted as erased"));
}
