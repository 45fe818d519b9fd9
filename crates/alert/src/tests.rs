//! Episodes from samples: what opens, fires, clears and ends, in any batching; what people do, and what they are told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use chrono::{DateTime, TimeDelta, Utc};

use wardwatch_config::{AlertSpec, EscalationStep, Outlet, OutletKind, When};
use wardwatch_model::header::{Extreme, RuleHeader};
use wardwatch_model::terms::{Partition, Severity};

use super::*;

mod composed;
mod model;
mod streams;

/// Samples of one patient: second and heart rate, which may be missing.
type Given = [(i64, Option<f64>)];

fn columns() -> SampleColumns {
    SampleColumns {
        key: "patient_id".to_owned(),
        event_time: "event_time".to_owned(),
        partition: "_partition".to_owned(),
        stamp: "_stamped_at".to_owned(),
    }
}

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(second, 0).expect("a time")
}

fn second(at: DateTime<Utc>) -> i64 {
    at.timestamp()
}

fn frame(samples: &Given) -> RecordBatch {
    let times: TimestampMicrosecondArray = samples.iter().map(|(second, _)| Some(second * 1_000_000)).collect();
    RecordBatch::try_from_iter([
        ("patient_id", Arc::new(StringViewArray::from_iter_values(samples.iter().map(|_| "P1"))) as _),
        ("event_time", Arc::new(times.with_timezone("UTC")) as _),
        ("heart_rate", Arc::new(samples.iter().map(|(_, rate)| *rate).collect::<Float64Array>()) as _),
    ])
    .expect("a frame")
}

fn rule(hold: u64, clear_after: u64) -> Rule {
    let (hold, clear_after) = (Duration::from_secs(hold), Duration::from_secs(clear_after));
    let header = RuleHeader { hold, clear_after, ..RuleHeader::new(Severity::High) };
    let message = Message::parse("HR {heart_rate:.0}", frame(&[]).schema_ref()).expect("valid");
    Rule {
        name: "tachycardia".to_owned(),
        message: Some(message),
        judged: Judged::BySample,
        looks_back: false,
        source: 0,
        marker: None,
        vitals: vec!["heart_rate".to_owned()],
        composed: None,
        stale_after: Duration::from_secs(30),
        latches: false,
        suppressed_by: Vec::new(),
        measure: Measure { value: Some(2), limit: None, worse: Extreme::Max },
        header,
    }
}

/// Rows without the numbers of their samples.
fn found(rows: &RecordBatch) -> Findings<'_> {
    Findings { rows, samples: None }
}

fn technical(name: &str) -> Rule {
    let mut rule = rule(0, 0);
    rule.name = name.to_owned();
    rule.header.severity = Severity::Technical;
    rule.vitals.clear();
    rule
}

fn policy() -> AlertSpec {
    AlertSpec {
        stale_after: Duration::from_secs(30),
        longest_pause: Duration::from_secs(120),
        patients: ("patients".to_owned(), false),
        limits: "limits".to_owned(),
        unreached_after: Duration::from_secs(30),
        escalation: Vec::new(),
    }
}

/// A ward with one patient: what the job keeps of alerts, and what the store would have.
struct Ward {
    rules: Vec<Rule>,
    policy: AlertSpec,
    open: OpenEpisodes,
    streams: Streams,
    stored: BTreeMap<EpisodeId, Episode>,
    events: BTreeMap<EpisodeId, Vec<Event>>,
    notices: Vec<Notice>,
    now: DateTime<Utc>,
    outlets: Vec<Outlet>,
    outstanding: Outstanding,
}

impl Ward {
    fn new(rules: Vec<Rule>) -> Self {
        let shape = Shape::new(None, [&[] as &[String], &["heart_rate".to_owned()]].into_iter());
        Self {
            rules,
            policy: policy(),
            open: OpenEpisodes::default(),
            streams: Streams::new(shape),
            stored: BTreeMap::new(),
            events: BTreeMap::new(),
            notices: Vec::new(),
            now: at(0),
            outlets: Vec::new(),
            outstanding: Outstanding::default(),
        }
    }

