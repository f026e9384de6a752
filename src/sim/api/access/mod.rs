//! Endpoints: access.

mod acl;
mod groups;
mod ticket;
mod tokens;
mod users;

use crate::sim::ctx::Ctx;
use crate::sim::params::access as params;
use crate::sim::request::{Args, Check, Endpoint, Refusal, Route};
use crate::sim::task::Effect;
use crate::sim::verify::Param;
use serde_json::{Value, json};

/// A set of parameter tables.
type Tables = &'static [&'static [Param]];

const fn get(path: &'static str, params: Tables, check: Check, run: Endpoint) -> Route {
    Route { method: "GET", path, params, check, run }
}

const fn post(path: &'static str, params: Tables, check: Check, run: Endpoint) -> Route {
    Route { method: "POST", path, params, check, run }
}

const fn put(path: &'static str, params: Tables, check: Check, run: Endpoint) -> Route {
    Route { method: "PUT", path, params, check, run }
}

const fn delete(path: &'static str, params: Tables, check: Check, run: Endpoint) -> Route {
    Route { method: "DELETE", path, params, check, run }
}

const USER: &str = "/access/users/{userid}";
const TOKEN: &str = "/access/users/{userid}/token/{tokenid}";
const GROUP: &str = "/access/groups/{groupid}";
const ROLE: &str = "/access/roles/{roleid}";
const ALLOCATE_GROUP: Check = Check::All("/access/groups", &["Group.Allocate"]);
const AUDIT_GROUP: Check = Check::Any("/access/groups", &["Sys.Audit", "Group.Allocate"]);
const MODIFY_ROLE: Check = Check::All("/access", &["Sys.Modify"]);

/// The endpoints.
pub const ROUTES: &[Route] = &[
    get("/access", &[], Check::User, index),
    get("/access/permissions", &[params::PERMISSIONS], Check::User, ticket::permissions),
    get("/access/ticket", &[], Check::World, ticket::dummy),
    post("/access/ticket", &[params::TICKET], Check::World, ticket::login),
    get("/access/users", &[params::USERS], Check::User, users::list),
    post("/access/users", &[params::USER, params::USER_CREATE], Check::User, users::create),
    get(USER, &[], Check::User, users::get),
    put(USER, &[params::USER, params::USER_UPDATE], Check::User, users::update),
    delete(USER, &[], Check::User, users::delete),
    get("/access/users/{userid}/token", &[], Check::User, users::token_list),
    get(TOKEN, &[params::TOKEN], Check::User, tokens::get),
    post(TOKEN, &[params::TOKEN, params::TOKEN_OPTIONS], Check::User, tokens::create),
    put(TOKEN, &[params::TOKEN, params::TOKEN_OPTIONS, params::TOKEN_UPDATE], Check::User, tokens::update),
    delete(TOKEN, &[params::TOKEN], Check::User, tokens::delete),
    get("/access/groups", &[], Check::User, groups::list),
    post("/access/groups", &[params::GROUP], ALLOCATE_GROUP, groups::create),
    get(GROUP, &[], AUDIT_GROUP, groups::get),
    put(GROUP, &[params::GROUP], ALLOCATE_GROUP, groups::update),
    delete(GROUP, &[], ALLOCATE_GROUP, groups::delete),
    get("/access/roles", &[], Check::User, groups::roles),
    post("/access/roles", &[params::ROLE], MODIFY_ROLE, groups::role_create),
    get(ROLE, &[], Check::User, groups::role),
    put(ROLE, &[params::ROLE, params::ROLE_UPDATE], MODIFY_ROLE, groups::role_update),
    delete(ROLE, &[], MODIFY_ROLE, groups::role_delete),
    get("/access/acl", &[], Check::User, acl::list),
    put("/access/acl", &[params::ACL], Check::User, acl::update),
    get("/access/domains", &[], Check::World, users::realms),
    get("/access/domains/{realm}", &[params::REALM], Check::User, users::realm),
    get("/access/tfa", &[], Check::User, users::tfa),
    get("/access/tfa/{userid}", &[], Check::User, users::tfa_of),
    put("/access/password", &[params::PASSWORD], Check::User, users::password),
];

/// What its tasks do.
pub const EFFECTS: &[Effect] = &[];

fn index(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let folders = ["users", "groups", "roles", "acl", "domains", "openid", "tfa", "ticket", "password", "permissions"];
    Ok(folders.map(|folder| json!({ "subdir": folder })).to_vec().into())
}
