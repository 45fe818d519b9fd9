//! What rules of several vitals are judged on: a record's own values and, where it lacks some, the newest valid ones that
//! came before, of its own device or of others.
//!
//! ```text
//!   monitor   heart rate  ──●────●────●────●────●──      each ● is judged with the cuff's pressure, while that counts,
//!   cuff      systolic    ─────────■──────────────       and ■ with the monitor's heart rate
//! ```
//!
//! Where several streams have the same vital, each combination is judged by itself: each stream with its own values and,
//! for what it lacks, with those of each other stream. A combination of several streams is a stream of its own to
//! episodes. It goes by the clock of the stream that has the first of its vitals; the others' times are moved by the
//! difference of their clocks, as Kafka's stamps tell it.
//!
//! A record that says that there is no value, for each one of its stream before had one, ends what was known of it.
//!
//! The order of records is that in which they came; where they come from several partitions, that of their stamps within a
//! batch. What a partition that is read behind the others has to say, the others' samples were judged without.

pub(crate) mod parts;
mod saved;
mod values;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use chrono::{DateTime, TimeDelta, Utc};
use smallvec::{SmallVec, smallvec};

use wardwatch_model::terms::Partition;

use super::map::HashMap;
use super::rule::{CONTINUOUS, Rule};
use super::streams::id::StreamId;
use super::streams::row::{ALONE, SampleRow};
use super::streams::samples::Samples;
use super::streams::state::Streams;
use super::streams::{CLOCK_TOLERANCE, Placed, SetId};
use parts::{Composed, ComposedSample, Composition, Entry};
use values::{Filled, Value, read};

/// So many streams of one patient are combined; of more, those that were idle for longest are left out.
const MOST_SOURCES: usize = 6;

/// So many combinations are judged at one sample.
const MOST_COMBINATIONS: usize = 8;

/// So many samples in a row tell that a clock was set.
const LASTING: u8 = 5;

/// The newest values of each patient, for every composition that rules need.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Composer(Vec<(Composition, HashMap<Arc<str>, Known>)>);

/// What is known of a patient's vitals.
#[derive(Debug, Clone, Default, PartialEq)]
struct Known {
    /// How often each stream has had each vital.
    streams: Vec<Presence>,
    sources: Vec<Source>,
    combinations: Vec<Combination>,
    /// The number of the next source.
    next: u32,
}

/// Whether each record of a stream has a vital.
#[derive(Debug, Clone, PartialEq)]
struct Presence {
    partition: i32,
    device: Arc<str>,
    records: u64,
    /// For each vital: the last record that had it, and whether the one before had it too.
    vitals: Vec<(u64, bool)>,
}

/// A lane of a stream, and its newest values.
#[derive(Debug, Clone, PartialEq)]
struct Source {
    number: u32,
    stream: StreamId,
    /// How far its times lie behind stamps, in microseconds.
    delay: i64,
    /// How many samples in a row do not agree with that.
    strange: u8,
    /// The newest value of each vital.
    vitals: Vec<Option<Newest>>,
}

/// A vital that a record has.
#[derive(Debug, Clone, Copy)]
struct Own {
    /// The number of the source that it is noted at.
    source: u32,
    /// The record's time on the axis of stamps.
    now: i64,
    /// How long it may count, where later values are known already; in microseconds.
    counts_for: i64,
}

/// The newest value of a vital: of each of the columns that may hold it.
#[derive(Debug, Clone, PartialEq)]
struct Newest {
    /// When it was measured, on the axis of stamps, in microseconds.
    at: i64,
    columns: Columns,
}

/// One for each vital of a rule, of which there are seldom more than a few.
type Each<T> = SmallVec<[T; 4]>;

/// The values of the columns that may hold a vital.
type Columns = SmallVec<[Option<Value>; 2]>;

/// The sources, by their numbers, that each vital is taken from.
type Members = Each<Option<u32>>;

/// Sources that were judged together.
#[derive(Debug, Clone, PartialEq)]
struct Combination {
    members: Members,
    /// The last time that was judged, by the clock of the first member.
    judged_to: i64,
}

