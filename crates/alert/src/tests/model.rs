//! The lifecycle against a model that says it as plainly as it can be said, whatever happens between batches.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// An episode as the model has it, in seconds.
#[derive(Debug, Clone, PartialEq)]
struct Modelled {
    started: i64,
    fired: Option<i64>,
    last: i64,
    gone_since: Option<i64>,
    cleared: Option<i64>,
    end: Option<End>,
    samples: u64,
    peak: f64,
    acknowledged: bool,
}

/// What happens to the patient in the model.
#[derive(Debug, Clone)]
enum Step {
    /// A sample so many seconds after (or before) the newest one.
    Sample(i64, Option<f64>),
    /// The batch ends.
    Cut,
    /// The batch ends, and what stands is acknowledged with the next one.
    Acknowledge,
    /// The batch ends, and the job is killed.
    Restart,
    /// The batch ends, and with the next one somebody is quiet about everything for so many seconds.
    Silence(i64),
}

/// How long a value holds without another, in seconds: that of the rules of these tests.
const VALID: i64 = 30;

/// Lets time pass up to `time`, while what is known goes on to hold until `until`.
fn pass(live: &mut Option<Modelled>, over: &mut Over, time: i64, until: i64, [hold, clear_after]: [i64; 2]) {
    let Some(mut now) = live.take() else { return };
    let holds = |at: i64| at < time && at <= until;
    match (now.fired, now.gone_since) {
        (None, _) if holds(now.started + hold) => {
            now.fired = Some(now.started + hold);
            over.follow();
        }
        (Some(_), Some(since)) if holds(since + clear_after) => {
            return over.clear(now, since + clear_after);
        }
        _ => {}
    }
    *live = Some(now);
}

/// The episodes whose condition is gone.
#[derive(Default)]
struct Over {
    latches: bool,
    latched: Option<Modelled>,
    done: Vec<Modelled>,
}

impl Over {
    fn clear(&mut self, mut now: Modelled, at: i64) {
        now.cleared = Some(at);
        if self.latches && !now.acknowledged {
            self.latched = Some(now);
        } else {
            now.end = Some(End::Cleared);
            self.done.push(now);
        }
    }

    fn follow(&mut self) {
        if let Some(mut before) = self.latched.take() {
            before.end = Some(End::Followed);
            self.done.push(before);
        }
    }
}

/// The lifecycle again, as plainly as it can be said: one patient, one rule, all samples in one go.
fn model(steps: &[Step], hold: i64, clear_after: i64, latches: bool) -> Vec<Modelled> {
    let mut over = Over { latches, ..Over::default() };
    let mut live: Option<Modelled> = None;
    let (mut newest, mut until): (Option<i64>, i64) = (None, 0);
    // How many values came in a row, without a sample between that has none.
    let mut in_a_row = 0;
    for step in steps {
        let (time, rate) = match step {
            Step::Sample(after, rate) => (newest.unwrap_or(0) + after, rate),
            Step::Acknowledge => {
                if let Some(mut latched) = over.latched.take() {
                    latched.end = Some(End::Acknowledged);
                    over.done.push(latched);
                }
                if let Some(standing) = live.as_mut().filter(|standing| standing.fired.is_some()) {
                    standing.acknowledged = true;
                }
                continue;
            }
            _ => continue,
        };
        newest = Some(time);
        if rate.is_none() && in_a_row > 1 {
            until = until.min(time - 1); // a sensor that always had a value has none
        }
        pass(&mut live, &mut over, time, until, [hold, clear_after]);
        in_a_row = if rate.is_some() { in_a_row + 1 } else { 0 };
        let Some(rate) = rate else { continue };
        until = time + VALID;
        let is_true = *rate > 120.0;
        let is_gone = *rate < 110.0;
        let mut now = match live.take() {
            None if is_true => Modelled {
                started: time,
                fired: None,
                last: time,
                gone_since: None,
                cleared: None,
                end: None,
                samples: 0,
                peak: *rate,
                acknowledged: false,
            },
            None => continue,
            Some(known) => known,
        };
        if is_true {
            now.last = time;
            now.samples += 1;
            now.peak = now.peak.max(*rate);
            now.gone_since = None;
            if now.fired.is_none() && time - now.started >= hold {
                now.fired = Some(time);
                over.follow();
            }
        } else if now.fired.is_none() {
            continue; // it did not hold
        } else if is_gone {
            let since = *now.gone_since.get_or_insert(time);
            if time - since >= clear_after {
                over.clear(now, time);
                continue;
            }
        } else {
            now.gone_since = None;
        }
        live = Some(now);
    }
    let mut all: Vec<Modelled> = over.done.into_iter().chain(over.latched).chain(live).collect();
    all.sort_by_key(|episode| episode.started);
    all
}

