// One answer: what it says, whether it is one, its sources, what gave it, and its rating.

import { h } from "./vendor/preact.js";
import { Draft } from "./draft.js";
import { freshness, inspectionAddress, place } from "./format.js";
import { Markdown } from "./markdown.js";
import { Rating } from "./rating.js";
import { BESIDE } from "./source.js";

const TITLES = { closest_passages: "No sure answer: the closest passages", nothing_found: "Nothing found in the documents" };

/** A question with what came of it. */
export function Turn({ turn, credential, onSource, onRetry }) {
  return h("article", { class: "turn", "aria-label": turn.question }, [
    h("p", { class: "question" }, turn.question),
    turn.error ? h(Trouble, { turn, onRetry }) : h(Answer, { turn, credential, onSource }),
  ]);
}

function Answer({ turn, credential, onSource }) {
  const { text, details, notice } = turn;
  if (!text && !details) return h("p", { class: "answer waiting" }, notice ?? "Reading the documents");
  if (!details) return h("div", { class: "answer" }, h(Draft, { text }));
  const { outcome, claims, citations, tree } = details;
  const open = (number) => onSource(details, number);
  return h("div", { class: `answer ${outcome}` }, [
    TITLES[outcome] && h("h3", null, TITLES[outcome]),
    TITLES[outcome] && details.reason && h("p", { class: "quiet" }, details.reason),
    outcome !== "nothing_found" && h(Markdown, { tree, claims, citations, onSource: open }),
    h(Unverified, { claims }),
    h(Sources, { details, onSource }),
    TITLES[outcome] && h("p", { class: "quiet" }, h("a", { href: inspectionAddress(), ...BESIDE }, "Why does it not find my page?")),
    h(Provenance, { details }),
    h(Rating, { key: details.trace_id, trace: details.trace_id, credential }),
  ]);
}

/** How many statements are underlined: what colour and line say to the eye. */
function Unverified({ claims }) {
  const number = claims.filter((claim) => claim.verdict === "unverified").length;
  if (number === 0) return null;
  const what = number === 1 ? "One statement was not found in the sources. It" : `${number} statements were not found in the sources. They`;
  return h("p", { class: "quiet doubt" }, `${what} may be right all the same: check what is underlined.`);
}

function Trouble({ turn, onRetry }) {
  return h("div", { class: "answer trouble" }, [
    h("p", null, turn.error.message),
    h("button", { type: "button", onClick: () => onRetry(turn) }, "Try again"),
  ]);
}

function Sources({ details, onSource }) {
  const cited = new Set(details.citations.map((citation) => citation.marker));
  const [used, others] = [true, false].map((isCited) => details.passages.filter((passage) => cited.has(passage.marker) === isCited));
  const list = (passages) =>
    h("ol", { class: "sources" }, passages.map((passage) => h(Source, { passage, details, onSource })));
  if (details.outcome === "nothing_found") return others.length > 0 && [h("h4", null, "It looked at"), list(others)];
  return [
    used.length > 0 && [h("h4", null, "Sources"), list(used)],
    others.length > 0 && h("details", null, [h("summary", null, `Also read (${others.length})`), list(others)]),
  ];
}

function Source({ passage, details, onSource }) {
  return h("li", { value: passage.marker }, [
    h("button", { type: "button", onClick: () => onSource(details, passage.marker) }, passage.title || passage.uri),
    h("span", { class: "quiet" }, ` ${place(passage)}, ${freshness(passage)}`),
  ]);
}

function Provenance({ details }) {
  const versions = `Index ${details.index_version}, answerer ${details.answerer_version}`;
  const effort = details.cached ? "answered before" : `in ${details.seconds.toFixed(1)} s`;
  return h("p", { class: "quiet provenance" }, `${versions}, ${effort}`);
}
