"""Which alarms must have fired, and by when: an oracle that knows nothing of the program but what its documents promise.

Reads one case a line (JSON, as tests/it/ward_disorder.rs writes it) and prints a line for each fault found:

    {"seed": 7, "lateness": 2000, "rules": [...], "clocks": [...], "records": [...], "batches": [...], "events": [...]}

A *clock* is what the ward knows and the program does not: one device between two settings of its clock, with how far it
goes ahead of true time. `records` are as Kafka had them, `events` what the program said of episodes. All times in ms.

What is promised, and held against `events`:

  missed   A condition that held on one clock for `for` and then some, by values that each count until the next or until
           they are no longer valid, has an alarm that stands, soon after the records that prove it have come.
  raised   Every alarm that fired has such a condition; one a little shorter will do. What was sent again is none.
  doubled  Each alarm has one of its own.
  cleared  An alarm ends where the condition was gone for `clear_after`, and nowhere where it is known to be true.
  stuck    And it does end.

Where the promises leave room, nothing is held against the program: the first three records of a clock that was set back,
of what comes out of order, and of one among several clocks of a device without a name; and values that came so late that
the ones before them counted meanwhile.
"""

import json
import sys
from collections import defaultdict, namedtuple
from datetime import datetime

SLACK = 1_500  # of a time by a device's clock: a sample and a half
DELAY = 3_000  # of a time by which something must be told
PAUSE = 2_500  # so long without a record, and one of several clocks without a name must show anew which it is

Sample = namedtuple("Sample", "at is_true batch stamp is_proven place")


class Run(namedtuple("Run", "clock start end fires_from samples is_late")):
    @property
    def first_batch(self):
        return min(sample.batch for sample in self.samples)



