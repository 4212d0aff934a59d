//! nginx with its RTMP module, from Debian's `nginx-light` and `libnginx-mod-rtmp`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::process::{NotReady, Server, start_on_free_port, tool};

const RTMP_MODULE: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";

/// What a test chooses about its nginx.
#[derive(Clone, Copy, Debug)]
pub struct NginxOptions {
    /// Where it listens: an address of the network that the calling thread is in.
    pub listen: IpAddr,
    pub workers: u32,
    /// Connections of one worker, its own descriptors included; more are closed at once after they are accepted.
    pub worker_connections: u32,
    /// How long it waits in a handshake for the next bytes. Its own default is a minute.
    pub timeout_s: u32,
    /// A PROXY header (version 1) comes before C0.
    pub proxy_protocol: bool,
    /// It logs each connection, for [`Nginx::wait_for_connections`], [`Nginx::wait_for_disconnects`] and
    /// [`Nginx::stop`].
    pub logs_connections: bool,
}

impl Default for NginxOptions {
    fn default() -> Self {
        Self {
            listen: Ipv4Addr::LOCALHOST.into(),
            workers: 1,
            worker_connections: 4096,
            timeout_s: 60,
            proxy_protocol: false,
            logs_connections: false,
        }
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

    /// Likewise, on a port that nobody else uses: for networks of their own.
    pub fn start_at(port: u16, options: NginxOptions) -> Self {
        Self::start_on(port, options).expect("the port is free in a network of its own")
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

    /// Waits until so many connections have begun since the last wait: their handshakes may not have.
    pub fn wait_for_connections(&mut self, count: u32) {
        self.wait_for("client connected", count);
    }

    /// Waits until the clients have ended so many connections since the last wait.
    pub fn wait_for_disconnects(&mut self, count: u32) {
        self.wait_for("disconnect, client", count);
    }

    fn wait_for(&mut self, event: &str, count: u32) {
        let mut happened = 0;
        let waited = self.server.wait_until(|line| {
            happened += u32::from(line.contains(event));
            happened == count
        });
        waited.expect("nginx has bound its port");
    }

    /// Ends it: its listening socket and its connections are closed. What it printed.
    pub fn stop(self) -> Vec<String> {
        self.server.signal(Signal::TERM);
        self.server.finish().1
    }

    /// The id of nginx's master process; its children are the workers.
    pub fn id(&self) -> u32 {
        self.server.id()
    }
}

fn configuration(port: u16, options: NginxOptions, folder: &Path) -> String {
    let NginxOptions { listen, workers, worker_connections, timeout_s, .. } = options;
    let listen = SocketAddr::from((listen, port));
    let proxy_protocol = if options.proxy_protocol { " proxy_protocol" } else { "" };
    let level = if options.logs_connections { "info" } else { "notice" };
    // Started by root, nginx would give its workers to a user that cannot reach the temporary folder; started by
    // another user, it warns about the directive.
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    format!(
        "load_module {RTMP_MODULE};
daemon off;
{user}
worker_processes {workers};
pid {}/nginx.pid;
error_log stderr {level};
events {{ worker_connections {worker_connections}; }}
rtmp {{
    access_log off;
    server {{ listen {listen}{proxy_protocol}; timeout {timeout_s}s; application live {{ live on; }} }}
}}
",
        folder.display()
    )
}
