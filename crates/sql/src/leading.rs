//! Which tables a query has rows of: those of its outermost FROM, in their order.

use std::collections::BTreeMap;

use datafusion::logical_expr::sqlparser::ast::{
    Ident, ObjectName, ObjectNamePart, Query, SetExpr, Statement, TableFactor, TableWithJoins,
};

/// The tables whose rows a query's own rows are made of, in the order in which its FROM has them; what a WITH gives, or a query in FROM,
/// stands for the tables of its own. Those that are read elsewhere, as in a condition, are not among them.
pub(super) fn leading_tables(statement: &Statement) -> Vec<String> {
    let mut found = Vec::new();
    if let Statement::Query(query) = statement {
        of_query(query, &BTreeMap::new(), &mut found);
    }
    found
}

/// What names stand for that a WITH gives.
type Given<'a> = BTreeMap<String, &'a Query>;

fn of_query<'a>(query: &'a Query, around: &Given<'a>, found: &mut Vec<String>) {
    let mut given = around.clone();
    for table in query.with.iter().flat_map(|with| &with.cte_tables) {
        given.insert(plain(&table.alias.name), &table.query);
    }
    of_body(&query.body, &given, found);
}

fn of_body<'a>(body: &'a SetExpr, given: &Given<'a>, found: &mut Vec<String>) {
    match body {
        SetExpr::Select(select) => select.from.iter().for_each(|from| of_from(from, given, found)),
        SetExpr::Query(query) => of_query(query, given, found),
        SetExpr::SetOperation { left, right, .. } => {
            of_body(left, given, found);
            of_body(right, given, found);
        }
        _ => {}
    }
}

fn of_from<'a>(from: &'a TableWithJoins, given: &Given<'a>, found: &mut Vec<String>) {
    let relations = std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation));
    for relation in relations {
        match relation {
            TableFactor::Table { name, .. } => {
                let name = last(name);
                match given.get(&name) {
                    Some(query) => {
                        // What it names so itself is what it hides.
                        let mut outside = given.clone();
                        outside.remove(&name);
                        of_query(query, &outside, found);
                    }
                    None => found.push(name),
                }
            }
            TableFactor::Derived { subquery, .. } => of_query(subquery, given, found),
            TableFactor::NestedJoin { table_with_joins, .. } => of_from(table_with_joins, given, found),
            _ => {}
        }
    }
}

fn last(name: &ObjectName) -> String {
    match name.0.last() {
        Some(ObjectNamePart::Identifier(part)) => plain(part),
        _ => name.to_string(),
    }
}

fn plain(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_ascii_lowercase() }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::sqlparser::dialect::GenericDialect;
    use datafusion::logical_expr::sqlparser::parser::Parser;

    use super::*;

    fn leading(sql: &str) -> Vec<String> {
        leading_tables(&Parser::parse_sql(&GenericDialect {}, sql).expect("valid")[0])
    }

    #[test]
    fn the_outermost_from_leads_whatever_is_written_before_it() {
        let with = "WITH k AS (SELECT * FROM labs) SELECT * FROM vitals JOIN k USING (p)";
        assert_eq!(leading(with), ["vitals", "labs"]);
        assert_eq!(leading("SELECT (SELECT max(k) FROM labs) FROM vitals"), ["vitals"]);
        assert_eq!(leading("SELECT * FROM (SELECT * FROM labs) AS l, vitals"), ["labs", "vitals"]);
        assert_eq!(leading("WITH labs AS (SELECT * FROM labs) SELECT * FROM labs"), ["labs"]);
        assert_eq!(leading("SELECT * FROM a UNION ALL SELECT * FROM b WHERE x IN (SELECT x FROM c)"), ["a", "b"]);
    }
}
