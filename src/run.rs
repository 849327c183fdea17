//! `trimotor run` and `trimotor demo`: puts a machine together and shows it until it ends.

use crate::args::{Accel, Command, DemoArgs, MachineArgs, OnPanic, OnReset, RunArgs, Stats, Tlb};
use crate::boot_files::GuestFiles;
use crate::display::screenshots::Screenshots;
use crate::display::{Chosen, Servers, Wiring};
use crate::drives::{self, Drives};
use crate::error::Failure;
use crate::gdb::Gdb;
use crate::generation::Generation;
use crate::guest_view::GuestView;
use crate::host_memory::MemorySize;
use crate::host_services::{self, MonotonicClock};
use crate::monitor::{Monitors, ProgramHost};
use crate::networks::{self, Networks};
use crate::note::note;
use crate::payload::{Payload, Planner};
use crate::ports::{self, Ports};
use crate::recording::replay::{Given, NotKept};
use crate::recording::{FileSumV1, Outside, RecordingFile, Replay};
use crate::report::Detail;
use crate::rom_file::Firmware;
use crate::rtc_base::RtcBase;
use crate::snapshots::Keeper;
use crate::snapshots::restore::{self, Saved};
use crate::trace::Traces;
use crate::typing::Script;
use crate::watch::Watch;
use crate::{cpus, display, host_fault, host_memory, perf_map, report, switches};
use anyhow::{Context, anyhow};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Instant;
use trimotor_console::charset;
use trimotor_console::escape::Escape;
use trimotor_console::graphics::Format;
use trimotor_console::serial::NullSink;
use trimotor_console::session::{Display, Ending, Session};
use trimotor_machine::engines::{Engine, EngineOptions, STALE_USES, TLB_DIFFERENCES, TLB_HITS};
use trimotor_machine::{
    BootConfig, BootDevice, ClockSource, DeviceConfig, ExitReason, HostServices, Machine, MachineConfig,
    MachineControl,
};
use trimotor_monitor::Monitor;

/// The stack of the thread that runs the guest. Handlers of the interpreter tail-call each other, but one that went a
/// slow way may keep its frame until the run returns: room for a slice of nothing else. Costs nothing until touched.
const MACHINE_STACK_BYTES: usize = 64 << 20;

/// Exit codes of a program that a signal ended start here, as shells count them.
const SIGNAL_EXIT_BASE: i32 = 128;

/// Where a machine comes from.
struct Origin {
    /// The command line that made it, without the program's name.
    arguments: Vec<String>,
    /// It goes on as it was saved.
    saved: Option<Saved>,
    /// It goes on as it was at this snapshot of its disks.
    snapshot: Option<String>,
    /// Where what comes from outside goes, or comes from.
    outside: Outside,
}

impl Origin {
    /// This program's command line.
    fn fresh() -> Self {
        Self { arguments: host_services::arguments(), saved: None, snapshot: None, outside: Outside::Taken }
    }
}

/// Runs `trimotor run`.
///
/// # Errors
/// Bad input, a triple fault, or a host that fails.
pub fn kernel(mut args: RunArgs) -> Result<ExitCode, Failure> {
    let outside = outside(&mut args)?;
    if let Some(file) = &args.restore {
        return restored(file, &args, outside);
    }
    host_memory::check_against_host(args.machine.memory)?;
    let payload = payload(&args)?;
    let origin = Origin { snapshot: args.loadvm.clone(), outside, ..Origin::fresh() };
    launch(&args.machine, payload, args.image.as_deref(), &title_name(&args), origin)
}

/// Opens what `--record` or `--replay` names. A run that is to be the same again has counted time.
fn outside(args: &mut RunArgs) -> Result<Outside, Failure> {
    args.machine.icount |= args.record.is_some() || args.replay.is_some();
    if let Some(file) = &args.replay {
        let mut replay = Replay::open(file)?;
        replay.choose_command(args)?;
        replay.check_start(args.restore.as_deref())?;
        return Ok(Outside::Replayed(Box::new(replay)));
    }
    let Some(path) = &args.record else { return Ok(Outside::Taken) };
    if args.machine.gdb.is_some() {
        return Err(Failure::bad(
            "--record: what a debugger changes is no part of a recording; record without --gdb, and have gdb look at the replay",
        ));
    }
    let sum = |file: &PathBuf| {
        FileSumV1::of(file).map_err(|error| Failure::bad(format!("--restore {}: {error}", file.display())))
    };
    let restored = args.restore.as_ref().map(sum).transpose()?;
    Ok(Outside::Recorded(RecordingFile::open(path, restored)?))
}

