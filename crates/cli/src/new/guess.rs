//! What samples seem to be: where patient, time and vitals stand, and how they are written.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use wardwatch_config::Conversion;

use super::contents::{self, Contents};
use super::leaves::{Leaves, Place, pairs};
use super::names::{DEVICES, PATIENTS, TIMES, normal, quoted};
use super::times::{is_clock, is_time, time_settings};
use super::vitals::{PRESSURES, VITALS, Vital, Written, is_pressure, named};

const NAMES: [&str; 13] = [
    "name",
    "metric",
    "observationid",
    "parameter",
    "param",
    "vital",
    "vitalsign",
    "sensortype",
    "code",
    "measurement",
    "type",
    "kind",
    "item",
];
const VALUES: [&str; 9] = ["value", "val", "v", "result", "reading", "qty", "avg", "mean", "valuenum"];
const UNITS: [&str; 7] = ["u", "unit", "units", "uom", "unitofmeasure", "unitcode", "valueuom"];
const CONSCIOUSNESS: [&str; 5] = ["consciousness", "acvpu", "avpu", "levelofconsciousness", "consciousnesslevel"];

/// Objects in which a vital's name means something else: a limit of it, how it was before, somebody else's.
const OTHERS: [&str; 22] = [
    "limit",
    "threshold",
    "alarm",
    "alert",
    "baseline",
    "target",
    "range",
    "setting",
    "config",
    "previous",
    "prev",
    "history",
    "fetus",
    "fetal",
    "foetal",
    "mother",
    "maternal",
    "newborn",
    "reference",
    "normal",
    "expected",
    "default",
];

/// What samples seem to be.
#[derive(Debug, Default)]
pub(super) struct Guess {
    /// The named forms that they are of.
    pub(super) forms: Vec<&'static str>,
    /// Whether none of them is of the last of these.
    lacks_vitals: bool,
    /// Where each row stands, if not in the record itself.
    pub(super) rows: Place,
    /// The place or places, as the job file says them.
    pub(super) patient: Option<String>,
    /// Whether each record has another one, as ids of records have.
    pub(super) is_patient_of_each: bool,
    pub(super) time: Option<Time>,
    pub(super) device: Option<String>,
    /// The places of name and value, where each row has one vital.
    pub(super) long: Option<(String, String)>,
    pub(super) columns: BTreeMap<&'static str, Column>,
    pub(super) consciousness: Option<String>,
    /// What is not read, with an example, and what it may be.
    pub(super) others: BTreeMap<String, String>,
}

/// Where a time stands, and what has to be said of it.
#[derive(Debug)]
pub(super) struct Time {
    pub(super) from: String,
    pub(super) settings: String,
    pub(super) doubt: Option<String>,
}

/// Where a vital stands, and how it is written.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) place: Found,
    /// As the job file says it.
    pub(super) unit_from: Option<String>,
    pub(super) unit_in: Option<&'static str>,
    pub(super) settings: String,
    pub(super) doubt: Option<String>,
}

/// As the job file says it.
#[derive(Debug)]
pub(super) enum Found {
    /// At a place, or several.
    From(String),
    /// By a name, or several.
    Named(String),
}

impl Found {
    pub(super) fn setting(&self) -> String {
        match self {
            Self::From(from) => format!("from = {from}"),
            Self::Named(names) => format!("named = {names}"),
        }
    }
}

impl Guess {
    pub(super) fn of(contents: &Contents) -> Self {
        if let contents::Written::Hl7v2(kinds) = &contents.format {
            // The one reads who comes and goes; it stands before the other, without which a job has no readings.
            let adt = kinds.contains("ADT").then_some("hl7v2-adt");
            let lacks_vitals = kinds.iter().all(|kind| kind == "ADT");
            return Self { forms: adt.into_iter().chain(["hl7v2-oru"]).collect(), lacks_vitals, ..Self::default() };
        }
        let has = |name: &str| contents.objects.iter().any(|object| object.get(name).is_some());
        let form = match () {
            () if has("resourceType") => Some("fhir-observation"),
            () if has("bn") || (has("n") && (has("v") || has("vs"))) => Some("senml"),
            () if has("header") && has("body") => Some("open-mhealth"),
            () => None,
        };
        if form.is_some() {
            return Self { forms: form.into_iter().collect(), ..Self::default() };
        }
        let mut guess = Self::of_leaves(&Leaves::of(&contents.objects), &contents.objects);
        guess.look_around(&Leaves::of(&contents.around));
        guess
    }

