"""Which alarms must have fired, and by when: an oracle that knows nothing of the program but what its documents promise.

Reads one case a line (JSON, as tests/it/ward_disorder.rs writes it) and prints a line for each fault found:

    {"seed": 7, "lateness": 2000, "delay": 3000, "rules": [...], "clocks": [...], "records": [...], "batches": [...], "events": [...]}

A *clock* is what the ward knows and the program does not: one device between two settings of its clock, with how far it
goes ahead of true time. `records` are as Kafka had them, `events` what the program said of episodes. Something may be told
by `delay` later than it is known. All times in ms.

What is promised, and held against `events`:

  missed   A condition that held on one clock for `for` and then some, by values that each count until the next or until
           they are no longer valid, has an alarm that stands, soon after the records that prove it have come.
  raised   Every alarm that fired has such a condition; one a little shorter will do. What was sent again is none.
  doubled  Each alarm has one of its own.
  cleared  An alarm ends where the condition was gone for `clear_after`, and nowhere where it is known to be true.
  stuck    And it does end.
  untold   Who has had no value of a rule for longer than one is valid, but had one before, has the technical alert
           `unjudged`; and nobody else has.

Where the promises leave room, nothing is held against the program: the first three records of a clock that was set back,
of what comes out of order, and of one among several clocks of a device without a name, which may be taken for each other's;
and values that came so late that the ones before them counted meanwhile.
"""

import json
import sys
from collections import defaultdict, namedtuple
from datetime import datetime
from zoneinfo import ZoneInfo

SLACK = 1_500  # of a time by a device's clock: a sample and a half
CONTINUOUS = 60_000  # what is valid for no longer comes all the time, and a record without it says that a sensor is off
PAUSE = 2_500  # so long without a record, and one of several clocks without a name must show anew which it is

NEVER = 1 << 60
BERLIN = ZoneInfo("Europe/Berlin")  # where devices are that tell local times
UNJUDGED = {"name": "unjudged"}  # the technical alert that tells of a rule that is not judged

# `until`: from then on the device said that it had no value. `is_early`: it is one of the first of a clock among several of a
# device without a name.
Sample = namedtuple("Sample", "at is_true batch stamp is_proven place until is_early")


class Run(namedtuple("Run", "clock start end fires_from samples is_late")):
    @property
    def first_batch(self):
        return min(sample.batch for sample in self.samples)


def event_time(text, stamp):
    """A time without an offset is one of Berlin: the one that is nearest to Kafka's, where it comes twice."""
    at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    meant = [at] if at.tzinfo else [at.replace(tzinfo=BERLIN, fold=fold) for fold in (0, 1)]
    return min((round(at.timestamp() * 1000) for at in meant), key=lambda at: abs(at - stamp))


def value_of(rule, fields):
    """A number is a value, though it may be doubtful; nothing else is, and none that cannot be true."""
    value = fields.get(rule["column"])
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number and value <= rule["highest"] else None


def is_true(rule, value):
    return value < rule["limit"] if rule["is"] == "below" else value > rule["limit"]


