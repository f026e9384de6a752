//! From flags, environment and file to one connection, without touching anything: each value with its origin.

use super::environment;
use super::error::ConfigError;
use super::file::{ConfigFile, Context, ContextAuth, ContextTls, SecretField};
use crate::base::secret::Secret;
use crate::host::ways;
use crate::pve::http::endpoint::Endpoint;
use crate::pve::http::tls::Fingerprint;
use std::fmt;
use std::path::{Path, PathBuf};

/// What the command line says. Secrets have no flags: other users see command lines.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`: the configuration file.
    pub config: Option<PathBuf>,
    /// `--context`.
    pub context: Option<String>,
    /// `--endpoint`, repeatable.
    pub endpoints: Vec<String>,
    /// `--fingerprint`, repeatable.
    pub fingerprints: Vec<String>,
    /// `--ca-file`.
    pub ca_file: Option<PathBuf>,
    /// `--insecure`.
    pub insecure: bool,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag.
    Flag(&'static str),
    /// An environment variable.
    Environment(&'static str),
    /// A context of the configuration file.
    Context {
        /// Its name.
        name: String,
        /// The file.
        file: PathBuf,
    },
    /// Nobody said anything.
    Default,
}

/// A value with its origin.
#[derive(Clone, Debug)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// Where it came from.
    pub origin: Origin,
}

/// A secret, or where it is to be had.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// Known already.
    Value(Secret),
    /// Read when connecting.
    File(PathBuf),
    /// Asked of a program when connecting.
    Command(Vec<String>),
}

/// Who we are.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// An API token.
    Token {
        /// `user@realm!name`.
        id: String,
        /// Its secret.
        secret: SecretSource,
    },
    /// A login.
    Password {
        /// `user@realm`.
        user: String,
        /// The password.
        password: SecretSource,
        /// The TOTP key.
        totp: Option<SecretSource>,
    },
}

/// Whom we trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsChoice {
    /// The machine's roots.
    System,
    /// The CAs in this file only.
    CaFile(PathBuf),
    /// These certificates only.
    Pinned(Vec<Fingerprint>),
    /// Anybody.
    Insecure,
}

/// Everything needed to connect, with origins.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The context in force, if any.
    pub context: Option<String>,
    /// Nodes of one cluster, in order of preference.
    pub endpoints: Sourced<Vec<Endpoint>>,
    /// Who we are.
    pub credentials: Sourced<Credentials>,
    /// Whom we trust.
    pub tls: Sourced<TlsChoice>,
    /// The ways to the nodes themselves; `None`: there are none.
    pub link: Option<Sourced<ways::Settings>>,
    /// What should be known: files open to others, variables that do not count.
    pub warnings: Vec<String>,
}

/// The values that one place gives.
#[derive(Default)]
pub(super) struct Layer {
    pub(super) endpoints: Option<Sourced<Vec<Endpoint>>>,
    pub(super) credentials: Option<Sourced<Credentials>>,
    pub(super) tls: Option<Sourced<TlsChoice>>,
    pub(super) link: Option<Sourced<ways::Settings>>,
}

/// An environment, as a function.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Decides what counts; the table is in the module's documentation.
pub fn resolve(flags: &Flags, env: Env<'_>, file: Option<ConfigFile>) -> Result<Connection, ConfigError> {
    // A variable set to nothing is a variable that is not set.
    let env = &|name: &str| env(name).filter(|value| !value.trim().is_empty());
    let mut warnings = file.as_ref().map(|file| file.warnings.clone()).unwrap_or_default();
    let chosen = choose(flags, env, file.as_ref())?;
    let mut layers = vec![of_flags(flags)?];
    if flags.context.is_none() {
        layers.push(environment::own(env)?);
    }
    if let (Some((name, context)), Some(file)) = (&chosen, &file) {
        layers.push(of_context(name, context, &file.path, env)?);
        if env("PROXMOX_VE_ENDPOINT").is_some() {
            warnings.push(format!("the context `{name}` is in force; the PROXMOX_VE_* variables do not count"));
        }
    } else {
        layers.push(environment::foreign(env)?);
    }
    let endpoints = layers.iter_mut().find_map(|layer| layer.endpoints.take()).ok_or(ConfigError::NoEndpoint)?;
    let credentials = layers
        .iter_mut()
        .find_map(|layer| layer.credentials.take())
        .ok_or_else(|| ConfigError::NoCredentials { endpoint: endpoints.value[0].to_string() })?;
    let default = Sourced { value: TlsChoice::System, origin: Origin::Default };
    let tls = layers.iter_mut().find_map(|layer| layer.tls.take()).unwrap_or_else(|| default.clone());
    // Carelessness about one endpoint is not carelessness about another.
    let is_elsewhere = matches!(tls.origin, Origin::Context { .. }) && endpoints.origin != tls.origin;
    let tls = if is_elsewhere && tls.value == TlsChoice::Insecure { default } else { tls };
    // Nor are the nodes of one cluster those of another, though they may have the same names.
    let mut link = layers.iter_mut().find_map(|layer| layer.link.take());
    if let Some(other) =
        link.take_if(|link| matches!(link.origin, Origin::Context { .. }) && endpoints.origin != link.origin)
    {
        let from = &endpoints.origin;
        warnings
            .push(format!("the host link of {} does not count: the endpoint is not its own ({from})", other.origin));
    }
    Ok(Connection { context: chosen.map(|(name, _)| name.to_owned()), endpoints, credentials, tls, link, warnings })
}

