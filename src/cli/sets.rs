//! `get GuestSet` and `describe GuestSet`: a set has no object of its own on the cluster, so it is read off the markers of
//! its members.

use crate::base::diagnostic::nearest;
use crate::cli::args::{self, Global};
use crate::cli::exit;
use crate::cli::output::{self, Format};
use crate::cli::run::{Ended, Failure, block_on, print};
use crate::cli::session::Session;
use crate::cli::show::survey;
use crate::kinds::guest_set::NAME;
use crate::kinds::list::KINDS;
use crate::resource::reference::Identity;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A member as it is.
struct Member {
    name: String,
    vmid: u32,
    node: String,
    status: String,
    ready: bool,
}

/// Members by manifest set, name of the set of guests, and kind.
type Sets = BTreeMap<(String, String, &'static str), Vec<Member>>;

fn read(global: &Global) -> Result<Sets, Failure> {
    let session = Session::open(global, None)?;
    let mut sets = Sets::new();
    for kind in KINDS.iter().filter(|k| matches!(k.name(), "VirtualMachine" | "Container")) {
        let (listed, seen) = block_on(survey(&session, *kind))??;
        for l in listed {
            let (Some(marker), Identity::Guest { vmid, .. }) = (&l.marker, &l.identity) else { continue };
            let (Some(group), Some(row)) = (&marker.member_of, seen.index.guests.get(vmid)) else { continue };
            let wanted = marker.applied.get("power").map(|p| p == "Running");
            let ready = row.lock.is_none() && wanted.is_none_or(|on| (row.status == "running") == on);
            sets.entry((marker.set.clone(), group.clone(), kind.name())).or_default().push(Member {
                name: l.name.clone(),
                vmid: vmid.get(),
                node: row.node.clone(),
                status: row.lock.as_ref().map_or_else(|| row.status.clone(), |lock| format!("{} ({lock})", row.status)),
                ready,
            });
        }
    }
    session.close()?;
    for members in sets.values_mut() {
        // By ordinal: `w-10` comes after `w-9`.
        members.sort_by_key(|m| (m.name.len(), m.name.clone()));
    }
    Ok(sets)
}

fn absent(name: &str, sets: &Sets) -> Failure {
    let failure = Failure::new(exit::FAILED, format!("no guest says that it is a member of the {NAME} `{name}`"));
    match nearest(name, sets.keys().map(|(_, n, _)| n.as_str())) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure.hint("a set without members leaves no trace on the cluster"),
    }
}

fn value((set, name, kind): &(String, String, &str), members: &[Member]) -> Value {
    let all: Vec<Value> = members
        .iter()
        .map(|m| json!({"name": m.name, "vmid": m.vmid, "node": m.node, "status": m.status, "ready": m.ready}))
        .collect();
    json!({"kind": NAME, "name": name, "set": set, "memberKind": kind, "members": all})
}

fn ready(members: &[Member]) -> String {
    format!("{}/{}", members.iter().filter(|m| m.ready).count(), members.len())
}

/// `get GuestSet`.
pub fn get(global: &Global, args: &args::Get) -> Ended {
    let all = read(global)?;
    let missing = args.names.iter().find(|n| !all.keys().any(|(_, name, _)| name == *n)).map(|n| absent(n, &all));
    let sets: Vec<_> = all.iter().filter(|((_, n, _), _)| args.names.is_empty() || args.names.contains(n)).collect();
    match &args.format.output {
        Some(Format::Name) => sets.iter().for_each(|((_, name, _), _)| print(&format!("{NAME}/{name}\n"))),
        Some(Format::Value(form)) => {
            let items: Vec<Value> = sets.iter().map(|(key, members)| value(key, members)).collect();
            print(&output::write(&json!({"items": items}), form)?);
        }
        Some(Format::Table | Format::Wide) | None => {
            let mut rows = vec![["NAME", "SET", "KIND", "READY", "VMIDS"].map(str::to_owned)];
            for ((set, name, kind), members) in &sets {
                let ids = members.iter().map(|m| m.vmid.to_string()).collect::<Vec<_>>().join(",");
                rows.push([name.clone(), set.clone(), (*kind).to_owned(), ready(members), ids]);
            }
            print(&if sets.is_empty() { "none\n".to_owned() } else { columns(&rows) });
        }
    }
    missing.map_or(Ok(exit::DONE), Err)
}

/// `describe GuestSet`.
pub fn describe(global: &Global, args: &args::Describe) -> Ended {
    let all = read(global)?;
    let found: Vec<_> = all.iter().filter(|((_, name, _), _)| *name == args.name).collect();
    if found.is_empty() {
        return Err(absent(&args.name, &all));
    }
    for ((set, name, kind), members) in found {
        print(&format!(
            "Name:    {name}\nKind:    {NAME}\nOwner:   the manifest set `{set}`\nMembers: {} {kind}, {} ready\n",
            members.len(),
            ready(members)
        ));
        let mut rows = vec![["NAME", "VMID", "NODE", "STATUS"].map(str::to_owned)];
        rows.extend(members.iter().map(|m| [m.name.clone(), m.vmid.to_string(), m.node.clone(), m.status.clone()]));
        columns(&rows).lines().for_each(|line| print(&format!("  {line}\n")));
    }
    Ok(exit::DONE)
}

/// Rows in columns, two blanks apart.
pub fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let wide = |n: usize| rows.iter().map(|r| r[n].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(wide).collect();
    rows.iter()
        .map(|row| {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            cells.join("  ").trim_end().to_owned() + "\n"
        })
        .collect()
}
