//! A rule's condition as syntax: the columns of the source that it depends on, and the rule again with another one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::logical_expr::sqlparser::ast::{
    Expr, GroupByExpr, Query, Select, SelectItem, SetExpr, Statement, visit_expressions,
};

/// Of which columns of the source the columns of each table are made. By names: close enough to tell what a missing
/// value leaves unknown, and not meant for more.
#[derive(Debug, Default)]
pub(super) struct Lineage(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Lineage {
    /// A table with the source's own columns.
    pub(super) fn given(&mut self, table: &str, columns: &[&str]) {
        let columns = columns.iter().map(|name| ((*name).to_owned(), BTreeSet::from([(*name).to_owned()])));
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
    /// shows.
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

fn identifiers(of: &impl datafusion::logical_expr::sqlparser::ast::Visit) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let _: ControlFlow<()> = visit_expressions(of, |expression| {
        names.extend(identifier(expression));
        ControlFlow::Continue(())
    });
    names
}

fn identifier(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Identifier(name) => Some(name.value.to_lowercase()),
        Expr::CompoundIdentifier(parts) => parts.last().map(|name| name.value.to_lowercase()),
        _ => None,
    }
}
