//! The sources of a job: the first, and those beside it, each with a table, topics and forms of its own.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use chrono::DateTime;
use wardwatch_model::diagnostic::unknown;

use super::super::checker::{Checker, not_empty, table_name};
use super::super::form::Subject;
use super::super::raw::{RawColumn, RawForm, RawFormColumn, RawIgnore, RawSource};
use super::super::spanned::Spanned;
use super::super::topics::TopicSelection;
use super::super::units::{Zero, bytes, duration};
use super::super::{
    Column, ColumnType, Columns, FieldTest, Form, KafkaField, OtherSource, SourcePath, SourceSpec, Start, Written,
    marker,
};
use super::form::Needs;
use super::overlay::{Heads, RawColumns};
use super::time_zone;

/// How long a value of a source beside the first counts for alerts, unless the job says: a laboratory is not asked every minute.
const SELDOM: Duration = Duration::from_secs(24 * 3600);

/// Tables that queries are given, and what stands behind the names of those that they are given of each source.
const GIVEN: [&str; 2] = ["open_alerts", "encounters_now"];
const OF_SOURCE: [&str; 3] = ["_history", "_latest", "_artefacts"];

/// What a source says of how records are written.
struct RawForms {
    base: RawForm,
    forms: Vec<Spanned<RawForm>>,
    columns: RawColumns,
}

/// What is the same for all sources, as the first says it.
struct Shared {
    brokers: Option<Spanned<String>>,
    key: Option<Spanned<String>>,
    event_time: Option<Spanned<String>>,
}

/// A source with its forms.
type WithForms = (OtherSource, Vec<Form>);

