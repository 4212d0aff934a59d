//! Servers that do exactly what a test tells them: silence, other protocols, half an answer.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::process::PATIENCE;

/// A running scripted server; its thread ends when it is dropped.
pub struct ScriptedPeer {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

/// Serves every connection with `script`, on a thread each. A script ends when the client closes or when it returns;
/// the connection is closed then. Reads and writes fail after [`PATIENCE`], so a script cannot hang.
pub fn scripted_peer(script: impl Fn(TcpStream) + Send + Sync + 'static) -> ScriptedPeer {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let stopping = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&stopping);
    let script = Arc::new(script);
    let acceptor = std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            if stop.load(Ordering::Acquire) {
                return;
            }
            stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
            stream.set_write_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
            let script = Arc::clone(&script);
            std::thread::spawn(move || script(stream));
        }
    });
    ScriptedPeer { address, stopping, acceptor: Some(acceptor) }
}

impl ScriptedPeer {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A URL of this server.
    pub fn url(&self) -> String {
        format!("rtmp://{}/live/x", self.address)
    }
}

impl Drop for ScriptedPeer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        // Wakes the acceptor.
        let _woken = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ended = acceptor.join();
        }
    }
}
