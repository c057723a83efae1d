// An answer while it is written: its text as it comes, code set apart. The tree takes its place at the end.

import { h } from "./vendor/preact.js";

/** The draft in parts `{text, isCode}`, cut at its fences; the last fence may still be open. */
export function draftParts(text) {
  const parts = [];
  let fence = null;
  for (const line of text.split("\n")) {
    const opening = /^\s*(`{3,}|~{3,})/.exec(line)?.[1];
    if (opening && (fence === null || (opening.startsWith(fence) && line.trim() === opening))) {
      fence = fence === null ? opening : null;
      parts.push({ isCode: fence !== null, lines: [] });
    } else {
      if (parts.length === 0) parts.push({ isCode: false, lines: [] });
      parts.at(-1).lines.push(line);
    }
  }
  return parts.map(({ isCode, lines }) => ({ isCode, text: lines.join("\n") })).filter((part) => part.isCode || part.text.trim());
}

export function Draft({ text }) {
  const shown = draftParts(text).map((part) =>
    part.isCode
      ? h("figure", { class: "code" }, h("pre", null, h("code", null, part.text)))
      : h("p", null, part.text.trim()),
  );
  return h("div", { class: "markdown draft", "aria-busy": "true" }, shown);
}
