//! Connections to the store that requests share: a few, made when they are needed, each used by one at a time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use wardwatch_config::StoreUrl;
use wardwatch_model::health::Health;
use wardwatch_store::{Store, StoreError};

/// As many requests read the store at a time; the others wait. The job's own connection is not among them.
const AT_A_TIME: usize = 4;

/// How long a reply of the store may take, so that a connection that leads nowhere is given up in time.
pub(super) const PAGE_PATIENCE: Duration = Duration::from_secs(30);

/// Whoever waits for the store looks so often whether it is away.
const LOOK: Duration = Duration::from_millis(250);

/// Connections that are handed out and taken back.
#[derive(Debug, Clone)]
pub(super) struct Stores {
    url: Arc<StoreUrl>,
    job: Arc<str>,
    idle: Arc<Mutex<Vec<Store>>>,
    permits: Arc<Semaphore>,
    /// Whether the store answers the page.
    health: Health,
}

impl Stores {
    pub(super) fn new(url: &StoreUrl, job: &str, health: &Health) -> Self {
        Self {
            url: Arc::new(url.clone()),
            job: job.into(),
            idle: Arc::default(),
            permits: Arc::new(Semaphore::new(AT_A_TIME)),
            health: health.clone(),
        }
    }

    /// Does something with a connection on a thread that may wait. While the page's reader has no answer of the store either,
    /// nobody waits for one: what can be told without it is told at once.
    ///
    /// # Errors
    /// What `ask` says, or that there is no connection. A connection that an error came from is not used again.
    pub(super) async fn with<T, E>(&self, ask: impl FnOnce(&mut Store) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let asked = self.ask(ask);
        tokio::pin!(asked);
        loop {
            if self.health.store_away().is_some() {
                return Err(E::from(StoreError::Unavailable("it does not answer the page".to_owned())));
            }
            if let Ok(answer) = tokio::time::timeout(LOOK, &mut asked).await {
                return answer;
            }
        }
    }

    async fn ask<T, E>(&self, ask: impl FnOnce(&mut Store) -> Result<T, E> + Send + 'static) -> Result<T, E>
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
                None => Store::connect_with(&stores.url, &stores.job, PAGE_PATIENCE)?,
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
