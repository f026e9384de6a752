//! What may be typed after `auth`.

use crate::cli::args::Sources;
use clap::{Args, Subcommand};

/// `auth`.
#[derive(Debug, Subcommand)]
pub enum Auth {
    /// Print the commands that make a role, a user and a token of least privilege; with --run, do it
    Setup(AuthSetup),
    /// Say which privileges the configured credentials lack; exit 1 if any
    Check(AuthCheck),
}

/// `auth setup`.
#[derive(Debug, Args)]
pub struct AuthSetup {
    /// Manifests: only what their kinds take; all kinds when left out.
    #[command(flatten)]
    pub sources: Sources,
    /// The user, with its realm
    #[arg(long, default_value = "pvectl@pve", value_name = "USER@REALM")]
    pub user: String,
    /// The name of the user's token
    #[arg(long, default_value = "ci", value_name = "NAME")]
    pub token: String,
    /// The role. PVE keeps names that begin with PVE, in any case, to itself
    #[arg(long, default_value = "Reconciler", value_name = "NAME")]
    pub role: String,
    /// Do it through the API, with the configured credentials of an administrator
    #[arg(long)]
    pub run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// `auth check`.
#[derive(Debug, Args)]
pub struct AuthCheck {
    /// Manifests: only what their kinds take; all kinds when left out.
    #[command(flatten)]
    pub sources: Sources,
}
