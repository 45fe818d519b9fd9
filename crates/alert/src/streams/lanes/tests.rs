//! Samples and the lanes in which they find their places.

use super::super::seen::Seen;
use super::*;

const SECOND: i64 = 1_000_000;

/// The places of samples of (event time, stamp) in seconds.
fn places(samples: &[(i64, i64)]) -> (Vec<Placed>, Vec<i64>) {
    let mut lanes = Lanes::default();
    let mut seen = Seen::default();
    let (mut placed, mut steps, mut newest) = (Vec::new(), Vec::new(), i64::MIN);
    for (at, stamped) in samples.iter().map(|(at, stamped)| (at * SECOND, stamped * SECOND)) {
        let hash = u32::try_from((at + 1_000_000 * SECOND) / SECOND).expect("a second");
        let known = match at < newest {
            true if seen.has(at, hash) => Precedent::Record,
            true if seen.is_past(at) => Precedent::Span,
            _ => Precedent::None,
        };
        newest = newest.max(at);
        let noted = lanes.note(at, stamped, known, Source::Unnamed, None);
        placed.push(noted.placed);
        steps.extend(noted.stepped.map(|by| by / SECOND));
        seen.push(at, hash);
    }
    (placed, steps)
}

#[test]
fn samples_in_order_are_one_lane_and_two_clocks_are_two() {
    assert_eq!(places(&[(0, 0), (1, 1), (1, 2), (9, 9)]).0, [Placed::Lane(0); 4]);
    let found = places(&[(30, 30), (0, 30), (31, 31), (1, 31), (32, 32), (2, 32), (33, 33), (3, 33)]).0;
    let second: Vec<Placed> = found.into_iter().skip(1).step_by(2).collect();
    assert_eq!(second, [Placed::Alone(1), Placed::Alone(1), Placed::Lane(1), Placed::Lane(1)]);
}

#[test]
fn a_clock_set_back_goes_on_in_a_lane_that_becomes_the_first_and_says_by_how_much() {
    let mut samples: Vec<(i64, i64)> = (0..600).map(|second| (second, second)).collect();
    samples.extend((600..620).map(|second| (second - 500, second)));
    let (placed, steps) = places(&samples);
    assert_eq!(steps, [-500]);
    assert!(matches!(placed[605], Placed::Lane(lane) if lane > 0), "{:?}", placed[605]);
    assert_eq!(placed.iter().filter(|placed| **placed == Placed::Resent).count(), 2);
}

#[test]
fn a_span_that_comes_again_in_one_go_is_a_resend() {
    let mut samples: Vec<(i64, i64)> = (0..600).map(|second| (second, second)).collect();
    samples.extend((100..400).map(|second| (second, 600)));
    samples.extend((600..610).map(|second| (second, second + 1)));
    let (placed, steps) = places(&samples);
    assert_eq!(steps, [0; 0]);
    assert!(placed[600..900].iter().all(|placed| *placed == Placed::Resent));
    assert!(placed[900..].iter().all(|placed| *placed == Placed::Lane(0)));
}

#[test]
fn single_samples_that_come_again_are_no_clock_however_far_apart_they_are() {
    let mut samples: Vec<(i64, i64)> = (0..600).map(|second| (second, second)).collect();
    samples.extend([(200, 420), (370, 524), (383, 525)]);
    samples.sort_by_key(|(_, stamped)| *stamped);
    let placed = places(&samples).0;
    assert_eq!(placed.iter().filter(|placed| **placed == Placed::Resent).count(), 3, "{placed:?}");
}

#[test]
fn what_had_waited_when_the_first_records_came_is_no_clock_that_was_set() {
    let mut samples: Vec<(i64, i64)> = (0..240).map(|second| (second, 240)).collect();
    samples.extend((240..300).map(|second| (second, second)));
    assert_eq!(places(&samples).1, [0; 0]);
    samples.extend((300..320).map(|second| (second + 3_600, second)));
    assert_eq!(places(&samples).1, [3_600]);
}

