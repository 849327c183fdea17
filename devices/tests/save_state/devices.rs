//! The devices, a row each: how one is made, and what is done with it.

use super::{CHANGED_STATES, User, check_states};
use std::sync::Arc;
use trimotor_bus::{
    BusMaster, GuestMemory, GuestTime, IrqLine, PciAddress, PciBars, PciFunction, PhysAddr, Port, PortDevice,
    PortRegisters, RegisterPort, RestoreError, SaveState, Timed, VcpuSignals, Width, board,
};
use trimotor_devices::acpi_pm::{AcpiPm, PowerManagement};
use trimotor_devices::bios_services::{AtaPlace, BiosServices, BootOrder, DiskDrive, Drives, FloppyDrive};
use trimotor_devices::demo_card::{CardMemory, DemoCard, rom};
use trimotor_devices::device::Nowhere;
use trimotor_devices::display::Surface;
use trimotor_devices::dma8237::Dma8237;
use trimotor_devices::drive::{Drive, DriveConfig, DrivePlace, Media};
use trimotor_devices::e1000::{E1000, registers as e1000_registers};
use trimotor_devices::fw_cfg::{FwCfg, WritableFile};
use trimotor_devices::hpet::Hpet;
use trimotor_devices::i8042::{I8042, KeyCode, Layout, TimedKey};
use trimotor_devices::interrupts::{InterruptFabric, InterruptsStateV1, lines};
use trimotor_devices::lapic::LapicModel;
use trimotor_devices::network::{MacAddress, NetworkCard, TestCable};
use trimotor_devices::pci::piix::PM_BLOCK;
use trimotor_devices::pci::{ConfigCycles, ConfigMechanism, I440fx, Piix3Isa, Piix4Pm, PirqRouter};
use trimotor_devices::pit::Pit;
use trimotor_devices::pointer::{PointerButton, PointerEvent};
use trimotor_devices::post_port::{POST_PORT, PostPort};
use trimotor_devices::pvpanic::PvPanic;
use trimotor_devices::requests::MachineRequests;
use trimotor_devices::reset_control::ResetControl;
use trimotor_devices::rtc::{CmosSizes, Rtc};
use trimotor_devices::serial::{LineSpeed, SerialBackend, SerialPort};
use trimotor_devices::test_device::{ECHO_MEMORY_BYTES, PageFlush, TestDevice};
use trimotor_devices::vga::pci::{FRAME_BUFFER_BAR, REGISTER_BAR, REGISTER_BYTES};
use trimotor_devices::vga::{DISPI_PORT, FIRST_PORT, LAST_PORT, Vga};
use trimotor_devices::vmgenid::{Guid, VmGenId};
use trimotor_devices::vmmouse::{MAGIC, VmMouse};
use trimotor_devices::x87_error::{COPROCESSOR_ERROR, X87Error};
use trimotor_devices::{Completion, Device};
use trimotor_storage::MemoryDisk;

/// Changed states of devices that save hundreds of kilobytes.
const LARGE: u32 = 100;

pub(super) fn wire() -> IrqLine {
    IrqLine::unconnected()
}

#[test]
fn pit() {
    check_states(
        "PIT",
        CHANGED_STATES,
        || Pit::new(wire()),
        |pit, user| {
            user.ports(pit, 0x40..=0x43);
            user.ports(pit, 0x61..=0x61);
            user.time(pit);
        },
    );
}

#[test]
fn rtc() {
    let sizes = CmosSizes { low_ram_bytes: 64 << 20, high_ram_bytes: 0, cpus: 2 };
    check_states(
        "RTC",
        CHANGED_STATES,
        || Rtc::new(wire(), wire(), 1_700_000_000, sizes),
        |rtc, user| {
            user.ports(rtc, 0x70..=0x73);
            user.time(rtc);
        },
    );
}

#[test]
fn hpet() {
    let make = || Hpet::new(&InterruptFabric::new(vec![VcpuSignals::new()], LapicModel::full(1_000_000_000)));
    check_states("HPET", CHANGED_STATES, make, |hpet, user| {
        user.memory(hpet, 0x180);
        user.time(hpet);
    });
}

#[test]
fn acpi_pm() {
    check_states(
        "ACPI PM",
        CHANGED_STATES,
        || AcpiPm::new(wire(), MachineRequests::new()),
        |pm, user| {
            user.ports(pm, board::PM_BASE.0..=board::PM_BASE.0 + board::PM_BYTES - 1);
            user.ports(pm, board::SMI_COMMAND.0..=board::SMI_COMMAND.0 + 1);
            pm.press_power_button();
            user.time(pm);
        },
    );
}

