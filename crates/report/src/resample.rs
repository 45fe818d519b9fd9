//! As many points as a picture has pixels, no extreme lost and no gap bridged. With Polars.

use polars::prelude::{Column, DataFrame, PolarsResult};

/// What a series does within one column of pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct PixelColumn {
    /// The time of the first and of the last value, microseconds.
    pub(super) times: (i64, i64),
    /// The first and the last value.
    pub(super) ends: (f64, f64),
    /// The smallest and the greatest value.
    pub(super) range: (f64, f64),
}

/// The values by columns of pixels, in runs between gaps.
///
/// `times` are ascending microseconds. A gap is `gap` microseconds or more without a value; without one, at least three
/// sampling intervals, an interval being the median distance of two neighbours. `pixel` tells the column of a time.
pub(super) fn by_pixel(
    times: &[i64],
    values: &[Option<f64>],
    gap: Option<i64>,
    pixel: impl Fn(i64) -> i64,
) -> PolarsResult<Vec<Vec<PixelColumn>>> {
    let (times, values): (Vec<i64>, Vec<f64>) =
        times.iter().zip(values).filter_map(|(time, value)| Some((*time, value.filter(|v| v.is_finite())?))).unzip();
    if times.is_empty() {
        return Ok(Vec::new());
    }
    let gap = gap.unwrap_or_else(|| 3 * sampling_interval(&times));
    let mut run = 0_i64;
    let mut runs = vec![0_i64; times.len()];
    for index in 1..times.len() {
        run += i64::from(times[index] - times[index - 1] >= gap);
        runs[index] = run;
    }
    let pixels: Vec<i64> = times.iter().map(|time| pixel(*time)).collect();
    let height = times.len();
    let columns =
        vec![named("run", runs), named("pixel", pixels), named("time", times), Column::new("value".into(), values)];
    let frame = DataFrame::new(height, columns)?;
    let groups = frame.group_by_stable(["run", "pixel"])?.select(["time", "value"]);
    #[allow(deprecated, reason = "the eager form; the lazy engine would double the build for four aggregates")]
    let (first, last, least, greatest) = (groups.first()?, groups.last()?, groups.min()?, groups.max()?);

    let mut result: Vec<Vec<PixelColumn>> = Vec::new();
    let run = first.column("run")?.i64()?;
    for row in 0..first.height() {
        let time = |frame: &DataFrame, name: &str| PolarsResult::Ok(frame.column(name)?.i64()?.get(row).unwrap_or(0));
        let value =
            |frame: &DataFrame, name: &str| PolarsResult::Ok(frame.column(name)?.f64()?.get(row).unwrap_or(0.0));
        let column = PixelColumn {
            times: (time(&first, "time_first")?, time(&last, "time_last")?),
            ends: (value(&first, "value_first")?, value(&last, "value_last")?),
            range: (value(&least, "value_min")?, value(&greatest, "value_max")?),
        };
        if row == 0 || run.get(row) != run.get(row - 1) {
            result.push(Vec::new());
        }
        if let Some(current) = result.last_mut() {
            current.push(column);
        }
    }
    Ok(result)
}

fn named(name: &str, values: Vec<i64>) -> Column {
    Column::new(name.into(), values)
}

/// The median distance of two neighbours, and a second where there are none.
pub(super) fn sampling_interval(times: &[i64]) -> i64 {
    let mut distances: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).filter(|d| *d > 0).collect();
    if distances.is_empty() {
        return 1_000_000;
    }
    let middle = distances.len() / 2;
    *distances.select_nth_unstable(middle).1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn a_gap_of_three_intervals_breaks_the_line_and_a_shorter_one_does_not() {
        let times: Vec<i64> = [0, 1, 2, 4, 5, 8, 9].iter().map(|second| second * SECOND).collect();
        let runs = by_pixel(&times, &[Some(1.0); 7], None, |time| time / SECOND).expect("resampled");
        assert_eq!(runs.iter().map(Vec::len).collect::<Vec<_>>(), [5, 2]);
    }

    #[test]
    fn nothing_and_only_missing_values_give_no_run() {
        assert_eq!(by_pixel(&[], &[], None, |time| time).expect("resampled"), Vec::<Vec<PixelColumn>>::new());
        assert!(by_pixel(&[0, SECOND], &[None, None], None, |time| time).expect("resampled").is_empty());
    }

    proptest! {
        #[test]
        fn extremes_and_ends_survive(values in prop::collection::vec(prop::option::of(-1e6_f64..1e6), 1..300), wide in 1_i64..50) {
            let times: Vec<i64> = (0..).map(|second| second * SECOND).take(values.len()).collect();
            let runs = by_pixel(&times, &values, None, |time| time / (wide * SECOND)).expect("resampled");
            let columns: Vec<PixelColumn> = runs.into_iter().flatten().collect();
            let present = || values.iter().flatten().copied();
            let greatest = columns.iter().map(|column| column.range.1).fold(f64::MIN, f64::max);
            let least = columns.iter().map(|column| column.range.0).fold(f64::MAX, f64::min);
            prop_assert_eq!(greatest, present().fold(f64::MIN, f64::max));
            prop_assert_eq!(least, present().fold(f64::MAX, f64::min));
            prop_assert_eq!(columns.first().map(|column| column.ends.0), present().next());
            prop_assert_eq!(columns.last().map(|column| column.ends.1), present().last());
        }
    }
}
