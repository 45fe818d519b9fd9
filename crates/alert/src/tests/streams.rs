//! Several devices, clocks that differ and are set, values that come seldom: what is true of a patient then, and when.

use arrow::array::Int32Array;

use wardwatch_model::topics::Topics;

use super::*;
use crate::StalledPartition;

/// A reading of a saturation.
#[derive(Debug, Clone, Copy)]
struct Reading {
    /// The second by the device's clock.
    at: i64,
    /// The second at which Kafka stamped it.
    stamped: i64,
    device: &'static str,
    partition: i32,
    spo2: Option<f64>,
}

fn reading(at: i64, stamped: i64, device: &'static str, spo2: f64) -> Reading {
    Reading { at, stamped, device, partition: 0, spo2: Some(spo2) }
}

fn frame_of(readings: &[Reading]) -> RecordBatch {
    let seconds = |of: &dyn Fn(&Reading) -> i64| {
        let micros: TimestampMicrosecondArray = readings.iter().map(|reading| Some(of(reading) * 1_000_000)).collect();
        Arc::new(micros.with_timezone("UTC")) as _
    };
    let devices = StringViewArray::from_iter(readings.iter().map(|r| Some(r.device).filter(|name| !name.is_empty())));
    RecordBatch::try_from_iter_with_nullable([
        ("patient_id", Arc::new(StringViewArray::from_iter_values(readings.iter().map(|_| "P1"))) as _, false),
        ("event_time", seconds(&|reading| reading.at), false),
        ("device", Arc::new(devices) as _, true),
        ("spo2", Arc::new(readings.iter().map(|reading| reading.spo2).collect::<Float64Array>()) as _, true),
        ("_partition", Arc::new(Int32Array::from_iter_values(readings.iter().map(|r| r.partition))) as _, false),
        ("_stamped_at", seconds(&|reading| reading.stamped), false),
    ])
    .expect("a frame")
}

/// The frame with a column of doubtful values, where there are any.
fn with_doubtful(frame: &RecordBatch, readings: &[Reading], doubtful: Option<f64>) -> RecordBatch {
    let Some(value) = doubtful else { return frame.clone() };
    let values: Float64Array = readings.iter().map(|reading| reading.spo2.is_none().then_some(value)).collect();
    let columns = frame.schema_ref().fields().iter().zip(frame.columns());
    let columns = columns.map(|(field, values)| (field.name().clone(), Arc::clone(values), true));
    let doubtful = ("spo2_doubtful".to_owned(), Arc::new(values) as _, true);
    RecordBatch::try_from_iter_with_nullable(columns.chain([doubtful])).expect("a frame")
}

/// A patient with oximeters, and a rule that is true below 90.
struct Oximeters {
    rule: Rule,
    streams: Streams,
    open: OpenEpisodes,
    stored: BTreeMap<EpisodeId, Episode>,
    /// What stands in the doubtful column where a reading has no value.
    doubtful: Option<f64>,
    /// When each partition had a record last, by our clock.
    active: BTreeMap<Partition, i64>,
}

impl Oximeters {
    fn new(hold: u64, clear_after: u64) -> Self {
        let message = Message::parse("SpO2 {spo2:.0} < 90", frame_of(&[]).schema_ref()).expect("valid");
        let rule = Rule {
            name: "hypoxia".to_owned(),
            message: Some(message),
            vitals: vec!["spo2".to_owned()],
            measure: Measure { value: Some(3), limit: None, worse: Extreme::Min },
            ..rule(hold, clear_after)
        };
        let streams = Streams::new(Shape::new(Some("device"), [rule.depends_on()].into_iter()));
        let (open, stored) = (OpenEpisodes::default(), BTreeMap::new());
        Self { rule, streams, open, stored, doubtful: None, active: BTreeMap::new() }
    }

    /// A batch that ends when Kafka's clock is at `now`, with nothing waiting.
    fn batch(&mut self, readings: &[Reading], now: i64) {
        let all = with_doubtful(&frame_of(readings), readings, self.doubtful);
        let is_below = |reading: &&Reading| reading.spo2.is_some_and(|spo2| spo2 < 90.0);
        let below: Vec<Reading> = readings.iter().filter(is_below).copied().collect();
        let rows = (0..).zip(readings).filter(|(_, reading)| is_below(reading)).map(|(row, _)| row);
        let rows = Int64Array::from_iter_values(rows);
        let samples = self.streams.note(&all, &columns(), at(now));
        self.active.extend(readings.iter().map(|reading| (Partition(reading.partition), now)));
        self.streams.catch_up(&(0..4).map(Partition).collect(), at(now));
        let silences = self.active.iter().map(|(partition, active)| (*partition, at(now) - at(*active)));
        let arrivals = self.streams.arrivals(&silences.collect());
        let columns = columns();
        let moment = Moment {
            samples: &samples,
            streams: &self.streams,
            arrivals: &arrivals,
            lateness: TimeDelta::seconds(2),
            columns: &columns,
            now: at(now),
            event_now: at(now),
            departures: &Departures::new(),
        };
        let below = frame_of(&below);
        let conditions = Findings { rows: &below, samples: Some(&rows) };
        self.open.judge(&self.rule, &Rows { conditions, clear: None, elsewhere: Elsewhere::False }, &moment);
        self.open.let_time_pass(std::slice::from_ref(&self.rule), &moment);
        for Change { episode, .. } in self.open.take_changes() {
            self.stored.insert(episode.id.clone(), (*episode).clone());
        }
    }

    /// The readings as they came, in batches of a second by Kafka's clock.
    fn live(&mut self, readings: &[Reading]) {
        for batch in readings.chunk_by(|one, next| one.stamped == next.stamped) {
            self.batch(batch, batch[0].stamped);
        }
    }

