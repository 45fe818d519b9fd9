//! Technical alerts of the job's own: not of a query's rows, but of what the job knows of itself.
//!
//! Such an alert fires at once and ends at once, and stands in `alerts` beside those of rules, so that the page, receivers
//! and reports need not know the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use wardwatch_model::terms::{OffsetRange, Partition, Severity};
use wardwatch_model::topics::ShownPartition;

use super::episode::{End, Episode, EpisodeId, Event, EventKind, Handling, Peak, State};
use super::lifecycle;
use super::moment::Moment;
use super::standing::OpenEpisodes;
use super::system_rules::{
    HOST_CLOCK, HOST_CLOCK_TOLERANCE, KAFKA_AWAY, LIMIT_MISSING, PARTITION_STALLED, RECORDS_LOST, REFERENCE_LOST,
    REFERENCE_UNREAD, STORE_AWAY, TABLE_INCOMPLETE, UNATTACHED,
};

impl OpenEpisodes {
    /// Has the alert `rule` of the job's own stand for `patients`, and for nobody else.
    ///
    /// `text` is asked for what to tell of a patient of whom it begins; the empty patient is the ward. An alert that stands
    /// already stays as it is, so that nothing is written for it.
    pub(super) fn stand(
        &mut self,
        rule: &str,
        patients: &BTreeSet<&str>,
        text: &dyn Fn(&str) -> String,
        (now, event_now): (DateTime<Utc>, DateTime<Utc>),
    ) {
        let standing = self.rules.get(rule).into_iter().flatten();
        let live: BTreeSet<Arc<str>> =
            standing.filter(|(_, standing)| standing.live.is_some()).map(|(patient, _)| Arc::clone(patient)).collect();
        let begins = patients.iter().filter(|patient| !live.contains(**patient));
        let ends = live.iter().filter(|patient| !patients.contains(&***patient));
        let steps: Vec<(&str, bool)> =
            begins.map(|patient| (*patient, true)).chain(ends.map(|patient| (&**patient, false))).collect();
        if steps.is_empty() {
            return;
        }
        for (patient, is_true) in steps {
            let standing = self.rules.get_mut(rule).and_then(|patients| patients.get_mut(patient));
            let before = standing.and_then(|standing| standing.live.take());
            let mut events = Vec::new();
            let episode = match before {
                None if is_true => fire(rule, patient, &text(patient), (now, event_now), &mut events),
                None => continue,
                Some(before) => {
                    let mut episode = Arc::unwrap_or_clone(before);
                    episode.cleared_at = Some(event_now.max(episode.known_at));
                    lifecycle::end(&mut episode, End::Cleared, event_now, &mut events);
                    episode
                }
            };
            self.record(Arc::new(episode), events);
        }
    }
}

/// What cannot be read of the topics: each since when, and why as far as anybody says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unread {
    /// Kafka does not answer, or with what this says: that there is no such topic.
    pub kafka_away: Option<(DateTime<Utc>, String)>,
    /// The partitions of which nothing is read.
    pub stalled: BTreeMap<Partition, StalledPartition>,
}

/// A partition of which nothing is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StalledPartition {
    /// As people know it.
    pub shown: ShownPartition,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Why, as far as anybody says.
    pub reason: String,
}

impl OpenEpisodes {
    /// Has technical alerts of the ward stand while Kafka does not answer, and while partitions are not read.
    pub fn judge_unread(&mut self, unread: &Unread, moment: &Moment<'_>) {
        let times = (moment.now, moment.event_now);
        let ward = |stands: bool| if stands { BTreeSet::from([""]) } else { BTreeSet::new() };
        let away = |_: &str| {
            let (since, says) = unread.kafka_away.clone().unwrap_or((moment.now, String::new()));
            let what = match says.is_empty() {
                true => format!("Kafka has not answered since {}", written(since)),
                false => format!("nothing has been read of Kafka since {}, {says}", written(since)),
            };
            format!("{what}: no new value comes, so no alarm is judged")
        };
        self.stand(KAFKA_AWAY, &ward(unread.kafka_away.is_some()), &away, times);
        let stalled = |_: &str| {
            let told = unread.stalled.values().map(|StalledPartition { shown, since, reason }| {
                format!("partition {shown} since {}, {reason}", written(*since))
            });
            format!("records wait that cannot be read: {}", told.collect::<Vec<_>>().join("; "))
        };
        self.stand(PARTITION_STALLED, &ward(!unread.stalled.is_empty()), &stalled, times);
    }

