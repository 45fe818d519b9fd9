//! What samples seem to be: where patient, time and vitals stand, and how they are written.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value as Json;

use wardwatch_config::Conversion;

use super::contents::{self, Contents};
use super::leaves::{Leaves, Place};
use super::vitals::{PRESSURES, VITALS, Vital, Written, is_pressure, named, normal};
use super::{DEVICES, PATIENTS, TIMES, quoted};

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
const UNITS: [&str; 6] = ["unit", "units", "uom", "unitofmeasure", "unitcode", "valueuom"];
const CONSCIOUSNESS: [&str; 5] = ["consciousness", "acvpu", "avpu", "levelofconsciousness", "consciousnesslevel"];

/// What consciousness is called in words, as the shipped job has it.
const WORDS: &str = "{ Alert = \"A\", Awake = \"A\", Confusion = \"C\", Confused = \"C\", Voice = \"V\", Verbal = \"V\", Pain = \"P\", \
     Unresponsive = \"U\", Unconscious = \"U\" }";

/// So many places that are not read are listed.
const LISTED: usize = 30;

/// What samples seem to be.
#[derive(Debug, Default)]
pub(super) struct Guess {
    /// The named form, if it is one.
    pub(super) form: Option<&'static str>,
    /// Where each row stands, if not in the record itself.
    rows: Place,
    patient: Option<String>,
    time: Option<Time>,
    device: Option<String>,
    /// The places of name and value, where each row has one vital.
    long: Option<(String, String)>,
    columns: BTreeMap<&'static str, Column>,
    consciousness: Option<String>,
    /// What is not read, with an example.
    others: BTreeMap<String, String>,
}

/// Where a time stands, and what has to be said of it.
#[derive(Debug)]
struct Time {
    from: String,
    settings: String,
    doubt: Option<String>,
}

/// Where a vital stands, and how it is written.
#[derive(Debug)]
struct Column {
    place: Found,
    /// As the job file says it.
    unit_from: Option<String>,
    unit_in: Option<&'static str>,
    settings: String,
}

#[derive(Debug)]
enum Found {
    /// At a place, or several, as the job file says them.
    From(String),
    /// At a place, as one of the parts of a text.
    Part(String, usize),
    /// By a name.
    Named(String),
}

impl Guess {
    pub(super) fn of(contents: &Contents) -> Self {
        if contents.format == contents::Written::Hl7v2 {
            return Self { form: Some("hl7v2-oru"), ..Self::default() };
        }
        let has = |name: &str| contents.objects.iter().any(|object| object.get(name).is_some());
        let form = match () {
            () if has("resourceType") => Some("fhir-observation"),
            () if has("bn") || (has("n") && (has("v") || has("vs"))) => Some("senml"),
            () if has("header") && has("body") => Some("open-mhealth"),
            () => None,
        };
        if form.is_some() {
            return Self { form, ..Self::default() };
        }
        Self::of_leaves(&Leaves::of(&contents.objects), &contents.objects)
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
        let patient = leaves.best(&PATIENTS, &rows, |place| has_value(place) && !is_of_record(place));
        guess.patient = patient.as_ref().map(|place| place.from(&rows));
        let device = leaves.best(&DEVICES, &rows, |place| Some(place) != patient.as_ref());
        guess.device = device.as_ref().map(|place| place.from(&rows));
        let times = guess.find_time(leaves);
        let unit = leaves.best(&UNITS, &rows, |_| true);
        let mut used: Vec<Place> = patient.into_iter().chain(device).chain(times).collect();
        match long {
            Some((name, value)) => {
                guess.long = Some((name.from(&rows), value.from(&rows)));
                guess.find_named(leaves, &name, &value, unit.as_ref());
                used.extend([name, value]);
                used.extend(unit);
            }
            None => used.extend(guess.find_fields(leaves)),
        }
        for (place, values) in leaves.iter().filter(|(place, _)| !used.contains(place)) {
            let at = if place.is_of(&rows) { place.from(&rows) } else { place.as_rows() };
            guess.others.insert(at, values.first().cloned().unwrap_or_default());
        }
        guess
    }

