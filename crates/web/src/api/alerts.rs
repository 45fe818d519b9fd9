//! Alerts, acknowledgements and silences.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use wardwatch_alert::{Episode, Scope, Silence, SilenceKind};
use wardwatch_model::clock::{Clock, SystemClock};
use wardwatch_model::terms::Severity;
use wardwatch_store::EpisodesLike;

use super::super::actions::{self, Done, Quiet};
use super::super::problem::Problem;
use super::super::words::{cursor, cursor_after};
use super::asked::{Listed, body, how_many, part, read};
use super::patients::known_time;
use super::time::Time;
use crate::access::viewing::audit_view;
use crate::access::visitor::Visitor;
use crate::app::App;

/// An episode.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Alert {
    /// The id.
    id: String,
    /// The rule.
    rule: String,
    /// The patient.
    patient: String,
    /// `high`, `medium`, `low` or `technical`.
    severity: String,
    /// `firing`, `recovering`, `latched` or `ended`.
    state: String,
    /// What it says.
    text: String,
    /// The worst that it said.
    worst: String,
    /// Since when the condition has been true.
    started_at: Time,
    /// When it had held for long enough.
    firing_at: Option<Time>,
    /// When it was over.
    ended_at: Option<Time>,
    /// Who has taken it on.
    acknowledged_by: Option<String>,
    /// When.
    acknowledged_at: Option<Time>,
}

impl Alert {
    fn of(episode: &Episode) -> Self {
        let acknowledged = episode.handling.acknowledged.as_ref();
        Self {
            id: episode.id.to_string(),
            rule: episode.rule.to_string(),
            patient: episode.patient.to_string(),
            severity: episode.severity.name().to_owned(),
            state: episode.state.name().to_owned(),
            text: episode.text.to_string(),
            worst: episode.peak.text.to_string(),
            started_at: Time(episode.started_at),
            firing_at: episode.firing_at.map(Time),
            ended_at: episode.ended_at.map(Time),
            acknowledged_by: acknowledged.map(|who| who.by.clone()),
            acknowledged_at: acknowledged.map(|who| Time(who.at)),
        }
    }
}

/// Which alerts.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichAlerts {
    /// `open` or `all`.
    #[param(inline)]
    state: Option<WhichState>,
    /// Only those of this patient.
    patient: Option<String>,
    /// Only those of this rule.
    rule: Option<String>,
    /// Only those of this severity.
    #[param(inline)]
    severity: Option<WhichSeverity>,
    /// Only those that were true at this time or later.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Time>,
    /// Where to go on, as an answer said.
    #[param(pattern = "^[0-9]{1,18}[.][0-9a-f]{12}$")]
    after: Option<String>,
    /// How many at the most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// Whether alerts that are over are wanted.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum WhichState {
    Open,
    All,
}

/// A severity.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum WhichSeverity {
    High,
    Medium,
    Low,
    Technical,
}

impl From<WhichSeverity> for Severity {
    fn from(severity: WhichSeverity) -> Self {
        match severity {
            WhichSeverity::High => Self::High,
            WhichSeverity::Medium => Self::Medium,
            WhichSeverity::Low => Self::Low,
            WhichSeverity::Technical => Self::Technical,
        }
    }
}

/// Alerts that have fired, the newest first.
#[utoipa::path(get, path = "/api/v1/alerts", tag = "alerts", params(WhichAlerts), responses(
    (status = 200, body = inline(Listed<Alert>)),
    (status = 304, description = "nothing has changed"),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn alerts(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
    query: Result<Query<WhichAlerts>, QueryRejection>,
) -> Result<Response, Problem> {
    let wanted = read(query)?;
    let most = how_many(wanted.limit)?;
    let before = match &wanted.after {
        None => None,
        Some(after) => Some(cursor(after).ok_or_else(|| Problem::wrong("after is what an answer said as next"))?),
    };
    let like = EpisodesLike {
        patient: wanted.patient,
        rule: wanted.rule,
        severity: wanted.severity.map(Severity::from),
        is_open: matches!(wanted.state, Some(WhichState::Open)).then_some(true),
        since: wanted.since.map(|since| known_time(since.0)).transpose()?,
        before,
    };
    audit_view(&app, &visitor, "the ward").await?;
    let mut episodes = app.stores.with(move |store| store.episodes_like(&like, most + 1)).await?;
    let has_more = episodes.len() > most;
    episodes.truncate(most);
    let next = episodes.last().filter(|_| has_more).map(cursor_after);
    Ok(Json(Listed { items: episodes.iter().map(Alert::of).collect(), next }).into_response())
}

/// An episode with everything that has happened to it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AlertWithEvents {
    /// The episode.
    #[serde(flatten)]
    alert: Alert,
    /// What has happened to it, in order.
    events: Vec<AlertEvent>,
}

/// Something that has happened to an episode.
#[derive(Debug, Serialize, ToSchema)]
struct AlertEvent {
    /// When.
    at: Time,
    /// What.
    kind: String,
    /// Who did it, where a person did.
    by: String,
    /// More about it.
    note: String,
}

