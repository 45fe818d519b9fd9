//! `wardwatch encounters`: who is here and attached to what; and who comes, moves and goes.

use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, NaiveDate, Utc};

use wardwatch_model::clock::{Clock, Stopwatch, SystemClock};
use wardwatch_model::encounter::{Encounters as Applied, Given, Journal, Kind, Origin, Request, RequestId};
use wardwatch_store::{EncounterOutcome, EncounterRow, Store};

use super::arguments::{JobFile, duration, time};
use super::table::{aligned, second};

/// The arguments of `encounters`.
#[derive(Debug, clap::Args)]
pub(super) struct Encounters {
    #[command(subcommand)]
    command: EncountersCommand,
}

#[derive(Debug, clap::Subcommand)]
enum EncountersCommand {
    /// Say that a patient comes, or is attached to one more device
    Admit(Admit),
    /// Say that a patient lies elsewhere; a device that is named takes the place of the others
    Move(Move),
    /// Say that a patient goes: episodes end as "left", and what is kept of the patient is let go of
    Discharge(Discharge),
    /// Show who is here, where, and attached to what
    List(List),
    /// Show every request, what it asked for and what became of it
    History(History),
}

/// Who says so, and for how long to wait for the job.
#[derive(Debug, clap::Args)]
struct Asking {
    /// The patient
    #[arg(long, value_name = "ID")]
    patient: String,
    /// Since when; now by default, by the devices' time of the job
    #[arg(long = "at", value_name = "TIME", value_parser = time)]
    at: Option<DateTime<Utc>>,
    /// Who says so
    #[arg(long, value_name = "NAME", env = "USER")]
    by: String,
    /// What others should know
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    /// How long to wait for the running job to answer
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    wait: Duration,
}

/// Where somebody lies.
#[derive(Debug, clap::Args)]
struct Lying {
    /// The device or bed whose records are the patient's
    #[arg(long, value_name = "ID", default_value = "")]
    device: String,
    /// The ward
    #[arg(long, value_name = "WARD", default_value = "")]
    ward: String,
    /// The place in the ward, such as a bed
    #[arg(long, value_name = "PLACE", default_value = "")]
    place: String,
}

#[derive(Debug, clap::Args)]
struct Admit {
    #[command(flatten)]
    file: JobFile,
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    lying: Lying,
    /// Until when, where that is known
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<DateTime<Utc>>,
    /// The patient's name
    #[arg(long, value_name = "NAME", default_value = "")]
    name: String,
    /// The day of birth: 2019-05-04
    #[arg(long, value_name = "DAY")]
    born: Option<NaiveDate>,
    /// The age band whose limits hold, such as child or neonate
    #[arg(long, value_name = "BAND", default_value = "")]
    age_band: String,
}

#[derive(Debug, clap::Args)]
struct Move {
    #[command(flatten)]
    file: JobFile,
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    lying: Lying,
}

#[derive(Debug, clap::Args)]
struct Discharge {
    #[command(flatten)]
    file: JobFile,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    file: JobFile,
    /// As of this time; by default that of the job's last batch
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<DateTime<Utc>>,
}

#[derive(Debug, clap::Args)]
struct History {
    #[command(flatten)]
    file: JobFile,
    /// Only this patient's
    #[arg(long, value_name = "ID")]
    patient: Option<String>,
}

impl Encounters {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.command {
            EncountersCommand::Admit(command) => {
                let Admit { file, asking, lying, until, name, born, age_band } = command;
                let born = born.map(|born| born.to_string()).unwrap_or_default();
                let given = Given { name, born, age_band, ..lying.given() };
                asking.ask(&file, Kind::Admit, until, given)
            }
            EncountersCommand::Move(Move { file, asking, lying }) => {
                let given = lying.given();
                if given.is_empty() {
                    bail!("say where to: --ward WARD, --place PLACE or --device ID");
                }
                asking.ask(&file, Kind::Move, None, given)
            }
            EncountersCommand::Discharge(Discharge { file, asking }) => {
                asking.ask(&file, Kind::Discharge, None, Given::default())
            }
            EncountersCommand::List(command) => command.run(),
            EncountersCommand::History(command) => command.run(),
        }
    }
}

impl Lying {
    fn given(self) -> Given {
        Given { device: self.device, ward: self.ward, place: self.place, ..Given::default() }
    }
}

fn open(file: &JobFile) -> anyhow::Result<Store> {
    let job = wardwatch_config::load(&file.job)?;
    let mut store = Store::connect(&job.store, &job.name)?;
    // Whoever comes first may come before the first batch.
    store.migrate(&[])?;
    Ok(store)
}

