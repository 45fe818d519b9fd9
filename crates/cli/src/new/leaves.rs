//! Where the values of records stand, before anybody has said what a row is.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::names::normal;

/// So many different values of a place are kept.
const KEPT: usize = 200;

/// A place in a record: the names that lead there, and where lists lie on the way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Place(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Field(String),
    /// Each item of the list.
    Items,
}

impl Place {
    /// The field to which these names lead.
    pub(super) fn field(names: &[String]) -> Self {
        Self(names.iter().cloned().map(Step::Field).collect())
    }

    /// The name of the field.
    pub(super) fn last(&self) -> &str {
        self.name(0)
    }

    /// What the field is called by: of `hr.value`, what it is in.
    pub(super) fn called(&self) -> &str {
        match normal(self.last()).as_str() {
            "value" | "val" | "v" if !self.name(1).is_empty() => self.name(1),
            _ => self.last(),
        }
    }

    /// The field's name, and of the object that it is in.
    pub(super) fn with_parent(&self) -> String {
        normal(&format!("{}{}", self.name(1), self.last()))
    }

    fn name(&self, back: usize) -> &str {
        let names = self.0.iter().rev().filter_map(|step| if let Step::Field(name) = step { Some(name) } else { None });
        names.skip(back).map(String::as_str).next().unwrap_or_default()
    }

    /// The names of the objects that it is in.
    pub(super) fn within(&self) -> impl Iterator<Item = &str> {
        let names =
            self.0.iter().filter_map(|step| if let Step::Field(name) = step { Some(name.as_str()) } else { None });
        let count = names.clone().count();
        names.take(count.saturating_sub(1))
    }

    pub(super) fn depth(&self) -> usize {
        self.0.len()
    }

    /// Whether one record has at this place what another has in a field of an object there: `hr` and `hr.value`.
    pub(super) fn is_of_one(&self, other: &Self) -> bool {
        let (short, long) = if self.0.len() < other.0.len() { (self, other) } else { (other, self) };
        long.parent() == *short && matches!(normal(long.last()).as_str(), "value" | "val" | "v")
    }

    /// The innermost list that it is in, or the record.
    pub(super) fn rows(&self) -> Self {
        let end = self.0.iter().rposition(|step| *step == Step::Items).map_or(0, |at| at + 1);
        Self(self.0[..end].to_vec())
    }

    /// The object that it is a field of.
    pub(super) fn parent(&self) -> Self {
        Self(self.0[..self.0.len().saturating_sub(1)].to_vec())
    }

    pub(super) fn is_record(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether each row of `rows` has one such value: in it, or around it.
    pub(super) fn is_of(&self, rows: &Self) -> bool {
        rows.0.starts_with(&self.rows().0)
    }

    /// As a job file says it for rows of `rows`.
    pub(super) fn from(&self, rows: &Self) -> String {
        let own = self.rows();
        let names: Vec<String> = self.0[own.0.len()..].iter().map(Step::written).collect();
        format!("{}{}", if own == *rows { "" } else { "^." }, names.join("."))
    }

    /// As `rows` of a job file says it.
    pub(super) fn as_rows(&self) -> String {
        let mut text = "$".to_owned();
        for step in &self.0 {
            if *step != Step::Items {
                text.push('.');
            }
            text.push_str(&step.written());
        }
        text
    }
}

impl Step {
    fn written(&self) -> String {
        match self {
            Self::Items => "[*]".to_owned(),
            Self::Field(name) if name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) => {
                name.clone()
            }
            Self::Field(name) => format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")),
        }
    }
}

/// The texts, numbers and truths of records by their places, a few of each.
#[derive(Debug, Default)]
pub(super) struct Leaves(BTreeMap<Place, Vec<String>>);

impl Leaves {
    pub(super) fn of(records: &[Json]) -> Self {
        let mut leaves = Self::default();
        records.iter().for_each(|record| leaves.note(record, &mut Place::default()));
        leaves
    }

    /// Places of which nothing but that is known.
    pub(super) fn at(places: &[Vec<String>]) -> Self {
        Self(places.iter().map(|names| (Place::field(names), Vec::new())).collect())
    }

