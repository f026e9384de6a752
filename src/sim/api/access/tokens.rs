//! API tokens. The secret is shown once, in the answer to the creation.

use crate::sim::api::access::users::{absent, require_or_self, token_row};
use crate::sim::ctx::Ctx;
use crate::sim::request::{Args, Refusal};
use crate::sim::world::{Token, User};
use serde_json::{Value, json};

fn no_token(args: &Args) -> Refusal {
    Refusal::died(format!("no such token '{}' for user '{}'", args.text("tokenid"), args.text("userid")))
}

/// The user in question, once it is sure that the caller may do this.
fn owner<'a>(ctx: &'a mut Ctx<'_>, args: &Args) -> Result<&'a mut User, Refusal> {
    let id = args.text("userid");
    require_or_self(ctx, id, &["User.Modify"])?;
    ctx.world.users.get_mut(id).ok_or_else(|| absent(id))
}

/// Takes over the options of a request, and answers them as PVE does: what was sent as text, the rest as numbers.
fn apply(token: &mut Token, args: &Args) -> Value {
    if let Some(comment) = args.get("comment") {
        token.comment = Some(comment.to_owned()).filter(|c| !c.is_empty());
    }
    if let Some(expire) = args.int("expire") {
        token.expire = expire.unsigned_abs();
    }
    if args.get("privsep").is_some() {
        token.privsep = args.on("privsep");
    }
    let mut info = json!({ "privsep": u8::from(token.privsep) });
    if token.expire != 0 {
        info["expire"] = token.expire.into();
    }
    if let Some(comment) = &token.comment {
        info["comment"] = comment.as_str().into();
    }
    for key in ["comment", "expire", "privsep"] {
        if let Some(text) = args.get(key) {
            info[key] = text.into();
        }
    }
    info
}

/// `GET` of one token.
pub(super) fn get(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    owner(ctx, args)?.tokens.get(args.text("tokenid")).map(token_row).ok_or_else(|| no_token(args))
}

/// `POST` of a new token.
pub(super) fn create(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (id, name) = (args.text("userid"), args.text("tokenid"));
    if owner(ctx, args)?.tokens.contains_key(name) {
        return Err(Refusal::param("tokenid", "Token already exists."));
    }
    let secret = ctx.world.new_uuid();
    let mut token = Token { privsep: true, secret: secret.clone(), ..Token::default() };
    let info = apply(&mut token, args);
    owner(ctx, args)?.tokens.insert(name.to_owned(), token);
    Ok(json!({ "full-tokenid": format!("{id}!{name}"), "info": info, "value": secret }))
}

/// `PUT` of a token.
pub(super) fn update(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let token = owner(ctx, args)?.tokens.get_mut(args.text("tokenid")).ok_or_else(|| no_token(args))?;
    for key in args.list("delete") {
        match key {
            "comment" => token.comment = None,
            "expire" => token.expire = 0,
            "privsep" => token.privsep = true,
            _ => return Err(Refusal::param("delete", format!("unknown option '{key}'"))),
        }
    }
    Ok(apply(token, args))
}

/// `DELETE` of a token, with its rights.
pub(super) fn delete(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    owner(ctx, args)?.tokens.remove(args.text("tokenid")).ok_or_else(|| no_token(args))?;
    let full = format!("{}!{}", args.text("userid"), args.text("tokenid"));
    ctx.world.acl.retain(|e| e.subject_type != "token" || e.subject != full);
    Ok(Value::Null)
}
