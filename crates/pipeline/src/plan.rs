//! A job file and its set of queries, checked as one: what `check` looks at and `run` runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};

use wardwatch_alert::{
    Judged, Limit, Measure, Message, Rule, SYSTEM_RULES, SampleColumns, Shape, ValidFor, Wards, lost_defaults,
};
use wardwatch_config::{Column, Form, Job, marker};
use wardwatch_frame::schema_with;
use wardwatch_ingest::decode::{Decoder, Reshaping, frame_schema};
use wardwatch_model::diagnostic::{Diagnostic, Diagnostics, Warning, unknown};
use wardwatch_model::header::RuleHeader;
use wardwatch_model::record::{ITEM_COLUMN, OFFSET_COLUMN, PARTITION_COLUMN, STAMP_COLUMN};
use wardwatch_model::terms::Severity;
use wardwatch_model::topics::Topics;
use wardwatch_sql::{Engine, Limits, Planned, QueryFile, QueryKind, Seed, Source, load_draft, load_seeds, load_set};
use wardwatch_store::{SYSTEM_TABLES, TableSpec};

use crate::reshape::SourceSql;

/// What is valid for longer than this is measured seldom.
const SELDOM: Duration = Duration::from_secs(60);

/// A job that can run.
#[derive(Debug)]
pub struct Plan {
    /// The job.
    pub job: Job,
    /// The topics that it reads, with the numbers that its store has kept of them.
    pub topics: Topics,
    /// What makes rows of what is decoded.
    pub(super) source_sql: Option<SourceSql>,
    /// Its queries.
    pub engine: Engine,
    /// The tables that its table queries fill.
    pub tables: Vec<TableSpec>,
    /// The reference tables that its queries may read.
    pub references: Vec<Reference>,
    /// Its rules; those that suppress others come first.
    pub rules: Vec<Rule>,
    /// In which ward each patient lies, by the reference table of this name, where there is one.
    pub wards: Wards,
    ward_table: Option<String>,
    /// The alarm limits as the set's seed has them, and as queries see them; empty where the set has no table of limits.
    limits_of_set: Vec<Limit>,
    limits: Vec<Limit>,
    /// The vitals that rules judge by limits.
    judged_by_limits: BTreeSet<String>,
    /// Which columns tell samples apart.
    pub samples: SampleColumns,
    /// The rules about patients that are judged on windows, directly or through others, each with its vitals.
    pub(super) on_windows: BTreeMap<String, Vec<String>>,
}

impl Plan {
    /// A decoder of the job's records.
    pub(super) fn decoder(&self) -> Decoder {
        Decoder::reading(&self.job.source, &self.topics).reshaped_by(&self.job.source, self.reshaping())
    }

    /// What makes rows of what is decoded, where the set has that.
    pub(super) fn reshaping(&self) -> Option<&Reshaping> {
        self.source_sql.as_ref().map(|sql| &sql.reshaping)
    }

    /// Reads and checks everything that a job is made of. Needs no Kafka and no store.
    ///
    /// # Errors
    /// Every fault of the job file or, where that is right, of the queries.
    pub fn load(job_file: &Path) -> Result<Self, Diagnostics> {
        Self::of(wardwatch_config::load(job_file)?)
    }

    /// The tables that queries fill and those that they look things up in.
    #[must_use]
    pub fn all_tables(&self) -> Vec<TableSpec> {
        self.tables.iter().chain(self.references.iter().map(|reference| &reference.spec)).cloned().collect()
    }

