//! What vCPUs that run at the same time must ask of each other.
//!
//! Engines keep what they derive from memory, each vCPU for itself: translations of pages, decoded and
//! translated code. Pages that such things came from are not written unseen: a vCPU that comes to
//! watch a page first sees to it that no other one may. And who writes to a page with code of another vCPU
//! waits until that one has dropped it, before its next instruction: a guest that writes code, and
//! then tells another processor of it, finds the new code running there.
//!
//! Both are *requests* to other vCPUs, which serve them between two blocks or while they wait themselves. A
//! vCPU that is not *inside* a run cannot do harm: it serves before it enters the next one, and nobody
//! waits for it. There are two kinds, so that waiting cannot end in a circle: requests to
//! [protect](Peers::protect) a page are served by whoever waits for anything, requests to drop code are
//! not served amid a translation.
//!
//! The races are of one form: one side announces (its bit among the *writers* of a page, its mark on a
//! page-table entry, its granules of code), then looks at memory; the other one changes memory or the page's
//! state, then looks at the announcements. Both are sequentially consistent, so at least one sees the other.

use crate::address::PhysAddr;
use crate::board::MAX_VCPUS;
use crate::sync::{AtomicBool, AtomicU8, AtomicU64, Mutex, MutexGuard, pause, zeroed_u8};
use std::collections::HashMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// Looks at a peer's answer before the processor is given to others: about a microsecond.
const SPINS: u32 = 200;

/// Memory was written that engines may hold code or page tables from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// The first byte.
    pub addr: PhysAddr,
    /// How many bytes, within a page.
    pub bytes: u64,
    /// By a device: page tables may be among it. Writes of vCPUs to those are told by
    /// [`TableWatch`](crate::table_watch::TableWatch).
    pub by_device: bool,
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

/// One vCPU's requests.
#[derive(Default)]
#[repr(align(128))]
struct Mailbox {
    attached: AtomicBool,
    inside: AtomicBool,
    protect: Channel<u64>,
    written: Channel<Written>,
}

/// Who has code from one page.
#[derive(Default)]
struct PageCode {
    /// A bit for each vCPU that watches the page.
    owners: u8,
    /// Their code, in granules of 64 bytes.
    granules: [u64; MAX_VCPUS],
}

/// All vCPUs that share a guest's memory.
pub struct Peers {
    boxes: [Mailbox; MAX_VCPUS],
    /// How many are attached.
    count: AtomicU8,
    /// By RAM page, a bit for each vCPU that may write it unseen. Zeroed memory.
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
    /// A run begins. What was asked is to be served before the first instruction.
    pub fn enter(&self, cpu: usize) {
        self.boxes[cpu].inside.store(true, Ordering::SeqCst);
    }
    /// A run ended.
    pub fn leave(&self, cpu: usize) {
        self.boxes[cpu].inside.store(false, Ordering::SeqCst);
    }
    /// Whether something was asked of a vCPU.
    #[inline]
    pub fn is_asked(&self, cpu: usize) -> bool {
        let mailbox = &self.boxes[cpu];
        !mailbox.protect.is_idle() || !mailbox.written.is_idle()
    }

    // ---- the right to write unseen ----

    /// A vCPU is about to give itself the right to write a RAM page unseen; it looks at the page's state
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
    /// Whether other vCPUs may write a RAM page unseen. It has a state by now.
    #[inline]
    pub fn has_other_writers(&self, cpu: usize, ram_page: u64) -> bool {
        !self.alone() && self.writers[ram_page as usize].load(Ordering::SeqCst) & !(1 << cpu) != 0
    }
    /// Has the other vCPUs give up their rights to write a RAM page unseen, and waits until they have.
    /// `serve` is called meanwhile: it [serves](Self::serve_protect) what is asked of this one.
    pub fn protect(&self, cpu: usize, ram_page: u64, serve: impl FnMut()) {
        let writers = self.writers[ram_page as usize].load(Ordering::SeqCst) & !(1 << cpu);
        self.ask(writers, |mailbox| &mailbox.protect, ram_page, serve);
    }
    /// Calls `one` for each RAM page that a vCPU is to give up the right to write unseen, with `None` for
    /// all.
    #[inline]
    pub fn serve_protect(&self, cpu: usize, one: impl FnMut(Option<u64>)) {
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
        }
        for cpu in (0..MAX_VCPUS).filter(asked) {
            let mailbox = &self.boxes[cpu];
            let mut spins = 0;
            while channel(mailbox).served.load(Ordering::SeqCst) < tickets[cpu]
                && mailbox.inside.load(Ordering::SeqCst)
            {
                serve();
                spins += 1;
                pause(spins < SPINS);
            }
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
    /// A vCPU does not watch a RAM page for its code any more. Calls `unwatched` where nobody does, before
    /// somebody else can.
    pub fn drop_code(&self, cpu: usize, ram_page: u64, unwatched: impl FnOnce()) {
        if self.alone() {
            return unwatched();
        }
        let mut code = lock(&self.code);
        let left = code.get_mut(&ram_page).is_some_and(|page| {
            page.granules[cpu] = 0;
            page.owners &= !(1 << cpu);
            page.owners != 0
        });
        if !left {
            code.remove(&ram_page);
            unwatched();
        }
    }
    /// A vCPU begins to watch a RAM page for its code, before it reads it: `watch` sets the page's state.
    pub fn begin_code(&self, cpu: usize, ram_page: u64, watch: impl FnOnce()) {
        if self.alone() {
            return watch();
        }
        let mut code = lock(&self.code);
        code.entry(ram_page).or_default().owners |= 1 << cpu;
        watch();
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
        let hit = match lock(&self.code).get(&ram_page) {
            Some(page) => (0..MAX_VCPUS)
                .filter(|&other| other != cpu && page.granules[other] & granules != 0)
                .fold(0, |mask, other| mask | 1 << other),
            None => 0,
        };
        if hit != 0 {
            self.ask(hit, |mailbox| &mailbox.written, write, serve);
        }
    }
    /// A device wrote to a page with a state: all vCPUs look at that before their next block.
    pub fn device_wrote(&self, addr: PhysAddr, bytes: u64) {
        for mailbox in self.boxes.iter().filter(|mailbox| mailbox.attached.load(Ordering::Acquire)) {
            mailbox.written.post(Written { addr, bytes, by_device: true });
        }
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
    fn a_single_vcpu_asks_nobody() {
        let p = Peers::new(4);
        p.attach(0);
        p.attach(0);
        p.add_writer(0, 1);
        assert!(p.alone() && !p.has_other_writers(1, 1));
        let mut unwatched = false;
        p.drop_code(0, 1, || unwatched = true);
        assert!(unwatched);
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
        assert_eq!(pages, [Some(3)]);
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
                p.serve_written(1, |w| assert_eq!(w.map(|w| (w.addr, w.bytes)), Some((PhysAddr(0x2040), 4))));
            }
        });
        let write = Written { addr: PhysAddr(0x2040), bytes: 4, by_device: false };
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
                    let serve = || p.serve_protect(cpu, |page| assert_eq!(page, Some(cpu as u64)));
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
            p.device_wrote(PhysAddr(0x1000), 1);
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
        let mut unwatched = false;
        p.drop_code(2, 1, || unwatched = true);
        assert!(unwatched);
    }
}
