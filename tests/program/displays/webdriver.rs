//! A browser without a window, by the WebDriver protocol (W3C, "WebDriver").

use crate::support::needs::{Need, program};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub const BROWSER: Need = Need {
    name: "browser",
    check: || program("chromedriver", "chromium-driver").and_then(|()| program("chromium", "chromium")),
};

/// No page takes as long: the guard against hanging.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
}

impl Browser {
    pub fn start() -> Browser {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = command.spawn().unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            let line = line.ok()?;
            line.strip_suffix('.')?.rsplit_once("started successfully on port ")?.1.parse().ok()
        });
        // Its pipe must stay open.
        thread::spawn(move || lines.for_each(drop));
        let mut browser =
            Browser { driver, port: port.expect("chromedriver says its port"), session: String::new() };
        let options =
            json!({ "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1000,900"] });
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } });
        let session = browser.ask("POST", "/session", &wanted);
        browser.session = session["sessionId"].as_str().unwrap_or_else(|| panic!("{session}")).to_owned();
        browser
    }
    /// A request's answer.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            self.port,
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let (mut length, mut line) = (0, String::new());
        while reader.read_line(&mut line).unwrap() > 2 {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        let mut answer = vec![0; length];
        reader.read_exact(&mut answer).unwrap();
        serde_json::from_slice::<Value>(&answer).unwrap()["value"].clone()
    }
    fn command(&self, what: &str, body: &Value) -> Value {
        self.ask("POST", &format!("/session/{}/{what}", self.session), body)
    }
    pub fn open(&self, address: &str) {
        self.command("url", &json!({ "url": address }));
    }
    /// What a function body returns in the page.
    pub fn run(&self, script: &str) -> Value {
        self.command("execute/sync", &json!({ "script": script, "args": [] }))
    }
    /// Waits until it returns true.
    pub fn wait_until(&self, script: &str) {
        let start = Instant::now();
        loop {
            let value = self.run(script);
            if value == Value::Bool(true) {
                return;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{script} is never true: {value}; the page has {}",
                self.text()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }
    pub fn text(&self) -> String {
        self.run("return document.body.innerText").as_str().unwrap_or_default().to_owned()
    }
    /// The element that a CSS selector finds first.
    fn element(&self, selector: &str) -> String {
        let found = self.command("element", &json!({ "using": "css selector", "value": selector }));
        let id = found.as_object().and_then(|object| object.values().next()?.as_str().map(str::to_owned));
        id.unwrap_or_else(|| panic!("no {selector}: {found}"))
    }
    pub fn click(&self, selector: &str) {
        let answer = self.command(&format!("element/{}/click", self.element(selector)), &json!({}));
        assert_eq!(answer, Value::Null, "{selector} is clicked");
    }
    /// Types into what has the focus: real key strokes.
    pub fn strike(&self, text: &str) {
        let strokes = text.chars().flat_map(|key| {
            [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })]
        });
        let strokes: Vec<Value> = strokes.collect();
        let actions = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": strokes }] });
        assert_eq!(self.command("actions", &actions), Value::Null);
    }
    /// A picture of the page, where the variable names a folder for such: for people.
    pub fn keep_picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("TRIMOTOR_KEEP_PICTURES") else { return };
        let picture = self.ask("GET", &format!("/session/{}/screenshot", self.session), &Value::Null);
        let path = std::path::Path::new(&folder).join(format!("{name}.png.base64"));
        std::fs::write(path, picture.as_str().unwrap()).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            self.ask("DELETE", &format!("/session/{}", self.session), &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Enter, as WebDriver has it.
pub const ENTER: char = '\u{E007}';