#[test]
fn a_clock_set_ahead_is_told_once_it_lasts_and_one_record_is_not_enough() {
    let mut samples: Vec<(i64, i64)> = (0..10).map(|second| (second, second)).collect();
    samples.extend((10..20).map(|second| (second + 3_600, second)));
    assert_eq!(places(&samples).1, [3_600]);
    let mut samples: Vec<(i64, i64)> = (0..10).map(|second| (second, second)).collect();
    samples.push((3_310, 10));
    samples.extend((11..30).map(|second| (second, second)));
    let (placed, steps) = places(&samples);
    assert_eq!(steps, [0; 0]);
    assert!(matches!(placed[15], Placed::Lane(lane) if lane > 0));
}

#[test]
fn what_was_buffered_and_never_came_is_judged() {
    let mut samples: Vec<(i64, i64)> = (0..100).map(|second| (second, second)).collect();
    samples.extend((400..420).map(|second| (second, second)));
    samples.extend((200..260).map(|second| (second, 420)));
    let placed = places(&samples).0;
    assert!(placed[122..].iter().all(|placed| matches!(placed, Placed::Late(..))), "{placed:?}");
}

#[test]
fn what_was_buffered_for_less_than_a_minute_is_judged_however_much_has_come_since() {
    let mut samples: Vec<(i64, i64)> = (0..100).chain(130..230).map(|second| (second, second)).collect();
    samples.extend((100..130).map(|second| (second, 230)));
    let placed = places(&samples).0;
    assert!(placed[202..].iter().all(|placed| matches!(placed, Placed::Late(..))), "{placed:?}");
}

#[test]
fn what_was_buffered_is_judged_after_a_span_that_came_again() {
    let mut samples: Vec<(i64, i64)> = (0..200).map(|second| (second, second)).collect();
    samples.extend((100..199).map(|second| (second, 222)));
    samples.extend((200..270).map(|second| (second, 267)));
    let placed = places(&samples).0;
    assert!(placed[200..299].iter().all(|placed| *placed == Placed::Resent), "{placed:?}");
    assert!(placed[299..].iter().all(|placed| *placed == Placed::Lane(0)), "{placed:?}");
}

#[test]
fn what_was_buffered_counts_until_what_is_known_of_later_times() {
    let mut samples: Vec<(i64, i64)> = (0..100).chain(130..150).map(|second| (second, second)).collect();
    samples.extend((100..130).map(|second| (second, 150)));
    let placed = places(&samples).0;
    assert_eq!(placed[120..122], [Placed::Alone(1); 2]);
    assert!(placed[122..].iter().all(|placed| *placed == Placed::Late(1, 130 * SECOND)), "{placed:?}");
}

#[test]
fn a_device_that_pauses_beside_another_is_no_clock_that_was_set() {
    let two = |second: i64| [(second, second), (second - 30, second)];
    let mut samples: Vec<(i64, i64)> = (0..100).flat_map(two).collect();
    samples.extend((100..150).map(|second| (second - 30, second)));
    samples.extend((150..200).flat_map(two));
    let (placed, steps) = places(&samples);
    assert_eq!(steps, [0; 0]);
    assert!(placed[200..250].iter().all(|placed| *placed == Placed::Lane(1)), "{placed:?}");
    assert!(placed[250..].iter().step_by(2).all(|placed| *placed == Placed::Lane(0)), "{placed:?}");
}

#[test]
fn what_was_buffered_goes_on_in_its_own_lane_however_near_another_clock_is() {
    let two = |second: i64| [(second + 138, second), (second, second)];
    let mut samples: Vec<(i64, i64)> = (0..100).flat_map(two).collect();
    samples.extend((100..180).map(|second| (second, second)));
    samples.extend((100..180).map(|second| (second + 138, 180)));
    samples.extend((180..200).flat_map(two));
    let placed = places(&samples).0;
    assert!(placed[200..280].iter().all(|placed| *placed == Placed::Lane(1)), "{placed:?}");
    assert!(placed[280..360].iter().all(|placed| *placed == Placed::Lane(0)), "{placed:?}");
}

