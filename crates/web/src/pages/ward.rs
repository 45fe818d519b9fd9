//! The ward: a tile for each patient, in the order of beds or the worst first.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Extension, Query, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use serde::Deserialize;

use wardwatch_model::clock::{Clock, SystemClock};
use wardwatch_model::terms::Severity;

use super::super::event::{NUMBER_SIGNS, SCORE_SIGNS};
use super::super::patient_state::{Number, SPARK};
use super::super::vitals::{Vital, Vitals};
use super::super::words::length;
use super::frame::{NoPage, Place, acknowledge_button, badge, called, frame, patient_path, stalled};
use crate::access::viewing::audit_view;
use crate::access::visitor::Visitor;
use crate::app::App;
use crate::view::{PatientView, Ward};

/// A number that is older than this says how old it is; pressures are often measured by the quarter of an hour.
const OLD_AFTER: chrono::TimeDelta = chrono::TimeDelta::seconds(60);

/// Which patients, in which order.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Wanted {
    ward: String,
    severity: String,
    search: String,
    order: String,
}

/// The page.
pub(crate) async fn ward(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, NoPage> {
    audit_view(&app, &visitor, "the ward").await?;
    let ward = app.live.ward();
    let now = SystemClock.now();
    let wards: BTreeSet<&str> =
        ward.beds.iter().map(|bed| bed.person.ward.as_str()).filter(|ward| !ward.is_empty()).collect();
    let beds = chosen(&ward, &wanted, &visitor);
    let vitals = ward.vitals.clone();
    let age = Ages::of(&app, &ward, now);
    let is_unread = app.services.trouble().is_some() && ward.batch.is_none();
    let content = html! {
        form #filter .row method="get" role="search" {
            label { "Search" input type="search" name="search" value=(wanted.search) autocomplete="off"; }
            label { "Ward" select name="ward" {
                option value="" { "all" }
                @for name in &wards { option value=(name) selected[*name == wanted.ward] { (name) } }
            } }
            label { "Alerts" select name="severity" {
                option value="" { "all patients" }
                option value="any" selected[wanted.severity == "any"] { "with an alert" }
                @for severity in Severity::ALL {
                    option value=(severity.name()) selected[wanted.severity == severity.name()] { (severity.name()) }
                }
            } }
            label { "Order" select name="order" {
                option value="" { "by bed" }
                option value="severity" selected[wanted.order == "severity"] { "worst first" }
            } }
            noscript { button type="submit" { "Show" } }
        }
        section .ward #tiles aria-label="Patients" {
            @if let Some(vitals) = &vitals {
                @for bed in &beds { (tile(bed, vitals, &ward, &visitor, &age)) }
            }
        }
        p #empty .quiet hidden[!ward.beds.is_empty()] {
            @if is_unread { "The patients cannot be read: the store does not answer." }
            @else { "There is no reading of any patient yet." }
        }
        p #none .quiet hidden[ward.beds.is_empty() || !beds.is_empty()] { "No patient is like that." }
    };
    Ok(frame(&app, &visitor, (Place::Ward, &app.job.dashboard.title), &ward, &content))
}

fn chosen(ward: &Ward, wanted: &Wanted, visitor: &Visitor) -> Vec<Arc<PatientView>> {
    let words: Vec<String> = wanted.search.to_lowercase().split_whitespace().map(str::to_owned).collect();
    let is_wanted = |bed: &&Arc<PatientView>| {
        let name = if visitor.may_read_names() { bed.person.name.as_str() } else { "" };
        let text = format!("{} {} {} {name}", bed.id, bed.person.place, bed.person.ward).to_lowercase();
        let worst = ward.worst(&bed.id).map(|episode| episode.severity);
        (wanted.ward.is_empty() || wanted.ward == bed.person.ward)
            && words.iter().all(|word| text.contains(word))
            && match wanted.severity.as_str() {
                "" => true,
                "any" => worst.is_some(),
                name => worst.is_some_and(|severity| severity.name() == name),
            }
    };
    let mut beds: Vec<Arc<PatientView>> = ward.beds.iter().filter(is_wanted).cloned().collect();
    if wanted.order == "severity" {
        beds.sort_by_key(|bed| Reverse(ward.worst(&bed.id).map(|episode| episode.severity)));
    }
    beds
}

