//! The displays beside the terminal: VNC, the page for a browser, and a window, on the machine's handle.

use super::spec::{DisplaySpec, Place, VncSpec, WEB_PORT};
use crate::error::Failure;
use crate::note::note;
use crate::ports::Kick;
use anyhow::Context;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use trimotor_console::session::Leaver;
use trimotor_devices::display::{Damage, Surface};
use trimotor_devices::i8042::{KeyCode, Layout, Leds};
use trimotor_devices::pointer::PointerEvent;
use trimotor_devices::serial::SerialBackend;
use trimotor_displays::guest::Button;
use trimotor_displays::server::{Opened, Service};
use trimotor_displays::window::{self, Window, WindowEnd};
use trimotor_displays::{Access, Bells, Guest, Listen, SerialTap, Server, Status, View, rfb, secrets};
use trimotor_machine::{Command, MachineControl, MachineEvent, Viewer};

/// The longest file with a password that is read, in bytes.
const LONGEST_PASSWORD_FILE: u64 = 4096;

/// Servers that listen, and a window system that answered. They show nothing until there is a machine.
pub struct Servers {
    opened: Vec<(Opened, Service)>,
    window: Option<(window::Opened, window::Options)>,
    serial: Arc<SerialTap>,
    wants_serial: bool,
    /// Where each is, in a line.
    places: Vec<String>,
}

/// What they show.
pub struct Wiring {
    /// The machine.
    pub control: MachineControl,
    /// What the guest is called in a window's title.
    pub name: String,
    /// Ends the run, as a person does who leaves.
    pub leaver: Leaver,
    /// What ends the run where the window is gone, for people.
    pub way_out: String,
}

/// What runs beside the terminal. Dropping it ends that.
#[derive(Default)]
pub struct Running {
    _servers: Vec<Server>,
    _window: Option<Window>,
}

impl Servers {
    /// Begins to listen, and says where.
    ///
    /// # Errors
    /// [`Failure::BadInput`]: an address or a password that cannot be used.
    pub fn open(
        specs: &[DisplaySpec],
        window: Option<(window::Opened, window::Options)>,
    ) -> Result<Servers, Failure> {
        let places = window.as_ref().map(|(window, _)| format!("window: {}", window.place()));
        let mut servers = Servers {
            opened: Vec::new(),
            window,
            serial: Arc::default(),
            wants_serial: false,
            places: places.into_iter().collect(),
        };
        for spec in specs {
            match spec {
                DisplaySpec::Vnc(spec) => servers.open_vnc(spec)?,
                DisplaySpec::Web(place) => servers.open_web(place.as_ref())?,
                // They are no servers.
                DisplaySpec::Auto
                | DisplaySpec::Terminal(_)
                | DisplaySpec::Lines
                | DisplaySpec::None
                | DisplaySpec::Window(_) => {}
            }
        }
        Ok(servers)
    }
    fn open_vnc(&mut self, spec: &VncSpec) -> Result<(), Failure> {
        let bad = |error: &dyn std::fmt::Display| Failure::bad(format!("--display vnc: {error}"));
        let password = spec.password_file.as_deref().map(read_password).transpose()?;
        let listen = match &spec.place {
            Place::Tcp { host, port } => Listen::Tcp(host.clone(), *port),
            Place::Unix(path) => Listen::Unix(path.clone()),
        };
        if password.is_none() && !listen.is_local().map_err(|error| bad(&error))? {
            return Err(bad(
                &"others than this machine could connect: name a file with a password (password-file=F), or \
                  listen at 127.0.0.1 and use a tunnel, as ssh -L makes one",
            ));
        }
        let config = rfb::Config { password };
        let opened = listen.open().map_err(|error| bad(&error))?;
        note(format_args!("trimotor: VNC at {}", opened.place()));
        let secret = if config.password.is_some() { ", with a password" } else { "" };
        self.places.push(format!("VNC: {}{secret}", opened.place()));
        if let Some(port) = spec.websocket {
            let Place::Tcp { host, .. } = &spec.place else {
                return Err(bad(
                    &"websocket: needs vnc=HOST:N, as browsers connect to no socket in a folder",
                ));
            };
            let token = secrets::token().context("random bytes")?;
            let opened = Listen::Tcp(host.clone(), port).open().map_err(|error| bad(&error))?;
            note(format_args!("trimotor: VNC over WebSocket at ws://{}/?token={token}", opened.place()));
            self.places.push(format!("VNC over WebSocket: ws://{}/?token={token}", opened.place()));
            let access =
                Access { token, origins: spec.origins.clone(), has_password: config.password.is_some() };
            self.opened.push((opened, Service::VncWebSocket(config.clone(), access)));
        }
        self.opened.push((opened, Service::Vnc(config)));
        Ok(())
    }
    fn open_web(&mut self, place: Option<&(String, u16)>) -> Result<(), Failure> {
        let bad = |error: &dyn std::fmt::Display| Failure::bad(format!("--display web: {error}"));
        let opened = match place {
            Some((host, port)) => {
                let listen = Listen::Tcp(host.clone(), *port);
                if !listen.is_local().map_err(|error| bad(&error))? {
                    return Err(bad(
                        &"the page is for this machine only: listen at 127.0.0.1, and use a tunnel from elsewhere, as \
                          ssh -L makes one",
                    ));
                }
                listen.open()
            }
            // Another machine may run already.
            None => Listen::Tcp("127.0.0.1".to_owned(), WEB_PORT)
                .open()
                .or_else(|_| Listen::Tcp("127.0.0.1".to_owned(), 0).open()),
        };
        let opened = opened.map_err(|error| bad(&error))?;
        let token = secrets::token().context("random bytes")?;
        note(format_args!("trimotor: the guest in a browser: http://{}/?token={token}", opened.place()));
        self.places.push(format!("page: http://{}/?token={token}", opened.place()));
        self.wants_serial = true;
        self.opened.push((opened, Service::Web(self.serial.clone(), token)));
        Ok(())
    }
    /// Where the guest can be seen, in lines.
    pub fn places(&self) -> &[String] {
        &self.places
    }
    /// COM1's other end, with a tap where a page shows it.
    pub fn tap(&self, backend: Box<dyn SerialBackend>, kick: Kick) -> Box<dyn SerialBackend> {
        if !self.wants_serial {
            return backend;
        }
        self.serial.on(backend, Box::new(move || kick()))
    }
    /// Serves, and shows the window, until what is returned is dropped.
    ///
    /// # Errors
    /// The host has no thread or descriptor left.
    pub fn start(self, wiring: Wiring) -> Result<Running, Failure> {
        if self.opened.is_empty() && self.window.is_none() {
            return Ok(Running::default());
        }
        let Wiring { control, name, leaver, way_out } = wiring;
        let bells = Bells::default();
        self.serial.ring(bells.clone());
        let to_ring = bells.clone();
        control.observe(move |event| {
            if rings(event) {
                to_ring.ring();
            }
        });
        let guest: Arc<dyn Guest> = Arc::new(MachineGuest { control, bells });
        let start = |(opened, service): (Opened, Service)| opened.serve(service, guest.clone());
        let servers: Result<Vec<Server>, _> = self.opened.into_iter().map(start).collect();
        let servers = servers.context("a thread for --display")?;
        let ended = move |end| match end {
            WindowEnd::Closed => leaver.leave(),
            WindowEnd::Lost(why) => {
                log::warn!("the window is gone ({why}); the guest goes on, and {way_out}")
            }
        };
        let show = |(opened, options): (window::Opened, window::Options)| {
            opened.show(guest.clone(), name, options, Box::new(ended))
        };
        let window = self.window.map(show).transpose().context("a descriptor for --display window")?;
        Ok(Running { _servers: servers, _window: window })
    }
}

