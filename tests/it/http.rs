//! The daemon's HTTP over a real socket: who may come in, what is answered, what becomes of what is asked.

use crate::site::{NOW, Served, Wanted, spell, state};
use pvectl::daemon::history::{History, Past};
use pvectl::daemon::http::listen::Tls;
use pvectl::daemon::metrics::CONTENT_TYPE;
use pvectl::daemon::record::{DriftRecord, EventRecord, RunRecord, State};
use pvectl::daemon::runners::{JobRecord, RunnerRecord};
use pvectl::daemon::shared::Wish;
use pvectl::daemon::store::book::{Book, Bounds, Record};
use pvectl::daemon::store::query;
use pvectl::daemon::windows::PatchRecord;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

const JSON: &str = "Content-Type: application/json";

#[test]
fn health_is_the_loops_turn_and_readiness_the_states_word() {
    let served = Served::of(state());
    assert_eq!((served.get("/healthz").status, served.get("/readyz").status), (200, 200));
    served.shared.write().unready = Some("home has not answered yet".into());
    let unready = served.get("/readyz");
    assert_eq!(unready.status, 503);
    assert!(unready.text.contains("home has not answered yet"));
    served.shared.write().turned_ms = NOW - 61_000;
    // The daemon began a second ago: the loop need not have turned yet.
    assert_eq!(served.get("/healthz").status, 200);
    let long_ago = || Wanted { long_ago: true, ..Wanted::default() };
    for (turned_ms, status) in [(0, 503), (NOW - 61_000, 503), (NOW - 59_000, 200)] {
        let served = Served::with(State { turned_ms, ..state() }, long_ago());
        assert_eq!(served.get("/healthz").status, status, "{turned_ms}");
    }
}

#[test]
fn with_a_token_only_health_is_for_everybody() {
    let served = Served::with(state(), Wanted { token: Some("s3cret"), ..Wanted::default() });
    served.shared.write().unready = Some("the name of a cluster".into());
    assert_eq!(served.get("/healthz").status, 200);
    let unready = served.get("/readyz");
    assert!(unready.status == 503 && !unready.text.contains("cluster"), "{}", unready.text);
    for path in ["/", "/metrics", "/api/v1/sources", "/style.css", "/objects/a/b", "/nowhere"] {
        let answer = served.get(path);
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.header("www-authenticate").starts_with("Basic realm="), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(served.ask(&format!("GET {path}"), &["Authorization: Bearer wrong"], "").status, 401, "{path}");
    }
    for (shown, status) in [("Bearer s3cret", 200), ("Basic YW5uOnMzY3JldA==", 200), ("Basic YW5uOndyb25n", 401)] {
        let header = format!("Authorization: {shown}");
        assert_eq!(served.ask("GET /", &[&header], "").status, status, "{shown}");
        // With a token, any name leads here: whoever is led has not got it.
        assert_eq!(served.ask("GET /", &[&header, "Host: elsewhere.example.org"], "").status, status);
    }
    let refused = served.ask("POST /api/v1/proposals/7f3a2c/approve", &[], "");
    assert!(refused.status == 401 && served.heard().is_empty());
    // The user of a browser is who says it.
    let done = served.ask("POST /api/v1/proposals/7f3a2c/approve", &["Authorization: Basic YW5uOnMzY3JldA=="], "");
    assert_eq!(done.status, 200, "{}", done.text);
    assert_eq!(served.heard(), [Wish::Approve { id: "7f3a2c".into(), by: "ann".into() }]);
}

#[test]
fn without_a_token_no_web_page_comes_in() {
    let served = Served::of(state());
    for host in ["evil.example.org", "localhost.evil.org:9180"] {
        let header = format!("Host: {host}");
        for line in ["GET /", "GET /api/v1/sources", "GET /metrics", "POST /api/v1/proposals/7f3a2c/approve"] {
            assert_eq!(served.ask(line, &[&header], "").status, 403, "{line} {host}");
        }
    }
    assert_eq!(served.ask("GET /", &["Host: pvectl.example.org"], "").status, 200);
    for header in ["Origin: https://evil.example.org", "Origin: null", "Sec-Fetch-Site: cross-site"] {
        for path in ["/api/v1/proposals/7f3a2c/approve", "/proposals/7f3a2c/approve", "/sources/lab/resume"] {
            assert_eq!(served.ask(&format!("POST {path}"), &[header], "").status, 403, "{path} {header}");
        }
    }
    assert!(served.heard().is_empty());
}

