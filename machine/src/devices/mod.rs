//! The devices of this build: the only file that lists them.
//!
//! [`KINDS`] has a row for each kind of device: its name, what it is, its options, and the function that puts one on
//! the board through a [`Builder`]. Rows that are part of every board come first, in the order in which they
//! are reset, saved and woken; the others are there where the configuration names them
//! ([`MachineConfig::devices`](crate::MachineConfig), `--device` on the command line). `docs/devices.md` walks through
//! adding one.

mod boot_drives;
mod builder;
pub(crate) mod drive_tables;
mod options;
mod virtio;

pub use builder::{Builder, CardWires};
pub use options::{DeviceConfig, DeviceError, DeviceOption, Options};

use crate::doorbells::Bell;
use crate::generation::{self, VMGENID};
use trimotor_bus::{BusMaster, GuestMemory, PciAddress, PhysAddr, Port, board};
use trimotor_devices::acpi_pm::{AcpiPm, PowerManagement};
use trimotor_devices::bios_services::{self, BiosServices};
use trimotor_devices::debug_exit::DebugExit;
use trimotor_devices::debug_port::DebugPort;
use trimotor_devices::demo_card::registers::{QUEUE, REGISTER_BAR, VRAM_BAR};
use trimotor_devices::demo_card::{CardMemory, DemoCard, rom};
use trimotor_devices::dma8237::Dma8237;
use trimotor_devices::drive::DrivePlace;
use trimotor_devices::e1000::{self, E1000};
use trimotor_devices::flash::Flash;
use trimotor_devices::floppy::{self, FloppyController};
use trimotor_devices::fw_cfg::{ChangingFiles, FwCfg, FwCfgError};
use trimotor_devices::hpet::Hpet;
use trimotor_devices::i8042::{self, I8042};
use trimotor_devices::ide::{self, IdeController};
use trimotor_devices::interrupts::{FabricDevice, lines};
use trimotor_devices::pci::config_space::ROM_SLOT;
use trimotor_devices::pci::{I440fx, Piix3Isa, Piix4Pm, PmPlace, SOUTH_BRIDGE_SLOT};
use trimotor_devices::pit::Pit;
use trimotor_devices::post_port::{POST_PORT, PostPort};
use trimotor_devices::pvpanic::PvPanic;
use trimotor_devices::reset_control::ResetControl;
use trimotor_devices::rtc::{CmosSizes, Rtc};
use trimotor_devices::serial::{LineSpeed, SERIAL_PORTS, SerialPort};
use trimotor_devices::test_device::{self, PageFlush, TestDevice};
use trimotor_devices::vga::{self, Vga};
use trimotor_devices::vmgenid::VmGenId;
use trimotor_devices::vmmouse::{self, VmMouse};
use trimotor_devices::x87_error::{COPROCESSOR_ERROR, COPROCESSOR_IRQ, X87Error};
use trimotor_firmware::tables::Platform;
use trimotor_firmware::tables::fw_cfg::files as fw_cfg_files;

/// An expansion ROM's base address register counts in so many bytes.
const LEAST_ROM_BYTES: usize = 2048;

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
    /// Whether a configuration may leave it out ([`MachineConfig::without`](crate::MachineConfig)).
    pub removable: bool,
    /// Its options.
    pub options: &'static [DeviceOption],
    /// Puts one on the board.
    pub add: Add,
}

impl DeviceKind {
    /// Whether a configuration may name it: to have one, or to give options to the one that every board has.
    pub fn can_be_named(&self) -> bool {
        !self.built_in || !self.options.is_empty()
    }
}

