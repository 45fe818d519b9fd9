//! The sources of a job as its partitions know them: whose they are, and how patient to be.

use std::collections::{BTreeMap, BTreeSet};

use wardwatch_config::SourceSpec;
use wardwatch_frame::Bounds;
use wardwatch_model::event_time::{EventTime, Patience, Sources};
use wardwatch_model::terms::Partition;
use wardwatch_model::topics::Topics;
use wardwatch_sql::Progress;

use super::plan::Plan;

/// The sources of a job as its partitions know them.
#[derive(Debug)]
pub(crate) struct OwnSources<'a> {
    spec: &'a SourceSpec,
    topics: &'a Topics,
    patience: Vec<Patience>,
}

impl Plan {
    pub(crate) fn sources(&self) -> OwnSources<'_> {
        let spec = &self.job.source;
        let tables = std::iter::once(&spec.table).chain(spec.others.iter().map(|other| &other.table));
        let patience = tables.enumerate().map(|(place, table)| Patience {
            table: table.as_str().into(),
            lateness: spec.lateness_of(place),
            idle_timeout: spec.idle_timeout_of(place),
        });
        OwnSources { spec, topics: &self.topics, patience: patience.collect() }
    }
}

impl Sources for OwnSources<'_> {
    fn patience(&self) -> &[Patience] {
        &self.patience
    }

    fn source_of(&self, partition: Partition) -> usize {
        if self.patience.len() == 1 { 0 } else { self.spec.source_of(&self.topics.name_of(partition)) }
    }
}

impl OwnSources<'_> {
    /// When rows of a partition are late.
    pub(crate) fn bounds(&self, partition: Partition, event_time: &EventTime) -> Bounds {
        let source = self.source_of(partition);
        Bounds { lateness: self.patience[source].lateness, closed: event_time.watermark_of(source, self) }
    }

    /// Of those partitions that are not the first source's: the place of theirs among the sources with a table.
    pub(crate) fn others(&self, partitions: impl Iterator<Item = Partition>) -> BTreeMap<Partition, usize> {
        let with_table: Vec<usize> = self.spec.tables().map(|(source, _)| source).collect();
        let others = partitions.filter_map(|partition| {
            let source = self.source_of(partition);
            let number = with_table.iter().position(|known| *known == source)?;
            (number > 0).then_some((partition, number))
        });
        others.collect()
    }

    /// Those of the partitions that are not the first source's.
    pub(crate) fn of_others(&self, partitions: impl Iterator<Item = Partition>) -> BTreeSet<Partition> {
        partitions.filter(|partition| self.source_of(*partition) > 0).collect()
    }

    /// How far each source that has a table has got, and whether windows of each that are open are to be given out.
    pub(crate) fn progress(&self, event_time: &EventTime, shows_open: &dyn Fn(usize) -> bool) -> Vec<Progress> {
        let with_table = self.spec.tables();
        let progress = with_table.map(|(source, _)| Progress {
            watermark: event_time.watermark_of(source, self),
            show_open: shows_open(source),
        });
        progress.collect()
    }
}
