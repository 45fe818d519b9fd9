//! The shipped sets as a ward gets them: their own tests pass, notice every change of a limit or comparison, and the clinical
//! pack is quiet where nothing is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use wardwatch::alert::{Change, Episode, EpisodeId, State};
use wardwatch::job::{OfflineJob, Past, Plan};
use wardwatch::terms::Severity;
use wardwatch::testing::{self, Thoroughness};

use crate::episodes::{recordings, records};
use crate::fixtures::repository;

const JOBS: [&str; 2] = ["patient_vitals", "patient_data"];

fn job(name: &str) -> PathBuf {
    repository().join("jobs").join(name).with_extension("toml")
}

/// The names of the tests that fail.
fn failing(plan: &Plan, thoroughness: Thoroughness) -> Vec<String> {
    let files = testing::load(&plan.job.sql.dir).unwrap();
    let checked = testing::check(plan, &files, &[], false).unwrap();
    let report = testing::run(plan, &checked, thoroughness, &|_, _| {});
    assert!(!report.results.is_empty());
    let failing = report.results.into_iter().filter(|result| !result.failures.is_empty());
    failing.map(|result| format!("{}: {:?}", result.name, result.failures)).collect()
}

#[test]
fn every_shipped_query_has_tests_and_they_pass() {
    for name in JOBS {
        let plan = Plan::load(&job(name)).unwrap();
        assert_eq!(failing(&plan, Thoroughness::EveryManner), [""; 0]);
        let files = testing::load(&plan.job.sql.dir).unwrap();
        let tested: BTreeSet<&str> = files.iter().filter_map(|file| file.path.file_stem()?.to_str()).collect();
        for query in plan.engine.queries() {
            assert!(tested.contains(query.file.name.as_str()), "{name}: no tests/{}.toml", query.file.name);
        }
    }
}

/// A set made of a few files of another, in a folder of its own.
struct Part {
    folder: tempfile::TempDir,
}

impl Part {
    /// What the tests called `tests` need, and those.
    fn of(plan: &Plan, tests: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let set = &plan.job.sql.dir;
        let copy = |from: &Path| {
            let to = folder.path().join(from.strip_prefix(set).unwrap());
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(from, to).unwrap();
        };
        let mut wanted = Vec::new();
        for test in tests {
            let file = set.join("tests").join(test).with_extension("toml");
            let text = std::fs::read_to_string(&file).unwrap();
            copy(&file);
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let words: BTreeSet<&str> = text.split(|c| !is_word(c)).collect();
            let named =
                plan.engine.queries().map(|query| &query.file.name).filter(|name| words.contains(name.as_str()));
            wanted.extend(named.cloned());
        }
        let excerpt = plan.excerpt(&wanted, Vec::new()).unwrap();
        // Rules that suppress others name these.
        let texts: Vec<String> = excerpt.engine.queries().map(|query| query.file.text.clone()).collect();
        let suppressed =
            texts.iter().flat_map(|text| text.lines()).filter_map(|line| line.strip_prefix("-- @suppresses:"));
        let names = suppressed.flat_map(|names| names.split(',')).map(|name| name.trim().to_owned());
        wanted.extend(names.filter(|name| name != "*"));
        let excerpt = plan.excerpt(&wanted, Vec::new()).unwrap();
        excerpt.engine.queries().for_each(|query| copy(&query.file.path));
        for seed in std::fs::read_dir(set.join("seeds")).into_iter().flatten() {
            copy(&seed.unwrap().path());
        }
        let text = std::fs::read_to_string(&plan.job.file).unwrap();
        let text = text.lines().map(|line| if line.starts_with("dir = \"../sql/") { "dir = \".\"" } else { line });
        std::fs::write(folder.path().join("job.toml"), text.collect::<Vec<_>>().join("\n")).unwrap();
        Self { folder }
    }

    /// Whether some test fails, or the set is refused, with `text` in `file`, whose path is relative to the set.
    fn notices(&self, file: &Path, text: &str) -> bool {
        let path = self.folder.path().join(file);
        let before = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text).unwrap();
        let plan = Plan::load(&self.folder.path().join("job.toml"));
        std::fs::write(&path, before).unwrap();
        plan.is_err() || !failing(&plan.unwrap(), Thoroughness::AsGiven).is_empty()
    }
}

