//! A tiny HTTPS server that says what a test tells it to, on loopback, with a certificate made on the spot.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: hyper::HeaderMap,
    pub(super) body: String,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// What the server is to say.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) reason: Option<&'static str>,
    pub(super) body: String,
    pub(super) delay: Duration,
    /// Close the connection instead of answering.
    pub(super) is_cut: bool,
}

impl Reply {
    pub(super) fn data(json: &str) -> Reply {
        Reply::with(200, None, &format!("{{\"data\":{json}}}"))
    }

    pub(super) fn with(status: u16, reason: Option<&'static str>, body: &str) -> Reply {
        Reply { status, reason, body: body.to_owned(), delay: Duration::ZERO, is_cut: false }
    }

    pub(super) fn cut() -> Reply {
        Reply { is_cut: true, ..Reply::data("null") }
    }
}

/// The certificate of a server, and the CA behind it.
pub(super) struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) ca_pem: String,
}

/// A certificate for `name`, expired if so wished, signed by a CA of its own.
pub(super) fn identity(name: &str, is_expired: bool) -> Identity {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if is_expired {
        params.not_before = rcgen::date_time_ymd(2019, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 2, 3);
    }
    let leaf = params.signed_by(&key, &ca).unwrap();
    Identity {
        chain: vec![leaf.der().clone()],
        key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        ca_pem: ca.pem(),
    }
}

type Script = dyn Fn(&Seen) -> Reply + Send + Sync;

pub(super) struct Server {
    pub(super) port: u16,
    pub(super) leaf: CertificateDer<'static>,
    pub(super) ca_pem: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    pub(super) async fn start(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Server {
        Server::with(identity("127.0.0.1", false), script).await
    }

    pub(super) async fn with(identity: Identity, script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Server {
        let Identity { chain, key, ca_pem } = identity;
        let leaf = chain[0].clone();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Script> = Arc::new(script);
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, script, log) = (acceptor.clone(), Arc::clone(&script), Arc::clone(&log));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| answer(request, Arc::clone(&script), Arc::clone(&log)));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Server { port, leaf, ca_pem, seen }
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn answer(
    request: Request<Incoming>,
    script: Arc<Script>,
    log: Arc<Mutex<Vec<Seen>>>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let seen = Seen {
        method: head.method.to_string(),
        path: head.uri.path_and_query().unwrap().to_string(),
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    log.lock().unwrap().push(seen.clone());
    let reply = script(&seen);
    tokio::time::sleep(reply.delay).await;
    if reply.is_cut {
        return Err(std::io::Error::other("cut"));
    }
    let mut response = Response::builder().status(reply.status).body(Full::new(Bytes::from(reply.body))).unwrap();
    if let Some(reason) = reply.reason {
        response.extensions_mut().insert(ReasonPhrase::try_from(reason.as_bytes()).unwrap());
    }
    Ok::<_, Infallible>(response).map_err(|never| match never {})
}
