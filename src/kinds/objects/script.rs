//! The shortest way from one list to another for rules, which PVE inserts at the front only and moves one at a time.

use std::collections::BTreeMap;

/// One request on a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit<T> {
    /// At the front.
    Insert(T),
    /// At a place, in place.
    Change(usize, T),
    /// From a place to before what stands at another.
    Move(usize, usize),
    /// From a place.
    Delete(usize),
}

/// What an edit makes of a list, as PVE does it.
pub fn edit<T: Clone>(list: &mut Vec<T>, edit: &Edit<T>) {
    match edit {
        Edit::Insert(item) => list.insert(0, item.clone()),
        Edit::Change(at, item) => list[*at] = item.clone(),
        Edit::Move(from, to) => {
            let item = list.remove(*from);
            let to = if to > from { to - 1 } else { *to };
            list.insert(to.min(list.len()), item);
        }
        Edit::Delete(at) => {
            list.remove(*at);
        }
    }
}

/// The edits that make `want` of `have`. What stays in its order is not touched; what is added comes before what goes is
/// taken, so that no moment has less than both lists.
pub fn script<T: Clone + PartialEq>(have: &[T], want: &[T]) -> Vec<Edit<T>> {
    let goals = goals(have, want);
    let mut edits = Vec::new();
    // Where each item of the list as it is now shall be; `None` for what goes.
    let mut now: Vec<Option<usize>> = goals.clone();
    for (at, goal) in goals.iter().enumerate() {
        if let Some(goal) = goal.filter(|goal| have[at] != want[*goal]) {
            edits.push(Edit::Change(at, want[goal].clone()));
        }
    }
    let steady = increasing(&goals);
    let mut settled: Vec<usize> = steady;
    let strays: Vec<usize> = goals.iter().flatten().copied().filter(|goal| !settled.contains(goal)).collect();
    for goal in strays {
        let from = now.iter().position(|g| *g == Some(goal)).unwrap_or_default();
        let to = place(&now, &settled, goal);
        edits.push(Edit::Move(from, to));
        edit(&mut now, &Edit::Move(from, to));
        settled.push(goal);
    }
    let missing: Vec<usize> = (0..want.len()).filter(|goal| !settled.contains(goal)).collect();
    for goal in missing.into_iter().rev() {
        edits.push(Edit::Insert(want[goal].clone()));
        now.insert(0, Some(goal));
        if now[1..].iter().flatten().any(|other| settled.contains(other) && *other < goal) {
            let to = place(&now, &settled, goal);
            edits.push(Edit::Move(0, to));
            edit(&mut now, &Edit::Move(0, to));
        }
        settled.push(goal);
    }
    let doomed: Vec<usize> = (0..now.len()).filter(|at| now[*at].is_none()).collect();
    edits.extend(doomed.into_iter().rev().map(Edit::Delete));
    edits
}

/// Before which place an item goes: right behind the last settled one that comes before it.
fn place(now: &[Option<usize>], settled: &[usize], goal: usize) -> usize {
    let before = |g: &Option<usize>| g.is_some_and(|g| g < goal && settled.contains(&g));
    now.iter().rposition(before).map_or(0, |at| at + 1)
}

/// For each item that is there, the place that it shall have: what is equal stays or moves, what is left between two that
/// stay takes a new value, and the rest goes.
fn goals<T: PartialEq>(have: &[T], want: &[T]) -> Vec<Option<usize>> {
    let mut goals: Vec<Option<usize>> = vec![None; have.len()];
    let kept = common(have, want);
    let mut used: Vec<bool> = vec![false; want.len()];
    for (a, b) in &kept {
        goals[*a] = Some(*b);
        used[*b] = true;
    }
    for (at, goal) in goals.iter_mut().enumerate().filter(|(_, goal)| goal.is_none()) {
        if let Some(free) = (0..want.len()).find(|b| !used[*b] && want[*b] == have[at]) {
            *goal = Some(free);
            used[free] = true;
        }
    }
    let mut edges = vec![(0, 0)];
    edges.extend(kept.iter().map(|(a, b)| (a + 1, b + 1)));
    let ends = kept.iter().copied().chain([(have.len(), want.len())]);
    for ((a, b), (end_a, end_b)) in edges.into_iter().zip(ends) {
        let old = (a..end_a).filter(|at| goals[*at].is_none()).collect::<Vec<_>>();
        let new = (b..end_b).filter(|goal| !used[*goal]).collect::<Vec<_>>();
        for (at, goal) in old.into_iter().zip(new) {
            goals[at] = Some(goal);
            used[goal] = true;
        }
    }
    goals
}

/// The longest common subsequence, as pairs of places.
fn common<T: PartialEq>(have: &[T], want: &[T]) -> Vec<(usize, usize)> {
    let mut longest = vec![vec![0_usize; want.len() + 1]; have.len() + 1];
    for a in (0..have.len()).rev() {
        for b in (0..want.len()).rev() {
            longest[a][b] = match have[a] == want[b] {
                true => longest[a + 1][b + 1] + 1,
                false => longest[a + 1][b].max(longest[a][b + 1]),
            };
        }
    }
    let (mut a, mut b, mut pairs) = (0, 0, Vec::new());
    while a < have.len() && b < want.len() {
        if have[a] == want[b] {
            pairs.push((a, b));
            (a, b) = (a + 1, b + 1);
        } else if longest[a + 1][b] >= longest[a][b + 1] {
            a += 1;
        } else {
            b += 1;
        }
    }
    pairs
}

/// The goals of a longest run of items that need not move.
fn increasing(goals: &[Option<usize>]) -> Vec<usize> {
    let mut best: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for goal in goals.iter().flatten() {
        let before = best.range(..goal).map(|(_, run)| run).max_by_key(|run| run.len());
        let mut run = before.cloned().unwrap_or_default();
        run.push(*goal);
        best.insert(*goal, run);
    }
    best.into_values().max_by_key(Vec::len).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lists() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(0..6_u8, 0..9)
    }

    proptest! {
        #[test]
        fn any_list_becomes_any_other(have in lists(), want in lists()) {
            let edits = script(&have, &want);
            let mut now = have.clone();
            for step in &edits {
                edit(&mut now, step);
            }
            prop_assert_eq!(&now, &want);
            let kept = common(&have, &want).len();
            prop_assert!(edits.len() <= have.len() - kept + 2 * (want.len() - kept), "{edits:?}");
        }

        #[test]
        fn nothing_is_done_to_what_is_right(list in lists()) {
            prop_assert!(script(&list, &list).is_empty());
        }
    }

    #[test]
    fn a_new_list_takes_one_request_a_rule_and_a_changed_rule_one() {
        assert_eq!(script(&[], &[1, 2, 3]), [Edit::Insert(3), Edit::Insert(2), Edit::Insert(1)]);
        assert_eq!(script(&[1, 2, 3], &[1, 9, 3]), [Edit::Change(1, 9)]);
        assert_eq!(script(&[1, 2, 3], &[3, 1, 2]), [Edit::Move(2, 0)]);
        assert_eq!(script(&[1, 2, 3], &[1, 3]), [Edit::Delete(1)]);
    }
}
