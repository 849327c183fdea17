//! Guests of a few instructions.

use super::{assemble, events, traced};
use crate::monitor::client::Client;
use crate::support::engines::{ENGINE_NAMES, JIT};
use crate::support::needs::Tests;
use crate::support::program::{Program, run_to_end};
use crate::support::small_guest::{CODE, Scratch, prints, runs_on, small_guest, triple_fault};
use iced_x86::code_asm::*;

pub fn tests() -> Tests {
    Tests::new()
        .each(&ENGINE_NAMES, each_kind_has_its_lines)
        .each(&ENGINE_NAMES, filters_choose_lines)
        .each(&ENGINE_NAMES, a_triple_fault_shows_what_came_before)
        .each(&ENGINE_NAMES, a_trace_begins_and_ends_at_a_monitor)
        .test_needing(&[JIT], engines_write_the_same_lines)
        .test(lines_go_to_standard_error_where_nothing_else_is_said)
        .test(what_cannot_be_traced_is_refused)
}

/// A guest that does something of each kind, and ends by isa-debug-exit.
fn busy() -> Scratch {
    small_guest("busy", &assemble(write_busy))
}
fn write_busy(a: &mut CodeAssembler, at: [u32; 4]) -> [CodeLabel; 4] {
    let (mut idtr, mut handler, mut after, mut behind, mut again) =
        (a.create_label(), a.create_label(), a.create_label(), a.create_label(), a.create_label());
    let [at_idtr, at_handler, at_after, at_behind] = at;
    // Gates for all vectors up to 31, which lead to one handler: it goes on at EBP.
    a.mov(esp, 0x9_0000).unwrap();
    a.mov(edi, 0x8000).unwrap();
    a.mov(eax, at_handler).unwrap();
    a.mov(edx, eax).unwrap();
    a.and(eax, 0xFFFF).unwrap();
    a.mov(bx, cs).unwrap();
    a.shl(ebx, 16).unwrap();
    a.or(eax, ebx).unwrap();
    a.and(edx, 0xFFFF_0000u32 as i32).unwrap();
    a.or(edx, 0x8E00).unwrap();
    a.mov(ecx, 32).unwrap();
    a.set_label(&mut again).unwrap();
    a.mov(dword_ptr(edi), eax).unwrap();
    a.mov(dword_ptr(edi + 4), edx).unwrap();
    a.add(edi, 8).unwrap();
    a.dec(ecx).unwrap();
    a.jnz(again).unwrap();
    a.lidt(dword_ptr(at_idtr)).unwrap();
    // An exception, and an interrupt.
    a.mov(ebp, at_after).unwrap();
    a.ud2().unwrap();
    a.set_label(&mut after).unwrap();
    a.mov(ebp, at_behind).unwrap();
    a.int(0x10).unwrap();
    a.set_label(&mut behind).unwrap();
    // Ports, memory of a device, an MSR, a control register.
    a.in_(al, 0x64).unwrap();
    a.mov(eax, dword_ptr(0xFEE0_0030u32)).unwrap();
    a.mov(dword_ptr(0xFEE0_00B0u32), 0).unwrap();
    a.mov(ecx, 0xC000_0080u32 as i32).unwrap();
    a.rdmsr().unwrap();
    a.wrmsr().unwrap();
    a.mov(eax, cr0).unwrap();
    a.mov(cr0, eax).unwrap();
    a.mov(al, 0).unwrap();
    a.out(0xF4, al).unwrap();
    a.hlt().unwrap();
    a.set_label(&mut handler).unwrap();
    a.mov(dword_ptr(esp), ebp).unwrap();
    a.iretd().unwrap();
    a.set_label(&mut idtr).unwrap();
    a.dw(&[32 * 8 - 1]).unwrap();
    a.dd(&[0x8000]).unwrap();
    [idtr, handler, after, behind]
}

