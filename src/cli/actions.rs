//! The verbs that do something to one guest by hand: from what was typed to a deed.

use crate::base::id::VmId;
use crate::cli::args::guests::{
    Agreed, Clone as CloneArgs, Migrate as MigrateArgs, Restore, Snapshot as SnapshotArgs, Which,
};
use crate::cli::args::{Global, Verb};
use crate::cli::exit;
use crate::cli::guests::order;
use crate::cli::played;
use crate::cli::policies;
use crate::cli::run::{Ended, Failure};
use crate::cli::snapshots;
use crate::kinds::guest::hand::clone::{Clone, free_number};
use crate::kinds::guest::hand::deed::Deed;
use crate::kinds::guest::hand::migrate::{Migrate, Mode};
use crate::kinds::guest::hand::power::Power;
use crate::kinds::guest::hand::snapshot::Snapshot;
use crate::resource::index::Index;

/// From what is known of the cluster to the deed.
pub type Make<'a> = Box<dyn Fn(&Index) -> Result<Deed, Failure> + Sync + 'a>;

/// A verb as it was typed.
pub struct Order<'a> {
    /// Which guest.
    pub which: &'a Which,
    /// What is agreed to.
    pub agreed: &'a Agreed,
    /// What is done, given what is known of the cluster.
    pub make: Make<'a>,
}

/// Does what a verb of this file says.
pub fn act(global: &Global, verb: &Verb) -> Ended {
    match (ordered(verb), verb) {
        (Some(wanted), _) => order(global, &wanted),
        (None, Verb::Snapshot(SnapshotArgs::List(args))) => snapshots::list(global, args),
        (None, Verb::Snapshot(SnapshotArgs::Prune(args))) => policies::prune(global, args),
        (None, Verb::Snapshot(SnapshotArgs::Simulate(args))) => played::simulate(args),
        (None, Verb::Snapshot(SnapshotArgs::Tree(args))) => snapshots::tree(global, args),
        (None, _) => unreachable!("only verbs of guests come here"),
    }
}

/// The order that a verb is; `None` for verbs that are none.
pub fn ordered(verb: &Verb) -> Option<Order<'_>> {
    let power =
        |which, agreed, power| Some(Order { which, agreed, make: Box::new(move |_: &Index| Ok(Deed::Power(power))) });
    match verb {
        Verb::Start(args) => power(&args.which, &args.agreed, Power::Start),
        Verb::Stop(args) => power(&args.which, &args.agreed, Power::Stop),
        Verb::Shutdown(args) => power(&args.which, &args.agreed, Power::Shutdown(args.timeout.as_secs())),
        Verb::Restart(args) => power(&args.which, &args.agreed, Power::Restart(args.timeout.as_secs())),
        Verb::Clone(args) => {
            Some(Order { which: &args.which, agreed: &args.agreed, make: Box::new(|index| clone(args, index)) })
        }
        Verb::Migrate(args) => {
            Some(Order { which: &args.which, agreed: &args.agreed, make: Box::new(|_| Ok(migrate(args))) })
        }
        Verb::Snapshot(args) => snapshot(args),
        Verb::Restore(args) => {
            Some(Order { which: &args.which, agreed: &args.agreed, make: Box::new(|index| restore(args, index)) })
        }
        Verb::Apply(_)
        | Verb::Diff(_)
        | Verb::Plan(_)
        | Verb::Delete(_)
        | Verb::Adopt(_)
        | Verb::Import(_)
        | Verb::Get(_)
        | Verb::Describe(_)
        | Verb::Explain(_)
        | Verb::Validate(_)
        | Verb::Check(_)
        | Verb::Drift(_)
        | Verb::Schema(_)
        | Verb::Api(_)
        | Verb::Auth(_)
        | Verb::Sim(_)
        | Verb::Node(_)
        | Verb::Logs(_)
        | Verb::Wait(_)
        | Verb::Backup(_)
        | Verb::Network(_)
        | Verb::Host(_)
        | Verb::Patch(_)
        | Verb::Runners(_)
        | Verb::Run(_)
        | Verb::Status(_)
        | Verb::Proposals(_)
        | Verb::Approve(_)
        | Verb::Reject(_)
        | Verb::Suspend(_)
        | Verb::Resume(_)
        | Verb::Reconcile(_)
        | Verb::Events(_)
        | Verb::History(_)
        | Verb::Completion(_)
        | Verb::Version(_) => None,
    }
}

fn clone(args: &CloneArgs, index: &Index) -> Result<Deed, Failure> {
    let full = match (args.full, args.linked) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        (false, false) => None,
    };
    Ok(Deed::Clone(Clone {
        name: args.new.clone(),
        vmid: new_number(args.vmid, index)?,
        full,
        storage: args.storage.clone(),
        node: args.target_node.clone(),
        snapshot: args.snapshot.clone(),
    }))
}

fn new_number(given: Option<VmId>, index: &Index) -> Result<VmId, Failure> {
    given.or_else(|| free_number(index)).ok_or_else(|| Failure::new(exit::REFUSED, "no VMID is free"))
}

fn migrate(args: &MigrateArgs) -> Deed {
    let mode = match (args.online, args.offline) {
        (true, _) => Mode::Online,
        (_, true) => Mode::Offline,
        (false, false) => Mode::AsItIs,
    };
    Deed::Migrate(Migrate { node: args.node.clone(), mode, with_local_disks: args.with_local_disks })
}

fn snapshot(args: &SnapshotArgs) -> Option<Order<'_>> {
    match args {
        SnapshotArgs::List(_) | SnapshotArgs::Tree(_) | SnapshotArgs::Prune(_) | SnapshotArgs::Simulate(_) => None,
        SnapshotArgs::Create(args) => Some(Order {
            which: &args.which,
            agreed: &args.agreed,
            make: Box::new(|_| {
                Ok(Deed::Snapshot(Snapshot::Create {
                    name: args.snapshot.clone(),
                    memory: args.ram,
                    description: args.description.clone(),
                }))
            }),
        }),
        SnapshotArgs::Delete(args) => Some(Order {
            which: &args.which,
            agreed: &args.agreed,
            make: Box::new(|_| Ok(Deed::Snapshot(Snapshot::Delete { name: args.snapshot.clone() }))),
        }),
        SnapshotArgs::Rollback(args) => Some(Order {
            which: &args.which,
            agreed: &args.agreed,
            make: Box::new(|_| Ok(rollback(&args.snapshot, args.start))),
        }),
        SnapshotArgs::Branch(args) => Some(Order {
            which: &args.which,
            agreed: &args.agreed,
            make: Box::new(|index| branch(&args.snapshot, &args.new, (args.vmid, args.storage.as_deref()), index)),
        }),
    }
}

/// In place, or as a branch: a full copy of the snapshot.
fn restore(args: &Restore, index: &Index) -> Result<Deed, Failure> {
    match &args.branch {
        None => Ok(rollback(&args.snapshot, args.start)),
        Some(new) => branch(&args.snapshot, new, (args.vmid, args.storage.as_deref()), index),
    }
}

fn rollback(name: &str, start: bool) -> Deed {
    Deed::Snapshot(Snapshot::Rollback { name: name.to_owned(), start })
}

fn branch(
    snapshot: &str,
    new: &str,
    (vmid, storage): (Option<VmId>, Option<&str>),
    index: &Index,
) -> Result<Deed, Failure> {
    Ok(Deed::Clone(Clone {
        name: new.to_owned(),
        vmid: new_number(vmid, index)?,
        full: Some(true),
        storage: storage.map(str::to_owned),
        node: None,
        snapshot: Some(snapshot.to_owned()),
    }))
}
