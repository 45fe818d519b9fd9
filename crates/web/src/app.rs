//! What every request may look at.

use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::watch;

use wardwatch_config::Job;

use super::access::state::Access;
use super::live::Live;
use super::services::Services;
use super::stores::Stores;

/// What every request may look at.
#[derive(Debug, Clone)]
pub(crate) struct App(pub(crate) Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) job: Job,
    pub(crate) services: Services,
    pub(crate) stores: Stores,
    pub(crate) live: Live,
    pub(crate) access: Access,
    /// Turns true when the page ends.
    pub(crate) stop: watch::Receiver<bool>,
}

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
