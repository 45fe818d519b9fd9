//! The forms of a source: what a job file says of how records are written, checked.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use wardwatch_model::diagnostic::unknown;
use wardwatch_model::encounter::Kind;

use super::super::checker::{Checker, not_empty};
use super::super::raw::{RawConditions, RawForm, RawFormColumn, RawIgnore, RawLong, RawPlaces, RawUnwrap};
use super::super::spanned::Spanned;
use super::super::units::{Zero, duration};
use super::super::wording::toml_fault;
use super::super::{
    Columns, Condition, Counts, CsvFormat, Form, Format, LongForm, Pattern, SchemaSource, Scope, Search, SourcePath,
    Subject, Undeclared, Unwrap,
};
use super::overlay::{Heads, RawColumns, at_place, lay_over, over, under_names_of};

/// The forms that come with wardwatch.
const SHIPPED: [(&str, &str); 6] = [
    ("fhir-observation", include_str!("../../../../jobs/forms/fhir-observation.toml")),
    ("fhir-bundle", include_str!("../../../../jobs/forms/fhir-observation.toml")),
    ("senml", include_str!("../../../../jobs/forms/senml.toml")),
    ("open-mhealth", include_str!("../../../../jobs/forms/open-mhealth.toml")),
    ("hl7v2-oru", include_str!("../../../../jobs/forms/hl7v2-oru.toml")),
    ("hl7v2-adt", include_str!("../../../../jobs/forms/hl7v2-adt.toml")),
];

/// What may be taken off.
const STEPS: [(&str, Unwrap); 6] = [
    ("senml", Unwrap::SenMl),
    ("gzip", Unwrap::Gzip),
    ("base64", Unwrap::Base64),
    ("json-text", Unwrap::JsonText),
    ("cloudevents", Unwrap::CloudEvents),
    ("debezium", Unwrap::Debezium),
];

const FORMATS: [&str; 6] = ["json", "csv", "hl7v2", "text", "avro", "protobuf"];

/// Whether a form is the only one of its source.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Alone {
    Yes,
    No,
}

impl Alone {
    fn of(are_several: bool) -> Self {
        if are_several { Self::No } else { Self::Yes }
    }
}

/// Whether a source must have a form of readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    Readings,
    Nothing,
}

