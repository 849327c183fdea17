//! Chips: registers accessed at random as a guest does, time that passes, resets, and saved states that were changed.
//!
//! A state that is refused leaves the device as it was; one that is taken is lived on with.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use trimotor_bus::{CpuBus, GuestTime, PhysAddr, Port, PortRegisters, Width};
use trimotor_cpu::model::CpuModel;
use trimotor_devices::fw_cfg::FIRST_FILE;
use trimotor_devices::i8042::KeyCode;
use trimotor_devices::pointer::{PointerButton, PointerEvent};
use trimotor_devices::vmgenid::Guid;
use trimotor_devices::vmmouse;
use trimotor_firmware::boot::{self, BootFile, BootRequest, KernelKind};
use trimotor_fuzz::Input;
use trimotor_machine::board::Board;
use trimotor_machine::registry::DeviceId;
use trimotor_machine::vcpu_bus::VcpuBus;
use trimotor_machine::{ClockSource, DeviceConfig, Engine, HostClock, HostServices, Machine, MachineConfig};

const WIDTHS: [Width; 4] = [Width::Byte, Width::Word, Width::Dword, Width::Qword];
/// The beginnings of ranges of ports with something at them, and how many ports may be hit from there.
const PORTS: [(u16, usize); 17] = [
    (0x00, 0x100),
    (0x170, 8),
    (0x1CE, 3),
    (0x1F0, 8),
    (0x3F2, 6),
    (0x2E8, 8),
    (0x2F8, 8),
    (0x3B0, 0x30),
    (0x3E8, 8),
    (0x3F8, 8),
    (0x4D0, 2),
    (0x500, 16),
    (0x510, 12),
    (0x520, 5),
    (0x600, 0x40),
    (0xCF8, 8),
    (0x2000, 24),
];
/// Pages with registers: the VGA, IOAPIC, HPET, local APIC, the test device.
const PAGES: [u64; 5] = [0xB_8000, 0xFEC0_0000, 0xFED0_0000, 0xFEE0_0000, 0xFF00_0000];
/// Bytes of a state that are changed at most.
const CHANGES: usize = 4;

/// Guest time counts instructions, which this sets.
struct NoClock;
impl HostClock for NoClock {
    fn now_ns(&self) -> u64 {
        0
    }
}

/// A machine with everything that can be asked for.
fn machine() -> Machine {
    let kinds =
        ["isa-serial", "isa-serial", "pc-testdev", "pvpanic", "vmgenid", "isa-debug-exit", "demo-card"];
    let config = MachineConfig {
        memory_bytes: 1 << 20,
        cpus: 2,
        engine: Some(Engine::Interp),
        clock: ClockSource::Instructions,
        devices: kinds.map(DeviceConfig::new).to_vec(),
        ..MachineConfig::default()
    };
    const HLT: u8 = 0xF4;
    let mut request = BootRequest::new(BootFile { name: "halts".into(), bytes: vec![HLT] });
    request.kind = Some(KernelKind::Flat);
    let plan = boot::load(request, &config.platform()).expect("a plan for a byte of code");
    let model = Arc::new(CpuModel::parse("max", 1_000_000_000).expect("a model"));
    let services = HostServices::new(Arc::new(NoClock));
    Machine::new(config, model, services, Box::new(plan)).expect("a machine")
}

fn access(board: &Board, input: &mut Input<'_>) {
    let mut bus = VcpuBus::in_turn(board, input.below(2));
    let kind = input.below(7);
    let width = WIDTHS[input.below(if kind < 2 { 3 } else { 4 })];
    let (first, count) = PORTS[input.below(PORTS.len())];
    let port = Port(first + input.below(count) as u16);
    let page = PAGES[input.below(PAGES.len())];
    let addr = PhysAddr(page + input.number(2) % 0x1000 / width.bytes() as u64 * width.bytes() as u64);
    match kind {
        0 => _ = bus.port_read(port, width),
        1 => bus.port_write(port, width, input.number(width.bytes()) as u32),
        2 => _ = bus.mmio_read(addr, width),
        3 => bus.mmio_write(addr, width, input.number(width.bytes())),
        4 => _ = bus.acknowledge_interrupt(),
        5 => backdoor(&mut bus, input),
        _ => _ = bus.apic_msr_write(0x800 + input.below(0x40) as u32, input.number(8)),
    }
}

/// A call of the VMware mouse, most often one that it knows.
fn backdoor(bus: &mut VcpuBus<'_>, input: &mut Input<'_>) {
    const CONTROLS: [u32; 4] = [0x4541_4552, 0xF5, 0x5342_4152, 0x4C45_5252];
    let ecx = [10, 39, 40, 41, input.number(2) as u32][input.below(5)];
    let ebx = if ecx == 41 { CONTROLS[input.below(4)] } else { input.number(1) as u32 };
    let mut registers = PortRegisters { eax: vmmouse::MAGIC, ebx, ecx, ..PortRegisters::default() };
    bus.port_call(vmmouse::BACKDOOR, &mut registers);
}

