//! What guests see of the chips, on every engine.

use super::*;
use iced_x86::code_asm::*;

/// The engines that can be used here.
fn engines() -> Vec<Engine> {
    let all = [Engine::Interp, Engine::Jit];
    all.into_iter().filter(|engine| engine.status().available.is_ok()).collect()
}

/// The code that `build` writes, to run at 0000:7C00 in real mode.
fn assemble(build: impl Fn(&mut CodeAssembler)) -> Vec<u8> {
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
            control.resume();
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
        let board = machine.board();
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
                board.advance_due(&mut TimeSource::Board(&board.clock));
            }
        }
    }

    /// A wide access at the last port of a chip has its other bytes from who is there.
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
