//! Notices that nobody has taken: whom to call next, and the alert that nobody was reached.
//!
//! A notice has reached people once one of the receivers that it is for has taken it; a log is not among them. What stands
//! in the outbox is looked at elsewhere; here are values.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use wardwatch_config::{AlertSpec, EscalationStep, Outlet, When};

use super::episode::{Episode, EpisodeId};
use super::standing::OpenEpisodes;
use super::system_rules::UNREACHED;

/// A notice of the outbox that none of its receivers has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untaken {
    /// The episode.
    pub episode: EpisodeId,
    /// Which of its notices.
    pub number: u32,
    /// Its rule.
    pub rule: String,
    /// Its patient.
    pub patient: String,
    /// What there is to tell.
    pub text: String,
    /// The receivers that it waits for, or waited for.
    pub outlets: BTreeSet<String>,
    /// The `now` of the batch that gave rise to it.
    pub written_at: DateTime<Utc>,
    /// Whether it is not tried any more.
    pub is_given_up: bool,
}

/// What of the outbox nobody had taken when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outstanding {
    /// When that was.
    pub looked_at: DateTime<Utc>,
    /// What nobody had taken, the oldest first. Notices that say that an alert is over, and those of [`UNREACHED`] itself,
    /// are not among them.
    pub notices: Vec<Untaken>,
}

impl Default for Outstanding {
    fn default() -> Self {
        Self { looked_at: DateTime::UNIX_EPOCH, notices: Vec::new() }
    }
}

impl Outstanding {
    /// The notices that nobody has taken for as long as `patience`, up to when they were looked at.
    pub fn unreached(&self, patience: Duration) -> impl Iterator<Item = &Untaken> {
        let patience = TimeDelta::from_std(patience).unwrap_or(TimeDelta::MAX);
        self.notices.iter().filter(move |notice| self.looked_at - notice.written_at >= patience)
    }
}

/// Whom notices have not reached, by episode.
#[derive(Debug)]
pub struct Reach<'a> {
    outlets: &'a [Outlet],
    untaken: HashMap<&'a EpisodeId, Vec<&'a Untaken>>,
}

impl<'a> Reach<'a> {
    /// What is known of these receivers.
    #[must_use]
    pub fn new(outlets: &'a [Outlet], outstanding: &'a Outstanding, patience: Duration) -> Self {
        let mut untaken: HashMap<_, Vec<_>> = HashMap::new();
        for notice in outstanding.unreached(patience) {
            untaken.entry(&notice.episode).or_default().push(notice);
        }
        Self { outlets, untaken }
    }

    /// How many steps of the escalation are to be taken now because whoever was called so far has not been reached: those up
    /// to the first that calls somebody else.
    ///
    /// None, where one of the calls has been taken or may yet be, and where only those are left who are away.
    pub(super) fn steps_at_once(&self, episode: &Episode, policy: &AlertSpec) -> usize {
        let Some(untaken) = self.untaken.get(&episode.id) else { return 0 };
        let numbers: BTreeSet<u32> = untaken.iter().map(|notice| notice.number).collect();
        let away: BTreeSet<&String> = untaken.iter().flat_map(|notice| &notice.outlets).collect();
        let (made, left) =
            policy.escalation.split_at((episode.handling.escalated as usize).min(policy.escalation.len()));
        let at_first = self.outlets.iter().any(|outlet| {
            outlet.kind.reaches_people() && outlet.when == When::Always && episode.severity >= outlet.severity
        });
        let calls =
            usize::from(at_first) + made.iter().filter(|step| self.callees(step, episode).next().is_some()).count();
        if numbers.len() < calls {
            return 0;
        }
        let reaches = |step: &EscalationStep| self.callees(step, episode).any(|name| !away.contains(name));
        left.iter().position(reaches).map_or(0, |last| last + 1)
    }

    /// The receivers with people behind them that a step calls for an episode.
    fn callees<'s>(&'s self, step: &'s EscalationStep, episode: &Episode) -> impl Iterator<Item = &'s String> {
        let is_due = episode.severity >= step.severity;
        let reaches = |name: &&String| self.outlets.iter().any(|o| o.name == **name && o.kind.reaches_people());
        step.to.iter().filter(move |_| is_due).filter(reaches)
    }
}

impl OpenEpisodes {
    /// Has the technical alert [`UNREACHED`] stand for the patients of whom something has not reached anybody, and end for the
    /// others. What is not tried any more counts for as long as its episode stands.
    pub fn judge_unreached(
        &mut self,
        outstanding: &Outstanding,
        outlets: &[Outlet],
        patience: Duration,
        (now, event_now): (DateTime<Utc>, DateTime<Utc>),
    ) {
        let standing: BTreeSet<&EpisodeId> = match outstanding.notices.iter().any(|notice| notice.is_given_up) {
            true => self.iter().map(|episode| &episode.id).collect(),
            false => BTreeSet::new(),
        };
        let unreached = outstanding.unreached(patience);
        let unreached = unreached.filter(|notice| !notice.is_given_up || standing.contains(&notice.episode));
        let mut patients: BTreeMap<&str, Vec<&Untaken>> = BTreeMap::new();
        for notice in unreached {
            patients.entry(&notice.patient).or_default().push(notice);
        }
        let text = |patient: &str| {
            let notices = patients.get(patient).map(Vec::as_slice).unwrap_or_default();
            notices.split_first().map_or_else(String::new, |(oldest, others)| oldest.tell(others.len(), outlets, now))
        };
        self.stand(UNREACHED, &patients.keys().copied().collect(), &text, (now, event_now));
    }
}

impl Untaken {
    /// `nobody was reached: webhook "ward" has not taken "HR 134 > 120" of P1 for 34 s`, with how many others there are of
    /// the patient. The patient is left out where a receiver must not be told of patients.
    #[must_use]
    pub fn tell(&self, others: usize, outlets: &[Outlet], now: DateTime<Utc>) -> String {
        let outlet = |name: &String| {
            let kind = outlets.iter().find(|outlet| outlet.name == *name).map_or("outlet", |outlet| outlet.kind.name());
            format!("{kind} \"{name}\"")
        };
        let names: Vec<String> = self.outlets.iter().map(outlet).collect();
        let have = if names.len() == 1 { "has" } else { "have" };
        let may_name = outlets.iter().all(|outlet| outlet.identify) && !self.patient.is_empty();
        let of = if may_name { format!(" of {}", self.patient) } else { String::new() };
        let seconds = (now - self.written_at).num_seconds();
        let end = if self.is_given_up { ", and it is not tried any more" } else { "" };
        let more = if others == 0 { String::new() } else { format!("; nor {others} more") };
        format!(
            "nobody was reached: {} {have} not taken \"{}\"{of} for {seconds} s{end}{more}",
            names.join(", "),
            self.text
        )
    }
}
