//! `backup`: what is typed becomes hands on guests, and a list of what there is.

use crate::base::id::{GuestType, VmId};
use crate::cli::args::Global;
use crate::cli::args::backups::{Backup as Verb, BackupList, BackupNow, BackupRestore};
use crate::cli::args::guests::Agreed;
use crate::cli::exit;
use crate::cli::guests::{absent, drive, together};
use crate::cli::job::{AtTerminal, Person};
use crate::cli::output::{self, Form, Format, utc, yaml};
use crate::cli::run::{Ended, Failure, block_on, print};
use crate::cli::session::Session;
use crate::engine::observe::{get, index, read_all};
use crate::engine::reconcile::Cluster;
use crate::kinds::backups::{self, Backup, Verified, age};
use crate::kinds::guest::file::content_query;
use crate::kinds::guest::hand::backup::Backup as BackUp;
use crate::kinds::guest::hand::clone::free_beside;
use crate::kinds::guest::hand::deed::{ByHand, Deed};
use crate::kinds::guest::hand::restore::{Becomes, Restore};
use crate::kinds::guest::hand::target::{self, NoTarget, Target};
use crate::kinds::guest::restore::{extract_query, options_in};
use crate::pve::error::PveError;
use crate::resource::hand::Hand;
use crate::resource::index::Index;
use crate::resource::observation::Observation;
use crate::resource::reference::ResourceRef;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

/// Kinds of guests, and what may be typed before a name for one.
const KINDS: [(&str, &[&str]); 2] = [("VirtualMachine", &["vm", "qemu"]), ("Container", &["ct", "lxc"])];

/// `backup …`.
pub fn run(global: &Global, verb: &Verb) -> Ended {
    let session = Session::open(global, None)?;
    let ended = block_on(act(global, &session, verb, &AtTerminal))?;
    session.close()?;
    ended
}

async fn act(global: &Global, session: &Session, verb: &Verb, person: &dyn Person) -> Ended {
    let cluster = session.cluster();
    match verb {
        Verb::List(args) => list(&cluster, args).await,
        Verb::Now(BackupNow { agreed, .. }) | Verb::Restore(BackupRestore { agreed, .. }) => {
            let hands = hands(&cluster, verb, session.root_ticket).await?;
            match hands.as_slice() {
                [one] => drive(global, session, agreed, one.as_ref(), person).await,
                several => together(global, session, agreed, several, person).await,
            }
        }
    }
}

/// What a verb does, as hands; none for one that does nothing.
pub async fn hands(cluster: &Cluster<'_>, verb: &Verb, root_ticket: bool) -> Result<Vec<Box<dyn Hand>>, Failure> {
    match verb {
        Verb::List(_) => Ok(Vec::new()),
        Verb::Now(args) => now(cluster, args).await,
        Verb::Restore(args) => Ok(vec![Box::new(restore(cluster, args, root_ticket).await?)]),
    }
}

/// What is agreed to.
pub fn agreed(verb: &Verb) -> Option<&Agreed> {
    match verb {
        Verb::List(_) => None,
        Verb::Now(args) => Some(&args.agreed),
        Verb::Restore(args) => Some(&args.agreed),
    }
}

fn wire(error: PveError) -> Failure {
    Failure::wire(exit::FAILED, &error)
}

/// What is to be read to know guests by their names.
pub async fn guests(cluster: &Cluster<'_>, names: &[String]) -> Result<Observation, Failure> {
    let index = index(cluster.api, cluster.clock, &BTreeSet::new()).await.map_err(wire)?;
    let mut reads = BTreeSet::new();
    for name in names {
        let plain = name.split_once('/').map_or(name.as_str(), |(_, name)| name);
        reads.extend(KINDS.iter().flat_map(|(kind, _)| target::reads(kind, plain, &index)));
    }
    read_all(cluster.api, cluster.clock, index, reads).await.map_err(wire)
}