#[test]
fn keyboard_controller() {
    let make = || I8042::new(wire(), wire(), MachineRequests::new());
    check_states("keyboard", CHANGED_STATES, make, |i8042, user| {
        user.ports(i8042, 0x60..=0x60);
        user.ports(i8042, 0x64..=0x64);
        let now = user.now;
        i8042.type_event(KeyCode::Pause, user.random.below(2) == 0, now);
        i8042.type_text(Layout::US, "Az", now);
        i8042.schedule([TimedKey { at: now + 3_000_000, key: KeyCode::B, down: true }]);
        let way = user.random.below(700) as i32 - 350;
        for event in [
            PointerEvent::Motion { dx: way, dy: -way },
            PointerEvent::Button { button: PointerButton::Side, down: way & 1 == 0 },
            PointerEvent::Wheel { down: way, right: 1 },
        ] {
            i8042.point(event, now);
        }
        if way & 6 == 0 {
            i8042.release_all(now);
        }
        user.time(i8042);
    });
}

#[test]
fn vmmouse() {
    check_states("vmmouse", CHANGED_STATES, VmMouse::new, |mouse, user| {
        const CONTROLS: [u32; 4] = [0x4541_4552, 0xF5, 0x5342_4152, 0x4C45_5252];
        let command = 39 + user.random.below(3) as u32;
        let number = user.random.below(8) as u32;
        let ebx = if command == 41 { CONTROLS[number as usize & 3] } else { number };
        let mut registers = PortRegisters { eax: MAGIC, ecx: command, ebx, ..PortRegisters::default() };
        assert!(mouse.port_call(&mut registers, user.now));
        mouse.event(PointerEvent::Position { x: number as u16, y: 3 });
        mouse.event(PointerEvent::Motion { dx: i32::MIN, dy: i32::MIN });
        mouse.event(PointerEvent::Button { button: PointerButton::Left, down: number & 1 == 0 });
    });
}

/// A cable from which bytes come and which takes some of them.
struct Cable(u32);
impl SerialBackend for Cable {
    fn write(&mut self, bytes: &[u8]) -> usize {
        self.0 += 1;
        if self.0.is_multiple_of(3) { 0 } else { bytes.len() }
    }
    fn flush(&mut self) {}
    fn read(&mut self, into: &mut [u8]) -> usize {
        self.0 += 1;
        let some = into.len().min(self.0 as usize % 5);
        into[..some].fill(0x55);
        some
    }
    fn connected(&self) -> bool {
        self.0 & 0x20 != 0
    }
}

#[test]
fn serial_port() {
    for speed in [LineSpeed::Unlimited, LineSpeed::AsProgrammed] {
        let make = || SerialPort::new(board::SERIAL[0], wire(), speed, Box::new(Cable(0)));
        check_states("UART", CHANGED_STATES, make, |serial, user| {
            user.ports(serial, 0x3F8..=0x3FF);
            serial.poll(user.now);
            if user.random.below(4) == 0 {
                serial.receive_break(user.now);
            }
            user.time(serial);
        });
    }
}

#[test]
fn small_chips() {
    let dma = || Dma8237::new(GuestMemory::new(1 << 20, &[]).unwrap());
    check_states("DMA", CHANGED_STATES, dma, |dma, user| {
        user.ports(dma, 0x00..=0x0F);
        user.ports(dma, 0x81..=0x8F);
        user.ports(dma, 0xC0..=0xDF);
    });
    check_states("POST port", CHANGED_STATES, PostPort::new, |post, user| {
        user.ports(post, POST_PORT.0..=POST_PORT.0);
    });
    check_states(
        "pvpanic",
        CHANGED_STATES,
        || PvPanic::new(MachineRequests::new()),
        |pvpanic, user| {
            user.ports(pvpanic, board::PVPANIC.0..=board::PVPANIC.0);
        },
    );
    check_states(
        "reset control",
        CHANGED_STATES,
        || ResetControl::new(MachineRequests::new()),
        |chip, user| {
            user.ports(chip, 0x92..=0x92);
            user.ports(chip, 0xCF9..=0xCF9);
        },
    );
    check_states(
        "coprocessor error",
        CHANGED_STATES,
        || X87Error::new(wire()),
        |chip, user| {
            chip.set_ferr(user.random.below(2) == 0);
            user.ports(chip, COPROCESSOR_ERROR.0..=COPROCESSOR_ERROR.0);
        },
    );
}

