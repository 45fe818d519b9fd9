//! What an analyst waits for: `check` of the shipped job, its tests, and a preview of 100,000 records. Needs no services.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::disallowed_methods, missing_docs)]

use std::path::Path;
use std::time::Instant;

use wardwatch::config;
use wardwatch::job::{Past, Plan, preview};
use wardwatch::simulate::{ONSET, RecordForm, Scenario, Ward, WardOptions};
use wardwatch::testing::{self, Thoroughness};

const RECORDS: usize = 100_000;

fn main() {
    let job = Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs/patient_vitals.toml");
    let timed = |what: &str, run: &mut dyn FnMut()| {
        let start = Instant::now();
        run();
        println!("{what:<60} {:>8.3} s", start.elapsed().as_secs_f64());
    };
    timed("check: planning the shipped set and its tests", &mut || {
        let plan = Plan::load(&job).unwrap();
        let files = testing::load(&plan.job.sql.dir).unwrap();
        testing::check(&plan, &files, &[], false).unwrap();
    });
    timed("test: the whole pack, in every manner", &mut || {
        let plan = Plan::load(&job).unwrap();
        let files = testing::load(&plan.job.sql.dir).unwrap();
        let checked = testing::check(&plan, &files, &[], false).unwrap();
        let report = testing::run(&plan, &checked, Thoroughness::EveryManner, &|_, _| {});
        assert!(report.results.iter().all(|result| result.failures.is_empty()));
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), records(&job)).unwrap();
    for query in ["tachycardia", "vitals_1m", "news2_1m", "patient_status"] {
        timed(&format!("preview: {query} of {RECORDS} records"), &mut || {
            let plan = Plan::load(&job).unwrap();
            let past = Past::of_file(&plan, file.path(), None, None).unwrap();
            let previewed = preview(&plan, query, &past, &[]).unwrap();
            assert!(previewed.rows.num_rows() > 0, "{query}");
        });
    }
}

/// What simulated patients send, as lines.
fn records(job: &Path) -> Vec<u8> {
    let job = config::load(job).unwrap();
    let mut ward = Ward::new(WardOptions {
        patients: 200,
        seed: 1,
        start: chrono::DateTime::from_timestamp(1_767_225_600, 0).unwrap(),
        interval: std::time::Duration::from_secs(1),
        onset: ONSET,
        lasts: None,
        scenarios: vec![Scenario::Sepsis],
    });
    let form = RecordForm::of(&job.source).expect("bare records");
    let samples = std::iter::repeat_with(|| ward.next_round()).flatten();
    samples
        .flat_map(|sample| form.records(&sample))
        .take(RECORDS)
        .flat_map(|record| [record, vec![b'\n']].concat())
        .collect()
}
