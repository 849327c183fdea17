//! The guest that runs Debian's stress-ng: its program, the libraries that it needs, and what it is told to do.

use super::initramfs::ExtraFile;
use super::packages::{self, Unpacked};
use super::{Cache, WHAT_TO_PROVIDE};
use crate::error::Failure;
use goblin::elf::Elf;
use std::collections::BTreeSet;

/// The package, and the program in it.
const PACKAGE: &str = "stress-ng";
const PROGRAM: &str = "usr/bin/stress-ng";
/// Where Debian keeps shared libraries and their loader.
const LIBRARY_FOLDERS: [&str; 2] = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];
const LOADER: &str = "ld-linux-x86-64.so.2";

/// Stressors that find all they need in an initial file system, in groups that run at the same time.
pub const GROUPS: [&str; 6] = [
    "access alarm atomic bad-altstack branch brk bsearch cacheline chdir chmod clock clone context copy-file cpu \
     daemon dentry dir dup enosys env epoll eventfd exec exit-group fallocate",
    "far-branch fault fcntl fifo filename flock flushcache fork fp fp-error fstat funccall funcret futex getdent \
     getrandom goto hash heapsort hrtimers hsearch icache inotify itimer judy kcmp",
    "lease link list locka lockbus lockf longjmp loadavg lsearch madvise membarrier memcpy memfd mergesort mincore \
     misaligned mlock mprotect mq msg mutex nanosleep nice nop null",
    "personality pidfd pipe pipeherd poll prctl prefetch pthread ptrace qsort radixsort randlist rdrand regs rename \
     resched ring-pipe rlimit rseq schedpolicy seek sem sem-sysv set shellsort shm-sysv",
    "sigabrt sigchld sigfd sigfpe signal signest sigpending sigpipe sigq sigrt sigsegv sigsuspend sigtrap skiplist \
     sleep sockpair spawn splice stack str switch symlink syscall sysinfo sysinval tee",
    "timer timerfd tlb-shootdown touch tree tsc tsearch udp unshare urandom utime vdso vecmath vfork wait wcs \
     x86cpuid xattr yield zero zlib zombie sock swap usersyscall",
];

/// The rest of `/init`: each group for two seconds, with checks of what it computes, then what the kernel complained of.
pub fn init() -> String {
    let mut script = "/bin/busybox --install -s /bin
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/shm
mount -t tmpfs shm /dev/shm
mount -t tmpfs tmp /tmp
export PATH=/bin HOME=/root LD_LIBRARY_PATH=/lib
ip link set lo up
cd /tmp
group() {
  all=
  for stressor; do all=\"$all --$stressor 1\"; done
  stress-ng $all --verify --timeout 2s 2>&1 | grep -E 'stress-ng: (fail|error)|run completed'
}
"
    .to_owned();
    for group in GROUPS {
        script += &format!("group {group}\n");
    }
    script
        + "echo MARK-COMPLAINTS
dmesg | grep -E 'BUG|WARNING|Oops|unchecked MSR|stall|lockup|hung|general protection|Out of memory'
echo MARK-END
poweroff -f
"
}

/// stress-ng and its libraries, out of Debian's packages.
///
/// # Errors
/// apt does not have them, or the host fails.
pub fn files(cache: &Cache) -> Result<Vec<ExtraFile>, Failure> {
    let mut unpacked = Unpacked::new(cache, PACKAGE)?;
    for package in packages::all_dependencies(PACKAGE)? {
        unpacked.add(&package)?;
    }
    let program = unpacked.read(PROGRAM)?;
    let mut wanted = needed(&program)?;
    let mut files = vec![("bin/stress-ng".to_owned(), 0o755, program)];
    let mut seen = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let library = library(&unpacked, &name)?;
        wanted.extend(needed(&library)?);
        files.push((format!("lib/{name}"), 0o755, library));
    }
    files.push((format!("lib64/{LOADER}"), 0o755, library(&unpacked, LOADER)?));
    Ok(files)
}

fn library(unpacked: &Unpacked<'_>, name: &str) -> Result<Vec<u8>, Failure> {
    let found = LIBRARY_FOLDERS.iter().find_map(|folder| unpacked.read(&format!("{folder}/{name}")).ok());
    found.ok_or_else(|| {
        Failure::bad(format!("no package that {PACKAGE} depends on has {name}. {WHAT_TO_PROVIDE}"))
    })
}

/// The names of the libraries that a program or library is linked with.
fn needed(file: &[u8]) -> Result<Vec<String>, Failure> {
    let elf = Elf::parse(file).map_err(|error| Failure::bad(format!("a file of {PACKAGE}: {error}")))?;
    Ok(elf.libraries.iter().map(|name| (*name).to_owned()).collect())
}
