//! Encounters: who is here, attached to which device, in which ward and place, from when until when.
//!
//! What people and hospital systems say arrives as [`Request`]s. Those that can be done are applied one after the other and
//! never taken back; how many were applied is the [`Version`]. So whoever applies the same requests again, up to the same
//! version, gets the same answers:
//!
//! ```text
//!   requests   1 admit A on D1 from 08:00   2 discharge A at 10:05   3 admit B on D1 from 10:06
//!   version 1  A ├──────────────────────────────────────────────────────▶
//!   version 3  A ├───────────────┤ 10:05   nobody   10:06 ├── B ─────────▶
//! ```
//!
//! All of it is values: nothing here reads a clock, a store or a topic.

mod corrections;
mod request;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

pub use request::{Given, Kind, Origin, Request, RequestId};

/// How many requests have been applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The requests that were applied, each with its version.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    applied: Vec<(Version, Request)>,
    names: HashSet<RequestId>,
}

impl Journal {
    /// The requests in the order of their versions.
    #[must_use]
    pub fn new(applied: Vec<(Version, Request)>) -> Self {
        Self { names: applied.iter().map(|(_, request)| request.id.clone()).collect(), applied }
    }

    /// Adds a request that has just been applied.
    pub fn push(&mut self, version: Version, request: Request) {
        self.names.insert(request.id.clone());
        self.applied.push((version, request));
    }

    /// Brings `encounters` up to a version: those that were applied between theirs and that one are applied again.
    pub fn bring(&self, encounters: &mut Encounters, to: Version) {
        let behind = self.applied.partition_point(|(version, _)| *version <= encounters.version);
        for (version, request) in self.applied[behind..].iter().take_while(|(version, _)| *version <= to) {
            // What was applied once can be again, unless somebody has changed the rows; then it says nothing any more.
            if let Err(reason) = encounters.apply(request) {
                tracing::error!(%version, reason, "an encounter that was applied cannot be applied again");
            }
            encounters.version = *version;
        }
    }

    /// The request that was applied as a version.
    #[must_use]
    pub fn request(&self, version: Version) -> Option<&Request> {
        let place = self.applied.binary_search_by_key(&version, |(version, _)| *version).ok()?;
        self.applied.get(place).map(|(_, request)| request)
    }

    /// Whether a request of this name was applied.
    #[must_use]
    pub fn has(&self, id: &RequestId) -> bool {
        self.names.contains(id)
    }

    /// The last version.
    #[must_use]
    pub fn last(&self) -> Version {
        self.applied.last().map(|(version, _)| *version).unwrap_or_default()
    }
}

/// The longest id of a patient, in characters: those of tables' keys.
const LONGEST_NAME: usize = 128;

/// Who is attached to what and when, as of a version.
#[derive(Debug, Clone, Default)]
pub struct Encounters {
    version: Version,
    patients: HashMap<Arc<str>, Patient>,
    devices: HashMap<Arc<str>, Vec<Attachment>>,
}

#[derive(Debug, Clone, Default)]
struct Patient {
    /// Apart from each other, in the order of time.
    stays: Vec<Span>,
    /// Where the patient lies since when, in the order of time.
    places: Vec<(i64, Whereabouts)>,
    /// Of which age band since when, in the order of time.
    bands: Vec<(i64, String)>,
    details: Details,
}

/// A half-open span of event time, in microseconds; one without an end ends with the greatest of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: i64,
    until: i64,
}

const ENDLESS: i64 = i64::MAX;

#[derive(Debug, Clone)]
struct Attachment {
    patient: Arc<str>,
    span: Span,
}

/// Where a patient lies; what nobody has said is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// The ward.
    pub ward: String,
    /// The place in it, such as a bed.
    pub place: String,
}

/// What has been said last of a patient; what nobody has said is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// The name.
    pub name: String,
    /// The day of birth, `2019-05-04`.
    pub born: String,
    /// The age band whose limits hold.
    pub age_band: String,
}

/// Whether a patient is here at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// No encounter has begun by then.
    Unknown,
    /// Yes.
    Here,
    /// No longer, since this time.
    Left(DateTime<Utc>),
}

