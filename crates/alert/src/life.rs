//! A rule's live episode of one patient, in hand while the batch's samples go by.

use std::sync::Arc;

use arrow::array::RecordBatch;
use chrono::{DateTime, TimeDelta, Utc};

use super::composed::parts::Entry;
use super::conditions::{Conditions, Place};
use super::episode::{Episode, Event, State};
use super::lifecycle::{self, Edge, Evidence, Passed, Sample, Truth};
use super::message::number;
use super::moment::{Elsewhere, Moment};
use super::rule::Rule;
use super::standing::{OpenEpisodes, is_waiting};
use super::streams::id::{MOMENT, StreamId};
use super::streams::row::{ALONE, SampleRow};
use super::streams::{ColumnSet, Others, Placed, SetId};
use super::track::Track;

/// A rule's live episode of one patient, in hand while the batch's samples go by.
pub(super) struct Life<'m> {
    pub(super) rule: &'m Rule,
    pub(super) patient: Arc<str>,
    pub(super) set: SetId,
    pub(super) moment: &'m Moment<'m>,
    pub(super) episode: Option<Episode>,
    pub(super) events: Vec<Event>,
    /// Whether a sample has told anything of the episode in hand.
    pub(super) is_told: bool,
}

impl Life<'_> {
    /// The patient's samples, as they came.
    pub(super) fn samples(&mut self, open: &mut OpenEpisodes, found: &Found<'_>) {
        let moment = self.moment;
        let columns = moment.streams.shape().columns_of(self.set);
        let samples = moment.samples.of_patient(&self.patient);
        for sample in samples.iter().copied() {
            let placed = moment.samples.place(self.set, sample);
            if !columns.judges(sample) {
                self.pass(open, sample, moment.samples.is_gap(self.set, sample));
                continue;
            }
            let row = i64::try_from(sample.row).ok();
            let at = Place { patient: &self.patient, at: sample.recorded_at, row };
            let is_own = found.conditions.are_numbered() || !is_anothers(columns, sample, samples);
            let verdict = match found.conditions.row(&at) {
                Some(row) if is_own => Verdict::True(row),
                _ if columns.lacks_a_value(sample) => Verdict::Unknown,
                _ => found.elsewhere(&at),
            };
            self.sample(open, found.rows, sample, placed, verdict);
        }
    }

    /// The same for a rule of several vitals.
    pub(super) fn composed_samples(&mut self, open: &mut OpenEpisodes, entries: &[Entry], found: &Found<'_>) {
        for entry in entries {
            let sample = match entry {
                Entry::Other { record, is_gap } => {
                    self.pass(open, *record, *is_gap);
                    continue;
                }
                Entry::Sample(sample) => sample,
            };
            let at = Place { patient: &self.patient, at: sample.record.recorded_at, row: sample.row };
            let verdict = match found.conditions.row(&at).filter(|_| sample.row.is_some()) {
                Some(row) => Verdict::True(row),
                None if !sample.is_complete => Verdict::Unknown,
                None => found.elsewhere(&at),
            };
            let is_for_itself = matches!(verdict, Verdict::True(_)) && self.rule.header.hold.is_zero();
            if sample.is_alone && !is_for_itself {
                continue;
            }
            if sample.leads {
                self.take_over(open, &sample.stream, sample.record.stamped, &|_| true);
            }
            let (stamped, valid_for) = (sample.record.stamped, sample.valid_for);
            let told = Told { stream: &sample.stream, at: sample.at, stamped, valid_for, is_late: false };
            self.step(open, found.rows, &told, verdict);
        }
    }

    /// A sample that the rule is judged at.
    fn sample(
        &mut self,
        open: &mut OpenEpisodes,
        conditions: &RecordBatch,
        sample: SampleRow,
        placed: Placed,
        verdict: Verdict,
    ) {
        let (lane, valid_for) = match placed {
            Placed::Lane(lane) => (lane, self.rule.valid_for()),
            Placed::Late(lane, until) => {
                let known = TimeDelta::microseconds(until.saturating_sub(sample.at.timestamp_micros()));
                (lane, self.rule.valid_for().min(known))
            }
            // It counts until the next one such may come, and no longer: what is known of later times is known already.
            Placed::Alone(lane) if matches!(verdict, Verdict::True(_)) || self.has_track(sample, lane) => (lane, ALONE),
            Placed::Alone(_) | Placed::Resent | Placed::Gap => return,
        };
        let Some(stream) = self.moment.streams.id(&self.patient, sample, lane) else { return };
        if self.moment.samples.leads(self.set, sample) {
            self.take_over(open, &stream, sample.stamped, &|_| true);
        }
        let let_go = self.moment.samples.let_go(self.set, sample);
        if !let_go.is_empty() {
            self.take_over(open, &stream, sample.stamped, &|known| let_go.contains(&known.lane));
        }
        let is_late = matches!(placed, Placed::Late(..) | Placed::Alone(_));
        let told = Told { stream: &stream, at: sample.at, stamped: sample.stamped, valid_for, is_late };
        self.step(open, conditions, &told, verdict);
    }

    /// Whether the lane of a sample has said something of the episode in hand.
    fn has_track(&self, sample: SampleRow, lane: u32) -> bool {
        let stream = self.moment.streams.id(&self.patient, sample, lane);
        stream.is_some_and(|stream| !self.tracks_where(|known| *known == stream).is_empty())
    }

    /// Has a lane take the place of those of its device that are `over`, when the time until now has passed in them.
    fn take_over(
        &mut self,
        open: &mut OpenEpisodes,
        stream: &StreamId,
        stamped: i64,
        over: &dyn Fn(&StreamId) -> bool,
    ) {
        self.pass_beside(open, stream, stamped);
        if let Some(episode) = &mut self.episode {
            lifecycle::take_over(episode, stream, over);
        }
    }

    /// What a rule says that is judged once per batch.
    pub(super) fn moment(&mut self, open: &mut OpenEpisodes, conditions: &RecordBatch, verdict: Verdict) {
        let at = self.moment.event_now;
        let stamped = at.timestamp_micros();
        let told = Told { stream: &MOMENT, at, stamped, valid_for: self.rule.valid_for(), is_late: false };
        self.step(open, conditions, &told, verdict);
    }

    fn step(&mut self, open: &mut OpenEpisodes, conditions: &RecordBatch, told: &Told<'_>, verdict: Verdict) {
        self.end_stay(open, told.at);
        let suppressor = open.suppressor(self.rule, &self.patient, told.at);
        if let (Some(episode), Some((_, from))) = (&mut self.episode, &suppressor) {
            self.is_told |= lifecycle::freeze(episode, *from, &|_| true);
        }
        self.pass_beside(open, told.stream, told.stamped);
        self.pass_in(open, Some(told.stream), Passed { until: told.at, edge: Edge::Open });
        let row = if let Verdict::True(row) = verdict { row } else { 0 };
        let rule = self.rule;
        let text = || rule.message.as_ref().map_or_else(|| rule.name.clone(), |m| m.render(conditions, row));
        let value = |column: Option<usize>| column.and_then(|column| number(conditions.column(column), row));
        let truth = match verdict {
            Verdict::True(_) => Truth::True(Evidence {
                value: value(rule.measure.value),
                limit: value(rule.measure.limit),
                text: &text,
            }),
            Verdict::Between => Truth::Between,
            Verdict::False => Truth::False,
            Verdict::Unknown => Truth::Unknown,
        };
        let suppressed_by = suppressor.as_ref().map(|(rule, _)| rule.as_str());
        let sample = Sample {
            stream: told.stream,
            at: told.at,
            stamped: told.stamped,
            valid_for: told.valid_for,
            is_late: told.is_late,
            truth,
            suppressed_by,
        };
        self.is_told |= sample.suppressed_by.is_none() && !matches!(sample.truth, Truth::Unknown);
        let before = self.episode.take();
        self.episode = {
            let others = others_passed(rule, &self.patient, self.set, self.moment);
            lifecycle::step(rule, &self.patient, before, &sample, &others, &mut self.events)
        };
        self.record_if_over(open);
    }

    /// A record of the stream that has none of the rule's columns: time has passed. Where it says that there is no value,
    /// the last one does not go on by itself. Where it may be another device's, no track's time passes further than by the
    /// record's stamp.
    fn pass(&mut self, open: &mut OpenEpisodes, sample: SampleRow, is_gap: bool) {
        if self.episode.is_none() {
            return;
        }
        let Some(record) = self.moment.streams.id(&self.patient, sample, 0) else { return };
        if let Some(episode) = self.episode.as_mut().filter(|_| is_gap && self.rule.is_continuous()) {
            let is_of_device = |track: &Track| track.stream.as_ref().is_some_and(|id| id.is_of_device(&record));
            self.is_told |= lifecycle::freeze(episode, sample.at, &is_of_device);
        }
        if let (Some(episode), Some((_, from))) =
            (&mut self.episode, open.suppressor(self.rule, &self.patient, sample.at))
        {
            self.is_told |= lifecycle::freeze(episode, from, &|_| true);
        }
        let nowhere = StreamId { lane: u32::MAX, ..record.clone() };
        self.pass_beside(open, &nowhere, sample.stamped);
        for track in self.tracks_where(|stream| stream.is_of_device(&record)) {
            let (Some(stream), Some(now)) = (&track.stream, track.clock(sample.stamped)) else { continue };
            let until = if sample.tells_time { sample.at } else { sample.at.min(now) };
            self.pass_in(open, Some(stream), Passed { until, edge: Edge::Open });
        }
    }

    /// `stream`: which tracks are meant; `None` are those whose stream is not known.
    pub(super) fn pass_in(&mut self, open: &mut OpenEpisodes, stream: Option<&StreamId>, passed: Passed) {
        let Some(episode) = &mut self.episode else { return };
        {
            let others = others_passed(self.rule, &self.patient, self.set, self.moment);
            let is_track = |track: &Track| track.stream.as_ref() == stream;
            lifecycle::pass(episode, self.rule, &is_track, passed, &others, &mut self.events);
        }
        self.record_if_over(open);
    }

    /// Lets the time pass in the other tracks of a stream's partition that has passed when a record bears a stamp. So it does
    /// not matter where a batch ends.
    fn pass_beside(&mut self, open: &mut OpenEpisodes, stream: &StreamId, stamped: i64) {
        for track in self.tracks_where(|id| id != stream && id.partition == stream.partition) {
            self.pass_by_stamp(open, &track, stamped);
        }
    }

    pub(super) fn tracks_where(&self, is_stream: impl Fn(&StreamId) -> bool) -> Vec<Track> {
        let tracks = self.episode.iter().flat_map(|episode| &episode.tracks);
        tracks.filter(|track| track.stream.as_ref().is_some_and(&is_stream)).cloned().collect()
    }

    /// Lets the time pass in a track that has passed when stamps are at `stamped`, but for what samples may still come of.
    fn pass_by_stamp(&mut self, open: &mut OpenEpisodes, track: &Track, stamped: i64) {
        let now = track.clock(stamped).and_then(|now| now.checked_sub_signed(self.moment.lateness));
        if let Some(until) = now {
            self.pass_in(open, track.stream.as_ref(), Passed { until, edge: Edge::Closed });
        }
    }

    /// Whether time alone may change the episode.
    pub(super) fn is_moved_by_time(&self, episode: &Episode, suppressor: Option<&str>) -> bool {
        let is_silent = |track: &Track| self.moment.clock(track).is_some_and(|now| now >= track.valid_until);
        let falls_silent = || episode.stale_at.is_none() && episode.tracks.iter().all(is_silent);
        let is_technical = self.rule.is_technical();
        is_waiting(episode) || (!is_technical && (episode.suppressed_by.as_deref() != suppressor || falls_silent()))
    }

    /// Lets the time pass that has passed by the batch's end, in each stream. What its records tell of time is told already.
    pub(super) fn let_time_pass(&mut self, open: &mut OpenEpisodes) {
        let tracks: Vec<Track> = self.episode.iter().flat_map(|episode| episode.tracks.clone()).collect();
        for track in tracks {
            let (streams, arrivals) = (self.moment.streams, self.moment.arrivals);
            let stamped = match &track.stream {
                Some(stream) if *stream == *MOMENT => continue, // it is judged at each batch
                Some(stream) => arrivals.of(stream.partition.0).map(|stamped| {
                    let held_up = streams.held_up(&self.patient, stream, stamped);
                    stamped.saturating_sub(held_up.num_microseconds().unwrap_or(0))
                }),
                // Whose it was is not known any more, and who knows when the next sample comes.
                None => streams.reached(&self.patient, arrivals).or_else(|| arrivals.newest()),
            };
            if let Some(stamped) = stamped {
                self.pass_by_stamp(open, &track, stamped);
            }
        }
    }

    /// Hands an episode that is over to the others, and goes on with what is pending elsewhere.
    fn record_if_over(&mut self, open: &mut OpenEpisodes) {
        let Some(mut episode) = self.episode.take() else { return };
        if episode.firing_at.is_some() {
            episode.handling.fired_now.get_or_insert(self.moment.now);
        }
        if episode.state.is_live() {
            self.episode = Some(episode);
            return;
        }
        let events = std::mem::take(&mut self.events);
        if episode.state == State::Dropped {
            self.episode = lifecycle::succeed(&episode, self.rule, &mut self.events);
        }
        open.record(Arc::new(episode), events);
    }

    /// Puts the episode back.
    pub(super) fn end(self, open: &mut OpenEpisodes) {
        let Some(episode) = self.episode else { return };
        let is_changed = self.is_told || !self.events.is_empty();
        let episode = Arc::new(episode);
        match is_changed {
            true => open.record(episode, self.events),
            false => open.put(episode),
        }
    }
}

