//! Episodes, what has happened to them, what people ask for, and what is to be delivered: written with a batch, and read
//! back.

mod rows;

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use wardwatch_alert::{
    Action, ActionId, Answer, Change, End, Episode, EpisodeId, EpisodeKey, Event, EventKind, Notification, Request,
    Scope, Silence, State,
};
use wardwatch_model::terms::{BatchId, Severity};

use super::Value;
use super::bad_rows::BadRowsOfBatch;
use super::connection::Store;
use super::database::Dialect;
use super::error::StoreError;
use super::insert::{Duplicates, batch_value, insert_own, insert_system, most_text};
use super::outbox::WAITING;
use super::quote::quoted;
use super::row::{Row, readable};
use super::system::{ALERT_ACTIONS, ALERT_EVENTS, ALERTS, NOTIFICATIONS, SILENCES};

pub(super) use rows::episode_values;
use rows::{EPISODE_COLUMNS, SILENCE_COLUMNS, action, episode, facts_within, silence, silence_values};

/// What became of alerts with a batch.
#[derive(Debug, Clone, Copy)]
pub struct Alerting<'a> {
    /// What changed of episodes.
    pub changes: &'a [Change],
    /// What became of people's actions.
    pub answers: &'a [Answer],
    /// Whom to tell.
    pub notifications: &'a [Notification],
}

impl Alerting<'_> {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.answers.is_empty() && self.notifications.is_empty()
    }
}

/// An episode as a chart marks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatientEpisode {
    /// Its severity.
    pub severity: Severity,
    /// When it fired.
    pub from: DateTime<Utc>,
    /// When its condition was gone; `None` while it is not.
    pub until: Option<DateTime<Utc>>,
    /// Its text.
    pub text: String,
}

/// Which episodes are wanted; those that have fired, if nothing more is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EpisodesLike {
    /// Of this patient.
    pub patient: Option<String>,
    /// Of this rule.
    pub rule: Option<String>,
    /// Of this severity.
    pub severity: Option<Severity>,
    /// That are over, or are not.
    pub is_open: Option<bool>,
    /// That were true at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// That come after this one: its begin and its id.
    pub before: Option<(DateTime<Utc>, String)>,
}

impl Store {
    pub(super) fn write_alerting(
        &mut self,
        batch: BatchId,
        now: DateTime<Utc>,
        alerting: &Alerting<'_>,
        bad: &mut BadRowsOfBatch,
    ) -> Result<(), StoreError> {
        let job = || Value::text(&self.job);
        let database = self.database.as_mut();
        let is_kept = |change: &&Change| change.episode.state != State::Dropped;
        let mut standing = alerting.changes.iter().filter(is_kept);
        let mut standing = standing.by_ref().map(|change| episode_values(job(), batch, &change.episode));
        insert_own(database, ALERTS, Duplicates::Replaced, &mut standing, bad)?;

        let sql =
            format!("DELETE FROM {} WHERE `job`=? AND `rule`=? AND `patient_id`=? AND `started_at`=?", quoted(ALERTS));
        for Change { episode, events } in alerting.changes.iter().filter(|change| !is_kept(change)) {
            // One that came and went within a batch was never written.
            if u32::try_from(events.len()).is_ok_and(|new| new < episode.events) {
                let (rule, patient) = (Value::text(&episode.rule), Value::text(&episode.patient));
                database.execute(&sql, &[job(), rule, patient, Value::Time(episode.started_at)])?;
            }
        }

        let mut events = alerting.changes.iter().flat_map(|Change { episode, events }| {
            events.iter().map(|event| {
                vec![
                    job(),
                    Value::text(&episode.id.0),
                    Value::Int(event.number.into()),
                    Value::text(&episode.rule),
                    Value::text(&episode.patient),
                    Value::Time(event.at),
                    Value::text(event.kind.name()),
                    Value::text(&event.by),
                    Value::text(&event.note),
                    batch_value(batch),
                ]
            })
        });
        // Readings that contradict each other at one time, in several batches, begin the same episode again: it takes the
        // place of the one before.
        insert_own(database, ALERT_EVENTS, Duplicates::Replaced, &mut events, bad)?;

        let sql = format!(
            "UPDATE {} SET `is_open`=0, `refusal`=?, `batch`=? WHERE `job`=? AND `id`=?",
            quoted(ALERT_ACTIONS)
        );
        for answer in alerting.answers {
            let values = [Value::text(&answer.refusal), batch_value(batch), job(), Value::text(&answer.action.0)];
            database.execute(&sql, &values)?;
        }
        let silences = alerting.answers.iter().filter_map(|answer| answer.silence.as_ref());
        let mut silences = silences.map(|silence| silence_values(job(), batch, silence));
        insert_own(database, SILENCES, Duplicates::Replaced, &mut silences, bad)?;

        self.write_outbox(batch, now, alerting.notifications, bad)
    }

