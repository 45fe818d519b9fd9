//! The life of one episode, sample by sample: pure functions from an episode and a sample to the episode after it.
//!
//! ```text
//!           true          held for @for           false, or @clear_when       gone for @clear_after
//!   none ─────────▶ pending ─────────▶ firing ◀──────────────────▶ recovering ─────────▶ ended
//!                      │ false                     true again            │
//!                      ▼                                                 │ nobody acknowledged, and it latches
//!                   dropped                                              ▼
//!                                                                     latched ── acknowledged ──▶ ended
//! ```
//!
//! An episode has a [`Track`] for each stream that its condition was judged in. It is true for the patient while it is
//! true in any: an episode fires as soon as one stream has held it for long enough, and clears when it is gone from all
//! of them. A value holds until the next of its stream, or until it is valid no longer; so a condition fires between two
//! samples, too, when [`pass`] says that so much time has passed.
//!
//! A sample at which the condition cannot be known — no value, or a technical alert that says that the value means
//! nothing — changes no state: it neither clears nor fires. Nor does the end of a value's validity.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::episode::{Acknowledged, End, Episode, EpisodeId, Event, EventKind, Handling, Peak, State};
use super::rule::Rule;
use super::streams::id::StreamId;
use super::track::{Holds, Track};

/// What a rule says at one sample.
pub(super) struct Sample<'a> {
    /// The stream that it is of.
    pub(super) stream: &'a StreamId,
    /// The sample's event time.
    pub(super) at: DateTime<Utc>,
    /// Its stamp, in microseconds.
    pub(super) stamped: i64,
    /// How long it counts without a newer one.
    pub(super) valid_for: TimeDelta,
    /// Whether its device has told of later times before.
    pub(super) is_late: bool,
    /// What it says.
    pub(super) truth: Truth<'a>,
    /// The technical rule by which the condition cannot be judged at the sample.
    pub(super) suppressed_by: Option<&'a str>,
}

/// Whether a condition is true.
pub(super) enum Truth<'a> {
    /// It is.
    True(Evidence<'a>),
    /// It is not, but it is not gone either, by `@clear_when`.
    Between,
    /// It is gone.
    False,
    /// There is no value to judge by.
    Unknown,
}

/// What makes a condition true.
pub(super) struct Evidence<'a> {
    /// The value, where the rule has one.
    pub(super) value: Option<f64>,
    /// The limit that it breaks, where the rule tells it.
    pub(super) limit: Option<f64>,
    /// What to tell people.
    pub(super) text: &'a dyn Fn() -> String,
}

/// How far a stream has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passed {
    /// The time by its clock.
    pub(super) until: DateTime<Utc>,
    /// Whether samples of this very time may still come.
    pub(super) edge: Edge,
}

/// Whether the end of a span belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edge {
    /// It does.
    Closed,
    /// It does not.
    Open,
}

impl Passed {
    /// The last time that has passed.
    fn last(self) -> DateTime<Utc> {
        match self.edge {
            Edge::Closed => self.until,
            Edge::Open => self.until - TimeDelta::microseconds(1),
        }
    }
}

/// Whether streams that the episode has no track of, and that may still say that the condition is true, have come to a time
/// of a track's clock.
pub(super) type OthersPassed<'a> = &'a dyn Fn(&Track, DateTime<Utc>) -> bool;

