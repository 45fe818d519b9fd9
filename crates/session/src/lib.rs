//! A job in a program of one's own, as the command line runs it: [`Session`].
//!
//! It only puts together what other crates do: no step of the loop is here.

mod builder;
mod committed;
mod error;
mod offline;
mod session;

pub use arrow;
pub use chrono;
pub use polars;

pub use builder::{Builder, Column};
pub use committed::Committed;
pub use error::SessionError;
pub use offline::{Given, Offline};
pub use session::{Session, Stopper};
