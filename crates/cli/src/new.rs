//! `wardwatch new`: a first job file from samples of a topic. What it guesses, it marks; `sample` and `check` tell the rest.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value as Json;

use wardwatch_config::Job;
use wardwatch_pipeline::{newest_records, records_of_file};

/// How long Kafka may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The arguments of `new`.
#[derive(Debug, clap::Args)]
pub(super) struct New {
    /// The job file to write, such as jobs/ward.toml; its queries go into a folder `sql` beside it
    #[arg(value_name = "JOB")]
    job: PathBuf,
    /// The topic whose newest records are looked at, and which the job reads
    #[arg(
        long,
        value_name = "TOPIC",
        required_unless_present = "input",
        default_value_if("input", clap::builder::ArgPredicate::IsPresent, "vitals")
    )]
    from_topic: Option<String>,
    /// Its brokers
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:9092", env = "KAFKA_BROKERS")]
    brokers: String,
    /// A file of records to look at in place of the topic's
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Look at so many records
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    last: usize,
}

/// A vital as records call it: column, unit, plausible range, and names without signs and capitals.
struct Vital {
    column: &'static str,
    unit: &'static str,
    plausible: [u16; 2],
    names: &'static [&'static str],
}

/// The vitals that are known by name. The ranges are those of the shipped job.
const VITALS: [Vital; 7] = [
    Vital {
        column: "heart_rate",
        unit: "/min",
        plausible: [10, 300],
        names: &["heartrate", "hr", "bpm", "heartratebpm"],
    },
    Vital {
        column: "respiratory_rate",
        unit: "/min",
        plausible: [2, 80],
        names: &["respiratoryrate", "resprate", "rr", "respiration", "respirationrate", "breathingrate", "resp"],
    },
    Vital {
        column: "spo2",
        unit: "%",
        plausible: [50, 100],
        names: &["spo2", "oxygensaturation", "o2sat", "sao2", "saturation", "oxygen", "bloodoxygen"],
    },
    Vital {
        column: "systolic_bp",
        unit: "mmHg",
        plausible: [40, 300],
        names: &["systolicbp", "systolic", "sbp", "sysbp", "sys", "bphigh", "nibpsys", "bloodpressuresystolic"],
    },
    Vital {
        column: "diastolic_bp",
        unit: "mmHg",
        plausible: [20, 200],
        names: &["diastolicbp", "diastolic", "dbp", "diabp", "dia", "bplow", "nibpdia", "bloodpressurediastolic"],
    },
    Vital {
        column: "temperature",
        unit: "°C",
        plausible: [25, 45],
        names: &["temperature", "temp", "bodytemp", "bodytemperature", "tempc"],
    },
    Vital { column: "pulse", unit: "/min", plausible: [10, 300], names: &["pulse", "pulserate", "pr"] },
];

const PATIENTS: [&str; 8] = ["patientid", "patient", "subjectid", "mrn", "pid", "userid", "id", "deviceid"];
const TIMES: [&str; 11] = [
    "eventtime",
    "timestamp",
    "measuredat",
    "recordedat",
    "time",
    "datetime",
    "ts",
    "charttime",
    "date",
    "createdat",
    "at",
];
const NAMES: [&str; 9] =
    ["name", "metric", "observationid", "parameter", "vital", "code", "measurement", "type", "kind"];

