//! What became of machines of runner pools, and their jobs, in the file.

use crate::daemon::history::Past;
use crate::daemon::runners::{JobRecord, RunnerRecord, Times};
use crate::daemon::store::book::number;
use crate::daemon::store::query::{ROWS_MAX, Where, time};
use rusqlite::{Connection, Row, Transaction, params, params_from_iter};

pub(super) fn write(transaction: &Transaction<'_>, record: &RunnerRecord) -> rusqlite::Result<()> {
    let RunnerRecord { id, source, pool, name, vmid, node, times, seen_ms, gone_ms, result, cause, job } = record;
    let Times { made_ms, started_ms, registering_ms, online_ms, busy_ms, ended_ms } = times;
    transaction
        .prepare_cached(
            "INSERT INTO runners (id, source, pool, name, vmid, node, seen_ms, made_ms, started_ms, registering_ms,
             online_ms, busy_ms, ended_ms, gone_ms, result, cause, job)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
             ON CONFLICT (id) DO UPDATE SET node = excluded.node, made_ms = excluded.made_ms,
             started_ms = excluded.started_ms, registering_ms = excluded.registering_ms,
             online_ms = excluded.online_ms, busy_ms = excluded.busy_ms, ended_ms = excluded.ended_ms,
             gone_ms = excluded.gone_ms, result = excluded.result, cause = excluded.cause, job = excluded.job",
        )?
        .execute(params![
            id,
            source,
            pool,
            name,
            vmid,
            node,
            number(*seen_ms),
            made_ms.map(number),
            started_ms.map(number),
            registering_ms.map(number),
            online_ms.map(number),
            busy_ms.map(number),
            ended_ms.map(number),
            gone_ms.map(number),
            result,
            cause,
            job,
        ])
        .map(drop)
}

pub(super) fn write_job(transaction: &Transaction<'_>, record: &JobRecord) -> rusqlite::Result<()> {
    let JobRecord { id, source, pool, job, repository, name, labels, seen_ms, queued_ms, began_ms, ended_ms, runner } =
        record;
    let labels = serde_json::to_string(labels).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    transaction
        .prepare_cached(
            "INSERT INTO runner_jobs (id, source, pool, job, repository, name, labels, seen_ms, queued_ms, began_ms,
             ended_ms, runner) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
             ON CONFLICT (id) DO UPDATE SET queued_ms = excluded.queued_ms, began_ms = excluded.began_ms,
             ended_ms = excluded.ended_ms, runner = excluded.runner",
        )?
        .execute(params![
            id,
            source,
            pool,
            number(*job),
            repository,
            name,
            labels,
            number(*seen_ms),
            queued_ms.map(number),
            began_ms.map(number),
            ended_ms.map(number),
            runner,
        ])
        .map(drop)
}

/// Those that were made last come first.
pub(super) fn read(conn: &Connection, past: &Past) -> rusqlite::Result<Vec<RunnerRecord>> {
    let text = format!(
        "SELECT id, source, pool, name, vmid, node, seen_ms, made_ms, started_ms, registering_ms, online_ms, busy_ms,
         ended_ms, gone_ms, result, cause, job FROM runners {{}} ORDER BY seen_ms DESC, id LIMIT {}",
        past.limit.min(ROWS_MAX)
    );
    rows(conn, past, "gone_ms", &text, runner)
}

/// Those that were seen last come first.
pub(super) fn read_jobs(conn: &Connection, past: &Past) -> rusqlite::Result<Vec<JobRecord>> {
    let text = format!(
        "SELECT id, source, pool, job, repository, name, labels, seen_ms, queued_ms, began_ms, ended_ms, runner
         FROM runner_jobs {{}} ORDER BY seen_ms DESC, id LIMIT {}",
        past.limit.min(ROWS_MAX)
    );
    rows(conn, past, "ended_ms", &text, job)
}

fn rows<T>(
    conn: &Connection,
    past: &Past,
    end: &str,
    text: &str,
    row: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    let Past { source: _, kind: _, name, since_ms, until_ms, limit: _ } = past;
    let mut on = Where::new(past);
    on.add("pool = ? COLLATE NOCASE", name.clone());
    on.add(&format!("coalesce({end}, 9223372036854775807) >= ?"), since_ms.map(number));
    on.add("seen_ms < ?", until_ms.map(number));
    conn.prepare(&text.replace("{}", &on.text()))?.query_map(params_from_iter(on.values), row)?.collect()
}

fn at(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(time))
}

fn runner(row: &Row<'_>) -> rusqlite::Result<RunnerRecord> {
    Ok(RunnerRecord {
        id: row.get(0)?,
        source: row.get(1)?,
        pool: row.get(2)?,
        name: row.get(3)?,
        vmid: row.get(4)?,
        node: row.get(5)?,
        seen_ms: time(row.get(6)?),
        times: Times {
            made_ms: at(row, 7)?,
            started_ms: at(row, 8)?,
            registering_ms: at(row, 9)?,
            online_ms: at(row, 10)?,
            busy_ms: at(row, 11)?,
            ended_ms: at(row, 12)?,
        },
        gone_ms: at(row, 13)?,
        result: row.get(14)?,
        cause: row.get(15)?,
        job: row.get(16)?,
    })
}