#[test]
fn samples_of_one_clock_are_one_lane_however_they_jitter() {
    let jittered = |second: i64| (second - second % 3, second);
    let mut samples: Vec<(i64, i64)> = (0..30).map(|second| (second, second)).collect();
    samples.extend((30..60).map(|second| (second - 4, second + 1))); // some of them come late
    samples.extend((60..120).map(jittered));
    let placed = places(&samples).0;
    let last: std::collections::BTreeSet<String> = placed[70..].iter().map(|placed| format!("{placed:?}")).collect();
    assert_eq!(last.len(), 1, "{placed:?}");
}

#[test]
fn the_last_reading_of_a_slow_clock_sent_again_does_not_go_on_with_its_lane() {
    let mut samples: Vec<(i64, i64)> = (0..60).map(|second| (second + 250, second)).collect();
    samples.extend([(5, 20), (15, 30), (25, 40), (35, 50)]);
    samples.sort_by_key(|(_, stamped)| *stamped);
    samples.push((35, 59));
    let placed = places(&samples).0;
    assert_eq!(placed.last(), Some(&Placed::Resent), "{placed:?}");
}

#[test]
fn a_record_that_comes_again_does_not_go_on_with_a_slower_clock_that_is_due() {
    let mut samples: Vec<(i64, i64)> = (0..128).step_by(4).map(|second| (second, second)).collect();
    samples.extend((31..128).step_by(4).map(|second| (second - 30, second)));
    samples.sort_by_key(|(_, stamped)| *stamped);
    let mut lanes = Lanes::default();
    let millis = |second: i64| second * SECOND + 250_000;
    for (at, stamped) in samples {
        lanes.note(millis(at), millis(stamped), Precedent::None, Source::Unnamed, None);
    }
    let noted = lanes.note(millis(100), millis(129), Precedent::Record, Source::Unnamed, None);
    assert_eq!(noted.placed, Placed::Resent);
}

#[test]
fn a_cuff_whose_clock_is_set_back_goes_on_from_its_third_reading() {
    let mut samples: Vec<(i64, i64)> = (0..6).map(|reading| (reading * 600, reading * 600)).collect();
    samples.extend((6..10).map(|reading| (reading * 600 - 90_000, reading * 600)));
    let placed = places(&samples).0;
    assert!(matches!(placed[8..], [Placed::Lane(one), Placed::Lane(other)] if one == other), "{placed:?}");
}

#[test]
fn a_slow_clock_that_says_each_thing_twice_is_one_lane() {
    let samples: Vec<(i64, i64)> = (0..60)
        .flat_map(|second| [(second + 250, second), (second, second), (second - 2, second)])
        .filter(|(at, _)| *at >= 0)
        .collect();
    let placed = places(&samples).0;
    let twice = placed.iter().skip(20).filter(|placed| **placed == Placed::Resent).count();
    let lanes: std::collections::BTreeSet<String> =
        placed.iter().skip(20).map(|placed| format!("{placed:?}")).collect();
    assert_eq!((twice > 50, lanes.len()), (true, 3), "{placed:?}");
}

#[test]
fn a_span_that_comes_again_does_not_go_on_with_the_lane_of_a_slower_clock() {
    let two = |second: i64| [(second, second), (second - 250, second)];
    let mut samples: Vec<(i64, i64)> = (0..200).flat_map(two).collect();
    samples.extend((200..230).map(|second| (second - 250, second)));
    let before = samples.len();
    samples.extend((20..180).map(|second| (second, 230)));
    let placed = places(&samples).0;
    assert!(placed[before..].iter().all(|placed| *placed == Placed::Resent), "{placed:?}");
}
