//! Whose a file is, and what its tables are. A file that is not ours, or of a newer pvectl, is told by its first bytes alone,
//! before SQLite could write to it.

use rusqlite::Connection;
use std::io::Read;
use std::path::{Path, PathBuf};

/// `PRAGMA application_id` of our files: "pvec".
pub const APPLICATION_ID: u32 = 0x7076_6563;

/// `PRAGMA user_version` that this program writes.
pub const VERSION: u32 = STEPS.len() as u32;

/// What every SQLite file begins with.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// Bytes of SQLite's header.
const HEADER: usize = 100;

/// Each step makes the next version of the one before it. Steps that were released never change.
const STEPS: [&str; 3] = [
    "
CREATE TABLE drift (
  id         TEXT PRIMARY KEY NOT NULL,
  source     TEXT NOT NULL,
  kind       TEXT NOT NULL,
  name       TEXT NOT NULL,
  identity   TEXT,
  seen_ms    INTEGER NOT NULL,
  since_ms   INTEGER NOT NULL,
  by_user    TEXT,
  by_what    TEXT,
  by_at_ms   INTEGER,
  healed_ms  INTEGER,
  healed_by  TEXT CHECK (healed_by IN ('pvectl', 'hand', 'manifest'))
) STRICT;
CREATE INDEX drift_seen ON drift (seen_ms);
CREATE INDEX drift_object ON drift (kind, name, seen_ms);
CREATE INDEX drift_lasting ON drift (source) WHERE healed_ms IS NULL;
CREATE TABLE drift_fields (
  drift_id   TEXT NOT NULL REFERENCES drift (id) ON DELETE CASCADE,
  position   INTEGER NOT NULL,
  path       TEXT NOT NULL,
  cluster    TEXT,
  manifest   TEXT,
  cause      TEXT NOT NULL,
  impact     TEXT NOT NULL,
  PRIMARY KEY (drift_id, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE events (
  id         INTEGER PRIMARY KEY,
  at_ms      INTEGER NOT NULL,
  source     TEXT NOT NULL,
  kind       TEXT,
  name       TEXT,
  revision   TEXT,
  level      TEXT NOT NULL CHECK (level IN ('Normal', 'Warning')),
  reason     TEXT NOT NULL,
  message    TEXT NOT NULL,
  count      INTEGER NOT NULL
) STRICT;
CREATE INDEX events_at ON events (at_ms);
CREATE INDEX events_object ON events (source, kind, name, at_ms);
CREATE TABLE runs (
  id         TEXT PRIMARY KEY NOT NULL,
  source     TEXT NOT NULL,
  revision   TEXT NOT NULL,
  began_ms   INTEGER NOT NULL,
  ended_ms   INTEGER,
  steps      INTEGER NOT NULL,
  converged  INTEGER CHECK (converged IN (0, 1)),
  doing      TEXT NOT NULL
) STRICT;
CREATE INDEX runs_began ON runs (began_ms);
CREATE TABLE run_objects (
  run_id     TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  position   INTEGER,
  kind       TEXT,
  name       TEXT NOT NULL,
  error      TEXT
) STRICT;
CREATE INDEX run_objects_run ON run_objects (run_id, position);
CREATE INDEX run_objects_object ON run_objects (kind, name);
",
    "
CREATE TABLE patches (
  id         TEXT PRIMARY KEY NOT NULL,
  source     TEXT NOT NULL,
  window     TEXT NOT NULL,
  target     TEXT NOT NULL,
  name       TEXT NOT NULL,
  opened_ms  INTEGER NOT NULL,
  began_ms   INTEGER,
  ended_ms   INTEGER,
  result     TEXT,
  why        TEXT,
  system     TEXT,
  manager    TEXT,
  rebooted   INTEGER NOT NULL CHECK (rebooted IN (0, 1)),
  reboot_required TEXT,
  attempts   INTEGER NOT NULL,
  cves       TEXT NOT NULL,
  checks     TEXT NOT NULL,
  log        TEXT NOT NULL
) STRICT;
CREATE INDEX patches_opened ON patches (opened_ms);
CREATE INDEX patches_target ON patches (window, target, opened_ms);
CREATE TABLE patch_packages (
  patch_id    TEXT NOT NULL REFERENCES patches (id) ON DELETE CASCADE,
  position    INTEGER NOT NULL,
  name        TEXT NOT NULL,
  old_version TEXT,
  new_version TEXT,
  security    INTEGER CHECK (security IN (0, 1)),
  left_why    TEXT,
  PRIMARY KEY (patch_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX patch_packages_name ON patch_packages (name);
",
    "
CREATE TABLE runners (
  id         TEXT PRIMARY KEY NOT NULL,
  source     TEXT NOT NULL,
  pool       TEXT NOT NULL,
  name       TEXT NOT NULL,
  vmid       INTEGER NOT NULL,
  node       TEXT NOT NULL,
  seen_ms    INTEGER NOT NULL,
  made_ms    INTEGER,
  started_ms INTEGER,
  registering_ms INTEGER,
  online_ms  INTEGER,
  busy_ms    INTEGER,
  ended_ms   INTEGER,
  gone_ms    INTEGER,
  result     TEXT,
  cause      TEXT,
  job        TEXT
) STRICT;
CREATE INDEX runners_seen ON runners (seen_ms);
CREATE INDEX runners_pool ON runners (pool, seen_ms);
CREATE TABLE runner_jobs (
  id         TEXT PRIMARY KEY NOT NULL,
  source     TEXT NOT NULL,
  pool       TEXT NOT NULL,
  job        INTEGER NOT NULL,
  repository TEXT NOT NULL,
  name       TEXT NOT NULL,
  labels     TEXT NOT NULL,
  seen_ms    INTEGER NOT NULL,
  queued_ms  INTEGER,
  began_ms   INTEGER,
  ended_ms   INTEGER,
  runner     TEXT
) STRICT;
CREATE INDEX runner_jobs_seen ON runner_jobs (seen_ms);
CREATE INDEX runner_jobs_pool ON runner_jobs (pool, seen_ms);
",
];

/// Why there is no history.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file of something else.
    #[error("{0} is no SQLite file; it is left as it is. Move it away, or name another file in `store`")]
    NotSqlite(PathBuf),
    /// A database of another program.
    #[error("{0} is the database of another program; it is left as it is. Name another file in `store`")]
    Foreign(PathBuf),
    /// A database of a pvectl that is newer than this one.
    #[error(
        "{path} has version {found}, and this pvectl knows {VERSION}: a newer one wrote it; it is left as it is. Use that \
         one, or move the file away"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// No file to read.
    #[error("there is no history in {0} yet")]
    Missing(PathBuf),
    /// The file cannot be read as a file.
    #[error("failed to read {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// SQLite could not do it.
    #[error("failed to {what} {path}")]
    Sqlite {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
}

impl StoreError {
    /// An error of SQLite with what was tried.
    pub fn sqlite(what: &'static str, path: &Path) -> impl FnOnce(rusqlite::Error) -> StoreError {
        let path = path.to_owned();
        move |source| StoreError::Sqlite { what, path, source }
    }

    /// With its cause, on one line.
    pub fn in_full(&self) -> String {
        match std::error::Error::source(self) {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        }
    }
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// There is none, or it is empty.
    Absent,
    /// One of ours, with its version.
    Ours(u32),
    /// SQLite's, and of another program.
    Foreign,
    /// Anything else.
    NotSqlite,
}

/// What a file is, by its first bytes.
pub fn ownership(head: &[u8]) -> Ownership {
    let number = |at: usize| head.get(at..at + 4).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    if head.is_empty() {
        Ownership::Absent
    } else if head.len() < HEADER || !head.starts_with(MAGIC) {
        Ownership::NotSqlite
    } else if number(68) == APPLICATION_ID {
        Ownership::Ours(number(60))
    } else {
        Ownership::Foreign
    }
}

/// Whether a file may be opened as the history. Only reads. True: it is there; false: it is to be made.
pub fn judge(path: &Path) -> Result<bool, StoreError> {
    let unreadable = |source| StoreError::Unreadable { path: path.to_owned(), source };
    let mut head = Vec::with_capacity(HEADER);
    match std::fs::File::open(path) {
        Ok(file) => drop(file.take(HEADER as u64).read_to_end(&mut head).map_err(unreadable)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(unreadable(error)),
    }
    match ownership(&head) {
        Ownership::Absent => Ok(false),
        Ownership::Ours(version) if version <= VERSION => Ok(true),
        Ownership::Ours(found) => Err(StoreError::Newer { path: path.to_owned(), found }),
        // We were killed while we made it: SQLite takes back what its journal says.
        Ownership::Foreign | Ownership::NotSqlite if journal(path).exists() => Ok(true),
        Ownership::Foreign => Err(StoreError::Foreign(path.to_owned())),
        Ownership::NotSqlite => Err(StoreError::NotSqlite(path.to_owned())),
    }
}

fn journal(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-journal");
    name.into()
}

/// Makes the tables, or brings them to this version. A new file gets all of its marks in one transaction, before it is
/// switched to WAL: its first bytes tell whose it is from its first moment on.
pub fn migrate(conn: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let failed = || StoreError::sqlite("make the tables of", path);
    let version: u32 = conn.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed())?;
    let id: i64 = conn.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(failed())?;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed())?;
    if id != i64::from(APPLICATION_ID) && (tables > 0 || version > 0) {
        return Err(StoreError::Foreign(path.to_owned()));
    }
    if version > VERSION {
        return Err(StoreError::Newer { path: path.to_owned(), found: version });
    }
    if version == 0 {
        // Takes effect only before the first table.
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(failed())?;
    }
    for (step, next) in STEPS.iter().zip(1_u32..).skip(version as usize) {
        let transaction = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(failed())?;
        let marks = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {next};");
        transaction.execute_batch(step).map_err(failed())?;
        transaction.execute_batch(&marks).map_err(failed())?;
        transaction.commit().map_err(failed())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_first_bytes() {
        let mut head = vec![0; HEADER];
        head[..16].copy_from_slice(MAGIC);
        assert_eq!(ownership(&head), Ownership::Foreign);
        head[68..72].copy_from_slice(&APPLICATION_ID.to_be_bytes());
        head[63] = 7;
        assert_eq!(ownership(&head), Ownership::Ours(7));
        assert_eq!(ownership(&head[..99]), Ownership::NotSqlite);
        assert_eq!(ownership(b"sources: []"), Ownership::NotSqlite);
        assert_eq!(ownership(b""), Ownership::Absent);
    }
}
