//! The one routing table: what begins with `/link/` is an operation on a node and goes by the host link, what begins with
//! `/github/` goes to GitHub by the hub, everything else goes to PVE. A fixed policy, not a choice of each call.

use crate::github::hub::Hub;
use crate::github::operation::Operation as OnGitHub;
use crate::host::link::{Link, LinkError, Output};
use crate::host::operation::Operation;
use crate::pve::api::Api;
use crate::pve::error::PveError;
use crate::pve::request::{Call, Params, Query};
use futures::future::BoxFuture;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// A cluster with the ways to its nodes, as one API.
pub struct Door {
    api: Arc<dyn Api>,
    /// `None`: the API answers for its nodes too.
    link: Option<Arc<dyn Link>>,
    hub: Option<Arc<Hub>>,
    /// The cluster was asked where its nodes are.
    asked: OnceCell<()>,
}

impl Door {
    /// Both behind one door.
    pub fn new(api: Arc<dyn Api>, link: Arc<dyn Link>) -> Door {
        Door { api, link: Some(link), hub: None, asked: OnceCell::new() }
    }

    /// A cluster that is its own link to its nodes: the simulated one.
    pub fn of(api: Arc<dyn Api>) -> Door {
        Door { api, link: None, hub: None, asked: OnceCell::new() }
    }

    /// The same with a way to GitHub.
    pub fn with_hub(mut self, hub: Arc<Hub>) -> Door {
        self.hub = Some(hub);
        self
    }

    /// Tells the link where the cluster says that its nodes are. One that does not answer now is asked the next time, and the
    /// link takes the nodes' names.
    pub async fn introduce(&self) {
        let Some(link) = &self.link else { return };
        let ask = || async {
            let rows = self.api.get(&Query::new("/cluster/status")).await.map_err(|_| ())?;
            let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
            let nodes = rows.iter().filter(|row| row["type"] == "node");
            let text = |row: &Value, key: &str| row[key].as_str().map(str::to_owned);
            let addresses: BTreeMap<String, String> =
                nodes.filter_map(|row| Some((text(row, "name")?, text(row, "ip")?))).collect();
            link.learn(&addresses);
            Ok::<(), ()>(())
        };
        // Without an answer there is nothing to tell.
        let _ = self.asked.get_or_try_init(ask).await;
    }

    async fn by_link(&self, link: &dyn Link, method: &str, path: &str, params: &Params) -> Result<Value, PveError> {
        let request = format!("{method} {path}");
        let Some((node, operation)) = Operation::read(method, path, params) else {
            let reason = "this is no operation of the host link (pvectl host operations)".to_owned();
            return Err(refused(request, 501, reason));
        };
        self.introduce().await;
        match link.run(&node, &operation, None).await {
            Ok(output) => answer(request, output),
            Err(LinkError::Missing { hint }) => {
                Err(refused(request, 501, format!("no host link to node {node} is configured: {hint}")))
            }
            // A node that is not reached must not end a pass over the others.
            Err(LinkError::Unsent { cause, hint }) if method == "GET" => {
                let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
                Err(refused(request, 595, format!("{cause}{hint}")))
            }
            Err(LinkError::Unsent { cause, hint }) => Err(PveError::Unsent { request, cause, hint }),
            Err(LinkError::Lost { cause }) => Err(PveError::Lost { request, cause }),
        }
    }
}