#[test]
fn fw_cfg() {
    let memory = GuestMemory::new(2 << 20, &[]).unwrap();
    check_states(
        "fw_cfg",
        CHANGED_STATES,
        || FwCfg::new(memory.clone()),
        |device, user| {
            user.ports(device, board::FW_CFG.0..=board::FW_CFG.0 + 11);
        },
    );
}

#[test]
fn vmgenid() {
    let memory = GuestMemory::new(2 << 20, &[]).unwrap();
    check_states(
        "vmgenid",
        CHANGED_STATES,
        || VmGenId::new(memory.clone(), Guid([1; 16])),
        |device, user| {
            let mut file = device.address_file();
            let offset = user.random.below(10) as usize;
            file.write(offset, &user.random.edge().to_le_bytes());
            if user.random.below(3) == 0 {
                device.set_id(Guid(u128::from(user.random.edge()).to_le_bytes()));
            }
            if user.random.below(8) == 0 {
                Device::reset(device, user.now);
            }
        },
    );
}

#[test]
fn test_device() {
    struct Forget;
    impl PageFlush for Forget {
        fn flush_page(&mut self, _addr: PhysAddr) {}
    }
    let make = || {
        let fabric = InterruptFabric::new(vec![VcpuSignals::new()], LapicModel::full(1_000_000_000));
        TestDevice::new(fabric.holder(), Box::new(Forget))
    };
    check_states("test device", LARGE, make, |device, user| {
        user.ports(device, 0xE0..=0xE4);
        user.ports(device, 0x2000..=0x2017);
        user.memory(device, ECHO_MEMORY_BYTES);
    });
}

#[test]
fn vga() {
    let mut surface = Surface::default();
    check_states("VGA", LARGE, Vga::alone, |vga, user| {
        user.ports(vga, FIRST_PORT.0..=LAST_PORT.0);
        user.ports(vga, DISPI_PORT.0..=DISPI_PORT.0 + 2);
        user.memory(vga, 0x2_0000);
        user.configuration(vga);
        user.bar(vga, FRAME_BUFFER_BAR, 1 << 20);
        user.bar(vga, REGISTER_BAR, REGISTER_BYTES.into());
        _ = vga.screen();
        if user.random.below(16) == 0 {
            vga.draw(user.now, &mut surface, false);
        }
    });
}

#[test]
fn chipset_functions() {
    let router = || {
        let fabric = InterruptFabric::new(vec![VcpuSignals::new()], LapicModel::full(1_000_000_000));
        PirqRouter::new(fabric.holder())
    };
    let host_bridge = || I440fx::new(GuestMemory::new(1 << 20, &[]).unwrap());
    check_states("host bridge", CHANGED_STATES / 3, host_bridge, |bridge, user| user.configuration(bridge));
    let isa_bridge = || Piix3Isa::new(router());
    check_states("ISA bridge", CHANGED_STATES / 3, isa_bridge, |bridge, user| user.configuration(bridge));
    let power = || PowerManagement::new(Piix4Pm::default(), AcpiPm::new(wire(), MachineRequests::new()));
    check_states("power management", CHANGED_STATES / 3, power, |power, user| {
        if let Some(function) = power.pci() {
            user.configuration(function);
        }
        user.bar(power, PM_BLOCK, board::PM_BYTES.into());
        user.time(&mut power.registers);
    });
    check_states(
        "PCI configuration mechanism",
        CHANGED_STATES,
        ConfigMechanism::default,
        |mechanism, user| {
            let (address, now) = (user.random.edge() as u32, user.now);
            mechanism.port_write(board::PCI_CONFIG_ADDRESS, Width::Dword, address, now, &mut NoFunction);
        },
    );
}

/// A bus without a function.
struct NoFunction;
impl ConfigCycles for NoFunction {
    fn function<R>(&mut self, _: PciAddress, _: impl FnOnce(&mut dyn PciFunction) -> R) -> Option<R> {
        None
    }
}

