//! What guests see of the chips, on every engine.

use super::*;
use iced_x86::code_asm::*;

/// The engines that can be used here.
pub(super) fn engines() -> Vec<Engine> {
    let all = [Engine::Interp, Engine::Jit];
    all.into_iter()
        .filter(|engine| !trimotor_test_needs::skip(engine.status().available.map_err(|why| why.to_string())))
        .collect()
}

/// The code that `build` writes, to run at 0000:7C00 in real mode.
pub(super) fn assemble(build: impl Fn(&mut CodeAssembler)) -> Vec<u8> {
    let mut a = CodeAssembler::new(16).unwrap();
    build(&mut a);
    a.assemble(0x7C00).unwrap()
}

/// Writes a byte to a port.
fn out_byte(a: &mut CodeAssembler, port: u16, value: u32) {
    a.mov(al, value).unwrap();
    a.mov(dx, u32::from(port)).unwrap();
    a.out(dx, al).unwrap();
}

mod panics {
    use super::*;

    /// Reports a panic at its first start, and leaves at its second or after the report.
    fn guest() -> Vec<u8> {
        assemble(|a| {
            let mut second = a.create_label();
            out_byte(a, 0x70, 0x40);
            a.in_(al, 0x71).unwrap();
            a.cmp(al, 0x77).unwrap();
            a.je(second).unwrap();
            out_byte(a, 0x71, 0x77);
            // The events that the device knows are what it is told.
            a.mov(dx, 0x505).unwrap();
            a.in_(al, dx).unwrap();
            a.out(dx, al).unwrap();
            out_byte(a, 0xF4, 1);
            a.set_label(&mut second).unwrap();
            out_byte(a, 0xF4, 2);
            a.hlt().unwrap();
        })
    }

    fn config(engine: Engine, on_panic: OnPanic) -> MachineConfig {
        let mut config = MachineConfig { engine: Some(engine), on_panic, ..super::super::config() };
        config.devices.push(DeviceConfig::new("pvpanic"));
        config
    }

    #[test]
    fn a_panic_does_what_the_configuration_says() {
        for engine in engines() {
            for (on_panic, end) in [
                (OnPanic::Exit, ExitReason::Panic),
                (OnPanic::Ignore, ExitReason::DebugExit(1)),
                // Whatever is said of resets by the guest.
                (OnPanic::Reset, ExitReason::DebugExit(2)),
            ] {
                let (mut machine, _) = machine(config(engine, on_panic), &guest());
                assert_eq!(machine.run(), end, "{engine}: {on_panic:?}");
            }
        }
    }

    #[test]
    fn a_panic_pauses_the_machine() {
        for engine in engines() {
            let (mut machine, _) = machine(config(engine, OnPanic::Pause), &guest());
            let control = machine.control();
            let thread = std::thread::spawn(move || (machine.run(), machine));
            while !control.paused() {
                std::thread::yield_now();
            }
            control.send(Command::Resume);
            let (reason, _) = thread.join().unwrap();
            assert_eq!(reason, ExitReason::DebugExit(1), "{engine}");
        }
    }

    #[test]
    fn there_is_nothing_at_the_port_unless_asked_for() {
        for engine in engines() {
            let mut config = config(engine, OnPanic::Exit);
            config.devices.retain(|device| device.kind != "pvpanic");
            assert_eq!(machine(config, &guest()).0.run(), ExitReason::DebugExit(1), "{engine}");
        }
    }
}

mod ports {
    use super::*;
    use crate::clock::TimeSource;
    use crate::vcpu_bus::VcpuBus;
    use trimotor_bus::{CpuBus, GuestTime, Port, Width};

    const WIDTHS: [Width; 3] = [Width::Byte, Width::Word, Width::Dword];

    /// A board with everything that can be asked for.
    fn full_machine() -> Machine {
        let kinds = [
            "isa-serial",
            "isa-serial",
            "isa-serial",
            "isa-serial",
            "pc-testdev",
            "pvpanic",
            "vmgenid",
            "isa-debug-exit",
        ];
        let devices = kinds.map(DeviceConfig::new).to_vec();
        machine(MachineConfig { devices, ..super::super::config() }, &[0xF4]).0
    }

    /// Each port of the board takes accesses of each width, chips' borders or not: builds with overflow checks
    /// and debug assertions run this too.
    #[test]
    fn every_port_takes_every_width() {
        let mut machine = full_machine();
        let Machine { board, intake, .. } = &mut machine;
        let mut value = 0x1234_5678u32;
        for port in 0..=u16::MAX {
            for width in WIDTHS {
                let mut bus = VcpuBus::in_turn(board, 0);
                let read = bus.port_read(Port(port), width);
                assert_eq!(u64::from(read) & !width.mask(), 0, "{port:#x} {width:?} reads {read:#x}");
                value = value.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                bus.port_write(Port(port), width, value);
                board.clock.skip_to(GuestTime(u64::from(port) * 1000));
                board.clock.now();
                board.advance_due(&mut TimeSource::Board(&board.clock), intake);
            }
        }
    }

