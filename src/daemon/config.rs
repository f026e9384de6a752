//! The daemon's configuration: which manifests, for which cluster, what may be done, who is told. Strict: an unknown word is
//! refused with its line. Paths in it are relative to the folder of its file.

use crate::base::quantity::parse_seconds;
use crate::config::connect::{Commands, secret};
use crate::config::error::ConfigError;
use crate::config::file::{SecretField, form};
use crate::daemon::record::Mode;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where HTTP listens where nothing is said: loopback, so that no token is needed.
pub const LISTEN: &str = "127.0.0.1:9180";

/// A configuration file of the daemon.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a mapping with `sources`")]
pub struct DaemonConfig {
    /// Trees of manifests, each for one cluster.
    pub sources: Vec<SourceConfig>,
    /// How closely the clusters are watched.
    #[serde(default)]
    pub watch: WatchConfig,
    /// The file of the history, SQLite. Without it the history lasts as long as the daemon.
    pub store: Option<PathBuf>,
    /// A folder for what must outlast the daemon and is no history: checkouts of git, and what was suspended.
    pub state_folder: Option<PathBuf>,
    /// Status, metrics, API and web page.
    #[serde(default)]
    pub http: HttpConfig,
    /// Who is told of what.
    #[serde(default)]
    pub notify: Vec<NotifyConfig>,
    /// A folder where the drift report is kept as text, JSON, Markdown and JUnit.
    pub reports: Option<PathBuf>,
}

/// A tree of manifests.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a source: a mapping with `name`, and `folder` or `git`"
)]
pub struct SourceConfig {
    /// Its name, a DNS label.
    pub name: String,
    /// A folder, or a link to one, as Kubernetes mounts them.
    pub folder: Option<PathBuf>,
    /// A repository.
    pub git: Option<GitConfig>,
    /// The context of the client's configuration; else the one that the tree's `pvectl.yaml` names, else the current one.
    pub context: Option<String>,
    /// The manifest set; else the one of the tree's `pvectl.yaml`.
    pub set: Option<String>,
    /// What may be done: `Observe`, `Propose` (the default) or `Enforce`.
    #[serde(default)]
    pub mode: Mode,
    /// How often everything is compared, whether or not something moved.
    #[serde(default = "interval")]
    pub interval: Span,
    /// Delete what the set owns and no longer declares.
    #[serde(default)]
    pub prune: bool,
    /// How many objects may be deleted in one run; the default is 5, or a tenth of the set.
    pub max_deletes: Option<usize>,
    /// Steps that destroy data may run without a person. Think twice.
    #[serde(default)]
    pub allow_data_loss: bool,
    /// Nothing is done until `pvectl resume`, or this is taken out.
    #[serde(default)]
    pub suspend: bool,
    /// How long a proposal may be approved.
    #[serde(default = "day")]
    pub approve_within: Span,
}

/// A repository. The `git` of this machine is used: its credential helpers, keys and settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a mapping with `url`")]
pub struct GitConfig {
    /// Anything that `git fetch` takes. A password in it is shown nowhere, but belongs into a credential helper.
    pub url: String,
    /// The branch; the repository's own default when left out.
    pub branch: Option<String>,
    /// The folder of the manifests in it: a whole tree, with its own `pvectl.yaml` if any.
    #[serde(default)]
    pub path: PathBuf,
    /// How often it is asked. A webhook is faster.
    #[serde(default = "minute")]
    pub interval: Span,
    /// Only commits whose signature `git verify-commit` accepts.
    #[serde(default)]
    pub verify_signature: bool,
}

/// How closely the clusters are watched.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default, expecting = "a mapping with `requestsPerSecond`")]
pub struct WatchConfig {
    /// Requests to one cluster for watching alone, in any second. What a change of the manifests needs, and the first look
    /// after the start, is sent without asking this.
    pub requests_per_second: u32,
    /// How often the lists of guests, tasks and messages are read.
    pub every: Span,
    /// How often each managed VM is read in full, and each container six times as often, as far as the requests allow:
    /// PVE's log tells of a change of a VM's configuration, and of none of a container's.
    pub scan: Span,
    /// Runs at once on one cluster that may take long, as clones do; what is quick is not held up by them.
    pub runs: usize,
}

impl Default for WatchConfig {
    fn default() -> WatchConfig {
        let span = |seconds| Span(Duration::from_secs(seconds));
        WatchConfig { requests_per_second: 20, every: span(2), scan: span(60), runs: 4 }
    }
}

