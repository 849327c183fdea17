//! Virtio devices.

use super::devices::wire;
use super::{CHANGED_STATES, User, check_states};
use std::sync::Arc;
use trimotor_bus::{
    BusMaster, GuestMemory, MsiSink, PciBars, PciFunction, PhysAddr, SaveState, VcpuSignals, Width,
};
use trimotor_devices::device::Nowhere;
use trimotor_devices::drive::{Drive, DriveConfig, DrivePlace, Media, Medium};
use trimotor_devices::interrupts::InterruptFabric;
use trimotor_devices::lapic::LapicModel;
use trimotor_devices::network::{MacAddress, NetworkCard, TestCable};
use trimotor_devices::requests::MachineRequests;
use trimotor_devices::serial::SerialBackend;
use trimotor_devices::virtio::balloon::{Balloon, BalloonConfig};
use trimotor_devices::virtio::blk::Blk;
use trimotor_devices::virtio::console::{Console, PortConfig};
use trimotor_devices::virtio::net::Net;
use trimotor_devices::virtio::registers::{common, legacy, modern};
use trimotor_devices::virtio::rng::{Rate, Rng};
use trimotor_devices::virtio::{Card, Interfaces, LEGACY_BAR, MODERN_BAR, MSIX_BAR, VirtioDevice, VirtioPci};
use trimotor_devices::{Completion, Device};
use trimotor_storage::MemoryDisk;

/// Where the rings are: descriptors, driver's area, device's area.
const RINGS: [u64; 3] = [0x1_0000, 0x1_1000, 0x1_2000];
/// Where requests are.
const REQUEST: u64 = 0x1_4000;

fn card<D: VirtioDevice>(device: D, memory: Arc<GuestMemory>) -> VirtioPci<D> {
    let fabric: Arc<dyn MsiSink> =
        InterruptFabric::new(vec![VcpuSignals::new()], LapicModel::full(1_000_000_000));
    let card = Card {
        intx: wire(),
        msi: fabric,
        memory: BusMaster::new(memory),
        interfaces: Interfaces { legacy: true, modern: true },
        packed: true,
        vectors: 2,
        rom: None,
        name: "test".to_owned(),
    };
    VirtioPci::new(card, device)
}
/// Memory with a request of kind `kind` in a split and a packed ring at once, as far as that goes.
fn memory(kind: u32) -> Arc<GuestMemory> {
    let memory = GuestMemory::new(1 << 20, &[]).unwrap();
    memory.write(PhysAddr(REQUEST), &kind.to_le_bytes());
    for (index, (addr, len, flags, next)) in
        [(REQUEST, 16u32, 1u16, 1u16), (REQUEST + 0x1000, 1024, 3, 2), (REQUEST + 0x100, 1, 2, 0)]
            .into_iter()
            .enumerate()
    {
        let at = RINGS[0] + 16 * index as u64;
        memory.write(PhysAddr(at), &addr.to_le_bytes());
        memory.write(PhysAddr(at + 8), &len.to_le_bytes());
        memory.write(PhysAddr(at + 12), &flags.to_le_bytes());
        memory.write(PhysAddr(at + 14), &next.to_le_bytes());
    }
    memory.write(PhysAddr(RINGS[1]), &[0, 0, 1, 0, 0, 0]);
    memory
}