class Case:
    def __init__(self, case):
        self.__dict__.update(case)
        self.faults = []
        self.skew = [clock["skew"] for clock in self.clocks]

    def fault(self, kind, rule, patient, text):
        self.faults.append(f"seed {self.seed}: {kind} {rule['name']} of {patient}: {text}")

    # -- what the records say ------------------------------------------------------------------------------------------

    def samples(self, patient, rule):
        """The samples of each clock in the order of its times, and how proven each was when it came."""
        found, newest, segments, last_stamp, seen, gaps = defaultdict(list), {}, {}, {}, set(), self.gaps(patient, rule)
        counts, set_back = defaultdict(int), set()
        for place, record in enumerate(self.records):
            clock = record["clock"]
            if self.clocks[clock]["patient"] != patient or record["again"]:
                continue
            fields = json.loads(record["bytes"])
            value = value_of(rule, fields)
            if value is None:
                continue
            stamp, stream = record["stamp"], self.clocks[clock]["stream"]
            at = event_time(fields["event_time"], stamp)
            mates = [other for other in last_stamp if self.clocks[other]["stream"] == stream and other != clock]
            if mates and stamp - last_stamp.get(clock, 0) > PAUSE:
                for other in [clock, *mates]:
                    segments.pop(other, None)
            last_stamp[clock] = stamp
            is_proven = True
            if at < newest.get(stream, at):
                first, last, count = segments.get(clock, (at, at, 0))
                if at < last:
                    first, count = at, 0
                # What looks as if it had come before tells nothing about the clock.
                count += (stream, at, str(fields)) not in seen
                segments[clock] = (first, at, count)
                is_proven = count >= 3 and at - first >= 2_000
            counts[clock] += 1
            if counts[clock] == 1 and not is_proven:
                set_back.add(clock)
            is_proven = is_proven and (clock not in set_back or counts[clock] >= 3)
            seen.add((stream, at, str(fields)))
            newest[stream] = max(at, newest.get(stream, at))
            until = next((gap for before, gap in gaps[stream] if before > place and gap >= at), NEVER)
            is_early = counts[clock] <= 3 and self.is_among_others(clock)
            found[clock].append(Sample(at, is_true(rule, value), record["batch"], stamp, is_proven, place, until, is_early))
        return {clock: sorted(samples, key=lambda sample: sample.at) for clock, samples in found.items()}

    def is_among_others(self, clock):
        own = self.clocks[clock]
        return any(other["stream"] == own["stream"] and other["device"] != own["device"] for other in self.clocks)

    def gaps(self, patient, rule):
        """The records without a value where each one of the stream before had one: a sensor is off. Where they come."""
        gaps = defaultdict(list)
        if rule["valid_for"] > CONTINUOUS:
            return gaps
        for counts_again in (False, True):
            had = defaultdict(lambda: (False, False))
            for place, record in enumerate(self.records):
                clock = self.clocks[record["clock"]]
                if clock["patient"] == patient and (counts_again or not record["again"]):
                    stream, fields = clock["stream"], json.loads(record["bytes"])
                    has = value_of(rule, fields) is not None
                    if not has and all(had[stream]):
                        gaps[stream].append((place, event_time(fields["event_time"], record["stamp"])))
                    had[stream] = (had[stream][1], has)
        return gaps

    def lanes(self, samples):
        """The samples of a clock that came in the order of its times, and apart from them what it had kept and sent later, each
        time that it sent such."""
        lanes, was_late = [], False
        for sample in sorted(samples, key=lambda sample: sample.place):
            is_late = bool(lanes) and sample.at < lanes[0][-1].at
            if is_late:
                if not was_late or sample.at < lanes[-1][-1].at:
                    lanes.append([])
                lanes[-1].append(sample)
            else:
                lanes[:1] = [(lanes or [[]])[0] + [sample]]
            was_late = is_late
        return lanes

    def certain(self, clock, samples, valid, hold):
        """Runs in which the condition is certainly true: whatever else the clock says of these times agrees."""
        runs = []
        for is_late, lane in enumerate(self.lanes(samples)):
            run = []
            for sample, after in zip(lane, lane[1:] + [None]):
                if sample.is_true and sample.is_proven:
                    run.append(sample)
                if not run:
                    continue
                # What was sent late tells nothing of the times of which others told at once.
                others = [s.at for s in samples if s.at > run[-1].at and (not s.is_true or is_late)]
                end = min([run[-1].at + valid] + others[:1] + self.next_of_device(clock, run[-1].at))
                if after is None or not after.is_true or not after.is_proven or after.at > end:
                    end = end if after is None else min(end, after.at)
                    runs.append(Run(clock, run[0].at, end, self.fires_from(run, hold, end), run, is_late))
                    run = []
        return runs

    def fires_from(self, run, hold, end):
        """When it is known to have held for `hold`: by a sample, or by time that passes while the sensor is on."""
        held = run[0].at + hold
        for sample, until in zip(run, [after.at for after in run[1:]] + [end - SLACK]):
            if held <= sample.at:
                return sample.at
            if held <= until and held + SLACK <= sample.until:
                return held
        return NEVER

    def next_of_device(self, clock, at):
        """When the device spoke next by its clock as it was set at another time, by this clock."""
        others = [
            sample.at - self.skew[other] + self.skew[clock]
            for other, samples in self.of_patient.items()
            if other != clock and self.clocks[other]["device"] == self.clocks[clock]["device"]
            for sample in samples
        ]
        return [min(later)] if (later := [other for other in others if other > at]) else []

    def possible(self, clock, samples, valid, wanted, hold):
        """Runs in which the condition may have been taken to be `wanted` for `hold`: values that nobody was sure of are
        taken as they suit, and what came late was not known before."""
        runs = []
        delay = min((sample.stamp - sample.at for sample in samples), default=0)
        for is_late, lane in enumerate(self.lanes(samples)):
            run, starts, before, is_doubted = [], [0], None, False
            for sample, after in zip(lane, lane[1:] + [None]):
                if sample.is_true == wanted:
                    # What nobody is sure of may be told of by itself, or have ended what was before.
                    if run and (is_doubted or (run[-1].is_proven and not sample.is_proven)):
                        starts.append(len(run))
                    run.append(sample)
                is_doubted = sample.is_true != wanted
                # Where nothing is known in between, it may have gone on, and may be over by what another clock said.
                is_unknown = after is not None and max(after.at - sample.at, after.stamp - sample.stamp) > valid
                is_over = after is None or is_unknown or (after.is_true != wanted and after.is_proven)
                if not run or not is_over:
                    continue
                last = run[-1]
                # What was sent late counts until what is known already.
                known = [s.at for s in samples if s.at > last.at and s.place < last.place and s.is_true != wanted][:1]
                end = min([last.at + valid] + known)
                if after is not None:
                    end = min(end, max(after.at, after.stamp - delay))
                is_continued = before or self.is_continued(clock, run[0], wanted)
                for start in starts:
                    fires_from = run[start].at + (0 if is_continued and start == 0 else hold)
                    if end >= fires_from - SLACK:
                        runs.append(Run(clock, run[start].at, end, fires_from, run[start:], is_late))
                # What another clock told next may have been taken for this one's time.
                early = [s for s in run if s.is_early]
                if early and valid >= hold - SLACK:
                    runs.append(Run(clock, run[0].at, early[-1].at + valid, run[0].at + hold, run, is_late))
                run, starts, before = [], [0], is_unknown
        return runs

    def is_continued(self, clock, first, wanted):
        """Whether the same device, by its clock as it was set before, already said so."""
        before = [
            (sample.at - self.skew[other], sample.is_true)
            for other, samples in self.of_patient.items()
            if self.clocks[other]["device"] == self.clocks[clock]["device"] and other < clock
            for sample in samples
        ]
        return bool(before) and max(before)[1] == wanted

    # -- what the program said -----------------------------------------------------------------------------------------

    def episodes(self, patient, rule):
        episodes, standing = [], {}
        for event in self.events:
            if (event["patient"], event["rule"]) != (patient, rule["name"]):
                continue
            if event["kind"] == "firing":
                episode = {"id": event["id"], "at": event["at"], "batch": event["batch"], "ended": None, "end_batch": None}
                standing[event["id"]] = episode
                episodes.append(episode)
            elif event["kind"] == "ended" and event["id"] in standing:
                standing.pop(event["id"]).update(ended=event["at"], end_batch=event["batch"])
        episodes.sort(key=lambda episode: (episode["batch"], self.ended_by(episode)))
        for episode, after in zip(episodes, episodes[1:]):
            if self.ended_by(episode) > after["batch"]:
                self.fault("doubled", rule, patient, f"{after} fires while {episode} stands")
        return episodes

    def ended_by(self, episode):
        return NEVER if episode["end_batch"] is None else episode["end_batch"]

    def batch_by(self, now):
        """The first batch whose `now` is not before."""
        return next((index for index, at in enumerate(self.batches) if at >= now), len(self.batches))

    def judge(self):
        for patient in sorted({clock["patient"] for clock in self.clocks}):
            for rule in self.rules:
                self.judge_rule(patient, rule)
            self.judge_coverage(patient)
        return self.faults

    def judge_coverage(self, patient):
        """Whether it is told, and only then, that a rule has had no value of the patient for longer than one is valid."""
        told = self.episodes(patient, UNJUDGED)
        values = [(rule["valid_for"], self.values(patient, rule)) for rule in self.rules]
        for batch, now in enumerate(self.batches):
            is_told = any(one["batch"] <= batch and self.ended_by(one) > batch for one in told)
            known = [(valid, *of_rule[batch]) for valid, of_rule in values if of_rule[batch]]
            if not is_told and any(reached - stamp > valid + self.delay for valid, stamp, reached in known):
                self.fault("untold", UNJUDGED, patient, f"a rule has no value in batch {batch}")
            if is_told and all(now - stamp < valid - self.delay for valid, stamp, _ in known):
                self.fault("raised", UNJUDGED, patient, f"each rule has a value in batch {batch}")

    def values(self, patient, rule):
        """By the end of each batch: the stamp of the newest value, and how far its partition has come since, which its last
        record tells, or the time since it was read."""
        by_batch, newest, last, ends = defaultdict(list), None, {}, []
        for record in self.records:
            by_batch[record["batch"]].append(record)
        for batch, now in enumerate(self.batches):
            for record in by_batch[batch]:
                clock, stamp = self.clocks[record["clock"]], record["stamp"]
                last[clock["partition"]] = (stamp, now)
                is_value = clock["patient"] == patient and value_of(rule, json.loads(record["bytes"])) is not None
                if is_value and not record["again"]:
                    newest = (stamp, clock["partition"])
            stamp, partition = newest or (None, None)
            ends.append(newest and (stamp, last[partition][0] + now - last[partition][1]))
        return ends

    def judge_rule(self, patient, rule):
        hold, clear, valid = rule["for"], rule["clear_after"], rule["valid_for"]
        self.of_patient = self.samples(patient, rule)
        every = lambda runs: [run for clock, samples in self.of_patient.items() for run in runs(clock, samples)]
        must = every(lambda clock, samples: self.certain(clock, samples, valid, hold))
        may = every(lambda clock, samples: self.possible(clock, samples, valid, True, hold))
        gone = every(lambda clock, samples: self.possible(clock, samples, valid, False, clear))
        episodes = self.episodes(patient, rule)
        true = every(lambda clock, samples: self.possible(clock, samples, valid, True, 0))
        self.match(patient, rule, episodes, may, true)
        for run in must:
            if run.fires_from < NEVER and run.end - run.start >= hold + SLACK:
                self.must_fire(patient, rule, run, episodes)
        for episode in episodes:
            if episode["ended"] is None:
                if self.must_end(clear, valid):
                    self.fault("stuck", rule, patient, f"{episode} never ends")
            elif not self.may_end(episode, gone, must, valid):
                self.fault("cleared", rule, patient, f"{episode} ends while its condition is true, or not known to be gone")

    def match(self, patient, rule, episodes, may, true):
        """Gives each alarm a condition of its own: the largest matching of a bipartite graph, by augmenting paths."""
        valid = rule["valid_for"]

        def clocks(episode, run):
            """By which clocks the alarm may be the run's."""
            at, batch = episode["at"], episode["batch"]
            if run.first_batch > batch:
                return set()
            own = {run.clock} if run.fires_from - SLACK <= at <= run.end + SLACK else set()
            # By the clock of a condition that was there first, when this one had held for long enough.
            is_then = batch <= self.batch_by(run.samples[-1].stamp + valid + self.delay) + 1
            first = {r.clock for r in true if r.first_batch <= batch and r.start - SLACK <= at <= r.end + SLACK}
            return own | {run.clock} | first if is_then and first else own

        fits = [{place: found for place, run in enumerate(may) if (found := clocks(episode, run))} for episode in episodes]
        owner = {}

        def give(index, tried):
            for place in fits[index]:
                if place not in tried:
                    tried.add(place)
                    if place not in owner or give(owner[place], tried):
                        owner[place] = index
                        return True
            return False

        for index, episode in enumerate(episodes):
            if not fits[index]:
                self.fault("raised", rule, patient, f"{episode} without a condition")
            elif not give(index, set()):
                self.fault("doubled", rule, patient, f"{episode} has no condition of its own")
        for episode, found in zip(episodes, fits):
            episode["clocks"] = set().union(*found.values())

    def must_fire(self, patient, rule, run, episodes):
        # It is known by a sample, or by the time that has passed, which the last record tells: less than a batch ago.
        by_time = run.fires_from + max(sample.stamp - sample.at for sample in run.samples) + self.lateness
        proof = min([sample for sample in run.samples if sample.at >= run.fires_from], key=lambda s: s.place, default=None)
        lengths = [after - before for before, after in zip(self.batches, self.batches[1:])]
        by_time += max(lengths[run.first_batch - 1 : self.batch_by(by_time)], default=0)
        by_sample = self.batches[proof.batch] if proof else by_time
        # A record that is read late tells late.
        last = self.batch_by(min(max(by_time, self.batches[run.first_batch]), by_sample) + self.delay)
        told = min(by_time, proof.stamp) if proof else by_time
        for episode in episodes:
            if episode["batch"] <= last and (self.is_of(episode, run, rule["for"]) or self.stood_already(episode, run, told)):
                return
        self.fault("missed", rule, patient, f"{describe(run)} by batch {last}")

    def is_of(self, episode, run, hold):
        """Whether the alarm fired, by one of its clocks, not later than the run has it, and outlasted the run's start."""
        # Of what was sent late, time has passed already: another lane's samples may be the first to say so.
        start, fires = (at - self.skew[run.clock] for at in (run.start, run.end + hold if run.is_late else run.fires_from))
        is_soon = any(episode["at"] - self.skew[clock] <= fires + SLACK for clock in episode["clocks"])
        return is_soon and self.truly_ended(episode) >= start and not self.is_over(episode, run.first_batch)

    def stood_already(self, episode, run, told):
        """Whether the alarm stood when the run was told of, and still when it had to fire: there is one at a time."""
        stands = self.truly_ended(episode) >= told - SLACK or not self.is_over(episode, run.first_batch + 1)
        return episode["batch"] <= run.first_batch and stands

    def truly_ended(self, episode):
        return max((episode["ended"] or NEVER) - self.skew[clock] for clock in self.of_patient)

    def is_over(self, episode, batch):
        return self.ended_by(episode) < batch

    def must_end(self, clear, valid):
        """Whether the condition was found gone, for long enough before the end, after every clock's last word that it was true
        had been denied by the same clock, or counted no longer."""
        true = {(clock, s.stamp) for clock, samples in self.of_patient.items() for s in samples if s.is_true}
        counted = max((stamp for _, stamp in true), default=0) + (valid if len({clock for clock, _ in true}) > 1 else 0)
        every = [s for samples in self.of_patient.values() for s in samples]
        denied = [s.stamp for s in every if s.stamp > counted and s.is_proven]
        return min(denied, default=NEVER) + clear + self.lateness + self.delay < self.batches[-1]

    def may_end(self, episode, gone, must, valid):
        """Whether it was gone by one of the clocks, and by none certainly true."""
        at, batch = episode["ended"], episode["end_batch"]
        # By the clock that ends it it may have been over before another's says that it fired.
        is_gone = at == episode["at"] or any(
            run.fires_from - SLACK <= at <= run.end + SLACK and run.first_batch <= batch for run in gone
        )
        return is_gone and not any(self.goes_on(run, batch, valid) for run in must)

    def goes_on(self, run, batch, valid):
        """Whether the condition was known to hold before the batch, and is known to after it."""
        known = [sample for sample in run.samples if sample.batch < batch]
        return bool(known) and run.samples[-1].batch > batch and known[-1].stamp + valid > self.batches[batch]


def describe(run):
    return f"clock {run.clock}, {(run.end - run.start) / 1000:.1f} s from {run.start} to {run.end} (batches {run.first_batch} to {run.samples[-1].batch})"


if __name__ == "__main__":
    for line in sys.stdin:
        for fault in Case(json.loads(line)).judge():
            print(fault)