/// The episode after one more sample, if one is live then or was before. What happened is added to `events`.
///
/// Time up to the sample must have [`pass`]ed. A sample older than the last one of its stream changes nothing.
pub(super) fn step(
    rule: &Rule,
    patient: &str,
    before: Option<Episode>,
    sample: &Sample<'_>,
    others_passed: OthersPassed<'_>,
    events: &mut Vec<Event>,
) -> Option<Episode> {
    let at = sample.at;
    let Some(mut episode) = before else {
        return match (&sample.truth, sample.suppressed_by) {
            (Truth::True(evidence), None) => Some(begin(rule, patient, sample, evidence, events)),
            _ => None,
        };
    };
    let clock = |track: &Track| {
        let now = track.clock(sample.stamped);
        if is_of(track, sample) { now.max(Some(at)) } else { now }
    };
    mark_stale(&mut episode, &clock, events);
    mark_suppressed(&mut episode, sample.suppressed_by, at, events);
    let holds = match &sample.truth {
        Truth::True(_) => Holds::Yes,
        Truth::Between => Holds::Between,
        Truth::False => Holds::No,
        Truth::Unknown => {
            freeze(&mut episode, at, &|track| is_of(track, sample));
            return Some(episode);
        }
    };
    if sample.suppressed_by.is_some() {
        return Some(episode);
    }
    let Some(track) = track(&mut episode.tracks, sample, holds) else { return Some(episode) };
    episode.known_at = episode.known_at.max(at);
    if episode.stale_at.take().is_some() {
        episode.note(events, at, EventKind::Fresh, "");
    }
    match &sample.truth {
        Truth::True(evidence) => is_true(&mut episode, rule, track, sample, evidence, events),
        _ if episode.state == State::Pending => {
            episode.tracks.remove(track);
            // What had been kept and counts no longer does not go on to be pending by itself.
            episode.tracks.retain(|track| !is_beside(track, sample) || !track.is_expired(sample.stamped));
            if !episode.tracks.iter().any(|track| track.holds == Holds::Yes) {
                drop_pending(&mut episode, at, events);
            } else if !episode.tracks.iter().any(|track| track.since <= episode.started_at) {
                // What began the episode is over; what is pending elsewhere began later, and is another one.
                drop_pending(&mut episode, at, events);
            }
        }
        Truth::Between => relapse(&mut episode, sample, events),
        Truth::False => {
            let moved = supersede(&mut episode, sample);
            is_false(&mut episode, rule, sample, moved, others_passed, events);
        }
        Truth::Unknown => {}
    }
    Some(episode)
}

/// What is still pending in other streams when what began an episode did not hold.
pub(super) fn succeed(dropped: &Episode, rule: &Rule, events: &mut Vec<Event>) -> Option<Episode> {
    let since = dropped.tracks.iter().filter(|track| track.holds == Holds::Yes).map(|track| track.since).min()?;
    let mut episode = Episode {
        id: EpisodeId::of(&rule.name, &dropped.patient, since),
        state: State::Pending,
        started_at: since,
        events: 0,
        ..dropped.clone()
    };
    let text = Arc::clone(&episode.text);
    episode.note(events, since, EventKind::Pending, &text);
    Some(episode)
}

/// A lane goes on for those of its device that are `over`: the device's clock was set, or it tells of now.
pub(super) fn take_over(episode: &mut Episode, lane: &StreamId, over: &dyn Fn(&StreamId) -> bool) {
    let tracks = &mut episode.tracks;
    let is_replaced =
        |track: &Track| track.stream.as_ref().is_some_and(|id| id != lane && id.is_of_device(lane) && over(id));
    if !tracks.iter().any(|track| track.stream.as_ref() == Some(lane)) {
        let worst = tracks.iter_mut().filter(|track| is_replaced(track)).max_by_key(|track| track.holds == Holds::Yes);
        if let Some(track) = worst {
            // Nothing of the other clock's times is left, so that any sample of the lane goes on with it.
            track.stream = None;
            return tracks.retain(|track| !is_replaced(track));
        }
    }
    tracks.retain(|track| !is_replaced(track));
}

/// Lets time pass in one stream of an episode: its last value goes on to hold while it is valid.
pub(super) fn pass(
    episode: &mut Episode,
    rule: &Rule,
    is_stream: &dyn Fn(&Track) -> bool,
    passed: Passed,
    others_passed: OthersPassed<'_>,
    events: &mut Vec<Event>,
) {
    let Some(index) = episode.tracks.iter().position(is_stream) else { return };
    let track = &mut episode.tracks[index];
    track.passed = track.passed.max(passed.last());
    match (episode.state, track.holds) {
        (State::Pending, Holds::Yes) => {
            let fires_at = track.since.checked_add_signed(as_delta(rule.header.hold));
            if let Some(fires_at) = fires_at.filter(|at| *at <= track.passed && *at <= track.holds_until) {
                fire(episode, fires_at, events);
            }
        }
        (State::Recovering, Holds::No) => clear_if_gone(episode, rule, None, others_passed, events),
        _ => {}
    }
}

/// Marks a live episode stale when nothing that is known of it counts any more. `clock` tells what time it is by a track's
/// clock, where that is known.
pub(super) fn mark_stale(
    episode: &mut Episode,
    clock: &dyn Fn(&Track) -> Option<DateTime<Utc>>,
    events: &mut Vec<Event>,
) {
    if episode.stale_at.is_some() {
        return;
    }
    let is_expired = |track: &Track| clock(track).is_some_and(|now| now >= track.valid_until);
    if episode.tracks.iter().all(is_expired) {
        let stale_at = episode.tracks.iter().map(|track| track.valid_until).max().unwrap_or(episode.known_at);
        episode.stale_at = Some(stale_at);
        episode.note(events, stale_at, EventKind::Stale, "");
    }
}

