//! Patients, their vitals and their limits.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use wardwatch_alert::{Limit, LimitScope};
use wardwatch_model::clock::{Clock, SystemClock};
use wardwatch_store::{Readings, Store, StoreError, Value};

use super::super::actions::{self, NewLimit};
use super::super::pages::holding;
use super::super::problem::Problem;
use super::super::vitals::Vitals;
use super::super::words::is_kept;
use super::asked::{Listed, body, how_many, part, read};
use super::time::Time;
use crate::access::viewing::audit_view;
use crate::access::visitor::Visitor;
use crate::app::App;
use crate::view::{PatientView, Person, Ward};

/// A patient.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Patient {
    /// The id.
    id: String,
    /// The name, where the role may read it and it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The bed.
    place: String,
    /// The ward.
    ward: String,
    /// The time of the newest reading; without it, the patient is here and none has come yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    newest_at: Option<Time>,
    /// Whether that is too long ago for the numbers to be shown as current.
    stale: bool,
    /// The newest number of each vital.
    numbers: Vec<Number>,
    /// The score of the newest complete minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<PatientScore>,
    /// The worst severity of the alerts that stand.
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<String>,
}

/// A number of a patient.
#[derive(Debug, Serialize, ToSchema)]
struct Number {
    /// The vital, by the name of its column.
    vital: String,
    /// How it is written; a blood pressure is systolic/diastolic.
    text: String,
    /// Its unit.
    unit: String,
    /// When it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Time>,
}

/// A score.
#[derive(Debug, Serialize, ToSchema)]
struct PatientScore {
    /// The score.
    value: f64,
    /// How it is written, with of how many parameters it is.
    label: String,
    /// The minute that it is of.
    at: Time,
}

fn shown(
    bed: &PatientView,
    vitals: &Vitals,
    ward: &Ward,
    visitor: &Visitor,
    stale_after: std::time::Duration,
) -> Patient {
    let Person { name, place, ward: of_ward, .. } = &bed.person;
    let numbers = vitals.shown.iter().zip(&bed.numbers).map(|(vital, number)| Number {
        vital: vital.name.clone(),
        text: number.text.clone(),
        unit: vital.unit.clone(),
        at: number.at.map(Time),
    });
    Patient {
        id: bed.id.clone(),
        name: Some(name.clone()).filter(|name| !name.is_empty() && visitor.may_read_names()),
        place: place.clone(),
        ward: of_ward.clone(),
        newest_at: bed.newest.map(Time),
        stale: bed.newest.is_none_or(|at| (SystemClock.now() - at).to_std().is_ok_and(|age| age > stale_after)),
        numbers: numbers.collect(),
        score: bed.score.as_ref().map(|(score, _)| PatientScore {
            value: score.value,
            label: score.label.clone(),
            at: Time(score.at),
        }),
        severity: ward.worst(&bed.id).map(|episode| episode.severity.name().to_owned()),
    }
}

/// Which patients.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichPatients {
    /// Only those of this ward.
    ward: Option<String>,
    /// The id of the patient after whom to go on.
    after: Option<String>,
    /// How many at the most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// The patients, by id, with their newest numbers.
#[utoipa::path(get, path = "/api/v1/patients", tag = "patients", params(WhichPatients), responses(
    (status = 200, body = inline(Listed<Patient>)),
    (status = 304, description = "nothing has changed"),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn patients(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
    query: Result<Query<WhichPatients>, QueryRejection>,
) -> Result<Response, Problem> {
    let WhichPatients { ward: of_ward, after, limit } = read(query)?;
    let most = how_many(limit)?;
    audit_view(&app, &visitor, "the ward").await?;
    let ward = app.live.ward();
    let mut beds: Vec<&PatientView> = ward.beds.iter().map(AsRef::as_ref).collect();
    beds.sort_by(|a, b| a.id.cmp(&b.id));
    beds.retain(|bed| of_ward.as_ref().is_none_or(|wanted| *wanted == bed.person.ward));
    beds.retain(|bed| after.as_ref().is_none_or(|after| bed.id > *after));
    let next = beds.get(most - 1).filter(|_| beds.len() > most).map(|bed| bed.id.clone());
    let Some(vitals) = &ward.vitals else {
        return Ok(Json(Listed::<Patient> { items: Vec::new(), next }).into_response());
    };
    let stale_after = app.job.dashboard.stale_after;
    let items = beds.into_iter().take(most).map(|bed| shown(bed, vitals, &ward, &visitor, stale_after)).collect();
    Ok(Json(Listed { items, next }).into_response())
}

/// One patient.
#[utoipa::path(get, path = "/api/v1/patients/{patient}", tag = "patients", params(("patient" = String, Path)), responses(
    (status = 200, body = Patient),
    (status = 304, description = "nothing has changed"),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn patient(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let id = part(path)?;
    let ward = app.live.ward();
    let (Some(bed), Some(vitals)) = (ward.patient(&id), &ward.vitals) else { return Err(no_patient(&ward)) };
    audit_view(&app, &visitor, &id).await?;
    Ok(Json(shown(bed, vitals, &ward, &visitor, app.job.dashboard.stale_after)).into_response())
}