fn job(row: &Row<'_>) -> rusqlite::Result<JobRecord> {
    Ok(JobRecord {
        id: row.get(0)?,
        source: row.get(1)?,
        pool: row.get(2)?,
        job: time(row.get(3)?),
        repository: row.get(4)?,
        name: row.get(5)?,
        // What an operator may have written there by hand is no reason to show nothing.
        labels: serde_json::from_str(&row.get::<_, String>(6)?).unwrap_or_default(),
        seen_ms: time(row.get(7)?),
        queued_ms: at(row, 8)?,
        began_ms: at(row, 9)?,
        ended_ms: at(row, 10)?,
        runner: row.get(11)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::store::book::{Book, Bounds, Record};
    use crate::daemon::store::query::History;
    use std::path::Path;

    fn book(path: &Path) -> Book {
        Book::open(path, &Bounds::default()).expect("it opens")
    }

    fn runner(name: &str, seen_ms: u64, gone_ms: Option<u64>) -> RunnerRecord {
        RunnerRecord {
            id: format!("lab/ci/{name}"),
            source: "lab".into(),
            pool: "ci".into(),
            name: name.into(),
            vmid: 50_000,
            node: "pve1".into(),
            times: Times { made_ms: Some(seen_ms), ..Times::default() },
            seen_ms,
            gone_ms,
            ..RunnerRecord::default()
        }
    }

    #[test]
    fn what_became_of_runners_and_their_jobs_is_kept_and_known_better_later() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("h.db");
        let mut open = book(&path);
        let (old, lives) = (runner("ci-1", 1_000, Some(3_000)), runner("ci-2", 2_000, None));
        let other = RunnerRecord { pool: "win".into(), id: "x".into(), ..runner("win-1", 9_000, Some(9_500)) };
        let job = JobRecord {
            id: "lab/ci/7".into(),
            source: "lab".into(),
            pool: "ci".into(),
            job: 7,
            repository: "acme/app".into(),
            name: "CI / build".into(),
            labels: vec!["x64".into()],
            seen_ms: 2_000,
            queued_ms: Some(1_500),
            ..JobRecord::default()
        };
        let all = [old.clone(), lives.clone(), other.clone()].map(Record::Runner);
        open.keep(&all).expect("it writes");
        open.keep(&[Record::Job(job.clone())]).expect("it writes");
        let times = Times { busy_ms: Some(5_000), ended_ms: Some(6_000), ..lives.times };
        let better = RunnerRecord {
            times,
            result: Some("Done".into()),
            job: Some("acme/app: CI / build".into()),
            gone_ms: Some(7_000),
            ..lives
        };
        let ended = JobRecord { began_ms: Some(5_000), ended_ms: Some(6_000), runner: Some("ci-2".into()), ..job };
        open.keep(&[Record::Runner(better.clone()), Record::Job(ended.clone())]).expect("it writes");
        let history = History::new(&path);
        let runners = |past: Past| history.runners(&past).expect("it reads");
        assert_eq!(runners(Past::default()), [other, better.clone(), old.clone()], "the newest first");
        let ci = Past { name: Some("CI".into()), ..Past::default() };
        assert_eq!(runners(Past { since_ms: Some(5_000), ..ci.clone() }), std::slice::from_ref(&better));
        assert_eq!(runners(Past { until_ms: Some(2_000), ..ci.clone() }), [old]);
        assert_eq!(history.jobs(&ci).expect("it reads"), [ended]);
        assert_eq!(open.prune(5_000, 1_000).expect("it prunes"), 1);
        assert_eq!(runners(ci), [better]);
    }

    #[test]
    fn a_file_that_knows_no_runners_yet_keeps_what_it_has() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("h.db");
        let job = JobRecord { id: "lab/ci/7".into(), source: "lab".into(), pool: "ci".into(), ..JobRecord::default() };
        let run = crate::daemon::record::RunRecord {
            id: "r".into(),
            source: "lab".into(),
            revision: "x".into(),
            began_ms: 1,
            ended_ms: Some(2),
            objects: Vec::new(),
            steps: 1,
            doing: std::collections::BTreeMap::new(),
            converged: Some(true),
            failed: std::collections::BTreeMap::new(),
        };
        book(&path).keep(&[Record::Run(run.clone())]).expect("it writes");
        let old = Connection::open(&path).expect("opens");
        old.execute_batch("DROP TABLE runners; DROP TABLE runner_jobs; PRAGMA user_version = 2").expect("as it was");
        drop(old);
        book(&path).keep(&[Record::Runner(runner("ci-1", 1, None)), Record::Job(job.clone())]).expect("it writes");
        let history = History::new(&path);
        assert_eq!(history.runners(&Past::default()).expect("it reads"), [runner("ci-1", 1, None)]);
        assert_eq!(history.jobs(&Past::default()).expect("it reads"), [job]);
        assert_eq!(history.runs(&Past::default()).expect("it reads"), [run]);
    }
}
