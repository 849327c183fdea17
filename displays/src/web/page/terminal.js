// The serial port as a terminal: lines that scroll, a cursor, colours, and as much of ECMA-48 as shells and boot messages use.

import { drawn, PLAIN, restyled } from "./rendition.js";

const COLUMNS = 80;
const ROWS = 24;
const HISTORY = 2000;
// The longest control sequence: what goes on longer is none.
const LONGEST = 64;

const BLANK = { character: " ", style: PLAIN };

// A line: cells, and the element that shows them. A changed line is shown anew.
class Line {
  constructor() {
    this.cells = [];
    this.element = document.createElement("span");
    this.changed = true;
  }
  // So that there are so many cells at least.
  fill(length) {
    while (this.cells.length < length) this.cells.push(BLANK);
    this.changed = true;
    return this.cells;
  }
  // Cells go, others come.
  splice(at, count, ...others) {
    this.fill(at).splice(at, count, ...others);
  }
  get isEmpty() {
    return this.cells.every((cell) => cell.character === " " && cell.style === PLAIN);
  }
}

export class Terminal {
  // `send` takes text for the guest.
  constructor(element, send) {
    this.element = element;
    this.send = send;
    this.decoder = new TextDecoder();
    this.lines = [new Line()];
    this.row = 0;
    this.column = 0;
    this.style = PLAIN;
    this.sequence = null;
    this.drawing = false;
    // The line with the cursor, as it was drawn.
    this.cursorLine = null;
    // Whether the end is shown, as long as nobody scrolls up.
    this.follows = true;
    this.listen();
  }

  write(bytes) {
    for (const character of this.decoder.decode(bytes, { stream: true })) this.put(character);
    if (!this.drawing) {
      this.drawing = true;
      requestAnimationFrame(() => this.draw());
    }
  }
  // The first line of the screen's part.
  get top() {
    return Math.max(0, this.lines.length - ROWS);
  }
  put(character) {
    if (this.sequence !== null) {
      this.control(character);
      return;
    }
    switch (character) {
      case "\x1b": this.sequence = ""; break;
      case "\r": this.column = 0; break;
      case "\n": this.lineFeed(); break;
      case "\b": this.column = Math.max(0, this.column - 1); break;
      case "\t": this.column = Math.min(COLUMNS - 1, (this.column | 7) + 1); break;
      default: if (character >= " " && character !== "\x7f") this.print(character);
    }
  }
  print(character) {
    if (this.column >= COLUMNS) {
      this.column = 0;
      this.lineFeed();
    }
    this.lines[this.row].splice(this.column, 1, { character, style: this.style });
    this.column += 1;
  }
  lineFeed() {
    this.row += 1;
    if (this.row === this.lines.length) this.lines.push(new Line());
    const old = this.lines.length - HISTORY;
    if (old > 0) {
      this.lines.splice(0, old);
      this.row -= old;
    }
  }
  goTo(row, column) {
    const top = this.top;
    this.row = top + Math.min(Math.max(row, 0), ROWS - 1);
    while (this.lines.length <= this.row) this.lines.push(new Line());
    this.column = Math.min(Math.max(column, 0), COLUMNS - 1);
  }
  control(character) {
    this.sequence += character;
    const text = this.sequence;
    // Titles and the like end with BEL or ST.
    const isString = "]P^_".includes(text[0]);
    const ended = isString ? text.endsWith("\x07") || text.endsWith("\x1b\\")
      : text[0] === "[" ? text.length > 1 && character >= "@" && character <= "~"
        : !" #%()*+".includes(text[0]) || text.length > 1;
    if (!ended && text.length < LONGEST * (isString ? 16 : 1)) return;
    this.sequence = null;
    if (text[0] === "[") this.obey(text.slice(1, -1), character);
    else if (text === "c") {
      this.style = PLAIN;
      this.erase(2);
    }
    else if (text === "M") this.row = Math.max(this.top, this.row - 1);
  }
  obey(text, final) {
    const numbers = text.split(";").map((part) => Number.parseInt(part, 10));
    const number = (at, otherwise) => numbers[at] > 0 ? numbers[at] : otherwise;
    const row = this.row - this.top;
    switch (final) {
      case "A": this.goTo(row - number(0, 1), this.column); break;
      case "B": this.goTo(row + number(0, 1), this.column); break;
      case "C": this.goTo(row, this.column + number(0, 1)); break;
      case "D": this.goTo(row, this.column - number(0, 1)); break;
      case "G": this.goTo(row, number(0, 1) - 1); break;
      case "H": case "f": this.goTo(number(0, 1) - 1, number(1, 1) - 1); break;
      case "J": this.erase(numbers[0] || 0); break;
      case "K": this.eraseLine(numbers[0] || 0); break;
      case "P": this.lines[this.row].splice(this.column, number(0, 1)); break;
      case "@": this.lines[this.row].splice(this.column, 0, ...Array(Math.min(number(0, 1), COLUMNS)).fill(BLANK)); break;
      case "m": this.style = restyled(this.style, text); break;
      case "n":
        // Where the cursor is: shells ask for it to find the terminal's size.
        if (numbers[0] === 6) this.send(`\x1b[${row + 1};${Math.min(this.column, COLUMNS - 1) + 1}R`);
        break;
    }
  }
  erase(what) {
    if (what === 0) {
      this.eraseLine(0);
      this.lines.length = this.row + 1;
    } else if (what === 1) {
      for (let row = this.top; row < this.row; row += 1) this.lines[row] = new Line();
      this.eraseLine(1);
    } else {
      // What was there stays in the history.
      for (let count = 0; count < ROWS; count += 1) this.lines.push(new Line());
      this.lines.splice(0, Math.max(0, this.lines.length - HISTORY));
      this.row = this.top;
      this.column = 0;
    }
  }
  eraseLine(what) {
    const line = this.lines[this.row];
    if (what === 0) line.splice(this.column, line.cells.length);
    else if (what === 1) line.splice(0, this.column + 1, ...Array(this.column + 1).fill(BLANK));
    else this.lines[this.row] = new Line();
  }
  draw() {
    this.drawing = false;
    const view = this.element.parentElement;
    const cursor = this.lines[this.row];
    cursor.fill(this.column + 1);
    if (this.cursorLine !== null) this.cursorLine.changed = true;
    this.cursorLine = cursor;
    let end = this.lines.length;
    while (end > this.row + 1 && this.lines[end - 1].isEmpty) end -= 1;
    const shown = this.lines.slice(0, end);
    for (const line of shown) {
      if (!line.changed) continue;
      line.changed = false;
      line.element.replaceChildren(...drawn(line.cells, line === cursor ? this.column : -1), "\n");
    }
    this.element.replaceChildren(...shown.map((line) => line.element));
    if (this.follows) view.scrollTop = view.scrollHeight;
  }

