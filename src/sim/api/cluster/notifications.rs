//! Notifications: endpoints that carry them, matchers that route them.
//!
//! All names live in one room: a matcher and an endpoint cannot be called alike. Two objects are built in, a changed one
//! goes back to what it was when it is deleted. Secrets are kept by nobody: no answer shows them.

mod change;

use super::objects::{self, Object};
use super::route;
use crate::sim::ctx::{Ctx, digest_of};
use crate::sim::params::cluster::notifications as p;
use crate::sim::request::{Args, Check, Refusal, Route};
use serde_json::{Map, Value, json};

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sendmail,
    Smtp,
    Gotify,
    Webhook,
    Matcher,
}

const KINDS: [Kind; 5] = [Kind::Sendmail, Kind::Smtp, Kind::Gotify, Kind::Webhook, Kind::Matcher];
const NUMBERS: &[&str] = &["disable", "invert-match", "port"];
const ARRAYS: &[&str] =
    &["mailto", "mailto-user", "header", "secret", "match-calendar", "match-field", "match-severity", "target"];

const READ: Check = Check::Any("/mapping/notifications", &["Mapping.Modify", "Mapping.Audit"]);
const READ_ALL: Check = Check::Any("/mapping/notifications", &["Mapping.Modify", "Mapping.Audit", "Mapping.Use"]);
const AUDIT: Check = Check::All("/mapping/notifications", &["Mapping.Audit"]);
const WRITE: Check = Check::All("/mapping/notifications", &["Mapping.Modify"]);