/// Where one source says something that only the first may say, with the name of the setting.
type Misplaced = (Range<usize>, &'static str);

impl RawSource {
    /// A setting that is of the job as a whole, which the first source has.
    fn of_job(&self) -> Option<Misplaced> {
        let text =
            |value: &Option<Spanned<String>>, name| value.as_ref().map(|value: &Spanned<String>| (value.span(), name));
        let properties = self.properties.as_ref().and_then(|properties| properties.values().next());
        text(&self.group, "group")
            .or_else(|| text(&self.device, "device"))
            .or_else(|| text(&self.attach, "attach"))
            .or_else(|| text(&self.forget_after, "forget_after"))
            .or_else(|| text(&self.start, "start"))
            .or_else(|| text(&self.retain, "retain"))
            .or_else(|| text(&self.max_record_bytes, "max_record_bytes"))
            .or_else(|| text(&self.keep_rejects, "keep_rejects"))
            .or_else(|| self.dedupe.as_ref().map(|dedupe| (dedupe.span(), "dedupe")))
            .or_else(|| properties.map(|value| (value.span(), "properties")))
    }

    /// Takes out what it says of how records are written. A form that is said of the source as a whole is its only one; where that
    /// is of encounters, so are the columns.
    fn take_forms(&mut self) -> RawForms {
        let base = RawForm {
            name: None,
            r#use: None,
            when: None,
            encounters: None,
            ignore: self.ignore.take().map(RawIgnore::Some),
            only: self.only.take(),
            format: self.format.take(),
            csv: self.csv.take(),
            pattern: self.pattern.take(),
            schema: self.schema.take(),
            registry: self.registry.take(),
            message: self.message.take(),
            unwrap: self.unwrap.take(),
            rows: self.rows.take(),
            long: self.long.take(),
            columns: BTreeMap::new(),
        };
        let mut forms = std::mem::take(&mut self.form);
        let mut said = std::mem::take(&mut self.columns);
        if forms.is_empty() && (self.r#use.is_some() || self.encounters.is_some()) {
            let place = self.r#use.as_ref().map(Spanned::span);
            let mut form = RawForm { r#use: self.r#use.take(), encounters: self.encounters, ..RawForm::default() };
            if self.encounters == Some(true) {
                form.columns = std::mem::take(&mut said);
            }
            forms.push(Spanned::new(place.unwrap_or_default(), form));
        }
        let settings = |(name, column)| match column {
            RawFormColumn::Settings(settings) => (name, *settings),
            RawFormColumn::From(from) => (name, RawColumn { from: Some(from), ..RawColumn::default() }),
        };
        RawForms { base, forms, columns: said.into_iter().map(settings).collect() }
    }
}

impl Checker<'_> {
    /// The sources; the first of `others` stands in for `first` where there is none.
    pub(super) fn sources(
        &mut self,
        first: Option<Spanned<RawSource>>,
        others: Vec<Spanned<RawSource>>,
        job_name: &str,
    ) -> Option<SourceSpec> {
        let mut others = others.into_iter();
        let Some(first) = first.or_else(|| others.next()) else {
            let message =
                "the job has no source; write [source] with brokers, topic, key, event_time and [source.columns]";
            return self.refuse(0..0, message.to_owned());
        };
        let place = first.span();
        let raw = first.into_inner();
        let shared = Shared { brokers: raw.brokers.clone(), key: raw.key.clone(), event_time: raw.event_time.clone() };
        let spec = self.first_source(raw, place, job_name);
        let others: Vec<(Range<usize>, Option<WithForms>)> = others
            .map(|other| (other.span(), self.other_source(other.span(), other.into_inner(), &shared, spec.as_ref())))
            .collect();
        let mut spec = spec?;
        for (place, other) in others {
            self.add(&mut spec, other?, place)?;
        }
        if !spec.others.is_empty() {
            spec.frame = frame(&spec);
        }
        Some(spec)
    }

    fn first_source(&mut self, mut raw: RawSource, place: Range<usize>, job_name: &str) -> Option<SourceSpec> {
        if raw.form.is_empty() && raw.encounters == Some(true) {
            let message = "the first source has readings; a source of encounters stands beside it, in [[sources]]";
            return self.refuse(place, message.to_owned());
        }
        self.refuse_form_beside_forms(&raw);
        let properties = raw
            .properties
            .take()
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name, self.required(value, |text| Ok(text.to_owned()))?)))
            .collect();
        let (key, event_time) = (raw.key.take(), raw.event_time.take());
        let missing = |name: &str, example: &str| format!("[source] has no {name}; write {name} = \"{example}\"");
        if raw.brokers.is_none() {
            self.refuse::<()>(place.clone(), missing("brokers", "localhost:9092"));
        }
        let Some((key, event_time)) = key.clone().zip(event_time) else {
            let message =
                if key.is_none() { missing("key", "patient_id") } else { missing("event_time", "event_time") };
            return self.refuse(place, message);
        };
        if raw.columns.is_empty() {
            let message =
                "[source.columns] is missing; it says which columns a record becomes: spo2 = { type = \"float\" }";
            return self.refuse(place, message.to_owned());
        }
        let brokers = raw.brokers.take()?;
        let heads = Heads { key: &key, event_time: &event_time };
        let RawForms { base, forms, columns } = raw.take_forms();
        let (mut columns, mut forms) = self.forms(&base, forms, columns, heads, Needs::Readings).unzip();
        let columns_of_first = &mut columns;
        let attach = match (raw.attach, columns_of_first.as_mut().and_then(Option::as_mut)) {
            (Some(attach), Some(columns)) => {
                let of_readings = forms.iter_mut().flatten().filter(|form| form.subject == Subject::Readings);
                of_readings.for_each(|form| form.columns.read_key_as(attach.get_ref()));
                Some(self.attach(attach, columns))
            }
            _ => None,
        };
        let columns = columns.flatten();
        let attach = match attach {
            None => None,
            Some(attach) => Some(attach?),
        };
        let dedupe = raw.dedupe.map(Spanned::into_inner).unwrap_or_default();
        let dedupe = columns.as_ref().and_then(|columns| self.dedupe(dedupe, columns));
        let device = match (raw.device, &columns) {
            (Some(device), Some(columns)) => Some(self.device(device, columns)),
            // Each device has a clock of its own, whoever it is attached to.
            (None, Some(columns)) => attach.clone().filter(|attach| *attach != columns.key().name).map(Some),
            _ => None,
        };
        let topics = self.topics(raw.topic, raw.topics, ("[source]", brokers.span()));
        self.refuse_other_topics(forms.as_deref().unwrap_or_default(), topics.as_ref());
        Some(SourceSpec {
            brokers: self.required(brokers, not_empty)?,
            own_topics: topics.clone()?,
            topics: topics?,
            group: self.or_default(raw.group, job_name, not_empty)?,
            table: self.or_default(raw.table, "vitals", table_name)?,
            start: self.or_default(raw.start, "earliest", start)?,
            lateness: self.or_default(raw.lateness, "10s", |text| duration(text, Zero::Allowed))?,
            max_skew: self.or_default(raw.max_skew, "5m", |text| duration(text, Zero::Allowed))?,
            idle_timeout: self.or_default(raw.idle_timeout, "30s", |text| duration(text, Zero::Refused))?,
            retain: self.or_default(raw.retain, "15m", |text| duration(text, Zero::Refused))?,
            dedupe: dedupe?,
            device: match device {
                None => None,
                Some(device) => Some(device?),
            },
            attach,
            forget_after: self
                .or_default(raw.forget_after, "24h", |text| duration(text, Zero::Allowed))
                .map(|after| (!after.is_zero()).then_some(after))?,
            time_zone: self.or_default(raw.time_zone, "UTC", time_zone)?,
            max_record_bytes: self.or_default(raw.max_record_bytes, "1MiB", bytes)?,
            keep_rejects: self
                .or_default(raw.keep_rejects, "90d", |text| duration(text, Zero::Allowed))
                .map(|keep| (!keep.is_zero()).then_some(keep))?,
            properties,
            frame: columns.clone()?,
            columns: columns?,
            others: Vec::new(),
            forms: forms?,
        })
    }

    /// A source beside the first.
    fn other_source(
        &mut self,
        place: Range<usize>,
        mut raw: RawSource,
        shared: &Shared,
        first: Option<&SourceSpec>,
    ) -> Option<WithForms> {
        if let Some((place, name)) = raw.of_job() {
            return self.refuse(place, format!("{name} is of the job as a whole; say it of its first source"));
        }
        let Shared { brokers, key, event_time } = shared;
        let said =
            [("brokers", &raw.brokers, brokers), ("key", &raw.key, key), ("event_time", &raw.event_time, event_time)];
        for (name, own, first) in said {
            let (Some(own), Some(first)) = (own, first) else { continue };
            if own.get_ref() != first.get_ref() {
                let message = format!(
                    "{name} is the same for all sources of a job, \"{}\" as the first one says{}",
                    first.get_ref(),
                    if name == "brokers" { "" } else { "; where it stands in records is said in the column's from" }
                );
                return self.refuse(own.span(), message);
            }
        }
        self.refuse_form_beside_forms(&raw);
        // Faults of the first source are told already.
        let first = first?;
        let at = |name: &str| Spanned::new(place.clone(), name.to_owned());
        let (key, event_time) = (at(&first.columns.key().name), at(&first.columns.event_time().name));
        let heads = Heads { key: &key, event_time: &event_time };
        let has_columns = !raw.columns.is_empty() && raw.encounters != Some(true);
        let used = raw.r#use.clone().filter(|_| !has_columns);
        let is_of_readings = match used {
            Some(used) => self.used(&used)?.encounters != Some(true) && raw.encounters != Some(true),
            None => raw.encounters == Some(false) && raw.form.is_empty(),
        };
        let RawForms { base, forms, columns } = raw.take_forms();
        let forms = forms.into_iter().map(|form| {
            let span = form.span();
            if span.is_empty() { form.at(place.clone()) } else { form }
        });
        let needs = if has_columns { Needs::Readings } else { Needs::Nothing };
        if !has_columns && (forms.len() == 0 || is_of_readings) {
            let message = "the source has no columns; write [sources.columns], or encounters = true if its records say who comes and goes";
            return self.refuse(place, message.to_owned());
        }
        let (columns, forms) = self.forms(&base, forms.collect(), columns, heads, needs)?;
        let table = match (raw.table, &columns) {
            (Some(table), _) => self.required(table, table_name)?,
            (None, None) => "encounters".to_owned(),
            (None, Some(_)) => {
                return self
                    .refuse(place, "the source has no table; write table = \"labs\", its name in queries".to_owned());
            }
        };
        let or = |own: Option<Spanned<String>>, of_first: Duration, zero: Zero, checker: &mut Self| match own {
            None => Some(of_first),
            Some(own) => checker.required(own, |text| duration(text, zero)),
        };
        let columns = columns.map(|columns| columns.with_valid_for(SELDOM));
        let topics = self.topics(raw.topic, raw.topics, ("the source", place));
        self.refuse_other_topics(&forms, topics.as_ref());
        Some((
            OtherSource {
                table,
                topics: topics?,
                lateness: or(raw.lateness, first.lateness, Zero::Allowed, self)?,
                max_skew: or(raw.max_skew, first.max_skew, Zero::Allowed, self)?,
                idle_timeout: or(raw.idle_timeout, first.idle_timeout, Zero::Refused, self)?,
                time_zone: match raw.time_zone {
                    None => first.time_zone,
                    Some(zone) => self.required(zone, time_zone)?,
                },
                columns,
            },
            forms,
        ))
    }

    /// Puts a source beside those that there are.
    fn add(&mut self, spec: &mut SourceSpec, (other, forms): WithForms, place: Range<usize>) -> Option<()> {
        let has_table = other.columns.is_some();
        if has_table && spec.tables().any(|(_, table)| table == other.table) {
            return self
                .refuse(place, format!("two sources have the table \"{}\"; each has one of its own", other.table));
        }
        let others = spec.tables().map(|(_, table)| table);
        let taken = GIVEN
            .into_iter()
            .map(str::to_owned)
            .chain(others.flat_map(|table| OF_SOURCE.map(|of| format!("{table}{of}"))));
        if let Some(given) = taken.filter(|given| *given == other.table).find(|_| has_table) {
            return self
                .refuse(place, format!("\"{given}\" is the name of a table that is given; the source needs another"));
        }
        match spec.topics.and(&other.topics) {
            Ok(topics) => spec.topics = topics,
            Err(topic) => {
                let message = format!(
                    "two sources read the topic \"{topic}\"; records of one topic that differ are forms of one source: [[source.form]]"
                );
                return self.refuse(place, message);
            }
        }
        let source = spec.others.len() + 1;
        // A form that its file does not name bears the name of its table.
        for mut form in forms {
            form.source = source;
            form.name = match form.name.as_str() {
                "" => other.table.clone(),
                name if spec.forms.iter().any(|other| other.name == name) => format!("{}, {name}", other.table),
                name => name.to_owned(),
            };
            spec.forms.push(form);
        }
        let own = spec.forms.iter_mut().filter(|form| form.source == 0 && form.name.is_empty());
        own.for_each(|form| form.name.clone_from(&spec.table));
        spec.others.push(other);
        Some(())
    }

    /// What a source says of a form stands either in the source itself or in its forms.
    fn refuse_form_beside_forms(&mut self, raw: &RawSource) {
        if let Some(used) = raw.r#use.as_ref().filter(|_| !raw.form.is_empty()) {
            let message =
                "use is of the source as a whole, which has forms beside it; say it in one of them".to_owned();
            self.refuse::<()>(used.span(), message);
        }
    }

    /// No record is of a form of topics that its source does not read.
    fn refuse_other_topics(&mut self, forms: &[Form], topics: Option<&TopicSelection>) {
        let Some(topics) = topics else { return };
        for form in forms {
            let of_topic = form
                .when
                .iter()
                .filter(|condition| matches!(&condition.fields[..], [SourcePath::Beside(KafkaField::Topic)]));
            for condition in of_topic {
                let FieldTest::Is(wanted) = &condition.test else { continue };
                let Some(first) = wanted.first().filter(|_| !wanted.iter().any(|topic| topics.takes(topic))) else {
                    continue;
                };
                let start = self.text.find(&format!("\"{first}\"")).unwrap_or(0);
                let message = unknown("topic of this source", first, topics.names());
                self.refuse::<()>(start..start, format!("form \"{}\" takes nothing: {message}", form.name));
            }
        }
    }

    /// `place` is that of the source, for what is said of neither.
    fn topics(
        &mut self,
        topic: Option<Spanned<String>>,
        topics: Option<Spanned<Vec<Spanned<String>>>>,
        (source, place): (&str, Range<usize>),
    ) -> Option<TopicSelection> {
        let place = topics.as_ref().map_or(place, Spanned::span);
        let texts = match (topic, topics.map(Spanned::into_inner)) {
            (Some(topic), None) => vec![topic],
            (None, Some(topics)) if !topics.is_empty() => topics,
            (Some(topic), Some(_)) => {
                return self.refuse(topic.span(), "topic and topics are both set; write one of them".to_owned());
            }
            (None, _) => {
                let message = format!(
                    "{source} names no topic; write topic = \"vitals\", topics = [\"vitals\", \"urgent\"], or a \
                               pattern: topic = \"^ward[0-9]+$\""
                );
                return self.refuse(place, message);
            }
        };
        let first = texts.first().map_or(place, Spanned::span);
        let each = texts
            .into_iter()
            .map(|text| self.required(text, |text| TopicSelection::of(vec![text.to_owned()]).map(|_| text.to_owned())));
        let each: Vec<Option<String>> = each.collect();
        let each = each.into_iter().collect::<Option<Vec<String>>>()?;
        TopicSelection::of(each).map_err(|message| self.refuse::<()>(first, message)).ok()
    }
}

