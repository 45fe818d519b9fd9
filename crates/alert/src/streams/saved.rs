//! Streams as bytes, as a snapshot keeps them: numbers in little-endian order, texts and lists behind their length.
//!
//! Reading never fails in part: bytes that are no such snapshot, or are of another shape, give nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::lane::{Lane, Run};
use super::lanes::Lanes;
use super::levels::Levels;
use super::pace::Pace;
use super::seen::{Seen, Spans, Stretch};
use super::state::{CaughtUp, Patient, Streams};
use super::stream::HeldUp;
use super::{ColumnSet, LastValue, Shape, Step, Stream};
use crate::map::HashMap;

/// The form of the bytes. Another one is read as nothing, and what it held is found out from the records again.
const FORM: u8 = 13;

impl Streams {
    /// Everything that is known, as bytes.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let mut to = vec![FORM];
        text(&mut to, self.shape.device.as_deref().unwrap_or_default());
        for names in [&self.shape.values, &self.shape.columns] {
            list(&mut to, names, |to, name| text(to, name));
        }
        list(&mut to, &self.shape.sets, |to, set| {
            list(to, set.vital_columns(), |to, of| list(to, of, |to, name| text(to, name)));
        });
        list(&mut to, &self.reached.iter().collect::<Vec<_>>(), |to, (partition, at)| {
            to.extend(partition.to_le_bytes());
            number(to, **at);
        });
        list(&mut to, &self.caught_up.iter().collect::<Vec<_>>(), |to, (partition, known)| {
            to.extend(partition.to_le_bytes());
            number(to, known.at);
            number(to, known.waited);
        });
        for patients in [&self.patients, &self.parted] {
            list(&mut to, &patients.iter().collect::<Vec<_>>(), |to, (name, patient)| {
                text(to, name);
                list(to, &patient.streams, stream);
            });
        }
        to
    }

    /// What `bytes` hold, for rules that may be others by now: of what they were not judged on, nothing is known. `None` where
    /// records are told apart in another way.
    #[must_use]
    pub fn restore(shape: Shape, bytes: &[u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        if from.take::<1>()? != [FORM] {
            return None;
        }
        let saved = from.shape()?;
        if (&saved.device, &saved.values) != (&shape.device, &shape.values) {
            return None;
        }
        let reached: BTreeMap<i32, i64> =
            from.list(|from| Some((i32::from_le_bytes(from.take()?), from.number()?)))?.into_iter().collect();
        let caught_up = from.list(|from| {
            let partition = i32::from_le_bytes(from.take()?);
            Some((partition, CaughtUp { at: from.number()?, waited: from.number()? }))
        })?;
        let caught_up: BTreeMap<i32, CaughtUp> = caught_up.into_iter().collect();
        let (patients, parted) = (from.patients(&saved)?, from.patients(&saved)?);
        let shape_of_then = Arc::new(saved);
        let mut streams = from.0.is_empty().then(|| Self {
            shape: shape_of_then,
            patients,
            parted,
            reached,
            caught_up,
            ..Self::default()
        })?;
        streams.reshape(shape);
        Some(streams)
    }
}

