//! What is sent, what is repeated, what is not, and how answers are read.

use super::server::{Reply, Seen, Server};
use super::{address, api, free_port, pin, settings};
use crate::base::secret::Secret;
use crate::pve::api::Api;
use crate::pve::error::{PveError, Refusal};
use crate::pve::http::auth::Auth;
use crate::pve::http::client::{HttpApi, Settings};
use crate::pve::http::limits::Limits;
use crate::pve::request::{Call, Method, Query};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn post(path: &str) -> Call {
    Call::new(Method::Post, path)
}

#[tokio::test]
async fn a_token_and_percent_encoded_parameters_are_sent() {
    let server = Server::start(|_| Reply::data("[]")).await;
    let api = api(&server);
    api.get(&Query::new("/nodes").with("type", "a=b&c")).await.unwrap();
    api.send(&post("/nodes/pve1/qemu").with("net0", "virtio,bridge=vmbr0").with("tags", "a b")).await.unwrap();
    api.send(&Call::new(Method::Delete, "/pools/x").with("force", 1)).await.unwrap();
    api.send(&post("/nodes/pve1/qemu/1/status/start")).await.unwrap();
    let seen = server.seen();
    assert_eq!(seen[0].header("authorization"), "PVEAPIToken=root@pam!test=uuid-uuid");
    assert_eq!(seen[0].path, "/api2/json/nodes?type=a%3Db%26c");
    assert_eq!(seen[1].body, "net0=virtio%2Cbridge%3Dvmbr0&tags=a%20b");
    assert_eq!(seen[1].header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!((seen[2].path.as_str(), seen[2].body.as_str()), ("/api2/json/pools/x?force=1", ""));
    assert_eq!((seen[3].header("content-length"), seen[3].body.as_str()), ("0", ""));
}

#[tokio::test]
async fn the_reason_phrase_and_the_errors_by_field_are_read() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/api2/json/phrase" => Reply::with(500, Some("CT 200 not running"), r#"{"data":null}"#),
        "/api2/json/message" => Reply::with(500, None, "{\"data\":null,\"message\":\"no such user ('x@pve')\\n\"}"),
        "/api2/json/fields" => Reply::with(
            400,
            Some("Parameter verification failed."),
            r#"{"data":null,"errors":{"cores":"type check ('integer') failed\n"}}"#,
        ),
        "/api2/json/denied" => Reply::with(403, Some("Permission check failed (/vms/100, VM.Audit)"), ""),
        "/api2/json/token" => Reply::with(401, Some("no such token 'test' for user 'root@pam'"), ""),
        "/api2/json/login" => Reply::with(200, None, "<html>log in"),
        _ => Reply::with(404, None, "<html>nginx"),
    })
    .await;
    let api = api(&server);
    let ask = async |path: &str| api.get(&Query::new(path)).await.unwrap_err();
    assert_eq!(ask("/phrase").await.to_string(), "GET /phrase was refused: 500 CT 200 not running");
    assert!(ask("/message").await.is_absent());
    let text = ask("/fields").await.to_string();
    assert_eq!(
        text,
        "GET /fields was refused: 400 Parameter verification failed.\n  cores: type check ('integer') failed"
    );
    assert_eq!(ask("/denied").await.refusal(), Some(Refusal::Forbidden));
    assert_eq!(ask("/token").await.refusal(), Some(Refusal::Unauthenticated));
    assert!(matches!(ask("/login").await, PveError::Garbled { .. }));
    assert!(matches!(ask("/proxy").await, PveError::Garbled { .. }), "a web server's 404 is not absence");
    assert!(matches!(ask("/nodes/../access").await, PveError::Unsent { .. }));
    assert_eq!(server.seen().len(), 7, "none of them is repeated");
}