/// `text` with another comparison or number in one place, and what was changed: each comparison turned into the one that
/// differs at the limit, each number one step up and one step down.
fn mutants(text: &str, places: impl Iterator<Item = (usize, usize)>, step: f64) -> Vec<(String, String)> {
    const COMPARISONS: [(&str, &str); 6] =
        [("<=", "<"), (">=", ">"), ("<>", "="), ("<", "<="), (">", ">="), ("=", "<>")];
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '{' | ':'));
    let mut mutants = Vec::new();
    let mut change = |at: usize, old: &str, new: &str| {
        let line = text[..at].matches('\n').count() + 1;
        mutants
            .push((format!("line {line}: {old} to {new}"), format!("{}{new}{}", &text[..at], &text[at + old.len()..])));
    };
    for (from, to) in places {
        let mut at = from;
        while at < to {
            let rest = &text[at..to];
            if let Some((old, new)) = COMPARISONS.iter().find(|(old, _)| rest.starts_with(old)) {
                change(at, old, new);
                at += old.len();
                continue;
            }
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
            if digits > 0 && !is_word(text[..at].chars().next_back()) {
                let number = &rest[..digits];
                // A length of time such as `10s` is a number with its unit; `p5` is a name.
                let step = if number.contains('.') { 0.1 } else { step };
                let value: f64 = number.parse().unwrap();
                for other in [value + step, value - step] {
                    if other >= 0.0 {
                        let other = (other * 10.0).round() / 10.0;
                        change(at, number, &other.to_string());
                    }
                }
            }
            at += digits.max(rest.chars().next().map_or(1, char::len_utf8));
        }
    }
    mutants
}

/// The places in a rule that decide: its delays, `@clear_when`, and the SQL without its remarks.
fn deciding(text: &str) -> Vec<(usize, usize)> {
    let mut places = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let end = start + line.len();
        let header = ["-- @for:", "-- @clear_after:", "-- @clear_when:"].into_iter().find(|key| line.starts_with(key));
        match header {
            Some(key) => places.push((start + key.len(), end)),
            None if line.trim_start().starts_with("--") => {}
            None => places.push((start, start + line.find(" --").unwrap_or(line.len()))),
        }
        start = end;
    }
    places
}

#[test]
fn a_change_of_any_limit_or_comparison_of_a_rule_is_noticed_by_its_tests() {
    let (mut unnoticed, mut count) = (Vec::new(), 0);
    for name in JOBS {
        let plan = Plan::load(&job(name)).unwrap();
        for rule in &plan.rules {
            let file = Path::new("rules").join(&rule.name).with_extension("sql");
            let text = std::fs::read_to_string(plan.job.sql.dir.join(&file)).unwrap();
            let part = Part::of(&plan, &[&rule.name]);
            assert!(!part.notices(&file, &text), "{}: its tests fail without a change", rule.name);
            for (what, mutant) in mutants(&text, deciding(&text).into_iter(), 1.0) {
                count += 1;
                if !part.notices(&file, &mutant) {
                    unnoticed.push(format!("{name} {}: {what}", file.display()));
                }
            }
        }
    }
    println!("{count} changes");
    assert!(count > 200, "{count}");
    assert!(
        unnoticed.is_empty(),
        "{} of {count} changes are noticed by no test:\n{}",
        unnoticed.len(),
        unnoticed.join("\n")
    );
}

#[test]
fn a_change_of_any_shipped_limit_is_noticed_by_the_tests_of_the_rules_that_read_it() {
    let plan = Plan::load(&job("patient_vitals")).unwrap();
    let file = Path::new("seeds/limits.csv");
    let text = std::fs::read_to_string(plan.job.sql.dir.join(file)).unwrap();
    let mut parts: BTreeMap<&str, Part> = BTreeMap::new();
    let mut unnoticed = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let end = start + line.len();
        let cells: Vec<&str> = line.split(',').collect();
        if !line.starts_with('#') && cells[3] != "vital" {
            let rules: &[&str] = match cells[3] {
                "heart_rate" => &["tachycardia", "bradycardia"],
                "respiratory_rate" => &["tachypnoea", "bradypnoea"],
                "spo2" => &["hypoxia"],
                "systolic_bp" => &["hypotension", "hypertension"],
                "temperature" => &["fever", "hypothermia"],
                other => panic!("no rule is known to read the limits of {other}"),
            };
            let part = parts.entry(cells[3]).or_insert_with(|| Part::of(&plan, rules));
            let low = start + cells[..6].iter().map(|cell| cell.len() + 1).sum::<usize>();
            let high = low + cells[6].len() + 1;
            let places = [(low, low + cells[6].len()), (high, high + cells[7].len())];
            for (what, mutant) in mutants(&text, places.into_iter(), 1.0) {
                if !part.notices(file, &mutant) {
                    unnoticed.push(what);
                }
            }
        }
        start = end;
    }
    assert!(unnoticed.is_empty(), "noticed by no test:\n{}", unnoticed.join("\n"));
}

