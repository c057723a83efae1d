// The review page: one draft at a time, judged by keyboard.

import { Component, createRef, h, render } from "./vendor/preact.js";
import { Failure, judge, waitingDrafts } from "./api.js";
import { keepKey, keptKey, KeyForm } from "./key.js";
import { askedBy, NOBODY, Person } from "./person.js";

const WORDS = { draft: "waits", accepted: "accepted", corrected: "corrected", dropped: "dropped" };

class Review extends Component {
  state = { drafts: [], counts: {}, place: 0, editing: false, busy: true, error: null, needsKey: false, person: NOBODY };
  key = keptKey();
  main = createRef();
  acts = {
    a: () => this.decide("accept"),
    d: () => this.decide("drop"),
    e: () => this.edit(),
    u: () => this.decide("undo"),
    j: () => this.move(1),
    k: () => this.move(-1),
  };

  componentDidMount() {
    document.addEventListener("keydown", (event) => this.press(event));
    this.load();
  }

  async load() {
    this.setState({ person: await askedBy(this.key) });
    await this.attempt(async () => {
      const { drafts, counts } = await waitingDrafts(this.key);
      this.setState({ drafts, counts, place: 0, needsKey: false });
    });
  }

  /** Do something with the server; what it says against it is shown. */
  async attempt(act) {
    this.setState({ busy: true, error: null });
    try {
      await act();
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.setState({ error: error.message, needsKey: error.status === 401 || error.status === 403 });
    } finally {
      this.setState({ busy: false });
    }
  }

  get draft() {
    return this.state.drafts[this.state.place];
  }

  press(event) {
    if (event.key === "Escape" && this.state.editing) this.setState({ editing: false });
    const isTyping = event.target.closest("input, textarea") || event.ctrlKey || event.metaKey || event.altKey;
    const act = this.acts[event.key];
    if (!act || isTyping || !this.draft) return;
    event.preventDefault();
    act();
  }

  edit = () => this.setState({ editing: true });

  move = (by) => {
    const place = Math.min(Math.max(this.state.place + by, 0), this.state.drafts.length - 1);
    this.setState({ place, editing: false, error: null }, () => this.main.current.scrollTo(0, 0));
  };

  decide = (verdict, texts = {}) => {
    if (this.state.busy) return;
    this.attempt(async () => {
      const { draft, counts } = await judge({ key: this.key, id: this.draft.id, verdict, ...texts });
      const drafts = this.state.drafts.map((entry) => (entry.id === draft.id ? draft : entry));
      this.setState({ drafts, counts, editing: false });
      if (verdict !== "undo") await this.goOn(drafts);
    });
  };

  /** The next draft that waits, behind this one or before it; more of them where all that were brought are decided. */
  async goOn(drafts) {
    const behind = drafts.findIndex((entry, place) => place > this.state.place && entry.status === "draft");
    const next = behind >= 0 ? behind : drafts.findIndex((entry) => entry.status === "draft");
    if (next >= 0) this.move(next - this.state.place);
    else await this.load();
  }

  saveKey = (key) => {
    this.key = keepKey(key);
    this.load();
  };

  render(_, { counts, place, drafts, editing, busy, error, needsKey }) {
    return [
      h("header", { class: "top" }, [
        h("h1", null, "Review"),
        h("p", { class: "counts" }, drafts.length > 0 && `${place + 1} of ${drafts.length} here · ${summary(counts)}`),
        h(Person, { person: this.state.person }),
        h("a", { href: "." }, "Chat"),
      ]),
      h("main", { ref: this.main }, this.draft ? h(DraftView, { draft: this.draft }) : h(Nothing, { busy, needsKey, counts })),
      h("footer", null, [
        error && h("p", { class: "refused", role: "alert" }, error),
        needsKey && this.keyForm(),
        this.draft && (editing ? this.editor() : this.buttons()),
      ]),
      h("p", { class: "unseen", role: "status", "aria-live": "polite" }, this.draft && `${this.draft.question_now}: ${WORDS[this.draft.status]}`),
    ];
  }

