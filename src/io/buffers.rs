//! Fixed buffer pools whose buffers are either the engine's or lent to the kernel, never both.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use crate::base::Time;

/// A buffer of one pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferId(pub u32);

/// Sizes of the two pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferPlan {
    /// Buffers in each pool.
    pub count: u32,
    /// Bytes of a receive buffer.
    pub receive_size: u32,
    /// Bytes of a send buffer.
    pub send_size: u32,
}

/// The buffers of one worker.
#[derive(Debug)]
pub struct Buffers {
    /// Where `Op::Recv` writes.
    pub receive: BufferPool,
    /// Where `Payload::Buffer` reads.
    pub send: BufferPool,
    /// When the bytes of receive buffers arrived.
    pub arrivals: Arrivals,
}

impl BufferPlan {
    /// Bytes of both pools and of the arrivals when every buffer has been used; each becomes resident with its first use.
    pub fn memory(&self) -> usize {
        let pool = |size: u32| {
            let books = size_of::<u32>() + size_of::<bool>();
            stride(size as usize) * self.count.max(1) as usize + CACHE_LINE + books * self.count as usize
        };
        pool(self.receive_size) + pool(self.send_size) + size_of::<u64>() * self.count as usize
    }
}

impl Buffers {
    /// Pools of the planned sizes. Memory is reserved at once and becomes resident on first use.
    pub fn new(plan: BufferPlan) -> Self {
        Self {
            receive: BufferPool::new(plan.count, plan.receive_size),
            send: BufferPool::new(plan.count, plan.send_size),
            arrivals: Arrivals { at_ns: vec![0; plan.count as usize] },
        }
    }
}

/// When the last packet that an `Op::Recv` took into a receive buffer had reached this machine, as far as the backend
/// knows (see [`IoPlan::arrival_times`](super::IoPlan)). A later receive into the same buffer need not replace it, so
/// readers check that it lies after what they waited for.
#[derive(Debug)]
pub struct Arrivals {
    /// Zero where nothing is known: pages that nobody wrote to take no memory.
    at_ns: Vec<u64>,
}

impl Arrivals {
    /// Of the bytes received last into the buffer.
    pub fn of(&self, id: BufferId) -> Option<Time> {
        Some(self.at_ns[id.0 as usize]).filter(|&ns| ns > 0).map(Time::from_nanos)
    }

    /// Notes it at the receive's completion.
    pub(super) fn note(&mut self, id: BufferId, at: Time) {
        self.at_ns[id.0 as usize] = at.as_nanos();
    }
}

/// A fixed number of equal buffers.
///
/// The engine takes and releases buffers; a backend lends one for the life of an op. While a buffer is lent, reading
/// or writing it is refused by a panic: the kernel owns it.
#[derive(Debug)]
pub struct BufferPool {
    allocation: NonNull<u8>,
    /// The first buffer.
    memory: NonNull<u8>,
    layout: Layout,
    size: usize,
    stride: usize,
    /// Last in, first out: a small working set stays in the cache. Ids at and above `untouched` are free, too, and have no
    /// memory yet, or none any more.
    free: Vec<u32>,
    untouched: u32,
    count: u32,
    lent: Vec<bool>,
}

// SAFETY: the pool owns its allocation exclusively; the raw pointer is only ever turned into references through
// `&self` or `&mut self`, so moving the pool to another thread moves sole ownership with it.
unsafe impl Send for BufferPool {}

/// So many buffers keep their memory when none is taken.
const KEPT: u32 = 32;

/// Buffers start on a cache line of their own, so that two cores' buffers never share one.
const CACHE_LINE: usize = 64;

impl BufferPool {
    fn new(count: u32, size: u32) -> Self {
        let size = size as usize;
        let stride = stride(size);
        let bytes = stride.checked_mul(count.max(1) as usize).expect("buffer memory fits the address space");
        // A greater alignment than malloc's own would be served by writing zeros instead of by fresh zero pages, and
        // the whole pool would be resident at once: a line more is allocated and the first buffer aligned by hand.
        let layout = Layout::from_size_align(bytes + CACHE_LINE, 16).expect("buffer memory fits the address space");
        // SAFETY: the layout has a non-zero size (stride and count are at least 1).
        let allocation = NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
        // SAFETY: the offset is less than a cache line, which is what the allocation has beyond the buffers.
        let memory = unsafe { allocation.add(allocation.align_offset(CACHE_LINE)) };
        Self {
            allocation,
            memory,
            layout,
            size,
            stride,
            free: Vec::with_capacity(count as usize),
            untouched: 0,
            count,
            lent: vec![false; count as usize],
        }
    }

    /// Bytes of each buffer.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Buffers that [`take`](Self::take) can still give.
    pub fn available(&self) -> u32 {
        self.free.len() as u32 + (self.count - self.untouched)
    }

    /// Takes a free buffer; `None` when all are taken. Its contents are whatever it last held.
    pub fn take(&mut self) -> Option<BufferId> {
        if let Some(id) = self.free.pop() {
            return Some(BufferId(id));
        }
        (self.untouched < self.count).then(|| {
            self.untouched += 1;
            BufferId(self.untouched - 1)
        })
    }

    /// Gives a taken buffer back.
    ///
    /// # Panics
    /// If the buffer is lent: the kernel may still write to it.
    pub fn release(&mut self, id: BufferId) {
        assert!(!self.lent[id.0 as usize], "{id:?} released while lent");
        self.free.push(id.0);
        if self.untouched > KEPT && self.free.len() == self.untouched as usize {
            self.trim();
        }
    }

