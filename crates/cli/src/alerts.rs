//! `wardwatch alerts`: what stands, who takes it on, and what people need not hear of for a while.

use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, TimeDelta, Utc};

use wardwatch_alert::{Action, ActionId, Episode, EpisodeId, Facts, Request, Scope, SilenceKind, State, Wards};
use wardwatch_config::Job;
use wardwatch_model::clock::{Clock, Stopwatch, SystemClock};
use wardwatch_model::terms::Severity;
use wardwatch_store::Store;

use super::arguments::{JobFile, duration, time};
use super::table::{aligned, second};

/// The arguments of `alerts`.
#[derive(Debug, clap::Args)]
pub(super) struct Alerts {
    #[command(subcommand)]
    command: AlertsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum AlertsCommand {
    /// Show the episodes that stand, the worst first
    List(List),
    /// Show one episode and everything that has happened to it
    Show(Show),
    /// Take an episode on: nobody else is called, and a latched one is over
    Ack(Ack),
    /// Be quiet for a moment, while somebody is at the bed; a higher severity breaks through
    Pause(Pause),
    /// Be quiet until a time, for a reason; a higher severity breaks through
    Silence(SilenceFor),
    /// Show the pauses and silences that hold
    Silences(JobFile),
    /// End a pause or a silence early
    End(End),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    file: JobFile,
    /// Also those that are over and were seen within this time
    #[arg(long, value_name = "TIME", value_parser = duration)]
    last: Option<Duration>,
    /// Only this patient's
    #[arg(long, value_name = "ID")]
    patient: Option<String>,
    /// Also those whose condition has not held for long enough yet
    #[arg(long)]
    pending: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Show {
    #[command(flatten)]
    file: JobFile,
    /// The episode's id, or the beginning of it
    #[arg(value_name = "EPISODE")]
    episode: String,
}

/// Who asks, and for how long to wait for the job.
#[derive(Debug, clap::Args)]
struct Asking {
    /// Who asks
    #[arg(long, value_name = "NAME", env = "USER")]
    by: String,
    /// How long to wait for the running job to answer
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    wait: Duration,
}

#[derive(Debug, clap::Args)]
struct Ack {
    #[command(flatten)]
    file: JobFile,
    /// The episode's id, or the beginning of it
    #[arg(value_name = "EPISODE")]
    episode: String,
    /// What others should know
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    #[command(flatten)]
    asking: Asking,
}

/// What is to be quiet.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct Covered {
    /// Alerts of this patient
    #[arg(long, value_name = "ID")]
    patient: Option<String>,
    /// Alerts of this ward
    #[arg(long, value_name = "WARD")]
    ward: Option<String>,
    /// Alerts of this rule
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Pause {
    #[command(flatten)]
    file: JobFile,
    #[command(flatten)]
    covered: Covered,
    /// For how long; at most what the job allows
    #[arg(long = "for", value_name = "TIME", default_value = "2m", value_parser = duration)]
    length: Duration,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, clap::Args)]
struct SilenceFor {
    #[command(flatten)]
    file: JobFile,
    #[command(flatten)]
    covered: Covered,
    #[command(flatten)]
    end: Until,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The highest severity that is hidden; without it, the worst that stands now
    #[arg(long, value_name = "SEVERITY", value_parser = severity)]
    up_to: Option<Severity>,
    #[command(flatten)]
    asking: Asking,
}

/// A silence has an end.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Until {
    /// For how long
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    length: Option<Duration>,
    /// Until when
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<DateTime<Utc>>,
}

#[derive(Debug, clap::Args)]
struct End {
    #[command(flatten)]
    file: JobFile,
    /// The silence's id, as `silences` shows it
    #[arg(value_name = "SILENCE")]
    silence: String,
    #[command(flatten)]
    asking: Asking,
}

impl Alerts {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.command {
            AlertsCommand::List(list) => list.run(),
            AlertsCommand::Show(show) => show.run(),
            AlertsCommand::Ack(ack) => ack.run(),
            AlertsCommand::Pause(pause) => pause.run(),
            AlertsCommand::Silence(silence) => silence.run(),
            AlertsCommand::Silences(file) => silences(&file),
            AlertsCommand::End(end) => end.run(),
        }
    }
}

fn severity(text: &str) -> Result<Severity, String> {
    let names = || Severity::ALL.iter().map(|severity| severity.name());
    Severity::from_name(text).ok_or_else(|| wardwatch_model::diagnostic::unknown("severity", text, names()))
}

