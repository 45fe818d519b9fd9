//! The outbox: what waits to be delivered, what became of each attempt.
//!
//! Notifications come into it with a batch (`alerting`). What is written here is not part of a batch: an attempt whose
//! outcome is lost is made again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};

use wardwatch_alert::{EpisodeId, Facts, NoticeKind, Notification, UNREACHED, Untaken, notification_id};
use wardwatch_config::Outlet;

use super::Value;
use super::connection::Store;
use super::error::StoreError;
use super::insert::{Duplicates, insert_system};
use super::quote::quoted;
use super::row::Row;
use super::system::{ALERT_EVENTS, ALERTS, DELIVERIES, NOTIFICATIONS};

/// A notification that waits to be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The notification.
    pub notification: Notification,
    /// The `now` of the batch that gave rise to it.
    pub written_at: DateTime<Utc>,
    /// How often it has been tried.
    pub attempts: u32,
}

/// An attempt to deliver a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The notification's id.
    pub notification: String,
    /// Which attempt, counted from 1.
    pub number: u32,
    /// When it began.
    pub at: DateTime<Utc>,
    /// How long it took.
    pub took: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it.
    Delivered,
    /// It will be tried again.
    Failed(String),
    /// It failed, and has been tried for long enough.
    GivenUp(String),
}

impl Outcome {
    fn name(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed(_) => "failed",
            Self::GivenUp(_) => "given up",
        }
    }

    fn error(&self) -> &str {
        match self {
            Self::Delivered => "",
            Self::Failed(error) | Self::GivenUp(error) => error,
        }
    }
}

/// How an outlet stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutletState {
    /// Its name.
    pub outlet: String,
    /// How many notifications wait.
    pub waiting: u64,
    /// Since when the first of them has.
    pub since: Option<DateTime<Utc>>,
    /// How many were given up.
    pub given_up: u64,
}

/// The state of a notification that waits.
pub(super) const WAITING: &str = "waiting";

/// The most notifications that are looked at for whether anybody has taken them, the oldest first.
const MOST_LOOKED_AT: usize = 5_000;

/// So many ids are asked for with one statement; the database prepares it once.
const AT_ONCE: usize = 64;

/// So many notices of an episode are looked at, from one that nobody has taken on, for whether somebody has taken one. They are
/// numbered without holes, so of two that nobody has taken, the later one speaks for the earlier.
const LATER_NOTICES: u32 = 4;

