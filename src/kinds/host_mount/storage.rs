//! The storage on a mount: through the table of objects, as a `Storage` is. It is ours where the marker of the mount says that
//! we made it.

use crate::kinds::host_mount::seen::There;
use crate::kinds::host_mount::spec::MountStorage;
use crate::kinds::objects::content::member;
use crate::kinds::objects::object::Object;
use crate::kinds::objects::plan;
use crate::kinds::objects::refuse::TAKE_OVER;
use crate::kinds::objects::row::query;
use crate::kinds::objects::table::{STORAGE, Storage};
use crate::pve::request::Query;
use crate::resource::index::{Index, text};
use crate::resource::kind::{Kind, PlanContext};
use crate::resource::privilege::require;
use crate::resource::reference::Identity;
use crate::resource::step::{Change, Delta, Impact, Note, Problem, Step};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The field of the marker that says which storage is ours.
pub const ID: &str = "storage.id";
/// The field that says what it may hold.
pub const CONTENT: &str = "storage.content";

fn all(index: &Index) -> impl Iterator<Item = &Value> {
    let list = index.lists.get(&query("/storage")).and_then(|list| list.as_ref().ok());
    list.and_then(|list| list.as_array()).into_iter().flatten()
}

/// The ids of storages on a path, or below it.
pub fn on(index: &Index, path: &str) -> Vec<String> {
    let inside = |row: &&Value| {
        let at = member(row, "path");
        at == path || at.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
    };
    all(index).filter(inside).map(|row| member(row, "storage")).collect()
}

/// The storage of this node alone whose folder is the mount, as a manifest says it.
pub fn export(index: &Index, node: &str, path: &str) -> Option<Value> {
    let fits =
        |row: &&Value| member(row, "path") == path && member(row, "type") == "dir" && member(row, "nodes") == node;
    let row = all(index).find(fits)?;
    let content: BTreeSet<String> =
        member(row, "content").split(',').filter(|c| !c.is_empty()).map(str::to_owned).collect();
    Some(json!({"id": member(row, "storage"), "content": content}))
}

fn content(node: &str, id: &str) -> Query {
    Query::new(format!("/nodes/{node}/storage/{id}/content"))
}

/// What must be read before a storage may go: what is on it. Asked of every storage that may be ours.
pub fn contents(index: &Index, node: &str) -> Vec<Query> {
    let ours = |row: &&Value| member(row, "nodes") == node && !member(row, "is_mountpoint").is_empty();
    all(index).filter(ours).map(|row| content(node, &member(row, "storage"))).collect()
}

/// The same for the storages on a path.
pub fn reads(index: &Index, node: &str, path: &str, keeps: Option<&str>) -> Vec<Query> {
    let goes = |id: &String| Some(id.as_str()) != keeps;
    on(index, path).into_iter().filter(goes).map(|id| content(node, &id)).collect()
}

