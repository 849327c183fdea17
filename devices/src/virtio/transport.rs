//! What all transports of virtio have: status, features, queues, and what is to be told to the driver.

use super::queue::{Queue, QueueStateV1, RingError, Rules};
use super::registers::{NO_VECTOR, feature, isr, status};
use serde::{Deserialize, Serialize};
use trimotor_bus::{BusMaster, GuestTime, RestoreError};

/// A bit for each queue.
pub(super) type QueueSet = u64;

/// Status, features and queues of a device.
#[derive(Clone)]
pub(super) struct Transport {
    pub(super) memory: BusMaster,
    /// For messages to people.
    name: String,

    /// All features that the device offers.
    pub(super) offered: u64,
    /// The features that a driver may choose, and how.
    pub(super) interfaces: Interfaces,

    pub(super) status: u8,
    pub(super) device_feature_select: u32,
    pub(super) driver_feature_select: u32,
    /// What the driver has written so far.
    pub(super) driver_features: u64,
    /// What was agreed on.
    pub(super) features: u64,
    pub(super) queue_select: u16,
    pub(super) queues: Vec<Queue>,
    pub(super) config_vector: u16,
    pub(super) isr: u8,
    pub(super) config_generation: u8,
    /// Queues to look at once more, without being told.
    again: QueueSet,
    again_at: GuestTime,

    /// Queues with buffers that were given back in this call, and whether the configuration changed.
    used: QueueSet,
    changed: bool,
    /// Whether a driver's mistake has been told since the last reset.
    told: bool,
}

/// Which drivers a device is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interfaces {
    /// Those from before virtio 1.
    pub legacy: bool,
    /// Those of virtio 1.
    pub modern: bool,
}

/// What the driver is to be told.
#[derive(Default, Debug)]
pub(super) struct Told {
    /// Queues with an interrupt.
    pub(super) queues: QueueSet,
    /// An interrupt because of the configuration.
    pub(super) config: bool,
}

/// The saved state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TransportStateV1 {
    status: u8,
    device_feature_select: u32,
    driver_feature_select: u32,
    driver_features: u64,
    features: u64,
    queue_select: u16,
    queues: Vec<QueueStateV1>,
    config_vector: u16,
    isr: u8,
    config_generation: u8,
    again: u64,
    again_at_ns: u64,
}

impl Transport {
    pub(super) fn new(
        name: String,
        memory: BusMaster,
        offered: u64,
        interfaces: Interfaces,
        sizes: &[u16],
    ) -> Self {
        assert!(sizes.len() <= 64, "{} queues", sizes.len());
        Self {
            memory,
            name,
            offered,
            interfaces,
            status: 0,
            device_feature_select: 0,
            driver_feature_select: 0,
            driver_features: 0,
            features: 0,
            queue_select: 0,
            queues: sizes.iter().map(|size| Queue::new(*size)).collect(),
            config_vector: NO_VECTOR,
            isr: 0,
            config_generation: 0,
            again: 0,
            again_at: GuestTime::ZERO,
            used: 0,
            changed: false,
            told: false,
        }
    }
    /// As it came.
    pub(super) fn reset(&mut self) {
        self.status = 0;
        (self.device_feature_select, self.driver_feature_select) = (0, 0);
        (self.driver_features, self.features) = (0, 0);
        self.queue_select = 0;
        self.queues.iter_mut().for_each(Queue::reset);
        self.config_vector = NO_VECTOR;
        self.isr = 0;
        (self.again, self.used, self.changed, self.told) = (0, 0, false, false);
    }