/// Of somebody whom the ward does not have: while it has never been read, nobody can say that there is no such patient.
pub(super) fn no_patient(ward: &Ward) -> Problem {
    match ward.sequence {
        0 => Problem::not_read_yet(),
        _ => Problem::not_found("there is no such patient"),
    }
}

/// Which readings.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichReadings {
    /// The first time; an hour before the last without it.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Time>,
    /// The last time; now without it.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Time>,
    /// The time after which to go on.
    #[param(value_type = Option<String>, format = DateTime)]
    after: Option<Time>,
    /// How many at the most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// A reading: its time and what was measured, by the names of columns.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Reading {
    /// When it was measured.
    at: Time,
    /// The values; those that are not there are absent.
    values: BTreeMap<String, f64>,
}

impl Reading {
    #[cfg(test)]
    pub(super) fn new(at: DateTime<Utc>, values: &[(&str, f64)]) -> Self {
        Self { at: Time(at), values: values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect() }
    }

    /// When it was measured.
    pub(super) fn at(&self) -> DateTime<Utc> {
        self.at.0
    }

    /// The value of a column.
    pub(super) fn value(&self, column: &str) -> Option<f64> {
        self.values.get(column).copied()
    }
}

/// A patient's readings, the oldest first. Of readings of one time, all are on one page.
#[utoipa::path(get, path = "/api/v1/patients/{patient}/vitals", tag = "patients",
    params(("patient" = String, Path), WhichReadings), responses(
    (status = 200, body = inline(Listed<Reading>)),
    (status = 304, description = "nothing has changed"),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn vitals(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<WhichReadings>, QueryRejection>,
) -> Result<Response, Problem> {
    let (id, wanted) = (part(path)?, read(query)?);
    let most = how_many(wanted.limit)?;
    let (from, until) = edges(wanted.from.map(|from| from.0), wanted.until.map(|until| until.0))?;
    let from = match wanted.after {
        Some(after) => from.max(known_time(after.0)? + TimeDelta::microseconds(1)),
        None => from,
    };
    audit_view(&app, &visitor, &id).await?;
    let readings = readings(&app, &id, (from, until), most + 1).await?;
    let (items, next) = page_of(readings, most);
    Ok(Json(Listed { items, next }).into_response())
}

/// Times that stores hold.
pub(super) fn known_time(at: DateTime<Utc>) -> Result<DateTime<Utc>, Problem> {
    if is_kept(at) { Ok(at) } else { Err(Problem::wrong("times lie in the years 1000 to 9998")) }
}

/// The edges of a time that is asked for: the last hour if nothing is said.
pub(super) fn edges(
    from: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
) -> Result<(DateTime<Utc>, DateTime<Utc>), Problem> {
    let until = known_time(until.unwrap_or_else(|| SystemClock.now()))?;
    let from = known_time(from.unwrap_or(until - TimeDelta::hours(1)))?;
    if from > until {
        return Err(Problem::wrong("from is after until"));
    }
    Ok((from, until))
}

/// At most `most` readings of a patient, and those of the last one's time.
pub(super) async fn readings(
    app: &App,
    id: &str,
    (from, until): (DateTime<Utc>, DateTime<Utc>),
    most: usize,
) -> Result<Vec<Reading>, Problem> {
    let ward = app.live.ward();
    let (Some(_), Some(vitals)) = (ward.patient(id), ward.vitals.clone()) else { return Err(no_patient(&ward)) };
    let (job, id) = (app.job.clone(), id.to_owned());
    let read = app.stores.with(move |store: &mut Store| {
        let wanted = Readings {
            table: &job.reports.table,
            key: &job.source.columns.key().name,
            event_time: &job.source.columns.event_time().name,
            columns: &vitals.columns,
            patient: &id,
            from,
            until,
        };
        let rows = store.first_readings(&wanted, most)?;
        let reading = |row: &Vec<Value>| {
            let values = vitals.columns.iter().zip(row.iter().skip(1));
            let values = values.filter_map(|(name, value)| Some((name.clone(), value.as_float()?)));
            Some(Reading { at: Time(row.first()?.as_time()?), values: values.collect() })
        };
        Ok::<_, StoreError>(rows.iter().filter_map(reading).collect())
    });
    Ok(read.await?)
}

/// The first `most` readings, but no part of those of one time; and where to go on.
fn page_of(mut readings: Vec<Reading>, most: usize) -> (Vec<Reading>, Option<String>) {
    if readings.len() <= most {
        return (readings, None);
    }
    let cut = readings[most].at;
    let whole = readings.iter().position(|reading| reading.at == cut).unwrap_or(most);
    // More readings of one time than a page has room for are given as they are.
    readings.truncate(if whole == 0 { most } else { whole });
    let next = readings.last().map(|last| last.at.text());
    (readings, next)
}

/// A limit.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShownLimit {
    /// The vital, by the name of its column.
    vital: String,
    /// The lower limit.
    low: Option<f64>,
    /// Whose that is.
    low_of: Option<String>,
    /// The upper limit.
    high: Option<f64>,
    /// Whose that is.
    high_of: Option<String>,
}

