//! A valid job, part by part.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::alerts::{AlertSpec, Outlet};
use super::columns::Columns;
use super::dashboard::DashboardSpec;
use super::form::Form;
use super::gateway::GatewaySpec;
use super::path::KafkaField;
use super::topics::TopicSelection;

/// One validated job file.
#[derive(Debug, Clone)]
pub struct Job {
    /// The job's name: the file's `name`, else the file's stem. It keys the job's rows in the store.
    pub name: String,
    /// The file the job was read from.
    pub file: PathBuf,
    /// When a micro-batch closes.
    pub trigger: Trigger,
    /// Where records come from and how they become columns.
    pub source: SourceSpec,
    /// Where results go.
    pub store: StoreUrl,
    /// The set of queries to run.
    pub sql: SqlSpec,
    /// Columns that are computed from a patient's readings of the last while.
    pub features: Vec<Feature>,
    /// How alerts are cared for.
    pub alerts: AlertSpec,
    /// Who is told of them.
    pub notify: Vec<Outlet>,
    /// Charts.
    pub reports: ReportSpec,
    /// The live page, and the metrics.
    pub dashboard: DashboardSpec,
    /// Where the gateway takes messages for the job's topic.
    pub gateway: GatewaySpec,
}

/// When a micro-batch closes: at the latest `every`, earlier when it is full.
#[derive(Debug, Clone, Copy)]
pub struct Trigger {
    /// The time between two closings.
    pub every: Duration,
    /// A batch with this many records is full.
    pub max_rows: usize,
    /// A batch with this many payload bytes is full.
    pub max_bytes: usize,
}

/// Where records come from and how they become columns.
#[derive(Debug, Clone)]
pub struct SourceSpec {
    /// librdkafka's `bootstrap.servers`.
    pub brokers: String,
    /// All topics, those of the other sources included.
    pub topics: TopicSelection,
    /// Those of the first source.
    pub own_topics: TopicSelection,
    /// The consumer group under which offsets are shown to lag tools. They are never read back.
    pub group: String,
    /// The name under which queries read the batch's rows.
    pub table: String,
    /// Where to start on a partition of which the store knows nothing.
    pub start: Start,
    /// How far behind a partition's newest event time a row may be.
    pub lateness: Duration,
    /// How far an event time may lie ahead of the time at which Kafka stamped the record.
    pub max_skew: Duration,
    /// A partition without a record for so long, and with none waiting, no longer holds windows open.
    pub idle_timeout: Duration,
    /// How far back the table with the rows of the last while reaches.
    pub retain: Duration,
    /// The column that names the device, where the job has one.
    pub device: Option<String>,
    /// The column with the device or bed by which a record's patient is found, where records do not name the patient: the key
    /// column is read from where this one is, and holds the patient from then on.
    pub attach: Option<String>,
    /// A patient without a record for so long, and without an encounter, is let go of; `None` is never.
    pub forget_after: Option<Duration>,
    /// Rows that agree in these columns and in the event time are one; empty where nothing is taken for a duplicate.
    pub dedupe: Vec<String>,
    /// The time zone of times that name none.
    pub time_zone: Tz,
    /// A record longer than this is a reject.
    pub max_record_bytes: usize,
    /// So long rejects are kept; `None` is for ever.
    pub keep_rejects: Option<Duration>,
    /// What is handed to librdkafka as it is.
    pub properties: BTreeMap<String, String>,
    /// The columns a record of the first source becomes.
    pub columns: Columns,
    /// The sources beside the first.
    pub others: Vec<OtherSource>,
    /// The columns of all sources together: those of the first, of each other one under [`OtherSource::column`], and one for
    /// each source that tells whether a row is of it, where there are several. The same as `columns` where there is one.
    pub frame: Columns,
    /// The ways in which records are written, one at least; the first of its source whose conditions a record meets is its own.
    pub forms: Vec<Form>,
}

/// A source beside the first.
#[derive(Debug, Clone)]
pub struct OtherSource {
    /// The name under which queries read it.
    pub table: String,
    /// Its topics.
    pub topics: TopicSelection,
    /// How far behind a partition's newest event time a row may be.
    pub lateness: Duration,
    /// How far an event time may lie ahead of the time at which Kafka stamped the record.
    pub max_skew: Duration,
    /// A partition without a record for so long, and with none waiting, no longer holds its windows open.
    pub idle_timeout: Duration,
    /// The time zone of times that name none.
    pub time_zone: Tz,
    /// The columns of its table; `None` where all of its records are of encounters, and it has no table.
    pub columns: Option<Columns>,
}

