//! The devices, a row each: how one is made, and what is done with it.

use super::{CHANGED_STATES, User, check_states};
use std::sync::Arc;
use trimotor_bus::{
    BusMaster, GuestMemory, GuestTime, IrqLine, PciAddress, PciFunction, PhysAddr, Port, RestoreError,
    SaveState, Timed, VcpuSignals, Width, board,
};
use trimotor_devices::acpi_pm::{AcpiPm, PowerManagement};
use trimotor_devices::demo_card::DemoCard;
use trimotor_devices::device::Nowhere;
use trimotor_devices::dma8237::Dma8237;
use trimotor_devices::fw_cfg::FwCfg;
use trimotor_devices::hpet::Hpet;
use trimotor_devices::i8042::{I8042, KeyCode};
use trimotor_devices::interrupts::{InterruptFabric, InterruptsStateV1, lines};
use trimotor_devices::lapic::LapicModel;
use trimotor_devices::pci::piix::PM_BLOCK;
use trimotor_devices::pci::{ConfigCycles, ConfigMechanism, I440fx, Piix3Isa, Piix4Pm, PirqRouter};
use trimotor_devices::pit::Pit;
use trimotor_devices::post_port::{POST_PORT, PostPort};
use trimotor_devices::pvpanic::PvPanic;
use trimotor_devices::requests::MachineRequests;
use trimotor_devices::reset_control::ResetControl;
use trimotor_devices::rtc::{CmosSizes, Rtc};
use trimotor_devices::serial::{LineSpeed, SerialBackend, SerialPort};
use trimotor_devices::test_device::{ECHO_MEMORY_BYTES, PageFlush, TestDevice};
use trimotor_devices::vga_text::{FIRST_PORT, LAST_PORT, VgaText};
use trimotor_devices::x87_error::{COPROCESSOR_ERROR, X87Error};
use trimotor_devices::{Completion, Device};

/// Changed states of devices that save hundreds of kilobytes.
const LARGE: u32 = 100;

fn wire() -> IrqLine {
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
        i8042.type_text("Az", now);
        user.time(i8042);
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
    check_states("DMA", CHANGED_STATES, Dma8237::new, |dma, user| {
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
    check_states("VGA", LARGE, VgaText::new, |vga, user| {
        user.ports(vga, FIRST_PORT.0..=LAST_PORT.0);
        user.memory(vga, 0x2_0000);
        _ = vga.screen();
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
        let memory = BusMaster::new(GuestMemory::new(1 << 20, &[]).unwrap());
        DemoCard::new(wire(), fabric, memory, Arc::new(Nowhere))
    };
    check_states("demonstration card", CHANGED_STATES / 3, make, |card, user| {
        user.configuration(card);
        for (bar, bytes) in [(0, 32), (2, 0x48), (4, 0x1000), (6, 2048)] {
            user.bar(card, bar, bytes);
        }
        let (token, now) = (user.random.below(16), user.now);
        let result = vec![1; user.random.below(300) as usize];
        card.complete(token, &result, now);
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
