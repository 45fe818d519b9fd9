//! `wardwatch rejects`: the records that became no rows, by what is wrong with them; one of them, with the place marked; and what would
//! become of them by the job file as it is now.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::bail;

use wardwatch_config::Job;
use wardwatch_ingest::decode::{Decoder, RawRecord, RawRecords};
use wardwatch_model::terms::{Offset, Partition};
use wardwatch_model::topics::Topics;
use wardwatch_store::{RejectRow, Store};

use super::arguments::JobFile;
use super::table::aligned;

/// The arguments of `rejects`.
#[derive(Debug, clap::Args)]
pub(super) struct Rejects {
    #[command(subcommand)]
    command: RejectsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum RejectsCommand {
    /// Show what is wrong with records, how often, and one of each kind
    List(List),
    /// Show a record with the place that is wrong, and what would become of it now
    Show(Show),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    file: JobFile,
    /// Look at the newest rejects of each partition, so many
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    last: usize,
}

#[derive(Debug, clap::Args)]
struct Show {
    #[command(flatten)]
    file: JobFile,
    /// Where the record stands, as `list` shows it: 0:1234, or fire/0:1234 where a job reads several topics
    #[arg(value_name = "PARTITION:OFFSET", value_parser = place)]
    place: (String, Offset),
}

fn place(text: &str) -> Result<(String, Offset), String> {
    let parsed =
        text.split_once(':').and_then(|(partition, offset)| Some((partition.to_owned(), Offset(offset.parse().ok()?))));
    parsed.ok_or_else(|| "write partition and offset, as in 0:1234".to_owned())
}

impl Rejects {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.command {
            RejectsCommand::List(list) => list.run(),
            RejectsCommand::Show(show) => show.run(),
        }
    }
}

impl List {
    fn run(&self) -> anyhow::Result<()> {
        let job = wardwatch_config::load(&self.file.job)?;
        let mut store = Store::connect(&job.store, &job.name)?;
        let topics = store.topics(&job.source.topics)?;
        let rejects = store.reject_rows(&topics, self.last)?;
        if rejects.is_empty() {
            println!("no rejects");
            return Ok(());
        }
        let mut kinds: BTreeMap<String, Vec<&RejectRow>> = BTreeMap::new();
        for reject in &rejects {
            kinds.entry(kind(&reject.reason)).or_default().push(reject);
        }
        let mut kinds: Vec<(String, Vec<&RejectRow>)> = kinds.into_iter().collect();
        kinds.sort_by_key(|(_, rejects)| std::cmp::Reverse(rejects.len()));
        // The newest of a kind is its example: they come newest first.
        let row = |(_, rejects): &(String, Vec<&RejectRow>)| {
            let newest = rejects[0];
            vec![rejects.len().to_string(), place_of(newest, &topics), newest.batch.to_string(), newest.reason.clone()]
        };
        print!("{}", aligned(&["count", "newest", "batch", "reason"], kinds.iter().map(row)));
        println!("\n`wardwatch rejects show {} {}` shows one", self.file.job.display(), place_of(&rejects[0], &topics));
        Ok(())
    }
}

/// Where a record stands, as `show` takes it.
fn place_of(reject: &RejectRow, topics: &Topics) -> String {
    let topic = if topics.names().len() > 1 { format!("{}/", reject.topic) } else { String::new() };
    format!("{topic}{}:{}", reject.partition, reject.offset)
}