/// The HTTP server.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a mapping with `listen`, `token`, `tls`")]
pub struct HttpConfig {
    /// Where; loopback by default. `none` turns it off.
    pub listen: Option<Listen>,
    /// What callers must show as `Authorization: Bearer …`, or as the password of any user. Needed beyond loopback.
    pub token: Option<SecretField>,
    /// A certificate. Without one it speaks plain HTTP, which beyond loopback is for a proxy in front.
    pub tls: Option<HttpTls>,
    /// Names by which a proxy in front passes requests on. Without a token only they, `localhost` and addresses of
    /// loopback are answered to, so that no web page can come in by a name of its own that leads here.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// The secret of GitHub's webhook; without it the webhook is not served.
    pub github_webhook: Option<SecretField>,
}

/// Where HTTP listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    None,
    /// There.
    At(SocketAddr),
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Listen, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "none" {
            return Ok(Listen::None);
        }
        let wrong = |_| serde::de::Error::custom(format!("`{text}` is no address with a port, such as {LISTEN}"));
        text.parse().map(Listen::At).map_err(wrong)
    }
}

/// A certificate and its key, PEM.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a mapping with `certFile` and `keyFile`")]
pub struct HttpTls {
    /// The chain.
    pub cert_file: PathBuf,
    /// The key.
    pub key_file: PathBuf,
}

/// Somebody who is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a mapping with `name`, `type` and `url`")]
pub struct NotifyConfig {
    /// Its name, for messages about it.
    pub name: String,
    /// How it wants to be told.
    #[serde(rename = "type")]
    pub form: NotifyForm,
    /// Where; a secret, since such addresses hold keys.
    pub url: SecretField,
    /// A token that goes as `Authorization: Bearer …` (ntfy) or `X-Gotify-Key` (Gotify).
    pub token: Option<SecretField>,
    /// Only events of these reasons; everything that is a warning, and drift, when left out.
    #[serde(default)]
    pub reasons: BTreeSet<String>,
    /// Only of these sources; all when left out.
    #[serde(default)]
    pub sources: BTreeSet<String>,
}

/// How somebody wants to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum NotifyForm {
    /// The event as JSON.
    Generic,
    /// Slack's incoming webhooks, which Mattermost and others understand.
    Slack,
    /// ntfy: a topic's address.
    Ntfy,
    /// Gotify: the server's address.
    Gotify,
}

/// A duration as manifests have it: `30s`, `5m`, `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        let text = String::deserialize(deserializer)?;
        let seconds = parse_seconds(&text).filter(|seconds| *seconds > 0);
        let wrong = || serde::de::Error::custom(format!("`{text}` is no duration, such as 30s, 5m or 1h30m"));
        seconds.map(|seconds| Span(Duration::from_secs(seconds))).ok_or_else(wrong)
    }
}

fn interval() -> Span {
    Span(Duration::from_secs(300))
}

fn minute() -> Span {
    Span(Duration::from_secs(60))
}

fn day() -> Span {
    Span(Duration::from_secs(86_400))
}

impl SourceConfig {
    /// One folder with everything else as it is by default.
    pub fn of_folder(name: &str, folder: PathBuf) -> SourceConfig {
        SourceConfig {
            name: name.to_owned(),
            folder: Some(folder),
            git: None,
            context: None,
            set: None,
            mode: Mode::default(),
            interval: interval(),
            prune: false,
            max_deletes: None,
            allow_data_loss: false,
            suspend: false,
            approve_within: day(),
        }
    }
}

/// Reads a configuration. Paths come back absolute or relative to the working folder.
pub fn load(path: &Path) -> Result<DaemonConfig, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
        what: "the daemon's configuration",
        path: path.to_owned(),
        cause: error.to_string(),
    })?;
    parse(path, &text)
}

/// Reads the text of a configuration.
pub fn parse(path: &Path, text: &str) -> Result<DaemonConfig, ConfigError> {
    let mut config: DaemonConfig = serde_yaml::from_str(text).map_err(|error| form(path, &error))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let anchor = |path: &mut PathBuf| *path = folder.join(&*path);
    config.sources.iter_mut().filter_map(|s| s.folder.as_mut()).for_each(anchor);
    [&mut config.store, &mut config.state_folder, &mut config.reports].into_iter().flatten().for_each(anchor);
    if let Some(tls) = &mut config.http.tls {
        anchor(&mut tls.cert_file);
        anchor(&mut tls.key_file);
    }
    let secrets = config.notify.iter_mut().flat_map(|n| [Some(&mut n.url), n.token.as_mut()]);
    for field in secrets.chain([config.http.token.as_mut(), config.http.github_webhook.as_mut()]).flatten() {
        if let SecretField::File(file) = field {
            anchor(file);
        }
    }
    check(&config).map_err(|cause| ConfigError::Form { place: path.display().to_string(), cause })?;
    Ok(config)
}

