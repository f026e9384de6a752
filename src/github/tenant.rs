//! GitHub's Actions service, which has the scale sets: every scope has an address and a token of its own there, told by the
//! REST API to whoever may register runners. Its protocol is public as the client `actions/scaleset`, not as a description.

use crate::base::secret::Secret;
use crate::github::address::{is_safe, web};
use crate::github::budget::{Account, Class};
use crate::github::fault::{Fault, json};
use crate::github::jwt;
use crate::github::line::{Line, request};
use crate::github::place::{Auth, Place, Scope};
use crate::github::registry::Registry;
use crate::github::wire::{Request, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The version of the service that the client speaks.
const VERSION: &str = "6.0-preview";
/// A token is renewed when less than this is left of it, in seconds.
const LEFT_MIN: i64 = 60;
/// A token that does not say when it ends is believed so long, in seconds.
const UNSAID: i64 = 600;
/// A fresh registration token is not known everywhere at once: 401 and 403 pass. So often it is tried again, a second, two,
/// four, … apart.
const AGAIN_MAX: u32 = 4;

/// Addresses and tokens by scope.
#[derive(Default)]
pub(super) struct Tenants(Mutex<BTreeMap<(String, Scope, Auth), Cell>>);

type Cell = Arc<tokio::sync::Mutex<Option<Tenant>>>;

/// Where a scope's scale sets are.
#[derive(Clone)]
struct Tenant {
    url: String,
    token: Secret,
    until: i64,
}

impl Tenants {
    fn cell(&self, place: &Place) -> Cell {
        let mut all = self.0.lock().expect("no holder of this lock panics");
        let key = (place.api.clone(), place.scope.clone(), place.auth.clone());
        Arc::clone(all.entry(key).or_default())
    }

    async fn tenant(&self, line: &Line, registry: &Registry, place: &Place) -> Result<Tenant, Fault> {
        let cell = self.cell(place);
        let mut held = cell.lock().await;
        if let Some(tenant) = held.as_ref().filter(|tenant| tenant.until > line.now() + LEFT_MIN) {
            return Ok(tenant.clone());
        }
        let token = registry.token(line, place).await?;
        let tenant = registered(line, place, token.as_str().unwrap_or_default()).await?;
        *held = Some(tenant.clone());
        Ok(tenant)
    }

    /// One request of the Actions service. `path` is below the scope's address, with its query: `_apis/…?name=ci`. `token`: the
    /// one to speak with, where it is not the scope's own.
    pub(super) async fn ask(
        &self,
        line: &Line,
        registry: &Registry,
        place: &Place,
        asked: &Wanted<'_>,
    ) -> Result<Response, Fault> {
        let mut renewed = false;
        loop {
            let tenant = self.tenant(line, registry, place).await?;
            let mark = if asked.path.contains('?') { '&' } else { '?' };
            let url = format!("{}/{}{mark}api-version={VERSION}", tenant.url.trim_end_matches('/'), asked.path);
            let plain =
                request(asked.method, url, vec![("accept".into(), "application/json".into())], asked.body.as_ref());
            let token = asked.token.unwrap_or(&tenant.token);
            let signed = Request { authorization: Some(bearer(token)), ..plain };
            let what = format!("{} {}", asked.method, asked.path.split('?').next().unwrap_or(asked.path));
            match line.send(&counted(line, place), Class::Actions, &what, signed).await {
                Err(fault) if fault.status() == Some(401) && asked.token.is_none() && !renewed => {
                    *self.cell(place).lock().await = None;
                    renewed = true;
                }
                answer => return answer,
            }
        }
    }
}

/// A request of the Actions service.
#[derive(Clone, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) method: &'static str,
    pub(super) path: &'a str,
    pub(super) body: Option<Value>,
    pub(super) token: Option<&'a Secret>,
}

/// The same without a body and with the scope's own token.
pub(super) fn wanted<'a>(method: &'static str, path: &'a str) -> Wanted<'a> {
    Wanted { method, path, body: None, token: None }
}

/// On whom requests of the Actions service are counted: apart from those of the REST API.
pub(super) fn counted(line: &Line, place: &Place) -> Account {
    line.accounts.of(place)
}

pub(super) fn bearer(token: &Secret) -> Secret {
    Secret::new(format!("Bearer {}", token.expose()))
}

/// Asks where the scope's scale sets are.
async fn registered(line: &Line, place: &Place, token: &str) -> Result<Tenant, Fault> {
    let what = "POST /actions/runner-registration";
    let body = json!({"url": web(place), "runner_event": "register"});
    let plain = request("POST", format!("{}/actions/runner-registration", place.api), Vec::new(), Some(&body));
    let signed = Request { authorization: Some(Secret::new(format!("RemoteAuth {token}"))), ..plain };
    let mut pause = Duration::from_secs(1);
    let mut attempt = 0;
    let response = loop {
        match line.send(&counted(line, place), Class::Actions, what, signed.clone()).await {
            // Nothing is made by it: it can be asked again like a read.
            Err(fault) if attempt < AGAIN_MAX && may_pass(&fault) => {
                line.clock.sleep(pause).await;
                pause *= 2;
                attempt += 1;
            }
            answer => break answer?,
        }
    };
    let told = json(&response.body).unwrap_or_default();
    let text = |key: &str| told[key].as_str().filter(|text| !text.is_empty());
    let (Some(url), Some(token)) = (text("url"), text("token")) else {
        return Err(Fault::Garbled(format!("the answer to {what} has no `url` or no `token`")));
    };
    if !is_safe(&place.api, url) {
        return Err(Fault::Garbled(format!("the answer to {what} leads to {url}, where no token of ours is sent")));
    }
    let token = Secret::new(token);
    let until = jwt::end(&token).unwrap_or(line.now() + UNSAID);
    Ok(Tenant { url: url.to_owned(), token, until })
}

fn may_pass(fault: &Fault) -> bool {
    matches!(fault, Fault::Lost(_)) || matches!(fault.status(), Some(401 | 403))
}
