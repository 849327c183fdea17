//! Virtio devices: rings and registers with anything in them, requests that are nearly right (commands of network cards, messages of
//! consoles, page numbers of balloons), worker's answers in any order, resets, and saved states that were changed.
//!
//! No access panics; what is under way is bounded; a state comes back, and one that is refused changes nothing; after a reset
//! a request is done.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use trimotor_bus::{
    BusMaster, GuestMemory, GuestTime, IrqLine, MsiSink, PciBars, PciFunction, PhysAddr, Timed, Width,
};
use trimotor_devices::drive::{Drive, DriveConfig, DrivePlace, Media, Medium, OnDiskError};
use trimotor_devices::network::{MacAddress, TestCable};
use trimotor_devices::requests::MachineRequests;
use trimotor_devices::serial::SerialBackend;
use trimotor_devices::virtio::balloon::{Balloon, BalloonConfig};
use trimotor_devices::virtio::blk::{Blk, MOST_PART};
use trimotor_devices::virtio::console::{Console, PortConfig};
use trimotor_devices::virtio::net::Net;
use trimotor_devices::virtio::registers::{common, feature, legacy, modern};
use trimotor_devices::virtio::rng::Rng;
use trimotor_devices::virtio::{Card, Interfaces, LEGACY_BAR, MODERN_BAR, MSIX_BAR, VirtioDevice, VirtioPci};
use trimotor_devices::{Completion, Device, SavedBytes};
use trimotor_fuzz::Input;
use trimotor_fuzz::jobs::Jobs;
use trimotor_net::Offloads;
use trimotor_storage::MemoryDisk;

const WIDTHS: [Width; 4] = [Width::Byte, Width::Word, Width::Dword, Width::Qword];
/// Where a driver's rings are, each in so many bytes: descriptors, driver's and device's area; and what they point to.
const RINGS: u64 = 0x8_0000;
const RING_BYTES: u64 = 0x3000;
const BUFFERS: u64 = 0x2_0000;
/// Queues that are set up; a device may have more.
const QUEUES: usize = 8;

/// Messages go nowhere.
struct NoMessages;
impl MsiSink for NoMessages {
    fn send(&self, _address: u64, _data: u32) {}
}
/// A cable that takes some, and has some.
struct Cable(u8);
impl SerialBackend for Cable {
    fn write(&mut self, bytes: &[u8]) -> usize {
        self.0 = self.0.wrapping_add(37);
        bytes.len().min(self.0.into())
    }
    fn flush(&mut self) {}
    fn read(&mut self, into: &mut [u8]) -> usize {
        self.0 = self.0.wrapping_mul(5);
        into.len().min(usize::from(self.0) / 8)
    }
    fn connected(&self) -> bool {
        true
    }
}

fn card<D: VirtioDevice>(memory: &Arc<GuestMemory>, device: D) -> VirtioPci<D> {
    let card = Card {
        intx: IrqLine::unconnected(),
        msi: Arc::new(NoMessages),
        memory: BusMaster::new(memory.clone()),
        interfaces: Interfaces { legacy: true, modern: true },
        packed: true,
        vectors: 3,
        rom: None,
        name: "fuzz".to_owned(),
    };
    VirtioPci::new(card, device)
}

