//! What people write behind `--display`: a list, with options behind those that have some.

use std::path::PathBuf;
use std::str::FromStr;
use trimotor_console::graphics::Format;
use trimotor_displays::window::Options;

/// The first port of VNC: display N is at this port and N more (RFC 6143, "Initial Connection").
const VNC_FIRST_PORT: u16 = 5900;
/// The same for VNC over WebSocket, as other virtual machines have it.
const VNC_FIRST_WEBSOCKET: u16 = 5700;
/// Where the page is served, if that port is free.
pub const WEB_PORT: u16 = 8086;
/// This host and nobody else.
const LOOPBACK: &str = "127.0.0.1";

/// The most that a pixel of the guest is scaled by.
const LARGEST_SCALE: usize = 16;

/// The help of the option.
pub const DISPLAY_HELP: &str = "Where the guest is shown, several with commas between them: terminal[=FORMAT] (of pictures: blocks, sixel or kitty), window, lines (changed rows as `row|text`, \
     for scripts and screen readers), vnc=HOST:N, web, none, or auto. See the examples [default: auto]";

/// What is accepted, for messages.
const FORMS: &str =
    "terminal[=FORMAT], window, lines, vnc=HOST:N, vnc=unix:PATH, web[=HOST:PORT], none or auto";

/// Where a server listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A TCP port of a name or an address.
    Tcp { host: String, port: u16 },
    /// A socket in the file system.
    Unix(PathBuf),
}

/// A VNC server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VncSpec {
    pub place: Place,
    /// The file whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// The port for the same over WebSocket.
    pub websocket: Option<u16>,
    /// Web pages that may connect there, as browsers name them: `https://host:port`.
    pub origins: Vec<String>,
}

/// One display.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DisplaySpec {
    /// What the host has.
    Auto,
    /// The terminal, which gets pictures in this format, or in that which suits it.
    Terminal(Option<Format>),
    Lines,
    None,
    Vnc(VncSpec),
    /// A page for a browser, on a port that must be free, or on any.
    Web(Option<(String, u16)>),
    /// On this machine's screen.
    Window(Options),
}

/// All displays of one option.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DisplayList(pub Vec<DisplaySpec>);

impl FromStr for DisplayList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut list: Vec<DisplaySpec> = Vec::new();
        // Two commas are one in a name.
        let text = text.replace(",,", "\0");
        for part in text.split(',') {
            let part = part.replace('\0', ",");
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (&*part, None),
            };
            let alone = |spec| match value {
                None => Ok(spec),
                Some(_) => Err(format!("{part}: {name} stands alone")),
            };
            let spec = match name {
                "auto" => alone(DisplaySpec::Auto)?,
                "terminal" => DisplaySpec::Terminal(value.map(str::parse).transpose()?),
                "lines" => alone(DisplaySpec::Lines)?,
                "none" => alone(DisplaySpec::None)?,
                "window" => alone(DisplaySpec::Window(Options::default()))?,
                "vnc" => DisplaySpec::Vnc(vnc(value.unwrap_or_default())?),
                "web" => DisplaySpec::Web(value.map(|value| host_and_number(value, WEB_FORM)).transpose()?),
                _ => match list.last_mut() {
                    Some(DisplaySpec::Vnc(vnc)) => {
                        vnc.option(name, value)?;
                        continue;
                    }
                    Some(DisplaySpec::Window(options)) => {
                        window_option(options, name, value)?;
                        continue;
                    }
                    _ => return Err(format!("{part:?} is no display: use {FORMS}")),
                },
            };
            list.push(spec);
        }
        Ok(DisplayList(list))
    }
}

const WEB_FORM: &str = "write web or web=HOST:PORT, as in web=127.0.0.1:8086";
const VNC_FORM: &str = "write vnc=HOST:N, where N is the number of the display, 0 for port 5900, as in vnc=127.0.0.1:1, or vnc=unix:PATH";

/// A host and the number behind it.
fn host_and_number(text: &str, form: &str) -> Result<(String, u16), String> {
    let refuse = || format!("{text:?}: {form}");
    let (host, number) = text.rsplit_once(':').ok_or_else(refuse)?;
    let number = number.parse().map_err(|_| refuse())?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    // Without a host: this machine only, so that nobody opens a guest to the world by accident.
    Ok((if host.is_empty() { LOOPBACK } else { host }.to_owned(), number))
}

fn vnc(text: &str) -> Result<VncSpec, String> {
    let place = match text.strip_prefix("unix:") {
        Some("") => return Err(VNC_FORM.to_owned()),
        Some(path) => Place::Unix(path.into()),
        None => {
            let (host, number) = host_and_number(text, VNC_FORM)?;
            let port = VNC_FIRST_PORT.checked_add(number).ok_or_else(|| format!("{text:?}: {VNC_FORM}"))?;
            Place::Tcp { host, port }
        }
    };
    Ok(VncSpec { place, password_file: None, websocket: None, origins: Vec::new() })
}

