//! The technical alerts of the job's own that follow from streams, and from what nobody judges.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;

use super::super::moment::Moment;
use super::super::standing::OpenEpisodes;
use super::super::streams::{CLOCK_TOLERANCE, Clock};
use super::super::system::written;
use super::super::system_rules::{
    CLOCK_AHEAD, CLOCK_DIFFERS, CLOCK_STEP, DEVICES_DISAGREE, DOUBTFUL, REJECTED, TABLE_AT_FAULT, UNJUDGED,
};
use super::super::{Episode, Holds, State, Track};
use super::{EVERY_RULE, Unjudged, Watch, Why, names};

/// An event time further ahead of Kafka's stamp, or of the job's clock, than this is told of.
const AHEAD: TimeDelta = TimeDelta::seconds(30);

/// Whose records come so long after their times, but not by so much that they are of the past, is told of.
const BEHIND: (TimeDelta, TimeDelta) = (TimeDelta::seconds(30), TimeDelta::hours(24));

/// A clock that stands still for longer than this is told of: one may tell whole minutes only.
const STANDS_STILL: TimeDelta = TimeDelta::seconds(90);

/// A clock that was set is told of for so long.
const STEP_IS_TOLD: TimeDelta = TimeDelta::minutes(10);

/// Devices that say different things for longer than this are told of.
const DISAGREE_AFTER: TimeDelta = TimeDelta::seconds(30);

/// That a vital has no value is left for so long to technical rules, which see it with the next batch.
const MAY_YET_BE_TOLD: TimeDelta = TimeDelta::seconds(2);

