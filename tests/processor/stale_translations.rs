//! Translations that stay until the guest flushes them, on request; without it they go with their page-table entries.

use iced_x86::code_asm::*;
use std::sync::{Arc, Mutex};
use trimotor_bus::empty_board::EmptyBoard;
use trimotor_bus::{GuestMemory, VcpuSignals};
use trimotor_cpu::model::CpuModel;
use trimotor_cpu::{ArchState, VcpuExit};
use trimotor_machine::engines::{Engine, EngineOptions, STALE_USES};

use trimotor_test_support::bare::{
    BareMachine, LONG_MODE_CODE, LONG_MODE_DATA, leaf_entry, map_one_to_one, set_long_mode,
};
use trimotor_test_support::engines::usable as engines;

/// A page of data; a test that looks at messages has one of its own.
const PAGE: u64 = LONG_MODE_DATA + 0x1000;
/// Bits of an entry that the tests change.
const GLOBAL: u64 = 1 << 8;
const AVAILABLE: u64 = 1 << 9;

type Build<'a> = &'a dyn Fn(&mut CodeAssembler) -> Result<(), IcedError>;

fn machine(engine: Engine, keep: bool, build: Build<'_>) -> BareMachine {
    let mut a = CodeAssembler::new(64).unwrap();
    build(&mut a).unwrap();
    let memory = GuestMemory::new(16 << 20, &[]).unwrap();
    map_one_to_one(&memory);
    let (signals, bus) = (VcpuSignals::new(), EmptyBoard::default());
    let model = Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap());
    let options = EngineOptions { keep_tlb: keep, ..EngineOptions::default() };
    let mut backend = engine.start_with(options).unwrap();
    let mut vcpu = backend.create_vcpu(0, &model, &memory, &signals).unwrap();
    set_long_mode(&mut *vcpu);
    let m = BareMachine { memory, signals, vcpu, bus };
    m.write(LONG_MODE_CODE, &a.assemble(LONG_MODE_CODE).unwrap());
    m.write(PAGE, &[0x11]);
    m.write(PAGE + 0x1000, &[0x22]);
    m
}

/// How a guest ended.
#[derive(PartialEq, Debug)]
struct End {
    /// At its HLT, else by a fault.
    halted: bool,
    state: ArchState,
    missing: Option<u64>,
}

fn end(m: &mut BareMachine) -> End {
    let exit = m.vcpu.run(&mut m.bus, 1000);
    let halted = matches!(exit, VcpuExit::Halted);
    assert!(halted || matches!(exit, VcpuExit::Shutdown(_)), "{exit:?}");
    let missing = m.vcpu.statistics().into_iter().find(|(line, _)| line == STALE_USES);
    End { halted, state: m.vcpu.state(), missing: missing.map(|(_, count)| count) }
}

/// The end of a guest whose translations are kept: the same on all engines.
#[track_caller]
fn kept(build: Build<'_>) -> End {
    let mut ends = engines().into_iter().map(|engine| end(&mut machine(engine, true, build)));
    let first = ends.next().unwrap();
    assert!(ends.all(|other| other == first));
    first
}

/// Reads the page, then writes its entry.
fn change(a: &mut CodeAssembler, entry: u64) -> Result<(), IcedError> {
    a.mov(rsi, PAGE)?;
    a.mov(rdi, leaf_entry(PAGE))?;
    a.mov(al, byte_ptr(rsi))?;
    a.mov(rdx, entry)?;
    a.mov(qword_ptr(rdi), rdx)
}
fn gpr(end: &End, n: usize) -> u64 {
    end.state.gpr[n]
}
const RAX: usize = 0;
const RCX: usize = 1;
const RBX: usize = 3;

