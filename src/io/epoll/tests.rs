//! What only this backend has: readiness that is remembered, and a limit of its own.

use super::*;
use crate::io::tests::driver::{Exposed, plan};

impl Exposed for Epoll {
    fn descriptor(&mut self, slot: u32) -> OwnedFd {
        self.slots[slot as usize].socket().try_clone().unwrap()
    }

    fn occupied(&self) -> u32 {
        self.occupied
    }
}

#[test]
fn too_many_slots_are_refused_with_the_remedy() {
    let limit = getrlimit(Resource::Nofile).current.expect("a limit of open files");
    let slots = u32::try_from(limit + 1).expect("a limit below four thousand million");
    let refused = Epoll::new(plan(slots, Vec::new())).err().unwrap().to_string();
    assert_eq!(
        refused,
        format!(
            "{slots} slots asked, the number of open files is limited to RLIMIT_NOFILE = {limit}: raise `ulimit -n` or \
             use fewer connections"
        )
    );
}
