//! The streams of each patient: what orders samples, how each device's clock stands, and until when each vital is known.
//!
//! A *stream* is a patient's records of one partition and, where the job names one, one device. Within it, order is a
//! matter of the columns that a rule depends on: a saturation is not older than a saturation because a heart rate of
//! another device has a later time. Rules with the same columns share a [`ColumnSet`], and each set of a stream is
//! cut into *lanes*, runs of samples whose event times ascend:
//!
//! ```text
//!   as they came   30   0  31   1  32   2   (two devices that the job cannot tell apart, clocks 30 s apart)
//!   lane 0         30      31      32
//!   lane 1              0       1       2
//! ```
//!
//! So every sample is judged in the order of its own device's clock. Where the clocks of two such devices agree, their
//! values tell them apart, which alternate. What is no lane of its own: a sample that came
//! before, with the same time and values, is a *re-send* and judges nothing; so is one out of a span that is known
//! already, unless its samples keep pace with Kafka's stamps, for then it is a clock that was set back.
//!
//! A clock that stands still, or tells whole minutes, goes on as Kafka's stamps do.
//!
//! Clocks are compared on one axis, that of Kafka's stamps: a lane's *delay* is how far its event times lie behind
//! them. Where the topic has no stamps, the newest event time of the partition stands in.
//!
//! All of it is a function of the records in their order and of the logged `now`s. It reads no clock, decides about no
//! alert, and can be saved and read back.

mod begin;
mod columns;
pub(crate) mod id;
mod lane;
mod lanes;
mod levels;
mod pace;
mod record;
pub(crate) mod row;
pub(crate) mod samples;
pub(super) mod saved;
mod seen;
pub(crate) mod shape;
pub(crate) mod state;
mod stream;
mod told;

use record::Record;
use stream::{LastValue, Stream};

pub use begin::Origin;
pub(super) use columns::texts;
pub use lane::CLOCK_TOLERANCE;
pub(super) use lanes::Placed;
pub use shape::{ColumnSet, SetId, Shape};
pub use stream::Step;
pub(super) use told::Others;
pub use told::{Arrivals, Clock, Known, Needs};
