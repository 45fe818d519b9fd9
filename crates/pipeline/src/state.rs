//! What the loop carries from batch to batch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use chrono::{DateTime, TimeDelta, Utc};
use tracing::warn;

use wardwatch_alert::{OpenEpisodes, Unjudged, Why};
use wardwatch_model::clock::Stopwatch;
use wardwatch_model::terms::{BatchId, Positions, Ranges};
use wardwatch_store::{Edited, QueryState, ReferenceChange, Resume, TableFault};

use super::attaching::Attaching;
use super::costs::Costs;
use super::coverage::Coverage;
use super::memory::Memory;
use super::plan::Plan;
use super::quarantine::Quarantine;
use super::replays::Replays;
use super::tables::TableStates;

/// What the loop carries from batch to batch. All of it is in the store too, or can be read again.
pub(super) struct JobState {
    pub(super) last_batch: BatchId,
    pub(super) last_now: Option<DateTime<Utc>>,
    pub(super) memory: Memory,
    pub(super) attaching: Attaching,
    /// The rejects that the next batch reads again.
    pub(super) replays: Replays,
    pub(super) episodes: OpenEpisodes,
    pub(super) quarantine: Quarantine,
    pub(super) tables: TableStates,
    /// Rows of windows that closed in batches before, which recovery gave out: the next batch writes them.
    pub(super) backfill: BTreeMap<String, Vec<RecordBatch>>,
    pub(super) last_snapshot: BatchId,
    /// Edits of the set, and of what its queries look up, that the batch log does not tell of yet.
    pub(super) edits: Edits,
    /// Rules that are to be judged on the last values of patients: they are new, or other than before, or have failed, or look up what
    /// has changed. Where that failed, why.
    pub(super) beginning: BTreeMap<String, Option<BeginFault>>,
    /// Those of them that were, with the batch in hand.
    pub(super) begun: Vec<String>,
    /// What queries have cost since it was told last.
    pub(super) costs: Costs,
    /// Which rules do not judge which patients.
    pub(super) coverage: Coverage,
    /// Why reference tables cannot be read again, where they cannot.
    pub(super) reference_fault: Option<String>,
    /// When the store was away last, until a batch has written that down.
    pub(super) outage: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// By how much this machine's clock is behind the job's, where it is.
    pub(super) clock_behind: Option<TimeDelta>,
    /// Reference tables that were made from their seeds though people had changed them, until a batch has told of it.
    pub(super) lost_references: Vec<(String, u64)>,
    /// Since when partitions without a record are waited for; a run that ends when it has caught up does not wait.
    pub(super) waiting_since: Option<DateTime<Utc>>,
    /// When a batch was committed last, or the run began.
    pub(super) committed: Stopwatch,
    /// What was committed last, for lag tools.
    pub(super) shown: Ranges,
    /// The partitions of which the store knows where they go on.
    pub(super) claimed: Positions,
}

/// Why a rule could not be judged on last values.
#[derive(Debug, Clone)]
pub(super) struct BeginFault {
    /// Of whom, or of everybody without a name, and why.
    failures: Vec<(Arc<str>, String)>,
    since: DateTime<Utc>,
    /// When it is tried again.
    pub(super) again_at: DateTime<Utc>,
}

/// What people have changed, to be told with the next batch.
#[derive(Debug, Default)]
pub(super) struct Edits {
    /// What became of each.
    pub(super) looked_at: Vec<Edited>,
    /// Failing queries that were edited or are gone.
    pub(super) forgotten: Vec<QueryState>,
    /// Rows of reference tables that are others than before.
    pub(super) references: Vec<ReferenceChange>,
}

impl Edits {
    /// Has an edit told with the next batch. Each has a time of its own, by which the store knows it.
    pub(super) fn note(&mut self, mut edit: Edited) {
        if let Some(last) = self.looked_at.last() {
            edit.at = edit.at.max(last.at + chrono::TimeDelta::microseconds(1));
        }
        self.looked_at.push(edit);
    }
}

