//! The host's side: a child process executes the cases of a batch on the CPU itself.

use std::arch::{asm, global_asm};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use trimotor_bt_jit::host_fault::IN_CONTEXT;
use trimotor_test_support::random::layout::*;

/// What the assembly below works with, at a fixed address below 2 GiB.
#[repr(C, align(64))]
struct Context {
    xsave: Xsave,
    out_xsave: Xsave,
    gpr: [u64; 16],
    out_gpr: [u64; 16],
    rflags: u64,
    out_rflags: u64,
    entry: u64,
    /// Not zero for a far jump, whose selector is in the upper half of `entry`.
    far: u64,
    host_rsp: u64,
    exit_fallthrough: u64,
    exit_taken: u64,
    mark: u64,
    mxcsr_default: u64,
}
const CONTEXT: u64 = 0x3456_0000;
const fn at(offset: usize) -> u64 {
    CONTEXT + offset as u64
}
/// Where the stubs after the code find their targets.
pub const EXIT_FALLTHROUGH: u64 = at(std::mem::offset_of!(Context, exit_fallthrough));
pub const EXIT_TAKEN: u64 = at(std::mem::offset_of!(Context, exit_taken));

global_asm!(
    ".globl host_diff_enter",
    "host_diff_enter:",
    "push rbx", "push rbp", "push r12", "push r13", "push r14", "push r15",
    "mov qword ptr [{host_rsp}], rsp",
    "mov eax, 7", "xor edx, edx", "xrstor64 [{xsave}]",
    "mov rax, qword ptr [{gpr}]", "mov rcx, qword ptr [{gpr} + 8]",
    "mov rdx, qword ptr [{gpr} + 16]", "mov rbx, qword ptr [{gpr} + 24]",
    "mov rbp, qword ptr [{gpr} + 40]",
    "mov rsi, qword ptr [{gpr} + 48]", "mov rdi, qword ptr [{gpr} + 56]",
    "mov r8, qword ptr [{gpr} + 64]", "mov r9, qword ptr [{gpr} + 72]",
    "mov r10, qword ptr [{gpr} + 80]", "mov r11, qword ptr [{gpr} + 88]",
    "mov r12, qword ptr [{gpr} + 96]", "mov r13, qword ptr [{gpr} + 104]",
    "mov r14, qword ptr [{gpr} + 112]", "mov r15, qword ptr [{gpr} + 120]",
    "cmp qword ptr [{entry} + 8], 0",
    "jne 3f",
    "push qword ptr [{rflags}]", "popfq",
    "mov rsp, qword ptr [{gpr} + 32]",
    "jmp qword ptr [{entry}]",
    "3:",
    "push qword ptr [{rflags}]", "popfq",
    "mov rsp, qword ptr [{gpr} + 32]",
    "jmp fword ptr [{entry}]",
    ".globl host_diff_fallthrough",
    "host_diff_fallthrough:",
    "mov qword ptr [{mark}], 0",
    "jmp 2f",
    ".globl host_diff_taken",
    "host_diff_taken:",
    "mov qword ptr [{mark}], 1",
    "2:",
    "mov qword ptr [{out_gpr}], rax", "mov qword ptr [{out_gpr} + 8], rcx",
    "mov qword ptr [{out_gpr} + 16], rdx", "mov qword ptr [{out_gpr} + 24], rbx",
    "mov qword ptr [{out_gpr} + 32], rsp", "mov qword ptr [{out_gpr} + 40], rbp",
    "mov qword ptr [{out_gpr} + 48], rsi", "mov qword ptr [{out_gpr} + 56], rdi",
    "mov qword ptr [{out_gpr} + 64], r8", "mov qword ptr [{out_gpr} + 72], r9",
    "mov qword ptr [{out_gpr} + 80], r10", "mov qword ptr [{out_gpr} + 88], r11",
    "mov qword ptr [{out_gpr} + 96], r12", "mov qword ptr [{out_gpr} + 104], r13",
    "mov qword ptr [{out_gpr} + 112], r14", "mov qword ptr [{out_gpr} + 120], r15",
    "mov rsp, qword ptr [{host_rsp}]",
    "pushfq", "pop qword ptr [{out_rflags}]",
    "mov eax, 7", "xor edx, edx", "xsave64 [{out_xsave}]",
    ".globl host_diff_recover",
    "host_diff_recover:",
    "mov rsp, qword ptr [{host_rsp}]",
    "push 0x202", "popfq",
    "fninit", "ldmxcsr dword ptr [{mxcsr_default}]", "vzeroupper",
    "pop r15", "pop r14", "pop r13", "pop r12", "pop rbp", "pop rbx",
    "ret",
    host_rsp = const at(std::mem::offset_of!(Context, host_rsp)),
    xsave = const at(std::mem::offset_of!(Context, xsave)),
    out_xsave = const at(std::mem::offset_of!(Context, out_xsave)),
    gpr = const at(std::mem::offset_of!(Context, gpr)),
    out_gpr = const at(std::mem::offset_of!(Context, out_gpr)),
    rflags = const at(std::mem::offset_of!(Context, rflags)),
    out_rflags = const at(std::mem::offset_of!(Context, out_rflags)),
    entry = const at(std::mem::offset_of!(Context, entry)),
    mark = const at(std::mem::offset_of!(Context, mark)),
    mxcsr_default = const at(std::mem::offset_of!(Context, mxcsr_default)),
);

