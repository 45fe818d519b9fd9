//! What a query may not do, found in its syntax before it is planned.

use std::ops::ControlFlow;

use datafusion::logical_expr::sqlparser::ast::{
    Expr, Ident, ObjectName, ObjectNamePart, Query, Statement, Visit, Visitor, visit_expressions,
};
use datafusion::logical_expr::sqlparser::tokenizer::Span;

/// Functions whose result a replay would not repeat, or that look at the world outside the batch.
const REFUSED: [(&str, &str); 7] = [
    ("random", "its result differs from run to run"),
    ("uuid", "its result differs from run to run"),
    ("current_time", "it reads the clock; use now(), which is frozen for the batch"),
    ("version", "it tells of the program, not of the patients"),
    ("get_file", "it reads files"),
    ("partition_now", "it is for wardwatch's own plans; use event_now()"),
    ("last_values", "it is for wardwatch's own plans; use last_value(… ORDER BY …)"),
];

/// Whether a query may not call the function.
pub(super) fn is_refused(function: &str) -> bool {
    REFUSED.iter().any(|(refused, _)| *refused == function)
}

/// A function call that is refused: where, and why.
pub(super) fn refused_function(statement: &Statement) -> Option<(Span, String)> {
    let found = visit_expressions(statement, |expression| {
        let Expr::Function(call) = expression else { return ControlFlow::Continue(()) };
        let name = last_part(&call.name).to_ascii_lowercase();
        match REFUSED.iter().find(|(refused, _)| *refused == name) {
            Some((_, why)) => ControlFlow::Break((span(&call.name), format!("function \"{name}\" is refused: {why}"))),
            None => ControlFlow::Continue(()),
        }
    });
    match found {
        ControlFlow::Break(found) => Some(found),
        ControlFlow::Continue(()) => None,
    }
}

/// The tables that a statement names, with the place of the first mention of each.
///
/// Names are resolved as SQL does: one that a WITH around it gives stands for that, and inside the definition of a WITH its own
/// name is still the table that it hides, as in `WITH vitals AS (SELECT … FROM vitals)`. Names without quotes are in lower case.
pub(super) fn tables_read(statement: &Statement) -> Vec<(String, Span)> {
    let mut mentions = Mentions::default();
    let _: ControlFlow<()> = statement.visit(&mut mentions);
    mentions.read
}

/// Collects the tables that are read, with the names that each query around gives by WITH.
#[derive(Default)]
struct Mentions {
    read: Vec<(String, Span)>,
    around: Vec<Scope>,
}

/// The names that one query gives by WITH.
struct Scope {
    names: Vec<String>,
    is_recursive: bool,
    /// How many of the queries directly inside have begun; the first are the definitions, in the order of `names`.
    begun: usize,
    /// How many of the names stand for what the WITH gives: each does from the end of its definition on.
    visible: usize,
}

impl Visitor for Mentions {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let Some(scope) = self.around.last_mut() {
            if scope.begun < scope.names.len() {
                scope.visible = scope.begun + usize::from(scope.is_recursive);
            }
            scope.begun += 1;
        }
        let names = query.with.iter().flat_map(|with| &with.cte_tables).map(|table| plain_name(&table.alias.name));
        let is_recursive = query.with.as_ref().is_some_and(|with| with.recursive);
        self.around.push(Scope { names: names.collect(), is_recursive, begun: 0, visible: 0 });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.around.pop();
        if let Some(scope) = self.around.last_mut() {
            scope.visible = scope.begun.min(scope.names.len());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let name = match relation.0.as_slice() {
            [ObjectNamePart::Identifier(name)] => plain_name(name),
            parts => parts.iter().map(part_text).collect::<Vec<_>>().join(".").to_ascii_lowercase(),
        };
        let is_own = self.around.iter().any(|scope| scope.names[..scope.visible].contains(&name));
        if !is_own && !self.read.iter().any(|(known, _)| *known == name) {
            self.read.push((name, span(relation)));
        }
        ControlFlow::Continue(())
    }
}

/// A name as the planner knows it.
fn plain_name(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_ascii_lowercase() }
}

fn last_part(name: &ObjectName) -> String {
    name.0.last().map(part_text).unwrap_or_default()
}

fn part_text(part: &ObjectNamePart) -> String {
    match part {
        ObjectNamePart::Identifier(part) => part.value.clone(),
        other => other.to_string(),
    }
}

fn span(name: &ObjectName) -> Span {
    match name.0.first() {
        Some(ObjectNamePart::Identifier(part)) => part.span,
        _ => Span::empty(),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::sqlparser::dialect::GenericDialect;
    use datafusion::logical_expr::sqlparser::parser::Parser;

    use super::*;

    #[test]
    fn a_name_is_the_table_that_it_hides_until_its_definition_is_over() {
        let check = |sql: &str, expected: &[&str]| {
            let statements = Parser::parse_sql(&GenericDialect {}, sql).expect("valid");
            let read: Vec<String> = tables_read(&statements[0]).into_iter().map(|(name, _)| name).collect();
            assert_eq!(read, expected, "{sql}");
        };
        check("WITH vitals AS (SELECT * FROM vitals) SELECT * FROM vitals", &["vitals"]);
        check("WITH VITALS AS (SELECT * FROM Vitals) SELECT * FROM vitals", &["vitals"]);
        check("WITH a AS (SELECT * FROM vitals), b AS (SELECT * FROM a) SELECT * FROM b JOIN a ON true", &["vitals"]);
        check("WITH a AS (SELECT * FROM b), b AS (SELECT * FROM a) SELECT * FROM b", &["b"]);
        check("WITH \"Vitals\" AS (SELECT 1) SELECT * FROM vitals", &["vitals"]);
        check("WITH \"Vitals\" AS (SELECT 1) SELECT * FROM \"Vitals\"", &[]);
        check(
            "SELECT * FROM (WITH readings AS (SELECT * FROM vitals) SELECT * FROM readings) JOIN readings",
            &["vitals", "readings"],
        );
        check("WITH a AS (WITH a AS (SELECT * FROM a) SELECT * FROM a) SELECT * FROM a", &["a"]);
        check("WITH RECURSIVE n AS (SELECT 1 UNION ALL SELECT * FROM n) SELECT * FROM n, limits", &["limits"]);
        check(
            "WITH limits AS (SELECT 1) SELECT (SELECT max(x) FROM limits) FROM vitals WHERE EXISTS (SELECT 1 FROM patients)",
            &["vitals", "patients"],
        );
        check("SELECT * FROM (SELECT * FROM vitals) AS readings JOIN limits AS vitals ON true", &["vitals", "limits"]);
        check("WITH a AS (SELECT * FROM vitals) SELECT * FROM a UNION SELECT * FROM patients", &["vitals", "patients"]);
    }
}