/// A row for a device that every board has.
const fn built_in(name: &'static str, place: &'static str, summary: &'static str, add: Add) -> DeviceKind {
    DeviceKind { name, summary, place, built_in: true, removable: false, options: &[], add }
}
/// A row for a device that every board has unless the configuration leaves it out.
const fn removable(name: &'static str, place: &'static str, summary: &'static str, add: Add) -> DeviceKind {
    DeviceKind { removable: true, ..built_in(name, place, summary, add) }
}
/// A row for a device that the configuration names.
const fn optional(
    name: &'static str,
    place: &'static str,
    summary: &'static str,
    options: &'static [DeviceOption],
    add: Add,
) -> DeviceKind {
    DeviceKind { name, summary, place, built_in: false, removable: false, options, add }
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
    built_in("piix3-ide", "PCI 00:01.1, 1F0h, 170h", "IDE controller for disks and CD-ROM drives", ide),
    built_in("pit", "40h, 61h", "interval timer 8254 and system control port B", pit),
    built_in("rtc", "70h", "real-time clock and CMOS memory", rtc),
    built_in("hpet", "FED00000h", "high-precision event timer", hpet),
    built_in("piix4-pm", "PCI 00:01.3, 600h, B2h", "ACPI power management", power_management),
    built_in("i8042", "60h, 64h", "keyboard controller with keyboard and mouse", keyboard),
    removable("vmmouse", "5658h", "where the pointer is on the screen, as VMware's mouse tells it", vmmouse),
    DeviceKind {
        options: &[VGA_MEMORY, XRES, YRES],
        ..built_in(
            "vga",
            "PCI 00:02.0, 3B0h, 1CEh, A0000h",
            "VGA with DISPI modes: a linear frame buffer",
            display,
        )
    },
    built_in("post", "80h", "codes of power-on self-tests", post),
    built_in("x87-error", "F0h", "coprocessor errors by interrupt 13", x87_error),
    built_in("dma8237", "00h, 81h, C0h", "ISA DMA controllers", dma),
    built_in("floppy", "3F2h, 3F7h", "floppy controller 82077AA", floppy),
    built_in("reset-control", "CF9h, 92h", "reset and A20", reset_control),
    built_in("fw_cfg", "510h", "what the firmware is told of the machine", fw_cfg),
    built_in(
        "bios-services",
        "520h",
        "what our BIOS has done by Rust code: disk calls, booting",
        firmware_services,
    ),
    optional("isa-serial", "3F8h, 2F8h, 3E8h, 2E8h", "serial port 16550A, COM1 to COM4 in turn", &[], serial),
    optional(
        "isa-debugcon",
        "E9h, 402h",
        "debug console: bytes written to its ports come out",
        &[],
        debug_console,
    ),
    optional("isa-debug-exit", "F4h", "a write ends the program", &[IOBASE], debug_exit),
    optional("pflash", "below the ROM", "flash memory that keeps what UEFI firmware writes", &[DRIVE], flash),
    optional("pvpanic", "505h", "the guest's kernel reports its panic", &[], pvpanic),
    optional(
        VMGENID,
        "a page of RAM, by firmware",
        "the VM generation ID: a guest learns that it was cloned or went back",
        &[GUID],
        vmgenid,
    ),
    optional(
        "e1000",
        "PCI",
        "Intel's network card PRO/1000 MT Desktop (82540EM)",
        &[NETDEV, MAC, ADDR, ROMFILE],
        e1000_card,
    ),
    optional(
        "demo-card",
        "PCI",
        "a PCI card to learn from and to test with: DMA, MSI-X, requests, memory",
        &[ADDR, VRAM],
        demo_card,
    ),
    optional(
        virtio::BLK,
        "PCI",
        "virtio disk",
        &[
            DRIVE,
            virtio::NUM_QUEUES,
            virtio::QUEUE_SIZE,
            virtio::PACKED,
            virtio::VECTORS,
            virtio::DISABLE_LEGACY,
            virtio::DISABLE_MODERN,
            ADDR,
        ],
        virtio::blk,
    ),
    optional(
        "virtio-rng-pci",
        "PCI",
        "virtio source of random bytes",
        &[
            virtio::MAX_BYTES,
            virtio::PERIOD,
            virtio::PACKED,
            virtio::VECTORS,
            virtio::DISABLE_LEGACY,
            virtio::DISABLE_MODERN,
            ADDR,
        ],
        virtio::rng,
    ),
    optional(
        "virtio-net-pci",
        "PCI",
        "virtio network card",
        &[
            NETDEV,
            MAC,
            virtio::PAIRS,
            virtio::MQ,
            virtio::QUEUE_SIZE,
            virtio::PACKED,
            virtio::VECTORS,
            virtio::DISABLE_LEGACY,
            virtio::DISABLE_MODERN,
            ADDR,
            ROMFILE,
        ],
        virtio::net,
    ),
    optional(
        virtio::CONSOLE,
        "PCI",
        "virtio console: streams of bytes, with ports that are devices of their own",
        &[virtio::PACKED, virtio::VECTORS, virtio::DISABLE_LEGACY, virtio::DISABLE_MODERN, ADDR],
        virtio::console,
    ),
    optional(
        virtio::CONSOLE_PORT,
        "virtio-serial-pci",
        "port of a virtio console that is a console",
        &[virtio::CHARDEV, virtio::NAME],
        virtio::port,
    ),
    optional(
        virtio::NAMED_PORT,
        "virtio-serial-pci",
        "port of a virtio console with a name",
        &[virtio::CHARDEV, virtio::NAME],
        virtio::port,
    ),
    optional(
        "virtio-balloon-pci",
        "PCI",
        "virtio memory balloon",
        &[
            virtio::DEFLATE_ON_OOM,
            virtio::REPORTING,
            virtio::HINT,
            virtio::STATS,
            virtio::PACKED,
            virtio::VECTORS,
            virtio::DISABLE_LEGACY,
            virtio::DISABLE_MODERN,
            ADDR,
        ],
        virtio::balloon,
    ),
    optional("pc-testdev", "E0h, 2000h, FF000000h", "what CPU test suites expect", &[], test_suite_device),
];

