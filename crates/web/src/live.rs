//! What goes along with the job: after each commit, the ward as it is, and an event that tells open pages what is new.
//!
//! One thread reads the store for everybody, so that a hundred open pages cost what one does. It looks ten times a second
//! whether there is a new batch, in the process of the job as in another, and reads what is new since it looked last.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::body::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use tokio::sync::broadcast;

use wardwatch_alert::Episode;
use wardwatch_care::patience;
use wardwatch_config::Job;
use wardwatch_model::clock::{Clock, Stopwatch, SystemClock};
use wardwatch_model::encounter::{Encounters, Journal};
use wardwatch_model::telemetry::caught;
use wardwatch_store::{BatchSummary, Readings, Registered, Store, StoreError, Timed, Value};

use super::access::audit::LateAudit;
use super::event;
use super::patient_state::{HISTORY, PatientState, Score, number};
use super::services::{Services, tell_halt};
use super::stores::PAGE_PATIENCE;
use super::view::{PatientView, Person, Told, Ward, place_of};
use super::vitals::Vitals;

/// How often it looks for a new batch.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often pages hear something, so that they know that the line is alive.
const BEAT_EVERY: Duration = Duration::from_secs(1);

/// How often it looks for patients that are new, and for names and beds that were changed.
const LOOK_AROUND_EVERY: Duration = Duration::from_secs(5);

/// How long it reads history in one go before it looks for a new batch again.
const HISTORY_AT_ONCE: Duration = Duration::from_millis(50);

/// A page that is this many events behind is told everything anew.
const EVENTS_KEPT: usize = 16;

/// The ward as it is, and the events that tell of it.
#[derive(Debug, Clone)]
pub(super) struct Live {
    ward: Arc<RwLock<Arc<Ward>>>,
    events: broadcast::Sender<Bytes>,
    services: Services,
    late: LateAudit,
    zone: Tz,
    /// How long ago the last batch may be before it is told that nobody is judged.
    patience: Duration,
}

impl Live {
    /// Lines of the audit that wait in `late` are written whenever the store answers.
    pub(super) fn new(job: &Job, services: Services, late: LateAudit) -> Self {
        Self {
            ward: Arc::default(),
            events: broadcast::channel(EVENTS_KEPT).0,
            services,
            late,
            zone: job.reports.time_zone,
            patience: patience(job),
        }
    }

