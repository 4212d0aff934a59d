//! nginx with its RTMP module, from Debian's `nginx-light` and `libnginx-mod-rtmp`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};

use super::process::{NotReady, Server, start_on_free_port, tool};

const RTMP_MODULE: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";

/// What a test chooses about its nginx.
#[derive(Clone, Copy, Debug)]
pub struct NginxOptions {
    /// Where it listens: an address of the network that the calling thread is in.
    pub listen: Ipv4Addr,
    pub workers: u32,
    /// Connections of one worker, its own descriptors included; more are closed at once after they are accepted.
    pub worker_connections: u32,
}

impl Default for NginxOptions {
    fn default() -> Self {
        Self { listen: Ipv4Addr::LOCALHOST, workers: 1, worker_connections: 4096 }
    }
}

/// A running nginx with one RTMP application, `live`. Its listen queue is nginx's own, 511: the RTMP module's
/// `listen` knows no `backlog`.
pub struct Nginx {
    server: Server,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Nginx {
    /// Starts nginx and waits until its workers run.
    pub fn start(options: NginxOptions) -> Self {
        let module = Path::new(RTMP_MODULE);
        assert!(module.is_file(), "{RTMP_MODULE} is missing: run scripts/test, it installs what the tests need");
        start_on_free_port(|port| Self::start_on(port, options))
    }

    fn start_on(port: u16, options: NginxOptions) -> Result<Self, NotReady> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = folder.path().join("nginx.conf");
        std::fs::write(&config, configuration(port, options, folder.path())).expect("a writable temporary folder");
        let mut command = Command::new(tool("nginx"));
        command.arg("-p").arg(folder.path()).arg("-c").arg(&config).args(["-e", "stderr"]);
        let mut server = Server::start(command.stdin(Stdio::null()).stdout(Stdio::null()));
        let mut started = 0;
        server.wait_until(|line| {
            // One such line a worker, and one without a number before them.
            started += u32::from(line.contains("start worker process "));
            started == options.workers
        })?;
        Ok(Self { server, address: SocketAddr::from((options.listen, port)), _folder: folder })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a stream in the application `live`.
    pub fn url(&self, stream: &str) -> String {
        format!("rtmp://{}/live/{stream}", self.address)
    }

    /// The id of nginx's master process; its children are the workers.
    pub fn id(&self) -> u32 {
        self.server.id()
    }
}

fn configuration(port: u16, options: NginxOptions, folder: &Path) -> String {
    let NginxOptions { listen, workers, worker_connections } = options;
    // Started by root, nginx would give its workers to a user that cannot reach the temporary folder; started by
    // another user, it warns about the directive.
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    format!(
        "load_module {RTMP_MODULE};
daemon off;
{user}
worker_processes {workers};
pid {}/nginx.pid;
error_log stderr notice;
events {{ worker_connections {worker_connections}; }}
rtmp {{
    access_log off;
    server {{ listen {listen}:{port}; application live {{ live on; }} }}
}}
",
        folder.display()
    )
}
