//! `wardwatch explain`: what a query reads and keeps, how it is computed, and what it costs the running job.

use anyhow::{Context, bail};

use wardwatch_model::header::Emit;
use wardwatch_pipeline::Plan;
use wardwatch_sql::{Planned, QueryKind, given_rows};
use wardwatch_store::{QueryCost, Store};

use super::arguments::{JobFile, Takes};

/// The arguments of `explain`.
#[derive(Debug, clap::Args)]
pub(super) struct Explain {
    #[command(flatten)]
    file: JobFile,
    /// A query of the set by its name, or the file of one that is not in it yet
    #[arg(value_name = "QUERY")]
    query: String,
}

impl Explain {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let (plan, name) = self.file.with_query(&self.query, Takes::Queries)?;
        let query = plan.engine.queries().find(|known| known.file.name == name);
        let query = query.with_context(|| format!("\"{name}\" is not in the plan"))?;
        println!("{} ({})", query.file.name, query.file.path.display());
        print!("{}", what(query, &plan));
        print!("{}", inputs(query, &plan));
        print!("{}", state(query, &plan));
        println!("\ncost");
        match cost(&plan, &name) {
            Ok(Some(cost)) => println!(
                "  {:.2} ms per batch in the mean of {} batches, {:.2} ms at most, {:.1} rows per batch; told with batch {}",
                cost.mean_ms, cost.batches, cost.longest_ms, cost.mean_rows, cost.batch
            ),
            Ok(None) => {
                println!("  unknown: the job has not told yet; it does every {} batches", plan.job.sql.snapshot_every)
            }
            Err(error) => println!("  unknown: {error}"),
        }
        println!("\nplan (DataFusion)");
        for (step, text) in plan.engine.explain(&name) {
            println!("  {step}");
            text.lines().for_each(|line| println!("    {line}"));
        }
        Ok(())
    }
}

/// What the query is.
fn what(query: &Planned, plan: &Plan) -> String {
    let mut told = String::new();
    let mut line = |text: String| told.push_str(&format!("  {text}\n"));
    match &query.file.kind {
        QueryKind::Table(header) => {
            line(format!(
                "a table query: its rows go to the table \"{}\", by {}",
                query.file.name,
                header.key.join(", ")
            ));
            if query.windowed {
                line(match header.emit {
                    Emit::Close => "a window's rows are written once, when the watermark has passed its end".to_owned(),
                    Emit::Change => "a window's rows are written with every batch that changes it".to_owned(),
                });
            }
        }
        QueryKind::View => line("a view: its rows are there for other queries".to_owned()),
        QueryKind::Rule(header) => {
            line(format!("a rule of severity {}", header.severity.name()));
            line(match query.per_row {
                true => "judged at every sample of a patient, in event time".to_owned(),
                false => "judged once per batch, by the devices' time: it looks at no row of the batch".to_owned(),
            });
            if !query.vitals.is_empty() {
                line(format!("nothing is known where one of these has no value: {}", query.vitals.join(", ")));
            }
            let rule = plan.rules.iter().find(|rule| rule.name == query.file.name);
            if let Some(rule) = rule.filter(|rule| !rule.suppressed_by.is_empty()) {
                line(format!("suppressed while one of these fires: {}", rule.suppressed_by.join(", ")));
            }
        }
    }
    told
}

fn inputs(query: &Planned, plan: &Plan) -> String {
    let sources: Vec<&str> = plan.job.source.tables().map(|(_, table)| table).collect();
    let mut told = "\ninputs\n".to_owned();
    for name in &query.given {
        let what = match query.beside.contains(name) {
            true => {
                "last values of another source, as after this batch: one row per patient, as that source's _latest table has it"
            }
            false => given_rows(&sources, name),
        };
        told.push_str(&format!("  {name}: {what}\n"));
    }
    for name in &query.reads {
        let read = plan.engine.queries().find(|known| known.file.name == *name);
        let what = match read.map(|read| (&read.file.kind, read.windowed)) {
            Some((_, true)) if query.windowed => "its windows that close",
            Some((_, true)) => "its windows, open ones included",
            Some((QueryKind::View, _)) => "a view",
            _ => "its rows of this batch",
        };
        told.push_str(&format!("  {name}: {what}\n"));
    }
    told
}

fn state(query: &Planned, plan: &Plan) -> String {
    let mut told = "\nwindow and state\n".to_owned();
    match plan.engine.window(&query.file.name) {
        Some(window) => {
            told.push_str(&format!("  {window}\n"));
            told.push_str(
                "  kept: one row of partial aggregates for each group, pane and partition; a batch is folded into it, so\n  \
                 the cost goes by the batch, not by the window\n",
            );
        }
        None if query.looks_back => told.push_str(&format!(
            "  none; it looks back over at most {}\n",
            humantime::format_duration(plan.job.source.retain)
        )),
        None => told.push_str("  none: computed anew from what it reads with every batch\n"),
    }
    told
}

/// What the running job has told last, if there is one.
fn cost(plan: &Plan, query: &str) -> anyhow::Result<Option<QueryCost>> {
    // Connecting would create the file.
    if let wardwatch_config::StoreUrl::Sqlite(path) = &plan.job.store
        && !path.exists()
    {
        bail!("there is no store yet");
    }
    let mut store = Store::connect(&plan.job.store, &plan.job.name)?;
    if !store.has_tables()? {
        return Ok(None);
    }
    Ok(store.query_costs()?.into_iter().find(|cost| cost.query == query))
}
