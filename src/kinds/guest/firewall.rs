//! The firewall of a guest: its options, and the security groups that its interfaces ask. PVE keeps them beside the guest's
//! configuration (`VMID.fw`), and reads and writes them by requests of their own.
//!
//! What guards comes first: groups before the policies that rely on them, both before the interface that they guard, and a
//! rule that goes after the policies. Rules that pvectl did not write stay where they are, before ours.

use crate::firewall::rule::Verdict;
use crate::kinds::firewall_rules::list::{List, Rule, normal};
use crate::kinds::firewall_rules::script::Edit;
use crate::kinds::guest::plan::base;
use crate::pve::request::{Call, Method, Query};
use crate::resource::index::{GuestRow, text};
use crate::resource::kind::PlanContext;
use crate::resource::merge::{Difference, Fields};
use crate::resource::observation::Observation;
use crate::resource::privilege::require;
use crate::resource::reference::{Reference, ResourceRef};
use crate::resource::step::{Delta, Impact, Limit, Note, Problem, Step};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::LazyLock;

/// The comment of our rules; by it they are known again.
pub const OURS: &str = "pvectl";

/// The firewall of a guest. It guards the interfaces with `firewall: true`, where that of the cluster is on.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GuestFirewall {
    /// Whether it is on.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// What becomes of packets to the guest that no rule decides.
    #[serde(default)]
    pub policy_in: Option<Policy>,
    /// And of those from it.
    #[serde(default)]
    pub policy_out: Option<Policy>,
    /// Only its own MAC address may send.
    #[serde(default)]
    pub mac_filter: Option<bool>,
    /// Only its own addresses may send.
    #[serde(default)]
    pub ip_filter: Option<bool>,
    /// DHCP passes before all rules.
    #[serde(default)]
    pub dhcp: Option<bool>,
    /// Neighbour discovery of IPv6 passes before all rules.
    #[serde(default)]
    pub ndp: Option<bool>,
    /// It may send router advertisements.
    #[serde(default)]
    pub radv: Option<bool>,
    /// The security groups that its interfaces ask, in order; an empty list takes out those that were set here.
    #[serde(default)]
    pub groups: Option<Vec<GroupUse>>,
}

/// What becomes of packets that no rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Policy {
    /// They pass.
    #[serde(rename = "ACCEPT")]
    Accept,
    /// They go, and nobody is told.
    #[serde(rename = "DROP")]
    Drop,
    /// They go, and the sender is told.
    #[serde(rename = "REJECT")]
    Reject,
}

/// A security group for an interface.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupUse {
    /// The security group, by its name on the cluster.
    pub group: String,
    /// The interface, such as `net0`; all of them when left out.
    #[serde(default)]
    #[schemars(regex(pattern = r"^net([0-9]|[12][0-9]|3[01])$"))]
    pub interface: Option<String>,
}

/// Fields, PVE's options, and what their absence means (`PVE::Firewall`).
const OPTIONS: [(&str, &str, &str); 8] = [
    ("firewall.enabled", "enable", "0"),
    ("firewall.policyIn", "policy_in", "DROP"),
    ("firewall.policyOut", "policy_out", "ACCEPT"),
    ("firewall.macFilter", "macfilter", "1"),
    ("firewall.ipFilter", "ipfilter", "0"),
    ("firewall.dhcp", "dhcp", "1"),
    ("firewall.ndp", "ndp", "1"),
    ("firewall.radv", "radv", "0"),
];
const GROUPS: &str = "firewall.groups";

/// A guest's firewall as it is.
#[derive(Debug, Clone)]
pub struct Seen {
    options: Value,
    rules: Value,
    /// Whether the firewall of the cluster is on; `None` where we may not know.
    cluster: Option<bool>,
}

/// Whether a path is one of this file.
pub fn is_field(path: &str) -> bool {
    path.starts_with("firewall.")
}

