//! What a worker does for a disk controller, how it says what became of it, and what follows where it failed.

use crate::device::Job;
use crate::drive::{DriveConfig, Medium, OnDiskError};
use crate::requests::{MachineRequest, MachineRequests};
use serde::{Deserialize, Serialize};
use trimotor_storage::BlockError;

/// Bytes that are read at a time where only whether they can be read matters.
const VERIFIED_AT_ONCE: u64 = 64 << 10;

/// A worker's task.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Reads `bytes` bytes from byte `offset` on.
    Read { offset: u64, bytes: u32 },
    /// Writes the buffer to byte `offset`, and with `through` waits until the host has it for good.
    Write { offset: u64, through: bool },
    /// Reads and forgets.
    Verify { offset: u64, bytes: u64 },
    /// Waits until the host has for good what was written.
    Flush,
    /// Gives up the ranges in the buffer: for each 48 bits of sector and 16 of a count.
    Trim,
    /// Fills sectors of 512 bytes with the buffer's first byte; their numbers follow in the buffer, two bytes each.
    Fill,
    /// Nothing: what was under way when the machine was saved, after a reset.
    Nothing,
    /// Gives up the ranges in the buffer, 16 bytes each ([`wide_ranges`]).
    Discard,
    /// Makes such ranges zero; those that say so may give their space back, if `unmap`.
    Zero { unmap: bool },
}

impl Work {
    /// Whether an error is one of writing.
    pub(crate) fn writes(self) -> bool {
        !matches!(self, Work::Read { .. } | Work::Verify { .. })
    }
    /// How long the modelled drive takes, in nanoseconds: a fixed time and two nanoseconds a byte, as a fast disk.
    pub(crate) fn duration_ns(self, buffer: usize) -> u64 {
        const COMMAND_NS: u64 = 30_000;
        let bytes = match self {
            Work::Read { bytes, .. } => bytes.into(),
            Work::Verify { bytes, .. } => bytes,
            Work::Write { .. } => buffer as u64,
            Work::Flush | Work::Trim | Work::Fill | Work::Nothing | Work::Discard | Work::Zero { .. } => 0,
        };
        bytes.saturating_mul(2).saturating_add(COMMAND_NS)
    }
    /// The task for a worker. `data` is what is written.
    pub(crate) fn job(self, medium: Option<Medium>, data: impl AsRef<[u8]> + Send + 'static) -> Job {
        Box::new(move || match medium {
            Some(medium) => result(self.carry_out(&medium, data.as_ref())),
            None => vec![Outcome::NO_MEDIUM],
        })
    }
    fn carry_out(self, medium: &Medium, data: &[u8]) -> Result<Vec<u8>, BlockError> {
        let mut answer = vec![Outcome::DONE];
        match self {
            Work::Read { offset, bytes } => {
                answer.resize(1 + bytes as usize, 0);
                medium.read(offset, &mut answer[1..])?;
            }
            Work::Write { offset, through } => {
                medium.write(offset, data)?;
                if through {
                    medium.flush()?;
                }
            }
            Work::Verify { offset, bytes } => {
                let mut buffer = vec![0; bytes.min(VERIFIED_AT_ONCE) as usize];
                let mut done = 0;
                while done < bytes {
                    let now = (bytes - done).min(VERIFIED_AT_ONCE);
                    medium.read(offset.saturating_add(done), &mut buffer[..now as usize])?;
                    done += now;
                }
            }
            Work::Flush => medium.flush()?,
            Work::Trim => {
                for (sector, count) in ranges(data) {
                    medium.discard(sector * 512, count * 512)?;
                }
            }
            Work::Fill => {
                let Some((byte, sectors)) = data.split_first() else { return Ok(answer) };
                for sector in sectors.chunks_exact(2) {
                    let sector = u64::from(u16::from_le_bytes([sector[0], sector[1]]));
                    medium.write(sector * 512, &[*byte; 512])?;
                }
            }
            Work::Discard => {
                for (sector, count, _) in wide_ranges(data) {
                    medium.discard(sector * 512, u64::from(count) * 512)?;
                }
            }
            Work::Zero { unmap } => {
                for (sector, count, may_unmap) in wide_ranges(data) {
                    medium.write_zeroes(sector * 512, u64::from(count) * 512, unmap && may_unmap)?;
                }
            }
            Work::Nothing => {}
        }
        Ok(answer)
    }
}