#[test]
fn every_answer_carries_what_browsers_should_know() {
    let served = Served::of(state());
    for path in ["/", "/api/v1/drift", "/metrics", "/healthz", "/nowhere"] {
        let answer = served.get(path);
        let policy = answer.header("content-security-policy").to_owned();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}");
        assert!(!policy.contains("script") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert!(!answer.header("content-type").is_empty(), "{path}");
    }
    assert_eq!(served.get("/metrics").header("content-type"), CONTENT_TYPE);
    assert!(served.get("/metrics").text.contains("pvectl_source_ready{source=\"homelab\"} 1.0"));
}

fn names(value: &Value, key: &str) -> Vec<String> {
    let items = value["items"].as_array().expect("items");
    items.iter().map(|item| item[key].as_str().expect("a text").to_owned()).collect()
}

#[test]
fn the_api_lists_and_filters() {
    let served = Served::of(state());
    for (path, key, wanted) in [
        ("sources", "name", vec!["homelab", "lab"]),
        ("sources?name=lab", "name", vec!["lab"]),
        ("objects", "name", vec!["web-01", "web-02", "dns"]),
        ("objects?kind=container", "name", vec!["dns"]),
        ("objects?state=Ready", "name", vec!["web-01"]),
        ("objects?state=Drifted&source=homelab", "name", vec!["web-02"]),
        ("objects?source=none", "name", vec![]),
        ("objects/VirtualMachine/web-02", "name", vec!["web-02"]),
        ("drift", "name", vec!["web-02"]),
        ("drift?kind=Container", "name", vec![]),
        ("drift/history", "name", vec!["web-02"]),
        ("drift/history?until=1h", "name", vec![]),
        ("events", "reason", vec!["DriftSeen", "Applied"]),
        ("events?level=warning", "reason", vec!["DriftSeen"]),
        ("events?object=VirtualMachine/web-02", "reason", vec!["DriftSeen"]),
        ("events?since=5m", "reason", vec![]),
        ("events?limit=1", "reason", vec!["DriftSeen"]),
        ("runs", "id", vec!["r-8", "r-7"]),
        ("runs?object=VirtualMachine/none", "id", vec![]),
        ("tasks", "type", vec!["qmclone"]),
        ("tasks?node=pve2", "type", vec![]),
        ("proposals", "id", vec!["7f3a2c", "11aa22"]),
        ("proposals?verdict=Done", "id", vec!["11aa22"]),
    ] {
        assert_eq!(names(&served.json(&format!("/api/v1/{path}")), key), wanted, "{path}");
    }
    assert_eq!(served.json("/api/v1/proposals/7f3a2c")["verdict"], "Waiting");
    // Without a history the answer says that it may not be all.
    assert!(served.json("/api/v1/events")["note"].as_str().is_some_and(|note| note.contains("no history")));
    for (path, status, says) in [
        ("objects?knd=x", 400, "did you mean `kind`?"),
        ("events?since=soon", 400, "no time"),
        ("objects/VirtualMachine/none", 404, "there is no object"),
        ("proposals/none", 404, "there is no proposal"),
        ("nothing", 404, "nothing here"),
    ] {
        let answer = served.get(&format!("/api/v1/{path}"));
        let value: Value = serde_json::from_str(&answer.text).expect("JSON");
        assert!(answer.status == status && value["error"].as_str().is_some_and(|e| e.contains(says)), "{path} {value}");
    }
    assert_eq!(served.ask("DELETE /api/v1/sources", &[], "").status, 405);
}

#[test]
fn windows_and_what_their_targets_got_are_served() {
    let served = Served::of(state());
    let found = served.json("/api/v1/windows?name=sunday");
    assert_eq!(
        (&found["items"][0]["open"], &found["items"][0]["targets"][0]["state"]),
        (&json!(true), &json!("Failed"))
    );
    assert_eq!(served.json("/api/v1/windows?name=monday")["items"], json!([]));
    let found = served.json("/api/v1/patches?window=sunday&target=101&result=failed");
    assert_eq!(found["items"][0]["changed"][0]["to"], "3.0.16-1");
    assert!(found["note"].as_str().is_some_and(|note| note.contains("no history")));
    assert_eq!(served.json("/api/v1/patches?target=102")["items"], json!([]));
    let broken = Served::with(state(), Wanted { history: Some(Arc::new(Kept(false))), ..Wanted::default() });
    let found = broken.json("/api/v1/patches?since=24h");
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1), "what is in memory");
    assert!(found["note"].as_str().is_some_and(|note| note.contains("database is locked")));
}