impl Composer {
    /// What the rules need, with nothing known yet.
    #[must_use]
    pub fn new(rules: &[Rule]) -> Self {
        let mut composer = Self::default();
        composer.reshape(rules);
        composer
    }

    /// Goes on with another set of rules.
    pub fn reshape(&mut self, rules: &[Rule]) {
        let mut before = std::mem::take(&mut self.0);
        for wanted in rules.iter().filter_map(Composition::of) {
            if self.0.iter().all(|(known, _)| *known != wanted) {
                let known = before.iter_mut().find(|(known, _)| *known == wanted);
                let patients = known.map(|(_, patients)| std::mem::take(patients)).unwrap_or_default();
                self.0.push((wanted, patients));
            }
        }
    }

    /// Puts together what a rule that begins is judged on: the last values of patients. `samples` and `streams` are those of
    /// `frame`, noted apart. What of these vitals was not known together so far is from now on; returns of which patients.
    pub fn begin(
        &mut self,
        rule: &Rule,
        samples: &mut Samples,
        streams: &Streams,
        frame: &RecordBatch,
    ) -> BTreeSet<Arc<str>> {
        let mut apart = Self::new(std::slice::from_ref(rule));
        apart.compose(samples, streams, frame);
        let mut news = BTreeSet::new();
        let Some((composition, begun)) = apart.0.pop() else { return news };
        let Some((_, known)) = self.0.iter_mut().find(|(known, _)| *known == composition) else { return news };
        for (patient, begun) in begun {
            let is_new = match known.get_mut(&patient) {
                Some(known) => known.learn(&begun),
                None => known.insert(Arc::clone(&patient), begun).is_none(),
            };
            if is_new {
                news.insert(patient);
            }
        }
        news
    }

    /// The combinations of the patient that a rule was judged on last at this time, as streams, and how far their clocks lie behind
    /// stamps.
    pub(crate) fn found_at(&self, rule: &Rule, patient: &str, at: DateTime<Utc>) -> Vec<(StreamId, TimeDelta)> {
        let wanted = Composition::of(rule);
        let of_rule = self.0.iter().find(|(known, _)| Some(known) == wanted.as_ref());
        let Some(known) = of_rule.and_then(|(_, patients)| patients.get(patient)) else { return Vec::new() };
        let at = at.timestamp_micros();
        let judged = known.combinations.iter().filter(|known| known.judged_to == at);
        let found = judged.filter_map(|combination| {
            let first = known.first(&combination.members)?;
            Some((known.stream_of(&combination.members), TimeDelta::microseconds(first.delay)))
        });
        found.collect()
    }

    /// Lets go of what is known of a patient.
    pub fn forget(&mut self, patient: &str) {
        self.0.iter_mut().for_each(|(_, patients)| drop(patients.remove(patient)));
    }

    /// Takes note of a batch's values, and puts together what rules of several vitals are judged on. `samples` and `streams`
    /// are those of `frame`.
    pub fn compose(&mut self, samples: &mut Samples, streams: &Streams, frame: &RecordBatch) {
        for (composition, patients) in &mut self.0 {
            if let Some(set) = streams.shape().set(&composition.columns) {
                let composed = Batch::of(composition, set, samples, streams, frame).compose(patients);
                samples.add_composed(composition.clone(), composed);
            }
        }
    }
}

/// A batch on its way to what a composition makes of it.
struct Batch<'a> {
    set: SetId,
    /// The set of each vital alone: its samples are in order whatever other vitals' are.
    sets: Vec<Option<SetId>>,
    samples: &'a Samples,
    streams: &'a Streams,
    frame: &'a RecordBatch,
    /// The columns of each vital in the frame.
    columns: Vec<Vec<Option<&'a ArrayRef>>>,
    vitals: &'a [Vec<String>],
    /// How long a value of each vital counts, in microseconds.
    valid_for: Vec<i64>,
    filled: Filled,
}

