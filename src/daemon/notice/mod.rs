//! Who is told of what: webhooks (JSON), Slack and Mattermost, ntfy, Gotify. What to tell and in which words is pure; one future
//! for each of them sends, so that one that is dead delays neither the loop nor the others. Their addresses are secrets:
//! only the host is ever shown.

pub mod route;

pub mod message;

pub mod target;

mod slack;

pub mod retry;

pub mod post;

pub mod sinks;