/// From `from` on, nothing is known in these tracks: what was known before does not go on by itself. Returns whether that is
/// news.
pub(super) fn freeze(episode: &mut Episode, from: DateTime<Utc>, is_frozen: &dyn Fn(&Track) -> bool) -> bool {
    let until = from - TimeDelta::microseconds(1);
    let mut is_news = false;
    // What is known of a later time stays known.
    for track in episode.tracks.iter_mut().filter(|track| is_frozen(track) && track.at <= until) {
        is_news |= until < track.holds_until;
        track.holds_until = track.holds_until.min(until);
    }
    is_news
}

/// Says which technical alert the episode waits for, if any.
pub(super) fn mark_suppressed(episode: &mut Episode, by: Option<&str>, at: DateTime<Utc>, events: &mut Vec<Event>) {
    if episode.suppressed_by.as_deref() == by {
        return;
    }
    match by {
        Some(rule) => episode.note(events, at, EventKind::Suppressed, rule),
        None => episode.note(events, at, EventKind::Released, ""),
    }
    episode.suppressed_by = by.map(str::to_owned);
}

/// Somebody takes an episode on; a latched one is over with that.
///
/// Returns whether anything changed: who comes second finds it acknowledged.
pub(super) fn acknowledge(
    episode: &mut Episode,
    who: Acknowledged,
    event_now: DateTime<Utc>,
    events: &mut Vec<Event>,
) -> bool {
    if episode.handling.acknowledged.is_some() || !episode.state.is_shown() {
        return false;
    }
    episode.note_by(events, who.at, EventKind::Acknowledged, &who.by, &who.note);
    episode.handling.acknowledged = Some(who);
    if episode.state == State::Latched {
        end(episode, End::Acknowledged, event_now, events);
    }
    true
}

/// The end of an episode, whatever its samples say. One that has not fired is dropped.
pub(super) fn end(episode: &mut Episode, why: End, at: DateTime<Utc>, events: &mut Vec<Event>) {
    if episode.state == State::Pending {
        episode.state = State::Dropped;
        episode.note(events, at, EventKind::Dropped, why.name());
        return;
    }
    let at = at.max(episode.cleared_at.unwrap_or(episode.last_at));
    episode.state = State::Ended;
    episode.ended_at = Some(at);
    episode.end = Some(why);
    episode.note(events, at, EventKind::Ended, why.name());
}

fn begin(rule: &Rule, patient: &str, sample: &Sample<'_>, evidence: &Evidence<'_>, events: &mut Vec<Event>) -> Episode {
    let at = sample.at;
    let text: Arc<str> = (evidence.text)().into();
    let mut episode = Episode {
        id: EpisodeId::of(&rule.name, patient, at),
        rule: rule.name.as_str().into(),
        patient: patient.into(),
        severity: rule.header.severity,
        state: State::Pending,
        started_at: at,
        firing_at: None,
        last_at: at,
        known_at: at,
        clear_since: None,
        cleared_at: None,
        ended_at: None,
        end: None,
        samples: 1,
        peak: Peak { value: evidence.value, limit: evidence.limit, at, text: Arc::clone(&text) },
        text: Arc::clone(&text),
        stale_at: None,
        suppressed_by: None,
        tracks: vec![new_track(sample, Holds::Yes)],
        handling: Handling::default(),
        events: 0,
    };
    episode.note(events, at, EventKind::Pending, &text);
    fire_if_held(&mut episode, rule, 0, events);
    episode
}

fn drop_pending(episode: &mut Episode, at: DateTime<Utc>, events: &mut Vec<Event>) {
    episode.state = State::Dropped;
    episode.note(events, at, EventKind::Dropped, "");
}

fn is_true(
    episode: &mut Episode,
    rule: &Rule,
    track: usize,
    sample: &Sample<'_>,
    evidence: &Evidence<'_>,
    events: &mut Vec<Event>,
) {
    let at = sample.at;
    episode.last_at = episode.last_at.max(at);
    episode.samples += 1;
    if rule.is_further(evidence.value, episode.peak.value) {
        episode.peak = Peak { value: evidence.value, limit: evidence.limit, at, text: (evidence.text)().into() };
    }
    if episode.state == State::Pending {
        episode.text = (evidence.text)().into();
    }
    relapse(episode, sample, events);
    fire_if_held(episode, rule, track, events);
}

