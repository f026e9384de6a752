//! Endpoints: access.

mod ticket;

use crate::sim::params::access as params;
use crate::sim::request::{Check, Route};
use crate::sim::task::Effect;

/// The endpoints.
pub const ROUTES: &[Route] = &[
    Route {
        method: "GET",
        path: "/access/permissions",
        params: &[params::PERMISSIONS],
        check: Check::User,
        run: ticket::permissions,
    },
    Route { method: "GET", path: "/access/ticket", params: &[], check: Check::World, run: ticket::dummy },
    Route { method: "POST", path: "/access/ticket", params: &[params::TICKET], check: Check::World, run: ticket::login },
];

/// What its tasks do.
pub const EFFECTS: &[Effect] = &[];
