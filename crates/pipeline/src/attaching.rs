//! Whose the records of a batch are, and who is let go of with it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use chrono::{DateTime, TimeDelta, Utc};
use tracing::{info, warn};

use wardwatch_alert::{Arrivals, OpenEpisodes, Wards};
use wardwatch_config::marker;
use wardwatch_frame::{Attached, Keyed, attach, patient};
use wardwatch_ingest::decode::{EncounterRecord, frame_schema};
use wardwatch_model::encounter::{Encounters, Journal, Presence, Request, Version};
use wardwatch_model::record::Unattached;
use wardwatch_model::terms::BatchId;
use wardwatch_store::{AskedEncounter, AttachedLater, EncounterAnswer, Store, StoreError, WaitingRow};

use super::leaving::Leaving;
use super::memory::Memory;
use super::plan::Plan;
use super::waiting::{WaitedRows, Waiting};

/// Once in so many batches it is looked for patients of whom nothing has come for long; the batch's number says when, so that a
/// replay looks with the same batches.
const LOOK_EVERY: u64 = 64;

/// A patient who makes room for another has been silent for so long at least.
const IDLE_AT_LEAST: TimeDelta = TimeDelta::hours(1);

/// Of what has sent no record that is nobody's for so long, it is told no more.
const NOBODYS_SILENCE: TimeDelta = TimeDelta::minutes(1);

/// The encounters that the job goes by.
#[derive(Debug)]
pub(super) struct Attaching {
    keyed: Keyed,
    journal: Journal,
    encounters: Encounters,
    /// As of which version, and until when, it was looked who has left.
    looked: Option<(Version, DateTime<Utc>)>,
    /// What became of requests that the next batch writes down.
    answers: Vec<EncounterAnswer>,
    /// What sends records that are nobody's.
    nobody: Nobody,
    /// Rows that were nobody's and are somebody's now.
    waiting: Waiting,
}

/// So many devices that are nobody's are named.
const MOST_NAMED: usize = 5;

/// What is told of a patient who has left and of whom records come.
const STILL_SENDS: &str = "records still come though the patient has left; they are not judged";

/// The devices whose records are nobody's, each with the event time of the newest. Where records name patients: those who had left.
#[derive(Debug, Default)]
struct Nobody(BTreeMap<String, DateTime<Utc>>);

/// The places that waited, each with whose it is: of rows whose key names the patient now, and of which these are the first.
pub(super) fn attached_later(places: Vec<WaitingRow>, rows: &RecordBatch, key: &str) -> Vec<AttachedLater> {
    let patients = rows[key].as_string_view();
    let of = |(row, place): (usize, WaitingRow)| AttachedLater { row: place, patient: patients.value(row).to_owned() };
    places.into_iter().enumerate().map(of).collect()
}

impl Attaching {
    /// Goes on from the requests that were applied.
    pub(super) fn new(plan: &Plan, applied: Vec<(Version, Request)>) -> Self {
        let journal = Journal::new(applied);
        let mut attaching = Self { journal, ..Self::nothing_applied(plan) };
        attaching.bring(attaching.journal.last());
        attaching
    }

    /// Knows these requests as applied; which of them count, [`Attaching::bring`] says.
    pub(super) fn know(&mut self, applied: Vec<(Version, Request)>) {
        self.journal = Journal::new(applied);
    }

    fn nothing_applied(plan: &Plan) -> Self {
        Self {
            keyed: if plan.job.source.attach.is_some() { Keyed::ByDevice } else { Keyed::ByPatient },
            journal: Journal::default(),
            encounters: Encounters::default(),
            looked: None,
            answers: Vec::new(),
            nobody: Nobody::default(),
            waiting: Waiting::new(frame_schema(&plan.job.source.frame), &plan.topics),
        }
    }

    /// Brings the encounters up to the version that a batch saw.
    pub(super) fn bring(&mut self, version: Version) {
        self.journal.bring(&mut self.encounters, version);
    }

    /// Applies requests, from the next batch on; that one writes down what became of them.
    pub(super) fn apply(&mut self, asked: Vec<AskedEncounter>) {
        for AskedEncounter { id, request } in asked {
            let at = request.as_ref().ok().map(|request| request.at);
            let outcome = request.and_then(|request| self.apply_one(request));
            self.answer(EncounterAnswer { id, at, outcome, new: None });
        }
    }

    /// Applies what records of a batch say, with that batch, which writes it down too.
    pub(super) fn apply_records(&mut self, records: &[EncounterRecord]) {
        for EncounterRecord { request, stamped_at, .. } in records {
            if self.journal.has(&request.id) {
                info!(request = %request.id, "an encounter that was applied has come again");
                continue;
            }
            let outcome = self.apply_one(request.clone());
            let new = Some((request.clone(), *stamped_at));
            self.answer(EncounterAnswer { id: request.id.clone(), at: Some(request.at), outcome, new });
        }
    }

