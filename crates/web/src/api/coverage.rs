//! Coverage: until when each rule has judged a patient, and why not further.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use wardwatch_alert::{EVERY_RULE, Unjudged, Why};
use wardwatch_care::{remedy_of, unjudged_of};
use wardwatch_config::SqlSpec;
use wardwatch_model::clock::{Clock, SystemClock};
use wardwatch_model::terms::Severity;
use wardwatch_sql::{QueryKind, load_set};
use wardwatch_store::StoreError;

use super::super::problem::Problem;
use super::asked::{Listed, part};
use super::patients::no_patient;
use super::time::Time;
use crate::access::viewing::audit_view;
use crate::access::visitor::Visitor;
use crate::app::App;

/// How far a rule has judged a patient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct RuleCoverage {
    /// The rule.
    rule: String,
    /// Whether the last batch judged it. One that is paused is judged, and nobody is told.
    judged: bool,
    /// The devices' time until which it has been judged; absent where it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    judged_until: Option<Time>,
    /// Since when it is not judged, by the job's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Time>,
    /// Why it is not: `no batch`, `kafka away`, `partition stalled`, `query failing`, `clock`, `records rejected`, `not attached`,
    /// `suppressed`, `late`, `bad value`, `no value` or `paused`.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    /// The cause in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'static str>,
}

/// Until when each rule has judged a patient, and why not further. Technical rules tell of the signal and are not among them.
#[utoipa::path(get, path = "/api/v1/patients/{patient}/coverage", tag = "patients", params(("patient" = String, Path)), responses(
    (status = 200, body = inline(Listed<RuleCoverage>)),
    (status = 304, description = "nothing has changed"),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn coverage(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let id = part(path)?;
    let (wanted, job) = (id.clone(), app.job.clone());
    let halted = app.services.trouble().and_then(|trouble| trouble.halt());
    let read = app.stores.with(move |store| {
        if !store.has_tables()? {
            return Ok((None, Vec::new()));
        }
        Ok::<_, StoreError>((store.newest_batch()?, unjudged_of(store, &job, &wanted, halted, SystemClock.now())?))
    });
    let (last, unjudged) = read.await?;
    // Somebody who is here without a record has no tile, and is missed all the same.
    let ward = app.live.ward();
    if ward.patient(&id).is_none() && !unjudged.iter().any(|one| *one.patient == *id) {
        return Err(no_patient(&ward));
    }
    audit_view(&app, &visitor, &id).await?;
    let set = app.job.sql.clone();
    let rules = tokio::task::spawn_blocking(move || rules(&set)).await.unwrap_or_default();
    let judged_until = last.map(|last| last.event_now.unwrap_or(last.now));
    let items = rules.iter().map(|rule| of_rule(rule, &unjudged, judged_until));
    Ok(Json(Listed { items: items.collect(), next: None }).into_response())
}

/// The rules about patients.
fn rules(set: &SqlSpec) -> Vec<String> {
    let files = load_set(set).unwrap_or_default();
    let is_about_patients =
        |kind: &QueryKind| matches!(kind, QueryKind::Rule(header) if header.severity != Severity::Technical);
    files.into_iter().filter(|file| is_about_patients(&file.kind)).map(|file| file.name).collect()
}

fn of_rule(rule: &str, unjudged: &[Unjudged], judged_until: Option<DateTime<Utc>>) -> RuleCoverage {
    let is_of_it = |one: &&Unjudged| one.rule == rule || one.rule == EVERY_RULE;
    // Records of strangers are nobody's, whoever this is.
    let is_of_stranger = |one: &Unjudged| one.patient.is_empty() && one.cause == Why::NotAttached;
    let found = unjudged.iter().filter(is_of_it).filter(|one| !is_of_stranger(one)).min_by_key(|one| one.cause);
    let is_judged = found.is_none_or(|found| found.cause == Why::Paused);
    let until = match found {
        Some(found) if !is_judged => found.judged_until,
        _ => judged_until,
    };
    RuleCoverage {
        rule: rule.to_owned(),
        judged: is_judged,
        judged_until: until.map(Time),
        since: found.map(|found| Time(found.since)),
        cause: found.map(|found| found.cause.name()),
        why: found.map(Unjudged::why),
        remedy: found.map(|found| remedy_of(found.cause)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_judged_until_the_last_batch_or_until_what_keeps_it_from_being_judged() {
        let at = |second| DateTime::from_timestamp(second, 0).expect("a time");
        let unjudged = |patient: &str, rule: &str, cause, detail: &str| Unjudged {
            patient: patient.into(),
            patients: 1,
            rule: rule.to_owned(),
            judged_until: Some(at(5)),
            since: at(40),
            cause,
            detail: detail.to_owned(),
            told_by: None,
        };
        let rows = [
            unjudged("P1", "hypoxia", Why::NoValue, "SpO₂"),
            unjudged("P1", EVERY_RULE, Why::Paused, "pause by nora"),
            unjudged("", EVERY_RULE, Why::NotAttached, "records of device D9 are nobody's"),
        ];
        let hypoxia = of_rule("hypoxia", &rows, Some(at(60)));
        assert_eq!(
            (hypoxia.judged, hypoxia.judged_until, hypoxia.since),
            (false, Some(Time(at(5))), Some(Time(at(40))))
        );
        assert_eq!((hypoxia.cause, hypoxia.why.as_deref()), (Some("no value"), Some("no valid SpO₂")));
        let paused = of_rule("tachycardia", &rows, Some(at(60)));
        assert_eq!((paused.judged, paused.judged_until, paused.cause), (true, Some(Time(at(60))), Some("paused")));
        let well = of_rule("tachycardia", &rows[2..], Some(at(60)));
        assert_eq!((well.judged, well.judged_until, well.cause), (true, Some(Time(at(60))), None));
    }
}