  keyForm() {
    return h(KeyForm, { isWrong: false, asked: "Only a reviewer's key opens this page", command: "almanac keys add NAME --role reviewer", onSave: this.saveKey, person: this.state.person.is_signed_in ? NOBODY : this.state.person });
  }

  buttons() {
    const decided = this.draft.status !== "draft";
    const button = (key, name, onClick, kind) =>
      h("button", { type: "button", class: kind, onClick, "aria-keyshortcuts": key }, [name, h("kbd", null, key)]);
    return h("div", { class: "verdicts" }, [
      button("a", "Accept", () => this.decide("accept"), "main"),
      button("e", "Edit", this.edit),
      button("d", "Drop", () => this.decide("drop"), "bad"),
      button("k", "Back", () => this.move(-1)),
      button("j", "On", () => this.move(1)),
      decided && button("u", "Undo", () => this.decide("undo")),
    ]);
  }

  editor() {
    const { question_now: question, answer_now: answer, anchor, kind } = this.draft;
    const save = (event) => {
      event.preventDefault();
      this.decide("accept", Object.fromEntries(new FormData(event.target.closest("form"))));
    };
    const onKeyDown = (event) => event.key === "Enter" && !event.shiftKey && !event.isComposing && save(event);
    const box = (name, title, value, autofocus) =>
      h("label", null, [title, h("textarea", { name, rows: 1, defaultValue: value ?? "", onKeyDown, ref: autofocus && focus })]);
    return h("form", { class: "editor", key: this.draft.id, onSubmit: save }, [
      box("question", "Question", question),
      box("answer", "Answer; empty: the documents hold none", answer, true),
      kind === "golden" && box("anchor", "Words of a passage that hold the answer, as they stand there", anchor),
      h("div", { class: "verdicts" }, [
        h("button", { type: "submit", class: "main" }, ["Accept this", h("kbd", null, "Enter")]),
        h("button", { type: "button", onClick: () => this.setState({ editing: false }) }, ["Leave it", h("kbd", null, "Esc")]),
      ]),
    ]);
  }
}

function DraftView({ draft }) {
  const answer = draft.answer_now;
  return h("article", { class: `draft ${draft.status}` }, [
    h("p", { class: "quiet" }, [
      h("strong", null, draft.kind === "golden" ? `Golden question (${draft.split})` : "Example for training"),
      ` · ${draft.origin}, ${draft.how} · ${draft.topic}`,
      draft.status !== "draft" && h("span", { class: "verdict" }, WORDS[draft.status]),
    ]),
    h("h2", null, draft.question_now),
    h("p", { class: answer ? "answer" : "answer none" }, answer ?? "No answer in the documents."),
    draft.passages.map((passage) =>
      h("section", null, [h("h3", null, passage.title || passage.document_id), h("blockquote", null, marked(passage.text, draft.anchor ?? draft.answer))]),
    ),
  ]);
}

function Nothing({ busy, needsKey, counts }) {
  if (busy || needsKey) return null;
  const done = Object.values(counts).some((number) => number > 0);
  return h("section", { class: "nothing" }, [
    h("h2", null, "No draft waits"),
    done && h("p", null, summary(counts)),
    h("p", null, ["More are offered by ", h("code", null, "almanac review fill"), ", which reads the documents and the questions that got no answer."]),
  ]);
}

/** The passage, its words that hold the answer marked; blanks of the answer stand for any blanks of the passage. */
function marked(text, words) {
  const pattern = (words ?? "").trim().split(/\s+/).map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("\\s+");
  const place = pattern ? text.match(new RegExp(pattern)) : null;
  if (!place) return text;
  return [text.slice(0, place.index), h("mark", null, place[0]), text.slice(place.index + place[0].length)];
}

function summary(counts) {
  return ["draft", "accepted", "corrected", "dropped"].map((status) => `${counts[status] ?? 0} ${status === "draft" ? "wait" : WORDS[status]}`).join(", ");
}

function focus(box) {
  if (box && document.activeElement !== box) box.focus();
}

render(h(Review), document.body);