    fn restart(&mut self) {
        let shape = self.streams.shape().as_ref().clone();
        self.streams = Streams::restore(shape, &self.streams.save()).expect("what was saved can be read");
        let live = self.stored.values().filter(|episode| episode.state.is_live()).map(|episode| Episode {
            tracks: read_tracks(&write_tracks(&episode.tracks)).expect("tracks"),
            ..episode.clone()
        });
        self.open = OpenEpisodes::new(live, Vec::new());
    }

    /// The episodes that fired: their states and the seconds at which they fired and were over.
    fn fired(&self) -> Vec<(State, i64, Option<i64>)> {
        let mut fired: Vec<_> = self
            .stored
            .values()
            .filter_map(|episode| Some((episode.state, second(episode.firing_at?), episode.ended_at.map(second))))
            .collect();
        fired.sort_by_key(|(_, fired, _)| *fired);
        fired
    }
}

#[test]
fn a_slower_clock_beside_another_is_judged_whether_or_not_devices_have_names() {
    for names in [["monitor", "oximeter"], ["", ""]] {
        let mut bed = Oximeters::new(10, 15);
        let low = |second: i64| if (20..80).contains(&second) { 82.0 } else { 97.0 };
        let readings: Vec<Reading> = (0..120)
            .flat_map(|now| [reading(now, now, names[0], 97.0), reading(now - 30, now, names[1], low(now))])
            .collect();
        bed.live(&readings);
        assert_eq!(bed.fired(), [(State::Ended, 0, Some(65))], "{names:?}");
    }
}

#[test]
fn a_clock_that_is_set_back_is_judged_again_at_once() {
    let mut bed = Oximeters::new(10, 0);
    let mut readings: Vec<Reading> = (0..600).map(|now| reading(now, now, "", 97.0)).collect();
    readings.extend((600..660).map(|now| reading(now - 500, now, "", 82.0)));
    bed.live(&readings);
    assert_eq!(bed.fired(), [(State::Firing, 110, None)]);
    bed.live(&(660..700).map(|now| reading(now - 500, now, "", 97.0)).collect::<Vec<_>>());
    assert_eq!(bed.fired(), [(State::Ended, 110, Some(160))]);
    let steps: Vec<i64> = bed.streams.clocks().filter_map(|clock| clock.stepped).map(|step| step.by).collect();
    assert_eq!(steps, [-500_000_000]);
}

#[test]
fn an_alert_that_stands_when_the_clock_is_set_back_ends_with_the_condition() {
    let mut bed = Oximeters::new(0, 0);
    let mut readings: Vec<Reading> =
        (0..600).map(|now| reading(now, now, "", if now < 590 { 97.0 } else { 82.0 })).collect();
    readings.extend((600..640).map(|now| reading(now - 300, now, "", if now < 620 { 82.0 } else { 97.0 })));
    bed.live(&readings);
    let fired = bed.fired();
    assert_eq!((fired.len(), fired[0].0, fired[0].1), (1, State::Ended, 590), "{fired:?}");
}

#[test]
fn what_is_sent_again_raises_nothing_and_what_was_never_sent_does() {
    let mut bed = Oximeters::new(0, 0);
    let past = |now: i64, stamped| reading(now, stamped, "", if (100..130).contains(&now) { 82.0 } else { 97.0 });
    bed.live(&(0..600).map(|now| past(now, now)).collect::<Vec<_>>());
    assert_eq!(bed.fired().len(), 1);
    bed.restart();
    bed.live(&(50..600).map(|now| past(now, 600)).collect::<Vec<_>>());
    assert_eq!(bed.fired().len(), 1, "{:?}", bed.fired());

    let mut bed = Oximeters::new(10, 0);
    bed.live(&(0..100).map(|now| past(now, now)).collect::<Vec<_>>());
    bed.live(&(300..310).map(|now| past(now, now)).collect::<Vec<_>>());
    bed.live(&(100..200).map(|now| past(now, 310)).collect::<Vec<_>>());
    assert_eq!(bed.fired().len(), 1, "the device had kept them while it was not connected");
}

#[test]
fn one_reading_fires_when_it_has_counted_for_long_enough_and_none_clears_by_silence() {
    let mut bed = Oximeters::new(10, 15);
    bed.batch(&[reading(100, 100, "", 80.0)], 100);
    bed.batch(&[], 111);
    assert_eq!(bed.fired(), []);
    bed.batch(&[], 112);
    assert_eq!(bed.fired(), [(State::Firing, 110, None)]);
    bed.batch(&[], 400);
    let episode = bed.stored.values().next().expect("one");
    assert_eq!((episode.state, episode.stale_at.map(second)), (State::Firing, Some(130)));
    // The next reading, ten minutes later, says that it is gone.
    bed.batch(&[reading(700, 700, "", 97.0)], 700);
    bed.restart();
    bed.batch(&[], 717);
    assert_eq!(bed.fired(), [(State::Ended, 110, Some(715))]);
}

#[test]
fn a_reading_that_is_valid_for_less_than_the_delay_fires_nothing_by_itself() {
    let mut bed = Oximeters::new(60, 0);
    bed.batch(&[reading(100, 100, "", 80.0)], 100);
    bed.batch(&[], 1_000);
    assert_eq!(bed.fired(), []);
}

#[test]
fn of_two_devices_that_disagree_the_one_that_says_so_wins_until_it_has_fallen_silent() {
    let mut bed = Oximeters::new(10, 0);
    let both = |now: i64| [reading(now, now, "a", 82.0), reading(now, now, "b", 97.0)];
    // Two devices never measure at the very same instant; a microsecond apart is not needed here, for rows go by devices.
    let apart: Vec<Reading> = (0..60)
        .flat_map(both)
        .enumerate()
        .map(|(place, reading)| Reading {
            at: 2 * reading.at + place as i64 % 2,
            stamped: 2 * reading.stamped + place as i64 % 2,
            ..reading
        })
        .collect();
    bed.live(&apart);
    assert_eq!(bed.fired(), [(State::Firing, 10, None)]);
    bed.live(&(120..160).map(|now| reading(now, now, "b", 97.0)).collect::<Vec<_>>());
    let fired = bed.fired();
    assert_eq!((fired.len(), fired[0].0), (1, State::Ended), "{fired:?}");
    assert!(fired[0].2.is_some_and(|ended| ended >= 118 + 30), "it counted for as long as it is valid: {fired:?}");
}

