//! Episodes, silences and actions as rows of their tables, and back.

use wardwatch_alert::{
    Acknowledged, Action, ActionId, End, Episode, EpisodeId, Facts, Handling, Peak, Request, Scope, Silence,
    SilenceKind, State, read_tracks, write_tracks,
};
use wardwatch_model::diagnostic::unknown;
use wardwatch_model::terms::{BatchId, Severity};

use super::super::Value;
use super::super::clip::clipped;
use super::super::error::StoreError;
use super::super::insert::batch_value;
use super::super::row::Row;
use super::super::system::{ALERTS, SILENCES};

pub(super) const EPISODE_COLUMNS: &str = "`id`, `rule`, `patient_id`, `severity`, `state`, `started_at`, `firing_at`, `last_at`, \
    `known_at`, `clear_since`, `cleared_at`, `ended_at`, `end_reason`, `samples`, `text`, `peak_value`, `limit_value`, \
    `peak_at`, `peak_text`, `stale_at`, `suppressed_by`, `fired_now_at`, `told`, `notices`, `acknowledged_at`, \
    `acknowledged_by`, `acknowledged_note`, `reminded_at`, `escalated`, `events`, `tracks`";

pub(super) const SILENCE_COLUMNS: &str =
    "`id`, `kind`, `patient_id`, `ward`, `rule`, `up_to`, `from_at`, `until_at`, `author`, `reason`";

/// What is to be told, as JSON; texts that somebody made very long are cut.
pub(super) fn facts_within(facts: &Facts, most: usize) -> String {
    let json = facts.to_json();
    if json.len() <= most {
        return json;
    }
    // In JSON a byte may become six.
    let cut = |text: &str| clipped(text, most / 32);
    Facts { text: cut(&facts.text), peak: cut(&facts.peak), note: cut(&facts.note), ..facts.clone() }.to_json()
}

pub(crate) fn episode_values(job: Value, batch: BatchId, episode: &Episode) -> Vec<Value> {
    let Episode { peak, handling, .. } = episode;
    let acknowledged = handling.acknowledged.as_ref();
    let is_open = episode.state.is_live() || episode.state == State::Latched;
    vec![
        job,
        Value::text(&episode.rule),
        Value::text(&episode.patient),
        Value::Time(episode.started_at),
        Value::text(&episode.id.0),
        Value::text(episode.severity.name()),
        Value::text(episode.state.name()),
        Value::Int(is_open.into()),
        Value::time(episode.firing_at),
        Value::Time(episode.last_at),
        Value::Time(episode.known_at),
        Value::time(episode.clear_since),
        Value::time(episode.cleared_at),
        Value::time(episode.ended_at),
        Value::text(episode.end.map(End::name).unwrap_or_default()),
        Value::Int(i64::try_from(episode.samples).unwrap_or(i64::MAX)),
        Value::text(&episode.text),
        peak.value.filter(|value| value.is_finite()).map_or(Value::Null, Value::Float),
        peak.limit.filter(|value| value.is_finite()).map_or(Value::Null, Value::Float),
        Value::Time(peak.at),
        Value::text(&peak.text),
        Value::time(episode.stale_at),
        Value::text(episode.suppressed_by.as_deref().unwrap_or_default()),
        Value::time(acknowledged.map(|who| who.at)),
        Value::text(acknowledged.map(|who| who.by.as_str()).unwrap_or_default()),
        Value::text(acknowledged.map(|who| who.note.as_str()).unwrap_or_default()),
        Value::time(handling.fired_now),
        Value::Int(handling.told.into()),
        Value::Int(handling.notices.into()),
        Value::time(handling.reminded_at),
        Value::Int(handling.escalated.into()),
        Value::Int(episode.events.into()),
        if is_open { Value::Text(write_tracks(&episode.tracks)) } else { Value::Null },
        batch_value(batch),
    ]
}

