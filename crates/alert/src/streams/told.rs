//! What streams tell: until when each vital is known, how clocks stand, who has fallen silent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use wardwatch_model::terms::Partition;

use super::id::StreamId;
use super::samples::Samples;
use super::state::{Patient, Streams};
use super::{CLOCK_TOLERANCE, Placed, SetId, Step, Stream};

impl Streams {
    /// The streams of the patient whose last sample of a set was at this time, and how far their clocks lie behind stamps.
    pub(crate) fn found_at(&self, patient: &str, set: SetId, at: DateTime<Utc>) -> Vec<(StreamId, TimeDelta)> {
        let at = at.timestamp_micros();
        let streams = self.patients.get(patient).map_or(&[][..], |known| &known.streams);
        let of = |stream: &Stream| -> Vec<(StreamId, TimeDelta)> {
            let lanes = stream.sets.get(set.0).into_iter().flat_map(|lanes| lanes.first.iter().chain(&lanes.others));
            let partition = Partition(stream.partition);
            let id = |lane: u32| StreamId { partition, device: Arc::clone(&stream.device), lane };
            let found = lanes.filter(|lane| lane.is_certain && lane.newest == at);
            found.map(|lane| (id(lane.id), TimeDelta::microseconds(lane.delay))).collect()
        };
        streams.iter().flat_map(of).collect()
    }

    /// Whether each vital of a set has had a value of this patient less than `within` before its partition's `arrivals`;
    /// of a set without vitals, whether there was a record.
    pub(crate) fn are_known(&self, patient: &str, set: SetId, arrivals: &Arrivals, within: TimeDelta) -> bool {
        let Some(patient) = self.patients.get(patient) else { return false };
        let within = within.num_microseconds().unwrap_or(i64::MAX);
        let is_recent = |stream: &Stream, stamped: i64| {
            stamped > i64::MIN && arrivals.of(stream.partition).is_some_and(|now| now.saturating_sub(stamped) < within)
        };
        let set = &self.shape.sets[set.0];
        if set.vitals.is_empty() {
            return patient.streams.iter().any(|stream| is_recent(stream, stream.stamped));
        }
        set.masks.iter().all(|mask| {
            patient
                .streams
                .iter()
                .any(|stream| stream.newest_of(*mask).is_some_and(|last| is_recent(stream, last.stamped)))
        })
    }

    /// Whether one of `others` that still brings samples has not come to `until` yet, which is on the axis of stamps.
    pub(crate) fn lag(&self, others: &Others<'_>, until: i64, arrivals: &Arrivals) -> bool {
        let Some(patient) = self.patients.get(others.patient) else { return false };
        let valid = others.valid_for.num_microseconds().unwrap_or(i64::MAX);
        let mask = self.shape.sets[others.set.0].mask;
        let than = others.than;
        let is_other = |stream: &&Stream| stream.partition != than.partition.0 || stream.device != than.device;
        patient.streams.iter().filter(is_other).any(|stream| {
            let last = if mask == 0 { Some(stream.stamped) } else { stream.newest_of(mask).map(|last| last.stamped) };
            let Some((last, now)) = last.zip(arrivals.of(stream.partition)) else { return false };
            last > i64::MIN && now.saturating_sub(last) < valid && now < until
        })
    }

    /// How far all partitions have got, by stamps, in which a patient has streams, but for what is held up as a rule; `None` of whom
    /// nothing is known.
    pub(crate) fn reached(&self, patient: &str, arrivals: &Arrivals) -> Option<i64> {
        let streams = &self.patients.get(patient)?.streams;
        let of = |stream: &Stream| {
            let stamped = arrivals.of(stream.partition)?;
            Some(stamped.saturating_sub(stream.held_up_at(stamped)))
        };
        streams.iter().filter_map(of).min()
    }

    /// For how long the records of a stream are held up as a rule before they are sent together: so much longer a sample may be on its
    /// way. What is put together of several streams waits for each of the partition.
    pub(crate) fn held_up(&self, patient: &str, id: &StreamId, stamped: i64) -> TimeDelta {
        let streams = self.patients.get(patient).map(|known| known.streams.as_slice()).unwrap_or_default();
        let of_partition = || streams.iter().filter(|stream| stream.partition == id.partition.0);
        let own = of_partition().find(|stream| stream.device == id.device);
        let held_up = match own {
            Some(own) => own.held_up_at(stamped),
            None => of_partition().map(|stream| stream.held_up_at(stamped)).max().unwrap_or(0),
        };
        TimeDelta::microseconds(held_up)
    }

