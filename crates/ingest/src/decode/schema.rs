//! Two schemas: the one that JSON is parsed to, by path, and the one that queries see, by column.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use wardwatch_config::{Column, ColumnType, Columns, Form, Format, LongForm, SourcePath, Undeclared};
use wardwatch_model::record::{ITEM_COLUMN, OFFSET_COLUMN, PARTITION_COLUMN, STAMP_COLUMN, TOPIC_COLUMN};

use super::tree::Finder;

/// What queries see: the declared columns in their order, `<column>_doubtful` of those that may have doubtful values, then
/// `_topic`, `_partition`, `_offset`, `_item` and `_stamped_at`.
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
        Field::new(ITEM_COLUMN, DataType::Int32, false),
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
    long: Option<Long>,
    rows: Vec<Finder>,
    /// The paths of `rows`, for people.
    rows_text: String,
    searched: Vec<Searched>,
    /// Where each searched path is in the parsed schema.
    names: BTreeMap<SourcePath, Vec<String>>,
    needs_fields: bool,
    is_json: bool,
    /// Whether an item may be a list: some place is one of its items.
    takes_lists: bool,
    /// Whether a list without items cannot be told from one that is not there.
    empty_is_absent: bool,
}

/// What is searched for in each row, and parsed under a name of its own.
#[derive(Debug)]
pub(super) struct Searched {
    pub(super) finder: Finder,
    path: SourcePath,
    /// The name in the parsed schema.
    pub(super) name: String,
    /// What counts before everything else that is found: the names of vitals, where one is searched for.
    pub(super) known: Vec<String>,
    /// Whether another path goes inside of what is found, so that an object or list is no surprise.
    pub(super) is_outer: bool,
    /// Whether a time is read from it.
    pub(super) is_time: bool,
    /// Whether an object or a list there is taken as the JSON in which it is written.
    pub(super) is_json: bool,
}

impl Searched {
    /// The names that lead there, where it is a field.
    pub(super) fn fields(&self) -> &[String] {
        match &self.path {
            SourcePath::Fields(names) => names,
            SourcePath::Search(_) | SourcePath::Beside(_) | SourcePath::Template(_) => &[],
        }
    }
}

/// The places of a long record's name and value, and the names that some column takes.
#[derive(Debug)]
pub(super) struct Long {
    pub(super) form: LongForm,
    pub(super) known: Vec<String>,
}

impl Long {
    fn of(form: &Form) -> Option<Self> {
        let known = form.columns.all().iter().flat_map(|column| column.named.iter().cloned());
        form.long.as_ref().map(|long| Self { form: long.clone(), known: known.collect() })
    }

    /// Whether vitals of other names are rejects.
    pub(super) fn is_strict(&self) -> bool {
        self.form.undeclared == Undeclared::Rejected
    }
}

/// Begins the name of what is searched for in the parsed schema; no producer's field does.
const SEARCHED: char = '\u{e000}';

/// The metadata of a field that is a time, and so may be a list of numbers.
pub(super) const IS_TIME: &str = "time";

impl Layout {
    pub(super) fn of(form: &Form) -> Self {
        let mut read: Vec<(&SourcePath, Leaf)> = Vec::new();
        for column in form.columns.all() {
            let leaf = Leaf::of(column);
            for path in &column.from {
                let leaf = if matches!(path, SourcePath::Template(_)) { Leaf::text() } else { leaf.clone() };
                read.extend(path.places().map(|place| (place, leaf.clone())));
            }
            let beside = column.written.fields().flat_map(SourcePath::places);
            read.extend(beside.map(|path| (path, Leaf::text())));
        }
        let long = form.long.iter().flat_map(|long| long.name.iter().chain(&long.value));
        let conditions = form.counts.conditions().flat_map(|condition| &condition.fields);
        read.extend(long.chain(conditions).flat_map(SourcePath::places).map(|path| (path, Leaf::text())));
        let long = Long::of(form);
        let outer = outer_of_others(read.iter().map(|(path, _)| *path));
        let columns_of_json = || form.columns.all().iter().filter(|column| column.written.is_json);
        let whole: BTreeSet<&SourcePath> = columns_of_json().flat_map(|column| &column.from).collect();
        let is_json = is_tree(form);
        let is_text = matches!(form.format, Format::Csv(_) | Format::Hl7v2 | Format::Text(_));

        let mut tree = Tree::default();
        let (mut searched, mut names) = (Vec::<Searched>::new(), BTreeMap::new());
        let mut needs_fields = false;
        for (path, leaf) in read {
            // What is no tree has no fields in fields, and its texts stay texts.
            let leaf = if is_text { Leaf { is_time: leaf.is_time, ..Leaf::text() } } else { leaf };
            let finder = match path {
                SourcePath::Fields(fields) if is_json && !outer.contains(path) && !whole.contains(path) => {
                    needs_fields = true;
                    tree.insert(fields, leaf);
                    continue;
                }
                path => Finder::to(path),
            };
            let Some(finder) = finder else { continue };
            let place = searched.len();
            let at = names.entry(path.clone()).or_insert_with(|| {
                let is_name = long.as_ref().filter(|long| long.form.name.contains(path));
                searched.push(Searched {
                    finder,
                    path: path.clone(),
                    name: format!("{SEARCHED}{place:03}"),
                    known: is_name.map(|long| long.known.clone()).unwrap_or_default(),
                    is_outer: outer.contains(path),
                    is_time: false,
                    is_json: whole.contains(path),
                });
                place
            });
            let searched = &mut searched[*at];
            searched.is_time |= leaf.is_time;
            tree.insert(std::slice::from_ref(&searched.name), leaf);
        }
        let takes_lists = searched.iter().any(|searched| searched.finder.goes_into_item());
        let names = names.into_iter().map(|(path, at)| (path, vec![searched[at].name.clone()])).collect();
        let rows_text = form.rows.iter().map(|path| format!("\"{path}\"")).collect::<Vec<_>>().join(" or ");
        Self {
            parsed: Arc::new(Schema::new(tree.fields())),
            long,
            rows: form.rows.iter().filter_map(Finder::to).collect(),
            rows_text,
            searched,
            names,
            needs_fields,
            is_json,
            takes_lists,
            empty_is_absent: matches!(form.format, Format::Protobuf { .. }),
        }
    }