fn as_modelled(episode: &Episode) -> Modelled {
    Modelled {
        started: second(episode.started_at),
        fired: episode.firing_at.map(second),
        last: second(episode.last_at),
        gone_since: episode.clear_since.map(second),
        cleared: episode.cleared_at.map(second),
        end: episode.end,
        samples: episode.samples,
        peak: episode.peak.value.unwrap_or(f64::NAN),
        acknowledged: false,
    }
}

/// Which event may follow which, but for those that may come at any time.
fn may_follow(before: Option<EventKind>, kind: EventKind) -> bool {
    use EventKind::{Dropped, Ended, Firing, Latched, Pending, Recovering, Relapsed};
    match before {
        None => kind == Pending,
        Some(Pending) => matches!(kind, Firing | Dropped),
        Some(Firing | Relapsed) => matches!(kind, Recovering | Latched | Ended),
        Some(Recovering) => matches!(kind, Relapsed | Latched | Ended),
        Some(Latched) => kind == Ended,
        Some(_) => false,
    }
}

fn step() -> impl Strategy<Value = Step> {
    let rate = prop_oneof![
        4 => Just(Some(130.0)),
        1 => (121.0..200.0).prop_map(|rate: f64| Some(rate.round())),
        3 => Just(Some(80.0)),
        1 => Just(Some(115.0)),
        1 => Just(None)
    ];
    prop_oneof![
        // Every ten seconds or less often; those that come late lie between, for two readings of one time are one sample.
        12 => (prop_oneof![1 => -9_i64..0, 20 => (1_i64..3).prop_map(|n| 10 * n), 1 => (3_i64..9).prop_map(|n| 10 * n)], rate)
            .prop_map(|(after, rate)| Step::Sample(after, rate)),
        2 => Just(Step::Cut),
        1 => Just(Step::Acknowledge),
        1 => Just(Step::Restart),
        1 => (1_i64..20).prop_map(Step::Silence),
    ]
}

/// Runs the steps through the real thing.
fn act_out(steps: &[Step], rule: &Rule) -> Ward {
    let mut ward = Ward::new(vec![rule.clone()]);
    let mut newest: Option<i64> = None;
    let mut samples: Vec<(i64, Option<f64>)> = Vec::new();
    let mut silences: Vec<Silence> = Vec::new();
    let mut batches = 0;
    for step in steps.iter().chain([&Step::Cut]) {
        if let Step::Sample(after, rate) = step {
            let time = newest.unwrap_or(0) + after;
            samples.push((time, *rate));
            newest = newest.max(Some(time));
            continue;
        }
        let newest = newest.unwrap_or(0);
        batches += 1;
        ward.now = at(1_000 + batches);
        ward.batch(&std::mem::take(&mut samples), Some(110.0), &[], newest);
        match step {
            Step::Acknowledge => {
                let shown: Vec<EpisodeId> = ward
                    .open
                    .iter()
                    .filter(|episode| episode.state.is_shown() && episode.handling.acknowledged.is_none())
                    .map(|episode| episode.id.clone())
                    .collect();
                let actions: Vec<Action> = shown.iter().map(|id| acknowledge(id, newest)).collect();
                let answers = ward.batch(&[], Some(110.0), &actions, newest);
                assert!(answers.iter().all(|answer| answer.refusal.is_empty()), "{answers:?}");
            }
            Step::Silence(length) => {
                let until = 1_000 + batches + length;
                let action = quiet(SilenceKind::Silence, Some(Severity::High), 1_000 + batches, until);
                let answers = ward.batch(&[], Some(110.0), &[action], newest);
                silences.extend(answers.into_iter().filter_map(|answer| answer.silence));
            }
            Step::Restart => ward.restart(&silences),
            Step::Sample(..) | Step::Cut => {}
        }
    }
    ward
}

