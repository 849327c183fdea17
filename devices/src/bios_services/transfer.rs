//! Requests that move sectors: what a worker does, and what it answers.
//!
//! A request of many sectors that fails is done again sector by sector, because the caller is told how many came through.
//!
//! The answer is a status byte, the number of sectors that were moved (2 bytes, little-endian), and what was read. Where the
//! status is one of a failed medium, what the host said of it follows, and its length (2 bytes).

use super::drives::{Volume, VolumeError};
use super::status::Status;
use crate::disk_work;
use trimotor_bus::RestoreError;

/// The most sectors of one request: what a byte counts, and more than any function allows.
pub const MAX_SECTORS: u16 = 255;
/// The most bytes that a request holds.
pub const MAX_BYTES: usize = MAX_SECTORS as usize * 2048;

/// What is done with the sectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// They are read into memory.
    Read,
    /// They are written with these bytes, and read back where `verify` says so.
    Write {
        /// The content of all of them.
        bytes: Vec<u8>,
        /// Whether they are read afterwards.
        verify: bool,
    },
    /// They are read, and what was read is dropped.
    Verify,
    /// They are filled with a byte.
    Fill(u8),
}

/// Sectors of a volume, and what is done with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The first sector.
    pub first: u64,
    /// How many.
    pub count: u16,
    /// What is done.
    pub action: Action,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// How it ended.
    pub status: Status,
    /// Sectors that were moved.
    pub count: u16,
    /// What was read.
    pub bytes: &'a [u8],
    /// The host failed, and how.
    pub(super) host: Option<disk_work::Outcome<'a>>,
}

/// The most bytes that the host's words on a failure have in an answer.
const MOST_REASON: usize = 1000;

impl Transfer {
    /// What a worker does.
    pub fn carry_out(&self, volume: &Volume) -> Vec<u8> {
        let size = volume.sector_bytes as usize;
        let mut read = match self.action {
            Action::Read | Action::Verify => vec![0; size * usize::from(self.count)],
            _ => Vec::new(),
        };
        let mut done = self.count;
        let mut status = self.piece(volume, 0, self.count, &mut read);
        if status.is_err() && self.count > 1 {
            done = 0;
            status = Ok(());
            while done < self.count {
                let at = usize::from(done) * size;
                let part = read.get_mut(at..at + size).unwrap_or_default();
                status = self.piece(volume, done, 1, part);
                if status.is_err() {
                    break;
                }
                done += 1;
            }
        } else if status.is_err() {
            done = 0;
        }
        read.truncate(if self.action == Action::Read { usize::from(done) * size } else { 0 });
        let (status, host) = match status {
            Ok(()) => (Status::Ok, None),
            Err(VolumeError { status, host }) => (status, host),
        };
        let mut answer = vec![status as u8];
        answer.extend(done.to_le_bytes());
        answer.append(&mut read);
        if status.is_of_medium() {
            let mut reason = host.map_or_else(Vec::new, |error| disk_work::result(Err(error)));
            reason.truncate(MOST_REASON);
            let length = (reason.len() as u16).to_le_bytes();
            answer.append(&mut reason);
            answer.extend(length);
        }
        answer
    }
    /// Moves `count` sectors, of which the first is number `from` of the request.
    fn piece(&self, volume: &Volume, from: u16, count: u16, read: &mut [u8]) -> Result<(), VolumeError> {
        let first = self.first.checked_add(from.into()).ok_or(Status::SectorNotFound)?;
        let size = volume.sector_bytes as usize;
        match &self.action {
            Action::Read | Action::Verify => volume.read(first, read),
            Action::Write { bytes, verify } => {
                let (start, end) =
                    (usize::from(from) * size, (usize::from(from) + usize::from(count)) * size);
                let part = bytes.get(start..end).ok_or(Status::WriteFault)?;
                volume.write(first, part)?;
                if *verify {
                    let mut back = vec![0; part.len()];
                    volume.read(first, &mut back)?;
                    if back != part {
                        return Err(Status::WriteFault.into());
                    }
                }
                Ok(())
            }
            Action::Fill(byte) => volume.write(first, &vec![*byte; usize::from(count) * size]),
        }
    }
    /// Refuses a saved request that no call could have begun.
    pub fn check(&self) -> Result<(), RestoreError> {
        let error = |field, value: String| Err(RestoreError { part: "BIOS services", field, value });
        if self.count > MAX_SECTORS {
            return error("sectors", self.count.to_string());
        }
        match &self.action {
            Action::Write { bytes, .. } if bytes.len() > MAX_BYTES => error("bytes", bytes.len().to_string()),
            _ => Ok(()),
        }
    }
}

