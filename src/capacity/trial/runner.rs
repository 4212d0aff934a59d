//! Runs plans one after the other, on whatever generates load, and keeps the time.

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

use crate::capacity::error::CapacityError;

/// Who runs plans for a measurement, one after the other: this machine's workers, or the simulated network.
pub trait Generator {
    /// Which engine it is.
    fn engine(&self) -> Engine;

    /// Time since it was made; virtual where the network is.
    fn elapsed(&self) -> Nanos;

    /// Lets time pass.
    fn wait(&mut self, length: Nanos);

    /// Runs a plan to its end, or until a signal, whatever the target refuses.
    ///
    /// # Errors
    /// If the workers cannot be set up.
    fn generate(&mut self, plan: Arc<RunPlan>, beside: Beside<'_>, watch: &mut dyn Watch)
    -> Result<Ran, CapacityError>;
}

/// What goes on beside a load.
pub struct Beside<'a> {
    interruption: &'a Interruption,
    observer: Option<&'a Observer>,
}

/// Runs plans, and knows what interrupts them and who observes the target meanwhile.
pub struct Runner {
    generator: Box<dyn Generator>,
    interruption: Arc<Interruption>,
    observer: Option<Observer>,
}

/// Workers with sockets; the runtime is the control thread's.
struct Sockets {
    engine: Engine,
    runtime: ControlRuntime,
    began: Instant,
}

/// The simulated network, in virtual time.
struct Simulated {
    now: Nanos,
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
        Ok(Self::new(Sockets { engine, runtime, began: Instant::now() }, interruption))
    }

    /// The simulated network.
    pub fn simulated(interruption: Arc<Interruption>) -> Self {
        Self::new(Simulated { now: Nanos::ZERO }, interruption)
    }

    fn new(generator: impl Generator + 'static, interruption: Arc<Interruption>) -> Self {
        Self { generator: Box::new(generator), interruption, observer: None }
    }

    /// Who reads the target's state beside the load.
    pub fn observe(&mut self, observer: Observer) {
        self.observer = Some(observer);
    }

    /// Which engine it is.
    pub fn engine(&self) -> Engine {
        self.generator.engine()
    }

    /// The signal that was received, if one was.
    pub fn interrupted(&self) -> Option<Signal> {
        self.interruption.received()
    }

    /// Time since the runner was made; virtual where the network is.
    pub fn elapsed(&self) -> Nanos {
        self.generator.elapsed()
    }

    /// Lets time pass.
    pub fn wait(&mut self, length: Nanos) {
        self.generator.wait(length);
    }

    /// Runs a plan to its end, or until a signal.
    ///
    /// # Errors
    /// If the workers cannot be set up, or one of them breaks.
    pub fn run(&mut self, plan: RunPlan, watch: &mut impl Watch) -> Result<Loaded, CapacityError> {
        check_room(&plan).map_err(|error| CapacityError::Environment(error.to_string()))?;
        let began = self.elapsed();
        let beside = Beside { interruption: &self.interruption, observer: self.observer.as_ref() };
        let ran = self.generator.generate(Arc::new(plan), beside, watch)?;
        if let Some(reason) = &ran.broken {
            return Err(CapacityError::Environment(format!("a worker's backend broke during a trial: {reason}")));
        }
        Ok(Loaded { ran, took: self.elapsed().saturating_sub(began) })
    }
}

impl Generator for Sockets {
    fn engine(&self) -> Engine {
        self.engine
    }

    fn elapsed(&self) -> Nanos {
        self.began.elapsed().into()
    }

    fn wait(&mut self, length: Nanos) {
        // A timer belongs to the runtime that it is made in.
        self.runtime.block_on(async { tokio::time::sleep(length.into()).await });
    }

    fn generate(
        &mut self,
        plan: Arc<RunPlan>,
        beside: Beside<'_>,
        watch: &mut dyn Watch,
    ) -> Result<Ran, CapacityError> {
        let observer = beside.observer.cloned();
        // A trial that is refused from beginning to end is an outcome like any other.
        let conduct = Conduct { keep_going: true, observer, ..Conduct::default() };
        let ran = self.runtime.block_on(run(plan, conduct, watch));
        ran.map_err(|error| CapacityError::Environment(error.to_string()))
    }
}

impl Generator for Simulated {
    fn engine(&self) -> Engine {
        Engine::Sim
    }

    fn elapsed(&self) -> Nanos {
        self.now
    }

    fn wait(&mut self, length: Nanos) {
        self.now += length;
    }

    fn generate(
        &mut self,
        plan: Arc<RunPlan>,
        beside: Beside<'_>,
        watch: &mut dyn Watch,
    ) -> Result<Ran, CapacityError> {
        let mut clocked = Clocked { watch, latest: Nanos::ZERO };
        let ran = simulate_watched(plan, true, beside.interruption, &mut clocked);
        self.now += clocked.latest;
        Ok(ran)
    }
}

/// Notes the latest instant of a simulated run.
struct Clocked<'a> {
    watch: &'a mut dyn Watch,
    latest: Nanos,
}

impl Watch for Clocked<'_> {
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
