// One answer: its text with markers, its sources, what answered, and its rating.

import { Component, h } from "./vendor/preact.js";
import { rate } from "./api.js";
import { age, freshness, place } from "./format.js";

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
  const abstained = details?.abstained;
  return h("div", { class: abstained ? "answer abstained" : "answer" }, [
    abstained && h("h3", null, "No answer in the documents"),
    !abstained && h("p", { class: "text" }, withMarkers(text, details, onSource)),
    abstained && h("p", { class: "quiet" }, `Rather than guess, it says so: ${details.reason}.`),
    details && h(Sources, { details, onSource }),
    details && h(Provenance, { details }),
    details && h(Rating, { key: details.trace_id, trace: details.trace_id, credential }),
  ]);
}

function Trouble({ turn, onRetry }) {
  return h("div", { class: "answer trouble" }, [
    h("p", null, turn.error.message),
    h("button", { type: "button", onClick: () => onRetry(turn) }, "Try again"),
  ]);
}

function withMarkers(text, details, onSource) {
  const known = new Map((details?.citations ?? []).map((citation) => [citation.marker, citation]));
  return text.split(/(\[\d+\])/).map((part) => {
    const citation = known.get(Number(part.slice(1, -1)));
    if (!/^\[\d+\]$/.test(part) || !citation) return part;
    const label = `Source ${citation.marker}: ${citation.title}`;
    const open = () => onSource(details, citation.marker);
    return h("button", { type: "button", class: "marker", "aria-label": label, onClick: open }, citation.marker);
  });
}

function Sources({ details, onSource }) {
  const cited = new Set(details.citations.map((citation) => citation.marker));
  const others = details.passages.filter((passage) => !cited.has(passage.marker));
  const list = (passages) =>
    h("ol", { class: "sources" }, passages.map((passage) => h(Source, { passage, details, onSource })));
  if (details.abstained) return others.length > 0 && [h("h4", null, "It looked at"), list(others)];
  return [
    h("h4", null, "Sources"),
    list(details.passages.filter((passage) => cited.has(passage.marker))),
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
  return h("p", { class: "quiet provenance" }, `${versions}, in ${details.seconds.toFixed(1)} s`);
}

const LABELS = { up: "Helpful", down: "Not helpful" };

/** Up or down counts at once; comment and correction may follow. */
class Rating extends Component {
  constructor(props) {
    super(props);
    this.state = { rating: null, comment: "", correction: "", said: "", open: false };
  }

  send = async (rating, open) => {
    const { comment, correction } = this.state;
    const vote = { trace_id: this.props.trace, rating, comment: comment.trim() || null };
    const corrected = (rating === "down" && correction.trim()) || null;
    this.setState({ rating, open, said: "" });
    // One behind the other: the server keeps what comes last.
    const before = this.sending;
    const sending = (async () => {
      await before;
      try {
        await rate({ ...vote, corrected_answer: corrected, key: this.props.credential });
        return open ? "Your rating counts. Tell why, if you like." : "Thank you, your rating is kept.";
      } catch (error) {
        return `Your rating was not kept. ${error.message}`;
      }
    })();
    this.sending = sending;
    const said = await sending;
    if (this.sending === sending) this.setState({ said });
  };

  render({ trace }, { rating, said, open }) {
    if (!trace) return h("p", { class: "quiet" }, "This answer cannot be rated: it was not traced.");
    return h("div", { class: "rating" }, [
      h("div", { role: "group", "aria-label": "Rate this answer" }, [
        ...Object.keys(LABELS).map((value) => this.thumb(value)),
        rating && !open && h("button", { type: "button", onClick: () => this.setState({ open: true }) }, "Comment"),
      ]),
      open && this.form(),
      h("p", { class: "quiet", role: "status" }, said),
    ]);
  }

  thumb(value) {
    const chosen = this.state.rating === value;
    const choose = () => this.send(value, true);
    return h("button", { type: "button", "aria-pressed": String(chosen), onClick: choose }, LABELS[value]);
  }

  form() {
    const send = (event) => {
      event.preventDefault();
      this.send(this.state.rating, false);
    };
    return h("form", { onSubmit: send }, [
      this.field("comment", "Comment (optional)", 2000),
      this.state.rating === "down" && this.field("correction", "The right answer, if you know it (optional)", 4000),
      h("button", { type: "submit" }, "Send"),
    ]);
  }

  field(name, label, maxLength) {
    const change = (event) => this.setState({ [name]: event.currentTarget.value });
    return h("label", null, [label, h("textarea", { rows: 2, maxLength, value: this.state[name], onInput: change })]);
  }
}

/** What serves, in words; `now` is the answer of `/readyz`, null where none came, undefined before the first. */
export function servingNow(now) {
  if (now === undefined) return { state: "wait", text: "Asking what serves …" };
  if (now === null) return { state: "down", text: "The server does not answer" };
  if (!now.ready) return { state: "down", text: "Not ready: loading, or nothing was released yet" };
  const text = `Index ${now.index.version}, built ${age(now.index.created_at) ?? "?"} · answerer ${now.answerer.version}`;
  if (now.mlflow?.reachable === false) return { state: "warn", text: `${text} · MLflow does not answer` };
  return { state: "good", text };
}
