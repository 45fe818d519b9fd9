//! Why no page is served.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why nothing can be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is not there, or is taken.
    #[error("{address} cannot be listened on")]
    Address {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Others could reach a page that knows no users.
    #[error(
        "others can reach {address}, and there are no users yet; `wardwatch users add JOB NAME --role nurse` makes one, or \
         listen on 127.0.0.1"
    )]
    NoUsers {
        /// The address.
        address: SocketAddr,
    },
    /// The certificate or its key.
    #[error("\"{}\" cannot be used for TLS: {reason}", .file.display())]
    Certificate {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// The system.
    #[error("the page cannot be served")]
    System(#[from] std::io::Error),
}
