//! Partitions of which records wait and none is read: without a leader, say, or not to be read by this account. librdkafka tries
//! again for ever and says nothing of it.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::{info, warn};

use wardwatch_kafka::Consumer;
use wardwatch_model::clock::Stopwatch;
use wardwatch_model::terms::{Offset, Partition, Positions};

use super::contact::Standstill;

/// A partition that does not move for so long is looked at.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// So many are looked at each time: mostly they have nothing to be read, and each costs a request.
const LOOKED_AT: usize = 8;

/// Nothing is read while it is looked, so it is not looked for longer.
const AT_A_TIME: Duration = Duration::from_secs(1);

/// What is known of partitions that do not move.
#[derive(Debug, Default)]
pub(super) struct Stalls {
    /// Where each partition stands, and since when.
    seen: BTreeMap<Partition, (Offset, Stopwatch)>,
    /// Those that were told of.
    told: BTreeMap<Partition, Told>,
    /// The last one that was looked at.
    last: Option<Partition>,
}

/// A partition that stands still.
#[derive(Debug)]
struct Told {
    /// When that was found out.
    found: Stopwatch,
    /// When it was looked at last.
    looked: Stopwatch,
    reason: String,
}

impl Stalls {
    /// The partitions that stand still, each since that was found out.
    pub(super) fn standing(&self) -> BTreeMap<Partition, Standstill> {
        let standing = self.told.iter().map(|(partition, told)| {
            (*partition, Standstill { lasts: told.found.elapsed(), reason: told.reason.clone() })
        });
        standing.collect()
    }

    /// Looks at partitions that have not moved for a while, and tells of those that should have.
    pub(super) fn look(&mut self, consumer: &Consumer, positions: &Positions) {
        for (partition, position) in positions {
            match self.seen.get(partition) {
                Some((seen, _)) if seen == position => {}
                _ => {
                    self.seen.insert(*partition, (*position, Stopwatch::start()));
                    if self.told.remove(partition).is_some() {
                        info!(partition = %consumer.topics().show(*partition), next_offset = %position, "the partition is read again");
                    }
                }
            }
        }
        let still = |(partition, (position, since)): (&Partition, &(Offset, Stopwatch))| {
            (since.elapsed() >= STALLED_AFTER).then_some((*partition, *position, since.elapsed()))
        };
        // Who is known to stand still is asked for seldom: each answer that does not come holds up the others' records.
        let is_due = |(partition, ..): &(Partition, Offset, Duration)| {
            self.told.get(partition).is_none_or(|told| told.looked.left_of(STALLED_AFTER).is_zero())
        };
        let still: Vec<(Partition, Offset, Duration)> = self.seen.iter().filter_map(still).filter(is_due).collect();
        let behind = still.iter().position(|(partition, ..)| Some(*partition) > self.last).unwrap_or(0);
        let looked_at: Vec<_> = still.iter().cycle().skip(behind).take(LOOKED_AT.min(still.len())).copied().collect();
        let looking = Stopwatch::start();
        for (partition, position, since) in looked_at {
            if looking.elapsed() >= AT_A_TIME {
                break;
            }
            self.last = Some(partition);
            let reason = match consumer.held(partition) {
                Some(reason) => Some(reason),
                None => match consumer.bounds_within(partition, AT_A_TIME) {
                    Ok((_, end)) if end > position => Some(format!("{} records wait", end.0 - position.0)),
                    Ok(_) => None,
                    Err(error) => Some(error.reason()),
                },
            };
            let Some(reason) = reason else {
                self.told.remove(&partition);
                continue;
            };
            let looked = Stopwatch::start();
            let found = self.told.get(&partition).map_or(looked, |told| told.found);
            if self.told.insert(partition, Told { found, looked, reason: reason.clone() }).is_none() {
                warn!(partition = %consumer.topics().show(partition), next_offset = %position, seconds = since.as_secs(), reason,
                    "nothing is read of a partition; it is tried again and again");
            }
        }
    }
}