#[test]
fn a_device_that_sends_seldom_hides_nothing_of_another_without_a_name_whose_clock_agrees() {
    for every in [1, 2, 5, 9] {
        let mut bed = Oximeters::new(10, 15);
        let low = |now: i64| reading(now, now, "", if now < 80 { 97.0 } else { 80.0 });
        let well = (0..300).step_by(every * 2).map(|now| reading(now + 1, now + 1, "", 98.0));
        let mut all: Vec<Reading> = (0..300).step_by(2).map(low).chain(well).collect();
        all.sort_by_key(|reading| reading.stamped);
        bed.live(&all);
        let fired = bed.fired();
        assert!(fired.iter().any(|(state, ..)| *state == State::Firing), "each {every}: {fired:?}");
    }
}

/// A device has one value at a time.
#[test]
fn two_devices_without_names_that_tell_the_very_same_times_are_told_apart() {
    for [first, second] in [[80.0, 97.0], [97.0, 80.0]] {
        for every in [1, 10, 30] {
            let mut bed = Oximeters::new(10, 15);
            bed.rule.stale_after = Duration::from_secs(60);
            let both = |now: i64| [reading(now, now, "", first), reading(now, now, "", second)];
            bed.live(&(0..10).flat_map(|number| both(number * every)).collect::<Vec<_>>());
            let fired = bed.fired();
            let is_firing = fired.iter().any(|(state, ..)| *state == State::Firing);
            assert!(is_firing || every == 1, "{first}, each {every} s: {fired:?}");
            bed.live(&(10..40).flat_map(|number| both(number * every)).collect::<Vec<_>>());
            let fired = bed.fired();
            assert!(fired.iter().any(|(state, ..)| *state == State::Firing), "{first}, each {every} s: {fired:?}");
        }
    }
    // One that corrects itself, or tells a vital twice, is one.
    let mut bed = Oximeters::new(10, 15);
    let once = |now: i64| match now % 50 {
        0 => vec![reading(now, now, "", 80.0), reading(now, now, "", 97.0)],
        _ => vec![reading(now, now, "", 97.0), reading(now, now, "", 97.5)],
    };
    bed.live(&(0..300).flat_map(once).collect::<Vec<_>>());
    assert_eq!(bed.fired(), []);
}

/// A gateway that sends each half minute: what stands last in a burst has not held until the next one comes.
#[test]
fn what_is_sent_in_bursts_is_judged_by_its_own_time_and_not_by_the_wait_for_the_next_burst() {
    let check = |value: &dyn Fn(i64) -> f64, expected: &[(State, i64, Option<i64>)]| {
        let mut bed = Oximeters::new(10, 15);
        for burst in 1..7 {
            let sent = |at: i64| reading(at, burst * 30, "gateway", value(at));
            bed.live(&((burst - 1) * 30..burst * 30).map(sent).collect::<Vec<_>>());
            (1..30).for_each(|second| bed.batch(&[], burst * 30 + second));
        }
        assert_eq!(bed.fired(), expected);
    };
    check(&|at| if (118..120).contains(&at) { 80.0 } else { 97.0 }, &[]);
    check(&|at| if (40..160).contains(&at) && at != 119 { 80.0 } else { 97.0 }, &[(State::Ended, 50, Some(175))]);
}

#[test]
fn an_alert_of_two_clocks_far_apart_ends_when_both_have_said_so_for_long_enough() {
    let mut bed = Oximeters::new(0, 15);
    let spo2 = |now: i64| if (20..40).contains(&now) { 82.0 } else { 97.0 };
    let both = |now: i64| [reading(now, now, "", spo2(now)), reading(now - 300, now, "", spo2(now))];
    bed.live(&(0..80).flat_map(both).collect::<Vec<_>>());
    let fired = bed.fired();
    assert_eq!((fired.len(), fired[0].0, fired[0].1), (1, State::Ended, 20), "{fired:?}");
}

#[test]
fn records_of_another_clock_let_no_time_pass() {
    let mut bed = Oximeters::new(10, 0);
    let low = |now: i64| if (20..24).contains(&now) { 82.0 } else { 97.0 };
    let without = |now: i64| Reading { spo2: None, ..reading(now + 250, now, "", 97.0) };
    bed.live(&(0..60).flat_map(|now| [reading(now, now, "", low(now)), without(now)]).collect::<Vec<_>>());
    assert_eq!(bed.fired(), []);
}

#[test]
fn an_alert_waits_with_its_end_for_a_stream_that_has_not_come_so_far() {
    let mut bed = Oximeters::new(0, 10);
    let second_partition =
        |at: i64, stamped: i64, spo2: f64| Reading { partition: 1, ..reading(at, stamped, "b", spo2) };
    let all = [reading(100, 100, "a", 82.0), second_partition(80, 100, 97.0), reading(105, 105, "a", 97.0)];
    let frame = all.map(|reading| Reading { stamped: reading.at, ..reading });
    // The second partition waits to be read: its stamps stand at 80.
    let now = frame_of(&frame);
    let samples = bed.streams.note(&now, &columns(), at(130));
    let arrivals = bed.streams.arrivals(&BTreeMap::from([(Partition(0), TimeDelta::seconds(25))]));
    let columns = columns();
    let moment = Moment {
        samples: &samples,
        streams: &bed.streams,
        arrivals: &arrivals,
        lateness: TimeDelta::seconds(2),
        columns: &columns,
        now: at(130),
        event_now: at(130),
        departures: &Departures::new(),
    };
    bed.open.judge(
        &bed.rule,
        &Rows { conditions: found(&frame_of(&frame[..1])), clear: None, elsewhere: Elsewhere::False },
        &moment,
    );
    bed.open.let_time_pass(std::slice::from_ref(&bed.rule), &moment);
    let episode = bed.open.iter().next().expect("it waits");
    assert_eq!(episode.state, State::Recovering);
    let arrivals = bed
        .streams
        .arrivals(&BTreeMap::from([(Partition(0), TimeDelta::seconds(25)), (Partition(1), TimeDelta::seconds(50))]));
    bed.open.let_time_pass(std::slice::from_ref(&bed.rule), &Moment { arrivals: &arrivals, ..moment });
    assert_eq!(bed.open.iter().count(), 0);
}

