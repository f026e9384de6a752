//! What a webhook says, and whether it comes from whom it should: GitHub's and Gitea's signature, GitLab's token. Pure; the
//! HTTP route is elsewhere. A body without a good signature is not even parsed.

use crate::github::webhook::is_signed;
use axum::http::HeaderMap;
use ring::hmac;
use serde_json::Value;

/// Larger bodies are refused; GitHub caps a push at 25 MB and cuts the list of commits long before.
pub const BODY_BYTES_MAX: usize = 5 << 20;

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hook {
    /// A branch has moved.
    Push {
        /// All addresses of the repository that the event names.
        urls: Vec<String>,
        /// The branch.
        branch: String,
    },
    /// Something became of a job of GitHub Actions: the event.
    Job(Value),
    /// The webhook was set up, and asks whether somebody is there.
    Ping,
    /// Something that concerns nobody here: another event, a tag.
    Other(String),
}

/// Why it is not listened to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no signature: HTTP 401.
    #[error("there is no signature: set the webhook's secret, on both sides the same")]
    Unsigned,
    /// It is another one: HTTP 403.
    #[error("the signature is wrong: the webhook's secret must be the same on both sides")]
    Forged,
    /// HTTP 413.
    #[error("the body has more than {BODY_BYTES_MAX} bytes")]
    TooLarge,
    /// HTTP 400.
    #[error("this is no event of GitHub, Gitea or GitLab: {0}")]
    Malformed(String),
}

/// The ways in which a body is vouched for.
enum Voucher<'a> {
    /// The HMAC-SHA256 of the body, in hexadecimal.
    Signature(&'a str),
    /// The secret itself.
    Token(&'a str),
}

/// Checks and reads the request of a webhook.
pub fn pushed(headers: &HeaderMap, body: &[u8], secret: &[u8]) -> Result<Hook, Refused> {
    if body.len() > BODY_BYTES_MAX {
        return Err(Refused::TooLarge);
    }
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let hub = header("x-hub-signature-256").map(|text| text.strip_prefix("sha256=").unwrap_or_default());
    let signature = hub.or_else(|| header("x-gitea-signature")).or_else(|| header("x-forgejo-signature"));
    let voucher = match (signature, header("x-gitlab-token")) {
        (Some(signature), _) => Voucher::Signature(signature),
        (None, Some(token)) => Voucher::Token(token),
        (None, None) => return Err(Refused::Unsigned),
    };
    if secret.is_empty() || !vouches(&voucher, body, secret) {
        return Err(Refused::Forged);
    }
    let event = ["x-github-event", "x-gitea-event", "x-forgejo-event", "x-gitlab-event"].into_iter().find_map(header);
    match event {
        Some("push" | "Push Hook") => push(&json(headers, body)?),
        Some("workflow_job") if header("x-github-event").is_some() => Ok(Hook::Job(json(headers, body)?)),
        Some("ping") => Ok(Hook::Ping),
        Some(other) => Ok(Hook::Other(other.chars().take(100).collect())),
        None => Err(Refused::Malformed("no header names the event".to_owned())),
    }
}

/// In the same time, whatever differs and wherever.
fn vouches(voucher: &Voucher<'_>, body: &[u8], secret: &[u8]) -> bool {
    match voucher {
        Voucher::Signature(signature) => is_signed(body, secret, signature),
        // Compared by their codes, which have one length.
        Voucher::Token(token) => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            hmac::verify(&key, token.as_bytes(), hmac::sign(&key, secret).as_ref()).is_ok()
        }
    }
}

/// The event: as it is, or in the one field of a form, which is what GitHub sends unless told otherwise.
fn json(headers: &HeaderMap, body: &[u8]) -> Result<Value, Refused> {
    let form = headers.get("content-type").and_then(|value| value.to_str().ok());
    let malformed = |error: serde_json::Error| Refused::Malformed(error.to_string());
    if form.is_some_and(|form| form.starts_with("application/x-www-form-urlencoded")) {
        let payload = url::form_urlencoded::parse(body).find(|(name, _)| name == "payload");
        let (_, payload) = payload.ok_or_else(|| Refused::Malformed("the form has no `payload`".to_owned()))?;
        return serde_json::from_str(&payload).map_err(malformed);
    }
    serde_json::from_slice(body).map_err(malformed)
}

