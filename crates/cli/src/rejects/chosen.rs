//! Which rejects are meant: places as people write them, and what rejects have in common.

use std::sync::Arc;

use anyhow::bail;

use wardwatch_model::diagnostic::nearest;
use wardwatch_model::terms::Offset;
use wardwatch_model::topics::Topics;
use wardwatch_store::{RejectRow, Store};

/// Where a record stands, as people write it: `0:1234`.
pub(super) fn place(text: &str) -> Result<(String, Offset), String> {
    let parsed =
        text.split_once(':').and_then(|(partition, offset)| Some((partition.to_owned(), Offset(offset.parse().ok()?))));
    parsed.ok_or_else(|| "write partition and offset, as in 0:1234".to_owned())
}

/// Where a record stands, as `show` takes it.
pub(super) fn place_of(reject: &RejectRow, topics: &Topics) -> String {
    let topic = if topics.names().len() > 1 { format!("{}/", reject.topic) } else { String::new() };
    format!("{topic}{}:{}", reject.partition, reject.offset)
}

/// What a reason has in common with others: without the texts and numbers of the record.
pub(super) fn kind(reason: &str) -> String {
    let mut kind = String::new();
    let mut parts = reason.split('"');
    kind.push_str(&without_digits(parts.next().unwrap_or_default()));
    let mut is_quoted = true;
    for part in parts {
        // The name of a column or field stands behind its word; what a record has stands alone.
        let is_name = ["column ", "field ", "form ", "vital ", "header "].iter().any(|word| kind.ends_with(word));
        match is_quoted {
            true if is_name => kind.push_str(&format!("\"{part}\"")),
            true => kind.push_str("\"…\""),
            false => kind.push_str(&without_digits(part)),
        }
        is_quoted = !is_quoted;
    }
    kind
}

/// Each number as one sign.
fn without_digits(text: &str) -> String {
    // A name, and no number.
    if let Some((before, behind)) = text.split_once("UTF-8") {
        return format!("{}UTF-8{}", without_digits(before), without_digits(behind));
    }
    let mut short = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' if short.ends_with('…') => {}
            '0'..='9' => short.push('…'),
            c => short.push(c),
        }
    }
    short
}

/// The rejects of a record, each with its bytes.
pub(super) fn of_record(
    store: &mut Store,
    topics: &Topics,
    (shown, offset): &(String, Offset),
) -> anyhow::Result<Vec<RejectRow>> {
    let Some(partition) = topics.find(shown) else {
        let names: Vec<Arc<str>> = topics.names().into_iter().map(|(_, name)| name).collect();
        let written = shown.rsplit_once('/').map_or("", |(topic, _)| topic);
        let meant = nearest(written, names.iter().map(|name| &**name)).or(names.first().map(|name| &**name));
        bail!(
            "the job reads no partition \"{shown}\"; write its number, with the topic where there are several: {}/0",
            meant.unwrap_or("TOPIC")
        );
    };
    let mut rejects = store.rejects_of(topics, partition, *offset)?;
    if rejects.is_empty() {
        bail!(
            "no record at partition {shown}, offset {offset} was rejected; `wardwatch rejects list` shows which were"
        );
    }
    let raw = rejects.iter().find(|reject| !reject.raw.is_empty()).map(|reject| reject.raw.clone());
    rejects.iter_mut().for_each(|reject| reject.raw = raw.clone().unwrap_or_default());
    Ok(rejects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_differ_in_what_records_have_are_of_one_kind() {
        let soon = kind("column \"event_time\": \"soon\" is not a valid time; write it like \"2026-01-01T00:00:00Z\"");
        assert_eq!(
            soon,
            kind("column \"event_time\": \"now\" is not a valid time; write it like \"2026-01-01T00:00:00Z\"")
        );
        assert_ne!(soon, kind("column \"until\": \"now\" is not a valid time; write it like \"2026-01-01T00:00:00Z\""));
        assert_eq!(kind("not JSON: expected a colon at position 17"), kind("not JSON: expected a colon at position 3"));
    }
}
