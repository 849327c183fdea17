//! Host faults that the guest did not cause: SIGSEGV, SIGBUS, SIGILL and SIGFPE in translated code.
//!
//! Translated code checks whatever the guest may do wrong before it does it, so that a signal there is
//! a bug of the translator, or the host took memory away (a memory file that was made shorter). It ends the
//! program with a report of where the guest was. The one exception, accesses by empty inline caches, goes on
//! ([`empty_inline_cache`]). Faults elsewhere go to the handler that was there before; where a
//! vCPU runs on the thread, a line says which.
//!
//! RSP is no stack in translated code, so that the handler needs one of its own
//! (sigaltstack(2)); each thread that runs a vCPU gets one at its first run. The handler runs between any two
//! host instructions: it neither allocates nor locks, and reads what may be gone through process_vm_readv(2).

#![allow(unsafe_code, reason = "a signal handler and the context that it interrupted")]

mod empty_inline_cache;
mod report;
mod text;

use crate::cache::TranslatedCode;
use crate::layout::T1;
pub use crate::start::Reporting;
pub use report::IN_CONTEXT;
use report::Interrupted;
use std::cell::{Cell, OnceCell};
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use trimotor_cpu_interp::core::Core;

/// The signals and what they are called.
const SIGNALS: [(i32, &str); 4] = [
    (libc::SIGSEGV, "SIGSEGV (an access to memory)"),
    (libc::SIGBUS, "SIGBUS (memory that the host does not have)"),
    (libc::SIGILL, "SIGILL (an illegal instruction)"),
    (libc::SIGFPE, "SIGFPE (an arithmetic exception)"),
];

/// Bytes of the handler's stack: the report's buffer, the interrupted context with all vector registers, frames.
const STACK_BYTES: usize = 64 << 10;
/// The host's page size; one page below the stack stops what grows out of it.
const PAGE: usize = 4096;

static REPORTING: OnceLock<Reporting> = OnceLock::new();
static BEFORE: [OnceLock<libc::sigaction>; SIGNALS.len()] = [const { OnceLock::new() }; SIGNALS.len()];
/// A report is under way.
static REPORTED: AtomicBool = AtomicBool::new(false);

/// Has host faults in translated code reported, in all threads of the process, for good. The first caller's wishes
/// hold.
///
/// # Errors
/// The host refuses a handler.
pub fn install(reporting: Reporting) -> io::Result<()> {
    let _ = REPORTING.set(reporting);
    SIGNALS.iter().zip(&BEFORE).try_for_each(|((signal, _), before)| install_handler(*signal, before))
}

/// Has accesses by empty inline caches go on, in all threads of the process, for good.
///
/// # Errors
/// The host refuses a handler.
pub(crate) fn handle_empty_inline_caches() -> io::Result<()> {
    let [(segmentation, _), ..] = SIGNALS;
    let [before, ..] = &BEFORE;
    install_handler(segmentation, before)
}

