//! `snapshot list` and `snapshot tree`: what guests can go back to, whose it is, and what is left half made.

use crate::base::id::GuestType;
use crate::cli::args::Global;
use crate::cli::args::guests::{SnapshotList, SnapshotTree, Which};
use crate::cli::exit;
use crate::cli::guests::find;
use crate::cli::kind::find_kind;
use crate::cli::output::{self, Form, Format, utc, yaml};
use crate::cli::run::{Ended, Failure, block_on, print};
use crate::cli::session::Session;
use crate::cli::snapshot_tree;
use crate::daemon::http::words::span;
use crate::engine::observe::{get, index, read_all};
use crate::engine::reconcile::Cluster;
use crate::kinds::guest::file::content_query;
use crate::kinds::guest::hand::deed::{current_query, tasks_query};
use crate::kinds::guest::hand::half_made::{half_made, is_left, task_runs, unlocked_first};
use crate::kinds::guest::hand::snapshot::{Row, SnapState, config_query, here, list_query, memory_volume, rows};
use crate::kinds::guest::hand::target::is_guests;
use crate::pve::error::PveError;
use crate::resource::index::{GuestRow, number, text};
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;

/// A guest with its snapshots.
struct Shown {
    /// `VirtualMachine/web-01`.
    name: String,
    guest: Arc<GuestRow>,
    rows: Vec<Row>,
    /// The one after which it became what it is.
    here: Option<String>,
    /// Bytes of saved memory by snapshot. Of a disk's snapshot PVE tells no size, on no storage.
    sizes: BTreeMap<String, u64>,
    /// What is wrong, and what to do.
    warnings: Vec<(String, String)>,
}

/// `snapshot list [KIND [NAME]]`.
pub fn list(global: &Global, args: &SnapshotList) -> Ended {
    let session = Session::open(global, None)?;
    let one = match (&args.kind, &args.name) {
        (Some(kind), Some(name)) => Some(Which { kind: kind.clone(), name: name.clone() }),
        (_, _) => None,
    };
    let cluster = session.cluster();
    let (shown, unread) = block_on(async {
        match &one {
            Some(which) => Ok((vec![look(&cluster, which).await?], Vec::new())),
            None => all(&cluster, args.kind.as_deref()).await,
        }
    })??;
    let now = cluster.clock.now_ms() / 1000;
    session.close()?;
    let values = || {
        let of = |s: &Shown| s.rows.iter().map(|r| value(r, s, now, one.is_none())).collect::<Vec<_>>();
        Value::from(shown.iter().flat_map(of).collect::<Vec<_>>())
    };
    match &args.format.output {
        Some(Format::Name) => {
            for (shown, row) in shown.iter().flat_map(|s| s.rows.iter().map(move |r| (s, r))) {
                let guest = if one.is_some() { String::new() } else { format!("{} ", shown.name) };
                print(&format!("{guest}{}\n", row.name));
            }
        }
        Some(Format::Value(Form::Yaml)) => print(&yaml(&values())),
        Some(Format::Value(form)) => print(&output::write(&values(), form)?),
        Some(Format::Table | Format::Wide) | None => print(&table(&shown, now, one.is_none())),
    }
    warn(&shown);
    match unread.as_slice() {
        [] => Ok(exit::DONE),
        some => {
            for line in some {
                let _ = writeln!(anstream::stderr(), "error: {line}");
            }
            Err(Failure::new(exit::FAILED, "not every guest could be looked at"))
        }
    }
}

/// `snapshot tree KIND NAME`.
pub fn tree(global: &Global, args: &SnapshotTree) -> Ended {
    let session = Session::open(global, None)?;
    let cluster = session.cluster();
    let shown = block_on(look(&cluster, &args.which))??;
    let now = cluster.clock.now_ms() / 1000;
    session.close()?;
    let place = shown.here.as_deref();
    let values = || {
        let nested = snapshot_tree::nested(&shown.rows, place, &|row| value(row, &shown, now, false));
        json!({"guest": shown.name, "vmid": shown.guest.vmid.get(), "snapshots": nested})
    };
    match &args.format.output {
        Some(Format::Name) => shown.rows.iter().for_each(|row| print(&format!("{}\n", row.name))),
        Some(Format::Value(Form::Yaml)) => print(&yaml(&values())),
        Some(Format::Value(form)) => print(&output::write(&values(), form)?),
        Some(Format::Table | Format::Wide) | None => {
            let head = format!("{} ({})", shown.name, shown.guest.vmid);
            let label = |row: &Row| {
                let ram = if row.memory { "with RAM" } else { "" };
                let state = row.state.as_ref().map_or_else(String::new, |s| format!("half made: {}", s.as_str()));
                let words = [row.name.clone(), age(row, now), by(row), ram.to_owned(), state, line(&row.description)];
                words.into_iter().filter(|w| !w.is_empty() && w != "-").collect::<Vec<_>>().join("  ")
            };
            print(&snapshot_tree::draw(&shown.rows, place, &head, &label));
        }
    }
    warn(std::slice::from_ref(&shown));
    Ok(exit::DONE)
}

