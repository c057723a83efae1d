// The API key of this tab: kept until it is closed, and asked for where the server wants one.

import { h } from "./vendor/preact.js";
import { SignInLink } from "./person.js";

const KEY = "almanac.key";

/** The key, or an empty string. */
export function keptKey() {
  return sessionStorage.getItem(KEY) ?? "";
}

/** Keep a key, an empty one not; what is kept. */
export function keepKey(key) {
  const kept = key.trim();
  if (kept) sessionStorage.setItem(KEY, kept);
  else sessionStorage.removeItem(KEY);
  return kept;
}

const ASKED = "This assistant answers only with an API key";

export function KeyForm({ isWrong, onSave, person, asked = ASKED, command = "almanac keys add NAME" }) {
  const save = (event) => {
    event.preventDefault();
    onSave(new FormData(event.currentTarget).get("key"));
  };
  return h("form", { class: "key", onSubmit: save }, [
    person?.sign_in && h("p", { class: "sign-in" }, [h(SignInLink, { person, kind: "main" }), " or, for programs:"]),
    h("label", null, [
      isWrong ? "The server does not take this API key; use another" : asked,
      h("input", { name: "key", type: "password", autocomplete: "off", required: true }),
    ]),
    h("button", { type: "submit" }, "Use this key"),
    h("p", { class: "quiet" }, `It is kept until this tab is closed. Who runs the server makes one by: ${command}`),
  ]);
}
