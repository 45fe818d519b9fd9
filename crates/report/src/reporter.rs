//! Makes reports and lays them where they belong: those that are named, and those that are due.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use wardwatch_config::Job;
use wardwatch_model::clock::{Clock, Stopwatch, SystemClock};
use wardwatch_model::telemetry::{caught, join};
use wardwatch_notify::{ReportLetter, Undelivered, mail_report};
use wardwatch_sql::{Limits, StoredReader};
use wardwatch_store::{ReportRun, Store, StoreTables};

use super::build::{Moment, RenderedReport, Subject, make, subjects, table, text_at};
use super::error::ReportError;
use super::files::{folder, pages, remove_old, stamp, write};
use super::pace::Pace;
use super::page::{Links, Listed, NEXT, index, next, page};
use super::picture::png;
use super::spec::plain::{Range, Spec};

/// A report may read more than a query of a batch.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// How often the thread of a running job looks whether a report is due.
const LOOK: Duration = Duration::from_millis(500);

/// Which reports of a spec are wanted.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Only the one of this subject.
    pub subject: Option<String>,
    /// How much time, where it is not the spec's.
    pub last: Option<Duration>,
    /// The right edge, where it is not the newest batch.
    pub until: Option<DateTime<Utc>>,
    /// How many are made at a time.
    pub workers: usize,
}

/// What became of the reports of a spec.
#[derive(Debug, Default)]
pub struct Written {
    /// The pages.
    pub pages: Vec<PathBuf>,
    /// Those that could not be made: of whom, and why.
    pub failed: Vec<(String, String)>,
    /// How long it took.
    pub took: Duration,
    /// Whether it was stopped before all were made.
    pub is_cut: bool,
}

/// A reader of a job's store, by a connection of its own.
///
/// # Errors
/// The store does not answer.
pub fn reader(job: &Job) -> Result<(Arc<StoreTables>, StoredReader), ReportError> {
    let tables = Arc::new(StoreTables::new(Store::connect(&job.store, &job.name)?));
    let limits = Limits { time: TIME_LIMIT, memory: job.sql.memory_limit, groups: usize::MAX };
    let reader = StoredReader::new(Arc::clone(&tables) as _, limits);
    Ok((tables, reader))
}