/// A hand on keyboard and mouse.
fn hand(board: &Board, now: GuestTime, input: &mut Input<'_>) {
    let (Some(controller), Some(vmmouse)) = (board.refs.keyboard, board.refs.vmmouse) else { return };
    let event = match input.below(4) {
        0 => PointerEvent::Motion { dx: input.number(4) as i32, dy: input.number(4) as i32 },
        1 => PointerEvent::Position { x: input.number(2) as u16, y: input.number(2) as u16 },
        2 => PointerEvent::Wheel { down: input.number(4) as i32, right: input.number(1) as i32 },
        _ => PointerEvent::Button {
            button: PointerButton::ALL[input.below(PointerButton::ALL.len())],
            down: input.below(2) == 0,
        },
    };
    let taken = board.devices.with(vmmouse, |vmmouse| vmmouse.event(event));
    board.devices.with(controller, |controller| {
        if taken {
            controller.nudge_mouse(now)
        } else {
            controller.point(event, now)
        }
        let key = KeyCode::all().nth(input.below(100));
        match (input.below(4), key) {
            (0, Some(key)) => controller.key_event(key, input.below(2) == 0, now),
            (1, Some(key)) => _ = controller.type_event(key, input.below(2) == 0, now),
            (2, _) => controller.release_all(now),
            _ => {}
        }
    });
}

/// Firmware writes to a file of fw_cfg, most often that of the VM generation ID; then there is another ID.
fn generation(board: &Board, input: &mut Input<'_>) {
    const BLOCK: u64 = 0x8000;
    const SELECT_AND_WRITE: u32 = 0x18;
    let key = FIRST_FILE + input.below(24) as u16;
    let control = u32::from(key) << 16 | SELECT_AND_WRITE;
    let length = input.below(10) as u32;
    board.memory.write(PhysAddr(BLOCK), &[control.to_be_bytes(), length.to_be_bytes()].concat());
    board.memory.write(PhysAddr(BLOCK + 8), &(BLOCK + 16).to_be_bytes());
    board.memory.write(PhysAddr(BLOCK + 16), &input.number(8).to_le_bytes());
    let mut bus = VcpuBus::in_turn(board, 0);
    bus.port_write(Port(0x514), Width::Dword, 0);
    bus.port_write(Port(0x518), Width::Dword, (BLOCK as u32).swap_bytes());
    let Some(vmgenid) = board.refs.vmgenid else { return };
    board.devices.with(vmgenid, |device| device.set_id(Guid([input.number(1) as u8; 16])));
}

/// Time passes for all devices.
fn wait(board: &Board, now: &mut GuestTime, ns: u64) {
    *now = *now + ns;
    board.clock.set_retired(now.ns());
    for id in board.devices.ids() {
        if let Some(timed) = board.devices.lock(id).timed() {
            timed.advance(*now);
            _ = timed.next_event();
        }
    }
}

/// What a device has saved comes back; what was changed is taken or refused whole.
fn restore(board: &Board, id: DeviceId, input: &mut Input<'_>) {
    let name = board.devices.name(id);
    let mut device = board.devices.lock(id);
    let saved = device.save_bytes().expect("a device can be saved");
    device.restore_bytes(&saved).unwrap_or_else(|error| panic!("{name}: its own state: {error}"));
    assert_eq!(device.save_bytes().ok().as_ref(), Some(&saved), "{name}: its own state");
    let mut changed = saved.clone();
    for _ in 0..=input.below(CHANGES) {
        if !changed.is_empty() {
            let at = input.below(changed.len());
            changed[at] = input.number(1) as u8;
        }
    }
    if device.restore_bytes(&changed).is_err() {
        assert_eq!(device.save_bytes().ok(), Some(saved), "{name}: changed by a state that it refused");
    }
}

fuzz_target!(|data: &[u8]| {
    let mut machine = machine();
    let board = &*machine.board();
    let ids: Vec<DeviceId> = board.devices.ids().collect();
    let mut input = Input(data);
    let mut now = GuestTime::ZERO;
    while !input.is_empty() {
        match input.below(16) {
            0 => restore(board, ids[input.below(ids.len())], &mut input),
            1 => board.devices.lock(ids[input.below(ids.len())]).reset(now),
            2 => wait(board, &mut now, input.number(4)),
            3 => hand(board, now, &mut input),
            4 => generation(board, &mut input),
            _ => access(board, &mut input),
        }
    }
    ids.iter().for_each(|id| _ = board.devices.lock(*id).info());
});
