//! A rule on records of the past: which episodes it would have given, how often it would have called somebody, and what
//! another delay would have changed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use chrono::{DateTime, TimeDelta, Utc};

use wardwatch_alert::{Change, Episode, EpisodeId, Judged, State};

use super::offline::OfflineJob;
use super::past::Past;
use super::plan::Plan;

/// How much event time a batch spans where every rule is judged sample by sample.
const LONG: Duration = Duration::from_secs(60);

/// For how long time is let pass, batch by batch, while nothing comes: enough for silence to be noticed.
const SILENCE: Duration = Duration::from_secs(120);

/// What a rule would have done.
#[derive(Debug)]
pub struct Backtest {
    /// The rule.
    pub rule: String,
    /// Its own `@for`.
    pub hold: Duration,
    /// What is said of each delay: first the rule's own, then those asked for.
    pub delays: Vec<Delay>,
    /// The episodes with its own delay, in the order of their beginnings.
    pub episodes: Vec<Episode>,
    /// How many of them fired while another rule's episode of the same patient did.
    pub overlaps: Vec<(String, usize)>,
    /// Of how many patients there were records.
    pub patients: usize,
    /// For how long they were watched, all together, in hours.
    pub patient_hours: f64,
    /// Queries that failed, with their first error.
    pub failures: BTreeMap<String, String>,
}

/// What a rule would have done with one delay.
#[derive(Debug, Clone, PartialEq)]
pub struct Delay {
    /// The delay.
    pub hold: Duration,
    /// How many episodes fired.
    pub episodes: usize,
    /// Of how many patients.
    pub patients: usize,
    /// How many fired per hour that a patient was watched.
    pub per_patient_hour: f64,
    /// The median of how long the conditions stood after they fired; `None` without an episode that cleared.
    pub median: Option<Duration>,
}

/// Runs `rule`, which is one of the plan's, over the rows of `past` and the values that were none, with its own delay and with
/// those of `holds`. `on_progress` is told how many rows of how many have been judged.
#[must_use]
pub fn backtest(
    plan: Plan,
    rule: &str,
    past: &Past,
    holds: &[Duration],
    on_progress: &dyn Fn(usize, usize),
) -> Backtest {
    let rows = &past.rows;
    let (times, patients) = (times(&plan, rows), patients(&plan, rows));
    let mut artefacts = past.artefacts.clone();
    artefacts.sort_by_key(|artefact| artefact.event_time);
    let mut artefacts = artefacts.as_slice();
    let by_sample = plan.rules.iter().all(|rule| rule.judged == Judged::BySample);
    let every = if by_sample { LONG } else { plan.job.trigger.every };
    let own = plan.rules.iter().find(|known| known.name == rule).map(|known| known.header.hold).unwrap_or_default();
    let mut offline = OfflineJob::new(plan);
    holds.iter().for_each(|hold| offline.add_form(rule, *hold));

    let mut forms: Vec<Episodes> = (0..=holds.len()).map(|_| Episodes::default()).collect();
    let mut failures = BTreeMap::new();
    let mut done = 0;
    let mut take = |offline: &mut OfflineJob, from: usize, to: usize, now: i64| {
        let now = DateTime::from_timestamp_micros(now).unwrap_or_default();
        // Values that were none come with the rows that lack them.
        let (of_batch, later) = artefacts.split_at(artefacts.partition_point(|artefact| artefact.event_time < now));
        artefacts = later;
        let offline_batch = offline.batch(&rows.slice(from, to - from), of_batch, now);
        for outcome in offline_batch.outcomes {
            if let Err(failure) = outcome.rows {
                failures.entry(outcome.query).or_insert(failure.to_string());
            }
        }
        let all = std::iter::once(offline_batch.changes).chain(offline_batch.others);
        forms.iter_mut().zip(all).for_each(|(form, changes)| form.note(changes));
    };
    let every = i64::try_from(every.as_micros()).unwrap_or(i64::MAX);
    while done < times.len() {
        let end = (times[done] / every + 1).saturating_mul(every);
        let next = done + times[done..].partition_point(|time| *time < end);
        take(&mut offline, done, next, end);
        // Time passes without records too, for as long as anything follows from it.
        let until = times.get(next).copied().unwrap_or(i64::MAX);
        let silent = i64::try_from(SILENCE.as_micros()).unwrap_or(i64::MAX);
        let mut now = end.saturating_add(every);
        while !by_sample && now < until && now <= end.saturating_add(silent) {
            take(&mut offline, next, next, now);
            now += every;
        }
        done = next;
        on_progress(done, times.len());
    }

    let hours = watched_hours(&times, &patients);
    let delays = std::iter::once(own).chain(holds.iter().copied()).zip(&forms);
    let delays = delays.map(|(hold, form)| form.delay(rule, hold, hours)).collect();
    let first = forms.first();
    let of_rule = |wanted: &str| -> Vec<Episode> {
        let episodes = first.into_iter().flat_map(|form| form.0.values());
        let mut fired: Vec<Episode> =
            episodes.filter(|episode| *episode.rule == *wanted && episode.firing_at.is_some()).cloned().collect();
        fired.sort_by_key(|episode| episode.started_at);
        fired
    };
    let episodes = of_rule(rule);
    let others = offline.plan().rules.iter().filter(|known| known.name != rule);
    let overlaps = others.map(|other| {
        let others = of_rule(&other.name);
        let overlapped = episodes.iter().filter(|episode| others.iter().any(|other| overlap(episode, other)));
        (other.name.clone(), overlapped.count())
    });
    Backtest {
        rule: rule.to_owned(),
        hold: own,
        delays,
        overlaps: overlaps.filter(|(_, count)| *count > 0).collect(),
        episodes,
        patients: patients.iter().collect::<BTreeSet<_>>().len(),
        patient_hours: hours,
        failures,
    }
}

