//! A report as a page that opens from disk: its picture inside, the data behind it, the way to those before and after; and
//! the index of all.

use arrow::array::RecordBatch;
use chrono_tz::Tz;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::build::{RenderedReport, table};
use super::theme::Theme;

const STYLE: &str = "
:root { color-scheme: light dark; --bg:#fff; --surface:#f6f7f9; --rule:#d9dee5; --text:#1b2430; --quiet:#5b6775; }
@media (prefers-color-scheme: dark) { :root { --bg:#0f1419; --surface:#171d24; --rule:#2b343f; --text:#e8edf2; --quiet:#9aa7b4; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums; background: var(--bg); color: var(--text); margin: 0 auto; padding: 16px; max-width: 1264px; }
nav { display: flex; gap: 16px; flex-wrap: wrap; font-size: 14px; }
a { color: inherit; } figure { margin: 8px 0; border: 1px solid var(--rule); border-radius: 8px; overflow: hidden; }
figure svg { display: block; width: 100%; height: auto; font-family: 'DejaVu Sans', Verdana, system-ui, sans-serif; }
figure svg text { font-family: inherit; }
h1 { font-size: 20px; margin: 16px 0 8px; } .quiet { color: var(--quiet); font-size: 14px; }
details { margin: 8px 0; } summary { cursor: pointer; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; } th, td { text-align: left; padding: 4px 12px 4px 0; border-bottom: 1px solid var(--rule); }
.number { text-align: right; } input { font: inherit; padding: 8px 12px; width: 100%; max-width: 480px; border: 1px solid var(--rule); border-radius: 8px; background: var(--surface); color: inherit; }
@page { size: A4; margin: 12mm; }
@media print { :root { --bg:#fff; --text:#1b2430; --quiet:#5b6775; --rule:#d9dee5; } nav, details { display: none; }
  body { padding: 0; max-width: none; } figure { border: 0; margin: 0; break-inside: avoid; } figure svg { max-height: 262mm; } }
";

/// What the page before says in place of the link to this one, until there is one.
pub(super) const NEXT: &str = "<!--next-->";

/// Rows of data that a page shows itself; all are in the file beside it.
const MOST_ROWS: usize = 100;

/// The links of a page.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// To the index.
    pub(super) index: String,
    /// To the one before.
    pub(super) previous: Option<String>,
    /// To the picture.
    pub(super) picture: String,
    /// To the file with the rows of each data.
    pub(super) data: Vec<String>,
}

/// The page of a report; `svg` is its picture. Its texts are as wide as those of a wide font, so any font has room.
pub(super) fn page(made: &RenderedReport, svg: &str, links: &Links, zone: Tz) -> String {
    let figure = &made.figure;
    let scheme = if figure.theme == Theme::Dark { "dark" } else { "light dark" };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content=(scheme);
                title { (figure.title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                nav {
                    a href=(links.index) { "All reports" }
                    @if let Some(previous) = &links.previous { a href=(previous) rel="prev" { "Previous" } }
                    (PreEscaped(NEXT))
                    a href=(links.picture) { "Picture (PNG)" }
                }
                main {
                    figure role="img" aria-label={ (figure.title) ", " (figure.note) } { (PreEscaped(svg)) }
                    h1 { "The data behind it" }
                    @for ((name, rows), link) in made.data.iter().zip(&links.data) { (data(name, rows, link, zone)) }
                    p .quiet { (figure.footer) }
                }
            }
        }
    }
    .into_string()
}

fn data(name: &str, rows: &RecordBatch, link: &str, zone: Tz) -> Markup {
    let shown = table(&rows.slice(0, rows.num_rows().min(MOST_ROWS)), zone);
    html! {
        details {
            summary { (name) ", " (rows.num_rows()) " rows" }
            p { a href=(link) { "CSV" } @if rows.num_rows() > MOST_ROWS { ", of which " (MOST_ROWS) " rows are here" } }
            div .scroll { table {
                thead { tr { @for (name, is_number) in &shown.columns { th .number[*is_number] { (name) } } } }
                tbody { @for row in &shown.rows {
                    tr { @for (text, (_, is_number)) in row.iter().zip(&shown.columns) { td .number[*is_number] { (text) } } }
                } }
            } }
        }
    }
}

/// The link to the page after.
pub(super) fn next(link: &str) -> String {
    html! { a href=(link) rel="next" { "Next" } }.into_string()
}

/// One line of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The spec.
    pub report: String,
    /// Of whom or what; empty where a spec makes one for all.
    pub subject: String,
    /// Up to when, in the job's time zone.
    pub time: String,
    /// The page, from the folder of reports.
    pub link: String,
}

/// All reports, the newest first, with a field to search them.
pub(super) fn index(reports: &[Listed]) -> String {
    const SEARCH: &str = "document.querySelector('input').addEventListener('input', event => {
  const words = event.target.value.toLowerCase().split(/\\s+/);
  for (const row of document.querySelectorAll('tbody tr')) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every(word => text.includes(word));
  }
});";
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Reports" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Reports" }
                p { input type="search" placeholder="Search: report, patient, day" aria-label="Search reports"; }
                div .scroll { table {
                    thead { tr { th { "Report" } th { "Of" } th { "Up to" } } }
                    tbody { @for one in reports {
                        tr { td { a href=(one.link) { (one.report.replace('_', " ")) } } td { (one.subject) } td { (one.time) } }
                    } }
                } }
                @if reports.is_empty() { p .quiet { "There is none yet." } }
                script { (PreEscaped(SEARCH)) }
            }
        }
    }
    .into_string()
}
