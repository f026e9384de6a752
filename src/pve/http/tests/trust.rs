//! Whom the client believes, and what it says when it does not, or reaches nobody.

use super::server::{Reply, Server, identity};
use super::{address, free_port, pin, settings};
use crate::pve::api::Api;
use crate::pve::error::PveError;
use crate::pve::http::client::HttpApi;
use crate::pve::http::tls::{Fingerprint, Trust};
use crate::pve::request::Query;

async fn ask(endpoint: &str, trust: Trust) -> Result<serde_json::Value, PveError> {
    HttpApi::new(settings(&[endpoint.to_owned()], trust)).unwrap().get(&Query::new("/version")).await
}

/// The failure must be `Unsent`; its text and hint.
async fn unsent(endpoint: &str, trust: Trust) -> String {
    let error = ask(endpoint, trust).await.unwrap_err();
    assert!(matches!(error, PveError::Unsent { .. }), "{error:?}");
    format!("{error}\nhint: {}", error.hint().unwrap_or_default())
}

#[track_caller]
fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is missing in:\n{text}");
    }
}

#[tokio::test]
async fn a_pinned_certificate_is_believed_and_no_other() {
    let server = Server::start(|_| Reply::data("1")).await;
    assert_eq!(ask(&address(&server), pin(&[&server])).await.unwrap(), 1);
    let wrong = Fingerprint::of(b"another");
    let text = unsent(&address(&server), Trust::Pinned(vec![wrong])).await;
    let real = Fingerprint::of(&server.leaf).to_string();
    assert_says(&text, &["not the pinned one", &wrong.to_string(), &real, "pvenode cert info"]);
    assert!(server.seen().len() == 1, "a mismatch sends nothing, the token least of all");
}

#[tokio::test]
async fn a_ca_file_is_believed_for_its_own_certificates() {
    let server = Server::start(|_| Reply::data("1")).await;
    let trust = Trust::Ca { pem: server.ca_pem.clone().into_bytes() };
    assert_eq!(ask(&address(&server), trust).await.unwrap(), 1);
    let other = identity("127.0.0.1", false);
    let text = unsent(&address(&server), Trust::Ca { pem: other.ca_pem.into_bytes() }).await;
    assert_says(&text, &["unknown issuer"]);
}

#[tokio::test]
async fn an_unknown_issuer_is_named_with_the_fingerprint_to_pin() {
    let server = Server::start(|_| Reply::data("1")).await;
    let text = unsent(&address(&server), Trust::System).await;
    let real = Fingerprint::of(&server.leaf).to_string();
    assert_says(&text, &["unknown issuer", &format!("fingerprint: \"{real}\""), "caFile"]);
}

#[tokio::test]
async fn a_wrong_name_and_an_old_certificate_are_told_apart() {
    let server = Server::with(identity("pve1.example", false), |_| Reply::data("1")).await;
    let ca = Trust::Ca { pem: server.ca_pem.clone().into_bytes() };
    let text = unsent(&address(&server), ca).await;
    assert_says(&text, &["not valid for 127.0.0.1, only for: pve1.example"]);

    let server = Server::with(identity("127.0.0.1", true), |_| Reply::data("1")).await;
    let ca = Trust::Ca { pem: server.ca_pem.clone().into_bytes() };
    let text = unsent(&address(&server), ca).await;
    assert_says(&text, &["expired on 2020-02-03", "updatecerts"]);
    assert_eq!(ask(&address(&server), pin(&[&server])).await.unwrap(), 1, "a pin overrules the dates");
}

#[tokio::test]
async fn insecure_believes_anybody() {
    let server = Server::with(identity("elsewhere", true), |_| Reply::data("1")).await;
    assert_eq!(ask(&address(&server), Trust::Insecure).await.unwrap(), 1);
}

#[tokio::test]
async fn a_wrong_port_says_who_refused() {
    let port = free_port();
    let text = unsent(&format!("127.0.0.1:{port}"), Trust::Insecure).await;
    assert_says(&text, &[&format!("127.0.0.1 refused the connection on port {port}"), "8006", "pveproxy"]);
    assert_eq!(text.matches("refused").count(), 1, "{text}");
}

#[tokio::test]
async fn an_unknown_name_says_so() {
    let mut settings = settings(&["pve1.invalid".to_owned()], Trust::Insecure);
    settings.patience.retries = 0;
    settings.patience.connect = std::time::Duration::from_secs(5);
    let error = HttpApi::new(settings).unwrap().get(&Query::new("/version")).await.unwrap_err();
    let text = format!("{error}\nhint: {}", error.hint().unwrap_or_default());
    assert_says(&text, &["the name pve1.invalid could not be resolved", "getent hosts pve1.invalid"]);
}

#[tokio::test]
async fn silence_and_plain_http_are_told_apart() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut patient = settings(&[format!("127.0.0.1:{}", silent.local_addr().unwrap().port())], Trust::Insecure);
    patient.patience.retries = 0;
    patient.patience.connect = std::time::Duration::from_millis(150);
    let error = HttpApi::new(patient).unwrap().get(&Query::new("/version")).await.unwrap_err();
    assert!(matches!(error, PveError::Unsent { .. }), "{error:?}");
    assert_says(&error.to_string(), &["did not answer in time"]);

    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = plain.local_addr().unwrap().port();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = plain.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    });
    assert_says(&unsent(&format!("127.0.0.1:{port}"), Trust::Insecure).await, &["does not speak TLS", "8006"]);
}