/// A patient who is here at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// The patient.
    pub patient: Arc<str>,
    /// What the patient is attached to, in the order of names.
    pub devices: Vec<Arc<str>>,
    /// Since when; `None` where the patient was here before anybody said so.
    pub from: Option<DateTime<Utc>>,
    /// Until when, where an end is known.
    pub until: Option<DateTime<Utc>>,
    /// Where.
    pub whereabouts: Whereabouts,
    /// What is known of the patient.
    pub details: Details,
}

impl Span {
    fn holds(&self, at: i64) -> bool {
        self.from <= at && at < self.until
    }
}

impl Encounters {
    /// As of which version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether nobody has ever said anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patients.is_empty()
    }

    /// Does what a request asks for, and moves the version on. Returns what people should know beside; empty where nothing.
    ///
    /// The later of two requests that contradict each other wins: a device that is attached to somebody else is let go of
    /// there from then on. A request without an end ends where a later attachment of the device begins.
    ///
    /// # Errors
    /// Why it cannot be done; nothing has changed then.
    pub fn apply(&mut self, request: &Request) -> Result<String, String> {
        let at = request.at.timestamp_micros();
        let until = request.until.map_or(ENDLESS, |until| until.timestamp_micros());
        if until <= at {
            let (from, until) = (shown(at), shown(until));
            return Err(format!("it would end at {until}, which is not after its begin at {from}"));
        }
        let length = request.patient.chars().count();
        if length > LONGEST_NAME {
            return Err(format!("the patient's id has {length} characters; the store takes {LONGEST_NAME} at most"));
        }
        let done = match request.kind {
            Kind::Admit => self.admit(request, Span { from: at, until }),
            Kind::Move => self.r#move(request, at),
            Kind::Discharge => self.discharge(request, at),
            Kind::Update => self.update(request, at),
            Kind::CancelAdmit => self.cancel_admit(request, at),
            Kind::CancelMove => self.cancel_move(request, at),
            Kind::CancelDischarge => self.cancel_discharge(request, at),
            Kind::Merge => self.merge(request, at),
        }?;
        self.version = Version(self.version.0 + 1);
        Ok(done)
    }

    fn admit(&mut self, request: &Request, span: Span) -> Result<String, String> {
        let (patient, known) = self.patient(&request.patient);
        let is_of_topic = request.origin == Origin::Topic;
        // A topic may tell of a stay's begin after its end, or once more: what was told of the end goes on to hold. One that begins within
        // a stay is another admission, by a clock that differs a little: nobody who is here may be taken for gone.
        let is_its_begin = |stay: &Span| stay.from == i64::MIN || span.from <= stay.from;
        let told = known.stay_at(span.from).filter(|stay| is_of_topic && is_its_begin(stay) && stay.until < span.until);
        let span = Span { until: told.map_or(span.until, |stay| stay.until), ..span };
        known.stay(span);
        known.learn(span.from, &request.given);
        Ok(self.attach(&patient, &request.given, span))
    }

    fn r#move(&mut self, request: &Request, at: i64) -> Result<String, String> {
        if request.given.is_empty() {
            return Err("it changes nothing: name a ward, a place or a device".to_owned());
        }
        self.must_be_here(&request.patient, at)?;
        let (patient, known) = self.patient(&request.patient);
        let stay = known.stay_at(at).unwrap_or(Span { from: i64::MIN, until: ENDLESS });
        known.stay(stay);
        known.learn(at, &request.given);
        // A topic may tell of a move after the next one.
        let next = self.next_attachment(&patient, at).filter(|_| request.origin == Origin::Topic);
        let rest = Span { from: at, until: next.unwrap_or(stay.until).min(stay.until) };
        if !request.given.device.is_empty() {
            self.let_go(&patient, rest);
        }
        Ok(self.attach(&patient, &request.given, rest))
    }

    /// When a patient is attached to something next, after a time.
    fn next_attachment(&self, patient: &str, at: i64) -> Option<i64> {
        let own = self.devices.values().flatten().filter(|attachment| *attachment.patient == *patient);
        own.map(|attachment| attachment.span.from).filter(|from| *from > at).min()
    }

    fn discharge(&mut self, request: &Request, at: i64) -> Result<String, String> {
        self.must_be_here(&request.patient, at)?;
        let (patient, known) = self.patient(&request.patient);
        let stay = known.stay_at(at).unwrap_or(Span { from: i64::MIN, until: ENDLESS });
        known.stay(stay);
        let rest = Span { from: at, until: stay.until };
        known.stays = known.stays.iter().flat_map(|stay| without(*stay, rest)).collect();
        // One that ends where it began was never here.
        if known.stays.is_empty() {
            known.stays.push(Span { from: at, until: at });
        }
        self.let_go(&patient, rest);
        Ok(String::new())
    }

    /// A patient of whom somebody has spoken.
    fn known(&mut self, name: &str) -> Result<(Arc<str>, &mut Patient), String> {
        match self.patients.get_key_value(name) {
            Some(_) => Ok(self.patient(name)),
            None => Err(format!("nobody spoke of {name} before")),
        }
    }

    fn must_be_here(&self, patient: &str, at: i64) -> Result<(), String> {
        let Some(known) = self.patients.get(patient).filter(|known| !known.stays.is_empty()) else {
            // Whoever nobody spoke of so far is here.
            return Ok(());
        };
        match (known.stay_at(at), known.stays.iter().rfind(|stay| stay.until <= at), known.stays.first()) {
            (Some(_), ..) => Ok(()),
            (None, Some(last), _) => Err(format!("{patient} left at {}", shown(last.until))),
            (None, None, first) => {
                let from = first.map(|first| shown(first.from)).unwrap_or_default();
                Err(format!("{patient} comes at {from} only"))
            }
        }
    }

    fn patient(&mut self, name: &str) -> (Arc<str>, &mut Patient) {
        let name = self.patients.get_key_value(name).map_or_else(|| name.into(), |(known, _)| Arc::clone(known));
        let known = self.patients.entry(Arc::clone(&name)).or_default();
        (name, known)
    }

    /// Attaches a patient to the device that is named, if one is; says from whom it was taken.
    fn attach(&mut self, patient: &Arc<str>, given: &Given, span: Span) -> String {
        if given.device.is_empty() {
            return String::new();
        }
        let attachments = self.devices.entry(given.device.as_str().into()).or_default();
        let next = attachments.iter().map(|attachment| attachment.span.from).filter(|from| *from > span.from).min();
        let until = if span.until == ENDLESS { next.unwrap_or(ENDLESS) } else { span.until };
        let span = Span { from: span.from, until };
        let taken = attachments
            .iter()
            .find(|other| other.patient != *patient && other.span.from < span.until && other.span.until > span.from);
        let taken = taken.map(|other| {
            format!("device {} was attached to {} since {}", given.device, other.patient, shown(other.span.from))
        });
        let mut all: Vec<Attachment> = attachments.iter().flat_map(|attachment| attachment.without(span)).collect();
        all.push(Attachment { patient: Arc::clone(patient), span });
        all.sort_by_key(|attachment| attachment.span.from);
        *attachments = all;
        taken.unwrap_or_default()
    }

    /// Lets a patient's devices go for a span of time.
    fn let_go(&mut self, patient: &str, span: Span) {
        for attachments in self.devices.values_mut() {
            if attachments.iter().any(|attachment| *attachment.patient == *patient) {
                let rest = attachments.iter().flat_map(|attachment| match *attachment.patient == *patient {
                    true => attachment.without(span),
                    false => vec![attachment.clone()],
                });
                *attachments = rest.collect();
            }
        }
    }

    /// The patient who was attached to `device` at a time.
    #[must_use]
    pub fn patient_of(&self, device: &str, at: DateTime<Utc>) -> Option<&Arc<str>> {
        let at = at.timestamp_micros();
        let attachments = self.devices.get(device)?;
        attachments.iter().rfind(|attachment| attachment.span.holds(at)).map(|attachment| &attachment.patient)
    }

    /// Whether anybody was ever attached to the device.
    #[must_use]
    pub fn speaks_of_device(&self, device: &str) -> bool {
        self.devices.contains_key(device)
    }

    /// Whether the patient is here at a time.
    #[must_use]
    pub fn presence(&self, patient: &str, at: DateTime<Utc>) -> Presence {
        let at = at.timestamp_micros();
        let Some(known) = self.patients.get(patient) else { return Presence::Unknown };
        match known.stays.iter().rfind(|stay| stay.from <= at) {
            None => Presence::Unknown,
            Some(stay) if stay.holds(at) => Presence::Here,
            Some(stay) => DateTime::from_timestamp_micros(stay.until).map_or(Presence::Here, Presence::Left),
        }
    }

    /// Whether a patient whose newest record is of the time `newest` is here: not who has left, nor, where nobody has said anything,
    /// who has been silent for `forget_after`.
    #[must_use]
    pub fn is_here(
        &self,
        patient: &str,
        newest: DateTime<Utc>,
        forget_after: Option<Duration>,
        now: DateTime<Utc>,
    ) -> bool {
        match self.presence(patient, now) {
            Presence::Left(_) => false,
            Presence::Here => true,
            Presence::Unknown => {
                forget_after.and_then(|after| TimeDelta::from_std(after).ok()).is_none_or(|after| now - newest < after)
            }
        }
    }

    /// Those who are not here at `now` and were here before, each with the time since when; only those who left after `since`, where
    /// that is given.
    #[must_use]
    pub fn left(&self, since: Option<DateTime<Utc>>, now: DateTime<Utc>) -> BTreeMap<Arc<str>, DateTime<Utc>> {
        let left = self.patients.keys().filter_map(|patient| match self.presence(patient, now) {
            Presence::Left(at) if since.is_none_or(|since| at > since) => Some((Arc::clone(patient), at)),
            _ => None,
        });
        left.collect()
    }

    /// When those left who have come again by `now`: the end of each of their stays but the last.
    #[must_use]
    pub fn departures(&self, now: DateTime<Utc>) -> BTreeMap<Arc<str>, Vec<DateTime<Utc>>> {
        let now = now.timestamp_micros();
        let ends = |known: &Patient| -> Vec<DateTime<Utc>> {
            let pairs = known.stays.windows(2).filter(|pair| pair[0].until < pair[1].from && pair[1].from <= now);
            pairs.filter_map(|pair| DateTime::from_timestamp_micros(pair[0].until)).collect()
        };
        let several = self.patients.iter().filter(|(_, known)| known.stays.len() > 1);
        several
            .map(|(patient, known)| (Arc::clone(patient), ends(known)))
            .filter(|(_, ends)| !ends.is_empty())
            .collect()
    }

    /// When, after `from` and no later than `until`, somebody came, moved, left, came to be of another age band, or was
    /// attached to something else, and who; in no order.
    #[must_use]
    pub fn changes(&self, from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<(DateTime<Utc>, Arc<str>)> {
        let (from, until) = (from.timestamp_micros(), until.timestamp_micros());
        let of_patients = self.patients.iter().flat_map(|(patient, known)| {
            let stays = known.stays.iter().flat_map(|stay| [stay.from, stay.until]);
            let places = known.places.iter().map(|(since, _)| *since);
            let bands = known.bands.iter().map(|(since, _)| *since);
            stays.chain(places).chain(bands).map(move |at| (at, patient))
        });
        let of_devices =
            self.devices.values().flatten().flat_map(|attachment| {
                [attachment.span.from, attachment.span.until].map(|at| (at, &attachment.patient))
            });
        let within = of_patients.chain(of_devices).filter(|(at, _)| from < *at && *at <= until);
        within.filter_map(|(at, who)| Some((DateTime::from_timestamp_micros(at)?, Arc::clone(who)))).collect()
    }

    /// Where the patient lies at a time, or lay last.
    #[must_use]
    pub fn whereabouts(&self, patient: &str, at: DateTime<Utc>) -> Option<&Whereabouts> {
        let at = at.timestamp_micros();
        let places = &self.patients.get(patient)?.places;
        places.iter().rfind(|(since, _)| *since <= at).map(|(_, whereabouts)| whereabouts)
    }

    /// Of which age band a patient is at a time; empty where nobody has said.
    #[must_use]
    pub fn age_band(&self, patient: &str, at: DateTime<Utc>) -> &str {
        self.patients.get(patient).map_or("", |known| known.band_at(at.timestamp_micros()))
    }

    /// What has been said last of a patient.
    #[must_use]
    pub fn details(&self, patient: &str) -> Option<&Details> {
        self.patients.get(patient).map(|known| &known.details)
    }

    /// The ward of each patient of whom one has been named by then.
    pub fn wards(&self, at: DateTime<Utc>) -> impl Iterator<Item = (&str, &str)> {
        self.patients.keys().filter_map(move |patient| {
            let ward = &self.whereabouts(patient, at)?.ward;
            (!ward.is_empty()).then_some((&**patient, ward.as_str()))
        })
    }

    /// Who is here at a time, in the order of ids.
    #[must_use]
    pub fn present(&self, at: DateTime<Utc>) -> Vec<Present> {
        let micros = at.timestamp_micros();
        let mut devices: HashMap<&Arc<str>, Vec<Arc<str>>> = HashMap::new();
        for (device, attachments) in &self.devices {
            if let Some(attachment) = attachments.iter().rfind(|attachment| attachment.span.holds(micros)) {
                devices.entry(&attachment.patient).or_default().push(Arc::clone(device));
            }
        }
        let here = self.patients.iter().filter_map(|(patient, known)| {
            let stay = known.stay_at(micros)?;
            let mut devices = devices.remove(patient).unwrap_or_default();
            devices.sort();
            Some(Present {
                patient: Arc::clone(patient),
                devices,
                from: DateTime::from_timestamp_micros(stay.from),
                until: DateTime::from_timestamp_micros(stay.until),
                whereabouts: self.whereabouts(patient, at).cloned().unwrap_or_default(),
                details: Details { age_band: known.band_at(micros).to_owned(), ..known.details.clone() },
            })
        });
        let mut here: Vec<Present> = here.collect();
        here.sort_by(|a, b| a.patient.cmp(&b.patient));
        here
    }
}

