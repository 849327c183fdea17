//! A card on a thread of its own writes memory while vCPUs run: what they see of it, and in which order.
//!
//! The card writes code, and then a word that says so. Who polls the word runs the new code, however long it has been
//! running translated code without a look at anything else. The card writes under its lock, which vCPUs want too.

use iced_x86::code_asm::*;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use trimotor_bus::cpu_bus::NoSuchMsr;
use trimotor_bus::empty_board::EmptyBoard;
use trimotor_bus::peers::PageRange;
use trimotor_bus::{
    BusMaster, CpuBus, DmaBus, GuestMemory, GuestTime, PhysAddr, Port, PortRegisters, VcpuSignals, Width,
};
use trimotor_cpu::model::CpuModel;
use trimotor_cpu::{Vcpu, VcpuExit};
use trimotor_machine::engines::Engine;

use crate::support::bare::{LONG_MODE_CODE, LONG_MODE_DATA, map_one_to_one, set_long_mode};
use crate::support::engines::ENGINES;
use crate::support::needs::Tests;

pub fn tests() -> Tests {
    Tests::new()
        .each(&ENGINES, code_that_a_card_wrote_runs_once_its_word_is_seen)
        .each(&ENGINES, code_in_one_write_with_its_word_runs_once_it_is_seen)
        .each(&ENGINES, a_card_may_write_code_under_the_lock_that_vcpus_wait_for)
        .each(&ENGINES, dirty_pages_are_exact_while_a_vcpu_writes)
}

/// The word.
const FLAG: u64 = LONG_MODE_DATA + 0x1000;
/// What the guest found for word n: a quadword each.
const ANSWERS: u64 = LONG_MODE_DATA + 0x10_0000;
/// A function that the card writes.
const FUNCTION: u64 = LONG_MODE_DATA + 0x20_0000;
/// The card's port.
const PORT: u16 = 0x300;
/// How often the card writes.
const ROUNDS: u64 = 500;
/// Far more than a guest needs: its run is not to end by itself.
const BUDGET: u64 = 1 << 40;

/// Behind the card's lock.
#[derive(Default)]
struct Card {
    accesses: u64,
}

/// A board with the card and nothing else.
struct CardBoard {
    card: Arc<Mutex<Card>>,
    empty: EmptyBoard,
}

impl CpuBus for CardBoard {
    fn set_retired(&mut self, instructions: u64) {
        self.empty.set_retired(instructions);
    }
    fn port_read(&mut self, _port: Port, _width: Width) -> u32 {
        let mut card = self.card.lock().unwrap();
        card.accesses += 1;
        card.accesses as u32
    }
    fn port_write(&mut self, _port: Port, _width: Width, _value: u32) {}
    fn port_call(&mut self, _port: Port, _registers: &mut PortRegisters) -> bool {
        false
    }
    fn mmio_read(&mut self, addr: PhysAddr, width: Width) -> u64 {
        self.empty.mmio_read(addr, width)
    }
    fn mmio_write(&mut self, _addr: PhysAddr, _width: Width, _value: u64) {}
    fn now(&mut self) -> GuestTime {
        self.empty.now()
    }
    fn acknowledge_interrupt(&mut self) -> Option<u8> {
        None
    }
    fn apic_msr_read(&mut self, _index: u32) -> Result<u64, NoSuchMsr> {
        Err(NoSuchMsr)
    }
    fn apic_msr_write(&mut self, _index: u32, _value: u64) -> Result<(), NoSuchMsr> {
        Err(NoSuchMsr)
    }
    fn set_tsc_offset(&mut self, _offset: u64) {}
    fn set_ferr(&mut self, _asserted: bool) -> bool {
        true
    }
    fn task_priority(&mut self) -> u8 {
        0
    }
    fn set_task_priority(&mut self, _priority: u8) {}
    fn random(&mut self) -> u64 {
        4
    }
}