fn ring(queue: usize) -> u64 {
    RINGS + RING_BYTES * queue as u64
}
/// A driver of virtio 1 that sets up its queues, which are empty, with these features.
fn set_up<D: VirtioDevice>(
    card: &mut VirtioPci<D>,
    memory: &GuestMemory,
    size: u64,
    features: u64,
    now: GuestTime,
) {
    let queues = card.queues().min(QUEUES);
    memory.write(PhysAddr(RINGS), &[0; RING_BYTES as usize * QUEUES]);
    let mut set = |at: u64, width: Width, value: u64| card.bar_write(MODERN_BAR, at, width, value, now);
    set(common::STATUS, Width::Byte, 0);
    for (select, half) in [(0, features & 0xFFFF_FFFF), (1, features >> 32 | 1)] {
        set(common::DRIVER_FEATURE_SELECT, Width::Dword, select);
        set(common::DRIVER_FEATURE, Width::Dword, half);
    }
    set(common::STATUS, Width::Byte, 0xB);
    for queue in 0..queues {
        set(common::QUEUE_SELECT, Width::Word, queue as u64);
        set(common::QUEUE_SIZE, Width::Word, size);
        for (at, place) in
            [(common::QUEUE_DESC, 0), (common::QUEUE_DRIVER, 0x1000), (common::QUEUE_DEVICE, 0x2000)]
        {
            set(at, Width::Qword, ring(queue) + place);
        }
        set(common::QUEUE_ENABLE, Width::Word, 1);
    }
    set(common::STATUS, Width::Byte, 0xF);
}
/// A request that is nearly right, in a split ring: small numbers, as most fields have, in a chain of a few buffers.
fn offer<D: VirtioDevice>(
    card: &mut VirtioPci<D>,
    memory: &GuestMemory,
    input: &mut Input<'_>,
    now: GuestTime,
) {
    const LENGTHS: [u32; 8] = [1, 2, 3, 4, 8, 16, 513, 1500];
    let queue = input.below(card.queues().min(QUEUES));
    let (count, writes_from) = (1 + input.below(3), input.below(4));
    let head = input.below(8) as u16;
    for index in 0..count {
        let addr = BUFFERS + 0x1000 * input.below(16) as u64;
        let small: Vec<u8> = (0..16).map(|_| input.below(8) as u8).collect();
        memory.write(PhysAddr(addr), &small);
        let more = u16::from(index + 1 < count);
        let flags = more | if index >= writes_from { 2 } else { 0 };
        let number = head + index as u16;
        let mut descriptor = addr.to_le_bytes().to_vec();
        descriptor.extend(LENGTHS[input.below(LENGTHS.len())].to_le_bytes());
        descriptor.extend(flags.to_le_bytes());
        descriptor.extend((number + 1).to_le_bytes());
        memory.write(PhysAddr(ring(queue) + 16 * u64::from(number)), &descriptor);
    }
    // In each place of the driver's ring, so that its size does not matter.
    let available = ring(queue) + 0x1000;
    let mut index = [0; 2];
    memory.read(PhysAddr(available + 2), &mut index);
    let index = u16::from_le_bytes(index).wrapping_add(1);
    let heads: Vec<u8> = (0..128).flat_map(|_| head.to_le_bytes()).collect();
    memory.write(PhysAddr(available + 4), &heads);
    memory.write(PhysAddr(available + 2), &index.to_le_bytes());
    card.bar_write(MODERN_BAR, modern::NOTIFY + 4 * queue as u64, Width::Word, queue as u64, now);
}
fn offered<D: VirtioDevice>(card: &mut VirtioPci<D>, now: GuestTime) -> u64 {
    let mut half = |select| {
        card.bar_write(MODERN_BAR, common::DEVICE_FEATURE_SELECT, Width::Dword, select, now);
        card.bar_read(MODERN_BAR, common::DEVICE_FEATURE, Width::Dword, now)
    };
    half(0) | half(1) << 32
}

/// What was saved comes back; what was changed is taken or refused whole.
fn restore<D: VirtioDevice>(card: &mut VirtioPci<D>, jobs: &Jobs, input: &mut Input<'_>) {
    let saved = card.save_bytes().expect("it can be saved");
    jobs.clear();
    card.restore_bytes(&saved).expect("its own state");
    assert_eq!(card.save_bytes().ok().as_ref(), Some(&saved));
    let mut changed = saved.clone();
    for _ in 0..=input.below(3) {
        let at = input.below(changed.len());
        changed[at] = input.number(1) as u8;
    }
    jobs.clear();
    if card.restore_bytes(&changed).is_err() {
        assert_eq!(card.save_bytes().ok().as_ref(), Some(&saved), "changed by a state that it refused");
        card.restore_bytes(&saved).expect("its own state");
    }
}