impl Patient {
    fn stay_at(&self, at: i64) -> Option<Span> {
        self.stays.iter().find(|stay| stay.holds(at)).copied()
    }

    /// The age band that was told last by then.
    fn band_at(&self, at: i64) -> &str {
        self.bands.iter().rfind(|(since, _)| *since <= at).map_or("", |(_, band)| band)
    }

    /// Has the patient here during `span` too.
    fn stay(&mut self, span: Span) {
        let touches = |stay: &Span| stay.from <= span.until && span.from <= stay.until && stay.from < stay.until;
        let joined = self
            .stays
            .iter()
            .filter(|stay| touches(stay))
            .fold(span, |all, stay| Span { from: all.from.min(stay.from), until: all.until.max(stay.until) });
        self.stays.retain(|stay| !touches(stay) && stay.from < stay.until);
        self.stays.push(joined);
        self.stays.sort_by_key(|stay| stay.from);
    }

    /// Takes over what is said of the patient from a time on; what is not said stays as it was.
    fn learn(&mut self, at: i64, given: &Given) {
        let or_before = |new: &str, before: &str| if new.is_empty() { before.to_owned() } else { new.to_owned() };
        if !given.ward.is_empty() || !given.place.is_empty() {
            let before = self.places.iter().rfind(|(since, _)| *since <= at).map(|(_, place)| place.clone());
            let before = before.unwrap_or_default();
            // The place of another ward says nothing in this one.
            let is_elsewhere = !given.ward.is_empty() && given.ward != before.ward;
            let place = if is_elsewhere { given.place.clone() } else { or_before(&given.place, &before.place) };
            let whereabouts = Whereabouts { ward: or_before(&given.ward, &before.ward), place };
            self.places.retain(|(since, _)| *since != at);
            self.places.push((at, whereabouts));
            self.places.sort_by_key(|(since, _)| *since);
        }
        let details = &self.details;
        self.details = Details {
            name: or_before(&given.name, &details.name),
            born: or_before(&given.born, &details.born),
            age_band: or_before(&given.age_band, &details.age_band),
        };
        if !given.age_band.is_empty() {
            self.bands.retain(|(since, _)| *since != at);
            self.bands.push((at, given.age_band.clone()));
            self.bands.sort_by_key(|(since, _)| *since);
        }
    }
}

impl Attachment {
    fn without(&self, taken: Span) -> Vec<Self> {
        let rest = without(self.span, taken).into_iter();
        rest.map(|span| Self { patient: Arc::clone(&self.patient), span }).collect()
    }
}

/// What is left of a span without another.
fn without(span: Span, taken: Span) -> Vec<Span> {
    if span.until <= taken.from || taken.until <= span.from {
        return vec![span];
    }
    let parts = [Span { until: taken.from, ..span }, Span { from: taken.until, ..span }];
    parts.into_iter().filter(|part| part.from < part.until).collect()
}

fn shown(micros: i64) -> String {
    let time = DateTime::from_timestamp_micros(micros);
    time.map(|time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true)).unwrap_or_default()
}