fn stream(to: &mut Vec<u8>, stream: &Stream) {
    to.extend(stream.partition.to_le_bytes());
    text(to, &stream.device);
    number(to, stream.newest);
    number(to, stream.stamped);
    to.extend(stream.records.to_le_bytes());
    list(to, &stream.columns, |to, last| {
        number(to, last.at);
        number(to, last.stamped);
    });
    list(to, &stream.sets, |to, lanes| {
        to.extend(lanes.next.to_le_bytes());
        run(to, lanes.lead);
        run(to, lanes.apart);
        list(to, &lanes.pauses, span);
        list(to, &lanes.spans.0, span);
        to.extend(lanes.sampled.unwrap_or(0).to_le_bytes());
        to.push(u8::from(lanes.is_in_each));
        number(to, lanes.levels.at);
        [lanes.levels.here, lanes.levels.there].iter().for_each(|value| level(to, *value));
        to.extend([lanes.levels.jumps, lanes.levels.stays, lanes.levels.longer, lanes.levels.twice]);
        span(to, &(lanes.levels.twice_at, lanes.levels.before));
        [lanes.levels.pair.0, lanes.levels.pair.1].iter().for_each(|value| level(to, Some(*value)));
        let all: Vec<&Lane> = lanes.first.iter().chain(&lanes.others).collect();
        list(to, &all, |to, known| lane(to, known));
    });
    list(to, &stream.seen.stretches.iter().collect::<Vec<_>>(), |to, stretch| {
        span(to, &(stretch.from, stretch.until));
        list(to, &stretch.hashes, |to, hash| to.extend(hash.to_le_bytes()));
    });
    list(to, &stream.seen.past.0, span);
    list(to, stream.stepped.as_slice(), |to, step| {
        number(to, step.by);
        number(to, step.stamped);
    });
    to.push(stream.hurried);
    let Pace { columns, from, reached, told, last, stood } = stream.pace;
    to.extend(columns.to_le_bytes());
    [from, reached, told, last].iter().for_each(|value| number(to, *value));
    to.extend([stood, stream.alone]);
    stream.held_up.0.iter().for_each(|held_up| span(to, held_up));
}

fn span(to: &mut Vec<u8>, (from, until): &(i64, i64)) {
    number(to, *from);
    number(to, *until);
}

fn lane(to: &mut Vec<u8>, lane: &Lane) {
    to.extend(lane.id.to_le_bytes());
    [lane.newest, lane.stamped, lane.delay, lane.since].iter().for_each(|value| number(to, *value));
    run(to, lane.run);
    to.extend(lane.samples.to_le_bytes());
    to.push(u8::from(lane.is_certain));
    to.push(u8::from(lane.is_known_span));
    to.push(u8::from(lane.is_left));
    to.push(lane.paced);
    level(to, lane.level);
    to.push(u8::from(lane.is_clock));
    to.push(u8::from(lane.is_kept));
}

fn level(to: &mut Vec<u8>, value: Option<f64>) {
    to.extend(value.unwrap_or(f64::NAN).to_le_bytes());
}

fn run(to: &mut Vec<u8>, run: Run) {
    number(to, run.at);
    number(to, run.stamped);
    to.extend(run.samples.to_le_bytes());
}

pub(crate) fn number(to: &mut Vec<u8>, value: i64) {
    to.extend(value.to_le_bytes());
}

pub(crate) fn text(to: &mut Vec<u8>, text: &str) {
    length(to, text.len());
    to.extend(text.as_bytes());
}

pub(crate) fn list<T>(to: &mut Vec<u8>, items: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
    length(to, items.len());
    items.iter().for_each(|item| write(to, item));
}