/// A push of GitHub, Gitea, Forgejo or GitLab, which calls the repository `project`.
fn push(event: &Value) -> Result<Hook, Refused> {
    let reference = event["ref"].as_str().ok_or_else(|| Refused::Malformed("it has no `ref`".to_owned()))?;
    let Some(branch) = reference.strip_prefix("refs/heads/") else {
        return Ok(Hook::Other(format!("push of {}", reference.chars().take(100).collect::<String>())));
    };
    let names =
        ["clone_url", "ssh_url", "html_url", "git_url", "git_http_url", "git_ssh_url", "http_url", "web_url", "url"];
    let mut urls: Vec<String> = ["repository", "project"]
        .iter()
        .flat_map(|place| names.iter().filter_map(|name| event[*place][*name].as_str().map(str::to_owned)))
        .collect();
    urls.sort();
    urls.dedup();
    if urls.is_empty() {
        return Err(Refused::Malformed("it names no repository".to_owned()));
    }
    Ok(Hook::Push { urls, branch: branch.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            let name: HeaderName = name.parse().expect("a name");
            (name, HeaderValue::from_str(value).expect("a value"))
        };
        pairs.iter().map(pair).collect()
    }

    fn signature(body: &[u8], secret: &[u8]) -> String {
        hex::encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), body))
    }

    /// A request as GitHub sends it.
    fn github(event: &str, body: &str) -> Result<Hook, Refused> {
        let signed = format!("sha256={}", signature(body.as_bytes(), b"s3cret"));
        pushed(&headers(&[("x-github-event", event), ("x-hub-signature-256", &signed)]), body.as_bytes(), b"s3cret")
    }

    const PUSH: &str = r#"{"ref": "refs/heads/release/1", "before": "0", "after": "1", "repository": {"name": "lab",
        "url": "https://github.com/acme/lab", "html_url": "https://github.com/acme/lab", "git_url": "git://github.com/acme/lab.git",
        "ssh_url": "git@github.com:acme/lab.git", "clone_url": "https://github.com/acme/lab.git"}}"#;

    #[test]
    fn githubs_own_example_of_a_signature_is_accepted() {
        // From GitHub's documentation, "Validating webhook deliveries".
        let signed = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let given = headers(&[("x-hub-signature-256", signed), ("x-github-event", "ping")]);
        assert_eq!(pushed(&given, b"Hello, World!", b"It's a Secret to Everybody"), Ok(Hook::Ping));
        assert_eq!(pushed(&given, b"Hello, World?", b"It's a Secret to Everybody"), Err(Refused::Forged));
        assert_eq!(pushed(&given, b"Hello, World!", b"It's a secret to Everybody"), Err(Refused::Forged));
    }

    #[test]
    fn a_push_names_repository_and_branch() {
        let Ok(Hook::Push { urls, branch }) = github("push", PUSH) else { panic!("no push") };
        assert_eq!(branch, "release/1");
        assert_eq!(urls.len(), 4, "{urls:?}");
        assert!(urls.contains(&"git@github.com:acme/lab.git".to_owned()));
        assert_eq!(github("ping", "{}"), Ok(Hook::Ping));
        assert_eq!(github("issues", "{}"), Ok(Hook::Other("issues".to_owned())));
        let tag = PUSH.replace("refs/heads/release/1", "refs/tags/v1");
        assert_eq!(github("push", &tag), Ok(Hook::Other("push of refs/tags/v1".to_owned())));
        for bad in ["", "{", "[]", "{\"ref\": 1}", "{\"ref\": \"refs/heads/main\"}"] {
            assert!(matches!(github("push", bad), Err(Refused::Malformed(_))), "{bad}");
        }
    }

    #[test]
    fn a_form_is_read_as_githubs_default_sends_it() {
        let body = format!("payload={}", url::form_urlencoded::byte_serialize(PUSH.as_bytes()).collect::<String>());
        let signed = format!("sha256={}", signature(body.as_bytes(), b"s"));
        let given = headers(&[
            ("x-github-event", "push"),
            ("x-hub-signature-256", &signed),
            ("content-type", "application/x-www-form-urlencoded"),
        ]);
        assert!(matches!(pushed(&given, body.as_bytes(), b"s"), Ok(Hook::Push { .. })));
    }

    #[test]
    fn gitea_and_gitlab_are_understood() {
        let signed = signature(PUSH.as_bytes(), b"s");
        let gitea = headers(&[("x-gitea-event", "push"), ("x-gitea-signature", &signed)]);
        assert!(matches!(pushed(&gitea, PUSH.as_bytes(), b"s"), Ok(Hook::Push { .. })));
        let gitlab = |token| headers(&[("x-gitlab-event", "Push Hook"), ("x-gitlab-token", token)]);
        let body = br#"{"ref": "refs/heads/main", "project": {"git_http_url": "https://gitlab.com/acme/lab.git", "git_ssh_url": "git@gitlab.com:acme/lab.git"}}"#;
        let Ok(Hook::Push { urls, .. }) = pushed(&gitlab("s"), body, b"s") else { panic!("no push") };
        assert_eq!(urls.len(), 2);
        for token in ["", "t", "ss", "S"] {
            assert_eq!(pushed(&gitlab(token), body, b"s"), Err(Refused::Forged), "{token}");
        }
    }

    #[test]
    fn nobody_gets_in_without_the_secret() {
        let event = ("x-github-event", "push");
        assert_eq!(pushed(&headers(&[event]), PUSH.as_bytes(), b"s"), Err(Refused::Unsigned));
        let right = signature(PUSH.as_bytes(), b"s");
        for wrong in [
            "",
            "sha256=",
            "sha256=zz",
            &right,
            &format!("sha1={right}"),
            &format!("sha256={}", &right[..62]),
            &format!("sha256={right}00"),
            &format!("sha256={}", "0".repeat(64)),
        ] {
            let given = headers(&[event, ("x-hub-signature-256", wrong), ("x-gitlab-token", "s")]);
            assert_eq!(pushed(&given, PUSH.as_bytes(), b"s"), Err(Refused::Forged), "{wrong}");
        }
        // An empty secret vouches for nobody.
        let empty = format!("sha256={}", signature(PUSH.as_bytes(), b""));
        let given = headers(&[event, ("x-hub-signature-256", &empty)]);
        assert_eq!(pushed(&given, PUSH.as_bytes(), b""), Err(Refused::Forged));
        assert_eq!(pushed(&given, &vec![b' '; BODY_BYTES_MAX + 1], b"s"), Err(Refused::TooLarge));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(
            body in proptest::collection::vec(any::<u8>(), 0..200), form in any::<bool>(),
            signature_of in proptest::option::of("\\PC{0,70}"), vouched in any::<bool>(), event in "push|ping|Push Hook|[a-z]{0,9}"
        ) {
            let mut given = HeaderMap::new();
            let good = format!("sha256={}", signature(&body, b"s"));
            if let Some(value) = signature_of.filter(|_| !vouched).as_ref().and_then(|text| HeaderValue::from_str(text).ok()) {
                given.insert("x-hub-signature-256", value);
            } else if vouched {
                given.insert("x-hub-signature-256", HeaderValue::from_str(&good).expect("hexadecimal"));
            }
            given.insert("x-github-event", HeaderValue::from_str(&event).expect("letters"));
            if form {
                given.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
            }
            let answer = pushed(&given, &body, b"s");
            if !vouched {
                prop_assert!(matches!(answer, Err(Refused::Unsigned | Refused::Forged)), "{answer:?}");
            }
        }
    }
}