    /// What the fields of a schema seem to be, of which no values are known.
    pub(super) fn of_places(places: &[Vec<String>]) -> Self {
        Self::of_leaves(&Leaves::at(places), &[])
    }

    fn of_leaves(leaves: &Leaves, objects: &[Json]) -> Self {
        let long = long(leaves);
        let rows = match &long {
            Some((_, value)) => value.rows(),
            None => fullest(leaves),
        };
        let mut guess = Self { rows: rows.clone(), ..Self::default() };
        // A field `id` with another value in each record names the record.
        let is_of_record = |place: &Place| {
            let count = leaves.values(place).len();
            normal(place.last()) == "id" && place.parent() == rows && count >= 5 && count >= objects.len()
        };
        let has_value =
            |place: &Place| objects.is_empty() || leaves.values(place).iter().any(|value| !value.trim().is_empty());
        let is_fit = |place: &Place| has_value(place) && !is_of_another(place);
        let patient = leaves.best(&PATIENTS, &rows, |place| is_fit(place) && !is_of_record(place));
        let count = patient.as_ref().map_or(0, |place| leaves.values(place).len());
        guess.is_patient_of_each = count >= 3 && count >= objects.len();
        // Records of another version may have it elsewhere: `patient_id`, then `patient.id`.
        let patients: Vec<Place> = match &patient {
            Some(first) => leaves.alike(first, &rows).into_iter().filter(is_fit).collect(),
            None => Vec::new(),
        };
        guess.patient = (!patients.is_empty()).then(|| list(patients.iter().map(|place| place.from(&rows)).collect()));
        let device = leaves.best(&DEVICES, &rows, |place| Some(place) != patient.as_ref());
        guess.device = device.as_ref().map(|place| place.from(&rows));
        let mut used: Vec<Place> = patients.into_iter().chain(device).collect();
        used.extend(guess.find_time(leaves));
        match long {
            Some((name, value)) => {
                guess.long = Some((name.from(&rows), value.from(&rows)));
                let unit = leaves.best(&UNITS, &rows, |_| true);
                guess.find_named(&pairs(objects, &name, &value), unit.as_ref());
                used.extend([name, value]);
                used.extend(unit);
            }
            None => used.extend(guess.find_fields(leaves)),
        }
        guess.agree_on_pressures();
        for (place, values) in leaves.iter().filter(|(place, _)| !used.contains(place)) {
            let at = if place.is_of(&rows) { place.from(&rows) } else { place.as_rows() };
            let example: String = values.first().cloned().unwrap_or_default().chars().take(40).collect();
            let example = if example.is_empty() { String::new() } else { format!(", such as {}", quoted(&example)) };
            guess.others.entry(at).or_insert(example);
        }
        guess
    }

    /// Where the time stands: in one field, or the day in one and the time of day in another.
    fn find_time(&mut self, leaves: &Leaves) -> Vec<Place> {
        let is_day = |day: &Place| !leaves.values(day).iter().any(|value| value.contains(':'));
        let day = leaves.best(&["date", "day"], &self.rows, is_day);
        let clock = leaves.best(&["time", "timeofday", "clock"], &self.rows, |clock| is_clock(leaves.values(clock)));
        if let (Some(day), Some(clock)) = (day, clock) {
            let from = format!("{{{}}} {{{}}}", day.from(&self.rows), clock.from(&self.rows));
            self.time = Some(Time { from, settings: String::new(), doubt: None });
            return vec![day, clock];
        }
        let by_name = leaves.best(&TIMES, &self.rows, |_| true);
        let (place, by_look) = match by_name {
            Some(place) => (place, None),
            None => match leaves.such(&self.rows, is_time) {
                Some(place) => (place, Some("its values look like times".to_owned())),
                None => return Vec::new(),
            },
        };
        let (settings, doubt) = time_settings(leaves.values(&place));
        self.time = Some(Time { from: place.from(&self.rows), settings, doubt: doubt.or(by_look) });
        vec![place]
    }

