//! The program as its users meet it: the real binary, a real Kafka broker, real databases.
//!
//! `make test` starts the services and sets `KAFKA_BROKERS`, `MYSQL_URL` and `MARIADB_URL`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub
)]

mod access;
mod admissions;
mod alerts;
mod authoring;
mod begin;
mod browser;
mod circles;
mod cluster;
mod coverage;
mod delivery;
mod demo;
mod encounters;
mod episodes;
mod exactly_once;
mod faults;
mod fhir;
mod field;
mod fixtures;
mod forms;
mod gateway;
mod golden;
mod guide;
mod layers;
mod news2;
mod oracle;
mod outage;
mod page;
mod periods;
mod proxy;
mod queries;
mod receiver;
mod records;
mod recovery;
mod references;
mod registry;
mod reload;
mod replays;
mod report_guide;
mod reports;
mod services;
mod session;
mod several_devices;
mod shipped_rules;
mod simulator;
mod source;
mod source_sql;
mod sources;
mod standby;
mod store_faults;
mod stores;
mod topics;
mod upgrade;
mod values;
mod ward_disorder;
mod ward_live;
mod webdriver;
mod windows;
