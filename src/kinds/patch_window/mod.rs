//! Patch windows: guests and nodes get their updates inside agreed times. PVE holds no object for a window; it is in force while
//! a manifest declares it, and how far it is stands on the guests' disks, on their snapshots, and in how they run.

pub mod spec;

pub mod window;

pub mod outcome;

pub mod choose;

pub mod inside;

pub mod guest;

pub mod decide;

pub mod waves;

pub mod steps;

pub mod member;

pub mod node;

pub mod record;

pub mod standing;

use crate::base::id::VmId;
use crate::host::token::Token;
use crate::kinds::patch_window::guest::Guest;
use crate::kinds::patch_window::node::seen::Node;
use crate::kinds::patch_window::spec::{OnFailure, PatchWindowSpec, Stopped};
use crate::kinds::patch_window::waves::{Meant, Quorum, Turns, turns, wave_of};
use crate::kinds::patch_window::window::Window;
use crate::kinds::selector::Selector;
use crate::pve::request::Query;
use crate::resource::index::{GuestRow, Index};
use crate::resource::kind::{DecodeError, Kind, Labelled, Listed, PlanContext};
use crate::resource::marker::Marker;
use crate::resource::observation::Observation;
use crate::resource::reference::{Claim, Identity, Reference, ResourceRef};
use crate::resource::step::{Delta, Note, Problem};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Its name in manifests.
pub const NAME: &str = "PatchWindow";

/// So long after its end a window's guests are still looked into, in seconds: what a run that was killed left is ended then.
const LOOKED_AFTER: i64 = 2 * 86_400;

/// The kind `PatchWindow`.
pub struct PatchWindowKind;

impl Kind for PatchWindowKind {
    const NAME: &'static str = NAME;
    type Spec = PatchWindowSpec;
    /// The cluster holds nothing of a window.
    type Observed = ();

    fn refs(_spec: &PatchWindowSpec) -> Vec<Reference> {
        Vec::new()
    }

    fn check(spec: &PatchWindowSpec) -> Vec<Problem> {
        let mut problems = Window::read(spec).err().unwrap_or_default();
        problems.extend(wrong(spec));
        problems
    }

    fn choose(spec: &mut PatchWindowSpec, guests: &[Labelled]) {
        let waves = spec.waves.iter_mut().filter_map(|wave| wave.selector.as_mut());
        spec.targets.selector.iter_mut().chain(waves).for_each(|selector| selector.choose(guests));
    }

    fn claim(name: &str, _spec: &PatchWindowSpec) -> Claim {
        Claim::Object { kind: NAME, id: name.to_owned() }
    }

    fn marks() -> bool {
        false
    }

    fn reads(identity: &Identity, spec: Option<&PatchWindowSpec>, index: &Index) -> Vec<Query> {
        let (Some(spec), Identity::Object { id, .. }) = (spec, identity) else { return Vec::new() };
        let (Ok(window), Some(name)) = (Window::read(spec), Token::argument(id.as_str())) else { return Vec::new() };
        let recent = |end: i64| index.at < end.saturating_add(LOOKED_AFTER);
        let last = window.last(index.at);
        let inside = spec.looked_into || last.is_some_and(|opening| recent(opening.end));
        let online = |row: &&GuestRow| index.nodes.get(&row.node).is_none_or(|n| n.online);
        let rows = spec.targets.selector.iter().flat_map(|selector| selector.candidates(index)).filter(online);
        let mut reads: BTreeSet<Query> =
            rows.flat_map(|row| guest::reads(row, &name, inside, spec.before.snapshot)).collect();
        if inside {
            let slot = last.map_or(0, |opening| opening.slot);
            let online = |node: &&String| index.nodes.get(*node).is_some_and(|n| n.online);
            let nodes = spec.targets.nodes.iter().filter(online);
            reads.extend(nodes.flat_map(|node| node::seen::reads(node, spec, &name, slot, index)));
        }
        reads.into_iter().collect()
    }

    fn list(_seen: &Observation) -> Vec<Listed> {
        Vec::new()
    }

    fn columns(_listed: &Listed, _seen: &Observation) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn decode(_identity: &Identity, _seen: &Observation) -> Result<Option<()>, DecodeError> {
        Ok(None)
    }

    fn marker(_observed: &()) -> Option<&Marker> {
        None
    }

    fn plan(cx: &PlanContext<'_>, desired: Option<&PatchWindowSpec>, _observed: Option<&()>) -> Delta {
        let mut delta = Delta::none(cx.resource.clone(), Some(cx.identity.clone()));
        let Some(spec) = desired else { return delta };
        match Window::read(spec) {
            Ok(window) => {
                if window.next(cx.seen.at).is_none() {
                    delta.notes.push(Note::Warning("it does not open any more: no such time comes".into()));
                }
                if spec.targets.selector.is_some()
                    && Around::of(cx).targets(spec).next().is_none()
                    && spec.targets.nodes.is_empty()
                {
                    delta.notes.push(Note::Warning("its selector means no guest".into()));
                }
            }
            Err(problems) => delta.problems.extend(problems),
        }
        delta
    }

