//! Objects of the datacenter: what no life can show. Whose they are, what is refused before anything is sent, options that
//! are always there, what others do meanwhile, and how little is asked.

use crate::world::{ALL, Lab, desired, differences, nothing, open, plain, prune, run};
use futures::future::BoxFuture;
use pvectl::engine::reconcile::{Cluster, reconcile};
use pvectl::kinds::list::KINDS;
use pvectl::plan::assemble::Settings;
use pvectl::pve::api::Api;
use pvectl::pve::error::PveError;
use pvectl::pve::request::{Call, Method, Query};
use pvectl::report::event::Nobody;
use pvectl::resource::reference::ResourceRef;
use pvectl::secret_files::Folder;
use pvectl::sim::SimApi;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

/// Options of every scope, for those who look at requests; they cannot be taken back, and so are no life of the corpus.
pub(crate) const OPTIONS: &[&str] = &[r"
{apiVersion: pvectl/v1alpha1, kind: FirewallOptions, metadata: {name: all, annotations: {pvectl/allow-lockout: 'true'}}, spec: {cluster: true, enable: true, policyIn: DROP, policyOut: ACCEPT, policyForward: ACCEPT, ebtables: true, logRatelimit: 'enable=1,rate=1/second'}}
---
{apiVersion: pvectl/v1alpha1, kind: FirewallOptions, metadata: {name: first}, spec: {node: pve1, enable: true, logLevelIn: info, logLevelOut: nolog, ndp: true, nftables: false}}
---
{apiVersion: pvectl/v1alpha1, kind: FirewallOptions, metadata: {name: dns}, spec: {vmid: 8200, enable: true, dhcp: true, ipfilter: true, macfilter: true, ndp: false, radv: false, policyIn: REJECT}}
---
{apiVersion: pvectl/v1alpha1, kind: FirewallOptions, metadata: {name: wall}, spec: {vmid: 8100, enable: false}}
"];

/// A manifest in one line.
pub(crate) fn one(kind: &str, name: &str, spec: &str) -> String {
    annotated(kind, name, "{}", spec)
}

pub(crate) fn annotated(kind: &str, name: &str, annotations: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: pvectl/v1alpha1, kind: {kind}, metadata: {{name: {name}, annotations: {annotations}}}, spec: {{{spec}}}}}"
    )
}

pub(crate) const TAKE_OVER: &str = "{pvectl/take-over: 'true'}";

/// A request by hand, past pvectl.
#[track_caller]
pub(crate) fn by_hand(lab: &Lab, method: Method, path: &str, params: &[(&str, &str)]) {
    let call = params.iter().fold(Call::new(method, path), |call, (k, v)| call.with(k, v));
    run(lab.sim.api().send(&call)).expect("the simulator takes it");
}

pub(crate) fn read(lab: &Lab, path: &str) -> Value {
    run(lab.sim.api().get(&Query::new(path))).expect("it can be read")
}

/// What stands against a plan, in one text.
#[track_caller]
pub(crate) fn refused(lab: &Lab, yaml: &str) -> String {
    let set = desired(yaml);
    let log = lab.sim.request_log().len();
    assert!(lab.try_apply(&lab.sim.api(), &KINDS, &set, &plain()).is_err(), "it was not refused");
    assert_eq!(lab.writes_since(log), Vec::<String>::new(), "something was sent");
    let plan = lab.preview(&set, &plain());
    let problems = plan.deltas.iter().flat_map(|d| &d.problems);
    problems
        .map(|p| format!("{}: {} ({})", p.path.join("."), p.message, p.help.clone().unwrap_or_default()))
        .collect::<Vec<_>>()
        .join("\n")
}

fn adopting(yaml: &str) -> Settings {
    Settings { adopt: desired(yaml).resources.keys().cloned().collect(), ..plain() }
}

// ---- whose it is -----------------------------------------------------------------------------------------------------

