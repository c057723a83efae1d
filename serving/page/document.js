// The page of one document, for who asks "why does it not find my page?". Its address holds the document's id.

import { Component, h, render } from "./vendor/preact.js";
import { documentNames, inspect } from "./api.js";
import { addressAt, age, inspectionAddress } from "./format.js";
import { keepKey, keptKey, KeyForm } from "./key.js";
import { askedBy, NOBODY } from "./person.js";
import { textParts } from "./parts.js";

const STATES = {
  searched: "Search finds it.",
  expired: "Search passes it over: its time is over.",
  set_aside: "Search does not find it: it was set aside.",
};
const EVENTS = { added: "taken in", changed: "changed", removed: "taken out" };
const NOT_THERE = "There is no such document, or you may not read it.";
const NO_NAMES = `${NOT_THERE} A page that was never taken in has no entry here either: ask who runs this assistant whether its source is listed.`;

class App extends Component {
  state = { view: null, names: null, said: "", needsKey: false, person: NOBODY };
  wanted = new URLSearchParams(location.search).get("id") ?? "";
  named = "";

  async componentDidMount() {
    this.setState({ person: await askedBy(keptKey()) });
    if (this.wanted) this.look();
  }

  look = () => this.told(async () => {
    const view = await inspect(this.wanted, keptKey());
    document.title = `${view.title || view.document_id} · Almanac`;
    this.setState({ view });
  });

  search = () => this.told(async () => {
    const names = await documentNames(this.named, keptKey());
    if (names.length === 1) location.assign(inspectionAddress(names[0].document_id));
    this.setState({ names, said: names.length ? "" : NO_NAMES });
  });

  async told(work) {
    this.setState({ said: "Looking …", needsKey: false });
    try {
      this.setState({ said: "" });
      await work();
    } catch (error) {
      this.setState({ said: error.status === 404 ? NOT_THERE : error.message, needsKey: error.status === 401 });
    }
  }

  saveKey = (key) => {
    keepKey(key);
    if (this.named) this.search();
    else this.look();
  };

  render(_, { view, names, said, needsKey, person }) {
    return [
      h("header", { class: "top" }, [h("h1", null, h("a", { href: "./" }, "Almanac")), h("p", { class: "quiet" }, "What became of a document")]),
      h("main", null, [
        !view && h(Finder, { onFind: (name) => { this.named = name; this.search(); } }),
        needsKey && h(KeyForm, { isWrong: keptKey() !== "", onSave: this.saveKey, person }),
        h("p", { role: "status", class: "said" }, said),
        names && h("ul", { class: "names" }, names.map(nameEntry)),
        view && h(Document, { view }),
      ]),
    ];
  }
}

function Finder({ onFind }) {
  const find = (event) => {
    event.preventDefault();
    onFind(new FormData(event.currentTarget).get("name").trim());
  };
  return h("form", { class: "finder", onSubmit: find }, [
    h("label", { for: "name" }, "Its title, path or address, or a part of one"),
    h("div", null, [h("input", { id: "name", name: "name", required: true, autocomplete: "off" }), h("button", { class: "main" }, "Find")]),
  ]);
}

function nameEntry({ document_id: id, title, uri }) {
  return h("li", null, [h("a", { href: inspectionAddress(id) }, title || id), h("span", { class: "quiet" }, ` ${uri}`)]);
}

function Document({ view }) {
  return h("article", null, [
    h("h2", null, view.title || view.document_id),
    h("p", { class: "quiet" }, original(view)),
    h("div", { class: "columns" }, [h(Facts, { view }), h(Extracted, { view })]),
  ]);
}

function original({ uri }) {
  const href = addressAt(uri);
  return href ? h("a", { href, target: "_blank", rel: "noopener noreferrer" }, `Open the original: ${uri}`) : uri;
}

function Facts({ view }) {
  return h("aside", null, [
    h("p", { class: `state ${view.state}` }, STATES[view.state]),
    view.reason && h("p", { class: "reason" }, [view.state === "set_aside" ? "Why: " : "A newer version was set aside: ", view.reason, "."]),
    h("h3", null, "Who may read it"),
    h("p", null, readers(view)),
    h("h3", null, "Its times"),
    h("p", null, times(view).join(", ") || "None are known."),
    h("h3", null, "History"),
    view.history.length > 0
      ? h("ul", null, view.history.map(({ release, created_at: date, what }) => h("li", null, `${EVENTS[what]} by release ${release}, ${day(date)}`)))
      : h("p", null, "No release that is kept held it."),
    h("h3", null, "Answers that cite it"),
    h(Answers, { view }),
  ]);
}

function readers({ is_public: isPublic, through }) {
  if (isPublic) return "Everyone who may ask here.";
  return `You, as a member of ${through.join(" and ")}. Other groups are not named here.`;
}

function times({ updated_at: updated, expires_at: expires }) {
  return [updated && `updated ${day(updated)} (${age(updated)})`, expires && `expires ${day(expires)}`].filter(Boolean);
}

function day(date) {
  return new Date(date).toLocaleDateString("en-CA", { timeZone: "UTC" });
}

function Answers({ view }) {
  const { own_answers: own, num_other_answers: others } = view;
  return [
    own.length > 0 && h("ul", null, own.map(({ asked_at: date, question }) => h("li", null, [question, h("span", { class: "quiet" }, `, ${age(date)}`)]))),
    others > 0 && h("p", { class: "quiet" }, own.length > 0 ? `And ${others} that others got.` : `${others}; questions of others are not shown.`),
    own.length + others === 0 && h("p", { class: "quiet" }, "None that are known."),
  ];
}

function Extracted({ view }) {
  if (view.state === "set_aside") return h("section", null, [h("h3", null, "What was extracted"), h("p", { class: "quiet" }, "Not shown of a document that was set aside.")]);
  const parts = textParts(view.text, view.sections);
  const isCut = view.num_characters > Array.from(view.text).length;
  return h("section", { class: "extracted" }, [
    h("h3", null, "What was extracted"),
    h("p", { class: "quiet" }, `${view.num_characters.toLocaleString("en")} characters, ${view.sections.length} passages that search can find${isCut ? "; the beginning is shown" : ""}.`),
    parts.map(passage),
  ]);
}

function passage({ number, headings, text }) {
  const label = number ? `Passage ${number}${headings ? ` · ${headings}` : ""}` : "In no passage: search does not find this";
  return h("figure", { class: number ? "passage" : "passage outside" }, [h("figcaption", { class: "quiet" }, label), h("pre", { tabIndex: 0 }, text)]);
}

render(h(App), document.body);