impl Store {
    /// The notifications that wait for an outlet: those of an episode in their order, the oldest first.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn waiting(&mut self, outlet: &str, most: usize) -> Result<Vec<Waiting>, StoreError> {
        let sql = format!(
            "SELECT `id`, `outlet`, `number`, `facts`, `written_at`, `attempts` FROM {} \
             WHERE `job`=? AND `is_open`=1 AND `outlet`=? ORDER BY `written_at`, `episode`, `number` LIMIT {most}",
            quoted(NOTIFICATIONS)
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job), Value::text(outlet)])?;
        let mut readable = Vec::with_capacity(rows.len());
        for row in &rows {
            match waiting(row) {
                Ok(waiting) => readable.push(waiting),
                Err(fault) => self.give_up(row.first().and_then(Value::as_text).unwrap_or_default(), &fault)?,
            }
        }
        Ok(readable)
    }

    /// Gives up a notification that cannot be read: those behind it are not to wait for it.
    fn give_up(&mut self, notification: &str, fault: &StoreError) -> Result<(), StoreError> {
        tracing::error!(notification, %fault, "a notification is given up: nobody can tell what it says");
        let sql =
            format!("UPDATE {} SET `is_open`=0, `state`='given up' WHERE `job`=? AND `id`=?", quoted(NOTIFICATIONS));
        self.database.execute(&sql, &[Value::text(&self.job), Value::text(notification)])?;
        Ok(())
    }

    /// What an outlet was told last of each episode that people know of and that is not over.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn told(&mut self, outlet: &str) -> Result<Vec<Facts>, StoreError> {
        let sql = format!(
            "SELECT n.`id`, n.`outlet`, n.`number`, n.`facts`, n.`written_at`, n.`attempts` FROM {} AS n \
             JOIN {} AS a ON a.`job`=n.`job` AND a.`id`=n.`episode` \
             WHERE n.`job`=? AND n.`outlet`=? AND n.`state`='delivered' AND a.`is_open`=1 AND a.`told`=1 \
             ORDER BY n.`episode`, n.`number`",
            quoted(NOTIFICATIONS),
            quoted(ALERTS)
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job), Value::text(outlet)])?;
        let mut last = BTreeMap::new();
        for Waiting { notification: Notification { facts, .. }, .. } in self.odd.leave_out(&rows, waiting) {
            last.insert(facts.episode.clone(), facts);
        }
        Ok(last.into_values().collect())
    }

    /// The notices that wait, and that none of the receivers they are for has taken; the oldest first.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn untaken(&mut self, outlets: &[Outlet]) -> Result<Vec<Untaken>, StoreError> {
        self.untaken_where("", "n.`is_open`=1", outlets)
    }

    /// The notices that are not tried any more, of episodes that stand, and that none of the receivers they were for has
    /// taken. It looks at every notification there is: for the start of a job.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn given_up(&mut self, outlets: &[Outlet]) -> Result<Vec<Untaken>, StoreError> {
        let join = format!("JOIN {} AS a ON a.`job`=n.`job` AND a.`id`=n.`episode` AND a.`is_open`=1", quoted(ALERTS));
        let notices = self.untaken_where(&join, "n.`state`='given up'", outlets)?;
        Ok(notices.into_iter().map(|notice| Untaken { is_given_up: true, ..notice }).collect())
    }

    fn untaken_where(&mut self, join: &str, condition: &str, outlets: &[Outlet]) -> Result<Vec<Untaken>, StoreError> {
        // A message may leave the patient out; the episode's first event does not.
        let sql = format!(
            "SELECT n.`id`, n.`outlet`, n.`episode`, n.`number`, n.`facts`, n.`written_at`, e.`patient_id` FROM {} AS n \
             {join} LEFT JOIN {} AS e ON e.`job`=n.`job` AND e.`episode`=n.`episode` AND e.`number`=1 \
             WHERE n.`job`=? AND {condition} AND n.`kind`<>? ORDER BY n.`written_at`, n.`id` LIMIT {MOST_LOOKED_AT}",
            quoted(NOTIFICATIONS),
            quoted(ALERT_EVENTS)
        );
        let over = NoticeKind::Resolved(Vec::new());
        let rows = self.database.query(&sql, &[Value::text(&self.job), Value::text(over.name())])?;
        let for_people = |outlet: &str| {
            // One that the job no longer has may have had people behind it.
            outlets.iter().find(|known| known.name == outlet).is_none_or(|known| known.kind.reaches_people())
        };
        let mut notices: Vec<Untaken> = Vec::new();
        let mut places: BTreeMap<(EpisodeId, u32), usize> = BTreeMap::new();
        for (outlet, notice) in self.odd.leave_out(&rows, untaken) {
            if notice.rule == UNREACHED || !for_people(&outlet) {
                continue;
            }
            let place = *places.entry((notice.episode.clone(), notice.number)).or_insert_with(|| {
                notices.push(notice);
                notices.len() - 1
            });
            notices[place].outlets.insert(outlet);
        }
        let taken = self.taken_among(&notices, outlets)?;
        let mut is_taken = taken.into_iter();
        notices.retain(|_| !is_taken.next().unwrap_or(false));
        Ok(notices)
    }

    /// Of each notice, whether one of the receivers with people behind them has taken it, or a later notice of the same episode:
    /// whoever was called by the escalation knows of the alert.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn taken_among(&mut self, notices: &[Untaken], outlets: &[Outlet]) -> Result<Vec<bool>, StoreError> {
        let names: Vec<&str> =
            outlets.iter().filter(|outlet| outlet.kind.reaches_people()).map(|outlet| outlet.name.as_str()).collect();
        let ids = |notice: &Untaken| -> Vec<String> {
            let numbers = notice.number..notice.number.saturating_add(LATER_NOTICES);
            numbers
                .flat_map(|number| names.iter().map(move |name| notification_id(&notice.episode, number, name)))
                .collect()
        };
        let asked: Vec<String> = notices.iter().flat_map(&ids).collect::<BTreeSet<_>>().into_iter().collect();
        let sql = format!(
            "SELECT `id` FROM {} WHERE `job`=? AND `state`='delivered' AND `kind`<>? AND `id` IN ({})",
            quoted(NOTIFICATIONS),
            vec!["?"; AT_ONCE].join(",")
        );
        let over = NoticeKind::Resolved(Vec::new());
        let mut delivered: BTreeSet<String> = BTreeSet::new();
        for asked in asked.chunks(AT_ONCE) {
            // The last one fills up what is left, so that there is one statement only.
            let filled = asked.iter().chain(std::iter::repeat_with(|| asked.last()).flatten()).take(AT_ONCE);
            let values: Vec<Value> = [Value::text(&self.job), Value::text(over.name())]
                .into_iter()
                .chain(filled.map(|id| Value::text(id)))
                .collect();
            let rows = self.database.query(&sql, &values)?;
            delivered.extend(rows.iter().filter_map(|row| Some(row.first()?.as_text()?.to_owned())));
        }
        let mut newest: BTreeMap<&EpisodeId, u32> = BTreeMap::new();
        for notice in notices.iter().filter(|notice| ids(notice).iter().any(|id| delivered.contains(id))) {
            let newest = newest.entry(&notice.episode).or_default();
            *newest = notice.number.max(*newest);
        }
        let is_taken = |notice: &Untaken| newest.get(&notice.episode).is_some_and(|newest| *newest >= notice.number);
        Ok(notices.iter().map(is_taken).collect())
    }

    /// Puts down what became of attempts by `outlet`. Attempts that are put down twice stand once.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn record_attempts(&mut self, outlet: &str, attempts: &[Attempt]) -> Result<(), StoreError> {
        let job = || Value::text(&self.job);
        let mut rows = attempts.iter().map(|attempt| {
            vec![
                job(),
                Value::text(&attempt.notification),
                Value::Int(attempt.number.into()),
                Value::text(outlet),
                Value::Time(attempt.at),
                Value::Float(attempt.took.as_secs_f64() * 1_000.0),
                Value::text(attempt.outcome.name()),
                Value::text(attempt.outcome.error()),
            ]
        });
        insert_system(self.database.as_mut(), DELIVERIES, Duplicates::Replaced, &mut rows)?;
        for attempt in attempts {
            let (is_open, state, settled_at) = match &attempt.outcome {
                Outcome::Failed(_) => (1, WAITING, Value::Null),
                settled => (0, settled.name(), Value::Time(attempt.at)),
            };
            let sql = format!(
                "UPDATE {} SET `is_open`=?, `state`=?, `attempts`=?, `settled_at`=? WHERE `job`=? AND `id`=?",
                quoted(NOTIFICATIONS)
            );
            let values = [
                Value::Int(is_open),
                Value::text(state),
                Value::Int(attempt.number.into()),
                settled_at,
                Value::text(&self.job),
                Value::text(&attempt.notification),
            ];
            self.database.execute(&sql, &values)?;
        }
        Ok(())
    }

    /// Gives up what waits for outlets that the job no longer has. Returns how many notifications that were.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn give_up_all_but(&mut self, outlets: &[&str], now: DateTime<Utc>) -> Result<u64, StoreError> {
        let others = match outlets {
            [] => String::new(),
            outlets => format!(" AND `outlet` NOT IN ({})", vec!["?"; outlets.len()].join(",")),
        };
        let sql = format!(
            "UPDATE {} SET `is_open`=0, `state`='given up', `settled_at`=? WHERE `job`=? AND `is_open`=1{others}",
            quoted(NOTIFICATIONS)
        );
        let values = [Value::Time(now), Value::text(&self.job)].into_iter();
        let values: Vec<Value> = values.chain(outlets.iter().map(|outlet| Value::text(outlet))).collect();
        Ok(self.database.execute(&sql, &values)?)
    }

    /// How each outlet stands that has or had something to deliver.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn outlet_states(&mut self) -> Result<Vec<OutletState>, StoreError> {
        let sql = format!(
            "SELECT `outlet`, SUM(`is_open`), MIN(CASE WHEN `is_open`=1 THEN `written_at` END), \
             SUM(CASE WHEN `state`='given up' THEN 1 ELSE 0 END) FROM {} WHERE `job`=? GROUP BY `outlet` ORDER BY `outlet`",
            quoted(NOTIFICATIONS)
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
        rows.iter()
            .map(|row| {
                let mut row = Row::new(NOTIFICATIONS, row);
                Ok(OutletState {
                    outlet: row.text()?,
                    waiting: u64::try_from(row.int()?).unwrap_or(0),
                    since: row.optional_time(),
                    given_up: u64::try_from(row.int()?).unwrap_or(0),
                })
            })
            .collect()
    }
}

