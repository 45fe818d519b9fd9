//! A ward of simulated patients, in the order in which their records arrive.

use chrono::{TimeDelta, Timelike};

use super::options::WardOptions;
use super::patient::Patient;
use super::{Sample, Scenario};

/// How long a device with late bursts holds its records back, in seconds.
const BURST_SECONDS: f64 = 30.0;

/// A simulated ward.
#[derive(Debug)]
pub struct Ward {
    options: WardOptions,
    beds: Vec<Bed>,
    round: u32,
}

#[derive(Debug)]
struct Bed {
    id: String,
    patient: Patient,
    held_back: Vec<Sample>,
}

impl Ward {
    /// A ward whose patients are called `P0001`, `P0002` and so on.
    #[must_use]
    pub fn new(options: WardOptions) -> Self {
        let scenarios = options.scenarios.iter().copied().chain(std::iter::repeat(Scenario::Stable));
        let beds = (1..=options.patients).zip(scenarios).map(|(number, scenario)| Bed {
            id: format!("P{number:04}"),
            patient: Patient::new(options.seed, number.into(), scenario, &options),
            held_back: Vec::new(),
        });
        Self { beds: beds.collect(), options, round: 0 }
    }

    /// The next round: one sample of each patient that sends, and what devices have held back.
    pub fn next_round(&mut self) -> Vec<Sample> {
        let elapsed = self.options.interval * self.round;
        self.round += 1;
        let at = self.options.start + TimeDelta::from_std(elapsed).unwrap_or(TimeDelta::MAX);
        let day_turn = f64::from(at.num_seconds_from_midnight()) / 86_400.0;
        let (elapsed, step) = (elapsed.as_secs_f64(), self.options.interval.as_secs_f64());
        let mut arriving = Vec::with_capacity(self.beds.len());
        for bed in &mut self.beds {
            let values = bed.patient.measure(elapsed, step, day_turn);
            let sample = Sample { patient: bed.id.clone(), at, values };
            bed.send(sample, elapsed, &mut arriving);
        }
        arriving
    }
}

impl Bed {
    fn send(&mut self, mut sample: Sample, elapsed: f64, arriving: &mut Vec<Sample>) {
        if !self.patient.happens(elapsed) {
            arriving.append(&mut self.held_back);
            arriving.push(sample);
            return;
        }
        match self.patient.scenario {
            Scenario::DeviceOffline => {}
            Scenario::ClockWrong => {
                sample.at += TimeDelta::hours(1);
                arriving.push(sample);
            }
            Scenario::Duplicates => arriving.extend([sample.clone(), sample]),
            Scenario::LateBursts => {
                self.held_back.push(sample);
                if elapsed % BURST_SECONDS < 1.0 {
                    arriving.append(&mut self.held_back);
                }
            }
            _ => arriving.push(sample),
        }
    }
}
