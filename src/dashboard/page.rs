//! The ward as HTML: a tile per patient, the worst open alert on it, and how old its numbers are.

use chrono::{DateTime, Utc};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::alert::{Episode, State};
use crate::config::{Column, ColumnType, Job};
use crate::store::{Readings, Store, StoreError, Value};
use crate::terms::Severity;

/// Numbers older than this are shown as stale.
const STALE_SECONDS: i64 = 5;

const STYLE: &str = "
:root { color-scheme: light dark; --bg:#fff; --surface:#f6f7f9; --rule:#d9dee5; --text:#1b2430; --quiet:#5b6775; }
@media (prefers-color-scheme: dark) { :root { --bg:#0f1419; --surface:#171d24; --rule:#2b343f; --text:#e8edf2; --quiet:#9aa7b4; } }
body { font: 16px system-ui, sans-serif; font-variant-numeric: tabular-nums; background: var(--bg); color: var(--text); margin: 16px; }
header { display: flex; gap: 24px; align-items: baseline; flex-wrap: wrap; margin-bottom: 16px; }
h1 { font-size: 20px; margin: 0; } header span, .quiet { color: var(--quiet); font-size: 14px; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 12px; }
article { background: var(--surface); border: 1px solid var(--rule); border-left: 6px solid var(--rule); border-radius: 8px; padding: 12px; }
article.high { border-left-color: #c62828; } article.medium { border-left-color: #f9c20a; }
article.low, article.technical { border-left-color: #0097a7; }
article.stale { color: var(--quiet); background: repeating-linear-gradient(45deg, var(--surface) 0 8px, var(--rule) 8px 10px); }
h2 { font-size: 16px; margin: 0 0 8px; } h2 a { color: inherit; }
dl { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 0 0 8px; }
dt { font-size: 12px; color: var(--quiet); } dd { margin: 0; font-size: 28px; }
.alert { font-weight: 600; padding: 2px 6px; border-radius: 4px; display: inline-block; }
.alert.high { background: #c62828; color: #fff; } .alert.medium { background: #f9c20a; color: #000; }
.alert.low, .alert.technical { border: 1px solid #0097a7; }
";

/// The page as it is at `now`.
pub(super) fn ward(job: &Job, now: DateTime<Utc>) -> Result<String, StoreError> {
    let mut store = Store::connect(&job.store, &job.name)?;
    let status = store.status(&job.source.topic)?;
    let tiles = tiles(&mut store, job)?;
    let standing =
        |severity| status.episodes.iter().filter(|e| e.severity == severity && e.state == State::Firing).count();
    let age = status.last.as_ref().map(|last| (now - last.now).num_seconds());
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                meta http-equiv="refresh" content="2";
                title { "Ward" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "Ward" }
                    span { (tiles.len()) " patients" }
                    span { "open: " (standing(Severity::High)) " high, " (standing(Severity::Medium)) " medium, "
                        (standing(Severity::Low)) " low, " (standing(Severity::Technical)) " technical" }
                    span { @match age {
                        Some(age) if age > STALE_SECONDS => { strong { "no data for " (age) " s" } }
                        Some(age) => { "committed " (age) " s ago" }
                        None => { "no batch yet" }
                    } }
                    span { (now.format("%H:%M:%S UTC")) }
                }
                main { @for tile in &tiles { (tile.markup(&status.episodes, now)) } }
                p .quiet { "For demonstration and research; no medical device." }
            }
        }
    };
    Ok(page.into_string())
}

/// A patient's newest reading.
struct Tile {
    patient: String,
    at: DateTime<Utc>,
    values: Vec<(String, String, String)>,
}

fn tiles(store: &mut Store, job: &Job) -> Result<Vec<Tile>, StoreError> {
    let table = job.reports.table.as_str();
    let key = job.source.columns.key().name.as_str();
    let event_time = job.source.columns.event_time().name.as_str();
    let stored = store.column_names(table)?;
    let numeric = |column: &&Column| matches!(column.r#type, ColumnType::Float | ColumnType::Int);
    let shown: Vec<&Column> =
        job.source.columns.all().iter().filter(numeric).filter(|column| stored.contains(&column.name)).collect();
    let columns: Vec<String> = shown.iter().map(|column| column.name.clone()).collect();
    let mut tiles = Vec::new();
    for (patient, at) in store.patients(table, key, event_time)? {
        let newest = Readings { table, key, event_time, columns: &columns, patient: &patient, from: at, until: at };
        let row = store.readings(&newest)?.pop().unwrap_or_default();
        let values = shown.iter().zip(row.iter().skip(1)).map(|(column, value)| {
            let shown = match value.as_float() {
                _ if *value == Value::Null => "–".to_owned(),
                Some(value) if value.fract() == 0.0 => format!("{value:.0}"),
                Some(value) => format!("{value:.1}"),
                None => "–".to_owned(),
            };
            (column.label.clone(), column.unit.clone(), shown)
        });
        tiles.push(Tile { values: values.collect(), patient, at });
    }
    Ok(tiles)
}

impl Tile {
    fn markup(&self, episodes: &[Episode], now: DateTime<Utc>) -> Markup {
        let age = (now - self.at).num_seconds();
        let stale = age > STALE_SECONDS;
        // The episodes come worst first.
        let worst = episodes.iter().find(|e| *e.patient == *self.patient && e.state == State::Firing);
        let severity = worst.map_or("", |episode| episode.severity.name());
        html! {
            article class={ (severity) @if stale { " stale" } } {
                h2 { a href={ "chart/" (encoded(&self.patient)) } { (self.patient) } }
                dl { @for (label, unit, value) in &self.values { div {
                    dt { (label) " " (unit) }
                    dd { @if stale { "(" (value) ")" } @else { (value) } }
                } } }
                @match worst {
                    Some(episode) => { span class={ "alert " (severity) } {
                        (sign(episode.severity)) " " (episode.text) " · " ((now - episode.started_at).num_seconds().max(0)) " s"
                    } }
                    // Silence says nothing of the patient.
                    None if stale => {}
                    None => { span .quiet { "no open alert" } }
                }
                p .quiet { @if stale { strong { "no data for " (age) " s" } } @else { "updated " (age.max(0)) " s ago" } }
            }
        }
    }
}

fn sign(severity: Severity) -> &'static str {
    match severity {
        Severity::High => "***",
        Severity::Medium => "**",
        Severity::Low => "*",
        Severity::Technical => "sensor:",
    }
}

/// A patient's id as one part of a path.
fn encoded(id: &str) -> String {
    id.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