/// The limits that hold for a patient now, each side with whose it is.
#[utoipa::path(get, path = "/api/v1/patients/{patient}/limits", tag = "limits", params(("patient" = String, Path)), responses(
    (status = 200, body = inline(Listed<ShownLimit>)),
    (status = 304, description = "nothing has changed"),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn limits(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let id = part(path)?;
    let ward = app.live.ward();
    let person = ward.patient(&id).map(|bed| bed.person.clone()).ok_or_else(|| no_patient(&ward))?;
    audit_view(&app, &visitor, &id).await?;
    let table = app.job.alerts.limits.clone();
    let rows = app.stores.with(move |store| store.whole_table(&table)).await?;
    let limits = rows.and_then(|(_, rows)| Limit::read(&rows).ok()).unwrap_or_default();
    let items = holding(&limits, &id, &person, SystemClock.now()).into_iter().map(|one| ShownLimit {
        vital: one.vital.to_owned(),
        low: one.low.map(|low| low.0),
        low_of: one.low.map(|low| low.1.whose.to_string()),
        high: one.high.map(|high| high.0),
        high_of: one.high.map(|high| high.1.whose.to_string()),
    });
    Ok(Json(Listed { items: items.collect(), next: None }).into_response())
}

/// A limit that is to be set. A side that is absent stays as it is; one that is null is left to the wider scope.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitToSet {
    /// The vital, by the name of its column.
    vital: String,
    /// The lower limit.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<f64>)]
    low: Option<Option<f64>>,
    /// The upper limit.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<f64>)]
    high: Option<Option<f64>>,
    /// Until when; afterwards what held before does.
    until: Option<Time>,
    /// Why.
    reason: String,
}

/// Tells null from absent.
fn said<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Option<f64>>, D::Error> {
    Option::<f64>::deserialize(value).map(Some)
}

/// A limit that was set.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SetLimit {
    /// The vital.
    vital: String,
    /// The lower limit.
    low: Option<f64>,
    /// The upper limit.
    high: Option<f64>,
    /// Since when it holds.
    valid_from: Time,
    /// Until when.
    valid_until: Option<Time>,
}

/// Sets a limit of a patient; the job takes it over within its refresh of reference tables.
#[utoipa::path(post, path = "/api/v1/patients/{patient}/limits", tag = "limits", params(("patient" = String, Path)),
    request_body = LimitToSet, responses(
    (status = 201, body = SetLimit),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 413, body = Problem, content_type = "application/problem+json"),
    (status = 415, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn set_limit(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
    path: Result<Path<String>, PathRejection>,
    wanted: Result<Json<LimitToSet>, JsonRejection>,
) -> Result<Response, Problem> {
    let (id, wanted) = (part(path)?, body(wanted)?);
    actions::require(&visitor, wardwatch_model::terms::Role::Admin)?;
    let ward = app.live.ward();
    if ward.patient(&id).is_none() {
        return Err(no_patient(&ward));
    }
    let LimitToSet { vital, low, high, until, reason } = wanted;
    let until = until.map(|until| known_time(until.0)).transpose()?;
    let wanted = NewLimit { whose: LimitScope::Patient(id), vital, low, high, until, reason };
    let Limit { vital, low, high, valid_from, valid_until, .. } = actions::set_limit(&app, &visitor, wanted).await?;
    Ok((
        StatusCode::CREATED,
        Json(SetLimit { vital, low, high, valid_from: Time(valid_from), valid_until: valid_until.map(Time) }),
    )
        .into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_between_times_and_says_where_the_next_begins() {
        let at = |second: i64| DateTime::from_timestamp(second, 0).expect("a time");
        let readings = |seconds: &[i64]| -> Vec<Reading> {
            seconds.iter().map(|second| Reading { at: Time(at(*second)), values: BTreeMap::new() }).collect()
        };
        let check = |seconds: &[i64], most: usize, count: usize, next: Option<&str>| {
            let (items, found) = page_of(readings(seconds), most);
            assert_eq!((items.len(), found.as_deref()), (count, next), "{seconds:?} by {most}");
        };
        check(&[1, 2], 2, 2, None);
        check(&[1, 2, 3], 2, 2, Some("1970-01-01T00:00:02Z"));
        check(&[1, 2, 2], 2, 1, Some("1970-01-01T00:00:01Z"));
        check(&[2, 2, 2], 2, 2, Some("1970-01-01T00:00:02Z"));
    }
}
