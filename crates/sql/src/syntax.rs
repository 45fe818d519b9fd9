//! Queries as syntax: one SELECT each, without anything that is refused, in the order of what they read.

use std::collections::BTreeSet;

use datafusion::execution::SessionState;
use datafusion::logical_expr::sqlparser::ast::Statement as SqlStatement;
use datafusion::sql::parser::Statement;

use wardwatch_model::diagnostic::{Diagnostic, unknown};

use super::fault::diagnose;
use super::file::{QueryFile, QueryKind};
use super::leading::leading_tables;
use super::refuse::{refused_function, tables_read};

/// A query whose syntax was read.
pub(super) struct Parsed {
    pub(super) file: QueryFile,
    pub(super) statement: Statement,
    /// The tables that it names, with the place of the first mention.
    pub(super) names: Vec<(String, usize, usize)>,
    /// Those whose rows its own are made of, in the order of its FROM.
    pub(super) leading: Vec<String>,
}

impl Parsed {
    /// Reads one SELECT.
    ///
    /// Errors: SQL that is none, another statement, a function that is refused.
    pub(super) fn read(file: QueryFile, state: &SessionState) -> Result<Self, Diagnostic> {
        let dialect = state.config().options().sql_parser.dialect;
        let statement = state.sql_to_statement(&file.text, &dialect).map_err(|error| diagnose(&file, &error))?;
        let sql = match &statement {
            Statement::Statement(sql) if matches!(**sql, SqlStatement::Query(_)) => sql,
            _ => return Err(file.diagnostic(1, 1, "only SELECT is accepted; a query changes nothing".to_owned())),
        };
        if let Some((span, message)) = refused_function(sql) {
            return Err(file.diagnostic(span.start.line as usize, span.start.column as usize, message));
        }
        let names = tables_read(sql).into_iter();
        let names = names.map(|(name, span)| (name, span.start.line as usize, span.start.column as usize));
        let (names, leading) = (names.collect(), leading_tables(sql));
        Ok(Self { names, leading, file, statement })
    }

    /// Whether it names a table.
    pub(super) fn names(&self, table: &str) -> bool {
        self.names.iter().any(|(name, ..)| name == table)
    }
}

/// What is wrong with the tables that queries name: each must be `given`, or a query that is no rule.
pub(super) fn check_names<'a>(queries: &'a [Parsed], given: impl Iterator<Item = &'a str>) -> Vec<Diagnostic> {
    let tables: BTreeSet<&str> = queries
        .iter()
        .filter(|query| !matches!(query.file.kind, QueryKind::Rule(_)))
        .map(|query| query.file.name.as_str())
        .chain(given)
        .collect();
    let names = queries.iter().flat_map(|query| query.names.iter().map(move |name| (query, name)));
    let wrong = names.filter(|(_, (name, ..))| !tables.contains(name.as_str()));
    wrong
        .map(|(query, (name, line, column))| {
            query.file.diagnostic(*line, *column, unknown("table", name, tables.iter().copied()))
        })
        .collect()
}

/// The queries, each behind those that it reads.
///
/// Errors: queries that read each other.
pub(super) fn in_order(mut waiting: Vec<Parsed>) -> Result<Vec<Parsed>, Diagnostic> {
    let mut ordered: Vec<Parsed> = Vec::new();
    while !waiting.is_empty() {
        let waits_for = |query: &Parsed| waiting.iter().any(|other| query.names(&other.file.name));
        let blocked: Vec<bool> = waiting.iter().map(waits_for).collect();
        if blocked.iter().all(|blocked| *blocked) {
            let names: Vec<&str> = waiting.iter().map(|query| query.file.name.as_str()).collect();
            let message = format!("these queries read each other in a circle: {}", names.join(", "));
            return Err(waiting[0].file.diagnostic(1, 1, message));
        }
        let mut is_blocked = blocked.into_iter();
        let (later, now) = waiting.into_iter().partition(|_| is_blocked.next().unwrap_or(false));
        waiting = later;
        ordered.extend::<Vec<Parsed>>(now);
    }
    Ok(ordered)
}
