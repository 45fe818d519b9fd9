//! What the names of tables in a query mean: to queries of each source others.

use std::collections::BTreeMap;

use datafusion::error::Result;
use datafusion::prelude::SessionContext;

use wardwatch_model::diagnostic::Diagnostic;

use super::file::QueryFile;
use super::functions::FrozenTimes;
use super::given::{ENCOUNTERS_NOW, OPEN_ALERTS, artefacts_name, history_name, latest_name};
use super::query::StreamSlots;
use super::session::context;
use super::slot::Slot;
use super::window::{Input, Inputs};

/// What a name in FROM stands for, and what follows for a query that reads it.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) input: Input,
    /// Of which source's batch its rows are, by its place, if they are of one's.
    pub(super) stream: Option<usize>,
    /// Of which source what it holds was made, whether of its batch or not.
    pub(super) origin: Option<usize>,
    pub(super) per_row: bool,
    /// Whether it has rows only together with rows of the batch, or whatever the batch.
    pub(super) needs_rows: bool,
    /// Whether it holds rows of batches before this one.
    pub(super) looks_back: bool,
    /// Whether what it holds may change between samples of a batch: who is here, and reference tables.
    pub(super) changes: bool,
    pub(super) time_column: Option<String>,
}

impl Known {
    /// What is known at a time.
    pub(super) fn of_moment(input: Input) -> Self {
        let (per_row, needs_rows, looks_back, changes) = (false, false, false, false);
        Self { input, stream: None, origin: None, per_row, needs_rows, looks_back, changes, time_column: None }
    }

    /// What comes with the batch of the source at this place.
    fn of_batch(input: Input, source: usize, time_column: Option<&str>) -> Self {
        Self {
            stream: Some(source),
            origin: Some(source),
            per_row: true,
            needs_rows: true,
            looks_back: input == Input::History,
            time_column: time_column.map(str::to_owned),
            ..Self::of_moment(input)
        }
    }
}

/// Tables by name, as queries of one source see them: its own is the batch's rows, those of the others are last values.
pub(super) struct Contexts {
    /// For queries without windows: they see every row, and windows as they stand.
    pub(super) plain: SessionContext,
    /// For windowed queries: they see what was on time, and closed windows.
    pub(super) windowed: SessionContext,
    /// For rules that are judged sample by sample: they see every row by its number.
    pub(super) judged: SessionContext,
}

impl Contexts {
    fn new(times: &FrozenTimes) -> Self {
        Self { plain: context(times), windowed: context(times), judged: context(times) }
    }

    fn register(&self, name: &str, plain: &Slot, windowed: &Slot) -> Result<()> {
        for (context, slot) in [(&self.plain, plain), (&self.windowed, windowed), (&self.judged, plain)] {
            context.register_table(name, slot.table()?)?;
        }
        Ok(())
    }
}

/// What the names of tables mean to the query that is being planned.
pub(super) struct Names<'a> {
    /// The tables of all sources, in their order.
    tables: Vec<&'a str>,
    /// For the queries of each source.
    contexts: Vec<Contexts>,
    /// The place of the source of the query that is being planned.
    current: usize,
    known: BTreeMap<String, Known>,
}

impl<'a> Names<'a> {
    /// The names of sources with these tables; none is known yet.
    pub(super) fn of(tables: Vec<&'a str>, times: &FrozenTimes) -> Self {
        let contexts = tables.iter().map(|_| Contexts::new(times)).collect();
        Self { tables, contexts, current: 0, known: BTreeMap::new() }
    }

    /// The tables of all sources, in their order.
    pub(super) fn tables(&self) -> &[&'a str] {
        &self.tables
    }

    /// Goes on with queries of the source at this place.
    pub(super) fn turn_to(&mut self, source: usize) {
        self.current = source;
    }

    /// The place of the source of the query that is being planned.
    pub(super) fn source(&self) -> usize {
        self.current
    }

