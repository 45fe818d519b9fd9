//! How often somebody may guess a password: five times, then after waits that double.
//!
//! A name is counted together with the address that it was tried from, so that nobody can keep a nurse out by guessing
//! her password from elsewhere; an address is counted by itself, so that it cannot try every name.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::Stopwatch;

/// Guesses of one name from one address, and of all names from one address, before one has to wait.
const FREE: [u32; 2] = [5, 20];

/// The longest wait; after it, everything is forgotten.
const LONGEST: Duration = Duration::from_secs(900);

/// So many names and addresses are remembered at the most.
const MOST: usize = 10_000;

/// Who has guessed how often.
#[derive(Debug, Default)]
pub(in crate::dashboard) struct Throttle(HashMap<String, (u32, Stopwatch)>);

impl Throttle {
    /// How long whoever tries `name` from `address` has to wait; `None` where it may be tried now.
    pub(in crate::dashboard) fn wait(&self, name: &str, address: &str) -> Option<Duration> {
        let waits = keys(name, address).into_iter().zip(FREE).filter_map(|(key, free)| {
            let (failures, last) = self.0.get(&key)?;
            let wait = Duration::from_secs(1) * 2_u32.saturating_pow(failures.checked_sub(free)?.min(10));
            let left = last.left_of(wait.min(LONGEST));
            (!left.is_zero()).then_some(left)
        });
        waits.max()
    }

    /// A guess was wrong.
    pub(in crate::dashboard) fn failed(&mut self, name: &str, address: &str) {
        if self.0.len() >= MOST {
            self.0.retain(|_, (_, last)| last.elapsed() < LONGEST);
        }
        for key in keys(name, address) {
            if self.0.len() < MOST || self.0.contains_key(&key) {
                let (failures, last) = self.0.entry(key).or_insert((0, Stopwatch::start()));
                *failures = if last.elapsed() < LONGEST { *failures + 1 } else { 1 };
                *last = Stopwatch::start();
            }
        }
    }

    /// It was right.
    pub(in crate::dashboard) fn succeeded(&mut self, name: &str, address: &str) {
        self.0.remove(&keys(name, address)[0]);
    }
}

fn keys(name: &str, address: &str) -> [String; 2] {
    let name: String = name.chars().take(100).collect();
    [format!("{address} {name}"), address.to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_guess_has_to_wait_but_not_from_elsewhere_and_not_after_a_right_one() {
        let mut throttle = Throttle::default();
        for _ in 0..5 {
            assert_eq!(throttle.wait("nurse", "10.0.0.1"), None);
            throttle.failed("nurse", "10.0.0.1");
        }
        assert!(throttle.wait("nurse", "10.0.0.1").is_some());
        assert_eq!(throttle.wait("nurse", "10.0.0.2"), None);
        assert_eq!(throttle.wait("doctor", "10.0.0.1"), None);
        throttle.succeeded("nurse", "10.0.0.1");
        assert_eq!(throttle.wait("nurse", "10.0.0.1"), None);
    }

    #[test]
    fn an_address_that_tries_many_names_has_to_wait_too_and_longer_each_time() {
        let mut throttle = Throttle::default();
        (0..20).for_each(|name| throttle.failed(&name.to_string(), "10.0.0.1"));
        let first = throttle.wait("new", "10.0.0.1").expect("a wait");
        (0..3).for_each(|name| throttle.failed(&name.to_string(), "10.0.0.1"));
        assert!(throttle.wait("new", "10.0.0.1").expect("a wait") > first);
    }
}
