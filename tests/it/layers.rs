//! What of the layers the compiler cannot say: which crate alone may use another's library, and how files look.

use std::path::{Path, PathBuf};

use crate::fixtures::repository;

/// Libraries that some of our crates alone may use.
const OWNED: [(&str, &[&str]); 13] = [
    ("rdkafka", &["kafka"]),
    ("datafusion", &["sql"]),
    ("mysql", &["store"]),
    ("rusqlite", &["store"]),
    ("polars", &["frame", "report", "session"]),
    ("polars-arrow", &["frame"]),
    ("plotters", &["report"]),
    ("ureq", &["ingest", "notify"]),
    ("arrow-avro", &["ingest"]),
    ("prost-reflect", &["ingest"]),
    ("hl7-parser", &["ingest"]),
    ("lettre", &["config", "notify"]),
    ("rumqttc", &["gateway"]),
];

/// The folders of our crates, by name.
fn crates() -> Vec<(String, PathBuf)> {
    let found = std::fs::read_dir(repository().join("crates")).unwrap();
    found.map(|entry| entry.unwrap()).map(|entry| (entry.file_name().into_string().unwrap(), entry.path())).collect()
}

#[test]
fn a_library_of_one_layer_is_in_no_other() {
    let mut faults = Vec::new();
    for (name, folder) in crates() {
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let (_, dependencies) = manifest.split_once("[dependencies]").unwrap();
        // Tests may look into what they test with the library of the layer below.
        let dependencies = dependencies.split("[dev-dependencies]").next().unwrap();
        for line in dependencies.lines() {
            let library = line.split(['.', ' ']).next().unwrap();
            if OWNED.iter().any(|(owned, owners)| *owned == library && !owners.contains(&name.as_str())) {
                faults.push(format!("{name} may not use {library}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn memory_is_left_to_the_compiler_but_for_two_files() {
    let mut files = Vec::new();
    for_each_source(|file, text| {
        if text.contains("allow(unsafe_code") {
            files.push(file.to_owned());
        }
    });
    files.sort();
    assert_eq!(files, ["frame/src/crossing.rs", "kafka/src/topic_ids.rs"]);
}

#[test]
fn every_file_says_what_it_defines() {
    for_each_source(|file, text| assert!(text.starts_with("//! "), "{file} does not open with \"//! \""));
}

fn for_each_source(mut look: impl FnMut(&str, &str)) {
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
    let mut count = 0;
    for (name, folder) in crates() {
        walk(&folder.join("src"), &mut |path| {
            count += 1;
            let file = format!("{name}/{}", path.strip_prefix(&folder).unwrap().display());
            look(&file, &std::fs::read_to_string(path).unwrap());
        });
    }
    assert!(count > 100, "{count}");
}