impl OtherSource {
    /// What one of its columns is called among those of all sources.
    #[must_use]
    pub fn column(&self, name: &str) -> String {
        format!("{}.{name}", self.table)
    }
}

/// The name of the column that tells whether a row is of the source with this table: `true`, or NULL.
#[must_use]
pub fn marker(table: &str) -> String {
    format!("_of.{table}")
}

impl SourceSpec {
    /// The headers of records that are read, each once.
    #[must_use]
    pub fn headers(&self) -> Vec<String> {
        let headers = self.forms.iter().flat_map(Form::paths).filter_map(|path| match path.beside() {
            Some(KafkaField::Header(name)) => Some(name.clone()),
            _ => None,
        });
        headers.collect::<BTreeSet<String>>().into_iter().collect()
    }

    /// The same, but for one topic alone, whichever it is, and without other sources: as who writes to it connects.
    #[must_use]
    pub fn of_topic(&self, topic: &str) -> Self {
        let topics = TopicSelection::one(topic);
        Self { own_topics: topics.clone(), topics, others: Vec::new(), ..self.clone() }
    }

    /// Has the first source read this topic, in place of those that it names.
    pub fn read_topic(&mut self, topic: &str) {
        self.own_topics = TopicSelection::one(topic);
        let all = self.others.iter().try_fold(self.own_topics.clone(), |all, other| all.and(&other.topics));
        self.topics = all.unwrap_or_else(|_| self.own_topics.clone());
    }

    /// The one form of the source at this place, if its records are objects with the columns' values in their fields, or with single
    /// vitals, so that others can write such; `None` where there is none.
    #[must_use]
    pub fn bare_form(&self, source: usize) -> Option<&Form> {
        let mut own = self.forms.iter().filter(|form| form.source == source);
        let form = own.next().filter(|form| form.is_bare())?;
        own.next().is_none().then_some(form)
    }

    /// Of which source the records of a topic are, by its place, where the first is 0: of the one that names it, else of the first
    /// whose pattern it meets.
    #[must_use]
    pub fn source_of(&self, topic: &str) -> usize {
        if self.others.is_empty() {
            return 0;
        }
        let selections = || std::iter::once(&self.own_topics).chain(self.others.iter().map(|other| &other.topics));
        let names = selections().position(|topics| topics.names().any(|name| name == topic));
        names.or_else(|| selections().position(|topics| topics.takes(topic))).unwrap_or(0)
    }

    /// The tables of the sources that have rows, each with the place of its source; that of the first stands first.
    pub fn tables(&self) -> impl Iterator<Item = (usize, &str)> + Clone {
        let others = (1..).zip(&self.others).filter(|(_, other)| other.columns.is_some());
        std::iter::once((0, self.table.as_str())).chain(others.map(|(place, other)| (place, other.table.as_str())))
    }

    /// The columns of a source's table; those of the first where it has none.
    #[must_use]
    pub fn columns_of(&self, source: usize) -> &Columns {
        let other = source.checked_sub(1).and_then(|other| self.others.get(other));
        other.and_then(|other| other.columns.as_ref()).unwrap_or(&self.columns)
    }

    /// The topics of a source.
    #[must_use]
    pub fn topics_of(&self, source: usize) -> &TopicSelection {
        let other = source.checked_sub(1).and_then(|other| self.others.get(other));
        other.map_or(&self.own_topics, |other| &other.topics)
    }

    /// How long rows of a source may be late.
    #[must_use]
    pub fn lateness_of(&self, source: usize) -> Duration {
        source.checked_sub(1).and_then(|other| self.others.get(other)).map_or(self.lateness, |other| other.lateness)
    }

    /// After how long without a record a partition of a source is idle.
    #[must_use]
    pub fn idle_timeout_of(&self, source: usize) -> Duration {
        let other = source.checked_sub(1).and_then(|other| self.others.get(other));
        other.map_or(self.idle_timeout, |other| other.idle_timeout)
    }

    /// The time zone of a source's times that name none, and how far they may lie ahead of Kafka's stamps.
    #[must_use]
    pub fn clock_of(&self, source: usize) -> (Tz, Duration) {
        let other = source.checked_sub(1).and_then(|other| self.others.get(other));
        other.map_or((self.time_zone, self.max_skew), |other| (other.time_zone, other.max_skew))
    }
}

