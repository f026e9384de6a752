//! `check`'s rules on snapshots: the lists are read, and the tasks of those guests alone where something may be wrong.

use crate::engine::observe::read_all;
use crate::engine::reconcile::Cluster;
use crate::kinds::guest::hand::deed::tasks_query;
use crate::kinds::guest::hand::half_made::task_runs;
use crate::kinds::guest::hand::snapshot::list_query;
use crate::kinds::guest::observed::GuestSeen;
use crate::kinds::guest::rules::rule::Finding;
use crate::kinds::guest::rules::snapshots::{Read, findings, needs_tasks};
use crate::pve::error::PveError;
use crate::resource::index::GuestRow;
use crate::resource::observation::Observation;
use std::collections::BTreeSet;
use std::time::Duration;

/// One request a guest for its snapshots, and one more for its tasks where something may be wrong.
pub async fn read<'a>(
    cluster: &Cluster<'_>,
    guests: impl Iterator<Item = &'a GuestSeen>,
    seen: &mut Observation,
) -> Result<(), PveError> {
    // A template can have no snapshots.
    let rows: Vec<&GuestRow> = guests.map(|g| g.row.as_ref()).filter(|row| !row.template).collect();
    let lists = rows.iter().map(|row| list_query(row)).collect::<BTreeSet<_>>();
    let answers = read_all(cluster.api, cluster.clock, seen.index.clone(), lists).await?;
    let doubtful = rows
        .iter()
        .filter(|row| answers.value(&list_query(row)).is_some_and(|list| needs_tasks(list, row.lock.as_deref())));
    let tasks = doubtful.map(|row| tasks_query(row)).collect::<BTreeSet<_>>();
    let tasks = read_all(cluster.api, cluster.clock, seen.index.clone(), tasks).await?;
    for row in rows {
        for (query, from) in [(list_query(row), &answers), (tasks_query(row), &tasks)] {
            if let Some(answer) = from.answer(&query).cloned() {
                seen.add(query, answer);
            }
        }
    }
    Ok(())
}

/// What came of the rules on a guest's snapshots; `None` for one that was not asked.
pub fn judge(cluster: &Cluster<'_>, row: &GuestRow, seen: &Observation, age: Duration) -> Option<Vec<Finding>> {
    let list = match seen.answer(&list_query(row))? {
        Ok(list) => Ok(list.as_ref()),
        Err(error) => Err(format!("its snapshots could not be read: {error}")),
    };
    Some(findings(&Read {
        row,
        list,
        lock: row.lock.as_deref(),
        task_runs: seen.value(&tasks_query(row)).is_some_and(task_runs),
        now: cluster.clock.now_ms() / 1000,
        age_max: age.as_secs(),
    }))
}
