//! rtmps with OpenSSL's side of TLS: nginx's stream module before its RTMP module.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use shakedown::measure::{FailureKind, Metric, Side, Step, TlsCounts};
use shakedown::run::{FailureRow, RunResult};

use super::nginx::assert_completed;
use crate::support::{Authority, Nginx, NginxOptions, run, run_by, scripted_peer, shakedown_command, tool};

const NAME: &str = "rtmp.test";

/// An nginx with a certificate for [`NAME`].
fn nginx_known_to(authority: &Authority) -> Nginx {
    Nginx::start(NginxOptions { tls: Some(authority.issue(NAME)), ..NginxOptions::default() })
}

fn trusting(nginx: &Nginx, authority: &Path, options: &str) -> String {
    let authority = authority.display();
    format!("rtmps://{}/live/{{id}} --until publish --tls-ca {authority} {options}", nginx.tls_address())
}

/// The only failure of a run of which nothing completes.
fn refused(arguments: &str) -> FailureRow {
    let result = run_by(shakedown_command(), &format!("{arguments} -c 5 -n 20")).ended_with(5);
    let [row] = &result.failures[..] else { panic!("{:?}", result.failures) };
    assert_eq!((row.step, row.count, row.side), (Step::Tls, 20, Side::Target));
    row.clone()
}

fn assert_handshakes(result: &RunResult, full: u64, resumed: u64) {
    assert_completed(result, full + resumed);
    assert_eq!(result.tls, TlsCounts { full, resumed });
    assert_eq!(result.latency.get(Metric::Tls).expect("TLS is timed").count, full + resumed);
}

#[test]
fn publishes_over_tls_with_full_and_resumed_handshakes() {
    let authority = Authority::new("authority");
    let nginx = nginx_known_to(&authority);
    let options = format!("--tls-name {NAME} -t 1 -n 200");
    let full = run(&trusting(&nginx, &authority.file(), &format!("{options} -c 4")));
    assert_handshakes(&full, 200, 0);
    assert_eq!(full.modes.complex_verified, 200);
    // The first connection has nothing to resume.
    let resumed = run(&trusting(&nginx, &authority.file(), &format!("{options} -c 1 --tls-resume")));
    assert_handshakes(&resumed, 1, 199);
}

#[test]
fn publishers_are_held_over_tls_and_send_what_is_due() {
    let authority = Authority::new("authority");
    let nginx = nginx_known_to(&authority);
    let options = format!("--tls-name {NAME} -t 1 -c 8 -n 8 --hold 2s --bitrate 400k --hold-check 1s");
    for engine in ["io_uring", "epoll"] {
        let result = run(&trusting(&nginx, &authority.file(), &format!("{options} --engine {engine}")));
        assert_completed(&result, 8);
        assert_eq!((result.attempts.held, result.attempts.lost_while_held), (8, 0), "{engine}");
        let media = &result.media;
        assert_eq!((media.publishers, media.stalled, media.unsent_bytes), (8, 0, 0), "{engine}: {media:?}");
        // 8 publishers of 50 kB/s for 2 s, and what goes before.
        assert!(media.sent_bytes >= 8 * 90_000 && media.sent_bytes <= 8 * 200_000, "{engine}: {media:?}");
    }
}

#[test]
fn a_certificate_must_be_of_the_authority_and_for_the_name() {
    let authority = Authority::new("authority");
    let nginx = nginx_known_to(&authority);
    let foreign = Authority::new("foreign authority");
    let wrong_authority = refused(&trusting(&nginx, &foreign.file(), &format!("--tls-name {NAME}")));
    assert_eq!(wrong_authority.kind, FailureKind::BadCertificate);
    assert!(wrong_authority.detail.as_ref().is_some_and(|detail| detail.contains("issue")), "{wrong_authority:?}");
    for name in ["", "--tls-name other.test"] {
        let wrong_name = refused(&trusting(&nginx, &authority.file(), name));
        assert_eq!(wrong_name.kind, FailureKind::BadCertificate, "{name:?}");
        assert!(wrong_name.detail.as_ref().is_some_and(|detail| detail.contains("another name")), "{wrong_name:?}");
    }
    let insecure = run(&format!("rtmps://{}/live/{{id}} --until publish --insecure -n 20", nginx.tls_address()));
    assert_handshakes(&insecure, 20, 0);
}

#[test]
fn a_port_without_tls_is_named() {
    let http = scripted_peer(|mut stream| {
        let mut hello = [0; 64];
        let answer = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
        // The client hangs up as it likes.
        let _served = std::io::Read::read(&mut stream, &mut hello)
            .and_then(|_| std::io::Write::write_all(&mut stream, answer))
            .and_then(|()| stream.shutdown(std::net::Shutdown::Write))
            .and_then(|()| std::io::copy(&mut stream, &mut std::io::sink()));
    });
    let row = refused(&format!("rtmps://{}/live/x --insecure", http.address()));
    assert_eq!(row.kind, FailureKind::TlsRefused);
    assert!(row.advice.contains("rtmps://"), "{}", row.advice);
    // An RTMP server takes a ClientHello for the beginning of C1 and waits for the rest.
    let nginx = Nginx::start(NginxOptions::default());
    let row = refused(&format!("rtmps://{}/live/x --insecure --timeout 500ms", nginx.address()));
    assert_eq!(row.kind, FailureKind::Timeout);
    assert!(row.advice.contains("rtmps://"), "{}", row.advice);
}