impl New {
    pub(super) fn run(self) -> anyhow::Result<()> {
        if self.job.exists() {
            bail!("\"{}\" is there already; `wardwatch sample` shows what it makes of the topic", self.job.display());
        }
        let job = self.any_job()?;
        let records = match &self.input {
            Some(file) => records_of_file(&job, file, 0).with_context(|| format!("\"{}\"", file.display()))?,
            None => newest_records(&job, self.last, &[], PATIENCE)?,
        };
        let payloads: Vec<&[u8]> = records.iter().filter_map(|record| record.payload.as_deref()).collect();
        if payloads.is_empty() {
            bail!("the topic \"{}\" has no records to look at; give some with --input FILE", self.topic());
        }
        let found = Found::of(&payloads);
        let folder = self.job.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let table = folder.join("sql/tables/readings.sql");
        if let Some(folder) = table.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("\"{}\"", folder.display()))?;
        }
        std::fs::write(&self.job, self.text(&found)).with_context(|| format!("\"{}\"", self.job.display()))?;
        if !table.exists() {
            std::fs::write(&table, found.readings()).with_context(|| format!("\"{}\"", table.display()))?;
        }
        println!("{} records looked at: {}", payloads.len(), found.told());
        println!("wrote {} and {}; what is guessed is marked", self.job.display(), table.display());
        if found.form.is_none() && found.vitals.is_empty() {
            println!(
                "no vital is known by its name here: say in [source.columns] where each stands and, in [source], how records are \
                 written (format, unwrap, rows); docs/forms.md has all of it"
            );
        }
        println!("next: wardwatch sample {0}, wardwatch check {0}, wardwatch run {0}", self.job.display());
        Ok(())
    }

    fn topic(&self) -> &str {
        self.from_topic.as_deref().unwrap_or("vitals")
    }

    /// A job that reads the topic, whatever is in it.
    fn any_job(&self) -> anyhow::Result<Job> {
        let text = format!(
            "[source]\nbrokers = {:?}\ntopic = {:?}\nkey = \"patient_id\"\nevent_time = \"event_time\"\n\
             [source.columns]\npatient_id = {{ type = \"text\" }}\nevent_time = {{ type = \"time\" }}\n\
             [store]\nurl = \"sqlite://none.db\"\n[sql]\ndir = \".\"\n",
            self.brokers,
            self.topic()
        );
        Ok(wardwatch_config::parse(Path::new("new.toml"), &text, &|_| None)?)
    }

    fn text(&self, found: &Found) -> String {
        let name: String = self
            .job
            .file_stem()
            .map(|stem| stem.to_string_lossy().to_lowercase())
            .unwrap_or_default()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        let mut text = format!(
            "# Written by `wardwatch new` from samples of the topic; what it has guessed is marked. docs/forms.md tells what may be said here.\n\
             name = \"{name}\"\n\n[source]\nbrokers = \"${{KAFKA_BROKERS:-{}}}\"\ntopic = {:?}\nkey = \"patient_id\"\nevent_time = \"event_time\"\n",
            self.brokers,
            self.topic()
        );
        if let Some(long) = &found.long {
            let _ = writeln!(text, "long = {{ name = {:?}, value = {:?} }}  # guessed", long.0, long.1);
        }
        text.push_str("\n[source.columns]\n");
        text.push_str(&found.columns());
        if let Some(form) = found.form {
            let _ = write!(text, "\n[[source.form]]\nuse = \"{form}\"\n");
        }
        let _ = write!(
            text,
            "\n[store]\nurl = \"${{MYSQL_URL:-sqlite://{name}.db}}\"\n\n[sql]\ndir = \"sql\"\n\n[reports]\ntable = \"readings\"\ndir = \"out\"\n"
        );
        text
    }
}

/// What samples seem to be.
#[derive(Debug, Default)]
struct Found {
    /// The named form, if it is one.
    form: Option<&'static str>,
    patient: Option<String>,
    time: Option<String>,
    /// The places of name and value, where each record has one vital.
    long: Option<(String, String)>,
    /// The place or name of each vital, by its column.
    vitals: BTreeMap<&'static str, String>,
    /// What is not known, with an example.
    others: BTreeMap<String, String>,
}

