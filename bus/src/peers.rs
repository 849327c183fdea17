//! Requests between vCPUs that run at the same time.
//!
//! Engines keep what they derive from memory, each vCPU for itself: translations of pages, decoded and
//! translated code. Pages that such things came from are not written inline: before a vCPU
//! tracks a page, it makes sure that no other one may. And a vCPU that writes to a page with code of another one
//! waits until that one has dropped it, before its next instruction: a guest that writes code, and
//! then tells another processor of it, finds the new code running there.
//!
//! Both are *requests* to other vCPUs, which serve them between two blocks or while they wait themselves. A
//! vCPU that is not *inside* a run cannot do harm: it serves before it enters the next one, and nobody
//! waits for it. There are two kinds, so that waiting cannot end in a circle: requests to
//! [protect](Peers::protect) a page are served by each vCPU that waits for anything, requests to drop code are
//! not served amid a translation.
//!
//! Devices ask too, by DMA into code ([`device_wrote_code`](Peers::device_wrote_code)), and so does whoever changes the map of
//! memory ([`map_changed`](Peers::map_changed)). They wait under their own locks, which vCPUs want as well. No circle
//! comes of it, because a vCPU is *not inside* while it is in a call to the board, where it may wait for such a lock: it
//! [leaves](Peers::leave) before the call, and serves what was asked meanwhile when it [enters](Peers::enter) again, before
//! it goes on with its instruction. So a device waits only for vCPUs that run guest code, or that wait for other vCPUs
//! (above), and nobody waits for a thread that does DMA. A request also raises [`VcpuSignals::LOOK`], which translated code
//! sees within a thousand instructions.
//!
//! The races are of one form: one side announces (its bit among the *writers* of a page, its mark on a
//! page-table entry, its granules of code), then looks at memory; the other one changes memory or the page's
//! state, then looks at the announcements. Both are sequentially consistent, so at least one sees the other.

use crate::VcpuSignals;
use crate::board::MAX_VCPUS;
use crate::sync::{AtomicBool, AtomicU8, AtomicU64, Mutex, MutexGuard, pause, zeroed_u8};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError};

/// Looks at a peer's answer before the processor is given to others: about a microsecond.
const SPINS: u32 = 200;

/// Memory was written that engines may hold code or page tables from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// The RAM page number.
    pub ram_page: u64,
    /// The first byte within the page.
    pub offset: u64,
    /// How many bytes, within the page.
    pub bytes: u64,
    /// By a device: page tables may be among it. Writes of vCPUs to those are told by
    /// [`TableTracking`](crate::table_tracking::TableTracking).
    pub by_device: bool,
}

/// RAM pages whose numbers follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageRange {
    /// The first one.
    pub first: u64,
    /// How many.
    pub count: u64,
}

impl PageRange {
    /// One page.
    pub fn one(ram_page: u64) -> PageRange {
        PageRange { first: ram_page, count: 1 }
    }
    /// The numbers.
    pub fn pages(self) -> std::ops::Range<u64> {
        self.first..self.first + self.count
    }
}

/// How many requests are kept for a vCPU that does not run: then it drops all that it has.
const KEPT: usize = 4096;

/// Requests of one kind to one vCPU.
struct Channel<T> {
    /// How many there have been, and how many of them were served.
    posted: AtomicU64,
    served: AtomicU64,
    waiting: Mutex<Waiting<T>>,
}
struct Waiting<T> {
    requests: Vec<T>,
    /// There were more.
    lost: bool,
}

impl<T> Default for Channel<T> {
    fn default() -> Self {
        let waiting = Mutex::new(Waiting { requests: Vec::new(), lost: false });
        Channel { posted: AtomicU64::new(0), served: AtomicU64::new(0), waiting }
    }
}

impl<T> Channel<T> {
    /// Leaves a request; it has been served when so many have.
    fn post(&self, request: T) -> u64 {
        let mut waiting = lock(&self.waiting);
        if waiting.requests.len() < KEPT {
            waiting.requests.push(request);
        } else {
            waiting.lost = true;
        }
        self.posted.fetch_add(1, Ordering::SeqCst) + 1
    }
    /// As if there had been too many requests to keep.
    fn post_all(&self) {
        lock(&self.waiting).lost = true;
        self.posted.fetch_add(1, Ordering::SeqCst);
    }
    #[inline]
    fn is_idle(&self) -> bool {
        self.posted.load(Ordering::SeqCst) == self.served.load(Ordering::Relaxed)
    }
    /// Serves what is there: calls `one` for each request, or with `None` where not all were kept.
    fn serve(&self, mut one: impl FnMut(Option<T>)) {
        if self.is_idle() {
            return;
        }
        let (requests, lost, posted) = {
            let mut waiting = lock(&self.waiting);
            let posted = self.posted.load(Ordering::SeqCst);
            (std::mem::take(&mut waiting.requests), std::mem::take(&mut waiting.lost), posted)
        };
        if lost {
            one(None);
        } else {
            requests.into_iter().map(Some).for_each(&mut one);
        }
        self.served.store(posted, Ordering::SeqCst);
    }
}