#[test]
fn streams_are_read_back_as_they_were_saved() {
    let mut bed = Oximeters::new(0, 0);
    bed.live(
        &(0..200).flat_map(|now| [reading(now, now, "a", 97.0), reading(now - 40, now, "b", 96.0)]).collect::<Vec<_>>(),
    );
    let (shape, bytes) = (bed.streams.shape().as_ref().clone(), bed.streams.save());
    let read = Streams::restore(shape.clone(), &bytes).expect("streams");
    assert_eq!(read.save().len(), bytes.len());
    assert!(Streams::restore(shape.clone(), &bytes[..bytes.len() - 1]).is_none());
    let unnamed = Shape::new(None, [bed.rule.depends_on()].into_iter());
    assert!(Streams::restore(unnamed, &bytes).is_none(), "streams were told apart in another way");
    // The rules were edited meanwhile: what they were not judged on is not known, all else is.
    let pulse = vec!["pulse".to_owned()];
    let edited = Shape::new(Some("device"), [bed.rule.depends_on(), &pulse].into_iter());
    let mut read = Streams::restore(edited, &bytes).expect("streams");
    assert_eq!(read.last_value("P1", "spo2"), bed.streams.last_value("P1", "spo2"));
    read.reshape(shape);
    assert_eq!(read.save(), bed.streams.save());
}

#[test]
fn a_vital_that_comes_but_can_never_be_read_is_not_judged_and_told() {
    #[derive(Debug)]
    struct Job;
    impl ValidFor for Job {
        fn valid_for(&self, _: &str) -> Duration {
            Duration::from_secs(30)
        }
        fn label<'a>(&'a self, column: &'a str) -> &'a str {
            column
        }
    }
    let mut bed = Oximeters::new(10, 0);
    let off = |second: i64| Reading { spo2: None, ..reading(second, second, "", 0.0) };
    let unjudged = |bed: &mut Oximeters, now: i64| {
        let samples = bed.streams.note(&frame_of(&[off(now)]), &columns(), at(now));
        let arrivals = bed.streams.arrivals(&BTreeMap::new());
        let columns = columns();
        let moment = Moment {
            samples: &samples,
            streams: &bed.streams,
            arrivals: &arrivals,
            lateness: TimeDelta::seconds(2),
            columns: &columns,
            now: at(now),
            event_now: at(now),
            departures: &Departures::new(),
        };
        let bad = BadValue { first: at(0), last: at(now), reason: "is not a valid number".to_owned() };
        let bad_values = BadValues::from([(("P1".into(), "spo2".to_owned()), bad)]);
        let (rules, failing) = (std::slice::from_ref(&bed.rule), BTreeMap::new());
        let (unread, wards) = (Unread::default(), Wards::default());
        let watch = Watch {
            rules,
            moment: &moment,
            valid_for: &Job,
            bad_values: &bad_values,
            rejected: &BTreeMap::new(),
            failing: &failing,
            unread: &unread,
            wards: &wards,
            others: &[],
        };
        watch.unjudged(&bed.open).into_iter().map(|unjudged| (unjudged.cause, unjudged.detail)).collect::<Vec<_>>()
    };
    assert_eq!(unjudged(&mut bed, 29), []);
    assert_eq!(unjudged(&mut bed, 30), [(Why::BadValue, "what is sent as spo2 is not a valid number".to_owned())]);
}

#[test]
fn a_sensor_that_falls_silent_does_not_fire_by_itself_and_a_doubtful_value_is_no_silence() {
    let falling = |second: i64| [95.0, 88.0, 70.0, 55.0].get(second as usize).copied();
    let off = |second: i64| Reading { spo2: falling(second), ..reading(second, second, "", 0.0) };
    let mut bed = Oximeters::new(10, 0);
    bed.live(&(0..30).map(off).collect::<Vec<_>>());
    assert_eq!(bed.fired(), [], "the probe fell off after two low readings");

    let mut bed = Oximeters::new(10, 0);
    bed.doubtful = Some(44.0);
    bed.live(&(0..30).map(off).collect::<Vec<_>>());
    assert_eq!(bed.fired(), [(State::Firing, 11, None)], "it goes on, lower than what is plausible");
}

/// Columns are valid for half a minute.
#[derive(Debug)]
struct HalfAMinute;

impl ValidFor for HalfAMinute {
    fn valid_for(&self, _: &str) -> Duration {
        Duration::from_secs(30)
    }
    fn label<'a>(&'a self, column: &'a str) -> &'a str {
        column
    }
}

/// Patient, rule, cause, since and how many, of what is not judged at `now` of two patients whose last readings were at 0 s.
fn unjudged_at(now: i64, bed: &mut Oximeters, unread: &Unread) -> Vec<(String, String, Why, i64, usize)> {
    unjudged_while(now, bed, unread, &BTreeMap::new())
}

