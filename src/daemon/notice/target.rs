//! Where messages go and in which form: an event becomes the one HTTP request that carries it. Pure.
//!
//! `Generic` is for programs; its shape is a promise: `{"apiVersion": "pvectl/v1alpha1", "kind": "Notice", "title", "text",
//! "event": {…}, "drift": {…} or null, "note": "…" or null, "dropped": 0}` with `event` and `drift` as `/api/v1` has them.

use crate::base::secret::Secret;
use crate::daemon::config::NotifyForm;
use crate::daemon::notice::message::{Message, Mood, within};
use crate::daemon::notice::slack;
use serde_json::{Value, json};
use url::Url;

/// ntfy makes a file of a message above 4 KiB, and refuses a request of more than twice that; quotes take room too.
const NTFY_BYTES: usize = 3_000;

/// Somebody's address. It is a secret.
#[derive(Clone)]
pub struct Target {
    form: NotifyForm,
    url: Secret,
    header: Option<(&'static str, Secret)>,
    /// ntfy's JSON goes to the server and names the topic inside: so titles may hold any letter, which headers may not.
    topic: Option<String>,
    host: String,
}

/// A request as it is sent: always a POST of JSON.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Where.
    pub url: Secret,
    /// A header that shows who we are.
    pub header: Option<(&'static str, Secret)>,
    /// JSON.
    pub body: String,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} at {}", self.form, self.host)
    }
}

