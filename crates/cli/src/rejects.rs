//! `wardwatch rejects`: the records that became no rows, by what is wrong with them; one of them, with the place marked; what would
//! become of them by the job file as it is now; and that the job is to read them again.

mod chosen;
mod replay;

use std::collections::BTreeMap;

use wardwatch_model::terms::Offset;
use wardwatch_pipeline::{ReadAgain, read_again};
use wardwatch_store::{RejectRow, ReplayState, Store};

use super::arguments::JobFile;
use super::table::aligned;
use chosen::{kind, of_record, place, place_of};

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
    /// Have the job read rejects again, by its description as it is now
    Replay(replay::Replay),
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

impl Rejects {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.command {
            RejectsCommand::List(list) => list.run(),
            RejectsCommand::Show(show) => show.run(),
            RejectsCommand::Replay(replay) => replay.run(),
        }
    }
}

impl List {
    fn run(&self) -> anyhow::Result<()> {
        let job = wardwatch_config::load(&self.file.job)?;
        let mut store = Store::connect(&job.store, &job.name)?;
        if !store.has_tables()? {
            println!("no batch yet, and no tables; `wardwatch run {}` makes them", self.file.job.display());
            return Ok(());
        }
        let topics = store.topics(&job.source.topics)?;
        let mut rejects = store.reject_rows(&topics, self.last)?;
        // What has been read again is no work any more.
        let states = store.replay_states(&topics)?;
        let all = rejects.len();
        let is_row = |reject: &RejectRow| {
            let state = reject.place(&topics).and_then(|place| states.get(&place));
            matches!(state, Some(ReplayState::Rows(..)))
        };
        rejects.retain(|reject| !is_row(reject));
        let again = match all - rejects.len() {
            0 => String::new(),
            again => format!("{again} more were read again since, and are rows"),
        };
        if rejects.is_empty() {
            println!("no rejects{}{again}", if again.is_empty() { "" } else { "; " });
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
        if !again.is_empty() {
            println!("{again}");
        }
        println!("\n`wardwatch rejects show {} {}` shows one", self.file.job.display(), place_of(&rejects[0], &topics));
        Ok(())
    }
}

impl Show {
    fn run(&self) -> anyhow::Result<()> {
        let job = wardwatch_config::load(&self.file.job)?;
        let mut store = Store::connect(&job.store, &job.name)?;
        let topics = store.topics(&job.source.topics)?;
        let (shown, offset) = &self.place;
        let rejects = of_record(&mut store, &topics, &self.place)?;
        let states = store.replay_states(&topics)?;
        let mut decoder = wardwatch_pipeline::decoder(&job, &topics)?;
        for reject in &rejects {
            let item =
                if rejects.len() > 1 || reject.item > 0 { format!(", item {}", reject.item) } else { String::new() };
            println!("partition {shown}, offset {offset}{item}, batch {}: {}", reject.batch, reject.reason);
            println!("{}", marked(&reject.raw, &reject.reason));
            let Some(place) = reject.place(&topics) else { continue };
            println!(
                "{}",
                match states.get(&place) {
                    Some(ReplayState::Rows(batch, rows)) =>
                        format!("  read again with batch {batch}: {}", counted(*rows)),
                    Some(ReplayState::Again(batch, reason)) =>
                        format!("  read again with batch {batch} and rejected: {reason}"),
                    Some(ReplayState::Asked) => "  it is to be read again; the job has not done so yet".to_owned(),
                    None =>
                        format!("  by the job file as it is now: {}", outcome(&read_again(&mut decoder, place, reject))),
                }
            );
        }
        Ok(())
    }
}

/// What would become of a reject.
fn outcome(again: &ReadAgain) -> String {
    match again.rows.num_rows() + again.encounters.len() {
        0 => format!("no row, {}", again.reason),
        rows => counted(i64::try_from(rows).unwrap_or(i64::MAX)),
    }
}

fn counted(rows: i64) -> String {
    format!("{rows} row{}", if rows == 1 { "" } else { "s" })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_that_a_reason_names_is_marked() {
        let raw = "{\"id\":\"é\",\"at\":\"soon\"}".as_bytes();
        let shown = marked(raw, "column \"at\": \"soon\" is not a valid time; write it like \"2026\"");
        assert_eq!(shown, "  {\"id\":\"é\",\"at\":\"soon\"}\n                  ^^^^");
        assert_eq!(marked(b"{\"a\" 1}", "not JSON: expected a colon at position 5"), "  {\"a\" 1}\n       ^");
    }
}