def event_time(text):
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


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
        found, newest, segments, last_stamp, seen = defaultdict(list), {}, {}, {}, set()
        for place, record in enumerate(self.records):
            clock = record["clock"]
            if self.clocks[clock]["patient"] != patient or record["again"]:
                continue
            fields = json.loads(record["bytes"])
            value = fields.get(rule["column"])
            if value is None:
                continue
            at, stamp, stream = event_time(fields["event_time"]), record["stamp"], self.clocks[clock]["stream"]
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
            seen.add((stream, at, str(fields)))
            newest[stream] = max(at, newest.get(stream, at))
            found[clock].append(Sample(at, is_true(rule, value), record["batch"], stamp, is_proven, place))
        return {clock: sorted(samples, key=lambda sample: sample.at) for clock, samples in found.items()}

    def lanes(self, samples):
        """The samples of a clock that came in the order of its times, and apart from them what it had kept and sent later."""
        lanes = []
        for sample in sorted(samples, key=lambda sample: sample.place):
            if lanes and sample.at < lanes[0][-1].at:
                if len(lanes) == 1 or sample.at < lanes[-1][-1].at:
                    lanes.append([])
                lanes[-1].append(sample)
            else:
                lanes[:1] = [(lanes or [[]])[0] + [sample]]
        return lanes

    def certain(self, clock, samples, valid, wanted):
        """Runs in which the condition is certainly `wanted`: whatever else the clock says of these times agrees."""
        runs = []
        for is_late, lane in enumerate(self.lanes(samples)):
            run = []
            for sample, after in zip(lane, lane[1:] + [None]):
                if sample.is_true == wanted and sample.is_proven:
                    run.append(sample)
                if not run:
                    continue
                # What was sent late tells nothing of the times of which others told at once.
                others = [s.at for s in samples if s.at > run[-1].at and (s.is_true != wanted or is_late)]
                end = min([run[-1].at + valid] + others[:1] + self.next_of_device(clock, run[-1].at))
                if after is None or after.is_true != wanted or not after.is_proven or after.at > end:
                    end = end if after is None else min(end, after.at)
                    runs.append(Run(clock, run[0].at, end, run[0].at, run, is_late))
                    run = []
        return runs

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
            run, before = [], None
            for sample, after in zip(lane, lane[1:] + [None]):
                if sample.is_true == wanted:
                    run.append(sample)
                # Where nothing is known in between, it may have gone on, and may be over by what another clock said.
                is_unknown = after is not None and after.at - sample.at > valid
                is_over = after is None or is_unknown or (after.is_true != wanted and after.is_proven)
                if not run or not is_over:
                    continue
                last = run[-1]
                # Not held against the program yet: what was sent late counts as if nothing were known of what came after.
                end = last.at + valid
                if after is not None:
                    end = min(end, max(after.at, after.stamp - delay))
                is_continued = before or self.is_continued(clock, run[0], wanted)
                fires_from = run[0].at + (0 if is_continued else hold)
                if end >= fires_from - SLACK:
                    runs.append(Run(clock, run[0].at, end, fires_from, run, is_late))
                run, before = [], is_unknown
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
        episodes.sort(key=lambda episode: (episode["batch"], episode["end_batch"] or len(self.batches)))
        for episode, after in zip(episodes, episodes[1:]):
            if episode["end_batch"] is None or episode["end_batch"] > after["batch"]:
                self.fault("doubled", rule, patient, f"{after} fires while {episode} stands")
        return episodes

    def batch_by(self, now):
        """The first batch whose `now` is not before."""
        return next((index for index, at in enumerate(self.batches) if at >= now), len(self.batches))

    def judge(self):
        for patient in sorted({clock["patient"] for clock in self.clocks}):
            for rule in self.rules:
                self.judge_rule(patient, rule)
        return self.faults

    def judge_rule(self, patient, rule):
        hold, clear, valid = rule["for"], rule["clear_after"], rule["valid_for"]
        self.of_patient = self.samples(patient, rule)
        every = lambda runs: [run for clock, samples in self.of_patient.items() for run in runs(clock, samples)]
        must = every(lambda clock, samples: self.certain(clock, samples, valid, True))
        may = every(lambda clock, samples: self.possible(clock, samples, valid, True, hold))
        gone = every(lambda clock, samples: self.possible(clock, samples, valid, False, clear))
        episodes = self.episodes(patient, rule)
        true = every(lambda clock, samples: self.possible(clock, samples, valid, True, 0))
        self.match(patient, rule, episodes, may, true)
        for run in must:
            if run.end - run.start >= hold + SLACK:
                self.must_fire(patient, rule, run, episodes)
        for episode in episodes:
            if episode["ended"] is None:
                self.fault("stuck", rule, patient, f"{episode} never ends")
            elif not self.may_end(episode, gone, must, valid):
                self.fault("cleared", rule, patient, f"{episode} ends while its condition is true, or not known to be gone")

    def match(self, patient, rule, episodes, may, true):
        """Gives each alarm a condition of its own: the largest matching of a bipartite graph, by augmenting paths."""
        valid = rule["valid_for"]

        def fits(episode, run):
            at, batch = episode["at"], episode["batch"]
            if run.fires_from - SLACK <= at <= run.end + SLACK:
                return run.first_batch <= batch
            # By the clock of a condition that was there first, when this one had held for long enough.
            is_then = run.first_batch <= batch <= self.batch_by(run.samples[-1].stamp + valid + DELAY) + 1
            return is_then and any(r.start - SLACK <= at <= r.end + SLACK for r in true if r.first_batch <= batch)

        fits = [[place for place, run in enumerate(may) if fits(episode, run)] for episode in episodes]
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
        for episode, places in zip(episodes, fits):
            episode["clocks"] = {may[place].clock for place in places}

    def must_fire(self, patient, rule, run, episodes):
        hold = rule["for"]
        # It is known by a sample, or by the time that has passed, which the last record tells: less than a batch ago.
        by_time = run.start + hold + max(sample.stamp - sample.at for sample in run.samples) + self.lateness
        proof = min([sample for sample in run.samples if sample.at >= run.start + hold], key=lambda s: s.place, default=None)
        lengths = [after - before for before, after in zip(self.batches, self.batches[1:])]
        by_time += max(lengths[run.first_batch - 1 : self.batch_by(by_time)], default=0)
        by_sample = self.batches[proof.batch] if proof else by_time
        last = self.batch_by(min(by_time, by_sample) + DELAY)
        told = min(by_time, proof.stamp) if proof else by_time
        for episode in episodes:
            if episode["batch"] <= last and (self.is_of(episode, run, hold) or self.stood_already(episode, run, told)):
                return
        self.fault("missed", rule, patient, f"{describe(run)} by batch {last}")

    def is_of(self, episode, run, hold):
        """Whether the alarm fired, by one of its clocks, not later than the run has it, and outlasted the run's start."""
        # Of what was sent late, time has passed already: another lane's samples may be the first to say so.
        start, fires = (at - self.skew[run.clock] for at in (run.start, run.end if run.is_late else run.start + hold))
        is_soon = any(episode["at"] - self.skew[clock] <= fires + SLACK for clock in episode["clocks"])
        return is_soon and self.truly_ended(episode) >= start and not self.is_over(episode, run.first_batch)

    def stood_already(self, episode, run, told):
        """Whether the alarm stood when the run was told of, and still when it had to fire: there is one at a time."""
        stands = self.truly_ended(episode) >= told - SLACK or not self.is_over(episode, run.first_batch + 1)
        return episode["batch"] <= run.first_batch and stands

    def truly_ended(self, episode):
        return max((episode["ended"] or 1 << 60) - self.skew[clock] for clock in self.of_patient)

    def is_over(self, episode, batch):
        return episode["end_batch"] is not None and episode["end_batch"] < batch

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