    fn apply_one(&mut self, request: Request) -> Result<(Version, String), String> {
        let remark = self.encounters.apply(&request)?;
        let version = self.encounters.version();
        self.waiting.look_for(match self.keyed {
            Keyed::ByDevice => &request.given.device,
            Keyed::ByPatient => &request.patient,
        });
        self.journal.push(version, request);
        Ok((version, remark))
    }

    fn answer(&mut self, answer: EncounterAnswer) {
        let id = &answer.id;
        match &answer.outcome {
            Ok((version, _)) => info!(request = %id, %version, "encounter applied"),
            Err(_) => warn!(request = %id, "encounter refused; `wardwatch encounters history` tells why"),
        }
        self.answers.push(answer);
    }

    /// Reads the rows that waited in `unattached` and that the next batch takes, because they are somebody's now; people are told how
    /// many.
    ///
    /// Errors: the store does not answer; it can be asked again then.
    pub(super) fn read_waiting(&mut self, store: &mut Store) -> Result<(), StoreError> {
        if self.encounters.is_empty() {
            return Ok(());
        }
        let (keyed, encounters) = (self.keyed, &self.encounters);
        let is_spoken_of = |name: &str| match keyed {
            Keyed::ByDevice => encounters.speaks_of_device(name),
            Keyed::ByPatient => encounters.details(name).is_some(),
        };
        let is_somebodys = |device: &str, at| patient(device, at, keyed, encounters).is_some();
        let found = self.waiting.read(store, &is_spoken_of, &is_somebodys)?;
        for answer in &mut self.answers {
            let Ok((version, remark)) = &mut answer.outcome else { continue };
            let Some(request) = self.journal.request(*version) else { continue };
            let is_theirs = |device: &str, at| patient(device, at, keyed, encounters) == Some(&request.patient);
            let theirs = found.iter().filter(|row| is_theirs(&row.device, row.event_time)).count();
            if theirs > 0 {
                let separator = if remark.is_empty() { "" } else { "; " };
                remark.push_str(&format!("{separator}{theirs} records that waited are theirs"));
            }
        }
        Ok(())
    }

    /// Whether the next batch has something to write, also when nothing comes.
    pub(super) fn is_due(&self) -> bool {
        !self.answers.is_empty() || self.waiting.is_due()
    }

    /// The rows that the next batch takes in front of its own.
    pub(super) fn take_waited(&mut self) -> WaitedRows {
        self.waiting.take()
    }

    /// What became of requests and is not in the store yet.
    pub(super) fn answers(&self) -> &[EncounterAnswer] {
        &self.answers
    }

    /// The answers are in the store.
    pub(super) fn answered(&mut self) {
        self.answers.clear();
    }

    /// The encounters, as of now.
    pub(super) fn encounters(&self) -> &Encounters {
        &self.encounters
    }

    /// What the key of decoded rows names.
    pub(super) fn keyed(&self) -> Keyed {
        self.keyed
    }

    /// Whose records come that are nobody's, each with what to tell: patients who have left, or, where records name devices, the
    /// ward, with the devices and how many they are.
    pub(super) fn nobodys(&self) -> BTreeMap<Arc<str>, (String, usize)> {
        let devices: Vec<&str> = self.nobody.0.keys().map(String::as_str).collect();
        let told = |text: String| BTreeMap::from([("".into(), (text, devices.len()))]);
        match (self.keyed, devices.as_slice()) {
            (_, []) => BTreeMap::new(),
            (Keyed::ByPatient, left) => {
                left.iter().map(|patient| ((*patient).into(), (STILL_SENDS.to_owned(), 1))).collect()
            }
            (Keyed::ByDevice, [one]) => told(format!("records of device {one} are nobody's; they are not judged")),
            (Keyed::ByDevice, all) => {
                let named = all.iter().take(MOST_NAMED).copied().collect::<Vec<_>>().join(", ");
                let more = all.len().saturating_sub(MOST_NAMED);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                told(format!("records of devices {named}{more} are nobody's; they are not judged"))
            }
        }
    }

    /// The rows with their patients.
    pub(super) fn attach(&self, plan: &Plan, rows: &RecordBatch) -> Attached {
        let marker = (!plan.job.source.others.is_empty()).then(|| marker(&plan.job.source.table));
        let keyed = (self.keyed, marker.as_deref());
        attach(rows, (&plan.samples.key, &plan.samples.event_time), keyed, &self.encounters)
    }

