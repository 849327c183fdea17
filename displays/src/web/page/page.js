// The page: its connection, its buttons, and what the status line says.

import { Screen } from "./screen.js";
import { Terminal } from "./terminal.js";

const byId = (id) => document.getElementById(id);
const token = new URLSearchParams(location.search).get("token") ?? "";
const textDecoder = new TextDecoder();

let socket = null;
function send(message) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

const screen = new Screen(byId("screen"), send, (text) => {
  byId("hint").textContent = text;
  byId("hint").hidden = text === "";
});
const terminal = new Terminal(byId("terminal"), (text) => send({ is: "serial", text }));

// For the speed, over the last seconds.
let samples = [];
let paused = false;

function showStatus(status) {
  const now = performance.now();
  samples = samples.filter((sample) => now - sample.at < 3000);
  samples.push({ at: now, instructions: status.instructions });
  const first = samples[0];
  const seconds = (now - first.at) / 1000;
  const speed = seconds > 0.4 ? (status.instructions - first.instructions) / seconds / 1e6 : null;
  const parts = [status.engine, `${status.seconds.toFixed(1)} s`];
  if (status.paused) parts.push("paused");
  else if (speed !== null && speed >= 0) parts.push(`${speed.toFixed(speed < 10 ? 1 : 0)} million instructions/s`);
  byId("status").textContent = parts.join("  ·  ");
  const leds = [[2, "Num"], [4, "Caps"], [1, "Scroll"]];
  byId("leds").textContent = leds.filter(([bit]) => status.leds & bit).map(([, name]) => name).join(" ");
  paused = status.paused;
  byId("pause").textContent = paused ? "Resume" : "Pause";
  screen.setAbsolute(status.absolute);
}

function receive(event) {
  const bytes = new Uint8Array(event.data);
  const view = new DataView(event.data);
  switch (bytes[0]) {
    case 1: screen.resize(view.getUint16(1), view.getUint16(3)); break;
    case 2: screen.part(view.getUint16(1), view.getUint16(3), view.getUint16(5), view.getUint16(7), bytes.subarray(9)); break;
    case 3: screen.frameEnd(); break;
    case 4: terminal.write(bytes.subarray(1)); break;
    case 5: showStatus(JSON.parse(textDecoder.decode(bytes.subarray(1)))); break;
  }
}

const buttons = ["pause", "reset", "power", "cad"].map(byId);
function setConnected(connected) {
  for (const button of buttons) button.disabled = !connected;
  screen.active = connected;
  screen.showHint();
}

function connect() {
  socket = new WebSocket(`ws://${location.host}/socket?token=${encodeURIComponent(token)}`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    setConnected(true);
    screen.canvas.focus();
  };
  socket.onmessage = receive;
  socket.onclose = () => {
    setConnected(false);
    byId("status").textContent = "The machine has ended, or the connection has: reload to try again.";
  };
}

const press = (button) => send({ is: "press", button });
byId("pause").onclick = () => press(paused ? "resume" : "pause");
byId("reset").onclick = () => press("reset");
byId("power").onclick = () => press("power");
byId("cad").onclick = () => screen.strike(["ControlLeft", "AltLeft", "Delete"]);
byId("fullscreen").onclick = () => byId("stage").requestFullscreen().then(() => screen.canvas.focus());
byId("serial-toggle").onclick = () => {
  const serial = byId("serial");
  serial.hidden = !serial.hidden;
  byId("serial-toggle").setAttribute("aria-expanded", String(!serial.hidden));
  (serial.hidden ? screen.canvas : terminal.element).focus();
  if (!serial.hidden) terminal.draw();
};

connect();
