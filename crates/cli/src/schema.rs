//! `wardwatch schema`: what editors need to complete job and test files.

use clap::ValueEnum;

use wardwatch_config as config;
use wardwatch_sqltest as testing;

/// The arguments of `schema`.
#[derive(Debug, clap::Args)]
pub(super) struct Schema {
    /// Of which files
    #[arg(value_name = "OF")]
    of: Of,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Of {
    /// Job files
    Job,
    /// Files of tests
    Tests,
}

impl Schema {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.of {
            Of::Job => print!("{}", config::schema()),
            Of::Tests => print!("{}", testing::TEST_SCHEMA),
        }
        Ok(())
    }
}