unsafe extern "C" {
    fn host_diff_enter();
    fn host_diff_fallthrough();
    fn host_diff_taken();
    fn host_diff_recover();
}

/// What parent and child share besides code and context.
#[repr(C)]
pub struct Shared {
    /// The case that the child works on.
    progress: AtomicU64,
    pub cases: [Case; BATCH],
    pub outcomes: [Outcome; BATCH],
    /// A fault that the handler saw: vector + 1, or 0.
    fault: u64,
    error: u64,
    cr2: u64,
    rip: u64,
}

/// The mappings at fixed addresses, and what the child works with.
pub struct Native {
    shared: *mut Shared,
    templates: Vec<Vec<u8>>,
}

fn map(address: u64, bytes: usize, protection: i32) -> *mut u8 {
    let fixed = if address == 0 { 0 } else { libc::MAP_FIXED_NOREPLACE };
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | fixed;
    // SAFETY: new mappings only (NOREPLACE).
    let p = unsafe { libc::mmap(address as *mut _, bytes, protection, flags, -1, 0) };
    assert!(
        p != libc::MAP_FAILED,
        "mapping {bytes:#x} bytes at {address:#x}: {}",
        std::io::Error::last_os_error()
    );
    p.cast()
}

const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;

/// JMP qword ptr [target].
pub fn jump_through(target: u64) -> [u8; 7] {
    let t = (target as u32).to_le_bytes();
    [0xFF, 0x24, 0x25, t[0], t[1], t[2], t[3]]
}

/// JMP 33h:target, from compatibility mode to 64-bit mode.
pub fn far_jump(target: u64) -> [u8; 7] {
    let t = (target as u32).to_le_bytes();
    [0xEA, t[0], t[1], t[2], t[3], 0x33, 0]
}

impl Native {
    pub fn new(templates: Vec<Vec<u8>>) -> Native {
        map(SCRATCH - GUARD, (2 * GUARD) as usize + SCRATCH_BYTES, libc::PROT_NONE);
        let scratch = SCRATCH as *mut u8;
        // SAFETY: the pages were just reserved; all templates have the same read-only page.
        unsafe {
            libc::mprotect(scratch.cast(), SCRATCH_BYTES, READ_WRITE);
            std::ptr::copy_nonoverlapping(templates[0].as_ptr(), scratch, SCRATCH_BYTES);
            libc::mprotect(scratch.add(WRITABLE).cast(), 4096, libc::PROT_READ);
        }
        let leaves = map(CODE, CODE_BYTES + 4096, READ_WRITE | libc::PROT_EXEC).wrapping_add(CODE_BYTES);
        for (n, target) in [EXIT_FALLTHROUGH, EXIT_TAKEN].into_iter().enumerate() {
            // SAFETY: within the page after the slots.
            unsafe { leaves.add(16 * n).cast::<[u8; 7]>().write(jump_through(target)) };
        }
        map(CONTEXT, size_of::<Context>().next_multiple_of(4096), READ_WRITE);
        let shared = map(0, size_of::<Shared>(), READ_WRITE).cast();
        Native { shared, templates }
    }

