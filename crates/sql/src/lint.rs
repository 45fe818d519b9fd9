//! What is no fault but mostly a mistake: each kind has a name, by which `-- @allow: name` silences it in a file.
//!
//! Found in the syntax, by names: close enough to point a finger, and not meant for more.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::logical_expr::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, JoinConstraint, JoinOperator, Query,
    Select, SelectItem, SetExpr, Spanned, Statement, TableFactor, Value, Visit, Visitor, WindowType,
};

use wardwatch_model::diagnostic::{Diagnostic, Warning};

use super::file::{QueryFile, QueryKind};
use super::query::Planned;

/// What is known of the tables that a query may read.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// The keys of those that have one.
    pub(super) keys: BTreeMap<String, Vec<String>>,
    /// The columns that are averages.
    averages: BTreeMap<String, BTreeSet<String>>,
}

impl Tables {
    /// Takes note of which columns of the table called `name` are averages.
    pub(super) fn made(&mut self, name: &str, statement: &Statement) {
        let mut averages = BTreeSet::new();
        for item in select(statement).into_iter().flat_map(|select| &select.projection) {
            if let SelectItem::ExprWithAlias { expr, alias } = item
                && average_of(expr).is_some()
            {
                averages.insert(alias.value.clone());
            }
        }
        self.averages.insert(name.to_owned(), averages);
    }
}

/// The lints of a query that reads `reads`.
pub(super) fn lint(
    file: &QueryFile,
    statement: &Statement,
    reads: &[String],
    windowed: bool,
    by_sample: bool,
    tables: &Tables,
) -> Vec<Warning> {
    let mut linter = Linter { file, reads, tables, warnings: Vec::new() };
    if let QueryKind::Rule(header) = &file.kind
        && by_sample
        && header.hold.is_zero()
    {
        let (line, column) = file.header_place("severity");
        linter.warn("no-delay", line, column, "a rule without @for fires at a single reading; write \"-- @for: 10s\"");
    }
    let _ = statement.visit(&mut linter);
    if windowed {
        linter.unbounded_groups(statement);
    }
    if file.is_rule() || file.kind == QueryKind::View {
        linter.some_patients(statement);
    }
    linter.warnings.retain(|warning| !file.allows.iter().any(|allowed| allowed == warning.name));
    linter.warnings.sort();
    linter.warnings.dedup();
    linter.warnings
}

/// Views are there to be read.
pub(super) fn unread_views<'a>(queries: impl Iterator<Item = &'a Planned> + Clone) -> Vec<Warning> {
    let is_read = |view: &Planned| queries.clone().any(|query| query.reads.contains(&view.file.name));
    let views = queries.clone().filter(|query| query.file.kind == QueryKind::View && !is_read(query));
    let unread = views.filter(|view| !view.file.allows.iter().any(|allowed| allowed == "unread"));
    unread
        .map(|view| {
            let message = format!("no query reads the view \"{}\"", view.file.name);
            Warning { diagnostic: view.file.diagnostic(1, 1, message), name: "unread" }
        })
        .collect()
}

struct Linter<'a> {
    file: &'a QueryFile,
    reads: &'a [String],
    tables: &'a Tables,
    warnings: Vec<Warning>,
}

impl Visitor for Linter<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Some(column) = average_of(expr) {
            let is_average =
                |table: &String| self.tables.averages.get(table).is_some_and(|known| known.contains(column));
            if let Some(table) = self.reads.iter().find(|table| is_average(table)) {
                let message = format!(
                    "\"{column}\" of \"{table}\" is an average already, and each counts the same here, however many readings it \
                     is of; keep sums and counts: sum(x_sum) / sum(x_count)"
                );
                self.warn_at("average-of-averages", expr, &message);
            }
        }
        if let Expr::BinaryOp { left, op, right } = expr
            && is_comparison(op)
            && (is_null(left) || is_null(right))
        {
            let message = "a comparison with NULL is never true; write \"IS NULL\" or \"IS NOT NULL\"";
            self.warn_at("null-comparison", expr, message);
        }
        if let Expr::InSubquery { negated: true, .. } = expr {
            let message = "NOT IN is never true where one of the values is NULL; write NOT EXISTS (…)";
            self.warn_at("null-comparison", expr, message);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let SetExpr::Select(select) = query.body.as_ref() {
            self.lost_nulls(select);
            self.joins(select);
        }
        ControlFlow::Continue(())
    }
}

