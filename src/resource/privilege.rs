//! Privileges as a plan demands them: one that is missing is a problem, with the command that grants it.

use crate::resource::kind::PlanContext;
use crate::resource::step::{Delta, Problem};

/// Demands a privilege on a path.
pub fn require(cx: &PlanContext<'_>, delta: &mut Delta, path: &str, privilege: &str) {
    require_any(cx, delta, &[path.to_owned()], &[privilege]);
}

/// Demands one of the privileges on one of the paths; what is said to be missing is the first of each.
pub fn require_any(cx: &PlanContext<'_>, delta: &mut Delta, paths: &[String], privileges: &[&str]) {
    let index = &cx.seen.index;
    let (Some(path), Some(privilege)) = (paths.first(), privileges.first()) else { return };
    if index.permissions.is_empty() || paths.iter().any(|path| privileges.iter().any(|p| index.may(path, p))) {
        return;
    }
    let problem =
        Problem::new("", format!("the privilege {privilege} on {path} is missing")).help(grant(path, privilege));
    if !delta.problems.contains(&problem) {
        delta.problems.push(problem);
    }
}

/// How a privilege is granted. A role given on a deeper path hides those given above it, so that a role which holds nothing
/// else would take away more than it gives.
fn grant(path: &str, privilege: &str) -> String {
    format!(
        "add it to the role that the token has on {path} (pveum acl list): pveum role modify ROLE --append 1 --privs \
         {privilege}; if it has none there: pveum acl modify {path} --tokens 'USER@REALM!TOKEN' --roles ROLE"
    )
}
