//! The workers of a run, started on the backend that its plan names.

use std::sync::Arc;

use crate::fleet::{Fleet, LaunchError, Prepared};
use crate::io::epoll::Epoll;
use crate::io::ring::Ring;
use crate::io::tls::TlsIo;
use crate::io::{Engine, Io, IoPlan, monotonic_now};

use crate::run::plan::RunPlan;
use crate::run::prepare::Preparation;

/// Starts the workers on the backend that the plan names.
pub(super) fn launch(plan: &RunPlan, preparation: &Arc<Preparation>) -> Result<Fleet, LaunchError> {
    match plan.engine {
        Engine::IoUring => launch_on(plan, preparation, Ring::new),
        Engine::Epoll => launch_on(plan, preparation, Epoll::new),
        Engine::Sim => unreachable!("a simulated run has no threads"),
    }
}

/// The same on the backends that `make` makes, each in its own thread, with TLS above them if a target needs it.
fn launch_on<I: Io + 'static, E: std::fmt::Display + 'static>(
    plan: &RunPlan,
    preparation: &Arc<Preparation>,
    make: fn(IoPlan) -> Result<I, E>,
) -> Result<Fleet, LaunchError> {
    match preparation.tls().cloned() {
        None => launch_with(plan, preparation, make),
        Some(tls) => launch_with(plan, preparation, move |io_plan| TlsIo::new(io_plan, &tls, make)),
    }
}

fn launch_with<I: Io + 'static, E: std::fmt::Display>(
    plan: &RunPlan,
    preparation: &Arc<Preparation>,
    make: impl Fn(IoPlan) -> Result<I, E> + Send + Sync + 'static,
) -> Result<Fleet, LaunchError> {
    let preparation = Arc::clone(preparation);
    Fleet::launch(plan.workers, &plan.cpus, monotonic_now, move |worker| {
        let (parts, io_plan) = preparation.parts(worker);
        let io = make(io_plan).map_err(|error| error.to_string())?;
        let preparation = Arc::clone(&preparation);
        Ok(Prepared { io, begin: Box::new(move |start| preparation.worker(worker, parts, start)) })
    })
}