/// The endpoints of the API (not those of notifications).
pub const ROUTES: &[Route] = &[
    route("GET", "/cluster/notifications", &[], Check::User, index),
    route("GET", "/cluster/notifications/endpoints", &[], Check::User, endpoints),
    route("GET", "/cluster/notifications/targets", &[], READ_ALL, targets),
    route("POST", "/cluster/notifications/targets/{name}/test", &[p::NAME], READ_ALL, test),
    route("GET", "/cluster/notifications/matcher-fields", &[], READ, fields),
    route("GET", "/cluster/notifications/matcher-field-values", &[], READ, field_values),
    route("GET", "/cluster/notifications/matchers", &[], READ_ALL, |c, _| list(c, Kind::Matcher)),
    route("POST", "/cluster/notifications/matchers", &[p::COMMON, p::MATCHER], WRITE, |c, a| {
        change::create(c, a, Kind::Matcher)
    }),
    route("GET", "/cluster/notifications/matchers/{name}", &[p::NAME], READ, |c, a| get(c, a, Kind::Matcher)),
    route("PUT", "/cluster/notifications/matchers/{name}", &[p::COMMON, p::MATCHER, p::CHANGE], WRITE, |c, a| {
        change::update(c, a, Kind::Matcher)
    }),
    route("DELETE", "/cluster/notifications/matchers/{name}", &[p::NAME], WRITE, |c, a| {
        change::delete(c, a, Kind::Matcher)
    }),
    route("GET", "/cluster/notifications/endpoints/sendmail", &[], READ, |c, _| list(c, Kind::Sendmail)),
    route("POST", "/cluster/notifications/endpoints/sendmail", &[p::COMMON, p::SENDMAIL], WRITE, |c, a| {
        change::create(c, a, Kind::Sendmail)
    }),
    route("GET", "/cluster/notifications/endpoints/sendmail/{name}", &[p::NAME], READ, |c, a| {
        get(c, a, Kind::Sendmail)
    }),
    route(
        "PUT",
        "/cluster/notifications/endpoints/sendmail/{name}",
        &[p::COMMON, p::SENDMAIL, p::CHANGE],
        WRITE,
        |c, a| change::update(c, a, Kind::Sendmail),
    ),
    route("DELETE", "/cluster/notifications/endpoints/sendmail/{name}", &[p::NAME], WRITE, |c, a| {
        change::delete(c, a, Kind::Sendmail)
    }),
    route("GET", "/cluster/notifications/endpoints/smtp", &[], READ, |c, _| list(c, Kind::Smtp)),
    route("POST", "/cluster/notifications/endpoints/smtp", &[p::COMMON, p::SMTP, p::SMTP_NEW], WRITE, |c, a| {
        change::create(c, a, Kind::Smtp)
    }),
    route("GET", "/cluster/notifications/endpoints/smtp/{name}", &[p::NAME], READ, |c, a| get(c, a, Kind::Smtp)),
    route(
        "PUT",
        "/cluster/notifications/endpoints/smtp/{name}",
        &[p::COMMON, p::SMTP, p::SMTP_CHANGE, p::CHANGE],
        WRITE,
        |c, a| change::update(c, a, Kind::Smtp),
    ),
    route("DELETE", "/cluster/notifications/endpoints/smtp/{name}", &[p::NAME], WRITE, |c, a| {
        change::delete(c, a, Kind::Smtp)
    }),
    route("GET", "/cluster/notifications/endpoints/gotify", &[], AUDIT, |c, _| list(c, Kind::Gotify)),
    route("POST", "/cluster/notifications/endpoints/gotify", &[p::COMMON, p::GOTIFY_NEW], WRITE, |c, a| {
        change::create(c, a, Kind::Gotify)
    }),
    route("GET", "/cluster/notifications/endpoints/gotify/{name}", &[p::NAME], READ, |c, a| get(c, a, Kind::Gotify)),
    route(
        "PUT",
        "/cluster/notifications/endpoints/gotify/{name}",
        &[p::COMMON, p::GOTIFY_CHANGE, p::CHANGE],
        WRITE,
        |c, a| change::update(c, a, Kind::Gotify),
    ),
    route("DELETE", "/cluster/notifications/endpoints/gotify/{name}", &[p::NAME], WRITE, |c, a| {
        change::delete(c, a, Kind::Gotify)
    }),
    route("GET", "/cluster/notifications/endpoints/webhook", &[], AUDIT, |c, _| list(c, Kind::Webhook)),
    route(
        "POST",
        "/cluster/notifications/endpoints/webhook",
        &[p::COMMON, p::WEBHOOK, p::WEBHOOK_NEW],
        WRITE,
        |c, a| change::create(c, a, Kind::Webhook),
    ),
    route("GET", "/cluster/notifications/endpoints/webhook/{name}", &[p::NAME], READ, |c, a| get(c, a, Kind::Webhook)),
    route(
        "PUT",
        "/cluster/notifications/endpoints/webhook/{name}",
        &[p::COMMON, p::WEBHOOK, p::WEBHOOK_CHANGE, p::CHANGE],
        WRITE,
        |c, a| change::update(c, a, Kind::Webhook),
    ),
    route("DELETE", "/cluster/notifications/endpoints/webhook/{name}", &[p::NAME], WRITE, |c, a| {
        change::delete(c, a, Kind::Webhook)
    }),
];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Sendmail => "sendmail",
            Kind::Smtp => "smtp",
            Kind::Gotify => "gotify",
            Kind::Webhook => "webhook",
            Kind::Matcher => "matcher",
        }
    }

    fn table(self) -> &'static str {
        match self {
            Kind::Sendmail => "cluster/notifications/endpoints/sendmail",
            Kind::Smtp => "cluster/notifications/endpoints/smtp",
            Kind::Gotify => "cluster/notifications/endpoints/gotify",
            Kind::Webhook => "cluster/notifications/endpoints/webhook",
            Kind::Matcher => "cluster/notifications/matchers",
        }
    }

    /// What its absence is called.
    fn noun(self) -> &'static str {
        match self {
            Kind::Matcher => "matcher",
            Kind::Sendmail | Kind::Smtp | Kind::Gotify | Kind::Webhook => "endpoint",
        }
    }

    /// The built-in object of this kind.
    fn built_in(self) -> Option<(&'static str, Object)> {
        let object = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        match self {
            Kind::Sendmail => {
                let text = "Send mails to root@pam's email address";
                Some(("mail-to-root", object(&[("comment", text), ("mailto-user", "root@pam")])))
            }
            Kind::Matcher => {
                let text = "Route all notifications to mail-to-root";
                Some(("default-matcher", object(&[("comment", text), ("mode", "all"), ("target", "mail-to-root")])))
            }
            Kind::Smtp | Kind::Gotify | Kind::Webhook => None,
        }
    }
}