#[tokio::test]
async fn a_read_is_repeated_and_a_write_that_was_sent_never() {
    let gets = AtomicUsize::new(0);
    let server = Server::start(move |seen| match seen.method.as_str() {
        "GET" if gets.fetch_add(1, Ordering::SeqCst) < 2 => Reply::cut(),
        "GET" => Reply::data("7"),
        "PUT" => Reply::with(503, None, ""),
        _ => Reply::cut(),
    })
    .await;
    let api = api(&server);
    assert_eq!(api.get(&Query::new("/a")).await.unwrap(), 7);
    let error = api.send(&post("/b")).await.unwrap_err();
    assert!(matches!(&error, PveError::Lost { cause, .. } if cause.contains("closed the connection")), "{error}");
    let error = api.send(&Call::new(Method::Put, "/c")).await.unwrap_err();
    assert_eq!(error.refusal(), Some(Refusal::Unavailable));
    let count = |method: &str| server.seen().iter().filter(|s| s.method == method).count();
    assert_eq!((count("GET"), count("POST"), count("PUT")), (3, 1, 1));
}

#[tokio::test]
async fn a_write_that_gets_no_answer_in_time_is_lost() {
    let server = Server::start(|_| Reply { delay: Duration::from_secs(5), ..Reply::data("1") }).await;
    let mut settings = settings(&[address(&server)], pin(&[&server]));
    settings.patience.request = Duration::from_millis(800);
    let error = HttpApi::new(settings).unwrap().send(&post("/b")).await.unwrap_err();
    assert!(matches!(&error, PveError::Lost { cause, .. } if cause.contains("in time")), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn another_endpoint_answers_for_one_that_is_down() {
    let server = Server::start(|_| Reply::data("1")).await;
    let down = format!("https://127.0.0.1:{}", free_port());
    let api = HttpApi::new(settings(&[down.clone(), address(&server)], pin(&[&server]))).unwrap();
    assert_eq!(api.endpoint().to_string(), down);
    assert_eq!(api.send(&post("/b")).await.unwrap(), 1, "a refused connection proves that nothing was sent");
    assert_eq!(api.endpoint().to_string(), address(&server), "the healthy one is remembered");

    let down = [down, format!("https://127.0.0.1:{}", free_port())];
    let error = HttpApi::new(settings(&down, pin(&[]))).unwrap().get(&Query::new("/a")).await.unwrap_err().to_string();
    assert!(error.contains("no endpoint could be reached\n") && error.matches("refused the").count() == 2, "{error}");
}

#[tokio::test]
async fn a_read_moves_on_from_a_node_that_cannot_reach_another_and_a_write_does_not() {
    let blind = Server::start(|_| Reply::with(595, Some("No route to host"), "")).await;
    let sees = Server::start(|_| Reply::data("1")).await;
    let both = || settings(&[address(&blind), address(&sees)], pin(&[&blind, &sees]));
    assert_eq!(HttpApi::new(both()).unwrap().get(&Query::new("/nodes/pve2/status")).await.unwrap(), 1);
    let error = HttpApi::new(both()).unwrap().send(&post("/nodes/pve2/qemu")).await.unwrap_err();
    assert_eq!(error.refusal(), Some(Refusal::NodeOffline));
    assert_eq!((blind.seen().len(), sees.seen().len()), (2, 1));
}

#[tokio::test]
async fn no_more_than_the_limit_is_in_flight_for_a_node() {
    let (now, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (server_now, server_peak) = (Arc::clone(&now), Arc::clone(&peak));
    let server = Server::start(move |_| {
        let at_once = server_now.fetch_add(1, Ordering::SeqCst) + 1;
        server_peak.fetch_max(at_once, Ordering::SeqCst);
        let now = Arc::clone(&server_now);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(70)).await;
            now.fetch_sub(1, Ordering::SeqCst);
        });
        Reply { delay: Duration::from_millis(100), ..Reply::data("1") }
    })
    .await;
    let mut settings = settings(&[address(&server)], pin(&[&server]));
    settings.limits = Limits { cluster: 16, node: 3 };
    let api = HttpApi::new(settings).unwrap();
    let query = Query::new("/nodes/pve1/qemu/100/config");
    futures::future::try_join_all((0..12).map(|_| api.get(&query))).await.unwrap();
    assert_eq!(peak.load(Ordering::SeqCst), 3);
}

fn with_password(server: &Server, totp: Option<&str>) -> HttpApi {
    let auth =
        Auth::Password { user: "root@pam".to_owned(), password: Secret::new("pass word"), totp: totp.map(Secret::new) };
    HttpApi::new(Settings { auth, ..settings(&[address(server)], pin(&[server])) }).unwrap()
}

