//! Where log lines go: to standard error, filtered by `WARDWATCH_LOG`, `info` by default; and what is told of a panic.
//!
//! A panic is a fault of wardwatch. It is told where it happened, by thread and place; whoever joins the thread decides what
//! becomes of it, and none does so silently.

use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::thread::JoinHandle;

use tracing_subscriber::EnvFilter;

/// Starts logging for the process, and has panics logged. A second call changes nothing.
///
/// `default` is the filter while `WARDWATCH_LOG` is unset, in the syntax of `tracing_subscriber::EnvFilter`.
pub fn init(default: &str) {
    let filter = EnvFilter::try_from_env("WARDWATCH_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
    match started {
        Ok(()) => std::panic::set_hook(Box::new(tell_panic)),
        Err(_) => tracing::debug!("logging was already started"),
    }
}

/// A message that was put together may hold a patient's values; one that stands in the code cannot.
fn tell_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("without a name");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("not shown: it may hold values");
    tracing::error!(thread, place, message, "a thread panicked: a fault of wardwatch");
}

/// A thread that panicked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the thread \"{thread}\" panicked; the log says where. What was committed stands, and a restart goes on from there"
)]
pub struct Panicked {
    /// What the thread is called.
    pub thread: String,
}

impl Panicked {
    /// The panic of the thread called `name`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self { thread: name.to_owned() }
    }
}

/// Waits for the end of a thread.
///
/// # Errors
/// It panicked.
pub fn join<T>(thread: JoinHandle<T>) -> Result<T, Panicked> {
    let name = thread.thread().name().unwrap_or("without a name").to_owned();
    thread.join().map_err(|_| Panicked { thread: name })
}

/// Does work whose panic is not to end the thread. The caller goes on with nothing that the work may have left half done.
///
/// # Errors
/// It panicked.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|_| Panicked::of(std::thread::current().name().unwrap_or("without a name")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_that_names_its_thread() {
        let builder = std::thread::Builder::new().name("fetch".to_owned());
        let thread = builder.spawn(|| panic!("it is meant to")).expect("a thread");
        assert_eq!(join(thread), Err(Panicked::of("fetch")));
        assert_eq!(caught(|| 1), Ok(1));
        assert!(caught(|| panic!("it is meant to")).is_err());
    }
}
