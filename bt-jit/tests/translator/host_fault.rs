//! Host faults in translated code: the report names the guest's position, and faults elsewhere stay what they are.
//!
//! Each test runs itself once more in a process of its own, which faults.

#![allow(unsafe_code, reason = "a test that breaks translated code")]

use crate::TRANSLATOR;
use crate::flat::{CODE, DATA, vcpu};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use trimotor_bt_jit::CODE_BYTES;
use trimotor_bt_jit::Translator;
use trimotor_bt_jit::core_stack::CoreStack;
use trimotor_bt_jit::host_fault::{self, Reporting};
use trimotor_bt_jit::profiler::Profiler;
use trimotor_bus::empty_board::EmptyBoard;
use trimotor_bus::{GuestMemory, PhysAddr, VcpuSignals};
use trimotor_cpu::Vcpu;
use trimotor_cpu::code_observer::{CodeKind, PlacedCode};
use trimotor_cpu::model::CpuModel;
use trimotor_cpu_interp::core::Core;
use trimotor_test_needs::Tests;

pub fn tests() -> Tests {
    Tests::needing(&[TRANSLATOR])
        .test(an_illegal_instruction_is_reported_with_the_guests_position)
        .test(memory_that_is_gone_is_reported_with_what_was_accessed)
        .test(a_fault_in_shared_code_is_reported_with_the_instruction_that_called_it)
        .test(the_programs_own_faults_while_a_guest_runs_name_it_and_end_the_process_as_before)
        .test(faults_elsewhere_end_the_process_as_before)
        .test(a_stack_of_translated_code_that_overflows_ends_the_process)
        .test(signals_that_somebody_sends_are_not_faults)
}

/// Says that this process is the one that faults.
const CHILD: &str = "TRIMOTOR_TEST_FAULTS";
const EXIT_CODE: i32 = 44;

/// mov ecx, 12345678h; mov ebx, 87654321h; mov eax, [2004h]; jmp to the start
const GUEST: &[u8] =
    &[0xB9, 0x78, 0x56, 0x34, 0x12, 0xBB, 0x21, 0x43, 0x65, 0x87, 0xA1, 0x04, 0x20, 0, 0, 0xEB, 0xEF];
/// Where the second instruction is.
const SECOND: u64 = CODE + 5;
/// Where the third one is.
const THIRD: u64 = CODE + 10;

