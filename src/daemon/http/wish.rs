//! What somebody asks of the loop: `POST` with JSON `{by, why, object}`. The answer is the loop's own sentence: 200 `message`,
//! 409 `error` when it says no.

use crate::daemon::http::api::{Answer, Refused};
use crate::daemon::http::gate::Caller;
use crate::daemon::http::site::Site;
use crate::daemon::shared::Wish;
use axum::body::Bytes;
use axum::extract::{Extension, Json, Path, State as Of};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// How long the loop may take to answer. What was asked may come true after that.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// Letters of a name, a reason, an object.
const LETTERS_MAX: usize = 300;

/// The body.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// Who says so.
    pub by: Option<String>,
    /// Why.
    pub why: Option<String>,
    /// One object, `Kind/name`.
    pub object: Option<String>,
}

impl Said {
    /// Reads a body; an empty one says nothing.
    fn read(headers: &HeaderMap, body: &Bytes) -> Result<Said, Refused> {
        if body.is_empty() {
            return Ok(Said::default());
        }
        // A form of another site cannot say this without asking first.
        let form = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !form.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
            let why = "the body must be JSON: Content-Type: application/json".to_owned();
            return Err(Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
        }
        serde_json::from_slice(body).map_err(|e| Refused::wrong(format!("the body is not well: {e}")))
    }

    /// The same in one line each and not too long: it comes into logs and the history.
    pub fn checked(self) -> Result<Said, String> {
        let check = |name: &str, text: Option<String>| {
            let text = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
            match &text {
                Some(text) if text.chars().count() > LETTERS_MAX => {
                    Err(format!("`{name}` is longer than {LETTERS_MAX} letters"))
                }
                Some(text) if text.chars().any(char::is_control) => Err(format!("`{name}` must be one line of text")),
                Some(_) | None => Ok(text),
            }
        };
        let Said { by, why, object } = self;
        let object = check("object", object)?;
        if object
            .as_ref()
            .is_some_and(|o| o.split_once('/').is_none_or(|(kind, name)| kind.is_empty() || name.is_empty()))
        {
            return Err("`object` is written like VirtualMachine/web-01".to_owned());
        }
        Ok(Said { by: check("by", by)?, why: check("why", why)?, object })
    }

    /// Who it is: what they say, else the user of their browser.
    fn who(&self, caller: &Caller) -> String {
        let named = |text: &Option<String>| {
            text.as_ref().map(|t| t.chars().filter(|c| !c.is_control()).take(LETTERS_MAX).collect::<String>())
        };
        named(&self.by).or_else(|| named(&caller.user)).unwrap_or_else(|| "somebody".to_owned())
    }
}

/// What may be asked about a proposal or a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Carry a proposal out.
    Approve,
    /// Do not.
    Reject,
    /// Do nothing for a source.
    Suspend,
    /// Go on.
    Resume,
    /// Look now.
    Reconcile,
}

impl Verb {
    /// From the last word of a path.
    pub fn read(word: &str) -> Option<Verb> {
        [
            ("approve", Verb::Approve),
            ("reject", Verb::Reject),
            ("suspend", Verb::Suspend),
            ("resume", Verb::Resume),
            ("reconcile", Verb::Reconcile),
        ]
        .into_iter()
        .find_map(|(known, verb)| (known == word).then_some(verb))
    }

    /// Whether it is about a proposal; else it is about a source.
    pub fn is_of_proposals(self) -> bool {
        match self {
            Verb::Approve | Verb::Reject => true,
            Verb::Suspend | Verb::Resume | Verb::Reconcile => false,
        }
    }
}

/// Asks the loop. `of`: the proposal's id, or the source's name.
pub async fn ask(site: &Site, caller: &Caller, verb: Verb, of: &str, said: Said) -> Result<String, Refused> {
    let said = said.checked().map_err(Refused::wrong)?;
    let (there, what) = site.look(|state| {
        if verb.is_of_proposals() {
            (state.proposals.contains_key(of), "proposal")
        } else {
            (state.sources.contains_key(of), "source")
        }
    });
    if !there {
        return Err(Refused::absent(what, of));
    }
    let (by, id) = (said.who(caller), of.to_owned());
    let wish = match verb {
        Verb::Approve => Wish::Approve { id, by },
        Verb::Reject => Wish::Reject { id, by },
        Verb::Suspend => {
            let why = said.why.ok_or_else(|| Refused::wrong("say why: `why` is missing".to_owned()))?;
            Wish::Suspend { source: id, by, why }
        }
        Verb::Resume => Wish::Resume { source: id, by },
        Verb::Reconcile => Wish::Reconcile { source: id, object: said.object },
    };
    match tokio::time::timeout(ANSWER_TIME, site.shared.ask(wish)).await {
        Ok(answer) => answer.map_err(|why| Refused(StatusCode::CONFLICT, why)),
        Err(_) => {
            let why =
                format!("the daemon did not answer in {} s; look again whether it was done", ANSWER_TIME.as_secs());
            Err(Refused(StatusCode::GATEWAY_TIMEOUT, why))
        }
    }
}

/// What a route of the API is handed.
type Asked = (Of<Arc<Site>>, Extension<Caller>, Path<String>, HeaderMap);

async fn answer((Of(site), Extension(caller), Path(of), headers): Asked, verb: Verb, body: Bytes) -> Answer {
    let said = Said::read(&headers, &body)?;
    ask(&site, &caller, verb, &of, said).await.map(|message| Json(json!({"message": message})))
}

/// `POST /proposals/{id}/approve`.
pub async fn approve(asked: Asked, body: Bytes) -> Answer {
    answer(asked, Verb::Approve, body).await
}

/// `POST /proposals/{id}/reject`.
pub async fn reject(asked: Asked, body: Bytes) -> Answer {
    answer(asked, Verb::Reject, body).await
}

/// `POST /sources/{name}/suspend`.
pub async fn suspend(asked: Asked, body: Bytes) -> Answer {
    answer(asked, Verb::Suspend, body).await
}

/// `POST /sources/{name}/resume`.
pub async fn resume(asked: Asked, body: Bytes) -> Answer {
    answer(asked, Verb::Resume, body).await
}

/// `POST /sources/{name}/reconcile`.
pub async fn reconcile(asked: Asked, body: Bytes) -> Answer {
    answer(asked, Verb::Reconcile, body).await
}
