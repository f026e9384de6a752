//! Connections: so many at once, each with a time for its greeting, its head and its life, with TLS where a certificate is
//! given. One that hangs holds up no other, and none outlives the end.

use crate::daemon::http::site::{Peer, Site, routes};
use axum::Router;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Connections at once; the next one waits.
const CONNECTIONS_MAX: usize = 256;
/// For the greeting of TLS, and for the head of a request, which an idle connection waits for.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// A connection's life. Whoever wants more opens another one.
const LIFE: Duration = Duration::from_secs(600);
/// What requests in progress get at the end.
const GRACE: Duration = Duration::from_secs(3);
/// After a connection that could not be taken, such as for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// A certificate with its key, which may be read again when it was renewed.
#[derive(Debug)]
pub struct Tls {
    cert_file: PathBuf,
    key_file: PathBuf,
    config: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads both files.
    pub fn load(cert_file: &Path, key_file: &Path) -> Result<Tls, String> {
        let config = RwLock::new(read(cert_file, key_file)?);
        Ok(Tls { cert_file: cert_file.to_owned(), key_file: key_file.to_owned(), config })
    }

    /// Reads both again. Where that fails, the old ones stay.
    pub fn reload(&self) -> Result<(), String> {
        let fresh = read(&self.cert_file, &self.key_file)?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn read(cert_file: &Path, key_file: &Path) -> Result<Arc<ServerConfig>, String> {
    let bytes = |path: &Path| std::fs::read(path).map_err(|e| format!("{} cannot be read: {e}", path.display()));
    let wrong = |path: &Path, why: String| format!("{} cannot be used: {why}", path.display());
    let chain = CertificateDer::pem_slice_iter(&bytes(cert_file)?).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|e| wrong(cert_file, e.to_string()))?;
    if chain.is_empty() {
        return Err(wrong(cert_file, "it holds no certificate in PEM".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(&bytes(key_file)?)
        .map_err(|e| wrong(key_file, format!("it holds no private key in PEM ({e})")))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| format!("{} does not go with {}: {e}", key_file.display(), cert_file.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Serves until `stop` ends, and a little longer for what is in progress.
pub async fn serve(listener: TcpListener, tls: Option<Arc<Tls>>, site: Arc<Site>, stop: impl Future<Output = ()>) {
    let router = routes(site);
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (ending, end) = watch::channel(false);
    let mut open = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        while open.try_join_next().is_some() {}
        let next = async {
            let slot = slots.clone().acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            () = &mut stop => break,
            next = next => next,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (router, tls, end) = (router.clone(), tls.clone(), end.clone());
                open.spawn(async move {
                    connection(stream, peer, tls, router, end).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not taken");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    // Nobody is left to hear it where all are gone.
    let _ = ending.send(true);
    let _ = tokio::time::timeout(GRACE, async { while open.join_next().await.is_some() {} }).await;
    open.shutdown().await;
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<Tls>>,
    router: Router,
    end: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "no TCP_NODELAY");
    }
    let Some(tls) = tls else { return requests(stream, peer, router, end).await };
    match tokio::time::timeout(HEAD_TIME, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => requests(stream, peer, router, end).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS"),
        Err(_) => tracing::debug!(%peer, "no greeting of TLS in time"),
    }
}

async fn requests(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    peer: SocketAddr,
    router: Router,
    mut end: watch::Receiver<bool>,
) {
    let router = router.layer(axum::Extension(Peer(peer)));
    let answer = TowerToHyperService::new(router);
    let answer = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        hyper::service::Service::call(&answer, request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = over(&mut end) => None,
        () = tokio::time::sleep(LIFE) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(GRACE, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

/// Ends when the server does.
async fn over(end: &mut watch::Receiver<bool>) {
    // The sender is gone only after it has said so.
    let _ = end.wait_for(|ending| *ending).await;
}