/// The same while of these patients no record can be read.
fn unjudged_while(
    now: i64,
    bed: &mut Oximeters,
    unread: &Unread,
    rejected: &BTreeMap<Arc<str>, (Why, String)>,
) -> Vec<(String, String, Why, i64, usize)> {
    let samples = bed.streams.note(&frame_of(&[]), &columns(), at(now));
    let arrivals = bed.streams.arrivals(&BTreeMap::from([(Partition(0), TimeDelta::seconds(now))]));
    let columns = columns();
    let moment = Moment {
        samples: &samples,
        streams: &bed.streams,
        arrivals: &arrivals,
        lateness: TimeDelta::seconds(2),
        columns: &columns,
        now: at(now),
        event_now: at(now),
        departures: &Departures::new(),
    };
    let (bad_values, failing, wards) = (BadValues::default(), BTreeMap::new(), Wards::default());
    let watch = Watch {
        rules: std::slice::from_ref(&bed.rule),
        moment: &moment,
        valid_for: &HalfAMinute,
        bad_values: &bad_values,
        rejected,
        failing: &failing,
        unread,
        wards: &wards,
        others: &[],
    };
    let found = watch.unjudged(&bed.open).into_iter();
    let since = |one: &Unjudged| (one.since - at(0)).num_seconds();
    found.map(|one| (one.patient.to_string(), one.rule.clone(), one.cause, since(&one), one.patients)).collect()
}

#[test]
fn until_its_values_expire_a_patient_of_whom_no_record_can_be_read_is_judged_by_them() {
    let mut bed = Oximeters::new(10, 0);
    bed.batch(&[reading(0, 0, "", 97.0)], 0);
    let rejected = BTreeMap::from([("P1".into(), (Why::Clock, "an hour ahead".to_owned()))]);
    let mut at = |now: i64| {
        let found = unjudged_while(now, &mut bed, &Unread::default(), &rejected);
        let arrivals = bed.streams.arrivals(&BTreeMap::from([(Partition(0), TimeDelta::seconds(now))]));
        let counts = bed.streams.has_valid_value("P1", &arrivals, &|_| Duration::from_secs(30));
        (found, counts)
    };
    assert_eq!(at(29), (Vec::new(), true));
    let expired = ("P1".to_owned(), "hypoxia".to_owned(), Why::Clock, 30, 1);
    assert_eq!(at(40), (vec![expired], false));
}

#[test]
fn while_records_cannot_be_read_that_is_why_values_are_valid_no_longer() {
    let mut bed = Oximeters::new(10, 0);
    bed.batch(&[reading(0, 0, "", 97.0)], 0);
    let stands = |since: i64| (at(since), "no leader".to_owned());
    let named = |cause, since| vec![("P1".to_owned(), "hypoxia".to_owned(), cause, since, 1)];

    assert_eq!(unjudged_at(29, &mut bed, &Unread::default()), []);
    assert_eq!(unjudged_at(40, &mut bed, &Unread::default()), named(Why::NoValue, 30));
    let of = |number| {
        let (since, reason) = stands(20);
        let stalled = StalledPartition { shown: Topics::one("vitals").show(Partition(number)), since, reason };
        Unread { stalled: BTreeMap::from([(Partition(number), stalled)]), ..Unread::default() }
    };
    let stalled = of(0);
    assert_eq!(
        unjudged_at(40, &mut bed, &stalled),
        [("P1".to_owned(), EVERY_RULE.to_owned(), Why::PartitionStalled, 20, 1)]
    );
    let other = of(7);
    assert_eq!(unjudged_at(40, &mut bed, &other), named(Why::NoValue, 30), "another partition is no reason");
    let away = Unread { kafka_away: Some(stands(25)), ..Unread::default() };
    assert_eq!(unjudged_at(40, &mut bed, &away), [(String::new(), EVERY_RULE.to_owned(), Why::KafkaAway, 25, 1)]);
    // What was missed before is missed for its own reason.
    let later = Unread { kafka_away: Some(stands(50)), ..Unread::default() };
    assert_eq!(
        unjudged_at(60, &mut bed, &later),
        [vec![(String::new(), EVERY_RULE.to_owned(), Why::KafkaAway, 50, 1)], named(Why::NoValue, 30)].concat()
    );
}

#[test]
fn a_rule_that_is_judged_once_per_batch_goes_on_while_any_of_its_vitals_is_valid() {
    let mut bed = Oximeters::new(10, 0);
    bed.rule.judged = Judged::ByBatch;
    bed.rule.vitals = vec!["spo2".to_owned(), "pulse".to_owned()];
    bed.streams = Streams::new(Shape::new(Some("device"), [bed.rule.depends_on()].into_iter()));
    bed.streams.note(&frame_of(&[reading(0, 0, "", 97.0)]), &columns(), at(0));
    assert_eq!(unjudged_at(29, &mut bed, &Unread::default()), []);
    let found = unjudged_at(40, &mut bed, &Unread::default());
    assert_eq!(found.iter().map(|one| (one.2, one.3)).collect::<Vec<_>>(), [(Why::NoValue, 30)]);
    // By sample, a pulse that the patient never had is not missed, and so the rule is not either.
    bed.rule.judged = Judged::BySample;
    assert_eq!(unjudged_at(40, &mut bed, &Unread::default()), []);
}

#[test]
fn patients_are_counted_once_however_many_rules_and_everybody_by_the_row_of_everybody() {
    let row = |patient: &str, cause, patients| Unjudged {
        patient: patient.into(),
        patients,
        rule: "hypoxia".to_owned(),
        judged_until: None,
        since: at(0),
        cause,
        detail: String::new(),
        told_by: None,
    };
    let two = [row("P1", Why::NoValue, 1), row("P1", Why::Suppressed, 1), row("P2", Why::Paused, 1)];
    assert_eq!(unjudged_patients(&two), 2);
    let all = [&two[..], &[row("", Why::QueryFailing, 40)]].concat();
    assert_eq!(unjudged_patients(&all), 40);
    let strangers = [&all[..], &[row("", Why::NotAttached, 3)]].concat();
    assert_eq!(unjudged_patients(&strangers), 43);
}