/// The guest of a name, whatever it is: `web`, `101`, `vm/web`.
pub fn guest(text: &str, seen: &Observation) -> Result<Target, Failure> {
    let (word, name) = text.split_once('/').map_or((None, text), |(word, name)| (Some(word.to_lowercase()), name));
    let meant = |(kind, words): &&(&str, &[&str])| {
        word.as_ref().is_none_or(|word| words.contains(&word.as_str()) || kind.eq_ignore_ascii_case(word))
    };
    let kinds: Vec<&str> = KINDS.iter().filter(meant).map(|(kind, _)| *kind).collect();
    let mut found = Vec::new();
    let mut nothing: Option<Failure> = None;
    for kind in &kinds {
        match target::find(kind, name, seen) {
            Ok(target) => found.push(target),
            Err(NoTarget::Absent { near: None, .. }) if nothing.is_some() => {}
            Err(why @ NoTarget::Absent { .. }) => {
                let kind = if kinds.len() > 1 { "guest" } else { *kind };
                nothing = Some(absent(why, kind, name));
            }
            Err(why @ (NoTarget::Several(_) | NoTarget::Unread(..))) => return Err(absent(why, kind, name)),
        }
    }
    match (found.len(), found.pop()) {
        (1, Some(target)) => Ok(target),
        (0, _) | (_, None) => Err(nothing.unwrap_or_else(|| {
            Failure::new(exit::USAGE, format!("`{text}` names no guest")).hint("a name, a VMID, vm/NAME or ct/NAME")
        })),
        (_, Some(_)) => Err(Failure::new(exit::REFUSED, format!("a VM and a CT are called `{name}`"))
            .hint(format!("say vm/{name} or ct/{name}"))),
    }
}

async fn now(cluster: &Cluster<'_>, args: &BackupNow) -> Result<Vec<Box<dyn Hand>>, Failure> {
    let seen = guests(cluster, &args.guests).await?;
    let mut hands: Vec<Box<dyn Hand>> = Vec::new();
    let mut named = BTreeSet::new();
    for name in &args.guests {
        let target = guest(name, &seen)?;
        if named.insert(target.vmid) {
            let backup = BackUp {
                storage: args.storage.clone(),
                mode: args.mode,
                compress: args.compress,
                notes: args.notes.clone(),
                protected: args.protected,
                prune: args.prune,
            };
            hands.push(Box::new(ByHand { target, deed: Deed::Backup(backup) }));
        }
    }
    Ok(hands)
}

/// Every backup that can be seen, with what could not be read.
async fn held(
    cluster: &Cluster<'_>,
    index: &Index,
    storage: Option<&str>,
) -> Result<(Vec<Backup>, Vec<Failure>), Failure> {
    let places = backups::places(index, storage);
    let asked = places.iter().map(|(node, storage)| async move {
        (node, get(cluster.api, cluster.clock, &content_query(node, storage, "backup")).await)
    });
    let (mut all, mut failed) = (Vec::new(), Vec::new());
    for (node, answer) in futures::future::join_all(asked).await {
        match answer {
            Ok(list) => all.extend(backups::rows(&list, node)),
            Err(error @ PveError::Unsent { .. }) => return Err(wire(error)),
            Err(error) => failed.push(wire(error)),
        }
    }
    all.sort_by(|a, b| (a.time, &a.volume).cmp(&(b.time, &b.volume)));
    Ok((all, failed))
}

fn no_storage(index: &Index, storage: &str) -> Option<Failure> {
    let rows: Vec<_> = index.storages.values().filter(|row| row.storage == storage).collect();
    let takers: BTreeSet<&str> =
        index.storages.values().filter(|r| r.content.contains("backup")).map(|r| r.storage.as_str()).collect();
    let hint = format!("storages that take backups: {}", takers.into_iter().collect::<Vec<_>>().join(", "));
    if rows.is_empty() {
        return Some(Failure::new(exit::REFUSED, format!("there is no storage `{storage}`")).hint(hint));
    }
    if !rows.iter().any(|row| row.content.contains("backup")) {
        return Some(Failure::new(exit::REFUSED, format!("storage `{storage}` does not take `backup`")).hint(hint));
    }
    (!rows.iter().any(|row| row.available))
        .then(|| Failure::new(exit::FAILED, format!("storage `{storage}` answers on no node")))
}