impl<'a> Batch<'a> {
    fn of(
        composition: &Composition,
        set: SetId,
        samples: &'a Samples,
        streams: &'a Streams,
        frame: &'a RecordBatch,
    ) -> Self {
        let vitals = streams.shape().columns_of(set).vital_columns();
        Self {
            set,
            sets: vitals.iter().map(|columns| streams.shape().set(columns)).collect(),
            samples,
            streams,
            frame,
            columns: vitals.iter().map(|of| of.iter().map(|name| frame.column_by_name(name)).collect()).collect(),
            vitals,
            valid_for: vitals.iter().map(|of| composition.valid_for(&of[0])).collect(),
            filled: Filled::new(frame.num_rows()),
        }
    }

    fn compose(mut self, patients: &mut HashMap<Arc<str>, Known>) -> Composed {
        let mut entries = HashMap::default();
        entries.reserve(self.samples.patients().len());
        for (patient, records) in self.samples.patients() {
            let known = match patients.get_mut(patient) {
                Some(known) => known,
                None => patients.entry(Arc::clone(patient)).or_default(),
            };
            let mut in_order: Vec<SampleRow> = Vec::new();
            let is_of_one = records.iter().all(|record| record.stream == records[0].stream);
            if !is_of_one {
                in_order.extend(records);
                in_order.sort_by_key(|record| record.stamped);
            }
            let mut of_patient = Vec::with_capacity(records.len());
            for record in if is_of_one { records.as_slice() } else { &in_order } {
                self.record(patient, known, *record, &mut of_patient);
            }
            entries.insert(Arc::clone(patient), of_patient);
        }
        let names = self.vitals.iter().map(Vec::as_slice);
        let again = self.filled.again().to_vec();
        Composed { again, rows: self.filled.rows(self.frame, names), patients: entries }
    }

    fn record(&mut self, patient: &str, known: &mut Known, record: SampleRow, entries: &mut Vec<Entry>) {
        let Some(device) = self.streams.id(patient, record, 0) else { return };
        let columns = self.streams.shape().columns_of(self.set);
        let given: Each<bool> = columns.given(record).collect();
        let doubted: Each<bool> = columns.doubted(record).collect();
        let mut lost = known.presence(&device, given.len()).note(&given, &doubted);
        // What is measured seldom holds until it is no longer valid, whatever came of the next attempt.
        lost.retain(|vital| self.valid_for[*vital] <= CONTINUOUS.num_microseconds().unwrap_or(i64::MAX));
        known.lose(&device, &lost, record, |stream, at| {
            entries.push(Entry::Sample(ComposedSample::unknown(record, stream, at)))
        });
        if !given.contains(&true) {
            entries.push(Entry::Other { record, is_gap: self.samples.is_gap(self.set, record) });
            return;
        }
        let places: Each<Option<Placed>> = self
            .sets
            .iter()
            .zip(&given)
            .map(|(set, is_given)| is_given.then(|| set.map_or(Placed::Lane(0), |set| self.samples.place(set, record))))
            .collect();
        let own = known.note(record, &device, &places, |vital| self.read(vital, record.row));
        if own.iter().any(Option::is_some) {
            let is_leading =
                |set: &SetId| self.samples.leads(*set, record) || !self.samples.let_go(*set, record).is_empty();
            let leads = self.sets.iter().flatten().any(is_leading);
            for members in known.combinations(&own, &self.valid_for) {
                let sample = self.sample(known, record, &own, &members, leads);
                entries.push(Entry::Sample(sample));
            }
        } else if places.iter().any(|place| matches!(place, Some(Placed::Alone(_)))) {
            entries.push(Entry::Sample(ComposedSample {
                row: self.filled.row(record.row),
                is_complete: !given.contains(&false),
                is_alone: true,
                valid_for: ALONE,
                ..ComposedSample::unknown(record, StreamId { lane: u32::MAX, ..device }, record.at)
            }));
        }
    }

