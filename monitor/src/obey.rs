//! Carrying out what a line asks for.
//!
//! What the machine does is asked of it by its handle and waited for; the rest is done here, or by the [`Host`]. All of it runs on
//! the thread of the peer that asked, which may wait: the guest does not, nor do other peers.

use crate::commands::{Order, Own, parse};
use crate::host::{Host, Opening, PictureFormat};
use crate::text;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;
use trimotor_bus::GuestTime;
use trimotor_devices::i8042::KeyCode;
use trimotor_devices::pointer::{PointerButton, PointerEvent};
use trimotor_machine::save::MachineStateV1;
use trimotor_machine::{Command, MachineControl, Medium, MediumError, Reply, Shot};

/// How long the machine is waited for. It answers within milliseconds; much that is asked of it at a time may take longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same where it is saved: it waits for its disks, and copies its memory, of which it may have 64 GiB.
const SAVE_PATIENCE: Duration = Duration::from_secs(600);
const NOT_SAVED: &str = "the machine has not answered for ten minutes: it is not saved";
const NOT_DONE: &str = "the machine has not answered for ten minutes; it may still do it";
const NO_ANSWER: &str = "the machine has not answered for a minute; it may still do it";
const TOO_MUCH: &str = "too much input waits for the guest: try again later";

/// A machine and the program around it. Cheap to clone: all sessions share one.
#[derive(Clone)]
pub struct Monitor {
    control: MachineControl,
    host: Arc<dyn Host>,
}

/// What became of an order.
pub type Done = Result<String, String>;

impl Monitor {
    /// For this machine.
    pub fn new(control: MachineControl, host: Arc<dyn Host>) -> Self {
        Self { control, host }
    }
    /// The machine's handle.
    pub fn control(&self) -> &MachineControl {
        &self.control
    }
    /// The program around the machine.
    pub fn host(&self) -> &dyn Host {
        &*self.host
    }
    /// Carries out a line; `cpu` is the vCPU that it concerns, and changes where the line says so. A text to show, or what
    /// went wrong.
    ///
    /// # Errors
    /// No command, or it could not be carried out.
    pub fn obey(&self, line: &str, cpu: &mut usize) -> Done {
        match parse(line).map_err(|error| error.to_string())? {
            None => Ok(String::new()),
            Some(Order::Machine(Command::Quit)) => {
                self.host.leave();
                Ok(String::new())
            }
            Some(Order::Machine(command)) => self.send(command.for_vcpu(*cpu)),
            Some(Order::Own(own)) => self.do_own(own, cpu),
        }
    }
    fn send(&self, command: Command) -> Done {
        let answer = self.control.send(command.clone());
        let outcome = match command {
            Command::SaveSnapshot(_) | Command::LoadSnapshot(_) | Command::DeleteSnapshot(_) => {
                answer.wait_for(SAVE_PATIENCE).ok_or(NOT_DONE)?
            }
            _ => answer.wait_for(PATIENCE).ok_or(NO_ANSWER)?,
        };
        let reply = outcome.map_err(|error| error.to_string())?;
        Ok(text::reply(&command, reply, self.host()))
    }
    fn do_own(&self, own: Own, cpu: &mut usize) -> Done {
        let host = self.host();
        let nothing = |()| String::new();
        match own {
            Own::Help(None) => Ok(text::help()),
            Own::Help(Some(name)) => text::help_on(&name).map_err(|error| error.to_string()),
            Own::Topics => Ok(text::topics()),
            Own::Vcpu(number) if number < host.vcpus() => {
                *cpu = number;
                Ok(String::new())
            }
            Own::Vcpu(number) => {
                Err(format!("there is no vCPU {number}: there are 0 to {}", host.vcpus() - 1))
            }
            Own::SendKeys(keys, hold) => self.press(&keys, hold).map(nothing),
            Own::MoveMouse { dx, dy, wheel } => self.move_mouse(dx, dy, wheel).map(nothing),
            Own::Buttons(held) => self.hold_buttons(&held).map(nothing),
            Own::Screendump(file, format) => self.screendump(&file, format).map(nothing),
            Own::Save { file, mapped } => host.save(&file, mapped, &mut || self.saved()).map(nothing),
            Own::Commit(drive) => host.commit(drive.as_deref()),
            Own::Change { drive, file, format, read_only, force } => {
                let opening = Opening { file: &file, format: format.as_deref(), read_only };
                let medium = host.open_medium(&drive, &opening)?;
                self.change(&drive, Some(medium), force)?;
                host.medium_changed(&drive, Some(&file));
                Ok(String::new())
            }
            Own::Eject { drive, force } => {
                self.change(&drive, None, force)?;
                host.medium_changed(&drive, None);
                Ok(String::new())
            }
            Own::AddForward { network, forward } => host.add_forward(network.as_deref(), &forward),
            Own::RemoveForward { network, place } => host.remove_forward(network.as_deref(), &place),
            Own::UserNetworks => {
                let networks = host.user_networks();
                if networks.is_empty() {
                    return Ok("there is no user-mode network".to_owned());
                }
                let lines: Vec<_> = networks.into_iter().map(|(id, info)| format!("{id}: {info}")).collect();
                Ok(lines.join("\n"))
            }
            Own::Servers => {
                let servers = host.servers();
                let none = "the guest can be seen here only (--display vnc=HOST:N, --display web)".to_owned();
                Ok(if servers.is_empty() { none } else { servers.join("\n") })
            }
            Own::Version => Ok(host.version()),
        }
    }

