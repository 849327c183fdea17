//! The guest that runs Debian's stress-ng: its program, the libraries that it needs, and what it is told to do.

use super::initramfs::ExtraFile;
use super::packages::{self, Unpacked};
use super::programs::needed;
use super::{Cache, WHAT_TO_PROVIDE};
use crate::error::Failure;
use std::collections::BTreeSet;

/// The package, and the program in it.
const PACKAGE: &str = "stress-ng";
const PROGRAM: &str = "usr/bin/stress-ng";
/// Where Debian keeps shared libraries and their loader.
const LIBRARY_FOLDERS: [&str; 2] = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];
const LOADER: &str = "ld-linux-x86-64.so.2";

/// Stressors that find all they need in an initial file system, in groups that run at the same time. mq and pthread are
/// left out: they fail where a message or a thread takes longer than a second or so, which on a busy host says nothing of
/// the guest. So is resched, whose children count while their parent compares: on a busy processor it finds its own counters wrong,
/// natively too. Two run alone, since beside twenty others on a busy host they may get no processor for two seconds: itimer
/// fails unless it runs at one tick of the guest's clock at least, and alarm waits for ever if its child is told to end
/// before it first runs, because a new child ignores SIGUSR1.
pub const GROUPS: [&str; 8] = [
    "access atomic bad-altstack branch brk bsearch cacheline chdir chmod clock clone context copy-file cpu \
     daemon dentry dir dup enosys env epoll eventfd exec exit-group fallocate",
    "far-branch fault fcntl fifo filename flock flushcache fork fp fp-error fstat funccall funcret futex getdent \
     getrandom goto hash heapsort hrtimers hsearch icache inotify judy kcmp",
    "lease link list locka lockbus lockf longjmp loadavg lsearch madvise membarrier memcpy memfd mergesort mincore \
     misaligned mlock mprotect msg mutex nanosleep nice nop null",
    "personality pidfd pipe pipeherd poll prctl prefetch ptrace qsort radixsort randlist rdrand regs rename \
     ring-pipe rlimit rseq schedpolicy seek sem sem-sysv set shellsort shm-sysv",
    "sigabrt sigchld sigfd sigfpe signal signest sigpending sigpipe sigq sigrt sigsegv sigsuspend sigtrap skiplist \
     sleep sockpair spawn splice stack str switch symlink syscall sysinfo sysinval tee",
    "timer timerfd tlb-shootdown touch tree tsc tsearch udp unshare urandom utime vdso vecmath vfork wait wcs \
     x86cpuid xattr yield zero zlib zombie sock swap usersyscall",
    "itimer",
    "alarm",
];

/// The rest of `/init`: each group for two seconds, with checks of what it computes, then what the kernel complained of. A group
/// that stands still is ended after five minutes, and what its processes wait for is printed.
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
states() {
  for process in /proc/[0-9]*; do
    echo \"MARK-STANDS $(cat $process/comm) $(grep State $process/status) $(cat $process/wchan)\"
  done
}
group() {
  all=
  for stressor; do all=\"$all --$stressor 1\"; done
  ( sleep 300; states; kill -9 -1 ) &
  watcher=$!
  stress-ng $all --verify --timeout 2s 2>&1 | grep -E 'stress-ng: (fail|error)|run completed'
  kill $watcher
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
