//! When reports may take the machine: between a commit and the closing of the next batch.
//!
//! On few cores a report and a batch at the same time slow each other, and only the batch is waited for.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use wardwatch_model::clock::Stopwatch;

/// A report takes some tens of milliseconds: none is begun so close before the next batch.
const MARGIN: Duration = Duration::from_millis(100);

/// Since when, and for how long, the job does nothing; `None` before its first commit.
type Free = Option<(Stopwatch, Duration)>;

/// What the job tells the reports' thread: that it has committed, and for how long it will do nothing.
#[derive(Debug, Clone)]
pub struct Pace {
    every: Duration,
    free: Arc<(Mutex<Free>, Condvar)>,
}

impl Pace {
    /// For a job that closes a batch `every` so often.
    #[must_use]
    pub fn new(every: Duration) -> Self {
        Self { every, free: Arc::default() }
    }

    /// A batch was committed, so long after it closed.
    pub fn committed(&self, latency: Duration) {
        let free = self.every.saturating_sub(latency).saturating_sub(MARGIN);
        *self.free.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Stopwatch::start(), free));
        self.free.1.notify_all();
    }

    /// Waits until the job has nothing to do. Not for long: where it always has, reports are made all the same, slowly; and where
    /// it has not committed for a while, nobody is in the way.
    pub(super) fn wait(&self) {
        let waiting = Stopwatch::start();
        let mut free = self.free.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match *free {
                Some((since, length)) if since.elapsed() >= length && since.elapsed() < 2 * self.every => {}
                _ => return,
            }
            let left = waiting.left_of(2 * self.every);
            if left.is_zero() {
                return;
            }
            free = self.free.1.wait_timeout(free, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a wait is over before somebody says that a batch was committed.
    fn waits(pace: &Pace) -> bool {
        let waiting = Stopwatch::start();
        pace.wait();
        waiting.elapsed() >= Duration::from_millis(50)
    }

    #[test]
    fn reports_are_made_after_a_commit_and_not_while_a_batch_may_be_due() {
        let pace = Pace::new(Duration::from_secs(3_600));
        assert!(!waits(&pace), "nothing was committed yet");
        pace.committed(Duration::from_millis(10));
        assert!(!waits(&pace), "the next batch is an hour away");
        // A batch that took as long as the time between two leaves none.
        pace.committed(Duration::from_secs(3_600));
        let teller = pace.clone();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            teller.committed(Duration::ZERO);
        });
        assert!(waits(&pace), "until the next commit");
        thread.join().expect("it ends");
    }

    #[test]
    fn a_job_that_never_rests_holds_reports_up_but_does_not_stop_them() {
        let pace = Pace::new(Duration::from_millis(40));
        pace.committed(Duration::from_secs(1));
        assert!(waits(&pace));
        assert!(!waits(&pace), "it has not committed for a while");
    }
}