    /// The ward as it is now.
    pub(super) fn ward(&self) -> Arc<Ward> {
        Arc::clone(&self.ward.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What will be told from now on.
    pub(super) fn events(&self) -> broadcast::Receiver<Bytes> {
        self.events.subscribe()
    }

    /// Why nobody knows how the ward stands, in words, as far as a service is the reason, or that no batch is committed; empty where
    /// there is none.
    pub(super) fn trouble(&self) -> String {
        let known = self.ward().batch.as_ref().map(|batch| batch.now);
        if let Some(trouble) = self.services.trouble() {
            return trouble.tell(known, self.zone);
        }
        let now = SystemClock.now();
        let patience = TimeDelta::from_std(self.patience).unwrap_or(TimeDelta::MAX);
        known.filter(|last| now - *last >= patience).map_or_else(String::new, |last| tell_halt(last, now, self.zone))
    }

    /// Everything, for a page that has just been opened or has lost the thread.
    pub(super) fn whole(&self) -> Bytes {
        event::whole(&self.ward(), self.trouble(), SystemClock.now())
    }

    /// That the line is alive, and how the services are.
    pub(super) fn beat(&self) -> Bytes {
        event::beat(&self.ward(), self.trouble(), SystemClock.now())
    }

    /// Goes along with the job until it is stopped, on a thread of its own.
    ///
    /// `note_users` is told now and then whether there are users, so that who may see the page is known while the store is away.
    pub(super) fn start(
        &self,
        job: &Job,
        stopped: Arc<AtomicBool>,
        note_users: impl Fn(Registered) + Send + 'static,
    ) -> std::io::Result<JoinHandle<()>> {
        let (live, job) = (self.clone(), job.clone());
        let note_users = move |store: &mut Store| store.registered().map(&note_users);
        std::thread::Builder::new().name("live".to_owned()).spawn(move || {
            let mut reader = Reader::new(&job, &live.services);
            let mut beaten = Stopwatch::start();
            while !stopped.load(Ordering::Relaxed) {
                let looking = Stopwatch::start();
                live.services.ward_is_asked_for();
                // A panic leaves a reader that nobody can trust; a new one reads everything.
                let seen = caught(|| reader.look(&live.late, &note_users)).unwrap_or_else(|panicked| {
                    reader = Reader::new(&job, &live.services);
                    Err(StoreError::Unavailable(panicked.to_string()))
                });
                let event = match seen {
                    Ok(Seen::News(told)) => Some(live.publish(reader.view(), told)),
                    Ok(Seen::Nothing) if beaten.elapsed() < BEAT_EVERY => None,
                    Ok(Seen::Nothing) => Some(live.beat()),
                    Err(error) => {
                        reader.store = None;
                        live.services.ward_was_not_read(&error);
                        (beaten.elapsed() >= BEAT_EVERY).then(|| live.beat())
                    }
                };
                if let Some(event) = event {
                    beaten = Stopwatch::start();
                    // Nobody may be listening.
                    drop(live.events.send(event));
                }
                std::thread::sleep(looking.left_of(LOOK_EVERY));
            }
        })
    }

    fn replace(&self, ward: Ward) {
        *self.ward.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ward);
    }

    /// Shows the new ward, and makes the event that tells how it differs from the one before.
    fn publish(&self, mut ward: Ward, told: Told) -> Bytes {
        let before = self.ward();
        ward.sequence = before.sequence + 1;
        let event = event::changes(&before, &ward, told, self.trouble(), SystemClock.now());
        self.replace(ward);
        event
    }
}

enum Seen {
    Nothing,
    News(Told),
}

/// Reads the store for everybody.
struct Reader {
    job: Job,
    /// Is told of each answer of the store, so that it is known when there is none.
    services: Services,
    store: Option<Store>,
    vitals: Arc<Vitals>,
    beds: BTreeMap<String, PatientState>,
    people: HashMap<String, Person>,
    /// Who is here, and where.
    encounters: Encounters,
    batch: Option<BatchSummary>,
    episodes: Arc<Vec<Episode>>,
    sparks: HashMap<String, Arc<Vec<String>>>,
    /// The step of time that small lines were drawn up to.
    drawn: i64,
    looked_around: Option<Stopwatch>,
    /// When it was noted last whether there are users.
    users_noted: Option<Stopwatch>,
    has_score: bool,
    score_has_label: bool,
    /// Those whose history is still to be read.
    without_history: Vec<String>,
}

impl Reader {
    fn new(job: &Job, services: &Services) -> Self {
        Self {
            job: job.clone(),
            services: services.clone(),
            store: None,
            vitals: Arc::new(Vitals::of(job, &[])),
            beds: BTreeMap::new(),
            people: HashMap::new(),
            encounters: Encounters::default(),
            batch: None,
            episodes: Arc::default(),
            sparks: HashMap::new(),
            drawn: 0,
            looked_around: None,
            users_noted: None,
            has_score: false,
            score_has_label: false,
            without_history: Vec::new(),
        }
    }

    /// Reads what is new.
    fn look(
        &mut self,
        late: &LateAudit,
        note_users: &dyn Fn(&mut Store) -> Result<(), StoreError>,
    ) -> Result<Seen, StoreError> {
        let mut store = match self.store.take() {
            Some(store) => store,
            None => Store::connect_with(&self.job.store, &self.job.name, PAGE_PATIENCE)?,
        };
        let seen = self.look_at(&mut store)?;
        late.write(&mut store)?;
        if self.users_noted.is_none_or(|noted| noted.elapsed() >= LOOK_AROUND_EVERY) {
            note_users(&mut store)?;
            self.users_noted = Some(Stopwatch::start());
        }
        self.services.ward_was_read();
        self.store = Some(store);
        Ok(seen)
    }

    fn look_at(&mut self, store: &mut Store) -> Result<Seen, StoreError> {
        if self.batch.is_none() && !store.has_tables()? {
            return Ok(Seen::Nothing);
        }
        let newest = store.newest_batch()?;
        let is_news = newest.as_ref().map(|batch| batch.batch) != self.batch.as_ref().map(|batch| batch.batch);
        if !is_news {
            let has_read = self.read_some_history(store)?;
            return Ok(if has_read && self.without_history.is_empty() {
                self.drawn = 0;
                Seen::News(Told::Sparks)
            } else {
                Seen::Nothing
            });
        }
        self.has_answered();
        self.batch = newest;
        if self.looked_around.is_none_or(|looked| looked.elapsed() >= LOOK_AROUND_EVERY) {
            self.refresh_patients(store)?;
            self.looked_around = Some(Stopwatch::start());
            self.has_answered();
        }
        self.read_new_rows(store)?;
        self.has_answered();
        let mut episodes = store.open_episodes()?;
        episodes.retain(|episode| episode.state.is_shown());
        episodes.sort_by_key(|episode| {
            let since = episode.firing_at.unwrap_or(episode.started_at);
            let is_taken_on = episode.handling.acknowledged.is_some();
            (std::cmp::Reverse(episode.severity), is_taken_on, since, episode.id.clone())
        });
        if *self.episodes != episodes {
            self.episodes = Arc::new(episodes);
        }
        let step = self.batch.as_ref().map_or(0, |batch| number(batch.now));
        let told = if step == self.drawn { Told::Numbers } else { Told::Sparks };
        Ok(Seen::News(told))
    }

