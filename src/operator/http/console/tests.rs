use super::*;

#[test]
fn an_age_is_told_in_one_unit() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let told =
        [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_199, "119 min"), (7_200, "2 h"), (200_000, "2 d"), (-5, "0 s")];
    for (seconds, wanted) in told {
        assert_eq!(age(at(1_000), at(1_000 + seconds)), wanted);
    }
}
