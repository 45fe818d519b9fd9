//! `wardwatch limits`: which alarm limits hold, who set them and why, and new ones.

use anyhow::bail;
use chrono::{DateTime, Utc};

use wardwatch_alert::{Limit, LimitChange, LimitScope, own_limit, resolve};
use wardwatch_config::{Column, ColumnType};
use wardwatch_model::clock::{Clock, SystemClock};
use wardwatch_model::diagnostic::unknown;
use wardwatch_pipeline::{Plan, Reference};
use wardwatch_store::Store;

use super::arguments::{JobFile, time};
use super::table::{aligned, second};

/// The arguments of `limits`.
#[derive(Debug, clap::Args)]
pub(super) struct Limits {
    #[command(subcommand)]
    command: LimitsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum LimitsCommand {
    /// Set a limit: for a patient, a ward, an age band, or as the default; a side that is left out stays as it is
    Set(Set),
    /// Take a limit back: the wider scope's holds again
    Remove(Remove),
    /// Show the limits that hold now; with --patient, those that hold for one patient
    List(List),
    /// Show every limit that was ever set, and when the job saw changes
    History(History),
}

/// Whose limit.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Scope {
    /// A patient's own
    #[arg(long, value_name = "ID")]
    patient: Option<String>,
    /// A ward's
    #[arg(long, value_name = "WARD")]
    ward: Option<String>,
    /// An age band's, such as child or neonate
    #[arg(long, value_name = "BAND")]
    age_band: Option<String>,
    /// Everybody's who has no other
    #[arg(long)]
    default: bool,
}

/// Who sets it and why.
#[derive(Debug, clap::Args)]
struct Author {
    /// Who sets it
    #[arg(long, value_name = "NAME", env = "USER")]
    by: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Since when it holds; now by default
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<DateTime<Utc>>,
}

#[derive(Debug, clap::Args)]
struct Set {
    #[command(flatten)]
    file: JobFile,
    #[command(flatten)]
    scope: Scope,
    /// The vital, by the name of its column
    #[arg(long, value_name = "VITAL")]
    vital: String,
    /// The lower limit; "none" leaves it to the wider scope
    #[arg(long, value_name = "NUMBER", value_parser = side, allow_hyphen_values = true)]
    low: Option<Side>,
    /// The upper limit; "none" leaves it to the wider scope
    #[arg(long, value_name = "NUMBER", value_parser = side, allow_hyphen_values = true)]
    high: Option<Side>,
    /// Until when it holds; afterwards what held before does
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<DateTime<Utc>>,
    #[command(flatten)]
    signed: Author,
}

#[derive(Debug, clap::Args)]
struct Remove {
    #[command(flatten)]
    file: JobFile,
    #[command(flatten)]
    scope: Scope,
    /// The vital, by the name of its column
    #[arg(long, value_name = "VITAL")]
    vital: String,
    #[command(flatten)]
    signed: Author,
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    file: JobFile,
    /// The limits that hold for this patient, each with whose it is
    #[arg(long, value_name = "ID")]
    patient: Option<String>,
    /// As of this time; now by default
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<DateTime<Utc>>,
}

#[derive(Debug, clap::Args)]
struct History {
    #[command(flatten)]
    file: JobFile,
    #[command(flatten)]
    scope: Scope,
    /// Only this vital's
    #[arg(long, value_name = "VITAL")]
    vital: Option<String>,
}

/// One side of a limit: a number, or none.
#[derive(Debug, Clone, Copy)]
struct Side(Option<f64>);

fn side(text: &str) -> Result<Side, String> {
    match text.parse::<f64>() {
        _ if text == "none" => Ok(Side(None)),
        Ok(number) if number.is_finite() => Ok(Side(Some(number))),
        _ => Err("write a number, or none".to_owned()),
    }
}

impl Scope {
    fn whose(self) -> Option<LimitScope> {
        let Self { patient, ward, age_band, default } = self;
        let named =
            patient.map(LimitScope::Patient).or(ward.map(LimitScope::Ward)).or(age_band.map(LimitScope::AgeBand));
        named.or(default.then_some(LimitScope::Default))
    }

    fn required(self) -> anyhow::Result<LimitScope> {
        match self.whose() {
            Some(LimitScope::Patient(name) | LimitScope::Ward(name) | LimitScope::AgeBand(name))
                if name.trim().is_empty() =>
            {
                bail!("an empty name is nobody's; --default is for everybody")
            }
            Some(whose) => Ok(whose),
            None => bail!("say whose limit it is: --patient ID, --ward WARD, --age-band BAND or --default"),
        }
    }
}

