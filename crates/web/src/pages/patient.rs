//! One patient: the numbers, what they have done, alerts, limits and reports.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::{Form, Json};
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use maud::{Markup, html};
use serde::{Deserialize, Serialize};

use wardwatch_alert::{EVERY_RULE, Limit, LimitScope, Resolved, Unjudged, Why, resolve};
use wardwatch_care::{remedy_of, unjudged_of};
use wardwatch_config::Job;
use wardwatch_model::clock::{Clock, SystemClock};
use wardwatch_model::terms::Role;
use wardwatch_report::{
    Cell, Figure, Limit as Drawn, PatientChart, PictureSize, Readout, ReportError, TIME_AXIS, Theme, listed,
    patient_chart, plain_name, png, shown,
};
use wardwatch_store::{EpisodesLike, Store, StoreError, Timed, Value};

use super::super::actions::{self, NewLimit};
use super::super::problem::Problem;
use super::super::words::{encoded, length, sentence, time};
use super::alerts::{quiet_form, table};
use super::frame::{NoPage, Place, back, csrf_token, frame, if_answered, nothing, patient_path, unread};
use super::reports::link;
use super::ward;
use crate::access::viewing::audit_view;
use crate::access::visitor::Visitor;
use crate::app::App;
use crate::view::{Person, Ward};

/// How much time the chart can show.
const SPANS: [(&str, &str, Duration); 4] = [
    ("1h", "1 h", Duration::from_secs(3_600)),
    ("6h", "6 h", Duration::from_secs(6 * 3_600)),
    ("24h", "24 h", Duration::from_secs(24 * 3_600)),
    ("7d", "7 d", Duration::from_secs(7 * 24 * 3_600)),
];

/// Episodes that are shown.
const MOST_EPISODES: usize = 30;

/// Limits of before that are shown.
const MOST_LIMITS: usize = 30;

/// Rows of the table beside the chart.
const ROWS: i32 = 12;

/// What the address says of the chart.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Shown {
    last: String,
    theme: String,
}

impl Shown {
    fn span(&self) -> (&'static str, Duration) {
        let found = SPANS.iter().find(|(name, _, _)| *name == self.last).unwrap_or(&SPANS[0]);
        (found.0, found.2)
    }

    fn theme(&self) -> Theme {
        if self.theme == "dark" { Theme::Dark } else { Theme::Light }
    }
}