#[test]
fn what_is_not_ours_is_refused_and_can_be_taken_over() {
    let lab = Lab::homelab();
    by_hand(&lab, Method::Post, "/cluster/firewall/ipset", &[("name", "admins"), ("comment", "by hand")]);
    by_hand(&lab, Method::Post, "/cluster/firewall/ipset/admins", &[("cidr", "10.1.0.0/24")]);
    let yaml = one("IpSet", "admins", "members: [{cidr: 10.2.0.0/24}]");
    let why = refused(&lab, &yaml);
    assert!(why.contains("does not own") && why.contains("pvectl adopt IpSet/admins"), "{why}");
    lab.apply(&desired(&yaml), &adopting(&yaml));
    assert_eq!(read(&lab, "/cluster/firewall/ipset/admins")[0]["cidr"], "10.2.0.0/24");
    let comment = read(&lab, "/cluster/firewall/ipset")[0]["comment"].as_str().map(str::to_owned).unwrap_or_default();
    assert!(comment.starts_with("by hand <!-- pvectl ") && !comment.contains('\n'), "{comment}");
    lab.apply(&nothing(), &prune());
    assert_eq!(read(&lab, "/cluster/firewall/ipset"), json!([]));
}

#[test]
fn what_cannot_carry_a_marker_is_left_alone_until_somebody_says_so() {
    let lab = Lab::homelab();
    by_hand(&lab, Method::Post, "/access/roles", &[("roleid", "ops"), ("privs", "VM.Audit")]);
    let same = one("Role", "ops", "privs: [VM.Audit]");
    assert!(lab.preview(&desired(&same), &plain()).is_empty(), "what is as it shall be needs no owner");
    let yaml = one("Role", "ops", "privs: [VM.Audit, VM.PowerMgmt]");
    let why = refused(&lab, &yaml);
    for words in ["is there and differs: privs is `VM.Audit`", "pvectl adopt Role/ops", "pvectl/take-over"] {
        assert!(why.contains(words), "{why}");
    }
    lab.apply(&desired(&yaml), &adopting(&yaml));
    lab.apply(&desired(&annotated("Role", "ops", TAKE_OVER, "privs: [VM.Backup]")), &plain());
    // It is nobody's, so that it is never pruned; its manifest deletes it.
    lab.apply(&nothing(), &prune());
    let roles = |lab: &Lab| read(lab, "/access/roles").to_string();
    assert!(roles(&lab).contains("\"ops\""));
    let resource = BTreeSet::from([ResourceRef::new("Role", "ops")]);
    lab.apply(&desired(&yaml), &Settings { delete: resource.clone(), only: Some(resource), ..plain() });
    assert!(!roles(&lab).contains("\"ops\""));
}

#[test]
fn two_manifests_of_one_object_are_refused() {
    let yaml = [one("IpSet", "a", "id: admins, members: []"), one("IpSet", "admins", "members: []")].join("\n---\n");
    let why = refused(&Lab::homelab(), &yaml);
    assert!(why.contains("ipset/admins is IpSet/a already"), "{why}");
}

#[test]
fn what_is_proxmoxs_own_stays() {
    let lab = Lab::homelab();
    let yaml = annotated("Role", "admin", TAKE_OVER, "id: PVEAdmin, privs: [VM.Audit]");
    assert!(refused(&lab, &yaml).contains("is PVE's own, and cannot be changed"));
    for (kind, spec) in [("Role", "id: PVEAdmin, privs: []"), ("User", "id: root@pam")] {
        let set = desired(&one(kind, "own", spec));
        let adopt = set.resources.keys().cloned().collect();
        if kind == "User" {
            lab.apply(&set, &Settings { adopt, ..plain() });
        }
        let doomed: BTreeSet<ResourceRef> = set.resources.keys().cloned().collect();
        let plan = lab.preview(&set, &Settings { delete: doomed.clone(), only: Some(doomed), ..plain() });
        assert!(differences(&plan).contains("cannot be deleted"), "{}", differences(&plan));
    }
}

// ---- what is refused -------------------------------------------------------------------------------------------------

