//! The report of a host fault in translated code: see `trimotor_bt_jit::host_fault`.

use crate::error::{EXIT_HOST_FAULT, Failure};
use anyhow::Context;
use trimotor_console::terminal;
use trimotor_machine::engines::{self, Engine, HostFaultReporting};

/// What people can do.
const ADVICE: &str = "\
  This is a bug of the translator, unless the host took memory away (SIGBUS: a full disk, a file made shorter).
  --accel interp runs the guest without translated code. To find the bug, run the same guest with
  `trimotor lockstep --engines interp,jit`, which names the first instruction that differs; please report both texts.";

/// Has such faults reported from now on, where an engine can be used that makes such code: the guest may come to run on it.
///
/// # Errors
/// The host refuses a signal handler.
pub fn report() -> Result<(), Failure> {
    if Engine::ALL.into_iter().any(|engine| engine.translates() && engine.can_start().is_ok()) {
        let exit_code = EXIT_HOST_FAULT.into();
        let reporting =
            HostFaultReporting { exit_code, prepare: terminal::restore_in_handler, advice: ADVICE };
        engines::report_host_faults(reporting).context("a handler of signals")?;
    }
    Ok(())
}
