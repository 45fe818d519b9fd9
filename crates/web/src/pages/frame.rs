//! What all pages have: their frame, and the parts that several of them show.

use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use chrono::{DateTime, Utc};
use maud::{DOCTYPE, Markup, html};

use wardwatch_alert::Episode;
use wardwatch_model::clock::{Clock as _, SystemClock};
use wardwatch_model::terms::{Role, Severity};
use wardwatch_store::StoreError;

use crate::access::visitor::{Known, Visitor};
use crate::app::App;
use crate::problem::Problem;
use crate::redirect::redirect;
use crate::view::{PatientView, Ward};
use crate::words::{encoded, length, sign};

/// The job has not committed for so long: everything may be old.
pub(crate) const STALLED_AFTER: chrono::TimeDelta = chrono::TimeDelta::seconds(4);

/// Where one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Ward,
    Alerts,
    Reports,
    Job,
    Elsewhere,
}

/// Why there is no page; shown as one.
#[derive(Debug)]
pub(crate) struct NoPage(Problem);

impl<E: Into<Problem>> From<E> for NoPage {
    fn from(problem: E) -> Self {
        Self(problem.into())
    }
}

impl IntoResponse for NoPage {
    fn into_response(self) -> Response {
        let status = self.0.status();
        let body = html! {
            main .login {
                h1 { (status.as_u16()) " " (status.canonical_reason().unwrap_or_default()) }
                p { (self.0.detail()) }
                p { a href="/" { "To the ward" } }
            }
        };
        // What passes by itself, such as a job that is just starting, needs nobody who looks again.
        let again = html! { @if status == StatusCode::SERVICE_UNAVAILABLE { meta http-equiv="refresh" content="3"; } };
        (status, Html(document("wardwatch", &again, &body).into_string())).into_response()
    }
}

/// The outermost frame.
pub(crate) fn document(title: &str, head: &Markup, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="theme-color" content="#0F1419";
                title { (title) }
                link rel="stylesheet" href="/assets/wardwatch.css";
                link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
                link rel="manifest" href="/manifest.webmanifest";
                (head)
            }
            (body)
        }
    }
}

