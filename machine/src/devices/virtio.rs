//! Virtio devices on the board: their options, and how each is built.

use super::{Builder, CardWires, DeviceError, DeviceOption, Options};
use crate::config::MachineConfig;
use crate::doorbells::Bell;
use crate::registry::DeviceRef;
use std::sync::Arc;
use trimotor_bus::MemoryRegion;
use trimotor_devices::drive::Media;
use trimotor_devices::pci::config_space::ROM_SLOT;
use trimotor_devices::virtio::balloon::{Balloon, BalloonConfig};
use trimotor_devices::virtio::blk::Blk;
use trimotor_devices::virtio::console::control::MOST_NAME;
use trimotor_devices::virtio::console::{Console, MOST_PORTS, PortConfig};
use trimotor_devices::virtio::net::{MOST_PAIRS, Net};
use trimotor_devices::virtio::registers::{legacy, modern};
use trimotor_devices::virtio::rng::{Entropy, Rate, Rng};
use trimotor_devices::virtio::{Card, Interfaces, LEGACY_BAR, MODERN_BAR, VirtioDevice, VirtioPci, queue};

pub(super) const DISABLE_LEGACY: DeviceOption = DeviceOption {
    name: "disable-legacy",
    value: "on|off",
    help: "on: no registers for drivers from before virtio 1",
};
pub(super) const DISABLE_MODERN: DeviceOption =
    DeviceOption { name: "disable-modern", value: "on|off", help: "on: registers for such drivers alone" };
pub(super) const PACKED: DeviceOption =
    DeviceOption { name: "packed", value: "on|off", help: "on: packed rings are offered" };
pub(super) const VECTORS: DeviceOption =
    DeviceOption { name: "vectors", value: "COUNT", help: "MSI-X vectors; 0: its interrupt pin alone" };
pub(super) const NUM_QUEUES: DeviceOption =
    DeviceOption { name: "num-queues", value: "COUNT", help: "queues; one a processor unless given" };
pub(super) const QUEUE_SIZE: DeviceOption = DeviceOption {
    name: "queue-size",
    value: "SIZE",
    help: "buffers of a queue: a power of two; 256 unless given",
};
pub(super) const PAIRS: DeviceOption = DeviceOption {
    name: "queues",
    value: "COUNT",
    help: "pairs of queues; as many as its network has queues unless given",
};
pub(super) const MQ: DeviceOption = DeviceOption {
    name: "mq",
    value: "on|off",
    help: "off: one pair of queues alone, also on a network with several",
};
pub(super) const MAX_BYTES: DeviceOption =
    DeviceOption { name: "max-bytes", value: "COUNT", help: "random bytes in a period, at most" };
pub(super) const PERIOD: DeviceOption = DeviceOption {
    name: "period",
    value: "MILLISECONDS",
    help: "the period of max-bytes; 65536 unless given",
};

pub(super) const CHARDEV: DeviceOption =
    DeviceOption { name: "chardev", value: "ID", help: "what is at the host's end: a --chardev" };
pub(super) const NAME: DeviceOption =
    DeviceOption { name: "name", value: "NAME", help: "its name in the guest" };
pub(super) const DEFLATE_ON_OOM: DeviceOption = DeviceOption {
    name: "deflate-on-oom",
    value: "on|off",
    help: "on: the guest may take memory back before it kills programs",
};
pub(super) const REPORTING: DeviceOption = DeviceOption {
    name: "free-page-reporting",
    value: "on|off",
    help: "on: memory that the guest frees goes back to the host by itself",
};
pub(super) const HINT: DeviceOption = DeviceOption {
    name: "free-page-hint",
    value: "on|off",
    help: "on: the guest can be asked for memory that is free (balloon_hint)",
};
pub(super) const STATS: DeviceOption = DeviceOption {
    name: "stats-interval",
    value: "SECONDS",
    help: "how often the guest is asked for its figures; by default with each change",
};

/// Names of kinds that others refer to.
pub(super) const CONSOLE: &str = "virtio-serial-pci";
pub(super) const CONSOLE_PORT: &str = "virtconsole";
pub(super) const NAMED_PORT: &str = "virtserialport";
/// The name of virtio disks.
pub(super) const BLK: &str = "virtio-blk-pci";
/// The most queues of a disk.
const MOST_QUEUES: u64 = 16;
/// Queue sizes: the usual one, the least and the most.
const QUEUE_SIZES: (u64, u64, u64) = (256, 4, queue::MOST_SIZE as u64);
/// The period of random bytes, in milliseconds.
const PERIOD_MS: u64 = 65_536;

/// The ids of the drives that are virtio disks, in the order of their cards.
pub(super) fn disks(config: &MachineConfig) -> Vec<&str> {
    let cards = config.devices.iter().filter(|device| device.kind == BLK);
    cards.filter_map(|device| device.options.get("drive").map(String::as_str)).collect()
}

