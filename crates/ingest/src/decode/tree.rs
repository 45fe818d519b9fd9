//! A record as a tree, taken apart only where somebody looks, and what a search finds in it.

use std::borrow::Cow;
use std::cell::OnceCell;

use serde_json::{Map, Value as Json};
use serde_json_path::{JsonPath, PathElement};

use wardwatch_config::{Scope, Search, SourcePath, Step, Way};

use super::scan::{Value, fields_of, items_of};

/// A value within a record.
#[derive(Debug)]
pub(super) struct Node<'a> {
    /// As it was sent, quotes and all.
    pub(super) raw: &'a [u8],
    pub(super) value: Value<'a>,
    inside: OnceCell<Inside<'a>>,
    json: OnceCell<Json>,
}

#[derive(Debug)]
enum Inside<'a> {
    Fields(Vec<(Cow<'a, str>, Node<'a>)>),
    Items(Vec<Node<'a>>),
    Nothing,
}

/// So deep a JSONPath looks.
const DEEPEST: usize = 64;

impl<'a> Node<'a> {
    pub(super) fn new(raw: &'a [u8], value: Value<'a>) -> Self {
        Self { raw, value, inside: OnceCell::new(), json: OnceCell::new() }
    }

    pub(super) fn is_object(&self) -> bool {
        matches!(self.value, Value::Object(_))
    }

    /// Whether it is neither an object nor a list.
    pub(super) fn is_plain(&self) -> bool {
        !matches!(self.value, Value::List(_) | Value::Object(_))
    }

    /// Whether there is something: neither null nor an empty text.
    pub(super) fn has_value(&self) -> bool {
        match &self.value {
            Value::Null => false,
            Value::Text(text) => !text.trim().is_empty(),
            _ => true,
        }
    }

    /// Its items, where it is a list.
    pub(super) fn items(&self) -> &[Self] {
        match self.inside() {
            Inside::Items(items) => items,
            _ => &[],
        }
    }

    /// The last of its fields with this name.
    pub(super) fn field(&self, name: &str) -> Option<&Self> {
        match self.inside() {
            Inside::Fields(fields) => fields.iter().rev().find(|(known, _)| known == name).map(|(_, node)| node),
            _ => None,
        }
    }

    /// The names of its fields, each once.
    pub(super) fn field_names(&self) -> Vec<&str> {
        let Inside::Fields(fields) = self.inside() else { return Vec::new() };
        let mut names: Vec<&str> = fields.iter().map(|(name, _)| name.as_ref()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The item of a list; below 0 from its end.
    fn item(&self, index: i64) -> Option<&Self> {
        let items = self.items();
        let index = if index < 0 { index.checked_add(i64::try_from(items.len()).ok()?)? } else { index };
        items.get(usize::try_from(index).ok()?)
    }

    /// What is directly inside.
    pub(super) fn children(&self) -> Vec<&Self> {
        match self.inside() {
            Inside::Fields(fields) => fields.iter().map(|(_, node)| node).collect(),
            Inside::Items(items) => items.iter().collect(),
            Inside::Nothing => Vec::new(),
        }
    }

    fn inside(&self) -> &Inside<'a> {
        // A record is scanned to its end before anybody looks into it, so none of it is garbled.
        self.inside.get_or_init(|| match &self.value {
            Value::Object(object) => {
                let fields = fields_of(object).unwrap_or_default();
                Inside::Fields(fields.into_iter().map(|(name, (raw, value))| (name, Node::new(raw, value))).collect())
            }
            Value::List(list) => {
                let items = items_of(list).unwrap_or_default();
                Inside::Items(items.into_iter().map(|(raw, value)| Node::new(raw, value)).collect())
            }
            _ => Inside::Nothing,
        })
    }

    /// What one step leads to.
    pub(super) fn step(&self, step: &Step) -> Vec<&Self> {
        match step {
            Step::Field(name) => self.field(name).into_iter().collect(),
            Step::Index(index) => self.item(*index).into_iter().collect(),
            // Who turns XML into JSON writes a list of one as what is in it.
            Step::Each if self.is_object() => vec![self],
            Step::Each | Step::Values => self.children(),
        }
    }

    fn json(&self) -> &Json {
        self.json.get_or_init(|| self.to_json(DEEPEST))
    }

    fn to_json(&self, depth: usize) -> Json {
        match (&self.value, depth) {
            (Value::Null, _) | (Value::List(_) | Value::Object(_), 0) => Json::Null,
            (Value::Bool(truth), _) => Json::Bool(*truth),
            (Value::Number(digits), _) => serde_json::from_str(digits).unwrap_or_else(|_| Json::from(*digits)),
            (Value::Text(text), _) => Json::from(text.as_ref()),
            (Value::Garbled(text), _) => Json::from(text.as_str()),
            (Value::List(_), _) => self.items().iter().map(|item| item.to_json(depth - 1)).collect(),
            (Value::Object(_), _) => match self.inside() {
                Inside::Fields(fields) => {
                    let fields = fields.iter().map(|(name, node)| (name.to_string(), node.to_json(depth - 1)));
                    Json::Object(fields.collect::<Map<String, Json>>())
                }
                _ => Json::Null,
            },
        }
    }
}

/// A search that is ready to be made.
#[derive(Debug, Clone)]
pub(super) struct Finder {
    pub(super) scope: Scope,
    way: FinderWay,
}

#[derive(Debug, Clone)]
enum FinderWay {
    Steps(Vec<Step>),
    JsonPath(JsonPath),
}

impl Finder {
    /// What finds what stands at a path in a record's value.
    pub(super) fn to(path: &SourcePath) -> Option<Self> {
        match path {
            SourcePath::Search(search) => Some(Self::of(search)),
            SourcePath::Fields(names) => {
                let steps = names.iter().map(|name| Step::Field(name.clone())).collect();
                Some(Self { scope: Scope::Item, way: FinderWay::Steps(steps) })
            }
            SourcePath::Beside(_) | SourcePath::Template(_) => None,
        }
    }