impl Found {
    fn of(payloads: &[&[u8]]) -> Self {
        let mut found = Self::default();
        if payloads.iter().any(|payload| payload.trim_ascii_start().starts_with(b"MSH")) {
            found.form = Some("hl7v2-oru");
            return found;
        }
        let mut objects = Vec::new();
        for payload in payloads {
            for value in serde_json::Deserializer::from_slice(payload).into_iter::<Json>().map_while(Result::ok) {
                match value {
                    Json::Array(items) => objects.extend(items),
                    other => objects.push(other),
                }
            }
        }
        objects.retain(Json::is_object);
        let has = |name: &str| objects.iter().any(|object| object.get(name).is_some());
        found.form = match () {
            () if has("resourceType") => Some("fhir-observation"),
            () if has("bn") || (has("n") && (has("v") || has("vs"))) => Some("senml"),
            () if has("header") && has("body") => Some("open-mhealth"),
            () => None,
        };
        if found.form.is_some() {
            return found;
        }
        let mut leaves: BTreeMap<String, Vec<String>> = BTreeMap::new();
        objects.iter().for_each(|object| note_leaves(object, "", &mut leaves));
        found.patient = best(&leaves, &PATIENTS);
        found.time = best(&leaves, &TIMES);
        found.long = long(&leaves);
        if let Some((name, _)) = &found.long {
            for called in leaves.get(name).into_iter().flatten() {
                match vital(called) {
                    Some(vital) => drop(found.vitals.insert(vital.column, called.clone())),
                    None => drop(found.others.insert(called.clone(), String::new())),
                }
            }
            return found;
        }
        for (path, values) in &leaves {
            let last = path.rsplit('.').next().unwrap_or(path);
            // `hr.value` is called by what it is in.
            let called = if normal(last) == "value" { path.rsplit('.').nth(1).unwrap_or(last) } else { last };
            match vital(called) {
                Some(vital) if !found.vitals.contains_key(vital.column) => {
                    found.vitals.insert(vital.column, path.clone());
                }
                _ if found.patient.as_ref() == Some(path) || found.time.as_ref() == Some(path) => {}
                _ => drop(found.others.insert(path.clone(), values.first().cloned().unwrap_or_default())),
            }
        }
        found
    }

    fn told(&self) -> String {
        match (self.form, &self.long) {
            (Some(form), _) => format!("they are of the form \"{form}\""),
            (None, Some((name, _))) => format!("one vital each, named by \"{name}\"; {} known", self.vitals.len()),
            (None, None) => format!("{} vitals are known by name", self.vitals.len()),
        }
    }

    fn columns(&self) -> String {
        let mut text = String::new();
        match (self.form, &self.patient, &self.time) {
            (Some(_), ..) => text.push_str("patient_id = { type = \"text\" }\nevent_time = { type = \"time\" }\n"),
            (None, patient, time) => {
                let patient = patient.as_deref().unwrap_or("@key");
                let time = time.as_deref().unwrap_or("@stamp");
                let guess =
                    if self.patient.is_some() { "guessed" } else { "guessed, for no field looks like the patient" };
                let _ = writeln!(text, "patient_id = {{ type = \"text\", from = {patient:?} }}  # {guess}");
                let _ = writeln!(text, "event_time = {{ type = \"time\", from = {time:?} }}  # guessed");
            }
        }
        for vital in &VITALS {
            let place = self.vitals.get(vital.column);
            let (unit, [low, high], column) = (vital.unit, vital.plausible, vital.column);
            let range = format!("unit = \"{unit}\", plausible = [{low}, {high}]");
            let _ = match (self.form, place) {
                (Some(_), _) => writeln!(text, "{column} = {{ type = \"float\", {range} }}"),
                (None, Some(place)) => {
                    let from = if self.long.is_some() { "named" } else { "from" };
                    writeln!(
                        text,
                        "{column} = {{ type = \"float\", {from} = {place:?}, {range} }}  # unit and range guessed"
                    )
                }
                (None, None) => Ok(()),
            };
        }
        for (place, example) in self.others.iter().take(30) {
            let example: String = example.chars().take(40).collect();
            let _ = writeln!(
                text,
                "# not read: {place:?}{}",
                if example.is_empty() { String::new() } else { format!(", such as {example:?}") }
            );
        }
        text
    }

    /// The table with a row per reading.
    fn readings(&self) -> String {
        let columns = VITALS.iter().map(|vital| vital.column);
        let columns: Vec<&str> =
            columns.filter(|column| self.form.is_some() || self.vitals.contains_key(column)).collect();
        let columns: String = columns.iter().map(|column| format!(",\n    {column}")).collect();
        format!(
            "-- Every reading as it came.\n\
             -- @key: patient_id, event_time, source_partition, source_offset, source_item\n\
             SELECT\n    patient_id,\n    event_time,\n    _partition AS source_partition,\n    _offset AS source_offset,\n    \
             _item AS source_item{columns}\nFROM vitals\n"
        )
    }
}