#[test]
fn demo_card() {
    let make = || {
        let fabric = InterruptFabric::new(vec![VcpuSignals::new()], LapicModel::full(1_000_000_000));
        let memory = GuestMemory::new(1 << 20, &[]).unwrap();
        // Its other memory is saved by the machine.
        let rom = memory.add_rom("rom", &rom::images(), rom::BYTES.into()).unwrap();
        let own = CardMemory { vram: None, rom: Some(rom) };
        DemoCard::new(wire(), fabric, BusMaster::new(memory), Arc::new(Nowhere), own)
    };
    check_states("demonstration card", CHANGED_STATES / 3, make, |card, user| {
        user.configuration(card);
        for (bar, bytes) in [(0, 32), (1, 0x1000), (2, 0x50), (6, 8192)] {
            user.bar(card, bar, bytes);
        }
        let (token, now) = (user.random.below(16), user.now);
        let result = vec![1; user.random.below(300) as usize];
        card.complete(token, &result, now);
    });
}

/// Registers that make the card do something, set as a driver would, and some others.
fn use_e1000(card: &mut E1000, user: &mut User) {
    use e1000_registers::{RCTL, RDBAL, RDH, RDLEN, RDT, REGISTER_BAR, TCTL, TDBAL, TDH, TDLEN, TDT};
    let now = user.now;
    for (register, limit) in
        [(RDBAL, 1 << 20), (RDLEN, 0x400), (RDH, 64), (TDBAL, 1 << 20), (TDLEN, 0x400), (TDH, 64)]
    {
        card.bar_write(REGISTER_BAR, register, Width::Dword, user.random.below(limit), now);
    }
    for (register, bits) in [(RCTL, 0x2 | 0x18), (TCTL, 0x2), (RDT, 0), (TDT, 0)] {
        let value = user.random.edge() as u32 & 0x06DF_B33F | bits;
        let value = if register == RDT || register == TDT { value & 63 } else { value };
        card.bar_write(REGISTER_BAR, register, Width::Dword, value.into(), now);
    }
    card.config_write(4, Width::Word, 7, now);
    let frame = vec![user.random.edge() as u8; user.random.below(4000) as usize];
    if card.has_room() {
        card.receive(&frame.into(), now);
    }
    if user.random.below(8) == 0 {
        card.carrier(user.random.below(2) == 0, now);
    }
}

#[test]
fn e1000() {
    let make = || {
        let memory = GuestMemory::new(1 << 20, &[]).unwrap();
        for page in 0..256u64 {
            let bytes: Vec<u8> = (0..4096u64).map(|n| (n * 7 + page * 3) as u8).collect();
            memory.write(PhysAddr(page << 12), &bytes);
        }
        let mac = MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        E1000::new(wire(), BusMaster::new(memory), Arc::new(TestCable::default()), mac, None)
    };
    check_states("e1000", CHANGED_STATES / 3, make, |card, user| {
        user.configuration(card);
        for (bar, bytes) in [(0, 0x200), (0, 0x6000), (2, 64)] {
            user.bar(card, bar, bytes);
        }
        use_e1000(card, user);
        user.time(card);
    });
}

/// The interrupt controllers, as one device.
struct Interrupts {
    fabric: Arc<InterruptFabric>,
    wires: Vec<IrqLine>,
}

const VCPUS: usize = 2;

impl SaveState for Interrupts {
    type State = InterruptsStateV1;
    fn save(&self) -> InterruptsStateV1 {
        self.fabric.save()
    }
    fn restore(&mut self, state: InterruptsStateV1) -> Result<(), RestoreError> {
        self.fabric.restore(state)
    }
}
impl Timed for Interrupts {
    fn next_event(&self) -> Option<GuestTime> {
        self.fabric.next_event()
    }
    fn advance(&mut self, now: GuestTime) {
        self.fabric.advance(now);
    }
}

#[test]
fn interrupt_controllers() {
    let make = || {
        let fabric = InterruptFabric::new(
            (0..VCPUS).map(|_| VcpuSignals::new()).collect(),
            LapicModel::full(1_000_000_000),
        );
        let numbers = (0..24).chain([lines::NMI, lines::NMI_MASK, lines::SMI, lines::HPET_LEGACY]);
        let wires =
            numbers.chain([lines::HPET_TIMER_0, lines::HPET_TIMER_1]).map(|n| fabric.line(n)).collect();
        Interrupts { fabric, wires }
    };
    check_states("interrupts", CHANGED_STATES, make, |chips, user| {
        for _ in 0..40 {
            interrupt_access(chips, user);
        }
        user.time(chips);
    });
}

