//! The one connection that writes. Every call is a transaction: a kill leaves all of it or nothing.

use crate::daemon::history::Past;
use crate::daemon::record::{DriftRecord, EventRecord, RunRecord};
use crate::daemon::runners::{JobRecord, RunnerRecord};
use crate::daemon::store::schema::{StoreError, judge, migrate};
use crate::daemon::store::{patches, query, runners};
use crate::daemon::windows::PatchRecord;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long another program, such as `sqlite3`, may hold the file. The loop does not wait for it; the keeper's thread does.
const BUSY_MAX: Duration = Duration::from_secs(2);
/// Rows that one transaction deletes, so that readers and the write-ahead log never see a huge one.
const PRUNE_ROWS: usize = 5_000;
/// Free pages that one pruning gives back to the file system.
const VACUUM_PAGES: u32 = 2_000;
/// The write-ahead log is cut back to this many bytes.
const LOG_BYTES: u32 = 4 << 20;

/// How much history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How old a row may be.
    pub age_ms: u64,
    /// Rows of each table, so that a guest that flaps cannot fill a disk within the age.
    pub rows: usize,
    /// Pages of 4 KiB of the file. What comes when it is reached is lost until old rows go.
    pub pages: u32,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { age_ms: 90 * 86_400_000, rows: 200_000, pages: 262_144 }
    }
}

/// A line of history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A spell of drift, as it now is.
    Drift(DriftRecord),
    /// A moment; one with a `count` above 1 takes the place of the same told before.
    Event(EventRecord),
    /// A run, as it now is.
    Run(RunRecord),
    /// What a target of a patch window got, as it is now known.
    Patch(PatchRecord),
    /// What became of a machine of a runner pool, as it is now known.
    Runner(RunnerRecord),
    /// A job of a runner pool, as it is now known.
    Job(JobRecord),
}

/// The open file.
#[derive(Debug)]
pub struct Book {
    conn: Connection,
    path: PathBuf,
    mark: Option<Mark>,
}

/// Which file it is, whatever its name: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark(u64, u64);