impl Api for Door {
    fn get<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Value, PveError>> {
        match (&self.link, &self.hub) {
            (Some(link), _) if Operation::is_link(&query.path) => {
                Box::pin(self.by_link(link.as_ref(), "GET", &query.path, &query.params))
            }
            (_, Some(hub)) if OnGitHub::is_github(&query.path) => hub.get(query),
            (_, None) if OnGitHub::is_github(&query.path) => Box::pin(async { Err(unknown("GET", &query.path)) }),
            _ => self.api.get(query),
        }
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Value, PveError>> {
        let method = call.method.as_str();
        match (&self.link, &self.hub) {
            (Some(link), _) if Operation::is_link(&call.path) => {
                Box::pin(self.by_link(link.as_ref(), method, &call.path, &call.params))
            }
            (_, Some(hub)) if OnGitHub::is_github(&call.path) => hub.send(call),
            (_, None) if OnGitHub::is_github(&call.path) => Box::pin(async move { Err(unknown(method, &call.path)) }),
            _ => self.api.send(call),
        }
    }
}

fn unknown(method: &str, path: &str) -> PveError {
    refused(format!("{method} {path}"), 501, "nothing speaks to GitHub here".to_owned())
}

fn refused(request: String, status: u16, reason: String) -> PveError {
    PveError::Refused { request, status, reason, errors: BTreeMap::new() }
}

fn answer(request: String, output: Output) -> Result<Value, PveError> {
    let Output { code, out, err, truncated } = output;
    if code != 0 {
        let last = |text: &str| text.lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned);
        let said = last(&err).or_else(|| last(&out)).unwrap_or_else(|| "it said nothing".to_owned());
        return Err(refused(request, 500, format!("exit status {code}: {said}")));
    }
    // What was cut off must not be read as if it were all.
    if truncated && !out.is_empty() {
        let cause = format!("there was more than {} bytes of output", out.len());
        return Err(PveError::Garbled { request, cause });
    }
    Ok(Value::String(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::links::Links;
    use crate::host::link::Listener;
    use crate::host::token::Token;
    use crate::pve::error::Refusal;
    use crate::pve::request::Method;
    use std::sync::Mutex;

    /// A cluster of one node that says where it is, and a link that answers what it is told to.
    struct Stage {
        answer: Result<Output, LinkError>,
        ran: Mutex<Vec<String>>,
        known: Mutex<BTreeMap<String, String>>,
    }

    impl Api for Stage {
        fn get<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Value, PveError>> {
            self.ran.lock().expect("nobody failed").push(query.path.clone());
            Box::pin(async {
                Ok(serde_json::json!([{"type": "node", "name": "pve1", "ip": "10.0.0.1"}, {"type": "cluster"}]))
            })
        }

        fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Value, PveError>> {
            self.ran.lock().expect("nobody failed").push(call.path.clone());
            Box::pin(async { Ok(Value::Null) })
        }
    }

    impl Link for Stage {
        fn links(&self) -> Links {
            Links::Every
        }

        fn way(&self, _: &str) -> Option<String> {
            None
        }

        fn learn(&self, addresses: &BTreeMap<String, String>) {
            self.known.lock().expect("nobody failed").clone_from(addresses);
        }

        fn run<'a>(
            &'a self,
            node: &'a str,
            operation: &'a Operation,
            _: Option<&'a mut dyn Listener>,
        ) -> BoxFuture<'a, Result<Output, LinkError>> {
            self.ran.lock().expect("nobody failed").push(format!("{node}: {operation:?}"));
            Box::pin(async { self.answer.clone() })
        }
    }

    fn door(answer: Result<Output, LinkError>) -> (Door, Arc<Stage>) {
        let stage = Arc::new(Stage { answer, ran: Mutex::default(), known: Mutex::default() });
        (Door::new(Arc::clone(&stage) as _, Arc::clone(&stage) as _), stage)
    }

    fn output(code: i32, out: &str, err: &str) -> Result<Output, LinkError> {
        Ok(Output { code, out: out.into(), err: err.into(), truncated: false })
    }

    fn ran(stage: &Stage) -> Vec<String> {
        stage.ran.lock().expect("nobody failed").clone()
    }

    #[tokio::test]
    async fn each_request_has_one_way() {
        let (door, stage) = door(output(0, "text\n", "noise"));
        let read = Operation::Health.query("pve1").expect("a read");
        assert_eq!(door.get(&read).await, Ok(Value::String("text\n".into())));
        let write = Operation::Maintenance { enable: true }.call("pve1").expect("a write");
        assert_eq!(door.send(&write).await, Ok(Value::String("text\n".into())));
        assert_eq!(door.send(&Call::new(Method::Post, "/pools")).await, Ok(Value::Null));
        let all = ["/cluster/status", "pve1: Health", "pve1: Maintenance { enable: true }", "/pools"];
        assert_eq!(ran(&stage), all, "the cluster is asked once where its nodes are");
        assert_eq!(stage.known.lock().expect("nobody failed").get("pve1").map(String::as_str), Some("10.0.0.1"));
        let other = door.send(&Call::new(Method::Post, "/link/pve1/rm")).await.expect_err("no operation");
        assert_eq!(other.refusal(), Some(Refusal::Unsupported));
        assert!(door.get(&Query::new("/link/-oProxyCommand=x/health")).await.is_err(), "no name of a node");
        assert_eq!(ran(&stage).len(), all.len(), "nothing was run");
    }

    /// A GitHub that nobody reaches, and no secret for it.
    struct Away;