/// The granules of 64 bytes that `bytes` bytes from `offset` of a page on touch, a bit for each.
pub fn code_granules(offset: usize, bytes: usize) -> u64 {
    let first = (offset / 64).min(63);
    let last = (offset.saturating_add(bytes.max(1) - 1) / 64).clamp(first, 63);
    (u64::MAX >> (63 - (last - first))) << first
}

/// One vCPU's requests.
#[derive(Default)]
#[repr(align(128))]
struct Mailbox {
    attached: AtomicBool,
    inside: AtomicBool,
    /// The generation of the memory map that the vCPU has followed.
    map_seen: AtomicU64,
    protect: Channel<PageRange>,
    written: Channel<Written>,
    /// What tells a running vCPU to look.
    signals: OnceLock<Arc<VcpuSignals>>,
}

impl Mailbox {
    /// A vCPU that runs is to look soon.
    fn call(&self) {
        if self.inside.load(Ordering::SeqCst)
            && let Some(signals) = self.signals.get()
        {
            signals.raise(VcpuSignals::LOOK);
        }
    }
}

/// Which vCPUs have code from one page.
#[derive(Default)]
struct PageCode {
    /// A bit for each vCPU that tracks the page.
    owners: u8,
    /// Their code, in granules of 64 bytes.
    granules: [u64; MAX_VCPUS],
}