/// Collects the fields of a spec.
pub fn collect(fields: &mut Fields, firewall: Option<&GuestFirewall>) {
    let Some(firewall) = firewall else { return };
    let GuestFirewall { enabled, policy_in, policy_out, mac_filter, ip_filter, dhcp, ndp, radv, groups } = firewall;
    let policy = |p: &Option<Policy>| p.map(|p| verdict(p).as_str().to_owned());
    let flag = |on: &Option<bool>| on.map(|on| u8::from(on).to_string());
    let values = [
        flag(enabled),
        policy(policy_in),
        policy(policy_out),
        flag(mac_filter),
        flag(ip_filter),
        flag(dhcp),
        flag(ndp),
        flag(radv),
    ];
    for ((path, ..), value) in OPTIONS.iter().zip(values) {
        fields.extend(value.map(|value| ((*path).to_owned(), value)));
    }
    if let Some(groups) = groups {
        fields.insert(GROUPS.to_owned(), groups.iter().map(written).collect::<Vec<_>>().join(" "));
    }
}

fn verdict(policy: Policy) -> Verdict {
    match policy {
        Policy::Accept => Verdict::Accept,
        Policy::Drop => Verdict::Drop,
        Policy::Reject => Verdict::Reject,
    }
}

fn written(one: &GroupUse) -> String {
    one.interface.as_ref().map_or_else(|| one.group.clone(), |slot| format!("{}@{slot}", one.group))
}

/// The groups that a spec names.
pub fn refs(firewall: Option<&GuestFirewall>) -> Vec<Reference> {
    let groups = firewall.and_then(|f| f.groups.as_ref()).into_iter().flatten();
    groups
        .map(|g| Reference {
            to: ResourceRef::new("SecurityGroup", &g.group),
            path: vec!["firewall".into(), "groups".into()],
            or_on_cluster: true,
        })
        .collect()
}

/// The read that tells the options of a guest's firewall.
pub fn options_query(row: &GuestRow) -> Query {
    Query::new(format!("/nodes/{}/{}/{}/firewall/options", row.node, row.guest, row.vmid))
}

fn rules_query(row: &GuestRow) -> Query {
    Query::new(format!("/nodes/{}/{}/{}/firewall/rules", row.node, row.guest, row.vmid))
}

/// The read that tells whether the firewall of the cluster is on.
pub fn cluster_query() -> Query {
    Query::new("/cluster/firewall/options")
}

/// The read that lists the security groups.
pub fn groups_query() -> Query {
    Query::new("/cluster/firewall/groups")
}

/// What a plan reads of a guest whose manifest speaks of its firewall.
pub fn reads(row: Option<&GuestRow>, firewall: Option<&GuestFirewall>) -> Vec<Query> {
    let Some(row) = row.filter(|_| firewall.is_some()) else { return Vec::new() };
    vec![options_query(row), rules_query(row), cluster_query(), groups_query()]
}

/// The firewall of a guest, where it was read.
///
/// # Errors
/// PVE's words, where a read failed: nothing is planned on half of what there is.
pub fn observe(row: &GuestRow, seen: &Observation) -> Result<Option<Seen>, String> {
    // Asked wherever a manifest speaks of a guest's firewall; without it none was read, and there is nothing to look for.
    static CLUSTER: LazyLock<Query> = LazyLock::new(cluster_query);
    let Some(cluster) = seen.answer(&CLUSTER) else { return Ok(None) };
    let read = |query: Query| match seen.answer(&query) {
        None => Ok(None),
        Some(Ok(value)) => Ok(Some(Value::clone(value))),
        Some(Err(error)) => Err(error.to_string()),
    };
    let (Some(options), Some(rules)) = (read(options_query(row))?, read(rules_query(row))?) else { return Ok(None) };
    let cluster = cluster.as_ref().ok().map(|v| text(&v["enable"]).is_some_and(|t| t != "0"));
    Ok(Some(Seen { options, rules, cluster }))
}

