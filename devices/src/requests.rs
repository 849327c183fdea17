//! What devices ask of the machine as a whole: power off, reset, leave with a code.
//!
//! A device cannot stop the board that calls it, so it leaves its wish in
//! [`MachineRequests`], a handle that the board shares out and looks at after each
//! access. The first wish of a run wins: a guest that writes the power-off register
//! twice is off once. The A20 gate is here too, because two chips drive it (the keyboard
//! controller and port 92h) and its effect is the board's.

use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A wish of a device that ends the machine's run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum MachineRequest {
    /// Soft off: ACPI S5.
    PowerOff,
    /// Suspend to RAM: ACPI S3.
    Suspend,
    /// Reset the machine.
    Reset(ResetCause),
    /// isa-debug-exit: leave the program. The value is what the guest wrote; the exit code is
    /// `(value << 1) | 1`.
    DebugExit(u32),
    /// A disk's image failed, and its drive is set up to wait: pause until a person has seen to it.
    Pause,
    /// pvpanic: the guest's kernel panicked. What follows is configured.
    GuestPanic,
}

/// Which chip asked for a reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ResetCause {
    /// Reset control register CF9h (also the ACPI reset register).
    ResetControl,
    /// Fast reset, bit 0 of port 92h.
    SystemControlA,
    /// The keyboard controller's reset line.
    KeyboardController,
}

/// A chip that drives the A20 gate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum A20Source {
    /// Output port bit 1 of the keyboard controller.
    KeyboardController = 1,
    /// Bit 1 of port 92h.
    SystemControlA = 2,
}

/// The shared handle through which devices talk to the machine. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct MachineRequests {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// A request waits or the A20 gate changed: the one flag that the board looks at.
    pending: AtomicBool,
    request: Mutex<Option<MachineRequest>>,
    a20_sources: AtomicU8,
}

impl MachineRequests {
    /// A fresh handle: no request, no source drives A20.
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves a request, unless one waits already.
    pub fn request(&self, request: MachineRequest) {
        let mut slot = self.shared.request.lock().unwrap_or_else(PoisonError::into_inner);
        slot.get_or_insert(request);
        self.shared.pending.store(true, Ordering::Release);
    }
    /// Asks for a soft power-off.
    pub fn power_off(&self) {
        self.request(MachineRequest::PowerOff);
    }
    /// Asks for a reset.
    pub fn reset(&self, cause: ResetCause) {
        self.request(MachineRequest::Reset(cause));
    }

    /// A chip opens (`true`) or closes the A20 gate. The gate is open while any chip opens it.
    pub fn set_a20(&self, source: A20Source, open: bool) {
        let bit = source as u8;
        let before = if open {
            self.shared.a20_sources.fetch_or(bit, Ordering::AcqRel)
        } else {
            self.shared.a20_sources.fetch_and(!bit, Ordering::AcqRel)
        };
        if (before & bit != 0) != open {
            self.shared.pending.store(true, Ordering::Release);
        }
    }
    /// Whether address line 20 passes.
    pub fn a20(&self) -> bool {
        self.shared.a20_sources.load(Ordering::Acquire) != 0
    }

    /// Whether the board has something to look at. One relaxed load: cheap enough to ask
    /// after each access.
    #[inline]
    pub fn pending(&self) -> bool {
        self.shared.pending.load(Ordering::Relaxed)
    }
    /// The request that waits, which stays.
    pub fn waiting(&self) -> Option<MachineRequest> {
        *self.shared.request.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Takes the request that waits, and clears [`pending`](Self::pending). The board applies
    /// [`a20`](Self::a20) at the same time.
    pub fn take(&self) -> Option<MachineRequest> {
        self.shared.pending.store(false, Ordering::Release);
        self.shared.request.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_request_wins() {
        let requests = MachineRequests::new();
        assert!(!requests.pending());
        requests.power_off();
        requests.reset(ResetCause::ResetControl);
        assert!(requests.pending());
        assert_eq!(requests.take(), Some(MachineRequest::PowerOff));
        assert!(!requests.pending());
        assert_eq!(requests.take(), None);
    }

    #[test]
    fn a20_is_open_while_any_chip_opens_it() {
        let requests = MachineRequests::new();
        requests.set_a20(A20Source::SystemControlA, true);
        requests.set_a20(A20Source::KeyboardController, true);
        requests.set_a20(A20Source::SystemControlA, false);
        assert!(requests.a20());
        requests.set_a20(A20Source::KeyboardController, false);
        assert!(!requests.a20());
        assert!(requests.pending());
    }
}
