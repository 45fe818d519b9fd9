//! A job with the services that it runs on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing::warn;

use wardwatch_config::Job;
use wardwatch_ingest::source::Until;
use wardwatch_model::clock::SystemClock;
use wardwatch_model::health::Health;
use wardwatch_pipeline::{AtEnd, Plan, Progress, ReplacedTopic, RunError, RunOptions, Standby, Summary, run};

use super::committed::Committed;
use super::error::SessionError;
use super::offline::Offline;

/// A job that can run: all of its files, or what stands for them, are read and checked.
///
/// ```no_run
/// # fn main() -> Result<(), wardwatch_session::SessionError> {
/// let summary = wardwatch_session::Session::from_job("jobs/patient_vitals.toml")?
///     .on_commit(|committed| println!("batch {}: {} records", committed.batch(), committed.records()))
///     .run()?;
/// println!("{} records", summary.records);
/// # Ok(())
/// # }
/// ```
pub struct Session<'a> {
    plan: Plan,
    /// What a session that was built in code lacks for a run.
    missing: Option<SessionError>,
    options: Options,
    health: Health,
    stopper: Stopper,
    on_commit: Vec<Told<'a>>,
    on_repeat: Box<dyn Fn(usize, usize) + 'a>,
    stop_when: Box<dyn Fn() -> bool + 'a>,
}

/// Who is told of a commit.
type Told<'a> = Box<dyn FnMut(&Committed<'_>) + 'a>;

/// How it is run.
#[derive(Debug, Clone, Copy)]
struct Options {
    until: Until,
    at_end: AtEnd,
    standby: Standby,
    new_topic: ReplacedTopic,
    connect_timeout: Duration,
    company: Company,
}

/// Whether the page and the reports that the job file asks for go with the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Company {
    Asked,
    None,
}

/// Asks a session to stop, from whichever thread.
#[derive(Debug, Clone, Default)]
pub struct Stopper(Arc<AtomicBool>);

impl Stopper {
    /// The batch in hand is committed, then the run ends.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody has asked.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl<'a> Session<'a> {
    /// The job of a file, with the queries, seeds and reports that it names.
    ///
    /// # Errors
    /// Every fault of the job file or, where that is right, of the queries; no service is asked.
    pub fn from_job(file: impl AsRef<Path>) -> Result<Self, SessionError> {
        Ok(Self::from_plan(Plan::load(file.as_ref())?))
    }

    /// A job that is read and checked already.
    #[must_use]
    pub fn from_plan(plan: Plan) -> Self {
        Self {
            plan,
            missing: None,
            options: Options {
                until: Until::Stopped,
                at_end: AtEnd::LeaveWindows,
                standby: Standby::Stop,
                new_topic: ReplacedTopic::Refuse,
                connect_timeout: Duration::from_secs(30),
                company: Company::Asked,
            },
            health: Health::new(Arc::new(SystemClock)),
            stopper: Stopper::default(),
            on_commit: Vec::new(),
            on_repeat: Box::new(|_, _| {}),
            stop_when: Box::new(|| false),
        }
    }

    /// The same without what a run takes: it says why when it is run.
    pub(super) fn without(missing: Option<SessionError>, plan: Plan) -> Self {
        Self { missing, ..Self::from_plan(plan) }
    }

    /// The job as it was read.
    #[must_use]
    pub fn job(&self) -> &Job {
        &self.plan.job
    }

    /// The job with its queries, as they were planned.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What is known of its services while it runs, for whoever watches it from the same process.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// What makes it stop. Without one it runs until its process ends.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Tells `told` of each batch after its commit, in their order, on the thread of the loop: the next batch waits for it.
    #[must_use]
    pub fn on_commit(mut self, told: impl FnMut(&Committed<'_>) + 'a) -> Self {
        self.on_commit.push(Box::new(told));
        self
    }

    /// Tells `told` at the start how many batches of how many have been read again for what a stopped job remembered.
    #[must_use]
    pub fn on_repeat(mut self, told: impl Fn(usize, usize) + 'a) -> Self {
        self.on_repeat = Box::new(told);
        self
    }

    /// Ends the run when `is_over` says so, which is asked many times a second.
    #[must_use]
    pub fn stop_when(mut self, is_over: impl Fn() -> bool + 'a) -> Self {
        self.stop_when = Box::new(is_over);
        self
    }

    /// Takes what is there now, then ends: for cron. There is no page then, and no report is made.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.options.until = Until::CaughtUp;
        self.options.company = Company::None;
        self
    }

