//! The built binary with peers that others wrote: nginx-rtmp, ffmpeg, librtmp and tshark. Everything happens on loopback
//! or in network namespaces.

mod real_servers {
    mod clients;
    mod ffmpeg_listen;
    mod namespaces;
    mod nginx;
    mod oracle;
    mod rtmpsrv;
    mod wire;
}
mod support;