#[test]
fn translations_go_with_their_entries_unless_they_are_to_be_kept() {
    for engine in engines() {
        let mut m = machine(engine, false, &|a| {
            change(a, 0)?;
            a.mov(bl, byte_ptr(rsi))?;
            a.hlt()
        });
        let end = end(&mut m);
        assert!(!end.halted && gpr(&end, RBX) == 0 && end.missing.is_none(), "{engine}");
    }
}

#[test]
fn a_translation_stays_until_invlpg() {
    let end = kept(&|a| {
        change(a, 0)?;
        a.mov(bl, byte_ptr(rsi))?;
        a.mov(bh, byte_ptr(rsi))?;
        a.invlpg(byte_ptr(rsi))?;
        a.mov(cl, byte_ptr(rsi))?;
        a.hlt()
    });
    assert!(!end.halted, "a page fault after INVLPG");
    assert_eq!((gpr(&end, RAX), gpr(&end, RBX), gpr(&end, RCX)), (0x11, 0x1111, 0));
    assert_eq!(end.missing, Some(1), "one report for one change");
}

#[test]
fn a_translation_stays_until_cr3_is_loaded() {
    let end = kept(&|a| {
        change(a, PAGE + 0x1000 + 7)?;
        a.mov(bl, byte_ptr(rsi))?;
        a.mov(rdx, cr3)?;
        a.mov(cr3, rdx)?;
        a.mov(cl, byte_ptr(rsi))?;
        a.hlt()
    });
    assert_eq!((end.halted, gpr(&end, RBX), gpr(&end, RCX)), (true, 0x11, 0x22));
    assert_eq!(end.missing, Some(1));
}

#[test]
fn a_global_translation_stays_when_cr3_is_loaded() {
    let end = kept(&|a| {
        change(a, PAGE + 7 + GLOBAL)?;
        a.invlpg(byte_ptr(rsi))?;
        change(a, PAGE + 0x1000 + 7 + GLOBAL)?;
        a.mov(rdx, cr3)?;
        a.mov(cr3, rdx)?;
        a.mov(bl, byte_ptr(rsi))?;
        a.mov(rdx, cr4)?;
        a.btr(rdx, 7)?;
        a.mov(cr4, rdx)?;
        a.mov(cl, byte_ptr(rsi))?;
        a.hlt()
    });
    assert_eq!((end.halted, gpr(&end, RBX), gpr(&end, RCX)), (true, 0x11, 0x22), "until CR4.PGE changes");
    assert_eq!(end.missing, Some(1));
}

/// As a public tutorial kernel does: the page that holds the page table clears the entry for itself.
#[test]
fn a_page_table_that_clears_its_own_entry_can_still_be_written() {
    let table = leaf_entry(PAGE) & !0xFFF;
    let end = kept(&|a| {
        a.mov(rdi, leaf_entry(table))?;
        a.mov(rsi, table)?;
        // Maps PAGE to the page table that its entry lies in.
        a.mov(rdx, table + 7)?;
        a.mov(rbx, leaf_entry(PAGE))?;
        a.mov(qword_ptr(rbx), rdx)?;
        a.mov(rsi, PAGE)?;
        a.mov(qword_ptr(rsi + (leaf_entry(PAGE) & 0xFFF) as i32), 0)?;
        a.mov(qword_ptr(rsi + 0xFF8), 0x1234)?;
        a.mov(rcx, qword_ptr(rsi + 0xFF8))?;
        a.hlt()
    });
    assert_eq!((end.halted, gpr(&end, RCX)), (true, 0x1234));
    assert_eq!(end.missing, Some(1));
}

