//! Where reports lie: a folder for each spec and subject, files named by the time that they show, an index of all.
//!
//! Everything is written under another name first and renamed, so that nobody reads half a report, and what was there stays
//! where the disk is full.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};

use super::error::ReportError;

/// The form of a time in a file's name: sorted as the times are, and allowed everywhere.
const STAMP: &str = "%Y-%m-%dT%H%M%SZ";

/// Writes a file whole or not at all, and its folder where there is none.
///
/// # Errors
/// The file cannot be written; what was there is still there.
pub fn write(file: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    let failed = |source| ReportError::Write { file: file.to_owned(), source };
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut partial = file.as_os_str().to_owned();
    partial.push(".part");
    let partial = PathBuf::from(partial);
    std::fs::write(&partial, bytes)
        .and_then(|()| std::fs::rename(&partial, file))
        .inspect_err(|_| drop(std::fs::remove_file(&partial)))
        .map_err(failed)
}

/// A name for files of a patient or whatever a report is of: letters and digits of it, and a checksum where others were
/// dropped, so that no two share one.
#[must_use]
pub fn plain_name(name: &str) -> String {
    let plain: String = name.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).take(60).collect();
    if plain == name && !plain.is_empty() {
        return plain;
    }
    // FNV-1a.
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{plain}-{hash:016x}")
}

/// The folder of a spec's reports of one subject; that of the spec where it has none.
pub(super) fn folder(dir: &Path, spec: &str, subject: &str) -> PathBuf {
    let folder = dir.join(spec);
    if subject.is_empty() { folder } else { folder.join(plain_name(subject)) }
}

/// The time in names of a report's files.
pub(super) fn stamp(until: DateTime<Utc>) -> String {
    until.format(STAMP).to_string()
}

/// The time that a file's name tells.
pub(super) fn stamped(file: &Path) -> Option<DateTime<Utc>> {
    // Data behind a page is named `<stamp>-<data>`.
    let stem = file.file_stem()?.to_str()?;
    let stamp = stem.get(..18)?;
    NaiveDateTime::parse_from_str(stamp, STAMP).ok().map(|time| time.and_utc())
}

/// The pages of a folder, oldest first.
pub(super) fn pages(folder: &Path) -> Vec<(DateTime<Utc>, PathBuf)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let pages = entries.filter(|path| path.extension().is_some_and(|extension| extension == "html"));
    let mut pages: Vec<_> = pages.filter_map(|path| Some((stamped(&path)?, path))).collect();
    pages.sort();
    pages
}

/// Removes what is older than `keep`, before `now`; returns how many files.
pub(super) fn remove_old(folder: &Path, keep: Duration, now: DateTime<Utc>) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_old = |path: &PathBuf| stamped(path).is_some_and(|time| (now - time).to_std().is_ok_and(|age| age > keep));
    entries.filter(is_old).filter(|path| std::fs::remove_file(path).is_ok()).count()
}
