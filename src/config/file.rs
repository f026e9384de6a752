//! The configuration file: strict, and silent about its secrets even when they stand in the wrong place.

use super::error::ConfigError;
use super::link::ContextLink;
use crate::base::secret::Secret;
use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer};
use std::fmt;
use std::path::{Path, PathBuf};

/// A configuration file as read.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// Where it was read: what its relative paths are relative to the folder of.
    pub path: PathBuf,
    /// What it says.
    pub body: Body,
    /// What is not an error but should be known, such as secrets that others can read.
    pub warnings: Vec<String>,
}

/// The file's text, typed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a mapping with `currentContext` and `contexts`")]
pub struct Body {
    /// The context that counts when none is named.
    pub current_context: Option<String>,
    /// The clusters one works with.
    #[serde(default)]
    pub contexts: IndexMap<String, Context>,
}

/// One cluster and how to reach it.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a context: a mapping with `endpoint` or `endpoints`, `auth`, `tls` and `link`"
)]
pub struct Context {
    /// The address of one node.
    pub endpoint: Option<String>,
    /// The addresses of several nodes of one cluster; the next one is tried when one is down.
    #[serde(default)]
    pub endpoints: Vec<String>,
    /// Who we are.
    pub auth: Option<ContextAuth>,
    /// Whom we trust; the machine's roots when left out.
    #[serde(default)]
    pub tls: ContextTls,
    /// The way to the nodes themselves, for what no API can do.
    pub link: Option<ContextLink>,
}

/// Either `token`, or `user` and `password`.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a mapping with `token`, or with `user` and `password`"
)]
pub struct ContextAuth {
    /// An API token.
    pub token: Option<ContextToken>,
    /// `root@pam`, or `root` with `realm` beside it.
    pub user: Option<String>,
    /// The realm, when the user does not name it; `pam` by default.
    pub realm: Option<String>,
    /// The user's password.
    pub password: Option<SecretField>,
    /// The TOTP key of a user with a second factor.
    pub totp: Option<SecretField>,
}

/// An API token.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a mapping with `id` and `secret`")]
pub struct ContextToken {
    /// `user@realm!name`.
    pub id: String,
    /// Its secret.
    pub secret: SecretField,
}

/// At most one of them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a mapping with `caFile`, `fingerprint`, `fingerprints` or `insecure`"
)]
pub struct ContextTls {
    /// PEM certificates of the only CAs to believe.
    pub ca_file: Option<PathBuf>,
    /// SHA-256 fingerprint of the server's certificate.
    pub fingerprint: Option<String>,
    /// Fingerprints of several nodes.
    #[serde(default)]
    pub fingerprints: Vec<String>,
    /// Believe anybody.
    #[serde(default)]
    pub insecure: bool,
}

/// Where a secret stands.
#[derive(Clone, Debug)]
pub enum SecretField {
    /// In an environment variable.
    Env(String),
    /// In a file of its own; a trailing line break does not count.
    File(PathBuf),
    /// What a program prints: the program and its arguments; no shell.
    Command(Vec<String>),
    /// Right here.
    Value(Secret),
}

/// Reads a configuration file; `None` if there is none.
pub fn load(path: &Path) -> Result<Option<ConfigFile>, ConfigError> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let mut file = parse(path, &text)?;
            let has_secrets = file.body.contexts.values().any(Context::holds_secret);
            if has_secrets && is_open_to_others(path) {
                file.warnings.push(format!(
                    "{} holds secrets and other users can read it: chmod 600 {}",
                    path.display(),
                    path.display()
                ));
            }
            Ok(Some(file))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ConfigError::Unreadable {
            what: "the configuration file",
            path: path.to_owned(),
            cause: error.to_string(),
        }),
    }
}

