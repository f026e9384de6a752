//! The simulator over real HTTPS: one listener, a certificate of its own, PVE's manners on the wire.

pub(crate) mod body;
mod github;
pub(crate) mod wire;

use crate::sim::front::Sim;
use crate::sim::world::Certificate;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, COOKIE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use wire::{RawAnswer, RawRequest};

/// How long pveproxy lets an idle connection live.
const IDLE: Duration = Duration::from_secs(5);

/// What a client needs to talk to a server that has just come up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// `https://127.0.0.1:8006`.
    pub url: String,
    /// The certificate's SHA-256, as PVE writes it: `AA:BB:…`.
    pub fingerprint: String,
    /// Secrets of all tokens by id (`root@pam!test`).
    pub tokens: BTreeMap<String, String>,
}

impl Ready {
    /// `{"url": …, "fingerprint": …, "tokens": {…}}`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "url": self.url, "fingerprint": self.fingerprint, "tokens": self.tokens })
    }
}

/// Serves a simulated cluster until the future is dropped. `on_ready` is called once, as soon as connections are taken.
///
/// Virtual time runs as [`Sim::set_speed`] says; without a speed it only moves by the requests' latency, and tasks hardly
/// ever end. No timer is needed: the cluster catches up with the clock whenever somebody looks.
pub async fn serve(sim: Sim, listen: SocketAddr, on_ready: impl FnOnce(Ready)) -> io::Result<()> {
    let (tls, fingerprint) = tls(&sim)?;
    let listener = TcpListener::bind(listen).await?;
    let url = format!("https://{}", listener.local_addr()?);
    on_ready(Ready { url, fingerprint, tokens: tokens(&sim) });
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (sim, tls) = (sim.clone(), tls.clone());
                tokio::spawn(async move {
                    if let Err(error) = connection(sim, tls, stream).await {
                        tracing::debug!(%peer, %error, "connection ended");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// A certificate of its own for a simulated cluster.
fn certificate() -> io::Result<Certificate> {
    let names = ["localhost", "127.0.0.1", "pve1"].map(str::to_owned);
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
    Ok(Certificate { certificate: hex::encode(cert.der()), key: hex::encode(signing_key.serialize_der()) })
}

fn tls(sim: &Sim) -> io::Result<(TlsAcceptor, String)> {
    let kept = match sim.with_world(|world| world.certificate.clone()) {
        Some(kept) => kept,
        None => {
            let made = certificate()?;
            sim.with_world(|world| world.certificate = Some(made.clone()));
            made
        }
    };
    let der = CertificateDer::from(hex::decode(&kept.certificate).map_err(io::Error::other)?);
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(hex::decode(&kept.key).map_err(io::Error::other)?));
    let fingerprint = fingerprint(&der);
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![der], key)
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(config)), fingerprint))
}

/// A certificate's SHA-256 as PVE writes it: `AA:BB:…`.
pub(crate) fn fingerprint(der: &[u8]) -> String {
    Sha256::digest(der).iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(":")
}

/// Secrets of all tokens by id.
pub(crate) fn tokens(sim: &Sim) -> BTreeMap<String, String> {
    sim.with_world(|world| {
        let of_user = |(user, entry): (&String, &crate::sim::world::User)| {
            let user = user.clone();
            entry.tokens.iter().map(move |(name, t)| (format!("{user}!{name}"), t.secret.clone())).collect::<Vec<_>>()
        };
        world.users.iter().flat_map(of_user).collect()
    })
}

async fn connection(sim: Sim, tls: TlsAcceptor, stream: TcpStream) -> Result<(), hyper::Error> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let stream = match tokio::time::timeout(IDLE, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS refused");
            return Ok(());
        }
        Err(_) => return Ok(()),
    };
    let service = hyper::service::service_fn(move |request| answer(sim.clone(), request));
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

/// An error closes the connection without an answer.
async fn answer(sim: Sim, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let text = |name: &str| parts.headers.get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    let target = parts.uri.path_and_query().map_or("/", |t| t.as_str()).to_owned();
    if github::is_asked(&target) {
        return github::answer(&sim, &parts, &target, body).await;
    }
    let upload = body::is_upload(
        parts.method.as_str(),
        target.split('?').next().unwrap_or_default().trim_start_matches("/api2/json"),
    );
    let limit = if upload { body::UPLOAD_LIMIT } else { body::LIMIT };
    let Ok(body) = Limited::new(body, limit).collect().await else {
        return http(wire::plain(501, "for data too large"));
    };
    let raw = RawRequest {
        method: parts.method.as_str().to_owned(),
        target,
        authorization: text(AUTHORIZATION.as_str()),
        cookie: text(COOKIE.as_str()),
        csrf: text("csrfpreventiontoken"),
        content_type: text(CONTENT_TYPE.as_str()),
        body: body.to_bytes().to_vec(),
    };
    let answer = wire::respond(&sim, &raw);
    let status = answer.as_ref().map(|answer| answer.status);
    tracing::debug!(method = raw.method, target = raw.target, status, "request");
    answer.map_or_else(|| Err(io::ErrorKind::ConnectionAborted.into()), http)
}

