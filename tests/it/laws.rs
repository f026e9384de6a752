//! The laws over all kinds: each is a function that finds breaches, run over every life of the corpus, and each comes with
//! a mutant that it must catch.

use crate::corpus::{LIVES, Life};
use crate::world::{
    Lab, bound, by_manifest, delta, desired, differences, normal, nothing, open, orphans, plain, prune, run, stopped,
    strangers,
};
use futures::future::BoxFuture;
use pvectl::base::diagnostic::has_errors;
use pvectl::kinds::list::KINDS;
use pvectl::plan::assemble::Settings;
use pvectl::plan::desired::DesiredSet;
use pvectl::pve::api::Api;
use pvectl::pve::error::PveError;
use pvectl::pve::request::{Call, Method, Query};
use pvectl::resource::index::Index;
use pvectl::resource::kind::{AnyKind, AnySpec, DecodeError, Labelled, Listed, PlanContext};
use pvectl::resource::marker::Marker;
use pvectl::resource::observation::Observation;
use pvectl::resource::reference::{Claim, Identity, Reference, ResourceRef};
use pvectl::resource::step::{Action, Delta, Impact, Step};
use pvectl::sim::SimApi;
use pvectl::sim::faults::{Fault, FaultKind};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

// ---- what a mutant can twist -----------------------------------------------------------------------------------------

/// How an answer comes about: the simulator, and what stands between.
type Twist = for<'a> fn(&'a SimApi, Asked<'a>) -> BoxFuture<'a, Result<Value, PveError>>;