/// The alerts of the shipped pack on the recordings, live: second by second.
fn alarms(folder: &Path) -> Vec<Episode> {
    let plan = Plan::load(&job("patient_vitals")).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), records(folder)).unwrap();
    let past = Past::of_file(&plan, file.path(), None, None).unwrap();
    let mut offline = OfflineJob::new(plan);
    let mut known: BTreeMap<EpisodeId, Episode> = BTreeMap::new();
    let start: DateTime<Utc> = DateTime::parse_from_rfc3339("2026-01-01T00:00:00Z").unwrap().to_utc();
    let at_once = past.rows.num_rows() / 481;
    for second in 0..481 {
        let to = if second == 480 { past.rows.num_rows() } else { (second + 1) * at_once };
        let rows = past.rows.slice(second * at_once, to - second * at_once);
        let batch = offline.batch(&rows, &[], start + TimeDelta::seconds(second as i64));
        for outcome in &batch.outcomes {
            assert!(outcome.rows.is_ok(), "{outcome:?}");
        }
        for Change { episode, .. } in batch.changes {
            match episode.state {
                State::Dropped => drop(known.remove(&episode.id)),
                _ => drop(known.insert(episode.id.clone(), (*episode).clone())),
            }
        }
    }
    known.into_values().filter(|episode| episode.firing_at.is_some()).collect()
}

/// `docs/clinical.md` tells of every rule how often it fired on the recordings, by patient-hour.
fn check_documented(alarms: &[Episode]) {
    /// The 25,493 seconds of the recordings.
    const HOURS: f64 = 25_493.0 / 3_600.0;
    let document = std::fs::read_to_string(repository().join("docs/clinical.md")).unwrap();
    let plan = Plan::load(&job("patient_vitals")).unwrap();
    for rule in &plan.rules {
        let count = alarms.iter().filter(|episode| *episode.rule == *rule.name).count();
        let row = document.lines().find(|line| line.starts_with(&format!("| `{}` |", rule.name)));
        let row = row.unwrap_or_else(|| panic!("docs/clinical.md does not tell of {}", rule.name));
        let told = row.trim_end_matches('|').rsplit('|').next().unwrap().trim();
        let found = format!("{:.2}", count as f64 / HOURS);
        assert_eq!(told, found, "docs/clinical.md: alarms of {} per patient-hour ({count} in all)", rule.name);
        let severity = rule.header.severity.name();
        assert!(row.contains(&format!("| {severity} |")), "docs/clinical.md: {} is {severity}: {row}", rule.name);
    }
}

#[test]
fn the_pack_is_quiet_on_real_recordings_and_takes_no_lead_for_a_patient() {
    let Some(folder) = recordings() else { return println!("the recordings are not there") };
    let alarms = alarms(&folder);
    let (technical, clinical): (Vec<&Episode>, Vec<&Episode>) =
        alarms.iter().partition(|episode| episode.severity == Severity::Technical);
    let shown: Vec<String> =
        clinical.iter().map(|episode| format!("{} of {}: {}", episode.rule, episode.patient, episode.text)).collect();
    // Without delay, and with a plain rule for each vital, there are 26 (see `episodes`).
    assert!(clinical.len() <= 26 / 3, "{shown:#?}");
    let of_13 = |episodes: &[&Episode]| -> Vec<String> {
        let of = episodes.iter().filter(|episode| episode.patient.starts_with("bidmc_13"));
        of.map(|episode| episode.rule.to_string()).collect()
    };
    assert_eq!(of_13(&clinical), [""; 0], "the lead of recording 13 is off");
    assert!(of_13(&technical).contains(&"lead_off".to_owned()), "{:?}", of_13(&technical));
    check_documented(&alarms);
    let patients_of = |rule: &str| -> BTreeSet<&str> {
        clinical.iter().filter(|episode| *episode.rule == *rule).map(|episode| &episode.patient[..8]).collect()
    };
    assert_eq!(patients_of("hypoxia"), BTreeSet::from(["bidmc_32", "bidmc_49"]), "{shown:#?}");
    assert_eq!(patients_of("tachycardia"), BTreeSet::from(["bidmc_21", "bidmc_25"]), "{shown:#?}");
}