    /// Has a technical alert of the ward tell that Kafka had deleted records before they were read: what they said of patients nobody
    /// can know any more.
    pub fn judge_lost(&mut self, lost: &[(ShownPartition, OffsetRange)], moment: &Moment<'_>) {
        let of = |(partition, range): &(ShownPartition, OffsetRange)| {
            format!("{} of partition {partition}, from offset {} on", range.end.0 - range.start.0, range.start)
        };
        let told = lost.iter().map(of).collect::<Vec<_>>().join("; ");
        let text = format!("Kafka had deleted records before they were read: {told}. No alarm was judged by them");
        self.stand_until_seen(RECORDS_LOST, (!lost.is_empty()).then_some(text), moment);
    }

    /// Has a technical alert of the ward tell that reference tables were not there any more, and were made from their seeds: `tables`,
    /// each with how many changes people had made in it.
    pub fn judge_reference_lost(&mut self, tables: &[(String, u64)], moment: &Moment<'_>) {
        let of = |(table, changes): &(String, u64)| format!("\"{table}\", in which people had made {changes} changes");
        let told = tables.iter().map(of).collect::<Vec<_>>().join("; ");
        let text = format!(
            "reference tables were gone and are as their seeds are now: {told}. What they set does not count any more"
        );
        self.stand_until_seen(REFERENCE_LOST, (!tables.is_empty()).then_some(text), moment);
    }

    /// Has an alert of the ward begin where there is something to tell, and stand until somebody acknowledges it, or for a day.
    fn stand_until_seen(&mut self, rule: &str, told: Option<String>, moment: &Moment<'_>) {
        const TOLD_FOR: TimeDelta = TimeDelta::days(1);
        let times = (moment.now, moment.event_now);
        let standing = self.rules.get(rule).and_then(|patients| patients.get(""));
        let live = standing.and_then(|standing| standing.live.as_deref());
        let is_over = |episode: &Episode| {
            let is_old = moment.event_now - episode.started_at >= TOLD_FOR;
            told.is_some() || episode.handling.acknowledged.is_some() || is_old
        };
        if live.is_some_and(is_over) {
            self.stand(rule, &BTreeSet::new(), &|_| String::new(), times);
        }
        if let Some(text) = told {
            self.stand(rule, &BTreeSet::from([""]), &|_| text.clone(), times);
        }
    }

    /// Writes down that the store did not answer from one time to another, by the job's clock: an alert of the ward that is over.
    /// Whoever had to be told was told from memory.
    pub fn note_outage(&mut self, (since, until): (DateTime<Utc>, DateTime<Utc>)) {
        let text = format!("the store took nothing until {}: no alarm was judged, and nothing stored", written(until));
        let mut events = Vec::new();
        let mut episode = fire(STORE_AWAY, "", &text, (since, since), &mut events);
        episode.cleared_at = Some(until);
        lifecycle::end(&mut episode, End::Cleared, until, &mut events);
        self.record(Arc::new(episode), events);
    }

    /// Has a technical alert of the ward stand while tables lack rows for good: `told` says which, and is empty while none do.
    pub fn judge_incomplete(&mut self, told: &str, moment: &Moment<'_>) {
        let ward = if told.is_empty() { BTreeSet::new() } else { BTreeSet::from([""]) };
        self.stand(TABLE_INCOMPLETE, &ward, &|_| told.to_owned(), (moment.now, moment.event_now));
    }