    /// A wide access at the last port of a chip has its other bytes from the chip that is there.
    #[test]
    fn wide_accesses_cross_from_chip_to_chip() {
        let mut machine = full_machine();
        let mut bus = VcpuBus::in_turn(machine.board(), 0);
        bus.port_write(Port(0x21), Width::Byte, 0xA5);
        assert_eq!(bus.port_read(Port(0x21), Width::Word), 0xFFA5);
        assert_eq!(bus.port_read(Port(0x20), Width::Word) >> 8, 0xA5);
        assert_eq!(bus.port_read(Port(0xFFFF), Width::Dword), u32::MAX);
        // POST, then the DMA page registers.
        bus.port_write(Port(0x80), Width::Word, 0x5AC3);
        assert_eq!(bus.port_read(Port(0x80), Width::Word), 0x5AC3);
        assert_eq!(bus.port_read(Port(0x81), Width::Byte), 0x5A);
        // The status of the keyboard controller is no part of its data port.
        let data_and_more = bus.port_read(Port(0x60), Width::Dword);
        assert_eq!(data_and_more >> 16, 0xFFFF);
        // What a chip has as a dword stays one.
        bus.port_write(Port(0xF4), Width::Dword, 0x12345);
        assert_eq!(machine.run(), ExitReason::DebugExit(0x12345));
    }
}

mod interrupts {
    use super::*;
    use crate::vcpu_bus::VcpuBus;
    use trimotor_bus::{CpuBus, Port, Width};

    /// Interrupt 8, the PIT's.
    const VECTOR: u32 = 8 * 4;

    /// Waits until bit 0 of the master PIC's IRR is `set`.
    fn wait_for_request(a: &mut CodeAssembler, set: bool) {
        let mut wait = a.create_label();
        a.set_label(&mut wait).unwrap();
        a.in_(al, 0x20).unwrap();
        a.test(al, 1).unwrap();
        if set { a.je(wait).unwrap() } else { a.jne(wait).unwrap() }
    }

    /// Lets interrupts come for a moment.
    fn window(a: &mut CodeAssembler) {
        a.sti().unwrap();
        a.nop().unwrap();
        a.nop().unwrap();
        a.cli().unwrap();
    }

    /// The square wave of the PIT, with interrupts off: the request comes and goes with it. One that has gone
    /// is not delivered; one that is there is.
    #[test]
    fn a_request_that_fell_before_the_acknowledge_is_not_delivered() {
        let code = assemble(|a| {
            let mut start = a.create_label();
            a.jmp(start).unwrap();
            // The handler, at 7C02h, counts.
            a.inc(bx).unwrap();
            out_byte(a, 0x20, 0x20);
            a.iret().unwrap();
            a.set_label(&mut start).unwrap();
            a.xor(bx, bx).unwrap();
            a.mov(ds, bx).unwrap();
            a.mov(si, VECTOR).unwrap();
            a.mov(word_ptr(si), 0x7C02).unwrap();
            a.mov(word_ptr(si + 2), 0).unwrap();
            for (port, value) in [(0x43, 0x36), (0x40, 0), (0x40, 0x40), (0x21, 0xFE), (0x20, 0x0A)] {
                out_byte(a, port, value);
            }
            // A whole period, and the half of it in which the wire is low.
            wait_for_request(a, true);
            wait_for_request(a, false);
            wait_for_request(a, true);
            wait_for_request(a, false);
            window(a);
            a.mov(cx, bx).unwrap();
            wait_for_request(a, true);
            window(a);
            // Nothing first, one then.
            a.shl(cx, 4).unwrap();
            a.or(bx, cx).unwrap();
            a.mov(ax, bx).unwrap();
            a.out(0xF4, al).unwrap();
            a.hlt().unwrap();
        });
        for engine in engines() {
            let config = MachineConfig { engine: Some(engine), ..super::super::config() };
            assert_eq!(machine(config, &code).0.run(), ExitReason::DebugExit(0x01), "{engine}");
        }
    }

    /// COM1 and COM3 have one interrupt, COM2 and COM4 another: the one that is served does not hide its
    /// neighbour.
    #[test]
    fn serial_ports_share_their_interrupts() {
        let devices = vec![DeviceConfig::new("isa-serial"); 4];
        let config = MachineConfig { devices, ..super::super::config() };
        let (mut machine, _) = machine(config, &[0xF4]);
        let mut bus = VcpuBus::in_turn(machine.board(), 0);
        bus.port_write(Port(0x20), Width::Byte, 0x0A);
        for (pair, irr) in [([0x3F8, 0x3E8], 0x10), ([0x2F8, 0x2E8], 0x08)] {
            let request = |bus: &mut VcpuBus<'_>| bus.port_read(Port(0x20), Width::Byte) & irr;
            for base in pair {
                // OUT2, and the interrupt of an empty transmitter.
                bus.port_write(Port(base + 4), Width::Byte, 0x08);
                bus.port_write(Port(base + 1), Width::Byte, 0x02);
            }
            assert_eq!(request(&mut bus), irr);
            for (base, left) in pair.into_iter().zip([irr, 0]) {
                assert_eq!(bus.port_read(Port(base + 2), Width::Byte) & 7, 0x02, "{base:#x}");
                assert_eq!(request(&mut bus), left, "{base:#x}");
            }
        }
    }
}

