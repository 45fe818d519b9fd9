//! Reports: the index, and the files that lie in the job's folder.

use std::path::{Component, Path as FilePath, PathBuf};

use axum::extract::{Extension, Path, State};
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use maud::html;

use wardwatch_report::listed;

use super::super::problem::Problem;
use super::super::words::encoded;
use super::frame::{NoPage, Place, frame, nothing};
use crate::access::viewing::audit_view;
use crate::access::visitor::Visitor;
use crate::app::App;
use crate::redirect::redirect;

/// A report's own style is in it; a script is not, and would not be run.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; \
    base-uri 'none'; form-action 'none'; sandbox allow-popups allow-downloads allow-top-navigation-by-user-activation";

/// What files a report is made of.
const KINDS: [(&str, &str); 5] = [
    ("html", "text/html; charset=utf-8"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("csv", "text/csv; charset=utf-8"),
    ("md", "text/markdown; charset=utf-8"),
];

/// The index.
pub(crate) async fn reports(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
) -> Result<Response, NoPage> {
    let shared = app.clone();
    let reports = tokio::task::spawn_blocking(move || listed(&shared.job)).await.unwrap_or_default();
    let content = html! {
        form .row role="search" { label { "Search" input #search-reports type="search" autocomplete="off"; } }
        @if reports.is_empty() { (nothing("There is no report yet.")) } @else {
            div .scroll tabindex="0" { table {
                thead { tr { th { "Report" } th { "Of" } th { "Up to" } } }
                tbody #reports { @for report in &reports { tr {
                    td { a href={ "/reports/" (link(&report.link)) } { (report.report.replace('_', " ")) } }
                    td { (report.subject) }
                    td { (report.time) }
                } } }
            } }
        }
    };
    Ok(frame(&app, &visitor, (Place::Reports, "Reports"), &app.live.ward(), &content))
}

/// A path within the folder of reports as one of an address.
pub(super) fn link(path: &str) -> String {
    path.split('/').map(encoded).collect::<Vec<_>>().join("/")
}

/// A file of a report, and none but these.
pub(crate) async fn report_file(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
    Path(path): Path<String>,
) -> Result<Response, Problem> {
    let none = || Problem::not_found("there is no such report");
    // Pages link to the index beside them.
    if path == "index.html" {
        return Ok(redirect("/reports"));
    }
    let (file, kind) = file_of(&app.job.reports.dir, &path).ok_or_else(none)?;
    let read = move || std::fs::read(file);
    let bytes = tokio::task::spawn_blocking(read).await.ok().and_then(Result::ok).ok_or_else(none)?;
    if kind.starts_with("text/html") {
        audit_view(&app, &visitor, &format!("report {path}")).await?;
    }
    Ok(([(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, POLICY)], bytes).into_response())
}

/// The file that a path means, if it lies in the folder and is part of a report.
fn file_of(dir: &FilePath, path: &str) -> Option<(PathBuf, &'static str)> {
    let path = FilePath::new(path);
    let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    let extension = path.extension()?.to_str()?;
    let (_, kind) = KINDS.iter().find(|(known, _)| *known == extension)?;
    if !is_plain {
        return None;
    }
    // A link in the folder must not lead out of it either.
    let (dir, file) = (dir.canonicalize().ok()?, dir.join(path).canonicalize().ok()?);
    file.starts_with(&dir).then_some((file, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leads_out_of_the_folder_of_reports() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("out");
        std::fs::create_dir_all(dir.join("trend")).expect("a folder");
        std::fs::write(dir.join("trend/a.html"), "").expect("a file");
        std::fs::write(dir.join("trend/a.toml"), "").expect("a file");
        std::fs::write(folder.path().join("secret.html"), "").expect("a file");
        std::os::unix::fs::symlink(folder.path().join("secret.html"), dir.join("link.html")).expect("a link");
        assert!(file_of(&dir, "trend/a.html").is_some());
        for path in
            ["trend/a.toml", "../secret.html", "trend/../../secret.html", "/etc/passwd.html", "link.html", "", "trend"]
        {
            assert_eq!(file_of(&dir, path), None, "{path}");
        }
    }
}
