//! Numbers of the virtio specification: identifiers, features, status bits, offsets of registers.

/// PCI vendor of all virtio devices.
pub const VENDOR: u16 = 0x1AF4;
/// PCI device IDs of modern devices are this and the device's type (4.1.2).
pub const MODERN_DEVICE: u16 = 0x1040;
/// The alignment of the used ring in the legacy layout, and the unit of its address register (4.1.5.1.3).
pub const LEGACY_PAGE: u64 = 4096;
/// No MSI-X vector (4.1.5.1.2).
pub const NO_VECTOR: u16 = 0xFFFF;

/// Bits of the device status (2.1).
pub mod status {
    /// The guest has noticed the device.
    pub const ACKNOWLEDGE: u8 = 1;
    /// It knows how to drive it.
    pub const DRIVER: u8 = 2;
    /// The driver is ready.
    pub const DRIVER_OK: u8 = 4;
    /// Features are chosen.
    pub const FEATURES_OK: u8 = 8;
    /// The device has had an error and needs a reset.
    pub const NEEDS_RESET: u8 = 64;
    /// The driver has given up.
    pub const FAILED: u8 = 128;
    /// Those that a driver writes.
    pub const WRITABLE: u8 = ACKNOWLEDGE | DRIVER | DRIVER_OK | FEATURES_OK | FAILED;
}

/// Features of all devices (6).
pub mod feature {
    /// Legacy drivers: the layout of descriptors is free.
    pub const ANY_LAYOUT: u64 = 1 << 27;
    /// Descriptors may name tables of descriptors.
    pub const INDIRECT_DESC: u64 = 1 << 28;
    /// Rings say from where on each side wants to be told.
    pub const EVENT_IDX: u64 = 1 << 29;
    /// The driver keeps to virtio 1.
    pub const VERSION_1: u64 = 1 << 32;
    /// Packed rings.
    pub const RING_PACKED: u64 = 1 << 34;
    /// Queues can be reset one by one.
    pub const RING_RESET: u64 = 1 << 40;
    /// What legacy drivers can see.
    pub const LEGACY: u64 = 0xFFFF_FFFF;
    /// Those that the transport and its rings have, for each device.
    pub const TRANSPORT: u64 = 0x1FF_F800_0000;
}

/// Bits of the ISR status (4.1.4.5).
pub mod isr {
    /// A queue has something new.
    pub const QUEUE: u8 = 1;
    /// The configuration has changed.
    pub const CONFIG: u8 = 2;
}

/// The common configuration structure (4.1.4.3).
pub mod common {
    /// Which 32 of the offered features are shown.
    pub const DEVICE_FEATURE_SELECT: u64 = 0x00;
    /// Offered features.
    pub const DEVICE_FEATURE: u64 = 0x04;
    /// Which 32 of the chosen features are shown.
    pub const DRIVER_FEATURE_SELECT: u64 = 0x08;
    /// Chosen features.
    pub const DRIVER_FEATURE: u64 = 0x0C;
    /// Vector of configuration changes.
    pub const CONFIG_VECTOR: u64 = 0x10;
    /// How many queues there are.
    pub const NUM_QUEUES: u64 = 0x12;
    /// Device status.
    pub const STATUS: u64 = 0x14;
    /// Changes whenever the configuration may have.
    pub const CONFIG_GENERATION: u64 = 0x15;
    /// Which queue the registers from here on are of.
    pub const QUEUE_SELECT: u64 = 0x16;
    /// Its size.
    pub const QUEUE_SIZE: u64 = 0x18;
    /// Its vector.
    pub const QUEUE_VECTOR: u64 = 0x1A;
    /// Whether it is in use.
    pub const QUEUE_ENABLE: u64 = 0x1C;
    /// Which notification register is its own.
    pub const QUEUE_NOTIFY_OFF: u64 = 0x1E;
    /// Address of its descriptors, 64 bits.
    pub const QUEUE_DESC: u64 = 0x20;
    /// Address of the driver's area.
    pub const QUEUE_DRIVER: u64 = 0x28;
    /// Address of the device's area.
    pub const QUEUE_DEVICE: u64 = 0x30;
    /// Data for notifications, which is not offered.
    pub const QUEUE_NOTIF_CONFIG: u64 = 0x38;
    /// Resets the queue.
    pub const QUEUE_RESET: u64 = 0x3A;
    /// Bytes of the structure.
    pub const BYTES: usize = 0x3C;
}

/// The legacy registers at the beginning of BAR 0 (4.1.4.8).
pub mod legacy {
    /// Offered features.
    pub const DEVICE_FEATURES: u64 = 0x00;
    /// Chosen features.
    pub const DRIVER_FEATURES: u64 = 0x04;
    /// Page number of the queue.
    pub const QUEUE_ADDRESS: u64 = 0x08;
    /// Its size, read-only.
    pub const QUEUE_SIZE: u64 = 0x0C;
    /// Which queue.
    pub const QUEUE_SELECT: u64 = 0x0E;
    /// A write tells of a queue.
    pub const QUEUE_NOTIFY: u64 = 0x10;
    /// Device status.
    pub const STATUS: u64 = 0x12;
    /// ISR status.
    pub const ISR: u64 = 0x13;
    /// With MSI-X: the vector of configuration changes.
    pub const CONFIG_VECTOR: u64 = 0x14;
    /// With MSI-X: the vector of the queue.
    pub const QUEUE_VECTOR: u64 = 0x16;
    /// Where the device's configuration begins without MSI-X, and with it.
    pub const CONFIG: [u64; 2] = [0x14, 0x18];
    /// Bytes behind BAR 0.
    pub const BYTES: u32 = 128;
}

/// Vendor-specific capabilities (4.1.4).
pub mod capability {
    /// PCI capability ID.
    pub const VENDOR_SPECIFIC: u8 = 0x09;
    /// Common configuration.
    pub const COMMON: u8 = 1;
    /// Notifications.
    pub const NOTIFY: u8 = 2;
    /// ISR status.
    pub const ISR: u8 = 3;
    /// The device's configuration.
    pub const DEVICE: u8 = 4;
    /// Access through configuration space.
    pub const PCI: u8 = 5;
    /// Offset of the capability's BAR number, BAR offset and length; behind them its own fields.
    pub const BAR: u8 = 4;
    /// See [`BAR`].
    pub const OFFSET: u8 = 8;
    /// See [`BAR`].
    pub const LENGTH: u8 = 12;
    /// The data of [`PCI`].
    pub const DATA: u8 = 16;
}

/// Where the structures are behind the modern BAR.
pub mod modern {
    /// Common configuration.
    pub const COMMON: u64 = 0x0000;
    /// ISR status.
    pub const ISR: u64 = 0x1000;
    /// The device's configuration.
    pub const DEVICE: u64 = 0x2000;
    /// Notifications.
    pub const NOTIFY: u64 = 0x3000;
    /// Bytes from one notification register to the next.
    pub const NOTIFY_STRIDE: u64 = 4;
    /// Bytes behind the BAR, and of each part.
    pub const BYTES: u64 = 0x4000;
    /// Bytes of each part.
    pub const PART: u64 = 0x1000;
}