/// The page.
pub(crate) async fn patient(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Query(shown): Query<Shown>,
) -> Result<Response, NoPage> {
    let ward = app.live.ward();
    let now = SystemClock.now();
    let Some(bed) = ward.patient(&id).cloned() else {
        if ward.sequence == 0 {
            return Err(Problem::not_read_yet().into());
        }
        let near = wardwatch_model::diagnostic::nearest(&id, ward.beds.iter().map(|bed| bed.id.as_str()));
        let hint = near.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
        return Err(Problem::not_found(&format!("there is no patient \"{id}\"{hint}")).into());
    };
    audit_view(&app, &visitor, &id).await?;
    let (job, wanted, asked) = (app.job.clone(), id.clone(), id.clone());
    let halted = app.services.trouble().and_then(|trouble| trouble.halt());
    let like = EpisodesLike { patient: Some(id.clone()), ..EpisodesLike::default() };
    let read = app
        .stores
        .with(move |store| {
            let episodes = store.episodes_like(&like, MOST_EPISODES)?;
            let unjudged = unjudged_of(store, &job, &asked, halted, now)?;
            Ok::<_, StoreError>((episodes, limits(store, &job)?, unjudged))
        })
        .await;
    let (episodes, limits, unjudged) = match if_answered(read)? {
        Some((episodes, limits, unjudged)) => (Some(episodes), Some(limits), unjudged),
        None => (None, None, Vec::new()),
    };
    let shared = app.clone();
    let reports = tokio::task::spawn_blocking(move || listed(&shared.job)).await.unwrap_or_default();
    let folder = plain_name(&wanted);
    let zone = app.job.reports.time_zone;
    let (last, _) = shown.span();
    let here = patient_path(&id);
    let content = html! {
        @if let Some(vitals) = &ward.vitals {
            div #tiles { (ward::tile(&bed, vitals, &ward, &visitor, &ward::Ages::of(&app, &ward, now))) }
        }
        div #unjudged aria-live="polite" { (not_judged(&unjudged, now, zone)) }
        section .panel aria-labelledby="trend" {
            h2 #trend { "Trend" }
            nav .tabs aria-label="How much time" { @for (name, text, _) in SPANS {
                a href={ (here) "?last=" (name) } aria-current=[(name == last).then_some("true")] { (text) }
            } }
            p #reading .reading .quiet aria-live="off" { "Point at the chart, or tap it, to read values." }
            figure .chart data-chart={ (here) "/chart?last=" (last) } tabindex="0" role="img"
                aria-label={ "Chart of the last " (last) "; arrow keys read values" } aria-describedby="reading" {
                noscript { img src={ (here) "/chart.png?last=" (last) } alt={ "Chart of the last " (last) }; }
            }
            div #values .scroll tabindex="0" role="region" aria-label="Values" {}
        }
        section .panel aria-labelledby="alerts" {
            h2 #alerts { "Alerts" }
            @match &episodes {
                None => { (unread()) }
                Some(none) if none.is_empty() => { (nothing("There was none.")) }
                Some(episodes) => { (table(episodes, &ward, &visitor, (now, zone))) }
            }
            @if episodes.as_ref().is_some_and(|episodes| episodes.len() == MOST_EPISODES) { p { a href={ "/alerts?patient=" (encoded(&id)) } { "All" } } }
            @if visitor.may(Role::Nurse) { (quiet_form(&visitor, &id, &here)) }
        }
        @match &limits {
            None => { section .panel { h2 { "Limits" } (unread()) } }
            Some(limits) => { (limits_panel(&app.job, &visitor, (&id, &bed.person), limits.as_deref(), now)) }
        }
        section .panel aria-labelledby="reports" {
            h2 #reports { "Reports" }
            @let own: Vec<_> = reports.iter().filter(|report| report.subject == folder).collect();
            @if own.is_empty() { (nothing("There is none of this patient yet.")) } @else { ul { @for report in own.iter().take(20) {
                li { a href={ "/reports/" (link(&report.link)) } {
                    (report.report.replace('_', " ")) ", " (report.time) } }
            } } }
        }
    };
    let title = if bed.person.place.is_empty() { id.clone() } else { format!("{} · {id}", bed.person.place) };
    Ok(frame(&app, &visitor, (Place::Elsewhere, &title), &ward, &content))
}

/// What keeps rules from judging the patient; nothing where all of them do.
fn not_judged(unjudged: &[Unjudged], now: DateTime<Utc>, zone: Tz) -> Markup {
    // Records of strangers are nobody's, whoever this is.
    let of_patient = unjudged.iter().filter(|one| !(one.patient.is_empty() && one.cause == Why::NotAttached));
    let mut by_cause: BTreeMap<(Why, String), Vec<&Unjudged>> = BTreeMap::new();
    for one in of_patient {
        by_cause.entry((one.cause, one.why())).or_default().push(one);
    }
    let first = |rules: &[&Unjudged]| rules.iter().map(|one| one.since).min().unwrap_or(now);
    html! {
        @if !by_cause.is_empty() { section .panel aria-labelledby="not-judged" {
            h2 #not-judged { "Not judged now" }
            @for ((cause, why), rules) in &by_cause {
                @let since = first(rules);
                p .wrong {
                    b { (named(rules)) } @if *cause == Why::Paused { ": nobody is told for " } @else { ": not judged for " }
                    span .since data-since=(since.timestamp_millis()) { (length(now - since)) }
                    ", " (why)
                    @if let Some(until) = rules.iter().filter_map(|one| one.judged_until).max() {
                        ", last value at " (time(until, zone))
                    }
                    br; span .quiet { (sentence(remedy_of(*cause))) }
                }
            }
        } }
    }
}

/// The names of rules, as people say them.
fn named(rules: &[&Unjudged]) -> String {
    if rules.iter().any(|one| one.rule == EVERY_RULE) {
        return "All rules".to_owned();
    }
    sentence(&rules.iter().map(|one| one.rule.replace('_', " ")).collect::<Vec<_>>().join(", "))
}

