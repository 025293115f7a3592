// Feeds bytes to xterm.js without a screen and says what it shows.
//
// One request a line on stdin: {"cols", "rows", "steps": [base64 | [cols, rows]]},
// one answer a line on stdout, in the form that oracle_test.go calls "seen".
"use strict";
const readline = require("readline");
const { Terminal } = require("@xterm/headless");
const { Unicode11Addon } = require("@xterm/addon-unicode11");

const flag = (n) => (n ? true : false);

function color(which, cell) {
  const [rgb, palette, n] = which === 38
    ? [cell.isFgRGB(), cell.isFgPalette(), cell.getFgColor()]
    : [cell.isBgRGB(), cell.isBgPalette(), cell.getBgColor()];
  if (rgb) return `;${which};2;${n >> 16};${(n >> 8) & 255};${n & 255}`;
  if (!palette) return "";
  if (n < 8) return `;${which - 8 + n}`;
  if (n < 16) return `;${which + 44 + n}`;
  return `;${which};5;${n}`;
}

// underlined is isUnderline without the dashes that a hyperlink gets.
const underlined = (cell) => flag(cell.fg & 0x10000000);

function underlineColor(cell) {
  const e = cell.extended;
  if (!cell.hasExtendedAttrs() || !underlined(cell)) return "";
  const v = e.underlineColor;
  const mode = v & 0x3000000;
  if (mode === 0x3000000) return `;58:2::${(v >> 16) & 255}:${(v >> 8) & 255}:${v & 255}`;
  if (mode !== 0) return `;58:5:${v & 255}`;
  return "";
}

// style is the SGR parameters of a cell in the order of appendSGR.
function style(cell) {
  let s = "0";
  if (cell.isBold()) s += ";1";
  if (cell.isDim()) s += ";2";
  if (cell.isItalic()) s += ";3";
  if (cell.isBlink()) s += ";5";
  if (cell.isInverse()) s += ";7";
  if (cell.isInvisible()) s += ";8";
  if (cell.isStrikethrough()) s += ";9";
  if (cell.isOverline()) s += ";53";
  if (underlined(cell)) {
    const u = cell.hasExtendedAttrs() ? (cell.extended._ext >>> 26) & 7 : 1;
    s += u > 1 ? `;4:${u}` : ";4";
  }
  return s + color(38, cell) + color(48, cell) + underlineColor(cell);
}

// row is alternately a style and the list of the texts of cells in it; "" is
// the right half of a wide character.
function row(line, cols) {
  const out = [];
  let last = null, texts = null;
  for (let x = 0; x < cols; x++) {
    const cell = line.getCell(x);
    const st = cell.getWidth() === 0 && x > 0 ? last : style(cell);
    if (st !== last) {
      texts = [];
      out.push(st, texts);
      last = st;
    }
    texts.push(cell.getWidth() === 0 ? "" : cell.getChars() || " ");
  }
  return out;
}

async function run(req) {
  const term = new Terminal({ cols: req.cols, rows: req.rows, scrollback: 2000, allowProposedApi: true, logLevel: "off" });
  if (!req.oldWidths) {
    term.loadAddon(new Unicode11Addon());
    term.unicode.activeVersion = "11";
  }
  let title = "";
  term.onTitleChange((t) => { title = t; });
  let replies = "";
  term.onData((d) => { replies += d; });
  for (const s of req.steps) {
    if (typeof s === "string") await new Promise((done) => term.write(Buffer.from(s, "base64"), done));
    else term.resize(s[0], s[1]);
  }
  const b = term.buffer.active, core = term._core, modes = term.modes;
  const seen = {
    x: Math.min(b.cursorX, term.cols - 1), y: b.cursorY, pending: b.cursorX >= term.cols,
    alt: b.type === "alternate", title, replies, rows: [], wrapped: [], scrollback: [],
    modes: {
      appCursor: modes.applicationCursorKeysMode, appKeypad: modes.applicationKeypadMode,
      insert: modes.insertMode, origin: modes.originMode, wrap: modes.wraparoundMode,
      paste: modes.bracketedPasteMode, focus: modes.sendFocusMode,
      mouse: modes.mouseTrackingMode, hidden: flag(core.coreService.isCursorHidden),
      top: core.buffer.scrollTop, bottom: core.buffer.scrollBottom,
    },
  };
  for (let y = 0; y < term.rows; y++) {
    const line = b.getLine(b.baseY + y);
    seen.rows.push(row(line, term.cols));
    const next = b.getLine(b.baseY + y + 1);
    seen.wrapped.push(next ? next.isWrapped : false);
  }
  const n = term.buffer.normal;
  for (let y = 0; y < n.baseY; y++) seen.scrollback.push(n.getLine(y).translateToString(true));
  term.dispose();
  return seen;
}

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    process.stdout.write(JSON.stringify(await run(JSON.parse(line))) + "\n");
  }
})();