/// Runs `build`'s code on a vCPU until it halts, in one run, while `act` runs on this thread with the card and its way to
/// memory; `act` is told whether the vCPU has ended.
fn run_beside(
    engine: Engine,
    build: impl Fn(&mut CodeAssembler),
    prepare: impl Fn(&GuestMemory),
    act: impl Fn(&Mutex<Card>, &BusMaster, &Arc<GuestMemory>, &AtomicBool),
) -> Arc<GuestMemory> {
    let mut a = CodeAssembler::new(64).unwrap();
    build(&mut a);
    let memory = GuestMemory::new(16 << 20, &[]).unwrap();
    map_one_to_one(&memory);
    memory.write(PhysAddr(LONG_MODE_CODE), &a.assemble(LONG_MODE_CODE).unwrap());
    prepare(&memory);
    let model = Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap());
    let mut backend = engine.start().unwrap();
    let signals = VcpuSignals::new();
    let mut vcpu = backend.create_vcpu(0, &model, &memory, &signals).unwrap();
    // Another one that never runs: nobody waits for it.
    let _other = backend.create_vcpu(1, &model, &memory, &VcpuSignals::new()).unwrap();
    set_long_mode(&mut *vcpu);
    let master = BusMaster::new(memory.clone());
    master.enable(true);
    let card = Arc::new(Mutex::new(Card::default()));
    let (ended, failed) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let board = CardBoard { card: card.clone(), empty: EmptyBoard::default() };
            let end = run_to_halt(&mut *vcpu, board, &failed);
            ended.store(true, Ordering::SeqCst);
            assert!(failed.load(Ordering::SeqCst) || matches!(end, VcpuExit::Halted), "{engine}: {end:?}");
        });
        let done = catch_unwind(AssertUnwindSafe(|| act(&card, &master, &memory, &ended)));
        if done.is_err() {
            // The guest would wait for ever.
            failed.store(true, Ordering::SeqCst);
            signals.raise(VcpuSignals::KICK);
        }
        done.unwrap_or_else(|panic| resume_unwind(panic));
    });
    memory
}
fn run_to_halt(vcpu: &mut dyn Vcpu, mut board: CardBoard, failed: &AtomicBool) -> VcpuExit {
    loop {
        match vcpu.run(&mut board, BUDGET) {
            VcpuExit::Budget if !failed.load(Ordering::SeqCst) => {}
            end => return end,
        }
    }
}

/// MOV EAX, n; RET.
fn function(n: u64) -> [u8; 6] {
    let [a, b, c, d, ..] = n.to_le_bytes();
    [0xB8, a, b, c, d, 0xC3]
}
fn write_function(memory: &GuestMemory) {
    memory.write(PhysAddr(FUNCTION), &function(0));
}
/// The guest: for n = 1, 2, ... waits until the word at `flag` is n, calls the function, and keeps what it returns.
fn polls(a: &mut CodeAssembler, flag: u64) {
    let (mut next, mut wait) = (a.create_label(), a.create_label());
    a.mov(rbx, FUNCTION).unwrap();
    a.mov(rbp, flag).unwrap();
    a.mov(rdi, ANSWERS).unwrap();
    a.xor(esi, esi).unwrap();
    // It has run before the card writes over it.
    a.call(rbx).unwrap();
    a.set_label(&mut next).unwrap();
    a.inc(rsi).unwrap();
    a.set_label(&mut wait).unwrap();
    a.cmp(qword_ptr(rbp), rsi).unwrap();
    a.jne(wait).unwrap();
    a.call(rbx).unwrap();
    a.mov(qword_ptr(rdi + rsi * 8), rax).unwrap();
    a.cmp(rsi, ROUNDS as i32).unwrap();
    a.jne(next).unwrap();
    a.hlt().unwrap();
}
/// Waits until the guest has answered word `n`.
fn wait_for_answer(memory: &GuestMemory, n: u64, ended: &AtomicBool) {
    let answered = || memory.read_u64(PhysAddr(ANSWERS + 8 * n)) != 0;
    while !answered() && !ended.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
}
fn all_answers_are_right(memory: &GuestMemory) {
    let wrong: Vec<_> = (1..=ROUNDS)
        .map(|n| (n, memory.read_u64(PhysAddr(ANSWERS + 8 * n))))
        .filter(|(n, answer)| n != answer)
        .collect();
    assert!(wrong.is_empty(), "{} times old code ran, first {:?}", wrong.len(), wrong.first());
}

fn code_that_a_card_wrote_runs_once_its_word_is_seen(engine: Engine) {
    let memory = run_beside(
        engine,
        |a| polls(a, FLAG),
        write_function,
        |_, master, memory, ended| {
            for n in 1..=ROUNDS {
                master.dma_write(PhysAddr(FUNCTION), &function(n));
                master.dma_write(PhysAddr(FLAG), &n.to_le_bytes());
                wait_for_answer(memory, n, ended);
            }
        },
    );
    all_answers_are_right(&memory);
}

/// One write of the card has both: the code at the end of a page, the word at the start of the next.
fn code_in_one_write_with_its_word_runs_once_it_is_seen(engine: Engine) {
    // The function is a jump to the end of its page.
    let place = FUNCTION + 0xFF8;
    let build = |a: &mut CodeAssembler| polls(a, place + 8);
    let prepare = |memory: &GuestMemory| {
        let to = (place - FUNCTION - 5) as u32;
        let jump = [&[0xE9][..], &to.to_le_bytes()].concat();
        memory.write(PhysAddr(FUNCTION), &jump);
        memory.write(PhysAddr(place), &function(0));
    };
    let memory = run_beside(engine, build, prepare, |_, master, memory, ended| {
        for n in 1..=ROUNDS {
            let bytes = [&function(n)[..], &[0, 0], &n.to_le_bytes()].concat();
            master.dma_write(PhysAddr(place), &bytes);
            wait_for_answer(memory, n, ended);
        }
    });
    all_answers_are_right(&memory);
}

