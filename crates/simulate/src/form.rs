//! A sample as the JSON text that a job declares: its field names, nesting, times and ids.

use chrono::SecondsFormat;
use chrono_tz::Tz;
use serde_json::{Map, Number, Value};

use wardwatch_config::{ColumnType, SourcePath, SourceSpec};

use super::{ACVPU, Sample, Vital};

/// Where each part of a sample stands in a record of one job.
#[derive(Debug)]
pub struct RecordForm {
    patient: Option<SourcePath>,
    event_time: Option<SourcePath>,
    vitals: Vec<Field>,
    /// The paths of name and value where each vital is a record of its own.
    long: Option<(SourcePath, SourcePath)>,
    time_zone: Tz,
}

#[derive(Debug)]
struct Field {
    vital: Vital,
    /// Where it stands in a record, unless that is the long value.
    path: Option<SourcePath>,
    /// What a long record calls it.
    name: Option<String>,
    column: ColumnType,
}

impl RecordForm {
    /// The form that `spec` takes: each column at the first place it is read from. `None` where it takes no bare JSON objects.
    #[must_use]
    pub fn of(spec: &SourceSpec) -> Option<Self> {
        let form = spec.bare_form(0)?;
        let vitals = form.columns.all().iter().filter_map(|column| {
            let (path, name) = (column.from.first().cloned(), column.named.first().cloned());
            Some(Field { vital: Vital::from_name(&column.name)?, path, name, column: column.r#type })
        });
        Some(Self {
            patient: form.columns.key().from.first().cloned(),
            event_time: form.columns.event_time().from.first().cloned(),
            vitals: vitals.collect(),
            long: form.long.as_ref().and_then(|long| Some((long.name.first()?.clone(), long.value.first()?.clone()))),
            time_zone: spec.time_zone,
        })
    }

    /// The records that carry the sample; more than one only where each vital is a record of its own.
    pub fn records(&self, sample: &Sample) -> Vec<Vec<u8>> {
        let fields = self.vitals.iter().filter_map(|field| {
            let (_, value) = sample.values.iter().find(|(vital, _)| *vital == field.vital)?;
            Some((field, json(field.vital, *value, field.column)))
        });
        match &self.long {
            None => {
                let mut record = self.head(sample);
                fields.for_each(|(field, value)| put(field.path.as_ref(), &mut record, value));
                vec![Value::Object(record).to_string().into_bytes()]
            }
            Some((name, value_path)) => fields
                .map(|(field, value)| {
                    let mut record = self.head(sample);
                    match &field.name {
                        Some(named) => {
                            name.put(&mut record, Value::String(named.clone()));
                            value_path.put(&mut record, value);
                        }
                        None => put(field.path.as_ref(), &mut record, value),
                    }
                    Value::Object(record).to_string().into_bytes()
                })
                .collect(),
        }
    }

    fn head(&self, sample: &Sample) -> Map<String, Value> {
        let mut record = Map::new();
        put(self.patient.as_ref(), &mut record, Value::String(sample.patient.clone()));
        // A job with a time zone of its own reads times that name none.
        let time = match self.time_zone {
            Tz::UTC => sample.at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            zone => sample.at.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S%.f").to_string(),
        };
        put(self.event_time.as_ref(), &mut record, Value::String(time));
        record
    }
}

fn put(path: Option<&SourcePath>, record: &mut Map<String, Value>, value: Value) {
    if let Some(path) = path {
        path.put(record, value);
    }
}

fn json(vital: Vital, value: f64, column: ColumnType) -> Value {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a small whole number")]
    let place = value.max(0.0) as usize;
    match column {
        ColumnType::Text if vital == Vital::Consciousness => ACVPU.get(place).copied().map_or(Value::Null, Value::from),
        ColumnType::Bool => Value::Bool(value != 0.0),
        #[allow(clippy::cast_possible_truncation, reason = "vitals are small")]
        _ if value.fract() == 0.0 => Value::from(value as i64),
        _ => Number::from_f64(value).map_or(Value::Null, Value::Number),
    }
}
