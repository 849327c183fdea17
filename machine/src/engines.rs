//! The engines of this build: the only file that names them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
pub use trimotor_bt_jit::{
    CODE_BYTES as CODE_CACHE, LEAST_CODE_BYTES as LEAST_CODE_CACHE, Reporting as HostFaultReporting,
};
use trimotor_cpu::CpuBackend;
use trimotor_cpu::code_observer::CodeObserver;
use trimotor_cpu_interp::Interpreter;
pub use trimotor_cpu_interp::vcpu::{STALE_USES, TLB_DIFFERENCES, TLB_HITS};

/// What is particular to KVM, the one engine that is taken by name only.
mod kvm {
    use super::Unusable;
    use std::sync::OnceLock;
    use trimotor_accel_kvm::{KvmHost, KvmUnusable};
    use trimotor_cpu::CpuBackend;
    use trimotor_cpu_interp::Interpreter;

    /// What the probe found, which runs tiny guests the first time.
    fn probed() -> &'static Result<KvmHost, KvmUnusable> {
        static PROBED: OnceLock<Result<KvmHost, KvmUnusable>> = OnceLock::new();
        PROBED.get_or_init(trimotor_accel_kvm::probe)
    }
    /// Of a KVM that can be used: why it is taken by name only.
    pub(super) fn availability() -> Result<String, Unusable> {
        let details = |what: &dyn std::fmt::Display| format!("this host's /dev/kvm {what}");
        match probed() {
            Ok(host) => {
                let why = if host.backing.is_hardware() {
                    "--accel auto takes it once it was tried on more hosts"
                } else {
                    "the interpreter runs what it does not"
                };
                Ok(format!("{}; {why}", details(host)))
            }
            Err(why) => Err(Unusable {
                verdict: "this host's KVM cannot run guests".to_owned(),
                details: vec![details(why), format!("to change that, {}", why.help())],
                help: "use --accel auto".to_owned(),
            }),
        }
    }
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    pub(super) fn start(interpreter: Interpreter) -> Result<Box<dyn CpuBackend>, String> {
        Ok(Box::new(trimotor_accel_kvm::KvmEngine::new(Box::new(interpreter))?))
    }
    #[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
    pub(super) fn start(_interpreter: Interpreter) -> Result<Box<dyn CpuBackend>, String> {
        Err(KvmUnusable::OtherHost.to_string())
    }
}

/// An engine that a machine can run on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
pub enum Engine {
    /// The interpreter.
    Interp,
    /// The translator.
    Jit,
    /// The host's hardware virtualisation.
    Kvm,
}

/// What profilers and testers want of an engine.
#[derive(Clone, Default)]
pub struct EngineOptions {
    /// Whether each hit of its translations is compared with a walk of the guest's page tables; `statistics` of
    /// its vCPUs then have the lines [`TLB_HITS`] and [`TLB_DIFFERENCES`].
    pub check_tlb: bool,
    /// Whether translations are kept until the guest flushes them; `statistics` of its vCPUs then have the line
    /// [`STALE_USES`].
    pub keep_tlb: bool,
    /// What is told of host code that is made.
    pub code_observer: Option<CodeObserver>,
    /// Memory for translated code, in bytes, where it is not the engine's usual amount; not less than
    /// [`LEAST_CODE_CACHE`].
    pub code_cache_bytes: Option<usize>,
    /// Whether executions of blocks are counted, for the statistics. Costs some speed.
    pub count_blocks: bool,
    /// A clock of the host in nanoseconds, that translation is timed by; the statistics of a vCPU then have the line
    /// [`TRANSLATION_TIME`]. It decides nothing.
    pub translation_clock: Option<fn() -> u64>,
}

/// The name of the count of nanoseconds that translation took.
pub const TRANSLATION_TIME: &str = "nanoseconds of translation";

/// What `doctor` says of an engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EngineStatus {
    /// The engine.
    pub engine: Engine,
    /// One line about what it is.
    pub description: &'static str,
    /// `Ok` where it can be used, otherwise why not and what would help.
    pub available: Result<(), Unusable>,
    /// Why it is not chosen where nobody names an engine, though it can be used.
    pub by_name: Option<String>,
}

/// Why an engine cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unusable {
    /// In a few words.
    pub verdict: String,
    /// What else is known: sentences without a full stop.
    pub details: Vec<String>,
    /// What would help, as an imperative.
    pub help: String,
}

impl fmt::Display for Unusable {
    /// The verdict and what would help.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.verdict, self.help)
    }
}

