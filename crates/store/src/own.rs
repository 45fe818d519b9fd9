//! The rows of wardwatch's own tables that follow from records: what a commit writes of them, and what tests of queries
//! compare.

use wardwatch_alert::Episode;
use wardwatch_model::record::{Artefact, LateRecord, Place, Reject, Unattached};
use wardwatch_model::terms::BatchId;
use wardwatch_model::topics::Topics;

use super::Value;
use super::alerting::episode_values;
use super::column::Kind;
use super::insert::{batch_value, seconds};
use super::system::{ALERTS, ARTEFACTS, LATE_ROWS, REJECTS, UNATTACHED, tables};
use super::topics::partition_values;

/// Something that a batch leaves in one of wardwatch's own tables.
#[derive(Debug, Clone, Copy)]
pub enum OwnRow<'a> {
    /// An episode, in `alerts`.
    Alert(&'a Episode),
    /// A value that cannot be read or cannot be true, in `artefacts`.
    Artefact(&'a Artefact),
    /// A row that came too late for windows, in `late_rows`.
    Late(&'a LateRecord),
    /// A record that is no row, in `rejects`.
    Reject(&'a Reject),
    /// A row that is nobody's, in `unattached`.
    Unattached(&'a Unattached),
}

impl OwnRow<'_> {
    /// The names of the tables.
    pub const TABLES: [&'static str; 5] = [ALERTS, ARTEFACTS, LATE_ROWS, REJECTS, UNATTACHED];

    /// The columns of one of the tables, in their order.
    #[must_use]
    pub fn columns(table: &str) -> Option<Vec<(String, Kind)>> {
        let table = tables().iter().find(|known| known.name == table && Self::TABLES.contains(&table))?;
        Some(table.columns().map(|(name, kind)| (name.to_owned(), kind)).collect())
    }

    /// The values of the row, one for each of its table's columns.
    #[must_use]
    pub fn values(&self, job: &str, topics: &Topics, batch: BatchId) -> Vec<Value> {
        let place = |place: Place| {
            let [topic, number] = partition_values(topics, place.partition);
            [Value::text(job), topic, number, Value::Int(place.offset.0), Value::Int(place.item.0.into())]
        };
        match self {
            Self::Alert(episode) => episode_values(Value::text(job), batch, episode),
            Self::Artefact(artefact) => {
                let rest = [
                    Value::text(&artefact.column),
                    Value::text(&artefact.patient),
                    Value::Time(artefact.event_time),
                    artefact.value.map_or(Value::Null, Value::Float),
                    batch_value(batch),
                    Value::text(&artefact.text),
                    Value::text(&artefact.reason),
                ];
                place(artefact.place).into_iter().chain(rest).collect()
            }
            Self::Late(late) => {
                let by = (late.row.watermark.0 - late.row.event_time).num_milliseconds();
                let rest = [
                    Value::text(&late.patient),
                    Value::Time(late.row.event_time),
                    Value::Time(late.row.watermark.0),
                    Value::Float(seconds(by)),
                    Value::text(&late.values),
                    batch_value(batch),
                ];
                place(late.row.place).into_iter().chain(rest).collect()
            }
            Self::Unattached(row) => {
                let rest = [
                    Value::text(&row.device),
                    Value::Time(row.event_time),
                    Value::text(&row.values),
                    batch_value(batch),
                    Value::Null,
                    Value::Null,
                ];
                place(row.place).into_iter().chain(rest).collect()
            }
            Self::Reject(reject) => {
                let rest = [
                    reject.key.clone().map_or(Value::Null, Value::Bytes),
                    Value::Bytes(reject.raw.clone()),
                    Value::text(&reject.reason),
                    batch_value(batch),
                    reject.patient.as_deref().map_or(Value::Null, Value::text),
                    Value::time(reject.stamped_at),
                    headers_value(&reject.headers),
                    Value::Int(reject.is_whole.into()),
                ];
                place(reject.place).into_iter().chain(rest).collect()
            }
        }
    }
}

fn headers_value(headers: &[(String, String)]) -> Value {
    if headers.is_empty() {
        return Value::Null;
    }
    let object: serde_json::Map<String, serde_json::Value> =
        headers.iter().map(|(name, text)| (name.clone(), text.clone().into())).collect();
    Value::Text(serde_json::Value::Object(object).to_string())
}
