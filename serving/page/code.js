// A block of code: highlighted by its words alone, with a button that copies it as it is.

import { Component, h } from "./vendor/preact.js";

const WORDS = `
  and as assert async await begin break case catch class const continue def default del do done echo elif else end enum
  except export extends false fi final finally fn for foreach from func function global if impl import in interface is
  lambda let local match mut new nil none not null or package pass print private protected pub public raise return self
  static struct super switch then this throw true try type typeof undefined use using var void when where while with
  yield select insert update delete create table values set join order group by`;
const KEYWORDS = new Set(WORDS.split(/\s+/).filter(Boolean));
const HASH_COMMENTS = new Set(["", "bash", "console", "dockerfile", "ini", "make", "py", "python", "r", "ruby", "sh", "shell", "toml", "yaml", "yml"]);
const NO_WORDS = new Set(["text", "txt", "plain", "console", "output", "log", "markdown", "md"]);
const COPIED_MS = 1600;

/** The parts of a code text, `{text, kind}`; kinds: comment, string, number, keyword, plain. Joined, they are the text. */
export function codeParts(text, language) {
  const name = language.toLowerCase();
  const comment = HASH_COMMENTS.has(name) ? String.raw`(?<=^|\s)#[^\n]*` : String.raw`\/\/[^\n]*|\/\*[\s\S]*?\*\/|--\s[^\n]*`;
  const pattern = new RegExp(
    `(?<comment>${comment})|(?<string>"""[\\s\\S]*?"""|"(?:\\\\.|[^"\\\\\\n])*"|'(?:\\\\.|[^'\\\\\\n])*'|\`(?:\\\\.|[^\`\\\\])*\`)` +
      "|(?<number>\\b\\d[\\w.]*)|(?<word>[A-Za-z_]\\w*)",
    "gm",
  );
  const parts = [];
  let end = 0;
  const add = (kind, piece) => piece && parts.push({ kind, text: piece });
  for (const match of text.matchAll(pattern)) {
    const { comment: remark, string, number, word } = match.groups;
    if (word && (NO_WORDS.has(name) || !KEYWORDS.has(word.toLowerCase()))) continue;
    add("plain", text.slice(end, match.index));
    add(remark ? "comment" : string ? "string" : number ? "number" : "keyword", match[0]);
    end = match.index + match[0].length;
  }
  add("plain", text.slice(end));
  return parts;
}

/** A block of code with its language and a copy button. */
export class CodeBlock extends Component {
  state = { said: "" };

  copy = async () => {
    const copied = await copyText(this.props.text);
    this.setState({ said: copied ? "Copied" : "Select and copy by hand" });
    setTimeout(() => this.setState({ said: "" }), COPIED_MS);
  };

  render({ language, text }, { said }) {
    const shown = codeParts(text.replace(/\n$/, ""), language);
    return h("figure", { class: "code" }, [
      h("figcaption", null, [
        h("span", null, language || "text"),
        h("button", { type: "button", onClick: this.copy, "aria-label": "Copy this code" }, said || "Copy"),
      ]),
      h("pre", { tabIndex: 0 }, h("code", null, shown.map((part) => (part.kind === "plain" ? part.text : h("span", { class: part.kind }, part.text))))),
    ]);
  }
}

/** Copy a text; the clipboard's own interface is closed to pages that come without TLS from another machine. */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    return copied;
  }
}