#[test]
fn the_newest_reading_again_does_not_count_anew() {
    let mut bed = Oximeters::new(0, 0);
    bed.live(&[reading(100, 100, "a", 80.0), reading(100, 128, "a", 80.0)]);
    bed.batch(&[], 131);
    let episode = bed.stored.values().next().expect("one");
    assert_eq!(episode.stale_at.map(second), Some(130));
}

#[test]
fn what_a_device_had_kept_fires_nothing_by_time_that_is_known_to_be_otherwise() {
    let mut bed = Oximeters::new(10, 0);
    let value = |at: i64| if (125..130).contains(&at) { 80.0 } else { 97.0 };
    let now = |at: i64| reading(at, at, "a", value(at));
    bed.live(&(0..100).chain(130..140).map(now).collect::<Vec<_>>());
    bed.live(&(100..130).map(|at| reading(at, 140, "a", value(at))).collect::<Vec<_>>());
    bed.live(&(140..170).map(now).collect::<Vec<_>>());
    assert_eq!(bed.fired(), []);
}

#[test]
fn a_clock_that_stands_still_or_tells_whole_minutes_is_judged_as_time_passes() {
    let low = |now: i64| if (30..90).contains(&now) { 80.0 + (now % 2) as f64 } else { 97.0 - (now % 2) as f64 };
    let mut still = Oximeters::new(10, 15);
    still.live(&(0..150).map(|now| reading(now.min(20), now, "", low(now))).collect::<Vec<_>>());
    assert_eq!(still.fired(), [(State::Ended, 40, Some(105))]);
    let mut minutes = Oximeters::new(10, 15);
    minutes.live(&(0..150).map(|now| reading(now / 60 * 60, now, "", low(now))).collect::<Vec<_>>());
    assert_eq!(minutes.fired(), [(State::Ended, 40, Some(105))]);
}

#[test]
fn what_is_sent_again_with_the_stamps_of_before_raises_nothing() {
    let mut bed = Oximeters::new(10, 15);
    let low = |now: i64| if (20..60).contains(&now) || (3_300..3_360).contains(&now) { 80.0 } else { 97.0 };
    let all: Vec<Reading> = (0..4_000).map(|now| reading(now, now, "", low(now))).collect();
    bed.live(&all);
    let fired = bed.fired();
    assert_eq!(fired.len(), 2);
    for again in [&all[3_200..3_900], &all[3_330..]] {
        bed.restart();
        bed.live(again);
        assert_eq!(bed.fired(), fired);
    }
}

/// Of so long ago, nothing tells it from what is sent again; silence would be the worse mistake.
#[test]
fn a_gateway_whose_clock_is_set_back_with_its_stamps_is_judged() {
    for device in ["monitor", ""] {
        let mut bed = Oximeters::new(10, 15);
        bed.live(&(0..3_000).map(|now| reading(now, now, device, 97.0)).collect::<Vec<_>>());
        for now in 3_000..3_060 {
            bed.batch(&[reading(now - 2_500, now - 2_500, device, 80.0)], now);
        }
        let fired = bed.fired();
        assert_eq!((fired.len(), fired[0].0), (1, State::Firing), "{device}: {fired:?}");
    }
}

#[test]
fn times_that_run_backwards_are_not_taken_for_judged() {
    let mut bed = Oximeters::new(10, 15);
    bed.live(&(0..60).map(|now| reading(now, now, "", 97.0)).collect::<Vec<_>>());
    bed.live(&(60..120).map(|now| reading(120 - now - 1_000, now, "", 80.0)).collect::<Vec<_>>());
    assert_eq!(bed.streams.last_value("P1", "spo2"), Some(at(120 - 64 - 1_000)), "so that it expires, and is told of");
    assert_eq!(bed.fired(), []);
    let tracks: Vec<usize> = bed.open.iter().map(|episode| episode.tracks.len()).collect();
    assert!(tracks.iter().all(|count| *count <= 5), "what each was in doubt of does not pile up: {tracks:?}");
}

#[test]
fn what_is_measured_seldom_is_judged_though_the_clock_was_set_back_or_it_had_been_kept() {
    // A cuff, whose clock is set back by twenty minutes: the first reading by it is low, and there is none for ten minutes.
    let mut bed = Oximeters::new(10, 15);
    let before = (0..4).map(|number| reading(number * 600, number * 600, "cuff", 97.0));
    bed.live(&before.collect::<Vec<_>>());
    bed.live(&[reading(1_200, 2_400, "cuff", 80.0)]);
    bed.batch(&[], 2_430);
    assert_eq!(bed.fired(), [(State::Firing, 1_210, None)]);

    // One that had kept a low reading, and sends it behind the one that came after.
    let mut bed = Oximeters::new(10, 15);
    bed.live(&[reading(-600, -600, "cuff", 97.0), reading(0, 0, "cuff", 97.0), reading(1_200, 1_200, "cuff", 97.0)]);
    bed.live(&[reading(600, 1_201, "cuff", 80.0)]);
    bed.batch(&[], 1_230);
    bed.live(&[reading(1_800, 1_800, "cuff", 97.0)]);
    bed.batch(&[], 1_830);
    assert_eq!(bed.fired(), [(State::Ended, 610, Some(1_815))]);
}

#[test]
fn a_cuff_that_is_set_back_behind_all_that_it_has_sent_is_judged_at_once_whether_or_not_it_has_a_name() {
    for name in ["cuff", ""] {
        for back in [1_810, 1_300] {
            let mut bed = Oximeters::new(10, 15);
            let before = (0..3).map(|number| reading(number * 600, number * 600, name, 97.0));
            bed.live(&before.collect::<Vec<_>>());
            bed.live(&[reading(1_800 - back, 1_800, name, 80.0)]);
            bed.batch(&[], 1_830);
            assert_eq!(bed.fired(), [(State::Firing, 1_810 - back, None)], "{name} {back}");
        }
    }
}

