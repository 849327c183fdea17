//! Why a host's KVM cannot be used, and what would help.

use std::fmt;

/// What KVM rests on, as far as the host tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backing {
    /// VT-x, by the module kvm_intel.
    VtX,
    /// AMD-V, by the module kvm_amd.
    AmdV,
    /// Software: the module kvm_pvm, which needs no help from the processor.
    Pvm,
    /// Software of another kind: the processor offers neither VT-x nor AMD-V.
    Software,
}

impl fmt::Display for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backing::VtX => "VT-x",
            Backing::AmdV => "AMD-V",
            Backing::Pvm => "software without VT-x or AMD-V (module kvm_pvm)",
            Backing::Software => "software without VT-x or AMD-V",
        })
    }
}

impl Backing {
    /// Whether guest instructions run on the processor's own virtualisation.
    pub fn is_hardware(self) -> bool {
        matches!(self, Backing::VtX | Backing::AmdV)
    }
}

/// Why KVM cannot be used here. The text continues the words "this host's /dev/kvm";
/// [`KvmUnusable::help`] says what would help.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KvmUnusable {
    /// The host is of another kind.
    #[error("cannot be: KVM needs Linux on x86-64, and this build is for another kind of host")]
    OtherHost,
    /// There is no device file, or no driver behind it.
    #[error("is not there")]
    NoDevice {
        /// Whether the processor offers VT-x or AMD-V.
        processor_ready: bool,
    },
    /// The device file belongs to others.
    #[error("does not open: permission denied")]
    Permission,
    /// The device file does not open for another reason.
    #[error("does not open: {reason}")]
    Open {
        /// The host's words.
        reason: String,
    },
    /// The device does not speak the one version of the API that there is.
    #[error("answers with API version {found}, where all KVMs since Linux 2.6.22 answer 12")]
    ApiVersion {
        /// The answer; negative: it does not know the question, and is no KVM.
        found: i32,
    },
    /// Capabilities that an engine cannot do without are absent.
    #[error("lacks {}", missing.join(", "))]
    Capabilities {
        /// Their names in the KVM API.
        missing: Vec<&'static str>,
    },
    /// A request failed.
    #[error("refuses {step}: {reason}")]
    Refused {
        /// The request: "KVM_CREATE_VM".
        step: &'static str,
        /// The host's words.
        reason: String,
        /// Whether the host says that something else holds what is asked for.
        busy: bool,
    },
    /// A guest did not do what its code says.
    #[error("is {backing}, and {guest} does not run on it: {what}")]
    Guest {
        /// What KVM rests on.
        backing: Backing,
        /// The guest: "a real-mode guest".
        guest: &'static str,
        /// What it did instead.
        what: String,
    },
    /// Guests run on hardware, but instructions that any operating system uses do not.
    #[error("is {backing}, and runs small guests but not {}", list(missing))]
    Instructions {
        /// What KVM rests on.
        backing: Backing,
        /// The instructions, with what happened instead.
        missing: Vec<(&'static str, String)>,
    },
    /// The probe did not end in time.
    #[error("hangs: {step} did not end within {seconds} s")]
    Hangs {
        /// What the probe was doing.
        step: &'static str,
        /// How long it waited, in seconds.
        seconds: u64,
    },
}

