//! The client against a server of our own on loopback.

mod conduct;
mod server;
mod trust;

use super::auth::Auth;
use super::client::{HttpApi, Patience, Settings};
use super::endpoint::Endpoint;
use super::limits::Limits;
use super::tls::{Fingerprint, Trust};
use crate::base::secret::Secret;
use server::Server;
use std::time::Duration;

/// Patience for tests: quick repeats.
fn patience() -> Patience {
    Patience {
        connect: Duration::from_secs(5),
        request: Duration::from_secs(5),
        retries: 2,
        pause_min: Duration::from_millis(5),
    }
}

fn token() -> Auth {
    Auth::Token { id: "root@pam!test".to_owned(), secret: Secret::new("uuid-uuid") }
}

fn settings(endpoints: &[String], trust: Trust) -> Settings {
    Settings {
        endpoints: endpoints.iter().map(|e| Endpoint::parse(e).unwrap()).collect(),
        auth: token(),
        trust,
        limits: Limits::default(),
        patience: patience(),
    }
}

fn pin(servers: &[&Server]) -> Trust {
    Trust::Pinned(servers.iter().map(|s| Fingerprint::of(&s.leaf)).collect())
}

fn address(server: &Server) -> String {
    format!("https://127.0.0.1:{}", server.port)
}

fn api(server: &Server) -> HttpApi {
    HttpApi::new(settings(&[address(server)], pin(&[server]))).unwrap()
}

/// A loopback port on which nobody listens.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
