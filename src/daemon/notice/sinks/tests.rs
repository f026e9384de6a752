//! Sinks over a real socket: a server that answers, refuses, hangs, is not there.

use super::*;
use crate::base::secret::Secret;
use crate::config::file::SecretField;
use crate::daemon::config::NotifyForm;
use crate::daemon::notice::post::Web;
use futures::future::BoxFuture;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Pauses of a few seconds pass at once, and are added up; a patience for an answer is waited for in thousandths.
#[derive(Default)]
struct Swift(AtomicU64);

impl Clock for Swift {
    fn now_ms(&self) -> u64 {
        1_795_226_403_000
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        if duration == PATIENCE {
            return Box::pin(tokio::time::sleep(Duration::from_millis(700)));
        }
        self.0.fetch_add(duration.as_millis() as u64, Ordering::SeqCst);
        Box::pin(tokio::time::sleep(Duration::from_millis(1)))
    }
}

/// A server that gives these answers in turn, the last one again and again, and keeps what it was sent. An empty answer: none.
async fn server(answers: &'static [&'static str]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let got = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&got);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = Vec::new();
            let mut chunk = [0; 4_096];
            while !is_whole(&bytes) {
                match stream.read(&mut chunk).await {
                    Ok(0) | Err(_) => break,
                    Ok(n) => bytes.extend_from_slice(&chunk[..n]),
                }
            }
            let count = {
                let mut kept = kept.lock().expect("nobody panics");
                kept.push(String::from_utf8_lossy(&bytes).into_owned());
                kept.len()
            };
            let answer = answers[(count - 1).min(answers.len() - 1)];
            if answer.is_empty() {
                held.push(stream);
                continue;
            }
            let text = format!("HTTP/1.1 {answer}\r\nConnection: close\r\n\r\n");
            let text = if answer.contains("\r\n\r\n") { format!("HTTP/1.1 {answer}") } else { text };
            let _ = stream.write_all(text.as_bytes()).await;
        }
    });
    (format!("http://127.0.0.1:{port}/hook/s3cretkey?token=s3cretkey"), got)
}

fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0_usize)
}

fn config(name: &str, url: &str, form: NotifyForm) -> (NotifyConfig, Target) {
    let config = NotifyConfig {
        name: name.into(),
        form,
        url: SecretField::Value(Secret::new(url)),
        token: None,
        reasons: BTreeSet::new(),
        sources: BTreeSet::new(),
    };
    let target = Target::new(form, &Secret::new(url), Some(&Secret::new("tk_1"))).expect("an address");
    (config, target)
}

fn event(n: u64) -> EventRecord {
    EventRecord {
        at_ms: n,
        source: "lab".into(),
        object: Some(format!("Pool/{n}")),
        revision: None,
        level: Level::Warning,
        reason: "ApplyFailed".into(),
        message: format!("message {n}"),
        count: 1,
    }
}

struct Life {
    notices: Notices,
    clock: Arc<Swift>,
    heard: Arc<Mutex<Vec<EventRecord>>>,
}

fn begin(targets: Vec<(NotifyConfig, Target)>) -> Life {
    let clock = Arc::new(Swift::default());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&heard);
    let hear: Hear = Arc::new(move |event| kept.lock().expect("nobody panics").push(event));
    let post = Arc::new(Web::new().expect("TLS is set up"));
    Life { notices: Notices::start(targets, post, Arc::<Swift>::clone(&clock), hear), clock, heard }
}

