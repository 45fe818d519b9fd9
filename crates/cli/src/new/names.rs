//! What records call patients, times and devices; and names as they are compared, and as job files write them.

/// What patients' ids are called.
pub(super) const PATIENTS: [&str; 10] =
    ["patientid", "patient", "subjectid", "subject", "mrn", "pid", "personid", "userid", "id", "deviceid"];

/// What times are called.
pub(super) const TIMES: [&str; 15] = [
    "eventtime",
    "timestamp",
    "measuredat",
    "recordedat",
    "observedat",
    "effectivetime",
    "time",
    "datetime",
    "ts",
    "charttime",
    "date",
    "createdat",
    "eventts",
    "epoch",
    "at",
];

/// What devices are called.
pub(super) const DEVICES: [&str; 7] =
    ["deviceid", "device", "monitorid", "monitor", "sensorid", "deviceserial", "serialnumber"];

/// A name without signs and capitals.
pub(super) fn normal(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// A text of TOML, in quotes. JSON writes it alike.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