    /// The store has answered, and is asked for more: a long look is no silence.
    fn has_answered(&self) {
        self.services.ward_was_read();
        self.services.ward_is_asked_for();
    }

    /// Finds patients that are new, columns that are new, and who lies where.
    fn refresh_patients(&mut self, store: &mut Store) -> Result<(), StoreError> {
        let job = &self.job;
        let stored = store.column_names(&job.reports.table)?;
        let (key, event_time) = (&job.source.columns.key().name, &job.source.columns.event_time().name);
        if !stored.contains(key) || !stored.contains(event_time) {
            return Ok(());
        }
        let vitals = Vitals::of(job, &stored);
        if vitals.columns != self.vitals.columns {
            self.vitals = Arc::new(vitals);
            self.beds.clear();
        }
        for (patient, newest) in store.patients(&job.reports.table, key, event_time)? {
            if !self.beds.contains_key(&patient) {
                // Its newest row is read with the others'.
                let bed = PatientState::new(self.vitals.columns.len(), newest - TimeDelta::microseconds(1));
                self.beds.insert(patient.clone(), bed);
                self.without_history.push(patient);
            }
        }
        self.people = people(store, &job.alerts.patients.0, key)?;
        self.encounters = encounters(store)?;
        let score = store.column_names(&job.dashboard.score)?;
        let has = |name: &str| score.iter().any(|column| column == name);
        self.has_score = has(key) && has("window_start") && has("score");
        self.score_has_label = has("label");
        if self.has_score {
            self.read_scores(store)?;
        }
        Ok(())
    }

    fn read_new_rows(&mut self, store: &mut Store) -> Result<(), StoreError> {
        let job = &self.job;
        let table = Timed {
            table: &job.reports.table,
            key: &job.source.columns.key().name,
            time: &job.source.columns.event_time().name,
            columns: &self.vitals.columns,
        };
        let known: Vec<(&str, DateTime<Utc>)> =
            self.beds.iter().map(|(patient, bed)| (patient.as_str(), bed.newest)).collect();
        if known.is_empty() || table.columns.is_empty() {
            return Ok(());
        }
        for row in store.newer_rows(&table, &known)? {
            let (patient, at) = (row.first().and_then(Value::as_text), row.get(1).and_then(Value::as_time));
            if let Some((patient, at)) = patient.zip(at)
                && let Some(bed) = self.beds.get_mut(patient)
            {
                bed.take(at, row.iter().skip(2).map(Value::as_float));
            }
        }
        Ok(())
    }

    fn read_scores(&mut self, store: &mut Store) -> Result<(), StoreError> {
        let columns = ["score", "label"].map(str::to_owned);
        let table = Timed {
            table: &self.job.dashboard.score,
            key: &self.job.source.columns.key().name,
            time: "window_start",
            columns: if self.score_has_label { &columns } else { &columns[..1] },
        };
        let known = |(patient, bed): (&'_ String, &'_ PatientState)| {
            let since = bed.newest_score().map_or(bed.newest - HISTORY, |score| score.at);
            (patient.clone(), since)
        };
        let known: Vec<(String, DateTime<Utc>)> = self.beds.iter().map(known).collect();
        let known: Vec<(&str, DateTime<Utc>)> = known.iter().map(|(patient, at)| (patient.as_str(), *at)).collect();
        for row in store.newer_rows(&table, &known)? {
            let (patient, at) = (row.first().and_then(Value::as_text), row.get(1).and_then(Value::as_time));
            let value = row.get(2).and_then(Value::as_float);
            if let (Some(patient), Some(at), Some(value)) = (patient, at, value)
                && let Some(bed) = self.beds.get_mut(patient)
            {
                let label = row.get(3).and_then(Value::as_text).map_or_else(|| value.to_string(), str::to_owned);
                bed.score(Score { at, value, label });
            }
        }
        Ok(())
    }

