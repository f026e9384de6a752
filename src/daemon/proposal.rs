//! Plans that wait for a person. Pure: a plan has an id of its own words, so the same plan is one proposal however often it
//! is made; another one takes its place when the cluster or the manifests move; nobody may approve one that is old.

use crate::daemon::record::{ProposalRecord, Verdict};
use crate::plan::assemble::Plan;
use crate::report::{json, text};
use crate::resource::reference::ResourceRef;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Proposals that have ended and are still shown.
const ENDED_MAX: usize = 50;

/// A plan as a proposal. It holds everything that would be sent, with the digests of what that was planned from.
pub fn propose(source: &str, revision: &str, plan: &Plan, now_ms: u64, within_ms: u64) -> ProposalRecord {
    let body = json::plan(plan);
    let hash = Sha256::digest(format!("{source}\n{body}"));
    ProposalRecord {
        id: hex::encode(&hash[..5]),
        source: source.to_owned(),
        revision: revision.to_owned(),
        text: text::plan(plan, false),
        plan: body,
        made_ms: now_ms,
        expires_ms: now_ms.saturating_add(within_ms),
        verdict: Verdict::Waiting,
        by: None,
    }
}

/// A plan of these objects alone.
pub fn part(plan: &Plan, objects: &BTreeSet<ResourceRef>) -> Plan {
    let deltas = plan.deltas.iter().filter(|d| objects.contains(&d.resource)).cloned().collect();
    Plan { set: plan.set.clone(), deltas, orphans: Vec::new() }
}

/// What a source proposes now, instead of what it proposed before. Returns what is new of it and what went stale.
pub fn replace(
    all: &mut BTreeMap<String, ProposalRecord>,
    source: &str,
    new: Option<ProposalRecord>,
) -> (Option<ProposalRecord>, Vec<ProposalRecord>) {
    let id = new.as_ref().map(|p| p.id.clone());
    let mut stale = Vec::new();
    for old in all.values_mut().filter(|p| p.source == source && p.verdict == Verdict::Waiting) {
        if Some(&old.id) != id.as_ref() {
            old.verdict = Verdict::Stale;
            stale.push(old.clone());
        }
    }
    let Some(new) = new else { return (None, stale) };
    // One that a person said no to is not asked for again; one that expired is.
    let known = all.get(&new.id).is_some_and(|old| match old.verdict {
        Verdict::Waiting | Verdict::Approved | Verdict::Rejected => true,
        Verdict::Done | Verdict::Expired | Verdict::Stale => false,
    });
    if known {
        return (None, stale);
    }
    all.insert(new.id.clone(), new.clone());
    tidy(all);
    (Some(new), stale)
}

/// Those whose time is over.
pub fn expire(all: &mut BTreeMap<String, ProposalRecord>, now_ms: u64) -> Vec<ProposalRecord> {
    let mut over = Vec::new();
    for old in all.values_mut().filter(|p| p.verdict == Verdict::Waiting && p.expires_ms <= now_ms) {
        old.verdict = Verdict::Expired;
        over.push(old.clone());
    }
    over
}

/// Says yes or no. The sentence of a refusal says why.
pub fn judge(
    all: &mut BTreeMap<String, ProposalRecord>,
    id: &str,
    by: &str,
    yes: bool,
    now_ms: u64,
) -> Result<ProposalRecord, String> {
    expire(all, now_ms);
    let Some(proposal) = all.get_mut(id) else {
        return Err(format!("there is no proposal `{id}`; see them with: pvectl proposals"));
    };
    let why = match proposal.verdict {
        Verdict::Waiting => {
            proposal.verdict = if yes { Verdict::Approved } else { Verdict::Rejected };
            proposal.by = Some(by.to_owned());
            return Ok(proposal.clone());
        }
        Verdict::Approved => "it is approved already",
        Verdict::Done => "it is done",
        Verdict::Expired => "its time is over; a new one is made at the next look",
        Verdict::Stale => "what it was made from has changed; look at the one that took its place",
        Verdict::Rejected => "it was rejected",
    };
    Err(format!("proposal `{id}` cannot be changed: {why}"))
}

fn tidy(all: &mut BTreeMap<String, ProposalRecord>) {
    let lasts = |p: &ProposalRecord| matches!(p.verdict, Verdict::Waiting | Verdict::Approved);
    let mut ended: Vec<(u64, String)> = all.values().filter(|p| !lasts(p)).map(|p| (p.made_ms, p.id.clone())).collect();
    ended.sort();
    let over = ended.len().saturating_sub(ENDED_MAX);
    ended.into_iter().take(over).for_each(|(_, id)| drop(all.remove(&id)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pve::request::{Call, Method};
    use crate::resource::step::{Action, Impact, Step};

    fn plan(digest: &str) -> Plan {
        let mut delta = crate::resource::step::Delta::none(ResourceRef::new("Pool", "web"), None);
        delta.action = Action::Update;
        delta.steps.push(Step::new("set", Call::new(Method::Put, "/pools").with("digest", digest), Impact::None));
        Plan { set: "s".into(), deltas: vec![delta], orphans: Vec::new() }
    }

    #[test]
    fn the_same_plan_is_one_proposal_and_another_takes_its_place() {
        let mut all = BTreeMap::new();
        let one = propose("s", "r", &plan("a"), 0, 100);
        assert!(replace(&mut all, "s", Some(one.clone())).0.is_some());
        assert_eq!(replace(&mut all, "s", Some(propose("s", "r", &plan("a"), 50, 100))), (None, Vec::new()));
        let (new, stale) = replace(&mut all, "s", Some(propose("s", "r", &plan("b"), 60, 100)));
        assert_eq!((new.map(|p| p.verdict), stale.len()), (Some(Verdict::Waiting), 1));
        assert!(judge(&mut all, &one.id, "anna", true, 61).is_err_and(|why| why.contains("has changed")));
        let two = propose("s", "r", &plan("b"), 60, 100);
        assert_eq!(judge(&mut all, &two.id, "anna", true, 62).map(|p| p.by), Ok(Some("anna".into())));
        assert!(judge(&mut all, &two.id, "otto", false, 63).is_err());
        assert!(judge(&mut all, "nope", "anna", true, 61).is_err());
    }

    #[test]
    fn nobody_approves_what_is_old_and_what_is_rejected_stays_so() {
        let mut all = BTreeMap::new();
        let one = propose("s", "r", &plan("a"), 0, 100);
        replace(&mut all, "s", Some(one.clone()));
        assert!(judge(&mut all, &one.id, "anna", true, 100).is_err_and(|why| why.contains("time is over")));
        assert!(replace(&mut all, "s", Some(propose("s", "r", &plan("a"), 101, 100))).0.is_some());
        assert!(judge(&mut all, &one.id, "anna", false, 102).is_ok());
        assert_eq!(replace(&mut all, "s", Some(propose("s", "r", &plan("a"), 103, 100))).0, None);
        for n in 0..200 {
            replace(&mut all, "s", Some(propose("s", "r", &plan(&n.to_string()), 104 + n, 100)));
        }
        assert!(all.len() <= ENDED_MAX + 2, "{}", all.len());
    }
}