/// Makes the reports of a spec that are wanted. `progress` is told how many of how many are done, and may say that it is
/// enough.
///
/// One that cannot be made leaves the others alone, and what was there before it.
///
/// # Errors
/// The store does not answer, or ceases to; the subjects cannot be told, or there is none of the name that is wanted.
pub fn write_reports(
    job: &Job,
    spec: &Spec,
    wanted: &Wanted,
    progress: &(dyn Fn(usize, usize) -> ControlFlow<()> + Sync),
) -> Result<Written, ReportError> {
    let running = Stopwatch::start();
    let (tables, first) = reader(job)?;
    let last = tables.with(|store| store.last_batch())?;
    let moment = Moment {
        job: job.name.clone(),
        made: SystemClock.now(),
        batch: last.as_ref().map_or(0, |last| last.batch.0),
        newest: last.and_then(|last| last.event_now),
        last: wanted.last,
        until: wanted.until,
        zone: job.reports.time_zone,
    };
    first.set_now(moment.edges(spec.range).1);
    let mut subjects = subjects(spec, &first, &moment)?;
    if let Some(name) = &wanted.subject {
        let names: Vec<String> = subjects.iter().map(|subject| subject.name.clone()).collect();
        subjects.retain(|subject| subject.name == *name);
        if subjects.is_empty() {
            let near = wardwatch_model::diagnostic::nearest(name, names.iter().map(String::as_str)).map(str::to_owned);
            return Err(ReportError::NoSubject { report: spec.name.clone(), subject: name.clone(), near });
        }
    }

    let (turn, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (written, away) = (Mutex::new(Written::default()), Mutex::new(None));
    let work = |reader: &StoredReader| {
        reader.set_now(moment.edges(spec.range).1);
        while let Some(subject) = subjects.get(turn.fetch_add(1, Ordering::Relaxed)) {
            let one = || {
                let made = make(spec, subject, reader, &moment).map_err(ReportError::from)?;
                write_files(job, spec, subject, &made, &moment)
            };
            let one = caught(one).unwrap_or_else(|panicked| Err(ReportError::Data(panicked.to_string())));
            let one = match one {
                // Nobody's report is to be had now, and it is no fault of this one.
                Err(error) if error.is_transient() => {
                    away.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    turn.store(subjects.len(), Ordering::Relaxed);
                    return;
                }
                one => one,
            };
            let keep = |written: &mut Written| match one {
                Ok(page) => written.pages.push(page),
                Err(error) => written.failed.push((subject.name.clone(), in_full(&error))),
            };
            keep(&mut written.lock().unwrap_or_else(PoisonError::into_inner));
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if progress(done, subjects.len()).is_break() && done < subjects.len() {
                written.lock().unwrap_or_else(PoisonError::into_inner).is_cut = true;
                // Nobody has a turn any more.
                turn.store(subjects.len(), Ordering::Relaxed);
            }
        }
    };
    let others = wanted.workers.clamp(1, subjects.len().max(1)) - 1;
    let readers = (0..others).map(|_| reader(job).map(|(_, reader)| reader)).collect::<Result<Vec<_>, _>>()?;
    std::thread::scope(|scope| {
        for reader in &readers {
            scope.spawn(|| work(reader));
        }
        work(&first);
    });
    if let Some(error) = away.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut written = written.into_inner().unwrap_or_else(PoisonError::into_inner);
    written.pages.sort();
    written.failed.sort();
    if let Some(keep) = spec.keep {
        for subject in &subjects {
            remove_old(&folder(&job.reports.dir, &spec.name, &subject.name), keep, moment.made);
        }
    }
    if let Err(error) = write_index(job) {
        written.failed.push(("the index".to_owned(), in_full(&error)));
    }
    written.took = running.elapsed();
    Ok(written)
}

fn in_full(error: &ReportError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Writes a report's files and returns its page.
fn write_files(
    job: &Job,
    spec: &Spec,
    subject: &Subject,
    made: &RenderedReport,
    moment: &Moment,
) -> Result<PathBuf, ReportError> {
    let folder = folder(&job.reports.dir, &spec.name, &subject.name);
    let stamp = stamp(made.figure.until);
    let svg = made.figure.svg()?;
    let file = |suffix: &str| folder.join(format!("{stamp}{suffix}"));

    write(&file(".png"), &png(&svg, spec.size)?)?;
    let mut links = Links { picture: format!("{stamp}.png"), ..Links::default() };
    for (name, rows) in &made.data {
        let name = format!("-{}.csv", name.replace(' ', "-"));
        write(&file(&name), &csv(rows)?)?;
        links.data.push(format!("{stamp}{name}"));
    }
    write(&file(".md"), markdown(made, &links, moment.zone).as_bytes())?;

    let up = if subject.name.is_empty() { ".." } else { "../.." };
    links.index = format!("{up}/index.html");
    let page_file = file(".html");
    let before = pages(&folder).into_iter().rfind(|(_, path)| *path < page_file);
    if let Some((_, before)) = &before {
        links.previous = before.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    }
    write(&page_file, page(made, &svg, &links, moment.zone).as_bytes())?;
    if let Some((_, before)) = before
        && let Ok(text) = std::fs::read_to_string(&before)
        && text.contains(NEXT)
    {
        write(&before, text.replacen(NEXT, &next(&format!("{stamp}.html")), 1).as_bytes())?;
    }
    Ok(page_file)
}

fn csv(rows: &RecordBatch) -> Result<Vec<u8>, ReportError> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let failed = |error: &dyn std::fmt::Display| ReportError::Data(error.to_string());
    let schema = rows.schema();
    writer.write_record(schema.fields().iter().map(|field| field.name())).map_err(|error| failed(&error))?;
    for row in 0..rows.num_rows() {
        let values = rows.columns().iter().map(|column| text_at(column, row));
        writer.write_record(values).map_err(|error| failed(&error))?;
    }
    writer.into_inner().map_err(|error| failed(&error))
}

/// The picture and the newest rows behind it; all rows are in the CSV files.
fn markdown(made: &RenderedReport, links: &Links, zone: Tz) -> String {
    const MOST_ROWS: usize = 50;
    let plain = |text: &str| text.replace('|', "\\|").replace(['\n', '<'], " ");
    let figure = &made.figure;
    let mut text = format!("# {}\n\n{}\n\n![]({})\n", plain(&figure.title), figure.note, links.picture);
    for ((name, rows), link) in made.data.iter().zip(&links.data) {
        let first = rows.num_rows().saturating_sub(MOST_ROWS);
        let shown = table(&rows.slice(first, rows.num_rows() - first), zone);
        text += &format!("\n## {name}\n\n{} rows, [CSV]({link})", rows.num_rows());
        text += if first > 0 { "; the last of them:\n\n" } else { "\n\n" };
        let row = |cells: &mut dyn Iterator<Item = String>| format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "));
        text += &row(&mut shown.columns.iter().map(|(name, _)| plain(name)));
        text += &row(&mut shown.columns.iter().map(|(_, is_number)| if *is_number { "--:" } else { "---" }.to_owned()));
        for cells in &shown.rows {
            text += &row(&mut cells.iter().map(|cell| plain(cell)));
        }
    }
    text + "\n" + &figure.footer + "\n"
}

/// Writes the index of all reports in the job's folder.
fn write_index(job: &Job) -> Result<(), ReportError> {
    write(&job.reports.dir.join("index.html"), index(&listed(job)).as_bytes())
}

/// The pages that lie in the job's folder of reports, the newest first.
#[must_use]
pub fn listed(job: &Job) -> Vec<Listed> {
    let dir = &job.reports.dir;
    let mut listed: Vec<(DateTime<Utc>, Listed)> = Vec::new();
    let folders = |of: &std::path::Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(of).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut found: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
        found.sort();
        found
    };
    let name = |path: &std::path::Path| path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let mut list = |folder: &std::path::Path, report: &str, subject: &str| {
        for (time, page) in pages(folder) {
            let time_text = time.with_timezone(&job.reports.time_zone).format("%Y-%m-%d %H:%M:%S %Z").to_string();
            let parts = [report, subject, &name(&page)];
            let link: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            let (report, subject, link) = (report.to_owned(), subject.to_owned(), link.join("/"));
            listed.push((time, Listed { report, subject, time: time_text, link }));
        }
    };
    for report in folders(dir) {
        list(&report, &name(&report), "");
        for subject in folders(&report) {
            list(&subject, &name(&report), &name(&subject));
        }
    }
    listed.sort_by(|(a, x), (b, y)| b.cmp(a).then_with(|| (&x.report, &x.subject).cmp(&(&y.report, &y.subject))));
    listed.into_iter().map(|(_, one)| one).collect()
}

