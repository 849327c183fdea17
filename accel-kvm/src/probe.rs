//! The probe: KVM used step by step, in a thread with a deadline.

use crate::KvmHost;
use crate::guests::{INSTRUCTIONS, MODES, TinyGuest};
use crate::trial::{Trial, has_feature, refused};
use crate::unusable::{Backing, KvmUnusable};
use kvm_bindings::{CpuId, KVM_API_VERSION, KVM_MAX_CPUID_ENTRIES};
use kvm_ioctls::{Cap, Kvm};
use std::arch::x86_64::__cpuid;
use std::ffi::{CStr, CString};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How long [`probe`] waits. A probe takes some milliseconds on hardware, and well below a second where
/// an emulator runs the guests; the rest is for loaded machines.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// The capabilities that the engine will rest on, with their names in the KVM API.
const NEEDED: [(Cap, &str); 11] = [
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
    (Cap::DestroyMemoryRegionWorks, "KVM_CAP_DESTROY_MEMORY_REGION_WORKS"),
    (Cap::ExtCpuid, "KVM_CAP_EXT_CPUID"),
    (Cap::MpState, "KVM_CAP_MP_STATE"),
    (Cap::VcpuEvents, "KVM_CAP_VCPU_EVENTS"),
    (Cap::Debugregs, "KVM_CAP_DEBUGREGS"),
    (Cap::Xsave, "KVM_CAP_XSAVE"),
    (Cap::Xcrs, "KVM_CAP_XCRS"),
    (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
    (Cap::ReadonlyMem, "KVM_CAP_READONLY_MEM"),
    (Cap::X86UserSpaceMsr, "KVM_CAP_X86_USER_SPACE_MSR"),
];

/// What the probing thread and the one that waits for it share.
pub struct Progress {
    step: Mutex<&'static str>,
    stopped: AtomicBool,
}

impl Progress {
    fn new() -> Self {
        Self { step: Mutex::new("opening it"), stopped: AtomicBool::new(false) }
    }
    fn enter(&self, step: &'static str) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }
    fn step(&self) -> &'static str {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }
    /// Whether nobody waits for the probe any more.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

/// Finds out by use whether this host's KVM could drive a guest. Takes some milliseconds, and
/// [`DEADLINE`] at most.
///
/// # Errors
/// Why not; [`KvmUnusable::help`] says what would help.
pub fn probe() -> Result<KvmHost, KvmUnusable> {
    let answer = bounded(DEADLINE, |progress| run(c"/dev/kvm", progress));
    log::debug!("KVM probe: {answer:?}");
    answer
}

/// Runs `probe` in a thread, and waits for `limit` at most. On a host that has no thread to give, it
/// is a refusal.
fn bounded(
    limit: Duration,
    probe: impl FnOnce(&Progress) -> Result<KvmHost, KvmUnusable> + Send + 'static,
) -> Result<KvmHost, KvmUnusable> {
    let progress = Arc::new(Progress::new());
    let (send, answer) = sync_channel(1);
    let theirs = progress.clone();
    let step = "a thread for the probe";
    thread::Builder::new()
        .name("kvm-probe".to_owned())
        // Nobody listens any more once the deadline has passed.
        .spawn(move || drop(send.send(probe(&theirs))))
        .map_err(|error| KvmUnusable::Refused { step, reason: error.to_string(), busy: false })?;
    match answer.recv_timeout(limit) {
        Ok(answer) => answer,
        Err(RecvTimeoutError::Timeout) => {
            progress.stop();
            Err(KvmUnusable::Hangs { step: progress.step(), seconds: limit.as_secs() })
        }
        Err(RecvTimeoutError::Disconnected) => {
            let reason = "the probe ended without an answer".to_owned();
            Err(KvmUnusable::Refused { step: progress.step(), reason, busy: false })
        }
    }
}

fn run(device: &CStr, progress: &Progress) -> Result<KvmHost, KvmUnusable> {
    let device: CString = device.to_owned();
    let kvm = Kvm::new_with_path(&device).map_err(does_not_open)?;
    progress.enter("the version");
    let api_version = kvm.get_api_version();
    if api_version != KVM_API_VERSION as i32 {
        return Err(KvmUnusable::ApiVersion { found: api_version });
    }
    let missing: Vec<_> =
        NEEDED.iter().filter(|(cap, _)| !kvm.check_extension(*cap)).map(|(_, name)| *name).collect();
    if !missing.is_empty() {
        return Err(KvmUnusable::Capabilities { missing });
    }
    progress.enter("KVM_GET_SUPPORTED_CPUID");
    let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(refused("KVM_GET_SUPPORTED_CPUID"))?;
    let backing = backing();
    for guest in MODES {
        progress.enter(guest.name);
        let mut trial = Trial::new(&kvm, &cpuid, guest)?;
        trial.returns_at_once()?;
        trial.run(progress).map_err(|what| KvmUnusable::Guest { backing, guest: guest.name, what })?;
    }
    let missing = missing_instructions(&kvm, &cpuid, progress)?;
    // Hardware that does not run them is defective; of software it is to be expected.
    if backing.is_hardware() && !missing.is_empty() {
        return Err(KvmUnusable::Instructions { backing, missing });
    }
    let (max_vcpus, memory_slots) = (kvm.get_max_vcpus(), kvm.get_nr_memslots());
    Ok(KvmHost { api_version, max_vcpus, memory_slots, backing, missing })
}

/// Which of the instructions that KVM's own CPUID offers do not run, and what happens instead.
fn missing_instructions(
    kvm: &Kvm,
    cpuid: &CpuId,
    progress: &Progress,
) -> Result<Vec<(&'static str, String)>, KvmUnusable> {
    let offered = |guest: &&TinyGuest| guest.needs.is_none_or(|bit| has_feature(cpuid, bit));
    let mut missing = Vec::new();
    for guest in INSTRUCTIONS.iter().filter(offered) {
        progress.enter(guest.name);
        if let Err(what) = Trial::new(kvm, cpuid, *guest)?.run(progress) {
            missing.push((guest.name, what));
        }
    }
    Ok(missing)
}

fn does_not_open(error: kvm_ioctls::Error) -> KvmUnusable {
    /// The driver of a device file is not there: ENXIO, ENODEV. The numbers are Linux's.
    const NO_DRIVER: [i32; 2] = [6, 19];
    let error = io::Error::from(error);
    let driverless = error.raw_os_error().is_some_and(|number| NO_DRIVER.contains(&number));
    match error.kind() {
        io::ErrorKind::PermissionDenied => KvmUnusable::Permission,
        kind if driverless || kind == io::ErrorKind::NotFound => {
            KvmUnusable::NoDevice { processor_ready: processor_backing().is_some() }
        }
        _ => KvmUnusable::Open { reason: error.to_string() },
    }
}

/// What the processor offers. SDM Vol. 3C, Discovering Support for VMX: CPUID.1:ECX.VMX; AMD's
/// manual, Vol. 2, Enabling SVM: CPUID 8000_0001h:ECX.SVM.
fn processor_backing() -> Option<Backing> {
    let vmx = __cpuid(1).ecx >> 5 & 1 != 0;
    let svm = __cpuid(0x8000_0000).eax > 0x8000_0000 && __cpuid(0x8000_0001).ecx >> 2 & 1 != 0;
    vmx.then_some(Backing::VtX).or(svm.then_some(Backing::AmdV))
}

/// What KVM rests on: kvm_pvm where that is loaded (it would be pointless beside another), then what
/// the processor offers.
pub fn backing() -> Backing {
    if Path::new("/sys/module/kvm_pvm").exists() {
        return Backing::Pvm;
    }
    processor_backing().unwrap_or(Backing::Software)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_answers_and_says_what_would_help() {
        match probe() {
            Ok(host) => {
                println!("usable: {host}");
                assert_eq!(host.api_version, 12);
                assert!(host.max_vcpus > 0 && host.memory_slots > 0);
            }
            // That there is none is an answer too.
            Err(why) => {
                println!("no usable KVM: this host's /dev/kvm {why}; {}", why.help());
                assert_ne!(why, KvmUnusable::OtherHost);
                assert!(!why.help().is_empty());
            }
        }
    }

    #[test]
    fn a_missing_device_is_named() {
        let answer = bounded(DEADLINE, |progress| run(c"/nonexistent/kvm", progress));
        assert!(matches!(answer, Err(KvmUnusable::NoDevice { .. })), "{answer:?}");
    }

    #[test]
    fn a_file_that_is_no_kvm_is_found_out() {
        let answer = bounded(DEADLINE, |progress| run(c"/dev/null", progress));
        assert_eq!(answer, Err(KvmUnusable::ApiVersion { found: -1 }));
    }

    #[test]
    fn a_step_that_never_ends_is_left_behind_and_named() {
        let (_hold, never) = sync_channel::<()>(0);
        let answer = bounded(Duration::ZERO, move |_| {
            assert!(never.recv().is_err(), "nothing is ever sent");
            Err(KvmUnusable::Permission)
        });
        assert_eq!(answer, Err(KvmUnusable::Hangs { step: "opening it", seconds: 0 }));
    }

    #[test]
    fn a_probe_that_dies_is_reported() {
        let answer = bounded(DEADLINE, |progress| {
            progress.enter("a long-mode guest");
            // A panic without its message on the terminal.
            std::panic::resume_unwind(Box::new(()))
        });
        let Err(KvmUnusable::Refused { step, .. }) = answer else { panic!("{answer:?}") };
        assert_eq!(step, "a long-mode guest");
    }
}