impl Connection {
    /// What counts and why, as `(what, value, origin)`; secrets are not shown.
    pub fn origins(&self) -> Vec<(&'static str, String, String)> {
        let Connection { context: _, endpoints, credentials, tls, link, warnings: _ } = self;
        let places: Vec<String> = endpoints.value.iter().map(ToString::to_string).collect();
        let mut all = vec![
            ("endpoint", places.join(", "), endpoints.origin.to_string()),
            ("auth", credentials.value.to_string(), credentials.origin.to_string()),
            ("tls", tls.value.to_string(), tls.origin.to_string()),
        ];
        all.extend(link.iter().map(|link| ("link", link.value.to_string(), link.origin.to_string())));
        all
    }
}

fn choose<'a>(
    flags: &Flags,
    env: Env<'_>,
    file: Option<&'a ConfigFile>,
) -> Result<Option<(&'a str, &'a Context)>, ConfigError> {
    let current = file.and_then(|file| file.body.current_context.clone().map(|name| (name, "currentContext")));
    let asked = flags.context.clone().map(|name| (name, "--context"));
    let (name, origin) = match asked.or_else(|| env("PVECTL_CONTEXT").map(|name| (name, "PVECTL_CONTEXT"))).or(current)
    {
        Some(named) => named,
        // One context and no choice: that one.
        None => {
            let only = file.filter(|file| file.body.contexts.len() == 1);
            return Ok(only
                .and_then(|file| file.body.contexts.first())
                .map(|(name, context)| (name.as_str(), context)));
        }
    };
    let found = file.and_then(|file| file.body.contexts.get_key_value(&name));
    match found {
        Some((name, context)) => Ok(Some((name, context))),
        None => Err(ConfigError::UnknownContext {
            name,
            origin: origin.to_owned(),
            known: file.map(|file| file.body.contexts.keys().cloned().collect()).unwrap_or_default(),
            file: file.map(|file| file.path.clone()),
        }),
    }
}

fn of_flags(flags: &Flags) -> Result<Layer, ConfigError> {
    let origin = Origin::Flag("--endpoint");
    let endpoints = if flags.endpoints.is_empty() { None } else { Some(parsed(&flags.endpoints, origin)?) };
    let origin = match (&flags.ca_file, flags.insecure) {
        (Some(_), _) => Origin::Flag("--ca-file"),
        (None, true) => Origin::Flag("--insecure"),
        (None, false) => Origin::Flag("--fingerprint"),
    };
    let tls = tls(flags.ca_file.clone(), &flags.fingerprints, flags.insecure, origin)?;
    Ok(Layer { endpoints, credentials: None, tls, link: None })
}

fn of_context(name: &str, context: &Context, path: &Path, env: Env<'_>) -> Result<Layer, ConfigError> {
    let Context { endpoint, endpoints, auth, tls: choice, link } = context;
    let origin = Origin::Context { name: name.to_owned(), file: path.to_owned() };
    let fault = |cause: &str| ConfigError::Value { origin: origin.to_string(), cause: cause.to_owned() };
    let folder = path.parent().unwrap_or(Path::new(""));
    let texts: Vec<String> = match (endpoint, endpoints.is_empty()) {
        (Some(_), false) => return Err(fault("endpoint and endpoints are both given; list all in endpoints")),
        (Some(one), true) => vec![one.clone()],
        (None, _) => endpoints.clone(),
    };
    let endpoints = if texts.is_empty() { None } else { Some(parsed(&texts, origin.clone())?) };
    let credentials = match auth {
        Some(auth) => Some(Sourced { value: credentials(auth, folder, env, &fault)?, origin: origin.clone() }),
        None => None,
    };
    let ContextTls { ca_file, fingerprint, fingerprints, insecure } = choice;
    let pins: Vec<String> = fingerprint.iter().chain(fingerprints).cloned().collect();
    let ca_file = ca_file.as_ref().map(|path| placed(folder, path, env));
    let link = match link {
        Some(link) => {
            let value = link.settings(&|path| placed(folder, path, env)).map_err(|cause| fault(&cause))?;
            Some(Sourced { value, origin: origin.clone() })
        }
        None => None,
    };
    Ok(Layer { endpoints, credentials, tls: tls(ca_file, &pins, *insecure, origin)?, link })
}