    /// What is no fault but mostly a mistake, in the order of the files.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let read = self.engine.given_reads();
        let is_read = |name: &String| {
            read.contains(name) || *name == self.job.alerts.patients.0 || *name == self.job.alerts.limits
        };
        let unread = self.references.iter().filter(|reference| !is_read(&reference.spec.name)).map(|reference| {
            let file = self.job.sql.dir.join("seeds").join(&reference.spec.name).with_extension("csv");
            let message = format!("no query reads the reference table \"{}\"", reference.spec.name);
            Warning { diagnostic: Diagnostic { file, line: 1, column: 1, message }, name: "unread" }
        });
        let short = self.engine.queries().filter(|query| query.looks_back).filter_map(|query| self.short_memory(query));
        let doubled = self.engine.queries().filter_map(|query| self.doubled_keys(query));
        let of_engine = self.engine.warnings().iter().cloned();
        let mut warnings: Vec<Warning> = of_engine.chain(unread).chain(short).chain(doubled).collect();
        warnings.sort();
        warnings
    }

    /// A table with a row per record whose key does not tell the rows of one record apart, where there may be several.
    fn doubled_keys(&self, query: &Planned) -> Option<Warning> {
        let text = &query.file.text;
        let is_of_records = matches!(query.file.kind, QueryKind::Table(_)) && !text.to_uppercase().contains("GROUP BY");
        if !is_of_records || text.contains(ITEM_COLUMN) || !self.job.source.forms.iter().any(Form::has_several_rows) {
            return None;
        }
        // The place of a record stands for itself; without it, the key is of the analyst's own making.
        let at = text.find(OFFSET_COLUMN)?;
        let message = "a record of this job may have several rows, which \"_offset\" does not tell apart; add _item to the columns \
                       and to the key"
            .to_owned();
        let is_allowed = query.file.allows.iter().any(|allowed| allowed == "doubled-key");
        let diagnostic = Diagnostic::at(&query.file.path, text, at, message);
        (!is_allowed).then_some(Warning { diagnostic, name: "doubled-key" })
    }

    /// A query on history that speaks of more time than history has.
    fn short_memory(&self, query: &Planned) -> Option<Warning> {
        const WORD: &str = "INTERVAL '";
        let (text, retain) = (&query.file.text, self.job.source.retain);
        let mut intervals = text.match_indices(WORD);
        let at = intervals.find_map(|(at, _)| {
            let length = text[at + WORD.len()..].split('\'').next()?;
            (humantime::parse_duration(length).ok()? > retain).then_some(at)
        })?;
        let message = format!(
            "this looks back further than the job remembers, [source] retain = \"{}\"; raise that, or look back less far",
            humantime::format_duration(retain)
        );
        let is_allowed = query.file.allows.iter().any(|allowed| allowed == "short-memory");
        let diagnostic = Diagnostic::at(&query.file.path, text, at, message);
        (!is_allowed).then_some(Warning { diagnostic, name: "short-memory" })
    }

    /// What is kept from batch to batch, by the names of its snapshots.
    #[must_use]
    pub fn kept_names(&self) -> Vec<String> {
        self.engine.kept().map(|kept| kept.name).chain([STREAMS]).map(str::to_owned).collect()
    }

    /// Lets queries, and whoever asks for a patient's ward, see these rows of a reference table.
    pub fn set_reference(&mut self, table: &str, rows: &RecordBatch) {
        self.engine.set_reference(table, rows);
        if self.ward_table.as_deref() == Some(table) {
            self.wards = Wards::read(rows, &self.samples.key);
        }
        if self.job.alerts.limits == table {
            self.limits = Limit::read(rows).unwrap_or_default();
        }
    }

    /// The default limits that the set gives and nobody has at `at`, of vitals that rules judge by limits, each in words.
    #[must_use]
    pub fn lost_defaults(&self, at: DateTime<Utc>) -> Vec<String> {
        let lost = lost_defaults(&self.limits_of_set, &self.limits, at);
        lost.into_iter().filter(|(vital, _)| self.judged_by_limits.contains(vital)).map(|(_, text)| text).collect()
    }

    /// What streams of samples keep apart, by what rules depend on.
    #[must_use]
    pub fn streams(&self) -> Shape {
        let columns = &self.job.source.frame;
        let (key, event_time) = (&columns.key().name, &columns.event_time().name);
        let is_value = |name: &&String| *name != key && *name != event_time && !name.starts_with('_');
        let values =
            columns.all().iter().flat_map(|column| std::iter::once(column.name.clone()).chain(column.doubtful_name()));
        let values: Vec<String> = values.collect();
        Shape::new(self.job.source.device.as_deref(), self.rules.iter().map(Rule::samples_have))
            .of_records(values.iter().filter(is_value).cloned())
    }

    /// The place among all sources of the one whose place among those with a table is `number`.
    pub(crate) fn source_with_table(&self, number: usize) -> usize {
        self.job.source.tables().nth(number).map_or(0, |(source, _)| source)
    }

    /// The queries in the order in which they run, each with those that it reads.
    pub(super) fn reads(&self) -> Vec<(&str, &[String])> {
        self.engine.queries().map(|query| (query.file.name.as_str(), query.reads.as_slice())).collect()
    }

    /// The rules that look something up that people may have changed, and that are judged on what is measured seldom.
    pub(super) fn seldom_judged(&self) -> BTreeSet<String> {
        self.seldom_judged_by(&self.engine.looked_up().collect())
    }

    /// The rules that look something up in one of these tables, directly or through others, and that are judged on what is measured
    /// seldom: a limit that is set now is not to wait for the next reading.
    pub(super) fn seldom_judged_by(&self, tables: &BTreeSet<&str>) -> BTreeSet<String> {
        let is_seldom = |vital: &String| ValidFor::valid_for(self, vital) > SELDOM;
        let mut found: BTreeSet<&str> = BTreeSet::new();
        // A query stands behind those that it reads.
        for query in self.engine.queries() {
            let looks_up = query.given.iter().any(|given| tables.contains(given.as_str()));
            if looks_up || query.reads.iter().any(|read| found.contains(read.as_str())) {
                found.insert(&query.file.name);
            }
        }
        let rules = self.rules.iter().filter(|rule| found.contains(rule.name.as_str()));
        rules.filter(|rule| rule.vitals.iter().any(is_seldom)).map(|rule| rule.name.clone()).collect()
    }

    /// What each rule is made of, the views that it reads included: where that differs, it is another rule.
    pub(super) fn rule_texts(&self) -> BTreeMap<String, String> {
        let texts = self.rules.iter().map(|rule| {
            let mut seen = BTreeSet::from([rule.name.as_str()]);
            let mut waiting = vec![rule.name.as_str()];
            let mut text = String::new();
            while let Some(name) = waiting.pop() {
                let Some(query) = self.engine.queries().find(|query| query.file.name == name) else { continue };
                text.push_str(&query.file.text);
                waiting.extend(query.reads.iter().map(String::as_str).filter(|read| seen.insert(read)));
            }
            (rule.name.clone(), text)
        });
        texts.collect()
    }

    /// The queries that differ from those of `other`, or are in one of the two only, with their files.
    #[must_use]
    pub fn files_unlike(&self, other: &Self) -> Vec<(String, String)> {
        let of = |plan: &Self| -> BTreeMap<String, (String, String)> {
            let dir = &plan.job.sql.dir;
            let file =
                |query: &Planned| query.file.path.strip_prefix(dir).unwrap_or(&query.file.path).display().to_string();
            plan.engine
                .queries()
                .map(|query| (query.file.name.clone(), (query.file.text.clone(), file(query))))
                .collect()
        };
        let (new, old) = (of(self), of(other));
        let names: BTreeSet<&String> = new.keys().chain(old.keys()).collect();
        let differs = names.into_iter().filter(|name| new.get(*name) != old.get(*name));
        differs.filter_map(|name| Some((name.clone(), new.get(name).or(old.get(name))?.1.clone()))).collect()
    }

    /// The same for a job that is already read.
    ///
    /// # Errors
    /// Every fault of the queries.
    pub fn of(job: Job) -> Result<Self, Diagnostics> {
        let files = load_set(&job.sql)?;
        Self::of_files(job, files)
    }

    /// The job with a query that is not in its set yet, or is there in another form. Returns its name too.
    ///
    /// # Errors
    /// Every fault of the queries, the draft's included.
    pub fn with_draft(job: Job, draft: &Path) -> Result<(Self, String), Diagnostics> {
        let mut files = load_set(&job.sql)?;
        let draft = load_draft(draft)?;
        let name = draft.name.clone();
        files.retain(|file| file.name != name);
        files.push(draft);
        Ok((Self::of_files(job, files)?, name))
    }

    /// The part of the plan that the queries in `wanted` need, or all of it where that is empty: they, what they read, and the
    /// technical rules that suppress them. Each of `stand_ins` takes the place of the query or reference table of its name.
    ///
    /// # Errors
    /// A query does not fit what stands in for another.
    pub fn excerpt(&self, wanted: &[String], stand_ins: Vec<Seed>) -> Result<Self, Diagnostics> {
        let is_stand_in = |name: &str| stand_ins.iter().any(|seed| seed.name == name);
        let mut needed = BTreeSet::new();
        let mut waiting: Vec<String> = match wanted {
            [] => self.engine.queries().map(|query| query.file.name.clone()).collect(),
            wanted => wanted.to_vec(),
        };
        while let Some(name) = waiting.pop() {
            let Some(query) = self.engine.queries().find(|query| query.file.name == name) else { continue };
            if is_stand_in(&name) || !needed.insert(name.clone()) {
                continue;
            }
            waiting.extend(query.reads.iter().cloned());
            let rule = self.rules.iter().find(|rule| rule.name == name);
            waiting.extend(rule.into_iter().flat_map(|rule| rule.suppressed_by.iter().cloned()));
        }
        let files = self.engine.queries().filter(|query| needed.contains(&query.file.name)).map(|query| {
            let mut file = query.file.clone();
            if let QueryKind::Rule(header) = &mut file.kind {
                header.suppresses.retain(|name| name.value == "*" || needed.contains(&name.value));
            }
            file
        });
        let seeds = self.references.iter().filter(|reference| !is_stand_in(&reference.spec.name));
        let seeds: Vec<Seed> = seeds
            .map(|Reference { spec, rows }| {
                let file = self.job.sql.dir.join("seeds").join(&spec.name).with_extension("csv");
                Seed { name: spec.name.clone(), file, key: spec.key.clone(), rows: rows.clone() }
            })
            .collect();
        let files = files.collect();
        Self::of_parts(self.job.clone(), files, seeds.into_iter().chain(stand_ins).collect())
    }

    fn of_files(job: Job, files: Vec<QueryFile>) -> Result<Self, Diagnostics> {
        let seeds = load_seeds(&job.sql.dir)?;
        Self::of_parts(job, files, seeds)
    }

    fn of_parts(job: Job, files: Vec<QueryFile>, seeds: Vec<Seed>) -> Result<Self, Diagnostics> {
        let columns = &job.source.frame;
        let source = Source {
            table: &job.source.table,
            others: job.source.tables().skip(1).map(|(_, table)| table).collect(),
            schema: schema_with(&frame_schema(columns), &job.features),
            key: &columns.key().name,
            event_time: &columns.event_time().name,
            doubtful: columns
                .all()
                .iter()
                .filter_map(|column| Some((column.doubtful_name()?, column.name.clone())))
                .collect(),
            valid_for: values_valid_for(&job),
        };
        let limits = Limits { time: job.sql.time_limit, memory: job.sql.memory_limit, groups: job.sql.max_groups };
        let source_sql = SourceSql::of(&job)?;
        let engine = Engine::plan(files, &seeds, &source, limits)?;
        let mut faults: Vec<Diagnostic> = Decoder::new(&job.source)
            .faults()
            .into_iter()
            .map(|message| Diagnostic { file: job.file.clone(), line: 1, column: 1, message })
            .collect();
        let mut tables = Vec::new();
        let mut rules = Vec::new();
        for query in engine.queries() {
            faults.extend(reserved(&query.file));
            match &query.file.kind {
                QueryKind::Table(header) => match table(query, &header.key) {
                    Ok(spec) => tables.push(spec),
                    Err(fault) => faults.push(fault),
                },
                QueryKind::Rule(_) => match rule(query, &job) {
                    Ok(rule) => rules.push(rule),
                    Err(fault) => faults.push(fault),
                },
                QueryKind::View => {}
            }
        }
        let mut references = Vec::new();
        for seed in seeds {
            match reference(&seed) {
                Ok(spec) => references.push(Reference { spec, rows: seed.rows }),
                Err(fault) => faults.push(fault),
            }
        }
        faults.extend(suppress(&engine, &mut rules));
        let limits_of_set = references.iter().find(|reference| reference.spec.name == job.alerts.limits);
        let limits_of_set = limits_of_set.and_then(|limits| Limit::read(&limits.rows).ok()).unwrap_or_default();
        let judged_by_limits = judged_by(&job.alerts.limits, &engine, &rules);
        let ward_table = wards(&job, &references).unwrap_or_else(|fault| {
            faults.push(fault);
            None
        });
        if !faults.is_empty() {
            faults.sort();
            return Err(Diagnostics(faults));
        }
        rules.sort_by_key(|rule| rule.header.severity != Severity::Technical);
        let on_windows = on_windows(&engine, &rules);
        let samples = SampleColumns {
            key: columns.key().name.clone(),
            event_time: columns.event_time().name.clone(),
            partition: PARTITION_COLUMN.to_owned(),
            stamp: STAMP_COLUMN.to_owned(),
        };
        Ok(Self {
            topics: job.source.topics.unnumbered(),
            source_sql,
            engine,
            tables,
            references,
            rules,
            wards: Wards::default(),
            ward_table,
            on_windows,
            limits: limits_of_set.clone(),
            limits_of_set,
            judged_by_limits,
            samples,
            job,
        })
    }
}

