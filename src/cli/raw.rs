//! `api`: one raw request with the configured credentials.

use crate::cli::args::{self, Global, Method};
use crate::cli::exit;
use crate::cli::run::{Ended, Failure, block_on, print};
use crate::cli::session::Session;
use crate::pve::request::{self, Call, Query};

/// `api METHOD /path key=value…`: prints PVE's `data` as JSON. A task's UPID is printed, not followed.
pub fn api(global: &Global, args: &args::Api) -> Ended {
    if !args.path.starts_with('/') {
        return Err(Failure::new(exit::USAGE, format!("`{}` is no path", args.path))
            .hint("write it like /cluster/resources, below /api2/json"));
    }
    let params: request::Params = args.parameters.iter().map(|p| (p.key.clone(), p.value.clone())).collect();
    let session = Session::open(global, None)?;
    let cluster = session.cluster();
    let write = |method| Call { method, path: args.path.clone(), params: params.clone() };
    let answer = block_on(async {
        match args.method {
            Method::Get => cluster.api.get(&Query { path: args.path.clone(), params: params.clone() }).await,
            Method::Post => cluster.api.send(&write(request::Method::Post)).await,
            Method::Put => cluster.api.send(&write(request::Method::Put)).await,
            Method::Delete => cluster.api.send(&write(request::Method::Delete)).await,
        }
    })?;
    session.close()?;
    let value = answer.map_err(|e| Failure::wire(exit::FAILED, &e))?;
    print(&format!("{value:#}\n"));
    Ok(exit::DONE)
}
