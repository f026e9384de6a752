//! Endpoints: storages: their definitions, what they hold.

pub mod content;
pub mod definition;
pub mod prune;

use crate::sim::params::{node, storage as params};
use crate::sim::request::{Check, Endpoint, Route};
use crate::sim::task::Effect;
use crate::sim::verify::Param;

const fn route(
    method: &'static str,
    path: &'static str,
    params: &'static [&'static [Param]],
    check: Check,
    run: Endpoint,
) -> Route {
    Route { method, path, params, check, run }
}

const ALLOCATE: Check = Check::All("/storage", &["Datastore.Allocate"]);
const ALLOCATE_ONE: Check = Check::All("/storage/{storage}", &["Datastore.Allocate"]);
const AUDIT: Check = Check::Any("/storage/{storage}", &["Datastore.Audit", "Datastore.AllocateSpace"]);

/// The endpoints.
pub const ROUTES: &[Route] = &[
    route("GET", "/storage", &[params::LIST], Check::User, definition::list),
    route("POST", "/storage", &[params::CREATE, params::OPTIONS], ALLOCATE, definition::create),
    route("GET", "/storage/{storage}", &[], ALLOCATE_ONE, definition::get),
    route("PUT", "/storage/{storage}", &[params::OPTIONS, params::UPDATE], ALLOCATE, definition::update),
    route("DELETE", "/storage/{storage}", &[], ALLOCATE, definition::delete),
    route("GET", "/nodes/{node}/storage", &[params::ON_NODE], Check::User, definition::on_node),
    route("GET", "/nodes/{node}/storage/{storage}/status", &[], AUDIT, definition::status),
    route("GET", "/nodes/{node}/storage/{storage}/rrddata", &[node::RRD], AUDIT, crate::sim::api::node::about::rrd),
    route("GET", "/nodes/{node}/storage/{storage}/content", &[params::CONTENT], AUDIT, content::list),
    route(
        "POST",
        "/nodes/{node}/storage/{storage}/content",
        &[params::ALLOCATE],
        Check::All("/storage/{storage}", &["Datastore.AllocateSpace"]),
        content::allocate,
    ),
    route("GET", "/nodes/{node}/storage/{storage}/content/{volume}", &[], Check::User, content::get),
    route("PUT", "/nodes/{node}/storage/{storage}/content/{volume}", &[params::ATTRIBUTES], Check::User, content::put),
    route("DELETE", "/nodes/{node}/storage/{storage}/content/{volume}", &[params::FREE], Check::User, content::free),
    route(
        "POST",
        "/nodes/{node}/storage/{storage}/download-url",
        &[params::DOWNLOAD],
        Check::All("/storage/{storage}", &["Datastore.AllocateTemplate"]),
        content::download,
    ),
    route(
        "POST",
        "/nodes/{node}/storage/{storage}/oci-registry-pull",
        &[params::PULL],
        Check::All("/storage/{storage}", &["Datastore.AllocateTemplate"]),
        content::pull,
    ),
    route(
        "POST",
        "/nodes/{node}/storage/{storage}/upload",
        &[params::UPLOAD],
        Check::All("/storage/{storage}", &["Datastore.AllocateTemplate"]),
        content::upload,
    ),
    route("GET", "/nodes/{node}/storage/{storage}/prunebackups", &[params::PRUNE_LIST], AUDIT, prune::list),
    route("DELETE", "/nodes/{node}/storage/{storage}/prunebackups", &[params::PRUNE_LIST], Check::User, prune::prune),
];

/// What its tasks do.
pub const EFFECTS: &[Effect] = &[
    Effect { name: "storage.free", run: content::freed },
    Effect { name: "storage.file", run: content::arrived },
    Effect { name: "storage.prune", run: prune::pruned },
];
