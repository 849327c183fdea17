//! For tests: executes one vector instruction on the host, with exceptions masked or not.
#![allow(unsafe_code, reason = "generates and runs host code, and catches its SIGFPE")]

use std::mem::offset_of;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use iced_x86::code_asm::*;

/// What goes into an instruction and what comes out.
#[derive(Clone, Copy, PartialEq, Debug)]
#[repr(C, align(64))]
pub(super) struct Operands {
    /// YMM0 to YMM3.
    pub ymm: [[u64; 4]; 4],
    /// What RSI points to, aligned.
    pub memory: [u64; 4],
    /// RAX.
    pub rax: u64,
    /// RFLAGS, out only.
    pub rflags: u64,
    /// MXCSR, masks included.
    pub mxcsr: u32,
    /// Whether the instruction raised an exception; registers then are as they were.
    pub faulted: u32,
    host_mxcsr: u32,
    resume: usize,
    /// MM0 and MM1.
    pub mm: [u64; 2],
}

const RAX: i32 = offset_of!(Operands, rax) as i32;
const RFLAGS: i32 = offset_of!(Operands, rflags) as i32;
const MXCSR: i32 = offset_of!(Operands, mxcsr) as i32;
const HOST_MXCSR: i32 = offset_of!(Operands, host_mxcsr) as i32;
const MM: i32 = offset_of!(Operands, mm) as i32;
const MEMORY: i32 = offset_of!(Operands, memory) as i32;

/// What RCX is.
pub(super) const INDEX: u64 = 4;

impl Operands {
    pub fn new() -> Operands {
        Operands {
            ymm: [[0; 4]; 4],
            rax: 0,
            rflags: 0,
            mxcsr: 0x1F80,
            faulted: 0,
            host_mxcsr: 0x1F80,
            resume: 0,
            mm: [0; 2],
            memory: [0; 4],
        }
    }
}

/// A page of host code; its address range is known to the SIGFPE handler.
pub(super) struct Native {
    page: *mut u8,
    resume: usize,
}

/// The page whose SIGFPE is expected.
static PAGE: AtomicUsize = AtomicUsize::new(0);

extern "C" fn on_sigfpe(_signal: i32, _info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a ucontext. RDI is the `Operands` as long as RIP is in the page.
    unsafe {
        let context = &mut *context.cast::<libc::ucontext_t>();
        let rip = context.uc_mcontext.gregs[libc::REG_RIP as usize] as usize;
        if rip & !4095 != PAGE.load(Ordering::Relaxed) {
            libc::abort();
        }
        let operands = context.uc_mcontext.gregs[libc::REG_RDI as usize] as *mut Operands;
        let fpu = &mut *context.uc_mcontext.fpregs;
        (*operands).mxcsr = fpu.mxcsr;
        (*operands).faulted = 1;
        fpu.mxcsr = 0x1F80;
        context.uc_mcontext.gregs[libc::REG_RIP as usize] = (*operands).resume as i64;
    }
}

impl Native {
    /// An empty page. One at a time.
    pub fn new() -> Native {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(|| {
            // SAFETY: the handler touches only what `run` lends to it.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = on_sigfpe as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO;
                assert_eq!(libc::sigaction(libc::SIGFPE, &action, std::ptr::null_mut()), 0);
            }
        });
        let protection = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh anonymous mapping.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
        assert_ne!(page, libc::MAP_FAILED);
        PAGE.store(page as usize, Ordering::Relaxed);
        Native { page: page.cast(), resume: 0 }
    }

    /// Generates code around `instruction`, whose operands are YMM0 to YMM3, RAX, MM0, MM1
    /// and what RSI points to; RCX is [`INDEX`]. `mmx`: it uses MMX registers.
    pub fn load(&mut self, instruction: &[u8], mmx: bool) {
        let mut a = CodeAssembler::new(64).unwrap();
        for (n, ymm) in [ymm0, ymm1, ymm2, ymm3].into_iter().enumerate() {
            a.vmovdqa(ymm, ymmword_ptr(rdi + n as i32 * 32)).unwrap();
        }
        if mmx {
            a.movq(mm0, qword_ptr(rdi + MM)).unwrap();
            a.movq(mm1, qword_ptr(rdi + MM + 8)).unwrap();
        }
        a.mov(rax, qword_ptr(rdi + RAX)).unwrap();
        a.lea(rsi, qword_ptr(rdi + MEMORY)).unwrap();
        a.mov(ecx, INDEX as i32).unwrap();
        a.push(0x8D5).unwrap();
        a.popfq().unwrap();
        a.ldmxcsr(dword_ptr(rdi + MXCSR)).unwrap();
        a.db(instruction).unwrap();
        a.stmxcsr(dword_ptr(rdi + MXCSR)).unwrap();
        let mut resume = a.create_label();
        a.set_label(&mut resume).unwrap();
        a.ldmxcsr(dword_ptr(rdi + HOST_MXCSR)).unwrap();
        a.pushfq().unwrap();
        a.pop(qword_ptr(rdi + RFLAGS)).unwrap();
        a.mov(qword_ptr(rdi + RAX), rax).unwrap();
        for (n, ymm) in [ymm0, ymm1, ymm2, ymm3].into_iter().enumerate() {
            a.vmovdqa(ymmword_ptr(rdi + n as i32 * 32), ymm).unwrap();
        }
        if mmx {
            a.movq(qword_ptr(rdi + MM), mm0).unwrap();
            a.movq(qword_ptr(rdi + MM + 8), mm1).unwrap();
            a.emms().unwrap();
        }
        a.vzeroupper().unwrap();
        a.ret().unwrap();
        let options = iced_x86::BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS;
        let assembled = a.assemble_options(self.page as u64, options).unwrap();
        self.resume = assembled.label_ip(&resume).unwrap() as usize;
        let code = &assembled.inner.code_buffer;
        assert!(code.len() < 4096);
        // SAFETY: the page is ours, writable, and large enough.
        unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), self.page, code.len()) };
    }

    /// Executes the loaded instruction.
    pub fn run(&self, operands: &mut Operands) {
        operands.resume = self.resume;
        operands.faulted = 0;
        // SAFETY: the page holds the code that `load` made: it touches `operands`, vector and MMX
        // registers and RAX, RSI, the flags, and puts MXCSR back.
        unsafe {
            std::arch::asm!(
                "call {code}",
                code = in(reg) self.page,
                in("rdi") operands,
                clobber_abi("sysv64"),
            );
        }
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        // SAFETY: `new` mapped it.
        unsafe { libc::munmap(self.page.cast(), 4096) };
    }
}