/// The rows of the table of limits; `None` where the job has none.
fn limits(store: &mut Store, job: &Job) -> Result<Option<Vec<Limit>>, StoreError> {
    let Some((_, rows)) = store.whole_table(&job.alerts.limits)? else { return Ok(None) };
    Ok(Limit::read(&rows).ok())
}

/// The limits that hold for a patient.
pub(crate) fn holding<'a>(limits: &'a [Limit], id: &str, person: &Person, at: DateTime<Utc>) -> Vec<Resolved<'a>> {
    let scale = format!("spo2 scale {}", person.spo2_scale);
    resolve(limits, id, &person.ward, &[&person.age_band, &scale], at)
}

fn limits_panel(
    job: &Job,
    visitor: &Visitor,
    (id, person): (&str, &Person),
    limits: Option<&[Limit]>,
    now: DateTime<Utc>,
) -> Markup {
    let zone = job.reports.time_zone;
    let label = |vital: &str| {
        let column = job.source.columns.all().iter().find(|column| column.name == vital);
        column.map_or_else(|| vital.to_owned(), |column| format!("{}, {}", column.label, column.unit))
    };
    let side = |side: &Option<(f64, &Limit)>| match side {
        Some((value, limit)) => html! { b { (value) } " " span .quiet { (limit.whose) } },
        None => html! { "–" },
    };
    html! {
        section .panel aria-labelledby="limits" {
            h2 #limits { "Limits" }
            @match limits {
                None => { (nothing("The job has no table of limits.")) }
                Some(limits) => {
                    @let holding = holding(limits, id, person, now);
                    div .scroll tabindex="0" { table {
                        thead { tr { th { "Vital" } th { "Low" } th { "High" } th { "Last set" } } }
                        tbody { @for one in &holding { tr {
                            td { (label(one.vital)) } td { (side(&one.low)) } td { (side(&one.high)) }
                            td { @if let Some((_, limit)) = one.low.or(one.high) { (set(limit, zone)) } }
                        } } }
                    } }
                    @if visitor.may(Role::Admin) { (limit_form(job, visitor, id)) }
                    (history(limits, id, person, zone))
                }
            }
        }
    }
}

fn set(limit: &Limit, zone: Tz) -> Markup {
    html! {
        (time(limit.valid_from, zone)) " by " (limit.author)
        @if !limit.reason.is_empty() { ": " (limit.reason) }
        @if let Some(until) = limit.valid_until { ", until " (time(until, zone)) }
    }
}

/// Everything that was ever set for the patient, the newest first.
fn history(limits: &[Limit], id: &str, person: &Person, zone: Tz) -> Markup {
    let of_patient = |limit: &&Limit| match &limit.whose {
        LimitScope::Patient(name) => name == id,
        LimitScope::Ward(name) => *name == person.ward,
        LimitScope::AgeBand(name) => *name == person.age_band,
        LimitScope::Default => false,
    };
    let mut own: Vec<&Limit> = limits.iter().filter(of_patient).collect();
    own.sort_by_key(|limit| std::cmp::Reverse(limit.valid_from));
    html! {
        details {
            summary { "History" }
            @if own.is_empty() { (nothing("Nothing but defaults was ever set.")) } @else { div .scroll tabindex="0" { table {
                thead { tr { th { "Whose" } th { "Vital" } th { "Low" } th { "High" } th { "Set" } } }
                tbody { @for limit in own.iter().take(MOST_LIMITS) { tr {
                    td { (limit.whose) } td { (limit.vital) }
                    td { (limit.low.map_or("–".to_owned(), |low| low.to_string())) }
                    td { (limit.high.map_or("–".to_owned(), |high| high.to_string())) }
                    td { (set(limit, zone)) }
                } } }
            } } }
        }
    }
}

fn limit_form(job: &Job, visitor: &Visitor, id: &str) -> Markup {
    html! {
        details {
            summary { "Set a limit for this patient" }
            form .row method="post" action={ (patient_path(id)) "/limits" } {
                (csrf_token(visitor))
                label { "Vital" select name="vital" {
                    @for column in job.source.columns.all().iter().filter(|column| column.limits.is_some()) {
                        option value=(column.name) { (column.label) ", " (column.unit) }
                    }
                } }
                label { "Low" input name="low" inputmode="decimal" size="6"; }
                label { "High" input name="high" inputmode="decimal" size="6"; }
                label { "For" select name="length" {
                    @for (value, text) in [("", "until it is set anew"), ("4h", "4 h"), ("12h", "12 h"), ("24h", "24 h")] {
                        option value=(value) { (text) }
                    }
                } }
                label { "Reason" input name="reason" required maxlength="500"; }
                button type="submit" { "Set" }
            }
            p .quiet { "A side that is left empty stays as it is." }
        }
    }
}

