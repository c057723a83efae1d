// What serves at this moment, in words.

import { age } from "./format.js";

/** What serves, in words; `now` is the answer of `/readyz`, null where none came, undefined before the first. */
export function servingNow(now) {
  if (now === undefined) return { state: "wait", text: "Asking what serves …" };
  if (now === null) return { state: "down", text: "The server does not answer" };
  if (!now.ready) return { state: "down", text: "Not ready: loading, or nothing was released yet" };
  const text = `Index ${now.index.version}, built ${age(now.index.created_at) ?? "?"} · answerer ${now.answerer.version}`;
  if (now.mlflow?.reachable === false) return { state: "warn", text: `${text} · MLflow does not answer` };
  return { state: "good", text };
}