fn http(answer: RawAnswer) -> io::Result<Response<Full<Bytes>>> {
    let RawAnswer { status, reason, content_type, body } = answer;
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).map_err(io::Error::other)?;
    // A control character in the reason phrase would break the head of the answer.
    let reason: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if let Ok(phrase) = ReasonPhrase::try_from(reason) {
        response.extensions_mut().insert(phrase);
    }
    let headers = response.headers_mut();
    headers.insert("server", HeaderValue::from_static("pve-api-daemon/3.0"));
    headers.insert("cache-control", HeaderValue::from_static("max-age=0"));
    headers.insert("pragma", HeaderValue::from_static("no-cache"));
    if let Some(kind) = content_type {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    if status >= 400 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::baseline::Baseline;

    fn ask(sim: &Sim, method: &str, target: &str, kind: Option<&str>, body: &str) -> RawAnswer {
        let tokens = tokens(sim);
        let raw = RawRequest {
            method: method.to_owned(),
            target: target.to_owned(),
            authorization: Some(format!("PVEAPIToken=root@pam!test={}", tokens["root@pam!test"])),
            content_type: kind.map(str::to_owned),
            body: body.as_bytes().to_vec(),
            ..RawRequest::default()
        };
        wire::respond(sim, &raw).unwrap()
    }

    #[test]
    fn a_cluster_keeps_its_certificate_and_shows_its_fingerprint() {
        let sim = Sim::new(Baseline::Homelab);
        let (_, first) = tls(&sim).unwrap();
        let again = Sim::load(&sim.save()).unwrap();
        assert_eq!(tls(&again).unwrap().1, first);
        let nodes = ask(&again, "GET", "/api2/json/nodes", None, "");
        assert!(String::from_utf8_lossy(&nodes.body).contains(&format!("\"ssl_fingerprint\":\"{first}\"")));
        assert_ne!(tls(&Sim::new(Baseline::Homelab)).unwrap().1, first);
    }

    #[test]
    fn the_proxy_refuses_what_it_cannot_read() {
        let sim = Sim::new(Baseline::Recordings);
        let json = Some("application/json");
        assert_eq!(ask(&sim, "DELETE", "/api2/json/pools/x", None, "a=1").status, 501);
        assert_eq!(ask(&sim, "PUT", "/api2/json/pools/x", json, "").status, 500);
        assert_eq!(ask(&sim, "POST", "/api2/json/pools", Some("text/plain"), "poolid=x").status, 506);
        assert_eq!(ask(&sim, "GET", "/api2/nope/version", None, "").reason, "no formatter for uri /version, nope");
        assert_eq!(ask(&sim, "PATCH", "/api2/json/version", None, "").status, 501);
        let big = format!("comment={}", "x".repeat(body::LIMIT));
        assert_eq!(ask(&sim, "POST", "/api2/json/pools", None, &big).status, 501);
    }

    #[test]
    fn forms_are_cut_at_raw_equal_signs_and_repeated_keys_are_lists() {
        let read = body::urlencoded(b"net0=virtio=AA,bridge=x&a=1&a=2&b=%3d+%2B&c=&d");
        let json = serde_json::json!([["net0", "virtio"], ["a", ["1", "2"]], ["b", "= +"], ["c", ""], ["d", ""]]);
        assert_eq!(serde_json::to_value(read).unwrap(), json);
    }

    #[test]
    fn a_request_without_credentials_gets_an_empty_401() {
        let sim = Sim::new(Baseline::Recordings);
        let raw = RawRequest { method: "GET".into(), target: "/api2/json/version".into(), ..RawRequest::default() };
        let answer = wire::respond(&sim, &raw).unwrap();
        assert_eq!((answer.status, answer.reason.as_str(), answer.body.len()), (401, "No ticket", 0));
    }

    #[test]
    fn the_other_formatter_always_says_200() {
        let sim = Sim::new(Baseline::Recordings);
        let answer = ask(&sim, "GET", "/api2/extjs/nodes/pve1/nope", None, "");
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((answer.status, &body["success"], &body["status"]), (200, &0.into(), &501.into()));
    }
}