  listen() {
    const view = this.element.parentElement;
    view.addEventListener("scroll", () => {
      this.follows = view.scrollTop + view.clientHeight >= view.scrollHeight - 30;
    });
    this.element.addEventListener("keydown", (event) => {
      const text = typed(event);
      if (text === null) return;
      event.preventDefault();
      this.follows = true;
      this.send(text);
    });
    this.element.addEventListener("paste", (event) => {
      event.preventDefault();
      const text = event.clipboardData.getData("text").replaceAll("\r\n", "\r").replaceAll("\n", "\r");
      // The server takes messages up to a length, and the guest what it has room for.
      for (let at = 0; at < text.length; at += 4096) this.send(text.slice(at, at + 4096));
    });
  }
}

const NAMED = {
  Enter: "\r", Backspace: "\x7f", Tab: "\t", Escape: "\x1b", Delete: "\x1b[3~", Insert: "\x1b[2~",
  ArrowUp: "\x1b[A", ArrowDown: "\x1b[B", ArrowRight: "\x1b[C", ArrowLeft: "\x1b[D",
  Home: "\x1b[H", End: "\x1b[F", PageUp: "\x1b[5~", PageDown: "\x1b[6~",
};

// What a key sends; null where the browser keeps it.
function typed(event) {
  if (event.metaKey || (event.ctrlKey && event.shiftKey)) return null;
  if (event.key in NAMED) return NAMED[event.key];
  if ([...event.key].length !== 1) return null;
  if (!event.ctrlKey) return (event.altKey ? "\x1b" : "") + event.key;
  // Ctrl-V pastes.
  if (event.key === "v") return null;
  const code = event.key.toUpperCase().charCodeAt(0);
  return code >= 0x40 && code <= 0x5f ? String.fromCharCode(code - 0x40) : null;
}
