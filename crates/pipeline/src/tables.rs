//! Which tables take their rows, and which are left alone for a while because they do not.
//!
//! A table at fault is no failing query: the query runs on, whoever reads it sees its rows, and the rows wait in the store
//! ([`Way`]). The table is tried again after pauses that double, with the rows that wait first.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use tracing::{error, info};

use wardwatch_store::{CommitOutcome, Pending, TableFault, Way};

/// A table at fault is tried again after 1 s, 2 s, 4 s … and at most this.
const LONGEST: TimeDelta = TimeDelta::seconds(60);

/// The most bytes that may wait for one table; beyond it the oldest rows are given up.
pub(super) const MOST_PENDING: i64 = 1 << 30;

/// The tables that are at fault, or have rows waiting. It can be read again from the store.
#[derive(Debug, Clone, Default)]
pub(super) struct TableStates(BTreeMap<String, TableState>);

#[derive(Debug, Clone, Default)]
struct TableState {
    fault: Option<Fault>,
    pending: Pending,
}

/// Why a table is left alone, and until when.
#[derive(Debug, Clone)]
struct Fault {
    since: DateTime<Utc>,
    reason: String,
    tries: u32,
    retry: DateTime<Utc>,
}

impl TableStates {
    /// What the store says of them; one that is at fault is tried with the first batch.
    pub(super) fn new(faults: Vec<TableFault>) -> Self {
        let state = |fault: TableFault| {
            let TableFault { table, since, reason, pending } = fault;
            let fault = since.map(|since| Fault { since, reason, tries: 0, retry: since });
            (table, TableState { fault, pending })
        };
        Self(faults.into_iter().map(state).collect())
    }

    /// What becomes of a table's rows at `now`, and what waits for it.
    pub(super) fn way(&self, table: &str, now: DateTime<Utc>) -> (Way, Pending) {
        let Some(TableState { fault, pending }) = self.0.get(table) else { return (Way::Write, Pending::default()) };
        let way = match fault {
            Some(fault) if now < fault.retry => Way::Wait { since: fault.since },
            None if pending.batches == 0 => Way::Write,
            _ => Way::CatchUp,
        };
        (way, *pending)
    }

    /// Whether rows wait for one of `tables` that is to be tried at `now`.
    pub(super) fn is_due<'a>(&self, mut tables: impl Iterator<Item = &'a str>, now: DateTime<Utc>) -> bool {
        tables.any(|table| matches!(self.way(table, now), (Way::CatchUp, pending) if pending.batches > 0))
    }

    /// Notes that a table did not take its rows; it is tried again after a while.
    pub(super) fn refused(&mut self, table: &str, reason: String, now: DateTime<Utc>) {
        let state = self.0.entry(table.to_owned()).or_default();
        let (since, tries) = state.fault.as_ref().map_or((now, 0), |fault| (fault.since, fault.tries));
        let pause = TimeDelta::seconds(1_i64 << tries.min(10)).min(LONGEST);
        state.fault = Some(Fault { since, reason, tries: tries.saturating_add(1), retry: now + pause });
    }

    /// What a commit at `now` changes of what was known `before`: the tables that are at fault from here on, for other
    /// reasons than before, or no longer.
    pub(super) fn changes(&self, before: &Self, now: DateTime<Utc>) -> Vec<TableFault> {
        let known = |states: &Self, table: &str| {
            states.0.get(table).and_then(|state| state.fault.as_ref()).map(|fault| (fault.since, fault.reason.clone()))
        };
        let changed = self.0.iter().filter_map(|(table, state)| {
            let is_waiting = matches!(self.way(table, now).0, Way::Wait { .. });
            let after = known(self, table).filter(|_| is_waiting);
            (after != known(before, table)).then(|| {
                let (since, reason) = after.map_or((None, String::new()), |(since, reason)| (Some(since), reason));
                TableFault { table: table.clone(), since, reason, pending: state.pending }
            })
        });
        changed.collect()
    }

    /// Goes on behind a commit at `now` that changed `changes`.
    pub(super) fn committed(&mut self, changes: &[TableFault], outcome: &CommitOutcome, now: DateTime<Utc>) {
        for TableFault { table, since, reason, .. } in changes {
            match (since, self.0.get_mut(table).and_then(|state| state.fault.take_if(|_| since.is_none()))) {
                (Some(_), _) => error!(table, reason, "a table does not take its rows; they wait, the others go on"),
                (None, Some(fault)) => {
                    let seconds = (now - fault.since).num_seconds();
                    info!(table, seconds, "the table takes its rows again; those that waited come first");
                }
                (None, None) => {}
            }
        }
        for (table, pending) in &outcome.pending {
            if let Some(state) = self.0.get_mut(table) {
                state.pending = *pending;
            }
        }
        self.0.retain(|_, state| state.fault.is_some() || state.pending.batches > 0);
    }

    /// The tables that do not take their rows now.
    pub(super) fn at_fault(&self) -> Vec<TableFault> {
        let faults = self.0.iter().filter_map(|(table, state)| {
            let Fault { since, reason, .. } = state.fault.as_ref()?;
            Some(TableFault {
                table: table.clone(),
                since: Some(*since),
                reason: reason.clone(),
                pending: state.pending,
            })
        });
        faults.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(second)
    }

    #[test]
    fn a_table_at_fault_is_tried_again_after_pauses_that_double() {
        let mut tables = TableStates::default();
        let mut tried = Vec::new();
        for second in 0..200 {
            if !matches!(tables.way("readings", at(second)).0, Way::Wait { .. }) {
                tried.push(second);
                tables.refused("readings", "it is not there".to_owned(), at(second));
            }
        }
        assert_eq!(tried, [0, 1, 3, 7, 15, 31, 63, 123, 183]);
        assert_eq!(tables.way("others", at(5)), (Way::Write, Pending::default()));
        assert_eq!(tables.at_fault()[0].since, Some(at(0)), "it is at fault since the first time");
    }

    #[test]
    fn a_fault_is_told_when_it_begins_when_its_reason_changes_and_when_it_is_over() {
        let (mut before, mut tables) = (TableStates::default(), TableStates::default());
        tables.refused("readings", "it is not there".to_owned(), at(0));
        let changes = tables.changes(&before, at(0));
        assert_eq!(changes.len(), 1);
        assert_eq!((changes[0].since, changes[0].reason.as_str()), (Some(at(0)), "it is not there"));
        let waiting = Pending { batches: 1, rows: 10, bytes: 100 };
        let outcome = CommitOutcome { pending: [("readings".to_owned(), waiting)].into(), bad_rows: 0 };
        tables.committed(&changes, &outcome, at(0));

        before.clone_from(&tables);
        tables.refused("readings", "it is not there".to_owned(), at(1));
        assert_eq!(tables.changes(&before, at(1)), [], "nothing new");
        assert!(tables.is_due(["readings"].into_iter(), at(3)));
        let over = tables.changes(&before, at(3));
        assert_eq!((over.len(), over[0].since), (1, None));
        let outcome = CommitOutcome { pending: [("readings".to_owned(), Pending::default())].into(), bad_rows: 0 };
        tables.committed(&over, &outcome, at(3));
        assert_eq!(tables.at_fault(), []);
        assert_eq!(tables.way("readings", at(3)), (Way::Write, Pending::default()));
    }
}