    /// The batch.
    pub fn shared(&mut self) -> &mut Shared {
        // SAFETY: mapped for the life of the process; the child is gone whenever we look.
        unsafe { &mut *self.shared }
    }

    /// The code slots.
    pub fn code(&mut self) -> &mut [u8] {
        // SAFETY: mapped for the life of the process.
        unsafe { std::slice::from_raw_parts_mut(CODE as *mut u8, CODE_BYTES) }
    }

    /// Executes the first `count` cases.
    ///
    /// # Errors
    /// The child died; the number of the case that it worked on, and how.
    pub fn run(&mut self, count: usize) -> Result<(), (usize, String)> {
        // SAFETY: the child only works on memory that exists before the fork, and ends by _exit.
        let child = unsafe { libc::fork() };
        assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
        if child == 0 {
            // SAFETY: as above.
            unsafe {
                libc::alarm(60);
                self.execute(count);
                libc::_exit(0);
            }
        }
        let mut status = 0;
        // SAFETY: waits for our own child.
        unsafe { libc::waitpid(child, &mut status, 0) };
        if status == 0 {
            return Ok(());
        }
        Err((
            self.shared().progress.load(SeqCst) as usize,
            format!("the child ended with status {status:#x}"),
        ))
    }

    unsafe fn execute(&mut self, count: usize) {
        install_handlers(self.shared);
        let context = CONTEXT as *mut Context;
        let scratch = SCRATCH as *mut u8;
        // SAFETY: `shared` and the fixed mappings are there; the read-only page is touched so that a
        // write to it finds it present.
        unsafe {
            scratch.add(WRITABLE).read_volatile();
            (*context).exit_fallthrough = host_diff_fallthrough as *const () as u64;
            (*context).exit_taken = host_diff_taken as *const () as u64;
            (*context).mxcsr_default = 0x1F80;
            // 32-bit code needs data segments, which 64-bit programs have none of.
            asm!("mov ds, {0:x}", "mov es, {0:x}", in(reg) 0x2B_u32);
            for i in 0..count {
                (*self.shared).progress.store(i as u64, SeqCst);
                let case = &(*self.shared).cases[i];
                let template = &self.templates[case.template as usize];
                case.fill_scratch(template, scratch);
                (*context).xsave = case.xsave;
                (*context).gpr = case.gpr;
                (*context).rflags = case.rflags;
                let compat = case.bits == 32;
                (*context).far = compat as u64;
                (*context).entry = (CODE + (i * SLOT) as u64) | if compat { 0x23 << 32 } else { 0 };
                (*self.shared).fault = 0;
                host_diff_enter();
                let outcome = &mut (*self.shared).outcomes[i];
                outcome.xsave = (*context).out_xsave;
                outcome.gpr = (*context).out_gpr;
                outcome.rflags = (*context).out_rflags;
                if (*self.shared).fault == 0 {
                    let taken = (*context).mark != 0;
                    outcome.rip = if taken { TAKEN as u64 } else { case.code_len as u64 };
                    (outcome.vector, outcome.error, outcome.cr2) = (NO_VECTOR, 0, 0);
                } else {
                    outcome.vector = (*self.shared).fault as u32 - 1;
                    outcome.error = (*self.shared).error;
                    outcome.cr2 = (*self.shared).cr2;
                    outcome.rip = (*self.shared).rip.wrapping_sub(CODE + (i * SLOT) as u64);
                }
                let now = std::slice::from_raw_parts(scratch, WRITABLE);
                note_changes(outcome, &template[..WRITABLE], now);
            }
        }
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        let mappings = [
            (SCRATCH - GUARD, (2 * GUARD) as usize + SCRATCH_BYTES),
            (CODE, CODE_BYTES + 4096),
            (CONTEXT, size_of::<Context>().next_multiple_of(4096)),
            (self.shared as u64, size_of::<Shared>()),
        ];
        for (address, bytes) in mappings {
            // SAFETY: mapped by `new`; nothing refers to it any more.
            unsafe { libc::munmap(address as *mut _, bytes) };
        }
    }
}

