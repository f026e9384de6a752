//! Reading the history: for HTTP and the command line, each time through a connection of its own that cannot write.

use crate::daemon::history::Past;
use crate::daemon::record::{Actor, DriftRecord, EventRecord, FieldRecord, Healer, Level, RunRecord};
use crate::daemon::runners::{JobRecord, RunnerRecord};
use crate::daemon::store::book::number;
use crate::daemon::store::schema::{StoreError, judge};
use crate::daemon::store::{patches, runners};
use crate::daemon::windows::PatchRecord;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, Row, params_from_iter};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Rows of one answer at most, whoever asks.
pub(super) const ROWS_MAX: usize = 10_000;
/// How long a reader waits for a file that somebody holds.
const BUSY_MAX: Duration = Duration::from_secs(1);

/// Which spells of drift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    All,
    Lasting,
}

/// The file as readers see it.
#[derive(Clone, Debug)]
pub struct History {
    path: PathBuf,
}

impl History {
    /// The history in a file, which need not be there yet.
    pub fn new(path: &Path) -> History {
        History { path: path.to_owned() }
    }

    /// Spells of drift that began before `until` and lasted until `since` or longer.
    pub fn drift(&self, past: &Past) -> Result<Vec<DriftRecord>, StoreError> {
        self.read(|conn| drift(conn, past, Which::All))
    }

    /// Events.
    pub fn events(&self, past: &Past) -> Result<Vec<EventRecord>, StoreError> {
        self.read(|conn| events(conn, past))
    }

    /// Runs that began before `until` and ended at `since` or later, or have not ended.
    pub fn runs(&self, past: &Past) -> Result<Vec<RunRecord>, StoreError> {
        self.read(|conn| runs(conn, past))
    }

    /// What targets of patch windows got, in openings at `since` or later; `name` is the window.
    pub fn patches(&self, past: &Past) -> Result<Vec<PatchRecord>, StoreError> {
        self.read(|conn| patches::read(conn, past))
    }

    /// What became of machines of runner pools; `name` is the pool.
    pub fn runners(&self, past: &Past) -> Result<Vec<RunnerRecord>, StoreError> {
        self.read(|conn| runners::read(conn, past))
    }

    /// Jobs of runner pools; `name` is the pool.
    pub fn jobs(&self, past: &Past) -> Result<Vec<JobRecord>, StoreError> {
        self.read(|conn| runners::read_jobs(conn, past))
    }

    fn read<T>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        if !judge(&self.path)? {
            return Err(StoreError::Missing(self.path.clone()));
        }
        let failed = || StoreError::sqlite("read", &self.path);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(&self.path, flags).map_err(failed())?;
        conn.busy_timeout(BUSY_MAX).map_err(failed())?;
        // All rows of an answer are of one moment.
        conn.execute_batch("BEGIN").map_err(failed())?;
        ask(&conn).map_err(failed())
    }
}

/// A `WHERE` that grows with what is asked, so that SQLite can use its indexes.
pub(super) struct Where {
    claims: Vec<String>,
    pub(super) values: Vec<Value>,
}

impl Where {
    pub(super) fn new(past: &Past) -> Where {
        let mut on = Where { claims: Vec::new(), values: Vec::new() };
        on.add("source = ?", past.source.clone());
        on
    }

    pub(super) fn add(&mut self, claim: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.claims.push(claim.to_owned());
            self.values.push(value.into());
        }
    }

    pub(super) fn text(&self) -> String {
        if self.claims.is_empty() { String::new() } else { format!("WHERE {}", self.claims.join(" AND ")) }
    }
}

pub(super) fn drift(conn: &Connection, past: &Past, which: Which) -> rusqlite::Result<Vec<DriftRecord>> {
    let Past { source: _, kind, name, since_ms, until_ms, limit } = past;
    let mut on = Where::new(past);
    on.add("kind = ?", kind.clone());
    on.add("name = ?", name.clone());
    on.add("coalesce(healed_ms, 9223372036854775807) >= ?", since_ms.map(number));
    // As `DriftRecord::since_ms` has it: PVE's own time where it is known.
    on.add("min(seen_ms, coalesce(by_at_ms, seen_ms)) < ?", until_ms.map(number));
    match which {
        Which::All => {}
        Which::Lasting => on.claims.push("healed_ms IS NULL".to_owned()),
    }
    let text = format!(
        "SELECT id, source, kind, name, identity, seen_ms, by_user, by_what, by_at_ms, healed_ms, healed_by
         FROM drift {} ORDER BY seen_ms DESC, id LIMIT {}",
        on.text(),
        limit.min(&ROWS_MAX)
    );
    let mut rows: Vec<DriftRecord> =
        conn.prepare(&text)?.query_map(params_from_iter(on.values), drift_row)?.collect::<Result<_, _>>()?;
    let mut of = conn.prepare(
        "SELECT path, cluster, manifest, cause, impact FROM drift_fields WHERE drift_id = ?1 ORDER BY position",
    )?;
    for row in &mut rows {
        row.fields = of.query_map([&row.id], field_row)?.collect::<Result<_, _>>()?;
    }
    Ok(rows)
}

