//! What a page that goes along with the job reads again and again: what is new since it read last.
//!
//! Every statement is bounded by keys that are in an index, so that its cost follows what is new, not what is stored.

use chrono::{DateTime, Utc};

use wardwatch_model::event_time::SourceWatermarks;
use wardwatch_model::terms::{BatchId, Offset, Partition, Watermark};
use wardwatch_model::topics::Topics;

use super::connection::Store;
use super::database::Dialect;
use super::error::StoreError;
use super::insert::batch_value;
use super::quote::quoted;
use super::rejected::RejectRow;
use super::row::Row;
use super::scan::public;
use super::system::{BATCHES, EDITS, LATE_ROWS, QUERY_COSTS, REJECTS};
use super::topics::partition_values;
use super::{BatchSummary, Value};

/// How many patients one statement asks for; the database prepares it once.
const AT_ONCE: usize = 64;

/// A table whose key begins with the patient and a time.
#[derive(Debug, Clone, Copy)]
pub struct Timed<'a> {
    /// The table.
    pub table: &'a str,
    /// Its column with the patient.
    pub key: &'a str,
    /// Its column with the time.
    pub time: &'a str,
    /// The columns to read.
    pub columns: &'a [String],
}

/// A row of the batch log as people look at it.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchRow {
    /// The batch, its frozen time, its records.
    pub summary: BatchSummary,
    /// Records that became no rows.
    pub rejects: i64,
    /// Values that cannot be read or true.
    pub artefacts: i64,
    /// Records, and items of them, that are no rows on purpose.
    pub ignored: i64,
    /// Rows that came too late for windows.
    pub late: i64,
    /// Rows that had come before.
    pub duplicates: i64,
    /// Queries that failed.
    pub failures: i64,
    /// From its closing to its commit, without the latter, milliseconds.
    pub prepared_ms: f64,
}

/// A row that came too late for windows.
#[derive(Debug, Clone, PartialEq)]
pub struct LateRow {
    /// Its patient.
    pub patient: String,
    /// When it was measured.
    pub event_time: DateTime<Utc>,
    /// By how many seconds it was late.
    pub late_by: f64,
    /// The batch that it came with.
    pub batch: BatchId,
}

/// What became of an edit of the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditRow {
    /// When.
    pub at: DateTime<Utc>,
    /// The files.
    pub files: String,
    /// Why it was refused; empty where it was taken over.
    pub error: String,
}

/// What a query costs.
#[derive(Debug, Clone, PartialEq)]
pub struct CostRow {
    /// The query.
    pub query: String,
    /// How long it takes, milliseconds.
    pub mean_ms: f64,
    /// The longest it took.
    pub longest_ms: f64,
}

impl Store {
    /// The last batch that was committed.
    ///
    /// # Errors
    /// The database does not answer, or has no tables yet.
    pub fn newest_batch(&mut self) -> Result<Option<BatchSummary>, StoreError> {
        self.last_batch()
    }

    /// The rows of patients that are newer than what is known of each, in the order of time: the patient, the time, then
    /// the columns.
    ///
    /// # Errors
    /// The database does not answer, or there is no such table or column.
    pub fn newer_rows(
        &mut self,
        table: &Timed<'_>,
        known: &[(&str, DateTime<Utc>)],
    ) -> Result<Vec<Vec<Value>>, StoreError> {
        let columns: Vec<String> = table.columns.iter().map(|name| quoted(name)).collect();
        let (key, time) = (quoted(table.key), quoted(table.time));
        let one = format!("({key}=? AND {time}>?)");
        let sql = format!(
            "SELECT {key}, {time}, {} FROM {} WHERE {} ORDER BY {time}",
            columns.join(", "),
            public(table.table)?,
            vec![one; AT_ONCE].join(" OR ")
        );
        let mut rows = Vec::new();
        for known in known.chunks(AT_ONCE) {
            // The last one fills up what is left, so that there is one statement only.
            let last = known.last().copied();
            let asked = known.iter().copied().chain(std::iter::repeat_with(|| last).flatten()).take(AT_ONCE);
            let values: Vec<Value> =
                asked.flat_map(|(patient, time)| [Value::text(patient), Value::Time(time)]).collect();
            self.database.for_each(&sql, &values, &mut |row| rows.push(row))?;
        }
        Ok(rows)
    }