    /// The schema that JSON is parsed to: one field per path, objects as structs, all of it nullable.
    pub(super) fn parsed(&self) -> &SchemaRef {
        &self.parsed
    }

    /// Set in the long form.
    pub(super) fn long(&self) -> Option<&Long> {
        self.long.as_ref()
    }

    /// Where a record's items stand; empty where each object is one.
    pub(super) fn rows(&self) -> &[Finder] {
        &self.rows
    }

    /// What is said of a record that has nothing where its items should be.
    pub(super) fn rows_lead_nowhere(&self) -> String {
        format!("the record has nothing at {}, where rows are to be", self.rows_text)
    }

    /// What is searched for in each row.
    pub(super) fn searched(&self) -> &[Searched] {
        &self.searched
    }

    /// Whether a list without items cannot be told from one that is not there.
    pub(super) fn empty_is_absent(&self) -> bool {
        self.empty_is_absent
    }

    /// Whether an item may be a list.
    pub(super) fn takes_lists(&self) -> bool {
        self.takes_lists
    }

    /// Whether any column is read from a field of the item itself.
    pub(super) fn needs_fields(&self) -> bool {
        self.needs_fields
    }

    /// Whether a record that is an object is one row, written as it is.
    pub(super) fn takes_objects_as_they_are(&self) -> bool {
        self.rows.is_empty() && self.searched.is_empty()
    }

    /// The names that lead to what stands at `path` in the parsed schema; `None` where it is not in the record's value.
    pub(super) fn names<'a>(&'a self, path: &'a SourcePath) -> Option<&'a [String]> {
        match (self.names.get(path), path) {
            (Some(names), _) => Some(names),
            (None, SourcePath::Fields(names)) if self.is_json => Some(names),
            (None, _) => None,
        }
    }
}

/// Whether a form's rows are read as JSON: it is, or is written so because it is searched in.
pub(super) fn is_tree(form: &Form) -> bool {
    let is_field = |path: &SourcePath| matches!(path, SourcePath::Fields(_) | SourcePath::Beside(_));
    match form.format {
        Format::Json | Format::Protobuf { .. } => true,
        Format::Avro(_) => {
            let takes_json = form.columns.all().iter().any(|column| column.written.is_json);
            takes_json || !form.rows.is_empty() || !form.paths().all(is_field)
        }
        Format::Csv(_) | Format::Hl7v2 | Format::Text(_) => false,
    }
}

/// The paths of fields of which another goes inside.
fn outer_of_others<'a>(paths: impl Iterator<Item = &'a SourcePath>) -> BTreeSet<&'a SourcePath> {
    let paths: BTreeSet<&SourcePath> = paths.collect();
    let is_outer = |outer: &&SourcePath| match outer {
        SourcePath::Fields(names) => paths.iter().any(|inner| match inner {
            SourcePath::Fields(others) => others.len() > names.len() && others.starts_with(names),
            _ => false,
        }),
        _ => false,
    };
    paths.iter().copied().filter(is_outer).collect()
}

/// What a place is parsed as.
#[derive(Debug, Clone, PartialEq)]
struct Leaf {
    data_type: DataType,
    is_time: bool,
}

impl Leaf {
    /// Times are parsed as text first, since arrow-json knows fewer forms than devices do; whole numbers too, since it
    /// would cut 1.5 off to 1.
    fn of(column: &Column) -> Self {
        match column.r#type {
            ColumnType::Time => Self { data_type: DataType::Utf8View, is_time: true },
            ColumnType::Float | ColumnType::Bool if column.written.is_plain() => {
                Self { data_type: frame_type(column.r#type), is_time: false }
            }
            _ => Self::text(),
        }
    }

    fn text() -> Self {
        Self { data_type: DataType::Utf8View, is_time: false }
    }

    fn field(&self, name: &str) -> Field {
        let field = Field::new(name, self.data_type.clone(), true);
        match self.is_time {
            true => field.with_metadata([(IS_TIME.to_owned(), String::new())].into()),
            false => field,
        }
    }
}

/// Paths put together by their common beginnings.
#[derive(Debug, Default)]
struct Tree {
    leaf: Option<Leaf>,
    inner: BTreeMap<String, Tree>,
}

impl Tree {
    fn insert(&mut self, path: &[String], leaf: Leaf) {
        match path {
            // What one reads as a number and another as a text is parsed as text.
            [] if self.leaf.as_ref().is_some_and(|known| *known != leaf) => {
                let is_time = leaf.is_time || self.leaf.as_ref().is_some_and(|known| known.is_time);
                self.leaf = Some(Leaf { is_time, ..Leaf::text() });
            }
            [] => self.leaf = Some(leaf),
            [name, rest @ ..] => self.inner.entry(name.clone()).or_default().insert(rest, leaf),
        }
    }

    fn fields(&self) -> Fields {
        self.inner
            .iter()
            .map(|(name, tree)| match &tree.leaf {
                Some(leaf) => leaf.field(name),
                None => Field::new(name, DataType::Struct(tree.fields()), true),
            })
            .collect()
    }
}
