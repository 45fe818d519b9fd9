//! Tests of queries over time: `tests/*.toml` of a set, run on the engine of the job without Kafka, store or clock.
//!
//! A [`TestFile`] is what a person wrote, [`Checked`] the same held against the plan: names exist, cells have the types of
//! their columns. [`run()`] gives each test its batches in several manners ([`ReplayMode`]) and tells what differs from what is
//! expected; [`update()`] writes what was found in place of it. Nothing here prints.

mod cell;
mod checked;
mod differ;
mod file;
mod given;
mod junit;
mod mode;
mod pipe;
mod run;
mod stage;
mod update;
mod views;

pub use crate::mode::ReplayMode;
pub use checked::{Checked, check};
pub use file::{TEST_SCHEMA, TestFile, load};
pub use junit::junit;
pub use run::{Failure, Report, TestResult, Thoroughness, run};
pub use update::update;
