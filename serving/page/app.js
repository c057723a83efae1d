// The chat page: a conversation that is kept here and nowhere else, and what serves at this moment.

import { Component, createRef, h, render } from "./vendor/preact.js";
import { answer, exampleQuestions, Failure, whatServes } from "./api.js";
import { Turn } from "./answer.js";
import { keepKey, keptKey, KeyForm } from "./key.js";
import { askedBy, NOBODY, Person } from "./person.js";
import { servingNow } from "./serving.js";
import { SourceDialog } from "./source.js";

const POLL_MS = 2000;
const MAX_TRIES = 5;
const MAX_TURNS_SENT = 10;

class App extends Component {
  state = { items: [], draft: "", said: "", now: undefined, questions: [], source: null, stop: null, needsKey: false, person: NOBODY };
  options = { key: keptKey(), knowledgeBases: "" };
  session = Array.from(crypto.getRandomValues(new Uint32Array(4)), (word) => word.toString(16)).join("-");
  box = createRef();
  end = createRef();
  served = null;
  numItems = 0;

  componentDidMount() {
    this.box.current.focus();
    this.poll();
    document.addEventListener("visibilitychange", () => document.hidden || this.look());
    this.greet();
  }

  /** Find out whether a key is needed before a question is lost to it. */
  async greet() {
    this.setState({ person: await askedBy(this.options.key) });
    try {
      this.setState({ needsKey: false, questions: await exampleQuestions(this.options.key) });
    } catch (error) {
      this.setState({ needsKey: error.status === 401, questions: [] });
    }
  }

  async poll() {
    if (!document.hidden) await this.look();
    setTimeout(() => this.poll(), POLL_MS);
  }

  async look() {
    const now = await whatServes();
    const news = changes(this.served, now);
    if (now?.ready) this.served = now;
    this.setState({ now });
    if (news) {
      this.append({ news });
      this.setState({ said: news });
    }
  }

  append(item) {
    const entry = { ...item, id: (this.numItems += 1) };
    this.setState(({ items }) => ({ items: [...items, entry] }), () => this.end.current.scrollIntoView({ block: "end" }));
    return entry;
  }

  change(turn, changed) {
    this.setState(({ items }) => ({ items: items.map((item) => (item.id === turn.id ? { ...item, ...changed } : item)) }));
  }

  ask = (draft) => {
    const question = draft.trim();
    if (!question || this.state.stop) return;
    const earlier = this.state.items;
    this.setState({ draft: "" });
    this.run(this.append({ question, text: "" }), earlier);
  };

  retry = (turn) => {
    if (!this.state.stop) this.run(turn, this.state.items.slice(0, this.state.items.findIndex(({ id }) => id === turn.id)));
  };

  async run(turn, earlier) {
    const abort = new AbortController();
    this.setState({ stop: () => abort.abort(), said: "Reading the documents" });
    try {
      const said = await this.receive(turn, conversation(earlier, turn.question), abort.signal);
      this.setState({ said });
    } catch (error) {
      if (!(error instanceof Failure) && !abort.signal.aborted) throw error;
      const failure = abort.signal.aborted ? new Failure(0, "Stopped.") : error;
      this.change(turn, { error: failure });
      this.setState(({ needsKey }) => ({ said: failure.message, needsKey: needsKey || failure.status === 401 }));
      // The sign-in may have come to its end.
      if (failure.status === 401) this.setState({ person: await askedBy("") });
    } finally {
      this.setState({ stop: null }, () => this.end.current.scrollIntoView({ block: "end" }));
    }
  }

  /** The whole answer; a server that is busy is asked again when it says so. */
  async receive(turn, messages, signal) {
    for (let tries = 1; ; tries += 1) {
      try {
        return await this.stream(turn, messages, signal);
      } catch (error) {
        if (error.status !== 429 || tries === MAX_TRIES) throw error;
        const seconds = error.retryAfter || 2;
        this.change(turn, { notice: `Many are asking; trying again in ${seconds} s` });
        await pause(seconds, signal);
      }
    }
  }

  async stream(turn, messages, signal) {
    const { key, knowledgeBases } = this.options;
    const named = knowledgeBases.split(/[\s,]+/).filter(Boolean);
    let text = "";
    this.change(turn, { text, details: null, error: null, notice: null });
    for await (const part of answer({ messages, knowledgeBases: named, session: this.session, key, signal })) {
      if (part.text) this.change(turn, { text: (text += part.text) });
      else this.change(turn, { details: part.details });
    }
    return text;
  }

