//! The control of a run: what is decided while the load runs (`policy`), and who carries it out: the control thread of
//! workers with sockets (`sockets`), and the loop of the simulated network (`simulation`).

mod driver;
mod ending;
mod host_watch;
mod interruption;
mod launch;
mod names;
mod policy;
mod runtime;
mod signals;
mod simulation;
mod sockets;

pub use driver::{Ran, Watch};
pub use interruption::Interruption;
pub use names::Resolver;
pub use policy::Notice;
pub use runtime::{ControlError, ControlRuntime};
pub use signals::{Signals, on_each_signal};
pub use simulation::{simulate, simulate_watched};
pub use sockets::{Conduct, run};
