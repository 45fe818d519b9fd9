//! What the loop remembers of rows from batch to batch, and what becomes of a batch's rows by it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use chrono::{DateTime, Utc};

use wardwatch_alert::{Composer, Rule, Samples, Streams};
use wardwatch_config::{SourceSpec, marker};
use wardwatch_frame::{Features, History, SeenKeys, Split, late_records, split_late, without_rows};
use wardwatch_model::event_time::{EventTime, Watermarks};
use wardwatch_model::record::{LateRecord, Span};
use wardwatch_model::terms::Partition;
use wardwatch_store::{Snapshot, StoredSnapshot};

use super::leaving::Leaving;
use super::plan::{Plan, STREAMS};

/// The parts of the snapshot of streams.
const OF_STREAMS: i64 = 0;
const OF_VALUES: i64 = 1;
const OF_RULES: i64 = 2;

/// What is remembered of rows. All of it can be made again by reading the last while again.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    /// How far event time has got.
    pub(super) event_time: EventTime,
    /// What orders the samples of each patient.
    pub(super) streams: Streams,
    /// The newest values that rules of several vitals are judged on.
    pub(super) composer: Composer,
    /// The rows of the last while, where a query reads them.
    pub(super) history: Option<History>,
    /// What each rule is made of that is judged.
    rules: BTreeMap<String, String>,
    seen: Option<SeenKeys>,
    features: Option<Features>,
}

/// A batch's rows, sorted out.
#[derive(Debug)]
pub(super) struct Rows {
    /// Every row that did not come before.
    pub(super) all: RecordBatch,
    /// Those of them that were on time.
    pub(super) on_time: RecordBatch,
    /// The others, as the store keeps them.
    pub(super) late: Vec<LateRecord>,
    /// The places of late rows among all.
    pub(super) late_places: Vec<usize>,
    /// How many had come before.
    pub(super) duplicates: usize,
    /// The watermarks after them.
    pub(super) watermarks: Watermarks,
    /// The event times of each partition.
    pub(super) spans: BTreeMap<Partition, Span>,
}

impl Memory {
    pub(super) fn new(plan: &Plan, event_time: EventTime) -> Self {
        let source = &plan.job.source;
        let time = &plan.samples.event_time;
        Self {
            event_time: event_time.led_by(&source.table),
            rules: plan.rule_texts(),
            streams: Streams::new(plan.streams()),
            composer: Composer::new(&plan.rules),
            history: plan.engine.reads_history().then(|| History::new(&plan.samples.key, time, source.retain)),
            seen: (!source.dedupe.is_empty()).then(|| SeenKeys::new(&dedupe_key(source), time)),
            features: (!plan.job.features.is_empty())
                .then(|| Features::new(&plan.job.features, &plan.samples.key, time)),
        }
    }

    /// Sorts the rows of the next batch and remembers them. Event time itself is for the caller to move on.
    ///
    /// `now` is the batch's frozen time. The rows at the places `nobody` move event time, and go no further.
    pub(super) fn take(&mut self, plan: &Plan, rows: &RecordBatch, nobody: &[usize], now: DateTime<Utc>) -> Rows {
        let (sources, before) = (plan.sources(), &self.event_time);
        let bounds = |partition| sources.bounds(partition, before);
        let Split { mut on_time, mut late, watermarks, spans } =
            split_late(rows, &plan.samples.event_time, &bounds, &before.watermarks, now);
        let rows = &without_rows(rows, nobody);
        if !nobody.is_empty() {
            late.retain(|late| nobody.binary_search(&late.row).is_err());
            late.iter_mut().for_each(|late| late.row -= nobody.partition_point(|place| *place < late.row));
            on_time = without_rows(rows, &late.iter().map(|late| late.row).collect::<Vec<_>>());
        }
        let late_places: Vec<usize> = late.iter().map(|late| late.row).collect();
        let late = late_records(rows, &late, &plan.samples.key);

        let duplicates =
            self.seen.as_mut().map(|seen| find_again(seen, &on_time, &watermarks, plan)).unwrap_or_default();
        let duplicates = places_in_all(&duplicates, &late_places);
        let mut all = without_rows(rows, &duplicates);
        let mut on_time = if duplicates.is_empty() { Some(on_time) } else { None };
        if let Some(features) = &mut self.features {
            all = features.add(&all);
            on_time = None;
        }
        let late_places = places_after(&late_places, &duplicates);
        let on_time = on_time.unwrap_or_else(|| without_rows(&all, &late_places));
        if let Some(history) = &mut self.history {
            history.add(&all, &self.event_time.newest(&sources));
        }
        Rows { all, on_time, late, late_places, duplicates: duplicates.len(), watermarks, spans }
    }

    /// Takes note of the samples of a batch, and says at which of them rules are to be judged.
    pub(super) fn note_samples(&mut self, plan: &Plan, rows: &RecordBatch, now: DateTime<Utc>) -> Samples {
        let mut samples = self.streams.note(rows, &plan.samples, now);
        self.composer.compose(&mut samples, &self.streams, rows);
        samples
    }

    /// Takes note of the last values of patients, apart from what comes, for a rule that begins. Returns their samples and streams, and
    /// of whom values are put together from now on that were not.
    pub(super) fn begin(
        &mut self,
        rule: &Rule,
        frame: &RecordBatch,
        plan: &Plan,
        now: DateTime<Utc>,
    ) -> (Samples, Streams, BTreeSet<Arc<str>>) {
        let (mut samples, apart) = self.streams.begin(frame, &plan.samples, now);
        let put_together = match rule.composed {
            Some(_) => self.composer.begin(rule, &mut samples, &apart, frame),
            None => BTreeSet::new(),
        };
        (samples, apart, put_together)
    }

