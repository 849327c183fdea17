//! A driver for tests, written from the specification: it talks to a card by its registers and by rings in memory.

mod balloon;
mod blk;
mod console;
mod handshake;
mod hostile;
mod hostile_devices;
mod net;
mod probe;
mod ring;
mod rng;
mod transport;

use super::registers::{common, modern, status};
use super::*;
use crate::device::{Completion, Job, Outside};
use ring::Ring;
use std::sync::{Arc, Mutex};
use trimotor_bus::{
    BusMaster, GuestMemory, GuestTime, IrqLine, IrqSink, MsiSink, PciBars, PciFunction, PhysAddr, Width,
};

pub(super) const NOW: GuestTime = GuestTime::ZERO;
pub(super) const ALL_RINGS: [Format; 4] = [
    Format { packed: false, indirect: false },
    Format { packed: false, indirect: true },
    Format { packed: true, indirect: false },
    Format { packed: true, indirect: true },
];

/// How buffers are offered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    pub(super) packed: bool,
    pub(super) indirect: bool,
}

/// Jobs wait here until a test runs them.
#[derive(Default)]
pub(super) struct Waiting(pub(super) Mutex<Vec<(u64, GuestTime, Job)>>);
impl Outside for Waiting {
    fn begin(&self, token: u64, due: GuestTime, job: Job) {
        self.0.lock().unwrap().push((token, due, job));
    }
}
#[derive(Default)]
pub(super) struct Pin(Mutex<bool>);
impl IrqSink for Pin {
    fn set_level(&self, _line: u8, high: bool) {
        *self.0.lock().unwrap() = high;
    }
}
#[derive(Default)]
pub(super) struct Messages(Mutex<Vec<u32>>);
impl MsiSink for Messages {
    fn send(&self, _address: u64, data: u32) {
        self.0.lock().unwrap().push(data);
    }
}

/// A card with all that is around it.
pub(super) struct Bench<D> {
    pub(super) card: VirtioPci<D>,
    pub(super) memory: Arc<GuestMemory>,
    pub(super) waiting: Arc<Waiting>,
    pin: Arc<Pin>,
    messages: Arc<Messages>,
}

impl<D: VirtioDevice> Bench<D> {
    pub(super) fn new(make: impl FnOnce(Arc<Waiting>) -> D) -> Self {
        Self::with(Interfaces { legacy: true, modern: true }, make)
    }
    pub(super) fn with(interfaces: Interfaces, make: impl FnOnce(Arc<Waiting>) -> D) -> Self {
        let memory = GuestMemory::new(4 << 20, &[]).unwrap();
        let (waiting, pin, messages) =
            (Arc::<Waiting>::default(), Arc::<Pin>::default(), Arc::<Messages>::default());
        let device = make(waiting.clone());
        let card = Card {
            intx: IrqLine::new(pin.clone(), 0),
            msi: messages.clone(),
            memory: BusMaster::new(memory.clone()),
            interfaces,
            packed: true,
            vectors: device.queue_sizes().len() as u16 + 1,
            rom: None,
            name: "test".to_owned(),
        };
        let mut card = VirtioPci::new(card, device);
        card.config_write(4, Width::Word, 7, NOW);
        Self { card, memory, waiting, pin, messages }
    }
    pub(super) fn set(&mut self, register: u64, width: Width, value: u64) {
        self.card.bar_write(MODERN_BAR, register, width, value, NOW);
    }
    pub(super) fn get(&mut self, register: u64, width: Width) -> u64 {
        self.card.bar_read(MODERN_BAR, register, width, NOW)
    }
    pub(super) fn status(&mut self) -> u8 {
        self.get(common::STATUS, Width::Byte) as u8
    }
    pub(super) fn needs_reset(&mut self) -> bool {
        self.status() & status::NEEDS_RESET != 0
    }
    pub(super) fn offered(&mut self) -> u64 {
        let mut half = |select| {
            self.set(common::DEVICE_FEATURE_SELECT, Width::Dword, select);
            self.get(common::DEVICE_FEATURE, Width::Dword)
        };
        half(0) | half(1) << 32
    }
    /// Resets the device and chooses features; returns whether it agrees.
    pub(super) fn choose(&mut self, features: u64) -> bool {
        self.set(common::STATUS, Width::Byte, 0);
        for bit in [status::ACKNOWLEDGE, status::DRIVER] {
            let bits = self.status() | bit;
            self.set(common::STATUS, Width::Byte, bits.into());
        }
        for (select, half) in [(0, features & 0xFFFF_FFFF), (1, features >> 32)] {
            self.set(common::DRIVER_FEATURE_SELECT, Width::Dword, select);
            self.set(common::DRIVER_FEATURE, Width::Dword, half);
        }
        let bits = self.status() | status::FEATURES_OK;
        self.set(common::STATUS, Width::Byte, bits.into());
        self.status() & status::FEATURES_OK != 0
    }
    /// Sets up a queue of this size.
    pub(super) fn queue(&mut self, number: u16, size: u16, format: Format) -> Ring {
        let ring = Ring::new(0x10_0000 + u64::from(number) * 0x1_0000, size, format);
        self.memory.write(PhysAddr(ring.desc), &[0; 0x1_0000]);
        self.place(number, &ring);
        ring
    }
    pub(super) fn place(&mut self, number: u16, ring: &Ring) {
        self.set(common::QUEUE_SELECT, Width::Word, number.into());
        self.set(common::QUEUE_SIZE, Width::Word, ring.size.into());
        self.set(common::QUEUE_VECTOR, Width::Word, u64::from(number) + 1);
        for (register, value) in [
            (common::QUEUE_DESC, ring.desc),
            (common::QUEUE_DRIVER, ring.driver),
            (common::QUEUE_DEVICE, ring.device),
        ] {
            self.set(register, Width::Dword, value & 0xFFFF_FFFF);
            self.set(register + 4, Width::Dword, value >> 32);
        }
        self.set(common::QUEUE_ENABLE, Width::Word, 1);
    }
    pub(super) fn ready(&mut self) {
        let bits = self.status() | status::DRIVER_OK;
        self.set(common::STATUS, Width::Byte, bits.into());
    }
    /// All of it: a device in use with queue 0, with all features that are offered but for `without`.
    pub(super) fn start(&mut self, size: u16, format: Format, without: u64) -> Ring {
        let mut features = self.offered() & !without;
        if !format.packed {
            features &= !registers::feature::RING_PACKED;
        }
        assert!(self.choose(features));
        let ring = self.queue(0, size, format);
        self.ready();
        ring
    }
    pub(super) fn notify(&mut self, queue: u64) {
        self.set(modern::NOTIFY + queue * modern::NOTIFY_STRIDE, Width::Word, queue);
    }
    /// Runs the job that was begun as number `index` of those that wait.
    pub(super) fn finish(&mut self, index: usize) {
        let (token, _, job) = self.waiting.0.lock().unwrap().remove(index);
        self.card.complete(token, &job(), NOW);
    }
    pub(super) fn finish_all(&mut self) {
        while self.jobs() > 0 {
            self.finish(0);
        }
    }
    pub(super) fn jobs(&self) -> usize {
        self.waiting.0.lock().unwrap().len()
    }
    pub(super) fn pin(&self) -> bool {
        *self.pin.0.lock().unwrap()
    }
    pub(super) fn messages(&self) -> Vec<u32> {
        std::mem::take(&mut self.messages.0.lock().unwrap())
    }
    pub(super) fn bytes(&self, at: u64, bytes: usize) -> Vec<u8> {
        let mut read = vec![0; bytes];
        self.memory.read(PhysAddr(at), &mut read);
        read
    }
}