/// What all virtio cards have in common, by their options. `vectors` is how many MSI-X vectors there are unless options say.
fn card(options: &Options<'_>, wires: CardWires, vectors: usize, name: &str) -> Result<Card, DeviceError> {
    let switch = |name| options.switch(name, false);
    let interfaces = Interfaces { legacy: !switch("disable-legacy")?, modern: !switch("disable-modern")? };
    if !interfaces.legacy && !interfaces.modern {
        return Err(options.refuse("with disable-legacy and disable-modern nothing is left"));
    }
    let CardWires { address, intx, msi, memory, outside: _ } = wires;
    Ok(Card {
        intx,
        msi,
        memory,
        interfaces,
        packed: switch("packed")?,
        vectors: options.number("vectors", vectors as u64, 0, 64)? as u16,
        rom: None,
        name: format!("{name}@{address}"),
    })
}

/// Puts a device on the bus, which `make` builds for the wires that it gets.
fn add<D: VirtioDevice>(
    b: &mut Builder<'_>,
    options: &Options<'_>,
    name: &str,
    make: impl FnOnce(&CardWires) -> D,
) -> Result<DeviceRef<VirtioPci<D>>, DeviceError> {
    let device = add_without_doorbells(b, options, name, make)?;
    ring_bells(b, device);
    Ok(device)
}
/// Notifications wait for no lock.
fn ring_bells<D: VirtioDevice>(b: &mut Builder<'_>, device: DeviceRef<VirtioPci<D>>) {
    let queues = b.on_board(device, |card| card.queues()) as u64;
    let stride = modern::NOTIFY_STRIDE;
    b.doorbells(device.id(), MODERN_BAR, modern::NOTIFY, stride * queues, Bell::Offset { stride });
    b.doorbells(device.id(), LEGACY_BAR, legacy::QUEUE_NOTIFY, 2, Bell::Value);
}
fn add_without_doorbells<D: VirtioDevice>(
    b: &mut Builder<'_>,
    options: &Options<'_>,
    name: &str,
    make: impl FnOnce(&CardWires) -> D,
) -> Result<DeviceRef<VirtioPci<D>>, DeviceError> {
    let wires = b.card(options)?;
    add_to(b, options, name, wires, None, make)
}
fn add_to<D: VirtioDevice>(
    b: &mut Builder<'_>,
    options: &Options<'_>,
    name: &str,
    wires: CardWires,
    rom: Option<&MemoryRegion>,
    make: impl FnOnce(&CardWires) -> D,
) -> Result<DeviceRef<VirtioPci<D>>, DeviceError> {
    let (address, device) = (wires.address, make(&wires));
    let card = Card { rom: rom.cloned(), ..card(options, wires, device.queue_sizes().len() + 1, name)? };
    let name = card.name.clone();
    let device = b.add(name, VirtioPci::new(card, device));
    b.function(device.id(), address)?;
    if let Some(rom) = rom {
        b.bar_memory(device.id(), ROM_SLOT as u8, rom.clone());
    }
    Ok(device)
}

pub(super) fn blk(b: &mut Builder<'_>, options: &Options<'_>) -> Result<(), DeviceError> {
    let Some(id) = options.text("drive") else {
        return Err(options.refuse("drive= says which drive has its content"));
    };
    let Some(drive) = b.take_drive_by_id(id) else {
        return Err(options.refuse(&format!("there is no free drive {id:?} with if=none")));
    };
    if drive.config().media != Media::Disk {
        return Err(options.refuse("it takes hard disks only"));
    }
    let cpus = u64::from(b.config().cpus).min(MOST_QUEUES);
    let queues = options.number("num-queues", cpus, 1, MOST_QUEUES)? as u16;
    let size = queue_size(options, QUEUE_SIZES.1)?;
    let requests = b.requests().clone();
    let make = |wires: &CardWires| Blk::new(drive, wires.outside.clone(), requests, queues, size);
    let device = add(b, options, "virtio-blk", make)?;
    let places = b.functions.iter().filter(|(_, id)| *id == device.id()).map(|(at, _)| (id.to_owned(), *at));
    let places: Vec<_> = places.collect();
    b.board_refs().virtio_disks.extend(places);
    Ok(())
}

pub(super) fn rng(b: &mut Builder<'_>, options: &Options<'_>) -> Result<(), DeviceError> {
    let period_ns = options.number("period", PERIOD_MS, 1, 1 << 32)? * 1_000_000;
    let rate = match options.number("max-bytes", 0, 1, 1 << 48)? {
        0 => None,
        bytes => Some(Rate { bytes, period_ns }),
    };
    let entropy = b.entropy();
    add(b, options, "virtio-rng", |wires| Rng::new(wires.outside.clone(), entropy, rate)).map(|_| ())
}

/// The option `queue-size`, at least `least`.
fn queue_size(options: &Options<'_>, least: u64) -> Result<u16, DeviceError> {
    let (usual, _, most) = QUEUE_SIZES;
    let size = options.number("queue-size", usual, least, most)? as u16;
    if size.is_power_of_two() { Ok(size) } else { Err(options.refuse("queue-size: not a power of two")) }
}