/// Plans the storage that shall be there; its changes and steps come into the mount's delta.
pub fn keep(cx: &PlanContext<'_>, (node, path): (&str, &str), want: &MountStorage, ours: bool, delta: &mut Delta) {
    let identity = Identity::Object { kind: "Storage", id: want.id.clone() };
    let observed = match Object::<Storage>::decode(&identity, cx.seen) {
        Ok(observed) => observed,
        Err(error) => {
            delta.problems.push(
                Problem::new("storage", format!("the storages could not be read: {}", error.message))
                    .help("nothing is known of them, so nothing is done"),
            );
            return;
        }
    };
    if observed.is_some() && !ours && !cx.adopt {
        delta.problems.push(
            Problem::new(
                ID,
                format!("there is a storage `{}` already, which pvectl did not make for this mount", want.id),
            )
            .help(format!(
                "take it over with: pvectl adopt {} -f …, or choose another id, or leave `storage` out",
                cx.resource
            )),
        );
        return;
    }
    let mut spec = json!({
        "id": want.id, "type": "dir", "path": path, "nodes": [node], "options": {"is_mountpoint": "yes"},
    });
    if let Some(content) = &want.content {
        spec["content"] = json!(content);
    }
    let annotations = BTreeMap::from([(TAKE_OVER.to_owned(), "true".to_owned())]);
    let inner = PlanContext { identity: &identity, annotations: &annotations, ..*cx };
    let planned = plan::plan(&STORAGE, &inner, Some(spec), observed.as_ref());
    let below = |path: &str| format!("storage.{}", path.trim_start_matches("storage."));
    // That it is there says the rest of what a new one is.
    let told = |change: &&Change| observed.is_some() || change.path == "content";
    if observed.is_none() {
        delta.changes.push(Change {
            path: ID.to_owned(),
            from: None,
            to: Some(want.id.clone()),
            cause: crate::resource::merge::Cause::Change,
            impact: Impact::None,
        });
    }
    delta.changes.extend(planned.changes.iter().filter(told).map(|c| Change { path: below(&c.path), ..c.clone() }));
    delta.steps.extend(planned.steps);
    delta.notes.extend(planned.notes);
    delta.problems.extend(planned.problems.into_iter().map(|mut problem| {
        problem.path.insert(0, "storage".to_owned());
        problem
    }));
}

/// Takes the definition of a storage of ours away, if it is there and still lies on the mount. What it holds stays on the disk.
pub fn remove(cx: &PlanContext<'_>, (node, path): (&str, &str), there: &There, delta: &mut Delta) {
    let Some(id) = there.marker.as_ref().and_then(|m| m.applied.get(ID)) else { return };
    let index = &cx.seen.index;
    let unknown = |why: &str| {
        Problem::new("", format!("whether storage `{id}` on it can go is not known: {why}"))
            .help("nothing is taken away unseen; try again when the cluster answers")
    };
    let row = match index.lists.get(&query("/storage")) {
        Some(Ok(_)) => all(index).find(|row| member(row, "storage") == *id),
        Some(Err(why)) => return delta.problems.push(unknown(why)),
        None => return delta.problems.push(unknown("the storages were not asked for")),
    };
    let Some(row) = row else { return };
    if member(row, "path") != path {
        delta.notes.push(Note::Info(format!("storage {id} lies on `{}` now, and is left alone", member(row, "path"))));
        return;
    }
    let (guests, backups) = match cx.seen.answer(&content(node, id)) {
        Some(Ok(list)) => held(list),
        // A disk that is away shows nothing, and what is on it stays.
        Some(Err(_)) if !there.is_mounted() => (BTreeSet::new(), 0),
        Some(Err(error)) => return delta.problems.push(unknown(&error.to_string())),
        None => return delta.problems.push(unknown("what is on it was not asked for")),
    };
    if !guests.is_empty() {
        let list = guests.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        delta.problems.push(
            Problem::new("", format!("storage `{id}` on it holds volumes of guests: {list}"))
                .help("they cannot run without it: move their volumes to another storage first, or keep the manifest"),
        );
        return;
    }
    if backups > 0 {
        delta.notes.push(Note::Info(format!("{backups} files of storage {id} stay on the disk")));
    }
    require(cx, delta, "/storage", "Datastore.Allocate");
    let call = STORAGE.call(&STORAGE.delete, id);
    let title = format!("remove the definition of storage {id}");
    delta.steps.push(Step::new(title, call, Impact::None).limit(STORAGE.limit.clone()));
}

/// The guests that have volumes on a storage, and how many other files are there.
fn held(list: &Value) -> (BTreeSet<u64>, usize) {
    let (mut guests, mut others) = (BTreeSet::new(), 0);
    for row in list.as_array().into_iter().flatten() {
        let owner = text(&row["vmid"]).and_then(|v| v.parse().ok());
        match (text(&row["content"]).as_deref(), owner) {
            (Some("images" | "rootdir"), Some(vmid)) => {
                guests.insert(vmid);
            }
            (_, _) => others += 1,
        }
    }
    (guests, others)
}
