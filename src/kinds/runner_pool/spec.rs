//! What users write.

use crate::base::id::GuestType;
use crate::github::demand::{Ask, Source};
use crate::github::place::{Auth, PUBLIC_API, Place, Scope, SecretRef};
use crate::host::job::System;
use crate::kinds::guest::firewall::GuestFirewall;
use crate::kinds::guest::rules::checks::Checks;
use crate::kinds::guest::spec::{CloneMode, Seconds, Size, VmIdRange};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::borrow::Cow;

/// Runners of GitHub Actions that live for one job: each is cloned from a template, registered with GitHub, and gone after its
/// job. How many there are follows from how many jobs wait.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunnerPoolSpec {
    /// Whose runners they are, and how GitHub is spoken to.
    pub github: GitHub,
    /// The labels that runners have; a job comes here when all that its `runs-on` names are among them.
    #[schemars(length(min = 1, max = 100))]
    pub labels: Vec<String>,
    /// The `GuestTemplate` that they are cloned from.
    pub template: String,
    /// How they are cloned.
    #[serde(default)]
    pub clone: Cloning,
    /// How it is learnt how many jobs wait.
    #[serde(default)]
    pub demand: DemandMode,
    /// How many there are.
    pub size: PoolSize,
    /// Times at which more idle runners are kept ready than `size.minIdle`. Where several are open the largest counts.
    #[serde(default)]
    pub warm: Vec<Warm>,
    /// The numbers of their guests. Nothing else should be in it: what is there and not provably this pool's is left alone, and
    /// its number is not used.
    pub vmid_range: VmIdRange,
    /// The nodes that they are made on, the one with the most free memory first. Where the template is, when left out; a node
    /// that does not see the template's storage cannot have linked clones of it.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// So much memory stays free on a node: no machine is made where less would be left.
    #[serde(default)]
    pub min_free_memory: Option<Size>,
    /// So much stays free on the storage that clones are made on.
    #[serde(default)]
    pub min_free_storage: Option<Size>,
    /// The `NetworkProfile` of their first network (`net0`): bridge, VLAN, and what may pass.
    #[serde(default)]
    pub network_profile: Option<String>,
    /// Their networks where they differ from the template's, each by its slot.
    #[serde(default)]
    pub networks: Vec<RunnerNetwork>,
    /// What their own firewall lets pass; a network profile says it more easily.
    #[serde(default)]
    pub firewall: Option<GuestFirewall>,
    /// The pool of Proxmox VE that they are in.
    #[serde(default)]
    pub pool: Option<String>,
    /// Their tags; `pvectl` is added.
    #[serde(default)]
    pub tags: Vec<String>,
    /// How the runner in them is begun.
    pub bootstrap: Bootstrap,
    /// Rules that the template must pass before a machine is made of it: the name of a rule set, or a list of sets and rules;
    /// `[]` for none. `LinuxRunner` or `WindowsRunner` for virtual machines when left out, none for containers.
    #[serde(default)]
    pub checks: Option<Checks>,
    /// How long each stage may take.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// A job that waits too long is looked into.
    #[serde(default)]
    pub watchdog: Watchdog,
    /// What becomes of machines that failed.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// No new machine is made, and idle ones go: `pvectl runners drain`.
    #[serde(skip)]
    #[schemars(skip)]
    pub drained: bool,
    /// So many idle ones are kept, whatever `minIdle` and `warm` say: `pvectl runners scale`.
    #[serde(skip)]
    #[schemars(skip)]
    pub scaled: Option<u32>,
}

/// Whose runners they are, and how GitHub is spoken to.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GitHub {
    /// Whose runners: `{organization: acme}`, `{repository: acme/app}` or `{enterprise: acme}`.
    pub scope: Scope,
    /// The base of GitHub's API: `https://api.github.com` when left out; `https://github.example.com/api/v3` for a GitHub
    /// Enterprise Server.
    #[serde(default)]
    pub api_url: Option<String>,
    /// As whom.
    pub auth: AuthSpec,
    /// The runner group's name; the default group when left out.
    #[serde(default)]
    pub runner_group: Option<String>,
    /// Repositories whose queued jobs are asked for (`owner/name`): needed by `demand: Polling` of an organisation or an
    /// enterprise; with webhooks they find what was lost on the way.
    #[serde(default)]
    pub repositories: Vec<String>,
    /// The secret with which GitHub signs webhooks: needed by `demand: Webhook`.
    #[serde(default)]
    pub webhook_secret: Option<SecretRef>,
}