    /// The machine as a value.
    fn saved(&self) -> Result<Box<MachineStateV1>, String> {
        let answer = self.control.send(Command::Save);
        match answer.wait_for(SAVE_PATIENCE).ok_or(NOT_SAVED)? {
            Ok(Reply::Saved(state)) => Ok(state),
            Ok(_) => Err(NOT_SAVED.to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
    fn press(&self, keys: &[KeyCode], hold: Duration) -> Result<(), String> {
        let down = keys.iter().map(|key| (*key, true));
        let up = keys.iter().rev().map(|key| (*key, false));
        if hold.is_zero() {
            return taken(self.control.type_keys(down.chain(up).collect()));
        }
        taken(self.control.type_keys(down.collect()))?;
        std::thread::sleep(hold);
        taken(self.control.type_keys(up.collect()))
    }
    fn move_mouse(&self, dx: i32, dy: i32, wheel: i32) -> Result<(), String> {
        if dx != 0 || dy != 0 {
            taken(self.control.pointer(PointerEvent::Motion { dx, dy }))?;
        }
        if wheel != 0 {
            taken(self.control.pointer(PointerEvent::Wheel { down: wheel.saturating_neg(), right: 0 }))?;
        }
        Ok(())
    }
    fn hold_buttons(&self, held: &[PointerButton]) -> Result<(), String> {
        let buttons = [PointerButton::Left, PointerButton::Right, PointerButton::Middle];
        buttons.into_iter().try_for_each(|button| {
            taken(self.control.pointer(PointerEvent::Button { button, down: held.contains(&button) }))
        })
    }
    fn screendump(&self, file: &Path, format: PictureFormat) -> Result<(), String> {
        let shot = self.shot()?;
        if shot.picture.pixels().is_empty() {
            return Err("the machine has no display".to_owned());
        }
        self.host.write_picture(&shot, file, format)
    }
    fn shot(&self) -> Result<Shot, String> {
        let (sender, shot) = sync_channel(1);
        let take = Box::new(move |shot| _ = sender.try_send(shot));
        if !self.control.shoot(GuestTime::ZERO, take) {
            return Err("too many screenshots wait already".to_owned());
        }
        self.control.wake();
        shot.recv_timeout(PATIENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout => NO_ANSWER.to_owned(),
            RecvTimeoutError::Disconnected => "the machine has ended".to_owned(),
        })
    }
    fn change(&self, drive: &str, medium: Option<Medium>, force: bool) -> Result<(), String> {
        let (sender, changed) = sync_channel::<Result<(), MediumError>>(1);
        let answer = Box::new(move |outcome| _ = sender.try_send(outcome));
        match medium {
            Some(medium) => self.control.change(drive, medium, force, answer),
            None => self.control.eject(drive, force, answer),
        }
        match changed.recv_timeout(PATIENCE) {
            Ok(outcome) => outcome.map_err(|error| error.to_string()),
            Err(RecvTimeoutError::Timeout) => Err(NO_ANSWER.to_owned()),
            Err(RecvTimeoutError::Disconnected) => {
                Err("the medium stays: the machine has ended, replays a recording, or has too much to do"
                    .to_owned())
            }
        }
    }
}

fn taken(taken: bool) -> Result<(), String> {
    if taken { Ok(()) } else { Err(TOO_MUCH.to_owned()) }
}
