//! What can be wrong with a configuration, and what to write instead.

use std::path::PathBuf;

/// A configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Nothing says where the cluster is.
    #[error("no Proxmox VE cluster is configured")]
    NoEndpoint,
    /// Nothing says who we are.
    #[error("no credentials are configured for {endpoint}")]
    NoCredentials {
        /// Where they would have been used.
        endpoint: String,
    },
    /// A context that the file does not have.
    #[error("there is no context `{name}` ({origin})")]
    UnknownContext {
        /// What was asked for.
        name: String,
        /// Who asked for it.
        origin: String,
        /// What there is.
        known: Vec<String>,
        /// The file, if there is one.
        file: Option<PathBuf>,
    },
    /// A value that cannot be used, with its origin.
    #[error("{origin}: {cause}")]
    Value {
        /// Where it was written.
        origin: String,
        /// What is wrong with it.
        cause: String,
    },
    /// A configuration file of the wrong form.
    #[error("{place}: {cause}")]
    Form {
        /// `path:line:column`, or the path alone.
        place: String,
        /// What is wrong there.
        cause: String,
    },
    /// A command that told no secret.
    #[error("the secret's command `{program}` failed: {cause}")]
    Command {
        /// The program, without its arguments.
        program: String,
        /// Why.
        cause: String,
    },
    /// A file that cannot be read.
    #[error("{what} {} cannot be read: {cause}", path.display())]
    Unreadable {
        /// What it is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
}

impl ConfigError {
    /// What to do about it, where we know.
    pub fn hint(&self) -> Option<String> {
        match self {
            ConfigError::NoEndpoint => Some(format!(
                "write ~/.config/pvectl/config.yaml:\n{EXAMPLE}\nor set PVECTL_ENDPOINT and PVECTL_TOKEN (user@realm!name=secret); \
                 or try everything without a cluster: --sim"
            )),
            ConfigError::NoCredentials { .. } => Some(
                "set PVECTL_TOKEN (user@realm!name=secret), or write auth into the context; a token is made with: \
                 pveum user token add root@pam pvectl --privsep 0"
                    .to_owned(),
            ),
            ConfigError::UnknownContext { name, known, file, .. } => Some(match (file, known.is_empty()) {
                (None, _) => "there is no configuration file: write ~/.config/pvectl/config.yaml".to_owned(),
                (Some(path), true) => format!("{} has no contexts", path.display()),
                (Some(path), false) => match crate::base::diagnostic::nearest(name, known.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("{} has: {}", path.display(), known.join(", ")),
                },
            }),
            ConfigError::Command { .. } => Some("run it by hand: it must print the secret and end with 0".to_owned()),
            ConfigError::Value { .. } | ConfigError::Form { .. } | ConfigError::Unreadable { .. } => None,
        }
    }
}

/// The smallest file that works.
const EXAMPLE: &str = "  currentContext: home
  contexts:
    home:
      endpoint: https://pve1.example.com:8006
      auth: {token: {id: root@pam!pvectl, secret: {file: home.token}}}
      tls: {fingerprint: \"AB:CD:…\"}   # pvenode cert info; or caFile; leave it out for a public certificate";
