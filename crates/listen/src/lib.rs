//! Connections: as many as are allowed, each with as much time as an honest client needs, by TLS where there is a
//! certificate; and HTTP on them.
//!
//! It does not know who may ask for what.

mod error;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr, TcpListener};
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
use socket2::{SockRef, TcpKeepalive};
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

pub use error::ListenError;

/// How long a client may take for a TLS handshake, and for the head of a request; also how long a connection may be idle.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is said to those for whom there is no room.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Type: text/plain\r\n\
    Content-Length: 46\r\nConnection: close\r\n\r\ntoo many connections; come again in 5 seconds\n";

/// To so many it is said at a time; the others are just hung up on.
const TOLD_AT_A_TIME: usize = 100;

/// That there is no room is logged once in so long.
const SAID_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// How long they may take to hear it.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// Room for connections, and a little for files and the store.
const FILES_BESIDE: u64 = 256;

/// A connection that others do not mind losing is looked after so often, once nothing has come for so long.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Who is at the other end of a connection; each request has it among its extensions.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// What connections are encrypted by.
#[derive(Debug, Clone, Copy)]
pub struct Tls<'a> {
    /// The certificate, and those that lead to it, as PEM.
    pub certificate: &'a Path,
    /// Its key, as PEM.
    pub key: &'a Path,
}

/// A connection, with or without TLS.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Where connections come in.
pub struct Listener {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
    most: usize,
}

impl Listener {
    /// Takes the address; port 0 is any free one. At most `most` connections are open at a time.
    ///
    /// # Errors
    /// The address is not there, or is taken; the certificate or its key is of no use.
    pub fn bind(address: SocketAddr, tls: Option<Tls<'_>>, most: usize) -> Result<Self, ListenError> {
        let taken = |source| ListenError::Address { address, source };
        let socket = TcpListener::bind(address).map_err(taken)?;
        socket.set_nonblocking(true).map_err(taken)?;
        let tls = tls.map(|Tls { certificate, key }| acceptor(certificate, key)).transpose()?;
        make_room_for(most as u64 + FILES_BESIDE);
        Ok(Self { socket, tls, most })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Answers requests of HTTP until it is told to stop. `full` hears of each connection for which there is no room.
    ///
    /// # Errors
    /// The system no longer lets it listen.
    pub async fn serve(
        self,
        routes: Router,
        stop: watch::Receiver<bool>,
        full: impl Fn() + Send + Sync + 'static,
    ) -> std::io::Result<()> {
        let stopping = stop.clone();
        let answer = move |stream, peer| answer(stream, peer, routes.clone(), stopping.clone());
        self.each(stop, answer, (Full::Told, &full)).await
    }

    /// Has `take` see to each connection until it is told to stop; those for which there is no room are hung up on, and `full` hears of
    /// each.
    ///
    /// # Errors
    /// The system no longer lets it listen.
    pub async fn each_connection<F: Future<Output = ()> + Send + 'static>(
        self,
        stop: watch::Receiver<bool>,
        take: impl Fn(Box<dyn Stream>, SocketAddr) -> F + Clone + Send + 'static,
        full: impl Fn() + Send + Sync + 'static,
    ) -> std::io::Result<()> {
        self.each(stop, take, (Full::HungUp, &full)).await
    }

    async fn each<F: Future<Output = ()> + Send + 'static>(
        self,
        mut stop: watch::Receiver<bool>,
        take: impl Fn(Box<dyn Stream>, SocketAddr) -> F + Clone + Send + 'static,
        (full, is_full): (Full, &(impl Fn() + Sync)),
    ) -> std::io::Result<()> {
        let socket = tokio::net::TcpListener::from_std(self.socket)?;
        let (room, told) = (Arc::new(Semaphore::new(self.most)), Arc::new(Semaphore::new(TOLD_AT_A_TIME)));
        let mut said: Option<tokio::time::Instant> = None;
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
                is_full();
                if said.is_none_or(|said| said.elapsed() > SAID_AGAIN_AFTER) {
                    said = Some(tokio::time::Instant::now());
                    tracing::warn!(connections = self.most, %peer, "there is no room for a connection");
                }
                if let (Full::Told, Ok(permit)) = (full, Arc::clone(&told).try_acquire_owned()) {
                    tokio::spawn(async move {
                        drop(timeout(TOLD_WITHIN, say_full(stream)).await);
                        drop(permit);
                    });
                }
                continue;
            };
            let (take, tls) = (take.clone(), self.tls.clone());
            tokio::spawn(async move {
                drop(stream.set_nodelay(true));
                // Or a peer that was switched off would keep its place for ever.
                let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4);
                drop(SockRef::from(&stream).set_tcp_keepalive(&keepalive));
                match tls {
                    None => take(Box::new(stream), peer).await,
                    Some(tls) => {
                        if let Ok(Ok(stream)) = timeout(PATIENCE, tls.accept(stream)).await {
                            take(Box::new(stream), peer).await;
                        }
                    }
                }
                drop(permit);
            });
        }
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("socket", &self.socket).field("most", &self.most).finish_non_exhaustive()
    }
}

/// What becomes of those for whom there is no room.
#[derive(Debug, Clone, Copy)]
enum Full {
    Told,
    HungUp,
}

/// Answers what comes on one connection.
async fn answer(stream: Box<dyn Stream>, peer: SocketAddr, routes: Router, mut stop: watch::Receiver<bool>) {
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

fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, ListenError> {
    let wrong = |file: &Path, reason: String| ListenError::Certificate { file: PathBuf::from(file), reason };
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
