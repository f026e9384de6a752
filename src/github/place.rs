//! Where on GitHub, and as whom. No secret stands here, only where each is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// GitHub's own API.
pub const PUBLIC_API: &str = "https://api.github.com";

/// Where a secret stands. Exactly one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SecretRef {
    /// In an environment variable.
    Env(String),
    /// In a file; a trailing line break does not count.
    File(String),
    /// What a program prints: the program and its arguments; no shell.
    Command(Vec<String>),
}

/// Whose runners. Exactly one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// An organisation's: its name.
    Organization(String),
    /// A repository's: `owner/name`.
    Repository(String),
    /// An enterprise's: its slug.
    Enterprise(String),
}

impl Scope {
    /// As it begins the paths of GitHub's REST API: `orgs/acme`, `repos/acme/app`, `enterprises/acme`.
    pub fn path(&self) -> String {
        match self {
            Scope::Organization(name) => format!("orgs/{name}"),
            Scope::Repository(name) => format!("repos/{name}"),
            Scope::Enterprise(name) => format!("enterprises/{name}"),
        }
    }

    /// Reads [`Scope::path`].
    pub fn read(path: &str) -> Option<Scope> {
        let (word, name) = path.split_once('/')?;
        let scope = match word {
            "orgs" => Scope::Organization(name.to_owned()),
            "repos" => Scope::Repository(name.to_owned()),
            "enterprises" => Scope::Enterprise(name.to_owned()),
            _ => return None,
        };
        scope.is_plain().then_some(scope)
    }

    /// Whether its name is one that GitHub gives: letters, digits, `-`, `_`, `.`; a repository's has two parts.
    pub fn is_plain(&self) -> bool {
        let plain = |name: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !name.is_empty() && name.len() <= 100 && name.chars().all(fits) && name.chars().any(|c| c != '.')
        };
        match self {
            Scope::Organization(name) | Scope::Enterprise(name) => plain(name),
            Scope::Repository(name) => name.split_once('/').is_some_and(|(a, b)| plain(a) && plain(b)),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

/// As whom we speak.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Auth {
    /// With a token of a person: classic or fine-grained.
    Token(SecretRef),
    /// As a GitHub App.
    App {
        /// The client id, or the App's number.
        id: String,
        /// The number of its installation.
        installation: u64,
        /// Its private key: PEM.
        key: SecretRef,
    },
}

/// Where on GitHub, and as whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The API's base: [`PUBLIC_API`], or `https://github.example.com/api/v3`; no slash at its end.
    pub api: String,
    /// Whose runners.
    pub scope: Scope,
    /// As whom.
    pub auth: Auth,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_read_as_it_is_written() {
        for scope in [
            Scope::Organization("acme".into()),
            Scope::Repository("acme/app.js".into()),
            Scope::Enterprise("acme-corp".into()),
        ] {
            assert_eq!(Scope::read(&scope.path()), Some(scope));
        }
        for bad in
            ["orgs/", "orgs/..", "orgs/a/b", "repos/a", "repos/a/b/c", "repos/../x", "users/a", "orgs/a?b", "orgs/a b"]
        {
            assert_eq!(Scope::read(bad), None, "{bad}");
        }
    }
}
