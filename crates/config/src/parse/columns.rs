//! The columns of a job: those that records become, and those that are computed from them.

use std::collections::BTreeMap;
use std::ops::Range;

use wardwatch_model::diagnostic::unknown;

use super::super::checker::{Checker, identifier};
use super::super::raw::{RawColumn, RawFeature, RawPlaces};
use super::super::spanned::Spanned;
use super::super::units::{Zero, duration};
use super::super::{Column, ColumnType, Columns, FEATURE_KINDS, Feature, FeatureKind, LongForm, SourcePath, Words};

impl Checker<'_> {
    pub(super) fn columns(
        &mut self,
        raw: BTreeMap<Spanned<String>, RawColumn>,
        key: &Spanned<String>,
        event_time: &Spanned<String>,
        long: Option<&LongForm>,
    ) -> Option<Columns> {
        let mut raw: Vec<_> = raw.into_iter().collect();
        raw.sort_by_key(|(name, _)| name.span().start);
        let names: Vec<String> = raw.iter().map(|(name, _)| name.get_ref().clone()).collect();
        let mut taken = BTreeMap::new();
        let (mut all, mut places) = (Vec::new(), Vec::new());
        for (name, column) in raw {
            let place = name.span();
            let Some(column) = self.column(name, column, long) else { continue };
            let of_names = column.named.iter().map(|name| format!("the vital \"{name}\""));
            // What Kafka has beside a record is read by as many as like.
            let of_record = column.from.iter().filter(|path| path.beside().is_none());
            let of_paths = of_record.map(|path| format!("\"{path}\""));
            for read in of_names.chain(of_paths) {
                // Of a text with several values, each column takes its own.
                let other = taken.insert(read.clone(), (column.name.clone(), column.written.part.clone()));
                if let Some((other, part)) = other
                    && (part.is_none() || part == column.written.part)
                {
                    self.refuse::<()>(
                        place.clone(),
                        format!("column \"{}\" reads {read}, which column \"{other}\" reads already", column.name),
                    );
                }
            }
            places.push(place);
            all.push(column);
        }
        self.refuse_names_of_doubtful(&all, &places);
        self.refuse_names_of_ages(&all, &places);
        let key = self.column_index(&names, &all, key, ColumnType::Text)?;
        let event_time = self.column_index(&names, &all, event_time, ColumnType::Time)?;
        for index in [key, event_time] {
            all[index].required = true;
            if all[index].from.is_empty() && all[index].named.is_empty() {
                // Only `source.sql` gives a column that is read from nowhere, and it is not asked for records without these.
                let message =
                    format!("column \"{}\" is read from nowhere; leave \"from\" out or name a field", all[index].name);
                let place = places.get(index).cloned().unwrap_or_default();
                return self.refuse(place, message);
            }
        }
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

    /// The table of last values has columns of its own.
    fn refuse_names_of_ages(&mut self, columns: &[Column], places: &[Range<usize>]) {
        for (column, place) in columns.iter().zip(places) {
            let of = column.name.strip_suffix("_age_seconds");
            let is_age = of.is_some_and(|of| columns.iter().any(|other| other.name == of));
            if is_age || ["age_seconds", "has_valid_value"].contains(&column.name.as_str()) {
                let message =
                    format!("\"{}\" is a column of the table of last values; this one needs another name", column.name);
                self.refuse::<()>(place.clone(), message);
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

    fn column(&mut self, name: Spanned<String>, mut raw: RawColumn, long: Option<&LongForm>) -> Option<Column> {
        let place = raw.place.take().unwrap_or_else(|| name.span());
        let name = match identifier(name.get_ref()) {
            Ok(name) => name,
            Err(message) => return self.refuse(place, message),
        };
        let Some(r#type) = raw.r#type.take() else {
            return self.refuse(place, format!("column \"{name}\" has no type; write type = \"float\""));
        };
        let r#type = self.required(r#type, column_type)?;
        let written = self.written(&mut raw, &name, r#type, place.clone())?;
        let (from, named) = self.places(raw.from.take(), raw.named.take(), (&name, r#type), long, place.clone())?;
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
            required: raw.required.unwrap_or_default(),
            from,
            named,
            unit: raw.unit.unwrap_or_default(),
            plausible,
            doubtful,
            limits,
            valid_for,
            words,
            written,
        })
    }

    /// Where a column is read: its paths, and the names of its vital in the long form.
    ///
    /// In the long form, what a number or truth column is read `from` are names; one that leads into an object or list is a path
    /// too, and one that begins with `$`, `^` or `@` a path only.
    fn places(
        &mut self,
        from: Option<RawPlaces>,
        named: Option<RawPlaces>,
        (name, r#type): (&str, ColumnType),
        long: Option<&LongForm>,
        place: Range<usize>,
    ) -> Option<(Vec<SourcePath>, Vec<String>)> {
        let is_declared = from.is_some();
        let from = from.map_or_else(|| vec![name.to_owned()], RawPlaces::into_list);
        let named = named.map(RawPlaces::into_list);
        if named.as_ref().is_some_and(Vec::is_empty) {
            return self.refuse(place, format!("column \"{name}\" is no vital; leave \"named\" out or name one"));
        }
        let Some(_) = long else {
            if named.is_some() {
                let message =
                    format!("column \"{name}\" is named, but only the vitals of long records are; say long = …");
                return self.refuse(place, message);
            }
            let from: Option<Vec<SourcePath>> = from.iter().map(|text| self.path_at(text, place.clone())).collect();
            return Some((from?, Vec::new()));
        };
        let is_value = matches!(r#type, ColumnType::Float | ColumnType::Int | ColumnType::Bool);
        if is_value && named.is_some() && is_declared {
            let message = format!(
                "column \"{name}\" is the vital that is named so, and read \"from\" a place too, which rows of every other vital may \
                 have; say one of both"
            );
            return self.refuse(place, message);
        }
        let is_path_only = |text: &String| text.starts_with(['$', '^', '@']);
        let from: Vec<(String, SourcePath)> = match (&named, is_declared) {
            // What is named stands nowhere else, unless that is said.
            (Some(_), false) => Vec::new(),
            _ => {
                let mut paths = Vec::new();
                for text in from {
                    // A name may look like anything.
                    let path = match is_value && named.is_none() && !is_path_only(&text) {
                        true => SourcePath::parse(&text).unwrap_or_else(|_| SourcePath::Fields(vec![text.clone()])),
                        false => self.path_at(&text, place.clone())?,
                    };
                    paths.push((text, path));
                }
                paths
            }
        };
        if !is_value || named.is_some() {
            return Some((from.into_iter().map(|(_, path)| path).collect(), named.unwrap_or_default()));
        }
        let is_deep = |path: &SourcePath| !matches!(path, SourcePath::Fields(names) if names.len() == 1);
        let names = from.iter().filter(|(text, _)| !is_path_only(text)).map(|(text, _)| text.clone()).collect();
        let paths = from.into_iter().filter(|(text, path)| is_path_only(text) || is_deep(path)).map(|(_, path)| path);
        Some((paths.collect(), names))
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