/// One access of a random kind to the interrupt controllers.
fn interrupt_access(chips: &Interrupts, user: &mut User) {
    const MSRS: [u32; 8] = [0x1B, 0x6E0, 0x808, 0x80B, 0x80F, 0x830, 0x832, 0x83F];
    let (fabric, now, random) = (&chips.fabric, user.now, &mut user.random);
    let cpu = random.below(VCPUS as u64) as usize;
    let value = random.edge();
    match random.below(10) {
        0 | 1 => chips.wires[random.below(chips.wires.len() as u64) as usize].set(value & 1 != 0),
        2 | 3 => {
            let port = Port([0x20, 0x21, 0xA0, 0xA1, 0x4D0, 0x4D1][random.below(6) as usize]);
            if value & 1 == 0 {
                _ = fabric.pic_read(port)
            } else {
                fabric.pic_write(port, (value >> 1) as u8)
            }
        }
        4 => {
            fabric.ioapic_write(0, random.below(0x42));
            fabric.ioapic_write(0x10, value);
            _ = fabric.ioapic_read(0x10, Width::Dword);
        }
        5 => fabric.apic_write(cpu, random.below(0x400) & !0xF, Width::Dword, value, now),
        6 => _ = fabric.apic_read(cpu, random.below(0x400), Width::Dword, now),
        7 => {
            let index = MSRS[random.below(MSRS.len() as u64) as usize];
            let base = fabric.apic_base(cpu) ^ [0, 0x400, 0x800, 0xC00][random.below(4) as usize];
            _ = fabric.msr_write(cpu, index, if index == 0x1B { base } else { value }, now);
            _ = fabric.msr_read(cpu, index, now);
        }
        8 => _ = fabric.acknowledge(cpu, now),
        _ => fabric.set_task_priority(cpu, value as u8),
    }
}

/// Calls for drives that are there, and some that are not: most of them wait for a worker when they are saved.
#[test]
fn bios_services() {
    const FRAME: u64 = 0x1000;
    let memory = GuestMemory::new(1 << 20, &[]).unwrap();
    memory.write(PhysAddr(0x40E), &[0xC0, 0x9F]);
    let make = || {
        let drive = |media, sectors: usize| {
            let medium = MemoryDisk::new(vec![0; sectors * 512]);
            Drive::new(DriveConfig::new("", DrivePlace::Unattached, media), Some(Arc::new(medium)))
        };
        let place = Some(AtaPlace { controller: (0, 1, 1), channel: 0, unit: 0 });
        let drives = Drives {
            floppies: vec![FloppyDrive::new(drive(Media::Floppy, 720))],
            disks: vec![DiskDrive { place, drive: drive(Media::Disk, 4096) }],
            cds: vec![DiskDrive { place, drive: drive(Media::Cdrom, 400) }],
        };
        let master = BusMaster::new(memory.clone());
        let requests = MachineRequests::new();
        BiosServices::new(master, Arc::new(Nowhere), requests, drives, BootOrder::default())
    };
    check_states("BIOS services", CHANGED_STATES, make, |services, user| {
        let call = |service: u16, ax: u16, dl: u8, services: &mut BiosServices| {
            let mut frame = [0; 46];
            frame[..2].copy_from_slice(&service.to_le_bytes());
            frame[24] = dl;
            frame[28] = 1;
            frame[32..34].copy_from_slice(&ax.to_le_bytes());
            frame[38] = 0x80;
            memory.write(PhysAddr(FRAME), &frame);
            services.port_write(Port(0x520), Width::Dword, FRAME as u32, user.now);
        };
        let number = user.random.below(3);
        let ax = [0x0201, 0x0301, 0x4500, 0x4200, 0x4C00, 0x4D00][user.random.below(6) as usize];
        let dl = [0, 0x80, 0xE0, 0x81][user.random.below(4) as usize];
        memory.write(PhysAddr(0x800), &[0x13, 2, 1, 0, user.random.below(30) as u8]);
        if number == 0 {
            call(0x101, ax & 3, 0, services);
        } else {
            call(0x13, ax, dl, services);
        }
        if user.random.below(2) == 0 {
            let answer = [[0, 1, 0].to_vec(), vec![7; 515], Vec::new()];
            let token = user.random.below(8);
            services.complete(token, &answer[user.random.below(3) as usize], user.now);
        }
        user.ports(services, 0x520..=0x524);
        if user.random.below(16) == 0 {
            services.reset(user.now);
        }
    });
}
