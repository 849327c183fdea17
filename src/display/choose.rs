//! What of `--display` this host can give.

use super::spec::{DisplayList, DisplaySpec};
use crate::args::MachineArgs;
use crate::error::Failure;
use crate::note::note;
use std::io::{self, IsTerminal};
use trimotor_console::escape::Escape;
use trimotor_console::graphics::Format;
use trimotor_console::probe;
use trimotor_console::session::Display;
use trimotor_console::terminal;
use trimotor_displays::window::{self, Environment, NoWindow, Opened, Options};

/// Where the guest is shown.
pub struct Chosen {
    /// On the terminal, by the main thread.
    pub local: Display,
    /// The format of pictures on the terminal, where one is asked for.
    pub pictures: Option<Format>,
    /// By servers.
    pub servers: Vec<DisplaySpec>,
    /// In a window, and how.
    pub window: Option<(Opened, Options)>,
}

/// Says on a terminal how to leave, for people who have no status line.
pub fn tell_keys(escape: &Escape) {
    if on_terminal()
        && let Some(prefix) = escape.name()
    {
        note(format_args!("trimotor: serial port on this terminal; {prefix} x leaves, {prefix} h: keys"));
    }
}

/// How the run is ended by who has no window any more.
pub fn way_out(escape: &Escape) -> String {
    match escape.name().filter(|_| on_terminal()) {
        Some(prefix) => format!("{prefix} x in its terminal ends it"),
        None => format!("`kill {}` ends it", std::process::id()),
    }
}

/// Whether a person sits at standard input and output.
fn on_terminal() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Why nothing can be drawn on the terminal, if that is so.
fn no_terminal() -> Option<&'static str> {
    if !on_terminal() {
        Some("standard input and output are no terminal")
    } else if !terminal::can_be_drawn_on() {
        Some("the terminal cannot be drawn on (TERM is dumb or not set)")
    } else {
        None
    }
}

/// The desktop's window system, by this program's environment.
fn open_window() -> Result<Opened, NoWindow> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    window::open(&Environment { x11: variable("DISPLAY"), wayland: variable("WAYLAND_DISPLAY") })
}

/// What `auto` is.
struct Automatic {
    name: &'static str,
    local: Display,
    window: Option<Opened>,
    /// Why it is that.
    why: String,
}

/// A person's terminal comes first, as they look at it; then a desktop, where one answers.
fn automatic() -> Automatic {
    let of = |name, local, why: &str| Automatic { name, local, window: None, why: why.to_owned() };
    let Some(why) = no_terminal() else {
        return of("terminal", Display::Screen, "standard input and output are one");
    };
    match open_window() {
        Ok(window) => {
            let why = format!("{why}, and a desktop answers ({})", window.place());
            Automatic { name: "window", local: Display::Serial, window: Some(window), why }
        }
        Err(_) if on_terminal() => of("lines", Display::Lines, why),
        Err(_) => of("none", Display::Serial, why),
    }
}

impl Chosen {
    fn new() -> Chosen {
        Chosen { local: Display::Serial, pictures: None, servers: Vec::new(), window: None }
    }
    /// One more display; returns its name if it takes standard output.
    fn add(&mut self, spec: &DisplaySpec) -> Result<Option<&'static str>, Failure> {
        match spec {
            DisplaySpec::Auto => {
                let Automatic { name, local, window, why } = automatic();
                note(format_args!("trimotor: --display auto: {name}, as {why}"));
                let Some(window) = window else {
                    self.local = local;
                    return Ok(Some(name));
                };
                self.set_window(window, Options::default())?;
                return Ok(None);
            }
            DisplaySpec::Terminal(format) => {
                if let Some(why) = no_terminal() {
                    return Err(Failure::bad(format!(
                        "--display terminal: {why}; use --display lines or none"
                    )));
                }
                self.local = Display::Screen;
                self.pictures = *format;
                return Ok(Some("terminal"));
            }
            DisplaySpec::Lines => {
                self.local = Display::Lines;
                return Ok(Some("lines"));
            }
            DisplaySpec::None => {
                self.local = Display::Serial;
                return Ok(Some("none"));
            }
            DisplaySpec::Vnc(_) | DisplaySpec::Web(_) => self.servers.push(spec.clone()),
            DisplaySpec::Window(options) => {
                let window = open_window().map_err(|NoWindow(why)| {
                    Failure::bad(format!(
                        "--display window: {why}; --display web or vnc=:1 show the guest without a window"
                    ))
                })?;
                self.set_window(window, *options)?;
            }
        }
        Ok(None)
    }
    fn set_window(&mut self, window: Opened, options: Options) -> Result<(), Failure> {
        match self.window.replace((window, options)) {
            None => Ok(()),
            Some(_) => Err(Failure::bad("--display: there is one window; leave the other out")),
        }
    }
}

/// Where the guest is shown.
///
/// # Errors
/// [`Failure::BadInput`]: what is asked for is not to be had here.
pub fn choose(args: &MachineArgs) -> Result<Chosen, Failure> {
    let mut chosen = Chosen::new();
    if args.nographic {
        return Ok(chosen);
    }
    if args.display.is_empty() {
        let Automatic { local, window, why, .. } = automatic();
        chosen.local = local;
        if let Some(window) = window {
            note(format_args!("trimotor: the guest is in a window, as {why}; --display none has none"));
            chosen.set_window(window, Options::default())?;
        }
        return Ok(chosen);
    }
    let mut local = None;
    for spec in args.display.iter().flat_map(|DisplayList(list)| list) {
        let Some(name) = chosen.add(spec)? else { continue };
        if let Some(other) = local.replace(name) {
            return Err(Failure::bad(format!(
                "--display {other},{name}: standard output can show one of them only; leave one out"
            )));
        }
    }
    Ok(chosen)
}

/// Each display with whether this host has it, for `trimotor doctor`, and what `auto` is.
pub fn doctor() -> (&'static str, Vec<(&'static str, String)>) {
    let terminal = no_terminal()
        .map_or_else(|| format!("yes: {}", probe::terminal().describe()), |why| format!("no: {why}"));
    let window = match open_window() {
        Ok(window) => format!("yes: on this machine's screen ({})", window.place()),
        Err(NoWindow(why)) => format!("no: {why}"),
    };
    let displays = vec![
        ("terminal", terminal),
        ("window", window),
        ("lines", "yes: changed rows as text, for scripts and screen readers".to_owned()),
        ("vnc", "yes: vnc=127.0.0.1:1 serves VNC viewers at port 5901".to_owned()),
        ("web", "yes: a page for a browser on this machine".to_owned()),
    ];
    (automatic().name, displays)
}