    /// The values of a vital in a row: of each of its columns.
    fn read(&self, vital: usize, row: usize) -> Columns {
        self.columns[vital].iter().map(|column| column.and_then(|column| read(column, row))).collect()
    }

    /// The sample of one combination, to which `record` gives the vitals that are its `own`.
    fn sample(
        &mut self,
        known: &mut Known,
        record: SampleRow,
        own: &[Option<Own>],
        members: &Members,
        leads: bool,
    ) -> ComposedSample {
        let row = self.filled.next_row(record.row);
        let Some(now) = own.iter().flatten().map(|own| own.now).next() else {
            return ComposedSample::unknown(record, known.stream_of(members), record.at);
        };
        let mut valid_for = i64::MAX;
        for (vital, member) in members.iter().enumerate() {
            let Some(of) = member.and_then(|number| known.numbered(number)) else { continue };
            let Some(newest) = &of.vitals[vital] else { continue };
            valid_for = valid_for.min(newest.at.saturating_add(self.valid_for[vital]).saturating_sub(now));
            valid_for = own[vital].map_or(valid_for, |own| valid_for.min(own.counts_for));
            if own[vital].is_none_or(|own| own.source != of.number) {
                self.filled.fill(row, vital, &newest.columns);
            }
        }
        let at = known.judge(members, now, record.at.timestamp_micros(), own);
        ComposedSample {
            at: DateTime::from_timestamp_micros(at).unwrap_or(record.at),
            valid_for: TimeDelta::microseconds(valid_for.max(0)),
            row: i64::try_from(row).ok(),
            is_complete: !members.contains(&None),
            leads,
            ..ComposedSample::unknown(record, known.stream_of(members), record.at)
        }
    }
}

impl Presence {
    /// Takes note of which vitals a record has. Returns those that it should have had: each one before had them.
    fn note(&mut self, given: &[bool], doubted: &[bool]) -> Each<usize> {
        self.records += 1;
        let record = self.records;
        let mut lost = Each::new();
        for (vital, (last, is_in_each)) in self.vitals.iter_mut().enumerate() {
            let is_next = *last > 0 && *last + 1 == record;
            if given[vital] {
                (*last, *is_in_each) = (record, is_next);
            } else if is_next && *is_in_each && !doubted[vital] {
                lost.push(vital);
            }
        }
        lost
    }
}

impl Source {
    /// Takes note of a record's clock. Returns its time on the axis of stamps.
    fn note_clock(&mut self, record: SampleRow) -> i64 {
        let at = record.at.timestamp_micros();
        let delay = record.stamped.saturating_sub(at);
        let is_first = self.vitals.iter().all(Option::is_none) && self.strange == 0;
        if is_first || self.strange + 1 >= LASTING {
            (self.delay, self.strange) = (delay, 0);
        } else if delay.saturating_sub(self.delay).abs() <= CLOCK_TOLERANCE {
            self.delay += (delay - self.delay) / 8;
            self.strange = 0;
        } else {
            self.strange += 1;
        }
        at.saturating_add(self.delay)
    }

    fn counts(&self, vital: usize, now: i64, valid_for: &[i64]) -> bool {
        let newest = self.vitals[vital].as_ref();
        newest.is_some_and(|newest| now.saturating_sub(newest.at).saturating_abs() < valid_for[vital])
    }

    fn newest(&self) -> i64 {
        self.vitals.iter().flatten().map(|newest| newest.at).max().unwrap_or(i64::MIN)
    }
}

impl Known {
    fn presence(&mut self, stream: &StreamId, vitals: usize) -> &mut Presence {
        let is_it = |of: &Presence| of.partition == stream.partition.0 && of.device == stream.device;
        let place = self.streams.iter().position(is_it).unwrap_or_else(|| {
            let (partition, device) = (stream.partition.0, Arc::clone(&stream.device));
            self.streams.push(Presence { partition, device, records: 0, vitals: vec![(0, false); vitals] });
            self.streams.len() - 1
        });
        &mut self.streams[place]
    }

