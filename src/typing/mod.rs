//! `--type` and `--keys`: a script at the keyboard.
//!
//! Keys with an instant of guest time are part of the machine's configuration: the keyboard presses them by itself, so that with
//! `--icount` each run does so at the same instruction. Keys that wait for a text are given as a person's: a [`Typist`]
//! reads along COM1, byte by byte like `--expect`, and looks at the text screen when that changes. Those of `--type` come in
//! their order, each waiting for a text that comes after the one before; so do those of `--keys`.

mod args;
mod spec;

pub use args::InputArgs;
pub(crate) use spec::instant;

use crate::error::Failure;
use crate::overheard::Overheard;
use crate::watch::{LaterControl, Pattern};
use spec::When;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use trimotor_devices::i8042::{KeyCode, Layout, Stroke, TimedKey};
use trimotor_devices::serial::SerialBackend;
use trimotor_devices::vga::TextScreen;
use trimotor_machine::{MachineControl, MachineEvent};

type Keys = Vec<(KeyCode, bool)>;

/// What a step of a script waits for.
enum Trigger {
    Serial(Pattern),
    Screen(String),
}

/// Keys that wait for a text.
struct Step {
    trigger: Trigger,
    keys: Keys,
}

/// Steps in their order.
#[derive(Default)]
struct Sequence {
    steps: VecDeque<Step>,
}

impl Sequence {
    /// Reads a byte of COM1; the keys that it brings.
    fn byte(&mut self, byte: u8) -> Option<Keys> {
        let came = |step: &mut Step| match &mut step.trigger {
            Trigger::Serial(text) => text.byte(byte),
            Trigger::Screen(_) => false,
        };
        self.steps.pop_front_if(came).map(|step| step.keys)
    }
    /// Looks at the screen; the keys that it brings.
    fn screen(&mut self, shown: &str) -> Option<Keys> {
        let stands = |step: &mut Step| matches!(&step.trigger, Trigger::Screen(text) if shown.contains(text));
        self.steps.pop_front_if(stands).map(|step| step.keys)
    }
    fn looks_at_screen(&self) -> bool {
        self.steps.front().is_some_and(|step| matches!(step.trigger, Trigger::Screen(_)))
    }
}

/// What is typed in a run.
#[derive(Default)]
pub struct Script {
    /// Keys with an instant, for [`MachineConfig::typing`](trimotor_machine::MachineConfig).
    pub timed: Vec<TimedKey>,
    sequences: [Sequence; 2],
}

impl Script {
    /// What the options say.
    ///
    /// # Errors
    /// A character that no key of the layout types.
    pub fn new(args: &InputArgs) -> Result<Script, Failure> {
        let mut script = Script::default();
        for spec in &args.text {
            script.add(0, text_keys(args.keymap, &spec.text)?, &spec.when);
        }
        for spec in &args.keys {
            script.add(1, spec.events(), &spec.when);
        }
        Ok(script)
    }
    fn add(&mut self, sequence: usize, keys: Keys, when: &When) {
        let trigger = match when {
            When::At(at) => {
                let timed = |(key, down)| TimedKey { at: *at, key, down };
                return self.timed.extend(keys.into_iter().map(timed));
            }
            When::Serial(text) => Trigger::Serial(Pattern::new(text)),
            When::Screen(text) => Trigger::Screen(text.clone()),
        };
        self.sequences[sequence].steps.push_back(Step { trigger, keys });
    }
    /// Whether something waits for a text.
    pub fn waits_for_text(&self) -> bool {
        self.sequences.iter().any(|sequence| !sequence.steps.is_empty())
    }
    /// Whoever types what waits for a text, on the machine whose `control` comes later.
    pub fn typist(self, control: LaterControl) -> Typist {
        Typist { sequences: Arc::new(Mutex::new(self.sequences)), control }
    }
}

/// The keys that type a text.
fn text_keys(layout: Layout, text: &str) -> Result<Keys, Failure> {
    let mut keys = Vec::new();
    for character in text.chars() {
        let strokes = layout.strokes(character);
        if strokes.is_empty() {
            return Err(Failure::bad(format!(
                "--type: no key of layout {layout} types {character:?}; --keymap chooses another layout"
            )));
        }
        keys.extend(strokes.into_iter().flat_map(Stroke::events));
    }
    Ok(keys)
}

/// Waits for texts and types. Cheap to clone.
#[derive(Clone)]
pub struct Typist {
    sequences: Arc<Mutex<[Sequence; 2]>>,
    control: LaterControl,
}