fn waiting(row: &[Value]) -> Result<Waiting, StoreError> {
    const COLUMNS: &str = "`id`, `outlet`, `number`, `facts`, `written_at`, `attempts`";
    let mut row = Row::of(NOTIFICATIONS, COLUMNS, row);
    let (id, outlet, number, facts) = (row.text()?, row.text()?, row.count()?, facts(&row.text()?)?);
    let notification = Notification { id, outlet, number, facts };
    Ok(Waiting { notification, written_at: row.time()?, attempts: row.count()? })
}

/// An outlet, and a notice that it is to be told of.
fn untaken(row: &[Value]) -> Result<(String, Untaken), StoreError> {
    const COLUMNS: &str = "`id`, `outlet`, `episode`, `number`, `facts`, `written_at`, `patient_id`";
    let mut row = Row::of(NOTIFICATIONS, COLUMNS, row);
    let (_id, outlet, episode, number) = (row.text()?, row.text()?, EpisodeId(row.text()?.into()), row.count()?);
    let (Facts { rule, patient, text, .. }, written_at) = (facts(&row.text()?)?, row.time()?);
    let patient = row.optional_text().unwrap_or(patient);
    let outlets = BTreeSet::new();
    Ok((outlet, Untaken { episode, number, rule, patient, text, outlets, written_at, is_given_up: false }))
}

/// What a message tells. What is wrong with it is told without its values, which may be a patient's.
fn facts(text: &str) -> Result<Facts, StoreError> {
    serde_json::from_str(text).map_err(|error| {
        let fault = error.classify();
        StoreError::Refused(format!(
            "table \"{NOTIFICATIONS}\": column \"facts\" is not what wardwatch wrote: {fault:?}"
        ))
    })
}