    pub(super) fn rules(&self) -> Rules {
        Rules::of(self.features)
    }
    /// Whether the driver keeps to virtio 1.
    pub(super) fn is_modern(&self) -> bool {
        self.features & feature::VERSION_1 != 0
    }
    /// Whether the device may look at queues at all. Legacy drivers may use them before they say that they are ready.
    fn runs(&self) -> bool {
        let ready = status::DRIVER_OK | status::FEATURES_OK;
        self.status & status::NEEDS_RESET == 0
            && (!self.is_modern() || self.status & ready == ready)
            && self.memory.enabled()
    }
    /// Whether the device may look at this queue.
    pub(super) fn uses(&self, queue: usize) -> bool {
        self.runs() && self.queues.get(queue).is_some_and(|queue| queue.enabled)
    }
    pub(super) fn any_queue_enabled(&self) -> bool {
        self.queues.iter().any(|queue| queue.enabled)
    }
    pub(super) fn selected(&mut self) -> Option<&mut Queue> {
        self.queues.get_mut(usize::from(self.queue_select))
    }

    /// A driver of virtio 1 writes the status; zero is a reset, which the caller does. Returns whether it became ready.
    pub(super) fn write_status(&mut self, value: u8) -> bool {
        let before = self.status;
        let mut new = before | value & status::WRITABLE;
        if new & !before & status::FEATURES_OK != 0 {
            if self.may_choose() {
                self.features = self.driver_features;
            } else {
                new &= !status::FEATURES_OK;
            }
        }
        // Not before the features are agreed on.
        if new & status::FEATURES_OK == 0 {
            new &= !status::DRIVER_OK;
        }
        self.status = new;
        new & !before & status::DRIVER_OK != 0
    }
    /// Whether the features that the driver has written can be agreed on.
    fn may_choose(&self) -> bool {
        let chosen = self.driver_features;
        // ANY_LAYOUT is for legacy drivers.
        let offered = self.offered & !feature::ANY_LAYOUT;
        chosen & !offered == 0 && chosen & feature::VERSION_1 != 0 && !self.any_queue_enabled()
    }
    /// A legacy driver writes the status.
    pub(super) fn write_legacy_status(&mut self, value: u8) -> bool {
        let before = self.status;
        self.status |= value & status::WRITABLE & !status::FEATURES_OK;
        self.status & !before & status::DRIVER_OK != 0
    }
    /// A legacy driver chooses features, which are agreed on at once.
    pub(super) fn write_legacy_features(&mut self, value: u32) {
        if self.status & status::FEATURES_OK == 0 && !self.any_queue_enabled() {
            self.features = u64::from(value) & self.offered & feature::LEGACY;
            self.driver_features = self.features;
        }
    }