    /// Where the time stands: in one field, or the day in one and the time of day in another.
    fn find_time(&mut self, leaves: &Leaves) -> Vec<Place> {
        let Some(place) = leaves.best(&TIMES, &self.rows, |_| true) else { return Vec::new() };
        let is_day = |day: &Place| !leaves.values(day).iter().any(|value| value.contains(':'));
        let day = leaves.best(&["date", "day"], &self.rows, is_day);
        let clock = leaves.best(&["time", "timeofday", "clock"], &self.rows, |clock| is_clock(leaves.values(clock)));
        if let (Some(day), Some(clock)) = (day, clock) {
            let from = format!("{{{}}} {{{}}}", day.from(&self.rows), clock.from(&self.rows));
            self.time = Some(Time { from, settings: String::new(), doubt: None });
            return vec![day, clock];
        }
        let (settings, doubt) = time_settings(leaves.values(&place));
        self.time = Some(Time { from: place.from(&self.rows), settings, doubt });
        vec![place]
    }

    /// Vitals that stand in rows one each, with their name beside them.
    fn find_named(&mut self, leaves: &Leaves, name: &Place, value: &Place, unit: Option<&Place>) {
        // Values of all vitals stand at one place, so nothing but what means "no value" can be told from them.
        let anything = Vital::any();
        let Written { has_text, has_comma, nulls, .. } = Written::of(leaves.values(value), &anything);
        let written = Written { has_text, has_comma, nulls, unit: None };
        for called in leaves.values(name) {
            let Some((vital, unit_in)) = named(called) else {
                self.others.insert(called.clone(), String::new());
                continue;
            };
            let column = Column {
                place: Found::Named(called.clone()),
                unit_from: unit.map(|unit| quoted(&unit.from(&self.rows))),
                unit_in: unit_in.filter(|unit| *unit != vital.unit),
                settings: written.settings(),
            };
            self.columns.entry(vital.column).or_insert(column);
        }
    }