fn warn(shown: &[Shown]) {
    for (what, hint) in shown.iter().flat_map(|s| &s.warnings) {
        let _ = writeln!(anstream::stderr(), "warning: {what}\n  hint: {hint}");
    }
}

/// One guest, with all that can be known.
async fn look(cluster: &Cluster<'_>, which: &Which) -> Result<Shown, Failure> {
    let wire = |e: PveError| Failure::wire(exit::FAILED, &e);
    let (target, seen) = find(cluster, which).await?;
    let guest = Arc::clone(seen.index.guests.get(&target.vmid).expect("it was found in this index"));
    let list = get(cluster.api, cluster.clock, &list_query(&guest)).await.map_err(wire)?;
    let found = rows(&list);
    let sizes = sizes(cluster, &guest, &found).await;
    let current = get(cluster.api, cluster.clock, &current_query(&guest)).await.map_err(wire)?;
    let lock = text(&current["lock"]).filter(|lock| !lock.is_empty());
    let shown =
        Shown { name: target.resource.to_string(), guest, rows: found, here: here(&list), sizes, warnings: Vec::new() };
    Ok(judged(cluster, shown, lock.as_deref()).await)
}

/// Every guest of a kind, or of all: one request each, and what could not be read.
async fn all(cluster: &Cluster<'_>, kind: Option<&str>) -> Result<(Vec<Shown>, Vec<String>), Failure> {
    let wire = |e: PveError| Failure::wire(exit::FAILED, &e);
    let kind = kind.map(|word| find_kind(word).map(|k| k.name())).transpose()?;
    if let Some(other) = kind.filter(|k| !is_guests(k)) {
        return Err(Failure::new(exit::USAGE, format!("{other} is no kind of guests")).hint("vm or ct"));
    }
    let index = index(cluster.api, cluster.clock, &BTreeSet::new()).await.map_err(wire)?;
    // A template can have no snapshots.
    let mine = |g: &&Arc<GuestRow>| !g.template && kind.is_none_or(|k| k == kind_of(g));
    let guests: Vec<Arc<GuestRow>> = index.guests.values().filter(mine).cloned().collect();
    let (here_now, away): (Vec<_>, Vec<_>) =
        guests.into_iter().partition(|g| index.nodes.get(&g.node).is_none_or(|node| node.online));
    let reads = here_now.iter().map(|g| list_query(g)).collect();
    let seen = read_all(cluster.api, cluster.clock, index, reads).await.map_err(wire)?;
    let named = |g: &GuestRow| format!("{}/{}", kind_of(g), g.name);
    let mut unread: Vec<String> =
        away.iter().map(|g| format!("{} ({}): node {} does not answer", named(g), g.vmid, g.node)).collect();
    let mut shown = Vec::new();
    for guest in here_now {
        match seen.answer(&list_query(&guest)) {
            Some(Ok(list)) => {
                let lock = guest.lock.clone();
                let name = named(&guest);
                let found = Shown {
                    name,
                    guest,
                    rows: rows(list),
                    here: here(list),
                    sizes: BTreeMap::new(),
                    warnings: Vec::new(),
                };
                shown.push(judged(cluster, found, lock.as_deref()).await);
            }
            Some(Err(error)) if error.is_absent() => {}
            Some(Err(error)) => unread.push(format!("{} ({}): {error}", named(&guest), guest.vmid)),
            None => unread.push(format!("{} ({}) was not asked", named(&guest), guest.vmid)),
        }
    }
    Ok((shown, unread))
}

/// What is left half made, and what to do about it. Tasks are asked for only where something is.
async fn judged(cluster: &Cluster<'_>, mut shown: Shown, lock: Option<&str>) -> Shown {
    let broken = half_made(&shown.rows, lock, false);
    if broken.is_empty() && !is_left(lock, false) {
        return shown;
    }
    // Who may not see the tasks of others is told of them as if there were none; the advice says so.
    let tasks = get(cluster.api, cluster.clock, &tasks_query(&shown.guest)).await.ok();
    let runs = tasks.as_ref().is_some_and(task_runs);
    let kind = kind_of(&shown.guest);
    for half in half_made(&shown.rows, lock, runs) {
        let what = format!(
            "snapshot `{}` of {} is half made ({}): {}",
            half.name,
            shown.name,
            half.state.as_str(),
            half.story()
        );
        shown.warnings.push((what, half.remedy(&shown.guest, kind)));
    }
    if broken.is_empty() && is_left(lock, runs) {
        let what = format!("{} is locked ({}), and its task seems to be gone", shown.name, lock.unwrap_or_default());
        shown.warnings.push((what, unlocked_first(&shown.guest)));
    }
    shown
}

