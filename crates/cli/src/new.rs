//! `wardwatch new`: a first job file from samples of a topic. What it guesses, it marks; `sample` and `check` tell the rest.

mod contents;
mod guess;
mod leaves;
mod names;
mod times;
mod vitals;
mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};

use wardwatch_config::Job;
use wardwatch_ingest::decode::places_of;
use wardwatch_ingest::schemas::{Schema, SchemaId, Schemas, id_and_rest};
use wardwatch_pipeline::{FileRecord, newest_records, records_of_file};

use super::samples::{Samples, Seen};
use contents::{Contents, Written};
use guess::Guess;
use names::quoted;

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
    /// The schema registry (with Confluent's API) whose ids the records begin with
    #[arg(long, value_name = "URL", env = "SCHEMA_REGISTRY_URL")]
    registry: Option<String>,
    /// Look at so many records
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    last: usize,
}

/// What is known of samples: how they are written, and what they seem to say.
#[derive(Debug, Default)]
struct Found {
    guess: Guess,
    unwrap: Vec<String>,
    /// The lines of `[source]` that say in which format they are.
    format: String,
    /// What is to be said of records that it does not fit.
    note: Option<String>,
}

impl New {
    pub(super) fn run(self) -> anyhow::Result<()> {
        if self.job.exists() {
            bail!("\"{}\" is there already; `wardwatch sample` shows what it makes of the topic", self.job.display());
        }
        let any = self.any_job()?;
        let records = match &self.input {
            Some(file) => records_of_file(&any, file, 0).with_context(|| format!("\"{}\"", file.display()))?,
            None => newest_records(&any, self.last, &[], PATIENCE)?,
        };
        let whole = self.input.as_deref().map(std::fs::read).transpose()?.filter(|bytes| contents::is_hl7(bytes));
        // Segments of HL7 stand in lines, and messages have several.
        let payloads: Vec<&[u8]> = match &whole {
            Some(bytes) => vec![bytes],
            None => records.iter().filter_map(|record| record.payload.as_deref()).collect(),
        };
        if payloads.is_empty() {
            bail!("the topic \"{}\" has no records to look at; give some with --input FILE", self.topic());
        }
        let found = self.find(&payloads)?;
        let folder = self.job.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Queries of another job are not this one's.
        let sql = match folder.join("sql/tables/readings.sql").exists() {
            false => "sql".to_owned(),
            true => format!("sql-{}", self.name()),
        };
        let table = folder.join(&sql).join("tables/readings.sql");
        if let Some(folder) = table.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("\"{}\"", folder.display()))?;
        }
        std::fs::write(&self.job, self.text(&found, &sql)).with_context(|| format!("\"{}\"", self.job.display()))?;
        if !table.exists() {
            std::fs::write(&table, written::readings(&found.guess))
                .with_context(|| format!("\"{}\"", table.display()))?;
        }
        println!("{} records looked at: {}", payloads.len(), found.guess.told());
        if let Some(note) = &found.note {
            println!("{note}: docs/forms.md, several forms in one topic");
        }
        println!("wrote {} and {}; what is guessed is marked", self.job.display(), table.display());
        if found.guess.knows_nothing() {
            println!(
                "no vital is known by its name here: say in [source.columns] where each stands and, in [source], how records are \
                 written (format, unwrap, rows); docs/forms.md has all of it"
            );
        } else {
            println!("read by it: {}", self.tried(&records)?);
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
            "[source]\nbrokers = {}\ntopic = {}\nkey = \"patient_id\"\nevent_time = \"event_time\"\n\
             [source.columns]\npatient_id = {{ type = \"text\" }}\nevent_time = {{ type = \"time\" }}\n\
             [store]\nurl = \"sqlite://none.db\"\n[sql]\ndir = \".\"\n",
            quoted(&self.brokers),
            quoted(self.topic())
        );
        Ok(wardwatch_config::parse(Path::new("new.toml"), &text, &|_| None)?)
    }

    /// Errors: the records need a registry that nobody has named, that does not answer, or that does not know them.
    fn find(&self, payloads: &[&[u8]]) -> anyhow::Result<Found> {
        let of_registry = payloads.iter().filter_map(|payload| id_and_rest(payload));
        let by_id: BTreeMap<SchemaId, &[u8]> =
            of_registry.filter(|(_, rest)| !matches!(rest.trim_ascii_start(), [b'{' | b'[', ..])).collect();
        if !by_id.is_empty() {
            return self.find_schemas(&by_id);
        }
        let contents = Contents::of(payloads);
        let guess = Guess::of(&contents);
        let format = match &contents.format {
            // The forms that come with wardwatch say theirs.
            Written::Json | Written::Hl7v2(_) => String::new(),
            Written::Csv { delimiter, header } => {
                let names = header.as_ref().map(|names| {
                    let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
                    format!("header = [{}]", names.join(", "))
                });
                let delimiter = (*delimiter != ',').then(|| format!("delimiter = {}", quoted(&delimiter.to_string())));
                let settings: Vec<String> = names.into_iter().chain(delimiter).collect();
                let settings = (!settings.is_empty()).then(|| format!("csv = {{ {} }}\n", settings.join(", ")));
                format!("format = \"csv\"\n{}", settings.unwrap_or_default())
            }
        };
        let note = match (contents.hl7, contents.others) {
            (0, 0) => None,
            (0, others) => Some(format!("{others} of them are not HL7 v2, and want a form of their own")),
            (hl7, _) => Some(format!("{hl7} of them are HL7 v2, and want a form of their own (use = \"hl7v2-oru\")")),
        };
        Ok(Found { guess, unwrap: contents.unwrap, format, note })
    }

    /// What the registry's schemas tell of the records: of each, one is given without its id.
    fn find_schemas(&self, by_id: &BTreeMap<SchemaId, &[u8]>) -> anyhow::Result<Found> {
        let Some(url) = &self.registry else {
            let ids: Vec<String> = by_id.keys().map(|id| id.0.to_string()).collect();
            bail!(
                "the records begin with ids of a schema registry ({}): say where it is, --registry http://HOST:8081",
                ids.join(", ")
            );
        };
        let schemas = Schemas::of_registry(url);
        let (mut format, mut places) = ("json", BTreeSet::new());
        for (id, rest) in by_id {
            schemas.look_up(*id)?;
            let schema = match schemas.get(*id) {
                Some(Ok(schema)) => schema,
                Some(Err(reason)) => bail!("{reason}"),
                None => bail!("the schema registry at {url} has no schema {}", id.0),
            };
            format = match &*schema {
                Schema::Avro(_) => "avro",
                Schema::Protobuf(_) => "protobuf",
                Schema::Json => continue,
            };
            places.extend(places_of(&schema, rest));
        }
        let guess = Guess::of_places(&Vec::from_iter(places));
        // A password stays in the environment.
        let url =
            if url.contains('@') { "${SCHEMA_REGISTRY_URL}" } else { &format!("${{SCHEMA_REGISTRY_URL:-{url}}}") };
        let format = format!(
            "format = \"{format}\"
registry = {}
",
            quoted(url)
        );
        Ok(Found { guess, format, ..Found::default() })
    }

    /// What the job is called: as its file, in letters that every database takes.
    fn name(&self) -> String {
        let stem = self.job.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
        stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
    }

    /// The job file, with its queries in the folder `sql`.
    fn text(&self, found: &Found, sql: &str) -> String {
        let Found { guess, unwrap, format, .. } = found;
        let name = self.name();
        let brokers = quoted(&format!("${{KAFKA_BROKERS:-{}}}", self.brokers));
        let topic = quoted(self.topic());
        let mut text = format!(
            "# Written by `wardwatch new` from samples of the topic; what it has guessed is marked. docs/forms.md tells what may be said here.\n\
             name = \"{name}\"\n\n[source]\nbrokers = {brokers}\ntopic = {topic}\nkey = \"patient_id\"\nevent_time = \"event_time\"\n"
        );
        text.push_str(format);
        if !unwrap.is_empty() {
            let _ = writeln!(text, "unwrap = [{}]  # guessed", unwrap.join(", "));
        }
        text.push_str(&written::source(guess));
        text.push_str("\n[source.columns]\n");
        text.push_str(&written::columns(guess));
        for form in &guess.forms {
            let _ = write!(text, "\n[[source.form]]\nuse = \"{form}\"\n");
        }
        let _ = write!(
            text,
            "\n[store]\nurl = \"${{MYSQL_URL:-sqlite://{name}.db}}\"\n\n[sql]\ndir = \"{sql}\"\n\n[reports]\ntable = \"readings\"\ndir = \"out\"\n"
        );
        text
    }

    /// What becomes of the samples by the job file that was written.
    fn tried(&self, records: &[FileRecord]) -> anyhow::Result<String> {
        let job = wardwatch_config::load(&self.job)?;
        let mut samples = Samples::of(&job)?;
        let mut seen = Seen::default();
        let mut unnamed = BTreeSet::new();
        // A file of lines with their names above is one record.
        let of_file = self.input.as_deref().map(|file| samples.of_file(file, None)).transpose()?;
        let records = of_file.as_deref().unwrap_or(records);
        for record in records {
            let found = samples.explain(record);
            unnamed.extend(found.iter().flat_map(|found| found.unnamed.clone()));
            seen.note(&job, record, &found, &[]);
        }
        let first = seen.reason().map(|reason| format!(" (the first: {reason})")).unwrap_or_default();
        let mut told = format!("{}{first}", seen.summary(records.len()));
        if !unnamed.is_empty() {
            let names: Vec<String> = unnamed.iter().take(10).map(|name| quoted(name)).collect();
            let _ = write!(told, "; left out, for no column is named so: {}", names.join(", "));
        }
        Ok(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(payloads: &[&str], lines: &[&str]) -> String {
        let new = New {
            job: "ward.toml".into(),
            from_topic: Some("t".into()),
            brokers: "b:9092".into(),
            input: None,
            registry: None,
            last: 1,
        };
        let payloads: Vec<&[u8]> = payloads.iter().map(|payload| payload.as_bytes()).collect();
        let found = new.find(&payloads).unwrap();
        let text = new.text(&found, ".");
        for line in lines {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let job = wardwatch_config::parse(Path::new("ward.toml"), &text, &|_| None);
        assert!(job.is_ok(), "{:?}\n{text}", job.err());
        text
    }

    #[test]
    fn what_is_written_is_a_job_that_reads_what_was_seen() {
        check(
            &[r#"{"patient":{"id":"P1"},"ts":1767225600,"vitals":{"HR":80,"SpO2":{"value":97},"a.b":1}}"#],
            &[
                "from = \"patient.id\" }",
                "from = \"ts\" }",
                "heart_rate = { type = \"float\", from = \"vitals.HR\", unit = \"/min\"",
                "spo2 = { type = \"float\", from = \"vitals.SpO2.value\"",
                "# not read: \"vitals.\\\"a.b\\\"\", such as \"1\"",
            ],
        );
        check(
            &[
                r#"[{"mrn":"1","time":"2026-01-01T00:00:00Z","metric":"Heart Rate","value":80},{"mrn":"1","time":"x","metric":"ST","value":1}]"#,
            ],
            &[
                "long = { name = \"metric\", value = \"value\" }",
                "heart_rate = { type = \"float\", named = \"Heart Rate\"",
                "# not read: \"ST\"",
            ],
        );
        check(&["MSH|^~\\&|"], &["use = \"hl7v2-oru\"", "temperature = { type = \"float\""]);
        check(&[r#"{"resourceType":"Bundle"}"#], &["use = \"fhir-observation\""]);
        check(&[r#"{"x":1}"#], &["from = \"@key\" }", "from = \"@stamp\" }"]);
    }

    #[test]
    fn units_and_spellings_are_seen() {
        check(
            &[
                r#"{"patient_id":"1","device_id":"M1","time":"13/01/2026 10:00","temp":"98.6","unit":"F","hr":"72 bpm","bp":"118/76","spo2":"--"}"#,
                r#"{"patient_id":"1","device_id":"M1","time":"13/01/2026 10:01","temp":"99,1","unit":"F","hr":-999,"bp":"120/80","spo2":"97"}"#,
            ],
            &[
                "device = \"device_id\"",
                "time_format = \"%d/%m/%Y %H:%M\"",
                "from = \"temp\", decimal = \",\", unit = \"°C\", plausible = [32, 44], unit_from = \"unit\"",
                "from = \"hr\", extract = \"number\", null = [-999]",
                "systolic_bp = { type = \"float\", from = \"bp\", split = \"/\", part = 1, extract = \"number\"",
                "diastolic_bp = { type = \"float\", from = \"bp\", split = \"/\", part = 2",
                "from = \"spo2\", null = [\"--\"]",
            ],
        );
        check(
            &[
                r#"{"patient_id":"1","date":"2026-01-01","time":"10:00:00","temperature":101.2,"spo2":0.97,"avpu":"Alert"}"#,
            ],
            &[
                "from = \"{date} {time}\"",
                "unit_in = \"°F\"",
                "unit_in = \"1\"",
                "consciousness = { type = \"text\", from = \"avpu\"",
            ],
        );
        // One unit beside two vitals is of the one that can have it.
        let both = check(
            &[r#"{"patient_id":"1","ts":1,"hr":80,"spo2":97,"unit":"%"}"#],
            &["spo2 = { type = \"float\", from = \"spo2\", unit = \"%\", plausible = [50, 100], unit_from = \"unit\""],
        );
        assert_eq!(both.matches("unit_from").count(), 1, "{both}");
    }

    #[test]
    fn a_vital_may_stand_at_several_places() {
        check(
            &[
                r#"{"patient_id":"P1","ts":1767225600,"heart_rate":72}"#,
                r#"{"patient_id":"P1","ts":1767225601,"heart_rate":{"value":73,"unit":"beats/min"}}"#,
                r#"{"patient_id":"P1","patient":"","ts":1767225602,"temp_c":36.6,"temp_f":98.6}"#,
            ],
            &[
                "patient_id = { type = \"text\", from = \"patient_id\" }",
                "heart_rate = { type = \"float\", from = [\"heart_rate\", \"heart_rate.value\"], unit = \"/min\", plausible = [10, 300], unit_from = \"heart_rate.unit\"",
                "temperature = { type = \"float\", from = \"temp_c\", unit = \"°C\"",
                "# not read: \"temp_f\"",
            ],
        );
        // An empty field names no patient; the device does, while nothing else can.
        check(
            &[r#"{"device_id":"D1","patient-id":"","ts":1767225600,"hr":72}"#],
            &["patient_id = { type = \"text\", from = \"device_id\" }"],
        );
    }

    #[test]
    fn lists_within_records_are_rows() {
        check(
            &[
                r#"{"patient_id":"P1","data":{"metrics":[{"name":"heart_rate","units":"count/min","data":[{"date":"2026-01-01 11:00:00 +0100","Avg":65}]}]}}"#,
            ],
            &[
                "rows = \"$.data.metrics[*].data[*]\"",
                "long = { name = \"^.name\", value = \"Avg\" }",
                "patient_id = { type = \"text\", from = \"^.patient_id\" }",
                "event_time = { type = \"time\", from = \"date\" }",
                "unit_from = \"^.units\"",
            ],
        );
        check(
            &[r#"{"patient_id":"P1","samples":[{"t":1,"time":"2026-01-01T10:00:00Z","hr":80}],"note":"x"}"#],
            &["rows = \"$.samples[*]\"", "from = \"hr\"", "from = \"^.patient_id\""],
        );
    }

    #[test]
    fn what_is_somebody_elses_or_a_limit_is_not_read() {
        let text = check(
            &[
                r#"{"patient_id":"1","ts":1767225600,"vitals":{"hr":80},"alarm_limits":{"hr":120},"fetus":{"hr":140},"baseline":{"spo2":97}}"#,
            ],
            &["from = \"vitals.hr\"", "# not read: \"fetus.hr\", such as \"140\"", "# not read: \"alarm_limits.hr\""],
        );
        assert!(!text.contains("\nspo2 ="), "{text}");
    }

    #[test]
    fn a_patient_may_stand_elsewhere_in_records_of_another_version() {
        check(
            &[r#"{"patient_id":"1","ts":1767225600,"hr":80}"#, r#"{"patient":{"id":"1"},"ts":1767225601,"hr":81}"#],
            &["patient_id = { type = \"text\", from = [\"patient_id\", \"patient.id\"] }"],
        );
        check(
            &[r#"{"mrn":"1","mother":{"mrn":"2"},"ts":1767225600,"hr":80}"#],
            &["patient_id = { type = \"text\", from = \"mrn\" }", "# not read: \"mother.mrn\""],
        );
    }

    #[test]
    fn units_that_only_values_show_are_of_all_that_they_can_be_of() {
        check(
            &[r#"{"patient_id":"1","ts":1767225600,"sbp":15.7,"dbp":10.1,"rr":833,"bp_unit":null}"#],
            &[
                "from = \"sbp\", unit = \"mmHg\", plausible = [20, 300], unit_from = \"bp_unit\"",
                "# not read: \"rr\", which as respiratory_rate would be 833 /min",
            ],
        );
        let text = check(&[r#"{"patient_id":"1","ts":1767225600,"sbp":15.7,"dbp":10.1}"#], &[]);
        assert_eq!(text.matches("unit_in = \"kPa\"").count(), 2, "{text}");
        check(
            &[r#"{"patient_id":"1","ts":1767225600,"temp":36.6}"#, r#"{"patient_id":"1","ts":1767225601,"temp":98.6}"#],
            &["plausible = [32, 44] }  # guessed: some values make sense in °F only"],
        );
    }

    #[test]
    fn values_of_each_name_are_looked_at() {
        let row = |name: &str, value: &str| {
            format!(r#"{{"mrn":"1","sent":"2026-01-01T00:00:00Z","metric":"{name}","value":{value}}}"#)
        };
        let rows = [
            row("Temp", "98.6"),
            row("HR", "80"),
            row("heart_rate", "81"),
            row("NIBP", "\"118/76\""),
            row("SpO2", "0.97"),
        ];
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        check(
            &rows,
            &[
                "event_time = { type = \"time\", from = \"sent\" }  # guessed: its values look like times",
                "named = \"Temp\", unit = \"°C\", plausible = [32, 44], unit_in = \"°F\"",
                "named = [\"HR\", \"heart_rate\"]",
                "systolic_bp = { type = \"float\", named = \"NIBP\", split = \"/\", part = 1",
                "named = \"SpO2\", unit = \"%\", plausible = [50, 100], unit_in = \"1\"",
            ],
        );
    }

    #[test]
    fn what_stands_around_is_looked_at() {
        let event = r#"{"specversion":"1.0","id":"1","source":"s","type":"t","subject":"P1","time":"2026-01-01T00:00:00Z","data":{"hr":80}}"#;
        check(&[event], &["from = \"^.subject\" }", "from = \"^.time\" }", "# not read: \"^.source\""]);
        let adt = "MSH|^~\\&|A|B|C|D|20260101000000||ADT^A01|1|P|2.5\rPID|1||P1\r";
        check(&[adt], &["use = \"hl7v2-adt\"\n\n[[source.form]]\nuse = \"hl7v2-oru\""]);
    }

    #[test]
    fn what_is_wrapped_is_unwrapped() {
        let row = r#"{"patient_id":"P1","ts":1767225600,"hr":80}"#;
        let event = format!(r#"{{"specversion":"1.0","id":"1","source":"s","type":"t","data":{row}}}"#);
        check(&[&event, row], &["unwrap = [\"cloudevents\"]", "from = \"hr\""]);
        let change = format!(r#"{{"before":null,"after":{row},"op":"c"}}"#);
        check(&[&change], &["unwrap = [\"debezium\"]"]);
        let text = serde_json::Value::from(row).to_string();
        check(
            &[&text, &format!(r#"{{"device":"x","payload":{text}}}"#)],
            &["unwrap = [{ field = \"payload\" }, \"json-text\"]"],
        );
        // What stands beside the vitals is not what they stand in.
        let beside = format!(r#"{{"patient_id":"P1","ts":1767225600,"hr":80,"raw":{text}}}"#);
        assert!(!check(&[&beside], &["from = \"hr\""]).contains("unwrap"));
        check(
            &["eyJwYXRpZW50X2lkIjoiUDEiLCJ0cyI6MTc2NzIyNTYwMCwiaHIiOjgwfQ=="],
            &["unwrap = [\"base64\"]", "from = \"hr\""],
        );
    }

    #[test]
    fn lines_are_read_by_their_names() {
        check(
            &["id;zeit;time;hr\n1;x;2026-01-01T10:00:00Z;80\n"],
            &["format = \"csv\"\ncsv = { delimiter = \";\" }", "from = \"hr\""],
        );
        check(&["id,time,hr", "1,2026-01-01T10:00:00Z,80"], &["csv = { header = [\"id\", \"time\", \"hr\"] }"]);
    }

    #[test]
    fn a_registry_that_is_needed_is_asked_for() {
        let new = New {
            job: "w.toml".into(),
            from_topic: None,
            brokers: String::new(),
            input: None,
            registry: None,
            last: 1,
        };
        let told = new.find(&[b"\0\0\0\0\x07\x04P1"]).unwrap_err().to_string();
        assert!(told.contains("--registry"), "{told}");
    }
}