    /// A batch in which the first rule is true above 120, and gone below `clear`, if that differs; technical rules are
    /// true at a rate of 0.
    fn batch(&mut self, samples: &Given, clear: Option<f64>, actions: &[Action], event_now: i64) -> Vec<Answer> {
        let all = frame(samples);
        let some = |is_true: &dyn Fn(f64) -> bool| -> RecordBatch {
            let kept: Vec<_> = samples.iter().copied().filter(|(_, rate)| rate.is_some_and(is_true)).collect();
            frame(&kept)
        };
        let (above, zero) = (some(&|rate| rate > 120.0), some(&|rate| rate == 0.0));
        let clear = clear.map(|clear| some(&|rate| rate < clear));
        let columns = columns();
        let event_now = at(event_now);
        let samples = self.streams.note(&all, &columns, at(i64::from(u32::MAX)));
        let newest = self.streams.arrivals(&BTreeMap::new()).newest().unwrap_or(0);
        let silence = TimeDelta::microseconds(event_now.timestamp_micros() - newest);
        let arrivals = self.streams.arrivals(&BTreeMap::from([(Partition(0), silence)]));
        let moment = Moment {
            samples: &samples,
            streams: &self.streams,
            arrivals: &arrivals,
            lateness: TimeDelta::seconds(10),
            columns: &columns,
            now: self.now,
            event_now,
            departures: &Departures::new(),
        };
        for rule in &self.rules {
            let conditions = if rule.is_technical() { &zero } else { &above };
            let clear = clear.as_ref().filter(|_| !rule.is_technical());
            self.open.judge(
                rule,
                &Rows { conditions: found(conditions), clear: clear.map(found), elsewhere: Elsewhere::False },
                &moment,
            );
        }
        self.open.let_time_pass(&self.rules, &moment);
        let patience = self.policy.unreached_after;
        self.open.judge_unreached(&self.outstanding, &self.outlets, patience, (self.now, event_now));
        let reach = Reach::new(&self.outlets, &self.outstanding, patience);
        let answers = self.open.act(actions, &self.policy, &Wards::default(), self.now, event_now);
        self.notices.extend(self.open.notices(&self.rules, &self.policy, &Wards::default(), &reach, self.now));
        for Change { episode, events } in self.open.take_changes() {
            self.events.entry(episode.id.clone()).or_default().extend(events);
            self.stored.insert(episode.id.clone(), (*episode).clone());
        }
        answers
    }

    /// Goes on as after a kill: with what the store has.
    fn restart(&mut self, silences: &[Silence]) {
        let open = self.stored.values().filter(|episode| episode.state.is_live() || episode.state == State::Latched);
        self.open = OpenEpisodes::new(open.cloned(), silences.to_vec());
    }

    /// The episodes that there were, in the order of their beginnings.
    fn episodes(&self) -> Vec<Episode> {
        let mut kept: Vec<Episode> =
            self.stored.values().filter(|episode| episode.state != State::Dropped).cloned().collect();
        kept.sort_by(|one, other| (one.started_at, &one.rule).cmp(&(other.started_at, &other.rule)));
        kept
    }

    fn kinds(&self, episode: &EpisodeId) -> Vec<EventKind> {
        self.events[episode].iter().map(|event| event.kind).collect()
    }
}

/// The episodes after these batches, with a restart behind each.
fn run(rule: &Rule, batches: &[&Given]) -> Vec<Episode> {
    let mut ward = Ward::new(vec![rule.clone()]);
    for samples in batches {
        let newest = samples.iter().map(|(second, _)| *second).max().unwrap_or(0);
        ward.batch(samples, None, &[], newest);
        ward.restart(&[]);
    }
    ward.episodes()
}

fn some(samples: &[(i64, f64)]) -> Vec<(i64, Option<f64>)> {
    samples.iter().map(|(second, rate)| (*second, Some(*rate))).collect()
}

#[test]
fn an_episode_opens_with_the_first_true_sample_and_ends_with_the_first_false_one() {
    let batches = [some(&[(0, 80.0), (1, 130.0), (2, 131.0)]), some(&[(3, 80.0)]), some(&[(4, 140.0)])];
    let episodes = run(&rule(0, 0), &batches.iter().map(Vec::as_slice).collect::<Vec<_>>());
    assert_eq!(episodes.len(), 2);
    let first = &episodes[0];
    assert_eq!((first.state, first.samples, &*first.text), (State::Ended, 2, "HR 130"));
    assert_eq!((&*first.peak.text, second(first.peak.at)), ("HR 131", 2));
    assert_eq!((second(first.started_at), second(first.last_at)), (1, 2));
    assert_eq!((first.firing_at.map(second), first.ended_at.map(second)), (Some(1), Some(3)));
    assert_eq!((first.end, episodes[1].state), (Some(End::Cleared), State::Firing));
}

