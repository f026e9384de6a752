//! Rules on a guest: what each reads, and what comes of it.

use crate::base::id::GuestType;
use crate::kinds::guest::firewall::options_query;
use crate::kinds::guest::form::Form;
use crate::kinds::guest::mapping::{self, slot_number};
use crate::kinds::guest::observed::GuestSeen;
use crate::kinds::guest::rules::checks::Checks;
use crate::kinds::guest::rules::inside::{self, Probe};
use crate::kinds::guest::rules::rule::{Finding, Look, Rule, Severity, Verdict, noun};
use crate::kinds::guest::table::{self, At, Row};
use crate::pve::error::Refusal;
use crate::pve::request::Query;
use crate::resource::observation::Observation;
use crate::resource::step::Problem;
use std::collections::{BTreeMap, BTreeSet};

/// What commands said inside a guest: the exit code, or why there is none. Empty where nobody was to look inside.
pub type Inside = BTreeMap<Probe, Result<i64, String>>;

/// What must be read besides the guest's configuration, for rules that look farther.
pub fn reads(checks: &Checks, guest: &GuestSeen) -> BTreeSet<Query> {
    let asks = checks.rules(guest.row.guest).iter().any(|rule| rule.look == Look::Firewall);
    asks.then(|| options_query(&guest.row)).into_iter().collect()
}

/// What the guest's agent is asked, where one may answer. Ask once and with little patience: an agent that hangs holds a
/// worker of its node for seconds.
pub fn agent_read(checks: &Checks, guest: &GuestSeen) -> Option<Query> {
    let asks = checks.rules(guest.row.guest).iter().any(|rule| rule.look == Look::Agent);
    (asks && inside::silent(&guest.row, &guest.config).is_none()).then(|| inside::agent_query(&guest.row))
}

/// The commands that the rules would run inside a guest; none where it has no agent to run them.
pub fn probes(checks: &Checks, guest: &GuestSeen) -> BTreeSet<Probe> {
    if inside::silent(&guest.row, &guest.config).is_some() {
        return BTreeSet::new();
    }
    let rules = checks.rules(guest.row.guest);
    let probe = |rule: &Rule| match rule.look {
        Look::Inside(probe) => Some(probe),
        Look::Field(_) | Look::Processors | Look::ProcessorLimit | Look::Firewall | Look::Agent => None,
    };
    rules.iter().filter_map(probe).collect()
}

/// Every rule that speaks of this type of guest, and what came of it. `seen` has the answers to [`reads`] and
/// [`agent_read`]; what was not asked or not answered is not known.
pub fn evaluate(checks: &Checks, guest: &GuestSeen, seen: &Observation, inside: &Inside) -> Vec<Finding> {
    let rules = checks.rules(guest.row.guest);
    rules
        .into_iter()
        .map(|rule| {
            let (verdict, read) = judge(&rule, guest, seen, inside);
            let form = form(&rule, guest.row.guest);
            let words = rule.want.words(|text| shown(form, text));
            let wanted = if rule.needs_one { format!("{words}, at least one") } else { words };
            let own = rule.remedy.clone();
            let remedy = own.unwrap_or_else(|| rule.want.remedy(rule.subject(), |text| shown(form, text)));
            Finding { rule, verdict, read, wanted, remedy }
        })
        .collect()
}

/// What keeps a guest from being turned into a template: the rules about its configuration that it fails and that weigh as
/// errors. What only a running guest could tell stops nothing. Pure: it takes the configuration that was read, no more.
pub fn stops_conversion(checks: &Checks, guest: &GuestSeen) -> Vec<Problem> {
    let nothing = Observation::default();
    let found = evaluate(checks, guest, &nothing, &Inside::new()).into_iter();
    found
        .filter(|f| f.verdict == Verdict::Fail && f.rule.severity == Severity::Error)
        .map(|f| {
            let of = f.rule.set.map(|set| format!(" of {set}")).unwrap_or_default();
            let problem = Problem::new(
                "checks",
                format!(
                    "it fails the rule `{}`{of}: {} is {}, and should be {}",
                    f.rule.id,
                    f.rule.subject(),
                    f.read,
                    f.wanted
                ),
            );
            problem.help(format!("{} ({})", f.remedy, f.rule.why))
        })
        .collect()
}

fn form(rule: &Rule, guest: GuestType) -> Option<Form> {
    match &rule.look {
        Look::Field(path) => table::find(guest, path).map(|(row, _)| row.form),
        Look::Processors | Look::ProcessorLimit | Look::Firewall | Look::Agent | Look::Inside(_) => None,
    }
}

