//! The signals that end a command early: SIGINT, SIGTERM, and SIGHUP of a terminal or a connection that is gone.

use std::convert::Infallible;
use std::fs;
use std::io;

use tokio::signal::unix::{Signal as Listener, SignalKind, signal};

use crate::run::result::Signal;

/// The signals of this process, received instead of ending it.
#[derive(Debug)]
pub struct Signals {
    interrupt: Listener,
    terminate: Listener,
    /// None if it was ignored from the beginning, as under `nohup`: then it is still.
    hangup: Option<Listener>,
}

impl Signals {
    /// Receives them from now on. Must be called on a runtime.
    ///
    /// # Errors
    /// If signals cannot be received.
    pub fn new() -> io::Result<Self> {
        let hangup = SignalKind::hangup();
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: if is_ignored(hangup) { None } else { Some(signal(hangup)?) },
        })
    }

    /// The next one. May be dropped before it has come.
    pub async fn next(&mut self) -> Signal {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
            _ = hangup => Signal::Hangup,
        }
    }
}

/// Calls `receive` with every signal from now on, in a thread of its own: for those whose thread is busy.
///
/// # Errors
/// If signals cannot be received.
pub fn on_each_signal(receive: impl Fn(Signal) + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        let _on_it = runtime.enter();
        Signals::new()?
    };
    let listen = move || -> Infallible {
        runtime.block_on(async {
            loop {
                receive(signals.next().await);
            }
        })
    };
    std::thread::Builder::new().name("signals".into()).spawn(listen).map(drop)
}

/// Whether this process was started with that signal ignored, by its mask in `/proc` (proc_pid_status(5)).
fn is_ignored(kind: SignalKind) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & 1 << (kind.as_raw_value() - 1) != 0
}
