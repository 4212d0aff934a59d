//! What only rings have: two kinds of descriptors, and an environment that may forbid them.

use std::io::{Read, Write};
use std::os::fd::FromRawFd;

use super::error::Barriers;
use super::*;
use crate::base::Nanos;
use crate::io::tests::driver::{
    Driver, End, Exposed, PATIENCE, SHARED, discard, open, plan, read_end, refusing, send_shared, serve, token,
};
use crate::io::{CloseHow, SourceId, TargetId};

impl Exposed for Ring {
    fn descriptor(&mut self, slot: u32) -> OwnedFd {
        if self.descriptors == Descriptors::Ordinary {
            return self.sockets[slot as usize].as_ref().unwrap().try_clone().unwrap();
        }
        let entry = Plain::from(opcode::FixedFdInstall::new(types::Fixed(slot), 0)).user_data(u64::MAX);
        self.queues.push_plain(&entry);
        loop {
            let now = self.now();
            self.queues.enter(1, now + PATIENCE, now).unwrap();
            let Some(entry) = self.queues.next() else { continue };
            assert_eq!(entry.user_data(), u64::MAX);
            assert!(entry.result() >= 0, "{}", entry.result());
            // SAFETY: the kernel has just made this descriptor for nobody else.
            return unsafe { OwnedFd::from_raw_fd(entry.result()) };
        }
    }

    fn occupied(&self) -> u32 {
        self.occupied
    }
}

/// Reuse relies on it: the socket of another origin goes away when the slot gets a new one.
#[test]
fn a_new_socket_in_an_occupied_slot_closes_the_old_one() {
    let (address, server) = serve(1, |stream, _| read_end(&stream));
    let ring = Ring::with_descriptors(plan(1, vec![address]), Descriptors::Direct);
    let mut driver = Driver::over(Box::new(ring.unwrap_or_else(|error| panic!("{error}"))));
    driver.open(0, 1).unwrap();
    driver.io.queue_socket(token(OpKind::Open, 0, 2), TargetId(0), SourceId::ANY, false);
    driver.submit(&[]);
    assert_eq!(server.join().unwrap(), [End::Fin]);
    driver.assert_quiet();
}

#[test]
fn an_open_with_every_option_finds_room_however_full_the_queue_is() {
    let (address, server) = serve(12, |stream, _| read_end(&stream));
    let plan = IoPlan {
        sources: vec![[127, 0, 0, 1].into()],
        hold_check: Some(Nanos::from_secs(10)),
        ports: Some(30_000..=40_000),
        ..plan(12, vec![address])
    };
    let ring = Ring::with_descriptors(plan, Descriptors::Direct).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(Ring::entries_to_open(ring.options.len()), 11);
    let mut driver = Driver::over(Box::new(ring));
    for left in 1..=12_u32 {
        while driver.io.queues.room() > left as usize {
            driver.io.cancel(token(OpKind::Recv, 0, 9));
        }
        assert_eq!(driver.run(open(left - 1, 1, SourceId(0))), Ok(0), "with {left} free entries");
        driver.close(left - 1, 1, CloseHow::Fin).unwrap();
    }
    assert_eq!(server.join().unwrap(), [(); 12].map(|()| End::Fin));
    driver.assert_quiet();
}

/// An entry that waits for submission points to the old address.
#[test]
fn an_address_that_is_replaced_stays_until_nothing_waits_that_points_to_it() {
    let (address, server) = serve(1, |stream, _| read_end(&stream));
    let (nobody, other) = refusing();
    let ring = Ring::with_descriptors(plan(1, vec![address]), Descriptors::Direct);
    let mut driver = Driver::over(Box::new(ring.unwrap_or_else(|error| panic!("{error}"))));
    driver.io.open(token(OpKind::Open, 0, 1), TargetId(0), SourceId::ANY, false, &mut Vec::new());
    driver.io.retarget(TargetId(0), other);
    assert_eq!(driver.io.retired.len(), 1);
    driver.wait(token(OpKind::Open, 0, 1)).unwrap();
    assert!(driver.io.retired.is_empty());
    driver.close(0, 1, CloseHow::Fin).unwrap();
    assert_eq!(server.join().unwrap(), [End::Fin]);
    driver.io.retarget(TargetId(0), address);
    assert!(driver.io.retired.is_empty(), "nothing waits");
    drop(nobody);
    driver.assert_quiet();
}

