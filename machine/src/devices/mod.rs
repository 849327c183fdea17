//! The devices of this build: the only file that lists them.
//!
//! [`KINDS`] has a row for each kind of device: its name, what it is, its options, and the function that puts one on
//! the board through a [`Builder`]. Rows that are part of every board come first, in the order in which they
//! are reset, saved and woken; the others are there where the configuration names them
//! ([`MachineConfig::devices`](crate::MachineConfig), `--device` on the command line). `docs/devices.md` walks through
//! adding one.

mod builder;
mod options;

pub use builder::{Builder, CardWires};
pub use options::{DeviceConfig, DeviceError, DeviceOption, Options};

use trimotor_bus::{GuestMemory, PciAddress, PhysAddr, Port, board};
use trimotor_devices::acpi_pm::{AcpiPm, PowerManagement};
use trimotor_devices::debug_exit::DebugExit;
use trimotor_devices::debug_port::DebugPort;
use trimotor_devices::demo_card::DemoCard;
use trimotor_devices::dma8237::Dma8237;
use trimotor_devices::fw_cfg::FwCfg;
use trimotor_devices::hpet::Hpet;
use trimotor_devices::i8042::I8042;
use trimotor_devices::interrupts::{FabricDevice, lines};
use trimotor_devices::pci::{I440fx, Piix3Isa, Piix4Pm, SOUTH_BRIDGE_SLOT};
use trimotor_devices::pit::Pit;
use trimotor_devices::post_port::{POST_PORT, PostPort};
use trimotor_devices::pvpanic::PvPanic;
use trimotor_devices::reset_control::ResetControl;
use trimotor_devices::rtc::{CmosSizes, Rtc};
use trimotor_devices::serial::{LineSpeed, SERIAL_PORTS, SerialPort};
use trimotor_devices::test_device::{self, PageFlush, TestDevice};
use trimotor_devices::vga_text::{self, VgaText};
use trimotor_devices::x87_error::{COPROCESSOR_ERROR, COPROCESSOR_IRQ, X87Error};

/// Puts a device on the board.
pub type Add = fn(&mut Builder<'_>, &Options<'_>) -> Result<(), DeviceError>;

/// A kind of device.
pub struct DeviceKind {
    /// Its name on the command line and in saved machines.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// Where its registers are, in a few words.
    pub place: &'static str,
    /// Whether every board has it.
    pub built_in: bool,
    /// Its options.
    pub options: &'static [DeviceOption],
    /// Puts one on the board.
    pub add: Add,
}

/// A row for a device that every board has.
const fn built_in(name: &'static str, place: &'static str, summary: &'static str, add: Add) -> DeviceKind {
    DeviceKind { name, summary, place, built_in: true, options: &[], add }
}
/// A row for a device that the configuration names.
const fn optional(
    name: &'static str,
    place: &'static str,
    summary: &'static str,
    options: &'static [DeviceOption],
    add: Add,
) -> DeviceKind {
    DeviceKind { name, summary, place, built_in: false, options, add }
}

/// All kinds.
pub static KINDS: &[DeviceKind] = &[
    built_in(
        "interrupts",
        "20h, A0h, 4D0h, FEC00000h, FEE00000h",
        "PIC pair, IOAPIC and local APICs",
        interrupts,
    ),
    built_in(
        "i440fx",
        "PCI 00:00.0",
        "host bridge: memory windows of the first megabyte, SMRAM",
        host_bridge,
    ),
    built_in("piix3", "PCI 00:01.0", "ISA bridge: routes of PCI interrupts", isa_bridge),
    built_in("pit", "40h, 61h", "interval timer 8254 and system control port B", pit),
    built_in("rtc", "70h", "real-time clock and CMOS memory", rtc),
    built_in("hpet", "FED00000h", "high-precision event timer", hpet),
    built_in("piix4-pm", "PCI 00:01.3, 600h, B2h", "ACPI power management", power_management),
    built_in("i8042", "60h, 64h", "keyboard controller with a keyboard", keyboard),
    built_in("vga", "3B0h, A0000h", "VGA in text modes", display),
    built_in("post", "80h", "codes of power-on self-tests", post),
    built_in("x87-error", "F0h", "coprocessor errors by interrupt 13", x87_error),
    built_in("dma8237", "00h, 81h, C0h", "registers of the ISA DMA controllers", dma),
    built_in("reset-control", "CF9h, 92h", "reset and A20", reset_control),
    built_in("fw_cfg", "510h", "what the firmware is told of the machine", fw_cfg),
    optional("isa-serial", "3F8h, 2F8h, 3E8h, 2E8h", "serial port 16550A, COM1 to COM4 in turn", &[], serial),
    optional("isa-debugcon", "E9h", "debug console: bytes written to its port come out", &[], debug_console),
    optional("isa-debug-exit", "F4h", "a write ends the program", &[IOBASE], debug_exit),
    optional("pvpanic", "505h", "the guest's kernel reports its panic", &[], pvpanic),
    optional(
        "demo-card",
        "PCI",
        "a PCI card to learn from and to test with: DMA, MSI-X, requests",
        &[ADDR],
        demo_card,
    ),
    optional("pc-testdev", "E0h, 2000h, FF000000h", "what CPU test suites expect", &[], test_suite_device),
];

