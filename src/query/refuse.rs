//! What a query may not do, found in its syntax before it is planned.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::logical_expr::sqlparser::ast::{
    Expr, ObjectName, ObjectNamePart, Statement, visit_expressions, visit_relations,
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

/// The tables that a statement names, with the place of the first mention of each; names of its own WITH are left out.
pub(super) fn tables_read(statement: &Statement) -> Vec<(String, Span)> {
    let own: BTreeSet<String> = match statement {
        Statement::Query(query) => query
            .with
            .iter()
            .flat_map(|with| &with.cte_tables)
            .map(|table| table.alias.name.value.to_ascii_lowercase())
            .collect(),
        _ => BTreeSet::new(),
    };
    let mut read: Vec<(String, Span)> = Vec::new();
    let _: ControlFlow<()> = visit_relations(statement, |relation| {
        let quoted = relation.0.len() == 1
            && matches!(&relation.0[0], ObjectNamePart::Identifier(part) if part.quote_style.is_some());
        let full = relation.0.iter().map(part_text).collect::<Vec<_>>().join(".");
        let name = if quoted { full } else { full.to_ascii_lowercase() };
        if !own.contains(&name) && !read.iter().any(|(known, _)| *known == name) {
            read.push((name, span(relation)));
        }
        ControlFlow::Continue(())
    });
    read
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