/// The columns of all sources together.
fn frame(spec: &SourceSpec) -> Columns {
    let first = spec.columns.all().iter().cloned();
    let others = spec.others.iter().flat_map(|other| {
        let columns = other.columns.iter().flat_map(Columns::all);
        let is_shared =
            |column: &&Column| column.name == spec.columns.key().name || column.name == spec.columns.event_time().name;
        columns.filter(move |column| !is_shared(column)).map(|column| Column {
            name: other.column(&column.name),
            required: false,
            ..column.clone()
        })
    });
    let markers = spec.tables().map(|(_, table)| Column {
        name: marker(table),
        r#type: ColumnType::Bool,
        required: false,
        from: Vec::new(),
        named: Vec::new(),
        unit: String::new(),
        label: table.to_owned(),
        plausible: None,
        doubtful: None,
        limits: None,
        valid_for: None,
        words: None,
        written: Written::default(),
    });
    spec.columns.with_others(first.chain(others).chain(markers).collect())
}

fn start(text: &str) -> Result<Start, String> {
    match text {
        "earliest" => Ok(Start::Earliest),
        "latest" => Ok(Start::Latest),
        _ => DateTime::parse_from_rfc3339(text).map(|time| Start::At(time.to_utc())).map_err(|_| {
            format!("\"{text}\" is no start; write \"earliest\", \"latest\" or a time such as \"2026-01-01T00:00:00Z\"")
        }),
    }
}