    impl crate::github::wire::Wire for Away {
        fn exchange(
            &self,
            _: crate::github::wire::Request,
        ) -> BoxFuture<'_, Result<crate::github::wire::Response, crate::github::wire::WireError>> {
            Box::pin(async { Err(crate::github::wire::WireError::Unsent("nobody is there".into())) })
        }
    }

    impl crate::github::wire::Secrets for Away {
        fn secret(&self, _: &crate::github::place::SecretRef) -> Result<crate::base::secret::Secret, String> {
            Ok(crate::base::secret::Secret::new("t"))
        }
    }

    impl crate::base::clock::Clock for Away {
        fn now_ms(&self) -> u64 {
            0
        }

        fn sleep(&self, _: std::time::Duration) -> BoxFuture<'_, ()> {
            Box::pin(async {})
        }
    }

    #[tokio::test]
    async fn what_is_github_s_goes_to_the_hub_only() {
        use crate::github::place::{Auth, PUBLIC_API, Place, Scope, SecretRef};
        let auth = Auth::Token(SecretRef::Env("T".into()));
        let place = Place { api: PUBLIC_API.into(), scope: Scope::Organization("acme".into()), auth };
        let read = OnGitHub::Runners.query(&place).expect("a read");
        let write = OnGitHub::RegistrationToken.call(&place).expect("a write");

        let (alone, stage) = door(output(0, "", ""));
        for error in [alone.get(&read).await, alone.send(&write).await].map(Result::unwrap_err) {
            assert_eq!(error.refusal(), Some(Refusal::Unsupported), "{error}");
        }
        let (with, other) = door(output(0, "", ""));
        let with = with.with_hub(Arc::new(Hub::new(Arc::new(Away), Arc::new(Away), Arc::new(Away))));
        let error = with.get(&read).await.expect_err("not reached");
        assert!(
            error.refusal() == Some(Refusal::NodeOffline) && error.to_string().contains("nobody is there"),
            "{error}"
        );
        let error = with.send(&write).await.expect_err("not reached");
        assert!(matches!(error, PveError::Unsent { .. }), "{error}");
        assert!(ran(&stage).is_empty() && ran(&other).is_empty(), "nothing of it goes to the cluster or its nodes");
    }

    #[tokio::test]
    async fn a_cluster_that_is_its_own_link_answers_for_its_nodes() {
        let (_, stage) = door(output(0, "", ""));
        let own = Door::of(Arc::clone(&stage) as _);
        own.introduce().await;
        let write = Operation::Maintenance { enable: true }.call("pve1").expect("a write");
        assert_eq!(own.send(&write).await, Ok(Value::Null));
        assert_eq!(ran(&stage), ["/link/pve1/maintenance"]);
    }

    #[tokio::test]
    async fn what_went_wrong_is_told_as_pve_would() {
        let read = Operation::NodeJobs { window: Token::own("w") }.query("pve1").expect("a read");
        let write = Operation::Maintenance { enable: false }.call("pve1").expect("a write");
        let missing = || Err(LinkError::Missing { hint: "write it".into() });
        let error = door(missing()).0.get(&read).await.expect_err("no way");
        assert_eq!(error.refusal(), Some(Refusal::Unsupported));
        assert!(error.to_string().contains("no host link to node pve1 is configured: write it"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("host link")), "{:?}", error.hint());

        let unsent = || Err(LinkError::Unsent { cause: "refused".into(), hint: Some("start sshd".into()) });
        let error = door(unsent()).0.get(&read).await.expect_err("not reached");
        assert_eq!(error.refusal(), Some(Refusal::NodeOffline));
        assert!(error.to_string().contains("refused (start sshd)"), "{error}");
        let error = door(unsent()).0.send(&write).await.expect_err("not reached");
        assert!(matches!(error, PveError::Unsent { hint: Some(_), .. }), "{error}");

        let lost = || Err(LinkError::Lost { cause: "it broke".into() });
        assert!(matches!(door(lost()).0.get(&read).await, Err(PveError::Lost { .. })));
        assert!(matches!(door(lost()).0.send(&write).await, Err(PveError::Lost { .. })));

        let failed = output(2, "half\n", "first\nCT 200 not running\n\n");
        let error = door(failed).0.send(&write).await.expect_err("it failed");
        assert!(error.to_string().contains("500 exit status 2: CT 200 not running"), "{error}");
        let error = door(output(1, "only here\n", "")).0.send(&write).await.expect_err("it failed");
        assert!(error.to_string().contains("exit status 1: only here"), "{error}");

        let cut = Ok(Output { truncated: true, out: "[a]\nsta".into(), ..Output::default() });
        assert!(matches!(door(cut).0.get(&read).await, Err(PveError::Garbled { .. })));
    }
}