#[test]
fn all_that_stands_against_objects_is_said_before_anything_is_sent() {
    for (kind, spec, words) in [
        ("IpSet", "id: Admins, members: []", "no name for PVE's firewall"),
        ("IpSet", "members: [{cidr: 10.0.0.1/24}, {cidr: 10.0.0.0/24}]", "`10.0.0.0/24` is there twice"),
        ("IpSet", "comment: \"a\\nb\", members: []", "has one line"),
        ("FirewallAlias", "cidr: 300.1.1.1", "no address and no network"),
        ("SecurityGroup", "id: a-group-with-a-name-too-long, rules: []", "2 to 18"),
        ("SecurityGroup", "rules: [{type: in, action: ACCEPT, dport: '22'}]", "names ports and no protocol"),
        ("SecurityGroup", "rules: [{type: in, action: ACCEPT, proto: tcp, macro: SSH}]", "a macro and a protocol"),
        ("SecurityGroup", "rules: [{type: in, action: ACCEPT, proto: tcp, icmpType: any}]", "another protocol"),
        ("SecurityGroup", "rules: [{type: in, action: ACCEPT, source: +nobody}]", "there is no IpSet `nobody`"),
        ("SecurityGroup", "rules: [{type: in, action: ACCEPT, dest: nowhere}]", "there is no FirewallAlias `nowhere`"),
        ("Role", "id: PVEMine, privs: []", "begins with PVE"),
        ("Group", "id: 'a b'", "no id for PVE"),
        ("User", "id: ops", "no user of PVE"),
        ("User", "id: ops@pve, expire: tomorrow", "no moment"),
        ("User", "id: ops@pve, groups: [nobody]", "there is no Group `nobody`"),
        ("User", "id: root@pam, enable: false", "would be shut out"),
        ("AclEntry", "path: /, role: PVEAdmin", "names 0 of user, group and token"),
        ("AclEntry", "path: /, role: PVEAdmin, user: root@pam, group: x", "names 2 of"),
        ("AclEntry", "path: vms, role: PVEAdmin, user: root@pam", "is no path"),
        ("AclEntry", "path: /, role: Nope, user: root@pam", "there is no Role `Nope`"),
        ("AclEntry", "path: /, role: PVEAdmin, user: nobody@pve", "there is no User `nobody@pve`"),
        ("AclEntry", "path: /, role: PVEAdmin, token: 'nobody@pve!x'", "there is no token `nobody@pve!x`"),
        ("Storage", "id: 1x, type: dir, path: /srv", "no id for PVE"),
        ("Storage", "type: dir, path: /srv, options: {password: secret}", "a manifest holds none"),
        ("Storage", "type: dir, path: /srv, options: {content: iso}", "has a field of its own"),
        ("Storage", "type: dir, path: /srv, options: {digest: x}", "it steers a request"),
        ("Storage", "type: nfs, server: 10.0.0.2", "a storage of type `nfs` needs `export`"),
        ("Storage", "id: local, type: nfs", "differs: type is `dir`"),
        ("BackupJob", "schedule: daily, storage: local", "names its guests in 0 ways"),
        ("BackupJob", "schedule: daily, all: true, vmids: [100]", "names its guests in 2 ways"),
        ("BackupJob", "schedule: daily, vmids: []", "takes no guest"),
        ("BackupJob", "schedule: daily, all: true, storage: nope", "there is no Storage `nope`"),
        ("BackupJob", "schedule: daily, pool: nope", "there is no pool `nope`"),
        ("BackupJob", "schedule: daily, all: true, options: {vmid: '100'}", "has a field of its own"),
        ("SdnZone", "id: far-away, type: simple", "`far-away` is no id of a network"),
        ("SdnZone", "id: z1, type: vlan", "a zone of type `vlan` needs `bridge`"),
        ("SdnZone", "id: z1, type: evpn, controller: c", "a zone of type `evpn` needs `vrfVxlan`"),
        ("SdnZone", "id: z1, type: simple, options: {lock-token: x}", "it steers a request"),
        ("SdnZone", "id: z1, type: simple, options: {mtu: 1400}", "has a field of its own"),
        ("SdnZone", "id: z1, type: vxlan, peers: [pve1]", "`pve1` is no address"),
        ("SdnSubnet", "vnet: nope, cidr: 10.0.0.0/8", "there is no SdnVnet `nope`"),
        ("SdnSubnet", "vnet: nope, cidr: 10.0.0.1/8", "`10.0.0.1/8` is no network"),
        ("SdnSubnet", "vnet: nope, cidr: 10.0.0.0/8, gateway: 11.0.0.1", "`11.0.0.1` is not in 10.0.0.0/8"),
        (
            "SdnSubnet",
            "vnet: nope, cidr: 10.0.0.0/8, dhcpRanges: [{startAddress: 10.0.0.9, endAddress: 11.0.0.1}]",
            "`11.0.0.1` is not in 10.0.0.0/8",
        ),
        (
            "SdnSubnet",
            "vnet: nope, cidr: 10.0.0.0/8, dhcpRanges: [{startAddress: 10.0.0.9, endAddress: 10.0.0.8}]",
            "10.0.0.9 comes after 10.0.0.8",
        ),
        (
            "SdnSubnet",
            "vnet: nope, cidr: 10.0.0.0/8, dhcpRanges: [{startAddress: 10.0.0.1, endAddress: 10.0.0.8}, {startAddress: 10.0.0.8, endAddress: 10.0.0.9}]",
            "10.0.0.8 to 10.0.0.9 overlaps with 10.0.0.1 to 10.0.0.8",
        ),
        ("SdnVnet", "id: v1, zone: nope", "there is no SdnZone `nope`"),
        ("SdnVnet", "id: v1, zone: nope, alias: 'a & b'", "PVE does not take this `alias`"),
        ("FirewallOptions", "enable: false", "does not say whose firewall"),
        ("FirewallOptions", "cluster: true, node: pve1", "does not say whose firewall"),
        ("FirewallOptions", "cluster: true, macfilter: true", "the datacenter has no `macfilter`"),
        ("FirewallOptions", "node: pve9, enable: true", "there is no node `pve9`"),
        ("FirewallOptions", "vmid: 4711, enable: true", "there is no guest 4711"),
        ("FirewallOptions", "cluster: true, enable: true", "pvectl/allow-lockout"),
    ] {
        let why = refused(&Lab::homelab(), &one(kind, "thing", spec));
        assert!(why.contains(words), "{kind} {spec}: {why}");
    }
}