    /// Takes note of what sends records that are nobody's. What is somebody's again, or has been silent for a while before `now`, is
    /// told no more.
    pub(super) fn note_nobody(&mut self, unattached: &[Unattached], now: DateTime<Utc>) {
        for row in unattached {
            let newest = self.nobody.0.entry(row.device.clone()).or_insert(row.event_time);
            *newest = (*newest).max(row.event_time);
        }
        let (keyed, encounters) = (self.keyed, &self.encounters);
        self.nobody.0.retain(|device, newest| {
            let is_nobodys = match keyed {
                Keyed::ByDevice => encounters.patient_of(device, *newest).is_none(),
                Keyed::ByPatient => matches!(encounters.presence(device, *newest), Presence::Left(_)),
            };
            is_nobodys && now - *newest < NOBODYS_SILENCE
        });
    }

    /// Those who have left by `now`: since it was looked last, or of whom there are late rows in `rows`.
    pub(super) fn left(&mut self, rows: &RecordBatch, key: &str, now: DateTime<Utc>) -> Leaving {
        let looked = self.looked.replace((self.encounters.version(), now));
        if self.encounters.is_empty() {
            return Leaving::new();
        }
        let since = looked.filter(|(version, _)| *version == self.encounters.version()).map(|(_, until)| until);
        let mut left = self.encounters.left(since, now);
        for patient in patients(rows, key) {
            if let Presence::Left(at) = self.encounters.presence(patient, now)
                && !left.contains_key(patient)
            {
                left.insert(patient.into(), at);
            }
        }
        left
    }

    /// Those of whom nothing has come for so long that they are let go of, and those who make room for others.
    pub(super) fn idle(
        &self,
        plan: &Plan,
        memory: &Memory,
        episodes: &OpenEpisodes,
        (batch, now): (BatchId, DateTime<Utc>),
        arrivals: &Arrivals,
    ) -> Leaving {
        let is_here = |patient: &str| self.encounters.presence(patient, now) == Presence::Here;
        let mut idle: BTreeSet<Arc<str>> = BTreeSet::new();
        let too_many = memory.streams.patients().saturating_sub(plan.job.sql.max_groups);
        if too_many > 0 {
            let silent = memory.streams.silent_for(IDLE_AT_LEAST, arrivals);
            idle.extend(silent.into_iter().filter(|patient| !is_here(patient)).take(too_many));
            info!(patients = idle.len(), "patients who were silent for longest make room for others");
        }
        let after = plan.job.source.forget_after.and_then(|after| TimeDelta::from_std(after).ok());
        if let Some(after) = after.filter(|_| batch.0.is_multiple_of(LOOK_EVERY) || self.looked.is_none()) {
            let before = now.checked_sub_signed(after).unwrap_or(DateTime::<Utc>::MIN_UTC);
            let silent = memory.streams.silent_for(after, arrivals);
            // Of some, streams may know nothing: they are made again from less than last values and episodes are.
            let strangers = |patient: &&str| !memory.streams.knows(patient);
            let last_values = plan.engine.patients_before(before);
            let old = episodes.iter().filter(|episode| episode.known_at.max(episode.last_at) < before);
            let episodes = old.map(|episode| &*episode.patient).filter(strangers).map(Arc::from);
            let last_values = last_values.iter().map(String::as_str).filter(strangers).map(Arc::from);
            let all = silent.into_iter().chain(last_values).chain(episodes);
            idle.extend(all.filter(|patient: &Arc<str>| !is_here(patient)));
        }
        idle.into_iter().map(|patient| (patient, now)).collect()
    }

    /// The rows of a rule about what is known now, without those of patients who have left.
    pub(super) fn of_present(&self, rows: &RecordBatch, key: &str, now: DateTime<Utc>) -> RecordBatch {
        let is_gone = |patient: &str| matches!(self.encounters.presence(patient, now), Presence::Left(_));
        let Some(keys) = rows.column_by_name(key).filter(|_| !self.encounters.is_empty()) else { return rows.clone() };
        let keys = match keys.data_type() {
            arrow::datatypes::DataType::Utf8View => Arc::clone(keys),
            _ => match arrow::compute::cast(keys, &arrow::datatypes::DataType::Utf8View) {
                Ok(keys) => keys,
                Err(_) => return rows.clone(),
            },
        };
        let keep: BooleanArray = keys.as_string_view().iter().map(|key| Some(!key.is_some_and(is_gone))).collect();
        if keep.false_count() == 0 {
            return rows.clone();
        }
        filter_record_batch(rows, &keep).unwrap_or_else(|error| panic!("the mask has an entry for each row: {error}"))
    }

    /// In which ward each patient lies: by the encounters where they tell, else by the table of patients.
    pub(super) fn wards(&self, plan: &Plan, now: DateTime<Utc>) -> Wards {
        if self.encounters.is_empty() { plan.wards.clone() } else { plan.wards.with(self.encounters.wards(now)) }
    }
}

fn patients<'a>(rows: &'a RecordBatch, key: &str) -> HashSet<&'a str> {
    rows.column_by_name(key).map(|keys| keys.as_string_view().iter().flatten().collect()).unwrap_or_default()
}
