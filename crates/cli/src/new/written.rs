//! The job file of a guess: what is written in `[source]` and `[source.columns]`, guesses marked.

use std::fmt::Write as _;

use super::guess::{Column, Guess, Time};
use super::names::quoted;
use super::vitals::Vital;

/// What consciousness is called in words, as the shipped job has it.
const WORDS: &str = "{ Alert = \"A\", Awake = \"A\", Confusion = \"C\", Confused = \"C\", Voice = \"V\", Verbal = \"V\", Pain = \"P\", \
     Unresponsive = \"U\", Unconscious = \"U\" }";

/// So many places that are not read are listed.
const LISTED: usize = 60;

/// The lines of `[source]` that say where rows, devices and vitals are.
pub(super) fn source(guess: &Guess) -> String {
    let mut text = String::new();
    if guess.device.is_some() {
        text.push_str("device = \"device_id\"  # guessed: each device has a clock of its own\n");
    }
    if !guess.rows.is_record() {
        let _ = writeln!(text, "rows = {}  # guessed", quoted(&guess.rows.as_rows()));
    }
    if let Some((name, value)) = &guess.long {
        let _ = writeln!(text, "long = {{ name = {}, value = {} }}  # guessed", quoted(name), quoted(value));
    }
    text
}

/// `[source.columns]`.
pub(super) fn columns(guess: &Guess) -> String {
    let mut text = String::new();
    match guess.is_of_form() {
        true => text.push_str("patient_id = { type = \"text\" }\nevent_time = { type = \"time\" }\n"),
        false => key_columns(guess, &mut text),
    }
    for vital in guess.vitals() {
        let Vital { column, unit, plausible: [low, high], .. } = vital;
        let range = format!("unit = \"{unit}\", plausible = [{low}, {high}]");
        let Some(found) = guess.columns.get(column) else {
            let _ = writeln!(text, "{column} = {{ type = \"float\", {range} }}");
            continue;
        };
        let Column { place, unit_from, unit_in, settings, doubt } = found;
        let from = unit_from.as_ref().map(|from| format!(", unit_from = {from}")).unwrap_or_default();
        let sent = unit_in.map(|unit| format!(", unit_in = \"{unit}\"")).unwrap_or_default();
        let doubt = doubt.as_ref().map(|doubt| format!(": {doubt}")).unwrap_or_default();
        // All but the type is a guess.
        let _ = writeln!(
            text,
            "{column} = {{ type = \"float\", {}{settings}, {range}{from}{sent} }}  # guessed{doubt}",
            place.setting()
        );
    }
    if let Some(from) = &guess.consciousness {
        let _ =
            writeln!(text, "consciousness = {{ type = \"text\", from = {}, map = {WORDS} }}  # guessed", quoted(from));
    }
    for (place, note) in guess.others.iter().take(LISTED) {
        let _ = writeln!(text, "# not read: {}{note}", quoted(place));
    }
    if let Some(more) = guess.others.len().checked_sub(LISTED).filter(|more| *more > 0) {
        let _ = writeln!(text, "# not read: {more} more");
    }
    text
}

fn key_columns(guess: &Guess, text: &mut String) {
    let (patient, why) = match &guess.patient {
        Some(patient) if guess.is_patient_of_each => {
            (patient.as_str(), "guessed, though it is another one in each record")
        }
        Some(patient) => (patient.as_str(), "guessed"),
        None => ("\"@key\"", "guessed, for no field looks like the patient"),
    };
    let _ = writeln!(text, "patient_id = {{ type = \"text\", from = {patient} }}  # {why}");
    let (from, settings, why) = match &guess.time {
        Some(Time { from, settings, doubt }) => {
            let doubt = doubt.as_ref().map(|doubt| format!("guessed: {doubt}"));
            (from.as_str(), settings.as_str(), doubt.unwrap_or_else(|| "guessed".to_owned()))
        }
        None => ("@stamp", "", "guessed, for no field looks like a time".to_owned()),
    };
    let _ = writeln!(text, "event_time = {{ type = \"time\", from = {}{settings} }}  # {why}", quoted(from));
    if let Some(device) = &guess.device {
        let _ = writeln!(text, "device_id = {{ type = \"text\", from = {} }}  # guessed", quoted(device));
    }
}

/// The table with a row per reading.
pub(super) fn readings(guess: &Guess) -> String {
    let vitals = guess.vitals().map(|vital| vital.column);
    let columns = vitals.chain(guess.consciousness.as_ref().map(|_| "consciousness"));
    let columns: String = columns.map(|column| format!(",\n    {column}")).collect();
    format!(
        "-- Every reading as it came.\n\
         -- @key: patient_id, event_time, source_partition, source_offset, source_item\n\
         SELECT\n    patient_id,\n    event_time,\n    _partition AS source_partition,\n    _offset AS source_offset,\n    \
         _item AS source_item{columns}\nFROM vitals\n"
    )
}
