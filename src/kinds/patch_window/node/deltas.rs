//! What a window wants done on each of its nodes, as deltas.

use crate::base::id::GuestType;
use crate::host::job::{Deed, Job};
use crate::host::operation::Operation;
use crate::host::token::Token;
use crate::kinds::guest::hand::deed::base;
use crate::kinds::patch_window::member::{How, LOOK_AGAIN, tell};
use crate::kinds::patch_window::node::decide::{NodeAct, Transfer};
use crate::kinds::patch_window::node::seen::Node;
use crate::kinds::patch_window::outcome::stamp;
use crate::kinds::patch_window::spec::{Migrate, PatchWindowSpec};
use crate::kinds::patch_window::steps::SETTLES;
use crate::kinds::patch_window::waves::{NodeTurn, Turns};
use crate::kinds::patch_window::window::Window;
use crate::pve::request::{Call, Method};
use crate::resource::kind::PlanContext;
use crate::resource::merge::Cause;
use crate::resource::privilege::require;
use crate::resource::reference::Identity;
use crate::resource::step::{Action, Change, Delta, Impact, Limit, Note, Step};
use std::time::Duration;

/// The HA manager looks every ten seconds.
const HA_LOOKS: Duration = Duration::from_secs(10);
/// How long a guest that is shut down to be moved may take, in seconds.
const SHUTDOWN: u32 = 180;
/// PVE's own door: something must listen there on a node that is well.
const PVEPROXY: u16 = 8006;

/// A delta a node.
pub fn deltas(
    cx: &PlanContext<'_>,
    spec: &PatchWindowSpec,
    window: &Window,
    name: &Token,
    turns: &Turns<'_>,
) -> Vec<Delta> {
    turns.nodes.iter().map(|turn| delta(cx, spec, (window, name), turns, turn)).collect()
}

fn delta(
    cx: &PlanContext<'_>,
    spec: &PatchWindowSpec,
    (window, name): (&Window, &Token),
    turns: &Turns<'_>,
    turn: &NodeTurn<'_>,
) -> Delta {
    let (node, now) = (turn.node.name, cx.seen.at);
    let identity = Identity::Object { kind: "Node", id: node.to_owned() };
    let mut delta = Delta::none(cx.resource.member_node(node), Some(identity));
    let path = format!("/nodes/{node}");
    require(cx, &mut delta, &path, "Sys.Modify");
    require(cx, &mut delta, &path, "Sys.PowerMgmt");
    let how =
        turn.decision.as_ref().map(|decision| How { progress: &decision.progress, reboot: decision.reboot.as_ref() });
    tell(&mut delta, now, (window, turns.opening), turn.waits.as_ref(), how);
    let Some(decision) = &turn.decision else { return delta };
    let Some(act) = &decision.act else { return delta };
    delta.action = Action::Update;
    delta.next = Some(now.saturating_add(LOOK_AGAIN));
    match steps(spec, name, &turn.node, decision.slot, act) {
        Ok(steps) => {
            delta.changes = changes(&turn.node, act);
            delta.steps = steps;
        }
        Err(why) => delta.notes.push(Note::Toothless(why)),
    }
    delta
}

fn begin(node: &str, window: &Token, slot: i64, title: &str, deed: Deed, impact: Impact) -> Result<Step, String> {
    let slot = Token::new(stamp(slot)).expect("a time is plain");
    let job = Job { window: window.clone(), slot, deed };
    let call = Operation::NodeJob { job }.call(node);
    let call = call.ok_or_else(|| "what it is to do cannot be written down for it".to_owned())?;
    Ok(limited(Step::new(title, call, impact), node).settles(SETTLES))
}

fn limited(step: Step, node: &str) -> Step {
    step.limit(Limit::Policy { of: String::new(), at: format!("node/{node}"), room: 1 })
}

fn steps(
    spec: &PatchWindowSpec,
    window: &Token,
    node: &Node<'_>,
    slot: i64,
    act: &NodeAct,
) -> Result<Vec<Step>, String> {
    let name = node.name;
    let linked = |operation: Operation, title: &str, impact: Impact| {
        let call = operation.call(name).ok_or_else(|| "it cannot be put into a request".to_owned())?;
        Ok::<Step, String>(limited(Step::new(title, call, impact), name))
    };
    Ok(match act {
        NodeAct::Refresh => {
            let call = Call::new(Method::Post, format!("/nodes/{name}/apt/update")).with("quiet", 1);
            vec![limited(Step::new("fetch the index of packages", call, Impact::None).task(name), name)]
        }
        NodeAct::Note(about, lines) => {
            let token =
                |text: &String| Token::new(text.as_str()).ok_or_else(|| format!("`{text}` cannot be written down"));
            let lines: Result<Vec<(Token, Token)>, String> =
                lines.iter().map(|(k, v)| Ok((token(k)?, token(v)?))).collect();
            let deed = Deed::Note { about: Token::own(about), lines: lines? };
            vec![begin(name, window, slot, &format!("note: {about}"), deed, Impact::None)?]
        }
        NodeAct::Maintenance(enable) => {
            let title = if *enable { "into maintenance" } else { "out of maintenance" };
            vec![linked(Operation::Maintenance { enable: *enable }, title, Impact::Migration)?.settles(HA_LOOKS)]
        }
        NodeAct::NoOut(set) => {
            let call = Call::new(Method::Put, "/cluster/ceph/flags/noout").with("value", u8::from(*set));
            let title = if *set { "Ceph: moves nothing while it is away (noout)" } else { "Ceph: noout off" };
            vec![limited(Step::new(title, call, Impact::Live), name)]
        }
        NodeAct::Guests(transfers) => transfers.iter().flat_map(|one| transfer(spec, node, one)).collect(),
        NodeAct::Upgrade(attempt) => {
            let deed = Deed::Upgrade { attempt: *attempt };
            vec![begin(name, window, slot, "dist-upgrade", deed, Impact::Live)?]
        }
        NodeAct::Revive(job) => {
            let job = Token::argument(job.as_str()).ok_or_else(|| format!("`{job}` is no name of a job"))?;
            vec![begin(name, window, slot, &format!("look after `{job}`"), Deed::Revive { job }, Impact::None)?]
        }
        NodeAct::Reboot => {
            let call = Call::new(Method::Post, format!("/nodes/{name}/status")).with("command", "reboot");
            vec![limited(Step::new("reboot the node", call, Impact::Restart), name).settles(Duration::from_secs(30))]
        }
        NodeAct::Health(attempt) => {
            let timeout = u32::try_from(spec.health_check.timeout.0).unwrap_or(u32::MAX);
            let deed =
                Deed::Health { attempt: *attempt, tcp: vec![PVEPROXY], units: true, command: Vec::new(), timeout };
            vec![begin(name, window, slot, "look whether it is well", deed, Impact::None)?]
        }
    })
}