fn payload(args: &RunArgs) -> Result<Payload, Failure> {
    match args.kernel {
        Some(_) => Ok(Payload::Kernel(Box::new(GuestFiles::open(args)?))),
        None => {
            GuestFiles::check_none(args)?;
            Ok(Payload::Bios(Firmware::open(args)?))
        }
    }
}

/// Runs a machine that was saved in a file.
fn restored(file: &Path, args: &RunArgs, outside: Outside) -> Result<ExitCode, Failure> {
    let saved = Saved::open(file, args)?;
    let command = saved.command(args)?;
    host_memory::check_against_host(MemorySize(saved.machine.config().memory_bytes))?;
    if outside.replay().is_none() {
        saved.check_drives()?;
    }
    if matches!(outside, Outside::Recorded(_)) && saved.machine.config().clock != ClockSource::Instructions {
        return Err(Failure::bad(
            "--record: the saved machine's time is the host's; what is to be recorded begins with --icount",
        ));
    }
    let origin =
        Origin { arguments: saved.host.arguments.clone(), saved: Some(saved), snapshot: None, outside };
    match &command {
        Command::Run(run) => {
            // What it was booted from is in its memory; only a reset needs the files again.
            let payload = match payload(run) {
                Err(Failure::BadInput(why)) if run.kernel.is_some() => {
                    note(format_args!("trimotor: warning: {why}; the guest goes on, but cannot start over"));
                    Payload::Gone(why)
                }
                payload => payload?,
            };
            launch(&run.machine, payload, run.image.as_deref(), &title_name(run), origin)
        }
        Command::Demo(demo) => launch(&demo.machine, Payload::Demo, None, "demo", origin),
        _ => Err(restore::refused(file, &"its command line makes no machine")),
    }
}

/// Runs `trimotor demo`.
///
/// # Errors
/// Bad input, a triple fault, or a host that fails.
pub fn demo(args: &DemoArgs) -> Result<ExitCode, Failure> {
    host_memory::check_against_host(args.machine.memory)?;
    launch(&args.machine, Payload::Demo, None, "demo", Origin::fresh())
}