const ADDR: DeviceOption = DeviceOption {
    name: "addr",
    value: "SLOT[.FUNCTION]",
    help: "its place on PCI bus 0, hexadecimal; a free slot unless given",
};
const NETDEV: DeviceOption = DeviceOption {
    name: "netdev",
    value: "ID",
    help: "the network at the other end of its cable; unless given, nothing is there",
};
const MAC: DeviceOption = DeviceOption {
    name: "mac",
    value: "ADDRESS",
    help: "its Ethernet address, as in 52:54:00:12:34:56; one of its own unless given",
};
const ROMFILE: DeviceOption = DeviceOption {
    name: "romfile",
    value: "FILE",
    help: "its expansion ROM, with which firmware boots from the network",
};
const VRAM: DeviceOption = DeviceOption {
    name: "vram",
    value: "BYTES",
    help: "memory on the card: a power of two from 4096 to 256 MiB, or 0, which is the default",
};
const VGA_MEMORY: DeviceOption = DeviceOption {
    name: "vgamem_mb",
    value: "MEGABYTES",
    help: "frame buffer: a power of two from 1 to 256; 16 unless given",
};
const XRES: DeviceOption =
    DeviceOption { name: "xres", value: "PIXELS", help: "width that the monitor prefers; 1280 unless given" };
const YRES: DeviceOption =
    DeviceOption { name: "yres", value: "LINES", help: "height that the monitor prefers; 800 unless given" };
const DRIVE: DeviceOption =
    DeviceOption { name: "drive", value: "ID", help: "the drive with its content, one with if=none" };
const GUID: DeviceOption = DeviceOption {
    name: generation::GUID,
    value: "GUID|auto",
    help: "the first ID, as in 324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87; auto, which is the default: a random one",
};
const IOBASE: DeviceOption = DeviceOption { name: "iobase", value: "PORT", help: "its port" };

/// Bytes of ROM and flash memory below 4 GiB at most.
const FIRMWARE_BYTES: u64 = 16 << 20;
/// The most memory of a demonstration card.
const MOST_VRAM: u64 = 256 << 20;

/// The kind of this name.
///
/// # Errors
/// There is none; the message names those that a configuration may have.
pub fn kind(name: &str) -> Result<&'static DeviceKind, DeviceError> {
    let known = || KINDS.iter().filter(|kind| kind.can_be_named());
    known().find(|kind| kind.name == name).ok_or_else(|| DeviceError::Kind {
        name: name.to_owned(),
        known: known().map(|kind| kind.name).collect::<Vec<_>>().join(", "),
    })
}

/// The kind of a device that a configuration may leave out.
///
/// # Errors
/// There is none; the message names those that there are.
pub fn removable_kind(name: &str) -> Result<&'static DeviceKind, DeviceError> {
    let known = || KINDS.iter().filter(|kind| kind.removable);
    known().find(|kind| kind.name == name).ok_or_else(|| DeviceError::NotRemovable {
        name: name.to_owned(),
        known: known().map(|kind| kind.name).collect::<Vec<_>>().join(", "),
    })
}