/// As whom GitHub is spoken to. Exactly one.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum AuthSpec {
    /// As a GitHub App. It needs `administration` (write) of a repository, or `organization_self_hosted_runners` (write) of an
    /// organisation.
    App(AppAuth),
    /// With a token: where it stands. A classic one needs `repo`, `admin:org` or `manage_runners:enterprise`.
    Token(SecretRef),
}

/// A GitHub App.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppAuth {
    /// Its client id, or its number.
    pub id: AppId,
    /// The number of its installation: the last part of the address of its settings page in the organisation.
    #[schemars(range(min = 1))]
    pub installation_id: u64,
    /// Its private key (PEM): where it stands.
    pub private_key: SecretRef,
}

/// A GitHub App's client id, or its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppId(pub String);

/// How machines are cloned.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Cloning {
    /// `Linked` shares the template's disks and takes seconds; `Full` copies them.
    pub mode: CloneMode,
    /// Where the disks of full copies go; where the template's are, when left out.
    pub storage: Option<String>,
}

/// How it is learnt how many jobs wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum DemandMode {
    /// GitHub's runner scale sets: one long poll, nothing comes in. A scale set of the pool's name is made.
    #[default]
    ScaleSet,
    /// `workflow_job` webhooks, which the daemon takes.
    Webhook,
    /// The queued runs of repositories, asked for now and then.
    Polling,
    /// Nobody is asked: so many idle runners as `minIdle` and `warm` say are ready, and each that gets a job is followed by
    /// another.
    Idle,
}

/// How many machines there are: the smaller of `max`, and `minIdle` more than jobs.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PoolSize {
    /// So many wait for a job that has not come yet. None when left out.
    #[serde(default)]
    pub min_idle: u32,
    /// Never more than these, whatever waits; failed ones that are kept for a look are counted apart.
    #[schemars(range(min = 1, max = 1000))]
    pub max: u32,
    /// So many may be on their way at once, from the clone until the runner is online. 2 when left out.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 100))]
    pub max_starting: u32,
}

fn two() -> u32 {
    2
}

/// A time at which more idle runners are kept ready.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Warm {
    /// When it begins, as PVE's and systemd's calendar events: `Mon..Fri 08:00`.
    #[serde(default)]
    pub schedule: Option<String>,
    /// When it begins, as cron has it: `0 8 * * 1-5`. Either this or `schedule`.
    #[serde(default)]
    pub cron: Option<String>,
    /// How long it lasts.
    pub duration: Seconds,
    /// The zone of the schedule: `Europe/Berlin`. `UTC` when left out.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// So many are idle then.
    pub min_idle: u32,
}

/// A network of a machine, where it differs from the template's.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunnerNetwork {
    /// Which interface: `net0`, `net1`, …
    #[schemars(regex(pattern = r"^net([0-9]|[12][0-9]|3[01])$"))]
    pub slot: String,
    /// The `NetworkProfile` that says all that is not said here.
    #[serde(default)]
    pub profile: Option<String>,
    /// The bridge that it hangs on.
    #[serde(default)]
    pub bridge: Option<String>,
    /// VLAN tag.
    #[serde(default)]
    #[schemars(range(min = 1, max = 4094))]
    pub vlan: Option<u16>,
    /// The card that a VM sees.
    #[serde(default)]
    pub model: Option<String>,
    /// Largest packet.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65520))]
    pub mtu: Option<u32>,
    /// Rate limit in megabytes a second.
    #[serde(default)]
    pub rate_limit: Option<f64>,
    /// Whether PVE's firewall guards it.
    #[serde(default)]
    pub firewall: Option<bool>,
}

