//! The structures of virtio 1 (4.1.4).

use super::device::VirtioDevice;
use super::pci::VirtioPci;
use super::registers::{common, feature, modern, status};
use trimotor_bus::{GuestTime, Width};

impl<D: VirtioDevice> VirtioPci<D> {
    pub(super) fn modern_read(&mut self, offset: u64, width: Width) -> u64 {
        let at = offset % modern::PART;
        match offset - at {
            modern::COMMON => {
                let image = self.common_image();
                let byte = |at: u64| u64::from(image.get(at as usize).copied().unwrap_or(0));
                (0..width.bytes() as u64).fold(0, |value, i| value | byte(at + i) << (8 * i))
            }
            modern::ISR if at == 0 => self.take_isr().into(),
            modern::DEVICE => self.device_config(at, width),
            _ => 0,
        }
    }
    pub(super) fn modern_write(&mut self, offset: u64, width: Width, value: u64, now: GuestTime) {
        let at = offset % modern::PART;
        match offset - at {
            modern::COMMON => self.common_write(at, width, value, now),
            modern::DEVICE => self.write_device_config(at, width, value, now),
            modern::NOTIFY => {
                let queue = at / modern::NOTIFY_STRIDE;
                if queue < self.queues() as u64 {
                    crate::device::Doorbells::rung(self, 1 << queue, now);
                }
            }
            _ => {}
        }
    }

    /// All registers as they read. None of them changes by being read.
    fn common_image(&self) -> [u8; common::BYTES] {
        let t = &self.transport;
        let mut image = [0; common::BYTES];
        let mut put = |at: u64, bytes: &[u8]| image[at as usize..][..bytes.len()].copy_from_slice(bytes);
        let half = |features: u64, select: u32| match select {
            0 => features as u32,
            1 => (features >> 32) as u32,
            _ => 0,
        };
        // ANY_LAYOUT is for legacy drivers.
        let offered = t.offered & !feature::ANY_LAYOUT;
        put(common::DEVICE_FEATURE_SELECT, &t.device_feature_select.to_le_bytes());
        put(common::DEVICE_FEATURE, &half(offered, t.device_feature_select).to_le_bytes());
        put(common::DRIVER_FEATURE_SELECT, &t.driver_feature_select.to_le_bytes());
        put(common::DRIVER_FEATURE, &half(t.driver_features, t.driver_feature_select).to_le_bytes());
        put(common::CONFIG_VECTOR, &t.config_vector.to_le_bytes());
        put(common::NUM_QUEUES, &(t.queues.len() as u16).to_le_bytes());
        put(common::STATUS, &[t.status]);
        put(common::CONFIG_GENERATION, &[t.config_generation]);
        put(common::QUEUE_SELECT, &t.queue_select.to_le_bytes());
        // A queue that is not there has size 0.
        if let Some(queue) = t.queues.get(usize::from(t.queue_select)) {
            put(common::QUEUE_SIZE, &queue.size.to_le_bytes());
            put(common::QUEUE_VECTOR, &queue.vector.to_le_bytes());
            put(common::QUEUE_ENABLE, &u16::from(queue.enabled).to_le_bytes());
            put(common::QUEUE_NOTIFY_OFF, &t.queue_select.to_le_bytes());
            put(common::QUEUE_DESC, &queue.desc.to_le_bytes());
            put(common::QUEUE_DRIVER, &queue.driver.to_le_bytes());
            put(common::QUEUE_DEVICE, &queue.device.to_le_bytes());
        }
        image
    }

    /// A register is written with its own width, or, of 64 bits, half by half (4.1.3.1). Others are dropped.
    fn common_write(&mut self, at: u64, width: Width, value: u64, now: GuestTime) {
        let t = &mut self.transport;
        match (at, width) {
            (common::DEVICE_FEATURE_SELECT, Width::Dword) => t.device_feature_select = value as u32,
            (common::DRIVER_FEATURE_SELECT, Width::Dword) => t.driver_feature_select = value as u32,
            (common::DRIVER_FEATURE, Width::Dword) => self.write_features(value as u32),
            (common::CONFIG_VECTOR, Width::Word) => self.transport.config_vector = self.vector(value),
            (common::STATUS, Width::Byte) if value == 0 => self.reset_by_driver(),
            (common::STATUS, Width::Byte) => {
                let ready = t.write_status(value as u8);
                if ready {
                    self.begin(now);
                }
            }
            (common::QUEUE_SELECT, Width::Word) => t.queue_select = value as u16,
            (common::QUEUE_VECTOR, Width::Word) => {
                let vector = self.vector(value);
                if let Some(queue) = self.transport.selected() {
                    queue.vector = vector;
                }
            }
            (common::QUEUE_ENABLE, Width::Word) if value == 1 => self.enable_queue(now),
            (common::QUEUE_RESET, Width::Word) if value == 1 => self.reset_queue(),
            _ => self.write_queue(at, width, value),
        }
    }
    fn write_features(&mut self, value: u32) {
        let t = &mut self.transport;
        // What was agreed on stays.
        if t.status & status::FEATURES_OK != 0 {
            return;
        }
        let old = t.driver_features;
        match t.driver_feature_select {
            0 => t.driver_features = old & !0xFFFF_FFFF | u64::from(value),
            1 => t.driver_features = old & 0xFFFF_FFFF | u64::from(value) << 32,
            // Features that nobody has.
            _ => {}
        }
    }
    /// Size and addresses of a queue that is not in use yet.
    fn write_queue(&mut self, at: u64, width: Width, value: u64) {
        let Some(queue) = self.transport.selected().filter(|queue| !queue.enabled) else { return };
        if (at, width) == (common::QUEUE_SIZE, Width::Word) {
            if (1..=u64::from(queue.most)).contains(&value) {
                queue.size = value as u16;
            }
            return;
        }
        let field = match at & !7 {
            common::QUEUE_DESC => &mut queue.desc,
            common::QUEUE_DRIVER => &mut queue.driver,
            common::QUEUE_DEVICE => &mut queue.device,
            _ => return,
        };
        match (at & 7, width) {
            (0, Width::Qword) => *field = value,
            (0, Width::Dword) => *field = *field & !0xFFFF_FFFF | value,
            (4, Width::Dword) => *field = *field & 0xFFFF_FFFF | value << 32,
            _ => {}
        }
    }
    fn enable_queue(&mut self, now: GuestTime) {
        let t = &mut self.transport;
        let rules = t.rules();
        if t.status & status::FEATURES_OK == 0 {
            return;
        }
        let Some(queue) = t.selected().filter(|queue| !queue.enabled) else { return };
        if let Err(error) = queue.enable(rules) {
            t.fail(error);
        }
        self.settle(now);
    }
    /// Resets one queue (2.6.1). What it had under way is forgotten when the register is read next.
    fn reset_queue(&mut self) {
        if self.transport.features & feature::RING_RESET == 0 {
            return;
        }
        let number = usize::from(self.transport.queue_select);
        if let Some(queue) = self.transport.selected() {
            queue.reset();
            self.device.queue_reset(number);
        }
    }
}