    fn of(search: &Search) -> Self {
        let way = match &search.way {
            Way::Steps(steps) => FinderWay::Steps(steps.clone()),
            Way::JsonPath(path) => FinderWay::JsonPath(
                JsonPath::parse(path).unwrap_or_else(|error| panic!("the job's check has read it: {error}")),
            ),
        };
        Self { scope: search.scope, way }
    }

    /// Whether it begins with an item of the item that becomes the row, which is a list then.
    pub(super) fn goes_into_item(&self) -> bool {
        self.scope == Scope::Item
            && match &self.way {
                FinderWay::Steps(steps) => matches!(steps.first(), None | Some(Step::Index(_) | Step::Each)),
                FinderWay::JsonPath(_) => false,
            }
    }

    /// Whether it begins with an item of the record, which is a list then.
    pub(super) fn goes_into_list(&self) -> bool {
        match &self.way {
            FinderWay::Steps(steps) => matches!(steps.first(), Some(Step::Index(_) | Step::Each)),
            FinderWay::JsonPath(path) => path.to_string().starts_with("$["),
        }
    }

    /// What it finds from `start`, in the order of the record.
    pub(super) fn find<'n, 'a>(&self, start: &'n Node<'a>) -> Vec<&'n Node<'a>> {
        match &self.way {
            FinderWay::Steps(steps) => reached(start, steps),
            FinderWay::JsonPath(_) => self.ways(start).into_iter().filter_map(|way| way.last().copied()).collect(),
        }
    }

    /// Whether not even the list is there whose items are searched for; a filter may find nothing.
    pub(super) fn leads_nowhere(&self, start: &Node<'_>) -> bool {
        let FinderWay::Steps(steps) = &self.way else { return false };
        let to_list = steps.iter().position(|step| matches!(step, Step::Each | Step::Values)).unwrap_or(steps.len());
        !reached(start, &steps[..to_list]).iter().any(|node| node.has_value())
    }

    /// The ways to what it finds: each from `start`, which is the first of it, from the outside in.
    pub(super) fn ways<'n, 'a>(&self, start: &'n Node<'a>) -> Vec<Vec<&'n Node<'a>>> {
        match &self.way {
            FinderWay::Steps(steps) => steps.iter().fold(vec![vec![start]], |ways, step| {
                let longer = |way: Vec<&'n Node<'a>>| {
                    let next = way.last().map(|node| node.step(step)).unwrap_or_default();
                    next.into_iter().map(move |node| way.iter().copied().chain([node]).collect())
                };
                ways.into_iter().flat_map(longer).collect()
            }),
            FinderWay::JsonPath(path) => {
                let located = path.query_located(start.json());
                let way = |elements: &mut dyn Iterator<Item = &PathElement<'_>>| {
                    let mut way = vec![start];
                    for element in elements {
                        let inner = way.last()?;
                        way.push(match element {
                            PathElement::Name(name) => inner.field(name)?,
                            PathElement::Index(index) => inner.items().get(*index)?,
                        });
                    }
                    Some(way)
                };
                located.locations().filter_map(|found| way(&mut found.iter())).collect()
            }
        }
    }
}

fn reached<'n, 'a>(start: &'n Node<'a>, steps: &[Step]) -> Vec<&'n Node<'a>> {
    steps.iter().fold(vec![start], |found, step| found.into_iter().flat_map(|node| node.step(step)).collect())
}