    fn note(&mut self, value: &Json, place: &mut Place) {
        match value {
            Json::Object(fields) => {
                for (name, inner) in fields {
                    place.0.push(Step::Field(name.clone()));
                    self.note(inner, place);
                    place.0.pop();
                }
            }
            Json::Array(items) if items.iter().any(Json::is_object) => {
                place.0.push(Step::Items);
                items.iter().for_each(|item| self.note(item, place));
                place.0.pop();
            }
            Json::Null => drop(self.0.entry(place.clone()).or_default()),
            leaf => {
                let text = leaf.as_str().map_or_else(|| leaf.to_string(), str::to_owned);
                let known = self.0.entry(place.clone()).or_default();
                if known.len() < KEPT && !known.contains(&text) {
                    known.push(text);
                }
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Place, &[String])> {
        self.0.iter().map(|(place, values)| (place, values.as_slice()))
    }

    /// The places whose names say the same as `first` does, with what they are in or without; it comes first.
    pub(super) fn alike(&self, first: &Place, rows: &Place) -> Vec<Place> {
        let is_alike = |place: &&Place| {
            let own = [normal(first.last()), first.with_parent()];
            let other = [normal(place.last()), place.with_parent()];
            *place != first && place.is_of(rows) && own.iter().any(|name| name.len() > 2 && other.contains(name))
        };
        let mut alike: Vec<Place> = self.0.keys().filter(is_alike).cloned().collect();
        alike.sort_by_key(|place| place.0.len());
        std::iter::once(first.clone()).chain(alike).collect()
    }

    /// Where values look as `is_such` says; nearest to the row first.
    pub(super) fn such(&self, rows: &Place, is_such: impl Fn(&[String]) -> bool) -> Option<Place> {
        let such = self.0.iter().filter(|(place, values)| place.is_of(rows) && !values.is_empty() && is_such(values));
        such.map(|(place, _)| place).min_by_key(|place| (place.rows() != *rows, place.0.len())).cloned()
    }

    pub(super) fn values(&self, place: &Place) -> &[String] {
        self.0.get(place).map(Vec::as_slice).unwrap_or_default()
    }

    /// The place whose name comes first among `names`; of several, the nearest to the row.
    pub(super) fn best(&self, names: &[&str], rows: &Place, is_fit: impl Fn(&Place) -> bool) -> Option<Place> {
        let rank = |place: &Place| {
            let (last, whole) = (normal(place.last()), place.with_parent());
            let rank = names.iter().position(|name| *name == whole || *name == last)?;
            Some((rank, place.rows() != *rows, place.0.len()))
        };
        let fit = self.0.keys().filter(|place| place.is_of(rows) && is_fit(place));
        fit.filter_map(|place| Some((rank(place)?, place))).min().map(|(_, place)| place.clone())
    }
}

/// The values at one place by the texts at another, which is in the same object or in one around it.
pub(super) fn pairs(records: &[Json], name: &Place, value: &Place) -> BTreeMap<String, Vec<String>> {
    let mut pairs = BTreeMap::new();
    records.iter().for_each(|record| note_pairs(record, (0, value), name, None, &mut pairs));
    pairs
}

/// `at` says how much of the way to the value is gone.
fn note_pairs(
    node: &Json,
    (at, value): (usize, &Place),
    name: &Place,
    said: Option<&str>,
    pairs: &mut BTreeMap<String, Vec<String>>,
) {
    // The name may stand in an object beside the way.
    let is_here = name.0.len() > at && name.0[..at] == value.0[..at] && !name.0[at..].contains(&Step::Items);
    let said = match is_here {
        true => text_at(node, &name.0[at..]).or(said),
        false => said,
    };
    match (value.0.get(at), node) {
        (None, Json::Null) => {}
        (None, leaf) => {
            let Some(said) = said else { return };
            let text = leaf.as_str().map_or_else(|| leaf.to_string(), str::to_owned);
            let known = pairs.entry(said.to_owned()).or_default();
            if known.len() < KEPT && !known.contains(&text) {
                known.push(text);
            }
        }
        (Some(Step::Items), Json::Array(items)) => {
            items.iter().for_each(|item| note_pairs(item, (at + 1, value), name, said, pairs));
        }
        (Some(Step::Field(field)), Json::Object(fields)) => {
            if let Some(inner) = fields.get(field) {
                note_pairs(inner, (at + 1, value), name, said, pairs);
            }
        }
        _ => {}
    }
}

fn text_at<'a>(node: &'a Json, steps: &[Step]) -> Option<&'a str> {
    match steps.split_first() {
        None => node.as_str(),
        Some((Step::Field(name), rest)) => text_at(node.get(name)?, rest),
        Some((Step::Items, _)) => None,
    }
}