/// The requests for a guest that goes, comes back or is started.
fn transfer(spec: &PatchWindowSpec, node: &Node<'_>, one: &Transfer) -> Vec<Step> {
    let (vmid, to) = match one {
        Transfer::Move(vmid, to) => (vmid, Some(to)),
        Transfer::Start(vmid) => (vmid, None),
    };
    let Some(row) = node.guests.get(vmid) else { return Vec::new() };
    let at = |on: &str, verb: &str| Call::new(Method::Post, format!("/nodes/{on}/{}/{vmid}/{verb}", row.guest));
    let task = |title: String, call: Call, impact: Impact, on: &str| {
        let guest = Limit::Policy { of: String::new(), at: format!("guest/{vmid}"), room: 1 };
        Step::new(title, call, impact).task(on).limit(guest)
    };
    let Some(to) = to else {
        let call = Call::new(Method::Post, format!("{}/status/start", base(row)));
        return vec![task(format!("start {vmid}: it ran before"), call, Impact::Restart, &row.node)];
    };
    let call = at(&row.node, "migrate").with("target", to);
    match (spec.drain.migrate, row.guest) {
        (Migrate::Online | Migrate::Never, GuestType::Qemu) => {
            vec![task(format!("{vmid} to {to}"), call.with("online", 1), Impact::Migration, &row.node)]
        }
        (Migrate::Online | Migrate::Never, GuestType::Lxc) => {
            let call = call.with("restart", 1).with("timeout", SHUTDOWN);
            vec![task(format!("{vmid} to {to}, with a restart"), call, Impact::Migration, &row.node)]
        }
        (Migrate::Offline, _) => {
            let down = at(&row.node, "status/shutdown").with("timeout", SHUTDOWN);
            vec![
                task(format!("shut {vmid} down"), down, Impact::Restart, &row.node),
                task(format!("{vmid} to {to}"), call, Impact::Migration, &row.node),
                task(format!("start {vmid} on {to}"), at(to, "status/start"), Impact::Restart, to),
            ]
        }
    }
}

fn changes(node: &Node<'_>, act: &NodeAct) -> Vec<Change> {
    let change = |path: &str, from: Option<&str>, to: &str, impact: Impact| Change {
        path: path.to_owned(),
        from: from.map(str::to_owned),
        to: Some(to.to_owned()),
        cause: Cause::Change,
        impact,
    };
    match act {
        NodeAct::Refresh => vec![change("updates", Some("unknown"), "known", Impact::None)],
        NodeAct::Note(about, _) => vec![change(about, None, "noted", Impact::None)],
        NodeAct::Maintenance(true) => vec![change("maintenance", Some("off"), "on", Impact::Migration)],
        NodeAct::Maintenance(false) => vec![change("maintenance", Some("on"), "off", Impact::Migration)],
        NodeAct::NoOut(true) => vec![change("noout", Some("off"), "on", Impact::Live)],
        NodeAct::NoOut(false) => vec![change("noout", Some("on"), "off", Impact::Live)],
        NodeAct::Guests(all) => all
            .iter()
            .map(|one| match one {
                Transfer::Move(vmid, to) => {
                    let from = node.guests.get(vmid).map(|row| row.node.clone());
                    change(&format!("guest {vmid}"), from.as_deref(), to, Impact::Migration)
                }
                Transfer::Start(vmid) => change(&format!("guest {vmid}"), Some("stopped"), "running", Impact::Restart),
            })
            .collect(),
        NodeAct::Upgrade(_) => {
            let pending = node.pending.as_deref().unwrap_or_default();
            let all = pending
                .iter()
                .map(|one| change(&format!("package {}", one.name), Some(&one.from), &one.to, Impact::Live));
            all.collect()
        }
        NodeAct::Revive(job) => vec![change(job, Some("silent"), "known", Impact::None)],
        NodeAct::Reboot => vec![change("boot", Some("before its updates"), "after its updates", Impact::Restart)],
        NodeAct::Health(_) => vec![change("health", Some("unknown"), "known", Impact::None)],
    }
}
