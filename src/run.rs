//! `trimotor run` and `trimotor demo`: puts a machine together and shows it until it ends.

use crate::args::{Accel, DemoArgs, MachineArgs, OnPanic, OnReset, RunArgs, Stats, Tlb};
use crate::boot_files::GuestFiles;
use crate::error::Failure;
use crate::guest_view::GuestView;
use crate::host_services::{self, MonotonicClock};
use crate::note::note;
use crate::ports::{self, Ports};
use crate::report::Detail;
use crate::rtc_base::RtcBase;
use crate::watch::Watch;
use crate::{cpus, display, host_fault, host_memory, perf_map, report, screen_dump};
use anyhow::{Context, anyhow};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Instant;
use trimotor_console::charset;
use trimotor_console::escape::Escape;
use trimotor_console::serial::NullSink;
use trimotor_console::session::{Display, Ending, Session};
use trimotor_firmware::boot::{self, BootPlan};
use trimotor_firmware::demo;
use trimotor_firmware::tables::Platform;
use trimotor_machine::engines::{Engine, EngineOptions, STALE_USES, TLB_DIFFERENCES, TLB_HITS};
use trimotor_machine::{
    BootSource, ClockSource, DeviceConfig, ExitReason, HostServices, Machine, MachineConfig, MachineControl,
};

/// The stack of the thread that runs the guest. Handlers of the interpreter tail-call each other, but one that went a
/// slow way may keep its frame until the run returns: room for a slice of nothing else. Costs nothing until touched.
const MACHINE_STACK_BYTES: usize = 64 << 20;

/// Exit codes of a program that a signal ended start here, as shells count them.
const SIGNAL_EXIT_BASE: i32 = 128;

/// What a machine boots.
pub(crate) enum Payload {
    /// The built-in demo.
    Demo,
    /// Files.
    Kernel(Box<GuestFiles>),
}

impl Payload {
    /// The kernel's command line, where there is a kernel.
    fn command_line(&self) -> Option<String> {
        match self {
            Payload::Demo => None,
            Payload::Kernel(files) => Some(files.command_line().to_owned()),
        }
    }
}

/// Makes the boot plan, at power-on and at each reset.
pub(crate) struct Planner {
    payload: Payload,
    platform: Platform,
}

impl Planner {
    /// For a machine of that configuration.
    pub(crate) fn new(payload: Payload, config: &MachineConfig) -> Self {
        Self { payload, platform: config.platform() }
    }
    /// The plan.
    ///
    /// # Errors
    /// A file that cannot be read or booted.
    pub(crate) fn make(&mut self) -> Result<BootPlan, Failure> {
        match &mut self.payload {
            Payload::Kernel(files) => boot::load(files.read()?, &self.platform).map_err(Failure::bad),
            Payload::Demo => Ok(demo::plan(&self.platform).context("the demo")?),
        }
    }
}

impl BootSource for Planner {
    fn plan(&mut self) -> Result<BootPlan, String> {
        self.make().map_err(|failure| failure.to_string())
    }
}

/// Runs `trimotor run`.
///
/// # Errors
/// Bad input, a triple fault, or a host that fails.
pub fn kernel(args: &RunArgs) -> Result<ExitCode, Failure> {
    host_memory::check_against_host(args.machine.memory)?;
    launch(&args.machine, Payload::Kernel(Box::new(GuestFiles::open(args)?)))
}

/// Runs `trimotor demo`.
///
/// # Errors
/// Bad input, a triple fault, or a host that fails.
pub fn demo(args: &DemoArgs) -> Result<ExitCode, Failure> {
    host_memory::check_against_host(args.machine.memory)?;
    launch(&args.machine, Payload::Demo)
}