impl JobState {
    pub(super) fn new(resume: Resume, plan: &Plan, positions: &Positions) -> Self {
        Self {
            last_batch: resume.last_batch,
            last_now: resume.last_now,
            memory: Memory::new(plan, resume.event_time),
            attaching: Attaching::new(plan, resume.encounters),
            replays: Replays::new(),
            coverage: Coverage::new(resume.unjudged, &resume.episodes),
            episodes: OpenEpisodes::new(resume.episodes, resume.silences),
            quarantine: Quarantine::new(resume.queries),
            tables: TableStates::new(resume.tables),
            backfill: BTreeMap::new(),
            last_snapshot: resume.last_batch,
            edits: Edits::default(),
            beginning: BTreeMap::new(),
            begun: Vec::new(),
            costs: Costs::default(),
            reference_fault: None,
            outage: None,
            clock_behind: None,
            lost_references: Vec::new(),
            waiting_since: None,
            committed: Stopwatch::start(),
            shown: Ranges::new(),
            claimed: positions.clone(),
        }
    }

    /// A batch's `now` is after that of the batch before, however short that took: tables may be keyed by it.
    pub(super) fn after_last(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        self.last_now.map_or(now, |last| now.max(last + chrono::TimeDelta::microseconds(1)))
    }

    /// Whether rows are to be written that no batch has written: for a table that is to be tried again at `now`, or of windows that
    /// recovery gave out.
    pub(super) fn has_due_rows(&self, plan: &Plan, now: DateTime<Utc>) -> bool {
        !self.backfill.is_empty() || self.tables.is_due(plan.tables.iter().map(|table| table.name.as_str()), now)
    }

    /// Has rules judged on the last values of patients.
    pub(super) fn begin(&mut self, rules: impl IntoIterator<Item = String>) {
        for rule in rules {
            self.beginning.entry(rule).or_default();
        }
    }

    /// Takes note that a rule was judged on last values, but for those of these patients, or of everybody.
    pub(super) fn note_begun(
        &mut self,
        rule: &str,
        failures: Vec<(Arc<str>, String)>,
        (now, again): (DateTime<Utc>, TimeDelta),
    ) {
        let before = self.beginning.get(rule).and_then(Option::as_ref).map(|fault| fault.since);
        let since = before.unwrap_or(now);
        let fault = (!failures.is_empty()).then(|| BeginFault { failures, since, again_at: now + again });
        match fault {
            None => self.begun.push(rule.to_owned()),
            Some(fault) => {
                let (patients, why) = (fault.failures.len(), &fault.failures[0].1);
                if before.is_none() {
                    warn!(rule, patients, why, "rule cannot be judged on the last values of patients");
                }
                self.beginning.insert(rule.to_owned(), Some(fault));
            }
        }
    }

    /// Which last values no rule that begins could be judged on.
    pub(super) fn not_begun(&self) -> Vec<Unjudged> {
        let faults = self.beginning.iter().filter_map(|(rule, fault)| Some((rule, fault.as_ref()?)));
        let of = |(rule, fault): (&String, &BeginFault)| {
            let unjudged = |(patient, why): &(Arc<str>, String)| Unjudged {
                patient: Arc::clone(patient),
                patients: if patient.is_empty() { self.memory.streams.patients() } else { 1 },
                rule: rule.clone(),
                judged_until: None,
                since: fault.since,
                cause: Why::QueryFailing,
                detail: format!("its query fails on the last values: {why}"),
                told_by: None,
            };
            fault.failures.iter().map(unjudged).collect::<Vec<_>>()
        };
        faults.flat_map(of).collect()
    }

    /// The rules that have failed so far, or that read what has.
    pub(super) fn failing_rules(&self, plan: &Plan) -> BTreeSet<String> {
        let rules = plan.rules.iter().map(|rule| rule.name.as_str());
        self.quarantine.failing_rules(rules, &plan.reads()).into_keys().collect()
    }

    /// The tables that do not take their rows, since when, and what the database says.
    pub(super) fn tables_at_fault(&self) -> Vec<TableFault> {
        self.tables.at_fault()
    }
}
