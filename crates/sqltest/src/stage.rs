//! Where a test is played: the part of the job that it needs, given its batches in one of the manners.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;

use wardwatch_model::diagnostic::Diagnostics;
use wardwatch_pipeline::{GivenRecord, OfflineJob, Plan, Recovering};

use super::checked::{CheckedBatch, CheckedTest};
use super::mode::ReplayMode;
use super::views::{Found, Held, Shape};

/// A part of the job.
pub(super) struct Stage {
    offline: OfflineJob,
    /// Reference tables as the set has them.
    references: Vec<(String, RecordBatch)>,
}

/// What the tables that a test looks into held after one of its batches.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Which of the test's batches, counted from 0.
    pub(super) batch: usize,
    pub(super) tables: BTreeMap<String, Found>,
}

/// What a test saw.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) seen: Vec<Seen>,
    /// Queries that failed, and why.
    pub(super) failures: Vec<(String, String)>,
}

impl Stage {
    /// The stage that `test`, and others that want the same, can be played on.
    ///
    /// # Errors
    /// What stands in for a query does not fit those that read it.
    pub(super) fn set_up(plan: &Plan, test: &CheckedTest<'_>) -> Result<Self, Diagnostics> {
        let wanted: Vec<String> = test.wanted.iter().cloned().collect();
        let excerpt = plan.excerpt(&wanted, test.stand_ins.clone())?;
        let references = excerpt.references.iter();
        let references = references.map(|reference| (reference.spec.name.clone(), reference.rows.clone())).collect();
        Ok(Self { offline: OfflineJob::new(excerpt), references })
    }

    /// Gives the job the batches of `test`.
    pub(super) fn play(&mut self, test: &CheckedTest<'_>, mode: ReplayMode, shapes: &BTreeMap<&str, &Shape>) -> Played {
        self.offline.start_over();
        for (table, rows) in self.references.iter().chain(&test.references) {
            self.offline.set_reference(table, rows);
        }
        for stand_in in &test.stand_ins {
            self.offline.set_reference(&stand_in.name, &stand_in.rows);
        }
        let mut held = Held::default();
        let mut seen = Vec::new();
        for (index, batch) in batches(&test.batches, mode).into_iter().enumerate() {
            for records in parts(&batch.records, mode) {
                let offline_batch = self.offline.records(records, batch.now);
                held.add(self.offline.plan(), offline_batch);
            }
            let tables = shapes.iter().map(|(&name, shape)| (name.to_owned(), held.rows(name, shape, &test.rules)));
            seen.push(Seen { batch: batch.last, tables: tables.collect() });
            if mode == ReplayMode::Interrupted {
                let from = if index % 2 == 0 { Recovering::FromSnapshots } else { Recovering::FromRecords };
                self.offline.recover(from);
            }
        }
        Played { seen, failures: held.failures }
    }
}

/// Batches of the test that are given as one.
struct Together {
    records: Vec<GivenRecord>,
    now: chrono::DateTime<chrono::Utc>,
    /// The last of them.
    last: usize,
}

/// The test's batches; all at once, those with records are one as long as none without comes between.
fn batches(batches: &[CheckedBatch<'_>], mode: ReplayMode) -> Vec<Together> {
    let mut together: Vec<Together> = Vec::new();
    for (last, batch) in batches.iter().enumerate() {
        let records = batch.records.clone();
        match together.last_mut() {
            Some(open) if mode == ReplayMode::AtOnce && !open.records.is_empty() && !records.is_empty() => {
                open.records.extend(records);
                open.now = batch.now;
                open.last = last;
            }
            _ => together.push(Together { records, now: batch.now, last }),
        }
    }
    together
}

/// How the records of a batch are split.
fn parts(records: &[GivenRecord], mode: ReplayMode) -> Vec<&[GivenRecord]> {
    match mode {
        ReplayMode::RecordByRecord if !records.is_empty() => records.chunks(1).collect(),
        _ => vec![records],
    }
}