/// All vCPUs that share a guest's memory.
pub struct Peers {
    boxes: [Mailbox; MAX_VCPUS],
    /// How many are attached.
    count: AtomicU8,
    /// By RAM page, a bit for each vCPU that may write it inline. Zeroed memory.
    writers: Box<[AtomicU8]>,
    code: Mutex<HashMap<u64, PageCode>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Peers {
    /// For `pages` pages of RAM.
    pub fn new(pages: usize) -> Peers {
        let writers = zeroed_u8(pages);
        Peers { boxes: Default::default(), count: AtomicU8::new(0), writers, code: Mutex::default() }
    }

    /// Where requests tell a running vCPU of themselves.
    pub fn wire(&self, cpu: usize, signals: &Arc<VcpuSignals>) {
        _ = self.boxes[cpu].signals.set(signals.clone());
    }
    /// A vCPU more shares the memory. All are there before the first one runs.
    pub fn attach(&self, cpu: usize) {
        if !self.boxes[cpu].attached.swap(true, Ordering::SeqCst) {
            self.count.fetch_add(1, Ordering::SeqCst);
        }
    }
    /// Whether there is one vCPU at most: then there is nobody to ask.
    #[inline]
    pub fn alone(&self) -> bool {
        self.count.load(Ordering::Relaxed) < 2
    }
    /// A run begins, or goes on after a call to the board. The vCPU serves what was asked before guest code runs or
    /// writes.
    #[inline]
    pub fn enter(&self, cpu: usize) {
        self.boxes[cpu].inside.store(true, Ordering::SeqCst);
    }
    /// A run ended, or is in a call to the board.
    #[inline]
    pub fn leave(&self, cpu: usize) {
        self.boxes[cpu].inside.store(false, Ordering::Release);
    }
    /// Whether something was asked of a vCPU.
    #[inline]
    pub fn is_asked(&self, cpu: usize) -> bool {
        let mailbox = &self.boxes[cpu];
        !mailbox.protect.is_idle() || !mailbox.written.is_idle()
    }

    // ---- the right to write inline ----

    /// A vCPU is about to give itself the right to write a RAM page inline; it looks at the page's state
    /// afterwards, and does not do it where there is any. True if it had no such right.
    #[inline]
    pub fn add_writer(&self, cpu: usize, ram_page: u64) -> bool {
        let writers = &self.writers[ram_page as usize];
        let newly = !self.alone() && writers.load(Ordering::Relaxed) & 1 << cpu == 0;
        if newly {
            writers.fetch_or(1 << cpu, Ordering::SeqCst);
        }
        newly
    }
    /// A vCPU has no such right any more.
    pub fn drop_writer(&self, cpu: usize, ram_page: u64) {
        let writers = &self.writers[ram_page as usize];
        if !self.alone() && writers.load(Ordering::Relaxed) & 1 << cpu != 0 {
            writers.fetch_and(!(1 << cpu), Ordering::SeqCst);
        }
    }
    /// Whether other vCPUs may write a RAM page inline. It has a state by now.
    #[inline]
    pub fn has_other_writers(&self, cpu: usize, ram_page: u64) -> bool {
        !self.alone() && self.writers[ram_page as usize].load(Ordering::SeqCst) & !(1 << cpu) != 0
    }
    /// Has the other vCPUs give up their rights to write a RAM page inline, and waits until they have.
    /// `serve` is called meanwhile: it [serves](Self::serve_protect) what is asked of this one.
    pub fn protect(&self, cpu: usize, ram_page: u64, serve: impl FnMut()) {
        let writers = self.writers[ram_page as usize].load(Ordering::SeqCst) & !(1 << cpu);
        self.ask(writers, |mailbox| &mailbox.protect, PageRange::one(ram_page), serve);
    }
    /// Has all vCPUs give up their rights to write RAM pages inline, and waits until they have: called by what is no vCPU,
    /// or by a vCPU in a call to the board.
    pub fn protect_all(&self, pages: PageRange) {
        let mask = if self.alone() { self.attached() } else { self.writers_of(pages) };
        self.ask(mask, |mailbox| &mailbox.protect, pages, || {});
    }
    fn writers_of(&self, pages: PageRange) -> u8 {
        self.writers[pages.first as usize..(pages.first + pages.count) as usize]
            .iter()
            .fold(0, |mask, writers| mask | writers.load(Ordering::SeqCst))
    }
    fn attached(&self) -> u8 {
        let is_attached = |cpu: &usize| self.boxes[*cpu].attached.load(Ordering::Acquire);
        (0..MAX_VCPUS).filter(is_attached).fold(0, |mask, cpu| mask | 1 << cpu)
    }
    /// Calls `one` for the RAM pages that a vCPU is to give up the right to write inline, with `None` for
    /// all.
    #[inline]
    pub fn serve_protect(&self, cpu: usize, one: impl FnMut(Option<PageRange>)) {
        self.boxes[cpu].protect.serve(one);
    }

    /// Leaves a request with the vCPUs of a mask, and waits until those that are inside have served it.
    fn ask<T: Copy>(
        &self,
        mask: u8,
        channel: impl Fn(&Mailbox) -> &Channel<T>,
        request: T,
        mut serve: impl FnMut(),
    ) {
        let mut tickets = [0; MAX_VCPUS];
        let asked = |cpu: &usize| mask >> cpu & 1 != 0;
        for cpu in (0..MAX_VCPUS).filter(asked) {
            tickets[cpu] = channel(&self.boxes[cpu]).post(request);
            self.boxes[cpu].call();
        }
        for cpu in (0..MAX_VCPUS).filter(asked) {
            let served = |mailbox: &Mailbox| channel(mailbox).served.load(Ordering::SeqCst) >= tickets[cpu];
            self.wait(cpu, served, &mut serve);
        }
    }
    /// Waits until a vCPU is not inside, or has done what it is asked for.
    fn wait(&self, cpu: usize, done: impl Fn(&Mailbox) -> bool, mut serve: impl FnMut()) {
        let mailbox = &self.boxes[cpu];
        let mut spins = 0;
        while !done(mailbox) && mailbox.inside.load(Ordering::SeqCst) {
            serve();
            spins += 1;
            pause(spins < SPINS);
        }
    }

    // ---- the map of memory ----

    /// A vCPU follows this generation of the memory map: it holds nothing that it derived from older ones.
    pub fn follows_map(&self, cpu: usize, generation: u64) {
        self.boxes[cpu].map_seen.store(generation, Ordering::SeqCst);
    }
    /// The memory map has this generation now: waits until no vCPU that is inside uses an older one. Called by what is no
    /// vCPU, or by a vCPU in a call to the board.
    pub fn map_changed(&self, generation: u64) {
        let mask = self.attached();
        let late = |cpu: &usize| {
            mask >> cpu & 1 != 0 && self.boxes[*cpu].map_seen.load(Ordering::SeqCst) < generation
        };
        (0..MAX_VCPUS).filter(late).for_each(|cpu| self.boxes[cpu].call());
        for cpu in (0..MAX_VCPUS).filter(late) {
            self.wait(cpu, |mailbox| mailbox.map_seen.load(Ordering::SeqCst) >= generation, || {});
        }
    }

    // ---- code ----

    /// A vCPU has code from these granules of a RAM page, and from no others any more.
    pub fn set_code(&self, cpu: usize, ram_page: u64, granules: u64) {
        if !self.alone()
            && let Some(page) = lock(&self.code).get_mut(&ram_page)
        {
            page.granules[cpu] = granules;
        }
    }
    /// A vCPU holds code from these granules of a RAM page too. It compares the code with memory once more
    /// afterwards.
    pub fn add_code(&self, cpu: usize, ram_page: u64, granules: u64) {
        if !self.alone() {
            lock(&self.code).entry(ram_page).or_default().granules[cpu] |= granules;
        }
    }
    /// A vCPU does not track a RAM page for its code any more. Calls `untracked` where nobody does, before
    /// somebody else can.
    pub fn drop_code(&self, cpu: usize, ram_page: u64, untracked: impl FnOnce()) {
        if self.alone() {
            return untracked();
        }
        let mut code = lock(&self.code);
        let left = code.get_mut(&ram_page).is_some_and(|page| {
            page.granules[cpu] = 0;
            page.owners &= !(1 << cpu);
            page.owners != 0
        });
        if !left {
            code.remove(&ram_page);
            untracked();
        }
    }
    /// A vCPU begins to track a RAM page for its code, before it reads it: `track` sets the page's state.
    pub fn begin_code(&self, cpu: usize, ram_page: u64, track: impl FnOnce()) {
        if self.alone() {
            return track();
        }
        let mut code = lock(&self.code);
        code.entry(ram_page).or_default().owners |= 1 << cpu;
        track();
    }
    /// A vCPU wrote to granules of a RAM page with code: has the others that hold code from there drop it,
    /// and waits until they have. `serve` as in [`protect`](Self::protect), and serves
    /// [writes](Self::serve_written) too.
    pub fn code_written(
        &self,
        cpu: usize,
        ram_page: u64,
        granules: u64,
        write: Written,
        serve: impl FnMut(),
    ) {
        if self.alone() {
            return;
        }
        let hit = self.owners_of(ram_page, granules) & !(1 << cpu);
        if hit != 0 {
            self.ask(hit, |mailbox| &mailbox.written, write, serve);
        }
    }
    /// The vCPUs that hold code from these granules of a RAM page.
    fn owners_of(&self, ram_page: u64, granules: u64) -> u8 {
        let code = lock(&self.code);
        let Some(page) = code.get(&ram_page) else { return 0 };
        (0..MAX_VCPUS).filter(|&cpu| page.granules[cpu] & granules != 0).fold(0, |mask, cpu| mask | 1 << cpu)
    }
    /// A device wrote to a RAM page that has code, `granules` of it: waits until the vCPUs that hold code from there and run
    /// guest code have dropped it, so that what the device writes next is seen by none of them before.
    pub fn device_wrote_code(&self, granules: u64, write: Written) {
        let hit = if self.alone() { self.attached() } else { self.owners_of(write.ram_page, granules) };
        self.ask(hit, |mailbox| &mailbox.written, write, || {});
    }
    /// Something other than a vCPU's instruction wrote to a page that all vCPUs may have derived something from: they look
    /// at it before their next block. Does not wait.
    pub fn tell_all(&self, write: Written) {
        let mask = self.attached();
        for cpu in (0..MAX_VCPUS).filter(|cpu| mask >> cpu & 1 != 0) {
            self.boxes[cpu].written.post(write);
        }
    }
    /// Anything may have been written without notice, as an engine's guests do that run in the host's kernel: what vCPU `cpu` has
    /// derived from memory it drops before its next block. Does not wait.
    pub fn tell_all_written(&self, cpu: usize) {
        self.boxes[cpu].written.post_all();
    }
    /// Whether [`serve_written`](Self::serve_written) has something to do.
    #[inline]
    pub fn has_written(&self, cpu: usize) -> bool {
        !self.boxes[cpu].written.is_idle()
    }
    /// Calls `one` for each write by others that a vCPU may hold code or page tables from, with `None`
    /// where anything may have been written.
    pub fn serve_written(&self, cpu: usize, one: impl FnMut(Option<Written>)) {
        self.boxes[cpu].written.serve(one);
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn granules_cover_what_is_touched() {
        assert_eq!(code_granules(0, 1), 1);
        assert_eq!(code_granules(63, 2), 3);
        assert_eq!(code_granules(4095, 1), 1 << 63);
        assert_eq!(code_granules(0, 4096), u64::MAX);
        assert_eq!(code_granules(128, 64), 4);
        assert_eq!(code_granules(usize::MAX, usize::MAX), 1 << 63);
    }

    #[test]
    fn a_single_vcpu_asks_nobody() {
        let p = Peers::new(4);
        p.attach(0);
        p.attach(0);
        p.add_writer(0, 1);
        assert!(p.alone() && !p.has_other_writers(1, 1));
        let mut untracked = false;
        p.drop_code(0, 1, || untracked = true);
        assert!(untracked);
    }

    #[test]
    fn who_is_outside_serves_before_it_runs() {
        let p = Peers::new(4);
        (0..2).for_each(|cpu| p.attach(cpu));
        p.add_writer(1, 3);
        assert!(p.has_other_writers(0, 3) && !p.has_other_writers(1, 3));
        p.protect(0, 3, || unreachable!("vCPU 1 is not inside"));
        p.enter(1);
        assert!(p.is_asked(1));
        let mut pages = Vec::new();
        p.serve_protect(1, |page| pages.push(page));
        p.drop_writer(1, 3);
        assert_eq!(pages, [Some(PageRange::one(3))]);
        assert!(!p.is_asked(1) && !p.has_other_writers(0, 3));
    }

    #[test]
    fn a_writer_waits_until_code_is_dropped() {
        let p = Arc::new(Peers::new(4));
        (0..2).for_each(|cpu| p.attach(cpu));
        p.add_code(1, 2, 0b110);
        p.enter(1);
        let dropped = Arc::new(AtomicBool::new(false));
        let other = std::thread::spawn({
            let (p, dropped) = (p.clone(), dropped.clone());
            move || {
                while !p.has_written(1) {
                    std::thread::yield_now();
                }
                dropped.store(true, Ordering::Relaxed);
                p.serve_written(1, |w| {
                    assert_eq!(w.map(|w| (w.ram_page, w.offset, w.bytes)), Some((2, 0x40, 4)))
                });
            }
        });
        let write = Written { ram_page: 2, offset: 0x40, bytes: 4, by_device: false };
        p.code_written(0, 2, 0b001, write, || {});
        p.code_written(0, 2, 0b010, write, || {});
        assert!(dropped.load(Ordering::Relaxed), "the code was dropped before the call returned");
        other.join().unwrap();
    }

    #[test]
    fn two_that_ask_each_other_serve_while_they_wait() {
        let p = Arc::new(Peers::new(4));
        (0..2).for_each(|cpu| {
            p.attach(cpu);
            p.add_writer(cpu, cpu as u64);
            p.enter(cpu);
        });
        let ask = |cpu: usize| {
            let p = p.clone();
            move || {
                for _ in 0..1000 {
                    let serve =
                        || p.serve_protect(cpu, |page| assert_eq!(page, Some(PageRange::one(cpu as u64))));
                    p.protect(cpu, 1 - cpu as u64, serve);
                }
                p.leave(cpu);
            }
        };
        let other = std::thread::spawn(ask(1));
        ask(0)();
        other.join().unwrap();
    }

    #[test]
    fn too_many_requests_mean_everything() {
        let p = Peers::new(4);
        p.attach(0);
        for _ in 0..=KEPT {
            p.tell_all(Written { ram_page: 1, offset: 0, bytes: 1, by_device: true });
        }
        let mut asked = Vec::new();
        p.serve_written(0, |w| asked.push(w));
        assert_eq!(asked, [None]);
        assert!(!p.is_asked(0));
    }

    #[test]
    fn the_last_one_unwatches_a_page() {
        let p = Peers::new(4);
        (0..3).for_each(|cpu| p.attach(cpu));
        p.begin_code(0, 1, || {});
        p.begin_code(2, 1, || {});
        p.add_code(0, 1, 1);
        p.drop_code(0, 1, || unreachable!("vCPU 2 has code there"));
        let mut untracked = false;
        p.drop_code(2, 1, || untracked = true);
        assert!(untracked);
    }
}