/// The frame of a page: where one can go, how the ward stands, and whether that is new.
pub(crate) fn frame(
    app: &App,
    visitor: &Visitor,
    (place, title): (Place, &str),
    ward: &Ward,
    content: &Markup,
) -> Response {
    let now = SystemClock.now();
    let link = |to: Place, path: &str, text: Markup| {
        html! { a href=(path) aria-current=[(place == to).then_some("page")] { (text) } }
    };
    let waiting = ward.episodes.iter().filter(|episode| episode.handling.acknowledged.is_none()).count();
    let stalled = stalled(app, ward, now);
    let head = html! {
        meta name="csrf" content=(visitor.csrf);
        meta name="stale-after" content=(app.job.dashboard.stale_after.as_millis());
        meta name="stalled-after" content=(STALLED_AFTER.num_milliseconds());
        meta name="now" content=(now.timestamp_millis());
        meta name="batch-at" content=(ward.batch.as_ref().map_or(0, |batch| batch.now.timestamp_millis()));
        meta name="zone" content=(app.job.reports.time_zone.name());
        script src="/assets/wardwatch.js" defer {}
        noscript { meta http-equiv="refresh" content="5"; }
    };
    let body = html! {
        body .is-stalled[stalled.is_some()] data-patients=(ward.beds.len()) data-may-acknowledge=(visitor.may(Role::Nurse)) {
            a .skip href="#content" { "To the content" }
            header .bar {
                h1 { (title) }
                nav aria-label="Pages" {
                    (link(Place::Ward, "/", html! { "Ward" }))
                    (link(Place::Alerts, "/alerts", html! { "Alerts " span #waiting .count hidden[waiting == 0] { (waiting) } }))
                    (link(Place::Reports, "/reports", html! { "Reports" }))
                    (link(Place::Job, "/job", html! { "Job" }))
                }
                div .facts {
                    span #summary { (summary(ward)) }
                    span #lag { (lag(ward, now)) }
                    button #sound .small type="button" aria-pressed="false" hidden { "Sound off" }
                    span #clock .clock { (now.with_timezone(&app.job.reports.time_zone).format("%H:%M:%S %Z")) }
                    @if visitor.by == Known::Session {
                        form method="post" action="/logout" {
                            (csrf_token(visitor))
                            button .small type="submit" { "Log out " (visitor.name) }
                        }
                    }
                }
            }
            // Said by readers of screens when it changes.
            div #stalled .stalled role="alert" hidden[stalled.is_none()] { (stalled.unwrap_or_default()) }
            div #told .told role="status" hidden {}
            main #content { (content) }
            footer .quiet { "For demonstration and research; no medical device." }
        }
    };
    Html(document(&format!("{title} · wardwatch"), &head, &body).into_string()).into_response()
}

/// The field that shows that a form is ours.
pub(crate) fn csrf_token(visitor: &Visitor) -> Markup {
    html! { input type="hidden" name="csrf" value=(visitor.csrf); }
}

/// Patients, and episodes by severity.
pub(crate) fn summary(ward: &Ward) -> String {
    let count = |severity: Severity| ward.episodes.iter().filter(|episode| episode.severity == severity).count();
    let counts = Severity::ALL.iter().map(|severity| (count(*severity), severity.name()));
    let counts: Vec<String> =
        counts.filter(|(count, _)| *count > 0).map(|(count, name)| format!("{count} {name}")).collect();
    let patients = ward.beds.len();
    let of = if patients == 1 { "patient" } else { "patients" };
    if counts.is_empty() {
        format!("{patients} {of}, no open alert")
    } else {
        format!("{patients} {of} · {}", counts.join(" · "))
    }
}

pub(crate) fn lag(ward: &Ward, now: DateTime<Utc>) -> String {
    match &ward.batch {
        Some(batch) => format!("batch {}, {} ago", batch.batch, length(now - batch.now)),
        None => "no batch yet".to_owned(),
    }
}

/// Why everything on a page may be old, if it may be.
pub(crate) fn stalled(app: &App, ward: &Ward, now: DateTime<Utc>) -> Option<String> {
    let trouble = app.live.trouble();
    if !trouble.is_empty() {
        return Some(trouble);
    }
    match &ward.batch {
        Some(batch) if now - batch.now > STALLED_AFTER => {
            Some(format!("The job has committed nothing for {}. What is shown here is old.", length(now - batch.now)))
        }
        _ => None,
    }
}

/// What a patient is called by whoever may read names, and where the bed is.
pub(crate) fn called(bed: Option<&PatientView>, id: &str, visitor: &Visitor) -> Markup {
    let person = bed.map(|bed| &bed.person);
    let place = person.map(|person| person.place.as_str()).filter(|place| !place.is_empty());
    let name = person.map(|person| person.name.as_str()).filter(|name| !name.is_empty() && visitor.may_read_names());
    html! {
        @match (place, name) {
            (Some(place), Some(name)) => { (place) " " span .name { (name) } }
            (Some(place), None) => { (place) " " span .name { (id) } }
            (None, Some(name)) => { (name) " " span .name { (id) } }
            (None, None) => { (id) }
        }
    }
}

pub(crate) fn patient_path(id: &str) -> String {
    format!("/patients/{}", encoded(id))
}

/// The sign and the text of an episode, in its severity's colours.
pub(crate) fn badge(severity: Severity, text: &str) -> Markup {
    html! { span class={ "badge " (severity.name()) } { (sign(severity)) " " (text) } }
}

/// The button that takes an episode on, where it can be and the visitor may.
pub(crate) fn acknowledge_button(episode: &Episode, visitor: &Visitor, back: &str) -> Markup {
    match &episode.handling.acknowledged {
        Some(who) => html! { span .quiet .by { "acknowledged by " (who.by) } },
        None if visitor.may(Role::Nurse) => html! {
            form .acknowledge method="post" action="/alerts/acknowledge" data-episode=(episode.id) {
                (csrf_token(visitor))
                input type="hidden" name="episode" value=(episode.id);
                input type="hidden" name="back" value=(back);
                button type="submit" aria-label={ "Acknowledge " (episode.text) } { "Ack" }
            }
        },
        None => html! {},
    }
}

/// A page of ours that a form may lead back to.
pub(crate) fn back(wanted: &str) -> Response {
    let is_ours = wanted.starts_with('/') && !wanted.starts_with("//") && !wanted.contains('\\') && wanted.is_ascii();
    redirect(if is_ours && wanted.parse::<axum::http::Uri>().is_ok() { wanted } else { "/" })
}

/// What a page shows of what could not be read: the others of its parts are shown all the same.
pub(crate) fn unread() -> Markup {
    nothing("This cannot be read now: the store does not answer.")
}

/// What was read, or nothing where the store did not answer.
///
/// # Errors
/// The store answered, but not with what was asked for.
pub(crate) fn if_answered<T>(read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(StoreError::Unavailable(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Nothing there, in words.
pub(crate) fn nothing(text: &str) -> Markup {
    html! { p .quiet { (text) } }
}