    /// The newest time of each patient in a table, in the order of their ids. It hops from patient to patient.
    ///
    /// # Errors
    /// The database does not answer, or there is no such table or column.
    pub fn patients(&mut self, table: &str, key: &str, time: &str) -> Result<Vec<(String, DateTime<Utc>)>, StoreError> {
        let (table, key, time) = (public(table)?, quoted(key), quoted(time));
        let sql = match self.database.dialect() {
            // They hop by themselves.
            Dialect::MySql | Dialect::MariaDb => {
                format!("SELECT {key}, MAX({time}) FROM {table} GROUP BY {key} ORDER BY {key}")
            }
            Dialect::Sqlite => format!(
                "WITH RECURSIVE p(k) AS (SELECT MIN({key}) FROM {table} UNION ALL \
                 SELECT (SELECT MIN({key}) FROM {table} WHERE {key} > p.k) FROM p WHERE p.k IS NOT NULL) \
                 SELECT k, (SELECT MAX({time}) FROM {table} WHERE {key} = k) FROM p WHERE k IS NOT NULL"
            ),
        };
        let rows = self.database.query(&sql, &[])?;
        Ok(rows.iter().filter_map(|row| Some((row.first()?.as_text()?.to_owned(), row.get(1)?.as_time()?))).collect())
    }