#[test]
fn a_late_reading_fires_in_one_batch_with_the_next_as_it_does_in_two() {
    let readings = [
        reading(0, 0, "cuff", 97.0),
        reading(600, 600, "cuff", 97.0),
        reading(1_200, 1_200, "cuff", 97.0),
        reading(900, 1_202, "cuff", 80.0),
        reading(1_240, 1_240, "cuff", 97.0),
    ];
    let (mut live, mut at_once) = (Oximeters::new(10, 15), Oximeters::new(10, 15));
    live.live(&readings);
    at_once.batch(&readings, 1_240);
    for bed in [&mut live, &mut at_once] {
        bed.batch(&[], 1_300);
        assert_eq!(bed.fired(), [(State::Ended, 910, Some(1_255))]);
    }
}

#[test]
fn what_had_been_kept_is_judged_from_its_first_sample_and_does_not_go_on_to_be_pending() {
    for (name, step, count) in [("a", 1, 11), ("", 1, 11), ("a", 5, 3), ("", 10, 2)] {
        let mut bed = Oximeters::new(10, 0);
        let kept = |at: i64| (100..100 + step * count).contains(&at);
        bed.live(&(0..150).filter(|at| !kept(*at)).map(|at| reading(at, at, name, 97.0)).collect::<Vec<_>>());
        bed.live(&(0..count).map(|number| reading(100 + number * step, 150, name, 80.0)).collect::<Vec<_>>());
        bed.live(&(150..400).map(|at| reading(at, at, name, 97.0)).collect::<Vec<_>>());
        assert_eq!(bed.fired().iter().map(|(_, fired, _)| *fired).collect::<Vec<_>>(), [110], "{name} {step} {count}");

        // One that is too short is nothing, and leaves nothing behind.
        let mut bed = Oximeters::new(30, 0);
        bed.live(&(0..150).filter(|at| !kept(*at)).map(|at| reading(at, at, name, 97.0)).collect::<Vec<_>>());
        bed.live(&(0..count).map(|number| reading(100 + number * step, 150, name, 80.0)).collect::<Vec<_>>());
        bed.live(&(150..400).map(|at| reading(at, at, name, 97.0)).collect::<Vec<_>>());
        assert!(bed.open.iter().next().is_none(), "{name} {step} {count}: {:?}", bed.stored);
    }
}

#[test]
fn a_device_with_a_name_whose_clock_is_set_back_has_one_clock() {
    let mut bed = Oximeters::new(10, 0);
    let back = |at: i64| if at < 100 { at } else { at - 20 };
    for at in 0..130 {
        bed.live(&[reading(back(at), at, "monitor", 97.0)]);
        let apart = bed.streams.clocks().find(|clock| clock.delays[0] != clock.delays[1]);
        assert!(apart.is_none(), "{at}: {apart:?}");
    }
}

/// While times ascend nobody can say that there are two, and the next reading of either ends an alert; but each low reading fires,
/// and clocks that are further apart than readings are told apart from the second reading that shows it.
#[test]
fn of_two_cuffs_without_names_each_low_reading_fires_whatever_their_clocks_and_none_ends_the_others() {
    for skew in [-4_000, -1_000, -400, -200, -90, -45, -20, 0, 25, 45, 90, 200, 400, 1_000, 4_000] {
        for offset in [30, 300, 570] {
            let mut bed = Oximeters::new(10, 15);
            bed.rule.stale_after = Duration::from_secs(1_500);
            let low = |number: &i64| if (2..4).contains(number) { 80.0 } else { 97.0 };
            let mut all: Vec<Reading> = (0..7).map(|number| reading(number * 600, number * 600, "", 97.0)).collect();
            let second = (0..7).map(|number| (number * 600 + offset, low(&number)));
            all.extend(second.map(|(now, spo2)| reading(now + skew, now, "", spo2)));
            all.sort_by_key(|reading| reading.stamped);
            for (place, reading) in all.into_iter().enumerate() {
                bed.live(&[reading]);
                bed.batch(&[], reading.stamped + 20);
                bed.batch(&[], reading.stamped + 28);
                let stands = bed.fired().iter().any(|(state, ..)| *state == State::Firing);
                let is_second = place % 2 == 1;
                let is_far = skew.abs() >= 1_000;
                if is_second || is_far {
                    let low = (1_200 + offset..2_400 + offset).contains(&reading.stamped);
                    assert_eq!(stands, low, "skew {skew}, offset {offset}, at {}: {:?}", reading.stamped, bed.fired());
                }
            }
        }
    }
}

