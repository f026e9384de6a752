//! The variables: our own, and the names that people have already.

use super::error::ConfigError;
use super::link::{ContextLink, ContextSsh};
use super::resolve::{Credentials, Env, Layer, Origin, SecretSource, Sourced, parsed, tls, token_id};
use crate::base::secret::Secret;
use crate::host::ways;
use std::path::{Path, PathBuf};

/// `PVECTL_ENDPOINT` (several with commas), `PVECTL_TOKEN` or `PVECTL_TOKEN_ID` with `PVECTL_TOKEN_SECRET(_FILE)`, or
/// `PVECTL_USERNAME` with `PVECTL_PASSWORD(_FILE)` and `PVECTL_TOTP`; `PVECTL_FINGERPRINT`, `PVECTL_CA_FILE`,
/// `PVECTL_INSECURE`; `PVECTL_LINK` (`ssh` or `local`) with `PVECTL_SSH_USER`, `PVECTL_SSH_KEY_FILE`, `PVECTL_SSH_KNOWN_HOSTS` and
/// `PVECTL_SSH_JUMP`.
pub(super) fn own(env: Env<'_>) -> Result<Layer, ConfigError> {
    let endpoints = endpoints(env, "PVECTL_ENDPOINT")?;
    let credentials = own_credentials(env)?;
    let ca_file = env("PVECTL_CA_FILE").map(PathBuf::from);
    let pins = env("PVECTL_FINGERPRINT").map(|text| list(&text)).unwrap_or_default();
    let insecure = switch(env, "PVECTL_INSECURE")?;
    let origin = Origin::Environment(match (&ca_file, insecure) {
        (Some(_), _) => "PVECTL_CA_FILE",
        (None, true) => "PVECTL_INSECURE",
        (None, false) => "PVECTL_FINGERPRINT",
    });
    Ok(Layer { endpoints, credentials, tls: tls(ca_file, &pins, insecure, origin)?, link: link(env)? })
}

/// The names of the Terraform provider, which many have set already. As there, a token goes before a password.
pub(super) fn foreign(env: Env<'_>) -> Result<Layer, ConfigError> {
    let endpoints = endpoints(env, "PROXMOX_VE_ENDPOINT")?;
    let credentials = match (env("PROXMOX_VE_API_TOKEN"), env("PROXMOX_VE_USERNAME"), env("PROXMOX_VE_PASSWORD")) {
        (Some(token), _, _) => Some(whole_token(&token, "PROXMOX_VE_API_TOKEN")?),
        (None, Some(user), Some(password)) => {
            let password = SecretSource::Value(Secret::new(password));
            let value = Credentials::Password { user: with_realm(user), password, totp: None };
            Some(Sourced { value, origin: Origin::Environment("PROXMOX_VE_USERNAME") })
        }
        (None, _, _) => None,
    };
    let insecure = switch(env, "PROXMOX_VE_INSECURE")?;
    let tls = tls(None, &[], insecure, Origin::Environment("PROXMOX_VE_INSECURE"))?;
    Ok(Layer { endpoints, credentials, tls, link: None })
}

fn own_credentials(env: Env<'_>) -> Result<Option<Sourced<Credentials>>, ConfigError> {
    let fault = |origin: &str, cause: &str| ConfigError::Value { origin: origin.to_owned(), cause: cause.to_owned() };
    let (token, id, user) = (env("PVECTL_TOKEN"), env("PVECTL_TOKEN_ID"), env("PVECTL_USERNAME"));
    match (token, id, user) {
        (None, None, None) => match secret(env, "PVECTL_TOKEN_SECRET", "PVECTL_TOKEN_SECRET_FILE")? {
            Some(_) => Err(fault("PVECTL_TOKEN_SECRET", "PVECTL_TOKEN_ID (user@realm!name) is missing beside it")),
            None => Ok(None),
        },
        (Some(token), None, None) => whole_token(&token, "PVECTL_TOKEN").map(Some),
        (None, Some(id), None) => {
            let id = token_id(id.trim()).map_err(|cause| fault("PVECTL_TOKEN_ID", &cause))?;
            let secret = secret(env, "PVECTL_TOKEN_SECRET", "PVECTL_TOKEN_SECRET_FILE")?.ok_or_else(|| {
                fault("PVECTL_TOKEN_ID", "PVECTL_TOKEN_SECRET or PVECTL_TOKEN_SECRET_FILE is missing beside it")
            })?;
            let value = Credentials::Token { id, secret };
            Ok(Some(Sourced { value, origin: Origin::Environment("PVECTL_TOKEN_ID") }))
        }
        (None, None, Some(user)) => {
            let password = secret(env, "PVECTL_PASSWORD", "PVECTL_PASSWORD_FILE")?.ok_or_else(|| {
                fault("PVECTL_USERNAME", "PVECTL_PASSWORD or PVECTL_PASSWORD_FILE is missing beside it")
            })?;
            let totp = env("PVECTL_TOTP").map(|key| SecretSource::Value(Secret::new(key)));
            let value = Credentials::Password { user: with_realm(user), password, totp };
            Ok(Some(Sourced { value, origin: Origin::Environment("PVECTL_USERNAME") }))
        }
        _ => Err(fault("PVECTL_TOKEN, PVECTL_TOKEN_ID, PVECTL_USERNAME", "they exclude each other; set one")),
    }
}

