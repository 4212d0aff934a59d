//! Executes plans one after the other, on rings or on the simulated network, and keeps the time.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use crate::base::Nanos;
use crate::fleet::Progress;
use crate::io::Engine;
use crate::measure::CompletedSecond;
use crate::observe::Observer;
use crate::run::{
    Conduct, ControlRuntime, Interruption, Notice, Ran, RunPlan, Signal, Watch, check_room, run, simulate_watched,
};

use super::measurement::CapacityError;

/// Who executes the trials.
pub struct Runner {
    engine: Executor,
    interruption: Arc<Interruption>,
    observer: Option<Observer>,
}

enum Executor {
    /// Workers with sockets; the runtime is the control thread's.
    Sockets(Engine, ControlRuntime, Instant),
    /// The simulated network, in virtual time.
    Sim(Nanos),
}

/// A run that is over, and what it took.
#[derive(Debug)]
pub struct Loaded {
    /// What its result is made of.
    pub ran: Ran,
    /// From the beginning of its set-up to the end of its last attempt.
    pub took: Nanos,
}

impl Runner {
    /// Workers with sockets.
    ///
    /// # Errors
    /// If the control thread's runtime cannot be made, as where io_uring is forbidden.
    pub fn on_sockets(engine: Engine, interruption: Arc<Interruption>) -> Result<Self, CapacityError> {
        let runtime = ControlRuntime::beside(engine).map_err(|error| CapacityError::Environment(error.to_string()))?;
        Ok(Self { engine: Executor::Sockets(engine, runtime, Instant::now()), interruption, observer: None })
    }

    /// The simulated network.
    pub fn simulated(interruption: Arc<Interruption>) -> Self {
        Self { engine: Executor::Sim(Nanos::ZERO), interruption, observer: None }
    }

    /// Who reads the target's state beside the load.
    pub fn observe(&mut self, observer: Observer) {
        self.observer = Some(observer);
    }

    /// Which engine it is.
    pub const fn engine(&self) -> Engine {
        match self.engine {
            Executor::Sockets(engine, ..) => engine,
            Executor::Sim(_) => Engine::Sim,
        }
    }

    /// The signal that was received, if one was.
    pub fn interrupted(&self) -> Option<Signal> {
        self.interruption.received()
    }

    /// Time since the runner was made; virtual where the network is.
    pub fn elapsed(&self) -> Nanos {
        match &self.engine {
            Executor::Sockets(.., began) => began.elapsed().into(),
            Executor::Sim(now) => *now,
        }
    }

    /// Lets time pass.
    pub fn wait(&mut self, length: Nanos) {
        match &mut self.engine {
            // A timer belongs to the runtime that it is made in.
            Executor::Sockets(_, runtime, _) => runtime.block_on(async { tokio::time::sleep(length.into()).await }),
            Executor::Sim(now) => *now += length,
        }
    }

    /// Runs a plan to its end, or until a signal.
    ///
    /// # Errors
    /// If the workers cannot be set up, or one of them breaks.
    pub fn run(&mut self, plan: RunPlan, watch: &mut impl Watch) -> Result<Loaded, CapacityError> {
        check_room(&plan).map_err(|error| CapacityError::Environment(error.to_string()))?;
        let plan = Arc::new(plan);
        let began = self.elapsed();
        // A trial that is refused from beginning to end is an outcome like any other.
        let keep_going = true;
        let ran = match &mut self.engine {
            Executor::Sockets(_, runtime, _) => {
                let observer = self.observer.clone();
                let conduct = Conduct { keep_going, observer, ..Conduct::default() };
                runtime
                    .block_on(run(plan, conduct, watch))
                    .map_err(|error| CapacityError::Environment(error.to_string()))?
            }
            Executor::Sim(now) => {
                let mut clocked = Clocked { watch, latest: Nanos::ZERO };
                let ran = simulate_watched(plan, keep_going, &self.interruption, &mut clocked);
                *now += clocked.latest;
                ran
            }
        };
        if let Some(reason) = &ran.broken {
            return Err(CapacityError::Environment(format!("a worker's backend broke during a trial: {reason}")));
        }
        Ok(Loaded { ran, took: self.elapsed().saturating_sub(began) })
    }
}

/// Notes the latest instant of a simulated run.
struct Clocked<'a, W> {
    watch: &'a mut W,
    latest: Nanos,
}

impl<W: Watch> Watch for Clocked<'_, W> {
    fn progress(&mut self, progress: &Progress, elapsed: Nanos) {
        self.latest = self.latest.max(elapsed);
        self.watch.progress(progress, elapsed);
    }

    fn second(&mut self, second: &CompletedSecond) -> ControlFlow<()> {
        self.watch.second(second)
    }

    fn notice(&mut self, notice: &Notice) {
        self.watch.notice(notice);
    }
}