impl Seen {
    /// What is there for a field.
    pub fn fact(&self, path: &str) -> Option<String> {
        if path == GROUPS {
            let ours = self.ours();
            return Some(ours.iter().map(named).collect::<Vec<_>>().join(" ")).filter(|t| !t.is_empty());
        }
        let (_, option, _) = OPTIONS.iter().find(|(p, ..)| *p == path)?;
        text(&self.options[*option])
    }

    fn ours(&self) -> Vec<Rule> {
        normal(&self.rules).into_iter().filter(is_ours).collect()
    }
}

fn is_ours(rule: &Rule) -> bool {
    rule.get("type").is_some_and(|t| t == "group") && rule.get("comment").is_some_and(|c| c == OURS)
}

/// A rule of ours as the field has it; one that was switched off by hand says so, and differs.
fn named(rule: &Rule) -> String {
    let word = |key: &str| rule.get(key).map_or("", String::as_str);
    let off = if word("enable") == "0" { "(off)" } else { "" };
    let slot = word("iface");
    let at = if slot.is_empty() { String::new() } else { format!("@{slot}") };
    format!("{}{at}{off}", word("action"))
}

fn made(name: &str) -> Rule {
    let (group, slot) = name.split_once('@').unwrap_or((name, ""));
    let mut rule = Rule::from([
        ("type", "group".to_owned()),
        ("action", group.to_owned()),
        ("enable", "1".to_owned()),
        ("comment", OURS.to_owned()),
    ]);
    if !slot.is_empty() {
        rule.insert("iface", slot.to_owned());
    }
    rule
}

/// What the absence of a field means.
pub fn default(path: &str) -> Option<String> {
    match OPTIONS.iter().find(|(p, ..)| *p == path) {
        Some((_, _, default)) => Some((*default).to_owned()),
        None => (path == GROUPS).then(String::new),
    }
}

/// What counts as applied once the configuration is written: fields that are still to be reset after it do, so that a run
/// which ends in between is finished by the next.
pub fn still_applied(want: &Fields, applied: &Fields, differences: &[Difference]) -> Fields {
    let mut out = want.clone();
    for difference in differences.iter().filter(|d| is_field(&d.path) && d.to.is_none()) {
        out.extend(applied.get(&difference.path).map(|value| (difference.path.clone(), value.clone())));
    }
    out
}

/// The steps before the guest's own configuration is written, and those after it.
pub fn steps(
    cx: &PlanContext<'_>,
    seen: Option<&Seen>,
    differences: &[Difference],
    delta: &mut Delta,
) -> (Vec<Step>, Vec<Step>) {
    let mine: Vec<&Difference> = differences.iter().filter(|d| is_field(&d.path)).collect();
    let (Some(seen), false) = (seen, mine.is_empty()) else { return (Vec::new(), Vec::new()) };
    let (guest, vmid, _, path) = base(cx.identity);
    require(cx, delta, &format!("/vms/{vmid}"), "VM.Config.Network");
    let mut write = Call::new(Method::Put, format!("{path}/firewall/options"));
    let mut gone = Vec::new();
    let mut opens = false;
    for difference in &mine {
        let Some((_, option, _)) = OPTIONS.iter().find(|(p, ..)| *p == difference.path) else { continue };
        opens |= *option == "enable" && difference.to.as_deref() != Some("1");
        match &difference.to {
            Some(value) => write = write.with(option, value),
            None => gone.push(*option),
        }
    }
    if !gone.is_empty() {
        write = write.with("delete", gone.join(","));
    }
    let mut options = Vec::new();
    if !write.params.is_empty() {
        if let Some(digest) = text(&seen.options["digest"]) {
            write = write.with("digest", digest);
        }
        options.push(Step::new(format!("set the firewall of {guest} {vmid}"), write, Impact::Live));
    }
    let mut before = Vec::new();
    let mut last = Vec::new();
    if let Some(groups) = mine.iter().find(|d| d.path == GROUPS) {
        let to = groups.to.clone().unwrap_or_default();
        let want: Vec<String> = to.split(' ').filter(|w| !w.is_empty()).map(str::to_owned).collect();
        (before, last) = rule_steps(cx, seen, &want);
    }
    // What opens comes last, what closes first; between them stand the configuration and its interfaces.
    if opens {
        last.splice(0..0, options);
        (before, last)
    } else {
        before.extend(options);
        (before, last)
    }
}

