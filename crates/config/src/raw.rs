//! A job file as it was typed: the shape that TOML may have, nothing of it checked yet.

mod column;
mod served;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::spanned::Spanned;

pub(super) use column::{RawColumn, RawCondition, RawConditions, RawFormColumn, RawPlaces, RawTrust, RawWords};
pub(super) use served::{RawDashboard, RawGateway};

type Text = Spanned<String>;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawJob {
    /// The job's name; without it, the file's.
    pub(super) name: Option<Text>,
    /// When a micro-batch closes.
    #[serde(default)]
    pub(super) trigger: RawTrigger,
    /// Where records come from and how they become columns.
    pub(super) source: Option<Spanned<RawSource>>,
    /// Several sources, each with a table of its own: vitals, laboratory results, who comes and goes. Without `[source]`, the first of
    /// them is the job's first.
    #[serde(default)]
    pub(super) sources: Vec<Spanned<RawSource>>,
    /// Where results go.
    pub(super) store: RawStore,
    /// The set of queries.
    pub(super) sql: RawSql,
    /// Columns that are computed from a patient's readings of the last while.
    #[serde(default)]
    pub(super) features: BTreeMap<Text, RawFeature>,
    /// How alerts are cared for.
    #[serde(default)]
    pub(super) alerts: RawAlerts,
    /// Who is told of alerts.
    #[serde(default)]
    pub(super) notify: Vec<Spanned<RawOutlet>>,
    /// Charts.
    #[serde(default)]
    pub(super) reports: RawReports,
    /// The page and the metrics.
    #[serde(default)]
    pub(super) dashboard: RawDashboard,
    /// Where `wardwatch gateway` takes messages for the topic.
    #[serde(default)]
    pub(super) gateway: RawGateway,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTrigger {
    /// At the latest: "1s".
    pub(super) every: Option<Text>,
    /// Earlier, with so many records.
    pub(super) max_rows: Option<Spanned<i64>>,
    /// Earlier, with so many bytes: "64MiB".
    pub(super) max_bytes: Option<Text>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSource {
    /// librdkafka's bootstrap.servers: "localhost:9092". The same for all sources.
    pub(super) brokers: Option<Text>,
    /// The topic, or a pattern of topics, which begins with ^: "vitals", `^ward[0-9]+\.vitals$`.
    pub(super) topic: Option<Text>,
    /// Several topics: ["heart_data", "oxygen_data"].
    pub(super) topics: Option<Spanned<Vec<Text>>>,
    /// The consumer group under which offsets are shown to lag tools.
    pub(super) group: Option<Text>,
    /// The name under which queries read a batch: "vitals".
    pub(super) table: Option<Text>,
    /// The column that names the patient, in all sources.
    pub(super) key: Option<Text>,
    /// The column with the time at which the device measured, in all sources.
    pub(super) event_time: Option<Text>,
    /// Of a source beside the first: its records say who comes, moves and goes; it needs no table.
    pub(super) encounters: Option<bool>,
    /// A form that comes with wardwatch, or a file with one, where the source has no other: "hl7v2-adt".
    pub(super) r#use: Option<Text>,
    /// The column that names the device, where a patient may have several: each has a clock of its own.
    pub(super) device: Option<Text>,
    /// The column with the device or bed, where the table of encounters says which patient a record is of.
    pub(super) attach: Option<Text>,
    /// A patient without a record for so long, and without an encounter, is let go of: "24h"; "0s" is never.
    pub(super) forget_after: Option<Text>,
    /// Where a new job begins: "earliest", "latest" or a time.
    pub(super) start: Option<Text>,
    /// How late a row may come: "10s".
    pub(super) lateness: Option<Text>,
    /// How far ahead of Kafka's time stamp a device's clock may be: "5m".
    pub(super) max_skew: Option<Text>,
    /// After so long a silent partition no longer holds windows open: "30s".
    pub(super) idle_timeout: Option<Text>,
    /// How far back the table with the rows of the last while reaches: "2m".
    pub(super) retain: Option<Text>,
    /// Rows that agree in these columns and in the event time are one.
    pub(super) dedupe: Option<Spanned<Vec<Text>>>,
    /// The time zone of times that name none: "Europe/Berlin".
    pub(super) time_zone: Option<Text>,
    /// A record longer than this is a reject: "1MiB".
    pub(super) max_record_bytes: Option<Text>,
    /// So long rejects are kept: "90d"; "0s" is for ever.
    pub(super) keep_rejects: Option<Text>,
    /// Handed to librdkafka as they are.
    pub(super) properties: Option<BTreeMap<String, Text>>,
    /// The columns that a record becomes; of a source of encounters, where they stand.
    #[serde(default)]
    pub(super) columns: BTreeMap<Text, RawFormColumn>,
    /// json, csv, hl7v2, text, avro or protobuf.
    pub(super) format: Option<Text>,
    /// The file with the schema of avro or protobuf: "vitals.avsc", "vitals.proto".
    pub(super) schema: Option<Text>,
    /// Or the schema registry that has it: "http://registry:8081".
    pub(super) registry: Option<Text>,
    /// The type of protobuf, where it is not the file's first: "ward.Vitals".
    pub(super) message: Option<Text>,
    /// How lines of csv are written.
    pub(super) csv: Option<RawCsv>,
    /// A regular expression whose named groups are the fields of text: `(?<patient>[0-9]+) BPM: (?<hr>[0-9]+)`.
    pub(super) pattern: Option<Text>,
    /// What is taken off before that, step by step: gzip, base64, json-text, cloudevents, debezium, senml, or { field = "payload" }.
    pub(super) unwrap: Option<Vec<Spanned<RawUnwrap>>>,
    /// Where in a record the items stand that become rows: `$.metrics[*].data[*]`. Without it, each object is one.
    pub(super) rows: Option<RawPlaces>,
    /// Set where each record carries one vital by name.
    pub(super) long: Option<RawLong>,
    /// What meets one of these is left out and counted: { field = "type", is = "heartbeat" }.
    pub(super) ignore: Option<RawConditions>,
    /// What does not meet all of these is left out and counted.
    pub(super) only: Option<RawConditions>,
    /// The forms of a topic that has several; the first whose conditions a record meets counts.
    #[serde(default)]
    pub(super) form: Vec<Spanned<RawForm>>,
}

/// One way in which records are written; what it does not say is as the source says.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawForm {
    /// What it is called.
    pub(super) name: Option<Text>,
    /// A form that comes with wardwatch, or a file with one: "fhir-observation", "forms/monitor.toml".
    pub(super) r#use: Option<Text>,
    /// A record is of this form if it meets all of these: { field = "type", is = "vitals" }, { field = "@topic", is = "labs" }.
    pub(super) when: Option<RawConditions>,
    /// true: records of this form say who comes, moves and goes; its columns are those of the table of encounters.
    pub(super) encounters: Option<bool>,
    /// true: records of this form are left out and counted. Or conditions, as of the source.
    pub(super) ignore: Option<RawIgnore>,
    /// What does not meet all of these is left out and counted.
    pub(super) only: Option<RawConditions>,
    /// json, csv, hl7v2, text, avro or protobuf.
    pub(super) format: Option<Text>,
    /// The file with the schema of avro or protobuf: "vitals.avsc", "vitals.proto".
    pub(super) schema: Option<Text>,
    /// Or the schema registry that has it: "http://registry:8081".
    pub(super) registry: Option<Text>,
    /// The type of protobuf, where it is not the file's first: "ward.Vitals".
    pub(super) message: Option<Text>,
    /// How lines of csv are written.
    pub(super) csv: Option<RawCsv>,
    /// A regular expression whose named groups are the fields of text.
    pub(super) pattern: Option<Text>,
    /// What is taken off before that, step by step.
    pub(super) unwrap: Option<Vec<Spanned<RawUnwrap>>>,
    /// Where in a record the items stand that become rows.
    pub(super) rows: Option<RawPlaces>,
    /// Set where each record carries one vital by name.
    pub(super) long: Option<RawLong>,
    /// How columns stand in it: { heart_rate = "hr", temperature = { from = "t", unit_in = "°F" } }.
    #[serde(default)]
    pub(super) columns: BTreeMap<Text, RawFormColumn>,
}

/// Whether records of a form are left out, or which of them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "true, or conditions: { field = \"type\", is = \"heartbeat\" }")]
pub(super) enum RawIgnore {
    All(bool),
    Some(RawConditions),
}

/// How lines of CSV are written.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCsv {
    /// The names of its columns, where no line has them: ["patient_id", "time", "hr"]. Without it, a record's first line has them.
    pub(super) header: Option<Spanned<Vec<String>>>,
    /// What stands between values: ";".
    pub(super) delimiter: Option<Text>,
    /// What stands around values with a delimiter in them; without it, a double quote.
    pub(super) quote: Option<Text>,
}

