//! Somebody at a monitor's socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// No answer takes as long: the guard against hanging.
const PATIENCE: Duration = Duration::from_secs(300);
/// What stands at the end of each answer: the prompt with an empty line.
const PROMPT: &str = "\r(trimotor) \x1b[K";

/// Who is connected.
pub struct Client {
    stream: UnixStream,
    text: String,
}

impl Client {
    /// Connects as soon as somebody listens, and reads the greeting.
    pub fn connect(path: &str) -> Client {
        let mut client = Client { stream: connect(path), text: String::new() };
        let greeting = client.read_until("(trimotor) ");
        assert!(greeting.contains("monitor - type 'help'"), "{greeting}");
        client
    }
    /// Sends bytes and waits for nothing.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the monitor reads");
    }
    /// What comes up to this text, and with it.
    pub fn read_until(&mut self, wanted: &str) -> String {
        let mut bytes = [0; 65536];
        loop {
            if let Some(at) = self.text.find(wanted) {
                let rest = self.text.split_off(at + wanted.len());
                return std::mem::replace(&mut self.text, rest);
            }
            match self.stream.read(&mut bytes) {
                Ok(0) => panic!("the monitor ended without {wanted:?}: {:?}", self.text),
                Ok(count) => self.text += &String::from_utf8_lossy(&bytes[..count]),
                Err(error) => panic!("no {wanted:?} came ({error}): {:?}", self.text),
            }
        }
    }
    /// Types a line; what is answered to it, with plain line ends.
    pub fn ask(&mut self, line: &str) -> String {
        self.begin(line);
        self.end()
    }
    /// Types a line, and waits for its echo.
    pub fn begin(&mut self, line: &str) {
        self.send(format!("{line}\n").as_bytes());
        let echo = self.read_until("\r\n");
        assert!(echo.contains(line) || line.len() > 60, "{line:?} was echoed as {echo:?}");
    }
    /// What is answered to a line that was typed.
    pub fn end(&mut self) -> String {
        let answer = self.read_until(PROMPT);
        answer[..answer.len() - PROMPT.len()].replace("\r\n", "\n").trim_end().to_owned()
    }
    /// Types a line to which nothing is answered but that it was done.
    #[track_caller]
    pub fn obeys(&mut self, line: &str) {
        assert_eq!(self.ask(line), "", "{line}");
    }
    /// Types a line that is refused with a message that has all of `words`.
    #[track_caller]
    pub fn refuses(&mut self, line: &str, words: &[&str]) {
        let answer = self.ask(line);
        assert!(answer.starts_with("Error: "), "{line}: {answer}");
        for word in words {
            assert!(answer.contains(word), "{line}: no {word:?} in {answer}");
        }
    }
    /// Asks until the answer is as wanted.
    #[track_caller]
    pub fn ask_until(&mut self, line: &str, done: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let answer = self.ask(line);
            if done(&answer) {
                return answer;
            }
            assert!(start.elapsed() < PATIENCE, "{line}: {answer}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    /// Reads to the end.
    pub fn rest(mut self) -> String {
        let mut bytes = Vec::new();
        // Where the program ends while bytes wait for it, the connection is reset.
        let _ = self.stream.read_to_end(&mut bytes);
        self.text + &String::from_utf8_lossy(&bytes)
    }
}

/// A connection to a socket that is about to be listened at.
pub fn connect(path: &str) -> UnixStream {
    let start = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE)).expect("a time");
                return stream;
            }
            Err(error) => assert!(start.elapsed() < PATIENCE, "{path}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