fn ticket(number: usize) -> Reply {
    Reply::data(&format!(
        r#"{{"username":"root@pam","ticket":"PVE:root@pam:{number}::sig==","CSRFPreventionToken":"csrf{number}"}}"#
    ))
}

fn is_login(seen: &Seen) -> bool {
    seen.path == "/api2/json/access/ticket"
}

#[tokio::test]
async fn a_ticket_is_shared_and_renewed_once_when_it_is_refused() {
    let logins = AtomicUsize::new(0);
    let server = Server::start(move |seen| {
        if is_login(seen) {
            return ticket(logins.fetch_add(1, Ordering::SeqCst) + 1);
        }
        let is_old = seen.header("cookie").contains(":1::");
        if is_old && seen.method == "POST" { Reply::with(401, Some("No ticket"), "") } else { Reply::data("1") }
    })
    .await;
    let api = with_password(&server, None);
    let query = Query::new("/version");
    futures::future::try_join_all((0..4).map(|_| api.get(&query))).await.unwrap();
    assert_eq!(api.send(&post("/pools")).await.unwrap(), 1);
    let seen = server.seen();
    assert_eq!(seen.iter().filter(|s| is_login(s)).count(), 2);
    assert_eq!(seen[0].body, "username=root%40pam&password=pass%20word");
    assert_eq!(
        (seen[1].header("cookie"), seen[1].header("csrfpreventiontoken")),
        ("PVEAuthCookie=PVE:root@pam:1::sig==", "")
    );
    let last = seen.last().unwrap();
    assert_eq!(
        (last.header("cookie"), last.header("csrfpreventiontoken")),
        ("PVEAuthCookie=PVE:root@pam:2::sig==", "csrf2")
    );
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_tried_once() {
    let server = Server::start(|_| Reply::with(401, Some("authentication failure"), "")).await;
    let (api, query) = (with_password(&server, None), Query::new("/version"));
    for answer in futures::future::join_all((0..3).map(|_| api.get(&query))).await {
        assert_eq!(answer.unwrap_err().to_string(), "POST /access/ticket was refused: 401 authentication failure");
    }
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_second_factor_is_answered_or_asked_for() {
    let server = Server::start(|seen| match is_login(seen) {
        true if seen.body.contains("tfa-challenge=PVE%3A%21tfa%21half") => ticket(1),
        true => Reply::data(r#"{"ticket":"PVE:!tfa!half","NeedTFA":1,"CSRFPreventionToken":"x"}"#),
        false => Reply::data("1"),
    })
    .await;
    let error = with_password(&server, None).get(&Query::new("/version")).await.unwrap_err();
    assert!(error.to_string().contains("second factor"), "{error}");
    let key = Some("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
    assert_eq!(with_password(&server, key).get(&Query::new("/version")).await.unwrap(), 1);
    let seen = server.seen();
    let answer = &seen[seen.len() - 2];
    assert!(answer.body.contains("password=totp%3A"), "{}", answer.body);
}

#[tokio::test(start_paused = true)]
async fn an_old_ticket_is_renewed_with_itself() {
    let server = Server::start(|seen| if is_login(seen) { ticket(1) } else { Reply::data("1") }).await;
    let mut settings = settings(&[address(&server)], pin(&[&server]));
    // The virtual clock runs ahead of real sockets.
    settings.patience.connect = Duration::from_secs(86_400);
    settings.patience.request = Duration::from_secs(86_400);
    settings.auth = Auth::Password { user: "root@pam".to_owned(), password: Secret::new("pass word"), totp: None };
    let api = HttpApi::new(settings).unwrap();
    api.get(&Query::new("/version")).await.unwrap();
    tokio::time::advance(crate::pve::http::auth::TICKET_AGE_MAX).await;
    api.get(&Query::new("/version")).await.unwrap();
    let logins: Vec<Seen> = server.seen().into_iter().filter(is_login).collect();
    assert_eq!(logins.len(), 2);
    assert_eq!(logins[1].body, "username=root%40pam&password=PVE%3Aroot%40pam%3A1%3A%3Asig%3D%3D");
}
