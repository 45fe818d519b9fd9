//! What records became.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use chrono::{DateTime, Utc};

use wardwatch_model::encounter::Request;
use wardwatch_model::record::{Artefact, ITEM_COLUMN, Item, OFFSET_COLUMN, PARTITION_COLUMN, Place, Reject};
use wardwatch_model::terms::{Offset, Partition};

/// What records became. Every item of a record is a row or a reject, in the order in which they came, or is left out on purpose
/// and counted.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// The rows; schema: [`super::frame_schema`].
    pub rows: RecordBatch,
    /// The records, and items of them, that are no rows.
    pub rejects: Vec<Reject>,
    /// The values that cannot be read or cannot be true.
    pub artefacts: Vec<Artefact>,
    /// Who comes, moves and goes, as records say it, in their order.
    pub encounters: Vec<EncounterRecord>,
    /// How many records, and items of them, are no rows on purpose.
    pub ignored: usize,
}

impl Decoded {
    /// Rows alone.
    pub(super) fn of_rows(rows: RecordBatch) -> Self {
        Self { rows, rejects: Vec::new(), artefacts: Vec::new(), encounters: Vec::new(), ignored: 0 }
    }
}

/// A record, or an item of one, that says who comes, moves or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncounterRecord {
    /// Where it stands.
    pub place: Place,
    /// Kafka's stamp or, without one, the time from which it holds.
    pub stamped_at: DateTime<Utc>,
    /// What it asks for. Its id is made of what it says, so one that comes again is the same.
    pub request: Request,
}

/// What became of one record, and where each of its values stood.
#[derive(Debug, Clone)]
pub struct Found {
    /// The form that the record is of; `None` where it is of none.
    pub form: Option<String>,
    /// Its items, in their order.
    pub items: Vec<FoundItem>,
    /// The items of which each of its rows was made.
    pub members: Vec<Vec<Item>>,
    /// The names of vitals that no column is read from, and which it is left out for.
    pub unnamed: Vec<String>,
    /// What became of it.
    pub decoded: Decoded,
}

/// Where the values of an item stood.
#[derive(Debug, Clone)]
pub struct FoundItem {
    /// Which of the record's.
    pub item: Item,
    /// Column, place and text of each value, in the order of columns.
    pub values: Vec<(String, String, String)>,
}

/// Where each row of a frame stands.
#[must_use]
pub fn places(rows: &RecordBatch) -> Vec<Place> {
    let partitions = rows[PARTITION_COLUMN].as_primitive::<Int32Type>().values();
    let offsets = rows[OFFSET_COLUMN].as_primitive::<Int64Type>().values();
    let items = rows[ITEM_COLUMN].as_primitive::<Int32Type>().values();
    let place = |row: usize| Place {
        partition: Partition(partitions[row]),
        offset: Offset(offsets[row]),
        item: Item(items[row]),
    };
    (0..rows.num_rows()).map(place).collect()
}