#[test]
fn a_comment_longer_than_pve_takes_is_refused() {
    let why = refused(
        &Lab::homelab(),
        &one("BackupJob", "job", &format!("schedule: daily, all: true, comment: {}", "x".repeat(500))),
    );
    assert!(why.contains("PVE takes 512 at most"), "{why}");
}

#[test]
fn what_is_settled_at_the_beginning_cannot_change() {
    let lab = Lab::homelab();
    lab.apply(&desired(&one("Storage", "vault", "type: nfs, server: 10.0.0.2, export: /vault")), &plain());
    let why = refused(&lab, &annotated("Storage", "vault", TAKE_OVER, "type: nfs, export: /other, server: 10.0.0.3"));
    assert!(why.contains("`export` of storage `vault` is `/vault`, and cannot be changed"), "{why}");
    assert!(!why.contains("server"), "{why}");
}

#[test]
fn a_token_that_may_not_look_is_told_which_privilege_it_needs() {
    let lab = Lab::homelab();
    let api = lab.sim.api_as("limited@pve!ro");
    let set = desired(&one("FirewallAlias", "office", "cidr: 10.0.0.0/8"));
    let plan = lab.preview_through(&api, &set, &Settings::default());
    let text = differences(&plan);
    assert!(text.contains("Sys.Modify on / is missing") || text.contains("could not be read"), "{text}");
    assert!(lab.try_apply(&api, &KINDS, &set, &Settings::default()).is_err());
}

// ---- options that are always there -----------------------------------------------------------------------------------

