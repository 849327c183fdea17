//! A person at a drive: media are put in and taken out.

use super::{MAX_COMMANDS, MachineControl, lock};
use trimotor_devices::drive::{Medium, MediumError};

/// A change of media that waits.
pub(crate) struct MediumChange {
    pub(crate) drive: String,
    pub(crate) medium: Option<Medium>,
    pub(crate) force: bool,
    pub(crate) answer: MediumAnswer,
}

/// Takes what became of a change of media, on the machine's thread.
pub type MediumAnswer = Box<dyn FnOnce(Result<(), MediumError>) + Send>;

impl MachineControl {
    /// Takes out what is in a drive. `answer` is told what became of it. A door that the guest has locked is opened by `force`
    /// only; otherwise the guest is asked to unlock it.
    pub fn eject(&self, drive: &str, force: bool, answer: MediumAnswer) {
        self.give_medium(MediumChange { drive: drive.to_owned(), medium: None, force, answer });
    }
    /// Puts another medium into a drive, as [`eject`](Self::eject) takes one out.
    pub fn change(&self, drive: &str, medium: Medium, force: bool, answer: MediumAnswer) {
        self.give_medium(MediumChange { drive: drive.to_owned(), medium: Some(medium), force, answer });
    }
    fn give_medium(&self, change: MediumChange) {
        let mut inbox = lock(&self.shared.inbox);
        if inbox.media.len() >= MAX_COMMANDS {
            log::warn!(
                "the medium of {} stays: the machine has not taken the changes before it",
                change.drive
            );
            return;
        }
        inbox.media.push_back(change);
        drop(inbox);
        self.wake();
    }
    /// The oldest change of media.
    pub(crate) fn take_medium_change(&self) -> Option<MediumChange> {
        lock(&self.shared.inbox).media.pop_front()
    }
}
