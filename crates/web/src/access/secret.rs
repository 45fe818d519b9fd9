//! Secrets, and what is made of them.

use hmac::{Hmac, Mac as _};
use sha2::{Digest, Sha256};

/// What seals the forms of somebody who holds `secret`: nobody else can make it, and it does not tell the secret.
pub(crate) fn csrf_token(secret: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap_or_else(|_| panic!("HMAC takes keys of any length"));
    mac.update(b"wardwatch form");
    hex(&mac.finalize().into_bytes())
}

/// Whether two texts are the same, in a time that does not tell how far they agree.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    Sha256::digest(one) == Sha256::digest(other)
}

/// What is kept of a secret that is random itself.
#[must_use]
pub(crate) fn digest(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

/// A secret that nobody guesses, and what is kept of it.
#[must_use]
pub fn new_secret() -> (String, String) {
    let secret = hex(&random::<32>());
    let kept = digest(&secret);
    (secret, kept)
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    use rand::RngCore as _;
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