/// `openssl s_server` on a port of its own choice; it speaks TLS and nothing above it.
struct OpensslServer {
    child: Child,
    address: String,
}

impl OpensslServer {
    fn start(identity: &Path, options: &str) -> Self {
        let mut child = Command::new(tool("openssl"))
            .args(["s_server", "-accept", "127.0.0.1:0", "-cert"])
            .arg(identity)
            .arg("-key")
            .arg(identity)
            .args(options.split_whitespace())
            // It ends a connection when its stdin ends.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl can be started");
        let lines = BufReader::new(child.stdout.as_mut().expect("stdout is piped")).lines();
        let address = lines.map_while(Result::ok).find_map(|line| Some(line.strip_prefix("ACCEPT ")?.to_owned()));
        Self { child, address: address.expect("s_server says where it listens") }
    }
}

impl Drop for OpensslServer {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A self-signed certificate for [`NAME`] with its key, in one file, as `openssl req -x509` makes it.
fn self_signed(folder: &Path, key: &str, options: &str) -> PathBuf {
    let [certificate, private, both] = ["certificate", "key", "both"].map(|part| folder.join(part));
    let made = Command::new(tool("openssl"))
        .args(["req", "-x509", "-nodes", "-subj", &format!("/CN={NAME}"), "-addext"])
        .arg(format!("subjectAltName=DNS:{NAME}"))
        .args(key.split_whitespace().chain(options.split_whitespace()))
        .args(["-keyout".as_ref(), private.as_os_str(), "-out".as_ref(), certificate.as_os_str()])
        .output()
        .expect("openssl can be started");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let read = |path: &Path| std::fs::read(path).expect("openssl has written it");
    std::fs::write(&both, [read(&certificate), read(&private)].concat()).expect("a writable temporary folder");
    both
}

/// What a run says of a server with this certificate, which it trusts.
fn failure_at(server: &OpensslServer, trusted: &Path) -> FailureRow {
    let arguments = format!(
        "rtmps://{}/live/x --tls-ca {} --tls-name {NAME} -c 1 -n 2 --timeout 2s",
        server.address,
        trusted.display()
    );
    let result = run_by(shakedown_command(), &arguments).ended_with(5);
    let [row] = &result.failures[..] else { panic!("{:?}", result.failures) };
    row.clone()
}

const P256: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256";

/// openssl accepts it as well: it is the certificate that was given to be trusted.
#[test]
fn the_certificate_that_openssl_makes_by_default_is_accepted_where_it_is_trusted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let identity = self_signed(folder.path(), P256, "");
    let server = OpensslServer::start(&identity, "");
    let row = failure_at(&server, &identity);
    // s_server gives no answer to C0C1: TLS has come to be.
    assert_eq!((row.step, row.kind), (Step::S0, FailureKind::Timeout), "{row:?}");
    let other = Authority::new("authority");
    let row = failure_at(&server, &other.file());
    assert_eq!((row.step, row.kind, row.side), (Step::Tls, FailureKind::BadCertificate, Side::Target));
    assert_eq!(row.detail.as_deref(), Some("the certificate is an authority's (CA:TRUE), not a server's"));
}

#[test]
fn each_fault_of_tls_has_its_one_cause() {
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real_servers/x509_v1.pem");
    let no_authority = "-addext basicConstraints=critical,CA:FALSE";
    let folder = tempfile::tempdir().expect("a temporary folder");
    let made = |name: &str, key: &str| {
        let folder = folder.path().join(name);
        std::fs::create_dir(&folder).expect("a writable temporary folder");
        self_signed(&folder, key, no_authority)
    };
    let (good, short) = (made("good", P256), made("short", "-newkey rsa:1024"));
    let curve = made("curve", "-newkey ec -pkeyopt ec_paramgen_curve:secp521r1");
    for (identity, options, kind, detail) in [
        (&old, "", FailureKind::BadCertificate, "the certificate is not X.509 v3"),
        (
            &short,
            "-cipher DEFAULT@SECLEVEL=0",
            FailureKind::BadCertificate,
            "the certificate's RSA key is shorter than 2048 bits",
        ),
        (&curve, "", FailureKind::TlsRefused, "no cipher suite, curve or kind of key in common"),
        (
            &good,
            "-tls1_1 -cipher DEFAULT@SECLEVEL=0",
            FailureKind::TlsRefused,
            "the server speaks neither TLS 1.2 nor 1.3",
        ),
        (
            &good,
            "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA",
            FailureKind::TlsRefused,
            "no cipher suite, curve or kind of key in common",
        ),
        (&good, "-groups X448", FailureKind::TlsRefused, "no cipher suite, curve or kind of key in common"),
        (&good, "-tls1_2 -Verify 1", FailureKind::TlsRefused, "the server demands a client certificate"),
        (&good, "-tls1_3 -Verify 1", FailureKind::TlsRefused, "the server demands a client certificate"),
    ] {
        let row = failure_at(&OpensslServer::start(identity, options), identity);
        let told = (row.kind, row.detail.as_deref());
        assert_eq!(told, (kind, Some(detail)), "{} {options}: {row:?}", identity.display());
    }
}
