//! The page in a browser, and noVNC beside it.

use super::webdriver::{BROWSER, Browser, ENTER};
use crate::support::needs::{Need, Tests};
use crate::support::program::Program;
use crate::support::small_guest::{prints, runs_on, small_guest};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Where Debian has noVNC.
const NOVNC_FOLDER: &str = "/usr/share/novnc";
const NOVNC: Need = Need {
    name: "novnc",
    check: || match Path::new(NOVNC_FOLDER).join("core/rfb.js").exists() {
        true => Ok(()),
        false => Err(format!("{NOVNC_FOLDER} is not there (Debian's package novnc)")),
    },
};

pub fn tests() -> Tests {
    Tests::new()
        .test(the_page_is_had_with_its_token_only)
        .test_needing(&[BROWSER], the_page_shows_the_guest_and_takes_keys_and_buttons)
        .test_needing(&[BROWSER], the_page_s_serial_port_has_colours)
        .test_needing(&[BROWSER, NOVNC], novnc_connects_to_the_websocket)
}

/// The demo with a page; with the page's port and token. Messages are on a terminal, where they can be waited for.
fn demo() -> (Program, String, String) {
    let mut program = Program::start_on_terminal(&["demo", "--display", "web=127.0.0.1:0"], 80, 24);
    program.expect("http://");
    let address = program.expect("\n");
    let (host, token) = address.trim().split_once("/?token=").unwrap();
    let (host, token) = (host.to_owned(), token.to_owned());
    program.expect("trimotor>");
    (program, host, token)
}

/// The status of an answer.
fn status(host: &str, path: &str, more: &str) -> String {
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n").as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[9..]).into_owned()
}

fn the_page_is_had_with_its_token_only() {
    let (_program, host, token) = demo();
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let from = |origin: &str| format!("{upgrade}Origin: {origin}\r\n");
    assert_eq!(status(&host, &format!("/?token={token}"), ""), "200");
    assert_eq!(status(&host, "/", ""), "403");
    assert_eq!(status(&host, &format!("/?token={}", "0".repeat(32)), ""), "403");
    assert_eq!(status(&host, &format!("/socket?token={token}"), &from(&format!("http://{host}"))), "101");
    assert_eq!(status(&host, &format!("/socket?token={token}"), &from("http://evil.example")), "403");
    assert_eq!(status(&host, "/socket", &from(&format!("http://{host}"))), "403");
    assert_eq!(status(&host, "/websockify", upgrade), "403");
    assert_eq!(status(&host, &format!("/websockify?token={token}"), upgrade), "101");
}

/// Pixels of the page's screen that are not black.
const DRAWN: &str = "const canvas = document.querySelector('canvas'); \
     const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data; \
     let drawn = 0; for (let at = 0; at < data.length; at += 4) drawn += data[at] || data[at + 1] || data[at + 2] ? 1 : 0;";

fn the_page_shows_the_guest_and_takes_keys_and_buttons() {
    let (mut program, host, token) = demo();
    let browser = Browser::start();
    browser.open(&format!("http://{host}/?token={token}"));
    browser.wait_until(&format!("{DRAWN} return canvas.height > 300 && drawn > 1000"));
    browser.wait_until(
        "return document.querySelector('#status').textContent.includes('million instructions/s')",
    );
    // On the guest's keyboard.
    browser.strike(&format!("ticks{ENTER}"));
    program.expect("Timer interrupts: ");
    // On its serial port.
    browser.click("#serial-toggle");
    browser
        .wait_until("return document.querySelector('#terminal').textContent.includes('Timer interrupts: ')");
    browser.strike(&format!("help{ENTER}"));
    program.expect("trimotor> help");
    browser.wait_until("return document.querySelector('#terminal').textContent.includes('trimotor> help')");
    browser.keep_picture("page");
    browser.click("#pause");
    browser.wait_until("return document.querySelector('#pause').textContent === 'Resume'");
    browser.click("#pause");
    browser.wait_until("return document.querySelector('#pause').textContent === 'Pause'");
    browser.click("#reset");
    program.expect("Trimotor demo");
    program.expect("trimotor>");
    program.send("poweroff\r");
    assert_eq!(program.wait_on_terminal(), Some(0));
    browser.wait_until("return document.querySelector('#status').textContent.includes('ended')");
}

/// What a shell writes: bold red, a background, colours of the table and of 24 bits, something written over and erased.
const COLOURED: &[u8] =
    b"\x1b[1;31mred\x1b[0m and \x1b[44mblue\x1b[m \x1b[38;5;196mtable\x1b[38;2;1;2;3mrgb\x1b[0m\r\n\
    \x1b[7mover\x1b[0m\rO\x1b[K\r\nlast";

fn the_page_s_serial_port_has_colours() {
    let image = small_guest("coloured-page", &prints(COLOURED, runs_on));
    let arguments = ["run", "--memory", "16M", "--kernel", &image.path(), "--display", "web=127.0.0.1:0"];
    let mut program = Program::start_on_terminal(&arguments, 80, 24);
    program.expect("http://");
    let address = format!("http://{}", program.expect("\n").trim());
    program.expect("last");
    let browser = Browser::start();
    browser.open(&address);
    browser.click("#serial-toggle");
    browser.wait_until("return document.querySelector('#terminal').textContent.includes('last')");
    browser.wait_until(
        "const part = (text) => getComputedStyle([...document.querySelectorAll('#terminal span span')] \
             .find((span) => span.textContent === text)); \
         return part('red').fontWeight === '700' && part('red').color === 'rgb(200, 72, 72)' \
             && part('blue').backgroundColor === 'rgb(95, 135, 215)' && part('table').color === 'rgb(255, 0, 0)' \
             && part('rgb').color === 'rgb(1, 2, 3)'",
    );
    browser.wait_until("return /^red and blue tablergb\\nO\\nlast ?\\n$/.test(document.querySelector('#terminal').textContent)");
    browser.keep_picture("page-colours");
    program.send("\x01x");
    assert_eq!(program.wait_on_terminal(), Some(0));
}

/// Serves noVNC's files, as web servers do; the address.
fn serve_novnc() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut line = String::new();
                let _ = BufReader::new(&stream).read_line(&mut line);
                let path = line.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
                let kind = match path.rsplit('.').next() {
                    Some("html") => "text/html",
                    Some("js") => "text/javascript",
                    Some("css") => "text/css",
                    Some("svg") => "image/svg+xml",
                    _ => "application/octet-stream",
                };
                let (status, body) = match std::fs::read(format!("{NOVNC_FOLDER}{path}")) {
                    Ok(body) => ("200 OK", body),
                    Err(_) => ("404 Not Found", Vec::new()),
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let _ = (&stream).write_all(&[head.as_bytes(), &body].concat());
            });
        }
    });
    address
}

fn novnc_connects_to_the_websocket() {
    let (mut program, host, token) = demo();
    let (name, port) = host.rsplit_once(':').unwrap();
    let browser = Browser::start();
    let path = format!("websockify%3Ftoken%3D{token}");
    browser.open(&format!("http://{}/vnc_lite.html?host={name}&port={port}&path={path}", serve_novnc()));
    browser.wait_until(&format!(
        "if (!document.querySelector('canvas')) return false; {DRAWN} return canvas.height > 300 && drawn > 1000"
    ));
    browser.keep_picture("novnc");
    browser.click("canvas");
    browser.strike(&format!("ticks{ENTER}"));
    program.expect("Timer interrupts: ");
    drop(browser);
    program.send("poweroff\r");
    assert_eq!(program.wait_on_terminal(), Some(0));
}
