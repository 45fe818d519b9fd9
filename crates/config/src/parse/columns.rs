//! The columns of a job: those that records become, and those that are computed from them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use wardwatch_model::diagnostic::unknown;

use super::super::checker::{Checker, identifier};
use super::super::raw::{RawColumn, RawFeature, RawFrom};
use super::super::spanned::Spanned;
use super::super::units::{Zero, duration};
use super::super::{Column, ColumnType, Columns, FEATURE_KINDS, Feature, FeatureKind, SourcePath, Words};

impl Checker<'_> {
    pub(super) fn columns(
        &mut self,
        raw: BTreeMap<Spanned<String>, RawColumn>,
        key: &Spanned<String>,
        event_time: &Spanned<String>,
        long: &[SourcePath],
    ) -> Option<Columns> {
        let mut raw: Vec<_> = raw.into_iter().collect();
        raw.sort_by_key(|(name, _)| name.span().start);
        let names: Vec<String> = raw.iter().map(|(name, _)| name.get_ref().clone()).collect();
        let mut taken = BTreeMap::new();
        let (mut all, mut places) = (Vec::new(), Vec::new());
        for (name, column) in raw {
            let place = name.span();
            let Some(column) = self.column(name, column) else { continue };
            for path in &column.from {
                // Of a text with several values, each column takes its own.
                let other = taken.insert(path.clone(), (column.name.clone(), column.written.part.clone()));
                if let Some((other, part)) = other
                    && (part.is_none() || part == column.written.part)
                {
                    self.refuse::<()>(
                        place.clone(),
                        format!("column \"{}\" reads \"{path}\", which column \"{other}\" reads already", column.name),
                    );
                }
            }
            places.push(place);
            all.push(column);
        }
        self.refuse_names_of_doubtful(&all, &places);
        let beside: Vec<SourcePath> = all.iter().flat_map(|column| column.written.fields()).cloned().collect();
        if let Some((outer, inner)) = nested_in_each_other(taken.keys().chain(&beside).chain(long)) {
            self.refuse::<()>(key.span(), format!("a column reads \"{outer}\" and another \"{inner}\" inside it"));
        }
        let key = self.column_index(&names, &all, key, ColumnType::Text)?;
        let event_time = self.column_index(&names, &all, event_time, ColumnType::Time)?;
        all[key].required = true;
        all[event_time].required = true;
        Some(Columns::new(all, key, event_time))
    }

    /// The column that names the device.
    pub(super) fn device(&mut self, raw: Spanned<String>, columns: &Columns) -> Option<String> {
        match columns.get(raw.get_ref()) {
            Some(column) if column.r#type != ColumnType::Text => {
                let message = format!("column \"{}\" must be of type \"text\" here", column.name);
                self.refuse(raw.span(), message)
            }
            Some(column) if column.name == columns.key().name => {
                let message = "the device cannot be the column that names the patient".to_owned();
                self.refuse(raw.span(), message)
            }
            Some(column) => Some(column.name.clone()),
            None => {
                let texts = columns.all().iter().filter(|column| column.r#type == ColumnType::Text);
                let message = unknown("column", raw.get_ref(), texts.map(|column| column.name.as_str()));
                self.refuse(raw.span(), message)
            }
        }
    }

    /// The doubtful values of a column have a column of their own, whose name no other may bear.
    fn refuse_names_of_doubtful(&mut self, columns: &[Column], places: &[Range<usize>]) {
        for (column, place) in columns.iter().zip(places) {
            if let Some(of) = columns.iter().find(|other| other.doubtful_name().as_ref() == Some(&column.name)) {
                self.refuse::<()>(
                    place.clone(),
                    format!(
                        "\"{}\" is the column with the doubtful values of \"{}\"; rename it, or write doubtful = [] there",
                        column.name, of.name
                    ),
                );
            }
        }
    }

    /// The column with the device or bed by which records find their patient; the key is read from there.
    pub(super) fn attach(&mut self, raw: Spanned<String>, columns: &mut Columns) -> Option<String> {
        let name = raw.get_ref().clone();
        match columns.get(&name) {
            Some(column) if column.r#type == ColumnType::Text => {
                columns.read_key_as(&name);
                Some(name)
            }
            Some(_) => self.refuse(raw.span(), format!("column \"{name}\" must be of type \"text\" here")),
            None => {
                let texts = columns.all().iter().filter(|column| column.r#type == ColumnType::Text);
                let message = unknown("column", &name, texts.map(|column| column.name.as_str()));
                self.refuse(raw.span(), message)
            }
        }
    }

    pub(super) fn dedupe(&mut self, raw: Vec<Spanned<String>>, columns: &Columns) -> Option<Vec<String>> {
        let mut names = Vec::new();
        for name in raw {
            if columns.get(name.get_ref()).is_none() {
                let known = columns.all().iter().map(|column| column.name.as_str());
                let message = unknown("column", name.get_ref(), known);
                return self.refuse(name.span(), message);
            }
            names.push(name.into_inner());
        }
        Some(names)
    }

    fn column_index(
        &mut self,
        names: &[String],
        columns: &[Column],
        wanted: &Spanned<String>,
        r#type: ColumnType,
    ) -> Option<usize> {
        let name = wanted.get_ref();
        let type_name = ColumnType::NAMES.iter().find(|(_, known)| *known == r#type).map_or("", |(name, _)| name);
        match columns.iter().position(|column| column.name == *name) {
            Some(index) if columns[index].r#type == r#type => Some(index),
            Some(_) => self.refuse(wanted.span(), format!("column \"{name}\" must be of type \"{type_name}\" here")),
            None if names.contains(name) => None, // refused with its own fault already
            None => {
                let message = unknown("column", name, names.iter().map(String::as_str));
                self.refuse(wanted.span(), message)
            }
        }
    }

    fn column(&mut self, name: Spanned<String>, mut raw: RawColumn) -> Option<Column> {
        let place = name.span();
        let name = match identifier(name.get_ref()) {
            Ok(name) => name,
            Err(message) => return self.refuse(place, message),
        };
        let r#type = self.required(raw.r#type.clone(), column_type)?;
        let written = self.written(&mut raw, &name, r#type, place.clone())?;
        let from = raw.from.map_or_else(|| vec![name.clone()], RawFrom::into_list);
        let from: Vec<SourcePath> = from.iter().filter_map(|text| self.path_at(text, place.clone())).collect();
        if from.is_empty() {
            return self
                .refuse(place, format!("column \"{name}\" is read from nowhere; leave \"from\" out or name a field"));
        }
        let numeric = matches!(r#type, ColumnType::Float | ColumnType::Int);
        let plausible = self.range(raw.plausible, numeric);
        let doubtful = self.doubtful(raw.doubtful, plausible, numeric);
        let limits = self.range(raw.limits, numeric);
        let words = raw.map.and_then(|map| self.words(map, &name, r#type, place.clone()));
        let valid_for = match raw.valid_for {
            None => None,
            Some(text) => Some(self.required(text, |text| duration(text, Zero::Refused))?),
        };
        Some(Column {
            label: raw.label.unwrap_or_else(|| sentence_case(&name)),
            name,
            r#type,
            required: raw.required,
            from,
            unit: raw.unit.unwrap_or_default(),
            plausible,
            doubtful,
            limits,
            valid_for,
            words,
            written,
        })
    }

    fn words(
        &mut self,
        map: BTreeMap<Spanned<String>, String>,
        name: &str,
        r#type: ColumnType,
        place: Range<usize>,
    ) -> Option<Words> {
        if r#type != ColumnType::Text {
            return self.refuse(place, format!("column \"{name}\" has words, but only one of type \"text\" may"));
        }
        let mut meanings: Vec<(Spanned<String>, String)> = map.into_iter().collect();
        meanings.sort_by_key(|(word, _)| word.span().start);
        let mut known: BTreeMap<String, String> = BTreeMap::new();
        for (word, meaning) in &meanings {
            let written = word.get_ref();
            if written.trim().is_empty() || meaning.trim().is_empty() {
                return self.refuse(word.span(), "a word and what it means must not be empty".to_owned());
            }
            // What a word becomes means itself.
            let is_other = |known: &String| known != meaning;
            let itself = meanings
                .iter()
                .map(|(_, meaning)| meaning)
                .find(|known| known.to_lowercase() == written.to_lowercase());
            let before = known.insert(written.to_lowercase(), meaning.clone());
            if let Some(other) = before.or_else(|| itself.cloned()).filter(is_other) {
                let message =
                    format!("\"{written}\" means \"{other}\" already; large and small letters are the same here");
                return self.refuse(word.span(), message);
            }
        }
        Some(Words::new(
            meanings.into_iter().map(|(word, meaning)| (word.get_ref().trim().to_owned(), meaning)).collect(),
        ))
    }

    fn range(&mut self, range: Option<Spanned<[f64; 2]>>, numeric: bool) -> Option<[f64; 2]> {
        let range = range?;
        self.range_at(range.span(), *range.get_ref(), numeric)
    }

    fn range_at(&mut self, place: Range<usize>, [low, high]: [f64; 2], numeric: bool) -> Option<[f64; 2]> {
        if !numeric {
            return self.refuse(place, "only a column of type \"float\" or \"int\" has a range".to_owned());
        }
        if low.is_nan() || high.is_nan() || low >= high {
            return self.refuse(place, format!("[{low}, {high}] is no range; write [low, high]"));
        }
        Some([low, high])
    }

    /// Below the plausible range a value may be true and deadly, down to 0: what is negative stands for no value.
    fn doubtful(
        &mut self,
        written: Option<Spanned<Vec<f64>>>,
        plausible: Option<[f64; 2]>,
        numeric: bool,
    ) -> Option<[f64; 2]> {
        let Some(written) = written else {
            return plausible.map(|[low, _]| [0.0, low]).filter(|[zero, low]| zero < low);
        };
        let place = written.span();
        let range = match written.get_ref()[..] {
            [] => return None,
            [low, high] => self.range_at(place.clone(), [low, high], numeric)?,
            _ => return self.refuse(place, "write [low, high], or [] where no value is doubtful".to_owned()),
        };
        match plausible {
            None => self.refuse(place, "only a column with a plausible range has doubtful values".to_owned()),
            Some([low, high]) if low <= range[0] && range[1] <= high => self.refuse(
                place,
                format!("every value in [{}, {}] is plausible; doubtful ones lie outside", range[0], range[1]),
            ),
            Some(_) => Some(range),
        }
    }

    pub(super) fn features(
        &mut self,
        raw: BTreeMap<Spanned<String>, RawFeature>,
        columns: &Columns,
    ) -> Option<Vec<Feature>> {
        let mut raw: Vec<_> = raw.into_iter().collect();
        raw.sort_by_key(|(name, _)| name.span().start);
        raw.into_iter().map(|(name, feature)| self.feature(name, feature, columns)).collect()
    }

    fn feature(&mut self, name: Spanned<String>, raw: RawFeature, columns: &Columns) -> Option<Feature> {
        let place = name.span();
        let name = match identifier(name.get_ref()) {
            Ok(name) if columns.all().iter().any(|column| column.doubtful_name().as_ref() == Some(&name)) => {
                return self.refuse(place, format!("\"{name}\" is a column with doubtful values already"));
            }
            Ok(name) if columns.get(&name).is_none() => name,
            Ok(name) => return self.refuse(place, format!("\"{name}\" is a column already")),
            Err(message) => return self.refuse(place, message),
        };
        let is_number = |column: &&Column| matches!(column.r#type, ColumnType::Float | ColumnType::Int);
        let of = self.required(raw.of, |of| match columns.get(of) {
            Some(column) if is_number(&column) => Ok(of.to_owned()),
            Some(_) => Err(format!("column \"{of}\" is no number")),
            None => {
                Err(unknown("column", of, columns.all().iter().filter(is_number).map(|column| column.name.as_str())))
            }
        });
        let kinds = || FEATURE_KINDS.iter().map(|(kind, _)| *kind);
        let kind_place = raw.kind.span();
        let kind = self.required(raw.kind, |kind| match kinds().any(|known| known == kind) {
            true => Ok(kind.to_owned()),
            false => Err(unknown("kind of feature", kind, kinds())),
        })?;
        let length = |text: &str| duration(text, Zero::Refused);
        let over = raw.over.map(|over| self.required(over, length));
        let half_life = raw.half_life.map(|half_life| self.required(half_life, length));
        let (kind, over) = match (kind.as_str(), over, half_life) {
            // What is older than ten half-lives weighs less than a thousandth.
            ("ewm", None, Some(half_life)) => (FeatureKind::Ewm { half_life: half_life? }, half_life? * 10),
            ("ewm", ..) => return self.refuse(kind_place, "\"ewm\" needs a half_life, and nothing else".to_owned()),
            (_, Some(over), None) => (feature_kind(&kind), over?),
            _ => {
                return self
                    .refuse(kind_place, format!("\"{kind}\" needs over, as in over = \"1m\", and nothing else"));
            }
        };
        Some(Feature { name, of: of?, kind, over })
    }
}

/// Two paths of which the first is the beginning of the second.
fn nested_in_each_other<'a>(paths: impl Iterator<Item = &'a SourcePath>) -> Option<(&'a SourcePath, &'a SourcePath)> {
    let paths: BTreeSet<&SourcePath> = paths.collect();
    paths.iter().zip(paths.iter().skip(1)).find(|(outer, inner)| inner.0.starts_with(&outer.0)).map(|(a, b)| (*a, *b))
}

fn column_type(text: &str) -> Result<ColumnType, String> {
    ColumnType::NAMES
        .iter()
        .find(|(name, _)| *name == text)
        .map(|(_, r#type)| *r#type)
        .ok_or_else(|| unknown("type", text, ColumnType::NAMES.iter().map(|(name, _)| *name)))
}

/// The kind called `name`, which is one of [`FEATURE_KINDS`] but for `ewm`.
fn feature_kind(name: &str) -> FeatureKind {
    match name {
        "rolling_mean" => FeatureKind::RollingMean,
        "rolling_min" => FeatureKind::RollingMin,
        "rolling_max" => FeatureKind::RollingMax,
        "rolling_std" => FeatureKind::RollingStd,
        "zscore" => FeatureKind::ZScore,
        "slope" => FeatureKind::Slope,
        _ => FeatureKind::Delta,
    }
}

/// `heart_rate` becomes `Heart rate`.
fn sentence_case(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).collect::<String>().replace('_', " ")
}
