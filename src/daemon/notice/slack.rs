//! Slack's form: a text and one attachment, which Mattermost, Rocket.Chat and Discord's `/slack` addresses take as well
//! (blocks are Slack's alone).

use crate::daemon::notice::message::{Message, Mood};
use serde_json::{Value, json};

/// The body of the request.
pub(super) fn body(message: &Message) -> Value {
    let title = escape(&message.title());
    let colour = match message.mood() {
        Mood::Bad => "#d32f2f",
        Mood::Notable => "#f9a825",
        Mood::Good => "#388e3c",
    };
    let (fields, more) = message.fields();
    let mut fields: Vec<Value> = fields
        .iter()
        .map(|field| json!({"title": escape(&field.path), "value": message.difference(field, code), "short": false}))
        .collect();
    if more > 0 {
        fields.push(json!({"title": "", "value": format!("and {more} more"), "short": false}));
    }
    json!({
        "text": title,
        "attachments": [{
            "fallback": title,
            "color": colour,
            "text": escape(&message.sentence()),
            "fields": fields,
            "footer": escape(&message.remarks().join(" · ")),
            "ts": message.event.at_ms / 1000,
        }],
    })
}

/// Slack's three characters; `<!channel>` is then words. Mattermost calls people by `@`: those that call everybody are split.
fn escape(text: &str) -> String {
    let mut out = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    for all in ["@channel", "@here", "@all", "@everyone"] {
        out = out.replace(all, &format!("@\u{200b}{}", &all[1..]));
    }
    out
}

/// As code, so that `*` and `_` stay what they are.
fn code(text: &str) -> String {
    format!("`{}`", escape(text).replace('`', "'"))
}
