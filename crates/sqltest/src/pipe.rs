//! Pipe tables: rows that people can align, `| patient_id | spo2 |`. Knows nothing of what the cells mean.

use std::fmt::Write;

/// A piece of text and where it stands in its file, line and column counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) text: String,
    pub(super) line: usize,
    pub(super) column: usize,
}

/// A heading and rows of as many cells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PipeTable {
    pub(super) heading: Vec<Written>,
    pub(super) rows: Vec<Vec<Written>>,
    /// Whether the heading ends in `...`: other columns may be anything.
    pub(super) is_open: bool,
}

/// A line that is no row, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PipeFault {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) message: String,
}

impl PipeTable {
    /// Reads `text`, whose first line starts at `line` and `column` of its file. An empty text is a table without rows.
    ///
    /// Lines between the heading and the rows that hold nothing but `-`, `:` and `|` are passed over, as in Markdown. `\|` is a
    /// `|` in a cell.
    ///
    /// # Errors
    /// The first line that is no row, or has another number of cells than the heading.
    pub(super) fn parse(text: &str, line: usize, column: usize) -> Result<Self, PipeFault> {
        let mut table = Self::default();
        for (index, row) in text.lines().enumerate() {
            let first = if index == 0 { column } else { 1 };
            let cells = match cells(row, line + index, first)? {
                None => continue,
                Some(cells) => cells,
            };
            if table.heading.is_empty() {
                table.set_heading(cells)?;
                continue;
            }
            let is_rule = cells
                .iter()
                .all(|cell| !cell.text.is_empty() && cell.text.chars().all(|letter| matches!(letter, '-' | ':')));
            if is_rule && table.rows.is_empty() {
                continue;
            }
            table.add(cells, line + index, first + row.chars().take_while(|letter| letter.is_whitespace()).count())?;
        }
        Ok(table)
    }

    fn set_heading(&mut self, mut cells: Vec<Written>) -> Result<(), PipeFault> {
        self.is_open = cells.last().is_some_and(|cell| cell.text == "...");
        if self.is_open {
            cells.pop();
        }
        for (index, cell) in cells.iter().enumerate() {
            let message = match &*cell.text {
                "" => "a column without a name".to_owned(),
                name if cells[..index].iter().any(|before| before.text == name) => {
                    format!("column \"{name}\" is there twice")
                }
                _ => continue,
            };
            return Err(PipeFault { line: cell.line, column: cell.column, message });
        }
        self.heading = cells;
        Ok(())
    }

    fn add(&mut self, mut cells: Vec<Written>, line: usize, column: usize) -> Result<(), PipeFault> {
        // Under `...`, a row may have a cell or not.
        if self.is_open && cells.len() == self.heading.len() + 1 {
            cells.pop();
        }
        if cells.len() != self.heading.len() {
            let message = format!("the row has {} cells, its heading {}", cells.len(), self.heading.len());
            return Err(PipeFault { line, column, message });
        }
        self.rows.push(cells);
        Ok(())
    }

    /// The place of the column called `name`.
    pub(super) fn index_of(&self, name: &str) -> Option<usize> {
        self.heading.iter().position(|column| column.text == name)
    }
}

/// The cells of one line; `None` of a blank one.
fn cells(row: &str, line: usize, first_column: usize) -> Result<Option<Vec<Written>>, PipeFault> {
    let inner = row.trim();
    if inner.is_empty() {
        return Ok(None);
    }
    let indent = row.chars().take_while(|letter| letter.is_whitespace()).count();
    let start = first_column + indent;
    let ends = inner.len() > 1 && inner.ends_with('|') && !inner.ends_with("\\|");
    if !inner.starts_with('|') || !ends {
        let message = "a row of a pipe table starts and ends with \"|\": | P1 | 130 |".to_owned();
        return Err(PipeFault { line, column: start, message });
    }
    let mut cells = Vec::new();
    let mut cell = String::new();
    let mut from = start + 1;
    let mut letters = inner[1..].chars().peekable();
    let mut at = start + 1;
    while let Some(letter) = letters.next() {
        at += 1;
        match letter {
            '\\' if letters.peek() == Some(&'|') => {
                letters.next();
                at += 1;
                cell.push('|');
            }
            '|' => {
                let blanks = cell.chars().take_while(|letter| letter.is_whitespace()).count();
                cells.push(Written { text: cell.trim().to_owned(), line, column: from + blanks });
                cell.clear();
                from = at;
            }
            other => cell.push(other),
        }
    }
    Ok(Some(cells))
}

/// A pipe table of these cells, its columns aligned.
pub(super) fn render(heading: &[String], rows: &[Vec<String>]) -> String {
    let escaped = |cell: &String| cell.replace('|', "\\|");
    let all: Vec<Vec<String>> = std::iter::once(heading)
        .chain(rows.iter().map(Vec::as_slice))
        .map(|row| row.iter().map(escaped).collect())
        .collect();
    let widths: Vec<usize> =
        (0..heading.len()).map(|column| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &all {
        text.push('|');
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, " {cell:width$} |");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_read_with_their_places_and_written_aligned() {
        let table = PipeTable::parse("\n  | a  | b\\|c |\n  |----|------|\n  | x |  1 |\n", 7, 10).expect("a table");
        let places = |cells: &[Written]| -> Vec<(String, usize, usize)> {
            cells.iter().map(|cell| (cell.text.clone(), cell.line, cell.column)).collect()
        };
        assert_eq!(places(&table.heading), [("a".to_owned(), 8, 5), ("b|c".to_owned(), 8, 10)]);
        assert_eq!(places(&table.rows[0]), [("x".to_owned(), 10, 5), ("1".to_owned(), 10, 10)]);
        let names = ["a".to_owned(), "b|c".to_owned()];
        assert_eq!(render(&names, &[vec!["x".to_owned(), "1".to_owned()]]), "| a | b\\|c |\n| x | 1    |\n");
    }

    #[test]
    fn a_wrong_line_is_told_with_its_place() {
        let check = |text: &str, line: usize, column: usize, told: &str| {
            let fault = PipeTable::parse(text, 1, 1).expect_err("refused");
            assert_eq!((fault.line, fault.column), (line, column), "{fault:?}");
            assert!(fault.message.contains(told), "{fault:?}");
        };
        check("| a | b |\n| 1 |", 2, 1, "the row has 1 cells, its heading 2");
        check("| a |\n  1 |", 2, 3, "starts and ends with");
        check("| a | a |", 1, 7, "is there twice");
        check("| a |  |", 1, 8, "without a name");
    }

    #[test]
    fn an_open_heading_leaves_other_columns_out() {
        let table = PipeTable::parse("| a | ... |\n| 1 | |\n| 2 |", 1, 1).expect("a table");
        assert!(table.is_open);
        assert_eq!(table.rows.len(), 2);
    }
}