/// All objects of a kind with where they come from, the built-in ones first.
fn all(ctx: &Ctx<'_>, kind: Kind) -> Vec<(String, Object, &'static str)> {
    let built_in = kind.built_in();
    let mut out = Vec::new();
    if let Some((name, usual)) = &built_in {
        out.push(match objects::get(ctx, kind.table(), name) {
            Some(own) if own != *usual => ((*name).to_owned(), own, "modified-builtin"),
            _ => ((*name).to_owned(), usual.clone(), "builtin"),
        });
    }
    let own = objects::all(ctx, kind.table()).into_iter();
    let own = own.filter(|(name, _)| built_in.as_ref().is_none_or(|(b, _)| b != name));
    out.extend(own.map(|(name, object)| (name, object, "user-created")));
    out
}

fn found(ctx: &Ctx<'_>, kind: Kind, name: &str) -> Result<(Object, &'static str), Refusal> {
    let found = all(ctx, kind).into_iter().find(|(n, ..)| n == name);
    let found = found.map(|(_, object, origin)| (object, origin));
    found.ok_or_else(|| Refusal::new(404, format!("{} '{name}' not found", kind.noun())))
}

fn shown(name: &str, object: &Object, origin: &str) -> Map<String, Value> {
    let mut out = objects::typed(object, NUMBERS);
    objects::arrays(object, ARRAYS, &mut out);
    out.insert("name".to_owned(), name.into());
    out.insert("origin".to_owned(), origin.into());
    out
}

/// The digest of the one file that holds them all: SHA-256, unlike others.
fn digest(ctx: &Ctx<'_>) -> String {
    let tables: Vec<&str> = KINDS.iter().map(|k| k.table()).collect();
    let (first, key) = (objects::digest(ctx, &tables), "notifications".to_owned());
    format!("{first}{}", &digest_of([(&key, &first)])[..24])
}

fn index(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let names = ["endpoints", "matchers", "targets", "matcher-fields", "matcher-field-values"];
    Ok(names.iter().map(|n| json!({ "name": n })).collect())
}

fn endpoints(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    Ok(["gotify", "sendmail", "smtp", "webhook"].iter().map(|n| json!({ "name": n })).collect())
}

fn list(ctx: &mut Ctx<'_>, kind: Kind) -> Result<Value, Refusal> {
    Ok(all(ctx, kind).iter().map(|(name, object, origin)| Value::Object(shown(name, object, origin))).collect())
}

fn get(ctx: &mut Ctx<'_>, args: &Args, kind: Kind) -> Result<Value, Refusal> {
    let (object, origin) = found(ctx, kind, args.text("name"))?;
    let mut out = shown(args.text("name"), &object, origin);
    out.insert("digest".to_owned(), digest(ctx).into());
    Ok(out.into())
}

fn targets(ctx: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let mut rows = Vec::new();
    for kind in KINDS.into_iter().filter(|k| *k != Kind::Matcher) {
        for (name, object, origin) in all(ctx, kind) {
            let mut row = shown(&name, &object, origin);
            row.retain(|key, _| ["name", "comment", "disable", "origin"].contains(&key.as_str()));
            row.insert("type".to_owned(), kind.name().into());
            rows.push(Value::Object(row));
        }
    }
    Ok(rows.into())
}

/// Nothing is sent: only whether the target is there counts.
fn test(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let name = args.text("name");
    let known = KINDS.into_iter().filter(|k| *k != Kind::Matcher).any(|k| found(ctx, k, name).is_ok());
    match known {
        true => Ok(Value::Null),
        false => Err(Refusal::died(format!("target '{name}' does not exist"))),
    }
}

fn fields(_: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    Ok(["type", "hostname", "job-id"].iter().map(|n| json!({ "name": n })).collect())
}

fn field_values(ctx: &mut Ctx<'_>, _: &Args) -> Result<Value, Refusal> {
    let row = |field: &str, value: &str| json!({ "field": field, "value": value });
    let types = ["fencing", "package-updates", "replication", "system-mail", "vzdump"];
    let mut rows: Vec<Value> = types.iter().map(|t| row("type", t)).collect();
    rows.extend(ctx.world.nodes.keys().map(|n| row("hostname", n)));
    rows.extend(objects::all(ctx, "cluster/backup").iter().map(|(id, _)| row("job-id", id)));
    Ok(rows.into())
}
