//! From the job file's text to a [`Job`], or to every fault in it at once.

mod columns;
mod form;
mod overlay;
mod sources;
mod written;

use std::path::{Path, PathBuf};

use chrono_tz::Tz;

use wardwatch_model::diagnostic::{Diagnostic, Diagnostics, nearest};

use super::checker::{Checker, not_empty, table_name};
use super::raw::{RawJob, RawReports, RawSql, RawTrigger};
use super::units::{Zero, bytes, duration};
use super::wording::toml_fault;
use super::{Job, Outlet, OutletKind, ReportSpec, SourceSpec, SqlSpec, StoreUrl, Trigger};

/// Reads and validates the job file at `path`; `${NAME}` comes from the process's environment.
///
/// Folders named in it are relative to the file. Errors: every fault, in the order of the file.
pub fn load(path: &Path) -> Result<Job, Diagnostics> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let message = match error.kind() {
            std::io::ErrorKind::NotFound => not_found(path),
            _ => format!("cannot be read: {error}"),
        };
        Diagnostics(vec![Diagnostic { file: path.to_owned(), line: 1, column: 1, message }])
    })?;
    parse(path, &text, &|name| std::env::var(name).ok())
}

/// Says that there is no such file, and which of its neighbours may be meant.
fn not_found(path: &Path) -> String {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let neighbours: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".toml"))
        .collect();
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match nearest(name, neighbours.iter().map(String::as_str)) {
        Some(near) => format!("there is no such file; did you mean \"{}\"?", folder.join(near).display()),
        None => "there is no such file".to_owned(),
    }
}