#[test]
fn runner_pools_their_machines_and_jobs_are_served() {
    let served = Served::of(state());
    let found = served.json("/api/v1/runners?name=ci");
    let machine = &found["items"][0]["machines"][0];
    assert_eq!((&machine["stage"], &machine["times"]["busyMs"]), (&json!("Busy"), &json!(NOW - 60_000)));
    assert_eq!(served.json("/api/v1/runners?source=lab")["items"], json!([]));
    let found = served.json("/api/v1/runners/history?pool=ci&result=failed&cause=NoAgent");
    assert_eq!(found["items"][0]["vmid"], 50_002);
    assert!(found["note"].as_str().is_some_and(|note| note.contains("no history")));
    assert_eq!(served.json("/api/v1/runners/history?pool=win")["items"], json!([]));
    let found = served.json("/api/v1/runners/jobs?repository=acme/app");
    assert_eq!(names(&found, "runner"), ["ci-50000-0a1btabc12"]);
    let broken = Served::with(state(), Wanted { history: Some(Arc::new(Kept(false))), ..Wanted::default() });
    for path in ["/api/v1/runners/history", "/api/v1/runners/jobs"] {
        let found = broken.json(path);
        assert_eq!(found["items"].as_array().map(Vec::len), Some(1), "what is in memory");
        assert!(found["note"].as_str().is_some_and(|note| note.contains("database is locked")));
    }
}

/// A history with one spell, or one that cannot be read.
struct Kept(bool);

impl History for Kept {
    fn drift(&self, past: &Past) -> Result<Vec<DriftRecord>, String> {
        if !self.0 {
            return Err("database is locked".into());
        }
        assert_eq!((past.name.as_deref(), past.limit), (Some("web-02"), 7), "the filter comes through");
        Ok(vec![spell(true)])
    }
    fn events(&self, _: &Past) -> Result<Vec<EventRecord>, String> {
        Err("database is locked".into())
    }
    fn runs(&self, _: &Past) -> Result<Vec<RunRecord>, String> {
        panic!("a bug of the history")
    }
    fn patches(&self, _: &Past) -> Result<Vec<PatchRecord>, String> {
        Err("database is locked".into())
    }
    fn runners(&self, _: &Past) -> Result<Vec<RunnerRecord>, String> {
        Err("database is locked".into())
    }
    fn jobs(&self, _: &Past) -> Result<Vec<JobRecord>, String> {
        Err("database is locked".into())
    }
}

#[test]
fn the_history_is_asked_and_may_fail() {
    let served = Served::with(state(), Wanted { history: Some(Arc::new(Kept(true))), ..Wanted::default() });
    let found = served.json("/api/v1/drift/history?name=web-02&limit=7");
    assert_eq!((&found["items"][0]["healedBy"], &found["note"]), (&json!("Pvectl"), &Value::Null));
    let broken = Served::with(state(), Wanted { history: Some(Arc::new(Kept(false))), ..Wanted::default() });
    let found = broken.json("/api/v1/drift/history?name=web-02&limit=7");
    assert!(found["note"].as_str().is_some_and(|n| n.contains("database is locked")), "{found}");
    assert_eq!(names(&found, "name"), ["web-02"], "what lasts is known all the same");
    assert_eq!(names(&broken.json("/api/v1/runs"), "id"), ["r-8", "r-7"]);
}

#[test]
fn the_sqlite_file_is_a_history() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let path = folder.path().join("history.db");
    let history = Arc::new(query::History::new(&path));
    let served = Served::with(state(), Wanted { history: Some(history), ..Wanted::default() });
    let known = state();
    let run = known.runs.front().expect("one ended").clone();
    let event = known.events.front().expect("one was told").clone();
    let mut book = Book::open(&path, &Bounds::default()).expect("a new file");
    let told = EventRecord { reason: "OnlyInTheFile".into(), ..event };
    book.keep(&[Record::Drift(spell(true)), Record::Event(told), Record::Run(run)]).expect("it is kept");
    let found = served.json("/api/v1/drift/history?kind=VirtualMachine&since=6m");
    assert_eq!((names(&found, "healedBy"), &found["note"]), (vec!["Pvectl".to_owned()], &Value::Null));
    assert_eq!(names(&served.json("/api/v1/drift/history?since=4m"), "name"), [""; 0], "it was over by then");
    assert_eq!(names(&served.json("/api/v1/events?object=VirtualMachine/web-02"), "reason"), ["OnlyInTheFile"]);
    assert_eq!(names(&served.json("/api/v1/runs?object=VirtualMachine/web-01"), "id"), ["r-8", "r-7"]);
    assert!(served.get("/events").text.contains("OnlyInTheFile"));
    // A file that is no database: what the daemon remembers is shown, with the reason.
    drop(book);
    for end in ["", "-wal", "-shm"] {
        // Not all of them need be there.
        let _ = std::fs::remove_file(folder.path().join(format!("history.db{end}")));
    }
    std::fs::write(&path, "this is no database, but a text that is long enough to be looked at").expect("written");
    let found = served.json("/api/v1/events");
    assert!(found["note"].as_str().is_some_and(|note| note.contains("no SQLite file")), "{found}");
    assert_eq!(names(&found, "reason"), ["DriftSeen", "Applied"]);
}

