//! Drives: what a disk controller has at the end of its cables.
//!
//! A drive is a place on a controller with properties that stay (its media, its serial number, what follows
//! an error of the host) and a medium in it, which for CD-ROM and floppy drives may change while the guest runs.
//! [`Drive`] is a handle: the controller has one, and so has firmware that reads disks by its own means.
//! All handles see the medium that is in the drive now.

use crate::device::{Job, OutsideRef};
use crate::disk_work::Work;
use crate::drive_limits::{Cost, DriveLimits, Limiter, LimiterStateV1};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use trimotor_bus::{GuestTime, RestoreError};
use trimotor_storage::BlockBackend;

/// What holds a medium's content.
pub type Medium = Arc<dyn BlockBackend>;

/// Where a drive is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum DrivePlace {
    /// On the IDE controller.
    Ide {
        /// 0 is the primary channel, 1 the secondary one.
        channel: u8,
        /// 0 is the master, 1 the slave.
        unit: u8,
    },
    /// On the floppy controller.
    Floppy {
        /// 0 is A:, 1 is B:.
        unit: u8,
    },
    /// Nowhere: a device that names the drive by its id takes it.
    Unattached,
}

/// Which way a request moves bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the medium.
    Read,
    /// To the medium.
    Write,
}

/// What kind of media a drive takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Media {
    /// A hard disk, which stays.
    Disk,
    /// CDs and DVDs, read only.
    Cdrom,
    /// Floppy disks.
    Floppy,
}

/// What follows where the host cannot read or write a disk's image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum OnDiskError {
    /// The guest sees the error.
    Report,
    /// The guest sees success.
    Ignore,
    /// The machine pauses; the request is done again when it goes on.
    Stop,
    /// The machine pauses where the host has no space left, else the guest sees the error.
    StopWithoutSpace,
}

/// A drive as a configuration has it. What is in it is handed in by the host under the same id.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DriveConfig {
    /// Its name for people and commands, used once.
    pub id: String,
    /// Where it is.
    pub place: DrivePlace,
    /// What it takes.
    pub media: Media,
    /// The serial number that the drive tells, up to 20 characters.
    pub serial: Option<String>,
    /// What follows where the host cannot read.
    pub on_read_error: OnDiskError,
    /// What follows where the host cannot write.
    pub on_write_error: OnDiskError,
    /// Ranges that the guest gives up are given back to the host.
    pub discard: bool,
    /// Writes are kept by the host before they are reported as done: the drive has no write cache.
    pub write_through: bool,
    /// How fast it may be at most.
    pub limits: DriveLimits,
}

impl DriveConfig {
    /// A drive with the properties that most have.
    pub fn new(id: &str, place: DrivePlace, media: Media) -> Self {
        Self {
            id: id.to_owned(),
            place,
            media,
            serial: None,
            on_read_error: OnDiskError::Report,
            on_write_error: OnDiskError::StopWithoutSpace,
            discard: false,
            write_through: false,
            limits: DriveLimits::default(),
        }
    }
}

/// A drive.
#[derive(Clone)]
pub struct Drive {
    config: Arc<DriveConfig>,
    medium: Arc<Mutex<Option<Medium>>>,
    /// How often the medium was changed.
    changes: Arc<AtomicU64>,
    /// Where the drive has limits.
    limiter: Option<Arc<Mutex<Limiter>>>,
}

impl Drive {
    /// A drive with this medium in it.
    pub fn new(config: DriveConfig, medium: Option<Medium>) -> Self {
        let limiter = (!config.limits.is_none()).then(|| Arc::new(Mutex::new(Limiter::new(&config.limits))));
        Self {
            config: Arc::new(config),
            medium: Arc::new(Mutex::new(medium)),
            changes: Arc::default(),
            limiter,
        }
    }
    /// Its properties.
    pub fn config(&self) -> &DriveConfig {
        &self.config
    }
    /// What is in it now.
    pub fn medium(&self) -> Option<Medium> {
        self.medium.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// How often [`set_medium`](Self::set_medium) was called, by whichever handle: a controller sees by it that others
    /// changed the medium.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }
    /// Puts a medium into it, or takes out what is in it. Returns what was in it. The controller calls it, so that the
    /// guest hears of the change; see [`RemovableDrives`].
    pub fn set_medium(&self, medium: Option<Medium>) -> Option<Medium> {
        self.changes.fetch_add(1, Ordering::Relaxed);
        std::mem::replace(&mut *self.medium.lock().unwrap_or_else(PoisonError::into_inner), medium)
    }

    /// When a request of this cost that is made `now` may begin; it counts from now on.
    pub(crate) fn admit(&self, cost: Cost, now: GuestTime) -> GuestTime {
        let limited = self.limiter.as_ref().zip(cost);
        limited.map_or(now, |(limiter, cost)| {
            limiter.lock().unwrap_or_else(PoisonError::into_inner).admit(cost, now)
        })
    }
    /// When a worker's task that is begun `now` completes, by the drive's limits and by the time that such a drive takes.
    pub(crate) fn due(&self, work: Work, data: &[u8], now: GuestTime) -> GuestTime {
        self.admit(work.cost(data), now) + work.duration_ns(data.len())
    }
    /// Gives a task to a worker; where the drive has limits it completes no earlier than `due`.
    pub(crate) fn give(&self, outside: &OutsideRef, token: u64, due: GuestTime, job: Job) {
        match self.limiter {
            Some(_) => outside.begin_no_earlier(token, due, job),
            None => outside.begin(token, due, job),
        }
    }
    /// How far its limits are used up; nothing where it has none.
    pub fn save_limits(&self) -> Option<LimiterStateV1> {
        let limiter = self.limiter.as_ref()?;
        Some(limiter.lock().unwrap_or_else(PoisonError::into_inner).save())
    }
    /// Takes a saved state, at the guest time `now`.
    ///
    /// # Errors
    /// One of other limits.
    pub fn restore_limits(&self, state: Option<&LimiterStateV1>, now: GuestTime) -> Result<(), RestoreError> {
        match (&self.limiter, state) {
            (None, None) => Ok(()),
            (Some(limiter), Some(state)) => {
                limiter.lock().unwrap_or_else(PoisonError::into_inner).restore(state, now)
            }
            _ => Err(RestoreError { part: "drive", field: "limits", value: format!("{state:?}") }),
        }
    }
}

impl std::fmt::Debug for Drive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drive").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A medium cannot be changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MediumError {
    /// No drive has this id.
    #[error("there is no drive {id:?}; there are {known}")]
    NoDrive {
        /// The id.
        id: String,
        /// The ids that there are.
        known: String,
    },
    /// It is a hard disk.
    #[error("drive {id:?} is a hard disk: its medium stays")]
    Fixed {
        /// The drive.
        id: String,
    },
    /// The guest has locked the drive's door.
    #[error(
        "the guest has locked drive {id:?}; it has been asked to let the medium go, and eject by force takes it away at once"
    )]
    Locked {
        /// The drive.
        id: String,
    },
}

/// A controller whose drives take removable media.
pub trait RemovableDrives: Send {
    /// Puts `medium` into the drive, or takes out what is in it (`None`). Where the guest has locked the door it is asked to let
    /// go, unless `force` is set.
    ///
    /// # Errors
    /// No such drive here, a hard disk, or a locked door.
    fn change_medium(
        &mut self,
        id: &str,
        medium: Option<Medium>,
        force: bool,
        now: GuestTime,
    ) -> Result<(), MediumError>;
}
