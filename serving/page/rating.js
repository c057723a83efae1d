// A rating of an answer, with a comment where one is given.

import { Component, h } from "./vendor/preact.js";
import { rate } from "./api.js";

const LABELS = { up: "Helpful", down: "Not helpful" };

/** Up or down counts at once; comment and correction may follow. */
export class Rating extends Component {
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
