//! The rooms of `src/` know only the rooms below them, and a stage only the output of the stage to its left.

use std::collections::BTreeMap;
use std::path::Path;

use crate::bed::repository;

/// Each room and the rooms it may know. A stage that is not listed for another may not be imported by it.
fn allowed() -> BTreeMap<&'static str, Vec<&'static str>> {
    let base = ["terms", "clock", "diagnostic", "telemetry", "health"];
    let with =
        |rooms: &[&'static str]| -> Vec<&'static str> { base.into_iter().chain(rooms.iter().copied()).collect() };
    BTreeMap::from([
        ("terms", vec![]),
        ("clock", vec![]),
        ("diagnostic", vec![]),
        ("telemetry", vec![]),
        ("health", vec!["clock"]),
        ("encounter", with(&[])),
        ("config", with(&[])),
        ("decode", with(&["config"])),
        ("source", with(&["config", "decode"])),
        ("frame", with(&["config", "decode", "encounter"])),
        ("query", with(&["config"])),
        ("alert", with(&["config", "query"])),
        // The store writes what the stages put out.
        ("store", with(&["config", "decode", "encounter", "frame", "query", "alert"])),
        // It speaks to Kafka by the source's producer.
        ("notify", with(&["config", "alert", "store", "source"])),
        // It mails by the outlets.
        ("report", with(&["config", "query", "store", "notify"])),
        ("simulate", with(&["config"])),
        // It judges what the store tells.
        ("watch", with(&["config", "encounter", "alert", "store"])),
        ("dashboard", with(&["config", "encounter", "query", "alert", "store", "report", "watch"])),
        ("job", with(&["config", "decode", "encounter", "source", "frame", "query", "alert", "store", "notify"])),
        ("testing", with(&["config", "decode", "frame", "query", "alert", "store", "job"])),
        (
            "cli",
            with(&[
                "config",
                "encounter",
                "query",
                "alert",
                "store",
                "report",
                "simulate",
                "source",
                "watch",
                "dashboard",
                "job",
                "testing",
            ]),
        ),
    ])
}

/// Crates that one room alone may use.
const OWNED: [(&str, &[&str]); 9] = [
    ("rdkafka", &["source"]),
    ("datafusion", &["query"]),
    ("mysql", &["store"]),
    ("rusqlite", &["store"]),
    ("polars", &["frame", "report"]),
    ("polars_arrow", &["frame"]),
    ("plotters", &["report"]),
    ("ureq", &["notify"]),
    ("lettre", &["notify", "config"]),
];

#[test]
fn imports_point_downwards() {
    let allowed = allowed();
    let mut faults = Vec::new();
    for_each_source(|room, file, text| {
        if matches!(room, "lib" | "main") {
            return;
        }
        let known = allowed.get(room).unwrap_or_else(|| panic!("room \"{room}\" has no place in the layers"));
        for (number, line) in (1..).zip(text.lines()) {
            for part in line.split("crate::").skip(1) {
                let target: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let is_room = allowed.contains_key(target.as_str());
                if is_room && target != room && !known.contains(&target.as_str()) {
                    faults.push(format!("{file}:{number}: {room} may not know {target}"));
                }
            }
            for (name, rooms) in OWNED {
                let used = line.starts_with(&format!("use {name}::")) || line.contains(&format!(" {name}::"));
                let is_ours = line.contains(&format!("mod {name}")) || room == name;
                if used && !rooms.contains(&room) && !is_ours {
                    faults.push(format!("{file}:{number}: only {rooms:?} may use the crate {name}"));
                }
            }
        }
    });
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn memory_is_left_to_the_compiler_but_for_two_files() {
    let mut files = Vec::new();
    for_each_source(|_, file, text| {
        if text.contains("allow(unsafe_code") {
            files.push(file.to_owned());
        }
    });
    files.sort();
    assert_eq!(files, ["frame/crossing.rs", "source/topic_id.rs"]);
}

#[test]
fn every_file_says_what_it_defines() {
    for_each_source(|_, file, text| assert!(text.starts_with("//! "), "{file} does not open with \"//! \""));
}

fn for_each_source(mut look: impl FnMut(&str, &str, &str)) {
    fn walk(folder: &Path, look: &mut dyn FnMut(&Path)) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, look);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                look(&path);
            }
        }
    }
    let source = repository().join("src");
    walk(&source, &mut |path| {
        let relative = path.strip_prefix(&source).unwrap();
        let room = relative.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        look(room, relative.to_str().unwrap(), &std::fs::read_to_string(path).unwrap());
    });
}
