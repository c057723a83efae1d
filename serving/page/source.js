// A source, opened at the cited span.

import { Component, createRef, h } from "./vendor/preact.js";
import { addressAt, freshness, inspectionAddress, quotedParts } from "./format.js";

/** A tab of its own that keeps this one's API key. */
export const BESIDE = { target: "_blank", rel: "opener" };

/** A dialog with the passage, the cited words marked; the browser closes it by Esc and gives the focus back. */
export class SourceDialog extends Component {
  dialog = createRef();

  componentDidMount() {
    const dialog = this.dialog.current;
    dialog.showModal();
    dialog.querySelector("mark")?.scrollIntoView({ block: "center" });
  }

  render({ details, marker, onClose }) {
    const passage = details.passages.find((entry) => entry.marker === marker);
    const citations = details.citations.filter((entry) => entry.marker === marker);
    const close = () => this.dialog.current.close();
    const outside = (event) => event.target === event.currentTarget && close();
    const attributes = { ref: this.dialog, class: "source", "aria-labelledby": "source-title", onClose, onClick: outside };
    return h("dialog", attributes, [
      h("div", { class: "inside" }, [
        h("header", null, [
          h("h2", { id: "source-title" }, passage.title || passage.uri),
          h("button", { type: "button", "aria-label": "Close", onClick: close }, "✕"),
        ]),
        h("p", { class: "quiet" }, [passage.headings, passage.knowledge_base, freshness(passage)].filter(Boolean).join(" · ")),
        h("blockquote", { tabIndex: 0 }, quotedParts(passage, citations).map(marked)),
        h("p", { class: "place" }, link(passage, citations[0])),
        h("p", { class: "place" }, h("a", { href: inspectionAddress(passage.document_id), ...BESIDE }, "What became of this document")),
      ]),
    ]);
  }
}

function marked({ text, quoted }) {
  return quoted ? h("mark", null, text) : text;
}

function link(passage, citation) {
  const href = addressAt(passage.uri, citation?.quote);
  if (!href) return passage.uri;
  return h("a", { href, target: "_blank", rel: "noopener noreferrer" }, `Open ${passage.uri}`);
}
