//! `wardwatch simulate`: patients, or recordings, to the job's topic.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, TimeDelta, Utc};
use indicatif::{ProgressBar, ProgressStyle};

use wardwatch_kafka::Producer;
use wardwatch_model::clock::{Clock, Stopwatch, SystemClock};
use wardwatch_model::telemetry;
use wardwatch_simulate::{ONSET, RecordForm, Recordings, Sample, Scenario, Ward, WardOptions};

use super::arguments::{JobFile, duration, time};
use super::stop::Stop;

/// How long Kafka may take to answer at the start.
const CONNECT: Duration = Duration::from_secs(30);

/// How long Kafka may take to confirm the last records.
const FLUSH: Duration = Duration::from_secs(60);

/// The arguments of `simulate`.
#[derive(Debug, clap::Args)]
pub(super) struct Simulate {
    #[command(flatten)]
    file: JobFile,
    /// How many patients
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    patients: u32,
    /// Samples a second over all patients; one of each patient by default; "max" does not wait
    #[arg(long, value_name = "N|max", value_parser = rate)]
    rate: Option<Rate>,
    /// End after this many samples; by default it goes on until it is stopped
    #[arg(long, value_name = "N", conflicts_with = "replay")]
    records: Option<u64>,
    /// The same seed makes the same patients
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The event time of the first sample; now by default, or so that the last of --records is now where it does not wait
    #[arg(long, value_name = "TIME", value_parser = time)]
    start: Option<DateTime<Utc>>,
    /// The time between two samples of a patient, in event time
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    interval: Duration,
    /// What happens to the first patients, in turn: stable, sepsis, bleeding, hypoxia, lead-off, device-offline,
    /// clock-wrong, duplicates, late-bursts
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_parser = Scenario::from_name, conflicts_with = "replay")]
    scenarios: Vec<Scenario>,
    /// How long that lasts; then patients recover and devices work again. By default it does not end
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "replay")]
    lasts: Option<Duration>,
    /// Replay the CSV recordings of this folder, a file for each patient
    #[arg(long, value_name = "DIR", requires = "columns")]
    replay: Option<PathBuf>,
    /// Which CSV header is which column, such as time=Time,heart_rate=HR,spo2=SpO2; time is in seconds
    #[arg(long, value_name = "NAME=HEADER,…", value_delimiter = ',', value_parser = mapping)]
    columns: Vec<(String, String)>,
}

/// How fast samples are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rate {
    PerSecond(f64),
    Max,
}

fn rate(text: &str) -> Result<Rate, String> {
    match text.parse::<f64>() {
        _ if text == "max" => Ok(Rate::Max),
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(Rate::PerSecond(rate)),
        _ => Err("write a number above 0, or max".to_owned()),
    }
}

/// Why nothing can be simulated.
const NOT_BARE: &str =
    "this job's records are no bare JSON objects (forms, rows, formats, conditions), and simulate writes such";

fn mapping(text: &str) -> Result<(String, String), String> {
    let (name, header) = text.split_once('=').ok_or("write NAME=HEADER")?;
    Ok((name.trim().to_owned(), header.trim().to_owned()))
}

impl Simulate {
    pub(super) fn run(self) -> anyhow::Result<()> {
        telemetry::init("warn");
        let stop = Stop::on_signals()?;
        let job = wardwatch_config::load(&self.file.job)?;
        let mut sender = Sender {
            producer: Producer::connect(&job.source, CONNECT, &|| stop.is_asked())?,
            form: RecordForm::of(&job.source).context(NOT_BARE)?,
            running: Stopwatch::start(),
            rate: self.rate(),
            sent: 0,
            bar: self.progress_bar(),
            stop,
        };
        match &self.replay {
            Some(folder) => sender.replay(&Recordings::read(folder, &self.columns, self.start())?)?,
            None => sender.ward(Ward::new(self.ward()), self.records)?,
        }
        sender.finish()
    }

    fn rate(&self) -> Rate {
        self.rate.unwrap_or(match self.replay {
            // As many a second as there are files at one sample a second.
            Some(_) => Rate::PerSecond(53.0),
            None => Rate::PerSecond(f64::from(self.patients) / self.interval.as_secs_f64().max(1e-6)),
        })
    }

