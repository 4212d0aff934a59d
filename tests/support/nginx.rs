//! nginx with its RTMP module, from Debian's `nginx-light` and `libnginx-mod-rtmp`.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::authority::Identity;
use super::process::{NotReady, Server, find_tool, start_on_free_port, tool};

const RTMP_MODULE: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// What a test chooses about its nginx.
#[derive(Clone, Debug)]
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
    /// An HTTP server there is asked: `/connect` before any connect, `/publish` and `/play` before the streams of one
    /// more application, `guarded`.
    pub hooks: Option<SocketAddr>,
    /// It serves numbers about its streams, for [`Nginx::statistics`].
    pub statistics: bool,
    /// It speaks TLS with this certificate at [`Nginx::tls_address`], by its stream module.
    pub tls: Option<Identity>,
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
            hooks: None,
            statistics: false,
            tls: None,
        }
    }
}

/// A running nginx with one RTMP application, `live`. Its listen queue is nginx's own, 511: the RTMP module's
/// `listen` knows no `backlog`.
pub struct Nginx {
    server: Server,
    address: SocketAddr,
    /// Statistics by HTTP.
    http_address: SocketAddr,
    tls_address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Nginx {
    /// Whether there is one to start, with the modules that it may need.
    pub fn is_installed() -> bool {
        find_tool("nginx").is_some() && [RTMP_MODULE, STREAM_MODULE].iter().all(|module| Path::new(module).is_file())
    }

    /// Starts nginx and waits until its workers run.
    pub fn start(options: NginxOptions) -> Self {
        for module in [RTMP_MODULE, STREAM_MODULE] {
            let installed = Path::new(module).is_file();
            assert!(installed, "{module} is missing: run scripts/test, it installs what the tests need");
        }
        start_on_free_port(|port| Self::start_on(port, &options))
    }

    /// Likewise, on a port that nobody else uses: for networks of their own.
    pub fn start_at(port: u16, options: NginxOptions) -> Self {
        Self::start_on(port, &options).expect("the port is free in a network of its own")
    }

    fn start_on(port: u16, options: &NginxOptions) -> Result<Self, NotReady> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = folder.path().join("nginx.conf");
        let [http_port, tls_port] = free_ports(options.listen);
        let ports = Ports { rtmp: port, http: http_port, tls: tls_port };
        std::fs::write(&config, configuration(&ports, options, folder.path())).expect("a writable temporary folder");
        let mut command = Command::new(tool("nginx"));
        command.arg("-p").arg(folder.path()).arg("-c").arg(&config).args(["-e", "stderr"]);
        let mut server = Server::start(command.stdin(Stdio::null()).stdout(Stdio::null()));
        let mut started = 0;
        server.wait_until(|line| {
            // One such line a worker, and one without a number before them.
            started += u32::from(line.contains("start worker process "));
            started == options.workers
        })?;
        let [address, http_address, tls_address] =
            [ports.rtmp, ports.http, ports.tls].map(|port| SocketAddr::from((options.listen, port)));
        Ok(Self { server, address, http_address, tls_address, _folder: folder })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it speaks TLS.
    pub fn tls_address(&self) -> SocketAddr {
        self.tls_address
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

    /// What it says of its streams, as XML; see [`streams`].
    pub fn statistics(&self) -> String {
        let mut stream = TcpStream::connect(self.http_address).expect("nginx listens");
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("nginx reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("nginx answers in UTF-8");
        answer
    }

    /// Waits until it has logged `event` so many times since the last wait.
    pub fn wait_for(&mut self, event: &str, count: u32) {
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

/// How many streams there are and how many clients they have, publishers and players, by [`Nginx::statistics`].
pub fn streams(statistics: &str) -> [usize; 2] {
    ["<stream>", "<client>"].map(|element| statistics.matches(element).count())
}

/// Where nginx listens.
struct Ports {
    rtmp: u16,
    http: u16,
    tls: u16,
}

/// Ports that were free a moment ago.
fn free_ports<const N: usize>(address: IpAddr) -> [u16; N] {
    let bound = [(); N].map(|()| TcpListener::bind((address, 0)).expect("the address has a free port"));
    bound.map(|listener| listener.local_addr().expect("a bound socket has an address").port())
}

fn configuration(ports: &Ports, options: &NginxOptions, folder: &Path) -> String {
    let NginxOptions { listen: ip, workers, worker_connections, timeout_s, .. } = options;
    let listen = SocketAddr::from((*ip, ports.rtmp));
    let (mut modules, mut blocks) = (String::new(), String::new());
    if options.statistics {
        let http = SocketAddr::from((*ip, ports.http));
        blocks += &format!("http {{ access_log off; server {{ listen {http}; location / {{ rtmp_stat all; }} }} }}\n");
    }
    if let Some(Identity { certificate, key }) = &options.tls {
        let tls = SocketAddr::from((*ip, ports.tls));
        modules += &format!("load_module {STREAM_MODULE};\n");
        blocks += &format!(
            "stream {{ server {{ listen {tls} ssl; ssl_certificate {}; ssl_certificate_key {}; proxy_pass {listen}; }} }}\n",
            certificate.display(),
            key.display()
        );
    }
    let (on_connect, guarded) = match options.hooks {
        Some(hooks) => (
            format!("on_connect http://{hooks}/connect;"),
            format!(
                "application guarded {{ live on; on_publish http://{hooks}/publish; on_play http://{hooks}/play; }}"
            ),
        ),
        None => Default::default(),
    };
    let proxy_protocol = if options.proxy_protocol { " proxy_protocol" } else { "" };
    let level = if options.logs_connections { "info" } else { "notice" };
    // Started by root, nginx would give its workers to a user that cannot reach the temporary folder; started by
    // another user, it warns about the directive.
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    format!(
        "load_module {RTMP_MODULE};
{modules}daemon off;
{user}
worker_processes {workers};
pid {}/nginx.pid;
error_log stderr {level};
events {{ worker_connections {worker_connections}; }}
{blocks}rtmp {{
    access_log off;
    server {{
        listen {listen}{proxy_protocol};
        timeout {timeout_s}s;
        {on_connect}
        application live {{ live on; }}
        {guarded}
    }}
}}
",
        folder.display()
    )
}
