//! What the job gives to queries beside the batch's rows: the alerts that stand, and values that cannot be read or true.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};

use wardwatch_alert::{Episode, OpenEpisodes, SampleColumns};
use wardwatch_model::encounter::Present;
use wardwatch_model::record::Artefact;
use wardwatch_model::terms::Severity;
use wardwatch_sql::{artefacts_schema, encounters_now_schema, open_alerts_schema};

/// The alerts that people should see, in the order of rules and patients.
pub(super) fn open_alerts(episodes: &OpenEpisodes, columns: &SampleColumns) -> RecordBatch {
    let mut shown: Vec<&Episode> = episodes.iter().filter(|episode| episode.state.is_shown()).collect();
    shown.sort_by_key(|episode| (&episode.rule, &episode.patient, episode.started_at));
    let text = |of: &dyn Fn(&Episode) -> &str| -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(shown.iter().map(|episode| of(episode))))
    };
    let times = |of: &dyn Fn(&Episode) -> Option<DateTime<Utc>>| -> ArrayRef {
        Arc::new(instants(shown.iter().map(|episode| of(episode))))
    };
    let truths = |of: &dyn Fn(&Episode) -> bool| -> ArrayRef {
        Arc::new(BooleanArray::from_iter(shown.iter().map(|episode| Some(of(episode)))))
    };
    let ranks = Int64Array::from_iter_values(shown.iter().map(|episode| rank(episode.severity)));
    let rows = vec![
        text(&|episode| &episode.patient),
        text(&|episode| &episode.rule),
        text(&|episode| episode.severity.name()),
        Arc::new(ranks),
        text(&|episode| episode.state.name()),
        times(&|episode| Some(episode.started_at)),
        times(&|episode| episode.firing_at),
        times(&|episode| episode.handling.fired_now),
        text(&|episode| &episode.peak.text),
        truths(&|episode| episode.handling.acknowledged.is_some()),
        truths(&|episode| episode.stale_at.is_some()),
    ];
    batch(open_alerts_schema(&columns.key), rows)
}

/// The batch's values that cannot be read or cannot be true, but for those that are nobody's.
pub(super) fn artefacts(found: &[Artefact], columns: &SampleColumns) -> RecordBatch {
    let found: Vec<&Artefact> = found.iter().filter(|artefact| !artefact.patient.is_empty()).collect();
    let text = |of: &dyn Fn(&Artefact) -> &str| -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(found.iter().map(|artefact| of(artefact))))
    };
    let rows: Vec<ArrayRef> = vec![
        text(&|artefact| &artefact.patient),
        Arc::new(instants(found.iter().map(|artefact| Some(artefact.event_time)))),
        text(&|artefact| &artefact.column),
        Arc::new(found.iter().map(|artefact| artefact.value).collect::<Float64Array>()),
        text(&|artefact| &artefact.text),
        text(&|artefact| &artefact.reason),
    ];
    batch(artefacts_schema(&columns.key, &columns.event_time), rows)
}

/// Who is here.
pub(super) fn encounters_now(present: &[Present], columns: &SampleColumns) -> RecordBatch {
    let text = |of: &dyn Fn(&Present) -> String| -> ArrayRef {
        let texts = present.iter().map(|one| Some(of(one)).filter(|text| !text.is_empty()));
        Arc::new(StringViewArray::from_iter(texts))
    };
    let rows: Vec<ArrayRef> = vec![
        text(&|one| one.patient.to_string()),
        text(&|one| one.devices.join(", ")),
        Arc::new(instants(present.iter().map(|one| one.from))),
        Arc::new(instants(present.iter().map(|one| one.until))),
        text(&|one| one.whereabouts.ward.clone()),
        text(&|one| one.whereabouts.place.clone()),
        text(&|one| one.details.name.clone()),
        text(&|one| one.details.born.clone()),
        text(&|one| one.details.age_band.clone()),
    ];
    batch(encounters_now_schema(&columns.key), rows)
}

fn rank(severity: Severity) -> i64 {
    match severity {
        Severity::Technical => 0,
        Severity::Low => 1,
        Severity::Medium => 2,
        Severity::High => 3,
    }
}

fn instants(times: impl Iterator<Item = Option<DateTime<Utc>>>) -> TimestampMicrosecondArray {
    let times: TimestampMicrosecondArray = times.map(|time| time.map(|time| time.timestamp_micros())).collect();
    times.with_timezone("UTC")
}

fn batch(schema: SchemaRef, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(schema, columns).unwrap_or_else(|error| panic!("the columns are those of the schema: {error}"))
}