fn interrupts(b: &mut Builder<'_>, _: &Options<'_>) -> Result<(), DeviceError> {
    b.add("interrupts", FabricDevice(b.fabric().clone()));
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
fn ide(b: &mut Builder<'_>, _: &Options<'_>) -> Result<(), DeviceError> {
    let irqs = ide::IRQS.map(|irq| b.line(irq));
    let (memory, outside, requests) = (BusMaster::new(b.memory().clone()), b.outside(), b.requests().clone());
    let drives = [0, 1].map(|channel| [0, 1].map(|unit| b.take_drive(DrivePlace::Ide { channel, unit })));
    let device = b.add("piix3-ide", IdeController::new(irqs, memory, &outside, &requests, drives)).id();
    for (block, control) in ide::COMMAND_BLOCKS.into_iter().zip(ide::CONTROLS) {
        b.timed_ports(device, block, 8);
        b.timed_ports(device, control, 1);
    }
    b.function(device, PciAddress::new(SOUTH_BRIDGE_SLOT, 1))
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
    let mut chip = chip;
    drive_tables::write_cmos(&mut chip, b.drives(), &b.config().boot);
    let device = b.add("rtc", chip);
    b.board_refs().rtc = Some(device);
    b.timed_ports(device.id(), board::CMOS, 4);
    Ok(())
}
fn hpet(b: &mut Builder<'_>, _: &Options<'_>) -> Result<(), DeviceError> {
    let device = b.add("hpet", Hpet::new(b.fabric())).id();
    b.timed_memory(device, board::HPET, board::HPET_BYTES);
    Ok(())
}
fn power_management(b: &mut Builder<'_>, _: &Options<'_>) -> Result<(), DeviceError> {
    let registers = AcpiPm::new(b.line(board::SCI_IRQ), b.requests().clone());
    // A machine without a ROM has nobody to place the ports.
    let function = if b.memory().rom_bytes() == 0 { Piix4Pm::default() } else { Piix4Pm::new(None) };
    let device = b.add("piix4-pm", PowerManagement::new(function, registers));
    b.board_refs().power = Some(device);
    b.timed_ports(device.id(), board::SMI_COMMAND, 2);
    b.function(device.id(), PciAddress::new(SOUTH_BRIDGE_SLOT, 3))
}
fn keyboard(b: &mut Builder<'_>, _: &Options<'_>) -> Result<(), DeviceError> {
    let mut chip = I8042::new(b.line(board::KEYBOARD_IRQ), b.line(board::MOUSE_IRQ), b.requests().clone());
    if !chip.schedule(b.config().typing.iter().copied()) {
        let reason = format!("a script of more than {} keys", i8042::MOST_SCHEDULED);
        return Err(DeviceError::Refused { device: "i8042".to_owned(), reason });
    }
    let device = b.add("i8042", chip);
    b.board_refs().keyboard = Some(device);
    b.timed_ports(device.id(), board::I8042_DATA, 1);
    b.timed_ports(device.id(), board::I8042_COMMAND, 1);
    Ok(())
}
fn vmmouse(b: &mut Builder<'_>, _: &Options<'_>) -> Result<(), DeviceError> {
    let device = b.add("vmmouse", VmMouse::new());
    b.board_refs().vmmouse = Some(device);
    b.backdoor(device.id(), vmmouse::BACKDOOR);
    Ok(())
}
fn display(b: &mut Builder<'_>, options: &Options<'_>) -> Result<(), DeviceError> {
    let megabytes = options.number("vgamem_mb", 16, 1, 256)?;
    if !megabytes.is_power_of_two() {
        return Err(options.refuse("vgamem_mb: not a power of two"));
    }
    let memory = b.device_memory(options, "vga.vram", megabytes << 20)?;
    let (width, height) = vga::DEFAULT_RESOLUTION;
    let width = options.number("xres", width.into(), 640, vga::edid::MAX_WIDTH)? as u16 & !7;
    let height = options.number("yres", height.into(), 400, vga::edid::MAX_HEIGHT)? as u16;
    let image = std::mem::take(&mut b.vga_rom);
    let rom_bytes = image.len().next_power_of_two().max(LEAST_ROM_BYTES) as u64;
    let rom = match image.is_empty() {
        true => None,
        false => Some(b.rom(options, "vga.rom", &image, rom_bytes)?),
    };
    let device = b.add("vga", Vga::new(memory.clone(), rom.clone(), (width, height)));
    b.board_refs().display = Some(device);
    let (first, last) = (vga::FIRST_PORT, vga::LAST_PORT);
    b.timed_ports(device.id(), first, last.0 - first.0 + 1);
    b.timed_ports(device.id(), vga::DISPI_PORT, vga::DISPI_PORTS);
    b.plain_memory(device.id(), board::VGA_WINDOW, board::VGA_WINDOW_END.0 - board::VGA_WINDOW.0);
    b.bar_memory(device.id(), vga::pci::FRAME_BUFFER_BAR, memory);
    if let Some(rom) = rom {
        b.bar_memory(device.id(), vga::pci::ROM_BAR, rom);
    }
    b.function(device.id(), board::VGA_FUNCTION)
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
    let chips = Dma8237::new(b.memory().clone());
    b.set_isa_dma(&chips);
    let device = b.add("dma8237", chips).id();
    for (first, count) in [(0x00, 0x10), (0x81, 0x0F), (0xC0, 0x20)] {
        b.plain_ports(device, Port(first), count);
    }
    Ok(())
}
fn floppy(b: &mut Builder<'_>, _: &Options<'_>) -> Result<(), DeviceError> {
    let drives = [0, 1].map(|unit| b.take_drive(DrivePlace::Floppy { unit }));
    let Some(channel) = b.dma_channel(floppy::FLOPPY_DMA) else {
        unreachable!("the DMA controllers are the row before")
    };
    let (line, outside, requests) = (b.line(floppy::FLOPPY_IRQ), b.outside(), b.requests().clone());
    let device = b.add("floppy", FloppyController::new(line, channel, outside, requests, drives)).id();
    b.timed_ports(device, floppy::FLOPPY_PORTS, floppy::FLOPPY_PORT_COUNT);
    b.timed_ports(device, floppy::FLOPPY_INPUT, 1);
    Ok(())
}
fn reset_control(b: &mut Builder<'_>, _: &Options<'_>) -> Result<(), DeviceError> {
    let device = b.add("reset-control", ResetControl::new(b.requests().clone())).id();
    b.plain_ports(device, board::SYSTEM_CONTROL_A, 1);
    b.plain_ports(device, board::RESET_CONTROL, 1);
    Ok(())
}
fn refused(error: FwCfgError) -> DeviceError {
    DeviceError::Refused { device: "fw_cfg".to_owned(), reason: error.to_string() }
}
/// Tells firmware what is booted, once all devices are on the board.
fn boot_files(b: &mut Builder<'_>) -> Result<(), DeviceError> {
    let files = drive_tables::boot_files(b.config(), b.drives(), &b.refs.virtio_disks);
    let Some(chip) = b.refs.fw_cfg else { return Ok(()) };
    for (name, bytes) in files {
        b.on_board(chip, |chip| chip.add_file(name, bytes)).map_err(refused)?;
    }
    Ok(())
}
fn fw_cfg(b: &mut Builder<'_>, _: &Options<'_>) -> Result<(), DeviceError> {
    const RAM_SIZE: u16 = 0x03;
    const CPUS: u16 = 0x05;
    const MAX_CPUS: u16 = 0x0F;
    const BOOT_MENU: u16 = 0x0E;
    let (memory, cpus) = (b.memory().clone(), u16::from(b.config().cpus));
    let items = [
        (RAM_SIZE, memory.ram_bytes().to_le_bytes().to_vec()),
        (CPUS, cpus.to_le_bytes().to_vec()),
        (MAX_CPUS, cpus.to_le_bytes().to_vec()),
        (BOOT_MENU, u16::from(b.config().boot.menu).to_le_bytes().to_vec()),
    ];
    let mut chip = FwCfg::new(memory);
    for (key, bytes) in items {
        chip.add_item(key, bytes).map_err(refused)?;
    }
    // What the machine has; then what it was given. What is booted follows when all cards have their places.
    let given = std::mem::take(&mut b.firmware_files);
    for (name, bytes) in fw_cfg_files(&b.config().platform()).into_iter().chain(given) {
        chip.add_file(&name, bytes).map_err(refused)?;
    }
    if let Some(power) = b.board_refs().power {
        let place = b.on_board(power, |power| power.place());
        let platform = b.config().platform();
        chip.set_changing(Box::new(TablesByPlace { place, platform }));
    }
    let device = b.add("fw_cfg", chip);
    b.board_refs().fw_cfg = Some(device);
    b.plain_ports(device.id(), board::FW_CFG, 12);
    Ok(())
}
/// The ACPI tables for where the power-management block is: firmware places it, and reads them afterwards.
struct TablesByPlace {
    place: PmPlace,
    platform: Platform,
}
impl ChangingFiles for TablesByPlace {
    fn changed(&mut self) -> Option<Vec<(String, Vec<u8>)>> {
        let pm_base = self.place.base();
        let before = std::mem::replace(&mut self.platform.pm_base, pm_base);
        (before != pm_base).then(|| fw_cfg_files(&self.platform))
    }
}
fn firmware_services(b: &mut Builder<'_>, _: &Options<'_>) -> Result<(), DeviceError> {
    let drives = boot_drives::drives(b.drives(), &virtio::disks(b.config()));
    let order = boot_drives::order(&b.config().boot);
    let (memory, requests) = (BusMaster::new(b.memory().clone()), b.requests().clone());
    let device = b.add("bios-services", BiosServices::new(memory, b.outside(), requests, drives, order)).id();
    b.timed_ports(device, bios_services::FIRST_PORT, bios_services::PORTS);
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
    for port in [board::DEBUG_PORT, board::FIRMWARE_DEBUG_PORT] {
        b.plain_ports(device, port, 1);
    }
    Ok(())
}
fn flash(b: &mut Builder<'_>, options: &Options<'_>) -> Result<(), DeviceError> {
    if b.config().count("pflash") > 1 {
        return Err(options.refuse("a board has one flash memory"));
    }
    let Some(id) = options.text("drive") else {
        return Err(options.refuse("drive= says which drive has its content"));
    };
    let Some(drive) = b.take_drive_by_id(id) else {
        return Err(options.refuse(&format!("there is no free drive {id:?} with if=none")));
    };
    let chip = Flash::new(drive, b.outside(), b.requests().clone());
    let chip = chip.map_err(|error| options.refuse(&error.to_string()))?;
    let (bytes, rom_bytes) = (chip.bytes(), b.memory().rom_bytes());
    // Where firmware expects it: what is below has other chips.
    if bytes + rom_bytes > FIRMWARE_BYTES {
        return Err(options.refuse("together with the ROM it is larger than 16 MiB"));
    }
    let device = b.add("pflash", chip).id();
    b.timed_memory(device, PhysAddr((1 << 32) - rom_bytes - bytes), bytes);
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
fn vmgenid(b: &mut Builder<'_>, options: &Options<'_>) -> Result<(), DeviceError> {
    if b.config().count(VMGENID) > 1 {
        return Err(options.refuse("a board has one"));
    }
    let device = VmGenId::new(b.memory().clone(), generation::first_id(b.config(), options)?);
    if let Some(chip) = b.board_refs().fw_cfg {
        let file = Box::new(device.address_file());
        b.on_board(chip, |chip| chip.add_writable_file(board::GENERATION_ADDRESS_FILE, file))
            .map_err(refused)?;
    }
    let device = b.add(VMGENID, device);
    b.board_refs().vmgenid = Some(device);
    Ok(())
}
fn e1000_card(b: &mut Builder<'_>, options: &Options<'_>) -> Result<(), DeviceError> {
    let CardWires { address, intx, memory, .. } = b.card(options)?;
    let name = format!("e1000@{address}");
    let rom = b.option_rom(options, &name)?;
    let (mac, cable) = (b.mac(options)?, b.network(options)?);
    let card = E1000::new(intx, memory, cable, mac, rom.clone());
    let tails = [
        (e1000::registers::TDT, e1000::TRANSMIT_BELL, card.transmit_tail()),
        (e1000::registers::RDT, e1000::RECEIVE_BELL, card.receive_tail()),
    ];
    let device = b.add(name, card).id();
    b.function(device, address)?;
    for (offset, bell, register) in tails {
        b.doorbells(device, e1000::registers::REGISTER_BAR, offset, 4, Bell::Register { bell, register });
    }
    if let Some(rom) = rom {
        b.bar_memory(device, ROM_SLOT as u8, rom);
    }
    Ok(())
}
fn demo_card(b: &mut Builder<'_>, options: &Options<'_>) -> Result<(), DeviceError> {
    let CardWires { address, intx, msi, memory, outside } = b.card(options)?;
    let name = format!("demo-card@{address}");
    let vram = match options.number("vram", 0, 0, MOST_VRAM)? {
        0 => None,
        bytes if bytes.is_power_of_two() => Some(b.device_memory(options, format!("{name}.vram"), bytes)?),
        _ => return Err(options.refuse("vram: not a power of two")),
    };
    let rom = b.rom(options, format!("{name}.rom"), &rom::images(), rom::BYTES.into())?;
    let own = CardMemory { vram: vram.clone(), rom: Some(rom.clone()) };
    let device = b.add(name, DemoCard::new(intx, msi, memory, outside, own)).id();
    b.function(device, address)?;
    b.doorbells(device, REGISTER_BAR, QUEUE, 1, Bell::Value);
    if let Some(vram) = vram {
        b.bar_memory(device, VRAM_BAR, vram);
    }
    b.bar_memory(device, ROM_SLOT as u8, rom);
    Ok(())
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