impl Life {
    async fn until(&self, what: impl Fn(&[Sending]) -> bool) -> Vec<Sending> {
        for _ in 0..4_000 {
            let sending = self.notices.sending();
            if what(&sending) {
                return sending;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{:?}", self.notices.sending());
    }

    fn heard(&self) -> Vec<(String, String)> {
        self.heard.lock().expect("nobody panics").iter().map(|e| (e.reason.clone(), e.message.clone())).collect()
    }
}

#[tokio::test]
async fn a_message_arrives_as_it_was_rendered() {
    let (url, got) = server(&["200 OK"]).await;
    let life = begin(vec![config("a", &url, NotifyForm::Generic)]);
    life.notices.tell(&event(1), None, 0);
    life.until(|s| s[0].sent == 1).await;
    let got = got.lock().expect("nobody panics").join("\n");
    assert!(got.starts_with("POST /hook/s3cretkey?token=s3cretkey HTTP/1.1\r\n"), "{got}");
    let head = got.to_lowercase();
    assert!(head.contains("content-type: application/json") && head.contains("authorization: bearer tk_1"), "{got}");
    assert!(got.contains(r#""reason":"ApplyFailed""#), "{got}");
    assert!(life.heard().is_empty());
}

#[tokio::test]
async fn a_server_that_stumbles_is_asked_again_and_as_late_as_it_likes() {
    let (url, got) = server(&["503 Busy", "429 Slow\r\nRetry-After: 33", "200 OK"]).await;
    let life = begin(vec![config("a", &url, NotifyForm::Slack)]);
    life.notices.tell(&event(1), None, 0);
    life.until(|s| s[0].sent == 1).await;
    let slept = life.clock.0.load(Ordering::SeqCst);
    assert!((33_500..=34_500).contains(&slept), "{slept}");
    assert_eq!(got.lock().expect("nobody panics").len(), 3);
    assert!(life.heard().is_empty());
}

#[tokio::test]
async fn a_refusal_is_final_told_once_and_without_the_address() {
    let (url, got) = server(&["404 No\r\nContent-Length: 33\r\n\r\nCannot POST /hook/s3cretkey sorry", "200 OK"]).await;
    let life = begin(vec![config("a", &url, NotifyForm::Slack)]);
    life.notices.tell(&event(1), None, 0);
    life.until(|s| s[0].failed == 1).await;
    assert_eq!(got.lock().expect("nobody panics").len(), 1, "it was not sent again");
    life.notices.tell(&event(2), None, 0);
    let sending = life.until(|s| s[0].sent == 1).await;
    let heard = life.heard();
    assert_eq!(heard.iter().map(|(reason, _)| reason.as_str()).collect::<Vec<_>>(), [FAILED, MENDED]);
    assert!(heard[0].1.contains("the answer is 404") && heard[0].1.contains("127.0.0.1"), "{heard:?}");
    assert!(!format!("{heard:?}{sending:?}").contains("s3cretkey"), "{heard:?}");
}

#[tokio::test]
async fn a_dead_sink_holds_up_nobody() {
    let (hangs, _) = server(&[""]).await;
    let (well, got) = server(&["200 OK"]).await;
    let gone = "http://127.0.0.1:9/s3cretkey";
    let life = begin(vec![
        config("hangs", &hangs, NotifyForm::Generic),
        config("gone", gone, NotifyForm::Generic),
        config("well", &well, NotifyForm::Generic),
    ]);
    let began = std::time::Instant::now();
    for n in 0..80 {
        life.notices.tell(&event(n), None, 0);
    }
    assert!(began.elapsed() < Duration::from_millis(500), "telling is at once");
    life.until(|s| s[2].sent == 80 && s[0].failed >= 1 && s[1].failed >= 1).await;
    assert_eq!(got.lock().expect("nobody panics").len(), 80);
    let heard = life.heard();
    assert!(heard.iter().any(|(_, why)| why.contains("`hangs`") && why.contains("no answer within 10 s")), "{heard:?}");
    assert!(heard.iter().any(|(_, why)| why.contains("`gone`") && why.contains("after 5 tries")), "{heard:?}");
    assert!(!format!("{heard:?}").contains("s3cretkey"), "{heard:?}");
}

#[tokio::test]
async fn a_queue_has_a_bound_and_drops_the_oldest() {
    let (url, got) = server(&["", "200 OK"]).await;
    let life = begin(vec![config("a", &url, NotifyForm::Generic)]);
    life.notices.tell(&event(1_000), None, 0);
    life.until(|s| s[0].waiting == 0).await;
    for n in 0..150 {
        life.notices.tell(&event(n), None, 0);
    }
    let sending = life.notices.sending();
    assert_eq!((sending[0].waiting, sending[0].dropped), (QUEUE_MAX, 50));
    life.until(|s| s[0].sent == 101).await;
    let got = got.lock().expect("nobody panics").clone();
    assert!(got[2].contains("message 50") && got[2].contains("\"dropped\":50"), "{}", got[2]);
    assert!(got[101].contains("message 149") && got[101].contains("\"dropped\":0"), "{}", got[101]);
}

#[tokio::test]
async fn the_end_sends_what_waits_and_does_not_wait_for_the_dead() {
    let (well, got) = server(&["200 OK"]).await;
    let (hangs, _) = server(&[""]).await;
    let targets = vec![config("well", &well, NotifyForm::Generic), config("hangs", &hangs, NotifyForm::Generic)];
    let Life { notices, clock: _, heard: _ } = begin(targets);
    (0..10).for_each(|n| notices.tell(&event(n), None, 0));
    /// Real time.
    struct Wall;
    impl Clock for Wall {
        fn now_ms(&self) -> u64 {
            0
        }
        fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
            Box::pin(tokio::time::sleep(duration))
        }
    }
    let began = std::time::Instant::now();
    notices.close(Duration::from_millis(600), &Wall).await;
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(got.lock().expect("nobody panics").len(), 10);
}
