//! A job run on rows that are given: the same steps as the loop's, without Kafka, without a store and without a clock.
//!
//! What tries a rule on the past, and tests of rules over time, stand on this.

use std::collections::BTreeSet;
use std::time::Duration;

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};

use crate::alert::{Change, OpenEpisodes, Rule};
use crate::query::Outcome;
use crate::source::MicroBatch;
use crate::store::Resume;
use crate::terms::{Offset, OffsetRange, Partition, Positions, Ranges};

use super::batch::Taken;
use super::plan::Plan;
use super::state::JobState;

/// The partition that given rows count as.
const PARTITION: Partition = Partition(0);

/// A job whose batches are given.
pub struct Rehearsal {
    plan: Plan,
    state: JobState,
    next: Offset,
    /// The rules as they are, then other forms of them.
    forms: Vec<Form>,
}

/// Rules with the episodes that they gave.
struct Form {
    rules: Vec<Rule>,
    episodes: OpenEpisodes,
}

/// What one batch gave.
#[derive(Debug)]
pub struct Rehearsed {
    /// What each query gave.
    pub outcomes: Vec<Outcome>,
    /// What changed of episodes.
    pub changes: Vec<Change>,
    /// The same with each other form of the rules, in the order in which they were added.
    pub others: Vec<Vec<Change>>,
}

impl Rehearsal {
    /// A job that has seen nothing yet. Its reference tables hold what their seeds hold.
    #[must_use]
    pub fn new(mut plan: Plan) -> Self {
        for reference in plan.references.clone() {
            plan.set_reference(&reference.spec.name, &reference.rows);
        }
        let resume = Resume::default();
        let state = JobState::new(resume, &plan, &Positions::from([(PARTITION, Offset(0))]));
        let forms = vec![Form { rules: plan.rules.clone(), episodes: OpenEpisodes::default() }];
        Self { plan, state, next: Offset(0), forms }
    }

    /// The plan that is rehearsed.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Gives a reference table other rows.
    pub fn set_reference(&mut self, table: &str, rows: &RecordBatch) {
        self.plan.set_reference(table, rows);
    }

    /// Judges the rules in another form beside: with `rule` held for `hold`.
    pub fn add_form(&mut self, rule: &str, hold: Duration) {
        let mut rules = self.plan.rules.clone();
        rules.iter_mut().filter(|known| known.name == rule).for_each(|known| known.header.hold = hold);
        // Other rules than those that suppress it have nothing to do with it.
        rules.retain(|known| known.name == rule || known.is_technical());
        self.forms.push(Form { rules, episodes: OpenEpisodes::default() });
    }

    /// Takes one batch: rows in the order in which they came, decoded as the job decodes them.
    ///
    /// An empty batch lets time pass. `now` is the batch's frozen time; it should not go backwards.
    pub fn batch(&mut self, rows: &RecordBatch, now: DateTime<Utc>) -> Rehearsed {
        let count = i64::try_from(rows.num_rows()).unwrap_or(i64::MAX);
        let end = Offset(self.next.0 + count);
        let mut ranges = Ranges::new();
        if count > 0 {
            ranges.insert(PARTITION, OffsetRange { start: self.next, end });
        }
        self.next = end;
        let partitions = BTreeSet::from([PARTITION]);
        let mut batch = MicroBatch::nothing(&self.plan.job.source, partitions);
        batch.ranges = ranges;
        batch.records = rows.num_rows();
        batch.rows = rows.clone();

        let taken = Taken::of(batch, &self.plan, &mut self.state, now);
        let outcomes = taken.run_queries(&mut self.plan, &self.state);
        let mut changes = self.forms.iter_mut().map(|form| {
            taken.judge(&form.rules, &self.plan.samples, &outcomes, &self.state, &mut form.episodes);
            form.episodes.take_changes()
        });
        let first = changes.next().unwrap_or_default();
        let others = changes.collect();
        self.state.go_on(&taken);
        Rehearsed { outcomes, changes: first, others }
    }
}

impl std::fmt::Debug for Rehearsal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rehearsal").field("plan", &self.plan).finish_non_exhaustive()
    }
}