fn is_false(
    episode: &mut Episode,
    rule: &Rule,
    sample: &Sample<'_>,
    moved: Option<DateTime<Utc>>,
    others_passed: OthersPassed<'_>,
    events: &mut Vec<Event>,
) {
    let at = sample.at;
    if episode.tracks.iter().any(|track| track.holds != Holds::No) {
        return; // it is still true elsewhere
    }
    if episode.clear_since.is_none() {
        // What went on in another topic is gone since this one says so, and not since it was sure that the other says no more.
        let own = episode.tracks.iter().find(|track| is_of(track, sample)).map(|track| track.since);
        let gone = own.zip(moved).map_or(at, |(since, moved)| since.max(moved).min(at));
        episode.clear_since = Some(gone);
        // It is gone from all streams only now, which is another time by the clock of each.
        for track in &mut episode.tracks {
            let now = if is_of(track, sample) { Some(gone) } else { track.clock(sample.stamped) };
            track.since = track.since.max(now.unwrap_or(track.since));
        }
    }
    // Had it been known to be gone before, time would have told so.
    clear_if_gone(episode, rule, Some(at), others_passed, events);
    if episode.state == State::Firing {
        episode.state = State::Recovering;
        episode.note(events, at, EventKind::Recovering, "");
    }
}

/// Ends the episode, at `not_before` or later, if its condition has been gone for long enough from every stream that still counts.
fn clear_if_gone(
    episode: &mut Episode,
    rule: &Rule,
    not_before: Option<DateTime<Utc>>,
    others_passed: OthersPassed<'_>,
    events: &mut Vec<Event>,
) {
    let clear_after = as_delta(rule.header.clear_after);
    let mut last: Option<DateTime<Utc>> = None;
    for track in &episode.tracks {
        let gone_at = track.since.checked_add_signed(clear_after);
        let is_valid = |gone_at: &DateTime<Utc>| *gone_at <= track.passed && *gone_at <= track.holds_until;
        match gone_at.filter(is_valid) {
            _ if track.holds != Holds::No => return,
            Some(gone_at) if others_passed(track, gone_at) => last = last.max(Some(gone_at)),
            // A stream that has fallen silent after it said that the condition is gone has nothing to add.
            None if track.passed >= track.valid_until => {}
            _ => return,
        }
    }
    let Some(last) = last else { return };
    // Told by the clock of the sample that found it gone from all.
    let gone_at = episode.clear_since.and_then(|since| since.checked_add_signed(clear_after)).unwrap_or(last);
    let at = gone_at.max(not_before.unwrap_or(gone_at)).max(episode.firing_at.unwrap_or(gone_at));
    episode.cleared_at = Some(at);
    if rule.latches && episode.handling.acknowledged.is_none() {
        episode.state = State::Latched;
        episode.note(events, at, EventKind::Latched, "");
    } else {
        end(episode, End::Cleared, at, events);
    }
}

fn relapse(episode: &mut Episode, sample: &Sample<'_>, events: &mut Vec<Event>) {
    let at = sample.at;
    // That it was true before does not change since when it is gone.
    if !sample.is_late || episode.clear_since.is_none_or(|since| at >= since) {
        episode.clear_since = None;
    }
    if episode.state == State::Recovering {
        episode.state = State::Firing;
        episode.note(events, at, EventKind::Relapsed, "");
    }
}

fn fire_if_held(episode: &mut Episode, rule: &Rule, track: usize, events: &mut Vec<Event>) {
    let track = &episode.tracks[track];
    if episode.state == State::Pending && track.at - track.since >= as_delta(rule.header.hold) {
        let at = track.at;
        fire(episode, at, events);
    }
}

fn fire(episode: &mut Episode, at: DateTime<Utc>, events: &mut Vec<Event>) {
    // By the clock of another stream than the first the time may be an earlier one.
    let at = at.max(episode.started_at);
    episode.state = State::Firing;
    episode.firing_at = Some(at);
    let text = Arc::clone(&episode.text);
    episode.note(events, at, EventKind::Firing, &text);
}

fn is_of(track: &Track, sample: &Sample<'_>) -> bool {
    track.stream.as_ref() == Some(sample.stream)
}