/// A limit as it is typed.
#[derive(Debug, Deserialize)]
pub(crate) struct LimitForm {
    vital: String,
    #[serde(default)]
    low: String,
    #[serde(default)]
    high: String,
    #[serde(default)]
    length: String,
    #[serde(default)]
    reason: String,
}

/// Sets a limit and leads back.
pub(crate) async fn set_limit(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Form(typed): Form<LimitForm>,
) -> Result<Response, NoPage> {
    let side = |text: &str| match text.trim().replace(',', ".") {
        text if text.is_empty() => Ok(None),
        text => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Some(Some(number))),
            _ => Err(Problem::wrong(&format!("\"{text}\" is no number"))),
        },
    };
    let length = match typed.length.as_str() {
        "" => None,
        text => Some(humantime::parse_duration(text).map_err(|_| Problem::wrong("a limit holds for 4h, 12h or 24h"))?),
    };
    let until = length.and_then(|length| SystemClock.now().checked_add_signed(TimeDelta::from_std(length).ok()?));
    let wanted = NewLimit {
        whose: LimitScope::Patient(id.clone()),
        vital: typed.vital,
        low: side(&typed.low)?,
        high: side(&typed.high)?,
        until,
        reason: typed.reason,
    };
    actions::set_limit(&app, &visitor, wanted).await?;
    Ok(back(&patient_path(&id)))
}

/// The chart as a script draws it: the picture, and what stands at each of its pixels.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Chart {
    svg: String,
    /// Edges in milliseconds since 1970.
    from: i64,
    until: i64,
    /// Where time begins and ends in the picture, and how wide that is.
    axis: (f64, f64, f64),
    lines: Vec<ChartLine>,
    /// The same as a table, for those who cannot see it.
    table: String,
}

#[derive(Debug, Clone, Serialize)]
struct ChartLine {
    label: String,
    unit: String,
    /// Milliseconds, least and greatest.
    points: Vec<(i64, f64, f64)>,
}

/// The chart.
pub(crate) async fn chart(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Query(shown): Query<Shown>,
) -> Result<Json<Chart>, Problem> {
    audit_view(&app, &visitor, &id).await?;
    let zone = app.job.reports.time_zone;
    let chart = draw(&app, &id, &shown, move |figure| {
        let readouts = figure.readouts()?;
        let milli = |micros: i64| micros.div_euclid(1_000);
        let line = |readout: &Readout| ChartLine {
            label: readout.label.clone(),
            unit: readout.unit.clone(),
            points: readout.points.iter().map(|(at, low, high)| (milli(*at), *low, *high)).collect(),
        };
        Ok(Chart {
            svg: figure.svg()?,
            from: figure.from.timestamp_millis(),
            until: figure.until.timestamp_millis(),
            axis: TIME_AXIS,
            lines: readouts.iter().map(line).collect(),
            table: values(figure, &readouts, zone).into_string(),
        })
    });
    Ok(Json(chart.await?))
}

/// The chart as a picture, for browsers that run no script.
pub(crate) async fn picture(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Query(shown): Query<Shown>,
) -> Result<Response, Problem> {
    audit_view(&app, &visitor, &id).await?;
    let size = PictureSize { width: 1_200, dpi: 96 };
    let picture = draw(&app, &id, &shown, move |figure| Ok(png(&figure.svg()?, size)?)).await?;
    Ok(([(CONTENT_TYPE, "image/png")], picture).into_response())
}

/// Collects the chart and makes something of it, on a thread that may take its time.
async fn draw<T: Send + 'static>(
    app: &App,
    id: &str,
    shown: &Shown,
    make: impl FnOnce(&Figure) -> Result<T, ReportError> + Send + 'static,
) -> Result<T, Problem> {
    let (job, ward, id) = (app.job.clone(), app.live.ward(), id.to_owned());
    let (span, theme) = (shown.span().1, shown.theme());
    let drawn = app.stores.with(move |store| {
        let now = SystemClock.now();
        let wanted = PatientChart {
            theme,
            limits: drawn_limits(store, &job, &ward, &id, now)?,
            scores: scores(store, &job, &id, now - span)?,
            ..PatientChart::of(&id, span)
        };
        make(&patient_chart(store, &job, &wanted, now)?)
    });
    Ok(drawn.await?)
}