    fn members(cx: &PlanContext<'_>, spec: &PatchWindowSpec) -> Vec<Delta> {
        let (Ok(window), Some(name)) = (Window::read(spec), Token::argument(cx.resource.name.as_str())) else {
            return Vec::new();
        };
        let mut turns = Around::of(cx).look(spec, &window, &name);
        turns.turns.retain(|turn| !cx.leaving.contains(&turn.guest.row.vmid));
        let nodes = node::deltas::deltas(cx, spec, &window, &name, &turns);
        member::deltas(cx, spec, &window, &name, &turns).into_iter().chain(nodes).collect()
    }

    fn export(_observed: &()) -> Value {
        Value::Null
    }
}

/// What a look at a window needs besides its spec.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// Everything seen.
    pub seen: &'a Observation,
    /// What every resource of the set is.
    pub identities: &'a BTreeMap<ResourceRef, Identity>,
    /// The manifest set.
    pub set: &'a str,
    /// The window's name.
    pub name: &'a str,
}

impl<'a> Around<'a> {
    fn of(cx: &'a PlanContext<'a>) -> Around<'a> {
        Around { seen: cx.seen, identities: cx.identities, set: cx.set, name: &cx.resource.name }
    }

    /// The guests that a window means, templates left out.
    pub fn targets(&self, spec: &'a PatchWindowSpec) -> impl Iterator<Item = &'a GuestRow> + use<'a> {
        let Around { seen, identities, .. } = *self;
        spec.targets.selector.iter().flat_map(move |selector| selector.guests(&seen.index, identities))
    }

    /// What is seen of a window's guests, and whose turn it is.
    pub fn look(&self, spec: &'a PatchWindowSpec, window: &Window, name: &Token) -> Turns<'a> {
        let index = &self.seen.index;
        let meant = |wave: &spec::Wave| -> Vec<VmId> {
            wave.selector.iter().flat_map(|s| s.guests(index, self.identities)).map(|row| row.vmid).collect()
        };
        let waves: Vec<Vec<VmId>> = spec.waves.iter().map(meant).collect();
        let online = |row: &&GuestRow| index.nodes.get(&row.node).is_none_or(|n| n.online);
        let guests = self.targets(spec).filter(online).filter_map(|row| {
            let wave = wave_of(row.vmid, &waves)?;
            Some((wave, Guest::read(row, (self.set, self.name), name, self.seen)))
        });
        let slot = window.last(self.seen.at).map_or(0, |opening| opening.slot);
        let nodes = spec.targets.nodes.iter().filter_map(|node| {
            let named = spec.waves.iter().position(|wave| wave.nodes.contains(node));
            let all = || spec.waves.iter().position(|w| w.selector.as_ref().is_some_and(Selector::is_all));
            let wave = if spec.waves.is_empty() { Some(0) } else { named.or_else(all) }?;
            Some((wave, Node::read(node, name, slot, self.seen)))
        });
        let away = index.nodes.values().filter(|node| !node.online).map(|node| node.name.clone());
        let quorum = Quorum {
            nodes: index.nodes.len(),
            away: away.collect(),
            maintenance: node::seen::in_maintenance(self.seen),
            quorate: index.quorate.unwrap_or(true),
        };
        let meant = Meant { guests: guests.collect(), nodes: nodes.collect() };
        turns(spec, window, meant, &quorum, self.seen.at)
    }
}

/// What is wrong with a spec besides its times.
fn wrong(spec: &PatchWindowSpec) -> Vec<Problem> {
    let mut problems = Vec::new();
    if spec.targets.nodes.is_empty() && spec.targets.selector.is_none() {
        problems.push(
            Problem::new("targets", "it names nobody")
                .help("name nodes, or say which guests: `selector: {}` means every guest"),
        );
    }
    if spec.on_failure == OnFailure::Rollback && !spec.before.snapshot {
        problems.push(
            Problem::new("onFailure", "there is no snapshot to go back to")
                .help("say `before: {snapshot: true}`, or another onFailure"),
        );
    }
    if spec.stopped == Stopped::Start && !spec.before.snapshot {
        problems.push(
            Problem::new("stopped", "that a container did not run stands on its snapshot, and none is taken")
                .help("say `before: {snapshot: true}`, or `stopped: Skip`"),
        );
    }
    for (at, port) in spec.health_check.tcp.iter().enumerate() {
        if port.parse::<u16>().is_err() || port == "0" {
            problems.push(
                Problem::new(&format!("healthCheck.tcp.{at}"), format!("`{port}` is no TCP port")).help("1 to 65535"),
            );
        }
    }
    if spec.health_check.command.iter().any(|argument| argument.contains(['\n', '\r', '\0'])) {
        problems.push(
            Problem::new("healthCheck.command", "an argument has a line break in it")
                .help("put what takes several lines into a script in the guest, and name that"),
        );
    }
    if spec.max_errors == 0 {
        problems.push(Problem::new("maxErrors", "nothing could ever start").help("say 1 or more"));
    }
    if spec.max_concurrent == 0 {
        problems.push(Problem::new("maxConcurrent", "nothing could ever start").help("say 1 or more"));
    }
    problems
}
