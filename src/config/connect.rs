//! From a connection to a client: the only place of the configuration that reads files.

use super::error::ConfigError;
use super::file::{ConfigFile, SecretField, is_open_to_others, load};
use super::resolve::{Connection, Credentials, Env, Flags, SecretSource, TlsChoice, resolve};
use crate::base::secret::Secret;
use crate::pve::http::auth::Auth;
use crate::pve::http::client::{HttpApi, Patience, Settings};
use crate::pve::http::limits::Limits;
use crate::pve::http::tls::Trust;
use std::path::{Path, PathBuf};

/// Finds and reads the configuration file and resolves it with flags and environment.
pub fn open(flags: &Flags, env: Env<'_>) -> Result<Connection, ConfigError> {
    resolve(flags, env, find(flags, env)?)
}

/// The configuration file: `--config`, `PVECTL_CONFIG` (both must exist), or `$XDG_CONFIG_HOME/pvectl/config.yaml`.
pub fn find(flags: &Flags, env: Env<'_>) -> Result<Option<ConfigFile>, ConfigError> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let Some(named) = flags.config.clone().or_else(|| set("PVECTL_CONFIG")) else {
        let folder = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
        return folder.map_or(Ok(None), |folder| load(&folder.join("pvectl/config.yaml")));
    };
    let missing = || ConfigError::Unreadable {
        what: "the configuration file",
        path: named.clone(),
        cause: "there is no such file".to_owned(),
    };
    load(&named)?.ok_or_else(missing).map(Some)
}

/// What runs the commands that tell secrets. This room starts no process by itself.
pub trait Commands {
    /// Runs a program with its arguments and returns what it printed; the error says why there is nothing, without it.
    fn run(&self, words: &[String]) -> Result<Secret, String>;
}

/// Reads the secret and CA files, asks the commands and makes the client. Opens no connection yet.
pub fn connect(connection: Connection, commands: &dyn Commands) -> Result<HttpApi, ConfigError> {
    let Connection { context: _, endpoints, credentials, tls, link: _, warnings } = connection;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let auth = match credentials.value {
        Credentials::Token { id, secret } => Auth::Token { id, secret: revealed(secret, commands)? },
        Credentials::Password { user, password, totp } => {
            let totp = totp.map(|totp| revealed(totp, commands)).transpose()?;
            Auth::Password { user, password: revealed(password, commands)?, totp }
        }
    };
    let trust = match tls.value {
        TlsChoice::System => Trust::System,
        TlsChoice::CaFile(path) => Trust::Ca { pem: read("the CA file", &path)?.into_bytes() },
        TlsChoice::Pinned(pins) => Trust::Pinned(pins),
        TlsChoice::Insecure => Trust::Insecure,
    };
    let settings =
        Settings { endpoints: endpoints.value, auth, trust, limits: Limits::default(), patience: Patience::default() };
    HttpApi::new(settings)
        .map_err(|error| ConfigError::Value { origin: tls.origin.to_string(), cause: error.to_string() })
}

/// A secret from where it stands, read now. Files are taken as they are named.
pub fn secret(field: SecretField, env: Env<'_>, commands: &dyn Commands) -> Result<Secret, ConfigError> {
    let source = match field {
        SecretField::Value(secret) => SecretSource::Value(secret),
        SecretField::File(path) => SecretSource::File(path),
        SecretField::Command(words) => SecretSource::Command(words),
        SecretField::Env(name) => {
            let unset = || ConfigError::Value { origin: format!("${name}"), cause: "it is not set".to_owned() };
            SecretSource::Value(env(&name).filter(|v| !v.is_empty()).map(Secret::new).ok_or_else(unset)?)
        }
    };
    revealed(source, commands)
}

fn revealed(source: SecretSource, commands: &dyn Commands) -> Result<Secret, ConfigError> {
    match source {
        SecretSource::Value(secret) => Ok(secret),
        SecretSource::Command(words) => commands
            .run(&words)
            .map_err(|cause| ConfigError::Command { program: words.first().cloned().unwrap_or_default(), cause }),
        SecretSource::File(path) => {
            let text = Secret::new(read("the secret file", &path)?);
            if is_open_to_others(&path) {
                tracing::warn!("other users can read {}: chmod 600 {}", path.display(), path.display());
            }
            let secret = text.expose().trim_end_matches(['\r', '\n']);
            if secret.is_empty() {
                return Err(ConfigError::Unreadable { what: "the secret file", path, cause: "it is empty".to_owned() });
            }
            Ok(Secret::new(secret))
        }
    }
}

fn read(what: &'static str, path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
        what,
        path: path.to_owned(),
        cause: error.to_string(),
    })
}
