//! `sim serve`: the simulator as a server of its own.

use crate::cli::args;
use crate::cli::exit;
use crate::cli::run::{Ended, Failure};

/// `sim serve`.
pub fn sim(args: &args::Sim) -> Ended {
    let args::Sim::Serve(_) = args;
    Err(Failure::new(exit::FAILED, "serving over HTTPS is not in this build yet")
        .hint("--sim on any command runs against the embedded simulator"))
}
