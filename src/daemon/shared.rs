//! What the loop and everybody around it share: the state that is read, and what is asked of the loop. There is one writer
//! of the state, the loop; a reader holds the lock for as long as it copies.

use crate::daemon::record::State;
use crate::github::place::SecretRef;
use crate::github::webhook::JobEvent;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::{mpsc, oneshot};

/// Asks that wait for the loop at most; a caller beyond that is told to come again.
pub const ASKS_MAX: usize = 64;

/// What somebody wants of the loop. The answer is a sentence for people, of success or of refusal.
#[derive(Debug)]
pub struct Ask {
    /// What.
    pub what: Wish,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<String, String>>,
}

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Carry a proposal out.
    Approve {
        /// Its id.
        id: String,
        /// Who says so.
        by: String,
    },
    /// Do not.
    Reject {
        /// Its id.
        id: String,
        /// Who says so.
        by: String,
    },
    /// Do nothing for this source until it is resumed.
    Suspend {
        /// Its name.
        source: String,
        /// Who says so.
        by: String,
        /// Why.
        why: String,
    },
    /// Go on.
    Resume {
        /// Its name.
        source: String,
        /// Who says so.
        by: String,
    },
    /// Look now.
    Reconcile {
        /// The name of the source.
        source: String,
        /// One object of it, `Kind/name`; all when absent.
        object: Option<String>,
    },
    /// A repository was pushed to: read the sources that follow it.
    Pushed {
        /// Its addresses, as the webhook gives them.
        urls: Vec<String>,
        /// The branch.
        branch: String,
    },
    /// GitHub told of a job: look at the pools that it may be of.
    Heard {
        /// What it told.
        event: Box<JobEvent>,
        /// The pool's secret that it was signed with; `None`: the daemon's own.
        by: Option<SecretRef>,
    },
}

/// The loop's end of the asks.
pub type Asked = mpsc::Receiver<Ask>;

/// Handed to everybody around the loop.
#[derive(Clone, Debug)]
pub struct Shared {
    state: Arc<RwLock<State>>,
    asks: mpsc::Sender<Ask>,
}

impl Shared {
    /// A state, and both ends of the asks.
    pub fn new(state: State) -> (Shared, Asked) {
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        (Shared { state: Arc::new(RwLock::new(state)), asks }, asked)
    }

    /// The state as it is. Copy what you need and let go.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the loop alone.
    pub fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the loop and waits for its answer.
    pub async fn ask(&self, what: Wish) -> Result<String, String> {
        let (answer, answered) = oneshot::channel();
        let busy = |_| "the daemon is busy; try again in a moment".to_owned();
        self.asks.try_send(Ask { what, answer }).map_err(busy)?;
        answered.await.unwrap_or_else(|_| Err("the daemon is about to end".to_owned()))
    }
}
