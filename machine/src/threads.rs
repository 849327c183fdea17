//! vCPUs on threads of their own.
//!
//! With an engine whose vCPUs may run at the same time, guest time from the host's clock and more than one
//! vCPU, [`Machine::run_at_once`] gives each a thread. The board is behind a lock that a vCPU takes for each
//! access to a chip; the time and RAM need none. The machine's own thread waits for alarms, commands and
//! back ends. Whatever concerns vCPUs themselves (reset, pause, A20, statistics) ends their threads first:
//! it is rare, and finds a machine that stands still.

use crate::board::Board;
use crate::clock::RunningClock;
use crate::control::MachineControl;
use crate::exit::ExitReason;
use crate::machine::{Machine, VcpuSlot};
use crate::run::{LONGEST_SLEEP, POLL_NS, publish_screen};
use crate::vcpu_bus::VcpuBus;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use trimotor_bus::cpu_bus::NoSuchMsr;
use trimotor_bus::{CpuBus, GuestTime, PhysAddr, Port, VcpuSignals, Width};
use trimotor_cpu::backend::{ShutdownReport, VcpuExit};

/// Instructions of a run. Interrupts of other vCPUs, and what they ask, are looked at when it is over:
/// some ten microseconds.
const TURN: u64 = 30_000;
/// The stack of a vCPU's thread: address space, of which what is used is touched.
const STACK_BYTES: usize = 64 << 20;

/// What the threads share while they run.
struct Shared<'a> {
    board: Mutex<&'a mut Board>,
    control: MachineControl,
    /// The threads are to end.
    stop: AtomicBool,
    /// What each vCPU has retired.
    retired: Vec<AtomicU64>,
    /// The guest time until which the machine's thread sleeps; written under the board's lock.
    asleep_until: AtomicU64,
    /// The vCPU that is in shutdown, if one is.
    shutdown: Mutex<Option<(usize, Box<ShutdownReport>)>>,
}

impl<'a> Shared<'a> {
    fn board(&self) -> MutexGuard<'_, &'a mut Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn instructions(&self) -> u64 {
        self.retired.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

impl Machine {
    /// Runs all vCPUs until one is in shutdown, which is the run's end, or until something is to be done that
    /// they must stand still for.
    pub(crate) fn run_at_once(&mut self) -> Option<ExitReason> {
        self.board.slice_end_ns = 0;
        let signals = self.board.signals.clone();
        let clock = &self.board.clock;
        let clocks: Vec<_> = self.vcpus.iter().map(|_| clock.running()).collect();
        let shared = Shared {
            board: Mutex::new(&mut self.board),
            control: self.control.clone(),
            stop: AtomicBool::new(false),
            retired: self.vcpus.iter().map(|slot| AtomicU64::new(slot.vcpu.retired())).collect(),
            asleep_until: AtomicU64::new(0),
            shutdown: Mutex::new(None),
        };
        std::thread::scope(|scope| {
            let stop = Stop { shared: &shared, signals: &signals };
            for (cpu, (slot, clock)) in self.vcpus.iter_mut().zip(clocks).enumerate() {
                let shared = &shared;
                let thread = std::thread::Builder::new().name(format!("vcpu{cpu}")).stack_size(STACK_BYTES);
                let started = thread.spawn_scoped(scope, move || run_vcpu(shared, cpu, slot, clock));
                if let Err(error) = started {
                    log::error!("no thread for vCPU {cpu}: {error}; they run in turn");
                    self.at_once = false;
                    return;
                }
            }
            supervise(&shared, &mut self.published_screen);
            drop(stop);
        });
        let shutdown = shared.shutdown.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.board.slice_end_ns = u64::MAX;
        // The commands and requests that ended it are looked at now.
        self.next_poll_ns = 0;
        let (cpu, report) = shutdown?;
        Some(self.shutdown(cpu, *report))
    }
}

/// Ends all threads when it is dropped.
struct Stop<'a, 'b> {
    shared: &'a Shared<'b>,
    signals: &'a [std::sync::Arc<VcpuSignals>],
}
impl Drop for Stop<'_, '_> {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.signals.iter().for_each(|signals| signals.raise(VcpuSignals::KICK));
    }
}

/// The machine's thread: alarms, commands, back ends.
fn supervise(shared: &Shared<'_>, published: &mut Option<u64>) {
    let control = &shared.control;
    let mut next_poll = 0;
    loop {
        let sleep = {
            let mut board = shared.board();
            let board = &mut **board;
            let now = board.clock.now();
            if control.wants_attention() || now.ns() >= next_poll {
                control.attended();
                if obey(control, board, now) {
                    return;
                }
                board.poll_serials(now);
                next_poll = now.ns() + POLL_NS;
                control.publish_progress(now, shared.instructions());
                if control.take_screen_wanted() {
                    publish_screen(control, board, published);
                }
            }
            if board.requests.pending() || shared.stop.load(Ordering::SeqCst) {
                return;
            }
            board.advance_due(now);
            let until = board.alarms.earliest_ns().min(next_poll);
            shared.asleep_until.store(until, Ordering::SeqCst);
            Duration::from_nanos(until.saturating_sub(board.clock.now().ns()))
        };
        if !sleep.is_zero() {
            control.sleep(sleep.min(LONGEST_SLEEP));
        }
    }
}

/// Does what is asked of the chips; true where the vCPUs must stand still for the next command, or for the end.
fn obey(control: &MachineControl, board: &mut Board, now: GuestTime) -> bool {
    while let Some(command) = control.take_command_if(|command| !command.concerns_vcpus()) {
        board.obey(command, now);
    }
    board.take_input(control, now);
    control.wants_end() || control.has_command()
}

/// A vCPU's thread.
fn run_vcpu(shared: &Shared<'_>, cpu: usize, slot: &mut VcpuSlot, clock: RunningClock) {
    let _ending = Ending(shared);
    let mut bus = ThreadBus { shared, cpu, clock };
    while !shared.stop.load(Ordering::SeqCst) {
        if !slot.can_run() {
            slot.signals.wait(slot.halted.unwrap_or(0), LONGEST_SLEEP);
            slot.signals.take(VcpuSignals::KICK);
            continue;
        }
        let exit = slot.vcpu.run(&mut bus, TURN);
        shared.retired[cpu].store(slot.vcpu.retired(), Ordering::Relaxed);
        match exit {
            VcpuExit::Budget => {}
            VcpuExit::Halted => slot.halt(),
            VcpuExit::Shutdown(report) => {
                let mut shutdown = shared.shutdown.lock().unwrap_or_else(PoisonError::into_inner);
                shutdown.get_or_insert((cpu, report));
                return;
            }
        }
    }
}

/// When one thread ends, for whatever reason, all do.
struct Ending<'a, 'b>(&'a Shared<'b>);
impl Drop for Ending<'_, '_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::SeqCst);
        self.0.control.nudge();
    }
}

