//! Alerts: those that stand, the worst first, what they are doing, and those of before.

use std::sync::Arc;
use std::time::Duration;

use axum::Form;
use axum::extract::{Extension, Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};
use serde::Deserialize;

use wardwatch_alert::{Episode, Scope, SilenceKind};
use wardwatch_model::clock::{Clock, SystemClock};
use wardwatch_model::terms::{Role, Severity};
use wardwatch_store::{EpisodesLike, StoreError};

use super::super::actions::{self, Quiet};
use super::super::words::{ago, cursor, cursor_after, encoded, is_kept, length, standing, time};
use super::frame::{
    NoPage, Place, acknowledge_button, back, badge, called, csrf_token, frame, if_answered, nothing, patient_path,
    unread,
};
use crate::access::viewing::audit_view;
use crate::access::visitor::Visitor;
use crate::app::App;
use crate::view::Ward;

/// Episodes of before that one page shows.
const MOST: usize = 100;

/// Which episodes of before.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Wanted {
    patient: String,
    rule: String,
    severity: String,
    last: String,
    /// Where the page before ended: the begin of its last episode in microseconds, and its id.
    before: String,
}

impl Wanted {
    fn like(&self, now: DateTime<Utc>) -> EpisodesLike {
        let some = |text: &String| (!text.is_empty()).then(|| text.clone());
        let last = humantime::parse_duration(&self.last).ok().and_then(|last| TimeDelta::from_std(last).ok());
        EpisodesLike {
            patient: some(&self.patient),
            rule: some(&self.rule),
            severity: Severity::from_name(&self.severity),
            is_open: None,
            since: last.and_then(|last| now.checked_sub_signed(last)).filter(|since| is_kept(*since)),
            before: cursor(&self.before),
        }
    }

    fn link_to_older(&self, last: &Episode) -> String {
        let mut link = format!("/alerts?before={}", cursor_after(last));
        for (name, value) in
            [("patient", &self.patient), ("rule", &self.rule), ("severity", &self.severity), ("last", &self.last)]
        {
            if !value.is_empty() {
                link.push_str(&format!("&{name}={}", encoded(value)));
            }
        }
        link
    }
}

