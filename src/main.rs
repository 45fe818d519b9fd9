//! The program: reads the command line, runs one command, tells how it ended.

fn main() -> std::process::ExitCode {
    wardwatch::cli::main()
}