    fn write_outbox(
        &mut self,
        batch: BatchId,
        now: DateTime<Utc>,
        notifications: &[Notification],
        bad: &mut BadRowsOfBatch,
    ) -> Result<(), StoreError> {
        let job = || Value::text(&self.job);
        let most = most_text(self.database.as_mut());
        let mut notifications = notifications.iter().map(|notification| {
            vec![
                job(),
                Value::text(&notification.id),
                Value::Int(1),
                Value::text(&notification.outlet),
                Value::text(&notification.facts.episode),
                Value::Int(notification.number.into()),
                Value::text(&notification.facts.kind),
                Value::Text(facts_within(&notification.facts, most)),
                Value::Time(now),
                Value::text(WAITING),
                Value::Int(0),
                Value::Null,
                batch_value(batch),
            ]
        });
        insert_own(self.database.as_mut(), NOTIFICATIONS, Duplicates::Replaced, &mut notifications, bad)
    }

    /// Puts notifications into the outbox without a batch, for tests of those that deliver them.
    ///
    /// # Errors
    /// The database does not answer.
    #[cfg(feature = "testing")]
    pub fn write_notifications(&mut self, now: DateTime<Utc>, new: &[Notification]) -> Result<(), StoreError> {
        self.write_outbox(BatchId(1), now, new, &mut BadRowsOfBatch::default())
    }

    /// The episodes that are not over.
    ///
    /// # Errors
    /// The database does not answer. A row that holds what wardwatch did not write is left out and told, here and below.
    pub fn open_episodes(&mut self) -> Result<Vec<Episode>, StoreError> {
        let sql = format!("SELECT {EPISODE_COLUMNS} FROM {} WHERE `job`=? AND `is_open`=1", quoted(ALERTS));
        let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
        Ok(self.odd.leave_out(&rows, episode))
    }