#[test]
fn what_needs_no_flush_is_not_reported() {
    let bits = [AVAILABLE, 0x20, 0x40];
    for bits in bits {
        let end = kept(&|a| {
            change(a, PAGE + 7 + bits)?;
            a.mov(bl, byte_ptr(rsi))?;
            a.hlt()
        });
        assert_eq!((end.halted, gpr(&end, RBX), end.missing), (true, 0x11, Some(0)), "{bits:#x}");
    }
    let end = kept(&|a| {
        change(a, 0)?;
        a.invlpg(byte_ptr(rsi))?;
        a.mov(rdx, PAGE + 7)?;
        a.mov(qword_ptr(rdi), rdx)?;
        a.mov(bl, byte_ptr(rsi))?;
        a.hlt()
    });
    assert_eq!((end.halted, gpr(&end, RBX), end.missing), (true, 0x11, Some(0)), "flushed, then mapped anew");
}

/// A right that the translation did not have is looked for in the tables.
#[test]
fn a_write_by_a_translation_for_reading_walks() {
    let end = kept(&|a| {
        change(a, PAGE + 0x1000 + 7)?;
        a.mov(byte_ptr(rsi), 0x33)?;
        a.mov(bl, byte_ptr(rsi))?;
        a.hlt()
    });
    assert_eq!((end.halted, gpr(&end, RBX), end.missing), (true, 0x33, Some(0)));
}

#[test]
fn code_of_a_translation_that_is_kept_is_the_old_code() {
    let function = |value: u8| [0xB8, value, 0, 0, 0, 0xC3];
    let build: Build<'_> = &|a| {
        a.mov(rsi, PAGE)?;
        a.call(rsi)?;
        a.mov(ebx, eax)?;
        a.mov(rdi, leaf_entry(PAGE))?;
        a.mov(rdx, PAGE + 0x1000 + 7)?;
        a.mov(qword_ptr(rdi), rdx)?;
        a.call(rsi)?;
        a.add(ebx, eax)?;
        a.invlpg(byte_ptr(rsi))?;
        a.call(rsi)?;
        a.hlt()
    };
    let ends: Vec<_> = engines()
        .into_iter()
        .map(|engine| {
            let mut m = machine(engine, true, build);
            m.write(PAGE, &function(5));
            m.write(PAGE + 0x1000, &function(7));
            end(&mut m)
        })
        .collect();
    for end in &ends {
        assert_eq!((end.halted, gpr(end, RBX), gpr(end, RAX), end.missing), (true, 10, 7, Some(1)));
    }
    assert!(ends.windows(2).all(|pair| pair[0] == pair[1]));
}

/// Messages of all tests.
static MESSAGES: Mutex<Vec<String>> = Mutex::new(Vec::new());
struct Listener;
impl log::Log for Listener {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        MESSAGES.lock().unwrap().push(record.args().to_string());
    }
    fn flush(&self) {}
}

#[test]
fn the_report_says_where_and_what() {
    log::set_logger(&Listener).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let page = LONG_MODE_DATA + 0x3_4000;
    for engine in engines() {
        MESSAGES.lock().unwrap().clear();
        let mut m = machine(engine, true, &|a| {
            a.mov(rsi, page)?;
            a.mov(rdi, leaf_entry(page))?;
            a.mov(al, byte_ptr(rsi))?;
            a.mov(qword_ptr(rdi), 0)?;
            a.nop()?;
            a.mov(bl, byte_ptr(rsi + 5))?;
            a.hlt()
        });
        assert!(end(&mut m).halted);
        // Two MOVs of 64-bit constants that fit 32 bits, a load, a store of 7 bytes, NOP.
        let text = format!("linear address {:#x} still", page + 5);
        let messages = MESSAGES.lock().unwrap();
        let found: Vec<_> = messages.iter().filter(|message| message.contains(&text)).collect();
        assert_eq!(found.len(), 1, "{engine}: {messages:?}");
        let entry = format!(
            "the entry at physical address {:#x} changed from {:#x} to 0x0",
            leaf_entry(page),
            page | 7
        );
        let at = m.vcpu.state().rip - 1 - 3;
        for part in [format!("RIP {at:#x}"), "a read at".to_owned(), entry] {
            assert!(found[0].contains(&part), "{engine}: no {part:?} in {found:?}");
        }
    }
}