/// Reads the text of a configuration file.
pub fn parse(path: &Path, text: &str) -> Result<ConfigFile, ConfigError> {
    let is_empty = text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    let body = if is_empty { Body::default() } else { serde_yaml::from_str(text).map_err(|e| form(path, &e))? };
    Ok(ConfigFile { path: path.to_owned(), body, warnings: Vec::new() })
}

/// Whether the group or others may read a file.
pub(super) fn is_open_to_others(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

/// What is wrong with the form of a file, with its place.
pub fn form(path: &Path, error: &serde_yaml::Error) -> ConfigError {
    let text = error.to_string();
    let (place, cause) = match error.location() {
        Some(at) => {
            let suffix = format!(" at line {} column {}", at.line(), at.column());
            (format!("{}:{}:{}", path.display(), at.line(), at.column()), text.replace(&suffix, ""))
        }
        None => (path.display().to_string(), text),
    };
    // What the decoder calls a map is `contexts`, the one field that is free in its names.
    let cause = match cause.strip_suffix("expected a map") {
        Some(found) => format!("{found}expected a mapping of names to contexts, such as `home: {{endpoint: …}}`"),
        None => cause,
    };
    ConfigError::Form { place, cause }
}

impl Context {
    fn holds_secret(&self) -> bool {
        let fields = self.auth.iter().flat_map(|auth| {
            [auth.token.as_ref().map(|token| &token.secret), auth.password.as_ref(), auth.totp.as_ref()]
        });
        fields.flatten().any(|field| matches!(field, SecretField::Value(_)))
    }
}

/// The ways to write a secret.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SecretForm {
    env: Option<String>,
    file: Option<PathBuf>,
    command: Option<Vec<String>>,
    value: Option<Quiet>,
}

/// A text that never appears in an error message.
struct Quiet(Secret);

const SECRET_FORM: &str =
    "a secret is written {env: NAME}, {file: path}, {command: [program, argument]} or {value: \"text\"}";

impl<'de> Deserialize<'de> for SecretField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SecretField, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = SecretField;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(SECRET_FORM)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SecretField, A::Error> {
                let SecretForm { env, file, command, value } =
                    SecretForm::deserialize(MapAccessDeserializer::new(map))?;
                match (env, file, command, value) {
                    (Some(name), None, None, None) => Ok(SecretField::Env(name)),
                    (None, Some(path), None, None) => Ok(SecretField::File(path)),
                    (None, None, Some(words), None) if !words.is_empty() => Ok(SecretField::Command(words)),
                    (None, None, None, Some(Quiet(secret))) => Ok(SecretField::Value(secret)),
                    _ => Err(A::Error::custom(format!("exactly one is needed: {SECRET_FORM}"))),
                }
            }
            // serde's own messages would repeat the secret.
            fn visit_str<E: Error>(self, _: &str) -> Result<SecretField, E> {
                Err(E::custom(SECRET_FORM))
            }
            fn visit_u64<E: Error>(self, _: u64) -> Result<SecretField, E> {
                Err(E::custom(SECRET_FORM))
            }
            fn visit_i64<E: Error>(self, _: i64) -> Result<SecretField, E> {
                Err(E::custom(SECRET_FORM))
            }
            fn visit_f64<E: Error>(self, _: f64) -> Result<SecretField, E> {
                Err(E::custom(SECRET_FORM))
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl<'de> Deserialize<'de> for Quiet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Quiet, D::Error> {
        const QUOTE: &str = "a secret must be quoted text";
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Quiet;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(QUOTE)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Quiet, E> {
                Ok(Quiet(Secret::new(text)))
            }
            fn visit_u64<E: Error>(self, _: u64) -> Result<Quiet, E> {
                Err(E::custom(QUOTE))
            }
            fn visit_i64<E: Error>(self, _: i64) -> Result<Quiet, E> {
                Err(E::custom(QUOTE))
            }
            fn visit_f64<E: Error>(self, _: f64) -> Result<Quiet, E> {
                Err(E::custom(QUOTE))
            }
        }
        deserializer.deserialize_any(Text)
    }
}
