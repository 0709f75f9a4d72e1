//! What the brake must do in every ledger, and among several workers.

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};

use super::super::clock::to_millisecond;
use super::super::tests::{asked, at, begin, first, id, nth, of, of_every_ledger, open_in};
use super::super::*;
use super::only_postgres::TestDatabase;
use crate::settings::BrakeSettings;

of_every_ledger![
    no_more_deletions_begin_than_the_brake_allows,
    what_has_begun_is_neither_counted_again_nor_held,
    the_window_moves_on,
    a_release_lets_as_many_begin_again,
    without_a_brake_nothing_is_counted,
    a_deletion_that_must_not_begin_is_not_counted,
];

const HOUR: i64 = 3_600;

fn at_most(max_deletions: u32) -> BrakeSettings {
    BrakeSettings { max_deletions, window: std::time::Duration::from_secs(3_600) }
}

/// Begins a request and asks whether it may delete.
async fn delete(ledger: &Ledger, request: &str, brake: &BrakeSettings, seconds: i64) -> Deletion {
    let number = begin(ledger, asked(request, "a"), at(seconds)).await.attempts;
    ledger.at(at(seconds)).deleting(&nth(request, number), Some(brake), false).await.unwrap()
}

async fn deletions(ledger: &Ledger, brake: &BrakeSettings, seconds: i64) -> u64 {
    ledger.at(at(seconds)).braking(brake).await.unwrap().deletions
}

async fn no_more_deletions_begin_than_the_brake_allows(ledger: Ledger) {
    let brake = at_most(3);
    for number in 0..3 {
        assert!(!ledger.at(at(number)).braking(&brake).await.unwrap().holds(&brake));
        assert_eq!(delete(&ledger, &format!("r{number}"), &brake, number).await, Deletion::Allowed);
    }
    assert!(ledger.at(at(3)).braking(&brake).await.unwrap().holds(&brake));
    for number in 3..5 {
        let request = format!("r{number}");
        assert_eq!(delete(&ledger, &request, &brake, number).await, Deletion::Braked { deletions: 3 });
        assert_eq!(ledger.request(&id(&request)).await.unwrap().unwrap().state, "begun", "nothing was recorded");
    }
    assert_eq!(deletions(&ledger, &brake, 5).await, 3, "who was held is not counted");
    assert_eq!(ledger.verify(None).await.unwrap().unwrap().problems, []);
}

async fn what_has_begun_is_neither_counted_again_nor_held(ledger: Ledger) {
    let brake = at_most(1);
    assert_eq!(delete(&ledger, "r", &brake, 0).await, Deletion::Allowed);
    for seconds in 1..4 {
        assert_eq!(delete(&ledger, "r", &brake, seconds).await, Deletion::Allowed);
    }
    assert_eq!(deletions(&ledger, &brake, 4).await, 1);
    ledger.at(at(5)).deleting(&nth("r", 4), None, false).await.unwrap();
    assert_eq!(delete(&ledger, "s", &brake, 6).await, Deletion::Braked { deletions: 1 });
}

async fn the_window_moves_on(ledger: Ledger) {
    let brake = at_most(2);
    delete(&ledger, "r1", &brake, 0).await;
    delete(&ledger, "r2", &brake, HOUR / 2).await;
    assert_eq!(delete(&ledger, "r3", &brake, HOUR).await, Deletion::Braked { deletions: 2 }, "the first is in it yet");
    assert_eq!(delete(&ledger, "r3", &brake, HOUR + 120).await, Deletion::Allowed);
    assert_eq!(delete(&ledger, "r4", &brake, HOUR + 120).await, Deletion::Braked { deletions: 2 });
    assert_eq!(deletions(&ledger, &brake, 3 * HOUR).await, 0);
}

async fn a_release_lets_as_many_begin_again(ledger: Ledger) {
    let brake = at_most(2);
    assert_eq!(ledger.at(at(0)).braking(&brake).await.unwrap(), Braking { deletions: 0, last_release: None });
    for request in ["r1", "r2"] {
        delete(&ledger, request, &brake, 0).await;
    }
    assert_eq!(delete(&ledger, "r3", &brake, 1).await, Deletion::Braked { deletions: 2 });
    let release = Release { at: to_millisecond(at(2)), deletions: 2 };
    assert_eq!(ledger.at(at(2)).release_brake(&brake).await.unwrap(), release);
    let released = Braking { deletions: 0, last_release: Some(release) };
    assert_eq!(ledger.at(at(2)).braking(&brake).await.unwrap(), released);
    for request in ["r3", "r4"] {
        assert_eq!(delete(&ledger, request, &brake, 2).await, Deletion::Allowed);
    }
    assert_eq!(delete(&ledger, "r5", &brake, 3).await, Deletion::Braked { deletions: 2 });
    assert_eq!(ledger.at(at(4)).release_brake(&brake).await.unwrap().deletions, 2);
    assert_eq!(ledger.at(at(4)).braking(&brake).await.unwrap().last_release.unwrap().at, to_millisecond(at(4)));
}

