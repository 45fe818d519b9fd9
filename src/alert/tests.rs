//! Episodes from samples: what opens, fires, clears and ends, in any batching.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Float64Array, StringViewArray, TimestampMicrosecondArray};
use proptest::prelude::*;

use crate::query::Severity;

use super::*;

/// Samples of one patient: second and heart rate.
type Samples = [(i64, f64)];

fn frame(samples: &Samples) -> RecordBatch {
    let times: TimestampMicrosecondArray = samples.iter().map(|(second, _)| Some(second * 1_000_000)).collect();
    RecordBatch::try_from_iter([
        ("patient_id", Arc::new(StringViewArray::from_iter_values(samples.iter().map(|_| "P1"))) as _),
        ("event_time", Arc::new(times.with_timezone("UTC")) as _),
        ("heart_rate", Arc::new(Float64Array::from_iter_values(samples.iter().map(|(_, rate)| *rate))) as _),
    ])
    .expect("a frame")
}

fn rule(hold: u64, clear_after: u64) -> Rule {
    let header = RuleHeader {
        severity: Severity::High,
        hold: Duration::from_secs(hold),
        clear_after: Duration::from_secs(clear_after),
        message: None,
    };
    let message = Message::parse("HR {heart_rate:.0}", frame(&[]).schema_ref()).expect("valid");
    Rule { name: "tachycardia".to_owned(), header, message: Some(message), judged: Judged::BySample }
}

/// The episodes as the store would have them after these batches, for heart rates above 120.
fn run(rule: &Rule, batches: &[&Samples]) -> Vec<Episode> {
    let columns = SampleColumns { key: "patient_id".to_owned(), event_time: "event_time".to_owned() };
    let mut stored = BTreeMap::new();
    let mut open = OpenEpisodes::default();
    let mut newest = NewestSamples::default();
    for samples in batches {
        let above: Vec<_> = samples.iter().copied().filter(|(_, rate)| *rate > 120.0).collect();
        for change in open.judge(rule, &frame(&above), &frame(samples), &newest, &columns) {
            match change {
                Change::Is(episode) => drop(stored.insert(episode.started_at, episode)),
                Change::Gone(episode) => drop(stored.remove(&episode.started_at)),
            }
        }
        newest.note(&frame(samples), &columns);
        open = OpenEpisodes::new(open.iter().cloned()); // as after a restart
    }
    stored.into_values().collect()
}

fn second(at: DateTime<Utc>) -> i64 {
    at.timestamp()
}

#[test]
fn an_episode_opens_with_the_first_true_sample_and_ends_with_the_first_false_one() {
    let episodes = run(&rule(0, 0), &[&[(0, 80.0), (1, 130.0), (2, 131.0)], &[(3, 80.0)], &[(4, 140.0)]]);
    assert_eq!(episodes.len(), 2);
    let first = &episodes[0];
    assert_eq!((first.state, first.samples, first.text.as_str()), (State::Ended, 2, "HR 130"));
    assert_eq!((second(first.started_at), second(first.last_at)), (1, 2));
    assert_eq!((first.firing_at.map(second), first.ended_at.map(second)), (Some(1), Some(3)));
    assert_eq!(episodes[1].state, State::Firing);
}

#[test]
fn a_condition_that_does_not_hold_long_enough_leaves_nothing() {
    assert_eq!(run(&rule(10, 0), &[&[(0, 130.0), (9, 130.0)], &[(10, 80.0)]]), []);
    let episodes = run(&rule(10, 0), &[&[(0, 130.0)], &[(10, 134.0)]]);
    assert_eq!((episodes[0].firing_at.map(second), episodes[0].text.as_str()), (Some(10), "HR 134"));
}

#[test]
fn a_gap_in_the_data_does_not_clear_and_a_short_dip_does_not_either() {
    let episodes = run(&rule(0, 15), &[&[(0, 130.0)], &[], &[(600, 130.0), (610, 80.0), (620, 130.0)], &[(630, 80.0)]]);
    assert_eq!((episodes.len(), episodes[0].state, episodes[0].ended_at), (1, State::Firing, None));
    let ended = run(&rule(0, 15), &[&[(0, 130.0), (5, 80.0), (19, 80.0), (20, 80.0)]]);
    assert_eq!(ended[0].ended_at.map(second), Some(20));
}

proptest! {
    #[test]
    fn any_batching_gives_the_same_episodes(
        samples in prop::collection::vec((0_i64..3, prop_oneof![Just(80.0), Just(130.0), Just(140.0)]), 1..60),
        cuts in prop::collection::vec(0_usize..60, 0..10),
        hold in 0_u64..5,
        clear_after in 0_u64..5,
    ) {
        // Each at most two seconds before the one that should have been before it: some come out of order.
        let samples: Vec<(i64, f64)> = (0..).zip(samples).map(|(second, (early, rate))| (3 * second - 4 * early, rate)).collect();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(samples.len())).chain([0, samples.len()]).collect();
        cuts.sort_unstable();
        let batches: Vec<&Samples> = cuts.windows(2).map(|cut| &samples[cut[0]..cut[1]]).collect();
        let rule = rule(hold, clear_after);
        prop_assert_eq!(run(&rule, &batches), run(&rule, &[&samples]));
    }
}