#[test]
fn a_condition_that_does_not_hold_long_enough_leaves_nothing() {
    assert_eq!(run(&rule(10, 0), &[&some(&[(0, 130.0), (9, 130.0)]), &some(&[(10, 80.0)])]), []);
    let episodes = run(&rule(10, 0), &[&some(&[(0, 130.0)]), &some(&[(10, 134.0)])]);
    assert_eq!((episodes[0].firing_at.map(second), &*episodes[0].text), (Some(10), "HR 134"));
}

#[test]
fn no_data_and_missing_values_do_not_clear_and_a_short_dip_does_not_either() {
    let gap: &Given = &[(600, Some(130.0)), (610, Some(80.0)), (620, Some(130.0))];
    let episodes = run(&rule(0, 15), &[&some(&[(0, 130.0)]), &[], gap, &some(&[(630, 80.0)])]);
    assert_eq!((episodes.len(), episodes[0].state, episodes[0].ended_at), (1, State::Recovering, None));
    let missing: &Given = &[(0, Some(130.0)), (5, None), (500, None)];
    assert_eq!(run(&rule(0, 0), &[missing])[0].state, State::Firing);
    let ended = run(&rule(0, 15), &[&some(&[(0, 130.0), (5, 80.0), (19, 80.0), (20, 80.0)])]);
    assert_eq!(ended[0].ended_at.map(second), Some(20));
}

#[test]
fn silence_makes_an_episode_stale_and_data_make_it_fresh() {
    let mut ward = Ward::new(vec![rule(0, 0)]);
    ward.batch(&some(&[(0, 130.0)]), None, &[], 0);
    ward.batch(&[], None, &[], 29);
    assert_eq!(ward.episodes()[0].stale_at, None);
    ward.batch(&[], None, &[], 31);
    let stale = ward.episodes()[0].clone();
    assert_eq!((stale.state, stale.stale_at.map(second)), (State::Firing, Some(30)));
    ward.batch(&some(&[(40, 131.0)]), None, &[], 40);
    assert_eq!(ward.episodes()[0].stale_at, None);
    let kinds = ward.kinds(&stale.id);
    assert_eq!(kinds, [EventKind::Pending, EventKind::Firing, EventKind::Stale, EventKind::Fresh]);
}

#[test]
fn a_technical_alert_freezes_what_it_suppresses_and_says_so() {
    let mut suppressed = rule(0, 0);
    suppressed.suppressed_by = vec!["lead_off".to_owned()];
    let mut ward = Ward::new(vec![technical("lead_off"), suppressed]);
    ward.batch(&some(&[(0, 130.0)]), None, &[], 0);
    // At a rate of 0 the leads are off: the condition is not gone, it cannot be judged.
    ward.batch(&some(&[(1, 0.0), (2, 0.0)]), None, &[], 2);
    let frozen = ward.stored.values().find(|episode| &*episode.rule == "tachycardia").cloned().expect("one");
    assert_eq!((frozen.state, frozen.suppressed_by.as_deref()), (State::Firing, Some("lead_off")));
    ward.batch(&some(&[(3, 80.0)]), None, &[], 3);
    let freed = &ward.stored[&frozen.id];
    assert_eq!(
        (freed.state, freed.suppressed_by.as_deref(), freed.ended_at.map(second)),
        (State::Ended, None, Some(3))
    );
    let kinds = ward.kinds(&frozen.id);
    let expected =
        [EventKind::Pending, EventKind::Firing, EventKind::Suppressed, EventKind::Released, EventKind::Ended];
    assert_eq!(kinds, expected);
}

#[test]
fn a_value_between_the_two_conditions_neither_fires_nor_clears() {
    let mut ward = Ward::new(vec![rule(0, 0)]);
    ward.batch(&some(&[(0, 115.0), (1, 130.0), (2, 115.0), (3, 115.0)]), Some(110.0), &[], 3);
    assert_eq!((ward.episodes().len(), ward.episodes()[0].state), (1, State::Firing));
    ward.batch(&some(&[(4, 109.0)]), Some(110.0), &[], 4);
    assert_eq!(ward.episodes()[0].ended_at.map(second), Some(4));
}