    /// When the samples were measured whose device's clock is known to differ from the ward's, which lies `behind` stamps, or that
    /// come late as a rule: the rows of the batch, each with its time by the ward's clock; all in microseconds. Who lay where then,
    /// and which limits held, people have told by that one.
    pub fn told_by_other_clocks(&self, samples: &Samples, behind: i64) -> impl Iterator<Item = (usize, i64)> {
        let any = self.shape.set(&[]);
        samples.patients().iter().flat_map(move |(patient, rows)| {
            let streams = self.patients.get(patient).map_or(&[][..], |known| &known.streams);
            rows.iter().filter_map(move |sample| {
                let set = any?;
                let lane = match samples.place(set, *sample) {
                    Placed::Lane(lane) | Placed::Late(lane, _) => lane,
                    Placed::Alone(_) | Placed::Resent | Placed::Gap => return None,
                };
                let delay = streams.get(sample.stream)?.sets.get(set.0)?.clock(lane)?;
                let differs = delay.saturating_sub(behind);
                (differs.abs() > CLOCK_TOLERANCE)
                    .then(|| (sample.row, sample.at.timestamp_micros().saturating_add(differs)))
            })
        })
    }

    /// Whether each of a rule's vitals has ever had a value of this patient.
    #[must_use]
    pub fn has_had(&self, patient: &str, vitals: &[String]) -> bool {
        let Some((known, set)) = self.patients.get(patient).zip(self.shape.set(vitals)) else { return false };
        let set = &self.shape.sets[set.0];
        set.masks.iter().all(|mask| known.streams.iter().any(|stream| stream.newest_of(*mask).is_some()))
    }

    /// How many patients there are.
    #[must_use]
    pub fn patients(&self) -> usize {
        self.patients.len()
    }

    /// The newest event time at which a column had a value of this patient.
    #[must_use]
    pub fn last_value(&self, patient: &str, column: &str) -> Option<DateTime<Utc>> {
        let index = self.shape.columns.iter().position(|name| name == column)?;
        let streams = &self.patients.get(patient)?.streams;
        let newest = streams.iter().map(|stream| stream.columns[index].at).max()?;
        DateTime::from_timestamp_micros(newest)
    }

    /// Whether any value of the patient counts still by their partitions' `arrivals`, where one of a column does for `valid_for`.
    #[must_use]
    pub fn has_valid_value(&self, patient: &str, arrivals: &Arrivals, valid_for: &dyn Fn(&str) -> Duration) -> bool {
        let Some(patient) = self.patients.get(patient) else { return false };
        self.shape.columns.iter().enumerate().any(|(place, column)| {
            let valid_for = i64::try_from(valid_for(column).as_micros()).unwrap_or(i64::MAX);
            patient.streams.iter().any(|stream| {
                let last = stream.columns[place].stamped;
                let now = arrivals.of(stream.partition).filter(|_| last > i64::MIN);
                now.is_some_and(|now| now.saturating_sub(last) < valid_for)
            })
        })
    }

    /// The stamp of the patient's newest record.
    #[must_use]
    pub fn stamped_at(&self, patient: &str) -> Option<DateTime<Utc>> {
        let stamped = self.patients.get(patient)?.streams.iter().map(|stream| stream.stamped).max()?;
        DateTime::from_timestamp_micros(stamped)
    }

