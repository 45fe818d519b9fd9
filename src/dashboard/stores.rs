//! Connections to the store that requests share: a few, made when they are needed, each used by one at a time.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use crate::config::StoreUrl;
use crate::store::{Store, StoreError};

/// As many requests read the store at a time; the others wait. The job's own connection is not among them.
const AT_A_TIME: usize = 4;

/// Connections that are handed out and taken back.
#[derive(Debug, Clone)]
pub(super) struct Stores {
    url: Arc<StoreUrl>,
    job: Arc<str>,
    idle: Arc<Mutex<Vec<Store>>>,
    permits: Arc<Semaphore>,
}

impl Stores {
    pub(super) fn new(url: &StoreUrl, job: &str) -> Self {
        Self {
            url: Arc::new(url.clone()),
            job: job.into(),
            idle: Arc::default(),
            permits: Arc::new(Semaphore::new(AT_A_TIME)),
        }
    }

    /// Does something with a connection on a thread that may wait.
    ///
    /// # Errors
    /// What `ask` says, or that there is no connection. A connection that an error came from is not used again.
    pub(super) async fn with<T, E>(&self, ask: impl FnOnce(&mut Store) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let gone = |what: &str| E::from(StoreError::Unavailable(what.to_owned()));
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| gone("the page is ending"))?;
        let stores = self.clone();
        let asked = tokio::task::spawn_blocking(move || {
            // Kept until the work is done, even where nobody waits for it any more.
            let _permit = permit;
            let idle = stores.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut store = match idle {
                Some(store) => store,
                None => Store::connect(&stores.url, &stores.job)?,
            };
            let answer = ask(&mut store);
            if answer.is_ok() {
                stores.idle.lock().unwrap_or_else(PoisonError::into_inner).push(store);
            }
            answer
        });
        asked.await.unwrap_or_else(|_| Err(gone("a request failed in itself")))
    }
}
