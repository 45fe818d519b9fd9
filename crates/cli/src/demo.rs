//! `wardwatch demo`: an embedded broker, simulated patients, SQLite, alerts and charts, in one process.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use include_dir::{Dir, include_dir};

use wardwatch_alert::{Change, EventKind};
use wardwatch_config::{Job, StoreUrl};
use wardwatch_kafka::{EmbeddedBroker, ProduceError, Producer};
use wardwatch_model::clock::{Clock, Stopwatch, SystemClock};
use wardwatch_model::telemetry;
use wardwatch_pipeline::Plan;
use wardwatch_report::{PatientChart, PictureSize, patient_chart, plain_name, png, write};
use wardwatch_session::{Committed, Session};
use wardwatch_simulate::{RecordForm, Scenario, Ward, WardOptions};
use wardwatch_store::Store;

use super::run::plain;
use super::stop::Stop;

/// The shipped job and its queries; the demo writes them out, so that they can be read and edited.
const JOB: &str = include_str!("../../../jobs/patient_vitals.toml");
static QUERIES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../sql/vitals");

/// In the demo's folder: the job file, and the database.
const JOB_FILE: &str = "jobs/patient_vitals.toml";
const DATABASE: &str = "wardwatch.db";

/// In the folder of its queries: the table of patients.
const PATIENTS_FILE: &str = "seeds/patients.csv";

/// Made up.
const NAMES: [&str; 12] = [
    "Abel, R.",
    "Brandt, M.",
    "Cruz, L.",
    "Diallo, A.",
    "Evans, T.",
    "Fischer, K.",
    "Gupta, S.",
    "Haddad, N.",
    "Ito, Y.",
    "Jansen, P.",
    "Kowalska, E.",
    "Lindqvist, O.",
];

/// Partitions of the embedded topic.
const PARTITIONS: i32 = 2;

/// What happens on the ward; the first patients get worse within the first minute.
const SCENARIOS: [Scenario; 5] =
    [Scenario::Sepsis, Scenario::Hypoxia, Scenario::LeadOff, Scenario::Bleeding, Scenario::DeviceOffline];

/// The ward has been watched for this long when the demo starts, so that there is something to see at once.
const PAST: Duration = Duration::from_secs(240);

/// Events begin this many seconds after the start of the past: some alerts stand as the demo starts.
const ONSET: std::ops::Range<f64> = 140.0..230.0;

/// And they last so long: within two minutes, the first are over.
const LASTS: Duration = Duration::from_secs(100);

/// A chart of the patient who is worst off is drawn this often.
const CHART_EVERY: Duration = Duration::from_secs(10);

/// The arguments of `demo`.
#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    /// End by itself after so many seconds; by default it goes on until it is stopped
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Where the database and the charts go; the database of an earlier demo is replaced
    #[arg(long, value_name = "DIR", default_value = "wardwatch-demo")]
    dir: PathBuf,
    /// The port of the live page; 0 takes any free one
    #[arg(long, value_name = "P", default_value_t = 8080)]
    port: u16,
    /// How many patients
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    patients: u32,
}

impl Demo {
    pub(super) fn run(self) -> anyhow::Result<()> {
        telemetry::init("warn");
        let stop = Stop::on_signals()?;
        let broker = EmbeddedBroker::start("vitals", PARTITIONS)?;
        let session =
            Session::from_plan(Plan::of(self.job(&broker)?)?).alone().connect_timeout(Duration::from_secs(10));
        let job = session.job().clone();
        let listen = (Ipv4Addr::LOCALHOST, self.port).into();
        let page = wardwatch_web::serve(&job, listen, Some(session.health())).with_context(|| {
            format!("the live page cannot have port {}; choose another with --port, or 0 for any", self.port)
        })?;
        println!("ward     {}", page.address());
        println!("broker   {} (embedded)", broker.address());
        println!("tables   {}", job.store.address());
        println!("queries  {}", job.sql.dir.display());
        println!(
            "alerts   MYSQL_URL=sqlite://{} wardwatch alerts ack {} EPISODE",
            self.dir.join(DATABASE).display(),
            self.dir.join(JOB_FILE).display()
        );
        println!("Stop with Ctrl-C.\n");

        let devices = start_devices(&job, self.patients, &stop)?;
        let (charts, drawing) = start_charts(&job)?;
        let watched = self.watch(session, &stop, &charts);
        stop.ask();
        drop(charts);
        // What the devices could not send, the job has said.
        drop(telemetry::join(devices)?);
        telemetry::join(drawing)?;
        let page = page.stop();
        watched?;
        page?;
        let file = draw(&job, "P0001").context("the last chart")?;
        println!("\nchart    {}\ntables   {}", file.display(), job.store.address());
        Ok(())
    }