/// The rules about patients that read windows, directly or through others, each with its vitals.
fn on_windows(engine: &Engine, rules: &[Rule]) -> BTreeMap<String, Vec<String>> {
    let mut reading: BTreeSet<&str> = BTreeSet::new();
    // A query stands behind those that it reads.
    for query in engine.queries() {
        if query.windowed || query.reads.iter().any(|read| reading.contains(read.as_str())) {
            reading.insert(&query.file.name);
        }
    }
    let rules = rules.iter().filter(|rule| !rule.is_technical() && reading.contains(rule.name.as_str()));
    rules.map(|rule| (rule.name.clone(), rule.depends_on().to_vec())).collect()
}

/// How long a value of each column counts that is one of the patient's, the doubtful ones included.
fn values_valid_for(job: &Job) -> Vec<(String, Duration)> {
    let columns = &job.source.frame;
    let names = [Some(&columns.key().name), Some(&columns.event_time().name), job.source.device.as_ref()];
    let is_value = |column: &&Column| !names.contains(&Some(&column.name)) && !column.name.starts_with('_');
    let of_patient = columns.all().iter().filter(is_value);
    let valid_for = of_patient.flat_map(|column| {
        let valid_for = column.valid_for.unwrap_or(job.alerts.stale_after);
        let names = std::iter::once(column.name.clone()).chain(column.doubtful_name());
        names.map(move |name| (name, valid_for))
    });
    valid_for.collect()
}