    /// How long ago, in seconds, the last record of a patient came and the last value of each of `columns`, by Kafka's stamps.
    /// Of streams of other partitions than its own nothing
    /// is told. `None` where stamps do not tell: records are not sent as they are measured, or nothing is known of the column.
    ///
    /// A device whose clock is behind is not silent, and one whose clock is ahead may be.
    pub fn ages<'a, F: Fn(Partition) -> bool + 'a>(
        &'a self,
        columns: &[&str],
        arrivals: &'a Arrivals,
        is_own: F,
    ) -> impl Fn(&str) -> Option<(f64, Vec<Option<f64>>)> + use<'a, F> {
        let places: Vec<Option<usize>> =
            columns.iter().map(|name| self.shape.columns.iter().position(|known| known == name)).collect();
        move |patient| {
            let streams = self.patients.get(patient)?.streams.iter();
            let streams: Vec<&Stream> = streams.filter(|stream| is_own(Partition(stream.partition))).collect();
            let keeps_pace =
                |stream: &&Stream| stream.sets.first().is_some_and(|of_any| of_any.delays(stream.stamped).is_some());
            if !streams.iter().all(keeps_pace) {
                return None;
            }
            let age = |stamp: &dyn Fn(&Stream) -> i64| {
                let ages = streams.iter().filter_map(|stream| {
                    let last = stamp(stream);
                    let now = arrivals.of(stream.partition).filter(|_| last > i64::MIN)?;
                    Some(now.saturating_sub(last))
                });
                #[allow(clippy::cast_precision_loss, reason = "an age, which is far below what a double holds exactly")]
                ages.min().map(|micros| micros.max(0) as f64 / 1e6)
            };
            let of_column = |place: usize| age(&|stream| stream.columns[place].stamped);
            Some((age(&|stream| stream.stamped)?, places.iter().map(|place| place.and_then(of_column)).collect()))
        }
    }

    /// Whether the patient has had a record.
    #[must_use]
    pub fn knows(&self, patient: &str) -> bool {
        self.patients.contains_key(patient)
    }

    /// Whether a monitor has sent a record of the patient.
    #[must_use]
    pub fn is_monitored(&self, patient: &str) -> bool {
        let is_own = |stream: &Stream| !self.of_others.contains(&stream.partition);
        self.patients.get(patient).is_some_and(|known| known.streams.iter().any(is_own))
    }

    /// The patients of whom nothing has come for `after`, by the partitions' `arrivals`; those silent for longest come first.
    #[must_use]
    pub fn silent_for(&self, after: TimeDelta, arrivals: &Arrivals) -> Vec<Arc<str>> {
        let after = after.num_microseconds().unwrap_or(i64::MAX);
        let is_silent = |stream: &Stream| {
            arrivals.of(stream.partition).is_some_and(|now| now.saturating_sub(stream.stamped) >= after)
        };
        let silent = self.patients.iter().filter(|(_, patient)| patient.streams.iter().all(is_silent));
        let last = |patient: &Patient| patient.streams.iter().map(|stream| stream.stamped).max();
        let mut silent: Vec<_> = silent.map(|(name, patient)| (last(patient), Arc::clone(name))).collect();
        silent.sort();
        silent.into_iter().map(|(_, name)| name).collect()
    }

    /// How far each partition has got on the axis of stamps: its newest, and the time that has passed since where nothing
    /// waits to be read: from when it was read, and what it had waited before.
    #[must_use]
    pub fn arrivals(&self, silences: &BTreeMap<Partition, TimeDelta>) -> Arrivals {
        let silence =
            |partition: i32| silences.get(&Partition(partition)).and_then(TimeDelta::num_microseconds).unwrap_or(0);
        let waited = |partition: &i32| match silences.contains_key(&Partition(*partition)) {
            true => self.caught_up.get(partition).map_or(0, |known| known.waited),
            false => 0,
        };
        let arrived = |(partition, at): (&i32, &i64)| {
            (*partition, at.saturating_add(silence(*partition)).saturating_add(waited(partition)))
        };
        Arrivals(self.reached.iter().map(arrived).collect())
    }

    /// How the clocks of each stream stand.
    pub fn clocks(&self) -> impl Iterator<Item = Clock<'_>> {
        let any = self.shape.set(&[]).map_or(0, |set| set.0);
        self.patients.iter().flat_map(move |(patient, known)| {
            let own = known.streams.iter().filter(|stream| !self.of_others.contains(&stream.partition));
            own.filter_map(move |stream| {
                let lanes = stream.sets.get(any)?;
                let (least, most) = match stream.device.is_empty() {
                    true => lanes.delays(stream.stamped)?,
                    false => lanes.last_delay(stream.stamped).map(|delay| (delay, delay))?,
                };
                Some(Clock {
                    patient,
                    device: &stream.device,
                    partition: Partition(stream.partition),
                    delays: [least, most],
                    stepped: stream.stepped,
                    stamped: stream.stamped,
                    stood_for: stream.pace.stood_for(stream.stamped),
                })
            })
        })
    }

    /// The newest event time of a patient's records.
    #[must_use]
    pub fn newest(&self, patient: &str) -> Option<DateTime<Utc>> {
        let newest = self.patients.get(patient)?.streams.iter().map(|stream| stream.newest).max()?;
        DateTime::from_timestamp_micros(newest)
    }

    /// The patients, each with the partition that had its last record.
    pub fn partitions(&self) -> impl Iterator<Item = (&Arc<str>, Partition)> {
        self.patients.iter().filter_map(|(patient, known)| {
            let last = known.streams.iter().max_by_key(|stream| stream.stamped)?;
            Some((patient, Partition(last.partition)))
        })
    }

    /// Until when a set of columns is known of each patient: see [`Known`]. `valid_for` tells how long a value of a column is
    /// valid.
    pub fn known<'a>(
        &'a self,
        set: SetId,
        needs: Needs,
        valid_for: &dyn Fn(&str) -> Duration,
    ) -> impl Iterator<Item = Known<'a>> {
        let columns = &self.shape.sets[set.0];
        let micros = |column: &str| i64::try_from(valid_for(column).as_micros()).unwrap_or(i64::MAX);
        let vitals: Vec<(u128, &str, i64)> =
            columns.masks.iter().zip(columns.vitals()).map(|(mask, column)| (*mask, column, micros(column))).collect();
        self.patients.iter().filter_map(move |(patient, known)| {
            let of = |(mask, column, valid_for): &(u128, &'a str, i64)| {
                let newest =
                    known.streams.iter().filter_map(|stream| Some((stream.newest_of(*mask)?, stream.partition)));
                let (last, partition) = newest.max_by_key(|(last, _)| last.stamped)?;
                let (at, partition) = (DateTime::from_timestamp_micros(last.at)?, Partition(partition));
                Some(Known { patient, column, at, stamped: last.stamped, valid_for: *valid_for, partition })
            };
            let expires = |known: &Known<'a>| known.stamped.saturating_add(known.valid_for);
            let mut found = vitals.iter().map(of);
            match needs {
                Needs::Any => found.flatten().max_by_key(expires),
                Needs::All => {
                    let first = found.next()??;
                    found.try_fold(first, |first, next| {
                        next.map(|next| if expires(&next) < expires(&first) { next } else { first })
                    })
                }
            }
        })
    }
}

