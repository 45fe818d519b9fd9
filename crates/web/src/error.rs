//! Why no page is served.

use std::net::SocketAddr;

use wardwatch_listen::ListenError;

/// Why nothing can be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address, or the certificate.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Others could reach a page that knows no users.
    #[error(
        "others can reach {address}, and there are no users yet; `wardwatch users add JOB NAME --role nurse` makes one, or \
         listen on 127.0.0.1"
    )]
    NoUsers {
        /// The address.
        address: SocketAddr,
    },
    /// The system.
    #[error("the page cannot be served")]
    System(#[from] std::io::Error),
}