/// A name without signs and capitals.
fn normal(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

fn vital(name: &str) -> Option<&'static Vital> {
    let name = normal(name);
    VITALS.iter().find(|vital| vital.names.contains(&name.as_str()))
}

/// The texts and numbers of an object by their paths, a few of each.
fn note_leaves(value: &Json, path: &str, leaves: &mut BTreeMap<String, Vec<String>>) {
    match value {
        Json::Object(fields) => {
            for (name, inner) in fields {
                let name = if name.contains(['.', '[', '"']) {
                    format!("\"{}\"", name.replace('"', "\\\""))
                } else {
                    name.clone()
                };
                let inside = if path.is_empty() { name } else { format!("{path}.{name}") };
                note_leaves(inner, &inside, leaves);
            }
        }
        Json::Array(_) | Json::Null => {}
        leaf => {
            let text = leaf.as_str().map_or_else(|| leaf.to_string(), str::to_owned);
            let known = leaves.entry(path.to_owned()).or_default();
            if known.len() < 200 && !known.contains(&text) {
                known.push(text);
            }
        }
    }
}

/// The path whose last name comes first among `names`; of several, the shortest.
fn best(leaves: &BTreeMap<String, Vec<String>>, names: &[&str]) -> Option<String> {
    let rank = |path: &String| {
        let last = normal(path.rsplit('.').next().unwrap_or(path));
        names.iter().position(|name| *name == last).map(|rank| (rank, path.len()))
    };
    leaves.keys().filter_map(|path| Some((rank(path)?, path))).min().map(|(_, path)| path.clone())
}

/// Where name and value of a vital stand, if each record has one.
fn long(leaves: &BTreeMap<String, Vec<String>>) -> Option<(String, String)> {
    let is_name = |path: &&String| {
        let last = normal(path.rsplit('.').next().unwrap_or(path));
        let values = &leaves[*path];
        NAMES.contains(&last.as_str()) && values.iter().filter(|value| vital(value).is_some()).count() >= 1
    };
    let name = leaves.keys().find(is_name)?;
    let is_value = |path: &&String| {
        let last = normal(path.rsplit('.').next().unwrap_or(path));
        matches!(last.as_str(), "value" | "val" | "v" | "result" | "reading")
    };
    Some((name.clone(), leaves.keys().find(is_value)?.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(payload: &str, lines: &[&str]) {
        let new = New {
            job: "ward.toml".into(),
            from_topic: Some("t".into()),
            brokers: "b:9092".into(),
            input: None,
            last: 1,
        };
        let found = Found::of(&[payload.as_bytes()]);
        let text = new.text(&found).replace("dir = \"sql\"", "dir = \".\"");
        for line in lines {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let job = wardwatch_config::parse(Path::new("ward.toml"), &text, &|_| None);
        assert!(job.is_ok(), "{:?}\n{text}", job.err());
    }

    #[test]
    fn what_is_written_is_a_job_that_reads_what_was_seen() {
        check(
            r#"{"patient":{"id":"P1"},"ts":1767225600,"vitals":{"HR":80,"SpO2":{"value":97},"a.b":1}}"#,
            &[
                "from = \"patient.id\" }",
                "from = \"ts\" }",
                "heart_rate = { type = \"float\", from = \"vitals.HR\", unit = \"/min\"",
                "spo2 = { type = \"float\", from = \"vitals.SpO2.value\"",
                "# not read: \"vitals.\\\"a.b\\\"\"",
            ],
        );
        check(
            r#"[{"mrn":"1","time":"2026-01-01T00:00:00Z","metric":"Heart Rate","value":80},{"mrn":"1","time":"x","metric":"ST","value":1}]"#,
            &[
                "long = { name = \"metric\", value = \"value\" }",
                "heart_rate = { type = \"float\", named = \"Heart Rate\"",
                "# not read: \"ST\"",
            ],
        );
        check("MSH|^~\\&|", &["use = \"hl7v2-oru\"", "temperature = { type = \"float\""]);
        check(r#"{"resourceType":"Bundle"}"#, &["use = \"fhir-observation\""]);
        check(r#"{"x":1}"#, &["from = \"@key\" }", "from = \"@stamp\" }"]);
    }
}
