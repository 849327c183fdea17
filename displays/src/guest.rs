//! A running PC as displays see it.

use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use trimotor_devices::display::{Damage, Surface};
use trimotor_devices::i8042::{KeyCode, Layout, Leds};
use trimotor_devices::pointer::PointerEvent;

/// A running PC. Methods return at once, and may be called from any thread.
pub trait Guest: Send + Sync {
    /// One more viewer of the screen.
    fn view(&self) -> Box<dyn View>;
    /// The layout that the guest takes its keyboard for, for peers that name keys by what they type.
    fn layout(&self) -> Layout;
    /// A key goes down or up; false where the keyboard has no room (try again later).
    fn key(&self, key: KeyCode, down: bool) -> bool;
    /// All keys and buttons that are down go up. Never refused.
    fn release_all(&self);
    /// A hand did something with the pointing device; false where there is no room.
    fn pointer(&self, event: PointerEvent) -> bool;
    /// Whether the guest takes positions of the pointer as they are.
    fn pointer_is_absolute(&self) -> bool;
    /// The keyboard's indicators.
    fn leds(&self) -> Leds;
    /// How the machine is.
    fn status(&self) -> Status;
    /// Presses a button of the machine.
    fn press(&self, button: Button);
    /// What is to be rung when the screen, the indicators or the machine's state are others than before.
    fn bells(&self) -> &Bells;
}

/// A viewer of the screen. Dropping it ends that.
pub trait View: Send {
    /// Brings `copy` up to date, and returns which parts of it are new.
    fn update(&mut self, copy: &mut Surface) -> Damage;
}

/// How a machine is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// The engine's name.
    pub engine: String,
    /// Guest time since power-on, in nanoseconds.
    pub guest_time_ns: u64,
    /// Instructions that all vCPUs have retired.
    pub instructions: u64,
    /// Whether the machine stands still.
    pub paused: bool,
}

/// A button of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Button {
    /// The power button (an ACPI event).
    Power,
    /// Reset.
    Reset,
    /// The vCPUs and guest time stand still.
    Pause,
    /// They go on.
    Resume,
}

/// Wakes one thread that waits for descriptors.
#[derive(Debug)]
pub struct Bell {
    wake: OwnedFd,
    rung: AtomicBool,
}

impl Bell {
    /// One that has not rung.
    ///
    /// # Errors
    /// The host has no descriptor left.
    pub fn new() -> io::Result<Arc<Bell>> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Arc::new(Bell { wake, rung: AtomicBool::new(false) }))
    }
    /// Rings it: its descriptor can be read until it is silenced.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // A counter that is full is awake enough.
            let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        }
    }
    /// Whether it has rung since it was silenced.
    pub fn is_rung(&self) -> bool {
        self.rung.load(Ordering::Acquire)
    }
    /// Before what it rang for is looked at.
    pub fn silence(&self) {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        self.rung.store(false, Ordering::Release);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

/// The bells of all that wait for changes. Cheap to clone.
#[derive(Clone, Default, Debug)]
pub struct Bells(Arc<Mutex<Vec<Weak<Bell>>>>);

impl Bells {
    /// Rings `bell` from now on, as long as its owner has it.
    pub fn add(&self, bell: &Arc<Bell>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|bell| bell.strong_count() > 0);
        all.push(Arc::downgrade(bell));
    }
    /// Something changed.
    pub fn ring(&self) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter_map(Weak::upgrade).for_each(|bell| bell.ring());
    }
}