/// Runs the test `name` in a process of its own.
fn child(name: &str) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let name = format!("host_fault::{name}");
    command.args(["--exact", &name, "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    command.output().unwrap()
}
fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

fn install() {
    let reporting = Reporting { exit_code: EXIT_CODE, prepare: || (), advice: "  what to do" };
    host_fault::install(reporting).unwrap();
}

/// Places of the code that a translator made.
type Places = Arc<Mutex<Vec<PlacedCode>>>;

fn observed() -> (Translator, Places) {
    let places = Places::default();
    let sink = places.clone();
    let profiler = Profiler::new(
        Some(Arc::new(Mutex::new(move |code: &PlacedCode| sink.lock().unwrap().push(*code)))),
        false,
    );
    (Translator::with(CODE_BYTES, profiler).unwrap(), places)
}

/// Writes `code` over host code at `at`.
fn plant(at: u64, code: &[u8]) {
    let page = (at & !4095) as *mut libc::c_void;
    // SAFETY: two pages around host code of this process, which does not run meanwhile.
    unsafe {
        let rights = libc::PROT_READ | libc::PROT_EXEC;
        // A mapping of its own in the place of the shared one: that one may not be written through.
        let copy = std::slice::from_raw_parts(page.cast::<u8>(), 8192).to_vec();
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        let new = libc::mmap(page, 8192, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        assert_eq!(new, page);
        std::ptr::copy_nonoverlapping(copy.as_ptr(), page.cast(), copy.len());
        std::ptr::copy_nonoverlapping(code.as_ptr(), at as *mut u8, code.len());
        assert_eq!(libc::mprotect(page, 8192, rights), 0);
    }
}
/// The host address of the instruction with the immediate operand `value`, one byte before that.
fn place_of_immediate(places: &Places, value: u32) -> u64 {
    let places = places.lock().unwrap();
    let block = places.iter().find(|code| matches!(code.what, CodeKind::Block(b) if b.rip == CODE)).unwrap();
    // SAFETY: host code that was placed and not dropped.
    let code = unsafe { std::slice::from_raw_parts(block.host as *const u8, block.bytes as usize) };
    let at = code.windows(4).position(|bytes| bytes == value.to_le_bytes()).unwrap();
    block.host + at as u64 - 1
}

/// Takes the guest's data away: an empty file is mapped in its place.
fn cut_memory(memory: &GuestMemory) {
    let page = memory.backing(PhysAddr(DATA)).write;
    // SAFETY: a page of the guest's memory, which no reference leads to; the name is a C string.
    unsafe {
        let file = libc::memfd_create(c"empty".as_ptr(), 0);
        assert!(file >= 0, "no memory file");
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let new = libc::mmap(page.cast(), 4096, rights, libc::MAP_SHARED | libc::MAP_FIXED, file, 0);
        assert_eq!(new, page.cast());
    }
}

fn run(vcpu: &mut dyn Vcpu) {
    vcpu.run(&mut EmptyBoard::default(), 1000);
}

/// The report of `output`, which ended as reports do.
fn report(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(EXIT_CODE), "{text}");
    text
}
#[track_caller]
fn has(report: &str, wanted: &[&str]) {
    for words in wanted {
        assert!(report.contains(words), "no {words:?} in\n{report}");
    }
}

fn an_illegal_instruction_is_reported_with_the_guests_position() {
    if is_child() {
        install();
        let (mut engine, places) = observed();
        let (_memory, mut vcpu) = vcpu(&mut engine, GUEST, &[0; 64]);
        run(&mut *vcpu);
        plant(place_of_immediate(&places, 0x8765_4321), &[0x0F, 0x0B]);
        run(&mut *vcpu);
        unreachable!("UD2 was run");
    }
    let text = report(&child("an_illegal_instruction_is_reported_with_the_guests_position"));
    has(
        &text,
        &[
            "SIGILL",
            &format!("guest RIP {SECOND:016x}"),
            "32-bit code, CPL 0",
            "(guest-physical 1005)",
            "guest code bb 21 43 65 87 a1 04 20 00 00 eb ef",
            "host code 0f 0b",
            "rcx 0000000012345678",
            "the instruction there",
            "what to do",
        ],
    );
}

fn memory_that_is_gone_is_reported_with_what_was_accessed() {
    if is_child() {
        install();
        let mut engine = Translator::new().unwrap();
        let (memory, mut vcpu) = vcpu(&mut engine, GUEST, &[0; 64]);
        run(&mut *vcpu);
        cut_memory(&memory);
        run(&mut *vcpu);
        unreachable!("memory that is gone was read");
    }
    let text = report(&child("memory_that_is_gone_is_reported_with_what_was_accessed"));
    has(
        &text,
        &["SIGBUS", &format!("guest RIP {THIRD:016x}"), "(guest-physical 2004)", "rbx 0000000087654321"],
    );
}

/// mov esi, 2004h; mov edi, 2010h; mov ecx, 4; cld; rep movsd; jmp to the start
const COPY: &[u8] =
    &[0xBE, 0x04, 0x20, 0, 0, 0xBF, 0x10, 0x20, 0, 0, 0xB9, 4, 0, 0, 0, 0xFC, 0xF3, 0xA5, 0xEB, 0xEC];

fn a_fault_in_shared_code_is_reported_with_the_instruction_that_called_it() {
    if is_child() {
        install();
        let mut engine = Translator::new().unwrap();
        let (memory, mut vcpu) = vcpu(&mut engine, COPY, &[0; 64]);
        run(&mut *vcpu);
        cut_memory(&memory);
        run(&mut *vcpu);
        unreachable!("memory that is gone was read");
    }
    let text = report(&child("a_fault_in_shared_code_is_reported_with_the_instruction_that_called_it"));
    has(
        &text,
        &["SIGBUS", "in the code that all blocks share (", "guest RIP 0000000000001010", "guest code f3 a5"],
    );
}

fn the_programs_own_faults_while_a_guest_runs_name_it_and_end_the_process_as_before() {
    if is_child() {
        install();
        let mut engine = Translator::new().unwrap();
        let (memory, mut vcpu) = vcpu(&mut engine, GUEST, &[0; 64]);
        cut_memory(&memory);
        // The first access is the interpreter's.
        run(&mut *vcpu);
    }
    let output = child("the_programs_own_faults_while_a_guest_runs_name_it_and_end_the_process_as_before");
    assert_eq!(output.status.signal(), Some(libc::SIGBUS), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    has(&text, &["in the program's own code at", "while vCPU 0 ran near RIP 0000000000001000"]);
}

fn faults_elsewhere_end_the_process_as_before() {
    if is_child() {
        install();
        let mut engine = Translator::new().unwrap();
        let (_memory, mut vcpu) = vcpu(&mut engine, GUEST, &[0; 64]);
        run(&mut *vcpu);
        // SAFETY: it is not safe: that is the test.
        unsafe { std::arch::asm!("ud2") };
    }
    let output = child("faults_elsewhere_end_the_process_as_before");
    assert_eq!(output.status.signal(), Some(libc::SIGILL), "{output:?}");
}

/// What translated code calls runs on a stack that ends at a page which nobody may access.
fn a_stack_of_translated_code_that_overflows_ends_the_process() {
    let model = Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap());
    let memory = GuestMemory::new(1 << 20, &[]).unwrap();
    let core = Core::new(0, model, memory, VcpuSignals::new());
    let stack = CoreStack::new(core, 5000).unwrap();
    let end = stack.stack_end();
    assert_eq!(stack.as_ptr() as usize - end as usize, 8192);
    // SAFETY: the stack is this test's.
    unsafe { std::ptr::write_bytes(end, 1, 8192) };
    if is_child() {
        // SAFETY: it is not safe: that is the test.
        unsafe { end.sub(1).write_volatile(1) };
    }
    let output = child("a_stack_of_translated_code_that_overflows_ends_the_process");
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{output:?}");
}

fn signals_that_somebody_sends_are_not_faults() {
    if is_child() {
        install();
        // SAFETY: a signal to this process.
        unsafe { libc::raise(libc::SIGFPE) };
    }
    let output = child("signals_that_somebody_sends_are_not_faults");
    assert_eq!(output.status.signal(), Some(libc::SIGFPE), "{output:?}");
}