impl Typist {
    /// `backend` with the typist reading along what goes to it; as it is where nothing waits for a text.
    pub fn on(&self, backend: Box<dyn SerialBackend>) -> Box<dyn SerialBackend> {
        if self.with(|sequences| sequences.iter().all(|sequence| sequence.steps.is_empty())) {
            return backend;
        }
        let typist = self.clone();
        Box::new(Overheard::new(backend, move |bytes: &[u8]| typist.read(bytes)))
    }
    /// Looks at the screens of the machine from now on, where a text on one is waited for.
    pub fn watch_screens(&self, control: &MachineControl) {
        let waits = |step: &Step| matches!(step.trigger, Trigger::Screen(_));
        if !self.with(|sequences| sequences.iter().flat_map(|sequence| &sequence.steps).any(waits)) {
            return;
        }
        let typist = self.clone();
        control.observe(move |event| {
            if *event == MachineEvent::ScreenChanged {
                typist.look();
            }
        });
        // A screen that nobody has asked for is not shown.
        control.screen();
    }
    fn with<R>(&self, action: impl FnOnce(&mut [Sequence; 2]) -> R) -> R {
        action(&mut self.sequences.lock().unwrap_or_else(PoisonError::into_inner))
    }
    fn read(&self, bytes: &[u8]) {
        for byte in bytes {
            let came: Vec<_> =
                self.with(|sequences| sequences.iter_mut().filter_map(|s| s.byte(*byte)).collect());
            if !came.is_empty() {
                came.into_iter().for_each(|keys| self.press(keys));
                // What is waited for next may stand there already.
                self.look();
            }
        }
    }
    fn look(&self) {
        let Some(control) = self.control.get() else { return };
        if !self.with(|sequences| sequences.iter().any(Sequence::looks_at_screen)) {
            return;
        }
        // Rows come without the blanks at their ends; a prompt has one.
        let rows = |screen: TextScreen| screen.text().replace('\n', " \n");
        let Some(shown) = control.screen().map(rows) else { return };
        while let Some(keys) = self.with(|sequences| sequences.iter_mut().find_map(|s| s.screen(&shown))) {
            self.press(keys);
        }
    }
    fn press(&self, keys: Keys) {
        if let Some(control) = self.control.get()
            && !control.type_keys(keys)
        {
            log::warn!("keys of --type or --keys are lost: too many wait");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use trimotor_bus::GuestTime;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        input: InputArgs,
    }
    fn script(arguments: &[&str]) -> Result<Script, Failure> {
        let line = Line::try_parse_from(std::iter::once(&"trimotor").chain(arguments)).unwrap();
        Script::new(&line.input)
    }

    #[test]
    fn instants_go_to_the_machine_and_texts_are_waited_for_in_order() {
        let mut script =
            script(&["--type", "y@2", "--type", "a@text:\"ab\"", "--type", "b@text:\"b\"", "--keymap", "de"])
                .unwrap();
        let at = GuestTime(2_000_000_000);
        let key = KeyCode::Z;
        assert_eq!(script.timed, [TimedKey { at, key, down: true }, TimedKey { at, key, down: false }]);
        assert!(script.waits_for_text());
        let mut came = |byte| script.sequences[0].byte(byte).map(|keys| keys[0].0);
        let found: Vec<_> = b"bab b".iter().map(|byte| came(*byte)).collect();
        assert_eq!(found, [None, None, Some(KeyCode::A), None, Some(KeyCode::B)]);
    }

    #[test]
    fn a_text_on_the_screen_is_found() {
        let mut script = script(&["--keys", "ret@screen:\"boot:\"", "--keys", "f1@screen:\"more\""]).unwrap();
        let keys = &mut script.sequences[1];
        assert!(keys.looks_at_screen());
        assert_eq!(keys.byte(b':'), None);
        assert_eq!(keys.screen("more\n"), None);
        assert_eq!(
            keys.screen("ISOLINUX\nboot: more"),
            Some(vec![(KeyCode::Enter, true), (KeyCode::Enter, false)])
        );
        assert!(keys.screen("boot: more").is_some());
        assert!(!keys.looks_at_screen());
    }

    #[test]
    fn what_no_key_types_is_told() {
        let error = script(&["--type", "größer@1"]).err().unwrap().to_string();
        assert!(error.contains("'ö'") && error.contains("--keymap"), "{error}");
        assert!(script(&["--type", "größer@1", "--keymap", "jp"]).is_err());
        assert!(script(&["--type", "größer@1", "--keymap", "de"]).is_ok());
    }
}