    /// Values of `lost` vitals that a device had are no more. `tell` is told of the combinations that had them.
    fn lose(
        &mut self,
        device: &StreamId,
        lost: &[usize],
        record: SampleRow,
        mut tell: impl FnMut(StreamId, DateTime<Utc>),
    ) {
        if lost.is_empty() {
            return;
        }
        let delay =
            self.sources.iter().find(|source| source.stream.is_of_device(device)).map_or(0, |known| known.delay);
        let now = record.at.timestamp_micros().saturating_add(delay);
        let mut of_device = Vec::new();
        for source in self.sources.iter_mut().filter(|source| source.stream.is_of_device(device)) {
            of_device.push(source.number);
            lost.iter().for_each(|vital| source.vitals[*vital] = None);
        }
        let has_lost = |members: &Members| {
            lost.iter().any(|vital| members[*vital].is_some_and(|number| of_device.contains(&number)))
        };
        let (gone, left): (Vec<Combination>, Vec<Combination>) =
            std::mem::take(&mut self.combinations).into_iter().partition(|known| has_lost(&known.members));
        self.combinations = left;
        for combination in gone {
            let clock = self.first(&combination.members).map_or(0, |first| first.delay);
            let at = now.saturating_sub(clock).max(combination.judged_to.saturating_add(1));
            if let Some(at) = DateTime::from_timestamp_micros(at) {
                tell(self.stream_of(&combination.members), at);
            }
        }
    }

    fn source(&mut self, stream: &StreamId, vitals: usize) -> usize {
        if let Some(place) = self.sources.iter().position(|source| source.stream == *stream) {
            return place;
        }
        if self.sources.len() >= MOST_SOURCES
            && let Some(idle) = (0..self.sources.len()).min_by_key(|place| self.sources[*place].newest())
        {
            let gone = self.sources.swap_remove(idle).number;
            self.combinations.retain(|known| !known.members.contains(&Some(gone)));
        }
        let number = self.next;
        self.next += 1;
        let vitals = vec![None; vitals];
        self.sources.push(Source { number, stream: stream.clone(), delay: 0, strange: 0, vitals });
        self.sources.len() - 1
    }

    /// Takes over the vitals of which nothing is known. Returns whether there were such.
    fn learn(&mut self, begun: &Self) -> bool {
        let mut is_new = false;
        let unknown = |known: &Self, vital: usize| known.sources.iter().all(|source| source.vitals[vital].is_none());
        for source in &begun.sources {
            for (vital, newest) in source.vitals.iter().enumerate().filter(|(_, newest)| newest.is_some()) {
                if unknown(self, vital) {
                    let place = self.source(&source.stream, source.vitals.len());
                    self.sources[place].vitals[vital].clone_from(newest);
                    is_new = true;
                }
            }
        }
        is_new
    }

    /// Takes note of what a record has of each vital. Returns from which source each is that stands in a lane.
    fn note(
        &mut self,
        record: SampleRow,
        device: &StreamId,
        places: &[Option<Placed>],
        value: impl Fn(usize) -> Columns,
    ) -> Each<Option<Own>> {
        let mut own: Each<Option<Own>> = smallvec![None; places.len()];
        for (vital, place) in places.iter().enumerate() {
            let (lane, counts_for) = match place {
                Some(Placed::Lane(lane)) => (*lane, i64::MAX),
                Some(Placed::Late(lane, until)) => (*lane, until.saturating_sub(record.at.timestamp_micros())),
                _ => continue,
            };
            let source = self.source(&StreamId { lane, ..device.clone() }, places.len());
            let number = self.sources[source].number;
            let noted = own.iter().flatten().find(|own| own.source == number).map(|own| own.now);
            let now = noted.unwrap_or_else(|| self.sources[source].note_clock(record));
            self.sources[source].vitals[vital] = Some(Newest { at: now, columns: value(vital) });
            own[vital] = Some(Own { source: number, now, counts_for });
        }
        own
    }