/// What stands against a configuration although each word of it is well.
pub fn check(config: &DaemonConfig) -> Result<(), String> {
    if config.sources.is_empty() {
        return Err("`sources` is empty: there is nothing to do".to_owned());
    }
    let mut names = BTreeSet::new();
    for source in &config.sources {
        let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if source.name.is_empty() || source.name.len() > 63 || !source.name.chars().all(label) {
            return Err(format!("`{}` is no name: small letters, digits and `-`, at most 63", source.name));
        }
        if !names.insert(&source.name) {
            return Err(format!("two sources are called `{}`", source.name));
        }
        match (&source.folder, &source.git) {
            (Some(_), None) => {}
            (None, Some(git)) if git.path.is_absolute() || git.path.components().any(|c| c.as_os_str() == "..") => {
                return Err(format!("`path` of `{}` leads out of the repository", source.name));
            }
            (None, Some(git))
                if git.url.starts_with('-') || git.branch.as_ref().is_some_and(|b| b.starts_with('-')) =>
            {
                return Err(format!("`url` and `branch` of `{}` may not begin with `-`", source.name));
            }
            (None, Some(_)) => {}
            (Some(_), Some(_)) | (None, None) => {
                return Err(format!("source `{}` needs either `folder` or `git`", source.name));
            }
        }
    }
    let WatchConfig { requests_per_second, runs, .. } = config.watch;
    if requests_per_second == 0 || runs == 0 {
        return Err("`watch.requestsPerSecond` and `watch.runs` are at least 1".to_owned());
    }
    let open = matches!(config.http.listen, Some(Listen::At(at)) if !at.ip().is_loopback());
    if open && config.http.token.is_none() {
        return Err(
            "`http.listen` beyond loopback needs `http.token`: whoever reaches it could approve plans".to_owned()
        );
    }
    Ok(())
}

/// A secret of the configuration, read now.
pub fn reveal(field: &SecretField, commands: &dyn Commands) -> Result<crate::base::secret::Secret, ConfigError> {
    secret(field.clone(), &|name| std::env::var(name).ok(), commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<DaemonConfig, String> {
        parse(Path::new("/etc/pvectl/daemon.yaml"), text).map_err(|e| e.to_string())
    }

    #[test]
    fn paths_are_relative_to_the_file_and_defaults_are_careful() {
        let config = read("sources: [{name: a, folder: manifests}]\nstore: history.db\n").expect("it is well");
        assert_eq!(config.sources[0].folder.as_deref(), Some(Path::new("/etc/pvectl/manifests")));
        assert_eq!(config.store.as_deref(), Some(Path::new("/etc/pvectl/history.db")));
        let SourceConfig { mode, prune, allow_data_loss, interval, .. } = &config.sources[0];
        assert_eq!((*mode, *prune, *allow_data_loss), (Mode::Propose, false, false));
        assert_eq!(interval.0, Duration::from_secs(300));
        assert_eq!(config.watch.requests_per_second, 20);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, says) in [
            ("sources: []\n", "nothing to do"),
            ("sources: [{name: a, folder: x, mod: Enforce}]\n", "daemon.yaml:1"),
            ("sources: [{name: a}]\n", "either `folder` or `git`"),
            ("sources: [{name: A b, folder: x}]\n", "no name"),
            ("sources: [{name: a, folder: x}, {name: a, folder: y}]\n", "two sources"),
            ("sources: [{name: a, git: {url: u, path: ../x}}]\n", "leads out"),
            ("sources: [{name: a, git: {url: --upload-pack=x}}]\n", "may not begin"),
            ("sources: [{name: a, folder: x, interval: soon}]\n", "no duration"),
            ("sources: [{name: a, folder: x}]\nhttp: {listen: 0.0.0.0:80}\n", "needs `http.token`"),
            ("sources: [{name: a, folder: x}]\nhttp: {token: s3cret}\n", "a secret is written"),
            ("sources: [{name: a, folder: x}]\nwatch: {requestsPerSecond: 0}\n", "at least 1"),
        ] {
            let why = read(text).expect_err(text);
            assert!(why.contains(says) && !why.contains("s3cret"), "{text}: {why}");
        }
    }
}