/// How the runner in a machine is begun.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bootstrap {
    /// By which way. `GuestAgent` for virtual machines when left out, the host link for containers.
    #[serde(default)]
    pub via: Option<Via>,
    /// What runs in them.
    #[serde(default)]
    pub os: Os,
    /// Where the runner's program is: `/opt/actions-runner` or `C:\actions-runner` when left out.
    #[serde(default)]
    pub directory: Option<String>,
    /// As whom the runner runs (Linux): the owner of its directory when left out. On Windows it is the system's own account.
    #[serde(default)]
    pub user: Option<String>,
    /// The folder in which jobs work; `_work` when left out.
    #[serde(default)]
    pub work_folder: Option<String>,
    /// The machine gets the runner's name as its host name, on Windows without a reboot.
    #[serde(default)]
    pub host_name: bool,
    /// The runner's version that the template must have (`2.330.0`): with another one nothing is begun. Any when left out.
    #[serde(default)]
    #[schemars(regex(pattern = r"^[0-9]+\.[0-9]+\.[0-9]+$"))]
    pub version: Option<String>,
    /// Run before the runner, as root or the system: one line for the shell (PowerShell on Windows). Its failure is the
    /// runner's.
    #[serde(default)]
    pub before: Option<String>,
    /// Run after the runner, however it ended.
    #[serde(default)]
    pub after: Option<String>,
    /// How the runner is registered.
    #[serde(default)]
    pub registration: RegistrationMode,
    /// How machines are reached by `via: SSH`.
    #[serde(default)]
    pub ssh: Option<Ssh>,
}

/// By which way a runner is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Via {
    /// The QEMU guest agent: no network between pvectl and the machine.
    GuestAgent,
    /// SSH.
    #[serde(rename = "SSH")]
    Ssh,
    /// The host link of the container's node.
    HostLink,
}

/// What runs in a machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Os {
    /// Linux.
    #[default]
    Linux,
    /// Windows.
    Windows,
}

/// How a runner is registered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum RegistrationMode {
    /// With a configuration that is good for one runner and one job.
    #[default]
    JustInTime,
    /// With a registration token, `config --ephemeral --unattended`: for servers that know nothing newer.
    Token,
}

/// How machines are reached by SSH. Which host keys are believed is said in exactly one way: `knownHosts`, `hostKey` or
/// `acceptNew`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ssh {
    /// As whom; he must be root, or may call `sudo` without a password.
    pub user: String,
    /// sshd's port; 22 when left out.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// The key to log in with.
    pub private_key: KeyFile,
    /// The file of host keys that are believed, as ssh has them; a name in it may be a pattern of addresses (`10.0.5.*`).
    #[serde(default)]
    pub known_hosts: Option<String>,
    /// The one host key that is believed: the template's, which its clones have too (`ssh-ed25519 AAAA…`).
    #[serde(default)]
    pub host_key: Option<String>,
    /// Whatever a machine shows at first is believed. Who is between pvectl and the machine may take its place, and gets the
    /// runner's registration.
    #[serde(default)]
    pub accept_new: bool,
}

/// Where a key stands.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyFile {
    /// Its file: an absolute path.
    pub file: String,
}

/// How long each stage may take.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Timeouts {
    /// The clone, until it can be started.
    pub clone: Seconds,
    /// From its start until it has an address, where one is needed (`via: SSH`).
    pub address: Seconds,
    /// From its start until its guest agent (SSH, the host link) answers.
    pub ready: Seconds,
    /// From the beginning of its runner until it is online.
    pub online: Seconds,
    /// A job.
    pub job: Seconds,
    /// An idle runner is replaced after so long: what it was made of grows old.
    pub idle: Seconds,
    /// A runner that has just come online is not taken away for so long although it is one too many: its job may be on its way.
    pub min_idle_age: Seconds,
    /// No machine lives longer, whatever it does; one that works has at least the time of `job`.
    pub max_lifetime: Seconds,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            clone: Seconds(600),
            address: Seconds(120),
            ready: Seconds(300),
            online: Seconds(180),
            job: Seconds(6 * 3600),
            idle: Seconds(24 * 3600),
            min_idle_age: Seconds(60),
            max_lifetime: Seconds(36 * 3600),
        }
    }
}