/// A query under whose name the job tells of itself.
fn reserved(file: &QueryFile) -> Option<Diagnostic> {
    let (name, says) = SYSTEM_RULES.iter().find(|(name, _)| *name == file.name)?;
    let message = format!("\"{name}\" is the name of an alert of wardwatch's own ({says}); a query needs another name");
    Some(file.diagnostic(1, 1, message))
}

fn table(query: &Planned, key: &[String]) -> Result<TableSpec, Diagnostic> {
    let file = &query.file;
    if SYSTEM_TABLES.contains(&file.name.as_str()) {
        let message = format!("\"{}\" is one of wardwatch's own tables; a query needs another name", file.name);
        return Err(file.diagnostic(1, 1, message));
    }
    TableSpec::new(&file.name, &query.schema, key).map_err(|error| file.diagnostic(1, 1, error.to_string()))
}

/// A table of the store whose rows queries look things up in.
#[derive(Debug, Clone)]
pub struct Reference {
    /// The table.
    pub spec: TableSpec,
    /// The rows that it starts with where the store has none.
    pub rows: RecordBatch,
}

fn reference(seed: &Seed) -> Result<TableSpec, Diagnostic> {
    let at_start = |message: String| Diagnostic { file: seed.file.clone(), line: 1, column: 1, message };
    if SYSTEM_TABLES.contains(&seed.name.as_str()) {
        return Err(at_start(format!("\"{}\" is one of wardwatch's own tables; a seed needs another name", seed.name)));
    }
    let spec = TableSpec::new(&seed.name, &seed.schema(), &seed.key);
    spec.map(TableSpec::for_people).map_err(|error| at_start(error.to_string()))
}