/// A number of a guest that is gone, of which there may be backups.
fn gone(name: &str, index: &Index) -> Option<VmId> {
    let vmid = name.parse().ok().and_then(VmId::new)?;
    (!index.guests.contains_key(&vmid)).then_some(vmid)
}

/// The number of a guest that is there or was, and its type where it is.
async fn meant(cluster: &Cluster<'_>, name: &str) -> Result<(Observation, VmId, Option<Target>), Failure> {
    let seen = guests(cluster, &[name.to_owned()]).await?;
    if let Some(vmid) = gone(name, &seen.index) {
        return Ok((seen, vmid, None));
    }
    let target = guest(name, &seen)?;
    Ok((seen, target.vmid, Some(target)))
}

async fn restore(cluster: &Cluster<'_>, args: &BackupRestore, root_ticket: bool) -> Result<Restore, Failure> {
    let mut doubts = Vec::new();
    let (index, target, all, mut backup) = if args.backup.contains(":backup/") {
        let storage = args.backup.split(':').next().unwrap_or_default();
        let index = index(cluster.api, cluster.clock, &BTreeSet::new()).await.map_err(wire)?;
        if let Some(failure) = no_storage(&index, storage) {
            return Err(failure);
        }
        let (all, mut failed) = held(cluster, &index, Some(storage)).await?;
        match all.iter().find(|b| b.volume == args.backup).cloned() {
            Some(backup) => (index, None, all, backup),
            None => {
                return Err(failed.pop().unwrap_or_else(|| {
                    Failure::new(exit::REFUSED, format!("there is no backup `{}`", args.backup))
                        .hint(format!("pvectl backup list --storage {storage} lists what there is and we may see"))
                }));
            }
        }
    } else {
        let (name, time) = args.backup.split_once('@').unwrap_or((&args.backup, "latest"));
        let (seen, vmid, target) = meant(cluster, name).await?;
        let (all, mut failed) = held(cluster, &seen.index, None).await?;
        if time == "latest" {
            doubts.extend(failed.iter().map(|failure| format!("a list could not be read: {}", failure.message)));
            doubts.extend(backups::doubts(&seen.index, vmid));
        }
        let guest = target.as_ref().map(|t| t.guest);
        let of_it = |b: &Backup| b.vmid == Some(vmid) && guest.is_none_or(|guest| b.guest == guest);
        let of_it: Vec<Backup> = all.iter().filter(|b| of_it(b)).cloned().collect();
        if of_it.is_empty() {
            return Err(failed.pop().unwrap_or_else(|| {
                Failure::new(exit::REFUSED, format!("there is no backup of `{name}` that we may see"))
                    .hint("pvectl backup list lists what there is")
            }));
        }
        let backup = at_time(of_it, name, time)?;
        (seen.index, target, all, backup)
    };
    let owner = backup.vmid;
    let row = owner.and_then(|vmid| index.guests.get(&vmid)).filter(|row| row.guest == backup.guest);
    let kind = if backup.guest == GuestType::Qemu { "VirtualMachine" } else { "Container" };
    let sees = |node: &str| {
        index.storages.get(&(node.to_owned(), backup.storage.clone())).is_some_and(|s| s.available)
            && index
                .storages
                .get(&(backup.node.clone(), backup.storage.clone()))
                .is_some_and(|s| s.shared || s.node == node)
    };
    let wanted = args.target_node.as_deref();
    if let Some(node) = wanted.filter(|node| !sees(node)) {
        return Err(Failure::new(exit::REFUSED, format!("node `{node}` does not see `{}`", backup.volume))
            .hint(format!("node `{}` does", backup.node)));
    }
    // Where the guest is, if it sees the backup from there: its volumes may be on storages of that node.
    let at = wanted.map(str::to_owned).or_else(|| row.map(|row| row.node.clone()).filter(|node| sees(node)));
    if args.in_place {
        let Some(vmid) = owner else {
            return Err(Failure::new(exit::REFUSED, format!("whose backup `{}` is cannot be told", backup.volume))
                .hint("leave --in-place out, and restore it to a new guest"));
        };
        if let Some(node) = row.map(|row| row.node.clone()).filter(|node| !sees(node)) {
            return Err(Failure::new(
                exit::REFUSED,
                format!("guest {vmid} is on `{node}`, which does not see `{}`", backup.volume),
            )
            .hint(format!("migrate it to `{}` first, or restore the backup to a new guest there", backup.node)));
        }
        backup.node = at.unwrap_or(backup.node);
        let name = target.map(|t| t.resource.name).or_else(|| row.map(|row| row.name.clone()));
        let resource = ResourceRef::new(kind, name.unwrap_or_else(|| vmid.to_string()));
        let (storage, start) = (args.storage.clone(), args.start);
        return Ok(Restore {
            resource,
            backup,
            vmid,
            becomes: Becomes::Itself,
            storage,
            start,
            doubts,
            foreign: 0,
            other_guest: args.other_guest,
            root_ticket,
        });
    }
    backup.node = at.unwrap_or(backup.node);
    let saved = get(cluster.api, cluster.clock, &extract_query(&backup.node, &backup.volume)).await.map_err(wire)?;
    let options = options_in(saved.as_str().unwrap_or_default());
    let key = if backup.guest == GuestType::Qemu { "name" } else { "hostname" };
    let original = options.get(key).cloned().unwrap_or_else(|| match owner {
        Some(owner) => format!("guest-{owner}"),
        None => "guest".to_owned(),
    });
    let name = match (&args.name, args.keep_hostname) {
        (Some(name), _) => name.clone(),
        (None, true) => original,
        (None, false) => renamed(&original),
    };
    // A new guest under a number of which there are backups is pruned together with the one that they are of.
    let old: BTreeSet<VmId> = all.iter().filter_map(|b| b.vmid).collect();
    let vmid = args.vmid.or_else(|| free_beside(&index, &old));
    let foreign = all.iter().filter(|b| b.vmid.is_some() && b.vmid == vmid && b.vmid != owner).count();
    Ok(Restore {
        resource: ResourceRef::new(kind, &name),
        backup,
        vmid: vmid.ok_or_else(|| Failure::new(exit::REFUSED, "no VMID is free"))?,
        becomes: Becomes::New { name, keep_mac: args.keep_mac },
        storage: args.storage.clone(),
        start: args.start,
        doubts,
        foreign,
        other_guest: false,
        root_ticket,
    })
}