/// A value as people write it: PVE's `1` of a switch is `true`.
fn shown(form: Option<Form>, value: &str) -> String {
    match (form, value) {
        (Some(Form::Flag | Form::OnIgnore), "1") => "true".to_owned(),
        (Some(Form::Flag | Form::OnIgnore), "0") => "false".to_owned(),
        (_, "") => "(empty)".to_owned(),
        (_, value) => value.to_owned(),
    }
}

fn judge(rule: &Rule, guest: &GuestSeen, seen: &Observation, inside: &Inside) -> (Verdict, String) {
    if let Some(tag) = rule.tagged
        && !guest.row.tags.contains(tag)
        && !tagged(guest, tag)
    {
        return (Verdict::Pass, format!("not tagged {tag}"));
    }
    match &rule.look {
        Look::Field(path) => field(rule, path, guest),
        Look::Processors => {
            let number = |path: &str| value_at(guest, path).and_then(|v| v.parse::<u64>().ok()).unwrap_or(1);
            let (cores, sockets) = (number("hardware.cores"), number("hardware.sockets"));
            let all = cores.saturating_mul(sockets).to_string();
            let read = if sockets == 1 { all.clone() } else { format!("{all} ({cores} cores × {sockets} sockets)") };
            (verdict(rule, Some(&all)), read)
        }
        Look::ProcessorLimit => {
            let set = |path: &str| value_at(guest, path).filter(|v| v != "0").map(|v| format!("{path} {v}"));
            let limits: Vec<String> = ["hardware.cores", "hardware.cpuLimit"].into_iter().filter_map(set).collect();
            let read = if limits.is_empty() { "no limit".to_owned() } else { limits.join(", ") };
            (verdict(rule, (!limits.is_empty()).then_some("limited")), read)
        }
        Look::Firewall => match seen.answer(&options_query(&guest.row)) {
            None => (Verdict::NotKnown, "the firewall's options were not read".to_owned()),
            Some(Err(error)) => (Verdict::NotKnown, error.to_string()),
            Some(Ok(options)) => {
                let on = if options["enable"] == 1 || options["enable"] == "1" { "on" } else { "off" };
                (verdict(rule, Some(on)), on.to_owned())
            }
        },
        Look::Agent => agent(rule, guest, seen),
        Look::Inside(probe) => match (inside::silent(&guest.row, &guest.config), inside.get(probe)) {
            (Some(why), _) => (Verdict::NotKnown, why),
            (None, None) => (Verdict::NotKnown, "nobody looked inside; say --inside".to_owned()),
            (None, Some(Err(why))) => (Verdict::NotKnown, why.clone()),
            (None, Some(Ok(0))) => (verdict(rule, Some("yes")), "yes".to_owned()),
            (None, Some(Ok(1))) => (verdict(rule, Some("no")), "no".to_owned()),
            (None, Some(Ok(code))) => (Verdict::NotKnown, format!("the command ended with {code}")),
        },
    }
}

fn agent(rule: &Rule, guest: &GuestSeen, seen: &Observation) -> (Verdict, String) {
    if let Some(why) = inside::silent(&guest.row, &guest.config) {
        return (Verdict::NotKnown, why);
    }
    match seen.answer(&inside::agent_query(&guest.row)) {
        None => (Verdict::NotKnown, "it did not answer in time".to_owned()),
        Some(Ok(_)) => (verdict(rule, Some("answers")), "answers".to_owned()),
        Some(Err(error)) => match error.refusal() {
            // PVE's own word on an agent that is not there is a plain 500: `QEMU guest agent is not running`.
            Some(Refusal::Other) => (verdict(rule, Some("silent")), "does not answer".to_owned()),
            Some(Refusal::Forbidden) => (
                Verdict::NotKnown,
                format!("asking it takes VM.GuestAgent.Audit on /vms/{} (PVE 8: VM.Monitor)", guest.row.vmid),
            ),
            _ => (Verdict::NotKnown, error.to_string()),
        },
    }
}

fn verdict(rule: &Rule, value: Option<&str>) -> Verdict {
    match rule.want.holds(value) {
        Ok(true) => Verdict::Pass,
        Ok(false) => Verdict::Fail,
        Err(_) => Verdict::NotKnown,
    }
}

