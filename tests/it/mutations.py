#!/usr/bin/env python3
"""Shows that the wards of the tests can fail: takes back one fix after another, and asks that a seed of `make test` finds it.

    tests/it/mutations.py [NAME ...]        all of them, or those named; `make mutations`
    tests/it/mutations.py --check           whether each can be made

A mutation is a text of the source that stands there once, and what is put in its place. The source is put back whatever
happens. Each one needs a build, and those of the store need the services and two minutes more, so all of them take a while.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

MUTATIONS = {
    "a sample behind the newest of its device is not judged": (
        "crates/alert/src/streams/stream.rs",
        "if is_known && record.at.saturating_add(CLOCK_TOLERANCE) > self.newest {",
        "if record.at < self.newest {",
    ),
    "the hour that comes twice is always the first": (
        "crates/ingest/src/decode/time.rs",
        "if distance(&later) < distance(&earlier) { later } else { earlier }",
        "if distance(&later).is_none() { later } else { earlier }",
    ),
    "of two devices the one that says no wins": (
        "crates/alert/src/lifecycle.rs",
        "            let moved = supersede(&mut episode, sample);",
        "            episode.tracks.retain(|track| is_of(track, sample));\n            let moved = supersede(&mut episode, sample);",
    ),
    "what is sent again is judged again": (
        "crates/alert/src/streams/seen.rs",
        "stretch.hashes.contains(&hash))",
        "stretch.hashes.contains(&hash) && stretch.until < 0)",
    ),
    "what was kept goes on to hold": (
        "crates/alert/src/streams/lanes.rs",
        "Placed::Late(id, self.pause_at(at).map_or(at.saturating_add(GAP), |(_, until)| until))",
        "self.pause_at(at).map_or(Placed::Lane(id), |_| Placed::Lane(id))",
    ),
    "one reading is no alarm until the next": (
        "crates/alert/src/lifecycle.rs",
        "(State::Pending, Holds::Yes) => {",
        "(State::Pending, Holds::Yes) if episode.samples == 0 => {",
    ),
    "a value that cannot be read costs its record": (
        "crates/ingest/src/decode/form.rs",
        "self.check_required(&columns, &misread, &mut faults);",
        "self.check_required(&columns, &misread, &mut faults);\n"
        "        misread.iter().for_each(|misread| faults.add(misread.row, || misread.reason.clone()));",
    ),
    "what is hardly plausible is no value": (
        "crates/ingest/src/decode/cells.rs",
        "found.column == index && column.is_doubtful(found.value);",
        "found.column == index && column.is_doubtful(found.value) && found.value < 0.0;",
    ),
    "a restart forgets what had come": (
        "crates/alert/src/streams/saved.rs",
        "seen: Seen { stretches: stretches.into(), past },",
        "seen: Seen { past, ..Seen::default() },",
    ),
    "what stands behind every lane is an event each time": (
        "crates/alert/src/streams/row.rs",
        "pub(crate) const ALONE: TimeDelta = TimeDelta::seconds(3);",
        "pub(crate) const ALONE: TimeDelta = TimeDelta::zero();",
    ),
    "who is not judged is not told of": (
        "crates/alert/src/coverage.rs",
        "let expired_at = known.stamped.saturating_add(known.valid_for);",
        "let expired_at = known.stamped.saturating_add(100 * known.valid_for);",
    ),
}

# What wards on a real broker and database find.
OF_THE_STORE = {
    "a batch that the store does not take is left out": (
        "crates/pipeline/src/commit.rs",
        "                    stall.wait(trouble)?;\n                    // The batch is tried whole,",
        "                    stall.wait(trouble)?;\n                    return Ok(None);",
    ),
    "rows that their table does not take are given up": (
        "crates/store/src/pending.rs",
        "        if rows == 0 {\n            return Ok(());\n        }\n        let damaged",
        "        if rows < usize::MAX {\n            return Ok(());\n        }\n        let damaged",
    ),
    "an error that nobody knows is a row's": (
        "crates/store/src/mysql_errors.rs",
        "FailureKind::Passing,\n            _ => FailureKind::Unknown,",
        "FailureKind::Passing,\n            _ => FailureKind::Row,",
    ),
    "a row that cannot be written costs those beside it": (
        "crates/store/src/statement.rs",
        "Err(failure) if rows == 1 => {",
        "Err(failure) if rows >= 1 => {",
    ),
    "a restart forgets which alerts stand": (
        "crates/pipeline/src/state.rs",
        "OpenEpisodes::new(resume.episodes, resume.silences)",
        "OpenEpisodes::new(resume.episodes.into_iter().take(0), resume.silences)",
    ),
    "a restart forgets what windows had counted": (
        "crates/pipeline/src/recover.rs",
        "    recovery.run(plan, store, consumer, state.last_batch, retry, options.on_repeat)?;",
        "    if state.last_batch.0 == 0 {\n        recovery.run(plan, store, consumer, state.last_batch, retry, options.on_repeat)?;\n    }",
    ),
}

WARDS = [(MUTATIONS, "no_alarm_of_a_ward"), (OF_THE_STORE, "no_alarm_is_lost")]


def check():
    """Each text stands where it is looked for, once."""
    for file, old, _ in [mutation for mutations, _ in WARDS for mutation in mutations.values()]:
        count = (ROOT / file).read_text().count(old)
        assert count == 1, f"{file} has {count} times: {old}"


def what_fails(test, file, old, new):
    """What a test of wards says with the mutation in place."""
    path = ROOT / file
    source = path.read_text()
    command = ["cargo", "test", "--locked", "--features", "wardwatch/services", "--test", "it", test]
    environment = {"KAFKA_BROKERS": "127.0.0.1:1", **os.environ, "RUST_BACKTRACE": "0"}
    try:
        path.write_text(source.replace(old, new))
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    finally:
        path.write_text(source)
    assert "running 1 test" in run.stdout, run.stderr
    return re.findall("^seed .*|^not within a minute.*", run.stdout, re.MULTILINE)


if __name__ == "__main__":
    check()
    if sys.argv[1:] == ["--check"]:
        sys.exit()
    unseen = []
    for mutations, test in WARDS:
        for name in [name for name in mutations if name in sys.argv[1:] or not sys.argv[1:]]:
            faults = what_fails(test, *mutations[name])
            print(f"{name}\n  {faults[0][:400] if faults else 'NO SEED FINDS IT'}", flush=True)
            unseen += [] if faults else [name]
    sys.exit(f"not found: {unseen}" if unseen else 0)