    /// Those of `keys` by which the store knows an episode, be it over or not.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn known_episodes(&mut self, keys: &[EpisodeKey]) -> Result<Vec<EpisodeKey>, StoreError> {
        const AT_A_TIME: usize = 256;
        let mut known = Vec::new();
        for keys in keys.chunks(AT_A_TIME) {
            let places = vec!["(?,?,?,?)"; keys.len()].join(",");
            let list = if self.database.dialect() == Dialect::Sqlite { "VALUES " } else { "" };
            let sql = format!(
                "SELECT `rule`, `patient_id`, `started_at` FROM {} \
                 WHERE (`job`, `rule`, `patient_id`, `started_at`) IN ({list}{places})",
                quoted(ALERTS)
            );
            let values: Vec<Value> = keys
                .iter()
                .flat_map(|key| {
                    let (rule, patient) = (Value::text(&key.rule), Value::text(&key.patient));
                    [Value::text(&self.job), rule, patient, Value::Time(key.started_at)]
                })
                .collect();
            let found = self.database.query(&sql, &values)?;
            let found: BTreeSet<(&str, &str, DateTime<Utc>)> = found
                .iter()
                .filter_map(|row| Some((row.first()?.as_text()?, row.get(1)?.as_text()?, row.get(2)?.as_time()?)))
                .collect();
            let is_known = |key: &&EpisodeKey| found.contains(&(&*key.rule, &*key.patient, key.started_at));
            known.extend(keys.iter().filter(is_known).cloned());
        }
        Ok(known)
    }

    /// Those of `episodes` of whose time the store knows another of the same rule and patient, which fired and ended because the
    /// patient left.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn overlapped_by_left(&mut self, episodes: &[Arc<Episode>]) -> Result<Vec<EpisodeId>, StoreError> {
        let sql = format!(
            "SELECT 1 FROM {} WHERE `job`=? AND `rule`=? AND `patient_id`=? AND `end_reason`=? AND `firing_at` IS NOT NULL \
             AND `started_at`<=? AND `ended_at`>=? LIMIT 1",
            quoted(ALERTS)
        );
        let mut overlapped = Vec::new();
        for episode in episodes {
            let values = [
                Value::text(&self.job),
                Value::text(&episode.rule),
                Value::text(&episode.patient),
                Value::text(End::Left.name()),
                Value::Time(episode.ended_at.unwrap_or(episode.last_at)),
                Value::Time(episode.started_at),
            ];
            if !self.database.query(&sql, &values)?.is_empty() {
                overlapped.push(episode.id.clone());
            }
        }
        Ok(overlapped)
    }

    /// The ids of the episodes that are not over.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn open_episode_ids(&mut self) -> Result<BTreeSet<EpisodeId>, StoreError> {
        let sql = format!("SELECT `id` FROM {} WHERE `job`=? AND `is_open`=1", quoted(ALERTS));
        let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
        Ok(rows.iter().filter_map(|row| Some(EpisodeId(row.first()?.as_text()?.into()))).collect())
    }

    /// The episodes that began last, the newest first, those that are over included.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn last_episodes(&mut self, since: DateTime<Utc>) -> Result<Vec<Episode>, StoreError> {
        let sql = format!(
            "SELECT {EPISODE_COLUMNS} FROM {} WHERE `job`=? AND (`is_open`=1 OR `last_at`>=?) ORDER BY `started_at` DESC",
            quoted(ALERTS)
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job), Value::Time(since)])?;
        Ok(self.odd.leave_out(&rows, episode))
    }

    /// The episodes whose id begins with `beginning`.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn episodes_called(&mut self, beginning: &str) -> Result<Vec<Episode>, StoreError> {
        let sql = format!("SELECT {EPISODE_COLUMNS} FROM {} WHERE `job`=? AND SUBSTR(`id`, 1, ?)=?", quoted(ALERTS));
        let length = Value::count(beginning.chars().count());
        let rows = self.database.query(&sql, &[Value::text(&self.job), length, Value::text(beginning)])?;
        Ok(self.odd.leave_out(&rows, episode))
    }

    /// The episodes that are wanted, the newest first, at most `most`.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn episodes_like(&mut self, wanted: &EpisodesLike, most: usize) -> Result<Vec<Episode>, StoreError> {
        let mut conditions = vec!["`job`=?", "`firing_at` IS NOT NULL"];
        let mut values = vec![Value::text(&self.job)];
        let texts = [
            ("`patient_id`=?", &wanted.patient),
            ("`rule`=?", &wanted.rule),
            ("`severity`=?", &wanted.severity.map(|severity| severity.name().to_owned())),
        ];
        for (condition, text) in texts {
            if let Some(text) = text {
                conditions.push(condition);
                values.push(Value::text(text));
            }
        }
        if let Some(is_open) = wanted.is_open {
            conditions.push("`is_open`=?");
            values.push(Value::Int(is_open.into()));
        }
        if let Some(since) = wanted.since {
            conditions.push("`last_at`>=?");
            values.push(Value::Time(since));
        }
        if let Some((at, id)) = &wanted.before {
            conditions.push("(`started_at`<? OR (`started_at`=? AND `id`<?))");
            values.extend([Value::Time(*at), Value::Time(*at), Value::text(id)]);
        }
        let sql = format!(
            "SELECT {EPISODE_COLUMNS} FROM {} WHERE {} ORDER BY `started_at` DESC, `id` DESC LIMIT ?",
            quoted(ALERTS),
            conditions.join(" AND ")
        );
        values.push(Value::count(most));
        let rows = self.database.query(&sql, &values)?;
        Ok(self.odd.leave_out(&rows, episode))
    }

    /// What is wrong with rows that the job goes by: of episodes that stand, of silences that hold, of queries that fail, of
    /// notifications that wait. They count for nothing until somebody mends them.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn odd_rows(&mut self) -> Result<Vec<String>, StoreError> {
        let job = [Value::text(&self.job)];
        let open = "`job`=? AND (`is_open`=1 OR `is_open` IS NULL)";
        let sql = format!("SELECT {EPISODE_COLUMNS} FROM {} WHERE {open} ORDER BY `id`", quoted(ALERTS));
        let mut odd = readable(&self.database.query(&sql, &job)?, episode).1;
        let last = self.last_batch()?.map_or(DateTime::UNIX_EPOCH, |last| last.now);
        let sql = format!(
            "SELECT {SILENCE_COLUMNS} FROM {} WHERE `job`=? AND (`until_at`>? OR `until_at` IS NULL) ORDER BY `id`",
            quoted(SILENCES)
        );
        odd.extend(readable(&self.database.query(&sql, &[job[0].clone(), Value::Time(last)])?, silence).1);
        odd.extend(self.odd_query_states()?);
        Ok(odd)
    }

    /// What has happened to an episode, in order.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn events_of(&mut self, episode: &EpisodeId) -> Result<Vec<Event>, StoreError> {
        let sql = format!(
            "SELECT `number`, `at`, `kind`, `author`, `note` FROM {} WHERE `job`=? AND `episode`=? ORDER BY `number`",
            quoted(ALERT_EVENTS)
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job), Value::text(&episode.0)])?;
        rows.iter()
            .map(|row| {
                let mut row = Row::new(ALERT_EVENTS, row);
                Ok(Event {
                    number: row.count()?,
                    at: row.time()?,
                    kind: row.named(EventKind::from_name)?,
                    by: row.text()?,
                    note: row.text()?,
                })
            })
            .collect()
    }

    /// The episodes of a patient that fired and stood between `from` and `until`.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn episodes_between(
        &mut self,
        patient: &str,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<Vec<PatientEpisode>, StoreError> {
        let sql = format!(
            "SELECT {EPISODE_COLUMNS} FROM {} WHERE `job`=? AND `patient_id`=? AND `firing_at`<=? \
             AND (`cleared_at` IS NULL OR `cleared_at`>=?) ORDER BY `firing_at`, `rule`",
            quoted(ALERTS)
        );
        let values = [Value::text(&self.job), Value::text(patient), Value::Time(until), Value::Time(from)];
        let rows = self.database.query(&sql, &values)?;
        let mut episodes = Vec::with_capacity(rows.len());
        for episode in self.odd.leave_out(&rows, episode) {
            let Episode { severity, firing_at, cleared_at, ended_at, text, .. } = episode;
            if let Some(from) = firing_at {
                episodes.push(PatientEpisode {
                    severity,
                    from,
                    until: cleared_at.or(ended_at),
                    text: text.to_string(),
                });
            }
        }
        Ok(episodes)
    }

    /// The pauses and silences whose end the store does not know to be past; the oldest first.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn silences(&mut self) -> Result<Vec<Silence>, StoreError> {
        let last = self.last_batch()?.map(|last| last.now);
        let sql = format!(
            "SELECT {SILENCE_COLUMNS} FROM {} WHERE `job`=? AND `until_at`>? ORDER BY `from_at`, `id`",
            quoted(SILENCES)
        );
        let last = Value::Time(last.unwrap_or(DateTime::UNIX_EPOCH));
        let rows = self.database.query(&sql, &[Value::text(&self.job), last])?;
        Ok(self.odd.leave_out(&rows, silence))
    }

    /// Puts down what somebody asks for; the job does it with its next batch. Asking twice by one id is asking once.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn ask(&mut self, action: &Action) -> Result<(), StoreError> {
        let sql = format!("SELECT 1 FROM {} WHERE `job`=? AND `id`=?", quoted(ALERT_ACTIONS));
        if !self.database.query(&sql, &[Value::text(&self.job), Value::text(&action.id.0)])?.is_empty() {
            return Ok(());
        }
        let nobody = Scope::default();
        let (kind, episode, scope, up_to, until) = match &action.ask {
            Request::Acknowledge(episode) => ("acknowledge", &*episode.0, &nobody, None, None),
            Request::Quiet { kind, scope, up_to, until } => (kind.name(), "", scope, *up_to, Some(*until)),
            Request::EndSilence(id) => ("end", id.0.as_str(), &nobody, None, None),
        };
        let values = vec![
            Value::text(&self.job),
            Value::text(&action.id.0),
            Value::Int(1),
            Value::Time(action.at),
            Value::text(&action.by),
            Value::text(&action.note),
            Value::text(kind),
            Value::text(episode),
            Value::text(&scope.patient),
            Value::text(&scope.ward),
            Value::text(&scope.rule),
            Value::text(up_to.map(Severity::name).unwrap_or_default()),
            Value::time(until),
            Value::text(""),
            Value::Null,
        ];
        insert_system(self.database.as_mut(), ALERT_ACTIONS, Duplicates::Refused, &mut std::iter::once(values))
    }

    /// What people ask for and the job has not answered, in the order in which they asked; and why not, of what cannot be done
    /// because of how it was put down.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn open_actions(&mut self) -> Result<(Vec<Action>, Vec<Answer>), StoreError> {
        let sql = format!(
            "SELECT `id`, `asked_at`, `author`, `note`, `kind`, `episode`, `patient_id`, `ward`, `rule`, `up_to`, `until_at` \
             FROM {} WHERE `job`=? AND (`is_open`=1 OR `is_open` IS NULL) ORDER BY `asked_at`, `id`",
            quoted(ALERT_ACTIONS)
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
        let (mut actions, mut refused) = (Vec::new(), Vec::new());
        for row in &rows {
            let id = ActionId(row.first().and_then(Value::as_text).unwrap_or_default().to_owned());
            match action(&id, &row[1..]) {
                Ok(action) => actions.push(action),
                Err(refusal) => refused.push(Answer { action: id, refusal, silence: None }),
            }
        }
        Ok((actions, refused))
    }

    /// The answer to an action: `None` while there is none, else why it was refused, which is empty where it was not.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn answer(&mut self, action: &ActionId) -> Result<Option<String>, StoreError> {
        let sql = format!("SELECT `refusal` FROM {} WHERE `job`=? AND `id`=? AND `is_open`=0", quoted(ALERT_ACTIONS));
        let rows = self.database.query(&sql, &[Value::text(&self.job), Value::text(&action.0)])?;
        rows.first().map(|row| Row::new(ALERT_ACTIONS, row).text()).transpose()
    }
}