/// The ways to the nodes. It names no node, so that it fits every cluster.
fn link(env: Env<'_>) -> Result<Option<Sourced<ways::Settings>>, ConfigError> {
    const LINK: &str = "PVECTL_LINK";
    let fault = |cause: String| ConfigError::Value { origin: LINK.to_owned(), cause };
    let path = |name: &str| env(name).map(PathBuf::from);
    let ssh = || ContextSsh {
        user: env("PVECTL_SSH_USER"),
        private_key: path("PVECTL_SSH_KEY_FILE"),
        known_hosts: path("PVECTL_SSH_KNOWN_HOSTS"),
        jump: env("PVECTL_SSH_JUMP"),
        ..ContextSsh::default()
    };
    let link = match env(LINK).as_deref().map(str::trim) {
        None => return Ok(None),
        Some("local") => ContextLink { local: true, ssh: None },
        Some("ssh") => ContextLink { local: false, ssh: Some(ssh()) },
        Some(other) => return Err(fault(format!("`{other}` is neither ssh nor local"))),
    };
    let value = link.settings(&Path::to_owned).map_err(fault)?;
    Ok(Some(Sourced { value, origin: Origin::Environment(LINK) }))
}

fn endpoints(
    env: Env<'_>,
    name: &'static str,
) -> Result<Option<Sourced<Vec<crate::pve::http::endpoint::Endpoint>>>, ConfigError> {
    env(name).map(|text| parsed(&list(&text), Origin::Environment(name))).transpose()
}

/// `user@realm!name=secret`, with or without the header's `PVEAPIToken=` before it.
fn whole_token(text: &str, name: &'static str) -> Result<Sourced<Credentials>, ConfigError> {
    let fault = |cause: String| ConfigError::Value { origin: name.to_owned(), cause };
    let text = text.trim();
    let text = text.strip_prefix("PVEAPIToken=").unwrap_or(text);
    let (id, secret) = text
        .split_once('=')
        .filter(|(_, secret)| !secret.is_empty())
        .ok_or_else(|| fault("it must be user@realm!name=secret".to_owned()))?;
    let id = token_id(id).map_err(fault)?;
    let value = Credentials::Token { id, secret: SecretSource::Value(Secret::new(secret)) };
    Ok(Sourced { value, origin: Origin::Environment(name) })
}

fn secret(env: Env<'_>, value: &str, file: &str) -> Result<Option<SecretSource>, ConfigError> {
    match (env(value), env(file)) {
        (Some(_), Some(_)) => Err(ConfigError::Value {
            origin: format!("{value}, {file}"),
            cause: "they exclude each other; set one".to_owned(),
        }),
        (Some(text), None) => Ok(Some(SecretSource::Value(Secret::new(text.trim_end_matches(['\r', '\n']))))),
        (None, Some(path)) => Ok(Some(SecretSource::File(PathBuf::from(path)))),
        (None, None) => Ok(None),
    }
}

fn switch(env: Env<'_>, name: &'static str) -> Result<bool, ConfigError> {
    match env(name).map(|text| text.trim().to_ascii_lowercase()).as_deref() {
        None | Some("0" | "false" | "no" | "off") => Ok(false),
        Some("1" | "true" | "yes" | "on") => Ok(true),
        Some(_) => Err(ConfigError::Value { origin: name.to_owned(), cause: "it must be true or false".to_owned() }),
    }
}

fn with_realm(user: String) -> String {
    if user.contains('@') { user } else { format!("{user}@pam") }
}

fn list(text: &str) -> Vec<String> {
    text.split([',', ' ']).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}
