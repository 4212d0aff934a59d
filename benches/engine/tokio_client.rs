//! What a client costs that is written with tokio in the first way that comes to mind: connect, write, read, write, in
//! a task for each connection.
//!
//! It does as little as the bare loop: it looks at no byte that it receives, keeps no time, and has no timeouts.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use super::plan::CONCURRENCY;
use shakedown::protocol::{C2_SIZE, S0S1S2_SIZE};

static C2: [u8; C2_SIZE] = [0; C2_SIZE];

/// Tasks on a runtime of one thread that send the same C0C1 and the same C2 for ever.
pub struct TokioClient {
    target: SocketAddr,
    c0c1: Arc<[u8]>,
    runtime: Runtime,
}

impl TokioClient {
    pub fn new(target: SocketAddr, c0c1: Vec<u8>) -> io::Result<Self> {
        Ok(Self { target, c0c1: c0c1.into(), runtime: Builder::new_current_thread().enable_io().build()? })
    }

    /// Completes `attempts` handshakes.
    pub fn complete(&mut self, attempts: u64) -> io::Result<u64> {
        let unstarted = Arc::new(AtomicU64::new(attempts));
        self.runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for _ in 0..CONCURRENCY {
                tasks.spawn(handshakes(self.target, Arc::clone(&self.c0c1), Arc::clone(&unstarted)));
            }
            let mut completed = 0;
            while let Some(ended) = tasks.join_next().await {
                completed += ended??;
            }
            Ok(completed)
        })
    }
}

/// One handshake after the other while there are attempts left.
async fn handshakes(target: SocketAddr, c0c1: Arc<[u8]>, unstarted: Arc<AtomicU64>) -> io::Result<u64> {
    let mut received = [0; S0S1S2_SIZE];
    let mut completed = 0;
    let next = |left: u64| left.checked_sub(1);
    while unstarted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok() {
        let mut stream = TcpStream::connect(target).await?;
        stream.set_zero_linger()?;
        stream.write_all(&c0c1).await?;
        stream.read_exact(&mut received).await?;
        stream.write_all(&C2).await?;
        completed += 1;
    }
    Ok(completed)
}