/// How the clocks of a stream stand against Kafka's stamps: more than one where the job cannot tell devices apart.
#[derive(Debug, Clone, Copy)]
pub struct Clock<'a> {
    /// The patient.
    pub patient: &'a Arc<str>,
    /// The device; empty where the job names none.
    pub device: &'a Arc<str>,
    /// The partition.
    pub partition: Partition,
    /// How far event times lie behind stamps, in microseconds: the least and the most of its lanes. Below zero they are ahead.
    pub delays: [i64; 2],
    /// The last time that it was set.
    pub stepped: Option<Step>,
    /// The stamp of the newest record.
    pub stamped: i64,
    /// For how long its event times have stood still, in microseconds, where they do.
    pub stood_for: Option<i64>,
}

/// Of which columns of a set a value must be valid for it to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Of all; a set of which some column never had a value is not told of.
    All,
    /// Of one.
    Any,
}

/// Until when a set of columns is known of a patient: the newest value of the column whose value expires first or, where one is
/// enough, last.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The patient.
    pub patient: &'a Arc<str>,
    /// The column.
    pub column: &'a str,
    /// The event time of that value.
    pub at: DateTime<Utc>,
    /// Its stamp.
    pub stamped: i64,
    /// How long it is valid, in microseconds.
    pub valid_for: i64,
    /// Its partition.
    pub partition: Partition,
}

/// The other streams of a patient.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Others<'a> {
    pub(crate) patient: &'a str,
    /// Of which samples they are asked.
    pub(crate) set: SetId,
    /// All but those of this one's device.
    pub(crate) than: &'a StreamId,
    /// A stream without a sample for so long is not waited for.
    pub(crate) valid_for: TimeDelta,
}

/// How far each partition has got on the axis of stamps, in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arrivals(pub(super) BTreeMap<i32, i64>);

impl Arrivals {
    /// How far a partition has got; `None` where nothing has come.
    #[must_use]
    pub fn of(&self, partition: i32) -> Option<i64> {
        self.0.get(&partition).copied()
    }

    /// How far the partition that is furthest has got.
    #[must_use]
    pub fn newest(&self) -> Option<i64> {
        self.0.values().max().copied()
    }
}
