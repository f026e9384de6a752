//! Who we are on GitHub: a token as it stands, or an App's, which is made for an hour and renewed before it ends. One renewal
//! at a time: whoever else needs it waits for it.

use crate::base::secret::Secret;
use crate::github::budget::{Account, Class};
use crate::github::fault::{Fault, json, seconds};
use crate::github::jwt;
use crate::github::line::{Line, request};
use crate::github::place::{Auth, Place, SecretRef};
use crate::github::wire::{Request, Secrets};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// An App's token is renewed when less than this is left of it, in seconds.
const LEFT_MIN: i64 = 300;
/// A token that stands somewhere is read again after so many seconds: a program that tells it may be slow.
const READ_AGAIN: i64 = 60;

/// Tokens by where and as whom.
pub(super) struct Accounts {
    secrets: Arc<dyn Secrets>,
    held: Mutex<BTreeMap<(String, Auth), Cell>>,
}

/// One account's token; whoever renews it holds the lock.
type Cell = Arc<tokio::sync::Mutex<Option<Held>>>;

/// A token, until when in seconds since 1970.
struct Held {
    token: Secret,
    until: i64,
}

impl Accounts {
    pub(super) fn new(secrets: Arc<dyn Secrets>) -> Accounts {
        Accounts { secrets, held: Mutex::default() }
    }

    /// Who a place is asked as, for budgets and people.
    pub(super) fn of(&self, place: &Place) -> Account {
        let name = match &place.auth {
            Auth::Token(SecretRef::Env(name)) => format!("token ${name}"),
            Auth::Token(SecretRef::File(path)) => format!("token {path}"),
            Auth::Token(SecretRef::Command(words)) => {
                format!("token of {}", words.first().map_or("a program", String::as_str))
            }
            Auth::App { id, installation, .. } => format!("app {id} installation {installation}"),
        };
        Account { api: place.api.clone(), name }
    }

    fn cell(&self, place: &Place) -> Cell {
        let mut held = self.held.lock().expect("no holder of this lock panics");
        Arc::clone(held.entry((place.api.clone(), place.auth.clone())).or_default())
    }

    /// The token to speak with, and whether it was got just now.
    pub(super) async fn token(&self, line: &Line, place: &Place) -> Result<(Secret, bool), Fault> {
        let cell = self.cell(place);
        let mut held = cell.lock().await;
        let now = line.now();
        if let Some(Held { token, .. }) = held.as_ref().filter(|held| held.until > now) {
            return Ok((token.clone(), false));
        }
        let got = match &place.auth {
            Auth::Token(of) => Held { token: self.secret(of).await?, until: now + READ_AGAIN },
            Auth::App { id, installation, key } => {
                let key = self.secret(key).await?;
                let word = jwt::word(id, &key, now).map_err(Fault::Secret)?;
                installed(line, &self.of(place), *installation, &word).await?
            }
        };
        let token = got.token.clone();
        *held = Some(got);
        Ok((token, true))
    }

    /// Forgets a token that was not taken.
    pub(super) async fn forget(&self, place: &Place) {
        *self.cell(place).lock().await = None;
    }

    async fn secret(&self, of: &SecretRef) -> Result<Secret, Fault> {
        let read = match of {
            SecretRef::Env(_) | SecretRef::File(_) => self.secrets.secret(of),
            // A program may take its time, and others go on meanwhile.
            SecretRef::Command(_) => {
                let (secrets, of) = (Arc::clone(&self.secrets), of.clone());
                tokio::task::spawn_blocking(move || secrets.secret(&of))
                    .await
                    .unwrap_or_else(|_| Err("the program that tells it could not be waited for".to_owned()))
            }
        };
        let secret = read.map_err(|why| Fault::Secret(format!("there is no secret for GitHub: {why}")))?;
        // What stands in a header has no line break at its end.
        Ok(Secret::new(secret.expose().trim()))
    }
}

/// A token of an App's installation. To ask for it twice harms nobody, so it is repeated like a read.
async fn installed(line: &Line, account: &Account, installation: u64, word: &Secret) -> Result<Held, Fault> {
    let path = format!("/app/installations/{installation}/access_tokens");
    let what = format!("POST {path}");
    let headers = vec![("accept".to_owned(), "application/vnd.github+json".to_owned())];
    let plain = request("POST", format!("{}{path}", account.api), headers, None);
    let signed = Request { authorization: Some(Secret::new(format!("Bearer {}", word.expose()))), ..plain };
    let first = line.send(account, Class::Core, &what, signed.clone()).await;
    let answer = match first {
        Err(Fault::Lost(_)) => line.send(account, Class::Core, &what, signed).await,
        other => other,
    };
    let response = answer.map_err(|fault| match fault.status() {
        Some(401) => {
            let why = "is the App's id right, is the key its own, and this machine's clock?";
            Fault::refused(401, format!("{}; {why}", fault.text()))
        }
        Some(404) => {
            let why = "is the installation's number right, and is the App still installed?";
            Fault::refused(401, format!("{}; {why}", fault.text()))
        }
        _ => fault,
    })?;
    let told = json(&response.body).unwrap_or_default();
    let token = told["token"].as_str().filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| Fault::Garbled(format!("the answer to {what} has no `token`")))?;
    // Without an end it is believed for ten minutes.
    let until = seconds(&told["expires_at"]).unwrap_or(line.now() + LEFT_MIN + 600) - LEFT_MIN;
    Ok(Held { token: Secret::new(token), until })
}
