//! One simulated adult: a baseline, a day's rhythm, slow drift, breathing, and what happens to them.

use std::f64::consts::TAU;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::options::WardOptions;
use super::{Scenario, Vital};

/// How long a slow change takes to be forgotten, in seconds.
const DRIFT_SECONDS: f64 = 180.0;

/// A vital's resting value among adults, its spread from person to person, its drift, and its swing over a day.
struct Norm {
    vital: Vital,
    mean: f64,
    spread: f64,
    drift: f64,
    day: f64,
}

const NORMS: [Norm; 7] = [
    Norm { vital: Vital::HeartRate, mean: 74.0, spread: 8.0, drift: 3.0, day: 5.0 },
    Norm { vital: Vital::RespiratoryRate, mean: 15.0, spread: 1.6, drift: 0.9, day: 0.8 },
    Norm { vital: Vital::Spo2, mean: 97.2, spread: 0.8, drift: 0.5, day: 0.2 },
    Norm { vital: Vital::SystolicBp, mean: 122.0, spread: 9.0, drift: 4.0, day: 6.0 },
    Norm { vital: Vital::DiastolicBp, mean: 76.0, spread: 6.0, drift: 2.5, day: 4.0 },
    Norm { vital: Vital::Temperature, mean: 36.8, spread: 0.2, drift: 0.05, day: 0.3 },
    Norm { vital: Vital::GlucoseLevel, mean: 98.0, spread: 9.0, drift: 4.0, day: 6.0 },
];

/// A patient whose state moves forward sample by sample.
#[derive(Debug)]
pub(super) struct Patient {
    random: ChaCha8Rng,
    resting: [f64; NORMS.len()],
    drift: [f64; NORMS.len()],
    /// Where in a breath the patient is, in turns.
    breath: f64,
    sport_until: f64,
    pub(super) scenario: Scenario,
    /// When the scenario begins, and how long it takes to its height, in seconds of the simulation.
    begins: f64,
    ramp: f64,
    /// When it is over.
    ends: f64,
}

impl Patient {
    pub(super) fn new(seed: u64, number: u64, scenario: Scenario, options: &WardOptions) -> Self {
        let onset = &options.onset;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(number);
        let resting = std::array::from_fn(|index| NORMS[index].mean + NORMS[index].spread * gauss(&mut random));
        let begins = onset.start + (onset.end - onset.start) * random.random::<f64>();
        let ramp = random.random_range(20.0..60.0);
        let breath = random.random();
        let ends = options.lasts.map_or(f64::INFINITY, |lasts| begins + lasts.as_secs_f64());
        Self { random, resting, drift: [0.0; NORMS.len()], breath, sport_until: -1.0, scenario, begins, ramp, ends }
    }

    /// Whether the scenario happens so many seconds into the simulation.
    pub(super) fn happens(&self, elapsed: f64) -> bool {
        (self.begins..self.ends).contains(&elapsed)
    }

    /// How far it has got: from 0 to 1 and, when it is over, back.
    fn severity(&self, elapsed: f64) -> f64 {
        let (worse, better) = ((elapsed - self.begins) / self.ramp, (elapsed - self.ends) / self.ramp);
        worse.clamp(0.0, 1.0).min(1.0 - better.clamp(0.0, 1.0))
    }

    /// Measures everything, `step` seconds after the last time, `elapsed` seconds into the simulation, at
    /// `day_turn` of a day (0 at midnight, 1 at the next).
    pub(super) fn measure(&mut self, elapsed: f64, step: f64, day_turn: f64) -> Vec<(Vital, f64)> {
        let severity = self.severity(elapsed);
        let effort = self.effort(elapsed, step);
        let rhythm = ((day_turn - 0.25) * TAU).sin(); // lowest at midnight
        let mut values = Vec::with_capacity(Vital::ALL.len());
        for (index, norm) in NORMS.iter().enumerate() {
            self.drift[index] += self.drift_step(step, norm.drift, self.drift[index]);
            let mut value = self.resting[index] + self.drift[index] + norm.day * rhythm;
            value += self.scenario.shift(norm.vital) * severity + exercise(norm.vital) * effort;
            if norm.vital == Vital::HeartRate {
                value += 2.0 * (self.breath * TAU).sin(); // the heart follows the breath
            }
            values.push((norm.vital, shown(norm.vital, value)));
            if norm.vital == Vital::RespiratoryRate {
                self.breath = (self.breath + value.max(4.0) / 60.0 * step).fract();
            }
        }
        let pulse = values[0].1 + (gauss(&mut self.random) * 0.6).round();
        values.push((Vital::Pulse, pulse));
        values.push((Vital::SportMode, f64::from(effort > 0.0)));
        values.push((Vital::Oxygen, f64::from(severity > 0.5 && self.scenario.needs_oxygen())));
        values.push((Vital::Consciousness, f64::from(severity > 0.8 && self.scenario.confuses())));
        if self.scenario == Scenario::LeadOff && self.happens(elapsed) {
            values.retain(|(vital, _)| *vital != Vital::HeartRate);
            if let Some(breathing) = values.iter_mut().find(|(vital, _)| *vital == Vital::RespiratoryRate) {
                breathing.1 = 0.0; // monitors send 0 where the impedance leads are off
            }
        }
        values
    }

    /// An Ornstein–Uhlenbeck step: noise that is slowly forgotten, so that values wander and come back.
    fn drift_step(&mut self, step: f64, size: f64, now: f64) -> f64 {
        let share = (step / DRIFT_SECONDS).min(1.0);
        -now * share + size * (2.0 * share).sqrt() * gauss(&mut self.random)
    }

    /// 1 while a stable patient exercises, which is rare and lasts some minutes.
    fn effort(&mut self, elapsed: f64, step: f64) -> f64 {
        if elapsed < self.sport_until {
            return 1.0;
        }
        if self.scenario == Scenario::Stable && self.random.random_bool((step / 14_400.0).min(1.0)) {
            self.sport_until = elapsed + self.random.random_range(120.0..420.0);
        }
        0.0
    }
}

fn exercise(vital: Vital) -> f64 {
    match vital {
        Vital::HeartRate => 42.0,
        Vital::RespiratoryRate => 9.0,
        Vital::SystolicBp => 22.0,
        _ => 0.0,
    }
}

/// The value as a monitor shows it: within what can be, with the decimals that it has.
fn shown(vital: Vital, value: f64) -> f64 {
    match vital {
        Vital::Temperature => (value.clamp(30.0, 43.0) * 10.0).round() / 10.0,
        Vital::Spo2 => value.clamp(50.0, 100.0).round(),
        _ => value.clamp(4.0, 260.0).round(),
    }
}

/// A normal number, by the sum of twelve uniform ones: no tail beyond six, which suits people.
fn gauss(random: &mut ChaCha8Rng) -> f64 {
    (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0
}