#[test]
fn bytes_have_the_time_of_their_arrival_however_late_they_are_received() {
    for descriptors in [Descriptors::Direct, Descriptors::Ordinary] {
        let (has_answered, answered) = std::sync::mpsc::channel();
        let (address, server) = serve(1, move |mut stream, _| {
            let mut question = [0; SHARED.len()];
            while stream.read_exact(&mut question).is_ok() {
                stream.write_all(&[1]).unwrap();
                has_answered.send(()).unwrap();
            }
        });
        let ring = Ring::with_descriptors(plan(1, vec![address]), descriptors);
        let mut driver = Driver::over(Box::new(ring.unwrap_or_else(|error| panic!("{error}"))));
        driver.open(0, 1).unwrap();
        let buffer = driver.io.buffers().receive.take().unwrap();
        let began = monotonic_now();
        // The kernel begins to stamp packets some time after it was asked to.
        loop {
            let asked = monotonic_now();
            assert!(asked < began + PATIENCE, "nothing is stamped");
            driver.run(send_shared(0, 1)).unwrap();
            answered.recv().unwrap();
            let is_there = monotonic_now();
            driver.receive_exact(0, 1, buffer, 1);
            if let Some(at) = driver.io.buffers().arrivals.of(buffer) {
                assert!(asked < at && at < is_there, "{asked:?} {at:?} {is_there:?}");
                break;
            }
        }
        driver.close(0, 1, CloseHow::Rst).unwrap();
        server.join().unwrap();
        driver.assert_quiet();
    }
}

/// What the choice of descriptors is about.
#[test]
fn a_close_is_seen_while_an_earlier_op_is_in_flight() {
    let (address, server) = serve(2, |stream, _| stream);
    let ring = Ring::new(plan(2, vec![address])).unwrap_or_else(|error| panic!("{error}"));
    let mut driver = Driver::over(Box::new(ring));
    driver.open(0, 1).unwrap();
    driver.open(1, 1).unwrap();
    driver.submit(&[discard(0, 1)]);
    driver.close(1, 1, CloseHow::Fin).unwrap();
    let accepted = server.join().unwrap();
    assert_eq!(read_end(&accepted[1]), End::Fin);
    drop(accepted);
    assert_eq!(driver.wait(token(OpKind::Recv, 0, 1)), Ok(0));
}

#[test]
fn too_many_slots_are_refused_with_the_remedy() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.expect("a limit of open files");
    let slots = u32::try_from(limit + 1).expect("a limit below four thousand million");
    let refused = |descriptors| Ring::with_descriptors(plan(slots, Vec::new()), descriptors).err().unwrap().to_string();
    assert_eq!(
        refused(Descriptors::Direct),
        format!(
            "{slots} slots per ring asked, the file table is limited to RLIMIT_NOFILE = {limit}: raise `ulimit -n` or \
             use more workers"
        )
    );
    assert_eq!(
        refused(Descriptors::Ordinary),
        format!(
            "{slots} slots per ring asked, the number of open files is limited to RLIMIT_NOFILE = {limit}: raise \
             `ulimit -n` or use fewer connections"
        )
    );
}

#[test]
fn a_forbidden_ring_is_explained() {
    let free = Barriers { disabled: Some(0), filtered: false, new_enough: true };
    let filtered = Barriers { filtered: true, ..free };
    for (errno, barriers, part) in [
        (
            Errno::PERM,
            Barriers { disabled: Some(2), ..free },
            "kernel.io_uring_disabled = 2): switch it on with `sysctl",
        ),
        (Errno::PERM, Barriers { disabled: Some(1), ..filtered }, "or run with CAP_SYS_ADMIN"),
        (Errno::PERM, filtered, "io_uring_setup is forbidden to this process (EPERM) by a seccomp profile"),
        (Errno::NOSYS, filtered, "io_uring_setup is forbidden to this process (ENOSYS) by a seccomp profile"),
        (Errno::PERM, free, "SELinux"),
        (Errno::ACCESS, free, "(EACCES) by a security module"),
        (Errno::NOSYS, free, "gVisor"),
        (Errno::NOSYS, Barriers { new_enough: false, ..filtered }, "older than Linux 5.1"),
        (Errno::INVAL, free, "Linux 6.1"),
        (Errno::NOMEM, free, "ulimit -l"),
        (Errno::MFILE, free, "ulimit -n"),
        (Errno::IO, free, "strace"),
    ] {
        let text = RingError::from_setup(errno.into(), barriers).to_string();
        assert!(text.contains(part), "{text:?} does not say {part:?}");
        let forbidden = matches!(errno, Errno::PERM | Errno::ACCESS | Errno::NOSYS | Errno::INVAL);
        assert_eq!(text.contains("`--engine epoll`"), forbidden, "{text:?}");
    }
}
