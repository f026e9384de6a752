//! Conditions as Kubernetes has them: a small fixed set of claims about an object, each true, false or unknown.

/// The claims that pvectl makes about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// What the manifest asks for was seen on the cluster.
    Ready,
    /// Everything that can be written has been written.
    Synced,
    /// Somebody changed the cluster though the manifest did not move.
    Drifted,
    /// A written change waits for the guest's next start.
    RebootRequired,
    /// PVE holds a lock on the guest (backup, migrate, …).
    Locked,
    /// The manifest says `pvectl/paused`.
    Paused,
    /// Part of it could not be observed or applied.
    Degraded,
    /// The newest good snapshot is as new as its policy wants it.
    SnapshotsFresh,
    /// The newest good backup is as new as its policy wants it.
    BackupsFresh,
}

impl ConditionType {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            ConditionType::Ready => "Ready",
            ConditionType::Synced => "Synced",
            ConditionType::Drifted => "Drifted",
            ConditionType::RebootRequired => "RebootRequired",
            ConditionType::Locked => "Locked",
            ConditionType::Paused => "Paused",
            ConditionType::Degraded => "Degraded",
            ConditionType::SnapshotsFresh => "SnapshotsFresh",
            ConditionType::BackupsFresh => "BackupsFresh",
        }
    }
}

/// True, false, or not to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Truth {
    /// The claim holds.
    True,
    /// The claim does not hold.
    False,
    /// Nobody can say.
    Unknown,
}

/// One claim with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Which claim.
    pub condition: ConditionType,
    /// Whether it holds.
    pub status: Truth,
    /// One CamelCase word.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}