impl Book {
    /// Opens the file, or makes it. What is not ours is left as it is.
    pub fn open(path: &Path, bounds: &Bounds) -> Result<Book, StoreError> {
        judge(path)?;
        let failed = || StoreError::sqlite("open", path);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut conn = Connection::open_with_flags(path, flags).map_err(failed())?;
        conn.busy_timeout(BUSY_MAX).map_err(failed())?;
        conn.pragma_update_and_check(None, "max_page_count", bounds.pages, |_| Ok(())).map_err(failed())?;
        migrate(&mut conn, path)?;
        let read_only = conn.is_readonly(rusqlite::MAIN_DB).map_err(failed())?;
        if read_only {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_READONLY);
            return Err(failed()(rusqlite::Error::SqliteFailure(code, None)));
        }
        conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).map_err(failed())?;
        // With WAL a loss of power costs the last transactions at most, and never the file.
        conn.pragma_update(None, "synchronous", "NORMAL").map_err(failed())?;
        conn.pragma_update(None, "foreign_keys", true).map_err(failed())?;
        conn.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES, |_| Ok(())).map_err(failed())?;
        Ok(Book { conn, path: path.to_owned(), mark: mark(path) })
    }

    /// Whether the file of that name is still the one that was opened: SQLite goes on in a deleted one without a word.
    pub fn is_there(&self) -> bool {
        self.mark == mark(&self.path) && self.path.exists()
    }

    /// Writes all of them, or none.
    pub fn keep(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let failed = || StoreError::sqlite("write to", &self.path);
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed())?;
        for record in records {
            let written = match record {
                Record::Drift(drift) => write_drift(&transaction, drift),
                Record::Event(event) => write_event(&transaction, event),
                Record::Run(run) => write_run(&transaction, run),
                Record::Patch(patch) => patches::write(&transaction, patch),
                Record::Runner(runner) => runners::write(&transaction, runner),
                Record::Job(job) => runners::write_job(&transaction, job),
            };
            written.map_err(failed())?;
        }
        transaction.commit().map_err(failed())
    }

    /// Drift that had not ended when the daemon did, the newest first.
    pub fn open_drift(&self) -> Result<Vec<DriftRecord>, StoreError> {
        let past = Past { limit: query::ROWS_MAX, ..Past::default() };
        query::drift(&self.conn, &past, query::Which::Lasting).map_err(StoreError::sqlite("read", &self.path))
    }

    /// Runs of a daemon that was killed are no longer on their way. The caller is the only daemon of this file.
    pub fn abandon_runs(&mut self, now_ms: u64) -> Result<usize, StoreError> {
        let failed = || StoreError::sqlite("write to", &self.path);
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed())?;
        transaction
            .execute(
                "UPDATE run_objects SET error = 'the daemon ended before the run did' WHERE error IS NULL AND run_id IN
                 (SELECT id FROM runs WHERE ended_ms IS NULL)",
                [],
            )
            .map_err(failed())?;
        let count = transaction
            .execute(
                "UPDATE runs SET ended_ms = max(began_ms, ?1), converged = 0, doing = '{}' WHERE ended_ms IS NULL",
                [number(now_ms)],
            )
            .map_err(failed())?;
        transaction.commit().map_err(failed())?;
        Ok(count)
    }

    /// Deletes what ended before a moment, and the oldest of what is more than `rows_max`. Drift that lasts stays. Returns
    /// how many rows went.
    pub fn prune(&mut self, before_ms: u64, rows_max: usize) -> Result<usize, StoreError> {
        let failed = || StoreError::sqlite("prune", &self.path);
        let mut gone = 0;
        for (table, end) in [
            ("drift", "healed_ms"),
            ("events", "at_ms"),
            ("runs", "coalesce(ended_ms, began_ms)"),
            ("patches", "opened_ms"),
            ("runners", "coalesce(gone_ms, seen_ms)"),
            ("runner_jobs", "coalesce(ended_ms, seen_ms)"),
        ] {
            let old = format!(
                "DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE {end} < ?1 LIMIT {PRUNE_ROWS})"
            );
            loop {
                let rows = self.conn.execute(&old, [number(before_ms)]).map_err(failed())?;
                gone += rows;
                if rows < PRUNE_ROWS {
                    break;
                }
            }
            let ended = if table == "drift" { "WHERE healed_ms IS NOT NULL" } else { "" };
            let oldest = format!(
                "DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} {ended} ORDER BY {end}, rowid LIMIT ?1)"
            );
            loop {
                let count = format!("SELECT count(*) FROM {table}");
                let all: i64 = self.conn.query_row(&count, [], |row| row.get(0)).map_err(failed())?;
                let over = (all - number(rows_max)).min(number(PRUNE_ROWS));
                let rows = if over > 0 { self.conn.execute(&oldest, [over]).map_err(failed())? } else { 0 };
                gone += rows;
                if rows == 0 {
                    break;
                }
            }
        }
        if gone > 0 {
            // A step frees a page: it is to be asked to its end.
            let vacuum = format!("PRAGMA incremental_vacuum({VACUUM_PAGES})");
            let mut vacuum = self.conn.prepare(&vacuum).map_err(failed())?;
            let mut pages = vacuum.query([]).map_err(failed())?;
            while pages.next().map_err(failed())?.is_some() {}
            self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(failed())?;
        }
        Ok(gone)
    }
}

#[cfg(unix)]
fn mark(path: &Path) -> Option<Mark> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|m| Mark(m.dev(), m.ino()))
}

/// Elsewhere an open file cannot be deleted.
#[cfg(not(unix))]
fn mark(_path: &Path) -> Option<Mark> {
    None
}

