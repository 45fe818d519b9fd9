//! The events that open pages get, as server-sent events whose data is JSON. No name of a patient is in them.
//!
//! ```text
//! event: ward    everything, or what has changed since the event before it
//! event: beat    the line is alive, nothing is new
//! ```

use std::collections::BTreeMap;

use axum::body::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;

use wardwatch_alert::Episode;

use super::view::{PatientView, Told, Ward};
use super::words::sign;

/// What a page is told.
#[derive(Debug, Serialize)]
struct Event<'a> {
    /// The time, by the server, milliseconds since 1970 as all times are.
    now: i64,
    /// The last batch.
    batch: u64,
    /// Its frozen time; 0 where there is no batch yet.
    batch_at: i64,
    /// Why nobody knows how the ward stands, in words; empty where they do.
    trouble: String,
    /// How many patients there are; another number means that the page must be read anew.
    patients: usize,
    /// The patients with something new.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    beds: BTreeMap<&'a str, PatientNews<'a>>,
    /// All episodes, where one has changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    episodes: Option<Vec<EpisodeNews<'a>>>,
}

#[derive(Debug, Serialize)]
struct PatientNews<'a> {
    /// The time of the newest reading; 0 where there is none yet.
    at: i64,
    /// Text, time and sign of each number.
    numbers: Vec<(&'a str, i64, &'static str)>,
    /// The score and where it goes.
    score: Option<(&'a str, &'static str)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sparks: Option<&'a [String]>,
}

/// An episode as pages show it.
#[derive(Debug, Serialize)]
struct EpisodeNews<'a> {
    id: &'a str,
    patient: &'a str,
    severity: &'static str,
    sign: &'static str,
    text: &'a str,
    since: i64,
    state: &'static str,
    acknowledged_by: &'a str,
    stale: bool,
    suppressed: bool,
}

/// The signs of a number and of a score that move.
pub(super) const NUMBER_SIGNS: (&str, &str) = ("↑", "↓");
pub(super) const SCORE_SIGNS: (&str, &str) = ("▲", "▼");

/// Everything, for a page that has just been opened or has lost the thread.
pub(super) fn whole(ward: &Ward, trouble: String, now: DateTime<Utc>) -> Bytes {
    let beds = ward.beds.iter().map(|bed| (bed.id.as_str(), news(bed, true)));
    event("ward", &Event { beds: beds.collect(), episodes: Some(episodes(&ward.episodes)), ..head(ward, trouble, now) })
}

/// What has changed from one ward to the next.
pub(super) fn changes(before: &Ward, ward: &Ward, told: Told, trouble: String, now: DateTime<Utc>) -> Bytes {
    // Both are in the order of their places, and mostly of the same patients.
    let known = |index: usize, bed: &PatientView| {
        before.beds.get(index).filter(|known| known.id == bed.id).or_else(|| before.patient(&bed.id))
    };
    let changed = ward.beds.iter().enumerate().filter_map(|(index, bed)| {
        let known = known(index, bed);
        let has_news = known.is_none_or(|known| **known != **bed);
        let has_sparks = told == Told::Sparks && known.is_none_or(|known| known.sparks != bed.sparks);
        has_news.then(|| (bed.id.as_str(), news(bed, has_sparks)))
    });
    let episodes = (before.episodes != ward.episodes).then(|| episodes(&ward.episodes));
    event("ward", &Event { beds: changed.collect(), episodes, ..head(ward, trouble, now) })
}

/// That the line is alive.
pub(super) fn beat(ward: &Ward, trouble: String, now: DateTime<Utc>) -> Bytes {
    event("beat", &head(ward, trouble, now))
}

fn head(ward: &Ward, trouble: String, now: DateTime<Utc>) -> Event<'_> {
    Event {
        now: now.timestamp_millis(),
        batch: ward.batch.as_ref().map_or(0, |batch| batch.batch.0),
        batch_at: ward.batch.as_ref().map_or(0, |batch| batch.now.timestamp_millis()),
        trouble,
        patients: ward.beds.len(),
        beds: BTreeMap::new(),
        episodes: None,
    }
}

fn news(bed: &PatientView, with_sparks: bool) -> PatientNews<'_> {
    let number = |number: &'_ super::patient_state::Number| {
        (number.at.map_or(0, |at| at.timestamp_millis()), number.trend.sign(NUMBER_SIGNS))
    };
    PatientNews {
        at: bed.newest.map_or(0, |at| at.timestamp_millis()),
        numbers: bed
            .numbers
            .iter()
            .map(|one| {
                let (at, sign) = number(one);
                (one.text.as_str(), at, sign)
            })
            .collect(),
        score: bed.score.as_ref().map(|(score, trend)| (score.label.as_str(), trend.sign(SCORE_SIGNS))),
        sparks: with_sparks.then(|| bed.sparks.as_slice()),
    }
}

fn episodes(episodes: &[Episode]) -> Vec<EpisodeNews<'_>> {
    let news = |episode: &'_ Episode| (episode.firing_at.unwrap_or(episode.started_at)).timestamp_millis();
    episodes
        .iter()
        .map(|episode| EpisodeNews {
            id: &episode.id.0,
            patient: &episode.patient,
            severity: episode.severity.name(),
            sign: sign(episode.severity),
            text: &episode.text,
            since: news(episode),
            state: episode.state.name(),
            acknowledged_by: episode.handling.acknowledged.as_ref().map_or("", |who| who.by.as_str()),
            stale: episode.stale_at.is_some(),
            suppressed: episode.suppressed_by.is_some(),
        })
        .collect()
}

fn event(name: &str, data: &Event<'_>) -> Bytes {
    // JSON has no line breaks of its own, so the data is one line.
    let data = serde_json::to_string(data).unwrap_or_else(|error| panic!("an event is JSON: {error}"));
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}