    /// Gives the memory of all buffers but the first ones back to the system. Nobody has a buffer: it was a burst that used
    /// so many, and a worker that holds connections would keep the memory of its worst moment.
    fn trim(&mut self) {
        self.free.clear();
        self.free.extend((0..KEPT).rev());
        let page = rustix::param::page_size();
        let begin = self.memory.as_ptr() as usize + KEPT as usize * self.stride;
        let end = self.memory.as_ptr() as usize + self.untouched as usize * self.stride;
        let (first, last) = (begin.next_multiple_of(page), end / page * page);
        self.untouched = KEPT;
        if first < last {
            let pages = self.memory.as_ptr().with_addr(first);
            // SAFETY: whole pages within the allocation, of buffers that nobody has taken and none is lent: reading them
            // next yields zeros, which is as good as what they held. Were the advice refused, they would keep that.
            let _ = unsafe { rustix::mm::madvise(pages.cast(), last - first, rustix::mm::Advice::LinuxDontNeed) };
        }
    }

    /// The whole buffer.
    ///
    /// # Panics
    /// If the buffer is lent.
    pub fn bytes(&self, id: BufferId) -> &[u8] {
        let start = self.owned(id);
        // SAFETY: `owned` checked the bounds and that no op holds the buffer, so nobody writes to these
        // initialised (zeroed at allocation) bytes while `self` is borrowed.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), self.size) }
    }

    /// The whole buffer, writable.
    ///
    /// # Panics
    /// If the buffer is lent.
    pub fn bytes_mut(&mut self, id: BufferId) -> &mut [u8] {
        let start = self.owned(id);
        // SAFETY: as in `bytes`; `&mut self` makes this the only reference into the pool.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), self.size) }
    }

    /// Lends the buffer to an op; the pointer is valid for [`BufferPool::size`] bytes until it is
    /// given back; a pool dropped before that leaves its memory allocated for ever.
    ///
    /// # Panics
    /// If the buffer is lent already.
    pub(super) fn lend(&mut self, id: BufferId) -> NonNull<u8> {
        let start = self.owned(id);
        self.lent[id.0 as usize] = true;
        start
    }

    /// Takes a lent buffer back when its op has completed.
    ///
    /// # Panics
    /// If it was not lent: two operations would be taken for one, and one of them may still write to it.
    pub(super) fn give_back(&mut self, id: BufferId) {
        assert!(self.lent[id.0 as usize], "{id:?} was not lent");
        self.lent[id.0 as usize] = false;
    }

    fn owned(&self, id: BufferId) -> NonNull<u8> {
        assert!(!self.lent[id.0 as usize], "{id:?} is lent to an operation in flight");
        // SAFETY: the index check above bounds `id` by `count`, and the allocation holds `count` strides.
        unsafe { self.memory.add(id.0 as usize * self.stride) }
    }
}

impl Drop for BufferPool {
    fn drop(&mut self) {
        // The kernel goes on with an operation for a while after its ring is closed: memory that it may still write to
        // is never reused.
        if self.lent.contains(&true) {
            return;
        }
        // SAFETY: allocated with this very layout in `new`, freed once, and no operation refers to it.
        unsafe { dealloc(self.allocation.as_ptr(), self.layout) }
    }
}

/// Bytes from the beginning of a buffer to that of the next.
fn stride(size: usize) -> usize {
    size.next_multiple_of(CACHE_LINE).max(CACHE_LINE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> BufferPool {
        BufferPool::new(2, 100)
    }

    #[test]
    fn takes_each_buffer_once() {
        let mut pool = pool();
        let (a, b) = (pool.take().unwrap(), pool.take().unwrap());
        assert_ne!(a, b);
        assert_eq!((pool.take(), pool.available()), (None, 0));
        pool.release(a);
        assert_eq!(pool.available(), 1);
        assert_eq!(pool.take(), Some(a));
    }

    #[test]
    fn buffers_do_not_overlap() {
        let mut pool = pool();
        let (a, b) = (pool.take().unwrap(), pool.take().unwrap());
        pool.bytes_mut(a).fill(1);
        pool.bytes_mut(b).fill(2);
        assert!(pool.bytes(a).iter().all(|&byte| byte == 1));
        assert_eq!(pool.bytes(b).len(), 100);
    }

    #[test]
    fn the_memory_of_a_burst_is_given_back_when_no_buffer_is_taken() {
        const BURST: u32 = 4 * KEPT;
        let mut pool = BufferPool::new(2 * BURST, 4096);
        for _ in 0..2 {
            let taken: Vec<_> = (0..BURST).map(|_| pool.take().unwrap()).collect();
            for id in &taken {
                // Pages that the first and the last of them share with others stay.
                let is_given_back = (KEPT + 1..BURST - 1).contains(&id.0);
                assert!(!is_given_back || pool.bytes(*id)[2_000] == 0, "{id:?} kept its memory");
                pool.bytes_mut(*id).fill(7);
            }
            let (last, others) = taken.split_last().unwrap();
            others.iter().for_each(|id| pool.release(*id));
            assert_eq!(pool.bytes(*last)[0], 7, "it is taken");
            pool.release(*last);
            assert_eq!((pool.available(), pool.untouched), (2 * BURST, KEPT));
        }
    }

    #[test]
    #[should_panic(expected = "is lent")]
    fn a_lent_buffer_cannot_be_read() {
        let mut pool = pool();
        let id = pool.take().unwrap();
        pool.lend(id);
        pool.bytes(id);
    }

    #[test]
    #[should_panic(expected = "was not lent")]
    fn a_buffer_comes_back_once() {
        let mut pool = pool();
        let id = pool.take().unwrap();
        pool.lend(id);
        pool.give_back(id);
        pool.give_back(id);
    }

    #[test]
    #[should_panic(expected = "while lent")]
    fn a_lent_buffer_cannot_be_released() {
        let mut pool = pool();
        let id = pool.take().unwrap();
        pool.lend(id);
        pool.release(id);
    }
}
