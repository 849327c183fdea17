//! A request that is under way.

use super::registers::{MAX_BYTES, REQUESTS, STEP_NS};
use crate::device::OutsideRef;
use serde::{Deserialize, Serialize};
use trimotor_bus::{GuestTime, PhysAddr, RestoreError};

/// One request.
pub(super) struct Request {
    /// Where the result goes.
    pub(super) destination: PhysAddr,
    /// What was read from the source.
    pub(super) bytes: Vec<u8>,
    /// When it completes, with guest time from a count of instructions.
    due: GuestTime,
}

/// The saved state of a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RequestStateV1 {
    destination: u64,
    bytes: Vec<u8>,
    due_ns: u64,
}

impl Request {
    pub(super) fn new(number: u8, destination: PhysAddr, bytes: Vec<u8>, now: GuestTime) -> Self {
        let steps = REQUESTS as u64 + 1 - u64::from(number);
        Self { destination, bytes, due: now + steps * STEP_NS }
    }
    /// Has a worker turn the bytes round.
    pub(super) fn begin(&self, number: u8, outside: &OutsideRef) {
        let mut bytes = self.bytes.clone();
        let job = move || {
            bytes.reverse();
            bytes
        };
        outside.begin(number.into(), self.due, Box::new(job));
    }
    pub(super) fn save(&self) -> RequestStateV1 {
        let Self { destination, bytes, due } = self;
        RequestStateV1 { destination: destination.0, bytes: bytes.clone(), due_ns: due.ns() }
    }
    pub(super) fn restored(state: RequestStateV1) -> Result<Self, RestoreError> {
        let RequestStateV1 { destination, bytes, due_ns } = state;
        if bytes.is_empty() || bytes.len() as u64 > MAX_BYTES {
            let value = format!("{} bytes", bytes.len());
            return Err(RestoreError { part: "demonstration card", field: "bytes of a request", value });
        }
        Ok(Self { destination: PhysAddr(destination), bytes, due: GuestTime(due_ns) })
    }
}
