//! What queries keep from batch to batch: asked for, saved, put back, handed on to a new plan, forgotten.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use wardwatch_model::terms::Watermark;

use super::engine::Engine;
use super::execute::QueryFailure;
use super::query::Body;
use super::window::Saved;
use super::window::windowed::Windowed;

/// What one query keeps from batch to batch.
#[derive(Debug, Clone, Copy)]
pub struct Kept<'a> {
    /// The query, or the table with the last values.
    pub name: &'a str,
    /// Of which source it is, by its place.
    pub source: usize,
    windowed: &'a Windowed,
}

impl Kept<'_> {
    /// The source or the windowed table that it reads.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.windowed.stream
    }

    /// What must be the same for a snapshot to be of use.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.windowed.fingerprint
    }

    /// The start of the first window that is open at `watermark`; `None` where windows have no fixed length.
    #[must_use]
    pub fn next_window(&self, watermark: Watermark) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.windowed.next_window(watermark.0.timestamp_micros())?)
    }

    /// How many groups it keeps, and in how many bytes.
    #[must_use]
    pub fn held(&self) -> (usize, usize) {
        self.windowed.held()
    }
}

/// What one query keeps, as bytes.
#[derive(Debug)]
pub struct SavedQuery {
    /// The query.
    pub query: String,
    /// What must be the same for it to be of use.
    pub fingerprint: String,
    /// The panes that have changed, by their start.
    pub changed: Vec<(i64, Vec<u8>)>,
    /// The starts of all panes.
    pub panes: Vec<i64>,
    /// Windows that end by it were given out.
    pub closed_to: Option<i64>,
    /// Windows that start before it lack rows that can no longer be read.
    pub incomplete_before: Option<i64>,
}

impl Engine {
    /// What is kept from batch to batch, query by query; a query stands behind those that it reads.
    pub fn kept(&self) -> impl Iterator<Item = Kept<'_>> {
        let queries = self.queries.iter().filter_map(|query| match &query.body {
            Body::Windowed(windowed) => {
                Some(Kept { name: &query.planned.file.name, source: query.planned.source, windowed })
            }
            Body::Plain(_) => None,
        });
        queries.chain(self.latest.iter().map(|latest| Kept {
            name: &latest.name,
            source: latest.source,
            windowed: &latest.windowed,
        }))
    }

    /// What was saved is in the store: the next time, only what changes from here on is saved.
    pub fn mark_saved(&mut self) {
        for query in &mut self.queries {
            if let Body::Windowed(windowed) = &mut query.body {
                windowed.mark_saved();
            }
        }
        self.latest.iter_mut().for_each(|latest| latest.windowed.mark_saved());
    }

    /// What is kept, as bytes, as far as it has changed since [`Engine::mark_saved`].
    ///
    /// # Errors
    /// What a query keeps cannot be folded; of it there is nothing new then.
    pub fn save(&mut self) -> Vec<Result<SavedQuery, QueryFailure>> {
        let Self { queries, latest, runner, .. } = self;
        let queries = queries.iter_mut().filter_map(|query| match &mut query.body {
            Body::Windowed(windowed) => Some((query.planned.file.name.clone(), windowed.as_mut())),
            Body::Plain(_) => None,
        });
        let latest = latest.iter_mut().map(|latest| (latest.name.clone(), &mut latest.windowed));
        queries
            .chain(latest)
            .map(|(query, windowed)| {
                let saved = windowed.save(runner)?;
                let Saved { changed, panes, closed_to, incomplete_before } = saved;
                let fingerprint = windowed.fingerprint.clone();
                Ok(SavedQuery { query, fingerprint, changed, panes, closed_to, incomplete_before })
            })
            .collect()
    }

    /// Puts back what `query` kept. Returns whether the bytes are what it saves.
    pub fn restore(
        &mut self,
        query: &str,
        panes: &[(i64, Vec<u8>)],
        closed_to: Option<i64>,
        incomplete_before: Option<i64>,
    ) -> bool {
        self.windowed_mut(query).is_some_and(|windowed| windowed.restore(panes, closed_to, incomplete_before))
    }

    /// Has `query` begin with the windows that end after `time`.
    pub fn start_at(&mut self, query: &str, time: Option<Watermark>) {
        if let Some(windowed) = self.windowed_mut(query) {
            windowed.start_at(time.map(|time| time.0.timestamp_micros()));
        }
    }

    /// Keeps `query` from giving out windows that start before `time`: they lack rows that can no longer be read.
    pub fn mark_incomplete_before(&mut self, query: &str, time: DateTime<Utc>) {
        if let Some(windowed) = self.windowed_mut(query) {
            windowed.mark_incomplete_before(time.timestamp_micros());
        }
    }

    /// The patients whose last values are kept and of whom nothing has come since `time`.
    #[must_use]
    pub fn patients_before(&self, time: DateTime<Utc>) -> BTreeSet<String> {
        // Of whom one source has something newer has not been silent.
        let mut newest: BTreeMap<String, i64> = BTreeMap::new();
        for (patient, at) in self.latest.iter().flat_map(|latest| latest.windowed.newest_by_group()) {
            let known = newest.entry(patient).or_insert(at);
            *known = (*known).max(at);
        }
        let before = newest.into_iter().filter(|(_, newest)| *newest < time.timestamp_micros());
        before.map(|(patient, _)| patient).collect()
    }

    /// Goes on with what `running` keeps for the queries that `names` says are the same there.
    pub fn adopt(&mut self, running: &mut Self, names: &dyn Fn(&str) -> bool) {
        let kept: Vec<String> = self.kept().map(|kept| kept.name.to_owned()).filter(|name| names(name)).collect();
        for name in kept {
            if let (Some(new), Some(old)) = (self.windowed_mut(&name), running.windowed_mut(&name)) {
                new.adopt(old);
            }
        }
        for (name, slot) in &self.slots.references {
            if let Some(known) = running.slots.references.get(name)
                && known.schema() == slot.schema()
            {
                slot.fill_all(&known.rows());
            }
        }
    }

    /// Is as it was before the first batch; reference tables keep their rows.
    pub fn start_over(&mut self) {
        for query in &mut self.queries {
            if let Body::Windowed(windowed) = &mut query.body {
                windowed.start_over();
            }
        }
        self.latest.iter_mut().for_each(|latest| latest.windowed.start_over());
    }

    fn windowed_mut(&mut self, name: &str) -> Option<&mut Windowed> {
        let query = self.queries.iter_mut().find_map(|query| match &mut query.body {
            Body::Windowed(windowed) if query.planned.file.name == name => Some(windowed.as_mut()),
            _ => None,
        });
        query.or_else(|| {
            let latest = self.latest.iter_mut().find(|latest| latest.name == name);
            latest.map(|latest| &mut latest.windowed)
        })
    }
}
