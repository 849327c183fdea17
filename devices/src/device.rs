//! What a device is to the board: anything that sits on it, chip or card.
//!
//! The board keeps its devices in a registry and knows them by [`Device`] only. A device says
//! which abilities it has by returning itself as the trait of the ability: register accesses by
//! port ([`PortDevice`]; with more registers, [`RegisterPort`]) or by address ([`MmioDevice`]), events of its own ([`Timed`]), a PCI
//! function ([`PciFunction`]) with registers behind its base address registers ([`PciBars`]), some of which only tell it to
//! look ([`Doorbells`]), requests that complete outside the machine ([`Completion`]), drives whose media change
//! ([`RemovableDrives`]), a cable from which frames come ([`NetworkCard`]). Saving and restoring come from
//! [`SaveState`], which each device implements with a state struct of its own.
//!
//! Rules that the board relies on:
//! - A device is behind a lock of its own. It drives wires while it is locked, and a wire never calls back
//!   into a device.
//! - `now` never goes back from one call to the next.
//! - [`Timed::next_event`] may change with every access; the board asks again after each.

use crate::drive::RemovableDrives;
use crate::network::NetworkCard;
use crate::save_bytes::SavedBytes;
use std::any::Any;
use std::sync::Arc;
use trimotor_bus::memory::Shown;
use trimotor_bus::{GuestTime, MmioDevice, PciBars, PciFunction, PortDevice, RegisterPort, Timed};

/// A device on the board.
pub trait Device: Any + Send + SavedBytes {
    /// Hardware reset: the state as after power-on, but for what a battery keeps.
    fn reset(&mut self, now: GuestTime);
    /// What the device is doing, in one line, for people.
    fn info(&self) -> String;
    /// What the device has to say on a topic of a monitor's `info`, in lines: `None` where it is none of its topics.
    fn describe(&self, _topic: &str) -> Option<String> {
        None
    }

    /// The device as one that answers ports.
    fn ports(&mut self) -> Option<&mut dyn PortDevice> {
        None
    }
    /// The device as one that programs call through a backdoor port.
    fn register_port(&mut self) -> Option<&mut dyn RegisterPort> {
        None
    }
    /// The device as one that answers memory accesses.
    fn memory(&mut self) -> Option<&mut dyn MmioDevice> {
        None
    }
    /// The device as one with events of its own.
    fn timed(&mut self) -> Option<&mut dyn Timed> {
        None
    }
    /// The device as a PCI function.
    fn pci(&mut self) -> Option<&mut dyn PciFunction> {
        None
    }
    /// The device as one with registers behind base address registers.
    fn bars(&mut self) -> Option<&mut dyn PciBars> {
        None
    }
    /// What of its own memory the device shows at its fixed addresses, in front of its registers there, if that changed since
    /// it was last asked; it is asked after each access. `Some(None)`: nothing any more. vCPUs and DMA then reach the memory
    /// without the device.
    fn shown_change(&mut self) -> Option<Option<Shown>> {
        None
    }
    /// The device as one with doorbells.
    fn doorbells(&mut self) -> Option<&mut dyn Doorbells> {
        None
    }
    /// The device as a controller of drives whose media may change.
    fn removable_drives(&mut self) -> Option<&mut dyn RemovableDrives> {
        None
    }
    /// The device as a network card.
    fn network_card(&mut self) -> Option<&mut dyn NetworkCard> {
        None
    }
    /// The device as one whose requests complete outside the machine.
    fn completion(&mut self) -> Option<&mut dyn Completion> {
        None
    }
}

/// A device some of whose registers are *doorbells*: a write only says that a queue in memory has something new. The board
/// may gather such writes, and tell of them a moment later, without a write of the register.
pub trait Doorbells: Send {
    /// These bells rang, some perhaps more than once: bit n stands for bell n.
    fn rung(&mut self, bells: u64, now: GuestTime);
}

/// A device whose requests are carried out outside the machine: by an I/O thread, a disk, a network.
pub trait Completion: Send {
    /// Request `token` is done, with the bytes that its worker gave. The board calls it at an instant
    /// that it chooses, on a thread that may drive wires.
    ///
    /// A token that the device does not wait for must be ignored: a reset may have come in between.
    fn complete(&mut self, token: u64, result: &[u8], now: GuestTime);
}

/// What a worker does for a device; returns the result that [`Completion::complete`] gets. It runs on another thread and
/// sees nothing of the machine but what it captured.
pub type Job = Box<dyn FnOnce() -> Vec<u8> + Send>;

/// Where a device has requests carried out.
pub trait Outside: Send + Sync {
    /// Begins request `token`, which no other request of the device that is under way has. With guest time from a
    /// count of instructions it completes at `due` exactly, and the machine waits there if the worker is not done;
    /// with the host's clock it completes as soon as the worker is done. A job that dies completes without a
    /// byte. The machine forgets requests at reset.
    fn begin(&self, token: u64, due: GuestTime, job: Job);
    /// The same, but with the host's clock too the request completes no earlier than `due`. A worker does its job at once. Where time is counted,
    /// or nothing is carried out by itself, that is what `begin` does.
    fn begin_no_earlier(&self, token: u64, due: GuestTime, job: Job) {
        self.begin(token, due, job);
    }
}

/// Requests of a device under test: nothing is carried out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nowhere;
impl Outside for Nowhere {
    fn begin(&self, _token: u64, _due: GuestTime, _job: Job) {}
}

/// A device's handle to the outside.
pub type OutsideRef = Arc<dyn Outside>;