/// Makes [`handle`] a signal's handler, once.
fn install_handler(signal: i32, before: &OnceLock<libc::sigaction>) -> io::Result<()> {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = INSTALLING.lock();
    if before.get().is_some() {
        return Ok(());
    }
    // SAFETY: an action of zeros is a valid value; the calls read and write the actions they are given.
    unsafe {
        let mut old: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(signal, ptr::null(), &mut old) != 0 {
            return Err(io::Error::last_os_error());
        }
        let _ = before.set(old);
        let mut new: libc::sigaction = std::mem::zeroed();
        new.sa_sigaction = handle as *const () as usize;
        new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        if libc::sigaction(signal, &new, ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// What runs on a thread.
#[derive(Clone, Copy)]
struct Running {
    core: *const Core,
    code: *const TranslatedCode,
}

thread_local! {
    static RUNNING: Cell<Running> = const { Cell::new(Running { core: ptr::null(), code: ptr::null() }) };
    static STACK: OnceCell<Option<HandlerStack>> = const { OnceCell::new() };
}

/// A vCPU runs on this thread while this value lives.
#[must_use]
pub struct RunningScope {
    before: Running,
}

impl RunningScope {
    /// A vCPU runs translated code of `code` from now on. Both must live as long as the scope.
    pub fn new(core: *const Core, code: *const TranslatedCode) -> RunningScope {
        STACK.with(|stack| {
            stack.get_or_init(|| {
                HandlerStack::new()
                    .inspect_err(|error| log::warn!("no stack to handle host faults on: {error}"))
                    .ok()
            });
        });
        RunningScope { before: RUNNING.replace(Running { core, code }) }
    }
}

impl Drop for RunningScope {
    fn drop(&mut self) {
        RUNNING.set(self.before);
    }
}

/// The stack that signal handlers run on, for the thread that made it, until it ends.
struct HandlerStack {
    bottom: *mut libc::c_void,
}

impl HandlerStack {
    fn new() -> io::Result<HandlerStack> {
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: new memory, of which the lowest page is made inaccessible, and the rest given to the kernel as
        // this thread's stack for signals; it is unmapped only after the kernel was told to use it no more.
        unsafe {
            let bottom = libc::mmap(ptr::null_mut(), PAGE + STACK_BYTES, rights, flags, -1, 0);
            if bottom == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let stack = HandlerStack { bottom };
            libc::mprotect(bottom, PAGE, libc::PROT_NONE);
            let place = libc::stack_t { ss_sp: bottom.byte_add(PAGE), ss_flags: 0, ss_size: STACK_BYTES };
            match libc::sigaltstack(&place, ptr::null_mut()) {
                0 => Ok(stack),
                _ => Err(io::Error::last_os_error()),
            }
        }
    }
}

impl Drop for HandlerStack {
    fn drop(&mut self) {
        // SAFETY: as said above. Somebody else's stack, set since, stays.
        unsafe {
            let mut now: libc::stack_t = std::mem::zeroed();
            if libc::sigaltstack(ptr::null(), &mut now) == 0 && now.ss_sp == self.bottom.byte_add(PAGE) {
                now.ss_flags = libc::SS_DISABLE;
                libc::sigaltstack(&now, ptr::null_mut());
            }
            libc::munmap(self.bottom, PAGE + STACK_BYTES);
        }
    }
}

/// The handler. Its frame is small: on threads without vCPUs the stack for signals may be, too.
extern "C" fn handle(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let running = RUNNING.get();
    // SAFETY: the kernel passes both, of these types; what is running lives while it is.
    unsafe {
        let from_the_processor = (*info).si_code > 0;
        if from_the_processor && !running.core.is_null() {
            let interrupted = Interrupted {
                signal: name(signal),
                address: (*info).si_addr() as u64,
                context: &*context.cast::<libc::ucontext_t>(),
                core: &*running.core,
                code: &*running.code,
            };
            if signal == libc::SIGSEGV
                && let Some(way) = empty_inline_cache::slow_path(&interrupted)
            {
                let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
                registers[libc::REG_RIP as usize] = way.pc as i64;
                registers[report::IN_CONTEXT[T1 as usize] as usize] = way.linear as i64;
                return;
            }
            if let Some(reporting) = REPORTING.get() {
                report(&interrupted, reporting);
            }
        }
        pass_on(signal, info, context);
    }
}

/// Reports a fault that nobody expected, and ends the program if it is in translated code.
fn report(interrupted: &Interrupted<'_>, reporting: &Reporting) {
    let end = || {
        // SAFETY: the call ends the process.
        unsafe { libc::_exit(reporting.exit_code) }
    };
    if REPORTED.load(Ordering::Relaxed) {
        write(b"trimotor: a fault in the report itself\n");
        end();
    }
    if interrupted.is_in_translated_code() {
        REPORTED.store(true, Ordering::Relaxed);
        unblock();
        (reporting.prepare)();
        interrupted.report(reporting.advice, write);
        end();
    }
    (reporting.prepare)();
    interrupted.report_own_code(write);
}

/// Lets faults of the report itself come to the handler too.
fn unblock() {
    // SAFETY: the calls write and read the set that they are given.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        for (signal, _) in SIGNALS {
            libc::sigaddset(&mut set, signal);
        }
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, ptr::null_mut());
    }
}

fn name(signal: i32) -> &'static str {
    SIGNALS.iter().find(|(number, _)| *number == signal).map_or("a signal", |(_, name)| name)
}

/// Writes to standard error, all of it where that is possible.
fn write(mut text: &[u8]) {
    while !text.is_empty() {
        // SAFETY: write(2) reads the bytes that it is given.
        match unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) } {
            written @ 1.. => text = &text[written as usize..],
            _ => return,
        }
    }
}

/// Has the signal handled as it was before.
///
/// # Safety
/// The arguments are the kernel's.
unsafe fn pass_on(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let number = SIGNALS.iter().position(|(number, _)| *number == signal);
    let before = number.and_then(|n| BEFORE[n].get());
    // SAFETY: the action was in force, so that its handler is one for signals.
    unsafe {
        match before {
            Some(before) if before.sa_sigaction != libc::SIG_DFL && before.sa_sigaction != libc::SIG_IGN => {
                let handler = before.sa_sigaction as *const ();
                if before.sa_flags & libc::SA_SIGINFO != 0 {
                    type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);
                    std::mem::transmute::<*const (), Handler>(handler)(signal, info, context);
                } else {
                    std::mem::transmute::<*const (), extern "C" fn(i32)>(handler)(signal);
                }
            }
            // The default: the signal comes again, and ends the process.
            _ => {
                let mut default: libc::sigaction = std::mem::zeroed();
                default.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &default, ptr::null_mut());
                if (*info).si_code <= 0 {
                    libc::raise(signal);
                }
            }
        }
    }
}