fn latching() -> Rule {
    Rule { latches: true, ..rule(0, 0) }
}

fn acknowledge(id: &EpisodeId, second: i64) -> Action {
    Action::new(at(second), "nurse", "seen", Request::Acknowledge(id.clone()))
}

#[test]
fn a_latched_alert_stays_until_somebody_acknowledges_it_or_it_is_followed() {
    let mut ward = Ward::new(vec![latching()]);
    ward.batch(&some(&[(0, 130.0), (1, 80.0)]), None, &[], 1);
    let latched = ward.episodes()[0].clone();
    assert_eq!((latched.state, latched.cleared_at.map(second)), (State::Latched, Some(1)));
    ward.restart(&[]);
    let answers = ward.batch(&[], None, &[acknowledge(&latched.id, 5), acknowledge(&latched.id, 6)], 5);
    assert_eq!(answers[0].refusal, "");
    assert!(answers[1].refusal.contains("is over"), "{}", answers[1].refusal);
    let ended = &ward.episodes()[0];
    assert_eq!((ended.state, ended.end), (State::Ended, Some(End::Acknowledged)));

    let mut ward = Ward::new(vec![latching()]);
    ward.batch(&some(&[(0, 130.0), (1, 80.0), (2, 140.0)]), None, &[], 2);
    let ends: Vec<_> = ward.episodes().iter().map(|episode| (episode.state, episode.end)).collect();
    assert_eq!(ends, [(State::Ended, Some(End::Followed)), (State::Firing, None)]);
}

/// Somebody wrote local time into the table by hand: reminders must not wait for it.
#[test]
fn an_acknowledgement_of_a_time_to_come_is_of_now() {
    let mut ward = Ward::new(vec![latching()]);
    ward.batch(&some(&[(0, 130.0)]), None, &[], 0);
    let id = ward.episodes()[0].id.clone();
    ward.now = at(5);
    let answers = ward.batch(&[], None, &[acknowledge(&id, 7_200)], 5);
    assert_eq!(answers[0].refusal, "");
    let acknowledged = ward.episodes()[0].handling.acknowledged.clone();
    assert_eq!(acknowledged.map(|acknowledged| second(acknowledged.at)), Some(5));
}

#[test]
fn an_acknowledgement_that_cannot_be_is_refused_with_the_reason() {
    let mut ward = Ward::new(vec![rule(10, 0)]);
    ward.batch(&some(&[(0, 130.0)]), None, &[], 0);
    let pending = ward.episodes()[0].id.clone();
    let unknown = EpisodeId("nothing".into());
    let answers = ward.batch(&[], None, &[acknowledge(&pending, 1), acknowledge(&unknown, 1)], 1);
    assert!(answers[0].refusal.contains("has not fired yet"), "{}", answers[0].refusal);
    assert!(answers[1].refusal.contains("is over, or never was"), "{}", answers[1].refusal);
    ward.batch(&some(&[(10, 130.0)]), None, &[acknowledge(&pending, 10)], 10);
    let answers = ward.batch(&[], None, &[acknowledge(&pending, 11)], 11);
    assert!(answers[0].refusal.starts_with("nurse has acknowledged it at"), "{}", answers[0].refusal);
}

fn told(ward: &Ward) -> Vec<&'static str> {
    ward.notices.iter().map(|notice| notice.kind.name()).collect()
}

