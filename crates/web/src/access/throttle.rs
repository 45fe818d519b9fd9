//! How often somebody may guess a password: five times, then after waits that double.
//!
//! A name is counted together with the address that it was tried from, so that nobody can keep a nurse out by guessing
//! her password from elsewhere; an address is counted by itself, so that it cannot try every name. An attempt counts from
//! the moment it is made, not from when it is known to be wrong: two hundred at once are no more than five.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use wardwatch_model::clock::Stopwatch;

/// Guesses of one name from one address, and of all names from one address, before one has to wait.
const FREE: [u32; 2] = [5, 20];

/// The longest wait; after it, everything is forgotten.
const LONGEST: Duration = Duration::from_secs(900);

/// So many names and addresses are remembered at most; then those of the longest ago are forgotten.
const MOST: usize = 10_000;

/// Who has guessed how often.
#[derive(Debug, Default)]
pub(crate) struct Throttle(HashMap<String, (u32, Stopwatch)>);

/// An attempt that counts as a wrong guess until it is told to have been something else.
#[derive(Debug)]
pub(crate) struct Attempt([String; 2]);

impl Throttle {
    /// Counts an attempt at `name` from `address`.
    ///
    /// # Errors
    /// How long whoever tries it has to wait; that attempt is not counted.
    pub(crate) fn begin(&mut self, name: &str, address: Option<IpAddr>) -> Result<Attempt, Duration> {
        let keys = keys(name, address);
        if let Some(wait) = self.wait(&keys) {
            return Err(wait);
        }
        for key in &keys {
            self.make_room_for(key);
            let (guesses, last) = self.0.entry(key.clone()).or_insert((0, Stopwatch::start()));
            *guesses = if last.elapsed() < LONGEST { *guesses + 1 } else { 1 };
            *last = Stopwatch::start();
        }
        Ok(Attempt(keys))
    }

    /// The guess was right: the name's are forgotten, and this one of the address.
    pub(crate) fn succeeded(&mut self, Attempt([named, address]): Attempt) {
        self.0.remove(&named);
        self.take_back(&address);
    }

    /// The guess was wrong: the wait begins now.
    pub(crate) fn failed(&mut self, Attempt(keys): Attempt) {
        for key in &keys {
            if let Some((_, last)) = self.0.get_mut(key) {
                *last = Stopwatch::start();
            }
        }
    }

    /// The attempt was never judged: it does not count.
    pub(crate) fn withdrawn(&mut self, Attempt(keys): Attempt) {
        keys.iter().for_each(|key| self.take_back(key));
    }

    fn take_back(&mut self, key: &str) {
        if let Some((guesses, _)) = self.0.get_mut(key) {
            *guesses = guesses.saturating_sub(1);
        }
    }

    fn wait(&self, keys: &[String; 2]) -> Option<Duration> {
        let waits = keys.iter().zip(FREE).filter_map(|(key, free)| {
            let (guesses, last) = self.0.get(key)?;
            let wait = Duration::from_secs(1) * 2_u32.saturating_pow(guesses.checked_sub(free)?.min(10));
            let left = last.left_of(wait.min(LONGEST));
            (!left.is_zero()).then_some(left)
        });
        waits.max()
    }

    /// Whoever fills the memory must not be counted less for it.
    fn make_room_for(&mut self, key: &str) {
        if self.0.len() < MOST || self.0.contains_key(key) {
            return;
        }
        self.0.retain(|_, (_, last)| last.elapsed() < LONGEST);
        if self.0.len() >= MOST {
            let oldest = self.0.iter().max_by_key(|(_, (_, last))| last.elapsed()).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| self.0.remove(&oldest));
        }
    }
}

fn keys(name: &str, address: Option<IpAddr>) -> [String; 2] {
    let name: String = name.chars().take(100).collect();
    let network = address.map(|address| network(address).to_string()).unwrap_or_default();
    [format!("{network} {name}"), network]
}

/// What one guesser has: an address or, of IPv6, the 2^64 addresses that each customer of a network gets (RFC 6177).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> Option<IpAddr> {
        Some(address.parse().expect("an address"))
    }

    #[test]
    fn the_sixth_guess_has_to_wait_but_not_from_elsewhere_and_not_after_a_right_one() {
        let mut throttle = Throttle::default();
        let here = from("10.0.0.1");
        for _ in 0..4 {
            throttle.begin("nurse", here).expect("free");
        }
        let fifth = throttle.begin("nurse", here).expect("free");
        assert!(throttle.begin("nurse", here).is_err(), "though nobody knows yet that the five were wrong");
        throttle.begin("nurse", from("10.0.0.2")).expect("another address");
        throttle.begin("doctor", here).expect("another name");
        throttle.succeeded(fifth);
        throttle.begin("nurse", here).expect("after a right one");
    }

    #[test]
    fn an_address_that_tries_many_names_has_to_wait_too_and_longer_each_time() {
        let mut throttle = Throttle::default();
        for name in 0..20 {
            throttle.begin(&name.to_string(), from("10.0.0.1")).expect("free");
        }
        let first = throttle.begin("new", from("10.0.0.1")).expect_err("a wait");
        assert!(first <= Duration::from_secs(1));
        // As if the waits had been kept to.
        throttle.0.values_mut().for_each(|(guesses, _)| *guesses += 3);
        assert!(throttle.begin("new", from("10.0.0.1")).expect_err("a longer wait") > first);
    }

    #[test]
    fn attempts_that_nobody_judged_do_not_count_and_right_ones_do_not_keep_an_address_out() {
        let mut throttle = Throttle::default();
        for round in 0..100 {
            let attempt = throttle.begin("nurse", from("10.0.0.1")).expect("free");
            if round % 2 == 0 { throttle.withdrawn(attempt) } else { throttle.succeeded(attempt) }
        }
    }

    #[test]
    fn one_guesser_of_ipv6_is_not_many_and_an_old_address_in_new_form_is_the_same() {
        let mut throttle = Throttle::default();
        for last in 1..=5 {
            throttle.begin("nurse", from(&format!("2001:db8:0:1::{last}"))).expect("free");
        }
        assert!(throttle.begin("nurse", from("2001:db8:0:1:ffff::6")).is_err());
        throttle.begin("nurse", from("2001:db8:0:2::1")).expect("another network");
        for _ in 0..5 {
            throttle.begin("nurse", from("::ffff:10.0.0.1")).expect("free");
        }
        assert!(throttle.begin("nurse", from("10.0.0.1")).is_err());
    }

    #[test]
    fn a_full_memory_forgets_the_oldest_and_counts_the_newest() {
        let mut throttle = Throttle::default();
        for number in 0..MOST as u32 {
            drop(throttle.begin("x", Some(IpAddr::V4(number.into()))));
        }
        for _ in 0..5 {
            throttle.begin("nurse", from("192.0.2.1")).expect("free");
        }
        assert!(throttle.begin("nurse", from("192.0.2.1")).is_err());
        assert!(throttle.0.len() <= MOST);
    }
}