fn drive<D: VirtioDevice>(card: &mut VirtioPci<D>, memory: &GuestMemory, jobs: &Jobs, input: &mut Input<'_>) {
    let mut now = GuestTime::ZERO;
    let features = offered(card, now);
    card.config_write(4, Width::Word, 7, now);
    while !input.is_empty() {
        now = now + 1000;
        match input.below(16) {
            0 => {
                let (bar, width) =
                    ([LEGACY_BAR, MSIX_BAR, MODERN_BAR][input.below(3)], WIDTHS[input.below(4)]);
                _ = card.bar_read(bar, input.below(0x4000) as u64, width, now);
            }
            1 => {
                let width = WIDTHS[input.below(4)];
                let at = input.below(0x40) as u64 + modern::PART * input.below(4) as u64;
                card.bar_write(MODERN_BAR, at, width, input.number(8) & width.mask(), now);
            }
            2 => {
                let (width, at) = (WIDTHS[input.below(3)], input.below(legacy::BYTES as usize) as u64);
                card.bar_write(LEGACY_BAR, at, width, input.number(4) & width.mask(), now);
            }
            3 => {
                card.config_write(input.below(64) as u8 * 4, Width::Dword, input.number(4) as u32, now);
                card.config_write(4, Width::Word, 7, now);
            }
            4 => {
                let (size, chosen) = (1 << input.below(8), input.number(6) | 1 << 32);
                // All that there is, or some of it; split rings mostly.
                let chosen = if input.below(2) == 0 { features } else { features & chosen };
                let chosen = if input.below(4) == 0 { chosen } else { chosen & !feature::RING_PACKED };
                set_up(card, memory, size, chosen, now);
            }
            5 | 6 => {
                // A descriptor.
                let at = ring(input.below(QUEUES)) + 16 * input.below(32) as u64;
                let addr = BUFFERS + 8 * input.number(2);
                memory.write(PhysAddr(at), &addr.to_le_bytes());
                let (length, rest) = (input.number(3), input.number(4));
                memory.write(PhysAddr(at + 8), &(length | rest << 32).to_le_bytes());
            }
            7 => {
                // The driver's ring.
                let at = ring(input.below(QUEUES)) + 0x1000 + input.below(64) as u64;
                memory.write(PhysAddr(at), &input.number(2).to_le_bytes()[..2]);
            }
            8 => {
                let bytes = input.bytes(24);
                memory.write(PhysAddr(BUFFERS + 8 * input.below(0x400) as u64), bytes);
            }
            9 => restore(card, jobs, input),
            10 => {
                now = now + input.number(4);
                card.advance(now);
            }
            11..=13 => offer(card, memory, input, now),
            14 => {
                if let Some(network) = card.network_card() {
                    let frame = vec![0xFF; input.below(4000)];
                    if network.has_room() {
                        network.receive(&frame.into(), now);
                    }
                }
            }
            _ => {
                let queue = input.below(card.queues()) as u64;
                card.bar_write(MODERN_BAR, modern::NOTIFY + 4 * queue, Width::Word, queue, now);
                if let Some((token, answer)) = jobs.do_oldest(2048, MOST_PART as usize + 1) {
                    card.complete(token, &answer, now);
                }
            }
        }
    }
    assert!(card.save_bytes().expect("it can be saved").len() < 64 << 20);
    _ = card.info();
    card.reset(now);
    assert_eq!(card.bar_read(MODERN_BAR, common::STATUS, Width::Byte, now), 0);
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let memory = GuestMemory::new(1 << 20, &[]).expect("memory");
    let jobs = Arc::new(Jobs::default());
    match input.below(5) {
        0 | 1 => {
            let mut config = DriveConfig::new("d", DrivePlace::Unattached, Media::Disk);
            (config.discard, config.on_write_error) = (true, OnDiskError::Report);
            let disk: Medium = Arc::new(MemoryDisk::new(vec![1; 4000 * 512]));
            let disk = Blk::new(Drive::new(config, Some(disk)), jobs.clone(), MachineRequests::new(), 2, 128);
            drive(&mut card(&memory, disk), &memory, &jobs, &mut input);
        }
        2 => {
            let ports = [(0, true), (1, false)].map(|(number, console)| PortConfig {
                number,
                console,
                name: Some("port".to_owned()),
                cable: Box::new(Cable(9)),
            });
            drive(&mut card(&memory, Console::new(ports.into())), &memory, &jobs, &mut input);
        }
        3 => {
            let takes = Offloads { checksum: true, tcp4: true, tcp6: true, ecn: true, udp: true };
            let mut cable = TestCable::default();
            cable.offloads = takes;
            let net = Net::new(Arc::new(cable.clone()), MacAddress([2, 0, 0, 0, 0, 1]), 2, 64);
            drive(&mut card(&memory, net), &memory, &jobs, &mut input);
            for frame in cable.take_sent() {
                let end =
                    frame.checksum.map_or(0, |sum| usize::from(sum.start) + usize::from(sum.offset) + 2);
                assert!(frame.bytes.len() >= end.max(14) && frame.bytes.len() < 65_600);
                assert!(frame.segmentation.is_none() || frame.checksum.is_some());
            }
        }
        _ => {
            let all = BalloonConfig {
                deflate_on_oom: true,
                free_page_reporting: true,
                free_page_hint: true,
                stats_every_ns: 0,
            };
            drive(&mut card(&memory, Balloon::new(all, 1 << 20)), &memory, &jobs, &mut input);
            let rng = Rng::new(jobs.clone(), Arc::new(|_, _: &mut [u8]| {}), None);
            drive(&mut card(&memory, rng), &memory, &jobs, &mut input);
        }
    }
});