#[test]
fn what_is_asked_goes_to_the_loop_and_its_word_comes_back() {
    let served = Served::of(state());
    let ask = |path: &str, body: &str| {
        let answer = served.ask(&format!("POST /api/v1/{path}"), &[JSON], body);
        let value: Value = serde_json::from_str(&answer.text).expect("JSON");
        (answer.status, value)
    };
    let (status, said) = ask("proposals/7f3a2c/approve", r#"{"by": "ann"}"#);
    assert_eq!((status, &said["message"]), (200, &json!("7f3a2c is approved by ann")));
    let (status, said) = ask("proposals/11aa22/approve", r#"{"by": "ann"}"#);
    assert!(status == 409 && said["error"].as_str().is_some_and(|e| e.contains("only what waits")), "{said}");
    assert_eq!(ask("proposals/7f3a2c/reject", "").0, 200);
    assert_eq!(ask("sources/lab/suspend", r#"{"by": "ann", "why": "new switches"}"#).0, 200);
    assert_eq!(ask("sources/lab/resume", "{}").0, 200);
    assert_eq!(ask("sources/lab/reconcile", r#"{"object": "VirtualMachine/web-02"}"#).0, 200);
    let somebody = || "somebody".to_owned();
    assert_eq!(
        served.heard()[2..],
        [
            Wish::Reject { id: "7f3a2c".into(), by: somebody() },
            Wish::Suspend { source: "lab".into(), by: "ann".into(), why: "new switches".into() },
            Wish::Resume { source: "lab".into(), by: somebody() },
            Wish::Reconcile { source: "lab".into(), object: Some("VirtualMachine/web-02".into()) },
        ]
    );
    let before = served.heard().len();
    for (path, body, status, says) in [
        ("proposals/none/approve", "{}", 404, "there is no proposal"),
        ("sources/none/resume", "{}", 404, "there is no source"),
        ("sources/lab/suspend", "{}", 400, "say why"),
        ("sources/lab/suspend", r#"{"wy": "x"}"#, 400, "unknown field"),
        ("sources/lab/suspend", "{", 400, "not well"),
        ("sources/lab/suspend", r#"{"why": "one\ntwo"}"#, 400, "one line"),
        ("sources/lab/reconcile", r#"{"object": "web-02"}"#, 400, "VirtualMachine/web-01"),
        ("sources/lab/explode", "{}", 404, "nothing here"),
    ] {
        let (found, said) = ask(path, body);
        assert!(found == status && said["error"].as_str().is_some_and(|e| e.contains(says)), "{path} {found} {said}");
    }
    let form = served.ask("POST /api/v1/sources/lab/resume", &["Content-Type: text/plain"], "{}");
    assert_eq!(form.status, 415, "a form of another site can send this");
    let long = format!(r#"{{"why": "{}"}}"#, "x".repeat(70_000));
    assert_eq!(served.ask("POST /api/v1/sources/lab/suspend", &[JSON], &long).status, 413);
    assert_eq!(served.heard().len(), before);
}

#[test]
fn a_loop_that_is_gone_is_said() {
    let served = Served::with(state(), Wanted { deaf: true, ..Wanted::default() });
    let answer = served.ask("POST /api/v1/sources/lab/resume", &[], "");
    assert!(answer.status == 409 && answer.text.contains("about to end"), "{}", answer.text);
}

#[test]
fn the_webhook_is_believed_by_its_signature_alone() {
    let served = Served::with(state(), Wanted { token: Some("s3cret"), ..Wanted::default() });
    let send = |signature: &str, body: &str| {
        let header = format!("X-Hub-Signature-256: {signature}");
        served.ask("POST /webhooks/github", &[&header, "Host: hooks.example.org"], body).status
    };
    assert_eq!((send("sha256=bad", "push"), send("sha256=good", "ping"), send("sha256=good", "star")), (403, 200, 202));
    assert!(served.heard().is_empty());
    // A push of many commits is longer than anything else may be, and has an end all the same.
    assert_eq!((send("sha256=good", &"x".repeat(1 << 20)), send("sha256=good", &"x".repeat(5 << 20))), (202, 413));
    assert_eq!(send("sha256=good", "push"), 202);
    let wanted = Wish::Pushed { urls: vec!["https://git.example.org/lab.git".into()], branch: "main".into() };
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while served.heard().is_empty() && std::time::Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(served.heard(), [wanted]);
    let none = Served::with(state(), Wanted { no_hook: true, ..Wanted::default() });
    assert_eq!(none.ask("POST /webhooks/github", &["X-Hub-Signature-256: sha256=good"], "push").status, 404);
}

#[test]
fn connections_that_hang_hold_up_nobody_and_the_end_comes_soon() {
    let mut served = Served::of(state());
    let mut hanging = Vec::new();
    for _ in 0..50 {
        let mut stream = std::net::TcpStream::connect(served.at).expect("it is taken");
        stream.write_all(b"GET / HTTP/1.1\r\nHost: local").expect("it is sent");
        hanging.push(stream);
    }
    assert_eq!(served.get("/healthz").status, 200);
    let begun = std::time::Instant::now();
    served.end();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(std::net::TcpStream::connect(served.at).is_err(), "nobody listens any more");
}

#[test]
fn what_is_no_http_gets_no_far() {
    let served = Served::of(state());
    for bytes in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"GET\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"] {
        let mut stream = std::net::TcpStream::connect(served.at).expect("it is taken");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time");
        stream.write_all(bytes).expect("it is sent");
        let mut answer = String::new();
        // A connection that is reset is an answer, too.
        let _ = stream.read_to_string(&mut answer);
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    assert_eq!(served.get("/healthz").status, 200);
}

#[test]
fn tls_is_spoken_with_the_certificate_and_read_again() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let (cert_file, key_file) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let made = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let write = |made: &rcgen::CertifiedKey<rcgen::KeyPair>| {
        std::fs::write(&cert_file, made.cert.pem()).expect("written");
        std::fs::write(&key_file, made.signing_key.serialize_pem()).expect("written");
    };
    assert!(Tls::load(&cert_file, &key_file).is_err_and(|why| why.contains("cannot be read")));
    let (first, second) = (made(), made());
    write(&first);
    let tls = Arc::new(Tls::load(&cert_file, &key_file).expect("it is well"));
    let served = Served::with(state(), Wanted { tls: Some(tls.clone()), ..Wanted::default() });
    let asked = |trusted: &rcgen::CertifiedKey<rcgen::KeyPair>| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(trusted.cert.der().clone()).expect("a root");
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = reqwest::Client::builder().no_proxy().tls_backend_preconfigured(config).build().expect("a client");
        let request = client.get(format!("https://localhost:{}/api/v1/sources", served.at.port()));
        served.runtime.block_on(async { request.send().await.map(|r| r.status().as_u16()) })
    };
    assert_eq!(asked(&first).expect("an answer"), 200);
    assert!(asked(&second).is_err());
    write(&second);
    tls.reload().expect("it is well");
    assert_eq!(asked(&second).expect("an answer"), 200);
    std::fs::write(&key_file, "no key").expect("written");
    assert!(tls.reload().is_err_and(|why| why.contains("no private key")));
    assert_eq!(asked(&second).expect("the old one stays"), 200);
    std::fs::write(&key_file, first.signing_key.serialize_pem()).expect("written");
    assert!(tls.reload().is_err_and(|why| why.contains("does not go with")));
}

#[test]
fn the_drift_report_is_served_in_every_form() {
    let served = Served::of(state());
    for (path, kind, says) in [
        ("/drift.txt", "text/plain; charset=utf-8", "web-02"),
        ("/drift.md", "text/markdown; charset=utf-8", "| homelab | VirtualMachine/web-02 |"),
        ("/drift.xml", "application/xml; charset=utf-8", "<testcase name=\"VirtualMachine/web-02\""),
    ] {
        let answer = served.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), kind, "{path}");
        assert!(answer.text.contains(says), "{path}: {}", answer.text);
        // A source that is broken stands in it too.
        assert!(answer.text.contains("2 errors in the manifests"), "{path}: {}", answer.text);
    }
}
