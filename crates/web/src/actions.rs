//! What visitors may do, for pages and programs alike: each is allowed, noted in the audit, and done, or refused with the
//! reason.

use std::time::Duration;

use axum::http::StatusCode;
use chrono::{DateTime, Utc};

use wardwatch_alert::{
    Action, ActionId, Episode, EpisodeId, Limit, LimitChange, LimitScope, Request, Scope, SilenceKind, State,
    check_rule,
};
use wardwatch_config::ColumnType;
use wardwatch_model::clock::{Clock, Stopwatch, SystemClock};
use wardwatch_model::diagnostic::unknown;
use wardwatch_model::terms::{Role, Severity};
use wardwatch_sql::load_set;
use wardwatch_store::StoreError;

use super::access::visitor::Visitor;
use super::app::App;
use super::problem::Problem;

/// How long the job is waited for; it answers with its next batch.
const ANSWERS_WITHIN: Duration = Duration::from_secs(4);

/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The longest silence.
const LONGEST_SILENCE: Duration = Duration::from_secs(366 * 86_400);

/// The longest note or reason.
const LONGEST_TEXT: usize = 500;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// The job has done it.
    Now,
    /// The job has not answered yet; it will with its next batch.
    Later,
}

/// The episode of this id.
pub(super) async fn episode(app: &App, id: &str) -> Result<Episode, Problem> {
    let wanted = id.to_owned();
    let found = app.stores.with(move |store| store.episodes_called(&wanted)).await?;
    let found = found.into_iter().find(|episode| *episode.id.0 == *id);
    found.ok_or_else(|| Problem::not_found("there is no such episode"))
}

/// Takes an episode on.
pub(super) async fn acknowledge(app: &App, visitor: &Visitor, id: &str, note: &str) -> Result<Done, Problem> {
    require(visitor, Role::Nurse)?;
    let episode = episode(app, id).await?;
    let refusal = match episode.state {
        State::Ended | State::Dropped => Some("the episode is over; there is nothing to acknowledge"),
        State::Pending => Some("the episode has not fired yet; there is nothing to acknowledge"),
        _ => None,
    };
    if let Some(refusal) = refusal {
        return Err(Problem::new(StatusCode::CONFLICT, refusal));
    }
    let subject = episode.patient.to_string();
    let asked = Request::Acknowledge(EpisodeId(episode.id.0));
    ask(app, visitor, (note, asked), ("acknowledge", &subject, id)).await
}

/// What is to be quiet, for how long and why.
#[derive(Debug, Clone)]
pub(super) struct Quiet {
    pub(super) kind: SilenceKind,
    pub(super) scope: Scope,
    pub(super) up_to: Option<Severity>,
    pub(super) length: Duration,
    pub(super) reason: String,
}

/// Pauses or silences alerts.
pub(super) async fn quiet(app: &App, visitor: &Visitor, wanted: Quiet) -> Result<Done, Problem> {
    require(visitor, Role::Nurse)?;
    let Quiet { kind, scope, up_to, length, reason } = wanted;
    if scope == Scope::default() {
        return Err(Problem::wrong("name a patient, a ward or a rule that is to be quiet"));
    }
    let longest = app.job.alerts.longest_pause;
    if kind == SilenceKind::Pause && length > longest {
        let longest = humantime::format_duration(longest);
        return Err(Problem::wrong(&format!(
            "a pause lasts {longest} at the most; a silence takes a reason and may be longer"
        )));
    }
    if kind == SilenceKind::Silence && reason.trim().is_empty() {
        return Err(Problem::wrong("a silence has a reason"));
    }
    if !scope.rule.is_empty() {
        let set = app.job.sql.clone();
        let files = tokio::task::spawn_blocking(move || load_set(&set)).await;
        let files = files.ok().and_then(Result::ok).unwrap_or_default();
        let rules = files.iter().filter(|file| file.is_rule()).map(|file| file.name.as_str());
        check_rule(&scope.rule, rules).map_err(|unknown| Problem::wrong(&unknown))?;
    }
    if length < Duration::from_secs(1) || length > LONGEST_SILENCE {
        return Err(Problem::wrong("alerts are quiet for a second at the least and a year at the most"));
    }
    let until = SystemClock.now() + length;
    let (subject, detail) = (scope.to_string(), format!("{} until {until}", kind.name()));
    ask(app, visitor, (&reason, Request::Quiet { kind, scope, up_to, until }), (kind.name(), &subject, &detail)).await
}

