//! Debian's installer finds its network, and gets its answers from there.
//!
//! It loads the card's driver, asks for an address by DHCP, and fetches the file with its answers by HTTP. That file has a command, which
//! loads more and says so.

use super::files::{self, bytes, md5};
use crate::bios::images::Folder;
use crate::support::engines::JIT;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::Tests;
use crate::support::program::Program;
use std::path::Path;

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN, JIT])
        .test_needing(&[super::boot::IPXE], an_installer_that_a_network_boots_finds_its_e1000)
        .test(an_installer_finds_its_virtio_card)
}

/// The answers, and what is loaded then.
struct Answers {
    more: Vec<u8>,
    port: u16,
}

impl Answers {
    fn serve() -> Self {
        let more = bytes(1 << 20);
        let more_port = files::http(vec![("/more".to_owned(), more.clone())]);
        let command = format!(
            "exec > /dev/console 2>&1; ip addr; wget -q -O - http://10.0.2.2:{more_port}/more | md5sum; \
             echo MARK-FOUND; echo o > /proc/sysrq-trigger"
        );
        let answers = format!("d-i preseed/early_command string {command}\n");
        let port = files::http(vec![("/preseed.cfg".to_owned(), answers.into_bytes())]);
        Self { more, port }
    }
    /// The kernel's command line.
    fn append(&self) -> String {
        format!(
            "console=ttyS0 quiet DEBIAN_FRONTEND=text auto=true priority=critical locale=en_US keymap=us \
             hostname=guest domain=example url=http://10.0.2.2:{}/preseed.cfg",
            self.port
        )
    }
    /// Waits until an installer has loaded all, and ends.
    fn are_taken(&self, options: &[&str]) {
        let machine = ["run", "--accel", "jit", "--memory", "1G", "--nographic"];
        let mut program = Program::start(&[&machine[..], options].concat());
        let said = program.expect("MARK-FOUND");
        assert!(said.contains("inet 10.0.2.15/24"), "{said}");
        assert!(said.contains(&md5(&self.more)), "{said}");
        let ended = program.wait();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}

/// The card's ROM loads PXELINUX, that the kernel and its file system, and Linux's driver is the third one to use the card.
fn an_installer_that_a_network_boots_finds_its_e1000() {
    let (answers, folder) = (Answers::serve(), Folder::new());
    let loader = Guest::InstallerLoader.path();
    for name in ["pxelinux.0", "ldlinux.c32", "linux", "initrd.gz"] {
        folder.copy(&Path::new(&loader).with_file_name(name).to_string_lossy(), name);
    }
    let entry = format!("KERNEL linux\nAPPEND initrd=initrd.gz {}\n", answers.append());
    folder.file("pxelinux.cfg/default", format!("DEFAULT i\nLABEL i\n{entry}").as_bytes());
    let nic = format!("user,model=e1000,tftp={},bootfile=pxelinux.0", folder.result(""));
    answers.are_taken(&["--boot", "n", "--nic", &nic]);
}

fn an_installer_finds_its_virtio_card() {
    let answers = Answers::serve();
    let (kernel, initrd) = (Guest::GtkInstallerKernel.path(), Guest::GtkInstallerInitrd.path());
    let boots = ["--kernel", &kernel, "--initrd", &initrd, "--append", &answers.append()];
    answers.are_taken(&[&boots[..], &["--nic", "user,model=virtio"]].concat());
}