fn length(to: &mut Vec<u8>, length: usize) {
    to.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

/// What is left to be read.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    fn texts(&mut self) -> Option<Vec<String>> {
        self.list(|from| from.text().map(|text| text.as_ref().to_owned()))
    }

    fn shape(&mut self) -> Option<Shape> {
        let device = Some(self.text()?.as_ref().to_owned()).filter(|name| !name.is_empty());
        let (values, columns) = (self.texts()?, self.texts()?);
        let sets = self.list(|from| from.list(Self::texts))?;
        let sets = sets.into_iter().map(|vitals| ColumnSet::of(&vitals.concat(), &columns)).collect();
        Some(Shape { device, values, columns, sets })
    }

    pub(crate) fn number(&mut self) -> Option<i64> {
        self.take().map(i64::from_le_bytes)
    }

    pub(crate) fn count(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn span(&mut self) -> Option<(i64, i64)> {
        Some((self.number()?, self.number()?))
    }

    pub(crate) fn truth(&mut self) -> Option<bool> {
        self.take::<1>().map(|byte| byte != [0])
    }

    pub(crate) fn text(&mut self) -> Option<Arc<str>> {
        let length = self.count()? as usize;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok().map(Arc::from)
    }

    pub(crate) fn list<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        (0..self.count()?).map(|_| read(self)).collect()
    }

    fn patients(&mut self, shape: &Shape) -> Option<HashMap<Arc<str>, Patient>> {
        let patient =
            |from: &mut Self| Some((from.text()?, Patient { streams: from.list(|from| from.stream(shape))? }));
        Some(self.list(patient)?.into_iter().collect())
    }

    fn stream(&mut self, shape: &Shape) -> Option<Stream> {
        let (partition, device) = (i32::from_le_bytes(self.take()?), self.text()?);
        let (newest, stamped) = (self.number()?, self.number()?);
        let count = u64::from_le_bytes(self.take()?);
        let columns = self.list(|from| Some(LastValue { at: from.number()?, stamped: from.number()? }))?;
        let sets = self.list(Self::lanes)?;
        let stretches = self.list(|from| {
            let (start, until) = from.span()?;
            Some(Stretch { from: start, until, hashes: from.list(Self::count)? })
        })?;
        let past = Spans(self.list(Self::span)?);
        let stepped = self.list(|from| Some(Step { by: from.number()?, stamped: from.number()? }))?;
        let [hurried] = self.take::<1>()?;
        let columns_now = u128::from_le_bytes(self.take()?);
        let [start, reached, told, last] = [self.number()?, self.number()?, self.number()?, self.number()?];
        let [stood, alone] = self.take::<2>()?;
        let held_up = HeldUp([self.span()?, self.span()?, self.span()?, self.span()?]);
        let pace = Pace { columns: columns_now, from: start, reached, told, last, stood };
        let fits = columns.len() == shape.columns.len() && sets.len() == shape.sets.len();
        fits.then(|| Stream {
            partition,
            device,
            newest,
            stamped,
            records: count,
            columns,
            sets,
            seen: Seen { stretches: stretches.into(), past },
            stepped: stepped.first().copied(),
            hurried,
            pace,
            alone,
            held_up,
        })
    }

    fn lanes(&mut self) -> Option<Lanes> {
        let (next, lead, apart) = (self.count()?, self.run()?, self.run()?);
        let (pauses, spans) = (self.list(Self::span)?, Spans(self.list(Self::span)?));
        let sampled = Some(u64::from_le_bytes(self.take()?)).filter(|record| *record > 0);
        let is_in_each = self.truth()?;
        let (at, here, there) = (self.number()?, self.level()?, self.level()?);
        let [jumps, stays, longer, twice] = self.take::<4>()?;
        let (twice_at, before) = self.span()?;
        let pair = (f64::from_le_bytes(self.take()?), f64::from_le_bytes(self.take()?));
        let levels = Levels { at, here, there, jumps, stays, longer, twice, twice_at, pair, before };
        let mut all = self.list(Self::lane)?.into_iter();
        let (first, others) = (all.next(), all.collect());
        Some(Lanes { first, others, next, lead, pauses, sampled, is_in_each, levels, apart, spans })
    }

    fn lane(&mut self) -> Option<Lane> {
        let id = self.count()?;
        let (newest, stamped, delay, since) = (self.number()?, self.number()?, self.number()?, self.number()?);
        let (run, samples) = (self.run()?, self.count()?);
        let (is_certain, is_known_span, is_left) = (self.truth()?, self.truth()?, self.truth()?);
        let [paced] = self.take::<1>()?;
        let (level, is_clock, is_kept) = (self.level()?, self.truth()?, self.truth()?);
        Some(Lane {
            id,
            newest,
            stamped,
            delay,
            since,
            run,
            samples,
            is_certain,
            is_known_span,
            is_left,
            paced,
            level,
            is_clock,
            is_kept,
        })
    }

    /// Not a number stands for none.
    fn level(&mut self) -> Option<Option<f64>> {
        self.take().map(f64::from_le_bytes).map(|value| Some(value).filter(|value| !value.is_nan()))
    }

    fn run(&mut self) -> Option<Run> {
        Some(Run { at: self.number()?, stamped: self.number()?, samples: self.count()? })
    }
}