    /// Looks for what the records do not say in what stands around them.
    fn look_around(&mut self, around: &Leaves) {
        let record = Place::default();
        let from = |place: Place| format!("^.{}", place.from(&record));
        if self.patient.is_none() {
            let patient = around.best(&PATIENTS, &record, |place| normal(place.last()) != "id");
            self.patient = patient.map(|place| quoted(&from(place)));
        }
        if self.time.is_none()
            && let Some(place) = around.best(&TIMES, &record, |_| true)
        {
            let (settings, doubt) = time_settings(around.values(&place));
            self.time = Some(Time { from: from(place), settings, doubt });
        }
        if self.device.is_none() {
            let device = around.best(&DEVICES, &record, |_| true).map(from);
            self.device = device.filter(|device| self.patient != Some(quoted(device)));
        }
        for (place, values) in around.iter() {
            let example = values.first().map(|value| format!(", such as {}", quoted(value))).unwrap_or_default();
            let at = from(place.clone());
            let is_time = self.time.as_ref().is_some_and(|time| time.from == at);
            let is_read = is_time || self.patient == Some(quoted(&at)) || self.device.as_ref() == Some(&at);
            if !is_read {
                self.others.insert(at, example);
            }
        }
    }

    /// Vitals that stand in rows one each, with their name beside them.
    fn find_named(&mut self, pairs: &BTreeMap<String, Vec<String>>, unit: Option<&Place>) {
        let unit = unit.map(|unit| quoted(&unit.from(&self.rows)));
        let mut of_vital: BTreeMap<&str, (&Vital, Option<&'static str>, Vec<&String>)> = BTreeMap::new();
        for (called, values) in pairs {
            if is_pressure(called, values) {
                self.add_pressure(&Found::Named(quoted(called)));
                continue;
            }
            match named(called) {
                None => drop(self.others.insert(called.clone(), String::new())),
                Some((vital, unit_in)) => {
                    let names = &mut of_vital.entry(vital.column).or_insert((vital, unit_in, Vec::new()));
                    // The same vital in another unit is not the same name for it.
                    match names.1 == unit_in {
                        true => names.2.push(called),
                        false => {
                            drop(self.others.insert(called.clone(), format!(", {} in another unit", vital.column)))
                        }
                    }
                }
            }
        }
        for (vital, unit_in, names) in of_vital.into_values() {
            let values: Vec<String> = names.iter().flat_map(|name| &pairs[*name]).cloned().collect();
            let place = Found::Named(list(names.into_iter().cloned().collect()));
            self.add(vital, place, unit_in, unit.clone(), &values);
        }
    }

    /// Vitals that are fields of their own.
    fn find_fields(&mut self, leaves: &Leaves) -> Vec<Place> {
        let rows = self.rows.clone();
        let mut used = Vec::new();
        let mut of_vital: BTreeMap<&str, (&Vital, Vec<&Place>)> = BTreeMap::new();
        for (place, values) in leaves.iter().filter(|(place, _)| place.is_of(&rows) && !is_of_another(place)) {
            let called = place.called();
            if is_pressure(called, values) {
                self.add_pressure(&Found::From(quoted(&place.from(&rows))));
                used.push(place.clone());
            } else if CONSCIOUSNESS.contains(&normal(called).as_str()) {
                self.consciousness = Some(place.from(&rows));
                used.push(place.clone());
            } else if let Some((vital, _)) = named(called) {
                of_vital.entry(vital.column).or_insert((vital, Vec::new())).1.push(place);
            }
        }
        for (vital, mut places) in of_vital.into_values() {
            // What stands deeper may be somebody else's, or from another time.
            places.sort_by_key(|place| (place.depth(), vital.rank(place.called())));
            let first = places[0];
            let all = places.clone();
            let unit_in = named(first.called()).and_then(|(_, unit)| unit);
            places.retain(|place| {
                let is_same = *place == first || place.is_of_one(first) || place.parent() == first.parent();
                is_same && named(place.called()).and_then(|(_, unit)| unit) == unit_in
            });
            let values: Vec<String> = places.iter().flat_map(|place| leaves.values(place)).cloned().collect();
            let units: Vec<Place> = places.iter().filter_map(|place| unit_beside(leaves, place, vital)).collect();
            let from = |places: &[&Place]| list(places.iter().map(|place| place.from(&rows)).collect());
            let unit_from = (!units.is_empty()).then(|| from(&units.iter().collect::<Vec<_>>()));
            if self.add(vital, Found::From(from(&places)), unit_in, unit_from, &values) {
                let other = all.iter().find(|place| !places.contains(place));
                if let (Some(column), Some(other)) = (self.columns.get_mut(vital.column), other) {
                    let more = format!("it may be at {}, too", quoted(&other.from(&rows)));
                    column.doubt = Some(column.doubt.take().map_or(more.clone(), |doubt| format!("{doubt}; {more}")));
                }
                used.extend(places.into_iter().cloned());
                used.extend(units);
            }
        }
        used
    }

    /// Notes a vital; false where its values cannot be it.
    fn add(
        &mut self,
        vital: &'static Vital,
        place: Found,
        unit_in: Option<&'static str>,
        unit_from: Option<String>,
        values: &[String],
    ) -> bool {
        let written = Written::of(values, vital);
        let says_unit = unit_from.is_some() || unit_in.is_some() || written.has_text;
        if let (Some(value), false) = (&written.nonsense, says_unit) {
            let note = format!(", which as {} would be {value} {}", vital.column, vital.unit);
            let (Found::From(at) | Found::Named(at)) = &place;
            self.others.insert(at.trim_matches('"').to_owned(), note);
            return false;
        }
        let doubt = written.also_in.filter(|_| !says_unit);
        let column = Column {
            place,
            unit_from,
            unit_in: unit_in.or(written.unit.filter(|_| !says_unit)).filter(|unit| *unit != vital.unit),
            settings: written.settings(),
            doubt: doubt.map(|unit| format!("some values make sense in {unit} only: what tells which?")),
        };
        self.columns.entry(vital.column).or_insert(column);
        true
    }

    /// Notes a pressure of which both values stand in one text.
    fn add_pressure(&mut self, place: &Found) {
        for (part, column) in (1..).zip(PRESSURES) {
            let place = match place {
                Found::From(from) => Found::From(from.clone()),
                Found::Named(names) => Found::Named(names.clone()),
            };
            let settings = format!(", split = \"/\", part = {part}, extract = \"number\"");
            self.columns.entry(column).or_insert(Column {
                place,
                unit_from: None,
                unit_in: None,
                settings,
                doubt: None,
            });
        }
    }

    /// Of one patient's pressures, one in kPa says that all are: 10 mmHg and 10 kPa are both possible.
    fn agree_on_pressures(&mut self) {
        let pressures: BTreeSet<&str> =
            VITALS.iter().filter(|vital| vital.is_pressure()).map(|vital| vital.column).collect();
        let is_other = |(name, column): &(&&str, &Column)| pressures.contains(**name) && column.unit_in == Some("kPa");
        if !self.columns.iter().any(|entry| is_other(&entry)) {
            return;
        }
        let others =
            self.columns.iter_mut().filter(|(name, column)| pressures.contains(**name) && column.unit_from.is_none());
        others.for_each(|(_, column)| column.unit_in = Some("kPa"));
    }

    /// Whether nothing is known of any vital, nor of who comes and goes.
    pub(super) fn knows_nothing(&self) -> bool {
        self.forms.is_empty() && self.columns.is_empty() && self.consciousness.is_none()
    }

    /// Whether vitals are those of a form that comes with wardwatch.
    pub(super) fn is_of_form(&self) -> bool {
        !self.forms.is_empty()
    }

    pub(super) fn vitals(&self) -> impl Iterator<Item = &'static Vital> {
        VITALS.iter().filter(|vital| self.is_of_form() || self.columns.contains_key(vital.column))
    }