#[test]
fn options_of_the_firewall_are_set_where_nobody_set_them() {
    let lab = Lab::homelab();
    let yaml = [
        one("FirewallOptions", "all", "cluster: true, policyIn: DROP, logRatelimit: 'enable=1,rate=1/second'"),
        one("FirewallOptions", "first", "node: pve1, enable: true, logLevelIn: info"),
        one("FirewallOptions", "dns", "vmid: 8200, enable: true, dhcp: true, policyIn: DROP"),
    ]
    .join("\n---\n");
    let set = desired(&yaml);
    lab.apply(&set, &plain());
    assert_eq!(read(&lab, "/cluster/firewall/options")["policy_in"], "DROP");
    assert_eq!(read(&lab, "/nodes/pve3/lxc/8200/firewall/options")["dhcp"], 1);
    assert!(lab.preview(&set, &plain()).is_empty());
    // What somebody set to another value is theirs.
    by_hand(&lab, Method::Put, "/cluster/firewall/options", &[("policy_in", "REJECT")]);
    let why = refused(&lab, &yaml);
    assert!(why.contains("differs: policyIn is `REJECT`") && why.contains("pvectl adopt FirewallOptions/all"), "{why}");
    let taken = yaml.replace("name: all, annotations: {}", &format!("name: all, annotations: {TAKE_OVER}"));
    lab.apply(&desired(&taken), &plain());
    assert_eq!(read(&lab, "/cluster/firewall/options")["policy_in"], "DROP");
    // They are never deleted, nor pruned.
    let before = lab.world();
    lab.apply(&nothing(), &prune());
    assert_eq!(crate::world::normal(&before), crate::world::normal(&lab.world()));
    let doomed: BTreeSet<ResourceRef> = set.resources.keys().cloned().collect();
    let plan = lab.preview(&set, &Settings { delete: doomed.clone(), only: Some(doomed), ..plain() });
    assert!(differences(&plan).contains("cannot be deleted"), "{}", differences(&plan));
}

#[test]
fn the_datacenters_firewall_is_switched_on_by_those_who_say_so() {
    let lab = Lab::homelab();
    let yaml = annotated("FirewallOptions", "all", "{pvectl/allow-lockout: 'true'}", "cluster: true, enable: true");
    lab.apply(&desired(&yaml), &plain());
    assert_eq!(read(&lab, "/cluster/firewall/options")["enable"], 1);
    // Once it is on, nothing has to be said again.
    assert!(lab.preview(&desired(&one("FirewallOptions", "all", "cluster: true, enable: true")), &plain()).is_empty());
}

#[test]
fn options_of_a_guest_wait_until_it_is_there() {
    let lab = Lab::homelab();
    let yaml = [
        one("VirtualMachine", "web", "vmid: 120, node: pve1, description: x"),
        one("FirewallOptions", "web", "vmid: 120, enable: true, macfilter: true"),
    ]
    .join("\n---\n");
    let report = lab.apply(&desired(&yaml), &plain());
    assert!(report.converged(), "{}", open(&report));
    assert_eq!(read(&lab, "/nodes/pve1/qemu/120/firewall/options")["macfilter"], 1);
}

// ---- what others do meanwhile ----------------------------------------------------------------------------------------

/// Puts a rule of its own at the front, right before the second request that names a position.
struct Meddler<'a> {
    api: SimApi,
    lab: &'a Lab,
    done: AtomicBool,
}

impl Api for Meddler<'_> {
    fn get<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Value, PveError>> {
        self.api.get(query)
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Value, PveError>> {
        if call.method == Method::Delete && !self.done.swap(true, Ordering::Relaxed) {
            let rule = [("type", "in"), ("action", "DROP"), ("comment", "mine"), ("enable", "1")];
            by_hand(self.lab, Method::Post, "/cluster/firewall/groups/web", &rule);
        }
        self.api.send(call)
    }
}

