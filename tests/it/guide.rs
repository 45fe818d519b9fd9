//! The analyst's guide does what it says: its files are written and its commands run, in its order.

use std::path::Path;
use std::process::Command;

use crate::fixtures::repository;

/// A block of code of the guide.
struct Block<'a> {
    /// `sql PATH`, `console` and so on.
    info: &'a str,
    text: String,
    line: usize,
}

fn blocks(guide: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut is_open = false;
    for (line, number) in guide.lines().zip(1..) {
        match line.strip_prefix("```") {
            Some(_) if is_open => is_open = false,
            Some(info) => {
                is_open = true;
                blocks.push(Block { info, text: String::new(), line: number });
            }
            None if is_open => blocks.last_mut().unwrap().text += &format!("{line}\n"),
            None => {}
        }
    }
    blocks
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap().path();
        let target = to.join(entry.file_name().unwrap());
        if entry.is_dir() {
            copy(&entry, &target);
        } else {
            std::fs::copy(&entry, &target).unwrap();
        }
    }
}

/// Whether the program said what the guide shows; `…` stands for anything up to the line's end.
fn is_as_shown(shown: &str, said: &str) -> bool {
    let (shown, said): (Vec<&str>, Vec<&str>) = (shown.lines().collect(), said.lines().collect());
    shown.len() == said.len()
        && shown.iter().zip(&said).all(|(shown, said)| match shown.strip_suffix(", …") {
            Some(start) => said.starts_with(start),
            None => shown.trim_end() == said.trim_end(),
        })
}

fn run(folder: &Path, command: &str) -> String {
    let mut words = command.split_whitespace();
    match words.next() {
        Some("wardwatch") => {
            let mut program = Command::new(env!("CARGO_BIN_EXE_wardwatch"));
            program.args(words).current_dir(folder).env_remove("MYSQL_URL").env_remove("KAFKA_BROKERS");
            let output = program.output().unwrap();
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
        }
        Some("rm") => {
            words.for_each(|file| std::fs::remove_file(folder.join(file)).unwrap());
            String::new()
        }
        other => panic!("the guide may not run {other:?}"),
    }
}

#[test]
fn every_snippet_of_the_guide_does_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    copy(&repository().join("jobs"), &folder.path().join("jobs"));
    copy(&repository().join("sql/vitals"), &folder.path().join("sql/vitals"));
    let guide = std::fs::read_to_string(repository().join("docs/analysts.md")).unwrap();
    let mut commands = 0;
    for Block { info, text, line } in blocks(&guide) {
        match info.split_once(' ') {
            Some((_, path)) => std::fs::write(folder.path().join(path), text).unwrap(),
            None if info == "console" => {
                for part in text.split_inclusive('\n').fold(Vec::<String>::new(), |mut parts, line| {
                    match line.starts_with("$ ") {
                        true => parts.push(line.to_owned()),
                        false => *parts.last_mut().unwrap() += line,
                    }
                    parts
                }) {
                    let (command, shown) = part.split_once('\n').unwrap();
                    let said = run(folder.path(), command.trim_start_matches("$ "));
                    assert!(is_as_shown(shown, &said), "docs/analysts.md:{line}: {command} says\n{said}");
                    commands += 1;
                }
            }
            None => panic!("docs/analysts.md:{line}: a block of what? write where it goes: sql PATH"),
        }
    }
    assert!(commands > 10, "{commands}");
}

#[test]
fn the_shipped_sql_is_laid_out_as_the_linter_wants_it() {
    let Ok(linter) = std::env::var("WARDWATCH_SQLFLUFF") else { return println!("sqlfluff is not there") };
    let mut lint = Command::new("python3");
    lint.args(["-m", "sqlfluff", "lint", "--disable-progress-bar", "sql"]).env("PYTHONPATH", linter);
    let output = lint.current_dir(repository()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Each block of docs/forms.md is columns of a job that is right.
#[test]
fn the_settings_of_the_guide_to_forms_are_taken() {
    let guide = std::fs::read_to_string(repository().join("docs/forms.md")).unwrap();
    let blocks: Vec<&str> = guide.split("```toml\n").skip(1).filter_map(|block| block.split("```").next()).collect();
    assert!(blocks.len() >= 3);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("job.toml");
    for block in blocks {
        let (mut source, mut columns, mut forms) = (String::new(), String::new(), String::new());
        let mut section = "[source.columns]";
        for line in block.lines() {
            if line.starts_with('[') {
                section = line;
            }
            match section {
                "[source]" if line != section => source += &format!("{line}\n"),
                "[source.columns]" if line != section => columns += &format!("{line}\n"),
                "[[source.form]]" | "[[sources]]" | "[sources.columns]" => forms += &format!("{line}\n"),
                _ => {}
            }
        }
        for (column, kind) in [("patient_id", "text"), ("event_time", "time"), ("systolic", "float"), ("ward", "text")]
        {
            if !columns.lines().any(|line| line.starts_with(column)) {
                columns += &format!("{column} = {{ type = \"{kind}\" }}\n");
            }
        }
        if !source.contains("topic") {
            source += "topic = \"t\"\n";
        }
        let text = format!(
            "[source]\nbrokers = \"b\"\nkey = \"patient_id\"\nevent_time = \"event_time\"\n{source}\n\
             [source.columns]\n{columns}\n{forms}\n[store]\nurl = \"sqlite://x.db\"\n[sql]\ndir = \".\"\n"
        );
        std::fs::write(&file, text).unwrap();
        wardwatch::config::load(&file).unwrap_or_else(|faults| panic!("{faults}\n{block}"));
    }
}