/// What a reason has in common with others: without the texts and numbers of the record.
fn kind(reason: &str) -> String {
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

fn without_digits(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

impl Show {
    fn run(&self) -> anyhow::Result<()> {
        let job = wardwatch_config::load(&self.file.job)?;
        let mut store = Store::connect(&job.store, &job.name)?;
        let topics = store.topics(&job.source.topics)?;
        let (shown, offset) = &self.place;
        let Some(partition) = topics.find(shown) else {
            let first = topics.names().first().map_or_else(|| Arc::from("TOPIC"), |(_, name)| Arc::clone(name));
            bail!(
                "the job reads no partition \"{shown}\"; write its number, with the topic where there are several: {first}/0"
            );
        };
        let rejects = store.rejects_of(&topics, partition, *offset)?;
        let Some(first) = rejects.iter().find(|reject| !reject.raw.is_empty()).or(rejects.first()) else {
            bail!(
                "no record at partition {shown}, offset {offset} was rejected; `wardwatch rejects list` shows which were"
            );
        };
        for reject in &rejects {
            let item =
                if rejects.len() > 1 || reject.item > 0 { format!(", item {}", reject.item) } else { String::new() };
            println!("partition {shown}, offset {offset}{item}, batch {}: {}", reject.batch, reject.reason);
            println!("{}", marked(&first.raw, &reject.reason));
        }
        println!("{}", now(&job, (partition, *offset), first));
        Ok(())
    }
}

/// So much of a record is shown around what is marked.
const AROUND: usize = 100;

/// A record's text with a mark below the place that the reason names, if that can be found.
fn marked(raw: &[u8], reason: &str) -> String {
    let text: String = String::from_utf8_lossy(raw).chars().map(|c| if c.is_control() { '␤' } else { c }).collect();
    let named = reason.split("at position ").nth(1).and_then(|rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let position: usize = digits.parse().ok()?;
        // Bytes before it that belong to one character are one place.
        Some((String::from_utf8_lossy(&raw[..position.min(raw.len())]).chars().count(), 1))
    });
    let quoted = || {
        let texts = reason.split('"').skip(1).step_by(2);
        texts.collect::<Vec<_>>().into_iter().rev().find_map(|sent| {
            let at = text.find(sent).filter(|_| !sent.is_empty())?;
            Some((text[..at].chars().count(), sent.chars().count()))
        })
    };
    let Some((at, length)) = named.or_else(quoted) else {
        let shown: String = text.chars().take(4 * AROUND).collect();
        return format!("  {shown}{}", if text.chars().count() > 4 * AROUND { "…" } else { "" });
    };
    let start = at.saturating_sub(AROUND);
    let shown: String = text.chars().skip(start).take(at - start + length + AROUND).collect();
    let before = if start > 0 { "…" } else { "" };
    let behind = if start + shown.chars().count() < text.chars().count() { "…" } else { "" };
    let margin = " ".repeat(2 + before.chars().count() + at - start);
    format!("  {before}{shown}{behind}\n{margin}{}", "^".repeat(length.max(1)))
}

/// What would become of a record by the job file as it is now.
fn now(job: &Job, (partition, offset): (Partition, Offset), reject: &RejectRow) -> String {
    let mut records = RawRecords::default();
    let mut decoder = Decoder::new(&job.source);
    let headers = vec![None; decoder.headers().len()];
    records.push(RawRecord {
        partition,
        offset,
        stamp: reject.stamped_at.map(|at| at.timestamp_millis()),
        key: reject.key.as_deref(),
        headers: &headers,
        payload: Some(&reject.raw),
    });
    let decoded = decoder.decode(&records);
    let outcome = format!(
        "by the job file as it is now: {} rows, {} rejected, {} left out",
        decoded.rows.num_rows(),
        decoded.rejects.len(),
        decoded.ignored
    );
    match decoded.rejects.first() {
        Some(reject) => format!("{outcome}; {}", reject.reason),
        None => outcome,
    }
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

    #[test]
    fn the_place_that_a_reason_names_is_marked() {
        let raw = "{\"id\":\"é\",\"at\":\"soon\"}".as_bytes();
        let shown = marked(raw, "column \"at\": \"soon\" is not a valid time; write it like \"2026\"");
        assert_eq!(shown, "  {\"id\":\"é\",\"at\":\"soon\"}\n                  ^^^^");
        assert_eq!(marked(b"{\"a\" 1}", "not JSON: expected a colon at position 5"), "  {\"a\" 1}\n       ^");
    }
}