/// The guest reads the card's port, under its lock, between calls of the function that the card writes under its lock.
fn a_card_may_write_code_under_the_lock_that_vcpus_wait_for(engine: Engine) {
    let build = |a: &mut CodeAssembler| {
        let (mut next, mut wait) = (a.create_label(), a.create_label());
        a.mov(rbx, FUNCTION).unwrap();
        a.mov(rdi, ANSWERS).unwrap();
        a.xor(esi, esi).unwrap();
        a.set_label(&mut next).unwrap();
        a.inc(rsi).unwrap();
        a.set_label(&mut wait).unwrap();
        a.mov(edx, u32::from(PORT)).unwrap();
        a.in_(eax, dx).unwrap();
        a.call(rbx).unwrap();
        a.cmp(rax, rsi).unwrap();
        a.jne(wait).unwrap();
        a.mov(qword_ptr(rdi + rsi * 8), rax).unwrap();
        a.cmp(rsi, ROUNDS as i32).unwrap();
        a.jne(next).unwrap();
        a.hlt().unwrap();
    };
    let memory = run_beside(engine, build, write_function, |card, master, memory, ended| {
        for n in 1..=ROUNDS {
            let locked = card.lock().unwrap();
            master.dma_write(PhysAddr(FUNCTION), &function(n));
            drop(locked);
            wait_for_answer(memory, n, ended);
        }
        assert!(card.lock().unwrap().accesses >= ROUNDS, "the guest asked the card all the time");
    });
    all_answers_are_right(&memory);
}

/// A vCPU counts in a page; this thread takes its dirty bit again and again. No count is missed: the page is reported, and
/// reported only if it was written.
fn dirty_pages_are_exact_while_a_vcpu_writes(engine: Engine) {
    const COUNTER: u64 = LONG_MODE_DATA + 0x3000;
    const ENOUGH: u32 = 200;
    let build = |a: &mut CodeAssembler| {
        let (mut again, mut pause) = (a.create_label(), a.create_label());
        a.mov(rbp, COUNTER).unwrap();
        a.xor(esi, esi).unwrap();
        a.set_label(&mut again).unwrap();
        a.inc(rsi).unwrap();
        a.mov(qword_ptr(rbp), rsi).unwrap();
        // Long enough that many looks find nothing, and several quanta: a vCPU answers between two.
        a.mov(ecx, 30_000).unwrap();
        a.set_label(&mut pause).unwrap();
        a.dec(ecx).unwrap();
        a.jne(pause).unwrap();
        a.cmp(qword_ptr(FLAG), 1).unwrap();
        a.jne(again).unwrap();
        a.hlt().unwrap();
    };
    let act = |_: &Mutex<Card>, master: &BusMaster, memory: &Arc<GuestMemory>, ended: &AtomicBool| {
        let count = || memory.read_u64(PhysAddr(COUNTER));
        let pages = PageRange { first: (COUNTER >> 12) - 1, count: 3 };
        assert_eq!(memory.take_dirty(pages).len(), 3, "all of it at first");
        let (mut clean, mut dirty, mut unchanged) = (0, 0, 0);
        // What had been counted when a look before found the page dirty: at least `earliest`, at most `latest`. This
        // thread may lose its processor at any point, and the vCPU counts on.
        let (mut earliest, mut latest) = (count(), count());
        while (clean < ENOUGH || dirty < ENOUGH) && !ended.load(Ordering::SeqCst) {
            let before = count();
            match memory.take_dirty(pages)[..] {
                // The next count may be stored, and its page not be noted yet. The one after it comes behind that.
                [] => {
                    assert!(before <= latest + 1, "{engine}: {before} was not reported after {latest}");
                    clean += 1;
                }
                [page] => {
                    assert_eq!(page, COUNTER >> 12, "{engine}");
                    latest = count();
                    unchanged += u32::from(latest == earliest);
                    earliest = before;
                    dirty += 1;
                }
                ref more => panic!("{engine}: {more:?}"),
            }
        }
        // A count that was read in the moment before its page was noted is reported once more.
        assert!(unchanged <= dirty / 10, "{engine}: {unchanged} of {dirty} reports without a change");
        master.dma_write(PhysAddr(FLAG), &1u64.to_le_bytes());
    };
    run_beside(engine, build, |_| {}, act);
}