/// How many pairs of queues a network card has, on a network with so many queues.
fn pairs(options: &Options<'_>, of_network: u16) -> Result<u16, DeviceError> {
    let given = options.number("queues", 0, 1, MOST_PAIRS.into())? as u16;
    match (options.switch("mq", true)?, given) {
        (false, 2..) => Err(options.refuse("mq=off is one pair of queues, and queues= says another number")),
        (false, _) => Ok(1),
        (true, 0) => Ok(of_network.clamp(1, MOST_PAIRS)),
        (true, given) => Ok(given),
    }
}

pub(super) fn net(b: &mut Builder<'_>, options: &Options<'_>) -> Result<(), DeviceError> {
    // Linux gives new buffers once half of them, or 32, are used. A frame of 64 KiB takes 44: in a smaller queue it would wait for
    // buffers, and the driver for its use of them.
    let size = queue_size(options, 256)?;
    let (mac, cable) = (b.mac(options)?, b.network(options)?);
    let pairs = pairs(options, cable.queues())?;
    let wires = b.card(options)?;
    let rom = b.option_rom(options, &format!("virtio-net@{}", wires.address))?;
    let device =
        add_to(b, options, "virtio-net", wires, rom.as_ref(), |_| Net::new(cable, mac, pairs, size))?;
    ring_bells(b, device);
    Ok(())
}

/// The ports of the configuration, and the numbers of their cables. A console may be port 0; others begin at 1.
fn ports(b: &mut Builder<'_>, options: &Options<'_>) -> Result<(Vec<PortConfig>, Vec<usize>), DeviceError> {
    let (mut ports, mut lines): (Vec<PortConfig>, _) = (Vec::new(), Vec::new());
    for device in b.config().devices.clone() {
        let own = Options::new(&device);
        let console = match device.kind.as_str() {
            CONSOLE_PORT => true,
            NAMED_PORT => false,
            _ => continue,
        };
        let name = own.text("name").filter(|name| !name.is_empty()).map(str::to_owned);
        if name.as_ref().is_some_and(|name| name.len() > MOST_NAME || name.contains(['/', '\0'])) {
            return Err(own.refuse("name: up to 255 bytes without a slash"));
        }
        let cable = match own.text("chardev") {
            Some(id) => b.take_chardev(id),
            None => return Err(own.refuse("chardev= says what is at the host's end (--chardev)")),
        };
        let Some((line, cable)) = cable else {
            return Err(own.refuse("there is no free --chardev with this id"));
        };
        let next = ports.last().map_or(u32::from(!console), |port: &PortConfig| port.number + 1);
        if next as usize >= MOST_PORTS {
            return Err(own.refuse("a device has 31 ports at most"));
        }
        ports.push(PortConfig { number: next, console, name, cable });
        lines.push(line);
    }
    if ports.is_empty() {
        return Err(options.refuse("it has no port: add --device virtconsole or --device virtserialport"));
    }
    Ok((ports, lines))
}
pub(super) fn console(b: &mut Builder<'_>, options: &Options<'_>) -> Result<(), DeviceError> {
    if !b.board_refs().consoles.is_empty() {
        return Err(options.refuse("a board has one; its ports are devices of their own"));
    }
    let (ports, lines) = ports(b, options)?;
    let device = add(b, options, "virtio-serial", |_| Console::new(ports))?;
    b.board_refs().consoles = lines.into_iter().map(|line| (line, device)).collect();
    Ok(())
}
/// A port of a virtio console: it was made with the console.
pub(super) fn port(b: &mut Builder<'_>, options: &Options<'_>) -> Result<(), DeviceError> {
    if b.config().count(CONSOLE) == 0 {
        return Err(options.refuse("it is a port of --device virtio-serial-pci, which is not there"));
    }
    Ok(())
}

pub(super) fn balloon(b: &mut Builder<'_>, options: &Options<'_>) -> Result<(), DeviceError> {
    if b.board_refs().balloon.is_some() {
        return Err(options.refuse("a board has one"));
    }
    let config = BalloonConfig {
        deflate_on_oom: options.switch("deflate-on-oom", false)?,
        free_page_reporting: options.switch("free-page-reporting", false)?,
        free_page_hint: options.switch("free-page-hint", false)?,
        stats_every_ns: options.number("stats-interval", 0, 0, 1 << 20)? * 1_000_000_000,
    };
    let bytes = b.memory().ram_bytes();
    // Hints must be looked at at once: no doorbells.
    let device = add_without_doorbells(b, options, "virtio-balloon", |_| Balloon::new(config, bytes))?;
    b.board_refs().balloon = Some(device);
    Ok(())
}

/// Random bytes that follow from a seed: of request `number` always the same.
pub(super) fn seeded(seed: u64) -> Entropy {
    Arc::new(move |number, into: &mut [u8]| {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut state = seed ^ number.wrapping_mul(0xD134_2543_DE82_EF95);
        for part in into.chunks_mut(8) {
            state = state.wrapping_add(STEP);
            let mut z = state;
            z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
            part.copy_from_slice(&(z ^ z >> 31).to_le_bytes()[..part.len()]);
        }
    })
}
