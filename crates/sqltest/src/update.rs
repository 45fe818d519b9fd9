//! Writes what was found in place of what was expected.

use std::path::PathBuf;

use super::file::TestFile;
use super::run::Report;

/// Rewrites the expectations that were not met; everything else of the files stays as it is. Returns how many of which file.
///
/// # Errors
/// A file cannot be written; those before it are.
pub fn update(files: &[TestFile], report: &Report) -> Result<Vec<(PathBuf, usize)>, (PathBuf, std::io::Error)> {
    let mut rewritten = Vec::new();
    for file in files {
        let mut found: Vec<_> =
            report.results.iter().filter(|result| result.file == file.path).flat_map(|result| &result.found).collect();
        found.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
        if found.is_empty() {
            continue;
        }
        let mut text = file.text.clone();
        // From the end, so that the places before stay what they are.
        for (span, rows) in &found {
            text.replace_range(span.clone(), rows);
        }
        std::fs::write(&file.path, text).map_err(|error| (file.path.clone(), error))?;
        rewritten.push((file.path.clone(), found.len()));
    }
    Ok(rewritten)
}
