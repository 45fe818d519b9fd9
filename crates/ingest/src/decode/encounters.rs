//! Records of hospital systems to requests: who comes, moves and goes.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use chrono::{DateTime, Utc};

use wardwatch_model::encounter::{Given, Kind, Origin, Request, RequestId};
use wardwatch_model::record::STAMP_COLUMN;
use wardwatch_model::topics::Topics;

use super::decoded::{EncounterRecord, places};

/// The requests of rows that have the columns of encounters.
pub(super) fn encounters(rows: &RecordBatch, topics: &Topics) -> Vec<EncounterRecord> {
    let text = |column: &str, row: usize| {
        let texts = rows.column_by_name(column)?.as_string_view();
        texts.is_valid(row).then(|| texts.value(row).to_owned())
    };
    let time = |column: &str, row: usize| -> Option<DateTime<Utc>> {
        let times = rows.column_by_name(column)?.as_primitive::<TimestampMicrosecondType>();
        times.is_valid(row).then(|| times.value(row)).and_then(DateTime::from_timestamp_micros)
    };
    let record = |(row, place): (usize, wardwatch_model::record::Place)| {
        let or_empty = |column: &str| text(column, row).unwrap_or_default();
        let at = time("from_at", row)?;
        // The words of the column are the names of kinds: another is no row.
        let kind = Kind::from_name(&or_empty("kind"))?;
        let stamped_at = time(STAMP_COLUMN, row).unwrap_or(at);
        let mut request = Request {
            id: RequestId::default(),
            kind,
            patient: or_empty("patient_id"),
            at,
            until: time("until_at", row).filter(|_| kind == Kind::Admit),
            given: Given {
                device: or_empty("device"),
                ward: or_empty("ward"),
                place: or_empty("place"),
                name: or_empty("name"),
                born: day(or_empty("born")),
                age_band: or_empty("age_band"),
            },
            merged: or_empty("merged_id"),
            stay: or_empty("stay"),
            origin: Origin::Topic,
            by: String::new(),
            note: or_empty("note"),
        };
        // By what it says alone: a message that comes twice asks for the same.
        request = request.named(at);
        let topic = topics.name_of(place.partition);
        request.by = format!("{topic}, partition {}, offset {}", place.partition.number(), place.offset.0);
        Some(EncounterRecord { place, stamped_at, request })
    };
    places(rows).into_iter().enumerate().filter_map(record).collect()
}

/// A day as `2019-05-04`, where it is written as HL7 does.
fn day(text: String) -> String {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    match digits >= 8 {
        true => format!("{}-{}-{}", &text[..4], &text[4..6], &text[6..8]),
        false => text,
    }
}
