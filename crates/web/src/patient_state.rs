//! What is known of one patient from what was read so far: the newest value of each column, half an hour of history, the
//! score. Values in, values out.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};

use wardwatch_report::{SparkPoint, shown, spark_path};

use super::vitals::{Vital, Vitals};

/// How far back small lines reach.
pub(super) const HISTORY: TimeDelta = TimeDelta::minutes(30);

/// A point of a small line stands for so long; sixty of them are as many as its pixels can tell apart.
const STEP: TimeDelta = TimeDelta::seconds(30);

/// How far back an arrow looks.
const SLOPE: TimeDelta = TimeDelta::minutes(5);

/// The pixels of a small line.
pub(super) const SPARK: (u32, u32) = (60, 24);

/// A patient as far as rows have told.
#[derive(Debug, Clone)]
pub(super) struct PatientState {
    /// The time of the newest row.
    pub(super) newest: DateTime<Utc>,
    /// The newest value of each column, and its time.
    latest: Vec<Option<(DateTime<Utc>, f64)>>,
    /// Half an hour of each column.
    history: Vec<VecDeque<Step>>,
    /// The scores of the last half hour.
    scores: VecDeque<Score>,
}

/// What a column did in one step of time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    number: i64,
    low: f64,
    high: f64,
    sum: f64,
    count: u32,
}

/// A score.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Score {
    /// The minute that it is of.
    pub(super) at: DateTime<Utc>,
    /// The score.
    pub(super) value: f64,
    /// How it is written: `5 (3 of 7)`.
    pub(super) label: String,
}

/// Where something is going.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trend {
    Up,
    Steady,
    Down,
}

impl Trend {
    /// The sign, which is empty where nothing moves.
    pub(super) fn sign(self, (up, down): (&'static str, &'static str)) -> &'static str {
        match self {
            Self::Up => up,
            Self::Steady => "",
            Self::Down => down,
        }
    }
}

/// A number of a tile.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Number {
    /// How it is written; a blood pressure is `118/76`.
    pub(super) text: String,
    /// When it was measured; `None` where there is none.
    pub(super) at: Option<DateTime<Utc>>,
    /// Where it is going.
    pub(super) trend: Trend,
}

impl PatientState {
    /// A patient of whom there is nothing but the time of a row.
    pub(super) fn new(columns: usize, newest: DateTime<Utc>) -> Self {
        Self { newest, latest: vec![None; columns], history: vec![VecDeque::new(); columns], scores: VecDeque::new() }
    }

    /// Takes one row over, in any order of time.
    pub(super) fn take(&mut self, at: DateTime<Utc>, values: impl Iterator<Item = Option<f64>>) {
        self.newest = self.newest.max(at);
        for (column, value) in values.enumerate() {
            let Some(value) = value.filter(|value| value.is_finite()) else { continue };
            if self.latest[column].is_none_or(|(before, _)| before <= at) {
                self.latest[column] = Some((at, value));
            }
            add(&mut self.history[column], at, value);
        }
    }

    /// The same with the scores of `other`, which are not read with the rows.
    pub(super) fn with_scores_of(self, other: &mut Self) -> Self {
        Self { scores: std::mem::take(&mut other.scores), ..self }
    }

    /// Takes a score over.
    pub(super) fn score(&mut self, score: Score) {
        let place = self.scores.partition_point(|before| before.at < score.at);
        match self.scores.get_mut(place) {
            Some(same) if same.at == score.at => *same = score,
            _ => self.scores.insert(place, score),
        }
        let oldest = self.scores.back().map_or(DateTime::UNIX_EPOCH, |last| last.at) - HISTORY;
        self.scores.retain(|score| score.at >= oldest);
    }

    /// The time of the newest score.
    pub(super) fn newest_score(&self) -> Option<&Score> {
        self.scores.back()
    }

    /// Where the score has gone in half an hour.
    pub(super) fn score_trend(&self) -> Trend {
        let (first, last) = (self.scores.front(), self.scores.back());
        first.zip(last).map_or(Trend::Steady, |(first, last)| trend(last.value - first.value, 0.5))
    }

    /// The numbers of a tile.
    pub(super) fn numbers(&self, vitals: &Vitals) -> Vec<Number> {
        vitals.shown.iter().map(|vital| self.number(vital)).collect()
    }

    fn number(&self, vital: &Vital) -> Number {
        let upper = self.latest[vital.column];
        let lower = vital.lower.map(|lower| self.latest[lower]);
        let (text, at) = match (upper, lower) {
            (Some((at, value)), None) => (shown(value), Some(at)),
            (Some((at, high)), Some(Some((low_at, low)))) if low_at == at => {
                (format!("{}/{}", shown(high), shown(low)), Some(at))
            }
            (Some((at, high)), Some(_)) => (format!("{}/–", shown(high)), Some(at)),
            (None, _) => ("–".to_owned(), None),
        };
        Number { text, at, trend: self.trend(vital) }
    }

