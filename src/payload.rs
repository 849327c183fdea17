//! What a machine boots, and the plan for it.

use crate::args::MachineArgs;
use crate::boot_files::GuestFiles;
use crate::drives;
use crate::error::Failure;
use crate::rom_file::Firmware;
use anyhow::Context;
use trimotor_firmware::bios;
use trimotor_firmware::boot::{self, BootPlan};
use trimotor_firmware::demo;
use trimotor_firmware::tables::Platform;
use trimotor_firmware::vga_bios;
use trimotor_machine::{BootSource, MachineConfig};

/// What a machine boots.
pub(crate) enum Payload {
    /// The built-in demo.
    Demo,
    /// Files.
    Kernel(Box<GuestFiles>),
    /// What the firmware in a ROM finds: the built-in BIOS, or one from a file.
    Bios(Firmware),
    /// Nothing any more: a restored machine goes on, but cannot start over. Why not.
    Gone(String),
}

impl Payload {
    /// The kernel's command line, where there is a kernel.
    pub(crate) fn command_line(&self) -> Option<String> {
        match self {
            Payload::Demo | Payload::Bios(_) | Payload::Gone(_) => None,
            Payload::Kernel(files) => Some(files.command_line().to_owned()),
        }
    }
    /// Files that firmware finds by fw_cfg.
    pub(crate) fn firmware_files(&self) -> &[(String, Vec<u8>)] {
        match self {
            Payload::Bios(firmware) => &firmware.files,
            Payload::Kernel(_) | Payload::Demo | Payload::Gone(_) => &[],
        }
    }
    /// The video adapter's ROM.
    ///
    /// # Errors
    /// The built-in one cannot be assembled.
    pub(crate) fn vga_rom(&self) -> Result<Vec<u8>, Failure> {
        match self {
            Payload::Bios(Firmware { vga_rom: Some(rom), .. }) => Ok(rom.bytes.clone()),
            _ => Ok(vga_bios::build().context("the video BIOS")?.image),
        }
    }
    /// Sees that no firmware is given where none would run.
    ///
    /// # Errors
    /// [`Failure::BadInput`] that names the flag.
    pub(crate) fn check_flash(&self, args: &MachineArgs) -> Result<(), Failure> {
        if !matches!(self, Payload::Bios(_)) && drives::flash::code(&args.drives)?.is_some() {
            return Err(Failure::bad(
                "--pflash: firmware does not run where a kernel or the demo is started",
            ));
        }
        Ok(())
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
            Payload::Bios(firmware) => {
                let name = firmware.rom.as_ref().map_or("the built-in BIOS", |rom| &rom.name);
                Ok(BootPlan::firmware(name))
            }
            Payload::Gone(why) => Err(Failure::bad(why)),
        }
    }
    /// The ROM; empty for what needs none.
    pub(crate) fn make_rom(&self) -> Result<Vec<u8>, Failure> {
        match &self.payload {
            Payload::Kernel(_) | Payload::Demo | Payload::Gone(_) => Ok(Vec::new()),
            Payload::Bios(Firmware { rom: Some(rom), .. }) => Ok(rom.bytes.clone()),
            Payload::Bios(_) => Ok(bios::build(&self.platform).context("the BIOS")?.image),
        }
    }
}

impl BootSource for Planner {
    fn plan(&mut self) -> Result<BootPlan, String> {
        self.make().map_err(|failure| failure.to_string())
    }
    fn rom(&mut self) -> Result<Vec<u8>, String> {
        self.make_rom().map_err(|failure| failure.to_string())
    }
}
