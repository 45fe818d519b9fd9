//! A rule's condition as syntax: the columns of the source that it depends on, and the rule again with another one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::logical_expr::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Query, Select, SelectItem, SetExpr, Statement,
    Value, Visit, Visitor,
};

/// Of which columns of the source the columns of each table are made. By names: close enough to tell what a missing
/// value leaves unknown, and not meant for more.
#[derive(Debug, Default)]
pub(super) struct Lineage(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Lineage {
    /// A table with a source's own columns, each with what the batch calls it. Whoever names one with `doubtful` values of another
    /// depends on both: either has the patient's value.
    pub(super) fn given(&mut self, table: &str, columns: &[(String, String)], doubtful: &[(String, String)]) {
        let columns = columns.iter().map(|(name, in_batch)| {
            let other = doubtful.iter().find(|(twin, _)| twin == in_batch).map(|(_, column)| column.clone());
            (name.clone(), BTreeSet::from_iter(other.into_iter().chain([in_batch.clone()])))
        });
        self.0.insert(table.to_owned(), columns.collect());
    }

    /// The table that `statement` makes of those that it reads.
    pub(super) fn made(&mut self, table: &str, statement: &Statement, reads: &[String]) {
        let mut made: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for item in select(statement).into_iter().flat_map(|select| &select.projection) {
            match item {
                SelectItem::ExprWithAlias { expr, alias } => {
                    made.insert(alias.value.clone(), self.origins(&identifiers(expr), reads));
                }
                SelectItem::UnnamedExpr(expr) => {
                    if let Some(name) = identifier(expr) {
                        made.insert(name, self.origins(&identifiers(expr), reads));
                    }
                }
                _ => {
                    for (name, origins) in reads.iter().filter_map(|read| self.0.get(read)).flatten() {
                        made.insert(name.clone(), origins.clone());
                    }
                }
            }
        }
        self.0.insert(table.to_owned(), made);
    }

    /// The columns of the source that decide which rows `statement` gives: those that it names anywhere but in what it
    /// shows, and in a `coalesce` that says what holds without them.
    pub(super) fn deciding(&self, statement: &Statement, reads: &[String]) -> Vec<String> {
        let mut statement = statement.clone();
        if let Some(select) = select_mut(&mut statement) {
            select.projection.clear();
        }
        self.origins(&identifiers(&statement), reads).into_iter().collect()
    }

    fn origins(&self, names: &BTreeSet<String>, reads: &[String]) -> BTreeSet<String> {
        let tables = reads.iter().filter_map(|read| self.0.get(read));
        tables.flat_map(|table| names.iter().filter_map(|name| table.get(name)).flatten().cloned()).collect()
    }
}

/// The rule with `condition` in place of its own.
///
/// Errors: what the rule's form, or `condition`'s, makes impossible.
pub(super) fn with_condition(rule: &Statement, condition: &Statement) -> Result<Statement, String> {
    let mut statement = rule.clone();
    let other = select(condition).and_then(|select| select.selection.clone());
    let other = other.ok_or_else(|| "it is no condition; write it as behind WHERE".to_owned())?;
    let select = select_mut(&mut statement).ok_or("the rule must be a single SELECT")?;
    let is_grouped = !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    if is_grouped || select.having.is_some() {
        return Err("the rule has GROUP BY; give the groups as a subquery in FROM, and a WHERE around it".to_owned());
    }
    if select.selection.is_none() {
        return Err("the rule has no WHERE that it could stand in for".to_owned());
    }
    if select.from.len() > 1 {
        return Err("the rule lists its tables with commas; join them with JOIN … ON".to_owned());
    }
    select.selection = Some(other);
    Ok(statement)
}

fn select(statement: &Statement) -> Option<&Select> {
    match statement {
        Statement::Query(query) => match query.body.as_ref() {
            SetExpr::Select(select) => Some(select),
            _ => None,
        },
        _ => None,
    }
}

fn select_mut(statement: &mut Statement) -> Option<&mut Select> {
    let Statement::Query(query) = statement else { return None };
    let Query { body, .. } = query.as_mut();
    match body.as_mut() {
        SetExpr::Select(select) => Some(select),
        _ => None,
    }
}

fn identifiers(of: &impl Visit) -> BTreeSet<String> {
    let mut names = Names::default();
    let _: ControlFlow<()> = of.visit(&mut names);
    names.found
}

/// Collects the names of columns, but for those without which the expression has a value all the same.
#[derive(Default)]
struct Names {
    found: BTreeSet<String>,
    /// How many calls with a value for the want of one the visitor is inside of.
    defaults: usize,
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        if has_default(expression) {
            self.defaults += 1;
        }
        if self.defaults == 0 {
            self.found.extend(identifier(expression));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        if has_default(expression) {
            self.defaults -= 1;
        }
        ControlFlow::Continue(())
    }
}

/// Whether `expression` is a `coalesce` that ends with a value.
fn has_default(expression: &Expr) -> bool {
    let Expr::Function(call) = expression else { return false };
    let FunctionArguments::List(arguments) = &call.args else { return false };
    let last = arguments.args.last();
    let is_value = |last: &FunctionArg| matches!(last, FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) if value.value != Value::Null);
    call.name.to_string().eq_ignore_ascii_case("coalesce") && last.is_some_and(is_value)
}

fn identifier(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Identifier(name) => Some(name.value.to_lowercase()),
        Expr::CompoundIdentifier(parts) => parts.last().map(|name| name.value.to_lowercase()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::sqlparser::dialect::GenericDialect;
    use datafusion::logical_expr::sqlparser::parser::Parser;

    use super::*;

    fn deciding(condition: &str) -> Vec<String> {
        let mut lineage = Lineage::default();
        let doubtful = [("spo2_doubtful".to_owned(), "spo2".to_owned())];
        let columns = ["spo2", "spo2_doubtful", "pulse"].map(|name| (name.to_owned(), name.to_owned()));
        lineage.given("vitals", &columns, &doubtful);
        let sql = format!("SELECT pulse FROM vitals AS v WHERE {condition}");
        let statement = Parser::parse_sql(&GenericDialect, &sql).expect("SQL").remove(0);
        lineage.deciding(&statement, &["vitals".to_owned()])
    }

    #[test]
    fn a_condition_depends_on_the_columns_that_it_names_and_with_a_doubtful_one_on_both() {
        assert_eq!(deciding("v.spo2 < 90"), ["spo2"]);
        assert_eq!(deciding("coalesce(v.spo2, v.spo2_doubtful) < 90"), ["spo2", "spo2_doubtful"]);
        assert_eq!(deciding("spo2_doubtful < 50"), ["spo2", "spo2_doubtful"]);
    }

    #[test]
    fn what_a_coalesce_has_a_value_for_decides_nothing_by_being_absent() {
        assert_eq!(deciding("spo2 < 90 AND coalesce(pulse < 50, true)"), ["spo2"]);
        assert_eq!(deciding("COALESCE(pulse, 0) < 50"), [""; 0]);
        assert_eq!(deciding("coalesce(pulse, NULL) < 50"), ["pulse"]);
        assert_eq!(deciding("coalesce(spo2, pulse) < 50 AND pulse > 0"), ["pulse", "spo2"]);
        assert_eq!(deciding("coalesce(spo2, 0) < 50 AND pulse > 0"), ["pulse"]);
    }
}