/// The same on a text that is, or could be, the file at `path`, with the environment given.
///
/// # Errors
/// Every fault, in the order of the text.
pub fn parse(path: &Path, text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Job, Diagnostics> {
    let mut checker = Checker { file: path, text, environment, errors: Vec::new() };
    let raw: RawJob = toml::from_str(text).map_err(|error| {
        let (place, worded) = toml_fault(text, &error);
        let line = text[..place.start].rfind('\n').map_or(0, |end| end + 1);
        let is_topic = text[line..].trim_start().strip_prefix("topic").is_some_and(|rest| rest.trim_start().starts_with('='));
        let message = match error.message() {
            message if is_topic && message.contains("invalid type: sequence") => {
                "several topics are topics = [\"vitals\", \"urgent\"]; topic is one, or a pattern: topic = \"^ward[0-9]+$\"".to_owned()
            }
            message if text[line..].starts_with("[sources") && message.contains("expected a sequence") => {
                "several sources are a list: write [[sources]]".to_owned()
            }
            _ => worded,
        };
        checker.refuse::<()>(place, message);
        Diagnostics(std::mem::take(&mut checker.errors))
    })?;
    let job = checker.job(raw);
    checker.errors.sort_by_key(|error| (error.line, error.column));
    // What several forms have in common is wrong in each.
    checker.errors.dedup_by(|b, a| (a.line, a.column, &a.message) == (b.line, b.column, &b.message));
    match job {
        Some(job) if checker.errors.is_empty() => Ok(job),
        _ => Err(Diagnostics(checker.errors)),
    }
}

impl Checker<'_> {
    fn job(&mut self, raw: RawJob) -> Option<Job> {
        let stem = self.file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("job").to_owned();
        let name = self.text_or(raw.name, &stem);
        let trigger = self.trigger(raw.trigger);
        let source = self.sources(raw.source, raw.sources, &name);
        let store = self.required(raw.store.url, store_url);
        let sql = self.sql(raw.sql);
        let alerts = self.alerts(raw.alerts, raw.notify);
        let reports = self.reports(raw.reports);
        let dashboard = self.dashboard(raw.dashboard);
        let gateway = self.gateway(raw.gateway, source.as_ref().map(|source| &source.topics));
        let features = source.as_ref().map(|source| self.features(raw.features, &source.columns));
        let (alerts, notify) = alerts?;
        if let Some(source) = &source {
            self.refuse_own_topics(&notify, source);
        }
        Some(Job {
            name,
            file: self.file.to_owned(),
            trigger: trigger?,
            source: source?,
            store: store?,
            sql: sql?,
            features: features??,
            alerts,
            notify,
            reports: reports?,
            dashboard: dashboard?,
            gateway: gateway?,
        })
    }

    /// What is told of alerts is no record to be read.
    fn refuse_own_topics(&mut self, outlets: &[Outlet], source: &SourceSpec) {
        for outlet in outlets {
            let OutletKind::Kafka { topic } = &outlet.kind else { continue };
            if source.topics.takes(topic) {
                let place = self.text.rfind(&format!("\"{topic}\"")).unwrap_or(0);
                let message = format!(
                    "outlet \"{}\" writes to \"{topic}\", which the job reads; alerts need a topic of their own",
                    outlet.name
                );
                self.refuse::<()>(place..place, message);
            }
        }
    }

    fn trigger(&mut self, raw: RawTrigger) -> Option<Trigger> {
        let max_rows = self.count_or(raw.max_rows, 100_000, "rows");
        Some(Trigger {
            every: self.or_default(raw.every, "1s", |text| duration(text, Zero::Refused))?,
            max_rows: max_rows?,
            max_bytes: self.or_default(raw.max_bytes, "64MiB", bytes)?,
        })
    }

    fn sql(&mut self, raw: RawSql) -> Option<SqlSpec> {
        let place = raw.dir.span();
        let dir = self.required(raw.dir, not_empty).map(|dir| self.relative(&dir))?;
        if !dir.is_dir() {
            return self.refuse(place, format!("there is no folder \"{}\"", dir.display()));
        }
        Some(SqlSpec {
            dir,
            given: Vec::new(),
            time_limit: self.or_default(raw.time_limit, "5s", |text| duration(text, Zero::Refused))?,
            memory_limit: self.or_default(raw.memory_limit, "256MiB", bytes)?,
            max_groups: self.count_or(raw.max_groups, 1_000_000, "groups")?,
            reference_refresh: self.or_default(raw.reference_refresh, "10s", |text| duration(text, Zero::Refused))?,
            snapshot_every: self.count_or(raw.snapshot_every, 60, "batches")? as u64,
        })
    }

    fn reports(&mut self, raw: RawReports) -> Option<ReportSpec> {
        let dir = self.or_default(raw.dir, "../reports/out", not_empty)?;
        let specs = raw.specs.map(|specs| self.or_default(Some(specs), "", not_empty));
        let specs = specs.map(|specs| Some(self.relative(&specs?)));
        let specs = match specs {
            Some(specs) => Some(specs?),
            None => None,
        };
        Some(ReportSpec {
            specs,
            table: self.or_default(raw.table, "readings", table_name)?,
            dir: self.relative(&dir),
            time_zone: self.or_default(raw.time_zone, "UTC", time_zone)?,
        })
    }
}

fn time_zone(text: &str) -> Result<Tz, String> {
    let names = || chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
    // A city is called by what stands before it, too.
    let of_city = || names().find(|name| name.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(text)));
    let near = || of_city().or_else(|| nearest(text, names()));
    text.parse().map_err(|_| match near() {
        Some(near) => format!("unknown time zone \"{text}\"; did you mean \"{near}\"?"),
        None => format!("unknown time zone \"{text}\"; write one of the tz database: \"Europe/Berlin\", \"America/New_York\", \"UTC\""),
    })
}

fn store_url(text: &str) -> Result<StoreUrl, String> {
    if text.starts_with("mysql://") {
        return Ok(StoreUrl::MySql(text.to_owned()));
    }
    match text.strip_prefix("sqlite://") {
        Some(path) if !path.is_empty() => Ok(StoreUrl::Sqlite(PathBuf::from(path))),
        // Only the scheme is quoted: the rest may hold a password.
        _ => Err(format!(
            "\"{}\" is no store; write \"mysql://user:password@host:port/database\" or \"sqlite://file.db\"",
            text.split("://").next().unwrap_or_default()
        )),
    }
}

#[cfg(test)]
mod tests;