impl<'a> Outcome<'a> {
    /// Reads a worker's answer; a worker that died gave none.
    pub fn of(answer: &'a [u8]) -> Self {
        let failed = Outcome { status: Status::NotReady, count: 0, bytes: &[], host: None };
        let [status, low, high, bytes @ ..] = answer else { return failed };
        let Some(status) = Status::from_code(*status) else { return failed };
        let mut outcome = Outcome { status, count: u16::from_le_bytes([*low, *high]), bytes, host: None };
        if status.is_of_medium()
            && let Some((rest, length)) = bytes.split_last_chunk()
            && let Some(at) = rest.len().checked_sub(u16::from_le_bytes(*length).into())
        {
            let (read, reason) = rest.split_at(at);
            outcome.bytes = read;
            outcome.host = (!reason.is_empty()).then(|| disk_work::Outcome::of(reason));
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use trimotor_storage::{BlockBackend, BlockError, BlockLimits, MemoryDisk};

    /// A disk of four sectors, of which the third cannot be read or written.
    struct Scratched(MemoryDisk);
    impl Scratched {
        fn touch(offset: u64, bytes: u64) -> Result<(), BlockError> {
            let bad = 1024..1536;
            if offset < bad.end && offset + bytes > bad.start {
                return Err(BlockError::Damaged("a scratch".into()));
            }
            Ok(())
        }
    }
    impl BlockBackend for Scratched {
        fn size(&self) -> u64 {
            self.0.size()
        }
        fn limits(&self) -> BlockLimits {
            self.0.limits()
        }
        fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
            Self::touch(offset, into.len() as u64)?;
            self.0.read(offset, into)
        }
        fn write(&self, offset: u64, from: &[u8]) -> Result<(), BlockError> {
            Self::touch(offset, from.len() as u64)?;
            self.0.write(offset, from)
        }
        fn flush(&self) -> Result<(), BlockError> {
            Ok(())
        }
        fn write_zeroes(&self, _: u64, _: u64, _: bool) -> Result<(), BlockError> {
            Err(BlockError::ReadOnly)
        }
        fn discard(&self, _: u64, _: u64) -> Result<(), BlockError> {
            Err(BlockError::ReadOnly)
        }
    }

    fn outcome(first: u64, count: u16, action: Action) -> (Status, u16, usize) {
        let disk = Scratched(MemoryDisk::new(vec![5; 2048]));
        let volume = Volume::whole(Arc::new(disk), 512);
        let answer = Transfer { first, count, action }.carry_out(&volume);
        let outcome = Outcome::of(&answer);
        assert!(outcome.bytes.iter().all(|byte| *byte == 5));
        (outcome.status, outcome.count, outcome.bytes.len())
    }

    #[test]
    fn what_came_through_before_a_bad_sector_is_told() {
        let write = |sectors: usize| Action::Write { bytes: vec![1; sectors * 512], verify: true };
        assert_eq!(outcome(0, 2, Action::Read), (Status::Ok, 2, 1024));
        assert_eq!(outcome(0, 4, Action::Read), (Status::Unreadable, 2, 1024));
        assert_eq!(outcome(2, 1, Action::Read), (Status::Unreadable, 0, 0));
        assert_eq!(outcome(3, 2, Action::Read), (Status::SectorNotFound, 1, 512));
        assert_eq!(outcome(u64::MAX, 2, Action::Read), (Status::SectorNotFound, 0, 0));
        assert_eq!(outcome(0, 4, Action::Verify), (Status::Unreadable, 2, 0));
        assert_eq!(outcome(1, 2, write(2)), (Status::WriteFault, 1, 0));
        assert_eq!(outcome(0, 2, write(1)), (Status::WriteFault, 1, 0));
        assert_eq!(outcome(0, 3, Action::Fill(9)), (Status::WriteFault, 2, 0));
    }

    #[test]
    fn an_answer_that_is_none_is_a_drive_that_is_not_ready() {
        for answer in [&[][..], &[0, 0], &[0x55, 0, 0]] {
            assert_eq!(Outcome::of(answer).status, Status::NotReady);
        }
    }
}