fn rule(query: &Planned, job: &Job) -> Result<Rule, Diagnostic> {
    let QueryKind::Rule(header) = &query.file.kind else { panic!("only rules are asked for their alerts") };
    let fault = |line, column, message| query.file.diagnostic(line, column, message);
    let message = match &header.message {
        None => None,
        Some(text) => Some(
            Message::parse(&text.value, &query.schema)
                .map_err(|wrong| fault(text.line, text.column + wrong.at, wrong.message))?,
        ),
    };
    let shows_patient = message.as_ref().zip(query.schema.index_of(&job.source.columns.key().name).ok());
    let discreet = job.notify.iter().find(|outlet| !outlet.identify);
    if let (Some(text), Some((message, key)), Some(outlet)) = (&header.message, shows_patient, discreet)
        && message.shows(key)
    {
        let message = format!(
            "the message names the patient, and outlet \"{}\" has identify = false; leave the patient out of the text: \
             other outlets name the patient beside it",
            outlet.name
        );
        return Err(fault(text.line, text.column, message));
    }
    let measure = Measure::of(header, message.as_ref(), &query.schema).map_err(|message| {
        let (line, column) = header.peak.as_ref().map_or((1, 1), |peak| (peak.line, peak.column));
        fault(line, column, message)
    })?;
    if header.hold > job.source.retain {
        let message = format!(
            "@for is longer than the job can look back, [source] retain = \"{}\"; shorten it, or raise retain",
            humantime::format_duration(job.source.retain)
        );
        return Err(fault(header.hold_at.0, header.hold_at.1, message));
    }
    Ok(Rule {
        name: query.file.name.clone(),
        message,
        judged: if query.per_row { Judged::BySample } else { Judged::ByBatch },
        looks_back: query.looks_back,
        source: query.source,
        marker: (!job.source.others.is_empty())
            .then(|| job.source.tables().nth(query.source).map(|(_, table)| marker(table)))
            .flatten(),
        vitals: query.vitals.clone(),
        composed: query.composed.then(|| query.vitals.iter().map(|name| counts_for(name, header, job)).collect()),
        stale_after: header.stale_after.unwrap_or_else(|| valid_for(&query.vitals, job)),
        latches: header.latch.unwrap_or(header.severity == Severity::High),
        suppressed_by: Vec::new(),
        measure,
        header: (**header).clone(),
    })
}