/// One step of unwrapping.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "gzip, base64, json-text, cloudevents, debezium, or { field = \"payload\" }")]
pub(super) enum RawUnwrap {
    Step(String),
    Field(RawUnwrapField),
}

/// A field in which the record proper stands.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUnwrapField {
    /// The field.
    pub(super) field: String,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLong {
    /// The path of the vital's name; of several, the first with a name that a column has counts.
    pub(super) name: RawPlaces,
    /// The path of its value; of several, the first that is not null counts: ["qty", "Avg"].
    pub(super) value: RawPlaces,
    /// Vitals of one record that were measured within so long are one row: "1s". Without it, those of one time.
    pub(super) join_within: Option<Text>,
    /// Whether a name that no column has makes a reject. Without it, what bears such a name is left out and counted.
    #[serde(default)]
    pub(super) strict: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStore {
    /// "mysql://user:password@host:3306/database" or "sqlite://file.db".
    pub(super) url: Text,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSql {
    /// The folder of the set, relative to this file.
    pub(super) dir: Text,
    /// Of one query on one batch: "5s".
    pub(super) time_limit: Option<Text>,
    /// Of one query on one batch: "256MiB".
    pub(super) memory_limit: Option<Text>,
    /// How many groups a windowed query may keep.
    pub(super) max_groups: Option<Spanned<i64>>,
    /// After so many batches, what windows hold goes to the store.
    pub(super) snapshot_every: Option<Spanned<i64>>,
    /// How often reference tables are read anew: "10s".
    pub(super) reference_refresh: Option<Text>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFeature {
    /// The column that it is computed from.
    pub(super) of: Text,
    /// ewm, rolling_mean, rolling_min, rolling_max, rolling_std, zscore, slope or delta.
    pub(super) kind: Text,
    /// How far back it looks: "1m".
    pub(super) over: Option<Text>,
    /// Of ewm: after so long a reading counts half: "15s".
    pub(super) half_life: Option<Text>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawReports {
    /// The table with a row per record.
    pub(super) table: Option<Text>,
    /// Where reports go.
    pub(super) dir: Option<Text>,
    /// The folder with their specs, *.toml.
    pub(super) specs: Option<Text>,
    /// The time zone of their axes.
    pub(super) time_zone: Option<Text>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAlerts {
    /// Without a known value for so long, an alert is stale: "30s".
    pub(super) stale_after: Option<Text>,
    /// How long alerts may be paused: "2m".
    pub(super) longest_pause: Option<Text>,
    /// The reference table that says in which ward a patient lies.
    pub(super) patients: Option<Text>,
    /// The reference table that `wardwatch limits` adds to.
    pub(super) limits: Option<Text>,
    /// What no receiver has taken for so long has reached nobody: the next of the escalation are called: "30s".
    pub(super) unreached_after: Option<Text>,
    /// Who is told while nobody acknowledges.
    #[serde(default)]
    pub(super) escalation: Vec<RawStep>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStep {
    /// How long after the alert fired: "2m".
    pub(super) after: Text,
    /// The outlets that are told.
    pub(super) to: Spanned<Vec<Text>>,
    /// From this severity on.
    pub(super) severity: Option<Text>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOutlet {
    /// What it is called; escalation steps name it.
    pub(super) name: Option<Text>,
    /// webhook, alertmanager, email, ntfy, kafka, log or heartbeat.
    pub(super) kind: Option<Text>,
    /// From this severity on.
    pub(super) severity: Option<Text>,
    /// "alert" or "escalation".
    pub(super) when: Option<Text>,
    /// Whether patients are named.
    pub(super) identify: Option<bool>,
    /// A template of the subject.
    pub(super) subject: Option<Text>,
    /// A template of the text.
    pub(super) template: Option<Text>,
    /// How long an attempt may take.
    pub(super) timeout: Option<Text>,
    /// The longest time between two attempts.
    pub(super) longest_backoff: Option<Text>,
    /// After so long a notification is given up.
    pub(super) give_up_after: Option<Text>,
    /// Where to.
    pub(super) url: Option<Text>,
    /// Signs webhooks (HMAC-SHA256).
    pub(super) secret: Option<Text>,
    /// How often Alertmanager is told again.
    pub(super) resend: Option<Text>,
    /// The sender of mail.
    pub(super) from: Option<Text>,
    /// Who gets mail.
    pub(super) to: Option<Spanned<Vec<Text>>>,
    /// The topic of Kafka or ntfy.
    pub(super) topic: Option<Text>,
    /// The access token of ntfy.
    pub(super) token: Option<Text>,
    /// The URL that ntfy's button calls.
    pub(super) acknowledge: Option<Text>,
    /// How often a heartbeat is sent.
    pub(super) every: Option<Text>,
}

/// The JSON Schema of a job file, for completion in editors.
#[must_use]
pub fn schema() -> String {
    let mut settings = schemars::generate::SchemaSettings::draft07();
    settings.meta_schema = Some("http://json-schema.org/draft-07/schema#".into());
    let mut schema = settings.into_generator().into_root_schema_for::<RawJob>();
    schema.insert("title".to_owned(), "wardwatch job".into());
    let text = serde_json::to_string_pretty(&schema).unwrap_or_else(|error| panic!("a schema is JSON: {error}"));
    text + "\n"
}