    /// The table of that source.
    pub(super) fn table(&self) -> &'a str {
        self.tables[self.current]
    }

    /// What that query sees.
    pub(super) fn context(&self) -> &Contexts {
        &self.contexts[self.current]
    }

    /// The tables that a source gives.
    pub(super) fn give(&mut self, source: usize, stream: &StreamSlots, event_time: &str) -> Result<()> {
        let table = self.tables[source];
        let of_batch = |input| Known::of_batch(input, source, Some(event_time));
        let (history, artefacts) = (of_batch(Input::History), Known::of_batch(Input::Moment, source, None));
        self.contexts[source].register(table, &stream.all, &stream.on_time)?;
        self.known.insert(table.to_owned(), of_batch(Input::Source));
        self.register(&history_name(table), &stream.history, &stream.history, history)?;
        self.register(&artefacts_name(table), &stream.artefacts, &stream.artefacts, artefacts)?;
        self.known.insert(latest_name(table), Known::of_moment(Input::Latest));
        Ok(())
    }

    /// The last values of a source, which the others see under its own name, too.
    pub(super) fn give_latest(&mut self, source: usize, slot: &Slot) -> Result<()> {
        let table = self.tables[source];
        self.register(&latest_name(table), slot, slot, Known::of_moment(Input::Latest))?;
        let mut others = self.contexts.iter().enumerate().filter(|(other, _)| *other != source);
        others.try_for_each(|(_, others)| others.register(table, slot, slot))
    }

    /// A table that all see alike: its rows, and those that windowed queries see of it.
    pub(super) fn register(&mut self, name: &str, plain: &Slot, windowed: &Slot, known: Known) -> Result<()> {
        self.known.insert(name.to_owned(), known);
        self.contexts.iter().try_for_each(|context| context.register(name, plain, windowed))
    }

    /// All names.
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        self.known.keys().map(String::as_str)
    }

    /// Whether it means something to any query.
    pub(super) fn is_known(&self, name: &str) -> bool {
        self.known.contains_key(name)
    }

    /// What a name stands for in the query that is being planned: the other sources' tables are last values.
    pub(super) fn known(&self, name: &str) -> Option<Known> {
        let known = self.known.get(name)?;
        Some(if self.is_beside(name) { Known::of_moment(Input::Latest) } else { known.clone() })
    }

    /// The place of the source with this table.
    pub(super) fn source_called(&self, table: &str) -> Option<usize> {
        self.tables.iter().position(|known| *known == table)
    }

    /// Whether it is the table of another source than that of the query that is being planned.
    pub(super) fn is_beside(&self, name: &str) -> bool {
        self.source_called(name).is_some_and(|source| source != self.current)
    }

    /// Whether a table is of last values of another source than that of the query that is being planned.
    pub(super) fn is_of_other(&self, name: &str) -> bool {
        let mut others = self.tables.iter().filter(|table| **table != self.table());
        others.any(|table| name == *table || name == latest_name(table))
    }

    /// Whether the job gives a table, reference tables apart; the others are made by queries.
    pub(super) fn is_given(&self, name: &str) -> bool {
        let is_of = |source: &&str| {
            name == *source
                || name == history_name(source)
                || name == latest_name(source)
                || name == artefacts_name(source)
        };
        self.tables.iter().any(is_of) || name == OPEN_ALERTS || name == ENCOUNTERS_NOW
    }

    /// Of which source the rows of a query are that names these tables: of the one whose rows it has through others, else of the one
    /// that comes first in its FROM.
    ///
    /// Errors: of two, with the names through which, and the place of the second.
    pub(super) fn source_of(
        &self,
        file: &QueryFile,
        names: &[(String, usize, usize)],
        leading: &[String],
    ) -> std::result::Result<usize, Diagnostic> {
        let mut through: Option<(usize, &str)> = None;
        for (name, line, column) in names.iter().filter(|(name, ..)| self.source_called(name).is_none()) {
            let Some(stream) = self.known.get(name).and_then(|known| known.stream) else { continue };
            match through {
                Some((first, other)) if first != stream => {
                    return Err(file.diagnostic(*line, *column, self.of_two_sources((other, first), (name, stream))));
                }
                _ => through = Some((stream, name)),
            }
        }
        let in_from = || leading.iter().find_map(|name| self.source_called(name));
        let first = || in_from().or_else(|| names.iter().find_map(|(name, ..)| self.source_called(name)));
        let latest = || names.iter().find_map(|(name, ..)| self.source_called(name.strip_suffix("_latest")?));
        let origin = || names.iter().find_map(|(name, ..)| self.known.get(name)?.origin);
        Ok(through.map(|(stream, _)| stream).or_else(first).or_else(latest).or_else(origin).unwrap_or(0))
    }

    fn of_two_sources(&self, (one, first): (&str, usize), (other, second): (&str, usize)) -> String {
        let (first, second) = (self.tables[first], self.tables[second]);
        format!(
            "\"{one}\" has rows of the source \"{first}\" and \"{other}\" rows of \"{second}\", which do not come together; a query \
             has rows of one source and sees the others' last values: read \"{second}\" itself"
        )
    }
}

impl Inputs for Names<'_> {
    fn input(&self, table: &str) -> Option<Input> {
        self.known(table).map(|known| known.input)
    }

    fn time_column(&self, table: &str) -> Option<String> {
        self.known(table)?.time_column
    }
}
