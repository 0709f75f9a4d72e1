//! What every ledger must do with copies of assets.

use super::super::row::State;
use super::super::state::Act;
use super::super::tests::{asked, at, begin, first, id, nth, of, of_every_ledger, open_in};
use super::super::*;

of_every_ledger![
    a_copy_is_remembered_shown_and_bound_by_the_evidence,
    a_copy_does_not_undo_the_doubt_about_a_deletion,
    only_whoever_works_on_a_request_records_a_copy,
    another_word_about_a_copy_under_the_same_id_is_a_conflict,
    a_tombstone_keeps_no_copy_and_asks_for_none,
];

pub(super) fn copy(name: &str) -> Backup {
    Backup { location: format!("file:///backups/{name}"), length: 1234, sha256: "aa".repeat(32) }
}

async fn states(ledger: &Ledger) -> Vec<String> {
    let (_, changes) = ledger.find("r", 1).await.unwrap().remove(0);
    changes.into_iter().map(|change| change.state).collect()
}

async fn a_copy_is_remembered_shown_and_bound_by_the_evidence(ledger: Ledger) {
    assert_eq!(begin(&ledger, asked("r", "a"), at(0)).await.backup, None);
    ledger.at(at(1)).backed_up(&first("r"), &copy("one")).await.unwrap();
    let entry = ledger.request(&id("r")).await.unwrap().unwrap();
    assert_eq!((entry.state, entry.backup), ("backed_up", Some(copy("one"))));
    assert_eq!(ledger.overview(at(0), 9).await.unwrap().begun.count, 1);

    ledger.at(at(2)).put_off(&first("r"), 0, "in_use").await.unwrap();
    assert_eq!(begin(&ledger, asked("r", "a"), at(3)).await.backup, Some(copy("one")));
    ledger.at(at(4)).backed_up(&nth("r", 2), &copy("two")).await.unwrap();
    ledger.at(at(5)).deleting(&nth("r", 2), None, false).await.unwrap();
    ledger.at(at(6)).decide(&nth("r", 2), &of("deleted"), |_| "event".into()).await.unwrap();
    let (entry, changes) = ledger.find("r", 1).await.unwrap().remove(0);
    assert_eq!((entry.state, entry.backup), ("decided", Some(copy("two"))));
    let (why, digest) = (Some("1234 bytes at file:///backups/two".to_owned()), Some("aa".repeat(32)));
    assert_eq!((&changes[4].why, &changes[4].digest), (&why, &digest));
    let wanted = ["begun", "backed_up", "waiting", "begun", "backed_up", "deleting", "decided"];
    assert_eq!(states(&ledger).await, wanted);
    assert_eq!(ledger.verify(None).await.unwrap().unwrap().problems, vec![]);
}

async fn a_copy_does_not_undo_the_doubt_about_a_deletion(ledger: Ledger) {
    begin(&ledger, asked("r", "a"), at(0)).await;
    ledger.at(at(1)).deleting(&first("r"), None, false).await.unwrap();
    // The worker ends here; the copy is found to be damaged, and made again.
    begin(&ledger, asked("r", "a"), at(2)).await;
    ledger.at(at(3)).backed_up(&nth("r", 2), &copy("one")).await.unwrap();
    let asset = AssetId::parse("a").unwrap();
    assert_eq!(ledger.asset(&asset).await.unwrap().0, AssetState::Deleting);
    assert_eq!(begin(&ledger, asked("r", "a"), at(4)).await.deletes, 1);
    ledger.at(at(5)).deleting(&nth("r", 3), None, false).await.unwrap();
    assert_eq!(states(&ledger).await, ["begun", "deleting", "begun", "backed_up", "begun", "deleting"]);
    assert_eq!(ledger.verify(None).await.unwrap().unwrap().problems, vec![]);
}

async fn only_whoever_works_on_a_request_records_a_copy(ledger: Ledger) {
    let refused =
        async |number| ledger.at(at(9)).backed_up(&nth("r", number), &copy("one")).await.unwrap_err().to_string();
    assert!(refused(1).await.contains("never begun"));
    begin(&ledger, Asked { dry_run: true, ..asked("dry", "a") }, at(0)).await;
    assert!(ledger.at(at(1)).backed_up(&first("dry"), &copy("one")).await.is_err());
    begin(&ledger, asked("r", "a"), at(0)).await;
    begin(&ledger, asked("r", "a"), at(1)).await;
    assert!(refused(1).await.contains("taken over"));
    ledger.at(at(2)).put_off(&nth("r", 2), 1, "provider").await.unwrap();
    assert!(refused(2).await.contains("taken over"), "it has ended");
    begin(&ledger, asked("r", "a"), at(3)).await;
    ledger.at(at(3)).decide(&nth("r", 3), &of("failed"), |_| "event".into()).await.unwrap();
    assert!(refused(3).await.contains("taken over"), "it is decided");
}

async fn another_word_about_a_copy_under_the_same_id_is_a_conflict(ledger: Ledger) {
    let saying =
        |backup: Option<bool>| Asked { backup, request: format!(r#"{{"backup":{backup:?}}}"#), ..asked("r", "a") };
    begin(&ledger, saying(Some(true)), at(0)).await;
    for other in [None, Some(false)] {
        let begun = ledger.at(at(1)).begin(saying(other), Beside::NoSuspect).await.unwrap();
        assert!(matches!(begun, Begun::UsedUp { by: UsedUp::AnotherRequest, .. }), "{other:?}: {begun:?}");
    }
    assert_eq!(begin(&ledger, saying(Some(true)), at(2)).await.attempts, 2);
}

async fn a_tombstone_keeps_no_copy_and_asks_for_none(ledger: Ledger) {
    begin(&ledger, asked("r", "a"), at(0)).await;
    ledger.at(at(1)).backed_up(&first("r"), &copy("one")).await.unwrap();
    ledger.at(at(2)).decide(&first("r"), &of("deleted"), |_| "event".into()).await.unwrap();
    ledger.heard(&id("r")).await.unwrap();
    ledger.compact(retention::RetentionSpan { after: None, before: at(9), most: 9 }).await.unwrap();
    assert_eq!(ledger.request(&id("r")).await.unwrap().unwrap().backup, None);
    assert_eq!(ledger.verify(None).await.unwrap().unwrap().problems, vec![]);
    let begun =
        ledger.at(at(10)).begin(Asked { backup: Some(true), ..asked("r", "a") }, Beside::NoSuspect).await.unwrap();
    assert!(matches!(begun, Begun::UsedUp { by: UsedUp::Forgotten { .. }, .. }), "{begun:?}");
}

#[test]
fn a_copy_is_made_by_an_attempt_that_is_at_work() {
    for at_work in [State::Begun, State::BackedUp, State::Deleting] {
        assert_eq!(State::after(Some(at_work), Act::BackUp), Some(State::BackedUp));
    }
    for not in [None, Some(State::Waiting), Some(State::Decided)] {
        assert_eq!(State::after(not, Act::BackUp), None, "{not:?}");
    }
}
