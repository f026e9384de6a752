//! Steps of several resources that take effect together: the last of those resources sends them all, in their order, between
//! the request that opens them and the one that closes them.

use crate::resource::reference::ResourceRef;
use crate::resource::step::{Batch, Delta, Note};
use std::collections::BTreeMap;

/// Brings the steps of each batch together in the last delta that is of it.
pub fn gather(deltas: &mut [Delta]) {
    let mut batches: BTreeMap<&'static str, Vec<usize>> = BTreeMap::new();
    for (at, delta) in deltas.iter().enumerate().filter(|(_, d)| d.problems.is_empty()) {
        if let Some(batch) = &delta.batch {
            batches.entry(batch.name).or_default().push(at);
        }
    }
    for members in batches.values() {
        let Some(&carrier) = members.last() else { continue };
        let all = || members.iter().filter_map(|at| deltas[*at].batch.as_ref());
        let Some(batch) = all().find(|b| b.resumes).or_else(|| all().next()).cloned() else { continue };
        let Batch { open, close, .. } = batch;
        let names: Vec<ResourceRef> = members.iter().map(|at| deltas[*at].resource.clone()).collect();
        let (mut steps, mut after) = (open, Vec::new());
        let with = deltas[carrier].resource.clone();
        for at in members {
            let delta = &mut deltas[*at];
            steps.append(&mut delta.steps);
            after.extend(delta.after.iter().filter(|r| !names.contains(r)).cloned());
            if *at != carrier {
                delta.notes.push(Note::Info(format!("it is done together with {with}")));
            }
        }
        steps.push(close);
        after.sort();
        after.dedup();
        deltas[carrier].steps = steps;
        // What is of the batch has no steps of its own, and is not waited for.
        deltas[carrier].after = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pve::request::{Call, Method};
    use crate::resource::step::{Action, Impact, Problem, Step};

    fn step(title: &str) -> Step {
        Step::new(title, Call::new(Method::Put, "/x"), Impact::None)
    }

    fn member(name: &str, after: &[&str], resumes: bool) -> Delta {
        let open = vec![step(if resumes { "open again" } else { "open" })];
        Delta {
            action: Action::Update,
            steps: vec![step(name)],
            after: after.iter().map(|a| ResourceRef::new("K", *a)).collect(),
            batch: Some(Batch { name: "b", open, close: step("close"), resumes }),
            ..Delta::none(ResourceRef::new("K", name), None)
        }
    }

    #[test]
    fn the_last_sends_all_and_waits_for_what_the_others_wait_for() {
        let mut deltas = [member("a", &["x"], false), member("b", &["a", "y"], true), member("c", &["b", "x"], false)];
        gather(&mut deltas);
        let titles: Vec<&str> = deltas[2].steps.iter().map(|s| s.title.as_str()).collect();
        assert_eq!(titles, ["open again", "a", "b", "c", "close"]);
        assert_eq!(deltas[2].after, [ResourceRef::new("K", "x"), ResourceRef::new("K", "y")]);
        assert!(deltas[0].steps.is_empty() && deltas[1].steps.is_empty() && deltas[1].notes.len() == 1);
    }

    #[test]
    fn what_may_not_be_done_is_not_of_it() {
        let refused = Delta { problems: vec![Problem::new("", "no")], ..member("b", &[], false) };
        let mut deltas = [member("a", &[], false), refused];
        gather(&mut deltas);
        assert_eq!(deltas[0].steps.len(), 3);
    }
}