impl Watch<'_> {
    /// Has the technical alerts of the job's own stand that follow from streams and from `unjudged`.
    pub fn judge(&self, open: &mut OpenEpisodes, unjudged: &[Unjudged]) {
        let times = (self.moment.now, self.moment.event_now);
        let standing = open.rules.get(UNJUDGED).into_iter().flatten();
        let standing = standing.filter_map(|(patient, standing)| Some((patient, &standing.live.as_ref()?.text)));
        let standing: HashMap<Arc<str>, Arc<str>> =
            standing.map(|(patient, text)| (Arc::clone(patient), Arc::clone(text))).collect();
        let mut stand = |rule: &str, texts: BTreeMap<Arc<str>, String>| {
            let patients: BTreeSet<&str> = texts.keys().map(AsRef::as_ref).collect();
            open.stand(rule, &patients, &|patient| texts.get(patient).cloned().unwrap_or_default(), times);
        };
        let untold = self.untold(unjudged);
        // Of a rule that is not judged any more either, people are told too: the alert that does not name it gives way.
        let told = untold.iter().filter(|(patient, untold)| {
            standing.get(*patient).is_none_or(|text| untold.rules.iter().all(|rule| names(text, rule)))
        });
        stand(UNJUDGED, told.map(|(patient, untold)| (Arc::clone(patient), untold.text.clone())).collect());
        stand(UNJUDGED, untold.into_iter().map(|(patient, untold)| (patient, untold.text)).collect());
        let ClockTexts { step, ahead, differs } = self.clock_texts();
        stand(CLOCK_STEP, step);
        stand(CLOCK_AHEAD, ahead);
        stand(CLOCK_DIFFERS, differs);
        let disagree = self.disagreeing(open);
        let mut stand = |rule: &str, texts: BTreeMap<Arc<str>, String>| {
            let patients: BTreeSet<&str> = texts.keys().map(AsRef::as_ref).collect();
            open.stand(rule, &patients, &|patient| texts.get(patient).cloned().unwrap_or_default(), times);
        };
        stand(DEVICES_DISAGREE, disagree);
    }

    /// What is to be told of patients that nothing else tells, once it has lasted for a moment.
    fn untold(&self, unjudged: &[Unjudged]) -> BTreeMap<Arc<str>, Untold> {
        let mut found: BTreeMap<Arc<str>, Untold> = BTreeMap::new();
        for of_patient in unjudged.chunk_by(|one, next| one.patient == next.patient) {
            let untold: Vec<&Unjudged> = of_patient.iter().filter(|unjudged| self.is_untold(unjudged)).collect();
            let Some(first) = untold.iter().min_by_key(|unjudged| unjudged.since) else { continue };
            // Rules of one cause together, the one that has lasted for longest first.
            let mut causes: Vec<(String, Vec<&Unjudged>)> = Vec::new();
            for unjudged in &untold {
                let last = unjudged.judged_until.map(|at| format!(", last at {}", written(at)));
                let why = format!("{}{}", unjudged.why(), last.unwrap_or_default());
                match causes.iter_mut().find(|(known, _)| *known == why) {
                    Some((_, of)) => of.push(unjudged),
                    None => causes.push((why, vec![unjudged])),
                }
            }
            causes.sort_by_key(|(_, of)| of.iter().map(|unjudged| unjudged.since).min());
            let told: Vec<String> = causes.iter().map(|(why, of)| format!("{}: {why}", rules_of(of))).collect();
            let rules = untold.iter().map(|unjudged| rules_of(&[*unjudged])).collect();
            let text = format!("not judged by {}", told.join("; "));
            found.insert(Arc::clone(&first.patient), Untold { text, rules });
        }
        found
    }

    fn is_untold(&self, unjudged: &Unjudged) -> bool {
        let may_yet_be_told = matches!(unjudged.cause, Why::BadValue | Why::NoValue)
            && self.moment.now - unjudged.since < MAY_YET_BE_TOLD;
        !unjudged.cause.is_told_elsewhere() && unjudged.told_by.is_none() && !may_yet_be_told
    }

    /// Clocks that were set, that are ahead or behind, and that differ between the devices of a patient.
    fn clock_texts(&self) -> ClockTexts {
        let (mut step, mut ahead, mut behind) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut delays: BTreeMap<&Arc<str>, [i64; 2]> = BTreeMap::new();
        for clock in self.moment.streams.clocks() {
            let Some(arrived) = self.moment.arrivals.of(clock.partition.0) else { continue };
            if let Some(set) = clock.stepped.filter(|set| within(arrived, set.stamped, STEP_IS_TOLD)) {
                let way = if set.by < 0 { "back" } else { "ahead" };
                let text = format!("the clock of {} was set {way} by {}", device(&clock), length(set.by));
                step.insert(Arc::clone(clock.patient), text);
            }
            if !within(arrived, clock.stamped, DISAGREE_AFTER) {
                continue;
            }
            if let Some(stood) =
                clock.stood_for.filter(|stood| *stood >= STANDS_STILL.num_microseconds().unwrap_or(i64::MAX))
            {
                let text = format!("the clock of {} has stood still for {}", device(&clock), length(stood));
                behind.insert(Arc::clone(clock.patient), text);
                continue;
            }
            let [least, most] = clock.delays;
            if least < -AHEAD.num_microseconds().unwrap_or(i64::MAX) {
                let text = format!("the clock of {} is {} ahead", device(&clock), length(least));
                ahead.insert(Arc::clone(clock.patient), text);
            }
            if (BEHIND.0..BEHIND.1).contains(&TimeDelta::microseconds(most)) {
                let text =
                    format!("{} is {} behind: its clock, or what it sends is held up", device(&clock), length(most));
                behind.insert(Arc::clone(clock.patient), text);
            }
            let range = delays.entry(clock.patient).or_insert([least, most]);
            *range = [range[0].min(least), range[1].max(most)];
        }
        let differs = delays.into_iter().filter(|(_, [least, most])| most.saturating_sub(*least) > CLOCK_TOLERANCE);
        let differs = differs.map(|(patient, [least, most])| {
            let apart = length(most.saturating_sub(least));
            (Arc::clone(patient), format!("the clocks of the patient's devices are {apart} apart"))
        });
        behind.extend(differs);
        ClockTexts { step, ahead, differs: behind }
    }

    /// The patients of whom two streams have said different things for too long.
    fn disagreeing(&self, open: &OpenEpisodes) -> BTreeMap<Arc<str>, String> {
        let standing = open.iter().filter(|episode| episode.state == State::Firing && episode.tracks.len() > 1);
        let told = standing.filter_map(|episode| Some((Arc::clone(&episode.patient), self.disagreement(episode)?)));
        told.collect()
    }

    fn disagreement(&self, episode: &Episode) -> Option<String> {
        let lasting = |holds: Holds| {
            episode.tracks.iter().filter(move |track| {
                let now = self.moment.clock(track);
                let is_live = now.is_some_and(|now| now < track.valid_until && now - track.since >= DISAGREE_AFTER);
                track.holds == holds && track.stream.is_some() && is_live
            })
        };
        // A device whose clock was set has said two things, one after the other.
        let device = |track: &Track| track.stream.as_ref().map(|id| Arc::clone(&id.device));
        let are_apart =
            |one: &Track, other: &Track| device(one) != device(other) || device(one).is_none_or(|name| name.is_empty());
        let (says, denies) = lasting(Holds::Yes)
            .find_map(|says| lasting(Holds::No).find(|denies| are_apart(says, denies)).map(|denies| (says, denies)))?;
        let is_named = |track: &Track| track.stream.as_ref().is_some_and(|stream| !stream.device.is_empty());
        if !is_named(says) && !is_named(denies) {
            let rule = &episode.rule;
            return Some(format!("one device says {rule}, another does not; records do not name them"));
        }
        let name = |track: &Track| match &track.stream {
            Some(stream) if !stream.device.is_empty() => format!("device \"{}\"", stream.device),
            _ => "a device without a name".to_owned(),
        };
        Some(format!("{} says {}, {} does not", name(says), episode.rule, name(denies)))
    }
}