impl Target {
    /// From what the configuration says. The error never repeats the address.
    pub fn new(form: NotifyForm, address: &Secret, token: Option<&Secret>) -> Result<Target, String> {
        let mut url = Url::parse(address.expose()).map_err(|error| format!("it is no address: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("`{}` is neither http nor https", url.scheme()));
        }
        let host = url.host_str().ok_or("it names no host")?;
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let mut topic = None;
        match form {
            NotifyForm::Generic | NotifyForm::Slack => {}
            NotifyForm::Ntfy => {
                let path = url.path().trim_matches('/').to_owned();
                let (folder, last) = path.rsplit_once('/').unwrap_or(("", &path));
                if last.is_empty() {
                    return Err("it names no topic: https://ntfy.sh/TOPIC".to_owned());
                }
                topic = Some(last.to_owned());
                url.set_path(&format!("/{folder}"));
            }
            NotifyForm::Gotify => {
                let path = url.path().trim_end_matches('/').trim_end_matches("/message").to_owned();
                url.set_path(&format!("{path}/message"));
            }
        }
        let bearer = |token: &Secret| ("Authorization", Secret::new(format!("Bearer {}", token.expose())));
        let header = token.map(|token| match form {
            NotifyForm::Gotify => ("X-Gotify-Key", token.clone()),
            NotifyForm::Generic | NotifyForm::Slack | NotifyForm::Ntfy => bearer(token),
        });
        if let Some((_, value)) = &header
            && !value.expose().bytes().all(|b| (0x20..0x7f).contains(&b))
        {
            return Err("its token holds what a header cannot".to_owned());
        }
        Ok(Target { form, url: Secret::new(url.as_str()), header, topic, host })
    }

    /// All that may be shown of the address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The request that carries a message.
    pub fn render(&self, message: &Message) -> Outgoing {
        let body = match self.form {
            NotifyForm::Generic => generic(message),
            NotifyForm::Slack => slack::body(message),
            NotifyForm::Ntfy => ntfy(message, self.topic.as_deref().unwrap_or_default()),
            NotifyForm::Gotify => gotify(message),
        };
        Outgoing { url: self.url.clone(), header: self.header.clone(), body: body.to_string() }
    }
}

fn generic(message: &Message) -> Value {
    let Message { event, drift, note, dropped } = message;
    json!({
        "apiVersion": "pvectl/v1alpha1",
        "kind": "Notice",
        "title": message.title(),
        "text": message.text(),
        "event": event,
        "drift": drift,
        "note": note,
        "dropped": dropped,
    })
}

/// <https://docs.ntfy.sh/publish/#publish-as-json>: priorities are 1 to 5, and tags that are known become pictures.
fn ntfy(message: &Message, topic: &str) -> Value {
    let (priority, tag) = match message.mood() {
        Mood::Bad => (4, "warning"),
        Mood::Notable => (3, "eyes"),
        Mood::Good => (2, "white_check_mark"),
    };
    json!({
        "topic": topic,
        "title": message.title(),
        "message": within(&message.text(), NTFY_BYTES),
        "priority": priority,
        "tags": [tag],
    })
}

/// <https://gotify.net/api-docs>: priorities are 0 to 10, and phones ring from 4 and vibrate from 8.
fn gotify(message: &Message) -> Value {
    let priority = match message.mood() {
        Mood::Bad => 8,
        Mood::Notable => 5,
        Mood::Good => 2,
    };
    json!({"title": message.title(), "message": message.text(), "priority": priority})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::record::{Actor, DriftRecord, EventRecord, FieldRecord, Healer, Level};

    fn message() -> Message {
        let field = |path: &str, from: Option<&str>, to: Option<&str>| FieldRecord {
            path: path.into(),
            from: from.map(Into::into),
            to: to.map(Into::into),
            cause: "drift".into(),
            impact: "live".into(),
        };
        let event = EventRecord {
            at_ms: 1_795_226_403_000,
            source: "homelab".into(),
            object: Some("VirtualMachine/web-01".into()),
            revision: Some("4f1c2aa".into()),
            level: Level::Normal,
            reason: "DriftSeen".into(),
            message: "2 fields of <web-01> & its notes differ: \u{1b}[31m@channel Grüße".into(),
            count: 1,
        };
        let drift = DriftRecord {
            id: "homelab/VirtualMachine/web-01@1795226403000".into(),
            source: "homelab".into(),
            kind: "VirtualMachine".into(),
            name: "web-01".into(),
            identity: Some("qemu/101 on pve1".into()),
            fields: vec![
                field("hardware.cores", Some("8"), Some("4")),
                field("description", Some("a `b`\n<!channel> *c*"), None),
            ],
            seen_ms: 1_795_226_403_000,
            by: Some(Actor {
                user: "root@pam".into(),
                what: "update VM 101: -cores 8".into(),
                at_ms: 1_795_226_401_000,
            }),
            healed_ms: None,
            healed_by: None,
        };
        Message { event, drift: Some(drift), note: None, dropped: 3 }
    }

    fn shown(form: NotifyForm, url: &str) -> String {
        let target = Target::new(form, &Secret::new(url), Some(&Secret::new("tk_1"))).expect("an address");
        let Outgoing { url, header, body } = target.render(&message());
        let body: Value = serde_json::from_str(&body).expect("it is JSON");
        let header = header.map(|(name, value)| format!("{name}: {}", value.expose())).unwrap_or_default();
        format!("POST {}\n{header}\n\n{body:#}", url.expose())
    }

    #[test]
    fn goldens_of_every_form() {
        insta::assert_snapshot!("generic", shown(NotifyForm::Generic, "https://example.org/hook?key=1"));
        insta::assert_snapshot!("slack", shown(NotifyForm::Slack, "https://hooks.slack.com/services/T0/B0/x"));
        insta::assert_snapshot!("ntfy", shown(NotifyForm::Ntfy, "https://ntfy.sh/lab"));
        insta::assert_snapshot!("gotify", shown(NotifyForm::Gotify, "http://gotify.lan:8080/sub/"));
    }

    #[test]
    fn what_is_over_is_told_as_such() {
        let mut over = message();
        over.event.reason = "DriftHealed".into();
        let drift = over.drift.as_mut().expect("it has one");
        (drift.healed_ms, drift.healed_by) = (Some(1_795_230_000_000), Some(Healer::Hand));
        let text = over.text();
        assert!(text.contains("hardware.cores: was 8, should have been 4\n"), "{text}");
        assert!(text.contains("healed at 2026-11-21T03:00:00Z by hand; it lasted from 2026-11-21T02:00:01Z"), "{text}");
        assert_eq!(over.mood(), Mood::Good);
    }

    #[test]
    fn long_messages_are_cut_to_what_each_takes() {
        let mut long = message();
        long.event.message = "ä".repeat(50_000);
        let drift = long.drift.as_mut().expect("it has one");
        drift.fields = (0..500).map(|n| FieldRecord { path: format!("f{n}"), ..drift.fields[1].clone() }).collect();
        for form in [NotifyForm::Slack, NotifyForm::Ntfy, NotifyForm::Gotify] {
            let target = Target::new(form, &Secret::new("https://x/t"), None).expect("an address");
            let body = target.render(&long).body;
            assert!(body.len() < if form == NotifyForm::Ntfy { 4_096 } else { 16_000 }, "{form:?} {}", body.len());
        }
    }

    #[test]
    fn a_wrong_address_is_told_without_it() {
        for (form, url) in [
            (NotifyForm::Generic, "s3cret"),
            (NotifyForm::Generic, "ftp://x/s3cret"),
            (NotifyForm::Ntfy, "https://user:s3cret@ntfy.sh/"),
        ] {
            let why = Target::new(form, &Secret::new(url), None).expect_err(url);
            assert!(!why.contains("s3cret"), "{why}");
        }
        let token = Secret::new("s3\ncret");
        assert!(Target::new(NotifyForm::Generic, &Secret::new("https://x/"), Some(&token)).is_err());
        let target =
            Target::new(NotifyForm::Slack, &Secret::new("https://u:p@h:9/s3cret?k=s3cret"), None).expect("well");
        assert_eq!(format!("{target:?}"), "Slack at h:9");
        assert!(!format!("{:?}", target.render(&message())).contains("s3cret"));
    }
}