impl Checker<'_> {
    /// The columns of the frame, and the forms; `base` is what the source says of all. There are no columns where all forms are of
    /// encounters.
    pub(super) fn forms(
        &mut self,
        base: &RawForm,
        forms: Vec<Spanned<RawForm>>,
        columns: RawColumns,
        heads: Heads<'_>,
        needs: Needs,
    ) -> Option<(Option<Columns>, Vec<Form>)> {
        if forms.is_empty() {
            let form = self.form(base.clone(), (String::new(), Alone::Yes), columns, heads, heads.key.span())?;
            return Some((Some(form.columns.clone()), vec![form]));
        }
        let mut checked: Vec<Form> = Vec::new();
        let mut is_valid = true;
        let places: Vec<Range<usize>> = forms.iter().map(Spanned::span).collect();
        let are_several = forms.len() > 1;
        for (index, raw) in forms.into_iter().enumerate() {
            let place = raw.span();
            let Some(form) =
                self.one_of_forms(raw.into_inner(), base, &columns, heads, (index, place.clone(), are_several))
            else {
                is_valid = false;
                continue;
            };
            if checked.iter().any(|other| other.name == form.name) {
                is_valid = false;
                self.refuse::<()>(place, format!("two forms are called \"{}\"", form.name));
            }
            checked.push(form);
        }
        // What comes behind one that takes everything is never reached.
        if let Some(last) = checked.iter().position(|form| form.when.is_empty())
            && let Some(behind) = checked.get(last + 1)
        {
            let (first, name) = (&checked[last].name, behind.name.clone());
            let message =
                format!("form \"{first}\" has no conditions and takes every record, so \"{name}\" takes none");
            return self.refuse(places[last + 1].clone(), message);
        }
        if !is_valid {
            return None;
        }
        let of_readings = || checked.iter().filter(|form| form.subject == Subject::Readings);
        let Some(first) = of_readings().next() else {
            if needs == Needs::Nothing {
                return Some((None, checked));
            }
            let message = "all forms are of encounters, and none has readings; add a [[source.form]] for those";
            return self.refuse(places[0].clone(), message.to_owned());
        };
        // A form that comes with wardwatch may know a unit that the source leaves open.
        let mut frame = first.columns.clone();
        for form in of_readings() {
            if let Some((column, (one, other))) = frame.take_units_of(&form.columns) {
                let message =
                    format!("column \"{column}\" is in \"{one}\" and in \"{other}\"; say its unit in [source.columns]");
                return self.refuse(places[0].clone(), message);
            }
        }
        Some((Some(frame), checked))
    }

    fn one_of_forms(
        &mut self,
        mut raw: RawForm,
        base: &RawForm,
        columns: &RawColumns,
        heads: Heads<'_>,
        (index, place, are_several): (usize, Range<usize>, bool),
    ) -> Option<Form> {
        let mut columns = columns.clone();
        let mut name = format!("form {}", index + 1);
        let used = match raw.r#use.take() {
            None => None,
            Some(used) => {
                name = used.get_ref().rsplit('/').next().unwrap_or_default().trim_end_matches(".toml").to_owned();
                Some(self.used(&used)?)
            }
        };
        let is_of_encounters = raw.encounters.or(used.as_ref().and_then(|used| used.encounters)) == Some(true);
        if is_of_encounters {
            return self.form_of_encounters((raw, used), base, name, place);
        }
        if let Some(mut used) = used {
            let said = std::mem::take(&mut used.columns);
            let known: Vec<Spanned<String>> = columns.keys().cloned().collect();
            lay_over(&mut columns, under_names_of(said, &known, heads));
            raw = over(raw, used);
        }
        if let Some(column) = raw.columns.keys().find(|name| !columns.contains_key(*name)) {
            let known = columns.keys().map(|known| known.get_ref().as_str());
            let message = unknown("column", column.get_ref(), known);
            return self.refuse(column.span(), message);
        }
        for (column, settings) in &raw.columns {
            let of_frame = match settings {
                RawFormColumn::From(_) => None,
                RawFormColumn::Settings(settings) => settings.of_frame(),
            };
            if let Some(setting) = of_frame {
                let message = format!(
                    "{setting} of \"{}\" is the same in all forms; say it in [source.columns]",
                    column.get_ref()
                );
                return self.refuse(column.span(), message);
            }
        }
        lay_over(&mut columns, std::mem::take(&mut raw.columns));
        if let Some(given) = raw.name.take() {
            name = self.required(given, not_empty)?;
        }
        self.form(over(raw, base.clone()), (name, Alone::of(are_several)), columns, heads, place)
    }

    /// A form whose records say who comes, moves and goes.
    fn form_of_encounters(
        &mut self,
        (mut raw, used): (RawForm, Option<RawForm>),
        base: &RawForm,
        mut name: String,
        place: Range<usize>,
    ) -> Option<Form> {
        let declared: RawColumns =
            toml::from_str(Subject::OF_ENCOUNTERS).unwrap_or_else(|error| panic!("these columns are valid: {error}"));
        let mut columns: RawColumns =
            declared.into_iter().map(|(name, column)| (name.at(place.clone()), column)).collect();
        let (mut said, own) = (BTreeMap::new(), std::mem::take(&mut raw.columns));
        if let Some(mut used) = used {
            said = std::mem::take(&mut used.columns);
            raw = over(raw, used);
        }
        // In place of what the form says that is used, not beside it.
        said.retain(|name: &Spanned<String>, _| !own.keys().any(|own| own.get_ref() == name.get_ref()));
        said.extend(own);
        if let Some(column) = said.keys().find(|name| !columns.contains_key(*name)) {
            let message = unknown(
                "column of an encounter",
                column.get_ref(),
                columns.keys().map(|known| known.get_ref().as_str()),
            );
            return self.refuse(column.span(), message);
        }
        let is_json = raw.format.as_ref().or(base.format.as_ref()).is_none_or(|format| format.get_ref() == "json");
        if !is_json {
            // Where fields have no names, only what is said is read.
            columns.retain(|name, _| said.contains_key(name));
            if let Some(missing) =
                ["kind", "patient_id", "from_at"].iter().find(|name| !said.keys().any(|said| said.get_ref() == **name))
            {
                let message = format!("a form of encounters must say where \"{missing}\" stands");
                return self.refuse(place, message);
            }
        }
        lay_over(&mut columns, said);
        if let Some(given) = raw.name.take() {
            name = self.required(given, not_empty)?;
        }
        // What the source says of single vitals is of no encounter.
        let base = RawForm { long: None, rows: None, only: None, ignore: None, ..base.clone() };
        let (key, event_time) =
            (Spanned::new(place.clone(), "patient_id".to_owned()), Spanned::new(place.clone(), "from_at".to_owned()));
        let heads = Heads { key: &key, event_time: &event_time };
        let raw = RawForm { encounters: Some(true), ..over(raw, base) };
        let form = self.form(raw, (name, Alone::No), columns, heads, place.clone())?;
        let kinds = form
            .columns
            .get("kind")
            .and_then(|kind| kind.words.as_ref())
            .map(|words| words.meanings().collect::<Vec<_>>());
        for kind in kinds.unwrap_or_default() {
            if Kind::from_name(kind).is_none() {
                return self
                    .refuse(place, unknown("kind of encounter", kind, Kind::ALL.iter().map(|kind| kind.name())));
            }
        }
        Some(form)
    }

    /// A form of a file, or one of those that come with wardwatch; of a place in the job file.
    pub(super) fn used(&mut self, name: &Spanned<String>) -> Option<RawForm> {
        let (place, text) = (name.span(), name.get_ref());
        let shipped = SHIPPED.iter().find(|(known, _)| known == text).map(|(_, form)| (*form).to_owned());
        let form = match shipped {
            Some(form) => form,
            None if !text.ends_with(".toml") => {
                let message = unknown("form", text, SHIPPED.iter().map(|(known, _)| *known));
                return self.refuse(place, format!("{message}; a file with one ends with .toml"));
            }
            None => {
                let file: PathBuf = self.relative(text);
                match std::fs::read_to_string(&file) {
                    Ok(form) => form,
                    Err(error) => {
                        return self.refuse(place, format!("the form \"{}\" cannot be read: {error}", file.display()));
                    }
                }
            }
        };
        match toml::from_str::<RawForm>(&form) {
            Ok(form) => Some(at_place(form, &place)),
            Err(error) => {
                let (at, message) = toml_fault(&form, &error);
                let line = form[..at.start].matches('\n').count() + 1;
                self.refuse(place, format!("the form \"{text}\", line {line}: {message}"))
            }
        }
    }

    fn form(
        &mut self,
        mut raw: RawForm,
        (name, alone): (String, Alone),
        columns: RawColumns,
        heads: Heads<'_>,
        place: Range<usize>,
    ) -> Option<Form> {
        let when = self.conditions(raw.when.clone(), place.clone());
        let is_msh =
            |path: &SourcePath| matches!(path, SourcePath::Fields(names) if names.len() > 1 && names[0] == "MSH");
        let mut of_condition =
            when.iter().flatten().flat_map(|condition| &condition.fields).flat_map(SourcePath::places);
        let is_hl7 = of_condition.any(is_msh);
        drop(of_condition);
        if raw.format.is_none() && is_hl7 {
            raw.format = Some(Spanned::new(place.clone(), "hl7v2".to_owned()));
        }
        let format = self.format(&raw, place.clone());
        let tells = |path: &SourcePath| match (&format, path) {
            (None | Some(Format::Json), _) => true,
            (Some(Format::Hl7v2), SourcePath::Fields(names)) => names.first().is_some_and(|segment| segment == "MSH"),
            (Some(_), path) => path.beside().is_some(),
        };
        if let Some(condition) =
            when.iter().flatten().find(|condition| !condition.fields.iter().flat_map(SourcePath::places).all(tells))
        {
            let message = format!(
                "only forms of JSON are told by a field, {}, and forms of HL7 v2 by one of MSH; tell this one by @topic, @key or \
                 @header.NAME",
                condition.field()
            );
            return self.refuse(place, message);
        }
        let subject = if raw.encounters == Some(true) { Subject::Encounters } else { Subject::Readings };
        let unwrap: Option<Vec<Unwrap>> = raw
            .unwrap
            .into_iter()
            .flatten()
            .map(|step| self.unwrap_step(step))
            .collect::<Vec<_>>()
            .into_iter()
            .collect();
        if matches!(&raw.rows, Some(RawPlaces::Several(rows)) if rows.is_empty()) {
            let place = self.place_of("rows", place);
            return self.refuse(place, "rows leads nowhere; leave it out, or write rows = \"$.metrics[*]\"".to_owned());
        }
        let rows: Option<Vec<SourcePath>> =
            raw.rows.map(RawPlaces::into_list).unwrap_or_default().iter().map(|path| self.rows(path)).collect();
        let format = format?;
        let long = match (raw.long, &format) {
            (Some(long), _) => Some(self.long(long)?),
            (None, Format::Hl7v2) if subject == Subject::Readings => Some(long_of_hl7()),
            (None, _) => None,
        };
        let columns = self.columns(columns, heads.key, heads.event_time, long.as_ref());
        let counts = match raw.ignore {
            Some(RawIgnore::All(true)) => Counts::None,
            Some(RawIgnore::All(false)) | None => {
                Counts::Some { only: self.conditions(raw.only, place.clone())?, ignore: Vec::new() }
            }
            Some(RawIgnore::Some(ignore)) => Counts::Some {
                only: self.conditions(raw.only, place.clone())?,
                ignore: self.conditions(Some(ignore), place.clone())?,
            },
        };
        let (unwrap, rows, columns) = (unwrap?, rows?, columns?);
        let form = Form { name, source: 0, when: when?, unwrap, format, rows, long, counts, subject, columns };
        self.check_paths(&form, alone, place)?;
        Some(form)
    }

    fn conditions(&mut self, raw: Option<RawConditions>, place: Range<usize>) -> Option<Vec<Condition>> {
        let raw = match raw {
            None => Vec::new(),
            Some(RawConditions::One(one)) => vec![one],
            Some(RawConditions::Several(several)) => several,
        };
        raw.into_iter()
            .map(|condition| {
                let fields = condition.field.clone().into_list();
                let start = fields.first().and_then(|field| self.place_of_field(field)).unwrap_or(place.start);
                self.condition(condition, start..start)
            })
            .collect()
    }

    /// Where a condition names its field: `field = "x"`, or one of several.
    fn place_of_field(&self, field: &str) -> Option<usize> {
        let mut quoted = self.text.match_indices(field).filter(|(at, _)| self.text[..*at].ends_with(['"', '\'']));
        let is_named = |at: usize| {
            let line = self.text[..at].rfind('\n').map_or(0, |end| end + 1);
            self.text[line..at].rsplit_once('=').is_some_and(|(before, _)| before.trim_end().ends_with("field"))
        };
        quoted.find(|(at, _)| is_named(*at)).map(|(at, _)| at)
    }

    /// Where a setting of a form stands, by its key: in the table of `near`, or else the first in the file.
    fn place_of(&self, key: &str, near: Range<usize>) -> Range<usize> {
        let is_it =
            |line: &str| line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='));
        let mut at = 0;
        let mut places = Vec::new();
        for line in self.text.split_inclusive('\n') {
            if is_it(line) {
                places.push(at + line.len() - line.trim_start().len());
            }
            at += line.len();
        }
        let is_header = |line: &str| {
            line.trim_start().starts_with('[') && line.trim_end().ends_with(']') && !line.contains(['"', ','])
        };
        let is_in_table = |place: &&usize| {
            let (from, until) = (near.start.min(**place), near.start.max(**place));
            !self.text[from..until].lines().skip(1).any(is_header)
        };
        let found = places.iter().find(is_in_table).or(places.first()).copied();
        found.map_or(near, |at| at..at)
    }

    fn format(&mut self, raw: &RawForm, place: Range<usize>) -> Option<Format> {
        let named = raw.format.as_ref().map_or("json", |format| format.get_ref().as_str());
        let at = raw.format.as_ref().map_or(place, Spanned::span);
        if raw.csv.is_some() && named != "csv" {
            let at = self.place_of("csv", at);
            return self.refuse(at, "csv says how CSV is written; say format = \"csv\" too".to_owned());
        }
        if raw.pattern.is_some() && named != "text" {
            let at = self.place_of("pattern", at);
            return self.refuse(at, "a pattern takes text apart; say format = \"text\" too".to_owned());
        }
        let has_schema = matches!(named, "avro" | "protobuf");
        if !has_schema && (raw.schema.is_some() || raw.registry.is_some() || raw.message.is_some()) {
            let key = if raw.schema.is_some() {
                "schema"
            } else if raw.registry.is_some() {
                "registry"
            } else {
                "message"
            };
            return self.refuse(
                self.place_of(key, at),
                "schema, registry and message are for avro and protobuf; say format = \"avro\"".to_owned(),
            );
        }
        match named {
            "json" => Some(Format::Json),
            "avro" if raw.message.is_some() => {
                self.refuse(at, "message is the type of protobuf; avro's schema has one".to_owned())
            }
            "avro" => Some(Format::Avro(self.schema(raw, at)?)),
            "protobuf" => {
                let schema = self.schema(raw, at)?;
                let message = match raw.message.clone() {
                    None => None,
                    Some(message) => Some(self.required(message, not_empty)?),
                };
                Some(Format::Protobuf { schema, message })
            }
            "hl7v2" => Some(Format::Hl7v2),
            "csv" => {
                let csv = raw.csv.clone().unwrap_or_default();
                let sign = |text: &str| match text.as_bytes() {
                    [sign] if sign.is_ascii() && !matches!(sign, b'\r' | b'\n') => Ok(*sign),
                    _ => Err(format!("\"{text}\" is not one ASCII character")),
                };
                let delimiter = self.or_default(csv.delimiter, ",", sign)?;
                let quote = self.or_default(csv.quote, "\"", sign)?;
                let mut header = Vec::new();
                if let Some(names) = csv.header {
                    let (at, names) = (names.span(), names.into_inner());
                    let twice = names.iter().enumerate().find(|(place, name)| names[..*place].contains(name));
                    if let Some((_, name)) = twice.filter(|(_, name)| !name.is_empty()) {
                        return self.refuse(at, format!("two columns of the header are called \"{name}\""));
                    }
                    if names.is_empty() {
                        return self
                            .refuse(at, "the header names no column; leave it out where records have it".to_owned());
                    }
                    header = names;
                }
                Some(Format::Csv(CsvFormat { header, delimiter, quote }))
            }
            "text" => {
                let Some(pattern) = raw.pattern.clone() else {
                    let message = "text needs a pattern: pattern = \"BPM: (?<heart_rate>[0-9.]+)\"";
                    return self.refuse(at, message.to_owned());
                };
                let at = pattern.span();
                let pattern = self.required(pattern, Pattern::new)?;
                if pattern.groups().is_empty() {
                    let message = "the pattern names no group, so nothing is read; write (?<heart_rate>[0-9.]+)";
                    return self.refuse(at, message.to_owned());
                }
                Some(Format::Text(pattern))
            }
            other => self.refuse(at, unknown("format", other, FORMATS.into_iter())),
        }
    }

    fn schema(&mut self, raw: &RawForm, place: Range<usize>) -> Option<SchemaSource> {
        match (raw.schema.clone(), raw.registry.clone()) {
            (Some(file), None) => {
                let at = file.span();
                let file = self.required(file, not_empty).map(|file| self.relative(&file))?;
                match file.is_file() {
                    true => Some(SchemaSource::File(file)),
                    false => self.refuse(at, format!("there is no file \"{}\"", file.display())),
                }
            }
            (None, Some(url)) => {
                Some(SchemaSource::Registry(self.required(url, |url| {
                    match url.starts_with("http://") || url.starts_with("https://") {
                        true => Ok(url.trim_end_matches('/').to_owned()),
                        false => Err(format!("\"{url}\" is not the URL of a registry; write \"http://registry:8081\"")),
                    }
                })?))
            }
            (None, None) => {
                let message = "its schema is missing: schema = \"vitals.avsc\", or registry = \"http://registry:8081\"";
                self.refuse(place, message.to_owned())
            }
            (Some(_), Some(_)) => {
                self.refuse(place, "a schema is in a file or in a registry; say one of them".to_owned())
            }
        }
    }

    fn unwrap_step(&mut self, step: Spanned<RawUnwrap>) -> Option<Unwrap> {
        let place = step.span();
        match step.into_inner() {
            RawUnwrap::Step(name) => match STEPS.iter().find(|(known, _)| *known == name) {
                Some((_, step)) => Some(step.clone()),
                None => self.refuse(place, unknown("step", &name, STEPS.iter().map(|(known, _)| *known))),
            },
            RawUnwrap::Field(field) => match self.path_at(&field.field, place.clone())? {
                path @ SourcePath::Fields(_) => Some(Unwrap::Field(path)),
                _ => self.refuse(place, format!("\"{}\" is not a field; write names separated by dots", field.field)),
            },
        }
    }

    fn long(&mut self, raw: RawLong) -> Option<LongForm> {
        let name: Option<Vec<SourcePath>> = raw.name.into_list().iter().map(|path| self.path(path)).collect();
        let value: Option<Vec<SourcePath>> = raw.value.into_list().iter().map(|path| self.field(path)).collect();
        let join_within = self.or_default(raw.join_within, "0s", |text| duration(text, Zero::Allowed))?;
        let undeclared = if raw.strict { Undeclared::Rejected } else { Undeclared::Ignored };
        Some(LongForm { name: name?, value: value?, join_within, undeclared })
    }

    /// Where items stand in a record; it begins there, whether it says so or not.
    fn rows(&mut self, text: &str) -> Option<SourcePath> {
        let from_record = match text.starts_with(['$', '[', '.', '@', '^']) {
            true => text.to_owned(),
            false => format!("$.{text}"),
        };
        let start = self.text.find(text).unwrap_or(0);
        match self.path_at(&from_record, start..start)? {
            path @ SourcePath::Search(Search { scope: Scope::Record, .. }) => Some(path),
            _ => self.refuse(
                start..start,
                format!("\"{text}\" does not lead into the record; write it like \"$.metrics[*].data[*]\""),
            ),
        }
    }

    /// What a format that is no tree has no place for.
    fn check_paths(&mut self, form: &Form, alone: Alone, place: Range<usize>) -> Option<()> {
        let has_rows = !form.rows.is_empty();
        let known: Vec<String> = match &form.format {
            Format::Json | Format::Avro(_) | Format::Protobuf { .. } => return Some(()),
            Format::Csv(csv) => csv.header.clone(),
            Format::Text(pattern) => pattern.groups(),
            Format::Hl7v2 => Vec::new(),
        };
        if has_rows {
            return self.refuse(place, "rows leads into JSON; lines and segments are rows by themselves".to_owned());
        }
        for path in form.paths() {
            let message = match (path, &form.format) {
                (SourcePath::Beside(_) | SourcePath::Template(_), _) => continue,
                (SourcePath::Search(_), _) => format!("\"{path}\" searches in JSON, and this is none"),
                (SourcePath::Fields(names), Format::Hl7v2) if is_hl7(names) => continue,
                // Of several forms, each has some of the columns: one that nothing is said of would be read by its name.
                (SourcePath::Fields(names), Format::Hl7v2)
                    if alone == Alone::No && form.columns.get(&names.join(".")).is_some() =>
                {
                    continue;
                }
                (SourcePath::Fields(_), Format::Hl7v2) => {
                    format!("\"{path}\" is no place in HL7 v2; write segment and field, as \"PID.3\" or \"OBX.5.1\"")
                }
                // Of several forms, each has some of the columns.
                (SourcePath::Fields(_), _) if alone == Alone::No => continue,
                // A header that records have themselves may name anything.
                (SourcePath::Fields(_), _) if known.is_empty() => continue,
                (SourcePath::Fields(names), _) if known.contains(&names.join(".")) => continue,
                (SourcePath::Fields(names), _) => unknown("field", &names.join("."), known.iter().map(String::as_str)),
            };
            let start = self.text.find(&format!("\"{path}\"")).unwrap_or(place.start);
            self.refuse::<()>(start..start, message);
        }
        Some(())
    }
}

/// In HL7 v2 an observation names itself in OBX-3, by one code or two, and has its value in OBX-5.
fn long_of_hl7() -> LongForm {
    let field = |names: &[&str]| SourcePath::Fields(names.iter().map(|&name| name.to_owned()).collect());
    LongForm {
        name: vec![field(&["OBX", "3", "1"]), field(&["OBX", "3", "4"]), field(&["OBX", "3", "2"])],
        value: vec![field(&["OBX", "5"])],
        join_within: std::time::Duration::ZERO,
        undeclared: Undeclared::Ignored,
    }
}

/// Whether names lead to a field of a segment, or a component of one.
fn is_hl7(names: &[String]) -> bool {
    let [segment, numbers @ ..] = names else { return false };
    let is_segment =
        segment.len() == 3 && segment.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    let is_number = |text: &String| text.parse::<usize>().is_ok_and(|number| number >= 1);
    is_segment && (1..=3).contains(&numbers.len()) && numbers.iter().all(is_number)
}
