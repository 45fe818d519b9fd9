//! Passwords as argon2id makes hashes of them, with the parameters that OWASP's Password Storage Cheat Sheet advises
//! (19 MiB, two passes), which are argon2's defaults.

use argon2::password_hash::SaltString;
use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier};

use super::random;

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

/// Whether a hash is of this password. It takes some 20 ms.
pub(in crate::dashboard) fn is_password(password: &str, hash: &str) -> bool {
    password.chars().count() <= LONGEST
        && PasswordHash::new(hash)
            .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// Takes as long as [`is_password`], so that nobody can tell whether there is a user of some name.
pub(in crate::dashboard) fn waste_the_time_of_a_password(password: &str) {
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
    }
}