    /// All rows of a table, as texts of these columns; what it lacks is empty. `None` where there is no such table, or it
    /// lacks the first of them.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn table_texts<const N: usize>(
        &mut self,
        table: &str,
        columns: &[&str; N],
    ) -> Result<Option<Vec<[String; N]>>, StoreError> {
        let stored = self.column_names(table)?;
        if !stored.iter().any(|column| *column == columns[0]) {
            return Ok(None);
        }
        let read =
            columns.map(|name| if stored.iter().any(|column| column == name) { quoted(name) } else { "''".to_owned() });
        let sql = format!("SELECT {} FROM {}", read.join(", "), public(table)?);
        let rows = self.database.query(&sql, &[])?;
        let text = |value: Option<&Value>| match value {
            Some(Value::Text(text)) => text.clone(),
            Some(Value::Int(number)) => number.to_string(),
            Some(Value::Float(number)) => number.to_string(),
            _ => String::new(),
        };
        Ok(Some(rows.iter().map(|row| std::array::from_fn(|column| text(row.get(column)))).collect()))
    }

    /// The batches up to `until`, the newest first.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn batch_rows(&mut self, until: BatchId, most: usize) -> Result<Vec<BatchRow>, StoreError> {
        let sql = format!(
            "SELECT `batch`, `now_at`, `records`, `watermark`, `event_now_at`, `rejects`, `artefacts`, `late_rows`, \
             `duplicates`, `failures`, `prepared_ms`, `ignored` FROM {} WHERE `job`=? AND `batch`<=? ORDER BY `batch` DESC LIMIT ?",
            quoted(BATCHES)
        );
        let values = [Value::text(&self.job), batch_value(until), Value::count(most)];
        let rows = self.database.query(&sql, &values)?;
        rows.iter()
            .map(|row| {
                let mut row = Row::new(BATCHES, row);
                let read = BatchRow {
                    summary: BatchSummary {
                        batch: row.batch()?,
                        now: row.time()?,
                        records: row.int()?,
                        watermark: row.optional_time().map(Watermark),
                        by_table: SourceWatermarks::new(),
                        event_now: row.optional_time(),
                    },
                    rejects: row.int()?,
                    artefacts: row.int()?,
                    ignored: 0,
                    late: row.int()?,
                    duplicates: row.int()?,
                    failures: row.int()?,
                    prepared_ms: row.optional_float().unwrap_or(0.0),
                };
                // NULL in rows of before 0.3.
                Ok(BatchRow { ignored: row.int().unwrap_or(0), ..read })
            })
            .collect()
    }

    /// The newest rejects of each partition, at most `most` of each; the newest batch's first.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn reject_rows(&mut self, topics: &Topics, most: usize) -> Result<Vec<RejectRow>, StoreError> {
        let rows = self.newest_by_partition(REJECTS, REJECT_COLUMNS, topics, most)?;
        let mut rejects = rows.iter().map(|values| reject(values)).collect::<Result<Vec<_>, StoreError>>()?;
        rejects.sort_by(|a, b| {
            let place = |reject: &RejectRow| (reject.batch, reject.offset, reject.item);
            place(b).cmp(&place(a)).then_with(|| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)))
        });
        Ok(rejects)
    }

    /// The rejects of one record, in the order of its items.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn rejects_of(
        &mut self,
        topics: &Topics,
        partition: Partition,
        offset: Offset,
    ) -> Result<Vec<RejectRow>, StoreError> {
        let sql = format!(
            "SELECT {REJECT_COLUMNS} FROM {} WHERE `job`=? AND `topic`=? AND `partition`=? AND `offset`=? ORDER BY `item`",
            quoted(REJECTS)
        );
        let [topic, number] = partition_values(topics, partition);
        let values = [Value::text(&self.job), topic, number, Value::Int(offset.0)];
        self.database.query(&sql, &values)?.iter().map(|values| reject(values)).collect()
    }

    /// The newest rows of each partition that came too late, at most `most` of each; the newest batch's first.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn late_rows(&mut self, topics: &Topics, most: usize) -> Result<Vec<LateRow>, StoreError> {
        let columns = "`patient_id`, `event_time`, `late_by_seconds`, `batch`";
        let rows = self.newest_by_partition(LATE_ROWS, columns, topics, most)?;
        let late = rows.iter().map(|row| {
            let mut row = Row::new(LATE_ROWS, row);
            Ok(LateRow {
                patient: row.text()?,
                event_time: row.time()?,
                late_by: row.optional_float().unwrap_or(0.0),
                batch: row.batch()?,
            })
        });
        let mut late = late.collect::<Result<Vec<_>, StoreError>>()?;
        late.sort_by_key(|row| (std::cmp::Reverse(row.batch), std::cmp::Reverse(row.event_time)));
        Ok(late)
    }

    fn newest_by_partition(
        &mut self,
        table: &str,
        columns: &str,
        topics: &Topics,
        most: usize,
    ) -> Result<Vec<Vec<Value>>, StoreError> {
        let sql = format!(
            "SELECT {columns} FROM {} WHERE `job`=? AND `topic`=? AND `partition`=? ORDER BY `offset` DESC LIMIT ?",
            quoted(table)
        );
        let mut rows = Vec::new();
        for partition in self.positions(topics)?.into_keys() {
            let [topic, number] = partition_values(topics, partition);
            let values = [Value::text(&self.job), topic, number, Value::count(most)];
            self.database.for_each(&sql, &values, &mut |row| rows.push(row))?;
        }
        Ok(rows)
    }

    /// What became of edits of the set, the newest first.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn edit_rows(&mut self, most: usize) -> Result<Vec<EditRow>, StoreError> {
        let sql = format!(
            "SELECT `edited_at`, `files`, `error` FROM {} WHERE `job`=? ORDER BY `edited_at` DESC LIMIT ?",
            quoted(EDITS)
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job), Value::count(most)])?;
        rows.iter()
            .map(|row| {
                let mut row = Row::new(EDITS, row);
                Ok(EditRow { at: row.time()?, files: row.text()?, error: row.text()? })
            })
            .collect()
    }

    /// What each query costs, the dearest first.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn cost_rows(&mut self) -> Result<Vec<CostRow>, StoreError> {
        let sql = format!(
            "SELECT `query`, `mean_ms`, `longest_ms` FROM {} WHERE `job`=? ORDER BY `mean_ms` DESC, `query`",
            quoted(QUERY_COSTS)
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
        rows.iter()
            .map(|row| {
                let mut row = Row::new(QUERY_COSTS, row);
                Ok(CostRow {
                    query: row.text()?,
                    mean_ms: row.optional_float().unwrap_or(0.0),
                    longest_ms: row.optional_float().unwrap_or(0.0),
                })
            })
            .collect()
    }
}

/// What is read of a reject.
const REJECT_COLUMNS: &str =
    "`topic`, `partition`, `offset`, `item`, `batch`, `reason`, `stamped_at`, `raw`, `key`, `headers`, `whole`";

fn reject(values: &[Value]) -> Result<RejectRow, StoreError> {
    let mut row = Row::new(REJECTS, values);
    let (topic, partition, offset, item) = (row.text()?, row.int()?, row.int()?, row.int()?);
    let (batch, reason, stamped_at) = (row.batch()?, row.text()?, row.optional_time());
    let bytes = |place: usize| values.get(place).and_then(Value::as_bytes).map(<[u8]>::to_vec);
    let (raw, key) = (bytes(7).unwrap_or_default(), bytes(8));
    let headers = values.get(9).and_then(Value::as_text).and_then(|text| serde_json::from_str(text).ok());
    let headers = headers.unwrap_or_default();
    let is_whole = values.get(10).and_then(Value::as_int).is_some_and(|whole| whole != 0);
    Ok(RejectRow { topic, partition, offset, item, raw, key, headers, is_whole, stamped_at, reason, batch })
}
