//! The ways into a machine: what is read of its inside, and the request that begins its runner.

use crate::base::id::GuestType;
use crate::github::place::Scope;
use crate::host::guest::{HostKeys, Login, Operation};
use crate::host::job::System;
use crate::host::operation::Operation as Link;
use crate::host::runner::look::Look;
use crate::host::runner::{Handed, Registration, RunnerState, STATE, Start, WINDOWS_STATE};
use crate::host::ssh::options::Spot;
use crate::host::token::Token;
use crate::kinds::guest::hand::deed::base;
use crate::kinds::runner_pool::machine::Inside;
use crate::kinds::runner_pool::spec::{RegistrationMode, RunnerPoolSpec, Via};
use crate::pve::error::Refusal;
use crate::pve::request::{Call, Method, Query};
use crate::resource::index::GuestRow;
use crate::resource::interfaces;
use crate::resource::observation::{Observation, guest_query};
use crate::resource::step::Problem;
use serde_json::Value;
use std::net::IpAddr;
use std::path::Path;

fn file_query(row: &GuestRow, system: System) -> Query {
    let file = match system {
        System::Windows => WINDOWS_STATE,
        System::Linux | System::Node => STATE,
    };
    Query::new(format!("{}/agent/file-read", base(row))).with("file", file)
}

/// What is read of a machine's inside. One request, whatever the way.
pub fn reads(row: &GuestRow, spec: &RunnerPoolSpec) -> Vec<Query> {
    query(row, spec).into_iter().collect()
}

fn query(row: &GuestRow, spec: &RunnerPoolSpec) -> Option<Query> {
    match (spec.via(row.guest), row.guest) {
        (Via::GuestAgent, GuestType::Qemu) => Some(file_query(row, spec.system())),
        (Via::HostLink, GuestType::Lxc) => Link::ContainerRunnerState { vmid: row.vmid, lines: 0 }.query(&row.node),
        (Via::Ssh, _) => Some(interfaces::query(row)),
        (Via::GuestAgent, GuestType::Lxc) | (Via::HostLink, GuestType::Qemu) => None,
    }
}

/// How far a machine's runner is, as its inside tells.
pub fn inside(row: &GuestRow, spec: &RunnerPoolSpec, seen: &Observation) -> Inside {
    let ssh = spec.via(row.guest) == Via::Ssh;
    match query(row, spec).and_then(|query| seen.answer(&query)) {
        Some(Ok(value)) if ssh => {
            let pending = seen.value(&guest_query(row)).unwrap_or(&Value::Null);
            match interfaces::own(value, pending).into_iter().next() {
                Some(address) => Inside::At(address),
                None => Inside::NoAddress("it has no address yet that leads somewhere".to_owned()),
            }
        }
        Some(Ok(value)) if row.guest == GuestType::Lxc => {
            Inside::Read(Look::read(value.as_str().unwrap_or_default()).state)
        }
        Some(Ok(value)) => Inside::Read(RunnerState::read(value["content"].as_str().unwrap_or_default())),
        Some(Err(error)) => match error.refusal() {
            // Of the link it says that its node's helper does not answer: that may last.
            Some(Refusal::NodeOffline) if ssh || row.guest == GuestType::Qemu => Inside::Unread,
            Some(Refusal::Forbidden | Refusal::Unsupported) => Inside::Shut(error.to_string()),
            // The agent answers, and there is no such file: nothing was begun.
            Some(Refusal::Absent) if !ssh && row.guest == GuestType::Qemu => Inside::Read(RunnerState::default()),
            Some(_) | None if ssh => Inside::NoAddress(error.to_string()),
            Some(_) | None => Inside::Silent(error.to_string()),
        },
        None => Inside::Unread,
    }
}

/// What stands against a way into guests of a type.
pub fn against(guest: GuestType, spec: &RunnerPoolSpec) -> Vec<Problem> {
    let mut problems = Vec::new();
    match (spec.via(guest), guest) {
        (Via::GuestAgent, GuestType::Qemu) => {}
        (Via::GuestAgent, GuestType::Lxc) => problems.push(
            Problem::new("bootstrap.via", "containers have no guest agent")
                .help("say `via: HostLink`, or leave it out"),
        ),
        (Via::HostLink, GuestType::Qemu) => problems.push(
            Problem::new("bootstrap.via", "by the host link only containers are reached")
                .help("say `via: GuestAgent`, or leave it out"),
        ),
        (Via::HostLink, GuestType::Lxc) | (Via::Ssh, _) => {}
    }
    problems
}

