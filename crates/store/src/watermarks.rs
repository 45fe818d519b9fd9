//! How far event time has got, by partition and by source: as batches keep it, and as it is read back.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::DateTime;

use wardwatch_model::event_time::{SourceWatermarks, Watermarks};
use wardwatch_model::terms::{BatchId, Partition, Watermark};
use wardwatch_model::topics::Topics;

use super::Value;
use super::connection::Store;
use super::error::StoreError;
use super::insert::batch_value;
use super::quote::quoted;
use super::system::{BATCH_RANGES, BATCHES, OFFSETS};
use super::topics::{partition_of, partition_values};

impl Store {
    /// The watermark of each of these partitions as it was before the batch that stands there; those without one are left out.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn watermarks_before(
        &mut self,
        topics: &Topics,
        batches: &BTreeMap<Partition, BatchId>,
    ) -> Result<Watermarks, StoreError> {
        let sql = format!(
            "SELECT `topic`, `partition`, `watermark` FROM {} WHERE `job`=? AND `topic`=? AND `partition`=? AND `batch`<? \
             ORDER BY `batch` DESC LIMIT 1",
            quoted(BATCH_RANGES)
        );
        let mut watermarks = Watermarks::new();
        for (partition, batch) in batches {
            let [topic, number] = partition_values(topics, *partition);
            let key = [Value::text(&self.job), topic, number, batch_value(*batch)];
            watermarks.extend(self.database.query(&sql, &key)?.first().and_then(|row| watermark_of(topics, row)));
        }
        Ok(watermarks)
    }

    /// The sources' watermarks as they were before `batch`.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn watermark_before(&mut self, batch: BatchId) -> Result<(Option<Watermark>, SourceWatermarks), StoreError> {
        let sql = format!("SELECT `watermark`, `watermarks` FROM {} WHERE `job`=? AND `batch`=?", quoted(BATCHES));
        let before = BatchId(batch.0.saturating_sub(1));
        let rows = self.database.query(&sql, &[Value::text(&self.job), batch_value(before)])?;
        let Some([first, by_table]) = rows.first().map(Vec::as_slice) else { return Ok(Default::default()) };
        Ok((first.as_time().map(Watermark), by_table_of(by_table.as_text())))
    }

    pub(super) fn watermarks(&mut self, topics: &Topics) -> Result<BTreeMap<Partition, Watermark>, StoreError> {
        let sql = format!("SELECT `topic`, `partition`, `watermark` FROM {} WHERE `job`=?", quoted(OFFSETS));
        let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
        Ok(rows.iter().filter_map(|row| watermark_of(topics, row)).collect())
    }
}

/// By when windows of each source have closed, as a batch has it.
pub(super) fn by_table_of(text: Option<&str>) -> SourceWatermarks {
    let by_table: BTreeMap<String, i64> = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let time =
        |(table, micros): (String, i64)| Some((Arc::from(table), Watermark(DateTime::from_timestamp_micros(micros)?)));
    by_table.into_iter().filter_map(time).collect()
}

/// The same as the store keeps it; NULL where there is nothing to say.
pub(super) fn by_table_value(watermarks: &SourceWatermarks) -> Value {
    if watermarks.is_empty() {
        return Value::Null;
    }
    let by_table: BTreeMap<&str, i64> =
        watermarks.iter().map(|(table, watermark)| (&**table, watermark.0.timestamp_micros())).collect();
    Value::text(&serde_json::to_string(&by_table).unwrap_or_default())
}

/// A partition that is read and its time, where it has one.
pub(super) fn watermark_of(topics: &Topics, row: &[Value]) -> Option<(Partition, Watermark)> {
    Some((partition_of(topics, row)?, Watermark(row.get(2)?.as_time()?)))
}
