//! The way to GitHub of a real cluster's session: its HTTPS, this machine's time, and secrets from where manifests say that
//! they stand.

use crate::base::clock::Clock;
use crate::base::secret::Secret;
use crate::cli::command::Programs;
use crate::config::connect::secret;
use crate::config::file::SecretField;
use crate::config::roots;
use crate::github::http::HttpWire;
use crate::github::hub::Hub;
use crate::github::place::SecretRef;
use crate::github::wire::{Request, Response, Secrets, Wire, WireError};
use futures::future::BoxFuture;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// Secrets of this machine: its environment, its files, what its programs tell. Each is read when it is used.
pub struct Stored;

impl Secrets for Stored {
    fn secret(&self, of: &SecretRef) -> Result<Secret, String> {
        let field = match of {
            SecretRef::Env(name) => SecretField::Env(name.clone()),
            SecretRef::File(path) => SecretField::File(PathBuf::from(path)),
            SecretRef::Command(words) => SecretField::Command(words.clone()),
        };
        secret(field, &|name| std::env::var(name).ok(), &Programs::default()).map_err(|error| error.to_string())
    }
}

/// HTTPS that is set up when it is used: most commands never ask GitHub, and reading all roots takes its time.
#[derive(Default)]
struct Late(OnceLock<Result<HttpWire, String>>);

impl Wire for Late {
    fn exchange(&self, request: Request) -> BoxFuture<'_, Result<Response, WireError>> {
        let made = self.0.get_or_init(|| {
            let tls = roots::client().map_err(|error| format!("TLS cannot be set up: {error}"))?;
            HttpWire::new(tls)
        });
        match made {
            Ok(wire) => wire.exchange(request),
            Err(why) => Box::pin(async move { Err(WireError::Unsent(why.clone())) }),
        }
    }
}

/// Speaks to GitHub when it is asked to, and not before.
pub fn hub(clock: Arc<dyn Clock>) -> Hub {
    let hub = Hub::new(Arc::new(Late::default()), clock, Arc::new(Stored));
    match machine() {
        Some(name) => hub.on(&name),
        None => hub,
    }
}

/// This machine's name; where it is not known nothing is missing.
fn machine() -> Option<String> {
    let read = || std::fs::read_to_string("/etc/hostname").ok();
    let name = read().or_else(|| std::env::var("COMPUTERNAME").ok()).or_else(|| std::env::var("HOSTNAME").ok())?;
    let name: String =
        name.trim().chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).take(60).collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_from_where_it_stands() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        std::fs::write(&file, "s3cret\n").expect("written");
        let path = file.to_string_lossy().into_owned();
        let read = |of: &SecretRef| Stored.secret(of).map(|secret| secret.expose().to_owned());
        assert_eq!(read(&SecretRef::File(path)).as_deref(), Ok("s3cret"));
        assert_eq!(read(&SecretRef::Command(vec!["echo".into(), "s3cret".into()])).as_deref(), Ok("s3cret"));
        assert!(read(&SecretRef::Env("PATH".into())).is_ok());
        for missing in
            [SecretRef::Env("PVECTL_NOT_SET".into()), SecretRef::File("/nowhere/x".into()), SecretRef::Command(vec![])]
        {
            let why = read(&missing).expect_err("there is none");
            assert!(!why.is_empty() && !why.contains("s3cret"), "{why}");
        }
    }
}