impl Engine {
    /// All engines, the fastest first.
    pub const ALL: [Engine; 3] = [Engine::Kvm, Engine::Jit, Engine::Interp];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Interp => "interp",
            Engine::Jit => "jit",
            Engine::Kvm => "kvm",
        }
    }
    /// What it is and whether it can be used. For KVM this runs tiny guests on the host's KVM, which
    /// takes some milliseconds, and seconds at most.
    pub fn status(self) -> EngineStatus {
        let (description, available, by_name) = match self {
            Engine::Interp => {
                ("interpreter: runs on any host, the reference for what an instruction means", Ok(()), None)
            }
            Engine::Jit => ("binary translation: guest code becomes host code", jit_availability(), None),
            Engine::Kvm => {
                let description = "the host's virtualisation through /dev/kvm, by --accel kvm only";
                match kvm::availability() {
                    Ok(why) => (description, Ok(()), Some(why)),
                    Err(why) => (description, Err(why), None),
                }
            }
        };
        EngineStatus { engine: self, description, available, by_name }
    }
    /// Whether a machine can have it.
    ///
    /// # Errors
    /// Why not.
    pub fn can_start(self) -> Result<(), Unusable> {
        self.status().available
    }
    /// Whether it is taken where nobody names an engine: KVM has run guests on a KVM of software only so far.
    fn is_chosen(self) -> bool {
        self != Engine::Kvm && self.can_start().is_ok()
    }
    /// The fastest engine that can be used here.
    pub fn fastest() -> Engine {
        Engine::ALL.into_iter().find(|engine| engine.is_chosen()).unwrap_or(Engine::Interp)
    }
    /// The next one that is chosen where nobody names one, in the order of [`ALL`](Self::ALL) and round again; itself where there is no other.
    pub fn next(self) -> Engine {
        let later = Engine::ALL.into_iter().cycle().skip_while(|engine| *engine != self).skip(1);
        later.take(Engine::ALL.len()).find(|engine| engine.is_chosen()).unwrap_or(self)
    }
    /// Whether it makes host code, which [`EngineOptions`] are about.
    pub fn translates(self) -> bool {
        self == Engine::Jit
    }
    /// Starts the engine.
    ///
    /// # Errors
    /// It cannot be used; the text says why and what would help.
    pub fn start(self) -> Result<Box<dyn CpuBackend>, String> {
        self.start_with(EngineOptions::default())
    }
    /// Starts the engine with options; engines that make no host code ignore those about it.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(self, options: EngineOptions) -> Result<Box<dyn CpuBackend>, String> {
        self.can_start().map_err(|why| why.to_string())?;
        match self {
            Engine::Interp => Ok(Box::new(interpreter(&options))),
            Engine::Jit => trimotor_bt_jit::start(trimotor_bt_jit::Options {
                code_bytes: options.code_cache_bytes.unwrap_or(CODE_CACHE),
                code_observer: options.code_observer,
                count_blocks: options.count_blocks,
                clock: options.translation_clock,
                check_tlb: options.check_tlb,
                keep_tlb: options.keep_tlb,
            }),
            Engine::Kvm if options.check_tlb || options.keep_tlb => {
                Err("it has no translations of its own (--check-tlb, --tlb keep); use --accel jit or interp"
                    .to_owned())
            }
            Engine::Kvm => kvm::start(interpreter(&options)),
        }
    }
}

fn interpreter(options: &EngineOptions) -> Interpreter {
    let mut interpreter = Interpreter::new();
    if options.check_tlb {
        interpreter = interpreter.checking_tlb();
    }
    if options.keep_tlb {
        interpreter = interpreter.keeping_tlb();
    }
    interpreter
}

/// Has signals in translated code that the guest did not cause reported with the guest's position, in all threads
/// of the process, for good.
///
/// # Errors
/// The host refuses a signal handler.
pub fn report_host_faults(reporting: HostFaultReporting) -> std::io::Result<()> {
    trimotor_bt_jit::report_host_faults(reporting)
}

fn jit_availability() -> Result<(), Unusable> {
    trimotor_bt_jit::availability().map_err(|reason| Unusable {
        verdict: reason.to_string(),
        details: Vec::new(),
        help: "use --accel interp".to_owned(),
    })
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Engine {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Engine::ALL
            .into_iter()
            .find(|engine| engine.name() == text)
            .ok_or_else(|| format!("no engine {text}: there are interp, jit and kvm"))
    }
}

/// What `doctor` shows: every engine, the fastest first.
pub fn doctor() -> Vec<EngineStatus> {
    Engine::ALL.map(Engine::status).to_vec()
}
