//! `wardwatch rejects replay`: which rejects the job is to read again, and what becomes of each.

use std::collections::BTreeMap;

use anyhow::bail;
use wardwatch_model::clock::{Clock, SystemClock};
use wardwatch_model::record::Place;
use wardwatch_model::terms::Offset;
use wardwatch_pipeline::{ReadAgain, read_again};
use wardwatch_store::{RejectRow, ReplayState, Store};

use super::super::arguments::JobFile;
use super::super::table::aligned;
use super::chosen::{kind, of_record, place, place_of};

/// The arguments of `rejects replay`.
#[derive(Debug, clap::Args)]
pub(super) struct Replay {
    #[command(flatten)]
    file: JobFile,
    /// Where records stand, as `list` shows it: 0:1234, or fire/0:1234 where a job reads several topics
    #[arg(value_name = "PARTITION:OFFSET", value_parser = place)]
    places: Vec<(String, Offset)>,
    /// Those whose reason has this text
    #[arg(long, value_name = "TEXT", conflicts_with = "places")]
    reason: Option<String>,
    /// All of them
    #[arg(long, conflicts_with_all = ["places", "reason"])]
    all: bool,
    /// Only tell what would become of each
    #[arg(long)]
    dry_run: bool,
    /// Look at the newest rejects of each partition, so many
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    last: usize,
    /// Who asks for it
    #[arg(long, value_name = "NAME", env = "USER")]
    by: Option<String>,
}

/// What rejects have in common that are read again.
#[derive(Debug, Default)]
struct Fate {
    rejects: usize,
    rows: usize,
    example: String,
}

impl Replay {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let job = wardwatch_config::load(&self.file.job)?;
        let mut store = Store::connect(&job.store, &job.name)?;
        let topics = store.topics(&job.source.topics)?;
        let rejects = self.chosen(&mut store, &topics)?;
        let states = store.replay_states(&topics)?;
        let status = store.status(&topics)?;
        let mut decoder = wardwatch_pipeline::decoder(&job, &topics)?;
        let mut fates: BTreeMap<String, Fate> = BTreeMap::new();
        let mut places: Vec<Place> = Vec::new();
        for reject in &rejects {
            let Some(place) = reject.place(&topics) else { continue };
            let (fate, again) = match states.get(&place) {
                Some(ReplayState::Rows(..)) => ("has become rows already".to_owned(), None),
                Some(ReplayState::Asked) => ("is to be read again already".to_owned(), None),
                Some(ReplayState::Again(..)) | None => {
                    let again = read_again(&mut decoder, place, reject);
                    let fate = match again.rows.num_rows() + again.encounters.len() {
                        0 => format!("no row: {}", kind(&again.reason)),
                        _ => "rows".to_owned(),
                    };
                    (fate, Some(again))
                }
            };
            let fate = fates.entry(fate).or_default();
            fate.rejects += 1;
            if fate.example.is_empty() {
                fate.example = place_of(reject, &topics);
            }
            let made = |again: &ReadAgain| again.rows.num_rows() + again.encounters.len();
            let Some(again) = again.filter(|again| made(again) > 0) else { continue };
            fate.rows += made(&again);
            places.push(place);
        }
        let row = |(fate, of): (&String, &Fate)| {
            vec![of.rejects.to_string(), of.rows.to_string(), of.example.clone(), fate.clone()]
        };
        print!("{}", aligned(&["rejects", "rows", "one", "by the job file as it is now"], fates.iter().map(row)));
        if self.dry_run || places.is_empty() {
            return Ok(());
        }
        let by = self.by.as_deref().unwrap_or("unknown");
        let asked = store.ask_replays(&topics, &places, by, SystemClock.now())?;
        let when = if status.lease.is_some() { "with the job's next batch" } else { "when the job runs" };
        println!("\n{asked} rejects will be read again {when}, by its job file as it is at its start");
        println!(
            "their rows go into tables of records and late_rows; windows, last values and alerts stay as they are. What says who comes, moves \
             or goes is applied"
        );
        Ok(())
    }

    /// The rejects that are meant, each with its record's bytes.
    fn chosen(&self, store: &mut Store, topics: &wardwatch_model::topics::Topics) -> anyhow::Result<Vec<RejectRow>> {
        if !self.places.is_empty() {
            let mut chosen = Vec::new();
            for place in &self.places {
                chosen.extend(of_record(store, topics, place)?);
            }
            return Ok(chosen);
        }
        if !self.all && self.reason.is_none() {
            bail!("which? Name places as `wardwatch rejects list` shows them, or --reason TEXT, or --all");
        }
        let all = store.reject_rows(topics, self.last)?;
        let mut raw: BTreeMap<(String, i64, i64), Vec<u8>> = BTreeMap::new();
        for reject in all.iter().filter(|reject| !reject.raw.is_empty()) {
            raw.insert((reject.topic.clone(), reject.partition, reject.offset), reject.raw.clone());
        }
        let is_meant = |reject: &RejectRow| self.reason.as_ref().is_none_or(|text| reject.reason.contains(text));
        let mut chosen = Vec::new();
        for reject in all.into_iter().filter(is_meant) {
            let record = (reject.topic.clone(), reject.partition, reject.offset);
            if !raw.contains_key(&record)
                && let Some(place) = reject.place(topics)
            {
                // An item that was not looked at has them.
                let of_record = store.rejects_of(topics, place.partition, place.offset)?;
                let bytes = of_record.into_iter().map(|reject| reject.raw).find(|bytes| !bytes.is_empty());
                raw.insert(record.clone(), bytes.unwrap_or_default());
            }
            chosen.push(RejectRow { raw: raw.get(&record).cloned().unwrap_or_default(), ..reject });
        }
        if let (Some(reason), true) = (&self.reason, chosen.is_empty()) {
            bail!(
                "no reject's reason has the text \"{reason}\"; `wardwatch rejects list` shows the reasons that there are"
            );
        }
        Ok(chosen)
    }
}
