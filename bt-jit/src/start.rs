//! The engine as a whole, for programs that are built for any host.

use crate::availability;
use std::io;
use trimotor_cpu::CpuBackend;
use trimotor_cpu::code_observer::CodeObserver;

/// Code memory in bytes where nobody says otherwise. Pages cost nothing until they are used.
pub const CODE_BYTES: usize = 64 << 20;
/// The least code memory: four regions of the least size.
pub const LEAST_CODE_BYTES: usize = 256 << 10;

/// What profilers and testers want of the translator.
pub struct Options {
    /// Memory for translated code of each vCPU, in bytes; [`LEAST_CODE_BYTES`] at least.
    pub code_bytes: usize,
    /// What is told of host code that is made.
    pub code_observer: Option<CodeObserver>,
    /// Whether executions of blocks are counted.
    pub count_blocks: bool,
    /// A monotonic clock in nanoseconds by which translation is timed; `None`: it is not.
    pub clock: Option<fn() -> u64>,
    /// Whether each hit of a shadow page table is compared with a walk.
    pub check_tlb: bool,
    /// Whether translations are kept until something flushes them.
    pub keep_tlb: bool,
}

/// What is done about host faults in translated code.
#[derive(Clone, Copy)]
pub struct Reporting {
    /// The program's exit code.
    pub exit_code: i32,
    /// Called before the report is written, to make standard error readable. It runs in the signal handler
    /// (signal-safety(7)).
    pub prepare: fn(),
    /// The report's last lines: what people can do.
    pub advice: &'static str,
}

/// Starts the translator.
///
/// # Errors
/// The host is none that it works on, or refuses memory to run code from; the text says why.
#[cfg(target_arch = "x86_64")]
pub fn start(options: Options) -> Result<Box<dyn CpuBackend>, String> {
    availability().map_err(|error| error.to_string())?;
    let profiler =
        crate::profiler::Profiler::new(options.code_observer, options.count_blocks).timed_by(options.clock);
    let mut translator = crate::Translator::with(options.code_bytes, profiler)?;
    if options.check_tlb {
        translator = translator.checking_tlb();
    }
    if options.keep_tlb {
        translator = translator.keeping_tlb();
    }
    Ok(Box::new(translator))
}
/// There is no translator for this host.
///
/// # Errors
/// Always, with the reason.
#[cfg(not(target_arch = "x86_64"))]
pub fn start(_options: Options) -> Result<Box<dyn CpuBackend>, String> {
    let reason = availability().err().map(|error| error.to_string());
    Err(reason.unwrap_or_else(|| "the translator is not part of this build".to_owned()))
}

/// Has signals in translated code that the guest did not cause reported with the guest's position, in all threads
/// of the process, for good.
///
/// # Errors
/// The host refuses a signal handler.
pub fn report_host_faults(reporting: Reporting) -> io::Result<()> {
    #[cfg(target_arch = "x86_64")]
    return crate::host_fault::install(reporting);
    #[cfg(not(target_arch = "x86_64"))]
    {
        // No code is translated here.
        let _ = reporting;
        Ok(())
    }
}
