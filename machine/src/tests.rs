//! The machine as a whole: small guests in machine code.

mod bios_calls;
mod card_memory;
mod card_roms;
mod cards;
mod chips;
mod control;
mod drives;
mod e1000;
mod generation;
mod hostile_devices;
mod hostile_vcpus;
mod hostile_virtio;
mod networks;
mod pci_bios;
mod pointers;
mod random;
mod recordings;
mod replay;
mod saved_files;
mod snapshots;
mod switching;
mod vga;
mod virtio;

use crate::*;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use trimotor_bus::VcpuSignals;
use trimotor_cpu::model::CpuModel;
use trimotor_devices::requests::ResetCause;
use trimotor_devices::serial::SerialBackend;
use trimotor_firmware::boot::{self, BootFile, BootPlan, BootRequest, KernelKind};

/// A clock that stands still: tests count instructions.
struct NoClock;
impl HostClock for NoClock {
    fn now_ns(&self) -> u64 {
        0
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);
impl SerialBackend for Log {
    fn write(&mut self, bytes: &[u8]) -> usize {
        self.0.lock().unwrap().extend_from_slice(bytes);
        bytes.len()
    }
    fn flush(&mut self) {}
    fn read(&mut self, _into: &mut [u8]) -> usize {
        0
    }
    fn connected(&self) -> bool {
        true
    }
}

fn config() -> MachineConfig {
    MachineConfig {
        memory_bytes: 4 << 20,
        engine: Some(Engine::Interp),
        clock: ClockSource::Instructions,
        devices: vec![DeviceConfig::new("isa-serial"), DeviceConfig::new("isa-debug-exit")],
        on_reset: OnReset::Exit,
        ..MachineConfig::default()
    }
}

/// What starts `code` at 0000:7C00 in real mode.
fn flat_plan(config: &MachineConfig, code: &[u8]) -> BootPlan {
    let platform = config.platform();
    let mut request = BootRequest::new(BootFile { name: "test".into(), bytes: code.to_vec() });
    request.kind = Some(KernelKind::Flat);
    boot::load(request, &platform).unwrap()
}

/// A machine that starts `code` at 0000:7C00 in real mode, and its serial output.
fn machine(config: MachineConfig, code: &[u8]) -> (Machine, Log) {
    machine_of("x86-64-v3", config, code)
}
/// The same of another CPU model.
fn machine_of(model: &str, config: MachineConfig, code: &[u8]) -> (Machine, Log) {
    let plan = flat_plan(&config, code);
    let log = Log::default();
    let services =
        HostServices { serial: vec![Box::new(log.clone())], ..HostServices::new(Arc::new(NoClock)) };
    let model = Arc::new(CpuModel::parse(model, 1_000_000_000).unwrap());
    (Machine::new(config, model, services, Box::new(plan)).unwrap(), log)
}
fn run(code: &[u8]) -> (ExitReason, Vec<u8>) {
    let (mut machine, log) = machine(config(), code);
    let reason = machine.run();
    let bytes = log.0.lock().unwrap().clone();
    (reason, bytes)
}

#[test]
fn serial_output_and_debug_exit() {
    let (reason, output) = run(&[
        0xBA, 0xFB, 0x03, 0xB0, 0x03, 0xEE, // 8 bits: mov dx, 3FBh; mov al, 3; out dx, al
        0xBA, 0xF8, 0x03, // mov dx, 3F8h
        0xB0, b'H', 0xEE, // mov al, 'H'; out dx, al
        0xB0, b'i', 0xEE, // mov al, 'i'; out dx, al
        0xB0, 0x15, 0xE6, 0xF4, // mov al, 15h; out F4h, al
        0xEB, 0xFE, // jmp $
    ]);
    assert_eq!(reason, ExitReason::DebugExit(0x15));
    assert_eq!(reason.debug_exit_code(), Some(0x2B));
    assert_eq!(output, b"Hi");
}

#[test]
fn acpi_power_off() {
    let (reason, _) = run(&[
        0xBA, 0x04, 0x06, // mov dx, 604h
        0xB8, 0x00, 0x20, // mov ax, SLP_EN | S5
        0xEF, // out dx, ax
        0xEB, 0xFE,
    ]);
    assert_eq!(reason, ExitReason::PowerOff);
}

#[test]
fn resets_end_the_run_or_start_over() {
    let code = [0xB0, 0xFE, 0xE6, 0x64, 0xEB, 0xFE]; // mov al, FEh; out 64h, al; jmp $
    assert_eq!(run(&code).0, ExitReason::Reset(ResetCause::KeyboardController));
    // Writes a byte of CMOS memory at the first start; at the second it leaves.
    let code = [
        0xB0, 0x40, 0xE6, 0x70, 0xE4, 0x71, // mov al, 40h; out 70h, al; in al, 71h
        0x3C, 0x77, 0x74, 0x0A, // cmp al, 77h; je +10
        0xB0, 0x77, 0xE6, 0x71, // mov al, 77h; out 71h, al
        0xB0, 0x06, 0xBA, 0xF9, 0x0C, 0xEE, // mov al, 6; mov dx, CF9h; out dx, al
        0xE6, 0xF4, // out F4h, al
        0xEB, 0xFE,
    ];
    let (mut machine, _) = machine(MachineConfig { on_reset: OnReset::Reset, ..config() }, &code);
    assert_eq!(machine.run(), ExitReason::DebugExit(0x77));
}

#[test]
fn hlt_waits_for_the_timer_and_time_skips() {
    // IVT entry 8 to a handler that leaves; PIT counter 0 one-shot; PIC anew; unmask IRQ 0; sti; hlt.
    let code = [
        0x31, 0xC0, 0x8E, 0xD8, // xor ax, ax; mov ds, ax
        0xC7, 0x06, 0x20, 0x00, 0x2E, 0x7C, // mov word [20h], handler
        0xC7, 0x06, 0x22, 0x00, 0x00, 0x00, // mov word [22h], 0
        0xB0, 0x30, 0xE6, 0x43, // mode 0
        0xB0, 0xFF, 0xE6, 0x40, 0xE6, 0x40, // count FFFFh
        0xB0, 0x11, 0xE6, 0x20, 0xB0, 0x08, 0xE6, 0x21, // ICW1, ICW2
        0xB0, 0x04, 0xE6, 0x21, 0xB0, 0xFE, 0xE6, 0x21, // ICW3; ICW4 and OCW1 below
        0xFB, 0xF4, 0xEB, 0xFD, // sti; hlt; jmp to hlt
        0xB0, 0x01, 0xE6, 0xF4, 0xEB, 0xFE, // 2Eh: the handler leaves
    ];
    let mut code = code.to_vec();
    code.splice(0x26..0x26, [0xB0, 0x01, 0xE6, 0x21]);
    code[8] = code.len() as u8 - 6;
    let (mut machine, _) = machine(config(), &code);
    assert_eq!(machine.run(), ExitReason::DebugExit(1));
    let time = machine.control().guest_time().ns();
    assert!((54_900_000..54_960_000).contains(&time), "{time}");
    assert!(machine.instructions() < 100);
}

#[test]
fn a_triple_fault_is_reported() {
    // lidt with limit 0, then int3.
    let code = [0x0F, 0x01, 0x1E, 0x08, 0x7C, 0xCC, 0xEB, 0xFE, 0, 0, 0, 0, 0, 0];
    let (reason, _) = run(&code);
    let ExitReason::TripleFault(fault) = reason else { panic!("{reason:?}") };
    let text = fault.to_string();
    assert!(text.contains("triple fault on vCPU 0") && text.contains("RIP="), "{text}");
}

#[test]
fn application_processors_start_and_both_run() {
    // The AP code at 7D00h (SIPI vector 7 is 7000h: a jump there is put by the BSP) sets a flag.
    let mut code = vec![
        0x31, 0xC0, 0x8E, 0xD8, // xor ax, ax; mov ds, ax
        // Real mode cannot reach FEE00000h with 64 KiB limits: go through unreal mode.
        0x0F, 0x01, 0x16, 0x60, 0x7C, // lgdt [7C60h]
        0x0F, 0x20, 0xC0, 0x66, 0x83, 0xC8, 0x01, 0x0F, 0x22, 0xC0, // cr0 |= 1
        0xBB, 0x08, 0x00, 0x8E, 0xDB, // mov bx, 8; mov ds, bx
        0x66, 0x83, 0xE0, 0xFE, 0x0F, 0x22, 0xC0, // cr0 &= ~1
        0x31, 0xDB, 0x8E, 0xDB, // xor bx, bx; mov ds, bx (limit stays 4 GiB)
        0xC6, 0x06, 0x00, 0x70, 0xF0, // mov byte [7000h], F0h: lock prefix of ...
        0xC6, 0x06, 0x01, 0x70, 0xFE, // ... inc byte [0500h]
        0xC6, 0x06, 0x02, 0x70, 0x06, 0xC6, 0x06, 0x03, 0x70, 0x00, 0xC6, 0x06, 0x04, 0x70, 0x05, //
        0xC6, 0x06, 0x05, 0x70, 0xF4, // hlt
    ];
    code.resize(0x70, 0x90);
    code[0x60..0x66].copy_from_slice(&[0x0F, 0x00, 0x68, 0x7C, 0x00, 0x00]);
    // Jump over the table: at 5Ch.
    code[0x5C..0x5E].copy_from_slice(&[0xEB, 0x1A]);
    code.extend([0, 0, 0, 0, 0, 0, 0, 0]);
    code[0x68..0x70].copy_from_slice(&[0; 8]);
    code[0x70..0x78].copy_from_slice(&[0xFF, 0xFF, 0, 0, 0, 0x92, 0xCF, 0]);
    code.extend([
        0x66, 0x67, 0xC7, 0x05, 0x00, 0x03, 0xE0, 0xFE, 0x00, 0x45, 0x0C, 0x00, // [FEE00300h] = C4500h
        0x66, 0x67, 0xC7, 0x05, 0x00, 0x03, 0xE0, 0xFE, 0x07, 0x46, 0x0C, 0x00, // [FEE00300h] = C4607h
        0x80, 0x3E, 0x00, 0x05, 0x03, 0x75, 0xF9, // until [500h] = 3
        0xB0, 0x2A, 0xE6, 0xF4, 0xEB, 0xFE,
    ]);
    let (mut machine, _) = machine(MachineConfig { cpus: 4, ..config() }, &code);
    assert_eq!(machine.run(), ExitReason::DebugExit(0x2A));
}

#[test]
fn two_runs_are_the_same() {
    // Prints the low byte of the TSC and of RDRAND a few times.
    let code = [
        0xB9, 0x20, 0x00, 0xBA, 0xF8, 0x03, // mov cx, 32; mov dx, 3F8h
        0x52, 0x0F, 0x31, 0x5A, 0xEE, // push dx; rdtsc; pop dx; out dx, al
        0x0F, 0xC7, 0xF0, 0xEE, // rdrand ax; out dx, al
        0xE2, 0xF5, // loop
        0xB0, 0x01, 0xE6, 0xF4,
    ];
    let (first, second) = (run(&code), run(&code));
    assert_eq!(first, second);
    assert_eq!(first.1.len(), 64);
}

#[test]
fn a_command_ends_a_guest_that_sleeps_for_ever() {
    let (mut machine, _) = machine(config(), &[0xFA, 0xF4, 0xEB, 0xFC]);
    let control = machine.control();
    let thread = std::thread::spawn(move || machine.run());
    control.quit();
    assert_eq!(thread.join().unwrap(), ExitReason::Quit);
}

#[test]
fn numbers_that_no_board_has_are_refused() {
    let plan = flat_plan(&config(), &[0xF4]);
    let model = Arc::new(CpuModel::parse("x86-64-v3", 1_000_000_000).unwrap());
    let services = || HostServices::new(Arc::new(NoClock));
    for bad in [
        MachineConfig { cpus: 0, ..config() },
        MachineConfig { cpus: 9, ..config() },
        MachineConfig { memory_bytes: 0, ..config() },
        MachineConfig { memory_bytes: u64::MAX, ..config() },
        MachineConfig { engine: Some(Engine::Kvm), ..config() },
    ] {
        assert!(Machine::new(bad, model.clone(), services(), Box::new(plan.clone())).is_err());
    }
}

/// A reset asks for the boot plan again, and what it says then is what starts; a plan that is not
/// to be had any more ends the run.
#[test]
fn a_reset_asks_for_the_plan_again() {
    struct Plans(Vec<BootPlan>);
    impl BootSource for Plans {
        fn plan(&mut self) -> Result<BootPlan, String> {
            self.0.pop().ok_or_else(|| "it is gone".to_owned())
        }
    }
    // Sets port 3F8h to eight bits, says a letter there, and resets by port CF9h.
    let say = |letter: u8| {
        let line = [0xBA, 0xFB, 0x03, 0xB0, 0x03, 0xEE, 0xBA, 0xF8, 0x03, 0xB0, letter, 0xEE];
        [&line[..], &[0xBA, 0xF9, 0x0C, 0xB0, 0x06, 0xEE, 0xEB, 0xFE]].concat()
    };
    let config = MachineConfig { on_reset: OnReset::Reset, ..config() };
    let plans = Plans([b'c', b'b', b'a'].map(|letter| flat_plan(&config, &say(letter))).to_vec());
    let log = Log::default();
    let services =
        HostServices { serial: vec![Box::new(log.clone())], ..HostServices::new(Arc::new(NoClock)) };
    let model = Arc::new(CpuModel::parse("x86-64-v3", 1_000_000_000).unwrap());
    let mut machine = Machine::new(config, model, services, Box::new(plans)).unwrap();
    assert_eq!(machine.run(), ExitReason::Quit);
    assert_eq!(*log.0.lock().unwrap(), *b"abc");
}

/// A division by zero on the x87 with CR0.NE clear: its handler comes by IRQ 13, takes the error back
/// through port F0h, clears it, and the instruction that waited goes on.
#[test]
fn x87_errors_interrupt_by_irq_13() {
    use iced_x86::code_asm::*;
    const HANDLER_VECTOR: u32 = (0x70 + 5) * 4;
    // Right behind the short jump over the handler.
    const HANDLER: u32 = 0x7C02;
    let mut a = CodeAssembler::new(16).unwrap();
    let mut start = a.create_label();
    let out = |a: &mut CodeAssembler, port: u32, value: u32| {
        a.mov(al, value).unwrap();
        a.out(port, al).unwrap();
    };
    a.jmp(start).unwrap();
    a.out(0xF0, al).unwrap();
    a.fnclex().unwrap();
    out(&mut a, 0xA0, 0x20);
    out(&mut a, 0x20, 0x20);
    a.inc(cx).unwrap();
    a.iret().unwrap();
    a.set_label(&mut start).unwrap();
    a.xor(ax, ax).unwrap();
    a.mov(ds, ax).unwrap();
    a.mov(cx, ax).unwrap();
    a.mov(bx, HANDLER_VECTOR).unwrap();
    a.mov(word_ptr(bx), HANDLER).unwrap();
    a.mov(word_ptr(bx + 2), 0).unwrap();
    for (port, value) in
        [(0x20, 0x11), (0x21, 8), (0x21, 4), (0x21, 1), (0xA0, 0x11), (0xA1, 0x70), (0xA1, 2), (0xA1, 1)]
    {
        out(&mut a, port, value);
    }
    out(&mut a, 0x21, 0xFB);
    out(&mut a, 0xA1, 0xDF);
    a.mov(eax, cr0).unwrap();
    a.and(al, !0x20 & 0xFF).unwrap();
    a.mov(cr0, eax).unwrap();
    a.fninit().unwrap();
    a.mov(bx, 0x600).unwrap();
    a.mov(word_ptr(bx), 0x37B).unwrap();
    a.fldcw(word_ptr(bx)).unwrap();
    for _ in 0..2 {
        a.fld1().unwrap();
        a.fldz().unwrap();
        a.fdivp(st1, st0).unwrap();
        a.sti().unwrap();
        a.wait().unwrap();
    }
    a.mov(ax, cx).unwrap();
    a.out(0xF4, al).unwrap();
    a.hlt().unwrap();
    let code = a.assemble(0x7C00).unwrap();
    assert_eq!(run(&code).0, ExitReason::DebugExit(2));
}

/// Interrupts that come when the vCPU has looked for the last time and does not sleep yet, halt after halt.
#[test]
fn a_signal_that_comes_while_a_vcpu_halts_ends_the_halt() {
    const IF: u64 = 1 << 9;
    for (rflags, intr_ends_it) in [(IF | 2, true), (2, false)] {
        let (mut machine, _) = machine(config(), &[0xEB, 0xFE]);
        let slot = &mut machine.vcpus[0];
        let mut state = slot.vcpu.state();
        state.activity = trimotor_cpu::state::Activity::Halted;
        state.rflags = rflags;
        slot.vcpu.set_state(&state);
        for round in 0..3 {
            slot.signals.raise(VcpuSignals::INTR);
            slot.halt();
            assert_eq!(slot.can_run(), intr_ends_it, "INTR, RFLAGS {rflags:#x}, round {round}");
            slot.signals.lower(VcpuSignals::INTR);
            slot.halt();
            assert!(!slot.can_run(), "round {round}");
            slot.signals.raise(VcpuSignals::NMI);
            assert!(slot.can_run(), "NMI, round {round}");
            slot.signals.lower(VcpuSignals::NMI);
        }
    }
}

/// A guest that takes no keys, and more of them than anything keeps.
#[test]
fn commands_do_not_wait_behind_input() {
    let (mut machine, _) = machine(config(), &[0xFA, 0xEB, 0xFE]); // cli; jmp $
    let control = machine.control();
    let mut typed = 0;
    while control.type_text("many letters ") {
        typed += 1;
        assert!(typed < 10_000, "what waits is bounded");
    }
    let statistics = control.send(Command::Statistics);
    control.send(Command::Nmi);
    control.quit();
    assert_eq!(machine.run(), ExitReason::Quit);
    assert_eq!(machine.run_until(1_000_000), None, "the end was that of the run before");
    assert!(matches!(statistics.try_take(), Some(Ok(Reply::Statistics { .. }))));
}

/// A vCPU sets its local APIC timer while the machine's thread, after the expiry of another one, asks for the next event:
/// the first that asked must not have the last word.
#[test]
fn an_apic_timer_that_is_set_while_events_are_asked_for_is_kept() {
    const SPURIOUS: u64 = 0x0F0;
    const LVT_TIMER: u64 = 0x320;
    const INITIAL_COUNT: u64 = 0x380;
    let (machine, _) = machine(MachineConfig { cpus: 2, ..config() }, &[0xF4]);
    let board = &machine.board;
    let write = |offset, value| {
        board.fabric.apic_write(1, offset, trimotor_bus::Width::Dword, value, trimotor_bus::GuestTime::ZERO);
    };
    write(SPURIOUS, 0x1FF);
    write(LVT_TIMER, 0x40);
    let asks = AtomicBool::new(false);
    for round in 1..1_000 {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                asks.store(true, SeqCst);
                while asks.load(SeqCst) {
                    board.refresh_apic_timer(1);
                }
            });
            while !asks.load(SeqCst) {
                std::thread::yield_now();
            }
            write(INITIAL_COUNT, round);
            board.refresh_apic_timer(1);
            // Its last question may have been asked before, and be answered now.
            asks.store(false, SeqCst);
        });
        assert_eq!(board.timers.earliest(), board.fabric.next_event(), "round {round}");
    }
}