/// Our rules behind all others, in the order of the manifest; what goes is taken out at the end.
fn rule_steps(cx: &PlanContext<'_>, seen: &Seen, want: &[String]) -> (Vec<Step>, Vec<Step>) {
    let (guest, vmid, _, path) = base(cx.identity);
    let have = normal(&seen.rules);
    let ours = seen.ours();
    let others: Vec<Rule> = have.iter().filter(|r| !is_ours(r)).cloned().collect();
    let leaving: Vec<Rule> = ours.iter().filter(|r| !want.contains(&base_name(r))).cloned().collect();
    let new: Vec<Rule> = want.iter().map(|name| made(name)).collect();
    let title = |next: &Edit<Rule>, now: &[Rule]| {
        let what = match next {
            Edit::Insert(rule) => format!("add security group {} to", base_name(rule)),
            Edit::Change(_, rule) => format!("switch on security group {} of", base_name(rule)),
            Edit::Move(from, _) => format!("move rule {} of", from + 1),
            Edit::Delete(at) => format!("take security group {} out of", base_name(&now[*at])),
        };
        format!("{what} {guest} {vmid}")
    };
    let mut list = List::new(format!("{path}/firewall/rules"), Limit::Config("guest firewall"), &seen.rules);
    let before = list.edits(&[others.as_slice(), &leaving, &new].concat(), title, |_, _| {});
    let after = list.edits(&[others, new].concat(), title, |_, _| {});
    (before, after)
}

fn base_name(rule: &Rule) -> String {
    named(rule).trim_end_matches("(off)").to_owned()
}

/// Says what is to be known, and what makes a firewall one in name only.
pub fn say(want: &Fields, applied: &Fields, seen: Option<&Seen>, delta: &mut Delta) {
    let wanted = want.keys().any(|path| is_field(path));
    if !wanted && applied.keys().any(|path| is_field(path)) {
        let text = "`firewall` left the manifest; what was set stays as it is. To take it out, write `firewall: {enabled: \
                    false, groups: []}` and apply that first";
        delta.notes.push(Note::Info(text.to_owned()));
    }
    if want.get("firewall.enabled").is_some_and(|v| v == "1") && seen.is_some_and(|s| s.cluster == Some(false)) {
        delta.notes.push(Note::Toothless(
            "the firewall of the cluster is off, so nothing is filtered; look that port 8006 and 22 stay open to you, then \
             turn it on with: pvectl api PUT /cluster/firewall/options enable=1"
                .to_owned(),
        ));
    }
}

/// Groups that are asked must be there, on the cluster or in the manifests.
pub fn check(cx: &PlanContext<'_>, want: &Fields, delta: &mut Delta) {
    let Some(list) = cx.seen.value(&groups_query()).and_then(Value::as_array) else { return };
    for name in want.get(GROUPS).into_iter().flat_map(|t| t.split(' ')).filter(|w| !w.is_empty()) {
        let group = name.split('@').next().unwrap_or(name);
        let declared = cx.identities.keys().any(|r| r.kind == "SecurityGroup" && r.name == group);
        if !declared && !list.iter().any(|row| row["group"] == group) {
            delta.problems.push(
                Problem::new(GROUPS, format!("there is no security group `{group}`"))
                    .help("declare a `kind: SecurityGroup` of that name, or a `kind: NetworkProfile` for the network"),
            );
        }
    }
}