    /// The rules that are others than `before`.
    fn unlike(&self, before: &BTreeMap<String, String>) -> BTreeSet<String> {
        let is_unlike = |(name, text): &(&String, &String)| before.get(*name) != Some(*text);
        self.rules.iter().filter(is_unlike).map(|(name, _)| name.clone()).collect()
    }

    /// Goes on with another set of rules. Returns those that are new, or others than before.
    pub(super) fn reshape(&mut self, plan: &Plan) -> BTreeSet<String> {
        self.streams.reshape(plan.streams());
        self.composer.reshape(&plan.rules);
        let before = std::mem::replace(&mut self.rules, plan.rule_texts());
        self.unlike(&before)
    }

    /// Lets go of what is kept for patients.
    pub(super) fn forget(&mut self, gone: &Leaving) {
        if gone.is_empty() {
            return;
        }
        self.streams.part_with(gone.keys());
        gone.keys().for_each(|patient| self.composer.forget(patient));
        self.forget_rows(gone);
    }

    /// The same but for what is known of streams.
    pub(super) fn forget_rows(&mut self, gone: &Leaving) {
        let is_gone = |patient: &str| gone.contains_key(patient);
        if let Some(features) = self.features.as_mut().filter(|_| !gone.is_empty()) {
            features.forget(&is_gone);
        }
        if let Some(history) = self.history.as_mut().filter(|_| !gone.is_empty()) {
            history.forget(&is_gone);
        }
    }

    /// What is known of streams, as the store keeps it.
    pub(super) fn snapshot_of_streams(&self) -> Snapshot {
        Snapshot {
            query: STREAMS.to_owned(),
            // What it holds says for itself whether it is of use.
            fingerprint: STREAMS.to_owned(),
            closed_to: None,
            incomplete_before: None,
            changed: vec![
                (OF_STREAMS, self.streams.save()),
                (OF_VALUES, self.composer.save()),
                (OF_RULES, serde_json::to_vec(&self.rules).unwrap_or_default()),
            ],
            panes: vec![OF_STREAMS, OF_VALUES, OF_RULES],
        }
    }

    /// The rules that are others than when a snapshot was made; a version that did not write that down had the same.
    pub(super) fn unlike_saved(&self, snapshot: &StoredSnapshot) -> BTreeSet<String> {
        let saved = snapshot.panes.as_ref().and_then(|panes| panes.get(&OF_RULES));
        let saved = saved.and_then(|saved| serde_json::from_slice(saved).ok());
        saved.map(|saved| self.unlike(&saved)).unwrap_or_default()
    }

    /// Goes on with what the panes of a snapshot hold of streams; `false` where it is of no use.
    pub(super) fn restore_streams(&mut self, panes: &BTreeMap<i64, Vec<u8>>) -> bool {
        let shape = self.streams.shape().as_ref().clone();
        let Some((streams, values)) = panes.get(&OF_STREAMS).zip(panes.get(&OF_VALUES)) else { return false };
        match Streams::restore(shape, streams) {
            Some(streams) if self.composer.restore(values) => {
                self.streams = streams;
                true
            }
            _ => false,
        }
    }

    pub(super) fn history(&self) -> Vec<RecordBatch> {
        self.history.as_ref().map(History::batches).unwrap_or_default()
    }
}

/// What makes two records one: what the job file says, and the device, for another one's reading is no repetition.
fn dedupe_key(source: &SourceSpec) -> Vec<String> {
    let device = source.device.iter().filter(|device| !source.dedupe.contains(device));
    source.dedupe.iter().chain(device).cloned().collect()
}

/// The places of rows that came before. What the job says of that is said of the first source: a laboratory corrects its results.
fn find_again(seen: &mut SeenKeys, on_time: &RecordBatch, watermarks: &Watermarks, plan: &Plan) -> Vec<usize> {
    let source = &plan.job.source;
    let of_first = on_time.column_by_name(&marker(&source.table)).filter(|_| !source.others.is_empty());
    let Some(of_first) = of_first else { return seen.find(on_time, watermarks) };
    let (own, others): (Vec<usize>, Vec<usize>) = (0..on_time.num_rows()).partition(|row| of_first.is_valid(*row));
    let found = seen.find(&without_rows(on_time, &others), watermarks);
    found.into_iter().map(|place| own[place]).collect()
}

/// From places among the rows that were on time to places among all, of which those in `late` were not.
fn places_in_all(on_time: &[usize], late: &[usize]) -> Vec<usize> {
    let mut late = late.iter().copied().peekable();
    let mut skipped = 0;
    on_time
        .iter()
        .map(|place| {
            while late.next_if(|late| *late <= place + skipped).is_some() {
                skipped += 1;
            }
            place + skipped
        })
        .collect()
}

/// From places among all rows to places among those that are left without the ones in `gone`.
fn places_after(places: &[usize], gone: &[usize]) -> Vec<usize> {
    places.iter().map(|place| place - gone.partition_point(|gone| gone < place)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_move_up_when_rows_before_them_go() {
        assert_eq!(places_after(&[1, 4, 6], &[]), [1, 4, 6]);
        assert_eq!(places_after(&[1, 4, 6], &[0, 5]), [0, 3, 4]);
    }

    #[test]
    fn places_among_rows_on_time_are_found_among_all() {
        assert_eq!(places_in_all(&[0, 1, 2], &[]), [0, 1, 2]);
        assert_eq!(places_in_all(&[0, 1, 2], &[0, 1]), [2, 3, 4]);
        assert_eq!(places_in_all(&[0, 2, 3], &[1, 4]), [0, 3, 5]);
    }
}