  saveKey = (key) => {
    this.options.key = keepKey(key);
    this.greet();
    this.box.current.focus();
  };

  startAnew = () => {
    this.state.stop?.();
    this.setState({ items: [], said: "" });
    this.box.current.focus();
  };

  render(_, { items, now, said, source, needsKey, questions }) {
    const onSource = (details, marker) => this.setState({ source: { details, marker } });
    const turn = (item) =>
      item.news
        ? h("p", { key: item.id, class: "news" }, item.news)
        : h(Turn, { key: item.id, turn: item, credential: this.options.key, onSource, onRetry: this.retry });
    return [
      this.header(servingNow(now)),
      h("main", null, [
        items.length === 0 && h(Welcome, { questions, onAsk: this.ask }),
        items.map(turn),
        h("div", { ref: this.end }),
      ]),
      h("footer", null, [needsKey && this.keyForm(), this.composer()]),
      h("p", { class: "unseen", role: "status", "aria-live": "polite" }, said),
      source && h(SourceDialog, { ...source, onClose: () => this.setState({ source: null }) }),
    ];
  }

  header({ state, text }) {
    const closing = { popovertarget: "options", popovertargetaction: "hide" };
    return h("header", { class: "top" }, [
      h("h1", null, "Almanac"),
      h("p", { class: `serving ${state}`, title: "What answers at this moment" }, text),
      h(Person, { person: this.state.person }),
      h("button", { type: "button", popovertarget: "options" }, "Options"),
      h("div", { id: "options", popover: "auto" }, [
        h("label", null, [
          "Search only these knowledge bases",
          h("input", { placeholder: "all", onInput: (event) => (this.options.knowledgeBases = event.currentTarget.value) }),
        ]),
        h("button", { type: "button", ...closing, onClick: this.startAnew }, "New conversation"),
        this.state.person.rights.includes("review") && h("a", { href: "review" }, "Review drafts"),
        h("button", { type: "button", ...closing, onClick: () => this.saveKey("") }, "Forget the API key"),
      ]),
    ]);
  }

  keyForm() {
    const isWrong = this.options.key !== "";
    const asked = isWrong ? "The server does not take this API key; use another" : "This assistant answers only with an API key";
    return h(KeyForm, { asked, command: "almanac keys add NAME", onSave: this.saveKey, person: this.state.person });
  }

  composer() {
    const { draft, stop } = this.state;
    const send = (event) => {
      event.preventDefault();
      this.ask(draft);
    };
    const key = (event) => event.key === "Enter" && !event.shiftKey && !event.isComposing && send(event);
    const write = (event) => this.setState({ draft: event.currentTarget.value });
    return h("form", { class: "composer", onSubmit: send }, [
      h("label", { class: "unseen", for: "question" }, "Your question"),
      h("textarea", {
        id: "question",
        ref: this.box,
        rows: 1,
        maxLength: 2000,
        placeholder: "Ask the documents",
        value: draft,
        onInput: write,
        onKeyDown: key,
      }),
      stop
        ? h("button", { key: "stop", type: "button", onClick: stop }, "Stop")
        : h("button", { key: "send", type: "submit", class: "main" }, "Send"),
    ]);
  }
}

function Welcome({ questions, onAsk }) {
  return h("section", { class: "welcome" }, [
    h("h2", null, "Ask what the documents say"),
    h("p", null, "Each answer names its sources and opens them at the words it rests on. Where the documents hold no answer, it says so."),
    questions.length > 0 && h("p", { class: "quiet" }, "For example:"),
    h("ul", null, questions.map((text) => h("li", null, h("button", { type: "button", onClick: () => onAsk(text) }, text)))),
  ]);
}

/** What the server is asked: earlier turns that were answered, then the question. */
function conversation(earlier, question) {
  const answered = earlier.filter((item) => item.details).slice(-MAX_TURNS_SENT);
  const said = answered.flatMap((turn) => [
    { role: "user", content: turn.question },
    { role: "assistant", content: turn.text },
  ]);
  return [...said, { role: "user", content: question }];
}

/** What another version changes, in words; null where nothing did. */
function changes(before, now) {
  if (!before || !now?.ready) return null;
  const moved = ["index", "answerer"].filter((half) => before[half].version !== now[half].version);
  const words = moved.map((half) => `${half} ${now[half].version} in place of ${before[half].version}`);
  return words.length ? `From now on: ${words.join(", ")}.` : null;
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

render(h(App), document.body);