/// The steps without samples of times that there was a sample of: two readings of one time are one sample.
fn without_doubles(steps: Vec<Step>) -> Vec<Step> {
    let (mut newest, mut seen): (Option<i64>, BTreeSet<i64>) = (None, BTreeSet::new());
    let is_new = |step: &Step| {
        let Step::Sample(after, _) = step else { return true };
        let time = newest.unwrap_or(0) + after;
        let is_new = seen.insert(time);
        newest = newest.max(Some(time).filter(|_| is_new));
        is_new
    };
    steps.into_iter().filter(is_new).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn the_lifecycle_is_that_of_the_model_whatever_happens_between_batches(
        steps in prop::collection::vec(step(), 1..80),
        hold in 0_u64..60,
        clear_after in 0_u64..60,
        latches in any::<bool>(),
    ) {
        let rule = Rule { latches, ..rule(hold, clear_after) };
        // What comes late is another stream's matter: see the tests of streams.
        let steps: Vec<Step> = steps.into_iter().filter(|step| !matches!(step, Step::Sample(..0, _))).collect();
        let ward = act_out(&steps, &rule);
        let modelled: Vec<Modelled> = model(&steps, hold as i64, clear_after as i64, latches)
            .into_iter()
            .map(|episode| Modelled { acknowledged: false, ..episode })
            .collect();
        let episodes: Vec<Modelled> = ward.episodes().iter().map(as_modelled).collect();
        prop_assert_eq!(episodes, modelled);

        let mut told: BTreeMap<EpisodeId, Vec<&str>> = BTreeMap::new();
        for notice in &ward.notices {
            told.entry(notice.episode.id.clone()).or_default().push(notice.kind.name());
        }
        for (id, events) in &ward.events {
            let numbers: Vec<u32> = events.iter().map(|event| event.number).collect();
            prop_assert_eq!(numbers, (1..=events.len() as u32).collect::<Vec<_>>(), "no event twice, none lost");
            let mut before = None;
            for event in events {
                let any_time = [EventKind::Stale, EventKind::Fresh, EventKind::Acknowledged];
                if !any_time.contains(&event.kind) {
                    prop_assert!(may_follow(before, event.kind), "{:?} after {:?}", event.kind, before);
                    before = Some(event.kind);
                }
            }
            let told = told.remove(id).unwrap_or_default();
            let episode = &ward.stored[id];
            let is_over = episode.state == State::Ended;
            let expected: &[&str] = match (told.is_empty(), is_over) {
                (true, _) => &[], // silenced, or over before the batch was
                (false, true) => &["firing", "resolved"],
                (false, false) => &["firing"],
            };
            prop_assert_eq!(told.as_slice(), expected, "{:?}", episode.state);
        }
        prop_assert!(told.is_empty());
    }

    #[test]
    fn any_batching_gives_the_same_episodes(
        steps in prop::collection::vec(step(), 1..60),
        hold in 0_u64..50,
        clear_after in 0_u64..50,
    ) {
        let steps = without_doubles(steps);
        // What people do depends on when; without it, cuts change nothing.
        let without: Vec<Step> =
            steps.iter().map(|step| match step {
                Step::Acknowledge | Step::Silence(_) => Step::Cut,
                other => other.clone(),
            }).collect();
        let one_go: Vec<Step> = without.iter().filter(|step| matches!(step, Step::Sample(..))).cloned().collect();
        let rule = rule(hold, clear_after);
        let [cut, whole] = [act_out(&without, &rule), act_out(&one_go, &rule)];
        let lasting = |ward: &Ward| -> Vec<Episode> {
            // Whether people were told, and when, is a matter of batches; so is how far time was noted to have passed.
            let lasting = |episode: Episode| Episode {
                handling: Handling::default(),
                tracks: episode.tracks.iter().map(|track| Track { passed: track.at, ..track.clone() }).collect(),
                ..episode
            };
            ward.episodes().into_iter().map(lasting).collect()
        };
        prop_assert_eq!(lasting(&cut), lasting(&whole));
    }
}
