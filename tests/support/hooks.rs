//! The HTTP server that an RTMP server asks whether to admit a client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use super::scripted::{ScriptedPeer, scripted_peer};

/// Answers each request with the status that `decide` gives for its path and its body, for example 200 or 403.
pub fn hook_server(decide: impl Fn(&str, &str) -> u16 + Send + Sync + 'static) -> ScriptedPeer {
    scripted_peer(move |stream| {
        if let Some((path, body)) = request(&stream) {
            let status = decide(&path, &body);
            let answer = format!("HTTP/1.1 {status} Decided\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            // The server may have lost its patience, which its client then sees.
            let _sent = (&stream).write_all(answer.as_bytes());
        }
    })
}

/// Path and body of one request; `None` if none comes.
fn request(stream: &TcpStream) -> Option<(String, String)> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        match line.trim().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((path, String::from_utf8_lossy(&body).into_owned()))
}
