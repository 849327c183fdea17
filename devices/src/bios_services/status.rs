//! Status codes of INT 13h: what AH has, and what the BIOS data area keeps.

use serde::{Deserialize, Serialize};

/// A status of INT 13h. Everything but [`Status::Ok`] is returned with the carry flag set.
///
/// Source: IBM Personal System/2 and Personal Computer BIOS Interface Technical Reference, "Interrupt 13h"; Phoenix Enhanced Disk Drive
/// Specification 3.0, "Error codes" (30h and up).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum Status {
    /// Done.
    Ok = 0x00,
    /// A function that the drive does not have, or a parameter out of its range.
    BadCommand = 0x01,
    /// The medium is write-protected.
    WriteProtected = 0x03,
    /// There is no such sector on the medium.
    SectorNotFound = 0x04,
    /// The medium was changed since the last call.
    MediumChanged = 0x06,
    /// There is no drive whose parameters could be told.
    NoParameters = 0x07,
    /// The buffer crosses a 64 KiB boundary, or is longer than its segment.
    DmaBoundary = 0x09,
    /// The medium cannot be formatted or used so.
    UnsupportedMedium = 0x0C,
    /// A sector cannot be read.
    Unreadable = 0x10,
    /// The drive has no medium (drives that EDD's functions know).
    NoMedium = 0x31,
    /// The drive did not answer in time: a floppy drive without a medium.
    TimeOut = 0x80,
    /// The drive is not ready, or another request is under way.
    NotReady = 0xAA,
    /// The medium is not locked in its drive.
    NotLocked = 0xB0,
    /// The medium is locked in its drive.
    Locked = 0xB1,
    /// The drive has no removable medium.
    NotRemovable = 0xB2,
    /// The medium was locked as often as can be counted.
    LockCountExceeded = 0xB4,
    /// The medium could not be ejected.
    EjectFailed = 0xB5,
    /// A sector cannot be written.
    WriteFault = 0xCC,
}

impl Status {
    /// Whether it is the medium that failed, so that the host may have something to say of it.
    pub(super) fn is_of_medium(self) -> bool {
        matches!(self, Self::Unreadable | Self::WriteFault)
    }
    /// The status of this number.
    pub fn from_code(code: u8) -> Option<Self> {
        use Status::*;
        const ALL: [Status; 18] = [
            Ok,
            BadCommand,
            WriteProtected,
            SectorNotFound,
            MediumChanged,
            NoParameters,
            DmaBoundary,
            UnsupportedMedium,
            Unreadable,
            NoMedium,
            TimeOut,
            NotReady,
            NotLocked,
            Locked,
            NotRemovable,
            LockCountExceeded,
            EjectFailed,
            WriteFault,
        ];
        ALL.into_iter().find(|status| *status as u8 == code)
    }
}