/// Whether a track is of the sample's partition, whose time has passed until then.
fn is_beside(track: &Track, sample: &Sample<'_>) -> bool {
    track.stream.as_ref().is_none_or(|stream| stream.partition == sample.stream.partition)
}

fn new_track(sample: &Sample<'_>, holds: Holds) -> Track {
    let valid_until = sample.at.checked_add_signed(sample.valid_for).unwrap_or(DateTime::<Utc>::MAX_UTC);
    Track {
        stream: Some(sample.stream.clone()),
        holds,
        since: sample.at,
        at: sample.at,
        valid_until,
        holds_until: valid_until,
        passed: sample.at,
        delay: TimeDelta::microseconds(sample.stamped.saturating_sub(sample.at.timestamp_micros())),
    }
}

/// The sample's track after it, by its place; `None` where the track knows of a later sample.
fn track(tracks: &mut Vec<Track>, sample: &Sample<'_>, holds: Holds) -> Option<usize> {
    let known = tracks.iter().position(|track| is_of(track, sample));
    let known = known.or_else(|| tracks.iter().position(|track| track.stream.is_none()));
    let Some(known) = known else {
        // What the same device said in another lane and counts no longer has its place taken: lanes of times that run backwards
        // are without number.
        let is_replaced = |track: &Track| {
            let is_of_device = track.stream.as_ref().is_some_and(|stream| stream.is_of_device(sample.stream));
            is_of_device && track.holds == holds && track.is_expired(sample.stamped)
        };
        tracks.retain(|track| !is_replaced(track));
        tracks.push(new_track(sample, holds));
        return Some(tracks.len() - 1);
    };
    let track = &mut tracks[known];
    if track.stream.is_some() && sample.at < track.at {
        return None;
    }
    let since = if track.holds == holds { track.since.min(sample.at) } else { sample.at };
    let passed = if track.stream.is_some() { track.passed.max(sample.at) } else { sample.at };
    let (before, passed_at) = (track.delay, sample.at - track.at);
    *track = Track { since, passed, ..new_track(sample, holds) };
    // A little more than usual, so that a sample on its way is waited for. What comes faster than it was measured was kept.
    let keeps_pace = before - track.delay <= passed_at / 2 + TimeDelta::milliseconds(200);
    if track.stream.is_some() && track.delay < before && keeps_pace {
        track.delay = before - (before - track.delay) / 16;
    }
    Some(known)
}

/// Lets go of what other streams said last, where that no longer counts: this one has taken their place. Returns when one said its last
/// whose place it took because what is said goes on in this one's topic.
fn supersede(episode: &mut Episode, sample: &Sample<'_>) -> Option<DateTime<Utc>> {
    let mut moved = None;
    episode.tracks.retain(|track| {
        if is_of(track, sample) || track.holds == Holds::No {
            return true;
        }
        let has_moved = goes_on_in_another_topic(track, sample);
        if has_moved {
            moved = moved.max(Some(track.at));
        }
        !has_moved && !track.is_expired(sample.stamped)
    });
    moved
}

/// Records of measurements that are older than this when they come are recordings: their stamps tell nothing of their clocks.
const RECORDED: TimeDelta = TimeDelta::hours(24);

/// Whether what was said by one topic goes on in that of `sample`: it has fallen silent, and the other has not. Topics are kinds of
/// records — what is urgent, or of one ward — and no devices; where devices have topics of their own, the job names them.
///
/// A sixth of its validity is silence: five seconds of values that come each second. It is told by the stream's own clock; of recordings, of
/// which all is stamped at once, by event time.
fn goes_on_in_another_topic(track: &Track, sample: &Sample<'_>) -> bool {
    let Some(stream) = &track.stream else { return false };
    if stream.partition.is_of_topic_of(sample.stream.partition) || stream.device != sample.stream.device {
        return false;
    }
    let silent_at = track.at + (track.valid_until - track.at) / 6;
    let delay = TimeDelta::microseconds(sample.stamped.saturating_sub(sample.at.timestamp_micros()));
    match track.delay > RECORDED && delay > RECORDED {
        true => sample.at >= silent_at,
        false => sample.at > track.at && track.clock(sample.stamped).is_some_and(|now| now >= silent_at),
    }
}

/// A length of time; one that is longer than time itself never passes.
fn as_delta(length: std::time::Duration) -> TimeDelta {
    TimeDelta::from_std(length).unwrap_or(TimeDelta::MAX)
}
