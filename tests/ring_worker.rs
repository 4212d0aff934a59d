//! The worker on the kernel's ring: the same plan and the same peers as on the simulated network end the same way, and the
//! books balance after every turn. The peers are blocking sockets of the standard library.

mod plans;

mod ring_worker {
    mod drive;
    mod peers;
    mod sessions;
    mod table;
    mod worker;
}
mod support;
