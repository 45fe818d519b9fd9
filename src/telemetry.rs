//! Where log lines go: to standard error, filtered by `WARDWATCH_LOG`, `info` by default.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging for the process. A second call changes nothing.
///
/// `default` is the filter while `WARDWATCH_LOG` is unset, in the syntax of `tracing_subscriber::EnvFilter`.
pub fn init(default: &str) {
    let filter = EnvFilter::try_from_env("WARDWATCH_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
    if started.is_err() {
        tracing::debug!("logging was already started");
    }
}