    /// At the end, gives out windows that are still open, too; the next run goes on with them.
    #[must_use]
    pub fn close_windows(mut self) -> Self {
        self.options.at_end = AtEnd::CloseWindows;
        self
    }

    /// Where another process runs the job, waits and takes over when it is gone, instead of ending.
    #[must_use]
    pub fn standby(mut self) -> Self {
        self.options.standby = Standby::Wait;
        self
    }

    /// Where the topic was deleted and made again, goes on with the new one; what was not read of the old one is lost.
    #[must_use]
    pub fn accept_new_topic(mut self) -> Self {
        self.options.new_topic = ReplacedTopic::GoOn;
        self
    }

    /// How long Kafka and the store may take to answer at the start; 30 seconds where nobody says so.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect_timeout = timeout;
        self
    }

    /// Leaves out the page and the reports that the job file asks for.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.options.company = Company::None;
        self
    }

    /// The same job in memory, without Kafka, a store or a clock: records, rows or frames go in, and what the job would have
    /// committed comes out.
    #[must_use]
    pub fn offline(self) -> Offline {
        Offline::new(self.plan)
    }

    /// Runs the job until it is stopped or, [once](Self::once), has caught up.
    ///
    /// Everything that a batch leaves is committed in one transaction, exactly once; a session that is dropped, killed or has
    /// failed goes on behind its last commit when it is run again.
    ///
    /// # Errors
    /// A service that is not there at the start, another process that writes for the job, a topic that is not the one that was
    /// read before, a page that cannot be served.
    pub fn run(mut self) -> Result<Summary, SessionError> {
        if let Some(missing) = self.missing.take() {
            return Err(missing);
        }
        let page = Page::start(&self)?;
        let done = loop {
            match self.run_until_fenced(&page) {
                Err(error) if self.options.standby == Standby::Wait && error.is_fenced() => {
                    warn!(%error, "standing by from now on");
                    self.plan = plan_again(self.plan);
                }
                done => break done,
            }
        };
        let ended = page.stop();
        let summary = done?;
        ended.map(|()| summary)
    }

    /// Runs it while this process writes for the job, and not while it stands by.
    fn run_until_fenced(&mut self, page: &Page) -> Result<Summary, RunError> {
        let Self { plan, options, health, stopper, on_commit, on_repeat, stop_when, .. } = self;
        // Without its page, a ward sees nothing: the batch in hand is finished, and whoever restarts us brings both back.
        let stopped = || stopper.is_stopped() || stop_when() || page.has_ended();
        let reports = Reports::of(plan, options.company);
        let done = run(
            plan,
            &mut RunOptions {
                until: options.until,
                at_end: options.at_end,
                standby: options.standby,
                new_topic: options.new_topic,
                connect_timeout: options.connect_timeout,
                stopped: &stopped,
                on_start: &mut || reports.start(),
                on_repeat: &**on_repeat,
                on_commit: &mut |progress| {
                    reports.committed(progress.latency);
                    if !on_commit.is_empty() {
                        let committed = committed(progress);
                        on_commit.iter_mut().for_each(|told| told(&committed));
                    }
                },
                health,
                clock: Arc::new(SystemClock),
            },
        );
        reports.stop();
        done
    }
}

fn committed<'p>(progress: &'p Progress<'_>) -> Committed<'p> {
    Committed {
        batch: progress.batch,
        records: progress.micro_batch.records,
        rows: Some(&progress.micro_batch.rows),
        results: progress.results,
        alerts: progress.alerts,
        rejects: &progress.micro_batch.rejects,
        artefacts: &progress.micro_batch.artefacts,
        ignored: progress.micro_batch.ignored,
        latency: progress.latency,
    }
}

