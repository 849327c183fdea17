//! The devices of the board, each behind a lock of its own.
//!
//! The registry knows devices as [`Device`]s with a name. Code that needs one device's own methods (the
//! keyboard takes keys, the display shows a screen) keeps the [`DeviceRef`] that adding it gave.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::{Mutex, MutexGuard, PoisonError};
use trimotor_devices::Device;

/// The number of a device, in the order of adding: also the order of reset, of saving, and of events that are due
/// at the same time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeviceId(u16);

impl DeviceId {
    /// As an index.
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A device whose type is known.
pub struct DeviceRef<T> {
    id: DeviceId,
    kind: PhantomData<fn(T)>,
}

impl<T> Clone for DeviceRef<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for DeviceRef<T> {}

impl<T> DeviceRef<T> {
    /// Its number.
    pub fn id(self) -> DeviceId {
        self.id
    }
}

/// One device.
/// Aligned, so that vCPUs that use different devices write different cache lines.
#[repr(align(128))]
struct Entry {
    name: String,
    device: Mutex<Box<dyn Device>>,
}

/// All devices.
#[derive(Default)]
pub struct Registry {
    entries: Vec<Entry>,
}

/// A device that is locked.
pub type Locked<'a> = MutexGuard<'a, Box<dyn Device>>;

impl Registry {
    /// Adds a device. Names are for people and for saved machines, and each is used once.
    ///
    /// # Panics
    /// Where the name is taken: the board's own mistake.
    pub fn add<T: Device>(&mut self, name: impl Into<String>, device: T) -> DeviceRef<T> {
        let name = name.into();
        assert!(self.find(&name).is_none(), "two devices are called {name}");
        let id = DeviceId(u16::try_from(self.entries.len()).unwrap_or(u16::MAX));
        self.entries.push(Entry { name, device: Mutex::new(Box::new(device)) });
        DeviceRef { id, kind: PhantomData }
    }
    /// Locks a device.
    #[inline]
    pub fn lock(&self, id: DeviceId) -> Locked<'_> {
        self.entries[id.index()].device.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Lets `look` at a device of a known type, which is locked meanwhile.
    pub fn with<T: Device, R>(&self, device: DeviceRef<T>, look: impl FnOnce(&mut T) -> R) -> R {
        look(typed(&mut self.lock(device.id)))
    }
    /// All devices' numbers, in order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = DeviceId> + use<> {
        (0..self.entries.len()).map(|index| DeviceId(index as u16))
    }
    /// The number behind the last device's: what the next one will have.
    pub(crate) fn end(&self) -> DeviceId {
        DeviceId(self.entries.len() as u16)
    }
    /// A device's name.
    pub fn name(&self, id: DeviceId) -> &str {
        &self.entries[id.index()].name
    }
    /// The device of this name.
    pub fn find(&self, name: &str) -> Option<DeviceId> {
        self.ids().find(|id| self.name(*id) == name)
    }
    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// A locked device as the type that it was added as.
pub(crate) fn typed<'a, T: Device>(device: &'a mut Locked<'_>) -> &'a mut T {
    let any: &mut dyn Any = &mut ***device;
    any.downcast_mut().unwrap_or_else(|| unreachable!("a reference has the type of its device"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimotor_devices::debug_exit::DebugExit;
    use trimotor_devices::post_port::PostPort;
    use trimotor_devices::requests::MachineRequests;

    #[test]
    fn devices_are_found_by_name_and_by_type() {
        let mut registry = Registry::default();
        let post = registry.add("post", PostPort::new());
        let exit = registry.add("exit", DebugExit::standard(MachineRequests::new()));
        assert_eq!(registry.find("exit"), Some(exit.id()));
        assert_eq!(registry.find("nobody"), None);
        assert_eq!(registry.ids().map(|id| registry.name(id)).collect::<Vec<_>>(), ["post", "exit"]);
        assert_eq!(registry.with(exit, |exit| exit.port().0), 0xF4);
        assert_eq!(registry.with(post, |post| post.history().count()), 0);
        assert!(registry.lock(post.id()).ports().is_some() && registry.lock(post.id()).timed().is_none());
    }

    #[test]
    #[should_panic(expected = "two devices are called post")]
    fn a_name_is_used_once() {
        let mut registry = Registry::default();
        registry.add("post", PostPort::new());
        registry.add("post", PostPort::new());
    }
}