const ADDR: DeviceOption = DeviceOption {
    name: "addr",
    value: "SLOT[.FUNCTION]",
    help: "its place on PCI bus 0, hexadecimal; a free slot unless given",
};
const IOBASE: DeviceOption = DeviceOption { name: "iobase", value: "PORT", help: "its port" };

/// The kind of this name.
///
/// # Errors
/// There is none; the message names those that a configuration may have.
pub fn kind(name: &str) -> Result<&'static DeviceKind, DeviceError> {
    let known = || KINDS.iter().filter(|kind| !kind.built_in);
    known().find(|kind| kind.name == name).ok_or_else(|| DeviceError::Kind {
        name: name.to_owned(),
        known: known().map(|kind| kind.name).collect::<Vec<_>>().join(", "),
    })
}

fn interrupts(b: &mut Builder<'_>, _: &Options<'_>) -> Result<(), DeviceError> {
    let device = b.add("interrupts", FabricDevice(b.fabric().clone()));
    b.board_refs().interrupts = Some(device);
    b.route_pic();
    b.route_ioapic();
    Ok(())
}
fn host_bridge(b: &mut Builder<'_>, _: &Options<'_>) -> Result<(), DeviceError> {
    let device = b.add("i440fx", I440fx::new(b.memory().clone()));
    b.route_pci_config();
    b.function(device.id(), PciAddress::new(0, 0))
}
fn isa_bridge(b: &mut Builder<'_>, _: &Options<'_>) -> Result<(), DeviceError> {
    let device = b.add("piix3", Piix3Isa::new(b.pirq().clone()));
    b.function(device.id(), PciAddress::new(SOUTH_BRIDGE_SLOT, 0))
}
fn pit(b: &mut Builder<'_>, _: &Options<'_>) -> Result<(), DeviceError> {
    let device = b.add("pit", Pit::new(b.line(board::PIT_IRQ))).id();
    b.timed_ports(device, board::PIT, 4);
    b.timed_ports(device, board::SYSTEM_CONTROL_B, 1);
    Ok(())
}
fn rtc(b: &mut Builder<'_>, _: &Options<'_>) -> Result<(), DeviceError> {
    let (memory, config) = (b.memory(), b.config());
    let sizes = CmosSizes {
        low_ram_bytes: memory.low_ram_bytes(),
        high_ram_bytes: memory.high_ram_bytes(),
        cpus: config.cpus,
    };
    let chip = Rtc::new(b.line(board::RTC_IRQ), b.line(lines::NMI_MASK), config.rtc_seconds, sizes);
    let device = b.add("rtc", chip).id();
    b.timed_ports(device, board::CMOS, 4);
    Ok(())
}
fn hpet(b: &mut Builder<'_>, _: &Options<'_>) -> Result<(), DeviceError> {
    let device = b.add("hpet", Hpet::new(b.fabric())).id();
    b.timed_memory(device, board::HPET, board::HPET_BYTES);
    Ok(())
}
fn power_management(b: &mut Builder<'_>, _: &Options<'_>) -> Result<(), DeviceError> {
    let registers = AcpiPm::new(b.line(board::SCI_IRQ), b.requests().clone());
    let device = b.add("piix4-pm", PowerManagement::new(Piix4Pm::default(), registers));
    b.board_refs().power = Some(device);
    b.timed_ports(device.id(), board::SMI_COMMAND, 2);
    b.function(device.id(), PciAddress::new(SOUTH_BRIDGE_SLOT, 3))
}
fn keyboard(b: &mut Builder<'_>, _: &Options<'_>) -> Result<(), DeviceError> {
    let chip = I8042::new(b.line(board::KEYBOARD_IRQ), b.line(board::MOUSE_IRQ), b.requests().clone());
    let device = b.add("i8042", chip);
    b.board_refs().keyboard = Some(device);
    b.timed_ports(device.id(), board::I8042_DATA, 1);
    b.timed_ports(device.id(), board::I8042_COMMAND, 1);
    Ok(())
}
fn display(b: &mut Builder<'_>, _: &Options<'_>) -> Result<(), DeviceError> {
    let device = b.add("vga", VgaText::new());
    b.board_refs().display = Some(device);
    let (first, last) = (vga_text::FIRST_PORT, vga_text::LAST_PORT);
    b.timed_ports(device.id(), first, last.0 - first.0 + 1);
    b.plain_memory(device.id(), board::VGA_WINDOW, board::VGA_WINDOW_END.0 - board::VGA_WINDOW.0);
    Ok(())
}
fn post(b: &mut Builder<'_>, _: &Options<'_>) -> Result<(), DeviceError> {
    let device = b.add("post", PostPort::new()).id();
    b.plain_ports(device, POST_PORT, 1);
    Ok(())
}
fn x87_error(b: &mut Builder<'_>, _: &Options<'_>) -> Result<(), DeviceError> {
    let device = b.add("x87-error", X87Error::new(b.line(COPROCESSOR_IRQ)));
    b.board_refs().x87_error = Some(device);
    b.plain_ports(device.id(), COPROCESSOR_ERROR, 1);
    Ok(())
}
fn dma(b: &mut Builder<'_>, _: &Options<'_>) -> Result<(), DeviceError> {
    let device = b.add("dma8237", Dma8237::new()).id();
    for (first, count) in [(0x00, 0x10), (0x81, 0x0F), (0xC0, 0x20)] {
        b.plain_ports(device, Port(first), count);
    }
    Ok(())
}
fn reset_control(b: &mut Builder<'_>, _: &Options<'_>) -> Result<(), DeviceError> {
    let device = b.add("reset-control", ResetControl::new(b.requests().clone())).id();
    b.plain_ports(device, board::SYSTEM_CONTROL_A, 1);
    b.plain_ports(device, board::RESET_CONTROL, 1);
    Ok(())
}
fn fw_cfg(b: &mut Builder<'_>, _: &Options<'_>) -> Result<(), DeviceError> {
    const RAM_SIZE: u16 = 0x03;
    const CPUS: u16 = 0x05;
    const MAX_CPUS: u16 = 0x0F;
    let (memory, cpus) = (b.memory().clone(), u16::from(b.config().cpus));
    let items = [
        (RAM_SIZE, memory.ram_bytes().to_le_bytes().to_vec()),
        (CPUS, cpus.to_le_bytes().to_vec()),
        (MAX_CPUS, cpus.to_le_bytes().to_vec()),
    ];
    let mut chip = FwCfg::new(memory);
    for (key, bytes) in items {
        chip.add_item(key, bytes).map_err(|error| DeviceError::Refused {
            device: "fw_cfg".to_owned(),
            reason: error.to_string(),
        })?;
    }
    let device = b.add("fw_cfg", chip).id();
    b.plain_ports(device, board::FW_CFG, 12);
    Ok(())
}
fn serial(b: &mut Builder<'_>, options: &Options<'_>) -> Result<(), DeviceError> {
    let index = b.board_refs().serials.len();
    let (Some(port), Some(irq)) = (board::SERIAL.get(index), board::SERIAL_IRQS.get(index)) else {
        return Err(options.refuse("a board has four serial ports"));
    };
    let chip = SerialPort::new(*port, b.line(*irq), LineSpeed::Unlimited, b.take_serial_backend());
    let device = b.add(format!("com{}", index + 1), chip);
    b.board_refs().serials.push(device);
    b.timed_ports(device.id(), *port, SERIAL_PORTS);
    Ok(())
}
fn debug_console(b: &mut Builder<'_>, options: &Options<'_>) -> Result<(), DeviceError> {
    let Some(sink) = b.take_debug_sink() else {
        return Err(options.refuse("nothing takes its bytes: --debugcon says where they go"));
    };
    let device = b.add("isa-debugcon", DebugPort::new(sink)).id();
    b.plain_ports(device, board::DEBUG_PORT, 1);
    Ok(())
}
fn debug_exit(b: &mut Builder<'_>, options: &Options<'_>) -> Result<(), DeviceError> {
    let port = Port(options.port("iobase", board::DEBUG_EXIT)?);
    if !b.is_free(port) {
        return Err(options.refuse(&format!("another device has port {:#x}", port.0)));
    }
    let device = b.add("isa-debug-exit", DebugExit::new(port, b.requests().clone())).id();
    // Its register is a dword, where nothing else follows.
    b.plain_ports(device, port, 4);
    Ok(())
}
fn pvpanic(b: &mut Builder<'_>, _: &Options<'_>) -> Result<(), DeviceError> {
    let device = b.add("pvpanic", PvPanic::new(b.requests().clone())).id();
    b.plain_ports(device, board::PVPANIC, 1);
    Ok(())
}
fn demo_card(b: &mut Builder<'_>, options: &Options<'_>) -> Result<(), DeviceError> {
    let CardWires { address, intx, msi, memory, outside } = b.card(options)?;
    let device = b.add(format!("demo-card@{address}"), DemoCard::new(intx, msi, memory, outside)).id();
    b.function(device, address)
}
fn test_suite_device(b: &mut Builder<'_>, _: &Options<'_>) -> Result<(), DeviceError> {
    /// Makes engines forget a page, by noting a write to all of it.
    struct ForgetPage(std::sync::Arc<GuestMemory>);
    impl PageFlush for ForgetPage {
        fn flush_page(&mut self, addr: PhysAddr) {
            self.0.note_write(addr.page(), trimotor_bus::address::PAGE_SIZE);
        }
    }
    let chip = TestDevice::new(b.fabric().holder(), Box::new(ForgetPage(b.memory().clone())));
    let device = b.add("pc-testdev", chip).id();
    b.plain_ports(device, test_device::IRQ_PORTS, test_device::IRQ_COUNT);
    // Four bytes that echo, and a dword.
    b.plain_ports(device, test_device::ECHO_PORTS, 8);
    b.plain_memory(device, test_device::ECHO_MEMORY, test_device::ECHO_MEMORY_BYTES);
    Ok(())
}
