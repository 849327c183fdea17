//! The registers of drivers from before virtio 1 (4.1.4.8).

use super::device::VirtioDevice;
use super::pci::VirtioPci;
use super::registers::{LEGACY_PAGE, feature, legacy};
use crate::device::Doorbells;
use trimotor_bus::{GuestTime, Width};

impl<D: VirtioDevice> VirtioPci<D> {
    /// Where the device's configuration begins: two registers more are in front while MSI-X is on.
    fn legacy_config(&self) -> u64 {
        legacy::CONFIG[usize::from(self.msix_enabled())]
    }
    pub(super) fn legacy_read(&mut self, offset: u64, width: Width) -> u64 {
        let config = self.legacy_config();
        if offset >= config {
            return self.device_config(offset - config, width);
        }
        // Reads of a part of a register, or of several, are put together from bytes; that of the ISR clears it.
        let byte = |card: &mut Self, at: u64| {
            if at >= config {
                return card.device_config(at - config, Width::Byte);
            }
            if at == legacy::ISR {
                return card.take_isr().into();
            }
            let (register, value) = card.legacy_register(at);
            value >> (8 * (at - register)) & 0xFF
        };
        (0..width.bytes() as u64).fold(0, |value, i| value | byte(self, offset + i) << (8 * i))
    }
    /// The register that a byte belongs to: its offset and value.
    fn legacy_register(&mut self, at: u64) -> (u64, u64) {
        let t = &mut self.transport;
        let offered = t.offered & feature::LEGACY;
        let features = t.features & feature::LEGACY;
        let select = t.queue_select;
        let config_vector = t.config_vector.into();
        let status = t.status.into();
        let queue = t.selected();
        match at {
            legacy::DEVICE_FEATURES..=0x03 => (legacy::DEVICE_FEATURES, offered),
            legacy::DRIVER_FEATURES..=0x07 => (legacy::DRIVER_FEATURES, features),
            legacy::QUEUE_ADDRESS..=0x0B => {
                let page = queue.filter(|queue| queue.enabled).map_or(0, |queue| queue.desc / LEGACY_PAGE);
                (legacy::QUEUE_ADDRESS, page & 0xFFFF_FFFF)
            }
            legacy::QUEUE_SIZE..=0x0D => (legacy::QUEUE_SIZE, queue.map_or(0, |queue| queue.size.into())),
            legacy::QUEUE_SELECT..=0x0F => (legacy::QUEUE_SELECT, select.into()),
            legacy::STATUS => (legacy::STATUS, status),
            legacy::CONFIG_VECTOR..=0x15 => (legacy::CONFIG_VECTOR, config_vector),
            legacy::QUEUE_VECTOR..=0x17 => {
                let none = super::registers::NO_VECTOR;
                (legacy::QUEUE_VECTOR, queue.map_or(none, |queue| queue.vector).into())
            }
            _ => (at, 0),
        }
    }
    pub(super) fn legacy_write(&mut self, offset: u64, width: Width, value: u64, now: GuestTime) {
        let config = self.legacy_config();
        if offset >= config {
            return self.write_device_config(offset - config, width, value, now);
        }
        match (offset, width) {
            (legacy::DRIVER_FEATURES, Width::Dword) => self.transport.write_legacy_features(value as u32),
            (legacy::QUEUE_ADDRESS, Width::Dword) => self.place_queue(value as u32),
            (legacy::QUEUE_SELECT, Width::Word) => self.transport.queue_select = value as u16,
            (legacy::QUEUE_NOTIFY, Width::Word) if value < self.queues() as u64 => self.rung(1 << value, now),
            (legacy::STATUS, Width::Byte) if value == 0 => self.reset_by_driver(),
            (legacy::STATUS, Width::Byte) => {
                let begins = self.transport.write_legacy_status(value as u8);
                if begins {
                    self.begin(now);
                }
            }
            (legacy::CONFIG_VECTOR, Width::Word) => self.transport.config_vector = self.vector(value),
            (legacy::QUEUE_VECTOR, Width::Word) => {
                let vector = self.vector(value);
                if let Some(queue) = self.transport.selected() {
                    queue.vector = vector;
                }
            }
            _ => {}
        }
    }
    /// A legacy driver places a queue, or takes it away.
    fn place_queue(&mut self, page: u32) {
        let number = usize::from(self.transport.queue_select);
        // Packed rings, and those of odd sizes, are for drivers of virtio 1.
        if self.transport.is_modern() {
            return;
        }
        if let Some(queue) = self.transport.selected() {
            queue.size = queue.most;
            queue.place_legacy(page);
            self.device.queue_reset(number);
        }
    }
}