#[test]
fn a_rule_that_somebody_adds_meanwhile_shifts_nothing() {
    let lab = Lab::homelab();
    let rules = |macros: &[&str]| {
        let list: Vec<String> = macros.iter().map(|m| format!("{{type: in, action: ACCEPT, macro: {m}}}")).collect();
        one("SecurityGroup", "web", &format!("rules: [{}]", list.join(", ")))
    };
    lab.apply(&desired(&rules(&["HTTP", "HTTPS", "SSH", "Ping"])), &plain());
    let meddler = Meddler { api: lab.sim.api(), lab: &lab, done: AtomicBool::new(false) };
    let set = desired(&rules(&["HTTPS", "Ping"]));
    let clock = lab.sim.clock();
    let names = lab.sim.names();
    let cluster = Cluster { api: &meddler, clock: &clock, kinds: &KINDS, names: &names, files: &Folder::new("") };
    let report = run(reconcile(&cluster, &set, &plain(), ALL, &Nobody, &|_| true)).expect("it runs");
    assert!(report.converged(), "{}", open(&report));
    let left = read(&lab, "/cluster/firewall/groups/web");
    let macros: Vec<&str> = left.as_array().into_iter().flatten().filter_map(|r| r["macro"].as_str()).collect();
    assert_eq!(macros, ["HTTPS", "Ping"], "{left}");
    assert!(meddler.done.load(Ordering::Relaxed));
}

// ---- how little is asked ---------------------------------------------------------------------------------------------

#[test]
fn a_list_is_asked_for_once_and_only_where_its_kind_is_spoken_of() {
    let lab = Lab::homelab();
    let aliases: Vec<String> =
        (1..=30).map(|n| one("FirewallAlias", &format!("a{n}"), &format!("cidr: 10.0.{n}.0/24"))).collect();
    let set = desired(&aliases.join("\n---\n"));
    lab.apply(&set, &plain());
    let asked = |set: &_| {
        let from = lab.sim.request_log().len();
        lab.preview(set, &plain());
        lab.sim.request_log().split_off(from)
    };
    let with = asked(&set);
    assert_eq!(with.iter().filter(|(_, path)| path.contains("firewall")).count(), 1, "{with:?}");
    let without = asked(&desired(&one("Pool", "p", "comment: x")));
    assert_eq!(
        without.iter().filter(|(_, path)| path.contains("firewall") || path.contains("/access/users")).count(),
        0
    );
    assert_eq!(with.len(), without.len() + 1);
    // Thirty at once do not get into each other's way.
    assert!(lab.preview(&set, &plain()).is_empty());
}

#[test]
fn a_set_that_names_a_kind_no_more_still_prunes_it() {
    let lab = Lab::homelab();
    let both = [one("Group", "ops", "comment: x"), one("Pool", "p", "comment: x")].join("\n---\n");
    lab.apply(&desired(&both), &plain());
    lab.apply(&desired(&one("Pool", "p", "comment: x")), &prune());
    assert_eq!(read(&lab, "/access/groups"), json!([]));
}

// ---- the program -----------------------------------------------------------------------------------------------------

#[test]
fn objects_are_shown_exported_and_deleted_by_name() {
    let scene = crate::cli::Scene::new();
    let file =
        scene.write("wall.yaml", &one("SecurityGroup", "web", "rules: [{type: in, action: ACCEPT, macro: HTTPS}]"));
    scene.run(&format!("--sim apply -f {file} --yes")).code(0);
    scene.run("--sim get securitygroups").code(0).says("web   default  web  1");
    let yaml = scene.run("--sim get securitygroup web -o yaml").code(0).says("macro: HTTPS").out;
    let copy = scene.write("copy.yaml", &yaml);
    scene.run(&format!("--sim diff -f {copy}")).code(0);
    scene.run("--sim describe securitygroup web").code(0).says("manifest set `default`");
    scene.run("--sim get aclentries").code(0).says("PATH");
    scene.run("--sim delete securitygroup web --yes").code(0).says("delete security group web");
    scene.run("--sim delete securitygroup web --yes").code(3).says("pvectl owns no SecurityGroup/web");
    scene.run("--sim get securitygroups").code(0).says("none");
}