fn credentials(
    auth: &ContextAuth,
    folder: &Path,
    env: Env<'_>,
    fault: &dyn Fn(&str) -> ConfigError,
) -> Result<Credentials, ConfigError> {
    let ContextAuth { token, user, realm, password, totp } = auth;
    let source = |field: &SecretField| match field {
        SecretField::Value(secret) => Ok(SecretSource::Value(secret.clone())),
        SecretField::File(path) => Ok(SecretSource::File(placed(folder, path, env))),
        SecretField::Command(words) => Ok(SecretSource::Command(words.clone())),
        SecretField::Env(name) => match env(name) {
            Some(text) => Ok(SecretSource::Value(Secret::new(text.trim_end()))),
            None => Err(fault(&format!("the secret is to be in the environment variable {name}, which is not set"))),
        },
    };
    match (token, user) {
        (Some(token), None) if password.is_none() && realm.is_none() && totp.is_none() => {
            Ok(Credentials::Token { id: token_id(&token.id).map_err(|e| fault(&e))?, secret: source(&token.secret)? })
        }
        (None, Some(user)) => {
            let password = password.as_ref().ok_or_else(|| fault("auth.user needs auth.password"))?;
            let user = match (user.contains('@'), realm) {
                (true, Some(_)) => return Err(fault("the realm is given twice: in auth.user and in auth.realm")),
                (true, None) => user.clone(),
                (false, realm) => format!("{user}@{}", realm.as_deref().unwrap_or("pam")),
            };
            let totp = totp.as_ref().map(source).transpose()?;
            Ok(Credentials::Password { user, password: source(password)?, totp })
        }
        (Some(_), _) => Err(fault("auth holds a token and parts of a login; give one of them")),
        (None, None) => Err(fault("auth needs either token {id, secret} or user and password")),
    }
}

/// The trust that one place asks for; at most one of the three.
pub(super) fn tls(
    ca_file: Option<PathBuf>,
    pins: &[String],
    insecure: bool,
    origin: Origin,
) -> Result<Option<Sourced<TlsChoice>>, ConfigError> {
    let fault = |cause: String| ConfigError::Value { origin: origin.to_string(), cause };
    let value = match (ca_file, pins.is_empty(), insecure) {
        (None, true, false) => return Ok(None),
        (Some(path), true, false) => TlsChoice::CaFile(path),
        (None, true, true) => TlsChoice::Insecure,
        (None, false, false) => {
            let pins = pins.iter().map(|text| Fingerprint::parse(text).map_err(|error| fault(error.to_string())));
            TlsChoice::Pinned(pins.collect::<Result<_, _>>()?)
        }
        _ => return Err(fault("a CA file, a fingerprint and insecure exclude each other; give one".to_owned())),
    };
    Ok(Some(Sourced { value, origin }))
}

/// Endpoints out of texts.
pub(super) fn parsed(texts: &[String], origin: Origin) -> Result<Sourced<Vec<Endpoint>>, ConfigError> {
    let fault = |cause: String| ConfigError::Value { origin: origin.to_string(), cause };
    let endpoints = texts.iter().map(|text| Endpoint::parse(text).map_err(|error| fault(error.to_string())));
    let value: Vec<Endpoint> = endpoints.collect::<Result<_, _>>()?;
    Ok(Sourced { value, origin })
}

/// Checks `user@realm!name`.
pub(super) fn token_id(id: &str) -> Result<String, String> {
    let is_whole = id.split_once('!').is_some_and(|(user, name)| {
        !name.is_empty() && user.split_once('@').is_some_and(|(user, realm)| !user.is_empty() && !realm.is_empty())
    });
    if is_whole && !id.contains(['=', ' ']) {
        Ok(id.to_owned())
    } else {
        // Not repeated: a secret may have been pasted here.
        Err("this is not a token id; it looks like root@pam!pvectl (user@realm!name)".to_owned())
    }
}

/// Relative paths start at the file's folder; `~/` at home.
fn placed(folder: &Path, path: &Path, env: Env<'_>) -> PathBuf {
    match (path.strip_prefix("~"), env("HOME")) {
        (Ok(rest), Some(home)) => Path::new(&home).join(rest),
        _ => folder.join(path),
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(flag) => f.write_str(flag),
            Origin::Environment(name) => f.write_str(name),
            Origin::Context { name, file } => write!(f, "context `{name}` in {}", file.display()),
            Origin::Default => f.write_str("default"),
        }
    }
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::Token { id, .. } => write!(f, "token {id}"),
            Credentials::Password { user, totp: None, .. } => write!(f, "password of {user}"),
            Credentials::Password { user, totp: Some(_), .. } => write!(f, "password and TOTP of {user}"),
        }
    }
}

impl fmt::Display for TlsChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsChoice::System => f.write_str("the machine's CA certificates"),
            TlsChoice::CaFile(path) => write!(f, "CA file {}", path.display()),
            TlsChoice::Pinned(pins) => {
                let pins: Vec<String> = pins.iter().map(ToString::to_string).collect();
                write!(f, "pinned {}", pins.join(", "))
            }
            TlsChoice::Insecure => f.write_str("insecure: certificates are not checked"),
        }
    }
}
