//! The real wire to GitHub, on this machine: what goes out over TCP and TLS, and how a failure is told.

use futures::future::BoxFuture;
use pvectl::base::clock::Clock;
use pvectl::base::secret::Secret;
use pvectl::github::ear::CAPACITY;
use pvectl::github::http::HttpWire;
use pvectl::github::hub::Hub;
use pvectl::github::operation::Operation;
use pvectl::github::place::{Auth, Place, Scope, SecretRef};
use pvectl::github::wire::{Request, Secrets, Wire, WireError};
use pvectl::pve::api::Api;
use pvectl::pve::error::{PveError, Refusal};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

fn tls(roots: &[rustls::pki_types::CertificateDer<'static>]) -> rustls::ClientConfig {
    let mut store = rustls::RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).expect("a certificate");
    }
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the usual versions")
        .with_root_certificates(store)
        .with_no_client_auth()
}

/// All of a request: its head, and as much as its length says.
fn request(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        match stream.read(&mut chunk) {
            Ok(count) if count > 0 => bytes.extend_from_slice(&chunk[..count]),
            Ok(_) | Err(_) => return text,
        }
    }
}

/// A server that answers each request on a connection of its own, in turn; `None` hangs up. It tells what came.
fn server(answers: Vec<Option<&'static str>>) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for answer in answers {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let came = request(&mut stream);
            if sender.send(came).is_err() {
                return;
            }
            if let Some(answer) = answer {
                let _ = stream.write_all(answer.as_bytes());
            }
        }
    });
    (port, receiver)
}

fn get(url: String) -> Request {
    Request { method: "GET", url, headers: Vec::new(), authorization: Some(Secret::new("Bearer s3cret")), body: None }
}

fn wire() -> HttpWire {
    HttpWire::new(tls(&[])).expect("a wire")
}

#[tokio::test]
async fn a_request_goes_out_as_it_is() {
    let answer = "HTTP/1.1 201 Created\r\nETag: W/\"1\"\r\nX-RateLimit-Remaining: 7\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
    let (port, came) = server(vec![Some(answer)]);
    let mut outgoing = get(format!("http://127.0.0.1:{port}/orgs/acme/x?name=a%20b"));
    outgoing.method = "PATCH";
    outgoing.headers = vec![("accept".into(), "application/vnd.github+json".into()), (CAPACITY.into(), "4".into())];
    outgoing.body = Some("{\"a\":1}".into());
    let response = wire().exchange(outgoing).await.expect("an answer");
    assert_eq!((response.status, response.body.as_slice()), (201, b"{}".as_slice()));
    assert_eq!((response.header("etag"), response.header("x-ratelimit-remaining")), (Some("W/\"1\""), Some("7")));
    let came = came.recv().expect("it came");
    let lower = came.to_ascii_lowercase();
    assert!(came.starts_with("PATCH /orgs/acme/x?name=a%20b HTTP/1.1\r\n"), "{came}");
    for line in
        ["accept: application/vnd.github+json\r\n", "x-scalesetmaxcapacity: 4\r\n", "authorization: bearer s3cret\r\n"]
    {
        assert_eq!(lower.matches(line).count(), 1, "{line} in {came}");
    }
    assert!(came.ends_with("\r\n\r\n{\"a\":1}"), "{came}");
}