/// The board as a vCPU on its own thread sees it.
struct ThreadBus<'a, 'b> {
    shared: &'a Shared<'b>,
    cpu: usize,
    clock: RunningClock,
}

impl ThreadBus<'_, '_> {
    /// An access to a chip. The machine's thread is woken where it must do something sooner than it knew.
    fn with<R>(&mut self, access: impl FnOnce(&mut VcpuBus<'_>) -> R) -> R {
        let mut board = self.shared.board();
        let answer = access(&mut VcpuBus { board: &mut board, cpu: self.cpu });
        let sooner = board.alarms.earliest_ns() < self.shared.asleep_until.load(Ordering::Relaxed);
        if sooner || board.requests.pending() {
            // Once is enough.
            self.shared.asleep_until.store(0, Ordering::Relaxed);
            drop(board);
            self.shared.control.nudge();
        }
        answer
    }
}

impl CpuBus for ThreadBus<'_, '_> {
    fn set_retired(&mut self, _instructions: u64) {}
    fn port_read(&mut self, port: Port, width: Width) -> u32 {
        self.with(|bus| bus.port_read(port, width))
    }
    fn port_write(&mut self, port: Port, width: Width, value: u32) {
        self.with(|bus| bus.port_write(port, width, value));
    }
    fn mmio_read(&mut self, addr: PhysAddr, width: Width) -> u64 {
        self.with(|bus| bus.mmio_read(addr, width))
    }
    fn mmio_write(&mut self, addr: PhysAddr, width: Width, value: u64) {
        self.with(|bus| bus.mmio_write(addr, width, value));
    }
    fn now(&mut self) -> GuestTime {
        self.clock.now()
    }
    fn set_tsc_offset(&mut self, offset: u64) {
        self.with(|bus| bus.set_tsc_offset(offset));
    }
    fn set_ferr(&mut self, asserted: bool) -> bool {
        self.with(|bus| bus.set_ferr(asserted))
    }
    fn acknowledge_interrupt(&mut self) -> Option<u8> {
        self.with(|bus| bus.acknowledge_interrupt())
    }
    fn apic_msr_read(&mut self, index: u32) -> Result<u64, NoSuchMsr> {
        self.with(|bus| bus.apic_msr_read(index))
    }
    fn apic_msr_write(&mut self, index: u32, value: u64) -> Result<(), NoSuchMsr> {
        self.with(|bus| bus.apic_msr_write(index, value))
    }
    fn task_priority(&mut self) -> u8 {
        self.with(|bus| bus.task_priority())
    }
    fn set_task_priority(&mut self, priority: u8) {
        self.with(|bus| bus.set_task_priority(priority));
    }
    fn random(&mut self) -> u64 {
        self.with(|bus| bus.random())
    }
}