    /// Reads the last half hour of a few patients; whether there were any.
    fn read_some_history(&mut self, store: &mut Store) -> Result<bool, StoreError> {
        let reading = Stopwatch::start();
        let mut has_read = false;
        while !reading.left_of(HISTORY_AT_ONCE).is_zero() {
            let Some(patient) = self.without_history.pop() else { break };
            let Some(bed) = self.beds.get_mut(&patient) else { continue };
            has_read = true;
            let until = bed.newest;
            let rows = store.readings(&Readings {
                table: &self.job.reports.table,
                key: &self.job.source.columns.key().name,
                event_time: &self.job.source.columns.event_time().name,
                columns: &self.vitals.columns,
                patient: &patient,
                from: until - HISTORY,
                until,
            })?;
            // What was known already is among these rows.
            let mut whole = PatientState::new(self.vitals.columns.len(), until);
            for row in &rows {
                if let Some(at) = row.first().and_then(Value::as_time) {
                    whole.take(at, row.iter().skip(1).map(Value::as_float));
                }
            }
            *bed = whole.with_scores_of(bed);
        }
        Ok(has_read)
    }

    /// Whether a patient has a tile: not who has left, and not who has been silent for as long as the job remembers.
    fn is_here(&self, patient: &str, bed: &PatientState, now: DateTime<Utc>) -> bool {
        self.encounters.is_here(patient, bed.newest, self.job.source.forget_after, now)
    }

    /// Who is here and has sent nothing yet, and of whom there is an alert though a monitor has sent nothing.
    fn without_reading(&self, now: DateTime<Utc>) -> Vec<Arc<PatientView>> {
        let nothing = PatientState::new(self.vitals.columns.len(), now);
        let present = self.encounters.present(now).into_iter().map(|present| present.patient.to_string());
        let with_alert = self.episodes.iter().map(|episode| episode.patient.to_string()).filter(|id| !id.is_empty());
        let with_alert = with_alert.filter(|id| self.encounters.is_here(id, now, self.job.source.forget_after, now));
        let present = present.chain(with_alert).collect::<BTreeSet<String>>().into_iter();
        let view = |id: String| PatientView {
            person: self.people.get(&id).cloned().unwrap_or_default().with_encounter(&self.encounters, &id, now),
            id,
            newest: None,
            numbers: nothing.numbers(&self.vitals),
            score: None,
            sparks: Arc::default(),
        };
        present.filter(|id| !self.beds.contains_key(id)).map(|id| Arc::new(view(id))).collect()
    }

    /// The ward as it is now.
    fn view(&mut self) -> Ward {
        let step = self.batch.as_ref().map_or(0, |batch| number(batch.now));
        if step != self.drawn {
            self.drawn = step;
            let until = self.batch.as_ref().map_or_else(|| SystemClock.now(), |batch| batch.now);
            self.sparks = self
                .beds
                .iter()
                .map(|(patient, bed)| (patient.clone(), Arc::new(bed.sparks(&self.vitals, until))))
                .collect();
        }
        let now = self.batch.as_ref().map(|batch| batch.event_now.unwrap_or(batch.now));
        let view = |(id, bed): (&String, &PatientState)| {
            let person = self.people.get(id).cloned().unwrap_or_default();
            Arc::new(PatientView {
                id: id.clone(),
                person: match now {
                    Some(now) => person.with_encounter(&self.encounters, id, now),
                    None => person,
                },
                newest: Some(bed.newest),
                numbers: bed.numbers(&self.vitals),
                score: bed.newest_score().cloned().map(|score| (score, bed.score_trend())),
                sparks: self.sparks.get(id).cloned().unwrap_or_default(),
            })
        };
        let is_shown = |(id, bed): &(&String, &PatientState)| now.is_none_or(|now| self.is_here(id, bed, now));
        let mut beds: Vec<Arc<PatientView>> = self.beds.iter().filter(is_shown).map(view).collect();
        beds.extend(now.into_iter().flat_map(|now| self.without_reading(now)));
        beds.sort_by(|a, b| place_of(a).cmp(&place_of(b)));
        Ward {
            sequence: 0,
            batch: self.batch.clone(),
            beds,
            episodes: Arc::clone(&self.episodes),
            vitals: Some(Arc::clone(&self.vitals)),
        }
    }
}

/// The encounters as far as the job has applied them.
pub(crate) fn encounters(store: &mut Store) -> Result<Encounters, StoreError> {
    let mut encounters = Encounters::default();
    // A store of the version before has no such table until the job has started.
    if store.has_encounters()? {
        let journal = Journal::new(store.applied_encounters()?);
        journal.bring(&mut encounters, journal.last());
    }
    Ok(encounters)
}

/// What the table of patients says of each; it need not have every column, or be there.
fn people(store: &mut Store, table: &str, key: &str) -> Result<HashMap<String, Person>, StoreError> {
    let Some(rows) = store.table_texts(table, &[key, "name", "place", "ward", "age_band", "spo2_scale"])? else {
        return Ok(HashMap::new());
    };
    let person = |row: [String; 6]| {
        let [id, name, place, ward, age_band, spo2_scale] = row;
        (id, Person { name, place, ward, age_band, spo2_scale })
    };
    Ok(rows.into_iter().map(person).collect())
}