    /// Has a technical alert of the ward stand while reference tables cannot be read again, for this reason.
    pub fn judge_references(&mut self, fault: Option<&str>, moment: &Moment<'_>) {
        let ward = if fault.is_some() { BTreeSet::from([""]) } else { BTreeSet::new() };
        let text = |_: &str| {
            format!(
                "reference tables cannot be read, so limits and the like count as they were: {}",
                fault.unwrap_or_default()
            )
        };
        self.stand(REFERENCE_UNREAD, &ward, &text, (moment.now, moment.event_now));
    }

    /// Has a technical alert of the ward stand while vitals lack the default limit that the set gives them: `lost` says which.
    pub fn judge_limits(&mut self, lost: &[String], moment: &Moment<'_>) {
        let ward = if lost.is_empty() { BTreeSet::new() } else { BTreeSet::from([""]) };
        let text = |_: &str| {
            let lost = lost.join(", ");
            format!("no default limit of {lost}: no alarm comes by it, but perhaps for who has a narrower one")
        };
        self.stand(LIMIT_MISSING, &ward, &text, (moment.now, moment.event_now));
    }

    /// Has a technical alert of the ward stand while the clock of the job's machine is behind its last batch, by so much.
    pub fn judge_host_clock(&mut self, behind: Option<TimeDelta>, moment: &Moment<'_>) {
        let worth_telling = behind.filter(|behind| *behind > HOST_CLOCK_TOLERANCE);
        let ward = if worth_telling.is_some() { BTreeSet::from([""]) } else { BTreeSet::new() };
        let text = |_: &str| {
            let seconds = worth_telling.map_or(0, |behind| behind.num_seconds());
            format!(
                "the clock of wardwatch's machine is {seconds} s behind the last batch; time passes a tenth slower until it agrees"
            )
        };
        self.stand(HOST_CLOCK, &ward, &text, (moment.now, moment.event_now));
    }

    /// Has a technical alert stand while records come that are nobody's: of patients who have left, or of the ward, each with what to
    /// tell. Where others are nobody's than those that it tells of, it is told anew.
    pub fn judge_unattached(&mut self, texts: &BTreeMap<Arc<str>, String>, moment: &Moment<'_>) {
        // Devices that are switched on together are told of together.
        const STANDS_FOR: TimeDelta = TimeDelta::seconds(30);
        let mut patients: BTreeSet<&str> = texts.keys().map(AsRef::as_ref).collect();
        let standing = self.rules.get(UNATTACHED).and_then(|patients| patients.get("")?.live.as_deref());
        let is_other = |live: &Episode| {
            let is_old = moment.event_now - live.started_at >= STANDS_FOR;
            is_old && texts.get("").is_some_and(|text| **text != *live.text)
        };
        if standing.is_some_and(is_other) {
            patients.remove("");
            self.stand(UNATTACHED, &patients, &|_| String::new(), (moment.now, moment.event_now));
            patients.insert("");
        }
        let text = |patient: &str| texts.get(patient).cloned().unwrap_or_default();
        self.stand(UNATTACHED, &patients, &text, (moment.now, moment.event_now));
    }
}

/// A time as texts have it.
pub(super) fn written(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// An alert of ours as it begins: it has fired.
fn fire(
    rule: &str,
    patient: &str,
    text: &str,
    (now, at): (DateTime<Utc>, DateTime<Utc>),
    events: &mut Vec<Event>,
) -> Episode {
    let text: Arc<str> = text.into();
    let mut episode = Episode {
        id: EpisodeId::of(rule, patient, at),
        rule: rule.into(),
        patient: patient.into(),
        severity: Severity::Technical,
        state: State::Firing,
        started_at: at,
        firing_at: Some(at),
        last_at: at,
        known_at: at,
        clear_since: None,
        cleared_at: None,
        ended_at: None,
        end: None,
        samples: 1,
        peak: Peak { value: None, limit: None, at, text: Arc::clone(&text) },
        text: Arc::clone(&text),
        stale_at: None,
        suppressed_by: None,
        tracks: Vec::new(),
        handling: Handling { fired_now: Some(now), ..Handling::default() },
        events: 0,
    };
    episode.note(events, at, EventKind::Pending, &text);
    episode.note(events, at, EventKind::Firing, &text);
    episode
}
