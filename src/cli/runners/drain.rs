//! `runners drain`: machines that have no job go, those that have one end it. It is done now and once: who says so for longer
//! writes it into the manifest.

use crate::base::quantity::counted;
use crate::cli::args::Global;
use crate::cli::args::runners::Drain;
use crate::cli::exit;
use crate::cli::job::{self, AtTerminal, Job};
use crate::cli::run::{Ended, Failure, block_on};
use crate::cli::runners::drive::{Drive, End};
use crate::cli::runners::{Found, Of, find, read, survey};
use crate::cli::session::Session;
use crate::kinds::runner_pool::NAME;
use crate::kinds::runner_pool::judge::Stage;
use crate::kinds::runner_pool::look::DRAIN;
use crate::kinds::runner_pool::marks::Marks;
use crate::kinds::runner_pool::standing::MachineStanding;
use crate::pve::request::{Call, Method};
use crate::resource::marker::Marker;
use crate::resource::reference::ResourceRef;
use std::collections::BTreeSet;
use std::io::Write;

/// `runners drain`.
pub fn drain(global: &Global, args: &Drain) -> Ended {
    let (mut tree, all) = read(&[], &args.files)?;
    let session = job::open(global, &tree)?;
    let ended = block_on(async {
        let (pool, machine, there) = {
            let scene = survey(&session, &tree, &all).await?;
            let pools = scene.pools();
            match find(&pools, &args.name)? {
                Found::Pool(of) => (ResourceRef::new(NAME, of.name), None, names(of)),
                Found::Machine(of, machine) => {
                    let pool = ResourceRef::new(NAME, of.name);
                    if !is_over(machine) && !machine.marks.drained {
                        mark(&session, of, machine).await?;
                    }
                    (pool, Some(machine.name.clone()), BTreeSet::from([machine.name.clone()]))
                }
            }
        };
        if machine.is_none()
            && let Some(want) = tree.desired.resources.get_mut(&pool)
        {
            want.annotations.insert(DRAIN.to_owned(), "true".to_owned());
        }
        if machine.is_none() && !global.quiet {
            // First: beside such a daemon it is why new machines come while the old ones go.
            let _ = writeln!(
                anstream::stderr(),
                "hint: a daemon that enforces the pool makes machines again; to keep it drained, write `{DRAIN}: \"true\"` into \
                 its manifest's annotations"
            );
        }
        let job = Job {
            global,
            format: args.format.output.as_ref(),
            yes: args.yes,
            dry_run: false,
            consent: job::consent(&[], None),
            person: &AtTerminal,
        };
        let only = match &machine {
            // The number is the last of the name that a member has.
            Some(name) => one(&session, &tree, &pool, name).await?,
            None => Some(BTreeSet::from([pool.clone()])),
        };
        let Some(only) = only else { return Ok(exit::DONE) };
        let drive = Drive { session: &session, tree: &tree, only, job, timeout: args.timeout };
        // Those that were there: what a daemon makes meanwhile is no reason to wait for ever.
        let meant = |one: &&MachineStanding| there.contains(&one.name);
        let works = |one: &MachineStanding| one.stage == Stage::Busy;
        let end = |of: &Of<'_>| {
            let open = of.stands.machines.iter().filter(meant).any(|one| !is_over(one) && (args.wait || !works(one)));
            if open { End::Further } else { End::There }
        };
        let stands = drive.until(end).await?;
        let busy: Vec<&str> =
            stands.machines.iter().filter(meant).filter(|one| works(one)).map(|one| one.name.as_str()).collect();
        if !busy.is_empty() && !global.quiet {
            let (count, names) = (counted(busy.len(), "machine"), busy.join(", "));
            let _ = writeln!(
                anstream::stderr(),
                "Not gone before the end of its job: {count} ({names}); --wait waits for that."
            );
        }
        Ok(exit::DONE)
    })?;
    session.close()?;
    ended
}

fn names(of: &Of<'_>) -> BTreeSet<String> {
    of.stands.machines.iter().map(|machine| machine.name.clone()).collect()
}

/// It takes no job any more.
fn is_over(machine: &MachineStanding) -> bool {
    match machine.stage {
        Stage::Kept => true,
        Stage::Cloning
        | Stage::Cloned
        | Stage::Booting
        | Stage::Ready
        | Stage::Connecting
        | Stage::Idle
        | Stage::Busy
        | Stage::Ended
        | Stage::Failed
        | Stage::Leaving => false,
    }
}

/// The member that a machine is; `None`: it is gone.
async fn one(
    session: &Session,
    tree: &crate::cli::manifests::Tree,
    pool: &ResourceRef,
    name: &str,
) -> Result<Option<BTreeSet<ResourceRef>>, Failure> {
    let scene = survey(session, tree, &BTreeSet::from([pool.clone()])).await?;
    let pools = scene.pools();
    let machine = pools.first().and_then(|of| of.machine(name));
    Ok(machine.map(|machine| BTreeSet::from([pool.member(machine.vmid)])))
}

/// Writes on a machine that it shall get no further job: whoever looks next acts on it, a daemon too.
async fn mark(session: &Session, of: &Of<'_>, machine: &MachineStanding) -> Result<(), Failure> {
    let cluster = session.cluster();
    let look = of.around().look(of.spec);
    let own = look.own.iter().find(|own| own.machine.vmid == machine.vmid);
    let Some((own, marker)) = own.and_then(|own| Some((own, own.guest.marker.as_deref()?))) else {
        return Err(Failure::new(exit::FAILED, format!("{} cannot be read just now", machine.name)));
    };
    let (text, _) = Marker::split(own.guest.config.get("description").map_or("", String::as_str));
    let mut applied = marker.applied.clone();
    applied.extend(Marks { drained: true, ..machine.marks.clone() }.write());
    let notes = Marker { applied, ..marker.clone() }.join(&text);
    let path = format!("/nodes/{}/{}/{}/config", machine.node, machine.guest, machine.vmid);
    let call = Call::new(Method::Put, path).with("description", notes);
    let call = own.guest.digest.iter().fold(call, |call, digest| call.with("digest", digest));
    cluster.api.send(&call).await.map_err(|error| Failure::wire(exit::FAILED, &error))?;
    Ok(())
}
