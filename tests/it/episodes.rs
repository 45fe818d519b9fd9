//! Episodes of real recordings, live, in one go and in any batches: always the same, and as many as were counted by hand.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow::array::RecordBatch;
use chrono::DateTime;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wardwatch::alert::{Change, Episode, EpisodeId, State};
use wardwatch::job::{OfflineJob, Past, Plan};

use crate::fixtures::{TestJob, repository, seed};

/// One plain rule per vital, at the limits by which the recordings' episodes were counted; a respiration of 0 is a lead
/// that is off.
const RULES: [(&str, &str); 3] = [
    ("hr", "heart_rate < 50 OR heart_rate > 120"),
    ("resp", "respiratory_rate <> 0 AND (respiratory_rate < 8 OR respiratory_rate > 30)"),
    ("sat", "spo2 < 90"),
];

/// Episodes by delay: a run of consecutive samples that is longer than the delay.
const COUNTED: [(u64, usize); 7] = [(0, 26), (5, 7), (10, 5), (15, 5), (19, 5), (30, 5), (60, 4)];

pub fn recordings() -> Option<PathBuf> {
    let folder = repository().join("../shared/data/bidmc");
    folder.is_dir().then_some(folder)
}

/// The recordings as records of one topic, second by second.
pub fn records(folder: &std::path::Path) -> String {
    let start = DateTime::parse_from_rfc3339("2026-01-01T00:00:00Z").unwrap();
    let mut lines: BTreeMap<(i64, String), String> = BTreeMap::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if !name.ends_with(".csv") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        for line in text.lines().skip(1) {
            let cells: Vec<&str> = line.split(',').map(str::trim).collect();
            let second = cells[0].parse::<f64>().unwrap() as i64;
            let at = (start + chrono::TimeDelta::seconds(second)).to_rfc3339();
            let number = |cell: &str| if cell == "NaN" { "null".to_owned() } else { cell.to_owned() };
            let record = format!(
                "{{\"patient_id\":\"{name}\",\"event_time\":\"{at}\",\"heart_rate\":{},\"pulse\":{},\"respiratory_rate\":{},\"spo2\":{}}}",
                number(cells[1]),
                number(cells[2]),
                number(cells[3]),
                number(cells[4])
            );
            lines.insert((second, name.clone()), record);
        }
    }
    lines.into_values().map(|line| line + "\n").collect()
}

/// The job with its rules held for `hold` seconds.
fn job(hold: u64) -> TestJob {
    let mut job = TestJob::new("topic", "sqlite://x.db").columns(
        "patient_id = { type = \"text\" }\nevent_time = { type = \"time\" }\nheart_rate = { type = \"float\" }\n\
         respiratory_rate = { type = \"float\" }\nspo2 = { type = \"float\" }",
    );
    for (name, condition) in RULES {
        let text = format!(
            "-- @severity: high\n-- @latch: no\n-- @for: {hold}s\nSELECT patient_id, event_time FROM vitals WHERE {condition}"
        );
        job = job.query(&format!("rules/{name}"), &text);
    }
    job
}

/// The episodes that fired when the rows are cut so: each is what it was at last.
fn episodes(plan: Plan, rows: &RecordBatch, cuts: impl Iterator<Item = usize>) -> Vec<Episode> {
    let mut offline = OfflineJob::new(plan);
    let mut known: BTreeMap<EpisodeId, Episode> = BTreeMap::new();
    let mut from = 0;
    let now = DateTime::parse_from_rfc3339("2026-01-01T01:00:00Z").unwrap().to_utc();
    for to in cuts.chain([rows.num_rows()]) {
        for Change { episode, .. } in offline.batch(&rows.slice(from, to - from), &[], now).changes {
            match episode.state {
                State::Dropped => drop(known.remove(&episode.id)),
                _ => drop(
                    known.insert(episode.id.clone(), Episode { handling: Default::default(), ..(*episode).clone() }),
                ),
            }
        }
        from = to;
    }
    known.into_values().filter(|episode| episode.firing_at.is_some()).collect()
}

#[test]
fn real_recordings_give_the_episodes_that_were_counted_in_any_batches() {
    let Some(folder) = recordings() else { return println!("the recordings are not there") };
    let mut random = ChaCha8Rng::seed_from_u64(seed());
    let text = records(&folder);
    let mut found = Vec::new();
    for (hold, _) in COUNTED {
        let job = job(hold);
        let file = job.folder.path().join("records.jsonl");
        std::fs::write(&file, &text).unwrap();
        let plan = || Plan::load(&job.file()).unwrap();
        let past = Past::of_file(&plan(), &file, None, None).unwrap();
        assert_eq!((past.rows.num_rows(), past.rejects), (25_493, 0));

        let backlog = episodes(plan(), &past.rows, std::iter::empty());
        let seconds = past.rows.num_rows() / 481;
        let live = episodes(plan(), &past.rows, (1..481).map(|second| second * seconds));
        let mut cuts: Vec<usize> = (0..100).map(|_| random.random_range(0..past.rows.num_rows())).collect();
        cuts.sort_unstable();
        let cut = episodes(plan(), &past.rows, cuts.into_iter());
        assert_eq!(live, backlog, "held for {hold} s: live and in one go");
        assert_eq!(cut, backlog, "held for {hold} s: in random batches and in one go");
        found.push((hold, backlog.len()));
    }
    assert_eq!(found, COUNTED);
}
