//! The worker on the kernel's sockets: on every engine the same plan and the same peers end as on the simulated network,
//! and the books balance after every turn. The peers are blocking sockets of the standard library.

mod plans;

mod worker_on_sockets {
    mod drive;
    mod peers;
    mod sessions;
    mod table;
    mod worker;
}
mod support;