/// The names of rules, in words.
fn rules_of(unjudged: &[&Unjudged]) -> String {
    let names: Vec<&str> = unjudged.iter().map(|unjudged| unjudged.rule.as_str()).collect();
    if names.contains(&EVERY_RULE) { "any rule".to_owned() } else { names.join(", ") }
}

/// What nothing else tells of a patient, and of which rules.
struct Untold {
    text: String,
    rules: Vec<String>,
}

/// What to tell of clocks, by patient.
struct ClockTexts {
    step: BTreeMap<Arc<str>, String>,
    ahead: BTreeMap<Arc<str>, String>,
    differs: BTreeMap<Arc<str>, String>,
}

impl OpenEpisodes {
    /// Has a technical alert stand for the patients of whom no record can be read, each with what to tell.
    pub fn judge_rejected(&mut self, texts: &BTreeMap<Arc<str>, String>, moment: &Moment<'_>) {
        let patients: BTreeSet<&str> = texts.keys().map(AsRef::as_ref).collect();
        let text = |patient: &str| texts.get(patient).cloned().unwrap_or_default();
        self.stand(REJECTED, &patients, &text, (moment.now, moment.event_now));
    }

    /// Has a technical alert stand for the patients with a doubtful value that no rule reads, each with what to tell.
    pub fn judge_doubtful(&mut self, texts: &BTreeMap<Arc<str>, String>, moment: &Moment<'_>) {
        let patients: BTreeSet<&str> = texts.keys().map(AsRef::as_ref).collect();
        let text = |patient: &str| texts.get(patient).cloned().unwrap_or_default();
        self.stand(DOUBTFUL, &patients, &text, (moment.now, moment.event_now));
    }

    /// Has a technical alert of the ward stand while tables do not take their rows: they with the reasons.
    pub fn judge_tables<'a>(&mut self, at_fault: impl Iterator<Item = (&'a str, &'a str)>, moment: &Moment<'_>) {
        let told: Vec<String> = at_fault.map(|(table, reason)| format!("{table}: {reason}")).collect();
        let ward = if told.is_empty() { BTreeSet::new() } else { BTreeSet::from([""]) };
        let text = |_: &str| format!("tables do not take their rows, which wait: {}", told.join("; "));
        self.stand(TABLE_AT_FAULT, &ward, &text, (moment.now, moment.event_now));
    }
}

/// Whether `at` is no longer than `length` before `now`, both stamps in microseconds.
fn within(now: i64, at: i64, length: TimeDelta) -> bool {
    now.saturating_sub(at) < length.num_microseconds().unwrap_or(i64::MAX)
}

fn device(clock: &Clock<'_>) -> String {
    if clock.device.is_empty() { "the device".to_owned() } else { format!("device \"{}\"", clock.device) }
}

/// A length of time in words, whichever way it goes.
fn length(micros: i64) -> String {
    let seconds = (micros.unsigned_abs() + 500_000) / 1_000_000;
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}
