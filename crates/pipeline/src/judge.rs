//! Rules are judged by what queries gave on a batch.

use std::time::Duration;

use chrono::TimeDelta;
use tracing::{info, warn};

use wardwatch_alert::{
    Answer, Change, Elsewhere, Findings, Judged, Moment, Notification, OpenEpisodes, Outstanding, Reach, Rule,
    StalledPartition, Unjudged, Unread, ValidFor, Watch, address, is_system_rule,
};
use wardwatch_ingest::source::{self, Standstill};
use wardwatch_model::topics::Topics;
use wardwatch_sql::Outcome;
use wardwatch_store::{CoverageChanges, Failed, QueryState, Store};

use super::admit::AdmittedBatch;
use super::begin::Begun;
use super::error::RunError;
use super::evaluate::EvaluatedBatch;
use super::leaving::Leaving;
use super::options::RunOptions;
use super::plan::Plan;
use super::quarantine::Quarantine;
use super::state::JobState;

/// A batch whose rules have been judged.
pub(super) struct JudgedBatch {
    pub(super) evaluated: EvaluatedBatch,
    /// The alerts that stand after it.
    pub(super) episodes: OpenEpisodes,
    /// The queries that fail after it.
    pub(super) quarantine: Quarantine,
    /// What failed in it.
    pub(super) failures: Vec<Failed>,
    /// The queries whose state has changed.
    pub(super) queries: Vec<QueryState>,
    /// Which rules do not judge which patients any more, where that was found out again.
    pub(super) coverage: Option<CoverageChanges>,
    /// What became of alerts.
    pub(super) changes: Vec<Change>,
    /// What became of what people asked for.
    pub(super) answers: Vec<Answer>,
    /// Who is to be told of what.
    pub(super) notifications: Vec<Notification>,
}

impl JudgedBatch {
    pub(super) fn admitted(&self) -> &AdmittedBatch {
        &self.evaluated.admitted
    }
}

impl EvaluatedBatch {
    /// Judges the rules, does what people have asked for, and finds out who is to be told. `outstanding` is what of the outbox nobody
    /// has admitted.
    ///
    /// Errors: the store does not answer before the job is stopped.
    pub(super) fn judge(
        self,
        plan: &Plan,
        store: &mut Store,
        state: &mut JobState,
        outstanding: &Outstanding,
        options: &RunOptions<'_>,
    ) -> Result<JudgedBatch, RunError> {
        let admitted = &self.admitted;
        let (actions, refused) = options.retry().until_done(|| store.open_actions())?;
        if state.coverage.is_incomplete_due(admitted.now) {
            let incomplete = options.retry().until_done(|| store.incomplete())?;
            state.coverage.note_incomplete(incomplete, admitted.now);
        }
        state.outage = options.health.take_past_outage().or(state.outage);
        let mut quarantine = state.quarantine.clone();
        // A batch that is not committed ends the loop, and nobody asks for them any more.
        let mut episodes = std::mem::take(&mut state.episodes);
        if let Some(outage) = state.outage {
            episodes.note_outage(outage);
        }
        let (failures, mut queries) = admitted.note_failures(plan, &self.outcomes, &mut quarantine);
        queries.extend(state.edits.forgotten.iter().cloned());
        let given = (self.outcomes.as_slice(), self.begun.as_slice());
        let unjudged = admitted.judge_rules(plan, &plan.rules, given, state, (&quarantine, &mut episodes));
        let coverage = unjudged.map(|unjudged| state.coverage.changes(&unjudged));
        let (now, event_now) = (admitted.now, admitted.event_now());
        let (outlets, patience) = (&plan.job.notify, plan.job.alerts.unreached_after);
        episodes.judge_unreached(outstanding, outlets, patience, (now, event_now));
        leave_out_known(&mut episodes, &admitted.leaving, store, options)?;
        tell_apart(&mut episodes, store, options)?;
        let wards = state.attaching.wards(plan, event_now);
        let mut answers = episodes.act(&actions, &plan.job.alerts, &wards, now, event_now);
        answers.extend(refused);
        let reach = Reach::new(outlets, outstanding, patience);
        let notices = episodes.notices(&plan.rules, &plan.job.alerts, &wards, &reach, now);
        let changes = episodes.take_changes();
        let notifications = address(&plan.job.name, &plan.job.notify, &notices, &wards);
        let evaluated = self;
        Ok(JudgedBatch {
            evaluated,
            episodes,
            quarantine,
            failures,
            queries,
            coverage,
            changes,
            answers,
            notifications,
        })
    }
}