static SHARED: AtomicU64 = AtomicU64::new(0);

fn install_handlers(shared: *mut Shared) {
    const STACK: usize = 1 << 18;
    SHARED.store(shared as u64, SeqCst);
    // SAFETY: plain system calls in a process of our own.
    unsafe {
        let stack = libc::stack_t { ss_sp: map(0, STACK, READ_WRITE).cast(), ss_flags: 0, ss_size: STACK };
        assert!(libc::sigaltstack(&stack, std::ptr::null_mut()) == 0);
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        for signal in [libc::SIGSEGV, libc::SIGFPE, libc::SIGILL, libc::SIGBUS, libc::SIGTRAP] {
            assert!(libc::sigaction(signal, &action, std::ptr::null_mut()) == 0);
        }
    }
}

/// Takes the registers of the interrupted code, and has it go on where the entry returns.
extern "C" fn handler(_signal: i32, _info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a ucontext; the shared block and the context are mapped.
    unsafe {
        let machine = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext;
        let registers = &mut machine.gregs;
        let shared = &mut *(SHARED.load(SeqCst) as *mut Shared);
        let out = &mut *(CONTEXT as *mut Context);
        let rip = registers[libc::REG_RIP as usize] as u64;
        if !(CODE..CODE + CODE_BYTES as u64).contains(&rip) && shared.fault == 0 && !plausible(rip) {
            libc::_exit(3);
        }
        for (n, &place) in IN_CONTEXT.iter().enumerate() {
            out.out_gpr[n] = registers[place as usize] as u64;
        }
        out.out_rflags = registers[libc::REG_EFL as usize] as u64;
        shared.fault = registers[libc::REG_TRAPNO as usize] as u64 + 1;
        shared.error = registers[libc::REG_ERR as usize] as u64;
        shared.cr2 = registers[libc::REG_CR2 as usize] as u64;
        shared.rip = rip;
        take_xsave(machine.fpregs.cast(), &mut out.out_xsave.0);
        registers[libc::REG_RIP as usize] = host_diff_recover as *const () as i64;
        registers[libc::REG_EFL as usize] = 0x202;
        let selectors = &mut registers[libc::REG_CSGSFS as usize];
        *selectors = *selectors & !0xFFFF | 0x33;
    }
}

/// Whether a fault at `rip` can be the outcome of a case: a jump to somewhere else.
fn plausible(rip: u64) -> bool {
    let ours = host_diff_enter as *const () as u64;
    rip.abs_diff(ours) > 0x1000_0000
}

/// The registers in a signal frame: components that the header leaves out have initial values.
unsafe fn take_xsave(area: *const u8, into: &mut [u8; XSAVE_BYTES]) {
    // SAFETY: the frame has the whole area, as the kernel saved it with XSAVE.
    unsafe { std::ptr::copy_nonoverlapping(area, into.as_mut_ptr(), XSAVE_BYTES) };
    let present = into[512];
    if present & 4 == 0 {
        into[576..].fill(0);
    }
    if present & 2 == 0 {
        into[160..416].fill(0);
    }
    if present & 1 == 0 {
        into[..24].fill(0);
        into[..2].copy_from_slice(&[0x7F, 0x03]);
        into[32..160].fill(0);
    }
}
