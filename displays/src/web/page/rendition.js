// How characters look: SGR ("Select Graphic Rendition", ECMA-48 and xterm's colours), and its elements.

// No colours, nothing set. Styles are compared by identity as long as nothing changes them.
export const PLAIN = Object.freeze({ fore: null, back: null, flags: 0 });

const BOLD = 1, FAINT = 2, ITALIC = 4, UNDERLINE = 8, REVERSE = 16, STRUCK = 32;
const SET = { 1: BOLD, 2: FAINT, 3: ITALIC, 4: UNDERLINE, 7: REVERSE, 9: STRUCK };
const UNSET = { 22: BOLD | FAINT, 23: ITALIC, 24: UNDERLINE, 27: REVERSE, 29: STRUCK };
const CLASSES = { [BOLD]: "bold", [FAINT]: "faint", [ITALIC]: "italic", [UNDERLINE]: "underline", [STRUCK]: "struck" };

// The first 16 of the table: dark and bright ones.
const SIXTEEN = [
  "#000000", "#c84848", "#4fb04f", "#b0903c", "#5f87d7", "#b060b0", "#46a8a8", "#c8c8c8",
  "#808080", "#ff7070", "#80e080", "#f0d870", "#90b8ff", "#f090f0", "#80e8e8", "#ffffff",
];
// The levels of the cube of colours in xterm's table.
const LEVELS = [0, 95, 135, 175, 215, 255];

const hex = (...codes) => "#" + codes.map((code) => code.toString(16).padStart(2, "0")).join("");

function ofTable(index) {
  if (index < 16) return SIXTEEN[index];
  if (index >= 232) return hex(...Array(3).fill(8 + 10 * (index - 232)));
  const place = index - 16;
  return hex(LEVELS[Math.floor(place / 36)], LEVELS[Math.floor(place / 6) % 6], LEVELS[place % 6]);
}

// The colour behind 38 or 48: `5;n` or `2;r;g;b`. Takes what it uses from the front; null where it is none.
function colour(numbers) {
  const byte = (value) => Number.isInteger(value) && value >= 0 && value <= 255;
  const kind = numbers.shift();
  const codes = numbers.splice(0, kind === 5 ? 1 : kind === 2 ? 3 : 0);
  if (!codes.every(byte)) return null;
  if (kind === 5 && codes.length === 1) return ofTable(codes[0]);
  return kind === 2 && codes.length === 3 ? hex(...codes) : null;
}

// `style` after the numbers in `text` (what stands between CSI and m).
export function restyled(style, text) {
  let { fore, back, flags } = style;
  // With colons a colour has a number more, which says how it is meant: `2::r:g:b`.
  const plain = text.replace(/([34]8):2:\d*:(\d+:\d+:\d+)/g, "$1:2:$2").replaceAll(":", ";");
  const numbers = plain.split(";").map((part) => part === "" ? 0 : Number.parseInt(part, 10));
  while (numbers.length > 0) {
    const number = numbers.shift();
    if (number === 0) [fore, back, flags] = [null, null, 0];
    else if (number in SET) flags |= SET[number];
    else if (number in UNSET) flags &= ~UNSET[number];
    else if (number >= 30 && number <= 37) fore = SIXTEEN[number - 30];
    else if (number === 38) fore = colour(numbers) ?? fore;
    else if (number === 39) fore = null;
    else if (number >= 40 && number <= 47) back = SIXTEEN[number - 40];
    else if (number === 48) back = colour(numbers) ?? back;
    else if (number === 49) back = null;
    else if (number >= 90 && number <= 97) fore = SIXTEEN[number - 82];
    else if (number >= 100 && number <= 107) back = SIXTEEN[number - 92];
  }
  if (fore === style.fore && back === style.back && flags === style.flags) return style;
  return fore === null && back === null && flags === 0 ? PLAIN : { fore, back, flags };
}

function span(text, style, isCursor) {
  const element = document.createElement("span");
  element.textContent = text;
  const classes = Object.keys(CLASSES).filter((flag) => style.flags & flag).map((flag) => CLASSES[flag]);
  element.className = (isCursor ? ["cursor"] : classes).join(" ");
  if (isCursor) return element;
  const reversed = style.flags & REVERSE;
  const [fore, back] = reversed ? [style.back ?? "var(--terminal-back)", style.fore ?? "var(--text)"] : [style.fore, style.back];
  if (fore !== null) element.style.color = fore;
  if (back !== null) element.style.backgroundColor = back;
  return element;
}

// What shows some cells: text, and an element for each run of those that look the same and for the one with the cursor.
export function drawn(cells, cursor) {
  const parts = [];
  let at = 0;
  while (at < cells.length) {
    const { style } = cells[at];
    let end = at + 1;
    if (at !== cursor) {
      while (end < cells.length && end !== cursor && cells[end].style === style) end += 1;
    }
    const text = cells.slice(at, end).map((cell) => cell.character).join("");
    parts.push(at === cursor ? span(text, style, true) : style === PLAIN ? text : span(text, style, false));
    at = end;
  }
  return parts;
}
