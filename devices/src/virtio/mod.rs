//! Virtio devices (Virtual I/O Device 1.2): made for virtual machines, so that a request costs one exit and copies nothing twice.
//!
//! A driver places *queues* in memory, puts descriptors of buffers into them, and tells the device by one write. The device
//! reads or fills the buffers, gives them back in the queue, and interrupts. What differs between devices is what the
//! buffers mean and a few bytes of configuration.
//!
//! | part | file |
//! |---|---|
//! | what a device implements | [`device`] |
//! | queues, split and packed | [`queue`] |
//! | the queues as a device sees them | [`io`] |
//! | status, features, what is told to the driver | `transport.rs` |
//! | the function on the PCI bus | [`pci`] |
//! | registers of virtio 1 and of older drivers | `modern.rs`, `legacy.rs` |
//! | numbers | [`registers`] |
//! | network card | [`net`] |
//! | disk, streams of bytes, random numbers, memory balloon | [`blk`], [`console`], [`rng`], [`balloon`] |
//!
//! **Where the registers are** (4.1.4):
//!
//! | BAR | what |
//! |---|---|
//! | 0, ports | registers for drivers from before virtio 1, and the device's configuration |
//! | 1 | MSI-X: a vector for changes of the configuration, and one a queue if the driver likes |
//! | 4, 64 bits | common configuration at 0, ISR at 1000h, the device's configuration at 2000h, notifications at 3000h |
//!
//! Capabilities in configuration space say where the parts of BAR 4 are; the last one of them is a window for firmware that
//! reaches no memory. A *transitional* device has BAR 0 and BAR 4, and serves whichever driver comes (4.1.2, 6.3). A driver
//! of virtio 1 offers `VERSION_1`, sees `FEATURES_OK` stay, and only then sets up queues; an older one chooses among the lower 32
//! features, and its queues lie in one piece at a page.
//!
//! **A driver's mistakes.** Whatever a queue says that it cannot say ([`queue::RingError`]) sets `NEEDS_RESET` in the status
//! (2.1.2): the device looks at no queue any more until the driver resets it, and one message says why. What
//! is read of guest memory is read once. A device takes a bounded number of buffers at a time; what is left is looked at a
//! moment later.
//!
//! Left out: notifications with data, IN_ORDER, shared memory, administration queues, and the transports over MMIO and channel I/O.
//! No IOMMU is there to be told of.

pub mod balloon;
pub mod blk;
pub mod console;
pub mod device;
pub mod io;
mod legacy;
mod modern;
pub mod net;
pub mod pci;
pub mod queue;
pub mod registers;
pub mod rng;
#[cfg(test)]
mod tests;
mod transport;

pub use device::{Kind, VirtioDevice, VirtioNetwork};
pub use io::Io;
pub use pci::{Card, LEGACY_BAR, MODERN_BAR, MSIX_BAR, VirtioPci, VirtioPciStateV1};
pub use transport::Interfaces;
