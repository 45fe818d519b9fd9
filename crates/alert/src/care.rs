//! What follows, in processing time, from alerts standing: who is to be told, reminded, or called because nobody came.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use wardwatch_config::{AlertSpec, Outlet, OutletKind, When};

use super::episode::{End, Episode, EpisodeId, Event, EventKind, State};
use super::rule::Rule;
use super::standing::OpenEpisodes;
use super::unreached::Reach;
use super::wards::Wards;

/// Something that people are to be told of an episode.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// The episode as it is now.
    pub episode: Arc<Episode>,
    /// What there is to tell.
    pub kind: NoticeKind,
    /// Which of the episode's notices, counted from 1.
    pub number: u32,
}

/// What there is to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoticeKind {
    /// It fires.
    Firing,
    /// Nobody has acknowledged it: for these outlets only.
    Escalated(Vec<String>),
    /// It was acknowledged, and persists.
    Reminder,
    /// It is over. For those who were told that it fires, and for these outlets that were called.
    Resolved(Vec<String>),
}

impl NoticeKind {
    /// The name used in the store and in messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Escalated(_) => "escalated",
            Self::Reminder => "reminder",
            Self::Resolved(_) => "resolved",
        }
    }
}

impl OpenEpisodes {
    /// What people are to be told at `now`. After the batch's rules and actions.
    ///
    /// An episode that is silenced or paused is told when the quiet ends, if it still stands then; one that was over
    /// before anybody could be told is not told at all. Where nobody was reached, the next are called at once.
    pub fn notices(
        &mut self,
        rules: &[Rule],
        policy: &AlertSpec,
        wards: &Wards,
        reach: &Reach<'_>,
        now: DateTime<Utc>,
    ) -> Vec<Notice> {
        let mut notices = Vec::new();
        let over = self.changes_of_ended();
        let standing = self.rules.values().flat_map(|patients| patients.values());
        let standing = standing.flat_map(|standing| standing.latched.iter().chain(&standing.live)).cloned();
        let all: Vec<Arc<Episode>> = over.into_iter().chain(standing).collect();
        for episode in all {
            let is_quiet = self.silences.iter().any(|silence| silence.hides(&episode, wards, now));
            let repeat = rules.iter().find(|rule| *rule.name == *episode.rule).and_then(|rule| rule.header.repeat);
            let due = due(&episode, is_quiet, repeat, policy, reach, now);
            if due.is_empty() {
                continue;
            }
            let mut episode = Arc::unwrap_or_clone(episode);
            let mut events: Vec<Event> = Vec::new();
            let first = episode.handling.notices + 1;
            for kind in &due {
                episode.tell(kind, now, &mut events);
            }
            let episode = Arc::new(episode);
            self.record(Arc::clone(&episode), events);
            let numbered = due.into_iter().zip(first..);
            notices.extend(numbered.map(|(kind, number)| Notice { episode: Arc::clone(&episode), kind, number }));
        }
        notices
    }
}

/// What there is to tell of an episode.
fn due(
    episode: &Episode,
    is_quiet: bool,
    repeat: Option<Duration>,
    policy: &AlertSpec,
    reach: &Reach<'_>,
    now: DateTime<Utc>,
) -> Vec<NoticeKind> {
    let handling = &episode.handling;
    let called = || {
        let steps = policy.escalation.iter().take(handling.escalated as usize);
        steps.flat_map(|step| step.to.clone()).collect()
    };
    if episode.state == State::Ended {
        return if handling.told { vec![NoticeKind::Resolved(called())] } else { Vec::new() };
    }
    if is_quiet || !episode.state.is_shown() {
        return Vec::new();
    }
    let mut due = Vec::new();
    if !handling.told {
        due.push(NoticeKind::Firing);
    }
    match &handling.acknowledged {
        None => {
            let steps = policy.escalation.iter().skip(handling.escalated as usize);
            let fired = handling.fired_now.unwrap_or(now);
            let passed = steps.clone().take_while(|step| has_passed(step.after, fired, now)).count();
            let steps = steps.take(passed.max(reach.steps_at_once(episode, policy)));
            due.extend(steps.map(|step| {
                let to = if episode.severity >= step.severity { step.to.clone() } else { Vec::new() };
                NoticeKind::Escalated(to)
            }));
        }
        Some(acknowledged) if episode.state == State::Firing => {
            let since = handling.reminded_at.unwrap_or(acknowledged.at).max(acknowledged.at);
            if repeat.is_some_and(|repeat| has_passed(repeat, since, now)) {
                due.push(NoticeKind::Reminder);
            }
        }
        Some(_) => {}
    }
    due
}

fn has_passed(length: Duration, since: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    TimeDelta::from_std(length).is_ok_and(|length| now - since >= length)
}