async fn without_a_brake_nothing_is_counted(ledger: Ledger) {
    begin(&ledger, asked("r", "a"), at(0)).await;
    assert_eq!(ledger.at(at(0)).deleting(&first("r"), None, false).await.unwrap(), Deletion::Allowed);
    assert_eq!(deletions(&ledger, &at_most(1), 0).await, 0);
}

async fn a_deletion_that_must_not_begin_is_not_counted(ledger: Ledger) {
    let brake = at_most(9);
    begin(&ledger, Asked { dry_run: true, ..asked("dry", "a") }, at(0)).await;
    begin(&ledger, asked("decided", "a"), at(0)).await;
    ledger.at(at(0)).decide(&first("decided"), &of("failed"), |_| "event".into()).await.unwrap();
    for request in ["dry", "decided", "never-begun"] {
        ledger.at(at(1)).deleting(&first(request), Some(&brake), false).await.unwrap_err();
    }
    assert_eq!(deletions(&ledger, &brake, 1).await, 0);
}

/// Asks these workers for so many deletions, many at once (the server has connections for other tests too); says how
/// many were allowed.
async fn ask_all(ledgers: &[Ledger], brake: BrakeSettings, requests: std::ops::Range<usize>) -> usize {
    let asking = requests.map(|number| {
        let ledger = ledgers[number % ledgers.len()].clone();
        async move { delete(&ledger, &format!("r{number}"), &brake, 0).await }
    });
    let said: Vec<Deletion> = stream::iter(asking).buffer_unordered(32).collect().await;
    said.into_iter().filter(|deletion| *deletion == Deletion::Allowed).count()
}

#[tokio::test]
async fn four_workers_together_never_exceed_the_limit() {
    let database = TestDatabase::new().await;
    let ledgers = join_all((0..4).map(|_| database.open())).await;
    let near = at_most(70);
    assert_eq!(ask_all(&ledgers, near, 0..200).await, 70);
    assert_eq!(deletions(&ledgers[0], &near, 0).await, 70);

    // One that is far away, and gets near while many count at once: all in the same bucket.
    let far = at_most(5_200);
    ledgers[0].at(at(0)).release_brake(&far).await.unwrap();
    let limit = brake::BrakeLimit::at(&far, to_millisecond(at(0)));
    let begun = format!("INSERT INTO asset_eraser.brake_counts VALUES ({}, 99, 5000)", limit.bucket);
    database.run(&begun).await;
    assert_eq!(ask_all(&ledgers, far, 200..600).await, 200);
    assert_eq!(deletions(&ledgers[1], &far, 0).await, 5_200);
    database.remove().await;
}

#[tokio::test]
async fn a_limit_that_is_far_away_holds_nobody_up() {
    let database = TestDatabase::new().await;
    let ledger = database.open().await;
    let brake = at_most(1_000_000);
    // Another worker that counts and has not committed.
    let (mut other, connection) =
        tokio_postgres::connect(database.url().expose_secret(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let counting = other.transaction().await.unwrap();
    counting.batch_execute("SELECT pg_advisory_xact_lock_shared(1634036834)").await.unwrap();
    assert_eq!(delete(&ledger, "r1", &brake, 0).await, Deletion::Allowed);
    // Near the limit all workers wait for the one that counts.
    let (near, attempt) = (at_most(10), first("r2"));
    begin(&ledger, asked("r2", "a"), at(0)).await;
    let ledger = ledger.at(at(0));
    let mut held = Box::pin(ledger.deleting(&attempt, Some(&near), false));
    assert!(tokio::time::timeout(std::time::Duration::from_millis(300), &mut held).await.is_err());
    counting.commit().await.unwrap();
    assert_eq!(held.await.unwrap(), Deletion::Allowed);
    database.remove().await;
}

#[tokio::test]
async fn counts_that_no_window_reaches_are_removed() {
    let database = TestDatabase::new().await;
    let folder = tempfile::tempdir().unwrap();
    let brake = at_most(1_000);
    let (postgres, sqlite) = (database.open().await, open_in(folder.path()).await);
    for ledger in [&postgres, &sqlite] {
        for number in 0..130 {
            delete(ledger, &format!("r{number}"), &brake, number * 60).await;
        }
    }
    let file = rusqlite::Connection::open(folder.path().join("ledger.db")).unwrap();
    let left: i64 = file.query_row("SELECT count(*) FROM brake_counts", [], |row| row.get(0)).unwrap();
    assert!((60..=62).contains(&left), "{left}");
    let left = database.count("SELECT count(*) FROM asset_eraser.brake_counts").await;
    assert!((60..=62).contains(&left), "{left}");
    database.remove().await;
}