/// Where to start on a partition of which the store knows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record that Kafka still holds.
    Earliest,
    /// Behind the newest record.
    Latest,
    /// At the first record that Kafka stamped at or after this time.
    At(DateTime<Utc>),
}

/// Which database to write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// A MySQL or MariaDB server.
    MySql(String),
    /// A SQLite file.
    Sqlite(PathBuf),
}

impl StoreUrl {
    /// Where it is, without user and password.
    #[must_use]
    pub fn address(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("SQLite file \"{}\"", path.display()),
            Self::MySql(url) => {
                let rest = url.trim_start_matches("mysql://").split('?').next().unwrap_or_default();
                format!("MySQL at \"{}\"", rest.rsplit_once('@').map_or(rest, |(_, host)| host))
            }
        }
    }
}

/// A query that is no file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenQuery {
    /// What its rows become.
    pub folder: QueryFolder,
    /// Its name, as a file's would be without `.sql`.
    pub name: String,
    /// The header and one SELECT, as a file has them.
    pub text: String,
}

/// The folders of a set, by what becomes of the rows of their queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryFolder {
    /// `tables`: rows of a table in the store.
    Tables,
    /// `views`: nothing by themselves; other queries read them.
    Views,
    /// `rules`: conditions that are true.
    Rules,
}

impl QueryFolder {
    /// All of them, in the order in which a set is read.
    pub const ALL: [Self; 3] = [Self::Tables, Self::Views, Self::Rules];

    /// The folder's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tables => "tables",
            Self::Views => "views",
            Self::Rules => "rules",
        }
    }
}

/// The set of queries and the limits of each.
#[derive(Debug, Clone)]
pub struct SqlSpec {
    /// The folder with `tables/` and `rules/`.
    pub dir: PathBuf,
    /// Queries that a program gives beside the files of `dir`; none in a job that is a file.
    pub given: Vec<GivenQuery>,
    /// A query that takes longer on one batch fails.
    pub time_limit: Duration,
    /// A query that needs more bytes on one batch fails.
    pub memory_limit: usize,
    /// A windowed query may keep this many groups.
    pub max_groups: usize,
    /// Once in so many batches what windowed queries keep goes to the store, so that a restart need not count anew.
    pub snapshot_every: u64,
    /// How often reference tables are read again.
    pub reference_refresh: Duration,
}

/// A column that is computed from a patient's readings of the last while; `frame` has the formulas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// Its name in queries.
    pub name: String,
    /// The column that it is computed from.
    pub of: String,
    /// What is computed.
    pub kind: FeatureKind,
    /// How far back it looks.
    pub over: Duration,
}

/// The kinds of features by their names in a job file, with what they compute of the readings of the last while; the exact
/// formulas are in the crate that computes them.
pub const FEATURE_KINDS: [(&str, &str); 8] = [
    ("ewm", "the mean, weighted by age: a reading of `half_life` ago counts half"),
    ("rolling_mean", "the mean"),
    ("rolling_min", "the least"),
    ("rolling_max", "the greatest"),
    ("rolling_std", "the standard deviation of a sample: `sqrt(Σ(x - mean)² / (n - 1))`"),
    ("zscore", "the row's reading: `(x - mean) / std`"),
    ("slope", "the slope of the straight line through them (least squares), per minute"),
    ("delta", "the row's reading less the one before"),
];

/// What a feature computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeatureKind {
    /// The mean, weighted by age: half as much every `half_life`.
    Ewm {
        /// The age at which a reading counts half.
        half_life: Duration,
    },
    /// The mean.
    RollingMean,
    /// The least.
    RollingMin,
    /// The greatest.
    RollingMax,
    /// The standard deviation of a sample.
    RollingStd,
    /// How many standard deviations the reading lies above the mean.
    ZScore,
    /// How much it rises in a minute, by least squares.
    Slope,
    /// How much it differs from the reading before.
    Delta,
}

/// What charts are drawn from and where they go.
#[derive(Debug, Clone)]
pub struct ReportSpec {
    /// The table with a row per record.
    pub table: String,
    /// The folder for reports.
    pub dir: PathBuf,
    /// The folder with their specs; without one there are only patients' charts.
    pub specs: Option<PathBuf>,
    /// The time zone that charts show.
    pub time_zone: Tz,
}