/// Instructions with what happened instead.
pub(crate) fn list(missing: &[(&'static str, String)]) -> String {
    let each: Vec<_> = missing.iter().map(|(name, what)| format!("{name} ({what})")).collect();
    each.join(", ")
}

impl KvmUnusable {
    /// What would help, as an imperative; ends without a full stop.
    pub fn help(&self) -> &'static str {
        const ON_HARDWARE: &str = "run on a host whose processor offers VT-x or AMD-V \
             (in a virtual machine: turn on nested virtualisation in its hypervisor)";
        match self {
            Self::OtherHost => "use another engine",
            Self::NoDevice { processor_ready: true } => {
                "load the module: `modprobe kvm_intel` or `modprobe kvm_amd`; in a container, pass \
                 /dev/kvm in"
            }
            Self::NoDevice { processor_ready: false } => {
                "the processor shows neither VT-x nor AMD-V: turn virtualisation on in the firmware's \
                 set-up, or, in a virtual machine, nested virtualisation in its hypervisor"
            }
            Self::Permission => {
                "join the group that owns it: `sudo usermod -aG kvm $USER`, then log in again"
            }
            Self::Open { .. } => "see `dmesg | grep kvm`",
            Self::ApiVersion { .. } => "see what stands at /dev/kvm: it is no KVM of today",
            Self::Capabilities { .. } => "use a newer kernel",
            Self::Refused { busy: true, .. } => {
                "stop the other hypervisor (VirtualBox and VMware hold VT-x while they run)"
            }
            Self::Refused { busy: false, .. } => "see `dmesg | grep kvm` for the kernel's own words",
            Self::Guest { backing, .. } | Self::Instructions { backing, .. } if !backing.is_hardware() => {
                ON_HARDWARE
            }
            Self::Guest { .. } | Self::Instructions { .. } => {
                "see `dmesg | grep kvm`, and update the kernel of the host, or of the host around it"
            }
            Self::Hangs { .. } => "see `dmesg | grep kvm`; update the kernel",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each error, what it says after "this host's /dev/kvm", and a word of its help.
    fn table() -> Vec<(KvmUnusable, &'static str, &'static str)> {
        vec![
            (
                KvmUnusable::OtherHost,
                "cannot be: KVM needs Linux on x86-64, and this build is for another kind of host",
                "another engine",
            ),
            (KvmUnusable::NoDevice { processor_ready: true }, "is not there", "modprobe"),
            (KvmUnusable::NoDevice { processor_ready: false }, "is not there", "nested"),
            (KvmUnusable::Permission, "does not open: permission denied", "usermod -aG kvm"),
            (KvmUnusable::Open { reason: "too many files".into() }, "does not open: too many files", "dmesg"),
            (
                KvmUnusable::ApiVersion { found: -1 },
                "answers with API version -1, where all KVMs since Linux 2.6.22 answer 12",
                "no KVM",
            ),
            (
                KvmUnusable::Capabilities { missing: vec!["KVM_CAP_XSAVE", "KVM_CAP_XCRS"] },
                "lacks KVM_CAP_XSAVE, KVM_CAP_XCRS",
                "newer kernel",
            ),
            (
                KvmUnusable::Refused { step: "KVM_CREATE_VM", reason: "busy".into(), busy: true },
                "refuses KVM_CREATE_VM: busy",
                "VirtualBox",
            ),
            (
                KvmUnusable::Refused { step: "KVM_CREATE_VCPU", reason: "no memory".into(), busy: false },
                "refuses KVM_CREATE_VCPU: no memory",
                "dmesg",
            ),
            (
                KvmUnusable::Guest {
                    backing: Backing::VtX,
                    guest: "a real-mode guest",
                    what: "it shuts down".into(),
                },
                "is VT-x, and a real-mode guest does not run on it: it shuts down",
                "update the kernel",
            ),
            (
                KvmUnusable::Instructions {
                    backing: Backing::AmdV,
                    missing: vec![("paddd", "it shuts down".into()), ("xrstor", "refused".into())],
                },
                "is AMD-V, and runs small guests but not paddd (it shuts down), xrstor (refused)",
                "update the kernel",
            ),
            (
                KvmUnusable::Hangs { step: "a long-mode guest", seconds: 5 },
                "hangs: a long-mode guest did not end within 5 s",
                "dmesg",
            ),
        ]
    }

    #[test]
    fn every_error_says_what_failed_and_what_would_help() {
        for (error, text, help) in table() {
            assert_eq!(error.to_string(), text);
            assert!(error.help().contains(help), "{error:?}: {}", error.help());
            assert!(!error.help().ends_with('.') && !error.help().contains("  "), "{}", error.help());
        }
    }
}
