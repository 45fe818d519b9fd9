//! Two schemas: the one that JSON is parsed to, by path, and the one that queries see, by column.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use wardwatch_config::{Column, ColumnType, Columns, KafkaField, SourcePath, SourceSpec};
use wardwatch_model::record::{OFFSET_COLUMN, PARTITION_COLUMN, STAMP_COLUMN, TOPIC_COLUMN};

/// What queries see: the declared columns in their order, `<column>_doubtful` of those that may have doubtful values, then
/// `_topic`, `_partition`, `_offset` and `_stamped_at`.
///
/// Required columns are not nullable. Text is `Utf8View`, times are `Timestamp(Microsecond, "UTC")`.
#[must_use]
pub fn frame_schema(columns: &Columns) -> SchemaRef {
    let declared =
        columns.all().iter().map(|column| Field::new(&column.name, frame_type(column.r#type), !column.required));
    let doubtful = columns
        .all()
        .iter()
        .filter_map(|column| Some(Field::new(column.doubtful_name()?, frame_type(column.r#type), true)));
    let provenance = [
        Field::new(TOPIC_COLUMN, DataType::Utf8View, false),
        Field::new(PARTITION_COLUMN, DataType::Int32, false),
        Field::new(OFFSET_COLUMN, DataType::Int64, false),
        Field::new(STAMP_COLUMN, frame_type(ColumnType::Time), true),
    ];
    Arc::new(Schema::new(declared.chain(doubtful).chain(provenance).collect::<Vec<_>>()))
}

pub(super) fn frame_type(column: ColumnType) -> DataType {
    match column {
        ColumnType::Text => DataType::Utf8View,
        ColumnType::Float => DataType::Float64,
        ColumnType::Int => DataType::Int64,
        ColumnType::Bool => DataType::Boolean,
        ColumnType::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
    }
}

/// How the columns of a job stand in its records.
#[derive(Debug)]
pub(super) struct Layout {
    parsed: SchemaRef,
    readings: Vec<Reading>,
    long: Option<Long>,
}

/// Where a column's value is found.
#[derive(Debug)]
pub(super) enum Reading {
    /// At the first of these paths that holds a value.
    Paths(Vec<SourcePath>),
    /// In the value of a long record that bears one of these names.
    Named(Vec<String>),
}

/// The paths of a long record's name and value, and the names that some column takes.
#[derive(Debug)]
pub(super) struct Long {
    pub(super) name: SourcePath,
    pub(super) value: SourcePath,
    pub(super) known: Vec<String>,
}

impl Layout {
    /// In the long form the number and truth columns are found by name; text and time columns stay paths.
    pub(super) fn of(spec: &SourceSpec) -> Self {
        let is_named = |column: &Column| {
            spec.long.is_some() && matches!(column.r#type, ColumnType::Float | ColumnType::Int | ColumnType::Bool)
        };
        let readings: Vec<Reading> = spec
            .columns
            .all()
            .iter()
            .map(|column| {
                if is_named(column) {
                    Reading::Named(column.from.iter().map(ToString::to_string).collect())
                } else {
                    Reading::Paths(column.from.clone())
                }
            })
            .collect();
        let long = spec.long.as_ref().map(|long| Long {
            name: long.name.clone(),
            value: long.value.clone(),
            known: spec
                .columns
                .all()
                .iter()
                .filter(|column| is_named(column))
                .flat_map(|column| column.from.iter().map(ToString::to_string))
                .collect(),
        });

        let mut tree = Tree::default();
        for (column, reading) in spec.columns.all().iter().zip(&readings) {
            if let Reading::Paths(paths) = reading {
                let leaf = if column.written.is_plain() { parsed_type(column.r#type) } else { DataType::Utf8View };
                in_value(paths).for_each(|path| tree.insert(&path.0, leaf.clone()));
            }
            in_value(column.written.fields()).for_each(|path| tree.insert(&path.0, DataType::Utf8View));
        }
        if let Some(long) = &long {
            tree.insert(&long.name.0, DataType::Utf8View);
            tree.insert(&long.value.0, DataType::Utf8View);
        }
        Self { parsed: Arc::new(Schema::new(tree.fields())), readings, long }
    }

    /// The schema that JSON is parsed to: one field per path, objects as structs, all of it nullable.
    pub(super) fn parsed(&self) -> &SchemaRef {
        &self.parsed
    }

    /// Where each declared column is found, in their order.
    pub(super) fn readings(&self) -> &[Reading] {
        &self.readings
    }

    /// Set in the long form.
    pub(super) fn long(&self) -> Option<&Long> {
        self.long.as_ref()
    }
}

/// Times are parsed as text first, since arrow-json knows fewer forms than devices do; whole numbers too, since it
/// would cut 1.5 off to 1.
pub(super) fn parsed_type(column: ColumnType) -> DataType {
    match column {
        ColumnType::Text | ColumnType::Time | ColumnType::Int => DataType::Utf8View,
        other => frame_type(other),
    }
}

/// The paths that stand in a record's value.
fn in_value<'a>(paths: impl IntoIterator<Item = &'a SourcePath>) -> impl Iterator<Item = &'a SourcePath> {
    paths.into_iter().filter(|path| path.kafka_field() == KafkaField::Value)
}

/// Paths put together by their common beginnings.
#[derive(Debug, Default)]
struct Tree {
    leaf: Option<DataType>,
    inner: BTreeMap<String, Tree>,
}

impl Tree {
    fn insert(&mut self, path: &[String], leaf: DataType) {
        match path {
            // What one reads as a number and another as a text is parsed as text.
            [] if self.leaf.as_ref().is_some_and(|known| *known != leaf) => self.leaf = Some(DataType::Utf8View),
            [] => self.leaf = Some(leaf),
            [name, rest @ ..] => self.inner.entry(name.clone()).or_default().insert(rest, leaf),
        }
    }

    fn fields(&self) -> Fields {
        self.inner
            .iter()
            .map(|(name, tree)| {
                let data_type = tree.leaf.clone().unwrap_or_else(|| DataType::Struct(tree.fields()));
                Field::new(name, data_type, true)
            })
            .collect()
    }
}