/// A driver that does some things right and most at random.
fn drive<D: VirtioDevice>(card: &mut VirtioPci<D>, user: &mut User)
where
    VirtioPci<D>: SaveState + Device,
{
    let now = user.now;
    user.configuration(card);
    card.config_write(4, Width::Word, 7, now);
    user.bar(card, LEGACY_BAR, legacy::BYTES.into());
    user.bar(card, MSIX_BAR, 0x1000);
    for part in [modern::COMMON, modern::DEVICE] {
        for _ in 0..4 {
            let value = user.random.edge();
            let width = [Width::Byte, Width::Word, Width::Dword][user.random.below(3) as usize];
            card.bar_write(MODERN_BAR, part + user.random.below(0x40), width, value & width.mask(), now);
        }
    }
    if user.random.below(3) > 0 {
        let mut set = |at: u64, width: Width, value: u64| {
            card.bar_write(MODERN_BAR, at, width, value & width.mask(), now)
        };
        set(common::STATUS, Width::Byte, 0);
        for (select, half) in [(0, 0x3000_0000), (1, 1)] {
            set(common::DRIVER_FEATURE_SELECT, Width::Dword, select);
            set(common::DRIVER_FEATURE, Width::Dword, half);
        }
        set(common::STATUS, Width::Byte, 0xB);
        set(common::QUEUE_SELECT, Width::Word, 0);
        set(common::QUEUE_SIZE, Width::Word, 8);
        for (register, addr) in
            [common::QUEUE_DESC, common::QUEUE_DRIVER, common::QUEUE_DEVICE].iter().zip(RINGS)
        {
            set(*register, Width::Qword, addr);
        }
        set(common::QUEUE_ENABLE, Width::Word, 1);
        set(common::STATUS, Width::Byte, 0xF);
        set(modern::NOTIFY, Width::Word, 0);
    }
    let (token, kind) = (user.random.below(4), user.random.below(5) as u8);
    card.complete(token, &vec![kind; user.random.below(1100) as usize], now);
    user.time(card);
}

#[test]
fn virtio_disk() {
    let make = || {
        let config = DriveConfig::new("drive", DrivePlace::Unattached, Media::Disk);
        let medium: Medium = Arc::new(MemoryDisk::new(vec![7; 64 << 10]));
        let drive = Drive::new(config, Some(medium));
        let disk = Blk::new(drive, Arc::new(Nowhere), MachineRequests::new(), 2, 64);
        card(disk, memory(0))
    };
    check_states("virtio disk", CHANGED_STATES / 3, make, drive);
}

#[test]
fn virtio_rng() {
    let make = || {
        let rate = Rate { bytes: 1000, period_ns: 1_000_000 };
        card(Rng::new(Arc::new(Nowhere), Arc::new(|_, _: &mut [u8]| {}), Some(rate)), memory(0))
    };
    check_states("virtio rng", CHANGED_STATES / 3, make, drive);
}

#[test]
fn virtio_console() {
    /// A cable that takes little, and has something now and then.
    struct Cable(u8);
    impl SerialBackend for Cable {
        fn write(&mut self, bytes: &[u8]) -> usize {
            self.0 = self.0.wrapping_add(77);
            bytes.len().min(usize::from(self.0) / 16)
        }
        fn flush(&mut self) {}
        fn read(&mut self, into: &mut [u8]) -> usize {
            self.0 = self.0.wrapping_add(77);
            into.len().min(usize::from(self.0) / 16)
        }
        fn connected(&self) -> bool {
            self.0 > 20
        }
    }
    let make = || {
        let ports = [(0, true), (1, false)].map(|(number, console)| PortConfig {
            number,
            console,
            name: Some("port".to_owned()),
            cable: Box::new(Cable(0)),
        });
        card(Console::new(ports.into()), memory(0))
    };
    check_states("virtio console", CHANGED_STATES / 3, make, |card, user| {
        drive(card, user);
        card.with_device(user.now, Console::poll);
    });
}

#[test]
fn virtio_balloon() {
    let make = || {
        let config = BalloonConfig {
            deflate_on_oom: true,
            free_page_reporting: true,
            free_page_hint: true,
            stats_every_ns: 1_000_000,
        };
        card(Balloon::new(config, 1 << 20), memory(0))
    };
    check_states("virtio balloon", CHANGED_STATES / 3, make, |card, user| {
        drive(card, user);
        let bytes = user.random.below(1 << 21);
        card.with_device(user.now, |balloon, io| {
            balloon.leave(bytes, io);
            balloon.ask_for_free_pages(io);
        });
    });
}

#[test]
fn virtio_net() {
    let make = || {
        let mac = MacAddress([0x52, 0x54, 0, 1, 2, 3]);
        card(Net::new(Arc::new(TestCable::default()), mac, 2, 64), memory(0))
    };
    check_states("virtio net", CHANGED_STATES / 3, make, |card, user| {
        drive(card, user);
        let mut bytes = vec![0xFF; 14 + user.random.below(3000) as usize];
        bytes[12] = user.random.edge() as u8;
        if card.has_room() {
            card.receive(&bytes.into(), user.now);
        }
        card.carrier(user.random.below(2) == 0, user.now);
    });
}