/// How long a value of a column counts to a rule of several.
fn counts_for(column: &str, header: &RuleHeader, job: &Job) -> Duration {
    let own = job.source.frame.get(column).and_then(|column| column.valid_for);
    header.stale_after.or(own).unwrap_or(job.alerts.stale_after)
}

/// How long a sample of these columns counts: as long as that of the column whose values are valid for the shortest time.
fn valid_for(vitals: &[String], job: &Job) -> Duration {
    let columns = vitals.iter().filter_map(|name| job.source.frame.get(name));
    columns.map(|column| column.valid_for.unwrap_or(job.alerts.stale_after)).min().unwrap_or(job.alerts.stale_after)
}

/// Tells each rule which technical rules suppress it; returns what is wrong with the names.
fn suppress(engine: &Engine, rules: &mut [Rule]) -> Vec<Diagnostic> {
    let mut faults = Vec::new();
    let technical: Vec<String> =
        rules.iter().filter(|rule| rule.is_technical()).map(|rule| rule.name.clone()).collect();
    for query in engine.queries() {
        let QueryKind::Rule(header) = &query.file.kind else { continue };
        for name in &header.suppresses {
            if name.value == "*" {
                // That a monitor is silent says nothing of a laboratory.
                let others = rules.iter_mut().filter(|rule| !rule.is_technical() && rule.source == query.source);
                others.for_each(|rule| rule.suppressed_by.push(query.file.name.clone()));
                continue;
            }
            match rules.iter_mut().find(|rule| rule.name == name.value) {
                Some(rule) if !rule.is_technical() => rule.suppressed_by.push(query.file.name.clone()),
                Some(_) => {
                    let message = format!("\"{}\" is a technical rule, which nothing suppresses", name.value);
                    faults.push(query.file.diagnostic(name.line, name.column, message));
                }
                None => {
                    let known = rules
                        .iter()
                        .map(|rule| rule.name.as_str())
                        .filter(|name| !technical.iter().any(|technical| technical == name));
                    let message = unknown("rule", &name.value, known);
                    faults.push(query.file.diagnostic(name.line, name.column, message));
                }
            }
        }
    }
    faults
}