impl AdmittedBatch {
    /// Judges every rule that gave rows, and what those that begin gave on last values. Returns which rules do not judge which
    /// patients, where that was found out again.
    pub(super) fn judge_rules(
        &self,
        plan: &Plan,
        rules: &[Rule],
        (outcomes, begun): (&[Outcome], &[Begun]),
        state: &JobState,
        (quarantine, episodes): (&Quarantine, &mut OpenEpisodes),
    ) -> Option<Vec<Unjudged>> {
        let departures = state.attaching.encounters().departures(self.event_now());
        let moment = Moment {
            samples: &self.samples,
            streams: &state.memory.streams,
            arrivals: &self.arrivals,
            lateness: TimeDelta::from_std(plan.job.source.lateness).unwrap_or(TimeDelta::MAX),
            columns: &plan.samples,
            now: self.now,
            event_now: self.event_now(),
            departures: &departures,
        };
        let is_gone = |rule: &str| !is_system_rule(rule) && !rules.iter().any(|known| known.name == rule);
        episodes.end_rules(&is_gone, moment.event_now);
        let failing = quarantine.failing_rules(rules.iter().map(|rule| rule.name.as_str()), &plan.reads());
        for rule in rules {
            let outcome = outcomes.iter().find(|outcome| outcome.query == rule.name);
            if rule.judged == Judged::ByBatch {
                // What is known at a time is known of those who are here then.
                episodes.leave_rule(&rule.name, &self.leaving);
            }
            if let Some(Outcome { rows: Ok(rows), samples, clear, .. }) = outcome {
                // A sample is of a time at which its patient was here, or it would be nobody's.
                let here = (rule.judged == Judged::ByBatch)
                    .then(|| state.attaching.of_present(rows, &plan.samples.key, moment.event_now));
                let rows = here.as_ref().unwrap_or(rows);
                let conditions = Findings { rows, samples: samples.as_ref() };
                let clear = clear.as_ref().map(|(rows, samples)| Findings { rows, samples: samples.as_ref() });
                // What its query, or one that it reads, could not compute is not false.
                let elsewhere = if failing.contains_key(&rule.name) { Elsewhere::Unknown } else { Elsewhere::False };
                episodes.judge(rule, &wardwatch_alert::Rows { conditions, clear, elsewhere }, &moment);
            }
        }
        begun.iter().for_each(|begun| begun.judge(episodes, &moment, &state.memory.composer));
        episodes.end_stays(rules, &moment);
        episodes.let_time_pass_until(rules, &self.leaving, &moment);
        episodes.leave(&self.leaving);
        failing.keys().for_each(|rule| episodes.hold_ends(rule));
        episodes.let_time_pass(rules, &moment);
        let nobodys = state.attaching.nobodys().into_iter().map(|(patient, (text, _))| (patient, text));
        episodes.judge_unattached(&nobodys.collect(), &moment);
        let lost = self.batch.lost.iter().map(|(partition, range)| (plan.topics.show(*partition), *range));
        episodes.judge_lost(&lost.collect::<Vec<_>>(), &moment);
        episodes.judge_reference_lost(&state.lost_references, &moment);
        state.coverage.is_due(self.now).then(|| {
            let (unread, wards) = (self.unread(&plan.topics), state.attaching.wards(plan, moment.event_now));
            // A result of yesterday does not make up for a monitor that is not read.
            let is_of_first = |column: &str| plan.job.source.columns.get(column).is_some();
            let valid_for = |column: &str| if is_of_first(column) { plan.valid_for(column) } else { Duration::ZERO };
            let counts = |patient: &str| state.memory.streams.has_valid_value(patient, &self.arrivals, &valid_for);
            let mut others = state.coverage.others((&state.memory.streams, rules), &counts, &state.attaching, self.now);
            others.extend(state.not_begun());
            others.extend(state.coverage.late(plan, &state.memory.streams, self.now));
            let rejected = state.coverage.why_rejected();
            let watch = Watch {
                rules,
                moment: &moment,
                valid_for: plan,
                bad_values: state.coverage.bad_values(),
                rejected: &rejected,
                failing: &failing,
                unread: &unread,
                wards: &wards,
                others: &others,
            };
            let unjudged = watch.unjudged(episodes);
            watch.judge(episodes, &unjudged);
            let at_fault = state.tables.at_fault();
            episodes.judge_tables(at_fault.iter().map(|fault| (fault.table.as_str(), fault.reason.as_str())), &moment);
            episodes.judge_unread(&unread, &moment);
            episodes.judge_incomplete(state.coverage.incomplete(), &moment);
            episodes.judge_host_clock(state.clock_behind, &moment);
            episodes.judge_references(state.reference_fault.as_deref(), &moment);
            episodes.judge_limits(&plan.lost_defaults(moment.event_now), &moment);
            episodes.judge_doubtful(&state.coverage.doubtful(plan, &state.memory.streams), &moment);
            episodes.judge_rejected(&state.coverage.rejected(), &moment);
            unjudged
        })
    }