/// Whether the patient's other streams, which an episode may have no track of, have come to a time of a track's clock.
fn others_passed<'a>(
    rule: &'a Rule,
    patient: &'a str,
    set: SetId,
    moment: &'a Moment<'_>,
) -> impl Fn(&Track, DateTime<Utc>) -> bool + 'a {
    move |track, at| {
        let Some(stream) = track.stream.as_ref().filter(|stream| **stream != *MOMENT) else { return true };
        let Some(until) = at.checked_add_signed(track.delay) else { return true };
        let others = Others { patient, set, than: stream, valid_for: rule.valid_for() };
        !moment.streams.lag(&others, until.timestamp_micros(), moment.arrivals)
    }
}

/// What a rule gave on a batch, by samples.
pub(super) struct Found<'a> {
    pub(super) rows: &'a RecordBatch,
    pub(super) conditions: &'a Conditions<'a>,
    pub(super) clear: Option<&'a Conditions<'a>>,
    pub(super) elsewhere: Elsewhere,
}

impl Found<'_> {
    /// What is said of a place at which the condition is not among those that are true.
    pub(super) fn elsewhere(&self, at: &Place<'_>) -> Verdict {
        match (self.elsewhere, self.clear) {
            (Elsewhere::Unknown, _) => Verdict::Unknown,
            (Elsewhere::False, Some(clear)) if clear.row(at).is_none() => Verdict::Between,
            (Elsewhere::False, _) => Verdict::False,
        }
    }
}

/// When and where something is said of a condition.
struct Told<'a> {
    stream: &'a StreamId,
    at: DateTime<Utc>,
    stamped: i64,
    valid_for: TimeDelta,
    is_late: bool,
}

/// Whether the truth at this sample's time is another's: records with one vital each share their times.
fn is_anothers(columns: &ColumnSet, sample: SampleRow, samples: &[SampleRow]) -> bool {
    let lacks = |sample: SampleRow| columns.lacks_a_value(sample);
    lacks(sample) && samples.iter().any(|other| other.recorded_at == sample.recorded_at && !lacks(*other))
}

/// What a rule says of a sample.
pub(super) enum Verdict {
    /// It is true, by this row.
    True(usize),
    Between,
    False,
    Unknown,
}