fn tagged(guest: &GuestSeen, tag: &str) -> bool {
    guest.config.get("tags").is_some_and(|tags| tags.split([';', ',', ' ']).any(|t| t == tag))
}

/// The value of a field, or what its absence means; of a slot that is not there, nothing.
fn value_at(guest: &GuestSeen, path: &str) -> Option<String> {
    let kind = guest.row.guest;
    if let Some(option) = path.strip_prefix("options.") {
        return guest.config.get(option).cloned();
    }
    let (row, slot) = table::find(kind, path)?;
    match row.path {
        "power" => return Some(if guest.running() { "Running" } else { "Stopped" }.to_owned()),
        "pool" => return guest.row.pool.clone(),
        _ => {}
    }
    if row.list().is_some() && !guest.config.contains_key(slot) {
        return None;
    }
    mapping::read_row(kind, &guest.config, row, slot).or_else(|| row.default.map(str::to_owned))
}

/// The slots that a row with `*` speaks of and that are there. A CD is no disk, but where the row is about CDs.
fn slots(guest: &GuestSeen, row: &Row) -> Vec<String> {
    let Some(list) = row.list() else { return Vec::new() };
    let kind = guest.row.guest;
    let buses = table::buses(kind, list);
    let of_list = guest.config.keys().filter(|option| buses.iter().any(|bus| slot_number(option, bus).is_some()));
    let is_cd = |option: &&String| {
        let drive = mapping::parts(kind, option, guest.config.get(*option).map_or("", String::as_str));
        drive.get("media") == Some("cdrom")
    };
    let mut slots: Vec<String> = of_list
        .filter(|option| row.fits(option))
        .filter(|option| list != "disks" || row.path == "disks.*.iso" || !is_cd(option))
        .cloned()
        .collect();
    slots
        .sort_by_key(|slot| (slot.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned(), slot.len(), slot.clone()));
    slots
}

fn field(rule: &Rule, path: &str, guest: &GuestSeen) -> (Verdict, String) {
    let kind = guest.row.guest;
    let found = table::find(kind, path);
    if found.is_none() && !path.starts_with("options.") {
        return (Verdict::NotKnown, format!("a {} has no field {path}", noun(kind)));
    }
    let form = found.map(|(row, _)| row.form);
    let show = |value: &Option<String>| value.as_ref().map_or_else(|| "(not set)".to_owned(), |v| shown(form, v));
    let judged = |path: &str| {
        let value = value_at(guest, path);
        let mut verdict = verdict(rule, value.as_deref());
        let mut text = show(&value);
        if verdict == Verdict::Fail && rule.unless_asked && asked(guest, path, value.as_deref()) {
            verdict = Verdict::Pass;
            text += ", as its manifest asks";
        }
        (verdict, text)
    };
    let Some((row, "*")) = found else { return judged(path) };
    let slots = slots(guest, row);
    if slots.is_empty() {
        let verdict = if rule.needs_one { Verdict::Fail } else { Verdict::Pass };
        return (verdict, format!("no {}", row.list().unwrap_or("slot")));
    }
    let each = slots.iter().map(|slot| (slot, judged(&row.path.replace('*', slot))));
    let each: Vec<(&String, (Verdict, String))> = each.collect();
    let worst = |wanted: Verdict| each.iter().any(|(_, (verdict, _))| *verdict == wanted);
    let verdict = [Verdict::Fail, Verdict::NotKnown].into_iter().find(|v| worst(*v)).unwrap_or(Verdict::Pass);
    // Of many slots those count that are not as they should be.
    let shown = each.iter().filter(|(_, (v, _))| *v == verdict).map(|(slot, (_, text))| format!("{slot}: {text}"));
    (verdict, shown.collect::<Vec<_>>().join(", "))
}

/// Whether the guest's own manifest said this value of this field when it was last applied.
fn asked(guest: &GuestSeen, path: &str, value: Option<&str>) -> bool {
    let applied = guest.marker.as_ref().and_then(|marker| marker.applied.get(path));
    applied.is_some() && applied.map(String::as_str) == value
}

/// Whether a row of the table can be read off a configuration at all; for rules of the user's own.
pub fn is_readable(guest: GuestType, path: &str) -> bool {
    path.strip_prefix("options.").is_some_and(|option| !option.is_empty())
        || table::find(guest, path).is_some_and(|(row, slot)| {
            !matches!(row.at, At::Index) || (slot.is_empty() && matches!(row.path, "power" | "pool"))
        })
}