    /// Vitals that are fields of their own.
    fn find_fields(&mut self, leaves: &Leaves) -> Vec<Place> {
        let rows = self.rows.clone();
        let mut used = Vec::new();
        let mut of_vital: BTreeMap<&str, (&Vital, Option<&'static str>, Vec<&Place>)> = BTreeMap::new();
        for (place, values) in leaves.iter().filter(|(place, _)| place.is_of(&rows)) {
            let called = place.called();
            if is_pressure(called, values) {
                for (part, column) in (1..).zip(PRESSURES) {
                    let settings = ", extract = \"number\"".to_owned();
                    let found = Found::Part(place.from(&rows), part);
                    self.columns.entry(column).or_insert(Column {
                        place: found,
                        unit_from: None,
                        unit_in: None,
                        settings,
                    });
                }
                used.push(place.clone());
                continue;
            }
            if CONSCIOUSNESS.contains(&normal(called).as_str()) {
                self.consciousness = Some(place.from(&rows));
                used.push(place.clone());
                continue;
            }
            let Some((vital, unit_in)) = named(called) else { continue };
            // The same vital in another unit is not the same place for it.
            let places = &mut of_vital.entry(vital.column).or_insert((vital, unit_in, Vec::new()));
            if places.1 == unit_in {
                places.2.push(place);
            }
        }
        for (column, (vital, unit_in, places)) in of_vital {
            let values: Vec<String> = places.iter().flat_map(|place| leaves.values(place)).cloned().collect();
            let written = Written::of(&values, vital);
            let units: Vec<Place> = places.iter().filter_map(|place| unit_beside(leaves, place)).collect();
            let unit_in = unit_in.or(written.unit.filter(|_| units.is_empty() && !written.has_text));
            let from = |places: &[&Place]| list(places.iter().map(|place| place.from(&rows)).collect());
            self.columns.insert(
                column,
                Column {
                    place: Found::From(from(&places)),
                    unit_from: (!units.is_empty()).then(|| from(&units.iter().collect::<Vec<_>>())),
                    unit_in: unit_in.filter(|unit| *unit != vital.unit),
                    settings: written.settings(),
                },
            );
            used.extend(places.into_iter().cloned());
            used.extend(units);
        }
        used
    }

    /// Whether nothing is known of any vital.
    pub(super) fn knows_nothing(&self) -> bool {
        self.form.is_none() && self.columns.is_empty()
    }

    pub(super) fn told(&self) -> String {
        let known = self.columns.len();
        match (self.form, &self.long) {
            (Some(form), _) => format!("they are of the form \"{form}\""),
            (None, Some((name, _))) => format!("one vital each, named by \"{name}\"; {known} known"),
            (None, None) => format!("{known} vitals are known by name"),
        }
    }

    /// The lines of `[source]` that say where rows, devices and vitals are.
    pub(super) fn of_source(&self) -> String {
        let mut text = String::new();
        if self.device.is_some() {
            text.push_str("device = \"device_id\"  # guessed: each device has a clock of its own\n");
        }
        if !self.rows.is_record() {
            let _ = writeln!(text, "rows = {}  # guessed", quoted(&self.rows.as_rows()));
        }
        if let Some((name, value)) = &self.long {
            let _ = writeln!(text, "long = {{ name = {}, value = {} }}  # guessed", quoted(name), quoted(value));
        }
        text
    }

    /// `[source.columns]`.
    pub(super) fn of_columns(&self) -> String {
        let mut text = String::new();
        if self.form.is_some() {
            text.push_str("patient_id = { type = \"text\" }\nevent_time = { type = \"time\" }\n");
        } else {
            let (patient, guess) = match &self.patient {
                Some(patient) => (patient.as_str(), "guessed"),
                None => ("@key", "guessed, for no field looks like the patient"),
            };
            let _ = writeln!(text, "patient_id = {{ type = \"text\", from = {} }}  # {guess}", quoted(patient));
            let stamp = Time {
                from: "@stamp".to_owned(),
                settings: String::new(),
                doubt: Some("no field looks like a time".into()),
            };
            let Time { from, settings, doubt } = self.time.as_ref().unwrap_or(&stamp);
            let doubt = doubt.as_ref().map(|doubt| format!(": {doubt}")).unwrap_or_default();
            let _ = writeln!(
                text,
                "event_time = {{ type = \"time\", from = {}{settings} }}  # guessed{doubt}",
                quoted(from)
            );
            if let Some(device) = &self.device {
                let _ = writeln!(text, "device_id = {{ type = \"text\", from = {} }}  # guessed", quoted(device));
            }
        }
        for vital in self.vitals() {
            let Vital { column, unit, plausible: [low, high], .. } = vital;
            let range = format!("unit = \"{unit}\", plausible = [{low}, {high}]");
            let Some(Column { place, unit_from, unit_in, settings }) = self.columns.get(column) else {
                let _ = writeln!(text, "{column} = {{ type = \"float\", {range} }}");
                continue;
            };
            let place = match place {
                Found::From(from) => format!("from = {from}"),
                Found::Part(from, part) => format!("from = {}, split = \"/\", part = {part}", quoted(from)),
                Found::Named(name) => format!("named = {}", quoted(name)),
            };
            let from = unit_from.as_ref().map(|from| format!(", unit_from = {from}")).unwrap_or_default();
            let sent = unit_in.map(|unit| format!(", unit_in = \"{unit}\"")).unwrap_or_default();
            let guessed = if unit_in.is_some() { "units and range guessed" } else { "unit and range guessed" };
            let _ = writeln!(
                text,
                "{column} = {{ type = \"float\", {place}{settings}, {range}{from}{sent} }}  # {guessed}"
            );
        }
        if let Some(from) = &self.consciousness {
            let _ = writeln!(
                text,
                "consciousness = {{ type = \"text\", from = {}, map = {WORDS} }}  # words guessed",
                quoted(from)
            );
        }
        for (place, example) in self.others.iter().take(LISTED) {
            let example: String = example.chars().take(40).collect();
            let example = if example.is_empty() { String::new() } else { format!(", such as {}", quoted(&example)) };
            let _ = writeln!(text, "# not read: {}{example}", quoted(place));
        }
        if let Some(more) = self.others.len().checked_sub(LISTED).filter(|more| *more > 0) {
            let _ = writeln!(text, "# not read: {more} more");
        }
        text
    }

    /// The columns of values that a table of readings has.
    pub(super) fn value_columns(&self) -> Vec<&'static str> {
        let vitals = self.vitals().map(|vital| vital.column);
        vitals.chain(self.consciousness.as_ref().map(|_| "consciousness")).collect()
    }

