//! How a vCPU is brought back from KVM_RUN.
//!
//! A vCPU says in its pins that it is away ([`VcpuSignals::go_away`](trimotor_bus::VcpuSignals::go_away)) before it enters
//! KVM_RUN, and learns in the same atomic step what is high already. Who raises a pin later learns in one step that it is away,
//! sets `immediate_exit` and sends the thread a signal. The signal ends a KVM_RUN that is under way; where it comes before
//! KVM_RUN has begun, `immediate_exit` ends it at once. So no notice is lost, and one that comes late costs one entry.
//!
//! The signal's handler does nothing. It is a real-time signal, installed only where nobody else has a handler for it.

#![allow(unsafe_code, reason = "signals, and a byte that is shared with the kernel")]

use kvm_ioctls::VcpuFd;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU8, Ordering};
use trimotor_bus::event_flags::Recall;

/// The signal: the first one that the C library leaves to programs, and some more, as others take the first.
fn signal() -> i32 {
    libc::SIGRTMIN() + 5
}

/// Brings one vCPU back.
#[derive(Debug)]
pub struct Kicker {
    /// The byte `immediate_exit`; null once the vCPU is gone.
    immediate_exit: AtomicPtr<AtomicU8>,
    /// The thread that runs the vCPU; 0: none has.
    thread: AtomicI32,
}

impl Kicker {
    /// For a vCPU, which calls [`forget`](Self::forget) before it goes.
    ///
    /// # Errors
    /// The host refuses the signal's handler.
    pub fn new(vcpu: &mut VcpuFd) -> io::Result<Kicker> {
        install_handler()?;
        let byte = (&raw mut vcpu.get_kvm_run().immediate_exit).cast::<AtomicU8>();
        Ok(Kicker { immediate_exit: AtomicPtr::new(byte), thread: AtomicI32::new(0) })
    }
    /// The calling thread is the one that runs the vCPU from now on.
    pub fn run_here(&self) {
        // SAFETY: no arguments.
        let thread = unsafe { libc::gettid() };
        if self.thread.swap(thread, Ordering::Relaxed) != thread {
            unblock();
        }
    }
    /// Whether the next KVM_RUN returns at once.
    pub fn set_immediate_exit(&self, on: bool) {
        // SAFETY: the byte lies in the vCPU's shared page, which stays mapped until after `forget`; the kernel and other threads
        // access it as bytes.
        if let Some(byte) = unsafe { self.immediate_exit.load(Ordering::Acquire).as_ref() } {
            byte.store(on.into(), Ordering::Release);
        }
    }
    /// The vCPU goes: its shared page is touched no more. To be called when nobody is about to recall it.
    pub fn forget(&self) {
        self.immediate_exit.store(std::ptr::null_mut(), Ordering::Release);
    }
}

impl Recall for Kicker {
    fn recall(&self) {
        self.set_immediate_exit(true);
        let thread = self.thread.load(Ordering::Relaxed);
        if thread != 0 {
            // SAFETY: no memory is passed. Where the thread has ended, or its number is another one's of this process, a signal
            // whose handler does nothing harms nobody.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal()) };
        }
    }
}

extern "C" fn do_nothing(_signal: i32) {}

/// Installs the handler, once.
fn install_handler() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| {
        // SAFETY: `action` is a whole sigaction whose handler is async-signal-safe.
        let answer = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = do_nothing as extern "C" fn(i32) as usize;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(signal(), &action, std::ptr::null_mut())
        };
        if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)) }
    });
    installed.map_err(io::Error::from_raw_os_error)
}

/// Lets the signal through in this thread.
fn unblock() {
    // SAFETY: `set` is a signal set of this function's own.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, signal());
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut());
    }
}