/// The table of limits with what it holds.
struct LimitsTable {
    plan: Plan,
    store: Store,
    table: Reference,
    limits: Vec<Limit>,
}

impl LimitsTable {
    fn open(file: &JobFile) -> anyhow::Result<Self> {
        let plan = Plan::load(&file.job)?;
        let name = &plan.job.alerts.limits;
        let known = || plan.references.iter().map(|reference| reference.spec.name.as_str());
        let Some(table) = plan.references.iter().find(|reference| reference.spec.name == *name).cloned() else {
            bail!(
                "the job's set has no table of limits ([alerts] limits): {}",
                unknown("reference table", name, known())
            );
        };
        let mut store = Store::connect(&plan.job.store, &plan.job.name)?;
        // Whoever sets the first limit may come before the first batch.
        store.migrate(&[])?;
        store.seed(&table.spec, &table.rows)?;
        let rows = store.reference_rows(&table.spec, &table.rows.schema())?;
        let limits = Limit::read(&rows).map_err(anyhow::Error::msg)?;
        Ok(Self { plan, store, table, limits })
    }

    /// The column of a vital, which must be a number.
    fn vital(&self, name: &str) -> anyhow::Result<&Column> {
        let columns = &self.plan.job.source.columns;
        let numbers =
            || columns.all().iter().filter(|column| matches!(column.r#type, ColumnType::Float | ColumnType::Int));
        match numbers().find(|column| column.name == name) {
            Some(column) => Ok(column),
            None => bail!(unknown("vital", name, numbers().map(|column| column.name.as_str()))),
        }
    }

    fn add(&mut self, limit: &Limit) -> anyhow::Result<()> {
        self.store.add_to_reference(&self.table.spec, &limit.row(&self.table.rows.schema()))?;
        println!(
            "{} · {} · {} to {} · from {}{}",
            limit.whose,
            limit.vital,
            shown(limit.low),
            shown(limit.high),
            second(limit.valid_from),
            limit.valid_until.map(|until| format!(" until {}", second(until))).unwrap_or_default()
        );
        Ok(())
    }
}

fn shown(side: Option<f64>) -> String {
    side.map_or("–".to_owned(), |side| side.to_string())
}

impl Limits {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.command {
            LimitsCommand::Set(set) => set.run(),
            LimitsCommand::Remove(remove) => remove.run(),
            LimitsCommand::List(list) => list.run(),
            LimitsCommand::History(history) => history.run(),
        }
    }
}

impl Author {
    fn check(&self) -> anyhow::Result<()> {
        if self.by.trim().is_empty() || self.reason.trim().is_empty() {
            bail!("a limit has an author and a reason: --by NAME --reason TEXT");
        }
        Ok(())
    }
}

impl Set {
    fn run(self) -> anyhow::Result<()> {
        self.signed.check()?;
        let whose = self.scope.required()?;
        if self.low.is_none() && self.high.is_none() {
            bail!("give --low, --high or both");
        }
        let mut book = LimitsTable::open(&self.file)?;
        let plausible = book.vital(&self.vital)?.plausible;
        let Author { by, reason, from } = self.signed;
        let change = LimitChange {
            whose,
            vital: self.vital,
            low: self.low.map(|side| side.0),
            high: self.high.map(|side| side.0),
            from: from.unwrap_or(SystemClock.now()),
            until: self.until,
            author: by,
            reason,
        };
        let limit = change.limit(&book.limits, plausible).map_err(anyhow::Error::msg)?;
        book.add(&limit)
    }
}

impl Remove {
    fn run(self) -> anyhow::Result<()> {
        self.signed.check()?;
        let whose = self.scope.required()?;
        let mut book = LimitsTable::open(&self.file)?;
        book.vital(&self.vital)?;
        let from = self.signed.from.unwrap_or(SystemClock.now());
        match own_limit(&book.limits, &whose, &self.vital, from) {
            Some(own) if own.low.is_some() || own.high.is_some() => {}
            _ => bail!("{whose} has no {} limit of its own", self.vital),
        }
        if whose == LimitScope::Default {
            bail!("without a default, nobody has a limit; set another with `wardwatch limits set --default`");
        }
        let Author { by, reason, .. } = self.signed;
        book.add(&Limit {
            whose,
            vital: self.vital,
            valid_from: from,
            valid_until: None,
            low: None,
            high: None,
            author: by,
            reason,
        })
    }
}

impl List {
    fn run(self) -> anyhow::Result<()> {
        let mut book = LimitsTable::open(&self.file)?;
        let at = self.at.unwrap_or(SystemClock.now());
        let Some(patient) = self.patient else {
            let mut limits: Vec<&Limit> = book
                .limits
                .iter()
                .filter(|limit| own_limit(&book.limits, &limit.whose, &limit.vital, at) == Some(limit))
                .filter(|limit| limit.low.is_some() || limit.high.is_some())
                .collect();
            limits.sort_by(|one, other| (&one.whose, &one.vital).cmp(&(&other.whose, &other.vital)));
            print!("{}", table(limits));
            return Ok(());
        };
        let PatientInfo { ward, age_band, spo2_scale } = book.lies(&patient)?;
        // As the view `thresholds` has it: the band of the age, then that of the SpO₂ scale.
        let scale = format!("spo2 scale {spo2_scale}");
        let side = |side: Option<(f64, &Limit)>| match side {
            Some((value, limit)) => {
                [value.to_string(), format!("{}, by {}: {}", limit.whose, limit.author, limit.reason)]
            }
            None => ["–".to_owned(), String::new()],
        };
        let rows = resolve(&book.limits, &patient, &ward, &[&age_band, &scale], at).into_iter().map(|resolved| {
            let ([low, low_of], [high, high_of]) = (side(resolved.low), side(resolved.high));
            vec![resolved.vital.to_owned(), low, low_of, high, high_of]
        });
        print!("{}", aligned(&["VITAL", "LOW", "WHOSE", "HIGH", "WHOSE"], rows));
        Ok(())
    }
}

/// What the table of patients says of one, as far as it does.
#[derive(Default)]
struct PatientInfo {
    ward: String,
    age_band: String,
    spo2_scale: String,
}

impl LimitsTable {
    fn lies(&mut self, patient: &str) -> anyhow::Result<PatientInfo> {
        let name = &self.plan.job.alerts.patients.0;
        let Some(patients) = self.plan.references.iter().find(|reference| reference.spec.name == *name) else {
            return Ok(Default::default());
        };
        self.store.seed(&patients.spec, &patients.rows)?;
        let rows = self.store.reference_rows(&patients.spec, &patients.rows.schema())?;
        let key = &self.plan.samples.key;
        let cell = |column: &str| cell_of(&rows, key, patient, column);
        Ok(PatientInfo { ward: cell("ward"), age_band: cell("age_band"), spo2_scale: cell("spo2_scale") })
    }
}

/// The text in `column` of the row whose `key` is `value`.
fn cell_of(rows: &arrow::array::RecordBatch, key: &str, value: &str, column: &str) -> String {
    use arrow::util::display::array_value_to_string;
    let (Some(keys), Some(cells)) = (rows.column_by_name(key), rows.column_by_name(column)) else {
        return String::new();
    };
    let row = (0..rows.num_rows()).find(|row| array_value_to_string(keys, *row).is_ok_and(|found| found == value));
    row.and_then(|row| array_value_to_string(cells, row).ok()).unwrap_or_default()
}

fn table<'a>(limits: impl IntoIterator<Item = &'a Limit>) -> String {
    let rows = limits.into_iter().map(|limit| {
        vec![
            limit.whose.to_string(),
            limit.vital.clone(),
            shown(limit.low),
            shown(limit.high),
            second(limit.valid_from),
            limit.valid_until.map(second).unwrap_or_default(),
            limit.author.clone(),
            limit.reason.clone(),
        ]
    });
    aligned(&["WHOSE", "VITAL", "LOW", "HIGH", "FROM", "UNTIL", "BY", "REASON"], rows)
}

impl History {
    fn run(self) -> anyhow::Result<()> {
        let mut book = LimitsTable::open(&self.file)?;
        let whose = self.scope.whose();
        let mut limits: Vec<&Limit> = book
            .limits
            .iter()
            .filter(|limit| whose.as_ref().is_none_or(|whose| limit.whose == *whose))
            .filter(|limit| self.vital.as_ref().is_none_or(|vital| limit.vital == *vital))
            .collect();
        limits.sort_by_key(|limit| std::cmp::Reverse(limit.valid_from));
        print!("{}", table(limits));
        let changes = book.store.reference_changes(&book.table.spec.name)?;
        if !changes.is_empty() {
            let rows = changes.into_iter().map(|(at, change)| vec![second(at), change.before, change.after]);
            print!("\n{}", aligned(&["SEEN BY THE JOB", "BEFORE", "AFTER"], rows));
        }
        Ok(())
    }
}