/// By what it is told how old a number is.
pub(super) struct Ages {
    now: DateTime<Utc>,
    stale_after: std::time::Duration,
    /// Nothing new is known of anybody, so that the silence of one says nothing of their device.
    is_stalled: bool,
}

impl Ages {
    pub(super) fn of(app: &App, ward: &Ward, now: DateTime<Utc>) -> Self {
        Self { now, stale_after: app.job.dashboard.stale_after, is_stalled: stalled(app, ward, now).is_some() }
    }
}

/// A patient. Small lines are not in it: they come with the first event, so that the page is short.
pub(super) fn tile(
    bed: &PatientView,
    vitals: &Vitals,
    ward: &Ward,
    visitor: &Visitor,
    &Ages { now, stale_after, is_stalled }: &Ages,
) -> Markup {
    let age = bed.newest.map(|at| now - at);
    let is_stale = age.is_none_or(|age| age.to_std().is_ok_and(|age| age > stale_after));
    let worst = ward.worst(&bed.id);
    let more = ward.episodes.iter().filter(|episode| *episode.patient == *bed.id).count().saturating_sub(1);
    let severity = worst.map_or("", |episode| episode.severity.name());
    html! {
        article class={ "tile " (severity) @if is_stale { " stale" } } data-id=(bed.id) data-ward=(bed.person.ward)
            data-at=(bed.newest.map_or(0, |at| at.timestamp_millis())) data-severity=(severity) {
            header {
                h2 { a href=(patient_path(&bed.id)) { (called(Some(bed), &bed.id, visitor)) } }
                p .score { @if let Some((score, trend)) = &bed.score {
                    "NEWS2 " b { (score.label) } " " span .sign { (trend.sign(SCORE_SIGNS)) }
                } }
            }
            dl .numbers { @for (vital, one) in vitals.shown.iter().zip(&bed.numbers) { (number(vital, one, now)) } }
            div .alert {
                @match worst {
                    Some(episode) => {
                        (badge(episode.severity, &episode.text))
                        span .quiet .since data-since=(episode.firing_at.unwrap_or(episode.started_at).timestamp_millis()) {
                            (length(now - episode.firing_at.unwrap_or(episode.started_at)))
                        }
                        @if more > 0 { span .quiet { "and " (more) " more" } }
                        (acknowledge_button(episode, visitor, "/"))
                    }
                    // Silence says nothing of the patient.
                    None if is_stale => {}
                    None => { span .quiet { "all within limits" } }
                }
            }
            p .updated {
                @match age {
                    None => { "no reading has come yet" }
                    Some(age) if is_stale && is_stalled => { "last known " (length(age)) " ago" }
                    Some(age) if is_stale => { "no data for " (length(age)) }
                    Some(age) => { "updated " (length(age)) " ago" }
                }
            }
        }
    }
}

fn number(vital: &Vital, one: &Number, now: DateTime<Utc>) -> Markup {
    let age = one.at.map(|at| now - at).filter(|age| *age > OLD_AFTER);
    html! {
        div .pair[vital.lower.is_some()] {
            dt { abbr title=(vital.label) { (vital.short) } " " (vital.unit) }
            dd {
                span .value .old[age.is_some()] { (one.text) }
                span .sign { (one.trend.sign(NUMBER_SIGNS)) }
                span .age data-at=(one.at.map_or(0, |at| at.timestamp_millis())) {
                    @if let Some(age) = age { (length(age)) " ago" }
                }
                svg class={ "spark " (vital.name) } viewBox={ "0 0 " (SPARK.0) " " (SPARK.1) } aria-hidden="true" { path {} }
            }
        }
    }
}