/// A read or a write.
#[derive(Clone, Copy)]
enum Asked<'a> {
    Read(&'a Query),
    Write(&'a Call),
}

struct Twisted(SimApi, Twist);

impl Api for Twisted {
    fn get<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Value, PveError>> {
        (self.1)(&self.0, Asked::Read(query))
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Value, PveError>> {
        (self.1)(&self.0, Asked::Write(call))
    }
}

fn honest<'a>(api: &'a SimApi, asked: Asked<'a>) -> BoxFuture<'a, Result<Value, PveError>> {
    match asked {
        Asked::Read(query) => api.get(query),
        Asked::Write(call) => api.send(call),
    }
}

/// A kind whose delta is changed after it was planned.
struct Warped(&'static dyn AnyKind, fn(&PlanContext<'_>, &mut Delta));

impl AnyKind for Warped {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn schema(&self) -> Value {
        self.0.schema()
    }
    fn parse(&self, spec: &Value) -> Result<AnySpec, (String, String)> {
        self.0.parse(spec)
    }
    fn refs(&self, spec: &AnySpec) -> Vec<Reference> {
        self.0.refs(spec)
    }
    fn claim(&self, name: &str, spec: &AnySpec) -> Claim {
        self.0.claim(name, spec)
    }
    fn lists(&self) -> Vec<Query> {
        self.0.lists()
    }
    fn lists_of(&self, node: &str, index: &Index) -> Vec<Query> {
        self.0.lists_of(node, index)
    }
    fn marks(&self) -> bool {
        self.0.marks()
    }
    fn goes_itself(&self) -> bool {
        self.0.goes_itself()
    }
    fn reads(&self, identity: &Identity, spec: Option<&AnySpec>, index: &Index) -> Vec<Query> {
        self.0.reads(identity, spec, index)
    }
    fn names(&self, spec: &AnySpec) -> Vec<String> {
        self.0.names(spec)
    }
    fn guests(&self, spec: &AnySpec) -> Vec<Reference> {
        self.0.guests(spec)
    }
    fn files(&self, spec: &AnySpec) -> Vec<String> {
        self.0.files(spec)
    }
    fn is_native(&self, identity: &Identity, seen: &Observation) -> bool {
        self.0.is_native(identity, seen)
    }
    fn list(&self, seen: &Observation) -> Vec<Listed> {
        self.0.list(seen)
    }
    fn columns(&self, listed: &Listed, seen: &Observation) -> Vec<(&'static str, String)> {
        self.0.columns(listed, seen)
    }
    fn plan(&self, cx: &PlanContext<'_>, desired: Option<&AnySpec>) -> Result<(Delta, Option<Marker>), DecodeError> {
        let (mut delta, marker) = self.0.plan(cx, desired)?;
        (self.1)(cx, &mut delta);
        Ok((delta, marker))
    }
    fn members(&self, cx: &PlanContext<'_>, spec: &AnySpec) -> Vec<Delta> {
        let mut all = self.0.members(cx, spec);
        all.iter_mut().for_each(|delta| (self.1)(cx, delta));
        all
    }
    fn choose(&self, spec: &mut AnySpec, guests: &[Labelled]) {
        self.0.choose(spec, guests);
    }
    fn export(&self, identity: &Identity, seen: &Observation) -> Result<Option<Value>, DecodeError> {
        self.0.export(identity, seen)
    }
}

fn straight(_: &PlanContext<'_>, _: &mut Delta) {}

/// What a law is tried on: the real thing, or a mutant of it.
#[derive(Clone, Copy)]
struct Subject {
    twist: Twist,
    warp: fn(&PlanContext<'_>, &mut Delta),
}

const REAL: Subject = Subject { twist: honest, warp: straight };

impl Subject {
    /// A state of a life, planned by this subject's kinds.
    fn set(&self, yaml: &str) -> DesiredSet {
        let mut set = desired(yaml);
        for want in set.resources.values_mut() {
            want.kind = Box::leak(Box::new(Warped(want.kind, self.warp)));
        }
        set
    }

    fn kinds(&self) -> Vec<&'static dyn AnyKind> {
        KINDS.iter().map(|k| Box::leak(Box::new(Warped(*k, self.warp))) as &'static dyn AnyKind).collect()
    }

    fn apply(&self, lab: &Lab, set: &DesiredSet, settings: &Settings) -> Result<(), String> {
        let api = Twisted(lab.sim.api(), self.twist);
        match lab.try_apply(&api, &self.kinds(), set, settings) {
            Ok(report) if report.converged() => Ok(()),
            Ok(report) => Err(format!("not converged: {}", open(&report))),
            Err(halt) => Err(format!("halted: {}", stopped(&halt))),
        }
    }
}

/// The end of a life: nothing of it is left.
fn leave(subject: &Subject, lab: &Lab, life: &Life) -> Result<(), String> {
    // What is pruned goes first: it may hold what goes by its manifest.
    subject.apply(lab, &nothing(), &prune())?;
    let last = subject.set(life.states.last().expect("a life has a state"));
    by_manifest(&last).map_or(Ok(()), |settings| subject.apply(lab, &last, &settings))
}

type Law = fn(&Subject, &Life) -> Result<(), String>;

/// The law holds in every life.
#[track_caller]
fn holds(law: Law) {
    let breaches: Vec<String> =
        LIVES.iter().filter_map(|life| law(&REAL, life).err().map(|why| format!("{}: {why}", life.name))).collect();
    assert!(breaches.is_empty(), "{} breaches:\n{}", breaches.len(), breaches.join("\n\n"));
}

/// The law catches the mutant in some life.
#[track_caller]
fn catches(law: Law, mutant: Subject) {
    assert!(LIVES.iter().any(|life| law(&mutant, life).is_err()), "the law did not notice");
}

#[test]
fn every_kind_has_a_life() {
    let text: String = LIVES.iter().flat_map(|l| l.states).copied().collect();
    // Options that are always there have neither beginning nor end: what they do stands in `objects.rs`.
    for kind in KINDS.iter().filter(|k| k.name() != "FirewallOptions") {
        assert!(text.contains(&format!("kind: {}", kind.name())), "no life of {}", kind.name());
    }
}

// ---- converge --------------------------------------------------------------------------------------------------------

fn converge(subject: &Subject, life: &Life) -> Result<(), String> {
    let lab = Lab::homelab();
    let before = normal(&lab.world());
    for (number, state) in life.states.iter().enumerate() {
        let set = subject.set(state);
        subject.apply(&lab, &set, &prune()).map_err(|e| format!("state {number}: {e}"))?;
        let again = lab.preview(&set, &prune());
        if !again.is_empty() || again.deltas.iter().any(|d| !d.changes.is_empty()) {
            return Err(format!("state {number} is not quiet afterwards: {}", differences(&again)));
        }
    }
    leave(subject, &lab, life).map_err(|e| format!("end: {e}"))?;
    let after = normal(&lab.world());
    if before == after { Ok(()) } else { Err(format!("something is left: {}", delta(&before, &after))) }
}

#[test]
fn a_plan_that_was_done_is_empty() {
    holds(converge);
}

#[test]
fn mutant_writes_that_do_nothing() {
    fn liar<'a>(api: &'a SimApi, asked: Asked<'a>) -> BoxFuture<'a, Result<Value, PveError>> {
        match asked {
            Asked::Write(call) if call.method == Method::Put => Box::pin(async { Ok(Value::Null) }),
            Asked::Read(_) | Asked::Write(_) => honest(api, asked),
        }
    }
    catches(converge, Subject { twist: liar, ..REAL });
}

#[test]
fn mutant_a_restless_plan() {
    fn restless(_: &PlanContext<'_>, delta: &mut Delta) {
        if delta.action == Action::NoOp {
            delta.action = Action::Update;
            delta.steps.push(Step::new("look busy", Call::new(Method::Put, "/pools/nowhere"), Impact::None));
        }
    }
    catches(converge, Subject { warp: restless, ..REAL });
}

// ---- quiet -----------------------------------------------------------------------------------------------------------

fn quiet(subject: &Subject, life: &Life) -> Result<(), String> {
    let lab = Lab::homelab();
    for state in life.states {
        let set = subject.set(state);
        for moment in ["before", "after"] {
            let (log, world) = (lab.sim.request_log().len(), normal(&lab.world()));
            lab.preview_through(&Twisted(lab.sim.api(), subject.twist), &set, &prune());
            let writes = lab.writes_since(log);
            if !writes.is_empty() || world != normal(&lab.world()) {
                return Err(format!("a preview {moment} wrote: {writes:?} {}", delta(&world, &normal(&lab.world()))));
            }
            if moment == "before" {
                lab.apply(&set, &plain());
            }
        }
    }
    Ok(())
}

#[test]
fn a_preview_writes_nothing() {
    holds(quiet);
}

#[test]
fn mutant_reads_that_write() {
    fn nosy<'a>(api: &'a SimApi, asked: Asked<'a>) -> BoxFuture<'a, Result<Value, PveError>> {
        match asked {
            Asked::Read(query) if query.path == "/pools" => Box::pin(async move {
                let _ = api.send(&Call::new(Method::Put, "/pools/nowhere").with("comment", "I was here")).await;
                api.get(query).await
            }),
            Asked::Read(_) | Asked::Write(_) => honest(api, asked),
        }
    }
    catches(quiet, Subject { twist: nosy, ..REAL });
}

// ---- order-free ------------------------------------------------------------------------------------------------------

fn order_free(subject: &Subject, life: &Life) -> Result<(), String> {
    let lab = Lab::homelab();
    for state in life.states {
        let mut documents: Vec<&str> = state.split("\n---\n").collect();
        let plan = lab.preview(&subject.set(&documents.join("\n---\n")), &prune());
        for turn in 0..documents.len() {
            documents.rotate_left(1);
            if turn % 2 == 1 {
                documents.reverse();
            }
            let other = lab.preview(&subject.set(&documents.join("\n---\n")), &prune());
            if plan != other {
                return Err(format!("{}\nbecomes\n{}", differences(&plan), differences(&other)));
            }
        }
        lab.apply(&desired(state), &plain());
    }
    Ok(())
}

#[test]
fn the_order_of_documents_does_not_matter() {
    holds(order_free);
}

#[test]
fn mutant_a_plan_with_a_memory() {
    static PLANS: AtomicUsize = AtomicUsize::new(0);
    fn remembers(_: &PlanContext<'_>, delta: &mut Delta) {
        if let Some(step) = delta.steps.first_mut() {
            step.title += &PLANS.fetch_add(1, Ordering::Relaxed).to_string();
        }
    }
    catches(order_free, Subject { warp: remembers, ..REAL });
}

// ---- strangers -------------------------------------------------------------------------------------------------------

fn leaves_strangers(subject: &Subject, life: &Life) -> Result<(), String> {
    let lab = Lab::homelab();
    let before = strangers(&lab.world());
    for state in life.states {
        subject.apply(&lab, &subject.set(state), &prune())?;
    }
    leave(subject, &lab, life)?;
    let after = strangers(&lab.world());
    if before == after { Ok(()) } else { Err(delta(&before, &after)) }
}

#[test]
fn strangers_stay_as_they_are() {
    holds(leaves_strangers);
}

#[test]
fn mutant_a_plan_that_tidies_up_the_neighbour() {
    fn tidies(_: &PlanContext<'_>, delta: &mut Delta) {
        if delta.action == Action::Create && !delta.steps.is_empty() {
            let call = Call::new(Method::Put, "/nodes/pve2/qemu/8100/config").with("description", "tidy");
            delta.steps.push(Step::new("tidy up", call, Impact::None));
        }
    }
    catches(leaves_strangers, Subject { warp: tidies, ..REAL });
}

#[test]
fn a_number_that_a_stranger_has_is_refused() {
    let lab = Lab::homelab();
    let before = normal(&lab.world());
    for (kind, rest) in [
        ("VirtualMachine", "vmid: 8100"),
        ("Container", "vmid: 8200, from: {osTemplate: 'local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst'}"),
    ] {
        let set = desired(&format!(
            "{{apiVersion: pvectl/v1alpha1, kind: {kind}, metadata: {{name: thief}}, spec: {{{rest}, description: mine}}}}"
        ));
        let plan = lab.preview(&set, &prune());
        assert!(plan.deltas[0].problems[0].message.contains("does not own"), "{}", differences(&plan));
        assert!(lab.try_apply(&lab.sim.api(), &KINDS, &set, &prune()).is_err());
    }
    assert_eq!(before, normal(&lab.world()));
}

#[test]
fn another_sets_objects_are_strangers_too() {
    let lab = Lab::homelab();
    let yaml = LIVES[3].states[0];
    lab.apply(&bound(yaml, "theirs").1, &plain());
    let before = normal(&lab.world());
    lab.apply(&nothing(), &prune());
    assert_eq!(before, normal(&lab.world()), "pruning took what another set owns");
    let plan = lab.preview(&desired(yaml), &plain());
    let text = differences(&plan);
    assert!(text.contains("`theirs`"), "{text}");
    assert!(lab.try_apply(&lab.sim.api(), &KINDS, &desired(yaml), &prune()).is_err());
    assert_eq!(before, normal(&lab.world()));
}

// ---- only absence destroys -------------------------------------------------------------------------------------------

/// Whether a path is that of a line in a list which an object holds: a member of an address set, a rule.
fn is_held(path: &str) -> bool {
    let cluster = path.strip_prefix("/cluster/firewall/").is_some_and(|p| p.split('/').count() == 3);
    cluster || path.starts_with("/nodes/") && path.contains("/firewall/rules/")
}

/// Whether a request takes something away, other than from a list that an object holds.
fn is_loss(write: &str) -> bool {
    write.strip_prefix("DELETE ").is_some_and(|path| !is_held(path)) || write.ends_with("/status/stop")
}

fn only_absence_destroys(subject: &Subject, life: &Life) -> Result<(), String> {
    let lab = Lab::homelab();
    let mut volumes: BTreeSet<String> = BTreeSet::new();
    for state in life.states {
        let set = subject.set(state);
        // A version that was followed by another left the manifests, and goes where pruning is asked for (`sources.rs`).
        let settings = if state.contains("version: '") { plain() } else { prune() };
        let plan = lab.preview(&set, &settings);
        for step in plan.deltas.iter().flat_map(|d| &d.steps) {
            // What a list holds goes when it leaves the list: a member of an address set, a rule.
            let destroys = step.call.method == Method::Delete && !is_held(&step.call.path)
                || step.impact == Impact::DataLoss
                || step.call.path.ends_with("/status/stop");
            if destroys {
                return Err(format!("{} is planned though nothing left the manifests", step.call));
            }
        }
        let log = lab.sim.request_log().len();
        subject.apply(&lab, &set, &settings)?;
        let writes = lab.writes_since(log);
        let moves = writes.iter().filter(|w| w.ends_with("/move_disk") || w.ends_with("/move_volume")).count();
        let deleted: Vec<String> = writes.into_iter().filter(|w| is_loss(w)).collect();
        let now: BTreeSet<String> = lab.world().volumes.into_iter().map(|v| v.volid).collect();
        let lost: Vec<&String> = volumes.difference(&now).collect();
        // A disk that becomes the base of a template is renamed by PVE, within the run that made it.
        // One that moves to another storage has another name there, and is one as before.
        if !deleted.is_empty() || lost.len() > moves || now.len() < volumes.len() {
            return Err(format!("deleted {deleted:?}, lost {lost:?}"));
        }
        volumes = now;
    }
    Ok(())
}

#[test]
fn only_what_left_the_manifests_is_destroyed() {
    holds(only_absence_destroys);
}

#[test]
fn mutant_a_plan_that_makes_it_anew() {
    fn anew(cx: &PlanContext<'_>, delta: &mut Delta) {
        if let (Action::Update, Identity::Guest { guest, vmid, node }) = (delta.action, cx.identity) {
            let call = Call::new(Method::Delete, format!("/nodes/{node}/{guest}/{vmid}"));
            delta.steps.insert(0, Step::new("begin anew", call, Impact::None));
        }
    }
    catches(only_absence_destroys, Subject { warp: anew, ..REAL });
}

// ---- strict ----------------------------------------------------------------------------------------------------------

/// Every copy of a value with one unknown field in one of its objects; `options` takes any.
fn with_unknown(value: &Value, here: &str) -> Vec<(String, Value)> {
    let mut out = Vec::new();
    match value {
        Value::Object(map) => {
            let mut more = map.clone();
            more.insert("zzz".into(), json!(1));
            out.push((format!("{here}.zzz"), Value::Object(more)));
            for (key, inner) in map.iter().filter(|(k, _)| *k != "options") {
                for (place, changed) in with_unknown(inner, &format!("{here}.{key}")) {
                    let mut copy = map.clone();
                    copy.insert(key.clone(), changed);
                    out.push((place, Value::Object(copy)));
                }
            }
        }
        Value::Array(items) => {
            for (i, inner) in items.iter().enumerate() {
                for (place, changed) in with_unknown(inner, &format!("{here}[{i}]")) {
                    let mut copy = items.clone();
                    copy[i] = changed;
                    out.push((place, Value::Array(copy)));
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    out
}

/// Places where an unknown field is taken without a word.
fn lax(kind: &dyn AnyKind, spec: &Value) -> Vec<String> {
    with_unknown(spec, "spec")
        .into_iter()
        .filter(|(_, changed)| kind.parse(changed).is_ok())
        .map(|(place, _)| place)
        .collect()
}

#[test]
fn an_unknown_field_is_refused() {
    let (mut tried, mut taken) = (0, Vec::new());
    for state in LIVES.iter().flat_map(|l| l.states) {
        let (loaded, _) = bound(state, "lab");
        for document in &loaded.documents {
            let name = document.kind.0.as_str();
            let spec = document.spec.to_json();
            // A profile has no object of its own, and so is none of the kinds.
            if let Some(kind) = KINDS.into_iter().find(|k| k.name() == name) {
                taken.extend(lax(kind, &spec).into_iter().map(|place| format!("{name}: {place}")));
            }
            // Labels are any words.
            let places = with_unknown(&spec, "spec").into_iter().filter(|(place, _)| !place.ends_with("labels.zzz"));
            for (place, changed) in places {
                tried += 1;
                let text =
                    json!({"apiVersion": "pvectl/v1alpha1", "kind": name, "metadata": {"name": "x"}, "spec": changed})
                        .to_string();
                let (loaded, set) = bound(&text, "lab");
                let says = loaded.diagnostics.iter().any(|d| d.message.contains("zzz"));
                if !has_errors(&loaded.diagnostics) || !says || !set.resources.is_empty() {
                    taken.push(format!("{name} (whole manifest): {place}"));
                }
            }
        }
    }
    assert!(tried > 60, "only {tried} places were tried");
    assert!(taken.is_empty(), "{}", taken.join("\n"));
}

#[test]
fn mutant_a_kind_that_looks_away() {
    struct Lenient(&'static dyn AnyKind);
    impl AnyKind for Lenient {
        fn name(&self) -> &'static str {
            self.0.name()
        }
        fn schema(&self) -> Value {
            self.0.schema()
        }
        fn parse(&self, spec: &Value) -> Result<AnySpec, (String, String)> {
            let mut spec = spec.clone();
            if let Some(map) = spec.as_object_mut() {
                map.remove("zzz");
            }
            self.0.parse(&spec)
        }
        fn refs(&self, spec: &AnySpec) -> Vec<Reference> {
            self.0.refs(spec)
        }
        fn claim(&self, name: &str, spec: &AnySpec) -> Claim {
            self.0.claim(name, spec)
        }
        fn lists(&self) -> Vec<Query> {
            self.0.lists()
        }
        fn marks(&self) -> bool {
            self.0.marks()
        }
        fn reads(&self, identity: &Identity, spec: Option<&AnySpec>, index: &Index) -> Vec<Query> {
            self.0.reads(identity, spec, index)
        }
        fn names(&self, spec: &AnySpec) -> Vec<String> {
            self.0.names(spec)
        }
        fn files(&self, spec: &AnySpec) -> Vec<String> {
            self.0.files(spec)
        }
        fn is_native(&self, identity: &Identity, seen: &Observation) -> bool {
            self.0.is_native(identity, seen)
        }
        fn list(&self, seen: &Observation) -> Vec<Listed> {
            self.0.list(seen)
        }
        fn columns(&self, listed: &Listed, seen: &Observation) -> Vec<(&'static str, String)> {
            self.0.columns(listed, seen)
        }
        fn plan(
            &self,
            cx: &PlanContext<'_>,
            desired: Option<&AnySpec>,
        ) -> Result<(Delta, Option<Marker>), DecodeError> {
            self.0.plan(cx, desired)
        }
        fn export(&self, identity: &Identity, seen: &Observation) -> Result<Option<Value>, DecodeError> {
            self.0.export(identity, seen)
        }
    }
    assert_eq!(lax(&Lenient(KINDS[0]), &json!({"comment": "x"})), ["spec.zzz"]);
}

// ---- crash-safe ------------------------------------------------------------------------------------------------------

/// Stops before the n-th write of every state, as a killed process does, and runs again.
fn crash_safe(subject: &Subject, life: &Life) -> Result<(), String> {
    let through = Lab::homelab();
    for (number, state) in life.states.iter().enumerate() {
        let start = through.world();
        through.apply(&desired(state), &prune());
        let wanted = normal(&through.world());
        for n in 0..200 {
            let lab = Lab::of(start.clone());
            let set = subject.set(state);
            let Some(_) =
                crate::faults::crash(&lab, &subject.kinds(), &set, &prune(), n, crate::faults::Cut::After, true)
            else {
                break;
            };
            lab.sim.finish_tasks();
            let again = subject.apply(&lab, &set, &prune());
            let again = again.or_else(|e| if lab.obeys(&e) { subject.apply(&lab, &set, &prune()) } else { Err(e) });
            again.map_err(|e| format!("state {number}, stopped after write {n}: {e}"))?;
            let world = lab.world();
            let (after, left) = (normal(&world), orphans(&world));
            if wanted != after || !left.is_empty() {
                return Err(format!("state {number}, stopped after write {n}: {left:?} {}", delta(&wanted, &after)));
            }
        }
    }
    Ok(())
}

#[test]
fn a_run_that_was_killed_is_finished_by_the_next() {
    holds(crash_safe);
}

#[test]
fn mutant_a_marker_that_comes_later() {
    fn later(_: &PlanContext<'_>, delta: &mut Delta) {
        if delta.action == Action::Create {
            for step in &mut delta.steps {
                step.call.params.retain(|(k, _)| k != "description");
            }
        }
    }
    catches(crash_safe, Subject { warp: later, ..REAL });
}

// ---- lost reply ------------------------------------------------------------------------------------------------------

struct Ledger<'a> {
    api: &'a dyn Api,
    sent: Mutex<Vec<(Call, bool)>>,
}

impl Api for Ledger<'_> {
    fn get<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Value, PveError>> {
        self.api.get(query)
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Value, PveError>> {
        Box::pin(async move {
            let answer = self.api.send(call).await;
            let lost = matches!(answer, Err(PveError::Lost { .. }));
            self.sent.lock().expect("nobody panics with it").push((call.clone(), lost));
            answer
        })
    }
}

fn lost_reply(subject: &Subject, life: &Life) -> Result<(), String> {
    let through = Lab::homelab();
    for (number, state) in life.states.iter().enumerate() {
        let start = through.world();
        let log = through.sim.request_log().len();
        through.apply(&desired(state), &prune());
        let wanted = normal(&through.world());
        let writes = through.writes_since(log).len();
        for n in 0..writes {
            let lab = Lab::of(start.clone());
            let outer = Twisted(lab.sim.api(), subject.twist);
            let nth = NthWriteLost { api: &outer, left: AtomicUsize::new(n + 1), lab: &lab };
            let ledger = Ledger { api: &nth, sent: Mutex::default() };
            let set = subject.set(state);
            let before = lab.sim.request_log().len();
            let report = lab
                .try_apply(&ledger, &subject.kinds(), &set, &prune())
                .map_err(|h| format!("state {number}, write {n}: {}", stopped(&h)))?;
            let obeyed = lab.obeys(&open(&report));
            if !obeyed && !report.converged() {
                return Err(format!("state {number}, the answer to write {n} lost: {}", open(&report)));
            }
            let sent = ledger.sent.into_inner().expect("nobody panics with it");
            let lost = sent
                .iter()
                .position(|(_, lost)| *lost)
                .ok_or_else(|| format!("state {number}: write {n} was not met"))?;
            let call = &sent[lost].0;
            let seen = lab.writes_since(before).into_iter().filter(|w| *w == call.to_string()).count();
            let told = sent.iter().filter(|(c, _)| c.to_string() == call.to_string()).count();
            if told < seen {
                return Err(format!(
                    "state {number}: {call} reached the cluster {seen} times and was sent {told} times"
                ));
            }
            if sent.iter().skip(lost + 1).any(|(c, _)| c == call) {
                return Err(format!(
                    "state {number}: {call} had its effect, its answer was lost, and it was sent again"
                ));
            }
            if obeyed {
                subject.apply(&lab, &set, &prune()).map_err(|e| format!("state {number}, write {n}, obeyed: {e}"))?;
            }
            let after = normal(&lab.world());
            if wanted != after {
                return Err(format!(
                    "state {number}, the answer to write {n} ({call}) lost: {}",
                    delta(&wanted, &after)
                ));
            }
        }
    }
    Ok(())
}

/// Loses the answer to the n-th write, counted from 1.
struct NthWriteLost<'l> {
    api: &'l dyn Api,
    left: AtomicUsize,
    lab: &'l Lab,
}

impl Api for NthWriteLost<'_> {
    fn get<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Value, PveError>> {
        self.api.get(query)
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Value, PveError>> {
        if self.left.load(Ordering::Relaxed) > 0 && self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.lab.sim.inject(Fault::at(0, FaultKind::DropAfter));
        }
        self.api.send(call)
    }
}

#[test]
fn a_write_whose_answer_was_lost_is_not_sent_again() {
    holds(lost_reply);
}

#[test]
fn mutant_an_api_that_tries_again() {
    fn stubborn<'a>(api: &'a SimApi, asked: Asked<'a>) -> BoxFuture<'a, Result<Value, PveError>> {
        match asked {
            Asked::Write(call) => Box::pin(async move {
                match api.send(call).await {
                    Err(PveError::Lost { .. }) => {
                        let _ = api.send(call).await;
                        Err(PveError::Lost { request: call.to_string(), cause: "twice".into() })
                    }
                    answer => answer,
                }
            }),
            Asked::Read(_) => honest(api, asked),
        }
    }
    catches(lost_reply, Subject { twist: stubborn, ..REAL });
}

// ---- import round trip -----------------------------------------------------------------------------------------------

/// Exports everything on the cluster as manifests and compares them with it.
pub(crate) fn round_trip(lab: &Lab, bend: fn(&mut Value)) -> Result<usize, String> {
    let clock = lab.sim.clock();
    let api = lab.sim.api();
    let mut manifests = Vec::new();
    for kind in KINDS {
        let seen = run(async {
            let index = pvectl::engine::observe::index(&api, &clock, &kind.lists().into_iter().collect())
                .await
                .expect("readable");
            let bare = Observation::new(index.clone());
            let reads = kind.list(&bare).iter().flat_map(|l| kind.reads(&l.identity, None, &index)).collect();
            pvectl::engine::observe::read_all(&api, &clock, index, reads).await.expect("readable")
        });
        for listed in kind.list(&seen) {
            let mut spec =
                kind.export(&listed.identity, &seen).map_err(|e| e.message)?.ok_or("listed, but not there")?;
            bend(&mut spec);
            manifests.push(json!({"apiVersion": "pvectl/v1alpha1", "kind": kind.name(), "metadata": {"name": listed.label()}, "spec": spec}).to_string());
        }
    }
    let (loaded, set) = bound(&manifests.join("\n---\n"), "imported");
    if !loaded.diagnostics.is_empty() {
        let texts: Vec<String> =
            loaded.diagnostics.iter().map(|d| pvectl::base::diagnostic::render(d, &loaded.sources, false)).collect();
        return Err(format!("an export is no manifest:\n{}", texts.join("\n")));
    }
    let adopt: BTreeSet<ResourceRef> = set.resources.keys().cloned().collect();
    let plan = lab.preview(&set, &Settings { adopt, ..plain() });
    let changed =
        plan.deltas.iter().any(|d| !d.changes.is_empty() || !d.problems.is_empty() || d.action == Action::Create);
    if changed { Err(differences(&plan)) } else { Ok(plan.deltas.len()) }
}

/// Everything as if it had been made by hand: no markers.
pub(crate) fn without_markers(lab: &Lab) {
    lab.sim.with_world(|world| {
        for guest in world.guests.values_mut() {
            if let Some(notes) = guest.config.get_mut("description") {
                *notes = Marker::split(notes).0;
            }
        }
        for pool in world.pools.values_mut() {
            pool.comment = pool.comment.take().map(|c| Marker::split(&c).0);
        }
        for group in world.groups.values_mut() {
            group.comment = group.comment.take().map(|c| Marker::split(&c).0);
        }
        for user in world.users.values_mut() {
            for token in user.tokens.values_mut() {
                token.comment = token.comment.take().map(|c| Marker::split(&c).0).filter(|c| !c.is_empty());
            }
            user.config.entry("comment".into()).and_modify(|c| *c = Marker::split(c).0);
        }
        for unit in world.table("nodes/units").values_mut() {
            let text = unit["text"].as_str().unwrap_or_default();
            let plain: String = text.lines().filter(|l| !l.contains("pvectl")).map(|l| format!("{l}\n")).collect();
            unit["text"] = plain.into();
            unit["comment"] = Value::Null;
        }
        for entry in world.tables.values_mut().flat_map(|table| table.values_mut()) {
            unmark(entry);
        }
    });
}

/// The same for an object of a table, however deep its comment stands.
fn unmark(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map.iter_mut() {
                match inner.as_str().filter(|_| key == "comment").map(Marker::split) {
                    Some((text, Some(_))) => *inner = text.into(),
                    Some((_, None)) | None => unmark(inner),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(unmark),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn what_is_exported_is_what_is_there() {
    let mut breaches = Vec::new();
    for life in LIVES {
        let lab = Lab::homelab();
        for (number, state) in life.states.iter().enumerate() {
            lab.apply(&desired(state), &prune());
            let copy = Lab::of(lab.world());
            without_markers(&copy);
            match round_trip(&copy, |_| {}) {
                Ok(found) => assert!(found >= 3, "only {found} objects"),
                Err(why) => breaches.push(format!("{} state {number}: {why}", life.name)),
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n\n"));
}

#[test]
fn mutant_an_export_that_rounds() {
    let lab = Lab::homelab();
    let bent = round_trip(&lab, |spec| {
        if let Some(memory) = spec.pointer_mut("/hardware/memory") {
            *memory = json!("3Gi");
        }
    });
    assert!(bent.is_err(), "the law did not notice");
}