mod after_a_bios {
    use super::*;

    /// A guest that programs neither PIC nor PIT: the timer ticks at 18.2 Hz, counts in the BIOS data area, and
    /// calls INT 1Ch.
    #[test]
    fn the_timer_ticks() {
        let code = assemble(|a| {
            let mut start = a.create_label();
            let mut wait = a.create_label();
            a.jmp(start).unwrap();
            // INT 1Ch, at 7C02h.
            a.inc(bx).unwrap();
            a.iret().unwrap();
            a.set_label(&mut start).unwrap();
            a.xor(bx, bx).unwrap();
            a.mov(ds, bx).unwrap();
            a.mov(si, 0x1C * 4).unwrap();
            a.mov(word_ptr(si), 0x7C02).unwrap();
            a.mov(word_ptr(si + 2), 0).unwrap();
            a.sti().unwrap();
            a.set_label(&mut wait).unwrap();
            a.hlt().unwrap();
            a.cmp(bx, 3).unwrap();
            a.jb(wait).unwrap();
            a.mov(si, 0x46C).unwrap();
            a.mov(eax, dword_ptr(si)).unwrap();
            a.out(0xF4, eax).unwrap();
            a.hlt().unwrap();
        });
        for engine in engines() {
            let config = MachineConfig { engine: Some(engine), ..super::super::config() };
            let (mut machine, _) = machine(config, &code);
            assert_eq!(machine.run(), ExitReason::DebugExit(3), "{engine}");
            let ms = machine.control().guest_time().ns() / 1_000_000;
            assert!((160..=166).contains(&ms), "{engine}: {ms} ms");
        }
    }

    /// Every vector of the hardware leads somewhere, and from there back.
    #[test]
    fn handlers_of_the_firmware_return() {
        let code = assemble(|a| {
            for vector in (8..0x10).chain(0x70..0x78).chain([0x10, 0x16, 0xFF]) {
                a.int(vector).unwrap();
            }
            out_byte(a, 0xF4, 5);
            a.hlt().unwrap();
        });
        for engine in engines() {
            let config = MachineConfig { engine: Some(engine), ..super::super::config() };
            assert_eq!(machine(config, &code).0.run(), ExitReason::DebugExit(5), "{engine}");
        }
    }
}

mod local_apic {
    use super::*;

    /// Writes IA32_APIC_BASE; leaves with 0Dh after #GP(0), else with 0.
    fn write_base(value: u64) -> Vec<u8> {
        assemble(|a| {
            let mut start = a.create_label();
            a.jmp(start).unwrap();
            // The handler of #GP, at 7C02h.
            out_byte(a, 0xF4, 0x0D);
            a.hlt().unwrap();
            a.set_label(&mut start).unwrap();
            a.xor(bx, bx).unwrap();
            a.mov(ds, bx).unwrap();
            a.mov(si, 13 * 4).unwrap();
            a.mov(word_ptr(si), 0x7C02).unwrap();
            a.mov(word_ptr(si + 2), 0).unwrap();
            a.mov(ecx, 0x1B).unwrap();
            a.mov(eax, value as u32).unwrap();
            a.mov(edx, (value >> 32) as u32).unwrap();
            a.wrmsr().unwrap();
            out_byte(a, 0xF4, 0);
            a.hlt().unwrap();
        })
    }

    #[test]
    fn ia32_apic_base_takes_what_the_cpu_model_has() {
        const X2APIC: u64 = 0xFEE0_0D00;
        let max_physical = |name| CpuModel::parse(name, 1_000_000_000).unwrap().phys_bits;
        let bits = max_physical("x86-64-v3");
        let cases = [
            ("x86-64-v3", X2APIC, 0),
            ("x86-64-v3,-x2apic", X2APIC, 0x0D),
            ("x86-64-v3,-x2apic", 0xFEE0_0900, 0),
            ("x86-64-v3", 1 << (bits - 1) | 0x900, 0),
            ("x86-64-v3", 1 << bits | 0x900, 0x0D),
            ("x86-64-v3", 0xFEE0_0500, 0x0D),
        ];
        for engine in engines() {
            for (model, value, end) in cases {
                let config = MachineConfig { engine: Some(engine), ..super::super::config() };
                let (mut machine, _) = machine_of(model, config, &write_base(value));
                assert_eq!(machine.run(), ExitReason::DebugExit(end), "{engine}: {model} {value:#x}");
            }
        }
    }
}