/// Whether a display may show something else after it.
fn rings(event: &MachineEvent) -> bool {
    matches!(
        event,
        MachineEvent::ScreenChanged
            | MachineEvent::LedsChanged(_)
            | MachineEvent::PointerModeChanged { .. }
            | MachineEvent::Paused
            | MachineEvent::Resumed
            | MachineEvent::EngineSwitched(_)
    )
}

/// The first line of a file.
fn read_password(path: &Path) -> Result<String, Failure> {
    let flag = || format!("--display vnc: password-file={}", path.display());
    let size = fs::metadata(path).map_err(|error| Failure::bad(format!("{}: {error}", flag())))?.len();
    if size > LONGEST_PASSWORD_FILE {
        return Err(Failure::bad(format!("{}: {size} bytes are no password", flag())));
    }
    let text = fs::read_to_string(path).map_err(|error| Failure::bad(format!("{}: {error}", flag())))?;
    let password = text.lines().next().unwrap_or_default();
    if password.is_empty() {
        return Err(Failure::bad(format!("{}: its first line must have the password", flag())));
    }
    if password.len() > rfb::auth::PASSWORD_CHARACTERS {
        note(format_args!(
            "trimotor: {}: VNC looks at the first {} characters of a password only",
            flag(),
            rfb::auth::PASSWORD_CHARACTERS
        ));
    }
    Ok(password.to_owned())
}

/// A machine as displays see it.
struct MachineGuest {
    control: MachineControl,
    bells: Bells,
}

struct MachineView(Viewer);

impl View for MachineView {
    fn update(&mut self, copy: &mut Surface) -> Damage {
        self.0.update(copy)
    }
}

impl Guest for MachineGuest {
    fn view(&self) -> Box<dyn View> {
        Box::new(MachineView(self.control.view()))
    }
    fn layout(&self) -> Layout {
        self.control.layout()
    }
    fn key(&self, key: KeyCode, down: bool) -> bool {
        self.control.key(key, down)
    }
    fn release_all(&self) {
        self.control.release_all_keys();
    }
    fn pointer(&self, event: PointerEvent) -> bool {
        self.control.pointer(event)
    }
    fn pointer_is_absolute(&self) -> bool {
        self.control.pointer_is_absolute()
    }
    fn leds(&self) -> Leds {
        self.control.leds()
    }
    fn status(&self) -> Status {
        Status {
            engine: self.control.engine().name().to_owned(),
            guest_time_ns: self.control.guest_time().ns(),
            instructions: self.control.instructions(),
            paused: self.control.paused(),
        }
    }
    fn press(&self, button: Button) {
        // What became of it is seen on the screen.
        let _ = self.control.send(match button {
            Button::Power => Command::PowerButton,
            Button::Reset => Command::Reset,
            Button::Pause => Command::Pause,
            Button::Resume => Command::Resume,
        });
    }
    fn bells(&self) -> &Bells {
        &self.bells
    }
}