/// One alert.
#[utoipa::path(get, path = "/api/v1/alerts/{alert}", tag = "alerts", params(("alert" = String, Path)), responses(
    (status = 200, body = AlertWithEvents),
    (status = 304, description = "nothing has changed"),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn alert(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let episode = actions::episode(&app, &part(path)?).await?;
    audit_view(&app, &visitor, &episode.patient).await?;
    let id = episode.id.clone();
    let events = app.stores.with(move |store| store.events_of(&id)).await?;
    let events = events.into_iter().map(|event| AlertEvent {
        at: Time(event.at),
        kind: event.kind.name().to_owned(),
        by: event.by,
        note: event.note,
    });
    Ok(Json(AlertWithEvents { alert: Alert::of(&episode), events: events.collect() }).into_response())
}

/// What others should know.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Acknowledgement {
    /// A note.
    #[serde(default)]
    #[schema(max_length = 500)]
    note: String,
}

/// What became of a request.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Answer {
    /// `done`, or `later`: with the job's next batch.
    state: String,
}

fn answer(done: Done) -> Response {
    match done {
        Done::Now => Json(Answer { state: "done".to_owned() }).into_response(),
        Done::Later => (StatusCode::ACCEPTED, Json(Answer { state: "later".to_owned() })).into_response(),
    }
}

/// Takes an alert on.
#[utoipa::path(post, path = "/api/v1/alerts/{alert}/acknowledgement", tag = "alerts", params(("alert" = String, Path)),
    request_body = Acknowledgement, responses(
    (status = 200, body = Answer),
    (status = 202, body = Answer),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
    (status = 413, body = Problem, content_type = "application/problem+json"),
    (status = 415, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn acknowledge(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
    path: Result<Path<String>, PathRejection>,
    said: Result<Json<Acknowledgement>, JsonRejection>,
) -> Result<Response, Problem> {
    let (id, Acknowledgement { note }) = (part(path)?, body(said)?);
    Ok(answer(actions::acknowledge(&app, &visitor, &id, &note).await?))
}

/// A pause or a silence.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShownSilence {
    /// The id.
    id: String,
    /// `pause` or `silence`.
    kind: String,
    /// The patient; empty for all.
    patient: String,
    /// The ward; empty for all.
    ward: String,
    /// The rule; empty for all.
    rule: String,
    /// Nothing above this severity is hidden.
    up_to: String,
    /// Since when.
    from: Time,
    /// Until when.
    until: Time,
    /// Who asked for it.
    by: String,
    /// Why.
    reason: String,
}

impl ShownSilence {
    fn of(silence: Silence) -> Self {
        let Scope { patient, ward, rule } = silence.scope;
        Self {
            id: silence.id.0,
            kind: silence.kind.name().to_owned(),
            patient,
            ward,
            rule,
            up_to: silence.up_to.name().to_owned(),
            from: Time(silence.from),
            until: Time(silence.until),
            by: silence.by,
            reason: silence.reason,
        }
    }
}

/// The pauses and silences that hold.
#[utoipa::path(get, path = "/api/v1/silences", tag = "alerts", responses(
    (status = 200, body = inline(Listed<ShownSilence>)),
    (status = 304, description = "nothing has changed"),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn silences(State(app): State<App>) -> Result<Response, Problem> {
    let now = SystemClock.now();
    let silences = app.stores.with(|store| store.silences()).await?;
    let items = silences.into_iter().filter(|silence| silence.until > now).map(ShownSilence::of).collect();
    Ok(Json(Listed { items, next: None }).into_response())
}

/// Alerts that are to be quiet for a while. At least one of patient, ward and rule is named.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SilenceToBe {
    /// The patient; empty for all.
    #[serde(default)]
    patient: String,
    /// The ward; empty for all.
    #[serde(default)]
    ward: String,
    /// The rule; empty for all.
    #[serde(default)]
    rule: String,
    /// Nothing above this severity is hidden; without it, nothing above what stands now.
    #[schema(inline)]
    up_to: Option<WhichSeverity>,
    /// For how long. What is no longer than the job's longest pause and has no reason is a pause.
    #[schema(minimum = 1, maximum = 31_622_400)]
    seconds: f64,
    /// Why.
    #[serde(default)]
    #[schema(max_length = 500)]
    reason: String,
}

/// Pauses or silences alerts.
#[utoipa::path(post, path = "/api/v1/silences", tag = "alerts", request_body = SilenceToBe, responses(
    (status = 200, body = Answer),
    (status = 202, body = Answer),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
    (status = 413, body = Problem, content_type = "application/problem+json"),
    (status = 415, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn silence(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
    wanted: Result<Json<SilenceToBe>, JsonRejection>,
) -> Result<Response, Problem> {
    let SilenceToBe { patient, ward, rule, up_to, seconds, reason } = body(wanted)?;
    let length = std::time::Duration::try_from_secs_f64(seconds).unwrap_or(std::time::Duration::ZERO);
    let is_pause = reason.trim().is_empty() && length <= app.job.alerts.longest_pause;
    let wanted = Quiet {
        kind: if is_pause { SilenceKind::Pause } else { SilenceKind::Silence },
        scope: Scope { patient, ward, rule },
        up_to: up_to.map(Severity::from),
        length,
        reason,
    };
    Ok(answer(actions::quiet(&app, &visitor, wanted).await?))
}

/// Ends a pause or a silence early.
#[utoipa::path(delete, path = "/api/v1/silences/{silence}", tag = "alerts", params(("silence" = String, Path)), responses(
    (status = 200, body = Answer),
    (status = 202, body = Answer),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn end_silence(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    Ok(answer(actions::end_quiet(&app, &visitor, &part(path)?).await?))
}