impl Linter<'_> {
    /// `x <> 'a'` in WHERE leaves out the rows that have no `x`, which is seldom what is meant.
    fn lost_nulls(&mut self, select: &Select) {
        let Some(condition) = &select.selection else { return };
        let text = condition.to_string().to_lowercase();
        for part in conjuncts(condition) {
            let Expr::BinaryOp { left, op: BinaryOperator::NotEq, right } = part else { continue };
            let (Some(column), Expr::Value(_)) = (name(left), right.as_ref()) else { continue };
            let column = column.to_lowercase();
            let is_asked = ["is null", "is not null"].iter().any(|test| text.contains(&format!("{column} {test}")));
            if !is_asked {
                let message = format!(
                    "rows without a \"{column}\" are left out too; write \"{column} IS DISTINCT FROM …\" if they are meant, \
                     or \"{column} IS NOT NULL AND …\" if they are not"
                );
                self.warn_at("null-comparison", part, &message);
            }
        }
    }

    /// A join with a table whose whole key is not compared.
    fn joins(&mut self, select: &Select) {
        let everywhere = select.selection.as_ref().map(conjuncts).unwrap_or_default();
        for join in select.from.iter().flat_map(|from| &from.joins) {
            let TableFactor::Table { name: table, alias, .. } = &join.relation else { continue };
            let table_name = table.to_string();
            let Some(key) = self.tables.keys.get(&table_name) else { continue };
            let called = alias.as_ref().map_or(table_name.clone(), |alias| alias.name.value.clone());
            let constraint = match &join.join_operator {
                JoinOperator::Join(on)
                | JoinOperator::Inner(on)
                | JoinOperator::Left(on)
                | JoinOperator::LeftOuter(on) => on,
                _ => continue,
            };
            let conditions = match constraint {
                JoinConstraint::On(condition) => conjuncts(condition),
                _ => continue,
            };
            let compared: BTreeSet<&str> = conditions
                .into_iter()
                .chain(everywhere.iter().copied())
                .filter_map(|part| match part {
                    Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
                        of_table(left, &called).or_else(|| of_table(right, &called))
                    }
                    _ => None,
                })
                .collect();
            let open: Vec<&str> = key.iter().map(String::as_str).filter(|column| !compared.contains(column)).collect();
            if !open.is_empty() {
                let message = format!(
                    "\"{table_name}\" has a row for each {}, and {} is not compared: a row may come several times",
                    key.join(", "),
                    open.join(", ")
                );
                let at = table.span().start;
                self.warn("join-multiplies-rows", at.line as usize, at.column as usize, &message);
            }
        }
    }

    /// What leaves out patients, or has one patient's truth depend on others' rows: which of them, chance decides.
    fn some_patients(&mut self, statement: &Statement) {
        struct Chosen<'n, 'a>(&'n mut Linter<'a>);
        impl Visitor for Chosen<'_, '_> {
            type Break = ();

            fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
                if query.limit_clause.is_some() || query.fetch.is_some() {
                    let message = "LIMIT gives some of the rows that come together, whosever they are: the other patients are not told of";
                    self.0.warn("some-patients", 1, 1, message);
                }
                ControlFlow::Continue(())
            }

            fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
                if let TableFactor::Table { name, sample: Some(_), .. } = table {
                    let at = name.span().start;
                    let message = "TABLESAMPLE leaves patients out by chance";
                    self.0.warn("some-patients", at.line as usize, at.column as usize, message);
                }
                ControlFlow::Continue(())
            }

            fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
                if let Expr::Function(call) = expr
                    && let Some(WindowType::WindowSpec(over)) = &call.over
                    && over.partition_by.is_empty()
                {
                    let message = "OVER without PARTITION BY goes over the rows of all patients that come together; \
                                   write \"PARTITION BY patient_id\"";
                    self.0.warn_at("some-patients", expr, message);
                }
                ControlFlow::Continue(())
            }
        }
        let _ = statement.visit(&mut Chosen(self));
    }

    /// A group key of a window that is new with every record.
    fn unbounded_groups(&mut self, statement: &Statement) {
        const OF_RECORDS: [&str; 3] = ["_offset", "_stamped_at", "event_time"];
        struct Groups<'n, 'a>(&'n mut Linter<'a>);
        impl Visitor for Groups<'_, '_> {
            type Break = ();
            fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
                let SetExpr::Select(select) = query.body.as_ref() else { return ControlFlow::Continue(()) };
                let datafusion::logical_expr::sqlparser::ast::GroupByExpr::Expressions(keys, _) = &select.group_by
                else {
                    return ControlFlow::Continue(());
                };
                for key in keys {
                    if let Some(column) = name(key)
                        && OF_RECORDS.contains(&column)
                    {
                        let message = format!(
                            "\"{column}\" is new with every record, so the window keeps a group for each; leave it out of GROUP BY"
                        );
                        self.0.warn_at("unbounded-group", key, &message);
                    }
                }
                ControlFlow::Continue(())
            }
        }
        let _ = statement.visit(&mut Groups(self));
    }

    fn warn_at(&mut self, name: &'static str, expr: &Expr, message: &str) {
        let at = expr.span().start;
        self.warn(name, at.line as usize, at.column as usize, message);
    }

    fn warn(&mut self, name: &'static str, line: usize, column: usize, message: &str) {
        let diagnostic: Diagnostic = self.file.diagnostic(line.max(1), column.max(1), message.to_owned());
        self.warnings.push(Warning { diagnostic, name });
    }
}

/// The outermost SELECT.
fn select(statement: &Statement) -> Option<&Select> {
    let Statement::Query(query) = statement else { return None };
    match query.body.as_ref() {
        SetExpr::Select(select) => Some(select),
        _ => None,
    }
}

/// The column of `avg(column)`.
fn average_of(expr: &Expr) -> Option<&str> {
    let Expr::Function(call) = expr else { return None };
    let called = call.name.to_string().to_lowercase();
    let FunctionArguments::List(arguments) = &call.args else { return None };
    match (called.as_str(), arguments.args.as_slice()) {
        ("avg" | "mean", [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))]) => name(argument),
        _ => None,
    }
}

/// The column that an expression names, without its table.
fn name(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Identifier(Ident { value, .. }) => Some(value),
        Expr::CompoundIdentifier(parts) => parts.last().map(|part| part.value.as_str()),
        Expr::Nested(inner) => name(inner),
        _ => None,
    }
}

/// The column of the table called `table` that an expression names.
fn of_table<'e>(expr: &'e Expr, table: &str) -> Option<&'e str> {
    match expr {
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [qualifier, column] if qualifier.value == table => Some(&column.value),
            _ => None,
        },
        _ => None,
    }
}

fn conjuncts(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            conjuncts(left).into_iter().chain(conjuncts(right)).collect()
        }
        Expr::Nested(inner) => conjuncts(inner),
        other => vec![other],
    }
}

fn is_comparison(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | Gt | GtEq | Lt | LtEq | NotEq)
}

fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::Null))
}