/// The longest label of a DNS name.
const LABEL_MAX: usize = 63;

/// `web.lan` as `web-restored.lan`.
fn renamed(name: &str) -> String {
    let (host, domain) = name.split_once('.').map_or((name, None), |(host, domain)| (host, Some(domain)));
    let ending = "-restored";
    let host: String = host.chars().take(LABEL_MAX - ending.len()).collect();
    let host = format!("{}{ending}", host.trim_end_matches('-'));
    domain.map_or_else(|| host.clone(), |domain| format!("{host}.{domain}"))
}

fn stamp(seconds: i64) -> String {
    utc(seconds).unwrap_or_else(|| "-".to_owned())
}

/// The backup of a guest that a time means: the newest good one, or the one whose time begins so.
fn at_time(mut of_it: Vec<Backup>, name: &str, time: &str) -> Result<Backup, Failure> {
    let listed = |list: &[Backup]| {
        let last: Vec<String> = list.iter().rev().take(8).map(|b| stamp(b.time)).collect();
        let more = if list.len() > last.len() { ", …" } else { "" };
        format!("{}{more}", last.join(", "))
    };
    let types: BTreeMap<bool, &str> = of_it.iter().map(|b| (b.guest == GuestType::Qemu, b.volume.as_str())).collect();
    if types.len() > 1 && time == "latest" {
        return Err(Failure::new(exit::REFUSED, format!("there are backups of a VM `{name}` and of a CT `{name}`"))
            .hint(format!("name the volume: {}", types.into_values().collect::<Vec<_>>().join(", "))));
    }
    if time == "latest" {
        let good = of_it.iter().rposition(Backup::is_good);
        return match good {
            Some(newest) => Ok(of_it.swap_remove(newest)),
            None => {
                Err(Failure::new(exit::REFUSED, format!("the last verification of every backup of `{name}` failed"))
                    .hint(format!("name one of them by its time: {}", listed(&of_it))))
            }
        };
    }
    let exact = time.parse::<jiff::Timestamp>().ok().map(|t| t.as_second());
    let fits = |b: &Backup| exact == Some(b.time) || stamp(b.time).starts_with(time);
    let (mut fit, others): (Vec<Backup>, Vec<Backup>) = of_it.into_iter().partition(fits);
    match fit.len() {
        0 => Err(Failure::new(exit::REFUSED, format!("there is no backup of `{name}` at {time}"))
            .hint(format!("there are: {}", listed(&others)))),
        1 => Ok(fit.remove(0)),
        _ => Err(Failure::new(exit::REFUSED, format!("several backups of `{name}` are of {time}")).hint(
            match fit.iter().all(|b| b.time == fit[0].time) {
                true => {
                    let volumes: Vec<&str> = fit.iter().map(|b| b.volume.as_str()).collect();
                    format!("name the volume: {}", volumes.join(", "))
                }
                false => format!("say more of the time, or name the volume: {}", listed(&fit)),
            },
        )),
    }
}