/// The vitals of rules about patients that read a reference table, directly or through other queries.
fn judged_by(table: &str, engine: &Engine, rules: &[Rule]) -> BTreeSet<String> {
    let query = |name: &str| engine.queries().find(|query| query.file.name == name);
    let reads = |rule: &&Rule| {
        let (mut seen, mut waiting) = (BTreeSet::new(), vec![rule.name.as_str()]);
        while let Some(query) = waiting.pop().and_then(query) {
            if query.given.iter().any(|given| given == table) {
                return true;
            }
            waiting.extend(query.reads.iter().map(String::as_str).filter(|read| seen.insert(*read)));
        }
        false
    };
    let rules = rules.iter().filter(|rule| !rule.is_technical()).filter(reads);
    rules.flat_map(|rule| rule.vitals.iter().cloned()).collect()
}

/// The reference table with the patients' wards: the one that the job names or, without a name, one that fits.
fn wards(job: &Job, references: &[Reference]) -> Result<Option<String>, Diagnostic> {
    let (name, is_named) = &job.alerts.patients;
    let key = &job.source.columns.key().name;
    let fault = |message| Err(Diagnostic { file: job.file.clone(), line: 1, column: 1, message });
    let Some(table) = references.iter().find(|reference| reference.spec.name == *name) else {
        let known = references.iter().map(|reference| reference.spec.name.as_str());
        return if *is_named {
            fault(format!("[alerts] patients: {}", unknown("reference table", name, known)))
        } else {
            Ok(None)
        };
    };
    let lacks = [key.as_str(), "ward"].into_iter().find(|column| table.rows.column_by_name(column).is_none());
    match lacks {
        None => Ok(Some(name.clone())),
        Some(column) if *is_named => {
            fault(format!("[alerts] patients: the reference table \"{name}\" has no column \"{column}\""))
        }
        Some(_) => Ok(None),
    }
}

/// The name of the snapshot of streams; no query can bear it.
pub(crate) const STREAMS: &str = "(streams)";