pub(super) fn episode(row: &[Value]) -> Result<Episode, StoreError> {
    let mut row = Row::of(ALERTS, EPISODE_COLUMNS, row);
    let mut episode = Episode {
        id: EpisodeId(row.text()?.into()),
        rule: row.text()?.into(),
        patient: row.text()?.into(),
        severity: row.named(Severity::from_name)?,
        state: row.named(State::from_name)?,
        started_at: row.time()?,
        firing_at: row.optional_time(),
        last_at: row.time()?,
        known_at: row.time()?,
        clear_since: row.optional_time(),
        cleared_at: row.optional_time(),
        ended_at: row.optional_time(),
        end: row.optional_text().as_deref().and_then(End::from_name),
        samples: u64::try_from(row.int()?).unwrap_or(0),
        text: row.text()?.into(),
        peak: Peak {
            value: row.optional_float(),
            limit: row.optional_float(),
            at: row.time()?,
            text: row.text()?.into(),
        },
        stale_at: row.optional_time(),
        suppressed_by: row.optional_text(),
        handling: Handling {
            fired_now: row.optional_time(),
            told: row.bool()?,
            notices: row.count()?,
            acknowledged: acknowledged(&mut row)?,
            reminded_at: row.optional_time(),
            escalated: row.count()?,
        },
        events: row.count()?,
        tracks: Vec::new(),
    };
    let tracks = row.optional_text().and_then(|text| read_tracks(&text)).filter(|tracks| !tracks.is_empty());
    episode.tracks = tracks.unwrap_or_else(|| episode.track_of_before().into_iter().collect());
    Ok(episode)
}

pub(super) fn acknowledged(row: &mut Row<'_>) -> Result<Option<Acknowledged>, StoreError> {
    let at = row.optional_time();
    let (by, note) = (row.text()?, row.text()?);
    Ok(at.map(|at| Acknowledged { at, by, note }))
}

pub(super) fn silence_values(job: Value, batch: BatchId, silence: &Silence) -> Vec<Value> {
    vec![
        job,
        Value::text(&silence.id.0),
        Value::text(silence.kind.name()),
        Value::text(&silence.scope.patient),
        Value::text(&silence.scope.ward),
        Value::text(&silence.scope.rule),
        Value::text(silence.up_to.name()),
        Value::Time(silence.from),
        Value::Time(silence.until),
        Value::text(&silence.by),
        Value::text(&silence.reason),
        batch_value(batch),
    ]
}

pub(super) fn silence(row: &[Value]) -> Result<Silence, StoreError> {
    let mut row = Row::of(SILENCES, SILENCE_COLUMNS, row);
    Ok(Silence {
        id: ActionId(row.text()?),
        kind: row.named(SilenceKind::from_name)?,
        scope: Scope { patient: row.text()?, ward: row.text()?, rule: row.text()? },
        up_to: row.named(Severity::from_name)?,
        from: row.time()?,
        until: row.time()?,
        by: row.text()?,
        reason: row.text()?,
    })
}

/// What somebody asks for, by what stands behind the id in its row. People write such rows by hand, so what is missing or
/// unknown is refused in words that say what is expected.
pub(super) fn action(id: &ActionId, row: &[Value]) -> Result<Action, String> {
    let [at, by, note, kind, episode, patient, ward, rule, up_to, until] = row else {
        return Err("the row is not whole".to_owned());
    };
    let text = |value: &Value| value.as_text().unwrap_or_default().trim().to_owned();
    let given = |column: &str, value: &Value, what: &str| match text(value) {
        text if text.is_empty() => Err(format!("`{column}` is missing: write {what}")),
        text => Ok(text),
    };
    let time = |column: &str, value: &Value| {
        value
            .as_time()
            .ok_or_else(|| format!("`{column}` is missing or no time: write one in UTC, \"2026-01-01 00:00:00\""))
    };
    let (at, by, note) = (time("asked_at", at)?, given("author", by, "who asks for it")?, text(note));
    let kind = given("kind", kind, "what is asked for: one of acknowledge, pause, silence, end")?;
    let ask = match (kind.as_str(), SilenceKind::from_name(&kind)) {
        (_, Some(kind)) => {
            let up_to = match text(up_to) {
                name if name.is_empty() => None,
                name => match Severity::from_name(&name) {
                    Some(severity) => Some(severity),
                    None => {
                        return Err(format!(
                            "`up_to`: {}",
                            unknown("severity", &name, Severity::ALL.map(Severity::name).into_iter())
                        ));
                    }
                },
            };
            let scope = Scope { patient: text(patient), ward: text(ward), rule: text(rule) };
            Request::Quiet { kind, scope, up_to, until: time("until_at", until)? }
        }
        ("end", _) => {
            Request::EndSilence(ActionId(given("episode", episode, "the id of the silence or pause that is to end")?))
        }
        ("acknowledge", _) => {
            Request::Acknowledge(EpisodeId(given("episode", episode, "the id of the episode in `alerts`")?.into()))
        }
        _ => {
            let known = ["acknowledge", "pause", "silence", "end"];
            return Err(format!("`kind`: {}", unknown("kind", &kind, known.into_iter())));
        }
    };
    Ok(Action { id: id.clone(), at, by, note, ask })
}
