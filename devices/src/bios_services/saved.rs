//! Saving and restoring.

use super::cd_boot::Session;
use super::drives::MediumWatch;
use super::request::{Request, Work};
use super::saved_request::{RequestStateV1, SessionStateV1};
use super::{BiosServices, CdState, Target};
use serde::{Deserialize, Serialize};
use trimotor_bus::{RestoreError, SaveState};

/// The saved state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BiosServicesStateV1 {
    /// For each floppy drive, whether a change of its medium has to be told.
    floppies_changed: Vec<bool>,
    cds: Vec<CdStateV1>,
    first_disk: u8,
    session: Option<SessionStateV1>,
    starts: u64,
    begun: u64,
    request: Option<RequestStateV1>,
}

/// The saved state of a CD-ROM drive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CdStateV1 {
    locks: u8,
    changed: bool,
}

fn refuse(field: &'static str, value: impl ToString) -> RestoreError {
    RestoreError { part: "BIOS services", field, value: value.to_string() }
}

impl BiosServices {
    /// Refuses a request that no call of this machine could have begun.
    fn check_request(&self, request: &Request) -> Result<(), RestoreError> {
        let drives = &self.drives;
        let there = match &request.work {
            Work::Sectors { target, transfer, .. } => {
                transfer.check()?;
                match target {
                    Target::Floppy(index) => usize::from(*index) < drives.floppies.len(),
                    Target::Disk(index) => usize::from(*index) < drives.disks.len(),
                    Target::Cd(index) => usize::from(*index) < drives.cds.len(),
                    Target::Emulated => true,
                }
            }
            Work::Catalog { .. } | Work::Boot { .. } | Work::Emulate { .. } => true,
        };
        if there { Ok(()) } else { Err(refuse("drive", format!("{:?}", request.work))) }
    }
}

impl SaveState for BiosServices {
    type State = BiosServicesStateV1;
    fn save(&self) -> BiosServicesStateV1 {
        let Self {
            memory: _,
            outside: _,
            machine: _,
            drives,
            boot: _,
            floppy_watches,
            cds,
            first_disk,
            session,
            starts,
            begun,
            request,
            again_at: _,
            told: _,
        } = self;
        BiosServicesStateV1 {
            floppies_changed: floppy_watches
                .iter()
                .zip(&drives.floppies)
                .map(|(watch, floppy)| watch.changed(&floppy.drive))
                .collect(),
            cds: cds
                .iter()
                .zip(&drives.cds)
                .map(|(CdState { locks, watch }, cd)| CdStateV1 {
                    locks: *locks,
                    changed: watch.changed(&cd.drive),
                })
                .collect(),
            first_disk: *first_disk,
            session: session.map(Into::into),
            starts: *starts,
            begun: *begun,
            request: request.clone().map(Into::into),
        }
    }
    fn restore(&mut self, state: BiosServicesStateV1) -> Result<(), RestoreError> {
        let BiosServicesStateV1 { floppies_changed, cds, first_disk, session, starts, begun, request } =
            state;
        let (session, request) = (session.map(Session::from), request.map(Request::from));
        if floppies_changed.len() != self.drives.floppies.len() {
            return Err(refuse("floppy drives", floppies_changed.len()));
        }
        if cds.len() != self.drives.cds.len() {
            return Err(refuse("CD-ROM drives", cds.len()));
        }
        if usize::from(first_disk) >= self.drives.disks.len().max(1) {
            return Err(refuse("first hard disk", first_disk));
        }
        if let Some(session) = &session
            && usize::from(session.cd) >= cds.len()
        {
            return Err(refuse("CD that was booted from", session.cd));
        }
        if let Some(request) = &request {
            self.check_request(request)?;
        }
        self.floppy_watches = floppies_changed
            .iter()
            .zip(&self.drives.floppies)
            .map(|(changed, floppy)| MediumWatch::restored(&floppy.drive, *changed))
            .collect();
        self.cds = cds
            .iter()
            .zip(&self.drives.cds)
            .map(|(CdStateV1 { locks, changed }, cd)| CdState {
                locks: *locks,
                watch: MediumWatch::restored(&cd.drive, *changed),
            })
            .collect();
        self.first_disk = first_disk;
        self.session = session;
        self.starts = starts;
        self.begun = begun;
        self.request = request;
        self.again_at = None;
        // Workers know nothing of a request that another machine began.
        if let Some(request) = &self.request {
            self.start_worker(request);
        }
        Ok(())
    }
}