fn drift_row(row: &Row<'_>) -> rusqlite::Result<DriftRecord> {
    let user: Option<String> = row.get(6)?;
    let what: Option<String> = row.get(7)?;
    let at: Option<i64> = row.get(8)?;
    let by = user.zip(what).zip(at).map(|((user, what), at)| Actor { user, what, at_ms: time(at) });
    let healed_by = row.get::<_, Option<String>>(10)?;
    Ok(DriftRecord {
        id: row.get(0)?,
        source: row.get(1)?,
        kind: row.get(2)?,
        name: row.get(3)?,
        identity: row.get(4)?,
        fields: Vec::new(),
        seen_ms: time(row.get(5)?),
        by,
        healed_ms: row.get::<_, Option<i64>>(9)?.map(time),
        healed_by: healed_by.and_then(|word| {
            [Healer::Pvectl, Healer::Hand, Healer::Manifest].into_iter().find(|healer| healer.as_str() == word)
        }),
    })
}

fn field_row(row: &Row<'_>) -> rusqlite::Result<FieldRecord> {
    Ok(FieldRecord { path: row.get(0)?, from: row.get(1)?, to: row.get(2)?, cause: row.get(3)?, impact: row.get(4)? })
}

fn events(conn: &Connection, past: &Past) -> rusqlite::Result<Vec<EventRecord>> {
    let Past { source: _, kind, name, since_ms, until_ms, limit } = past;
    let mut on = Where::new(past);
    on.add("kind = ?", kind.clone());
    on.add("name = ?", name.clone());
    on.add("at_ms >= ?", since_ms.map(number));
    on.add("at_ms < ?", until_ms.map(number));
    let text = format!(
        "SELECT at_ms, source, kind, name, revision, level, reason, message, count
         FROM events {} ORDER BY at_ms DESC, id DESC LIMIT {}",
        on.text(),
        limit.min(&ROWS_MAX)
    );
    conn.prepare(&text)?.query_map(params_from_iter(on.values), event_row)?.collect()
}

fn event_row(row: &Row<'_>) -> rusqlite::Result<EventRecord> {
    let name: Option<String> = row.get(3)?;
    let kind: Option<String> = row.get(2)?;
    let warning = row.get::<_, String>(5)? == Level::Warning.as_str();
    Ok(EventRecord {
        at_ms: time(row.get(0)?),
        source: row.get(1)?,
        object: name.map(|name| object(kind, name)),
        revision: row.get(4)?,
        level: if warning { Level::Warning } else { Level::Normal },
        reason: row.get(6)?,
        message: row.get(7)?,
        count: row.get(8)?,
    })
}

fn runs(conn: &Connection, past: &Past) -> rusqlite::Result<Vec<RunRecord>> {
    let Past { source: _, kind, name, since_ms, until_ms, limit } = past;
    let mut on = Where::new(past);
    match (kind.clone(), name.clone()) {
        (Some(kind), Some(name)) => {
            on.claims.push("id IN (SELECT run_id FROM run_objects WHERE kind = ? AND name = ?)".to_owned());
            on.values.extend([kind.into(), name.into()]);
        }
        (kind, name) => {
            on.add("id IN (SELECT run_id FROM run_objects WHERE kind = ?)", kind);
            on.add("id IN (SELECT run_id FROM run_objects WHERE name = ?)", name);
        }
    }
    on.add("coalesce(ended_ms, 9223372036854775807) >= ?", since_ms.map(number));
    on.add("began_ms < ?", until_ms.map(number));
    let text = format!(
        "SELECT id, source, revision, began_ms, ended_ms, steps, converged, doing
         FROM runs {} ORDER BY began_ms DESC, id LIMIT {}",
        on.text(),
        limit.min(&ROWS_MAX)
    );
    let mut rows: Vec<RunRecord> =
        conn.prepare(&text)?.query_map(params_from_iter(on.values), run_row)?.collect::<Result<_, _>>()?;
    let mut of = conn.prepare(
        "SELECT position IS NOT NULL, kind, name, error FROM run_objects WHERE run_id = ?1 ORDER BY position",
    )?;
    for row in &mut rows {
        let mut objects = of.query([&row.id])?;
        while let Some(line) = objects.next()? {
            let object = object(line.get(1)?, line.get(2)?);
            if let Some(error) = line.get(3)? {
                row.failed.insert(object.clone(), error);
            }
            if line.get(0)? {
                row.objects.push(object);
            }
        }
    }
    Ok(rows)
}

fn run_row(row: &Row<'_>) -> rusqlite::Result<RunRecord> {
    let doing: String = row.get(7)?;
    Ok(RunRecord {
        id: row.get(0)?,
        source: row.get(1)?,
        revision: row.get(2)?,
        began_ms: time(row.get(3)?),
        ended_ms: row.get::<_, Option<i64>>(4)?.map(time),
        objects: Vec::new(),
        steps: usize::try_from(row.get::<_, i64>(5)?).unwrap_or(0),
        // What an operator may have written there by hand is no reason to show nothing.
        doing: serde_json::from_str(&doing).unwrap_or_default(),
        converged: row.get(6)?,
        failed: std::collections::BTreeMap::new(),
    })
}

pub(super) fn time(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn object(kind: Option<String>, name: String) -> String {
    kind.map_or_else(|| name.clone(), |kind| format!("{kind}/{name}"))
}