fn each_kind_has_its_lines(engine: &str) {
    let guest = busy();
    let (ended, trace) = traced(engine, &guest, "exc,int,io,mmio,msr,cr", &[]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let wanted = [
        "#UD invalid opcode",
        "int 10h",
        "in al, 64h = ",
        "mmio read 4 fee00030 = ",
        "mmio write 4 fee000b0 = 0 (local APIC EOI)",
        "rdmsr IA32_EFER = 0",
        "wrmsr IA32_EFER = 0",
        "mov cr0, ",
        "out f4h, al = 0 (",
    ];
    let lines = events(&trace);
    assert_eq!(lines.len(), wanted.len(), "{trace}");
    for (line, wanted) in lines.iter().zip(wanted) {
        assert!(line.starts_with(wanted), "{line} is not {wanted}");
    }
    assert!(trace.lines().all(|line| line.starts_with("cpu0 ") && line.contains(" cpl0 ")), "{trace}");
    let (ended, trace) = traced(engine, &guest, "insn,io", &[]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let told = ended.errors.contains("insn: the guest runs on the interpreter meanwhile, not on jit");
    assert_eq!(told, engine == "jit", "{ended:?}");
    let lines = events(&trace);
    // What faults has a line, and an instruction's line stands before that of what it does.
    for pair in
        [["in al, 0x64", "in al, 64h = "], ["ud2", "mov [esp], ebp"], ["out 0xf4, al", "out f4h, al = 0"]]
    {
        let at = lines.iter().position(|line| *line == pair[0]);
        let at = at.unwrap_or_else(|| panic!("no {pair:?} in {trace}"));
        assert!(lines[at + 1].starts_with(pair[1]), "{pair:?}: {trace}");
    }
    assert_eq!(lines.iter().filter(|line| line.starts_with("jne ")).count(), 32, "{trace}");
}

fn filters_choose_lines(engine: &str) {
    let guest = busy();
    let count = |trace: &str| traced(engine, &guest, trace, &[]).1.lines().count();
    assert_eq!(count("exc,int,addr=0x0-0xfff"), 0);
    assert_eq!(count("exc,int,cpl=3"), 0);
    assert_eq!(count("exc,int,cpl=0,cpu=0,addr=0x100000-0x1fffff"), 2);
    let (_, two) = traced(engine, &guest, &format!("insn,addr={CODE:#x}-{:#x}", CODE + 5), &[]);
    assert_eq!(events(&two).len(), 2, "{two}");
    let (ended, _) = traced(engine, &guest, "exc,cpu=1", &[]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.errors.contains("--trace: there is no vCPU 1"), "{ended:?}");
}

fn a_triple_fault_shows_what_came_before(engine: &str) {
    let guest = small_guest("triple", &prints(b"x", triple_fault));
    let kernel = guest.path();
    let fixed = ["run", "--accel", engine, "--memory", "16M", "--nographic", "--kernel", &kernel];
    let report = |trace: &[&str]| {
        let ended = run_to_end(&[&fixed[..], trace].concat());
        assert_eq!(ended.code, Some(3), "{ended:?}");
        ended.errors
    };
    assert!(!report(&[]).contains("what was traced"));
    let text = report(&["--trace", "insn,exc,last"]);
    let (_, last) = text.split_once(" of what was traced before:\n").expect(&text);
    for line in ["cpl0 lidt ", "cpl0 ud2", "cpl0 #UD invalid opcode", "cpl0 #DF(0000) double fault"] {
        assert!(last.contains(line), "no {line:?} in {text}");
    }
    // Nothing else is written with `last`.
    assert_eq!(text.matches("cpl0 ud2").count(), 1, "{text}");
}

fn a_trace_begins_and_ends_at_a_monitor(engine: &str) {
    let (guest, socket, log) =
        (small_guest("monitor", &prints(b"ready", runs_on)), Scratch::new("m.sock"), Scratch::new("t.log"));
    let monitor = format!("unix:{},server,nowait", socket.path());
    let kernel = guest.path();
    let fixed = ["run", "--accel", engine, "--memory", "16M", "--kernel", &kernel, "--nographic"];
    let mut program = Program::start(&[&fixed[..], &["--monitor", &monitor]].concat());
    program.expect("ready");
    let mut client = Client::connect(&socket.path());
    assert!(client.ask("info trace").contains("nothing is traced"));
    let answer = client.ask(&format!("trace insn,file={} on", log.path()));
    assert!(answer.contains("traced: insn,file="), "{answer}");
    assert_eq!(answer.contains("not on jit"), engine == "jit", "{answer}");
    while std::fs::metadata(&log.0).map_or(0, |file| file.len()) < 1000 {
        client.ask("info status");
    }
    assert!(client.ask("trace exc on").contains("traced: exc,insn,file="));
    assert!(client.ask("trace insn off").contains("traced: exc,file="));
    assert!(client.ask("trace off").contains("nothing is traced"));
    client.refuses("trace io,cpu=7 on", &["no vCPU 7"]);
    client.refuses("trace io,file=/nowhere/t.log on", &["/nowhere/t.log"]);
    client.refuses("trace ports on", &["cannot be traced", "mmio"]);
    client.send(b"quit\n");
    assert_eq!(program.wait().code, Some(0));
    let text = std::fs::read_to_string(&log.0).expect("the trace");
    assert!(text.lines().all(|line| line.contains(" jmp ")), "{text}");
}

fn engines_write_the_same_lines() {
    let guest = busy();
    for trace in ["exc,int,io,mmio,msr,cr", "exc,int,io,mmio,msr,cr,insn"] {
        let (_, interp) = traced("interp", &guest, trace, &[]);
        let (_, jit) = traced("jit", &guest, trace, &[]);
        assert!(!interp.is_empty());
        assert_eq!(interp, jit, "{trace}");
    }
}

fn lines_go_to_standard_error_where_nothing_else_is_said() {
    let guest = busy();
    let kernel = guest.path();
    let fixed = ["run", "--memory", "16M", "--nographic", "--debug-exit", "--kernel", &kernel];
    let ended = run_to_end(&[&fixed[..], &["--trace", "exc"]].concat());
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.errors.contains(" cpl0 #UD invalid opcode\n"), "{ended:?}");
}

fn what_cannot_be_traced_is_refused() {
    for (trace, words) in [
        ("all", "cannot be traced: use exc, int, io"),
        ("exc,cpl=9", "cpl=9: write 0 to 3"),
        ("exc,addr=7", "addr=0x100000-0x1fffff"),
        ("exc,file=/nowhere/t", "/nowhere/t: No such file"),
        ("last", "nothing is named"),
    ] {
        let ended = run_to_end(&["demo", "--nographic", "--trace", trace]);
        assert_eq!(ended.code, Some(2), "{trace}: {ended:?}");
        assert!(ended.errors.contains(words), "{trace}: {ended:?}");
    }
    let ended = run_to_end(&["lockstep", "--trace", "exc"]);
    assert!(ended.code == Some(2) && ended.errors.contains("--trace"), "{ended:?}");
}
