//! Rules are judged by what queries gave on a batch.

use chrono::TimeDelta;

use wardwatch_alert::{
    Findings, Judged, Moment, OpenEpisodes, Rule, Unjudged, Unread, ValidFor, Watch, is_system_rule,
};
use wardwatch_ingest::source::{self, Standstill};
use wardwatch_sql::Outcome;
use wardwatch_store::{Failed, QueryState};

use super::admit::Taken;
use super::plan::Plan;
use super::quarantine::Quarantine;
use super::standing::Standing;
use super::state::JobState;

impl Taken {
    /// Judges every rule that gave rows, and those that begin on what is `standing`. Returns which rules do not judge which patients, where that was found out again.
    pub(super) fn judge(
        &self,
        plan: &Plan,
        rules: &[Rule],
        (outcomes, standing): (&[Outcome], &[Standing]),
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
                episodes.judge(rule, &wardwatch_alert::Rows { conditions, clear }, &moment);
            }
        }
        standing.iter().for_each(|standing| standing.judge(episodes, &moment));
        episodes.end_stays(rules, &moment);
        episodes.let_time_pass_until(rules, &self.leaving, &moment);
        episodes.leave(&self.leaving);
        episodes.let_time_pass(rules, &moment);
        let nobodys = state.attaching.nobodys().into_iter().map(|(patient, (text, _))| (patient, text));
        episodes.judge_unattached(&nobodys.collect(), &moment);
        state.coverage.is_due(self.now).then(|| {
            let failing = quarantine.failing_rules(rules.iter().map(|rule| rule.name.as_str()), &plan.reads());
            let (unread, wards) = (self.unread(), state.attaching.wards(plan, moment.event_now));
            let valid_for = |column: &str| plan.valid_for(column);
            let counts = |patient: &str| state.memory.streams.has_valid_value(patient, &self.arrivals, &valid_for);
            let others = state.coverage.others((&state.memory.streams, rules), &counts, &state.attaching, self.now);
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
    pub(super) fn unread(&self) -> Unread {
        let since = |stands: &Standstill| {
            let lasts = TimeDelta::from_std(stands.lasts).unwrap_or(TimeDelta::zero());
            (self.now - lasts, stands.reason.clone())
        };
        let source::Unread { kafka_away, stalled } = &self.batch.unread;
        Unread {
            kafka_away: kafka_away.as_ref().map(since),
            stalled: stalled.iter().map(|(partition, stands)| (*partition, since(stands))).collect(),
        }
    }
}