async fn list(cluster: &Cluster<'_>, args: &BackupList) -> Ended {
    let (index, vmid) = match &args.guest {
        Some(name) => {
            let (seen, vmid, _) = meant(cluster, name).await?;
            (seen.index, Some(vmid))
        }
        None => (index(cluster.api, cluster.clock, &BTreeSet::new()).await.map_err(wire)?, None),
    };
    if let Some(failure) = args.storage.as_ref().and_then(|storage| no_storage(&index, storage)) {
        return Err(failure);
    }
    let (mut found, failed) = held(cluster, &index, args.storage.as_deref()).await?;
    found.retain(|b| vmid.is_none() || b.vmid == vmid);
    let now = i64::try_from(cluster.clock.now_ms() / 1000).unwrap_or(i64::MAX);
    let names: BTreeMap<VmId, String> = index.guests.values().map(|row| (row.vmid, row.name.clone())).collect();
    let values = || Value::from(found.iter().map(|b| value(b, &names, now)).collect::<Vec<_>>());
    match &args.format.output {
        Some(Format::Name) => found.iter().for_each(|b| print(&format!("{}\n", b.volume))),
        Some(Format::Value(Form::Yaml)) => print(&yaml(&values())),
        Some(Format::Value(form)) => print(&output::write(&values(), form)?),
        Some(Format::Wide) => print(&table(&found, &names, now, true)),
        Some(Format::Table) | None => print(&table(&found, &names, now, false)),
    }
    let mut err = anstream::stderr();
    for failure in &failed {
        let _ = writeln!(err, "warning: a list could not be read: {}", failure.message);
    }
    Ok(if failed.is_empty() { exit::DONE } else { exit::FAILED })
}

fn value(backup: &Backup, names: &BTreeMap<VmId, String>, now: i64) -> Value {
    let Backup { volume, storage, node, guest, vmid, time, size, format, notes, protected, verified, encrypted } =
        backup;
    json!({
        "volume": volume, "storage": storage, "node": node, "type": guest.to_string(), "vmid": vmid.map(VmId::get),
        "guest": vmid.and_then(|v| names.get(&v)), "time": stamp(*time), "ageSeconds": now - time, "size": size,
        "format": format, "notes": notes, "protected": protected, "encrypted": encrypted,
        "verified": if *verified == Verified::Never { Value::Null } else { verified.as_str().into() },
    })
}