fn window_option(options: &mut Options, name: &str, value: Option<&str>) -> Result<(), String> {
    match (name, value) {
        ("fit", None) => options.fills = true,
        ("scale", Some(text)) => {
            let scale = text.parse().ok().filter(|scale| (1..=LARGEST_SCALE).contains(scale));
            let refuse =
                || format!("scale={text}: write how wide a pixel of the guest is, 1 to {LARGEST_SCALE}");
            options.scale = Some(scale.ok_or_else(refuse)?);
        }
        ("scale", None) => {
            return Err("scale: write how wide a pixel of the guest is, as in scale=2".to_owned());
        }
        _ => {
            return Err(format!("{name:?} is no display ({FORMS}) and no option of window (scale=N, fit)"));
        }
    }
    Ok(())
}

impl VncSpec {
    fn option(&mut self, name: &str, value: Option<&str>) -> Result<(), String> {
        match (name, value.filter(|value| !value.is_empty())) {
            ("password-file", Some(path)) => self.password_file = Some(path.into()),
            ("websocket", None | Some("on")) => {
                let Place::Tcp { port, .. } = self.place else {
                    return Err("websocket: write the port, as in websocket=5701".to_owned());
                };
                self.websocket = Some(port.saturating_sub(VNC_FIRST_PORT) + VNC_FIRST_WEBSOCKET);
            }
            ("websocket", Some(port)) => {
                let number = port.parse().ok().filter(|port| *port != 0);
                self.websocket =
                    Some(number.ok_or_else(|| format!("websocket={port}: write a port, 1 to 65535"))?);
            }
            ("origin", Some(origin)) => self.origins.push(origin.trim_end_matches('/').to_owned()),
            ("password-file", None) => return Err("password-file: name the file".to_owned()),
            ("origin", None) => {
                return Err("origin: name the page's server, as in origin=http://localhost:6080".to_owned());
            }
            ("password", _) => {
                return Err("password: everybody sees a command line; write password-file=FILE".to_owned());
            }
            _ => {
                return Err(format!(
                    "{name:?} is no display ({FORMS}) and no option of vnc (password-file=F, websocket[=PORT], origin=URL)"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<DisplaySpec> {
        text.parse::<DisplayList>().unwrap().0
    }

    #[test]
    fn lists_are_read() {
        let tcp = |host: &str, port| Place::Tcp { host: host.to_owned(), port };
        let vnc = |place| VncSpec { place, password_file: None, websocket: None, origins: Vec::new() };
        assert_eq!(list("terminal"), [DisplaySpec::Terminal(None)]);
        assert_eq!(list("terminal=sixel"), [DisplaySpec::Terminal(Some(Format::Sixel))]);
        assert_eq!(
            list("lines,vnc=:1,web"),
            [DisplaySpec::Lines, DisplaySpec::Vnc(vnc(tcp("127.0.0.1", 5901))), DisplaySpec::Web(None)]
        );
        let with_options = VncSpec {
            password_file: Some("a,b".into()),
            websocket: Some(5702),
            origins: vec!["http://localhost:6080".to_owned()],
            ..vnc(tcp("::1", 5902))
        };
        assert_eq!(
            list("vnc=[::1]:2,password-file=a,,b,websocket,origin=http://localhost:6080/,none"),
            [DisplaySpec::Vnc(with_options), DisplaySpec::None]
        );
        assert_eq!(list("vnc=unix:/run/v:1"), [DisplaySpec::Vnc(vnc(Place::Unix("/run/v:1".into())))]);
        let window = |scale, fills| DisplaySpec::Window(Options { scale, fills });
        assert_eq!(list("window,scale=2,fit,lines"), [window(Some(2), true), DisplaySpec::Lines]);
        assert_eq!(list("lines,window"), [DisplaySpec::Lines, window(None, false)]);
        assert_eq!(list("web=localhost:80"), [DisplaySpec::Web(Some(("localhost".to_owned(), 80)))]);
    }

    #[test]
    fn errors_say_what_would_work() {
        for (text, part) in [
            ("", "use terminal"),
            ("gtk", "use terminal"),
            ("terminal=x", "blocks, sixel or kitty"),
            ("lines=x", "stands alone"),
            ("window=x", "stands alone"),
            ("window,scale=0", "1 to 16"),
            ("window,scale", "scale=2"),
            ("window,full", "option of window"),
            ("vnc", "vnc=HOST:N"),
            ("vnc=unix:", "vnc=unix:PATH"),
            ("vnc=localhost", "vnc=HOST:N"),
            ("vnc=:60000", "vnc=HOST:N"),
            ("vnc=:1,password=x", "password-file"),
            ("vnc=:1,websocket=x", "1 to 65535"),
            ("vnc=unix:s,websocket", "websocket=5701"),
            ("vnc=:1,to=3", "origin=URL"),
            ("password-file=x", "is no display"),
            ("web=8080", "web=HOST:PORT"),
        ] {
            let message = text.parse::<DisplayList>().unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
