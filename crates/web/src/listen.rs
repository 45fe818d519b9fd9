//! Connections: as many as are allowed, each with as much time as an honest client needs, by TLS where there is a
//! certificate.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tower::ServiceExt;

use wardwatch_config::Privacy;

use super::access::Peer;
use super::error::ServeError;

/// How long a client may take for a TLS handshake, and for the head of a request; also how long a connection may be idle.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is said to those for whom there is no room.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Type: text/plain\r\n\
    Content-Length: 46\r\nConnection: close\r\n\r\ntoo many connections; come again in 5 seconds\n";

/// To so many it is said at a time; the others are just hung up on.
const TOLD_AT_A_TIME: usize = 100;

/// How long they may take to hear it.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// Room for connections, and a little for files and the store.
const FILES_BESIDE: u64 = 256;

/// Where connections come in.
pub(super) struct Listener {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
    most: usize,
}

impl Listener {
    /// Takes the address; port 0 is any free one.
    pub(super) fn bind(address: SocketAddr, privacy: &Privacy, most: usize) -> Result<Self, ServeError> {
        let taken = |source| ServeError::Address { address, source };
        let socket = TcpListener::bind(address).map_err(taken)?;
        socket.set_nonblocking(true).map_err(taken)?;
        let tls = match privacy {
            Privacy::Tls { certificate, key } => Some(acceptor(certificate, key)?),
            Privacy::Plain | Privacy::Proxy => None,
        };
        make_room_for(most as u64 + FILES_BESIDE);
        Ok(Self { socket, tls, most })
    }

    pub(super) fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until it is told to stop.
    pub(super) async fn serve(self, routes: Router, mut stop: watch::Receiver<bool>) -> std::io::Result<()> {
        let socket = tokio::net::TcpListener::from_std(self.socket)?;
        let (room, told) = (Arc::new(Semaphore::new(self.most)), Arc::new(Semaphore::new(TOLD_AT_A_TIME)));
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                _ = stop.changed() => return Ok(()),
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // A client that is gone already, or no more files: others are to end first.
                    tracing::warn!(%error, "a connection cannot be taken");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                if let Ok(permit) = Arc::clone(&told).try_acquire_owned() {
                    tokio::spawn(async move {
                        drop(timeout(TOLD_WITHIN, say_full(stream)).await);
                        drop(permit);
                    });
                }
                continue;
            };
            let (routes, tls, stop) = (routes.clone(), self.tls.clone(), stop.clone());
            tokio::spawn(async move {
                drop(stream.set_nodelay(true));
                match tls {
                    None => answer(stream, peer, routes, stop).await,
                    Some(tls) => {
                        if let Ok(Ok(stream)) = timeout(PATIENCE, tls.accept(stream)).await {
                            answer(stream, peer, routes, stop).await;
                        }
                    }
                }
                drop(permit);
            });
        }
    }
}

/// Answers what comes on one connection.
async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    routes: Router,
    mut stop: watch::Receiver<bool>,
) {
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer.ip()));
        let routes = routes.clone();
        async move { Ok::<Response, Infallible>(routes.oneshot(request).await.unwrap_or_else(|never| match never {})) }
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .serve_connection(TokioIo::new(stream), service)
    );
    tokio::select! {
        // A client that goes away in the middle is no matter of ours.
        _ = connection.as_mut() => {}
        _ = stop.changed() => connection.as_mut().graceful_shutdown(),
    }
}

/// Tells a client that there is no room. It is waited for, or it would not hear it over what it says itself.
async fn say_full(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(FULL).await?;
    stream.shutdown().await?;
    let mut ignored = [0; 1_024];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}

fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, ServeError> {
    let wrong = |file: &Path, reason: String| ServeError::Certificate { file: PathBuf::from(file), reason };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(wrong(certificate, "there is no certificate in it".to_owned()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, error.to_string()))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(certificate, error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| wrong(key, error.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// A connection is a file to the system, which allows few by default.
fn make_room_for(files: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limits = getrlimit(Resource::Nofile);
    if limits.current.is_some_and(|current| current < files) {
        let wanted = limits.maximum.map_or(files, |most| most.min(files));
        if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limits.maximum }) {
            tracing::warn!(%error, "there may be no room for as many connections as are allowed");
        }
    }
}