fn table(found: &[Backup], names: &BTreeMap<VmId, String>, now: i64, wide: bool) -> String {
    if found.is_empty() {
        return "none\n".to_owned();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let mut head =
        vec!["GUEST", "TIME", "AGE", "SIZE", "STORAGE", "FORMAT", "PROTECTED", "VERIFIED", "ENCRYPTED", "NOTES"];
    head.extend(wide.then_some("VOLUME"));
    table.set_header(head);
    let yes = |flag: bool| if flag { "yes" } else { "-" }.to_owned();
    for backup in found {
        let guest = match backup.vmid {
            Some(vmid) => match names.get(&vmid) {
                Some(name) => format!("{name} ({vmid})"),
                None => vmid.to_string(),
            },
            None => "-".to_owned(),
        };
        let notes = backup.notes.replace(|c: char| c.is_control(), " ");
        let mut row = vec![
            guest,
            stamp(backup.time),
            age(now - backup.time),
            size(backup.size),
            backup.storage.clone(),
            backup.format.clone(),
            yes(backup.protected),
            backup.verified.as_str().to_owned(),
            yes(backup.encrypted),
            if notes.is_empty() { "-".to_owned() } else { notes },
        ];
        row.extend(wide.then(|| backup.volume.clone()));
        table.add_row(row);
    }
    table.lines().map(|l| l.trim().to_owned()).collect::<Vec<_>>().join("\n") + "\n"
}

/// Bytes, to one place behind the point.
fn size(bytes: u64) -> String {
    let units = [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
    match units.iter().find(|(_, shift)| bytes >> shift > 0) {
        Some((unit, shift)) => format!("{:.1}{unit}", bytes as f64 / f64::from(2).powi(*shift)),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_restored_guests_are_names() {
        assert_eq!(renamed("web"), "web-restored");
        assert_eq!(renamed("web.lan"), "web-restored.lan");
        let long = renamed(&"a".repeat(63));
        assert_eq!((long.len(), long.ends_with("-restored")), (63, true));
    }

    #[test]
    fn a_time_means_one_backup() {
        let list = json!((0..4)
            .map(|n| {
                let state = if n == 3 { json!({"state": "failed"}) } else { Value::Null };
                json!({"volid": format!("pbs:backup/vm/101/{n}"), "vmid": 101, "ctime": 1_795_226_400_i64 + n * 43_200, "verification": state})
            })
            .collect::<Vec<_>>());
        let of_it = || backups::rows(&list, "a");
        let time = |at: &str| at_time(of_it(), "web", at).map(|b| b.volume).map_err(|f| f.message);
        assert_eq!(time("latest").as_deref(), Ok("pbs:backup/vm/101/2"), "one whose verification failed is not taken");
        let first = stamp(1_795_226_400);
        assert_eq!(time(&first).as_deref(), Ok("pbs:backup/vm/101/0"));
        assert_eq!(time(&first[..13]).as_deref(), Ok("pbs:backup/vm/101/0"));
        assert!(time(&first[..7]).expect_err("all of them").contains("several backups"));
        let twins = json!([
            {"volid": "nfs:backup/vzdump-qemu-101-a.vma", "vmid": 101, "ctime": 100},
            {"volid": "local:backup/vzdump-qemu-101-a.vma", "vmid": 101, "ctime": 100},
        ]);
        let why = at_time(backups::rows(&twins, "a"), "101", "1970").expect_err("two of one moment");
        let hint = "name the volume: local:backup/vzdump-qemu-101-a.vma, nfs:backup/vzdump-qemu-101-a.vma";
        assert_eq!(why.hint.as_deref(), Some(hint));
        let both = json!([
            {"volid": "nfs:backup/vzdump-qemu-101-a.vma", "vmid": 101, "ctime": 100},
            {"volid": "nfs:backup/vzdump-lxc-101-a.tar", "vmid": 101, "ctime": 200},
        ]);
        let why = at_time(backups::rows(&both, "a"), "101", "latest").expect_err("of which");
        assert_eq!(why.message, "there are backups of a VM `101` and of a CT `101`");
        assert!(time("1999").expect_err("none").contains("there is no backup"));
    }
}