/// SQLite's integers are signed. A time beyond them is nonsense, and no reason to lose a line.
pub(super) fn number(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

/// `Kind/name` in two; what has no `/` is a name.
pub(super) fn parts(object: &str) -> (Option<&str>, &str) {
    object.split_once('/').map_or((None, object), |(kind, name)| (Some(kind), name))
}

fn write_drift(transaction: &Transaction<'_>, record: &DriftRecord) -> rusqlite::Result<()> {
    let since_ms = record.since_ms();
    let DriftRecord { id, source, kind, name, identity, fields, seen_ms, by, healed_ms, healed_by } = record;
    transaction
        .prepare_cached(
            "INSERT INTO drift (id, source, kind, name, identity, seen_ms, since_ms, by_user, by_what, by_at_ms, healed_ms,
             healed_by) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
             ON CONFLICT (id) DO UPDATE SET identity = excluded.identity, since_ms = excluded.since_ms,
             by_user = excluded.by_user, by_what = excluded.by_what, by_at_ms = excluded.by_at_ms,
             healed_ms = excluded.healed_ms, healed_by = excluded.healed_by",
        )?
        .execute(params![
            id,
            source,
            kind,
            name,
            identity,
            number(*seen_ms),
            number(since_ms),
            by.as_ref().map(|by| &by.user),
            by.as_ref().map(|by| &by.what),
            by.as_ref().map(|by| number(by.at_ms)),
            healed_ms.map(number),
            healed_by.map(|by| by.as_str()),
        ])?;
    transaction.prepare_cached("DELETE FROM drift_fields WHERE drift_id = ?1")?.execute([id])?;
    let mut insert = transaction.prepare_cached("INSERT INTO drift_fields VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    for (position, field) in fields.iter().enumerate() {
        insert.execute(params![id, number(position), field.path, field.from, field.to, field.cause, field.impact])?;
    }
    Ok(())
}

fn write_event(transaction: &Transaction<'_>, record: &EventRecord) -> rusqlite::Result<()> {
    let EventRecord { at_ms, source, object, revision, level, reason, message, count } = record;
    let (kind, name) = object.as_deref().map_or((None, None), |object| {
        let (kind, name) = parts(object);
        (kind, Some(name))
    });
    if *count > 1 {
        let last: Option<(i64, String, String)> = transaction
            .prepare_cached(
                "SELECT id, reason, message FROM events WHERE source = ?1 AND kind IS ?2 AND name IS ?3
                 ORDER BY at_ms DESC, id DESC LIMIT 1",
            )?
            .query_row(params![source, kind, name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        if let Some((id, old_reason, old_message)) = last
            && (&old_reason, &old_message) == (reason, message)
        {
            transaction
                .prepare_cached("UPDATE events SET at_ms = ?2, revision = ?3, count = ?4 WHERE id = ?1")?
                .execute(params![id, number(*at_ms), revision, count])?;
            return Ok(());
        }
    }
    transaction
        .prepare_cached(
            "INSERT INTO events (at_ms, source, kind, name, revision, level, reason, message, count)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![number(*at_ms), source, kind, name, revision, level.as_str(), reason, message, count])
        .map(drop)
}

fn write_run(transaction: &Transaction<'_>, record: &RunRecord) -> rusqlite::Result<()> {
    let RunRecord { id, source, revision, began_ms, ended_ms, objects, steps, doing, converged, failed } = record;
    let doing = serde_json::to_string(doing).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    transaction
        .prepare_cached(
            "INSERT INTO runs (id, source, revision, began_ms, ended_ms, steps, converged, doing)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, ended_ms = excluded.ended_ms,
             steps = excluded.steps, converged = excluded.converged, doing = excluded.doing",
        )?
        .execute(params![
            id,
            source,
            revision,
            number(*began_ms),
            ended_ms.map(number),
            number(*steps),
            converged,
            doing
        ])?;
    transaction.prepare_cached("DELETE FROM run_objects WHERE run_id = ?1")?.execute([id])?;
    let mut insert = transaction.prepare_cached("INSERT INTO run_objects VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for (position, object) in objects.iter().enumerate() {
        let (kind, name) = parts(object);
        insert.execute(params![id, number(position), kind, name, failed.get(object)])?;
    }
    for (object, why) in failed.iter().filter(|(object, _)| !objects.contains(object)) {
        let (kind, name) = parts(object);
        insert.execute(params![id, None::<i64>, kind, name, why])?;
    }
    Ok(())
}