    /// The combinations that a record belongs to by a vital that is its `own`.
    fn combinations(&self, own: &[Option<Own>], valid_for: &[i64]) -> SmallVec<[Members; 1]> {
        let Some(now) = own.iter().flatten().map(|own| own.now).next() else { return SmallVec::new() };
        if let [only] = self.sources.as_slice() {
            let has = |vital: usize| only.counts(vital, now, valid_for).then_some(only.number);
            return smallvec![(0..own.len()).map(has).collect()];
        }
        let is_own = |source: &&Source| own.iter().flatten().any(|own| own.source == source.number);
        let anchors = self.sources.iter().filter(is_own).chain(self.sources.iter().filter(|source| !is_own(source)));
        let mut found: SmallVec<[Members; 1]> = SmallVec::new();
        for anchor in anchors {
            let mut begun: Vec<Members> = vec![Members::new()];
            for vital in 0..own.len() {
                let has = |source: &&Source| source.counts(vital, now, valid_for);
                let mut choices: Vec<Option<u32>> = match Some(anchor).filter(has) {
                    Some(anchor) => vec![Some(anchor.number)],
                    None => self.sources.iter().filter(has).map(|source| Some(source.number)).collect(),
                };
                if choices.is_empty() {
                    choices.push(None);
                }
                let longer = begun.iter().flat_map(|begun| {
                    choices.iter().map(move |next| begun.iter().copied().chain([*next]).collect::<Members>())
                });
                begun = longer.take(MOST_COMBINATIONS).collect();
            }
            let belongs = |members: &Members| {
                members.iter().zip(own).any(|(member, own)| own.is_some_and(|own| *member == Some(own.source)))
            };
            for members in begun {
                if belongs(&members) && !found.contains(&members) && found.len() < MOST_COMBINATIONS {
                    found.push(members);
                }
            }
        }
        found
    }

    /// When a combination is judged, by the clock of its first member: at a record of the time `at`, which is `now` on the axis of
    /// stamps. A combination never goes back.
    fn judge(&mut self, members: &Members, now: i64, at: i64, own: &[Option<Own>]) -> i64 {
        let is_own = |source: &&Source| own.iter().flatten().any(|own| own.source == source.number);
        let at = match self.first(members).filter(|first| !is_own(first)) {
            Some(first) => now.saturating_sub(first.delay),
            None => at,
        };
        if let Some(known) = self.combinations.iter_mut().find(|known| known.members == *members) {
            known.judged_to = known.judged_to.max(at);
            return known.judged_to;
        }
        if self.combinations.len() >= 2 * MOST_COMBINATIONS
            && let Some(idle) = (0..self.combinations.len()).min_by_key(|place| self.combinations[*place].judged_to)
        {
            self.combinations.swap_remove(idle);
        }
        self.combinations.push(Combination { members: members.clone(), judged_to: at });
        at
    }

    fn numbered(&self, number: u32) -> Option<&Source> {
        self.sources.iter().find(|source| source.number == number)
    }

    fn first(&self, members: &Members) -> Option<&Source> {
        members.iter().flatten().next().and_then(|number| self.numbered(*number))
    }

    /// A combination as a stream: one source is itself; several bear all their names.
    fn stream_of(&self, members: &Members) -> StreamId {
        let nowhere = || StreamId { partition: Partition(0), device: "".into(), lane: u32::MAX };
        let first = self.first(members).map_or_else(nowhere, |first| first.stream.clone());
        if !is_of_several(members) {
            return first;
        }
        let sources = members.iter().flatten().filter_map(|number| self.numbered(*number));
        let streams: Vec<&StreamId> = sources.map(|source| &source.stream).collect();
        let names: Vec<&str> = streams.iter().map(|stream| &*stream.device).collect();
        let lane = streams.iter().fold(0_u32, |code, stream| code.wrapping_mul(61).wrapping_add(stream.lane + 1));
        StreamId { partition: first.partition, device: names.join(" + ").into(), lane }
    }
}

fn is_of_several(members: &Members) -> bool {
    let mut numbers = members.iter().flatten();
    let first = numbers.next();
    numbers.any(|number| Some(number) != first)
}
