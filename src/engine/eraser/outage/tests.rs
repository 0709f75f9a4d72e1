use std::cell::Cell;

use futures_util::future::join_all;

use super::*;

fn outage() -> (Outage, Intake) {
    let metrics = Metrics::new().unwrap();
    let line = Intake::new(metrics.clone());
    (Outage::new(Stop::ProviderDown, String::new(), line.clone(), metrics), line)
}

/// Twelve assets in a row use up their retries. How often each was told that it is an outage.
async fn twelve_give_up(outage: &Outage, well: bool, asked: &Cell<u32>) -> usize {
    let mut outages = 0;
    for number in 0..12 {
        let witness = async {
            asked.set(asked.get() + 1);
            well
        };
        outages += usize::from(outage.gave_up(&format!("asset-{number}"), "HTTP status 500", witness).await);
    }
    outages
}

#[tokio::test]
async fn a_good_answer_contradicts_an_outage() {
    let ((outage, line), asked) = (outage(), Cell::new(0));
    assert_eq!(twelve_give_up(&outage, true, &asked).await, 0);
    assert!(line.is_open());
    assert_eq!(asked.get(), 2, "once for five assets");
}

#[tokio::test]
async fn an_outage_without_a_good_answer_stops_the_line_and_asks_no_more() {
    let ((outage, line), asked) = (outage(), Cell::new(0));
    assert_eq!(twelve_give_up(&outage, false, &asked).await, 8, "all but the first four");
    assert!(line.holds(Stop::ProviderDown));
    assert_eq!(asked.get(), 1);
    outage.is_over();
    assert!(line.is_open());
}

#[tokio::test]
async fn requests_that_ask_a_witness_at_the_same_time_share_its_answer() {
    let (witness, asked) = (Witness::default(), Cell::new(0));
    let ask = || async {
        tokio::task::yield_now().await;
        asked.set(asked.get() + 1);
        asked.get()
    };
    let answers = join_all((0..10).map(|_| witness.says(ask()))).await;
    // The first question was on its way already when the others came.
    assert_eq!(answers, [1, 2, 2, 2, 2, 2, 2, 2, 2, 2]);
    assert_eq!(witness.says(ask()).await, 3, "a later question gets an answer of its own");
}
