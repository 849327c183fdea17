//! The drives of a machine, and which controller has which.

use crate::board::Board;
use crate::clock::TimeSource;
use crate::devices::DeviceError;
use crate::registry::DeviceId;
use std::collections::BTreeMap;
use trimotor_devices::drive::{Drive, DriveConfig, DrivePlace, Media, Medium, MediumError};

/// All drives.
#[derive(Default)]
pub(crate) struct Drives {
    entries: Vec<Entry>,
}

struct Entry {
    drive: Drive,
    controller: Option<DeviceId>,
}

impl Drives {
    /// The drives of a configuration with what the host puts into them.
    ///
    /// # Errors
    /// An id or a place that two drives have, a hard disk without content, a medium without a drive.
    pub(crate) fn new(
        configs: &[DriveConfig],
        mut media: BTreeMap<String, Medium>,
    ) -> Result<Self, DeviceError> {
        let mut entries: Vec<Entry> = Vec::with_capacity(configs.len());
        for config in configs {
            let refuse = |reason: &str| Err(refusal(&config.id, reason));
            for Entry { drive, .. } in &entries {
                if drive.config().id == config.id {
                    return refuse("two drives have this id");
                }
                if config.place != DrivePlace::Unattached && drive.config().place == config.place {
                    return refuse(&format!("drive {} is at this place already", drive.config().id));
                }
            }
            let medium = media.remove(&config.id);
            if medium.is_none() && config.media == Media::Disk {
                return refuse("a hard disk needs a file");
            }
            entries.push(Entry { drive: Drive::new(config.clone(), medium), controller: None });
        }
        match media.into_keys().next() {
            Some(id) => Err(refusal(&id, "the configuration has no such drive")),
            None => Ok(Self { entries }),
        }
    }
    /// All, in the order of the configuration.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Drive> + Clone {
        self.entries.iter().map(|entry| &entry.drive)
    }
    /// Gives the first drive that is `wanted` to a controller.
    pub(crate) fn take(
        &mut self,
        controller: DeviceId,
        wanted: impl Fn(&DriveConfig) -> bool,
    ) -> Option<Drive> {
        let free = |entry: &&mut Entry| entry.controller.is_none() && wanted(entry.drive.config());
        let entry = self.entries.iter_mut().find(free)?;
        entry.controller = Some(controller);
        Some(entry.drive.clone())
    }
}

/// A drive that a machine cannot have.
fn refusal(id: &str, reason: &str) -> DeviceError {
    DeviceError::Drive { id: id.to_owned(), reason: reason.to_owned() }
}

impl Board {
    /// The drives, in the order of the configuration.
    pub fn drives(&self) -> impl Iterator<Item = &Drive> {
        self.drives.all()
    }
    /// Puts a medium into a drive, or takes out what is in it (`None`), as a person at the drive does. With
    /// `force` a door that the guest has locked is no hindrance.
    ///
    /// # Errors
    /// See [`MediumError`].
    pub(crate) fn change_medium(
        &self,
        id: &str,
        medium: Option<Medium>,
        force: bool,
        time: &mut TimeSource<'_>,
    ) -> Result<(), MediumError> {
        let found = self.drives.entries.iter().find(|entry| entry.drive.config().id == id);
        let Some(Entry { drive, controller }) = found else {
            let known: Vec<_> = self.drives().map(|drive| drive.config().id.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(MediumError::NoDrive { id: id.to_owned(), known });
        };
        if drive.config().media == Media::Disk {
            return Err(MediumError::Fixed { id: id.to_owned() });
        }
        let Some(controller) = *controller else {
            drive.set_medium(medium);
            return Ok(());
        };
        let mut device = self.devices.lock(controller);
        let now = time.now();
        let changed = match device.removable_drives() {
            Some(drives) => drives.change_medium(id, medium, force, now),
            None => {
                drive.set_medium(medium);
                Ok(())
            }
        };
        self.refresh(controller, &mut device);
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use trimotor_storage::MemoryDisk;

    fn medium() -> Medium {
        Arc::new(MemoryDisk::new(vec![0; 512]))
    }

    #[test]
    fn drives_that_contradict_each_other_are_refused() {
        let master = DrivePlace::Ide { channel: 0, unit: 0 };
        let disk = |id: &str, place| DriveConfig::new(id, place, Media::Disk);
        let media = |ids: &[&str]| ids.iter().map(|id| ((*id).to_owned(), medium())).collect();
        for (configs, ids, says) in [
            (vec![disk("a", master), disk("a", DrivePlace::Unattached)], &["a"][..], "two drives"),
            (vec![disk("a", master), disk("b", master)], &["a", "b"], "drive a is at this place"),
            (vec![disk("a", master)], &[], "needs a file"),
            (vec![], &["b"], "no such drive"),
        ] {
            let error = Drives::new(&configs, media(ids)).err().map(|error| error.to_string());
            assert!(error.as_ref().is_some_and(|error| error.contains(says)), "{error:?}");
        }
        let mut drives = Drives::new(&[disk("a", master)], media(&["a"])).unwrap();
        let controller = crate::registry::Registry::default().end();
        assert!(drives.take(controller, |drive| drive.place == master).is_some());
        assert!(drives.take(controller, |drive| drive.place == master).is_none());
        assert_eq!(drives.all().count(), 1);
    }
}
