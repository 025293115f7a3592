// A coding agent's inline interface in small, for record.py: a growing
// transcript, a spinner, a bordered prompt. Needs ink@5 and react@18.
import React, { useEffect, useState, createElement as h } from "react";
import { render, Box, Text, Static } from "ink";

const frames = ["·", "✢", "✳", "✶", "✻", "✽"];

function Agent() {
  const [n, setN] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => setN((v) => v + 1), 60);
    return () => clearInterval(timer);
  }, []);
  useEffect(() => { if (n > 60) process.exit(0); }, [n]);
  const done = Array.from({ length: Math.floor(n / 3) }, (_, i) => i);
  return h(React.Fragment, null,
    h(Static, { items: done }, (i) => h(Box, { key: i, flexDirection: "column" },
      h(Text, null, h(Text, { color: "green" }, "⏺ "), h(Text, { bold: true }, "Read"), `(src/file${i}.ts) 日本 ✅`),
      h(Text, { dimColor: true }, `  ⎿  ${"lorem ipsum dolor ".repeat(1 + (i % 9))}`))),
    h(Box, { marginTop: 1 }, h(Text, { color: "#d77757" }, `${frames[n % 6]} Thinking… `), h(Text, { dimColor: true }, `(${n}s · esc to interrupt)`)),
    h(Box, { borderStyle: "round", borderColor: "gray", paddingX: 1 }, h(Text, null, "> ", "typed text ".repeat(n % 12), h(Text, { inverse: true }, " "))),
    n % 8 < 4 ? h(Box, { justifyContent: "space-between" }, h(Text, { dimColor: true }, "  ? for shortcuts"), h(Text, { color: "magenta" }, "◯ IDE")) : null);
}

process.stdout.write("\x1b[?2004h\x1b[?1004h\x1b[>1u\x1b]0;✳ agent\x07");
process.on("exit", () => process.stdout.write("\x1b[<u\x1b[?1004l\x1b[?2004l"));
render(h(Agent), { exitOnCtrlC: true });
