//! The DSDT: devices that cannot be found by probing, written in AML.
//!
//! It says: the PCI root with its address windows and interrupt routing, the four PCI interrupt
//! links with the registers that steer them (PIRQRC of the PIIX3, configuration 60h to 63h), the
//! ISA devices with pvpanic, the HPET, the processors and the sleep state S5 (soft off). S3 is left out: there
//! is no firmware to wake up in. The DMA controllers, the floppy and the mouse are not listed.
//!
//! Source: ACPI Specification, "ACPI Source Language" and "Device Configuration"; Intel
//! 82371SB (PIIX3), "PIRQ[A:D] Route Control".

use super::aml::{
    Ready, device, dma, hid, io, isa_irq, level_interrupts, method, name, package, ready, resources, scope,
};
use super::{Platform, acpi};
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, And, Arg, CreateDWordField, Else, Field, FieldAccessType,
    FieldEntry, FieldLockRule, FieldUpdateRule, If, Memory32Fixed, OpRegion, OpRegionSpace, Or,
    PackageBuilder, Path, Return, Store, ZERO,
};
use trimotor_bus::board;

/// The four links: device name and register field.
const LINKS: [(&str, [u8; 4]); 4] =
    [("LNKA", *b"PIRA"), ("LNKB", *b"PIRB"), ("LNKC", *b"PIRC"), ("LNKD", *b"PIRD")];
/// `_ADR` of the PIIX's ISA bridge: device 1, function 0.
const ISA_BRIDGE: u32 = 1 << 16;
/// PIRQRC: set, the link is routed to no interrupt.
const PIRQ_DISABLED: u8 = 0x80;

pub(super) fn dsdt(platform: &Platform) -> Vec<u8> {
    let mut parts = vec![
        sleep_state(),
        scope("\\_SB_", &[pci_root()]),
        scope("\\_SB_.PCI0", &[isa_bridge(platform)]),
        scope(
            "\\_SB_",
            &LINKS.iter().zip(0..).map(|((id, field), uid)| link(id, field, uid)).collect::<Vec<_>>(),
        ),
        scope("\\_SB_", &(0..platform.vcpus).map(processor).collect::<Vec<_>>()),
    ];
    if platform.hpet {
        parts.push(scope("\\_SB_", &[hpet()]));
    }
    let body: Vec<u8> = parts.into_iter().flat_map(|p| p.0).collect();
    // Revision 2: integers have 64 bits.
    acpi::table(b"DSDT", 2, &body)
}

/// `\_S5`: what PM1a control takes to switch off.
fn sleep_state() -> Ready {
    name("_S5_", &package(&[&board::SLP_TYP_S5, &board::SLP_TYP_S5, &ZERO, &ZERO]))
}

fn pci_root() -> Ready {
    let config = board::PCI_CONFIG_ADDRESS.0;
    let memory = |cacheable, start: u64, end: u64| {
        ready(&AddressSpace::<u32>::new_memory(cacheable, true, start as u32, (end - 1) as u32, None))
    };
    let ports = |first, last| ready(&AddressSpace::<u16>::new_io(first, last, None));
    let windows = [
        ready(&AddressSpace::<u16>::new_bus_number(0, 0xFF)),
        io(config, 8),
        ports(0, config - 1),
        ports(config + 8, 0xFFFF),
        memory(AddressSpaceCacheable::Cacheable, board::VGA_WINDOW.0, board::VGA_WINDOW_END.0),
        memory(AddressSpaceCacheable::NotCacheable, board::PCI_HOLE_START.0, board::PCI_HOLE_END.0),
    ];
    device(
        "PCI0",
        &[hid("PNP0A03"), name("_UID", &ZERO), resources("_CRS", &windows), name("_PRT", &routing())],
    )
}

/// `_PRT`: the link of each pin of each slot.
fn routing() -> PackageBuilder {
    let mut routes = PackageBuilder::new();
    for slot in 0..32u8 {
        for pin in 0..4u8 {
            let link = usize::from(board::pci_link(slot, pin + 1));
            let address = u32::from(slot) << 16 | 0xFFFF;
            let path = Path::new(&format!("\\_SB_.{}", LINKS[link].0));
            routes.add_element(&package(&[&address, &pin, &path, &ZERO]));
        }
    }
    routes
}