/// The plan of the files as they are now. Where these have a fault, the one that ran goes on, with nothing in its windows: a standby
/// that ends over somebody's edit leaves the ward without one.
fn plan_again(mut ran: Plan) -> Plan {
    let job = match ran.job.file.is_file() {
        true => wardwatch_config::load(&ran.job.file),
        false => Ok(ran.job.clone()),
    };
    match job.and_then(Plan::of) {
        Ok(plan) => plan,
        Err(fault) => {
            warn!(%fault, "the files have faults; it stands by with the job as it ran");
            ran.engine.start_over();
            ran
        }
    }
}

/// The page beside a run, where the job asks for one.
struct Page {
    #[cfg(feature = "web")]
    served: Option<wardwatch_web::Page>,
}

#[cfg(feature = "web")]
impl Page {
    fn start(session: &Session<'_>) -> Result<Self, SessionError> {
        let job = session.job();
        let listen = job.dashboard.listen.filter(|_| session.options.company == Company::Asked);
        let served = listen.map(|listen| wardwatch_web::serve(job, listen, Some(&session.health)));
        let served = served.transpose().map_err(|error| SessionError::Page(error.into()))?;
        if let Some(page) = &served {
            tracing::info!(address = page.address(), "page and metrics");
        }
        Ok(Self { served })
    }

    fn has_ended(&self) -> bool {
        self.served.as_ref().is_some_and(wardwatch_web::Page::has_ended)
    }

    fn stop(self) -> Result<(), SessionError> {
        self.served.map_or(Ok(()), wardwatch_web::Page::stop).map_err(|panicked| RunError::from(panicked).into())
    }
}

#[cfg(not(feature = "web"))]
impl Page {
    fn start(session: &Session<'_>) -> Result<Self, SessionError> {
        if session.job().dashboard.listen.is_some() && session.options.company == Company::Asked {
            warn!("the job asks for a page, which this build has not: feature \"web\"");
        }
        Ok(Self {})
    }

    fn has_ended(&self) -> bool {
        false
    }

    fn stop(self) -> Result<(), SessionError> {
        Ok(())
    }
}

/// The reports beside a run, where the job schedules any.
struct Reports {
    #[cfg(feature = "reports")]
    job: Job,
    #[cfg(feature = "reports")]
    scheduled: Vec<wardwatch_report::Spec>,
    #[cfg(feature = "reports")]
    pace: wardwatch_report::Pace,
    #[cfg(feature = "reports")]
    running: std::cell::RefCell<Option<wardwatch_report::Reporting>>,
}

#[cfg(feature = "reports")]
impl Reports {
    fn of(plan: &Plan, company: Company) -> Self {
        let specs = match company {
            Company::Asked => wardwatch_report::Specs::of(&plan.job),
            Company::None => wardwatch_report::Specs::default(),
        };
        for fault in &specs.faults {
            warn!(%fault, "no such report; the job and the other reports go on");
        }
        Self {
            job: plan.job.clone(),
            scheduled: specs.good.into_iter().filter(|spec| spec.schedule.is_some()).collect(),
            pace: wardwatch_report::Pace::new(plan.job.trigger.every),
            running: std::cell::RefCell::default(),
        }
    }

    fn start(&self) {
        if !self.scheduled.is_empty() {
            let started = wardwatch_report::Reporting::start(&self.job, self.scheduled.clone(), self.pace.clone());
            let started = started.inspect_err(|error| warn!(%error, "no thread for reports; the job goes on without"));
            *self.running.borrow_mut() = started.ok();
        }
    }

    fn committed(&self, latency: Duration) {
        self.pace.committed(latency);
    }

    fn stop(self) {
        if let Some(running) = self.running.into_inner() {
            running.stop();
        }
    }
}

#[cfg(not(feature = "reports"))]
impl Reports {
    fn of(plan: &Plan, company: Company) -> Self {
        if plan.job.reports.specs.is_some() && company == Company::Asked {
            warn!("the job schedules reports, which this build does not make: feature \"reports\"");
        }
        Self {}
    }

    fn start(&self) {}

    fn committed(&self, _: Duration) {}

    fn stop(self) {}
}

impl std::fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("job", &self.plan.job.name)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