fn drawn_limits(
    store: &mut Store,
    job: &Job,
    ward: &Arc<Ward>,
    id: &str,
    now: DateTime<Utc>,
) -> Result<Option<HashMap<String, Drawn>>, StoreError> {
    let Some(limits) = limits(store, job)? else { return Ok(None) };
    let person = ward.patient(id).map(|bed| bed.person.clone()).unwrap_or_default();
    let drawn = holding(&limits, id, &person, now).into_iter().map(|one| {
        let whose = [one.low, one.high].into_iter().flatten().map(|(_, limit)| &limit.whose).max();
        let whose = match whose {
            Some(LimitScope::Patient(_)) => "patient".to_owned(),
            Some(LimitScope::Ward(name) | LimitScope::AgeBand(name)) => name.clone(),
            _ => "default".to_owned(),
        };
        let limit = Drawn { low: one.low.map(|low| low.0), high: one.high.map(|high| high.0), whose };
        (one.vital.to_owned(), limit)
    });
    Ok(Some(drawn.collect()))
}

/// The patient's scores since a time, a minute each.
fn scores(store: &mut Store, job: &Job, id: &str, since: DateTime<Utc>) -> Result<Vec<Cell>, StoreError> {
    let key = &job.source.columns.key().name;
    let stored = store.column_names(&job.dashboard.score)?;
    let has = |name: &str| stored.iter().any(|column| column == name);
    if !has(key) || !has("window_start") || !has("score") {
        return Ok(Vec::new());
    }
    let columns: Vec<String> = ["score", "label"].into_iter().filter(|name| has(name)).map(str::to_owned).collect();
    let table = Timed { table: &job.dashboard.score, key, time: "window_start", columns: &columns };
    let mut cells: Vec<Cell> = Vec::new();
    for row in store.newer_rows(&table, &[(id, since)])? {
        let (Some(from), Some(value)) = (row.get(1).and_then(Value::as_time), row.get(2).and_then(Value::as_float))
        else {
            continue;
        };
        let label = row.get(3).and_then(Value::as_text).unwrap_or_default().to_owned();
        let until = from + TimeDelta::minutes(1);
        match cells.last_mut() {
            // Minutes of one score are one cell, which then has room for its number.
            Some(last) if last.until == from && last.label == label && (last.value - value).abs() < f64::EPSILON => {
                last.until = until;
            }
            _ => cells.push(Cell { from, until, value, label }),
        }
    }
    Ok(cells)
}

/// The lines as a table: for each twelfth of the time, the least and the greatest value.
fn values(figure: &Figure, readouts: &[Readout], zone: Tz) -> Markup {
    let step = (figure.until - figure.from) / ROWS;
    let rows = (0..ROWS).rev().map(|row| (figure.from + step * row, figure.from + step * (row + 1)));
    let cell = |readout: &Readout, from: DateTime<Utc>, until: DateTime<Utc>| {
        let within = (from.timestamp_micros() + 1)..=until.timestamp_micros();
        let points = readout.points.iter().filter(|(at, _, _)| within.contains(at));
        let range = points.fold(None, |range: Option<(f64, f64)>, (_, low, high)| {
            Some(range.map_or((*low, *high), |(least, most)| (least.min(*low), most.max(*high))))
        });
        match range {
            None => "–".to_owned(),
            Some((low, high)) if low >= high => shown(low),
            Some((low, high)) => format!("{}–{}", shown(low), shown(high)),
        }
    };
    html! {
        table {
            thead { tr { th { "Up to" } @for readout in readouts { th .number {
                (readout.label) @if !readout.unit.is_empty() { ", " (readout.unit) }
            } } } }
            tbody { @for (from, until) in rows { tr {
                td { (until.with_timezone(&zone).format("%-d %b %H:%M %Z")) }
                @for readout in readouts { td .number { (cell(readout, from, until)) } }
            } } }
        }
    }
}
