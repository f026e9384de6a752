//! The closed list of what a plan asks of GitHub. An operation travels through plans and simulators as a request whose path
//! begins with `/github/`; where on GitHub and as whom go with it, so that a request means the same wherever it is carried out.

use crate::github::demand::Ask;
use crate::github::place::{Auth, Place, Scope};
use crate::pve::request::{Call, Method, Params, Query};

/// What the path of a request to GitHub begins with. PVE's API has nothing there.
pub const ROOT: &str = "/github/";

/// What is asked of GitHub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reads all runners of the scope. The answer is a list of [`crate::github::runner::Runner`].
    Runners,
    /// Reads how much work there is. The answer is a [`crate::github::demand::Demand`].
    Demand(Ask),
    /// Makes a runner's configuration just in time, which registers it. The answer is a text, and a secret: the runner takes it
    /// once, in place of all other configuration.
    JustInTime {
        /// The runner's name, which no other has.
        name: String,
        /// Its labels; those of the scale set, where there is one.
        labels: Vec<String>,
        /// The runner group's name; empty: the default one.
        group: String,
        /// The folder in which it works: `_work`.
        folder: String,
        /// The scale set that it is of.
        scale_set: Option<String>,
    },
    /// Makes a token with which runners of the scope are registered for an hour. The answer is a text, and a secret.
    RegistrationToken,
    /// Takes a runner's registration away. One that is gone already is no failure; of one that works on a job GitHub refuses it.
    Remove {
        /// GitHub's number for it.
        runner: u64,
    },
    /// Makes the scale set of a pool, or brings it up to date: name, group, labels. The answer says nothing.
    ScaleSet(Ask),
    /// Takes the scale set of a pool away. One that is gone already is no failure.
    RemoveScaleSet {
        /// The pool's name.
        pool: String,
        /// The runner group's name; empty: the default one.
        group: String,
    },
}

fn path(place: &Place, rest: &str) -> String {
    format!("{ROOT}{}/{rest}", place.scope.path())
}

fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("made of texts and numbers")
}

fn params(place: &Place) -> Params {
    vec![("api".to_owned(), place.api.clone()), ("auth".to_owned(), to_json(&place.auth))]
}

fn param<'a>(params: &'a Params, key: &str) -> Option<&'a str> {
    params.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
}

impl Operation {
    /// Whether a path is of a request to GitHub.
    pub fn is_github(path: &str) -> bool {
        path.starts_with(ROOT)
    }

    /// The request that a plan holds for this: a read; `None` for a write.
    pub fn query(&self, place: &Place) -> Option<Query> {
        let query = |rest: &str| Query { path: path(place, rest), params: params(place) };
        match self {
            Operation::Runners => Some(query("runners")),
            Operation::Demand(ask) => Some(query("demand").with("ask", to_json(ask))),
            Operation::JustInTime { .. }
            | Operation::RegistrationToken
            | Operation::Remove { .. }
            | Operation::ScaleSet(_)
            | Operation::RemoveScaleSet { .. } => None,
        }
    }

    /// The request that a plan holds for this: a write; `None` for a read.
    pub fn call(&self, place: &Place) -> Option<Call> {
        let call = |method, rest: &str| Call { method, path: path(place, rest), params: params(place) };
        Some(match self {
            Operation::Runners | Operation::Demand(_) => return None,
            Operation::JustInTime { name, labels, group, folder, scale_set } => {
                let call = call(Method::Post, "just-in-time");
                let call = call.with("name", name).with("labels", labels.join(",")).with("group", group);
                let call = call.with("folder", folder);
                scale_set.iter().fold(call, |call, set| call.with("scale-set", set))
            }
            Operation::RegistrationToken => call(Method::Post, "registration-token"),
            Operation::Remove { runner } => call(Method::Delete, &format!("runners/{runner}")),
            Operation::ScaleSet(ask) => call(Method::Put, "scale-set").with("ask", to_json(ask)),
            Operation::RemoveScaleSet { pool, group } => {
                call(Method::Delete, "scale-set").with("pool", pool).with("group", group)
            }
        })
    }

    /// What a request means; `None` if it is none of ours. Parameters that it does not know are passed over.
    pub fn read(method: &str, path: &str, params: &Params) -> Option<(Place, Operation)> {
        let rest = path.strip_prefix(ROOT)?;
        let words: Vec<&str> = rest.split('/').collect();
        let of_scope = if words.first() == Some(&"repos") { 3 } else { 2 };
        if words.len() <= of_scope {
            return None;
        }
        let (scope, what) = (Scope::read(&words[..of_scope].join("/"))?, &words[of_scope..]);
        let auth: Auth = serde_json::from_str(param(params, "auth")?).ok()?;
        let place = Place { api: param(params, "api")?.to_owned(), scope, auth };
        let text = |key: &str| param(params, key).map(str::to_owned);
        let ask = || serde_json::from_str::<Ask>(param(params, "ask")?).ok();
        let operation = match (method, what) {
            ("GET", ["runners"]) => Operation::Runners,
            ("GET", ["demand"]) => Operation::Demand(ask()?),
            ("POST", ["just-in-time"]) => Operation::JustInTime {
                name: text("name")?,
                labels: text("labels")?.split(',').filter(|l| !l.is_empty()).map(str::to_owned).collect(),
                group: text("group")?,
                folder: text("folder")?,
                scale_set: text("scale-set"),
            },
            ("POST", ["registration-token"]) => Operation::RegistrationToken,
            ("DELETE", ["runners", id]) => Operation::Remove { runner: id.parse().ok()? },
            ("PUT", ["scale-set"]) => Operation::ScaleSet(ask()?),
            ("DELETE", ["scale-set"]) => Operation::RemoveScaleSet { pool: text("pool")?, group: text("group")? },
            _ => return None,
        };
        Some((place, operation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::github::demand::Source;
    use crate::github::place::{PUBLIC_API, SecretRef};

    #[test]
    fn what_is_sent_can_be_read() {
        let key = SecretRef::File("/etc/pvectl/app.pem".into());
        let place = Place {
            api: PUBLIC_API.into(),
            scope: Scope::Repository("acme/app".into()),
            auth: Auth::App { id: "Iv1".into(), installation: 7, key },
        };
        let ask =
            Ask { source: Source::Polling, pool: "ci".into(), labels: vec!["x64".into()], max: 4, ..Ask::default() };
        for operation in [
            Operation::Runners,
            Operation::Demand(ask.clone()),
            Operation::JustInTime {
                name: "ci-50000-abc".into(),
                labels: vec!["self-hosted".into(), "x64".into()],
                group: "Default".into(),
                folder: "_work".into(),
                scale_set: Some("ci".into()),
            },
            Operation::RegistrationToken,
            Operation::Remove { runner: 7 },
            Operation::ScaleSet(ask),
            Operation::RemoveScaleSet { pool: "ci".into(), group: String::new() },
        ] {
            let (method, path, params) = match (operation.query(&place), operation.call(&place)) {
                (Some(query), None) => ("GET", query.path, query.params),
                (None, Some(call)) => (call.method.as_str(), call.path, call.params),
                both => panic!("{operation:?} is one of both, not {both:?}"),
            };
            assert!(Operation::is_github(&path));
            assert_eq!(Operation::read(method, &path, &params), Some((place.clone(), operation)));
        }
        assert_eq!(Operation::read("GET", "/github/orgs/acme/secrets", &params(&place)), None);
        assert_eq!(Operation::read("GET", "/github/orgs", &params(&place)), None);
    }
}