/// The job and its store, which must have been written to.
fn open(file: &JobFile) -> anyhow::Result<(Job, Store)> {
    let job = wardwatch_config::load(&file.job)?;
    let mut store = Store::connect(&job.store, &job.name)?;
    if !store.has_tables()? {
        bail!("the store has no tables yet; `wardwatch run {}` makes them", file.job.display());
    }
    Ok((job, store))
}

impl List {
    fn run(self) -> anyhow::Result<()> {
        let (job, mut store) = open(&self.file)?;
        let mut episodes = match self.last {
            None => store.open_episodes()?,
            Some(last) => store.last_episodes(SystemClock.now() - TimeDelta::from_std(last)?)?,
        };
        episodes.retain(|episode| self.pending || episode.state != State::Pending);
        episodes.retain(|episode| self.patient.as_ref().is_none_or(|patient| **patient == *episode.patient));
        episodes.sort_by_key(|episode| {
            (episode.ended_at.is_some(), std::cmp::Reverse(episode.severity), episode.started_at)
        });
        if self.json {
            for episode in &episodes {
                println!("{}", Facts::of(&job.name, "", episode, &Wards::default()).to_json());
            }
            return Ok(());
        }
        let rows = episodes.iter().map(|episode| {
            vec![
                episode.id.to_string(),
                episode.severity.name().to_owned(),
                episode.patient.to_string(),
                episode.rule.to_string(),
                standing(episode),
                second(episode.firing_at.unwrap_or(episode.started_at)),
                episode.peak.text.to_string(),
                episode.handling.acknowledged.as_ref().map(|who| who.by.clone()).unwrap_or_default(),
            ]
        });
        let heading = ["EPISODE", "SEVERITY", "PATIENT", "RULE", "STATE", "SINCE", "WORST", "ACKNOWLEDGED BY"];
        print!("{}", aligned(&heading, rows));
        Ok(())
    }
}

/// The state, and what keeps it from being judged.
fn standing(episode: &Episode) -> String {
    let why = match (&episode.suppressed_by, episode.stale_at) {
        (Some(rule), _) => format!(", waits for {rule}"),
        (None, Some(_)) => ", stale".to_owned(),
        (None, None) => String::new(),
    };
    format!("{}{why}", episode.state.name())
}

/// The episode whose id begins so.
fn find(store: &mut Store, beginning: &str) -> anyhow::Result<Episode> {
    let mut found = store.episodes_called(beginning)?;
    match (found.pop(), found.len()) {
        (Some(episode), 0) => Ok(episode),
        (None, _) => {
            let standing: Vec<String> = store
                .open_episodes()?
                .into_iter()
                .filter(|episode| episode.state.is_shown())
                .map(|episode| episode.id.to_string())
                .collect();
            bail!(wardwatch_model::diagnostic::unknown("episode", beginning, standing.iter().map(String::as_str)))
        }
        (Some(_), more) => bail!("\"{beginning}\" is the beginning of {} episodes' ids; write more of it", more + 1),
    }
}

impl Show {
    fn run(self) -> anyhow::Result<()> {
        let (_, mut store) = open(&self.file)?;
        let episode = find(&mut store, &self.episode)?;
        println!(
            "{} · {} · {} · patient {} · {}\n{} · worst {}\n{} samples, {} to {}\n",
            episode.id,
            episode.severity.name(),
            episode.rule,
            episode.patient,
            standing(&episode),
            episode.text,
            episode.peak.text,
            episode.samples,
            second(episode.started_at),
            second(episode.last_at)
        );
        let events = store.events_of(&episode.id)?;
        let rows =
            events.into_iter().map(|event| vec![second(event.at), event.kind.name().to_owned(), event.by, event.note]);
        print!("{}", aligned(&["AT", "WHAT", "BY", "NOTE"], rows));
        Ok(())
    }
}

impl Ack {
    fn run(self) -> anyhow::Result<()> {
        let (_, mut store) = open(&self.file)?;
        let episode = find(&mut store, &self.episode)?;
        match episode.state {
            State::Ended => bail!(
                "episode {} is over since {} ({}); there is nothing to acknowledge",
                episode.id,
                second(episode.ended_at.unwrap_or(episode.last_at)),
                episode.end.map(|end| end.name()).unwrap_or_default()
            ),
            State::Pending => bail!("episode {} has not fired yet; there is nothing to acknowledge", episode.id),
            _ => {}
        }
        let told = format!("episode {} is acknowledged", episode.id);
        self.asking.ask(&mut store, &self.note, Request::Acknowledge(EpisodeId(episode.id.0)), &told)
    }
}