/// The page.
pub(crate) async fn alerts(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, NoPage> {
    audit_view(&app, &visitor, "the ward").await?;
    let ward = app.live.ward();
    let now = SystemClock.now();
    let like = wanted.like(now);
    let read = app
        .stores
        .with(move |store| {
            if !store.has_tables()? {
                return Ok((Vec::new(), Vec::new()));
            }
            Ok::<_, StoreError>((store.episodes_like(&like, MOST)?, store.silences()?))
        })
        .await;
    let (past, silences) = if_answered(read)?.unzip();
    let zone = app.job.reports.time_zone;
    let silences = silences.map(|mut silences| {
        silences.retain(|silence| silence.until > now);
        silences
    });
    let content = html! {
        section .panel aria-labelledby="open" {
            h2 #open { "Open now" }
            div #open-alerts { (open(&ward, &visitor, now)) }
        }
        section .panel aria-labelledby="silences" {
            h2 #silences { "Quiet for now" }
            @if silences.as_ref().is_some_and(Vec::is_empty) { (nothing("Nothing is silenced.")) }
            @else if let Some(silences) = &silences {
                div .scroll tabindex="0" { table {
                    thead { tr { th { "About" } th { "Up to" } th { "Until" } th { "By" } th { "Why" } th {} } }
                    tbody { @for silence in silences { tr {
                        td { (silence.scope) }
                        td { (silence.up_to.name()) }
                        td { (time(silence.until, zone)) }
                        td { (silence.by) }
                        td { (silence.kind.name()) @if !silence.reason.is_empty() { ": " (silence.reason) } }
                        td { @if visitor.may(Role::Nurse) {
                            form method="post" action="/alerts/end" {
                                (csrf_token(&visitor))
                                input type="hidden" name="silence" value=(silence.id);
                                input type="hidden" name="back" value="/alerts";
                                button .small type="submit" aria-label={ "End the silence about " (silence.scope) } { "End" }
                            }
                        } }
                    } } }
                } }
            } @else { (unread()) }
            @if visitor.may(Role::Nurse) { (quiet_form(&visitor, "", "/alerts")) }
        }
        section .panel aria-labelledby="past" {
            h2 #past { "All" }
            form .row method="get" {
                label { "Patient" input name="patient" value=(wanted.patient); }
                label { "Rule" input name="rule" value=(wanted.rule); }
                label { "Severity" select name="severity" {
                    option value="" { "all" }
                    @for severity in Severity::ALL {
                        option value=(severity.name()) selected[wanted.severity == severity.name()] { (severity.name()) }
                    }
                } }
                label { "Seen in the last" select name="last" {
                    @for (value, text) in [("", "all time"), ("1h", "hour"), ("24h", "day"), ("7d", "week")] {
                        option value=(value) selected[wanted.last == value] { (text) }
                    }
                } }
                button type="submit" { "Show" }
            }
            @if past.as_ref().is_some_and(Vec::is_empty) { (nothing("There is none like that.")) }
            @else if let Some(past) = &past {
                (table(past, &ward, &visitor, (now, zone)))
                @if past.len() == MOST && let Some(last) = past.last() {
                    p { a href=(wanted.link_to_older(last)) { "Older" } }
                }
            } @else { (unread()) }
        }
    };
    Ok(frame(&app, &visitor, (Place::Alerts, "Alerts"), &ward, &content))
}

/// The episodes that stand.
fn open(ward: &Ward, visitor: &Visitor, now: DateTime<Utc>) -> Markup {
    html! {
        @if ward.episodes.is_empty() { (nothing("No alert stands.")) } @else {
            div .scroll tabindex="0" { table {
                thead { tr { th { "Alert" } th { "Patient" } th { "For" } th { "State" } th {} } }
                tbody { @for episode in ward.episodes.iter() {
                    @let since = episode.firing_at.unwrap_or(episode.started_at);
                    tr .now data-episode=(episode.id) {
                        td { a href={ "/alerts/" (episode.id) } { (badge(episode.severity, &episode.text)) } }
                        td { a href=(patient_path(&episode.patient)) {
                            (called(ward.patient(&episode.patient).map(Arc::as_ref), &episode.patient, visitor))
                        } }
                        td .since data-since=(since.timestamp_millis()) { (length(now - since)) }
                        td { (standing(episode)) }
                        td { div .alert { (acknowledge_button(episode, visitor, "/alerts")) } }
                    }
                } }
            } }
        }
    }
}

/// Episodes as a table.
pub(super) fn table(
    episodes: &[Episode],
    ward: &Ward,
    visitor: &Visitor,
    (now, zone): (DateTime<Utc>, chrono_tz::Tz),
) -> Markup {
    html! {
        div .scroll tabindex="0" { table {
            thead { tr { th { "Alert" } th { "Patient" } th { "Since" } th { "Lasted" } th { "State" } th { "Acknowledged by" } } }
            tbody { @for episode in episodes {
                @let since = episode.firing_at.unwrap_or(episode.started_at);
                tr {
                    td { a href={ "/alerts/" (episode.id) } { (badge(episode.severity, &episode.text)) } }
                    td { a href=(patient_path(&episode.patient)) {
                        (called(ward.patient(&episode.patient).map(Arc::as_ref), &episode.patient, visitor))
                    } }
                    td { (ago(since, now, zone)) }
                    td { (length(episode.cleared_at.or(episode.ended_at).unwrap_or(now) - since)) }
                    td { (standing(episode)) }
                    td { (episode.handling.acknowledged.as_ref().map(|who| who.by.as_str()).unwrap_or_default()) }
                }
            } }
        } }
    }
}

/// The form that pauses or silences; of one patient where it is given.
pub(super) fn quiet_form(visitor: &Visitor, patient: &str, to: &str) -> Markup {
    html! {
        details {
            summary { "Pause or silence alerts" }
            form .row method="post" action="/alerts/quiet" {
                (csrf_token(visitor))
                input type="hidden" name="back" value=(to);
                @if patient.is_empty() {
                    label { "Patient" input name="patient"; }
                    label { "Ward" input name="ward"; }
                } @else { input type="hidden" name="patient" value=(patient); }
                label { "Rule" input name="rule"; }
                label { "For" select name="length" {
                    @for (value, text) in [("2m", "2 min (pause)"), ("30m", "30 min"), ("1h", "1 h"), ("4h", "4 h"), ("12h", "12 h")] {
                        option value=(value) { (text) }
                    }
                } }
                label { "Reason" input name="reason" maxlength="500"; }
                button type="submit" { "Be quiet" }
            }
            p .quiet { "A higher severity than what stands now breaks through. Longer than a pause takes a reason." }
        }
    }
}

/// One episode and everything that has happened to it.
pub(crate) async fn alert(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
) -> Result<Response, NoPage> {
    let ward = app.live.ward();
    let now = SystemClock.now();
    let (episode, events) = match actions::episode(&app, &id).await {
        Ok(episode) => {
            let wanted = episode.id.clone();
            let events = app.stores.with(move |store| store.events_of(&wanted)).await;
            (episode, if_answered(events)?)
        }
        // Of one that stands, it is known how it stood last.
        Err(problem) => match ward.episodes.iter().find(|episode| *episode.id.0 == *id) {
            Some(episode) if problem.status() == StatusCode::SERVICE_UNAVAILABLE => (episode.clone(), None),
            _ => return Err(problem.into()),
        },
    };
    audit_view(&app, &visitor, &episode.patient).await?;
    let zone = app.job.reports.time_zone;
    let since = episode.firing_at.unwrap_or(episode.started_at);
    let content = html! {
        section .panel {
            h2 { (badge(episode.severity, &episode.text)) }
            dl .facts-list {
                dt { "Patient" } dd { a href=(patient_path(&episode.patient)) {
                    (called(ward.patient(&episode.patient).map(Arc::as_ref), &episode.patient, &visitor))
                } }
                dt { "Rule" } dd { (episode.rule) }
                dt { "State" } dd { (standing(&episode)) }
                dt { "Since" } dd { (time(since, zone)) ", " (length(episode.ended_at.unwrap_or(now) - since)) }
                dt { "Worst" } dd { (episode.peak.text) ", " (time(episode.peak.at, zone)) }
                dt { "Samples" } dd { (episode.samples) }
            }
            @if episode.state.is_shown() { div .alert { (acknowledge_button(&episode, &visitor, &format!("/alerts/{id}"))) } }
        }
        section .panel {
            h2 { "What has happened" }
            @if let Some(events) = &events { div .scroll tabindex="0" { table {
                thead { tr { th { "When" } th { "What" } th { "By" } th { "Note" } } }
                tbody { @for event in events {
                    tr { td { (time(event.at, zone)) } td { (event.kind.name()) } td { (event.by) } td { (event.note) } }
                } }
            } } } @else { (unread()) }
        }
    };
    Ok(frame(&app, &visitor, (Place::Elsewhere, "Alert"), &ward, &content))
}

/// What an acknowledgement says.
#[derive(Debug, Deserialize)]
pub(crate) struct Acknowledgement {
    episode: String,
    #[serde(default)]
    note: String,
    #[serde(default)]
    back: String,
}

/// Takes an episode on and leads back.
pub(crate) async fn acknowledge(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
    Form(asked): Form<Acknowledgement>,
) -> Result<Response, NoPage> {
    actions::acknowledge(&app, &visitor, &asked.episode, &asked.note).await?;
    Ok(back(&asked.back))
}

/// What is to be quiet.
#[derive(Debug, Deserialize)]
pub(crate) struct QuietForm {
    #[serde(default)]
    patient: String,
    #[serde(default)]
    ward: String,
    #[serde(default)]
    rule: String,
    length: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    back: String,
}

/// Pauses or silences and leads back.
pub(crate) async fn quiet(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
    Form(asked): Form<QuietForm>,
) -> Result<Response, NoPage> {
    let length = humantime::parse_duration(&asked.length).unwrap_or(Duration::ZERO);
    let is_pause = asked.reason.trim().is_empty() && length <= app.job.alerts.longest_pause;
    let wanted = Quiet {
        kind: if is_pause { SilenceKind::Pause } else { SilenceKind::Silence },
        scope: Scope { patient: asked.patient, ward: asked.ward, rule: asked.rule },
        up_to: None,
        length,
        reason: asked.reason,
    };
    actions::quiet(&app, &visitor, wanted).await?;
    Ok(back(&asked.back))
}

/// Which silence is to end.
#[derive(Debug, Deserialize)]
pub(crate) struct EndForm {
    silence: String,
    #[serde(default)]
    back: String,
}

/// Ends a silence and leads back.
pub(crate) async fn end_quiet(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
    Form(asked): Form<EndForm>,
) -> Result<Response, NoPage> {
    actions::end_quiet(&app, &visitor, &asked.silence).await?;
    Ok(back(&asked.back))
}
