//! The built binary with peers that others wrote: nginx-rtmp, ffmpeg, librtmp and tshark. Everything happens on loopback
//! or in network namespaces.

mod real_servers {
    mod capacity;
    mod clients;
    mod cluster;
    mod early_end;
    mod ffmpeg_listen;
    mod held;
    mod hostile;
    mod latency;
    mod media;
    mod namespaces;
    mod nginx;
    mod observe;
    mod oracle;
    mod overload;
    mod probe;
    mod proxy;
    mod rtmpsrv;
    mod sessions;
    mod storm;
    mod tls;
    mod wire;
}
mod support;