    fn vitals(&self) -> impl Iterator<Item = &'static Vital> {
        VITALS.iter().filter(|vital| self.form.is_some() || self.columns.contains_key(vital.column))
    }
}

/// One place, or a list of them, as a job file says them.
fn list(mut places: Vec<String>) -> String {
    places.dedup();
    let quoted: Vec<String> = places.iter().map(|place| quoted(place)).collect();
    if let [place] = &quoted[..] { place.clone() } else { format!("[{}]", quoted.join(", ")) }
}

/// The place that says the unit of a value: in its own object, by its own name, or of the only vital that there is.
fn unit_beside(leaves: &Leaves, place: &Place) -> Option<Place> {
    let called = place.called();
    let beside = |unit: &Place| unit.parent() == place.parent() && unit != place;
    let own = [format!("{}unit", normal(called)), format!("{}units", normal(called))];
    let by_name = leaves.iter().find(|(unit, _)| beside(unit) && own.contains(&normal(unit.last())));
    let is_vital = |other: &Place| beside(other) && named(other.called()).is_some();
    // One unit beside several vitals says nothing of which it is, unless it fits just one of them.
    let fits_alone = |unit: &Place| {
        let fits = |called: &str| {
            let (vital, _) = named(called)?;
            let units = leaves.values(unit);
            Some(!units.is_empty() && units.iter().all(|unit| Conversion::between(unit, vital.unit, None).is_ok()))
        };
        let others = leaves.iter().filter(|(other, _)| is_vital(other));
        fits(called) == Some(true) && others.filter(|(other, _)| fits(other.called()) == Some(true)).count() == 0
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

/// Whether these are times of a day.
fn is_clock(values: &[String]) -> bool {
    let is_clock = |value: &String| value.contains(':') && value.len() <= 12 && !value.contains(['-', '/', 'T']);
    !values.is_empty() && values.iter().all(is_clock)
}

/// What has to be said of times that are not written in the usual order, and what is in doubt about it.
fn time_settings(values: &[String]) -> (String, Option<String>) {
    if is_clock(values) {
        return (", day = \"@stamp\"".to_owned(), Some("of the day of Kafka's stamp".to_owned()));
    }
    let numbers = |value: &String| -> Option<(char, u32, u32, String)> {
        let (day, clock) = value.trim().split_once(' ')?;
        let mark = day.chars().find(|c| matches!(c, '.' | '/'))?;
        let parts: Vec<u32> = day.split(mark).map(str::parse).collect::<Result<_, _>>().ok()?;
        let [first, second, year] = parts[..] else { return None };
        let clock = match (clock.matches(':').count(), clock.contains('.')) {
            (1, _) => "%H:%M",
            (_, true) => "%H:%M:%S%.f",
            _ => "%H:%M:%S",
        };
        (year > 999 && clock.len() > 3).then(|| (mark, first, second, clock.to_owned()))
    };
    let read: Option<Vec<_>> = values.iter().map(numbers).collect();
    let Some(read) = read.filter(|read| !read.is_empty()) else { return (String::new(), None) };
    let (mark, _, _, clock) = &read[0];
    let is_month_first = read.iter().any(|(_, _, second, _)| *second > 12);
    let is_sure = is_month_first || read.iter().any(|(_, first, ..)| *first > 12);
    let order = if is_month_first { ["%m", "%d"] } else { ["%d", "%m"] };
    let format = format!("{}{mark}{}{mark}%Y {clock}", order[0], order[1]);
    let doubt = (!is_sure).then(|| "the day may stand before the month, or behind it".to_owned());
    (format!(", time_format = \"{format}\""), doubt)
}