    fn start(&self) -> DateTime<Utc> {
        let now = SystemClock.now();
        let backlog = self.records.filter(|_| self.rate() == Rate::Max).map(|records| {
            let rounds = u32::try_from(records / u64::from(self.patients)).unwrap_or(u32::MAX);
            now - TimeDelta::from_std(self.interval * rounds).unwrap_or(TimeDelta::zero())
        });
        self.start.or(backlog).unwrap_or(now)
    }

    fn ward(&self) -> WardOptions {
        WardOptions {
            patients: self.patients,
            seed: self.seed,
            start: self.start(),
            interval: self.interval,
            onset: ONSET,
            lasts: self.lasts,
            scenarios: self.scenarios.clone(),
        }
    }

    fn progress_bar(&self) -> ProgressBar {
        let bar = match self.records {
            Some(records) => ProgressBar::new(records),
            None => ProgressBar::no_length(),
        };
        let form = if self.records.is_some() {
            "{elapsed_precise} {bar:30} {human_pos}/{human_len} samples, {per_sec}, {eta} left"
        } else {
            "{elapsed_precise} {spinner} {human_pos} samples, {per_sec}"
        };
        match ProgressStyle::with_template(form) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        }
    }
}

struct Sender {
    producer: Producer,
    form: RecordForm,
    running: Stopwatch,
    rate: Rate,
    sent: u64,
    bar: ProgressBar,
    stop: Stop,
}

impl Sender {
    fn ward(&mut self, mut ward: Ward, most: Option<u64>) -> anyhow::Result<()> {
        let most = most.unwrap_or(u64::MAX);
        let mut empty_rounds = 0;
        while self.sent < most && !self.stop.is_asked() {
            let samples = ward.next_round();
            empty_rounds = if samples.is_empty() { empty_rounds + 1 } else { 0 };
            if empty_rounds > 1_000_000 {
                bail!("no device sends anything any more");
            }
            self.pause_if_silent(&samples);
            for sample in samples.iter().take(usize::try_from(most - self.sent).unwrap_or(usize::MAX)) {
                if self.stop.is_asked() {
                    break;
                }
                self.send(sample)?;
            }
        }
        Ok(())
    }

    fn replay(&mut self, recordings: &Recordings) -> anyhow::Result<()> {
        self.bar.set_length(recordings.samples().len() as u64);
        for sample in recordings.samples() {
            if self.stop.is_asked() {
                break;
            }
            self.send(sample)?;
        }
        Ok(())
    }

    /// A round without samples takes its time all the same, or a ward that is offline would race ahead.
    fn pause_if_silent(&self, samples: &[Sample]) {
        if samples.is_empty() && self.rate != Rate::Max {
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    fn send(&mut self, sample: &Sample) -> anyhow::Result<()> {
        self.wait_for_turn();
        for record in self.form.records(sample) {
            self.producer.send(&sample.patient, &record)?;
        }
        self.sent += 1;
        if self.sent.is_multiple_of(256) || matches!(self.rate, Rate::PerSecond(rate) if rate < 1_000.0) {
            self.bar.set_position(self.sent);
            self.producer.serve();
        }
        Ok(())
    }

    /// Sample number n is due n / rate seconds after the start.
    fn wait_for_turn(&self) {
        let Rate::PerSecond(rate) = self.rate else { return };
        let due = Duration::from_secs_f64(self.sent as f64 / rate);
        let early = due.saturating_sub(self.running.elapsed());
        // Short waits are not worth a sleep; the next one makes up for them.
        if early > Duration::from_millis(1) && !self.stop.is_asked() {
            std::thread::sleep(early.min(Duration::from_millis(200)));
            self.wait_for_turn();
        }
    }

    fn finish(&self) -> anyhow::Result<()> {
        self.bar.finish_and_clear();
        self.producer.flush(FLUSH)?;
        let seconds = self.running.elapsed().as_secs_f64();
        println!("{} samples in {seconds:.1} s, {:.0} a second", self.sent, self.sent as f64 / seconds.max(1e-9));
        Ok(())
    }
}
