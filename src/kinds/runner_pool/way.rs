//! The ways into a machine: what is read of its inside, and the request that begins its runner.

use crate::base::id::GuestType;
use crate::github::place::Scope;
use crate::host::job::System;
use crate::host::runner::{Registration, RunnerState, STATE, Start, WINDOWS_STATE};
use crate::kinds::guest::hand::deed::base;
use crate::kinds::runner_pool::look::content;
use crate::kinds::runner_pool::machine::Inside;
use crate::kinds::runner_pool::spec::{RegistrationMode, RunnerPoolSpec, Via};
use crate::pve::error::Refusal;
use crate::pve::request::{Call, Method, Query};
use crate::resource::index::GuestRow;
use crate::resource::interfaces;
use crate::resource::observation::Observation;
use crate::resource::step::Problem;
use std::net::IpAddr;

fn file_query(row: &GuestRow, system: System) -> Query {
    let file = match system {
        System::Windows => WINDOWS_STATE,
        System::Linux | System::Node => STATE,
    };
    Query::new(format!("{}/agent/file-read", base(row))).with("file", file)
}

/// What is read of a machine's inside.
pub fn reads(row: &GuestRow, spec: &RunnerPoolSpec) -> Vec<Query> {
    match (spec.via(row.guest), row.guest) {
        (Via::GuestAgent, GuestType::Qemu) => vec![file_query(row, spec.system())],
        (Via::GuestAgent | Via::Ssh | Via::HostLink, _) => Vec::new(),
    }
}

/// How far a machine's runner is, as its inside tells.
pub fn inside(row: &GuestRow, spec: &RunnerPoolSpec, seen: &Observation) -> Inside {
    match (spec.via(row.guest), row.guest) {
        (Via::GuestAgent, GuestType::Qemu) => {}
        (Via::GuestAgent | Via::Ssh | Via::HostLink, _) => return Inside::Unread,
    }
    match seen.answer(&file_query(row, spec.system())) {
        Some(Ok(value)) => Inside::Read(RunnerState::read(content(value))),
        // The agent answers, and there is no such file: nothing was begun.
        Some(Err(error)) if error.refusal() == Some(Refusal::Absent) => Inside::Read(RunnerState::default()),
        Some(Err(error)) if error.refusal() == Some(Refusal::NodeOffline) => Inside::Unread,
        Some(Err(error)) if error.refusal() == Some(Refusal::Forbidden) => Inside::Shut(error.to_string()),
        Some(Err(error)) => Inside::Silent(error.to_string()),
        None => Inside::Unread,
    }
}

/// Its first address that leads somewhere, where it was asked.
pub fn address(row: &GuestRow, seen: &Observation) -> Option<IpAddr> {
    let answer = seen.value(&interfaces::query(row))?;
    interfaces::cards(answer).into_iter().flat_map(|card| card.addresses).next()
}

/// What stands against a way into guests of a type.
pub fn against(guest: GuestType, spec: &RunnerPoolSpec) -> Vec<Problem> {
    let mut problems = Vec::new();
    match (spec.via(guest), guest) {
        (Via::GuestAgent, GuestType::Qemu) => {}
        (Via::GuestAgent, GuestType::Lxc) => problems.push(
            Problem::new("bootstrap.via", "containers have no guest agent").help("say `via: HostLink`, or leave it out"),
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

/// The request that begins a runner; its secret comes as the parameter `input-data`, from the step before.
///
/// # Errors
/// Why there is no way.
pub fn begin(row: &GuestRow, spec: &RunnerPoolSpec, start: &Start) -> Result<Call, String> {
    start.check()?;
    match (spec.via(row.guest), row.guest) {
        (Via::GuestAgent, GuestType::Qemu) => {
            let call = Call::new(Method::Post, format!("{}/agent/exec", base(row)));
            Ok(start.command().iter().fold(call, |call, word| call.with("command", word)))
        }
        (Via::GuestAgent | Via::Ssh | Via::HostLink, _) => Err("there is no such way into it yet".to_owned()),
    }
}