/// Makes the reports that are due, each for the time at which it was, and notes in the store that they were made.
///
/// # Errors
/// The store does not answer. A report that cannot be made is noted as such.
pub fn write_due(
    job: &Job,
    specs: &[Spec],
    stopped: &dyn Fn() -> bool,
    progress: &(dyn Fn(usize, usize) -> ControlFlow<()> + Sync),
) -> Result<Vec<(String, Written)>, ReportError> {
    let mut store = Store::connect(&job.store, &job.name)?;
    let mut all = Vec::new();
    for spec in specs {
        let Some(schedule) = spec.schedule else { continue };
        // Of the time before the job there is nothing to tell.
        let Some(since) = store.last_report(&spec.name)?.or(store.first_batch_at()?) else { continue };
        for due in schedule.due(since, SystemClock.now(), job.reports.time_zone) {
            if stopped() {
                return Ok(all);
            }
            let wanted = Wanted { until: Some(due), workers: 1, ..Wanted::default() };
            let (written, trouble) = match write_reports(job, spec, &wanted, progress) {
                Ok(written) => {
                    let trouble = written.failed.first().map(|(subject, reason)| format!("{subject}: {reason}"));
                    (written, trouble.unwrap_or_default())
                }
                // It is still due.
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => (Written::default(), in_full(&error)),
            };
            if written.is_cut {
                // It is still due, and made by whoever runs the job next.
                return Ok(all);
            }
            let run = ReportRun {
                report: spec.name.clone(),
                due_at: due,
                made_at: SystemClock.now(),
                pages: written.pages.len(),
                failed: written.failed.len() + usize::from(written.pages.is_empty() && !trouble.is_empty()),
                seconds: written.took.as_secs_f64(),
                mail_open: !spec.mail.is_empty() && !written.pages.is_empty(),
                error: trouble,
            };
            store.note_report(&run)?;
            if run.error.is_empty() {
                tracing::info!(report = run.report, due = %run.due_at, pages = run.pages, seconds = run.seconds, "report made");
            } else {
                tracing::warn!(report = run.report, due = %run.due_at, pages = run.pages, failed = run.failed, error = run.error, "report failed");
            }
            all.push((spec.name.clone(), written));
        }
    }
    mail_open(job, specs, &mut store)?;
    Ok(all)
}