    pub(super) fn told(&self) -> String {
        let known = self.columns.len() + usize::from(self.consciousness.is_some());
        match (&self.forms[..], &self.long) {
            ([form, others @ ..], _) if self.lacks_vitals => {
                format!(
                    "they are of the form \"{form}\"; none has a vital, which \"{}\" would read",
                    others.join("\", \"")
                )
            }
            ([form], _) => format!("they are of the form \"{form}\""),
            ([..], Some((name, _))) if self.forms.is_empty() => {
                format!("one vital each, named by \"{name}\"; {known} known")
            }
            ([], _) => format!("{known} vitals are known by name"),
            (forms, _) => format!("they are of the forms \"{}\"", forms.join("\" and \"")),
        }
    }
}

/// Whether it stands in an object that is about something else than how the patient is.
fn is_of_another(place: &Place) -> bool {
    place.within().any(|name| {
        let name = normal(name);
        OTHERS.iter().any(|other| name.contains(other))
    })
}

/// One text, or a list of them, as a job file says them.
fn list(mut texts: Vec<String>) -> String {
    texts.dedup();
    let quoted: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    if let [text] = &quoted[..] { text.clone() } else { format!("[{}]", quoted.join(", ")) }
}

/// The place that says the unit of a value: in its own object, by its own name, or of the only vital that there is.
fn unit_beside(leaves: &Leaves, place: &Place, vital: &Vital) -> Option<Place> {
    let beside = |unit: &Place| unit.parent() == place.parent() && unit != place;
    let is_own = |unit: &Place| {
        let name = normal(unit.last());
        let called = name.strip_suffix("units").or_else(|| name.strip_suffix("unit"));
        called.is_some_and(|called| !called.is_empty() && (called == normal(place.called()) || vital.is_called(called)))
    };
    let by_name = leaves.iter().find(|(unit, _)| beside(unit) && is_own(unit));
    let is_vital = |other: &Place| beside(other) && named(other.called()).is_some();
    // One unit beside several vitals says nothing of which it is, unless it fits just one of them.
    let fits_alone = |unit: &Place| {
        let units = leaves.values(unit);
        let fits = |vital: &Vital| {
            !units.is_empty() && units.iter().all(|unit| Conversion::between(unit, vital.unit, None).is_ok())
        };
        let others = leaves.iter().filter(|(other, _)| is_vital(other)).filter_map(|(other, _)| named(other.called()));
        fits(vital) && !others.into_iter().any(|(other, _)| other.column != vital.column && fits(other))
    };
    let is_unit = |unit: &Place| beside(unit) && UNITS.contains(&normal(unit.last()).as_str());
    by_name.or_else(|| leaves.iter().find(|(unit, _)| is_unit(unit) && fits_alone(unit))).map(|(unit, _)| unit.clone())
}