fn launch(args: &MachineArgs, payload: Payload) -> Result<ExitCode, Failure> {
    let mut model = cpus::parse(&args.cpu)?;
    model.cpus = args.cpus.into();
    let engine = engine(args.accel)?;
    host_fault::report(engine)?;
    let display = display::choose(args)?;
    if let Some(path) = &args.screen_dump {
        screen_dump::check(path)?;
    }
    let escape = Escape::new(args.escape.0);
    host_services::sleep_precisely();
    let session = Session::new();
    let wake = Arc::new(OnceLock::<MachineControl>::new());
    let kick = wake.clone();
    let kick: ports::Kick = Arc::new(move || {
        if let Some(control) = kick.get() {
            control.wake();
        }
    });
    let Ports { mut serial, console, debug, output_waits } = ports::open(args, &session.outlet(), &kick)?;
    let watch = Watch::new(&args.expect, &args.exit_on, wake.clone());
    if let Some(first) = serial.first_mut() {
        let backend = std::mem::replace(first, Box::new(NullSink));
        *first = watch.on(backend);
    }
    let config = config(args, engine, serial.len());
    let command_line = payload.command_line();
    let boot = Box::new(Planner::new(payload, &config));
    let services = HostServices {
        clock: Arc::new(MonotonicClock::new()),
        serial,
        debug_console: debug,
        engine: engine_options(args, engine)?,
        output_waits: Some(output_waits),
    };
    let machine = Machine::new(config, Arc::new(model), services, boot).map_err(Failure::bad)?;
    let control = machine.control();
    // Nobody else sets it.
    let _ = wake.set(control.clone());
    if display == Display::Serial && console.is_some() {
        display::tell_keys(&escape);
    }
    let view = GuestView { control, console, engine, command_line };
    let started = Instant::now();
    let timer = args.timeout.map(|limit| watch.start_timer(limit)).transpose();
    let timer = timer.context("a thread for --timeout")?;
    let (ending, reason, machine) = show(machine, view, session, display, escape)?;
    let elapsed = started.elapsed();
    let dumped = match &args.screen_dump {
        Some(path) => screen_dump::write(path, machine.screen().as_ref()),
        None => Ok(()),
    };
    log_end(&machine);
    if let Some(detail) = detail(args) {
        note(report::text(engine, &machine.statistics(), elapsed, detail).trim_end());
    }
    if args.check_tlb {
        report_sums(&machine, &[TLB_HITS, TLB_DIFFERENCES]);
    }
    if args.tlb == Tlb::Keep {
        report_sums(&machine, &[STALE_USES]);
    }
    drop(timer);
    let own = finish(ending, reason, &machine, display);
    let outcome = watch.outcome(ExitCode::SUCCESS, own, matches!(ending, Ending::Signal(_)));
    outcome.and_then(|code| dumped.map(|()| code))
}

/// What is told of the engine's counts at the end, if anything.
fn detail(args: &MachineArgs) -> Option<Detail> {
    match args.stats {
        Some(Stats::Most) => Some(Detail::Most),
        Some(Stats::All) => Some(Detail::All),
        None => args.profile.then_some(Detail::Profile),
    }
}

/// Says what `--check-tlb` or `--tlb keep` counted: these lines, summed over the vCPUs.
fn report_sums(machine: &Machine, lines: &[&str]) {
    let statistics = machine.statistics();
    let sum = |wanted: &str| -> u64 {
        statistics.iter().flatten().filter(|(name, _)| name == wanted).map(|(_, count)| count).sum()
    };
    let sums: Vec<_> = lines.iter().map(|line| format!("{line}: {}", sum(line))).collect();
    note(format_args!("trimotor: {}", sums.join(", ")));
}

/// Where the vCPUs stand and what the engine counted, for who asks with RUST_LOG=info or debug.
fn log_end(machine: &Machine) {
    for (cpu, counts) in machine.statistics().iter().enumerate() {
        let counts: Vec<_> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        log::info!("vCPU {cpu}: {}", counts.join(", "));
        if let Some(state) = machine.vcpu_state(cpu) {
            log::info!(
                "vCPU {cpu}: CS {:04x} RIP {:016x} RFLAGS {:08x}",
                state.segments[1].selector,
                state.rip,
                state.rflags
            );
            log::info!("vCPU {cpu}: local APIC: {}", machine.describe_lapic(cpu));
            log::debug!("vCPU {cpu}: {state:x?}");
        }
    }
}

/// What profilers want of the engine, and how much memory it may use.
fn engine_options(args: &MachineArgs, engine: Engine) -> Result<EngineOptions, Failure> {
    let options = [
        (args.perf_map.is_some(), "--perf-map"),
        (args.profile, "--profile"),
        (args.code_cache.is_some(), "--code-cache"),
    ];
    for (asked, option) in options {
        if asked && !engine.translates() {
            return Err(Failure::bad(format!(
                "{option}: engine {engine} makes no host code; use --accel jit"
            )));
        }
    }
    let code_observer = match &args.perf_map {
        Some(path) => Some(perf_map::observer(path.as_deref())?),
        None => None,
    };
    Ok(EngineOptions {
        code_observer,
        code_cache_bytes: args.code_cache.map(|size| size.0),
        count_blocks: args.profile,
        translation_clock: Some(host_services::monotonic_ns),
        ..EngineOptions::default()
    })
}

