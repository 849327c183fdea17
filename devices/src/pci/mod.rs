//! PCI: the bus, the host bridge and the south bridge's functions.
//!
//! Software reaches a function's 256 bytes of configuration space through two ports
//! (configuration mechanism 1): a dword written to CF8h selects bus, device, function and
//! register, and CFCh to CFFh are then a window on that register. A base address register
//! (BAR) in the configuration space says where a function answers in port or memory space.
//!
//! [`mechanism`] is those two ports; the board knows which function is in which slot and moves what the
//! functions decode. [`config_space`] is the standard header that functions build on, [`i440fx`] the host
//! bridge with the memory windows of the first megabyte, [`piix`] the south bridge's
//! functions, [`msix`] interrupts as messages, [`pirq`] the way from interrupt pins to ISA interrupts.
//!
//! Left out: other buses (there is no bridge to one), and memory-mapped configuration space
//! (a 440FX has none). Port CF9h, in the middle of the address register, is reset control; the
//! address register takes dword accesses only, so that the two do not meet.

pub mod config_space;
pub mod i440fx;
pub mod mechanism;
pub mod msix;
pub mod piix;
pub mod pirq;

pub use config_space::{Bar, ConfigSpace, ConfigSpaceStateV1, Identity};
pub use i440fx::I440fx;
pub use mechanism::{ConfigCycles, ConfigMechanism};
pub use msix::{Msix, MsixStateV1};
pub use piix::{Piix3Isa, Piix4Pm, PmPlace, SOUTH_BRIDGE_SLOT};
pub use pirq::PirqRouter;