    /// The shipped job, bound to the embedded broker and a database in the demo's folder.
    fn job(&self, broker: &EmbeddedBroker) -> anyhow::Result<Job> {
        let written = || format!("\"{}\" cannot be written", self.dir.display());
        let jobs = self.dir.join("jobs");
        let queries = self.dir.join("sql").join("vitals");
        std::fs::create_dir_all(&jobs).with_context(written)?;
        std::fs::create_dir_all(&queries).with_context(written)?;
        let file = self.dir.join(JOB_FILE);
        std::fs::write(&file, JOB).with_context(written)?;
        QUERIES.extract(&queries).with_context(written)?;
        std::fs::write(queries.join(PATIENTS_FILE), people(self.patients)).with_context(written)?;

        // The embedded broker starts empty, so the offsets of an earlier demo mean nothing any more.
        let database = self.dir.join(DATABASE);
        for suffix in ["", "-wal", "-shm"] {
            let mut path = database.clone().into_os_string();
            path.push(suffix);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error)
                        .with_context(|| format!("\"{}\" cannot be replaced", Path::new(&path).display()));
                }
                _ => {}
            }
        }
        let mut job = wardwatch_config::load(&file)?;
        job.source.brokers = broker.address();
        job.source.read_topic("vitals");
        job.store = StoreUrl::Sqlite(database);
        job.reports.dir = self.dir.join("reports");
        Ok(job)
    }

    /// Runs the job until the time is over, telling of alerts as they come and go.
    fn watch(&self, session: Session<'_>, stop: &Stop, charts: &Sender<String>) -> anyhow::Result<()> {
        let running = Stopwatch::start();
        let limit = self.seconds.map(Duration::from_secs);
        let mut asked: Option<Stopwatch> = None;
        let mut worst = "P0001".to_owned();
        let session = session
            .stop_when(|| stop.is_asked() || limit.is_some_and(|limit| running.elapsed() >= limit))
            .on_commit(|committed| {
                if let Some(patient) = tell(committed) {
                    worst = patient;
                }
                if asked.is_none_or(|asked| asked.elapsed() >= CHART_EVERY) {
                    asked = Some(Stopwatch::start());
                    // Drawn elsewhere: a chart must not delay a batch.
                    drop(charts.send(worst.clone()));
                }
            });
        session.run().map_err(plain)?;
        Ok(())
    }
}

/// Who lies where, in place of the shipped table without anybody.
fn people(patients: u32) -> String {
    let mut rows = "# @key: patient_id\npatient_id,ward,age_band,spo2_scale:int,place,name\n".to_owned();
    for (number, name) in (1..=patients).zip(NAMES.iter().cycle()) {
        let bed = format!("{}{}", 10 + number.div_ceil(2), if number % 2 == 1 { 'A' } else { 'B' });
        rows.push_str(&format!("P{number:04},Ward 4,,1,{bed},\"{name}\"\n"));
    }
    rows
}

/// The charts' own thread: draws the patients it is told of, until nobody tells it any.
fn start_charts(job: &Job) -> std::io::Result<(Sender<String>, JoinHandle<()>)> {
    let (sender, patients) = channel::<String>();
    let job = job.clone();
    let thread = std::thread::Builder::new().name("charts".to_owned()).spawn(move || {
        let mut drawn = HashSet::new();
        for patient in patients {
            match draw(&job, &patient) {
                Ok(file) if drawn.insert(patient.clone()) => {
                    println!("          chart of {patient}: {}", file.display())
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, patient, "no chart"),
            }
        }
    })?;
    Ok((sender, thread))
}

/// The devices' own thread: a sample of each patient, once a second.
fn start_devices(job: &Job, patients: u32, stop: &Stop) -> anyhow::Result<JoinHandle<Result<(), ProduceError>>> {
    let producer = Producer::connect(&job.source, Duration::from_secs(10), &|| stop.is_asked())?;
    let form = RecordForm::of(&job.source).context("the demo's records are bare JSON objects")?;
    let stop = stop.clone();
    let mut ward = Ward::new(WardOptions {
        patients,
        seed: 1,
        start: SystemClock.now() - PAST,
        interval: Duration::from_secs(1),
        onset: ONSET,
        lasts: Some(LASTS),
        scenarios: SCENARIOS.to_vec(),
    });
    let thread = std::thread::Builder::new().name("devices".to_owned()).spawn(move || {
        let running = Stopwatch::start();
        let mut due = Duration::ZERO;
        while !stop.is_asked() {
            // The rounds of the past are due at once.
            if running.elapsed() + PAST < due {
                std::thread::sleep(Duration::from_millis(10));
                continue;
            }
            due += Duration::from_secs(1);
            for sample in ward.next_round() {
                for record in form.records(&sample) {
                    producer.send(&sample.patient, &record)?;
                }
            }
            producer.serve();
        }
        producer.flush(Duration::from_secs(5))
    })?;
    Ok(thread)
}

/// Prints what has happened to episodes since the last batch, and returns the patient of the last that fired.
fn tell(committed: &Committed<'_>) -> Option<String> {
    let time = SystemClock.now().format("%H:%M:%S");
    let mut last = None;
    for Change { episode, events } in committed.alerts() {
        for event in events {
            let by = if event.by.is_empty() { String::new() } else { format!(" by {}", event.by) };
            let (patient, severity) = (&episode.patient, episode.severity.name());
            println!(
                "{time}  {:<12} {severity:<9} {patient}  {}{by}  [{}]",
                event.kind.name(),
                episode.text,
                episode.id
            );
            if event.kind == EventKind::Firing {
                last = Some(patient.to_string());
            }
        }
    }
    if committed.batch().0 % 5 == 1 {
        println!(
            "{time}  batch {}: {} records, committed {:.0} ms after it closed",
            committed.batch(),
            committed.records(),
            committed.latency().as_secs_f64() * 1_000.0
        );
    }
    last
}

fn draw(job: &Job, patient: &str) -> anyhow::Result<PathBuf> {
    let mut store = Store::connect(&job.store, &job.name)?;
    let wanted = PatientChart::of(patient, Duration::from_secs(300));
    let chart = patient_chart(&mut store, job, &wanted, SystemClock.now())?;
    let file = job.reports.dir.join(format!("{}.png", plain_name(patient)));
    write(&file, &png(&chart.svg()?, PictureSize::default())?)?;
    Ok(file)
}
