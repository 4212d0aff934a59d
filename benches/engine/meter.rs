//! What the calling thread spends: instructions where the machine counts them, CPU time always.

use std::io;

use perf_event::events::Hardware;
use perf_event::{Builder, Counter};
use rustix::time::{ClockId, clock_gettime};

/// What a stretch of work cost its thread.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub handshakes: u64,
    pub wall_ns: u64,
    /// CPU time, the kernel's part included. The softirq work that the thread's own packets cause runs in its system
    /// calls and is part of it.
    pub cpu_ns: u64,
    pub instructions: Option<Instructions>,
}

#[derive(Clone, Copy, Debug)]
pub struct Instructions {
    pub user: u64,
    pub kernel: u64,
}

/// The counters of the thread that opened it.
pub struct Meter {
    counters: Result<Counters, String>,
}

struct Counters {
    user: Counter,
    kernel: Counter,
}

impl Meter {
    /// Opens the counters; a machine without them is told of by [`Meter::missing`].
    pub fn open() -> Self {
        Self { counters: Counters::open().map_err(|error| reason(&error)) }
    }

    /// Why instructions are not counted, if they are not.
    pub fn missing(&self) -> Option<&str> {
        self.counters.as_ref().err().map(String::as_str)
    }

    /// What `work` costs; it returns how many handshakes it completed.
    pub fn measure(&mut self, work: impl FnOnce() -> io::Result<u64>) -> io::Result<Cost> {
        let before = self.instructions()?;
        let (wall, cpu) = (nanos(ClockId::Monotonic), nanos(ClockId::ThreadCPUTime));
        let handshakes = work()?;
        let (cpu_ns, wall_ns) = (nanos(ClockId::ThreadCPUTime) - cpu, nanos(ClockId::Monotonic) - wall);
        let instructions = before.zip(self.instructions()?).map(|(before, after)| Instructions {
            user: after.user - before.user,
            kernel: after.kernel - before.kernel,
        });
        Ok(Cost { handshakes, wall_ns, cpu_ns, instructions })
    }

    fn instructions(&mut self) -> io::Result<Option<Instructions>> {
        let Ok(Counters { user, kernel }) = &mut self.counters else { return Ok(None) };
        Ok(Some(Instructions { user: user.read()?, kernel: kernel.read()? }))
    }
}

impl Counters {
    /// Pinned: a counter that cannot be on the CPU all the time would be an estimate.
    fn open() -> io::Result<Self> {
        let mut builder = Builder::new(Hardware::INSTRUCTIONS);
        let mut user = builder.pinned(true).exclude_kernel(true).build()?;
        let mut kernel = builder.exclude_kernel(false).exclude_user(true).build()?;
        user.enable()?;
        kernel.enable()?;
        Ok(Self { user, kernel })
    }
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "not permitted;\nrun as root or with `sysctl -w kernel.perf_event_paranoid=1`".into()
        }
        io::ErrorKind::NotFound | io::ErrorKind::Unsupported => {
            "this machine, a virtual one perhaps,\noffers no counter of them".into()
        }
        _ => error.to_string(),
    }
}

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