/// Mails what is still to be mailed; what fails for now is tried again with the next look.
fn mail_open(job: &Job, specs: &[Spec], store: &mut Store) -> Result<(), ReportError> {
    for (report, due) in store.unmailed_reports()? {
        let Some(spec) = specs.iter().find(|spec| spec.name == report && !spec.mail.is_empty()) else {
            store.close_mail(&report, due, "the report is no longer mailed")?;
            continue;
        };
        let letter = letter(job, spec, due);
        let outlets = job.notify.iter().filter(|outlet| spec.mail.contains(&outlet.name));
        let sent: Vec<_> = outlets.map(|outlet| mail_report(outlet, &job.name, &letter)).collect();
        let refused = sent.iter().find_map(|sent| match sent {
            Err(Undelivered::Refused(reason)) => Some(reason.clone()),
            _ => None,
        });
        if let Some(Undelivered::Later(reason)) = sent.iter().find_map(|sent| sent.as_ref().err()) {
            tracing::debug!(report, %due, reason, "report not mailed yet");
            continue;
        }
        if let Some(reason) = &refused {
            tracing::warn!(report, %due, reason, "report not mailed");
        }
        store.close_mail(&report, due, &refused.unwrap_or_default())?;
    }
    Ok(())
}

/// A report as it is mailed: its pictures, as many as a letter bears.
fn letter<'a>(job: &Job, spec: &'a Spec, due: DateTime<Utc>) -> ReportLetter<'a> {
    const MOST_PICTURES: usize = 20;
    let until = match spec.range {
        Range::Last(_) => due,
        Range::Fixed(_, until) => until,
    };
    let name = format!("{}.png", stamp(until));
    let folder = job.reports.dir.join(&spec.name);
    let mut found: Vec<PathBuf> = vec![folder.join(&name)];
    let subjects = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path().join(&name));
    found.extend(subjects);
    found.retain(|file| file.is_file());
    found.sort();
    let of = |file: &PathBuf| {
        let subject = file.parent().filter(|parent| **parent != folder).and_then(|parent| parent.file_name());
        subject.map_or_else(|| spec.name.clone(), |subject| subject.to_string_lossy().into_owned())
    };
    let pictures: Vec<(String, Vec<u8>)> =
        found.iter().take(MOST_PICTURES).filter_map(|file| Some((of(file), std::fs::read(file).ok()?))).collect();
    let title = spec.name.replace('_', " ");
    let time = until.with_timezone(&job.reports.time_zone).format("%-d %b %Y %H:%M %Z");
    let more = match found.len().saturating_sub(MOST_PICTURES) {
        0 => String::new(),
        more => format!(" {more} more are in the folder of reports."),
    };
    ReportLetter {
        report: &spec.name,
        due,
        subject: format!("Report: {title}, {time}"),
        text: format!(
            "{title} up to {time}, {} pictures.{more} For demonstration and research; no medical device.",
            found.len()
        ),
        pictures,
    }
}

/// Makes reports beside a running job, on a thread of its own, until it is stopped.
#[derive(Debug)]
pub struct Reporting {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Reporting {
    /// Starts the thread. It begins when the job has made its tables, and works while the job does not.
    ///
    /// # Errors
    /// The operating system has no thread to give.
    pub fn start(job: &Job, specs: Vec<Spec>, pace: Pace) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (job, stopped) = (job.clone(), Arc::clone(&stop));
        let thread = std::thread::Builder::new().name("reports".to_owned()).spawn(move || {
            let is_stopped = || stopped.load(Ordering::Relaxed);
            let go_on = |_, _| {
                pace.wait();
                if is_stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let mut is_troubled = false;
            // Where cores are few, batches come first. On Linux this is of the thread, elsewhere of the process.
            #[cfg(target_os = "linux")]
            if let Err(error) = rustix::process::nice(15) {
                tracing::debug!(%error, "reports are made with the priority of batches");
            }
            while !is_stopped() {
                let make = || match Store::connect(&job.store, &job.name)?.has_tables()? {
                    true => write_due(&job, &specs, &is_stopped, &go_on),
                    false => Ok(Vec::new()),
                };
                let made = caught(make).unwrap_or_else(|panicked| Err(ReportError::Data(panicked.to_string())));
                match made {
                    Ok(_) => is_troubled = false,
                    Err(error) if !is_troubled => {
                        tracing::warn!(%error, "no reports for now; they are made up for later");
                        is_troubled = true;
                    }
                    Err(_) => {}
                }
                let waiting = Stopwatch::start();
                let patience = if is_troubled { LOOK * 10 } else { LOOK * 4 };
                while !is_stopped() && waiting.elapsed() < patience {
                    std::thread::sleep(LOOK);
                }
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends it; the page in the making is finished first, and what is left of a report is made up for by the next run.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Err(panicked) = join(self.thread) {
            tracing::error!(%panicked, "no reports were made any more");
        }
    }
}