/// The ISA bridge with the link registers and what is behind it.
fn isa_bridge(platform: &Platform) -> Ready {
    let fields = LINKS.iter().map(|(_, field)| FieldEntry::Named(*field, 8)).collect();
    let mut parts = vec![
        name("_ADR", &ISA_BRIDGE),
        ready(&OpRegion::new("PIRQ".into(), OpRegionSpace::PCIConfig, &0x60u8, &4u8)),
        ready(&Field::new(
            "PIRQ".into(),
            FieldAccessType::Byte,
            FieldLockRule::NoLock,
            FieldUpdateRule::Preserve,
            fields,
        )),
    ];
    let pic = [(board::PIC_MASTER.0, 2), (board::PIC_SLAVE.0, 2), (board::ELCR.0, 2)];
    let keyboard = [(board::I8042_DATA.0, 1), (board::I8042_COMMAND.0, 1)];
    let system = [
        (0x80, 1),
        (board::SYSTEM_CONTROL_A.0, 1),
        (board::SMI_COMMAND.0, 2),
        (platform.pm_base.0, board::PM_BYTES as u8),
    ];
    parts.extend([
        isa_device("PIC_", "PNP0000", &pic, Some(2)),
        isa_device("TIMR", "PNP0100", &[(board::PIT.0, 4)], Some(board::PIT_IRQ)),
        isa_device("RTC_", "PNP0B00", &[(board::CMOS.0, 2)], Some(board::RTC_IRQ)),
        isa_device("SPKR", "PNP0800", &[(board::SYSTEM_CONTROL_B.0, 1)], None),
        isa_device("FPU_", "PNP0C04", &[(0xF0, 1)], Some(13)),
        isa_device("PS2K", "PNP0303", &keyboard, Some(board::KEYBOARD_IRQ)),
        isa_device("PS2M", "PNP0F13", &[], Some(board::MOUSE_IRQ)),
        isa_device("SYSR", "PNP0C02", &system, None),
    ]);
    // Both controllers: channels 0 to 3, the page registers, channels 4 to 7; 4 is the cascade.
    let dma_resources = [io(0x00, 16), io(0x81, 15), io(0xC0, 32), dma(4)];
    parts.push(device("DMAC", &[hid("PNP0200"), resources("_CRS", &dma_resources)]));
    parts.extend((0..platform.serial_ports.min(4)).map(serial_port));
    if platform.pvpanic {
        // The id is a string: it is no EISA id.
        let id = name("_HID", &"QEMU0001");
        parts.push(device("PEVT", &[id, isa_resources(&[(board::PVPANIC.0, 1)], None)]));
    }
    device("ISA_", &parts)
}

fn isa_device(id: &str, pnp_id: &str, ports: &[(u16, u8)], irq: Option<u8>) -> Ready {
    device(id, &[hid(pnp_id), isa_resources(ports, irq)])
}

fn isa_resources(ports: &[(u16, u8)], irq: Option<u8>) -> Ready {
    let parts: Vec<_> =
        ports.iter().map(|&(base, length)| io(base, length)).chain(irq.map(isa_irq)).collect();
    resources("_CRS", &parts)
}

fn serial_port(index: u8) -> Ready {
    let (base, irq) = (board::SERIAL[usize::from(index)].0, board::SERIAL_IRQS[usize::from(index)]);
    let number = index + 1;
    device(
        &format!("COM{number}"),
        &[hid("PNP0501"), name("_UID", &number), isa_resources(&[(base, 8)], Some(irq))],
    )
}

/// A PCI interrupt link, which reads and writes its route control register.
fn link(id: &str, field: &[u8; 4], uid: u8) -> Ready {
    /// Offset of the interrupt number in an extended interrupt descriptor.
    const NUMBER_AT: u8 = 5;
    let register = Path::new(&format!("\\_SB_.PCI0.ISA_.{}", String::from_utf8_lossy(field)));
    let (number, buffer) = (Path::new("IRQW"), Path::new("BUF0"));
    let disabled = ready(&And::new(&ZERO, &register, &PIRQ_DISABLED));
    let mut choices = board::PCI_LINK_IRQS.to_vec();
    choices.sort_unstable();
    choices.dedup();
    let status = [
        ready(&If::new(&disabled, vec![&Return::new(&0x09u8)])),
        ready(&Else::new(vec![&Return::new(&0x0Bu8)])),
    ];
    let current = [
        resources("BUF0", &[level_interrupts(&[0])]),
        ready(&CreateDWordField::new(&number, &buffer, &NUMBER_AT)),
        ready(&If::new(&disabled, vec![&Return::new(&buffer)])),
        ready(&Store::new(&number, &register)),
        ready(&Return::new(&buffer)),
    ];
    let set =
        [ready(&CreateDWordField::new(&number, &Arg(0), &NUMBER_AT)), ready(&Store::new(&register, &number))];
    device(
        id,
        &[
            hid("PNP0C0F"),
            name("_UID", &uid),
            resources("_PRS", &[level_interrupts(&choices)]),
            method("_STA", 0, &status),
            method("_DIS", 0, &[ready(&Or::new(&register, &register, &PIRQ_DISABLED))]),
            method("_CRS", 0, &current),
            method("_SRS", 1, &set),
        ],
    )
}

fn processor(id: u8) -> Ready {
    device(&format!("C{id:03}"), &[name("_HID", &"ACPI0007"), name("_UID", &id)])
}

fn hpet() -> Ready {
    let region = Memory32Fixed::new(false, board::HPET.0 as u32, board::HPET_BYTES as u32);
    device("HPET", &[hid("PNP0103"), name("_UID", &ZERO), resources("_CRS", &[ready(&region)])])
}