/// Runs the machine on a thread of its own, and the session on this one, until one of them ends.
fn show(
    mut machine: Machine,
    mut view: GuestView,
    session: Session,
    display: Display,
    escape: Escape,
) -> Result<(Ending, ExitReason, Machine), Failure> {
    let notice = session.end_notice();
    let builder = thread::Builder::new().name("machine".to_owned()).stack_size(MACHINE_STACK_BYTES);
    let thread = builder.spawn(move || {
        let _notice = notice;
        (machine.run(), machine)
    });
    let thread = thread.context("a thread for the machine")?;
    let ending = session.run(&mut view, display, escape);
    view.control.quit();
    let (reason, machine) =
        thread.join().map_err(|_| anyhow!("the machine's thread panicked: a bug in Trimotor"))?;
    Ok((ending?, reason, machine))
}

/// What the program says and returns once the machine has ended.
fn finish(
    ending: Ending,
    reason: ExitReason,
    machine: &Machine,
    display: Display,
) -> Result<ExitCode, Failure> {
    match reason {
        ExitReason::TripleFault(fault) => {
            // The screen that was drawn has gone with the terminal's alternate screen.
            if display == Display::Screen
                && let Some(screen) = machine.screen()
            {
                note(charset::shown(screen.text().trim_end_matches('\n')));
            }
            Err(Failure::TripleFault(fault.to_string()))
        }
        ExitReason::Quit => match ending {
            Ending::Signal(signal) => Ok(ExitCode::from((SIGNAL_EXIT_BASE + signal) as u8)),
            Ending::Quit => Ok(ExitCode::SUCCESS),
            // What asked for it, if nothing else did: a reset that failed.
            Ending::GuestEnded => Err(anyhow!("the machine could not be reset").into()),
        },
        ExitReason::PowerOff | ExitReason::Reset(_) => Ok(ExitCode::SUCCESS),
        ExitReason::Panic => Err(Failure::GuestPanic),
        ExitReason::DebugExit(_) => Ok(ExitCode::from(reason.debug_exit_code().unwrap_or_default())),
    }
}

/// The engine that `--accel` asks for.
pub(crate) fn engine(accel: Accel) -> Result<Engine, Failure> {
    let engine = match accel {
        Accel::Auto => Engine::fastest(),
        Accel::Interp => Engine::Interp,
        Accel::Jit => Engine::Jit,
        Accel::Kvm => Engine::Kvm,
    };
    let available = engine.status().available;
    available.map_err(|why| Failure::bad(format!("--accel {engine}: {why} (see `trimotor doctor`)")))?;
    Ok(engine)
}

/// What the options say of the machine.
pub(crate) fn config(args: &MachineArgs, engine: Engine, serial_ports: usize) -> MachineConfig {
    MachineConfig {
        memory_bytes: args.memory.0,
        cpus: args.cpus,
        engine: Some(engine),
        clock: if args.icount { ClockSource::Instructions } else { ClockSource::Host },
        rtc_seconds: args.rtc.unwrap_or(RtcBase::default_for(args.icount)).unix_seconds(),
        on_reset: match args.on_reset {
            OnReset::Reset => trimotor_machine::OnReset::Reset,
            OnReset::Exit => trimotor_machine::OnReset::Exit,
        },
        devices: devices(args, serial_ports),
        on_panic: match args.on_panic {
            Some(OnPanic::Pause) => trimotor_machine::OnPanic::Pause,
            Some(OnPanic::Reset) => trimotor_machine::OnPanic::Reset,
            Some(OnPanic::Ignore) => trimotor_machine::OnPanic::Ignore,
            Some(OnPanic::Exit) | None => trimotor_machine::OnPanic::Exit,
        },
        check_tlb: args.check_tlb,
        keep_tlb: args.tlb == Tlb::Keep,
        random_seed: host_services::random_seed(args.icount),
    }
}
/// The devices that the options ask for, beside those that every board has.
fn devices(args: &MachineArgs, serial_ports: usize) -> Vec<DeviceConfig> {
    let serial = std::iter::repeat_n(DeviceConfig::new("isa-serial"), serial_ports);
    let exit = args.debug_exit.map(|port| DeviceConfig::new("isa-debug-exit").with("iobase", port));
    let has_pvpanic = args.device.iter().any(|device| device.kind == "pvpanic");
    let named = [
        (args.debugcon.is_some(), "isa-debugcon"),
        (args.test_device, "pc-testdev"),
        (args.on_panic.is_some() && !has_pvpanic, "pvpanic"),
    ];
    let named = named.into_iter().filter(|(wanted, _)| *wanted).map(|(_, kind)| DeviceConfig::new(kind));
    serial.chain(exit).chain(named).chain(args.device.iter().cloned()).collect()
}
