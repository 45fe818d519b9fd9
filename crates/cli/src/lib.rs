//! The command line: what the user typed, one file per command, exit codes.
//!
//! Commands print; nothing else does. Exit codes: 0 done, 1 the input is wrong, 2 usage, 3 a service cannot be reached, 4
//! (`status`) something is not being watched, 70 a fault of wardwatch itself (`EX_SOFTWARE` of sysexits): a restart goes on behind
//! the last commit.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is what a command line is for")]

mod alerts;
mod arguments;
mod backtest;
mod check;
mod demo;
mod encounters;
mod explain;
mod gateway;
mod limits;
mod new;
mod preview;
mod rejects;
mod report;
mod run;
mod sample;
mod samples;
mod schema;
mod serve;
mod show;
mod simulate;
mod status;
mod stop;
mod table;
mod test;
mod users;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use wardwatch_gateway::GatewayError;
use wardwatch_ingest::source::SourceError;
use wardwatch_kafka::KafkaError;
use wardwatch_model::diagnostic::Diagnostics;
use wardwatch_model::telemetry::Panicked;
use wardwatch_pipeline::{PastError, RunError};
use wardwatch_report::ReportError;
use wardwatch_store::StoreError;

/// Watches patients' vitals: Kafka to SQL rules to MySQL, exactly once, with charts.
///
/// For demonstration and research; no medical device.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show everything in one process, with nothing to install
    Demo(demo::Demo),
    /// Write a first job file from samples of a topic
    New(new::New),
    /// Run a job: pull, query, commit, once a second
    Run(run::Run),
    /// Find every fault of a job and its queries, without Kafka and without a store
    Check(check::Check),
    /// Run the tests of a job's queries, without Kafka and without a store
    Test(test::Test),
    /// Show what one query, or a draft of one, gives on sample records or on the newest of the topic
    Preview(preview::Preview),
    /// Show what becomes of sample records, value by value, or of the newest of the topic
    Sample(sample::Sample),
    /// Show the records that became no rows: what is wrong with them, and where
    Rejects(rejects::Rejects),
    /// Tell what a query reads and keeps, how it is computed, and what it costs
    Explain(explain::Explain),
    /// Print the JSON Schema of job or test files, for completion in editors
    Schema(schema::Schema),
    /// Draw charts from what the store holds
    Report(report::Report),
    /// Serve the live page from what the store holds
    Serve(serve::Serve),
    /// Take messages of devices by MLLP, HTTP and MQTT, and put them on the job's topic
    Gateway(gateway::Gateway),
    /// Say who may see the page and do what, and show who did
    Users(users::Users),
    /// Produce realistic patients, or recordings, to the job's topic
    Simulate(simulate::Simulate),
    /// Tell how a job stands, and what it does not watch (exit code 4): batches, lag, open episodes, failing queries
    Status(status::Status),
    /// Show alerts, take them on, pause and silence them
    Alerts(alerts::Alerts),
    /// Say who comes, moves and goes, and show who is here
    Encounters(encounters::Encounters),
    /// Show and set alarm limits
    Limits(limits::Limits),
    /// Try a rule on records of the past before it is switched on
    Backtest(backtest::Backtest),
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    end_quietly_with_the_reader();
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Command::Demo(command) => command.run(),
        Command::Run(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Preview(command) => command.run(),
        Command::Sample(command) => command.run(),
        Command::Rejects(command) => command.run(),
        Command::New(command) => command.run(),
        Command::Explain(command) => command.run(),
        Command::Schema(command) => command.run(),
        Command::Test(command) => command.run(),
        Command::Report(command) => command.run(),
        Command::Serve(command) => command.run(),
        Command::Gateway(command) => command.run(),
        Command::Users(command) => command.run(),
        Command::Simulate(command) => command.run(),
        Command::Status(command) => command.run(),
        Command::Alerts(command) => command.run(),
        Command::Encounters(command) => command.run(),
        Command::Limits(command) => command.run(),
        Command::Backtest(command) => command.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Faults of files start with their place and stand alone.
            let faults = match error.downcast_ref::<GatewayError>() {
                Some(GatewayError::Forms(faults)) => Some(faults),
                _ => error.downcast_ref(),
            };
            if let Some(faults) = faults {
                let faults: &Diagnostics = faults;
                faults.0.iter().for_each(|fault| eprint!("{}", show::fault(fault)));
            } else {
                eprintln!("error: {error}");
                error.chain().skip(1).for_each(|cause| eprintln!("  because: {cause}"));
            }
            ExitCode::from(exit_code(&error))
        }
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    const WRONG_INPUT: u8 = 1;
    const UNREACHABLE: u8 = 3;
    const UNWATCHED: u8 = 4;
    const PANICKED: u8 = 70;
    if error.is::<status::Unwatched>() {
        return UNWATCHED;
    }
    let panicked = error.chain().any(|cause| {
        cause.is::<Panicked>()
            || matches!(cause.downcast_ref::<SourceError>(), Some(SourceError::Panicked(_)))
            || matches!(
                cause.downcast_ref::<RunError>(),
                Some(RunError::Panicked(_) | RunError::Source(SourceError::Panicked(_)))
            )
    });
    if panicked {
        return PANICKED;
    }
    let unreachable = error.chain().any(|cause| {
        cause.downcast_ref::<StoreError>().is_some_and(StoreError::is_transient)
            || cause.downcast_ref::<KafkaError>().is_some_and(KafkaError::is_transient)
            || matches!(cause.downcast_ref::<GatewayError>(), Some(GatewayError::Kafka(error)) if error.is_transient())
            || cause.downcast_ref::<SourceError>().is_some_and(SourceError::is_transient)
            || cause.downcast_ref::<RunError>().is_some_and(RunError::is_transient)
            || cause.downcast_ref::<ReportError>().is_some_and(ReportError::is_transient)
            || cause.downcast_ref::<PastError>().is_some_and(PastError::is_transient)
    });
    if unreachable { UNREACHABLE } else { WRONG_INPUT }
}

/// Ends the program without a word when nobody reads any more what it prints (`… | head`), as a Unix program ends by SIGPIPE.
fn end_quietly_with_the_reader() {
    /// What a shell says of a program that SIGPIPE has ended.
    const ENDED_BY_SIGPIPE: i32 = 141;
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload_as_str().unwrap_or_default();
        if message.starts_with("failed printing to stdout") && message.contains("Broken pipe") {
            std::process::exit(ENDED_BY_SIGPIPE);
        }
        tell(panic);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_restart_mends_has_another_code_than_what_it_does_not() {
        let check = |error: anyhow::Error, code: u8| assert_eq!(exit_code(&error), code, "{error}");
        let panicked = || Panicked::of("fetch");
        check(panicked().into(), 70);
        check(RunError::from(panicked()).into(), 70);
        check(RunError::from(SourceError::from(panicked())).into(), 70);
        check(RunError::from(StoreError::Blocked("in use".to_owned())).into(), 3);
        check(RunError::from(StoreError::Unavailable("away".to_owned())).into(), 3);
        check(RunError::from(StoreError::Refused("wrong".to_owned())).into(), 1);
    }
}
