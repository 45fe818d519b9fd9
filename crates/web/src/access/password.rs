//! Passwords as argon2id makes hashes of them, with the parameters that OWASP's Password Storage Cheat Sheet advises
//! (19 MiB, two passes), which are argon2's defaults.

use std::sync::Arc;

use argon2::password_hash::SaltString;
use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;

use super::secret::random;

/// NIST SP 800-63B wants eight at the least, and no rules on what they are.
const SHORTEST: usize = 10;

/// Hashing takes longer the longer they are.
const LONGEST: usize = 200;

/// Why a text is no password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Of the wrong length.
    #[error("a password has {SHORTEST} to {LONGEST} characters; this has {0}")]
    Length(usize),
    /// argon2 failed.
    #[error("the password cannot be hashed: {0}")]
    Hash(String),
}

/// The hash of a password in the PHC string format, with a salt of its own.
///
/// # Errors
/// It is too short or too long.
pub fn hash_password(password: &str) -> Result<String, PasswordError> {
    let length = password.chars().count();
    if !(SHORTEST..=LONGEST).contains(&length) {
        return Err(PasswordError::Length(length));
    }
    let failed = |error: argon2::password_hash::Error| PasswordError::Hash(error.to_string());
    let salt = SaltString::encode_b64(&random::<16>()).map_err(failed)?;
    Ok(Argon2::default().hash_password(password.as_bytes(), &salt).map_err(failed)?.to_string())
}

/// Whether no password is as long as this.
pub(crate) fn is_too_long(password: &str) -> bool {
    password.chars().count() > LONGEST
}

/// So many passwords are compared at a time: the job and its pages need the processor too.
const AT_A_TIME: usize = 1;

/// So many may wait for that, together with the one in hand: some 0.2 s.
const MOST_WAITING: usize = 8;

/// Compares passwords with hashes, few at a time, so that nothing else waits for it.
#[derive(Debug)]
pub(crate) struct Comparing {
    queue: Arc<Semaphore>,
    working: Arc<Semaphore>,
}

/// A place in the queue, from before the user is looked up until the password is known to be right or wrong.
#[derive(Debug)]
pub(crate) struct Place(tokio::sync::OwnedSemaphorePermit);

impl Default for Comparing {
    fn default() -> Self {
        Self { queue: Arc::new(Semaphore::new(MOST_WAITING)), working: Arc::new(Semaphore::new(AT_A_TIME)) }
    }
}

impl Comparing {
    /// A place in the queue; `None` where it is full.
    pub(crate) fn place(&self) -> Option<Place> {
        Arc::clone(&self.queue).try_acquire_owned().ok().map(Place)
    }

    /// Whether `hash` is of this password; it takes some 20 ms, and as long where there is no hash, so that nobody can tell
    /// whether there is a user of some name.
    pub(crate) async fn is_password(&self, Place(place): Place, password: String, hash: Option<String>) -> bool {
        let working = Arc::clone(&self.working).acquire_owned().await;
        let compared = tokio::task::spawn_blocking(move || {
            // Kept until the work is done, even where nobody waits for it any more.
            let _kept = (working, place);
            match hash {
                Some(hash) => is_password(&password, &hash),
                None => {
                    waste_the_time_of_a_password(&password);
                    false
                }
            }
        });
        compared.await.unwrap_or(false)
    }
}

/// Whether a hash is of this password.
fn is_password(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// Takes as long as [`is_password`].
fn waste_the_time_of_a_password(password: &str) {
    let salt = SaltString::encode_b64(&[0; 16]);
    drop(
        salt.and_then(|salt| Argon2::default().hash_password(password.as_bytes(), &salt).map(|hash| hash.to_string())),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_told_from_others_and_hashed_anew_each_time() {
        let hash = hash_password("correct horse").expect("long enough");
        assert!(hash.starts_with("$argon2id$"));
        assert!(is_password("correct horse", &hash));
        assert!(!is_password("correct horsE", &hash));
        assert!(!is_password("correct horse", "nonsense"));
        assert_ne!(hash_password("correct horse").expect("long enough"), hash);
        assert_eq!(hash_password("short"), Err(PasswordError::Length(5)));
        assert_eq!(hash_password(&"x".repeat(201)), Err(PasswordError::Length(201)));
        assert!(is_too_long(&"x".repeat(201)) && !is_too_long(&"ü".repeat(200)));
    }

    #[test]
    fn the_queue_is_bounded_and_a_place_is_free_again_when_its_password_was_compared() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let comparing = Comparing::default();
        let mut places: Vec<Place> = std::iter::from_fn(|| comparing.place()).collect();
        assert_eq!(places.len(), MOST_WAITING);
        let hash = hash_password("correct horse").expect("long enough");
        let place = places.pop().expect("a place");
        assert!(runtime.block_on(comparing.is_password(place, "correct horse".to_owned(), Some(hash))));
        let place = comparing.place().expect("it is free again");
        assert!(!runtime.block_on(comparing.is_password(place, "correct horse".to_owned(), None)));
    }
}