impl Covered {
    fn scope(self) -> anyhow::Result<Scope> {
        let Self { patient, ward, rule } = self;
        let scope = Scope {
            patient: patient.unwrap_or_default(),
            ward: ward.unwrap_or_default(),
            rule: rule.unwrap_or_default(),
        };
        if scope == Scope::default() {
            bail!("name a patient, a ward or a rule that is to be quiet");
        }
        Ok(scope)
    }
}

/// Names what the job has: a rule that is not there would be silenced in vain.
fn check_rule(job: &Job, scope: &Scope) -> anyhow::Result<()> {
    if scope.rule.is_empty() {
        return Ok(());
    }
    let files = wardwatch_sql::load_set(&job.sql)?;
    let rules = files.iter().filter(|file| file.is_rule()).map(|file| file.name.as_str());
    wardwatch_alert::check_rule(&scope.rule, rules).map_err(anyhow::Error::msg)
}

impl Pause {
    fn run(self) -> anyhow::Result<()> {
        let (job, mut store) = open(&self.file)?;
        let scope = self.covered.scope()?;
        check_rule(&job, &scope)?;
        if self.length > job.alerts.longest_pause {
            bail!(
                "a pause lasts {} at the most ([alerts] longest_pause); for longer, `wardwatch alerts silence` takes a reason",
                humantime::format_duration(job.alerts.longest_pause)
            );
        }
        let until = SystemClock.now() + TimeDelta::from_std(self.length)?;
        let told = format!("quiet about {scope} until {}", second(until));
        self.asking.ask(&mut store, "", Request::Quiet { kind: SilenceKind::Pause, scope, up_to: None, until }, &told)
    }
}

impl SilenceFor {
    fn run(self) -> anyhow::Result<()> {
        let (job, mut store) = open(&self.file)?;
        let scope = self.covered.scope()?;
        check_rule(&job, &scope)?;
        let now = SystemClock.now();
        let until = match (self.end.until, self.end.length) {
            (Some(until), _) => until,
            (None, Some(length)) => now + TimeDelta::from_std(length)?,
            (None, None) => bail!("a silence has an end: --for 4h, or --until 2026-01-01T00:00:00Z"),
        };
        if until <= now {
            bail!("{} is past; a silence ends in the future", second(until));
        }
        if self.reason.trim().is_empty() {
            bail!("a silence has a reason");
        }
        let told = format!("quiet about {scope} until {}", second(until));
        let ask = Request::Quiet { kind: SilenceKind::Silence, scope, up_to: self.up_to, until };
        self.asking.ask(&mut store, &self.reason, ask, &told)
    }
}

impl End {
    fn run(self) -> anyhow::Result<()> {
        let (_, mut store) = open(&self.file)?;
        let now = SystemClock.now();
        let silences = store.silences()?;
        let held = || silences.iter().filter(|silence| silence.until > now).map(|silence| silence.id.0.as_str());
        if !held().any(|id| id == self.silence) {
            bail!(wardwatch_model::diagnostic::unknown("silence", &self.silence, held()));
        }
        let told = format!("silence {} is over", self.silence);
        self.asking.ask(&mut store, "", Request::EndSilence(ActionId(self.silence)), &told)
    }
}

fn silences(file: &JobFile) -> anyhow::Result<()> {
    let (_, mut store) = open(file)?;
    let now = SystemClock.now();
    let rows = store.silences()?.into_iter().filter(|silence| silence.until > now).map(|silence| {
        vec![
            silence.id.to_string(),
            silence.kind.name().to_owned(),
            silence.scope.to_string(),
            silence.up_to.name().to_owned(),
            second(silence.until),
            silence.by,
            silence.reason,
        ]
    });
    print!("{}", aligned(&["SILENCE", "KIND", "ABOUT", "UP TO", "UNTIL", "BY", "REASON"], rows));
    Ok(())
}

impl Asking {
    /// Puts the request down and waits for the running job to do it.
    fn ask(&self, store: &mut Store, note: &str, ask: Request, told: &str) -> anyhow::Result<()> {
        if self.by.trim().is_empty() {
            bail!("say who asks: --by NAME");
        }
        let action = Action::new(SystemClock.now(), &self.by, note, ask);
        store.ask(&action).context("the request could not be put down")?;
        let waiting = Stopwatch::start();
        loop {
            match store.answer(&action.id)? {
                Some(refusal) if refusal.is_empty() => {
                    println!("{told}");
                    return Ok(());
                }
                Some(refusal) => bail!(refusal),
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
