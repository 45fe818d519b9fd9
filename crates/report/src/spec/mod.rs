//! A report as it is written: `reports/*.toml`, what each is made of, how often, and what its charts show.
//!
//! The typed form becomes [`plain::Spec`], in which every name of a table of data, every kind and every time is known to be right.
//! Whether columns are there is looked at in `check`, which knows tables.

pub(crate) mod folder;
pub(crate) mod plain;
mod written;