/// Where runners register that are given a token.
fn url(spec: &RunnerPoolSpec) -> String {
    let api = spec.github.api_url.as_deref().unwrap_or_default().trim_end_matches('/');
    let web = match api.strip_suffix("/api/v3") {
        Some(server) => server.to_owned(),
        None if api.is_empty() => "https://github.com".to_owned(),
        // `https://api.github.com`, `https://api.acme.ghe.com`
        None => api.replacen("://api.", "://", 1),
    };
    match &spec.github.scope {
        Scope::Organization(name) => format!("{web}/{name}"),
        Scope::Repository(name) => format!("{web}/{name}"),
        Scope::Enterprise(name) => format!("{web}/enterprises/{name}"),
    }
}

/// What begins the runner of a machine of this name.
pub fn start(spec: &RunnerPoolSpec, name: &str) -> Start {
    let bootstrap = &spec.bootstrap;
    let registration = match bootstrap.registration {
        RegistrationMode::JustInTime => Registration::JustInTime,
        RegistrationMode::Token => Registration::Token {
            url: url(spec),
            labels: spec.labels.clone(),
            group: spec.group().to_owned(),
            folder: spec.work_folder().to_owned(),
        },
    };
    Start {
        system: spec.system(),
        name: name.to_owned(),
        directory: spec.directory().to_owned(),
        user: bootstrap.user.clone(),
        host_name: bootstrap.host_name,
        version: bootstrap.version.clone(),
        before: bootstrap.before.clone(),
        after: bootstrap.after.clone(),
        registration,
    }
}

/// How a machine is logged in to.
pub fn login(spec: &RunnerPoolSpec, name: &str, address: IpAddr) -> Option<Login> {
    let ssh = spec.bootstrap.ssh.as_ref()?;
    let spot = |text: &str| Spot::new(Path::new(text));
    let host_keys = match (&ssh.known_hosts, &ssh.host_key) {
        (Some(file), _) => HostKeys::File(spot(file)?),
        (None, Some(key)) => HostKeys::pinned(key)?,
        (None, None) => HostKeys::AcceptNew,
    };
    Some(Login {
        name: Token::argument(name)?,
        address,
        port: ssh.port.unwrap_or(22),
        user: Token::argument(ssh.user.as_str())?,
        private_key: spot(&ssh.private_key.file)?,
        host_keys,
    })
}

/// What is looked at right before, if something is, and the request that begins a runner; its secret comes with the parameter
/// [`Handed::PARAM`], from the step before.
///
/// # Errors
/// Why there is no way.
pub fn begin(
    row: &GuestRow,
    spec: &RunnerPoolSpec,
    start: &Start,
    address: Option<IpAddr>,
) -> Result<(Option<Query>, Call), String> {
    start.check()?;
    let unsaid = || "what is to be begun cannot be written down for it".to_owned();
    match (spec.via(row.guest), row.guest) {
        (Via::GuestAgent, GuestType::Qemu) => {
            let call = Call::new(Method::Post, format!("{}/agent/exec", base(row)));
            Ok((None, start.command().iter().fold(call, |call, word| call.with("command", word))))
        }
        (Via::HostLink, GuestType::Lxc) => {
            let secret = Handed::default();
            let call = Link::ContainerRunner { vmid: row.vmid, start: start.clone(), secret }.call(&row.node);
            Ok((None, call.ok_or_else(unsaid)?))
        }
        (Via::Ssh, _) => {
            let address = address.ok_or_else(|| "its address is not known".to_owned())?;
            let login = login(spec, &start.name, address).ok_or_else(unsaid)?;
            // Nothing is registered for a machine that sshd does not let us into.
            let look = Operation::RunnerState { system: start.system, lines: 0 }.query(&login);
            let start = Box::new(start.clone());
            let call = Operation::Runner { start, secret: Handed::default() }.call(&login);
            Ok((look, call.ok_or_else(unsaid)?))
        }
        (Via::GuestAgent, GuestType::Lxc) | (Via::HostLink, GuestType::Qemu) => {
            Err("there is no such way into it: say another `bootstrap.via`".to_owned())
        }
    }
}
