//! Faults on demand: what goes wrong, with which request, how often.

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The request never leaves: the caller is told so.
    Unsent,
    /// The request never reaches the cluster, but the caller cannot know.
    DropBefore,
    /// It takes effect, and the answer is lost.
    DropAfter,
    /// It takes so many milliseconds longer.
    Slow(u64),
    /// Answered with a status and a text, without effect.
    Status(u16, String),
    /// The node does not answer the node we speak to (595).
    NodeOffline,
    /// The task it starts fails with a text.
    TaskFails(String),
    /// The task it starts is killed half way, as when its node loses power; one of a snapshot after so many volumes.
    TaskDies(usize),
    /// The task it starts ends with a warning.
    TaskWarns,
    /// The guest carries a lock of this name.
    Locked(String),
    /// Another task holds the guest's file lock.
    LockTimeout,
    /// The storage has no room left.
    StorageFull,
    /// Another user changes the guest's configuration just before.
    DigestRace,
    /// The ticket or token is not accepted (401).
    Expired,
}

/// Which requests a fault meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// The n-th request from now, counted from 0.
    Request(u64),
    /// Requests of a method (empty: any) whose path contains a text.
    Matching {
        /// GET, POST, PUT, DELETE, or empty.
        method: String,
        /// Part of the path.
        path: String,
    },
    /// Any write.
    Writes,
}

/// A fault and its moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// With which request.
    pub when: When,
    /// Only with the first that fits.
    pub once: bool,
}

impl Fault {
    /// With the n-th request from now (0 is the next).
    pub fn at(n: u64, kind: FaultKind) -> Fault {
        Fault { kind, when: When::Request(n), once: true }
    }

    /// With the next request of a method whose path contains a text.
    pub fn on(method: &str, path: &str, kind: FaultKind) -> Fault {
        Fault { kind, when: When::Matching { method: method.to_owned(), path: path.to_owned() }, once: true }
    }

    /// The same, every time.
    pub fn always(self) -> Fault {
        Fault { once: false, ..self }
    }
}

/// Faults that wait, each with the number of requests seen since.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    waiting: Vec<(Fault, u64)>,
}

impl Faults {
    /// Adds one.
    pub fn add(&mut self, fault: Fault) {
        self.waiting.push((fault, 0));
    }

    /// Takes all away.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The faults that this request meets; each waiting one has then seen one request more.
    pub fn meet(&mut self, method: &str, path: &str) -> Vec<FaultKind> {
        let mut met = Vec::new();
        self.waiting.retain_mut(|(fault, seen)| {
            let fits = match &fault.when {
                When::Request(n) => *seen == *n,
                When::Matching { method: m, path: p } => (m.is_empty() || m == method) && path.contains(p.as_str()),
                When::Writes => method != "GET",
            };
            *seen += 1;
            if fits {
                met.push(fault.kind.clone());
            }
            !(fits && fault.once)
        });
        met
    }
}