    /// The device cannot go on: what the driver did is against the specification.
    pub(super) fn fail(&mut self, why: RingError) {
        if !std::mem::replace(&mut self.told, true) {
            log::warn!("{}: the driver broke a queue, and must reset the device: {why}", self.name);
        }
        if self.status & status::NEEDS_RESET == 0 {
            self.status |= status::NEEDS_RESET;
            if self.status & status::DRIVER_OK != 0 {
                self.config_changed();
            }
        }
    }
    pub(super) fn config_changed(&mut self) {
        self.config_generation = self.config_generation.wrapping_add(1);
        self.changed = true;
    }
    pub(super) fn used(&mut self, queue: usize) {
        self.used |= 1 << queue;
    }
    /// A queue has perhaps more, of which the driver will not tell.
    pub(super) fn look_again(&mut self, queue: usize) {
        self.again |= 1 << queue;
    }
    pub(super) fn is_looked_at_again(&self, queue: usize) -> bool {
        self.again >> queue & 1 != 0
    }
    /// When queues are to be looked at once more.
    pub(super) fn again_at(&self) -> Option<GuestTime> {
        (self.again != 0).then_some(self.again_at)
    }
    /// The queues that are to be looked at once more now.
    pub(super) fn take_again(&mut self, now: GuestTime) -> QueueSet {
        if self.again_at <= now { std::mem::take(&mut self.again) } else { 0 }
    }
    /// The device was called: queues that are to be looked at once more are so a moment later.
    pub(super) fn called_at(&mut self, now: GuestTime) {
        self.again_at = now;
    }
    /// What the driver is to be told after a call of the device.
    pub(super) fn take_told(&mut self) -> Told {
        let mut told = Told::default();
        let used = std::mem::take(&mut self.used);
        let rules = self.rules();
        for queue in (0..self.queues.len()).filter(|queue| used >> queue & 1 != 0) {
            match self.queues[queue].wants_interrupt(&self.memory, rules) {
                Ok(wanted) => told.queues |= u64::from(wanted) << queue,
                Err(error) => self.fail(error),
            }
        }
        told.config = std::mem::take(&mut self.changed);
        told
    }
    /// Notes in the ISR what an interrupt is for.
    pub(super) fn set_isr(&mut self, told: &Told) {
        self.isr |= if told.queues != 0 { isr::QUEUE } else { 0 } | if told.config { isr::CONFIG } else { 0 };
    }
    pub(super) fn status_text(&self) -> &'static str {
        match self.status {
            0 => "no driver",
            bits if bits & status::NEEDS_RESET != 0 => "needs a reset",
            bits if bits & status::FAILED != 0 => "its driver gave up",
            bits if bits & status::DRIVER_OK == 0 => "its driver begins",
            _ if self.is_modern() => "in use",
            _ => "in use by a legacy driver",
        }
    }

    pub(super) fn save(&self) -> TransportStateV1 {
        let Self {
            memory: _,
            name: _,
            offered: _,
            interfaces: _,
            status,
            device_feature_select,
            driver_feature_select,
            driver_features,
            features,
            queue_select,
            queues,
            config_vector,
            isr,
            config_generation,
            again,
            again_at,
            used: _,
            changed: _,
            told: _,
        } = self;
        TransportStateV1 {
            status: *status,
            device_feature_select: *device_feature_select,
            driver_feature_select: *driver_feature_select,
            driver_features: *driver_features,
            features: *features,
            queue_select: *queue_select,
            queues: queues.iter().map(Queue::save).collect(),
            config_vector: *config_vector,
            isr: *isr,
            config_generation: *config_generation,
            again: *again,
            again_at_ns: again_at.ns(),
        }
    }
    /// This transport in a saved state.
    ///
    /// # Errors
    /// Another number of queues, features that were not offered, or rings that cannot be.
    pub(super) fn restored(&self, state: TransportStateV1) -> Result<Self, RestoreError> {
        let refuse = |field, value: String| Err(RestoreError { part: "virtio", field, value });
        let TransportStateV1 {
            status,
            device_feature_select,
            driver_feature_select,
            driver_features,
            features,
            queue_select,
            queues,
            config_vector,
            isr,
            config_generation,
            again,
            again_at_ns,
        } = state;
        if features & !self.offered != 0 {
            return refuse("features", format!("{features:#x}"));
        }
        if isr & !(isr::QUEUE | isr::CONFIG) != 0 {
            return refuse("ISR", format!("{isr:#x}"));
        }
        if status & !(status::WRITABLE | status::NEEDS_RESET) != 0 {
            return refuse("status", format!("{status:#x}"));
        }
        if queues.len() != self.queues.len() || again.checked_shr(queues.len() as u32).unwrap_or(0) != 0 {
            return refuse("queues", format!("{} {again:#x}", queues.len()));
        }
        let mut restored = Vec::with_capacity(queues.len());
        for (own, state) in self.queues.iter().zip(queues) {
            let text = format!("{state:?}");
            let Some(queue) = own.restored(state, Rules::of(features)) else { return refuse("queue", text) };
            restored.push(queue);
        }
        Ok(Self {
            status,
            device_feature_select,
            driver_feature_select,
            driver_features,
            features,
            queue_select,
            queues: restored,
            config_vector,
            isr,
            config_generation,
            again,
            again_at: GuestTime(again_at_ns),
            used: 0,
            changed: false,
            told: false,
            ..self.clone()
        })
    }
}