/// When a job that waits is looked into.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Watchdog {
    /// A job that waits for so long: it is said why, and one more runner is made where there is room.
    pub queued: Seconds,
}

impl Default for Watchdog {
    fn default() -> Watchdog {
        Watchdog { queued: Seconds(300) }
    }
}

/// What becomes of machines that failed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OnFailure {
    /// So many of the newest are kept for a look, stopped; the others are destroyed.
    #[schemars(range(min = 0, max = 20))]
    pub keep: u32,
}

impl<'de> Deserialize<'de> for AppId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AppId, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(AppId(text)),
            Value::Number(number) if number.is_u64() => Ok(AppId(number.to_string())),
            Value::Number(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                Err(Error::custom("an App is named by its client id (`Iv23…`) or its number"))
            }
        }
    }
}

impl JsonSchema for AppId {
    fn schema_name() -> Cow<'static, str> {
        "AppId".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "integer"], "minimum": 1, "description": "A GitHub App's client id (`Iv23…`), or its number."})
    }
}

/// Where on GitHub a pool's runners are, and as whom it is spoken to.
pub fn place(spec: &RunnerPoolSpec) -> Place {
    let api = spec.github.api_url.as_deref().unwrap_or(PUBLIC_API).trim_end_matches('/');
    let auth = match &spec.github.auth {
        AuthSpec::Token(token) => Auth::Token(token.clone()),
        AuthSpec::App(AppAuth { id, installation_id, private_key }) => {
            Auth::App { id: id.0.clone(), installation: *installation_id, key: private_key.clone() }
        }
    };
    Place { api: api.to_owned(), scope: spec.github.scope.clone(), auth }
}

/// Whose jobs are asked for. `name` is the pool's. Of [`DemandMode::Idle`] nobody is asked ([`RunnerPoolSpec::asks`]).
pub fn ask(spec: &RunnerPoolSpec, name: &str) -> Ask {
    let source = match spec.demand {
        DemandMode::ScaleSet | DemandMode::Idle => Source::ScaleSet,
        DemandMode::Webhook => Source::Webhook,
        DemandMode::Polling => Source::Polling,
    };
    let repositories = match (&spec.github.scope, spec.github.repositories.is_empty()) {
        (Scope::Repository(one), true) => vec![one.clone()],
        (Scope::Repository(_) | Scope::Organization(_) | Scope::Enterprise(_), _) => spec.github.repositories.clone(),
    };
    Ask {
        source,
        pool: name.to_owned(),
        group: spec.group().to_owned(),
        labels: spec.labels.clone(),
        repositories,
        max: spec.size.max,
    }
}

impl RunnerPoolSpec {
    /// Whether GitHub is asked how many jobs wait.
    pub fn asks(&self) -> bool {
        self.demand != DemandMode::Idle
    }

    /// The runner group's name; empty: the default one.
    pub fn group(&self) -> &str {
        self.github.runner_group.as_deref().unwrap_or_default()
    }

    /// Linux or Windows, as programs for guests are.
    pub fn system(&self) -> System {
        match self.bootstrap.os {
            Os::Linux => System::Linux,
            Os::Windows => System::Windows,
        }
    }

    /// By which way runners are begun in guests of a type.
    pub fn via(&self, guest: GuestType) -> Via {
        self.bootstrap.via.unwrap_or(match guest {
            GuestType::Qemu => Via::GuestAgent,
            GuestType::Lxc => Via::HostLink,
        })
    }

    /// Where the runner's program is.
    pub fn directory(&self) -> &str {
        self.bootstrap.directory.as_deref().unwrap_or(match self.bootstrap.os {
            Os::Linux => "/opt/actions-runner",
            Os::Windows => r"C:\actions-runner",
        })
    }

    /// The folder in which jobs work.
    pub fn work_folder(&self) -> &str {
        self.bootstrap.work_folder.as_deref().unwrap_or("_work")
    }
}