    /// Takes note of how queries fared with this batch. Returns what failed, and the queries whose state has changed.
    pub(super) fn note_failures(
        &self,
        plan: &Plan,
        outcomes: &[Outcome],
        quarantine: &mut Quarantine,
    ) -> (Vec<Failed>, Vec<QueryState>) {
        let windows_last = |query: &str| {
            TimeDelta::from_std(plan.engine.windows_last(query) + plan.job.source.lateness).unwrap_or(TimeDelta::MAX)
        };
        quarantine.note(outcomes, &plan.reads(), &windows_last, (self.id, self.now))
    }

    /// What the source could not read, each since when by the job's clock.
    pub(super) fn unread(&self, topics: &Topics) -> Unread {
        let since = |stands: &Standstill| {
            let lasts = TimeDelta::from_std(stands.lasts).unwrap_or(TimeDelta::zero());
            (self.now - lasts, stands.reason.clone())
        };
        let source::Unread { kafka_away, stalled } = &self.batch.unread;
        Unread {
            kafka_away: kafka_away.as_ref().map(since),
            stalled: stalled
                .iter()
                .map(|(partition, stands)| {
                    let (since, reason) = since(stands);
                    (*partition, StalledPartition { shown: topics.show(*partition), since, reason })
                })
                .collect(),
        }
    }
}

/// Leaves out what a late sample of somebody who has left says again: of that time there is an alert that ended when they left.
fn leave_out_known(
    episodes: &mut OpenEpisodes,
    leaving: &Leaving,
    store: &mut Store,
    options: &RunOptions<'_>,
) -> Result<(), RunError> {
    let found_late = episodes.begun_of(leaving);
    if found_late.is_empty() {
        return Ok(());
    }
    let known = options.retry().until_done(|| store.overlapped_by_left(&found_late))?;
    known.iter().for_each(|episode| episodes.take_back(episode));
    let new = found_late.len() - known.len();
    if new > 0 {
        warn!(
            episodes = new,
            "late records tell of alerts of patients who have left; they stand in alerts, ended as left"
        );
    }
    Ok(())
}

/// Gives an episode that has just begun another name than any that the store has: what is over, and who acknowledged it, stays.
fn tell_apart(episodes: &mut OpenEpisodes, store: &mut Store, options: &RunOptions<'_>) -> Result<(), RunError> {
    let mut new = episodes.begun();
    while !new.is_empty() {
        let known = options.retry().until_done(|| store.known_episodes(&new))?;
        if !known.is_empty() {
            info!(episodes = known.len(), "episodes begin when others of their rule and patient began; both are kept");
        }
        new = known.iter().map(|key| episodes.begin_just_before(key)).collect();
    }
    Ok(())
}