impl Episode {
    /// Takes note that people are being told.
    fn tell(&mut self, kind: &NoticeKind, now: DateTime<Utc>, events: &mut Vec<Event>) {
        self.handling.notices += 1;
        match kind {
            NoticeKind::Firing => self.handling.told = true,
            NoticeKind::Escalated(to) => {
                self.handling.escalated += 1;
                if !to.is_empty() {
                    self.note(events, now, EventKind::Escalated, &to.join(", "));
                }
            }
            NoticeKind::Reminder => {
                self.handling.reminded_at = Some(now);
                self.note(events, now, EventKind::Reminded, "");
            }
            NoticeKind::Resolved(_) => self.handling.told = false,
        }
    }
}

/// One notice for one outlet, as it stands in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// By which a receiver knows one that comes twice.
    pub id: String,
    /// The outlet.
    pub outlet: String,
    /// Which of the episode's notices it is.
    pub number: u32,
    /// What it tells.
    pub facts: Facts,
}

/// By what a receiver knows a notice of an episode: a notice is for a receiver once at most.
#[must_use]
pub fn notification_id(episode: &EpisodeId, number: u32, outlet: &str) -> String {
    format!("{episode}-{number}-{outlet}")
}

/// What a message can tell. Times are RFC 3339, in UTC; what is not known is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Facts {
    /// The job.
    pub job: String,
    /// `firing`, `escalated`, `reminder` or `resolved`.
    pub kind: String,
    /// The episode's id.
    pub episode: String,
    /// Its rule.
    pub rule: String,
    /// Its patient.
    pub patient: String,
    /// The patient's ward.
    pub ward: String,
    /// Its severity.
    pub severity: String,
    /// Its state.
    pub state: String,
    /// Its text as it fired.
    pub text: String,
    /// The text of its worst sample so far.
    pub peak: String,
    /// When its condition became true.
    pub started_at: String,
    /// When it fired.
    pub firing_at: String,
    /// When its condition was true last.
    pub last_at: String,
    /// When its condition was gone.
    pub cleared_at: String,
    /// When it was over.
    pub ended_at: String,
    /// Why.
    pub end_reason: String,
    /// Who has acknowledged it.
    pub acknowledged_by: String,
    /// With what note.
    pub note: String,
    /// Whether nothing has been known of it for too long.
    pub is_stale: bool,
}

impl Facts {
    /// What there is to tell of an episode.
    #[must_use]
    pub fn of(job: &str, kind: &str, episode: &Episode, wards: &Wards) -> Self {
        let time = |at: Option<DateTime<Utc>>| at.map(|at| at.to_rfc3339_opts(SecondsFormat::AutoSi, true));
        let acknowledged = episode.handling.acknowledged.as_ref();
        Self {
            job: job.to_owned(),
            kind: kind.to_owned(),
            episode: episode.id.to_string(),
            rule: episode.rule.to_string(),
            patient: episode.patient.to_string(),
            ward: wards.of(&episode.patient).to_owned(),
            severity: episode.severity.name().to_owned(),
            state: episode.state.name().to_owned(),
            text: episode.text.to_string(),
            peak: episode.peak.text.to_string(),
            started_at: time(Some(episode.started_at)).unwrap_or_default(),
            firing_at: time(episode.firing_at).unwrap_or_default(),
            last_at: time(Some(episode.last_at)).unwrap_or_default(),
            cleared_at: time(episode.cleared_at).unwrap_or_default(),
            ended_at: time(episode.ended_at).unwrap_or_default(),
            end_reason: episode.end.map(End::name).unwrap_or_default().to_owned(),
            acknowledged_by: acknowledged.map(|who| who.by.clone()).unwrap_or_default(),
            note: acknowledged.map(|who| who.note.clone()).unwrap_or_default(),
            is_stale: episode.stale_at.is_some(),
        }
    }

    /// As it stands in the outbox.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() // texts and a truth value always have a form in JSON
    }
}

/// Which outlets are told of which notices. Those that are not to identify patients get no patient and nothing that people
/// have written.
#[must_use]
pub fn address(job: &str, outlets: &[Outlet], notices: &[Notice], wards: &Wards) -> Vec<Notification> {
    let is_told = |outlet: &Outlet, notice: &Notice| {
        let always = outlet.when == When::Always && notice.episode.severity >= outlet.severity;
        match &notice.kind {
            _ if matches!(outlet.kind, OutletKind::Heartbeat { .. }) => false,
            NoticeKind::Escalated(to) => to.contains(&outlet.name),
            NoticeKind::Resolved(called) => always || called.contains(&outlet.name),
            NoticeKind::Firing | NoticeKind::Reminder => always,
        }
    };
    let mut notifications = Vec::new();
    for notice in notices {
        for outlet in outlets.iter().filter(|outlet| is_told(outlet, notice)) {
            let mut facts = Facts::of(job, notice.kind.name(), &notice.episode, wards);
            if !outlet.identify {
                facts.patient.clear();
                facts.note.clear();
            }
            notifications.push(Notification {
                id: notification_id(&notice.episode.id, notice.number, &outlet.name),
                outlet: outlet.name.clone(),
                number: notice.number,
                facts,
            });
        }
    }
    notifications
}
