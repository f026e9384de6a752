//! Tickets: got with a password (and a second factor), renewed with themselves while they are valid, thrown away when PVE
//! no longer takes them.

use super::auth::{Auth, Badge, Session, totp};
use super::client::{Again, Failure, HttpApi, Outgoing};
use crate::base::secret::Secret;
use crate::pve::error::{LOGIN, PveError};
use crate::pve::request::Params;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// For how long a refused password is not tried again: a run asks many things at once, and a node that bans addresses
/// counts each attempt.
pub(super) const REFUSAL_MEMORY: Duration = Duration::from_secs(10);

/// Where logins are handed out, one at a time.
#[derive(Default)]
pub(super) struct Desk {
    session: Option<Arc<Session>>,
    refusal: Option<(Instant, PveError)>,
}

impl HttpApi {
    /// What to show: the token, or a ticket that is neither old nor the one that was just refused. Concurrent requests wait
    /// for one login instead of making their own.
    pub(super) async fn badge(&self, refused: Option<&Arc<Session>>) -> Result<Badge, Failure> {
        let (user, password, key) = match &self.auth {
            Auth::Token { id, secret } => {
                return Ok(Badge::Token(Secret::new(format!("{id}={}", secret.expose()))));
            }
            Auth::Password { user, password, totp } => (user, password, totp.as_ref()),
        };
        let mut desk = self.desk.lock().await;
        if let Some((at, error)) = desk.refusal.take_if(|(at, _)| at.elapsed() < REFUSAL_MEMORY) {
            desk.refusal = Some((at, error.clone()));
            return Err(Failure { error, again: Again::Never });
        }
        let is_refused = |session: &Arc<Session>| refused.is_some_and(|old| Arc::ptr_eq(old, session));
        let old = desk.session.take().filter(|session| !is_refused(session));
        let renewed = match old {
            Some(session) if !session.is_stale() => Ok(session),
            // PVE takes a valid ticket in place of the password, so that no second factor is needed again.
            Some(session) => match self.ask(user, &session.ticket, None).await {
                Ok(Ticket::Whole(session)) => Ok(Arc::new(session)),
                Ok(Ticket::Half(_)) | Err(_) => self.log_in(user, password, key).await.map(Arc::new),
            },
            None => self.log_in(user, password, key).await.map(Arc::new),
        };
        match renewed {
            Ok(session) => {
                desk.session = Some(Arc::clone(&session));
                Ok(Badge::Session(session))
            }
            Err(failure) => {
                if let PveError::Refused { status: 401, .. } = failure.error {
                    desk.refusal = Some((Instant::now(), failure.error.clone()));
                }
                Err(failure)
            }
        }
    }

    async fn log_in(&self, user: &str, password: &Secret, key: Option<&Secret>) -> Result<Session, Failure> {
        let challenge = match self.ask(user, password, None).await? {
            Ticket::Whole(session) => return Ok(session),
            Ticket::Half(challenge) => challenge,
        };
        let Some(key) = key else {
            return Err(refused(format!(
                "{user} needs a second factor; give its TOTP key (totp), or use an API token"
            )));
        };
        let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0);
        let Some(digits) = totp(key, now) else {
            return Err(refused(format!("the TOTP key of {user} is not base32")));
        };
        match self.ask(user, &Secret::new(format!("totp:{}", digits.expose())), Some(&challenge)).await? {
            Ticket::Whole(session) => Ok(session),
            Ticket::Half(_) => Err(refused(format!("{user} needs another second factor than TOTP; use an API token"))),
        }
    }

    async fn ask(&self, user: &str, password: &Secret, challenge: Option<&Secret>) -> Result<Ticket, Failure> {
        let mut params: Params =
            vec![("username".to_owned(), user.to_owned()), ("password".to_owned(), password.expose().to_owned())];
        if let Some(challenge) = challenge {
            params.push(("tfa-challenge".to_owned(), challenge.expose().to_owned()));
        }
        let outgoing = Outgoing { verb: reqwest::Method::POST, path: "/access/ticket", params: &params };
        let answer = self.through(&outgoing, &Badge::Nobody).await;
        for (_, value) in &mut params {
            zeroize::Zeroize::zeroize(value);
        }
        ticket(&answer?)
    }
}

/// What a login gives.
enum Ticket {
    /// A login in force.
    Whole(Session),
    /// A ticket that only answers the question for the second factor.
    Half(Secret),
}

fn ticket(answer: &Value) -> Result<Ticket, Failure> {
    let text = |key: &str| answer.get(key).and_then(Value::as_str).map(Secret::new);
    let garbled = |what: &str| Failure {
        error: PveError::Garbled { request: LOGIN.to_owned(), cause: format!("the answer holds no {what}") },
        again: Again::Never,
    };
    let ticket = text("ticket").ok_or_else(|| garbled("ticket"))?;
    // PVE sends 1; a half ticket also says so itself.
    let is_half = answer.get("NeedTFA").is_some_and(|need| !matches!(need, Value::Null | Value::Bool(false)))
        || ticket.expose().starts_with("PVE:!tfa!");
    if is_half {
        return Ok(Ticket::Half(ticket));
    }
    let csrf = text("CSRFPreventionToken").ok_or_else(|| garbled("CSRFPreventionToken"))?;
    Ok(Ticket::Whole(Session { ticket, csrf, born: Instant::now() }))
}

/// A login that PVE would refuse, or cannot be completed.
fn refused(reason: String) -> Failure {
    let error =
        PveError::Refused { request: LOGIN.to_owned(), status: 401, reason, errors: std::collections::BTreeMap::new() };
    Failure { error, again: Again::Never }
}
