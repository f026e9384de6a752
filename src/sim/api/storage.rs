//! Endpoints: storage.

use crate::sim::request::Route;
use crate::sim::task::Effect;

/// The endpoints.
pub const ROUTES: &[Route] = &[];

/// What its tasks do.
pub const EFFECTS: &[Effect] = &[];
