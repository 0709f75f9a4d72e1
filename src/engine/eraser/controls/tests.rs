use super::*;

fn controls(streak: Option<u32>, window: Duration) -> Controls {
    let streak = streak.unwrap_or(0).to_string();
    let mut settings = crate::settings::Settings::with(&[("PROVIDER__ABSENT_STREAK", &streak)]).provider;
    settings.control_window = window;
    Controls::new(&settings, false)
}

fn asset(number: u32) -> AssetId {
    AssetId::parse(&format!("a-{number}")).unwrap()
}

#[test]
fn a_find_counts_for_looks_that_begin_within_the_window_after_it() {
    let controls = controls(None, Duration::from_secs(60));
    assert!(!controls.is_fresh());
    controls.found(Instant::now());
    assert!(controls.is_fresh());
    let narrow = self::controls(None, Duration::ZERO);
    narrow.found(Instant::now());
    std::thread::sleep(Duration::from_millis(2));
    assert!(!narrow.is_fresh());
}

#[test]
fn a_find_counts_after_a_look_only_where_it_began_after_it() {
    let controls = controls(None, Duration::from_secs(60));
    let before = Instant::now();
    std::thread::sleep(Duration::from_millis(2));
    let looked = Instant::now();
    controls.found(before);
    assert!(!controls.is_found_since(looked), "it had begun before the look ended");
    controls.found(looked);
    assert!(controls.is_found_since(looked));
    controls.found(before);
    assert!(controls.is_found_since(looked), "an older find that is heard of later hides nothing");
}

#[tokio::test]
async fn a_find_of_another_request_is_waited_for() {
    let controls = controls(None, Duration::from_secs(60));
    let looked = Instant::now();
    assert!(!controls.found_by_others(looked, Duration::from_millis(5)).await);
    let (found, ()) = tokio::join!(controls.found_by_others(looked, Duration::from_secs(60)), async {
        tokio::task::yield_now().await;
        controls.found(Instant::now());
    });
    assert!(found);
}

#[test]
fn only_different_assets_in_a_row_make_a_streak() {
    let controls = controls(Some(3), Duration::from_secs(60));
    for number in [1, 1, 2, 2, 1] {
        assert!(!controls.missed_one(&asset(number)));
    }
    controls.found(Instant::now());
    for number in [3, 4] {
        assert!(!controls.missed_one(&asset(number)), "a find begins the count anew");
    }
    assert!(controls.missed_one(&asset(5)));
    assert!(controls.missed_one(&asset(3)), "it stays so");
    let asked: Vec<_> = (0..4).filter_map(|_| controls.next_missed()).collect();
    assert_eq!(asked, [asset(3), asset(4), asset(5), asset(3)]);
}

#[test]
fn without_a_streak_none_is_counted() {
    let controls = controls(None, Duration::from_secs(60));
    assert!((0..100).all(|number| !controls.missed_one(&asset(number))));
    assert_eq!(controls.next_missed(), None);
}
