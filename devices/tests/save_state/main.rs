//! Every device: what it saves comes back, and what its chip cannot be is refused.
//!
//! A device is used at random for a while, as a driver that knows nothing would, and its states at all times come
//! back in a fresh one, exactly. Then values in such states are changed. A state that is refused leaves the device
//! as it was; one that is taken is what the device then saves, and the device lives on with it: all accesses, time
//! and alarms without a panic. Builds with debug assertions and overflow checks run this too.
//!
//! A new device is a row in [`devices`], in [`drives`] or in [`virtio`].

#![allow(clippy::unwrap_used, reason = "a device that cannot be made ends the test")]

mod devices;
mod drives;
mod mutate;
mod virtio;

use mutate::{Random, mutate};
use serde_json::Value;
use std::fmt::Debug;
use std::ops::RangeInclusive;
use trimotor_bus::{GuestTime, MmioDevice, PciBars, PciFunction, Port, PortDevice, SaveState, Timed, Width};

/// States that are changed, for each device.
const CHANGED_STATES: u32 = 1500;
/// Accesses between two looks at a device.
const ACCESSES: u32 = 12;
/// Alarms that are followed at a time.
const ALARMS: u32 = 8;

/// Who uses a device at random.
struct User {
    random: Random,
    now: GuestTime,
}

impl User {
    fn ports(&mut self, device: &mut impl PortDevice, ports: RangeInclusive<u16>) {
        let count = u64::from(ports.end() - ports.start()) + 1;
        for _ in 0..ACCESSES {
            let port = Port(ports.start() + self.random.below(count) as u16);
            let width = [Width::Byte, Width::Word, Width::Dword][self.random.below(3) as usize];
            let value = self.random.edge() as u32;
            if self.random.below(2) == 0 {
                let read = device.port_read(port, width, self.now);
                assert_eq!(u64::from(read) & !width.mask(), 0, "{port:?} {width:?}");
            } else {
                device.port_write(port, width, value, self.now);
            }
        }
    }
    fn memory(&mut self, device: &mut impl MmioDevice, bytes: u64) {
        for _ in 0..ACCESSES {
            let width = [Width::Byte, Width::Word, Width::Dword, Width::Qword][self.random.below(4) as usize];
            let offset = self.random.below(bytes) & !(width.bytes() as u64 - 1);
            let value = self.random.edge() & width.mask();
            if self.random.below(2) == 0 {
                assert_eq!(device.mmio_read(offset, width, self.now) & !width.mask(), 0, "{offset:#x}");
            } else {
                device.mmio_write(offset, width, value, self.now);
            }
        }
    }
    /// Accesses to configuration space, aligned.
    fn configuration(&mut self, function: &mut (impl PciFunction + ?Sized)) {
        for _ in 0..ACCESSES {
            let width = [Width::Byte, Width::Word, Width::Dword][self.random.below(3) as usize];
            let offset = self.random.below(0x100) as u8 & !(width.bytes() as u8 - 1);
            if self.random.below(2) == 0 {
                _ = function.config_read(offset, width);
            } else {
                function.config_write(offset, width, self.random.edge() as u32, self.now);
            }
        }
        _ = function.decoded_regions();
    }
    /// Accesses to the `bytes` bytes behind a base address register.
    fn bar(&mut self, device: &mut impl PciBars, bar: u8, bytes: u64) {
        for _ in 0..ACCESSES {
            let width = [Width::Byte, Width::Word, Width::Dword, Width::Qword][self.random.below(4) as usize];
            let offset = self.random.below(bytes);
            if self.random.below(2) == 0 {
                let read = device.bar_read(bar, offset, width, self.now);
                assert_eq!(read & !width.mask(), 0, "BAR {bar}, {offset:#x}");
            } else {
                device.bar_write(bar, offset, width, self.random.edge() & width.mask(), self.now);
            }
        }
    }
    /// Time passes: some of it, and up to the next alarms.
    fn time(&mut self, device: &mut impl Timed) {
        self.now = self.now + self.random.below(3_000_000);
        device.advance(self.now);
        for _ in 0..ALARMS {
            let Some(at) = device.next_event() else { break };
            self.now = self.now.max(at);
            device.advance(self.now);
        }
    }
    /// Guest time begins anew, so that a state with times far away does not end it for the others.
    fn wind_back(&mut self) {
        self.now = GuestTime(self.random.below(1 << 40));
    }
}

/// What one device saves now.
fn saved<D: SaveState>(device: &D) -> Value {
    serde_json::to_value(device.save()).unwrap()
}
fn restore<D: SaveState>(device: &mut D, state: &Value) -> Result<(), String> {
    let state: D::State = serde_json::from_value(state.clone()).map_err(|error| error.to_string())?;
    device.restore(state).map_err(|error| error.to_string())
}

/// Asserts what the file says of a device. Where its states are large, `states` are changed.
fn check_states<D: SaveState>(
    name: &str,
    states: u32,
    make: impl Fn() -> D,
    mut act: impl FnMut(&mut D, &mut User),
) where
    D::State: Debug,
{
    let mut user = User { random: Random(0x5EED), now: GuestTime::ZERO };
    let mut taken = 0;
    let mut device = make();
    for round in 0..states {
        if round % 50 == 0 {
            device = make();
            user.wind_back();
        }
        act(&mut device, &mut user);
        let good = saved(&device);
        let mut fresh = make();
        let back = restore(&mut fresh, &good);
        assert_eq!(back, Ok(()), "{name}: a state that the device had: {good}");
        assert_eq!(saved(&fresh), good, "{name}: a state that came back");

        let mut changed = good.clone();
        for _ in 0..=user.random.below(2) {
            mutate(&mut changed, &mut user.random);
        }
        match restore(&mut fresh, &changed) {
            Err(_) => assert_eq!(saved(&fresh), good, "{name}: refused {changed}"),
            Ok(()) => {
                taken += 1;
                assert_eq!(saved(&fresh), changed, "{name}: taken");
                let at = user.now;
                for _ in 0..4 {
                    act(&mut fresh, &mut user);
                    let state = saved(&fresh);
                    let again = restore(&mut make(), &state);
                    assert_eq!(again, Ok(()), "{name}: {state} came of {changed}");
                }
                user.now = at;
            }
        }
    }
    assert!(taken > 0, "{name}: no changed state was taken");
}
