//! Which backups a retention keeps, and the removal of the others.

use crate::pve::property::PropertyString;
use crate::sim::ctx::{Ctx, NewTask};
use crate::sim::request::{Args, Refusal};
use crate::sim::task::End;
use crate::sim::volume::storage_of;
use crate::sim::world::{GuestType, Volume, World};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The options of a retention in the order in which they choose, and what tells two of their backups apart.
const SPANS: &[(&str, &str)] = &[
    ("keep-last", "%s"),
    ("keep-hourly", "%Y/%m/%d/%H"),
    ("keep-daily", "%Y/%m/%d"),
    ("keep-weekly", "%G/%V"),
    ("keep-monthly", "%Y/%m"),
    ("keep-yearly", "%Y"),
];

/// Marks a guest's backups, the newest first: each span keeps the newest of as many of its periods as it is told, beyond
/// those in which something is kept already. No number at all keeps everything.
fn marks(retention: &PropertyString, times: &[u64]) -> Vec<&'static str> {
    let counts = SPANS.iter().map(|(key, span)| (retention.get(key).and_then(|n| n.parse::<usize>().ok()), span));
    let counts: Vec<(usize, &&str)> = counts.filter_map(|(n, span)| Some((n.filter(|n| *n > 0)?, span))).collect();
    if counts.is_empty() || retention.get("keep-all") == Some("1") {
        return vec!["keep"; times.len()];
    }
    let period = |time: u64, span: &str| {
        let stamp = i64::try_from(time).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
        stamp.map_or_else(String::new, |t| t.strftime(span).to_string())
    };
    let mut marked: Vec<Option<&'static str>> = vec![None; times.len()];
    for (count, span) in counts {
        let kept = times.iter().zip(&marked).filter(|(_, m)| **m == Some("keep"));
        let before: BTreeSet<String> = kept.map(|(t, _)| period(*t, span)).collect();
        let mut new = BTreeSet::new();
        for (time, mark) in times.iter().zip(&mut marked).filter(|(_, m)| m.is_none()) {
            let own = period(*time, span);
            if before.contains(&own) {
                continue;
            }
            if new.contains(&own) {
                *mark = Some("remove");
            } else if new.len() < count {
                new.insert(own);
                *mark = Some("keep");
            } else {
                break;
            }
        }
    }
    marked.into_iter().map(|m| m.unwrap_or("remove")).collect()
}

fn kind(volume: &Volume) -> &'static str {
    let lxc = volume.volid.contains("vzdump-lxc") || volume.volid.contains("backup/ct/");
    if lxc { GuestType::Lxc } else { GuestType::Qemu }.as_str()
}

/// The backups that a request is about, with their marks.
fn rows(ctx: &Ctx<'_>, args: &Args) -> Result<Vec<Value>, Refusal> {
    let (node, storage) = (args.text("node"), args.text("storage"));
    let definition = ctx.world.usable_storage(storage, node)?;
    let own = definition.config.get("prune-backups").map(String::as_str);
    let retention = PropertyString::parse(args.get("prune-backups").or(own).unwrap_or_default(), "");
    let vmid = args.get("vmid").map(|_| args.vmid());
    Ok(marked(ctx.world, (node, storage), &retention, vmid, args.get("type")))
}

/// The backups on a storage, of one guest or of all, each with what a retention says of it.
pub fn marked(
    world: &World,
    (node, storage): (&str, &str),
    retention: &PropertyString,
    vmid: Option<u32>,
    of_kind: Option<&str>,
) -> Vec<Value> {
    let mut found: Vec<&Volume> = world
        .volumes
        .iter()
        .filter(|v| v.content == "backup" && storage_of(&v.volid) == storage)
        .filter(|v| v.node.as_deref().is_none_or(|n| n == node))
        .filter(|v| vmid.is_none() || v.vmid == vmid)
        .filter(|v| of_kind.is_none_or(|t| t == kind(v)))
        .collect();
    found.sort_by_key(|v| (v.vmid, kind(v), std::cmp::Reverse(v.ctime)));
    let mut out = Vec::new();
    for group in found.chunk_by(|a, b| (a.vmid, kind(a)) == (b.vmid, kind(b))) {
        let times: Vec<u64> = group.iter().filter(|v| !v.protected).map(|v| v.ctime).collect();
        let mut marks = marks(retention, &times).into_iter();
        for v in group {
            let mark = if v.protected { "protected" } else { marks.next().unwrap_or("keep") };
            out.push(json!({ "volid": v.volid, "vmid": v.vmid, "ctime": v.ctime, "type": kind(v), "mark": mark }));
        }
    }
    out
}

/// `GET …/prunebackups`.
pub fn list(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    Ok(rows(ctx, args)?.into())
}

/// `DELETE …/prunebackups`.
pub fn prune(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (node, storage) = (args.text("node"), args.text("storage"));
    let whole = ctx.may(&format!("/storage/{storage}"), &["Datastore.Allocate"]);
    if !whole {
        ctx.require(&format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
        ctx.require(&format!("/vms/{}", args.text("vmid")), &["VM.Backup"])?;
    }
    let gone: Vec<Value> =
        rows(ctx, args)?.into_iter().filter(|r| r["mark"] == "remove").map(|r| r["volid"].clone()).collect();
    let id = args.get("vmid").map_or_else(|| storage.to_owned(), |vmid| format!("{vmid}@{storage}"));
    let told = json!({ "node": node, "volids": gone });
    Ok(ctx.start(NewTask::new(node, "prunebackups", id).takes_ms(1000).then("storage.prune", told)))
}

/// The end of a removal.
pub fn pruned(world: &mut World, told: &Value, lines: &mut Vec<String>) -> End {
    let node = told["node"].as_str().unwrap_or_default().to_owned();
    for volid in told["volids"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        lines.push(format!("pruning backup '{volid}'"));
        world.free_volume(volid, &node);
    }
    End::Ok
}

#[cfg(test)]
mod tests {
    use super::marks;
    use crate::pve::property::PropertyString;

    const DAY: u64 = 86_400;

    fn kept(retention: &str, times: &[u64]) -> Vec<usize> {
        let marks = marks(&PropertyString::parse(retention, ""), times);
        (0..times.len()).filter(|i| marks[*i] == "keep").collect()
    }

    #[test]
    fn each_span_keeps_the_newest_of_its_periods() {
        let noon = 1_795_003_200;
        // Two on each of five days, the newest first.
        let times: Vec<u64> = (0..10).map(|i| noon - i / 2 * DAY - i % 2 * 3600).collect();
        assert_eq!(kept("keep-last=3", &times), [0, 1, 2]);
        assert_eq!(kept("keep-daily=3", &times), [0, 2, 4]);
        assert_eq!(kept("keep-last=1,keep-daily=2", &times), [0, 2, 4], "today is covered already");
        assert_eq!(kept("keep-all=1", &times).len(), 10);
        assert_eq!(kept("", &times).len(), 10);
    }
}