    /// Where a vital has gone in five minutes, if far enough: the mean of the last minute against that of the minute then.
    fn trend(&self, vital: &Vital) -> Trend {
        let steps = &self.history[vital.column];
        let Some(last) = steps.back() else { return Trend::Steady };
        let then = last.number - SLOPE.num_seconds() / STEP.num_seconds();
        let mean = |numbers: std::ops::RangeInclusive<i64>| {
            let within = steps.iter().filter(|step| numbers.contains(&step.number));
            let (sum, count) = within.fold((0.0, 0), |(sum, count), step| (sum + step.sum, count + step.count));
            (count > 0).then(|| sum / f64::from(count))
        };
        match (mean(then - 1..=then), mean(last.number - 1..=last.number)) {
            (Some(before), Some(now)) => trend(now - before, vital.matters),
            _ => Trend::Steady,
        }
    }

    /// The small line of each vital up to `until`, as the path of an SVG.
    pub(super) fn sparks(&self, vitals: &Vitals, until: DateTime<Utc>) -> Vec<String> {
        let path = |vital: &Vital| {
            let points: Vec<SparkPoint> = self.history[vital.column]
                .iter()
                .map(|step| SparkPoint { step: step.number, low: step.low, high: step.high })
                .collect();
            let last = number(until);
            let steps = (last - HISTORY.num_seconds() / STEP.num_seconds() + 1)..=last;
            // A vital without limits has no measure of its own.
            let range = if vital.matters.is_finite() { vital.matters } else { 0.0 };
            spark_path(&points, steps, range, SPARK)
        };
        vitals.shown.iter().map(path).collect()
    }
}

/// The step of time that a time lies in.
pub(super) fn number(at: DateTime<Utc>) -> i64 {
    at.timestamp().div_euclid(STEP.num_seconds())
}

fn add(history: &mut VecDeque<Step>, at: DateTime<Utc>, value: f64) {
    let number = number(at);
    let oldest =
        history.back().map_or(number, |last| last.number.max(number)) - HISTORY.num_seconds() / STEP.num_seconds();
    while history.front().is_some_and(|first| first.number < oldest) {
        history.pop_front();
    }
    if number < oldest {
        return;
    }
    let place = history.partition_point(|step| step.number < number);
    match history.get_mut(place) {
        Some(step) if step.number == number => {
            (step.low, step.high) = (step.low.min(value), step.high.max(value));
            step.sum += value;
            step.count += 1;
        }
        _ => history.insert(place, Step { number, low: value, high: value, sum: value, count: 1 }),
    }
}

fn trend(change: f64, matters: f64) -> Trend {
    match change {
        _ if change >= matters => Trend::Up,
        _ if change <= -matters => Trend::Down,
        _ => Trend::Steady,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vitals() -> Vitals {
        let vital = |name: &str, column, lower, matters| Vital {
            name: name.to_owned(),
            short: name.to_owned(),
            label: name.to_owned(),
            unit: String::new(),
            column,
            lower,
            matters,
        };
        let columns = ["heart_rate", "systolic_bp", "diastolic_bp"].map(str::to_owned).to_vec();
        Vitals { columns, shown: vec![vital("heart_rate", 0, None, 12.0), vital("systolic_bp", 1, Some(2), 12.0)] }
    }

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).expect("a time")
    }

    #[test]
    fn the_newest_value_of_each_column_counts_and_a_pressure_is_of_one_time() {
        let mut bed = PatientState::new(3, at(0));
        bed.take(at(0), [Some(80.0), Some(120.0), Some(70.0)].into_iter());
        bed.take(at(5), [Some(82.5), None, None].into_iter());
        // What comes late is not new.
        bed.take(at(2), [Some(81.0), None, None].into_iter());
        let texts =
            |bed: &PatientState| bed.numbers(&vitals()).into_iter().map(|number| number.text).collect::<Vec<_>>();
        assert_eq!(texts(&bed), ["82.5", "120/70"]);
        bed.take(at(6), [None, Some(119.0), None].into_iter());
        assert_eq!(texts(&bed), ["82.5", "119/–"]);
        assert_eq!(bed.newest, at(6));
    }

    #[test]
    fn an_arrow_stands_where_five_minutes_moved_enough() {
        let mut bed = PatientState::new(3, at(0));
        for second in 0..400_i32 {
            let rate = 80.0 + f64::from(second) / 20.0;
            bed.take(at(second.into()), [Some(rate), Some(120.0), Some(70.0)].into_iter());
        }
        let trends: Vec<Trend> = bed.numbers(&vitals()).into_iter().map(|number| number.trend).collect();
        assert_eq!(trends, [Trend::Up, Trend::Steady]);
    }

    #[test]
    fn history_ends_and_a_score_tells_where_it_goes() {
        let mut bed = PatientState::new(3, at(0));
        for second in (0..7_200).step_by(10) {
            bed.take(at(second), [Some(80.0), None, None].into_iter());
        }
        assert!(bed.history[0].len() <= 61, "{} steps", bed.history[0].len());
        for (minute, value) in [(0, 2.0), (10, 3.0), (40, 5.0)] {
            bed.score(Score { at: at(minute * 60), value, label: value.to_string() });
        }
        assert_eq!((bed.scores.len(), bed.score_trend()), (2, Trend::Up));
    }
}
