//! Which session a row, or a part of a session, belongs to.

use arrow::array::ArrayRef;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};

/// For each part of a session, given by its group, its first and its last time: the first and the last time of the
/// whole session.
///
/// Two parts of one group belong together where less than `gap` lies between the last time of one and the first of
/// the other. Shape: as many as parts, in their order. The definition is Spark's `session_window`: a row that comes
/// exactly `gap` after the one before starts a new session.
pub(super) fn whole_sessions(
    group: &[ArrayRef],
    first: &[i64],
    last: &[i64],
    gap: i64,
) -> Result<(Vec<i64>, Vec<i64>), ArrowError> {
    let keys = rows_of(group)?;
    let same_group = |a: usize, b: usize| keys.as_ref().is_none_or(|keys| keys.row(a) == keys.row(b));
    let mut order: Vec<usize> = (0..first.len()).collect();
    order.sort_unstable_by(|&a, &b| {
        let by_key = keys.as_ref().map_or(std::cmp::Ordering::Equal, |keys| keys.row(a).cmp(&keys.row(b)));
        by_key.then(first[a].cmp(&first[b]))
    });

    let (mut starts, mut ends) = (first.to_vec(), last.to_vec());
    let mut at = 0;
    while at < order.len() {
        let head = order[at];
        let mut end = last[head];
        let mut next = at + 1;
        while next < order.len() && same_group(order[next], head) && first[order[next]].saturating_sub(end) < gap {
            end = end.max(last[order[next]]);
            next += 1;
        }
        for &part in &order[at..next] {
            starts[part] = first[head];
            ends[part] = end;
        }
        at = next;
    }
    Ok((starts, ends))
}

fn rows_of(group: &[ArrayRef]) -> Result<Option<Rows>, ArrowError> {
    if group.is_empty() {
        return Ok(None);
    }
    let fields = group.iter().map(|key| SortField::new(key.data_type().clone())).collect();
    Ok(Some(RowConverter::new(fields)?.convert_columns(group)?))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::StringViewArray;

    use super::*;

    fn check(parts: &[(&str, i64, i64)], expected: &[(i64, i64)]) {
        let group: ArrayRef = Arc::new(StringViewArray::from_iter_values(parts.iter().map(|(key, ..)| *key)));
        let first: Vec<i64> = parts.iter().map(|(_, first, _)| *first).collect();
        let last: Vec<i64> = parts.iter().map(|(.., last)| *last).collect();
        let (starts, ends) = whole_sessions(&[group], &first, &last, 10).expect("sessions");
        let found: Vec<(i64, i64)> = starts.into_iter().zip(ends).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn parts_less_than_a_gap_apart_are_one_session_in_any_order() {
        check(&[("a", 0, 0), ("a", 19, 19), ("a", 10, 10), ("a", 9, 9)], &[(0, 19), (0, 19), (0, 19), (0, 19)]);
        check(&[("a", 0, 0), ("a", 10, 10)], &[(0, 0), (10, 10)]);
    }

    #[test]
    fn a_part_within_another_does_not_end_it() {
        check(&[("a", 0, 50), ("a", 5, 6), ("a", 55, 60)], &[(0, 60), (0, 60), (0, 60)]);
    }

    #[test]
    fn groups_have_sessions_of_their_own() {
        check(&[("a", 0, 0), ("b", 5, 5), ("a", 9, 9)], &[(0, 9), (5, 5), (0, 9)]);
    }
}