impl Asking {
    /// Puts the request down and waits for the running job to apply it.
    fn ask(self, file: &JobFile, kind: Kind, until: Option<DateTime<Utc>>, given: Given) -> anyhow::Result<()> {
        for (what, value) in [("--patient ID", &self.patient), ("--by NAME", &self.by)] {
            if value.trim().is_empty() {
                bail!("an empty name is nobody's: {what}");
            }
        }
        let mut store = open(file)?;
        let now = SystemClock.now();
        let request = Request {
            id: RequestId::default(),
            kind,
            patient: self.patient,
            at: self.at.unwrap_or(now),
            until,
            given,
            merged: String::new(),
            stay: String::new(),
            origin: Origin::Manual,
            by: self.by,
            note: self.note,
        };
        let request = request.named(now);
        store.ask_encounter(&request, self.at, now).context("the request could not be put down")?;
        let waiting = Stopwatch::start();
        loop {
            match store.encounter_answer(&request.id)? {
                Some(EncounterOutcome::Applied(version, remark)) => {
                    let remark = if remark.is_empty() { String::new() } else { format!("; {remark}") };
                    println!("{} of {} applied as version {version}{remark}", kind.name(), request.patient);
                    return Ok(());
                }
                Some(EncounterOutcome::Refused(refusal)) => bail!(refusal),
                None if waiting.left_of(self.wait).is_zero() => {
                    println!(
                        "put down; the job does it with its next batch, but none has come within {} s",
                        self.wait.as_secs()
                    );
                    return Ok(());
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

impl List {
    fn run(self) -> anyhow::Result<()> {
        let mut store = open(&self.file)?;
        let last = store.newest_batch()?;
        let last = last.map(|last| last.event_now.unwrap_or(last.now));
        let at = self.at.or(last).unwrap_or_else(|| SystemClock.now());
        let journal = Journal::new(store.applied_encounters()?);
        let mut encounters = Applied::default();
        journal.bring(&mut encounters, journal.last());
        let time = |time: Option<DateTime<Utc>>| time.map(second).unwrap_or_default();
        let rows = encounters.present(at).into_iter().map(|one| {
            vec![
                one.patient.to_string(),
                time(one.from),
                time(one.until),
                one.whereabouts.ward,
                one.whereabouts.place,
                one.devices.join(", "),
                one.details.name,
                one.details.age_band,
            ]
        });
        print!("{}", aligned(&["PATIENT", "FROM", "UNTIL", "WARD", "PLACE", "DEVICE", "NAME", "AGE BAND"], rows));
        Ok(())
    }
}

impl History {
    fn run(self) -> anyhow::Result<()> {
        let mut store = open(&self.file)?;
        let rows = store.encounter_rows(self.patient.as_deref())?;
        print!(
            "{}",
            aligned(&["ASKED", "VERSION", "WHAT", "FROM", "UNTIL", "SAID", "BY", "ANSWER"], rows.iter().map(row))
        );
        Ok(())
    }
}

/// A request with what became of it, as a row for people.
fn row(row: &EncounterRow) -> Vec<String> {
    let time = |time: Option<DateTime<Utc>>| time.map(second).unwrap_or_default();
    let (version, answer) = match &row.outcome {
        None => (String::new(), "open".to_owned()),
        Some(EncounterOutcome::Applied(version, remark)) => (version.to_string(), remark.clone()),
        Some(EncounterOutcome::Refused(refusal)) => (String::new(), format!("refused: {refusal}")),
    };
    let asked = time(row.asked_at);
    match &row.request.request {
        Err(fault) => {
            vec![asked, version, fault.clone(), String::new(), String::new(), String::new(), String::new(), answer]
        }
        Ok(request) => vec![
            asked,
            version,
            format!("{} {}", request.kind.name(), request.patient),
            second(request.at),
            time(request.until),
            said(&request.given, &request.merged),
            request.by.clone(),
            answer,
        ],
    }
}

fn said(given: &Given, merged: &String) -> String {
    let parts = [
        ("device", &given.device),
        ("ward", &given.ward),
        ("place", &given.place),
        ("name", &given.name),
        ("born", &given.born),
        ("age band", &given.age_band),
        ("merged", merged),
    ];
    let named: Vec<String> =
        parts.iter().filter(|(_, value)| !value.is_empty()).map(|(what, value)| format!("{what} {value}")).collect();
    named.join(", ")
}