/// The sizes of the volumes with saved memory; what cannot be read is not known.
async fn sizes(cluster: &Cluster<'_>, guest: &GuestRow, rows: &[Row]) -> BTreeMap<String, u64> {
    let mut sizes = BTreeMap::new();
    let mut contents: BTreeMap<String, Option<Value>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.memory) {
        let config = get(cluster.api, cluster.clock, &config_query(guest, &row.name)).await.ok();
        let Some((storage, volume)) = config.as_ref().and_then(memory_volume) else { continue };
        if !contents.contains_key(&storage) {
            let query = content_query(&guest.node, &storage, "images").with("vmid", guest.vmid);
            contents.insert(storage.clone(), get(cluster.api, cluster.clock, &query).await.ok());
        }
        let list = contents.get(&storage).and_then(Option::as_ref).and_then(Value::as_array);
        let found = list.into_iter().flatten().find(|v| v["volid"] == volume.as_str());
        // What it takes is known of files and thin volumes; of others only what was set aside for it.
        let size = found.and_then(|v| number(&v["used"]).or_else(|| number(&v["size"])));
        sizes.extend(size.map(|size| (row.name.clone(), size)));
    }
    sizes
}

fn time(row: &Row) -> Option<String> {
    utc(i64::try_from(row.time?).ok()?)
}

/// How old it is: `3d4h`.
fn age(row: &Row, now: u64) -> String {
    row.time.map_or_else(String::new, |time| span(now.saturating_sub(time) * 1000).replace(' ', ""))
}

/// Who had it taken.
fn by(row: &Row) -> String {
    match (&row.policy, row.ours) {
        (Some((_, policy)), _) => format!("SnapshotPolicy/{policy}"),
        (None, true) => "by hand".to_owned(),
        (None, false) => "-".to_owned(),
    }
}

/// The kind of a guest that is no template.
fn kind_of(guest: &GuestRow) -> &'static str {
    match guest.guest {
        GuestType::Qemu => "VirtualMachine",
        GuestType::Lxc => "Container",
    }
}

/// Bytes for people, one digit after the point: `1.5Gi`.
fn rounded(bytes: u64) -> String {
    let (unit, factor) = if bytes >= 1 << 30 { ("Gi", 1u64 << 30) } else { ("Mi", 1 << 20) };
    let tenths = (bytes * 10).div_ceil(factor);
    if tenths.is_multiple_of(10) {
        format!("{}{unit}", tenths / 10)
    } else {
        format!("{}.{}{unit}", tenths / 10, tenths % 10)
    }
}

fn line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

fn value(row: &Row, shown: &Shown, now: u64, named: bool) -> Value {
    let Row { name, description, time: at, memory, parent, ours, policy, window, state } = row;
    let mut value = json!({
        "name": name, "description": description, "taken": time(row), "ageSeconds": at.map(|at| now.saturating_sub(at)),
        "ram": memory, "size": shown.sizes.get(name), "parent": parent, "ours": ours,
        "policy": policy.as_ref().map(|(set, name)| json!({"set": set, "name": name})),
        "window": window.as_ref().map(|(set, name)| json!({"set": set, "name": name})),
        "state": state.as_ref().map(SnapState::as_str),
    });
    if named {
        value["guest"] = shown.name.as_str().into();
        value["vmid"] = shown.guest.vmid.get().into();
        value["node"] = shown.guest.node.as_str().into();
    }
    value
}

fn table(shown: &[Shown], now: u64, named: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let head = ["NAME", "TAKEN", "AGE", "RAM", "SIZE", "STATE", "PARENT", "POLICY", "DESCRIPTION"];
    // Sizes cost requests of their own, and are shown of one guest alone.
    let columns = |cells: [String; 9], guest: &str| {
        let keep = cells.into_iter().enumerate().filter(|(n, _)| !named || *n != 4).map(|(_, cell)| cell);
        named.then(|| guest.to_owned()).into_iter().chain(keep).collect::<Vec<_>>()
    };
    table.set_header(columns(head.map(str::to_owned), "GUEST"));
    for (shown, row) in shown.iter().flat_map(|s| s.rows.iter().map(move |r| (s, r))) {
        let or = |text: Option<String>| text.filter(|t| !t.is_empty()).unwrap_or_else(|| "-".to_owned());
        let cells = [
            row.name.clone(),
            or(time(row)),
            or(Some(age(row, now))),
            if row.memory { "yes" } else { "no" }.to_owned(),
            or(shown.sizes.get(&row.name).map(|size| rounded(*size))),
            or(row.state.as_ref().map(|s| s.as_str().to_owned())),
            or(row.parent.clone()),
            by(row),
            or(Some(line(&row.description))),
        ];
        table.add_row(columns(cells, &shown.name));
    }
    if table.row_count() == 0 {
        return "none\n".to_owned();
    }
    table.lines().map(|l| l.trim().to_owned()).collect::<Vec<_>>().join("\n") + "\n"
}
