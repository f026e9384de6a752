//! What was read in a pass: the index, and the raw answers to what kinds asked for. Raw, so that a fixture is JSON.

use crate::base::id::VmId;
use crate::base::resolver::Resolution;
use crate::base::secret_file::FileState;
use crate::pve::error::PveError;
use crate::pve::request::Query;
use crate::resource::index::{self, GuestRow, Index, text};
use crate::resource::marker::Marker;
use crate::resource::reference::ResourceRef;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

/// The answer to one read: PVE's `data`, or why there is none.
pub type Answer = Result<Arc<Value>, PveError>;

/// Everything that one pass has seen.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// The table of contents.
    pub index: Index,
    /// What DNS says of the names that specs hold.
    pub names: BTreeMap<String, Resolution>,
    /// The files of secrets that specs name.
    pub files: BTreeMap<String, FileState>,
    /// When it was seen, in seconds since 1970.
    pub at: i64,
    /// Raw answers by the query that asked.
    answers: HashMap<Query, Answer>,
    /// Our markers by guest, read when they are first asked for.
    markers: OnceLock<BTreeMap<VmId, Arc<Marker>>>,
}

/// The read that tells all about a guest: its configuration, what waits for a restart, our marker, and the digest.
pub fn guest_query(row: &GuestRow) -> Query {
    Query::new(format!("/nodes/{}/{}/{}/pending", row.node, row.guest, row.vmid))
}

/// Every comment of a list's rows, and of lists within them.
fn in_comments(list: &mut Value, look: &mut impl FnMut(&mut Value)) {
    for row in list.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        for (key, value) in row {
            if key == "comment" {
                look(value);
            } else {
                in_comments(value, look);
            }
        }
    }
}

impl Observation {
    /// What was seen with an index alone.
    pub fn new(index: Index) -> Observation {
        Observation { index, ..Observation::default() }
    }

    /// Adds the answer to a query. A list of a node's guests brings the index up to date.
    pub fn add(&mut self, query: Query, answer: Answer) {
        if let (Some((node, guest)), Ok(rows)) = (index::is_node_guests(&query), &answer) {
            self.index.refresh(node, guest, rows);
        }
        self.markers = OnceLock::new();
        self.answers.insert(query, answer);
    }

    /// The marker on a guest, if it was read and was written for this guest.
    pub fn guest_marker(&self, vmid: VmId) -> Option<&Arc<Marker>> {
        let markers = self.markers.get_or_init(|| {
            let read = |row: &Arc<GuestRow>| Some((row.vmid, Arc::new(self.read_marker(row)?)));
            self.index.guests.values().filter_map(read).collect()
        });
        markers.get(&vmid)
    }

    /// The same, as if some fields had never been applied: what a manifest ignores is not reset because it left. `forgotten`
    /// names the fields of an owner; a field stands for all below it.
    pub fn forgetting<'a>(&self, set: &str, forgotten: impl Fn(&ResourceRef) -> &'a [String]) -> Observation {
        let mut markers = BTreeMap::new();
        for vmid in self.index.guests.keys() {
            let Some(marker) = self.guest_marker(*vmid) else { continue };
            let fields = if marker.set == set { forgotten(&marker.owner) } else { &[] };
            let below =
                |path: &str, field: &str| path.strip_prefix(field).is_some_and(|r| r.is_empty() || r.starts_with('.'));
            let mut marker = Arc::clone(marker);
            if !fields.is_empty() {
                Arc::make_mut(&mut marker).applied.retain(|path, _| !fields.iter().any(|field| below(path, field)));
            }
            markers.insert(*vmid, marker);
        }
        let mut index = self.index.clone();
        for pool in index.pools.values_mut() {
            let (text, Some(mut marker)) = Marker::split(&pool.comment) else { continue };
            let fields = if marker.set == set { forgotten(&marker.owner) } else { &[] };
            if !fields.is_empty() {
                marker.applied.retain(|path, _| !fields.contains(path));
                pool.comment = marker.join(&text);
            }
        }
        for rows in index.lists.values_mut().flatten() {
            in_comments(Arc::make_mut(rows), &mut |comment| {
                let Some((text, Some(mut marker))) = comment.as_str().map(Marker::split) else { return };
                let fields = if marker.set == set { forgotten(&marker.owner) } else { &[] };
                if !fields.is_empty() {
                    marker.applied.retain(|path, _| !fields.contains(path));
                    *comment = marker.join(&text).into();
                }
            });
        }
        Observation { index, markers: OnceLock::from(markers), ..self.clone() }
    }

    fn read_marker(&self, row: &GuestRow) -> Option<Marker> {
        let list = self.value(&guest_query(row))?.as_array()?;
        let notes = list.iter().find(|e| e["key"] == "description")?;
        let notes = text(&notes["pending"]).or_else(|| text(&notes["value"]))?;
        Marker::split(&notes).1.filter(|m| m.vmid.is_none_or(|v| v == row.vmid.get()))
    }

    /// The answer to a query that was asked; `None` if it was not asked.
    pub fn answer(&self, query: &Query) -> Option<&Answer> {
        self.answers.get(query)
    }

    /// The value that a query brought, if it was asked and answered.
    pub fn value(&self, query: &Query) -> Option<&Value> {
        match self.answers.get(query) {
            Some(Ok(value)) => Some(value),
            Some(Err(_)) | None => None,
        }
    }
}