/// Where name and value of a vital stand, if each row has one.
fn long(leaves: &Leaves) -> Option<(Place, Place)> {
    let is_name = |place: &&Place| {
        let values = leaves.values(place);
        NAMES.contains(&normal(place.last()).as_str()) && values.iter().any(|value| named(value).is_some())
    };
    let name = leaves.iter().map(|(place, _)| place).find(is_name)?;
    // The value stands in the same row, or in a list below it.
    let is_value = |place: &&Place| VALUES.contains(&normal(place.last()).as_str()) && name.is_of(&place.rows());
    let value = leaves.iter().map(|(place, _)| place).filter(is_value).max_by_key(|place| place.rows())?;
    Some((name.clone(), value.clone()))
}

/// The list whose items have the most vitals, or the record.
fn fullest(leaves: &Leaves) -> Place {
    let mut counts: BTreeMap<Place, usize> = BTreeMap::new();
    for (place, values) in leaves.iter() {
        let is_vital = named(place.called()).is_some() || is_pressure(place.called(), values);
        *counts.entry(place.rows()).or_default() += usize::from(is_vital);
    }
    let most = counts.values().max().copied().unwrap_or_default();
    counts.into_iter().find(|(_, count)| *count == most && most > 0).map(|(rows, _)| rows).unwrap_or_default()
}