/// Ends a pause or a silence early.
pub(super) async fn end_quiet(app: &App, visitor: &Visitor, id: &str) -> Result<Done, Problem> {
    require(visitor, Role::Nurse)?;
    let now = SystemClock.now();
    let silences = app.stores.with(|store| store.silences()).await?;
    let Some(silence) = silences.into_iter().find(|silence| silence.id.0 == id && silence.until > now) else {
        return Err(Problem::not_found("there is no such silence, or it is over"));
    };
    let subject = silence.scope.to_string();
    ask(app, visitor, ("", Request::EndSilence(ActionId(id.to_owned()))), ("end silence", &subject, id)).await
}

async fn ask(
    app: &App,
    visitor: &Visitor,
    (note, asked): (&str, Request),
    (what, subject, detail): (&str, &str, &str),
) -> Result<Done, Problem> {
    if note.chars().count() > LONGEST_TEXT {
        return Err(Problem::wrong(&format!("a note has {LONGEST_TEXT} characters at the most")));
    }
    let action = Action::new(SystemClock.now(), &visitor.name, note, asked);
    let (id, entry) = (action.id.clone(), visitor.audit_entry(what, subject, detail));
    let put = app.stores.with(move |store| {
        store.note_audit(&entry)?;
        store.ask(&action)
    });
    put.await?;
    let waiting = Stopwatch::start();
    while !waiting.left_of(ANSWERS_WITHIN).is_zero() {
        let wanted = id.clone();
        match app.stores.with(move |store| store.answer(&wanted)).await? {
            Some(refusal) if refusal.is_empty() => return Ok(Done::Now),
            Some(refusal) => return Err(Problem::new(StatusCode::CONFLICT, &refusal)),
            None => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
    Ok(Done::Later)
}

/// A new limit as it is asked for.
#[derive(Debug, Clone)]
pub(super) struct NewLimit {
    pub(super) whose: LimitScope,
    pub(super) vital: String,
    pub(super) low: Option<Option<f64>>,
    pub(super) high: Option<Option<f64>>,
    pub(super) until: Option<DateTime<Utc>>,
    pub(super) reason: String,
}

/// Sets a limit; the job takes it over with its next batches.
pub(super) async fn set_limit(app: &App, visitor: &Visitor, wanted: NewLimit) -> Result<Limit, Problem> {
    require(visitor, Role::Admin)?;
    let NewLimit { whose, vital, low, high, until, reason } = wanted;
    if reason.chars().count() > LONGEST_TEXT {
        return Err(Problem::wrong(&format!("a reason has {LONGEST_TEXT} characters at the most")));
    }
    if let LimitScope::Patient(name) | LimitScope::Ward(name) | LimitScope::AgeBand(name) = &whose
        && (name.trim().is_empty() || name.chars().count() > LONGEST_TEXT)
    {
        return Err(Problem::wrong("say whose limit it is"));
    }
    let columns = app.job.source.columns.all();
    let numbers = || columns.iter().filter(|column| matches!(column.r#type, ColumnType::Float | ColumnType::Int));
    let Some(column) = numbers().find(|column| column.name == vital) else {
        return Err(Problem::wrong(&unknown("vital", &vital, numbers().map(|column| column.name.as_str()))));
    };
    let change =
        LimitChange { whose, vital, low, high, from: SystemClock.now(), until, author: visitor.name.clone(), reason };
    let (table, plausible) = (app.job.alerts.limits.clone(), column.plausible);
    let visitor = visitor.clone();
    let set = app.stores.with(move |store| {
        let Some((spec, rows)) = store.whole_table(&table)? else {
            return Ok(Err("the job has no table of limits".to_owned()));
        };
        let limit = match Limit::read(&rows).and_then(|limits| change.limit(&limits, plausible)) {
            Ok(limit) => limit,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let detail = format!("{} {:?} to {:?}", limit.vital, limit.low, limit.high);
        store.note_audit(&visitor.audit_entry("set limit", &limit.whose.to_string(), &detail))?;
        store.add_to_reference(&spec, &limit.row(&rows.schema()))?;
        Ok::<_, StoreError>(Ok(limit))
    });
    set.await?.map_err(|refusal| Problem::wrong(&refusal))
}

/// The visitor may do what `role` may, or gets no further.
pub(super) fn require(visitor: &Visitor, role: Role) -> Result<(), Problem> {
    if visitor.may(role) { Ok(()) } else { Err(Problem::forbidden(role)) }
}
