// An answer's tree as elements: what the server parsed becomes nodes here, and no text ever becomes markup.

import { h } from "./vendor/preact.js";
import { CodeBlock } from "./code.js";

const PLAIN = { paragraph: "p", item: "li", quote: "blockquote", emphasis: "em", strong: "strong", deleted: "del" };

/** The elements of a tree; `claims` of the answer, `onSource(number)` for its markers. */
export function Markdown({ tree, claims, citations, onSource }) {
  return h("div", { class: "markdown" }, children(tree, { claims, citations, onSource }));
}

function children(nodes, context) {
  return runs(nodes, context.claims).map(({ claim, nodes: run }) => {
    const shown = run.map((node) => element(node, context));
    return claim ? h(Unverified, { claim }, shown) : shown;
  });
}

/** Neighbours that belong to one unverified claim stand together. */
function runs(nodes, claims) {
  const grouped = [];
  for (const node of nodes) {
    const claim = claimOf(node, claims);
    if (grouped.length > 0 && grouped.at(-1).claim === claim) grouped.at(-1).nodes.push(node);
    else grouped.push({ claim, nodes: [node] });
  }
  return grouped;
}

/** The unverified claim that the whole of a node belongs to; undefined where there is none. */
function claimOf(node, claims) {
  if (node.children && ["emphasis", "strong", "deleted", "link"].includes(node.type)) {
    const inner = node.children.map((child) => claimOf(child, claims));
    return inner.every((claim) => claim === inner[0]) ? inner[0] : undefined;
  }
  const claim = claims?.[node.claim];
  return claim?.verdict === "unverified" ? claim : undefined;
}

function element(node, context) {
  // Within a run of one claim nothing is marked a second time.
  const inner = (claims = context.claims) => children(node.children, { ...context, claims });
  switch (node.type) {
    case "text":
      return node.text;
    case "code":
      return h("code", null, node.text);
    case "code_block":
      return h(CodeBlock, { language: node.language, text: node.text });
    case "break":
      return h("br");
    case "rule":
      return h("hr");
    case "marker":
      return h(Marker, { number: node.number, ...context });
    case "heading":
      // The page's own headings end at the third level.
      return h(`h${Math.min(node.level + 3, 6)}`, null, inner());
    case "list":
      return node.ordered ? h("ol", { start: node.start }, inner()) : h("ul", null, inner());
    case "table":
      return h("div", { class: "table", tabIndex: 0 }, h("table", null, inner()));
    case "row":
      return h("tr", null, inner());
    case "cell":
      return h(node.header ? "th" : "td", null, inner());
    case "link":
      return h("a", { href: node.url, target: "_blank", rel: "noopener noreferrer" }, inner(null));
    case "emphasis":
    case "strong":
    case "deleted":
      return h(PLAIN[node.type], null, inner(claimOf(node, context.claims) ? null : context.claims));
    default:
      return h(PLAIN[node.type] ?? "span", null, inner());
  }
}

function Marker({ number, citations, onSource }) {
  const citation = citations.find((entry) => entry.marker === number);
  if (!citation) return `[${number}]`;
  const attributes = {
    type: "button",
    class: citation.added ? "marker added" : "marker",
    title: citation.added ? "Found by the check, not cited by the answerer" : null,
    "aria-label": `Source ${number}: ${citation.title}`,
    onClick: () => onSource(number),
  };
  return h("button", attributes, number);
}

function Unverified({ claim, children: shown }) {
  return h("span", { class: "unverified", tabIndex: 0, "data-note": unverifiedNote(claim) }, shown);
}

/** Why a claim is underlined, in words. */
export function unverifiedNote(claim) {
  const missing = claim.missing_terms ?? [];
  if (missing.length === 0) return "Not found in the sources: they do not say this in so many words. Check before you rely on it.";
  return `Not found in the sources: ${missing.join(", ")}. Check before you rely on it.`;
}
