//! What targets of patch windows got, in the file.

use crate::daemon::history::Past;
use crate::daemon::store::book::number;
use crate::daemon::store::query::{ROWS_MAX, Where, time};
use crate::daemon::windows::{ChangedRecord, LeftRecord, PatchRecord};
use rusqlite::{Connection, Row, Transaction, params, params_from_iter};
use serde::Serialize;

fn json(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
}

pub(super) fn write(transaction: &Transaction<'_>, record: &PatchRecord) -> rusqlite::Result<()> {
    let PatchRecord {
        id,
        source,
        window,
        target,
        name,
        opened_ms,
        began_ms,
        ended_ms,
        result,
        why,
        system,
        manager,
        changed,
        left,
        cves,
        checks,
        log,
        rebooted,
        reboot_required,
        attempts,
    } = record;
    transaction
        .prepare_cached(
            "INSERT INTO patches (id, source, window, target, name, opened_ms, began_ms, ended_ms, result, why, system,
             manager, rebooted, reboot_required, attempts, cves, checks, log)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, began_ms = excluded.began_ms,
             ended_ms = excluded.ended_ms, result = excluded.result, why = excluded.why, system = excluded.system,
             manager = excluded.manager, rebooted = excluded.rebooted, reboot_required = excluded.reboot_required,
             attempts = excluded.attempts, cves = excluded.cves, checks = excluded.checks, log = excluded.log",
        )?
        .execute(params![
            id,
            source,
            window,
            target,
            name,
            number(*opened_ms),
            began_ms.map(number),
            ended_ms.map(number),
            result,
            why,
            system,
            manager,
            rebooted,
            reboot_required,
            attempts,
            json(cves)?,
            json(checks)?,
            json(log)?,
        ])?;
    transaction.prepare_cached("DELETE FROM patch_packages WHERE patch_id = ?1")?.execute([id])?;
    let mut insert = transaction.prepare_cached("INSERT INTO patch_packages VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    for (position, ChangedRecord { name, from, to, security }) in changed.iter().enumerate() {
        insert.execute(params![id, number(position), name, from, to, security, None::<String>])?;
    }
    for (position, LeftRecord { name, why }) in left.iter().enumerate() {
        let position = number(changed.len() + position);
        insert.execute(params![id, position, name, None::<String>, None::<String>, None::<bool>, why])?;
    }
    Ok(())
}

/// The newest opening first.
pub(super) fn read(conn: &Connection, past: &Past) -> rusqlite::Result<Vec<PatchRecord>> {
    let Past { source: _, kind: _, name, since_ms, until_ms, limit } = past;
    let mut on = Where::new(past);
    on.add("window = ? COLLATE NOCASE", name.clone());
    on.add("coalesce(ended_ms, opened_ms) >= ?", since_ms.map(number));
    on.add("opened_ms < ?", until_ms.map(number));
    let text = format!(
        "SELECT id, source, window, target, name, opened_ms, began_ms, ended_ms, result, why, system, manager, rebooted,
         reboot_required, attempts, cves, checks, log FROM patches {} ORDER BY opened_ms DESC, id LIMIT {}",
        on.text(),
        limit.min(&ROWS_MAX)
    );
    let mut rows: Vec<PatchRecord> =
        conn.prepare(&text)?.query_map(params_from_iter(on.values), patch)?.collect::<Result<_, _>>()?;
    let mut of = conn.prepare(
        "SELECT name, old_version, new_version, security, left_why FROM patch_packages WHERE patch_id = ?1
         ORDER BY position",
    )?;
    for row in &mut rows {
        let mut packages = of.query([&row.id])?;
        while let Some(package) = packages.next()? {
            let name = package.get(0)?;
            match (package.get(1)?, package.get(2)?) {
                (Some(from), Some(to)) => {
                    row.changed.push(ChangedRecord { name, from, to, security: package.get(3)? });
                }
                (None, _) | (_, None) => row.left.push(LeftRecord { name, why: package.get(4)? }),
            }
        }
    }
    Ok(rows)
}

fn patch(row: &Row<'_>) -> rusqlite::Result<PatchRecord> {
    // What an operator may have written there by hand is no reason to show nothing.
    let list = |column: usize| row.get::<_, String>(column);
    Ok(PatchRecord {
        id: row.get(0)?,
        source: row.get(1)?,
        window: row.get(2)?,
        target: row.get(3)?,
        name: row.get(4)?,
        opened_ms: time(row.get(5)?),
        began_ms: row.get::<_, Option<i64>>(6)?.map(time),
        ended_ms: row.get::<_, Option<i64>>(7)?.map(time),
        result: row.get(8)?,
        why: row.get(9)?,
        system: row.get(10)?,
        manager: row.get(11)?,
        changed: Vec::new(),
        left: Vec::new(),
        cves: serde_json::from_str(&list(15)?).unwrap_or_default(),
        checks: serde_json::from_str(&list(16)?).unwrap_or_default(),
        log: serde_json::from_str(&list(17)?).unwrap_or_default(),
        rebooted: row.get(12)?,
        reboot_required: row.get(13)?,
        attempts: row.get(14)?,
    })
}
