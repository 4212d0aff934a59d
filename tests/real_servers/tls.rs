//! rtmps with OpenSSL's side of TLS: nginx's stream module before its RTMP module.

use std::path::Path;

use shakedown::measure::{FailureKind, Side, Step, TlsCounts};
use shakedown::run::{FailureRow, RunResult};

use super::nginx::assert_completed;
use crate::support::{Authority, Nginx, NginxOptions, run, run_by, scripted_peer, shakedown_command};

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
    assert_eq!(result.latency.tls.as_ref().expect("TLS is timed").count, full + resumed);
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
