//! The words of the field as types, and the plain data that stages hand on. It computes next to nothing, and knows neither
//! DataFusion nor Polars nor Kafka's library.

pub mod clock;
pub mod diagnostic;
pub mod encounter;
pub mod event_time;
pub mod header;
pub mod health;
pub mod record;
pub mod stored;
pub mod telemetry;
pub mod terms;
pub mod topics;