#[tokio::test]
async fn nobody_is_followed_elsewhere() {
    let (target, came) = server(vec![Some("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")]);
    let answer = format!(
        "HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:{target}/x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let (port, _first) = server(vec![Some(answer.leak())]);
    let response = wire().exchange(get(format!("http://127.0.0.1:{port}/"))).await.expect("an answer");
    assert_eq!(response.status, 301);
    assert!(came.try_recv().is_err(), "the token went nowhere else");
}

#[tokio::test]
async fn what_was_sent_and_what_was_not() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let told =
        |result: Result<_, WireError>| result.map(|_: pvectl::github::wire::Response| ()).expect_err("no answer");
    let unsent = told(wire().exchange(get(format!("http://127.0.0.1:{free}/"))).await);
    assert!(matches!(&unsent, WireError::Unsent(why) if why.contains("refused")), "{unsent:?}");

    let (port, came) = server(vec![None]);
    let lost = told(wire().exchange(get(format!("http://127.0.0.1:{port}/"))).await);
    assert!(matches!(&lost, WireError::Lost(_)), "{lost:?}");
    assert_eq!(came.iter().count(), 1, "it was sent once");

    for address in ["http://github.example/x", "http://192.0.2.1/x", "no address"] {
        let never = told(wire().exchange(get(address.into())).await);
        assert!(matches!(never, WireError::Unsent(_)), "{address}");
    }
    let mut odd = get(format!("http://127.0.0.1:{free}/"));
    odd.authorization = Some(Secret::new("Bearer s3\ncret"));
    let never = told(wire().exchange(odd).await);
    assert!(
        matches!(&never, WireError::Unsent(why) if why.contains("no header takes") && !why.contains("s3")),
        "{never:?}"
    );
}

#[tokio::test]
async fn a_certificate_is_believed_only_from_a_root() {
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let root = certificate.cert.der().clone();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the usual versions")
        .with_no_client_auth()
        .with_single_cert(vec![root.clone()], key.into())
        .expect("key and certificate fit");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).expect("a connection");
            let mut tls = rustls::StreamOwned::new(connection, stream);
            if request(&mut tls).contains("s3cret") {
                let _ = tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
                tls.conn.send_close_notify();
                let _ = tls.flush();
            }
        }
    });
    let url = format!("https://localhost:{port}/");
    let error = wire().exchange(get(url.clone())).await.expect_err("from nobody that we know");
    assert!(matches!(&error, WireError::Unsent(why) if why.contains("certificate")), "{error:?}");
    let known = HttpWire::new(tls(&[root])).expect("a wire");
    assert_eq!(known.exchange(get(url)).await.map(|response| response.body), Ok(b"ok".to_vec()));
}

/// Real time, and a purse with one token.
struct Here;

impl Clock for Here {
    fn now_ms(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).expect("not that late")
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

impl Secrets for Here {
    fn secret(&self, _: &SecretRef) -> Result<Secret, String> {
        Ok(Secret::new("s3cret"))
    }
}

#[tokio::test]
async fn the_hub_speaks_by_it() {
    let body =
        r#"{"total_count":1,"runners":[{"id":7,"name":"ci-50000-a","status":"online","busy":false,"labels":[]}]}"#;
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    let refusal = "HTTP/1.1 422 Unprocessable Entity\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
    // The first answer to the list is lost: it is asked for again.
    let (port, came) = server(vec![None, Some(answer.leak()), Some(refusal), None]);
    let hub = Hub::new(Arc::new(wire()), Arc::new(Here), Arc::new(Here));
    let auth = Auth::Token(SecretRef::Env("T".into()));
    let scope = Scope::Repository("acme/app".into());
    let place = Place { api: format!("http://127.0.0.1:{port}"), scope, auth };
    let rows = hub.get(&Operation::Runners.query(&place).expect("a read")).await.expect("a list");
    assert_eq!(rows[0]["name"], "ci-50000-a");
    let busy = hub.send(&Operation::Remove { runner: 7 }.call(&place).expect("a write")).await.expect_err("busy");
    assert_eq!(busy.refusal(), Some(Refusal::Busy), "{busy}");
    let lost = hub.send(&Operation::Remove { runner: 7 }.call(&place).expect("a write")).await.expect_err("lost");
    assert!(matches!(lost, PveError::Lost { .. }), "{lost}");
    let came: Vec<String> = came.iter().map(|text| text.lines().next().unwrap_or_default().to_owned()).collect();
    let list = "GET /repos/acme/app/actions/runners?per_page=100&page=1 HTTP/1.1";
    let remove = "DELETE /repos/acme/app/actions/runners/7 HTTP/1.1";
    assert_eq!(came, [list, list, remove, remove], "a write is sent once");
}