/// What the guest is called in a window's title: the name of the file that it boots from, as far as that is known.
fn title_name(args: &RunArgs) -> String {
    let drives = &args.machine.drives;
    let named = drives.drive.iter().filter_map(|drive| drive.file.as_ref());
    let files = args.image.iter().chain(&args.kernel).chain(named).chain(&drives.cdrom).chain(&drives.floppy);
    let name = files.chain(&drives.pflash).find_map(|path| path.file_name());
    name.map_or_else(|| "nothing to boot".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn launch(
    args: &MachineArgs,
    payload: Payload,
    image: Option<&Path>,
    name: &str,
    origin: Origin,
) -> Result<ExitCode, Failure> {
    let Origin { arguments, saved, snapshot, outside } = origin;
    let replay = outside.replay();
    let is_clone = saved.as_ref().is_some_and(|saved| saved.is_clone);
    // Where the saved one is no model of this build, what differs is said later.
    let saved_model = saved.as_ref().and_then(|saved| cpus::of_saved(saved.machine.cpu_model()));
    let mut model = saved_model.map_or_else(|| cpus::parse(&args.cpu), Ok)?;
    model.cpus = args.cpus.into();
    let engine = engine(args.accel)?;
    switches::check(&args.switch)?;
    host_fault::report()?;
    let Chosen { local: display, pictures, servers, window } = display::choose(args)?;
    let screenshots = Screenshots::new(&args.screenshot, args.screen_dump.as_deref())?;
    let escape = Escape::new(args.escape.0);
    host_services::sleep_precisely();
    let mut session = Session::new();
    let wake = Arc::new(OnceLock::<MachineControl>::new());
    let kick = wake.clone();
    let kick: ports::Kick = Arc::new(move || {
        if let Some(control) = kick.get() {
            control.wake();
        }
    });
    let Ports { mut serial, chardevs, console, debug, output_waits } =
        ports::open(args, &session.outlet(), &kick)?;
    let monitors = Monitors::open(&args.monitor, &mut session)?;
    let gdb = args.gdb.as_ref().map(Gdb::open).transpose()?;
    let mut watch = Watch::new(&args.expect, &args.exit_on, wake.clone());
    if replay.is_some_and(Replay::ends_by_itself) {
        watch.end_nothing();
    }
    screenshots.watch(&watch);
    let servers = Servers::open(&servers, window)?;
    let mut script = Script::new(&args.input)?;
    let typing = std::mem::take(&mut script.timed);
    if let Some(saved) = &saved {
        saved.check_ends(serial.len(), &typing)?;
    }
    let typist = script.typist(wake.clone());
    if let Some(first) = serial.first_mut() {
        let backend = std::mem::replace(first, Box::new(NullSink));
        *first = servers.tap(typist.on(watch.on(backend)), kick.clone());
    }
    let boots_from_drives = matches!(payload, Payload::Bios(_));
    if let Some(replay) = replay {
        let config = &MachineConfig { typing: typing.clone(), ..config(args, engine, serial.len()) };
        replay.check(args, &Given { config, image, boots_from_drives }, &model)?;
    }
    let drives = match replay {
        Some(replay) => replay.drives(),
        None => {
            let now = |id: &str| saved.as_ref().and_then(|saved| saved.file_in(id));
            drives::open(&args.drives, image, is_clone, now)?
        }
    };
    let files = Arc::new(Mutex::new(drives.files()));
    let keeper = Keeper::new(arguments, &drives.host, files.clone());
    let Drives { configs, media, boot: boot_config, devices, host: host_drives } = drives;
    payload.check_flash(args)?;
    let mut config =
        MachineConfig { drives: configs, boot: boot_config, typing, ..config(args, engine, serial.len()) };
    config.devices.extend(devices);
    if let Some(replay) = replay {
        config = MachineConfig { engine: Some(engine), check_tlb: args.check_tlb, ..replay.config().clone() };
    }
    let boots_from_network = boots_from_drives && tries_network(&config.boot);
    let networks = match replay {
        Some(replay) => replay.networks(boots_from_network)?,
        None => networks::open(
            &args.networks,
            &networks::Machine {
                devices: &config.devices,
                boots_from_drives,
                boots_from_network,
                counted: args.icount,
                identity: identity(args, image),
            },
        )?,
    };
    let Networks { mut backends, devices, roms } = networks;
    config.devices = devices;
    if let Some(saved) = saved.as_ref().filter(|saved| saved.is_clone) {
        networks::translate(&mut backends, &saved.machine.config().devices);
    }
    let command_line = payload.command_line();
    if let Payload::Bios(firmware) = &payload
        && config.drives.is_empty()
        && firmware.files.is_empty()
        && firmware.rom.is_none()
        && !boots_from_network
        && saved.is_none()
    {
        note(
            "trimotor: nothing to boot from: give a disk, CD or floppy image (trimotor run IMAGE), or a kernel \
             (--kernel FILE); `trimotor demo` needs neither",
        );
    }
    let (firmware_files, vga_rom) = (payload.firmware_files().to_vec(), payload.vga_rom()?);
    let boot = Box::new(Planner::new(payload, &config));
    let host = ProgramHost {
        leaver: session.leaver(),
        vcpus: args.cpus.into(),
        drives: host_drives,
        files,
        disks: media.iter().map(|(id, medium)| (id.clone(), Arc::downgrade(medium))).collect(),
        is_clone,
        saving: Mutex::default(),
        networks: backends.iter().map(|(id, network)| (id.clone(), Arc::downgrade(network))).collect(),
        servers: servers.places().to_vec(),
    };
    let has_networks = !backends.is_empty();
    let services = HostServices {
        clock: Arc::new(MonotonicClock::new()),
        serial,
        chardevs,
        debug_console: debug,
        vga_rom,
        firmware_files,
        drives: media,
        entropy: (!args.icount).then(host_services::entropy),
        networks: backends,
        option_roms: roms,
        engine: engine_options(args, engine)?,
        output_waits: Some(output_waits),
        host_state: Some(if replay.is_some() { Box::new(NotKept) } else { Box::new(keeper) }),
    };
    let (boot, seen) = outside.witness(boot, &services)?;
    let model = Arc::new(model);
    let (mut machine, recorder, expected) = match (saved, outside) {
        (None, Outside::Replayed(replay)) => {
            let (machine, expected) = replay.start(config, model, services, boot)?;
            (machine, None, Some(expected))
        }
        (Some(saved), Outside::Replayed(replay)) => {
            let (machine, expected) = replay.go_on(saved.restore(engine, model, services, boot)?)?;
            (machine, None, Some(expected))
        }
        (saved, outside) => {
            let mut machine = match saved {
                None => Machine::new(config, model, services, boot).map_err(Failure::bad)?,
                Some(saved) => saved.restore(engine, model, services, boot)?,
            };
            let recorder = match outside {
                Outside::Recorded(file) => Some(file.start(&mut machine, &seen)?),
                Outside::Taken | Outside::Replayed(_) => None,
            };
            if recorder.is_some() || has_networks {
                machine.keep_pace();
            }
            (machine, recorder, None)
        }
    };
    if let Some(name) = snapshot {
        machine.load_snapshot(&name).map_err(|error| Failure::bad(format!("--loadvm {name}: {error}")))?;
        if let Some(generation @ Generation::Is(_)) = args.vmgenid {
            generation.begin(&mut machine)?;
        }
    }
    if args.stopped {
        machine.pause();
    }
    switches::plan(&mut machine, &args.switch);
    let traces = Traces::default();
    let traced = machine.trace(args.trace.as_ref(), traces.opener());
    let traced = traced.map_err(|error| Failure::bad(format!("--trace: {error}")))?;
    // The first line says what the command line says.
    traced.lines().skip(1).for_each(|line| note(format_args!("trimotor: --trace {line}")));
    let control = machine.control();
    control.set_layout(args.input.keymap);
    // Nobody else sets it.
    let _ = wake.set(control.clone());
    typist.watch_screens(&control);
    screenshots.start(&control);
    let servers = servers.start(Wiring {
        control: control.clone(),
        name: name.to_owned(),
        leaver: session.leaver(),
        way_out: display::way_out(&escape),
    })?;
    let monitor = Monitor::new(control.clone(), Arc::new(host));
    let monitors = monitors.start(&monitor)?;
    let gdb = gdb.map(|gdb| gdb.start(monitor)).transpose()?;
    if display == Display::Serial && console.is_some() {
        display::tell_keys(&escape);
    }
    let view = GuestView { control, console, command_line, report: None };
    let started = Instant::now();
    let timer = args.timeout.map(|limit| watch.start_timer(limit)).transpose();
    let timer = timer.context("a thread for --timeout")?;
    let (ending, reason, machine) = show(machine, view, session, (display, pictures), escape)?;
    let elapsed = started.elapsed();
    drop(monitors);
    drop(gdb);
    drop(servers);
    traces.finish();
    let dumped = screenshots.finish(&machine, &watch);
    log_end(&machine);
    if let Some(detail) = detail(args) {
        note(report::text(machine.engine(), &machine.statistics(), elapsed, detail).trim_end());
    }
    if args.check_tlb {
        report_sums(&machine, &[TLB_HITS, TLB_DIFFERENCES]);
    }
    if args.tlb == Tlb::Keep {
        report_sums(&machine, &[STALE_USES]);
    }
    drop(timer);
    let recorded = recorder.map_or(Ok(()), |recorder| recorder.finish(&machine, &reason));
    let own = match expected.map(|expected| expected.report(&machine, &reason)).transpose() {
        Err(different) => Err(different),
        Ok(Some(true)) if reason == ExitReason::Quit => Ok(ExitCode::SUCCESS),
        Ok(_) => finish(ending, reason, &machine, display),
    };
    let own = recorded.and(own);
    let outcome = watch.outcome(ExitCode::SUCCESS, own, matches!(ending, Ending::Signal(_)));
    outcome.and_then(|code| dumped.map(|()| code))
}

/// The file of the machine's first drive, which makes it this machine.
pub fn identity<'a>(args: &'a MachineArgs, image: Option<&'a Path>) -> Option<&'a Path> {
    let drives = &args.drives;
    let named = drives.drive.iter().filter_map(|drive| drive.file.as_deref());
    let named = image.into_iter().chain(named).chain(drives.cdrom.as_deref());
    named.chain(drives.floppy.iter().map(PathBuf::as_path)).next()
}

/// Whether a network is among what is booted from.
pub fn tries_network(boot: &BootConfig) -> bool {
    boot.order.iter().chain(boot.once.iter().flatten()).any(|device| *device == BootDevice::Network)
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
        if asked && !switches::translates(engine, &args.switch) {
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
    (display, pictures): (Display, Option<Format>),
    escape: Escape,
) -> Result<(Ending, ExitReason, Machine), Failure> {
    let notice = session.end_notice();
    let builder = thread::Builder::new().name("machine".to_owned()).stack_size(MACHINE_STACK_BYTES);
    let thread = builder.spawn(move || {
        let _notice = notice;
        (machine.run(), machine)
    });
    let thread = thread.context("a thread for the machine")?;
    let ending = session.run(&mut view, display, escape, pictures);
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
        ExitReason::Diverged => {
            let what = machine.divergence().map_or_else(String::new, ToString::to_string);
            Err(anyhow!("{what}").into())
        }
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
        without: args.input.without.clone(),
        on_panic: match args.on_panic {
            Some(OnPanic::Pause) => trimotor_machine::OnPanic::Pause,
            Some(OnPanic::Reset) => trimotor_machine::OnPanic::Reset,
            Some(OnPanic::Ignore) => trimotor_machine::OnPanic::Ignore,
            Some(OnPanic::Exit) | None => trimotor_machine::OnPanic::Exit,
        },
        check_tlb: args.check_tlb,
        keep_tlb: args.tlb == Tlb::Keep,
        random_seed: host_services::random_seed(args.icount),
        ..MachineConfig::default()
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
    let generation = args.vmgenid.map(Generation::device);
    serial.chain(exit).chain(named).chain(generation).chain(args.device.iter().cloned()).collect()
}