/// A cuff beside a monitor that has no name either, whose first readings had been kept: nobody waits for its next one.
#[test]
fn what_had_been_kept_first_is_followed_by_what_is_measured_now() {
    let monitor = |now: i64| Reading { spo2: None, ..reading(now, now, "", 0.0) };
    // Readings of (stamp, event time, value) and, since when it fires at last, where it does.
    let check = |readings: &[(i64, i64, f64)], fires: Option<i64>| {
        let mut bed = Oximeters::new(10, 15);
        bed.rule.stale_after = Duration::from_secs(4 * 3_600);
        let mut all: Vec<Reading> = (0..120).map(monitor).collect();
        all.extend(readings.iter().map(|(now, at, value)| reading(*at, *now, "", *value)));
        all.sort_by_key(|reading| reading.stamped);
        bed.live(&all);
        bed.batch(&[], 140);
        let fired = bed.fired().into_iter().rfind(|(state, ..)| *state == State::Firing);
        assert_eq!(fired.map(|(_, at, _)| at), fires, "{readings:?}: {:?}", bed.fired());
    };
    check(&[(25, -600, 97.0), (26, -300, 97.0), (27, 27, 80.0)], Some(37));
    check(&[(45, 5, 97.0), (60, 60, 80.0)], Some(70));
    check(&[(25, -600, 97.0), (90, 90, 80.0)], Some(100));
    check(&[(25, -600, 97.0), (40, 40, 97.0), (70, 70, 80.0)], Some(80));
    check(&[(25, -600, 97.0), (26, -300, 97.0), (26, -5, 80.0)], Some(5));
    check(&[(41, 1, 97.0), (51, 11, 97.0), (61, 21, 97.0), (75, 75, 80.0)], Some(85));
    check(&[(5, 5, 97.0), (25, -600, 97.0), (50, 50, 80.0)], Some(60));
    check(&[(25, -600, 80.0), (50, 50, 97.0)], None);
    check(&[(25, -20, 80.0), (50, 50, 97.0)], None);
    check(&[(25, -600, 80.0), (50, 50, 97.0), (80, 80, 97.0)], None);
    check(&[(25, -600, 80.0), (26, -300, 97.0)], None);
}

#[test]
fn what_is_measured_seldom_holds_though_the_next_attempt_brings_no_value() {
    for (valid_for, fired) in [(4 * 3_600, vec![(State::Firing, 1_210, None)]), (30, vec![])] {
        let mut bed = Oximeters::new(10, 0);
        bed.rule.stale_after = Duration::from_secs(valid_for);
        let readings = [(0, 97.0), (600, 97.0), (1_200, 80.0)].map(|(at, spo2)| reading(at, at, "cuff", spo2));
        bed.live(&readings);
        bed.live(&[Reading { spo2: None, ..reading(1_204, 1_204, "cuff", 0.0) }]);
        bed.batch(&[], 1_230);
        assert_eq!(bed.fired(), fired, "valid for {valid_for} s");
    }
}

#[test]
fn what_came_while_nobody_read_has_held_since_it_came() {
    for hold in [10, 600] {
        let mut bed = Oximeters::new(hold, 0);
        bed.rule.stale_after = Duration::from_secs(4 * 3_600);
        bed.live(&[reading(0, 0, "cuff", 97.0), reading(600, 600, "cuff", 97.0)]);
        bed.batch(&[], 605);
        bed.batch(&[reading(1_200, 1_200, "cuff", 80.0)], 1_900);
        let hold = i64::try_from(hold).expect("a length");
        assert_eq!(bed.fired(), [(State::Firing, 1_200 + hold, None)]);

        // And so it is known after another stop.
        bed.restart();
        assert_eq!(
            bed.streams.arrivals(&BTreeMap::from([(Partition(0), TimeDelta::zero())])).newest(),
            Some(1_900_000_000)
        );
    }

    // What waited when the job was started for the first time has waited since it came.
    let mut bed = Oximeters::new(600, 0);
    bed.rule.stale_after = Duration::from_secs(4 * 3_600);
    bed.batch(&[reading(600, 600, "cuff", 80.0)], 1_300);
    assert_eq!(bed.fired(), [(State::Firing, 1_200, None)]);
    let mut bed = Oximeters::new(600, 0);
    bed.rule.stale_after = Duration::from_secs(4 * 3_600);
    bed.batch(&[reading(600, 600, "cuff", 80.0)], 600 + 86_401);
    assert_eq!(bed.fired(), [], "a recording is read as it was made");

    // What waited before tells nothing of what is read since, also where more waits at first.
    let mut bed = Oximeters::new(600, 0);
    bed.live(&[reading(600, 600, "cuff", 97.0)]);
    bed.batch(&[reading(1_200, 1_200, "cuff", 97.0)], 1_900);
    bed.streams.note(&frame_of(&[reading(1_950, 1_950, "cuff", 97.0)]), &columns(), at(1_950));
    bed.streams.catch_up(&BTreeSet::new(), at(1_950));
    bed.streams.catch_up(&BTreeSet::from([Partition(0)]), at(1_951));
    let arrivals = bed.streams.arrivals(&BTreeMap::from([(Partition(0), TimeDelta::seconds(1))]));
    assert_eq!(arrivals.newest(), Some(1_951_000_000));

    // A stamp from before we looked last is of a clock that is wrong: how long ago that was, nobody knows.
    let mut bed = Oximeters::new(600, 0);
    bed.rule.stale_after = Duration::from_secs(4 * 3_600);
    bed.live(&[reading(0, 0, "cuff", 97.0), reading(600, 600, "cuff", 97.0)]);
    bed.batch(&[], 1_895);
    bed.batch(&[reading(1_200, 1_200, "cuff", 80.0)], 1_900);
    assert_eq!(bed.fired(), []);
    bed.batch(&[], 1_900 + 615);
    assert_eq!(bed.fired(), [(State::Firing, 1_800, None)]);
}

#[test]
fn a_clock_of_a_named_device_that_was_set_between_readings_is_known_by_the_second_and_it_does_not_disagree_with_itself()
{
    let mut bed = Oximeters::new(10, 0);
    bed.rule.stale_after = Duration::from_secs(4 * 3_600);
    bed.live(&[reading(0, 0, "cuff", 97.0), reading(600, 600, "cuff", 80.0)]);
    bed.batch(&[], 630);
    bed.live(&[reading(-600, 1_200, "cuff", 97.0)]);
    bed.batch(&[], 1_290);
    assert_eq!(bed.fired(), [(State::Firing, 610, None)], "it may have been kept");
    bed.live(&[reading(0, 1_800, "cuff", 97.0)]);
    bed.batch(&[], 1_890);
    assert_eq!(bed.fired().iter().map(|(state, ..)| *state).collect::<Vec<_>>(), [State::Ended]);
}