/// The ranges of a TRIM list, in sectors; empty ones say nothing.
pub(crate) fn ranges(list: &[u8]) -> impl Iterator<Item = (u64, u64)> {
    list.chunks_exact(8)
        .map(|entry| {
            let entry = entry.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
            (entry & 0xFFFF_FFFF_FFFF, entry >> 48)
        })
        .filter(|(_, count)| *count > 0)
}

/// Ranges as virtio disks have them: 64 bits of sector, 32 of a count, 32 of flags, the first of which is told too.
pub(crate) fn wide_ranges(list: &[u8]) -> impl Iterator<Item = (u64, u32, bool)> {
    list.chunks_exact(16).map(|entry| {
        let number = |range: std::ops::Range<usize>| {
            entry[range].iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte))
        };
        (number(0..8) & u64::MAX >> 9, number(8..12) as u32, entry[12] & 1 != 0)
    })
}

/// A worker's answer.
pub(crate) fn result(result: Result<Vec<u8>, BlockError>) -> Vec<u8> {
    result.unwrap_or_else(|error| {
        let code = match error {
            BlockError::NoSpace => Outcome::NO_SPACE,
            BlockError::ReadOnly => Outcome::READ_ONLY,
            _ => Outcome::FAILED,
        };
        let mut answer = vec![code];
        answer.extend_from_slice(error.to_string().as_bytes());
        answer
    })
}

/// What a worker's answer says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome<'a> {
    /// It is done; what was read.
    Done(&'a [u8]),
    /// The drive is empty.
    NoMedium,
    /// The medium is read-only.
    ReadOnly,
    /// The host has no space left.
    NoSpace,
    /// The host cannot, for this reason.
    Failed(&'a [u8]),
}

impl<'a> Outcome<'a> {
    /// The first byte of an answer that all went well.
    pub(crate) const DONE: u8 = 0;
    const NO_MEDIUM: u8 = 1;
    const READ_ONLY: u8 = 2;
    const NO_SPACE: u8 = 3;
    const FAILED: u8 = 4;

    pub(crate) fn of(answer: &'a [u8]) -> Self {
        match answer.split_first() {
            Some((&Self::DONE, data)) => Self::Done(data),
            Some((&Self::NO_MEDIUM, _)) => Self::NoMedium,
            Some((&Self::READ_ONLY, _)) => Self::ReadOnly,
            Some((&Self::NO_SPACE, _)) => Self::NoSpace,
            Some((_, reason)) => Self::Failed(reason),
            None => Self::Failed(b"the request died on the host"),
        }
    }
}

/// What a controller does about a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Follows {
    /// The guest sees an error.
    Error,
    /// The guest sees success.
    Success,
    /// The machine was asked to pause: the request is done again after [`RETRY_NS`].
    Again,
}

/// A request that a pause held up is done again so long after the machine goes on, in nanoseconds of guest time.
pub(crate) const RETRY_NS: u64 = 1_000_000;

/// Decides by the drive's configuration; a failure of the host is told once, until `told` is cleared by a success.
pub(crate) fn follows(
    config: &DriveConfig,
    work: Work,
    failure: &Outcome<'_>,
    told: &mut bool,
    requests: &MachineRequests,
) -> Follows {
    let policy = if work.writes() { config.on_write_error } else { config.on_read_error };
    let reason = match failure {
        Outcome::Failed(reason) => String::from_utf8_lossy(reason).into_owned(),
        Outcome::NoSpace => "the host has no space left for the disk image".to_owned(),
        Outcome::Done(_) | Outcome::NoMedium | Outcome::ReadOnly => return Follows::Error,
    };
    let (follows, says) = match policy {
        OnDiskError::Stop => {
            (Follows::Again, "the machine pauses: mend it, then let it go on (it does the request again)")
        }
        OnDiskError::StopWithoutSpace if *failure == Outcome::NoSpace => {
            (Follows::Again, "the machine pauses: make room, then let it go on (it does the request again)")
        }
        OnDiskError::Ignore => (Follows::Success, "the guest sees success"),
        OnDiskError::Report | OnDiskError::StopWithoutSpace => (Follows::Error, "the guest sees an error"),
    };
    if !std::mem::replace(told, true) {
        log::error!("drive {}: {reason}; {says}", config.id);
    }
    if follows == Follows::Again {
        requests.request(MachineRequest::Pause);
    }
    follows
}