/// The newest form of each episode.
#[derive(Debug, Default)]
struct Episodes(BTreeMap<EpisodeId, Episode>);

impl Episodes {
    fn note(&mut self, changes: Vec<Change>) {
        for Change { episode, .. } in changes {
            match episode.state {
                State::Dropped => drop(self.0.remove(&episode.id)),
                _ => drop(self.0.insert(episode.id.clone(), (*episode).clone())),
            }
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "episodes are few")]
    fn delay(&self, rule: &str, hold: Duration, hours: f64) -> Delay {
        let fired: Vec<&Episode> =
            self.0.values().filter(|episode| *episode.rule == *rule && episode.firing_at.is_some()).collect();
        let mut lengths: Vec<TimeDelta> =
            fired.iter().filter_map(|episode| Some(episode.cleared_at? - episode.firing_at?)).collect();
        lengths.sort_unstable();
        Delay {
            hold,
            episodes: fired.len(),
            patients: fired.iter().map(|episode| &episode.patient).collect::<BTreeSet<_>>().len(),
            per_patient_hour: if hours > 0.0 { fired.len() as f64 / hours } else { 0.0 },
            median: lengths.get(lengths.len() / 2).and_then(|length| length.to_std().ok()),
        }
    }
}

fn overlap(one: &Episode, other: &Episode) -> bool {
    let end = |episode: &Episode| episode.cleared_at.unwrap_or(DateTime::<Utc>::MAX_UTC);
    one.patient == other.patient
        && one.firing_at.zip(other.firing_at).is_some_and(|(a, b)| a <= end(other) && b <= end(one))
}

/// For how long patients were watched: the time between their samples, where no more than half a minute lies between two.
#[allow(clippy::cast_precision_loss, reason = "hours of microseconds fit a double")]
fn watched_hours(times: &[i64], patients: &[String]) -> f64 {
    const GAP: i64 = 30_000_000;
    let mut last: BTreeMap<&str, i64> = BTreeMap::new();
    let mut watched = 0;
    for (time, patient) in times.iter().zip(patients) {
        if let Some(before) = last.insert(patient, *time) {
            let between = time - before;
            watched += if between <= GAP { between } else { 0 };
        }
    }
    watched as f64 / 3_600_000_000.0
}

fn times(plan: &Plan, rows: &RecordBatch) -> Vec<i64> {
    let column = rows.column_by_name(&plan.samples.event_time);
    column.map(|times| times.as_primitive::<TimestampMicrosecondType>().values().to_vec()).unwrap_or_default()
}

fn patients(plan: &Plan, rows: &RecordBatch) -> Vec<String> {
    let column = rows.column_by_name(&plan.samples.key).and_then(|keys| cast(keys, &DataType::Utf8View).ok());
    let Some(column) = column else { return Vec::new() };
    let keys = column.as_string_view();
    (0..keys.len()).map(|row| if keys.is_null(row) { String::new() } else { keys.value(row).to_owned() }).collect()
}