#[test]
fn people_are_told_once_that_it_fires_reminded_after_an_acknowledgement_and_told_that_it_is_over() {
    let mut repeated = rule(0, 0);
    repeated.header.repeat = Some(Duration::from_secs(180));
    let mut ward = Ward::new(vec![repeated]);
    ward.batch(&some(&[(0, 130.0)]), None, &[], 0);
    let id = ward.episodes()[0].id.clone();
    ward.batch(&some(&[(1, 135.0)]), None, &[acknowledge(&id, 1)], 1);
    for second in [100, 181, 200, 361] {
        ward.now = at(second);
        ward.restart(&[]);
        ward.batch(&some(&[(second, 130.0)]), None, &[], second);
    }
    ward.batch(&some(&[(400, 80.0)]), None, &[], 400);
    assert_eq!(told(&ward), ["firing", "reminder", "reminder", "resolved"]);
    let numbers: Vec<u32> = ward.notices.iter().map(|notice| notice.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
}

#[test]
fn while_nobody_acknowledges_others_are_called_step_by_step() {
    let step = |minutes: u64, to: &str| EscalationStep {
        after: Duration::from_secs(60 * minutes),
        to: vec![to.to_owned()],
        severity: Severity::Medium,
    };
    let mut ward = Ward::new(vec![rule(0, 0)]);
    ward.policy.escalation = vec![step(2, "doctor"), step(5, "chief"), step(9, "director")];
    ward.batch(&some(&[(0, 130.0)]), None, &[], 0);
    let id = ward.episodes()[0].id.clone();
    for minute in [1, 2, 3, 6] {
        ward.now = at(60 * minute);
        ward.batch(&some(&[(60 * minute, 130.0)]), None, &[], 60 * minute);
    }
    ward.batch(&[], None, &[acknowledge(&id, 361)], 361);
    ward.now = at(600);
    ward.batch(&some(&[(600, 130.0)]), None, &[], 600);
    assert_eq!(told(&ward), ["firing", "escalated", "escalated"], "the third step is spared");
    ward.batch(&some(&[(601, 80.0)]), None, &[], 601);
    let last = &ward.notices.last().expect("a notice").kind;
    assert_eq!(*last, NoticeKind::Resolved(vec!["doctor".to_owned(), "chief".to_owned()]));
}

fn outlet(name: &str, when: When) -> Outlet {
    Outlet {
        name: name.to_owned(),
        kind: OutletKind::Webhook { url: "http://x/".to_owned(), secret: None },
        severity: Severity::Technical,
        when,
        identify: true,
        subject: None,
        template: None,
        timeout: Duration::from_secs(5),
        longest_backoff: Duration::from_secs(60),
        give_up_after: Duration::from_secs(86_400),
    }
}

/// A ward with one alert, which its first receiver and then the others of the escalation are told of.
fn calling(steps: &[(u64, &str, Severity)]) -> (Ward, EpisodeId) {
    let mut ward = Ward::new(vec![rule(0, 0)]);
    ward.outlets = vec![outlet("ward", When::Always)];
    for (minutes, to, severity) in steps {
        let after = Duration::from_secs(60 * minutes);
        ward.policy.escalation.push(EscalationStep { after, to: vec![(*to).to_owned()], severity: *severity });
        if *to != "ward" {
            ward.outlets.push(outlet(to, When::Escalation));
        }
    }
    ward.batch(&some(&[(0, 130.0)]), None, &[], 0);
    let id = ward.episodes()[0].id.clone();
    (ward, id)
}

fn untaken(episode: &EpisodeId, number: u32, outlet: &str, written: i64) -> Untaken {
    Untaken {
        episode: episode.clone(),
        number,
        rule: "tachycardia".to_owned(),
        patient: "P1".to_owned(),
        text: "HR 130".to_owned(),
        outlets: BTreeSet::from([outlet.to_owned()]),
        written_at: at(written),
        is_given_up: false,
    }
}

impl Ward {
    /// A batch at a second at which the outbox was found to hold these.
    fn outbox(&mut self, second: i64, notices: &[Untaken], rate: f64) {
        self.now = at(second);
        self.outstanding = Outstanding { looked_at: at(second), notices: notices.to_vec() };
        self.batch(&some(&[(second, rate)]), None, &[], second);
    }

    /// Who was called, of this episode.
    fn called(&self, episode: &EpisodeId) -> Vec<String> {
        let of = self.notices.iter().filter(|notice| notice.episode.id == *episode);
        of.flat_map(|notice| match &notice.kind {
            NoticeKind::Escalated(to) => to.clone(),
            _ => Vec::new(),
        })
        .collect()
    }

    /// The alerts that nobody was reached: state and text.
    fn unreached(&self) -> Vec<(State, String)> {
        let all = self.episodes().into_iter().filter(|episode| &*episode.rule == UNREACHED);
        all.map(|episode| (episode.state, episode.text.to_string())).collect()
    }
}

#[test]
fn who_is_not_reached_for_half_a_minute_is_passed_over_and_each_of_the_next_is_called_once() {
    let high = Severity::High;
    let (mut ward, id) = calling(&[(10, "nurse", high), (20, "doctor", high), (30, "chief", high)]);
    ward.outbox(29, &[untaken(&id, 1, "ward", 0)], 130.0);
    assert!(ward.called(&id).is_empty() && ward.unreached().is_empty(), "it may yet be taken");
    ward.outbox(34, &[untaken(&id, 1, "ward", 0)], 130.0);
    assert_eq!(ward.called(&id), ["nurse"]);
    let text = "nobody was reached: webhook \"ward\" has not taken \"HR 130\" of P1 for 34 s";
    assert_eq!(ward.unreached(), [(State::Firing, text.to_owned())]);
    // As long as the nurse may take it, nobody else is called, restarts or not.
    for second in 35..64 {
        let restarted = ward.open.silences.clone();
        ward.restart(&restarted);
        ward.outbox(second, &[untaken(&id, 1, "ward", 0), untaken(&id, 2, "nurse", 34)], 130.0);
    }
    assert_eq!(ward.called(&id), ["nurse"]);
    ward.outbox(64, &[untaken(&id, 1, "ward", 0), untaken(&id, 2, "nurse", 34)], 130.0);
    assert_eq!(ward.called(&id), ["nurse", "doctor"]);
    // The doctor has taken it: the chief sleeps until it is time for him.
    for second in (65..1_800).step_by(100) {
        ward.outbox(second, &[untaken(&id, 1, "ward", 0), untaken(&id, 2, "nurse", 34)], 130.0);
    }
    assert_eq!(ward.called(&id), ["nurse", "doctor"]);
    ward.outbox(1_800, &[], 130.0);
    assert_eq!(ward.called(&id), ["nurse", "doctor", "chief"]);
    let states: Vec<State> = ward.unreached().into_iter().map(|(state, _)| state).collect();
    assert_eq!(states, [State::Ended], "one alert from first to last, and it is over when all is taken");
}

#[test]
fn those_who_are_away_and_those_who_are_not_for_it_are_passed_over_at_once() {
    let (mut ward, id) =
        calling(&[(10, "ward", Severity::Low), (20, "nurse", Severity::High), (30, "doctor", Severity::High)]);
    ward.outbox(30, &[untaken(&id, 1, "ward", 0)], 130.0);
    assert_eq!(ward.called(&id), ["ward", "nurse"], "the next step calls the same receiver again");

    let mut step = rule(0, 0);
    step.header.severity = Severity::Medium;
    let (mut ward, _) = calling(&[(10, "chief", Severity::High), (20, "doctor", Severity::Medium)]);
    ward.rules = vec![step];
    ward.outbox(1, &[], 80.0);
    ward.outbox(2, &[], 130.0);
    let id = ward.episodes().last().expect("another").id.clone();
    ward.outbox(32, &[untaken(&id, 1, "ward", 2)], 130.0);
    assert_eq!(ward.called(&id), ["doctor"], "the chief is for high ones");
    ward.outbox(62, &[untaken(&id, 1, "ward", 2), untaken(&id, 3, "doctor", 32)], 130.0);
    assert_eq!(ward.called(&id), ["doctor"], "there is nobody left");
}

#[test]
fn an_acknowledgement_or_a_pause_keeps_others_from_being_called_at_once() {
    let (mut ward, id) = calling(&[(10, "nurse", Severity::High)]);
    ward.batch(&[], None, &[acknowledge(&id, 1)], 1);
    ward.outbox(40, &[untaken(&id, 1, "ward", 0)], 130.0);
    assert!(ward.called(&id).is_empty());

    let (mut ward, id) = calling(&[(10, "nurse", Severity::High)]);
    ward.batch(&[], None, &[quiet(SilenceKind::Pause, Some(Severity::High), 1, 100)], 1);
    ward.outbox(40, &[untaken(&id, 1, "ward", 0)], 130.0);
    assert!(ward.called(&id).is_empty());
    ward.outbox(101, &[untaken(&id, 1, "ward", 0)], 130.0);
    assert_eq!(ward.called(&id), ["nurse"], "when the pause is over");
}

#[test]
fn what_is_not_tried_any_more_has_reached_nobody_until_its_alert_is_over() {
    let (mut ward, id) = calling(&[]);
    let lost = Untaken { is_given_up: true, ..untaken(&id, 1, "ward", 0) };
    ward.outbox(40, std::slice::from_ref(&lost), 130.0);
    let text =
        "nobody was reached: webhook \"ward\" has not taken \"HR 130\" of P1 for 40 s, and it is not tried any more";
    assert_eq!(ward.unreached(), [(State::Firing, text.to_owned())]);
    ward.outbox(41, std::slice::from_ref(&lost), 80.0);
    assert_eq!(ward.unreached()[0].0, State::Ended);
    // One that still waits counts though its alert is over: somebody may have to know of it.
    ward.outbox(42, &[untaken(&id, 1, "ward", 0), untaken(&id, 2, "ward", 1)], 80.0);
    let (state, text) = ward.unreached().remove(1);
    assert_eq!(state, State::Firing);
    assert!(text.ends_with("for 42 s; nor 1 more"), "{text}");
}

#[test]
fn where_a_receiver_must_not_be_told_of_patients_the_text_does_not_name_them() {
    let (mut ward, id) = calling(&[]);
    ward.outlets[0].identify = false;
    ward.outbox(30, &[untaken(&id, 1, "ward", 0)], 130.0);
    assert_eq!(ward.unreached()[0].1, "nobody was reached: webhook \"ward\" has not taken \"HR 130\" for 30 s");
}

#[test]
fn that_nobody_was_reached_is_written_when_it_begins_and_when_it_ends_and_not_between() {
    let (mut ward, id) = calling(&[]);
    ward.outbox(30, &[untaken(&id, 1, "ward", 0)], 130.0);
    ward.outbox(31, &[untaken(&id, 1, "ward", 0)], 130.0);
    ward.outbox(300, &[], 130.0);
    let episode = ward.episodes().into_iter().find(|episode| &*episode.rule == UNREACHED).expect("an alert");
    assert_eq!(ward.kinds(&episode.id), [EventKind::Pending, EventKind::Firing, EventKind::Ended]);
    assert_eq!((episode.severity, episode.ended_at), (Severity::Technical, Some(at(300))));
}

fn quiet(kind: SilenceKind, up_to: Option<Severity>, from: i64, until: i64) -> Action {
    let scope = Scope { patient: "P1".to_owned(), ..Scope::default() };
    Action::new(at(from), "nurse", "at the bed", Request::Quiet { kind, scope, up_to, until: at(until) })
}

#[test]
fn a_pause_hides_no_higher_severity_outlasts_new_readings_and_ends_by_itself() {
    let mut low = rule(0, 0);
    low.name = "rising".to_owned();
    low.header.severity = Severity::Low;
    let mut ward = Ward::new(vec![low.clone()]);
    let pause = quiet(SilenceKind::Pause, None, 0, 100_000);
    let silence = ward.batch(&[], None, &[pause], 0)[0].silence.clone().expect("a pause");
    assert_eq!((silence.up_to, second(silence.until)), (Severity::Low, 120), "the job allows two minutes");
    ward.now = at(10);
    ward.batch(&some(&[(10, 130.0)]), None, &[], 10);
    ward.now = at(20);
    ward.restart(std::slice::from_ref(&silence));
    ward.batch(&some(&[(20, 135.0)]), None, &[], 20);
    assert_eq!(told(&ward), Vec::<&str>::new());
    ward.rules.push(rule(0, 0));
    ward.now = at(30);
    ward.batch(&some(&[(30, 136.0)]), None, &[], 30);
    assert_eq!(told(&ward), ["firing"], "high breaks through");
    ward.now = at(120);
    ward.batch(&some(&[(120, 136.0)]), None, &[], 120);
    assert_eq!(told(&ward), ["firing", "firing"], "what still stands is told when the pause is over");
}

#[test]
fn a_silence_needs_a_scope_and_an_end_in_the_future_and_can_be_ended_early() {
    let mut ward = Ward::new(vec![rule(0, 0)]);
    let everything =
        Request::Quiet { kind: SilenceKind::Silence, scope: Scope::default(), up_to: None, until: at(100) };
    let refused = [Action::new(at(0), "nurse", "x", everything), quiet(SilenceKind::Silence, None, 0, 0)];
    let answers = ward.batch(&[], None, &refused, 0);
    assert!(answers[0].refusal.contains("names a patient, a ward or a rule"), "{}", answers[0].refusal);
    assert!(answers[1].refusal.contains("would have ended"), "{}", answers[1].refusal);

    let silence = quiet(SilenceKind::Silence, Some(Severity::High), 0, 1_000);
    ward.batch(&[], None, std::slice::from_ref(&silence), 0);
    ward.now = at(1);
    ward.batch(&some(&[(1, 130.0)]), None, &[], 1);
    assert_eq!(told(&ward), Vec::<&str>::new());
    ward.now = at(2);
    ward.batch(&[], None, &[Action::new(at(2), "nurse", "", Request::EndSilence(silence.id.clone()))], 2);
    assert_eq!(told(&ward), ["firing"]);
}

#[test]
fn two_rows_for_one_sample_are_refused_and_two_records_of_one_time_are_not() {
    let rule = rule(0, 0);
    let one = frame(&some(&[(0, 130.0), (1, 131.0)]));
    let doubled = frame(&some(&[(0, 130.0), (0, 130.0), (1, 131.0)]));
    assert_eq!(check_rows(&rule, found(&one), &one, &columns()), Ok(()));
    assert_eq!(check_rows(&rule, found(&doubled), &doubled, &columns()), Ok(()));
    let refused = check_rows(&rule, found(&doubled), &one, &columns()).expect_err("a join doubled it");
    assert!(refused.contains("two rows for one sample of patient \"P1\""), "{refused}");
    let by_batch = Rule { judged: Judged::ByBatch, ..rule };
    let refused = check_rows(&by_batch, found(&one), &frame(&[]), &columns()).expect_err("two rows");
    assert!(refused.contains("two rows for patient \"P1\""), "{refused}");
}

#[test]
fn a_row_that_names_another_patient_than_its_sample_is_refused() {
    let all = frame(&some(&[(0, 130.0), (1, 131.0)]));
    let key = all.schema_ref().index_of("patient_id").expect("the key");
    let mut renamed = all.columns().to_vec();
    renamed[key] = Arc::new(StringViewArray::from_iter([Some("P1"), None]));
    let fields = all.schema_ref().fields().iter().zip(renamed);
    let fields = fields.map(|(field, values)| (field.name().clone(), values, true));
    let rows = RecordBatch::try_from_iter_with_nullable(fields).expect("rows");
    let samples = Int64Array::from(vec![0, 1]);
    let numbered = |rows| Findings { rows, samples: Some(&samples) };
    assert_eq!(check_rows(&rule(0, 0), numbered(&all), &all, &columns()), Ok(()));
    let refused = check_rows(&rule(0, 0), numbered(&rows), &all, &columns()).expect_err("of nobody");
    assert!(refused.starts_with("it calls patient \"P1\" NULL"), "{refused}");
}

#[test]
fn outlets_that_must_not_identify_patients_get_no_patient_and_nothing_that_people_wrote() {
    let mut ward = Ward::new(vec![rule(0, 0)]);
    ward.batch(&some(&[(0, 130.0)]), None, &[], 0);
    let outlet = |name: &str, identify| wardwatch_config::Outlet {
        name: name.to_owned(),
        kind: wardwatch_config::OutletKind::Log,
        severity: Severity::Technical,
        when: wardwatch_config::When::Always,
        identify,
        subject: None,
        template: None,
        timeout: Duration::from_secs(5),
        longest_backoff: Duration::from_secs(60),
        give_up_after: Duration::from_secs(60),
    };
    let outlets = [outlet("open", true), outlet("discreet", false)];
    let addressed = address("job", &outlets, &ward.notices, &Wards::default());
    let patients: Vec<&str> = addressed.iter().map(|notification| notification.facts.patient.as_str()).collect();
    assert_eq!(patients, ["P1", ""]);
    let ids: BTreeSet<&str> = addressed.iter().map(|notification| notification.id.as_str()).collect();
    assert_eq!(ids.len(), 2);
}

#[test]
fn a_time_before_a_silence_is_told_is_not_hidden_by_one_that_is_over() {
    let silence = Silence {
        id: ActionId("s".to_owned()),
        kind: SilenceKind::Silence,
        scope: Scope { rule: "tachycardia".to_owned(), ..Scope::default() },
        up_to: Severity::High,
        from: at(0),
        until: at(0) + TimeDelta::seconds(10),
        by: "nurse".to_owned(),
        reason: "x".to_owned(),
    };
    let mut ward = Ward::new(vec![rule(0, 0)]);
    ward.batch(&some(&[(0, 130.0)]), None, &[], 0);
    let episode = &ward.episodes()[0];
    assert!(silence.hides(episode, &Wards::default(), at(9)));
    assert!(!silence.hides(episode, &Wards::default(), at(10)));
}
