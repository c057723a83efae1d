// The server's HTTP API. Knows nothing of the page.

/** A request that did not bring what was asked; `status` is HTTP's, 0 where no answer came. */
export class Failure extends Error {
  constructor(status, message, retryAfter = 0) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

const UNREACHABLE = "The server does not answer. Is it running, and are you online?";
const BROKEN_OFF = "The connection broke before the answer was whole.";

/**
 * Ask, and yield what comes: `{text}` for each piece of the answer, at last `{details}`.
 * Throws Failure; an abort by `signal` throws AbortError.
 */
export async function* answer({ messages, knowledgeBases, session, key, signal }) {
  const body = { model: "almanac", messages, stream: true, session_id: session, knowledge_base: knowledgeBases };
  const response = await call("v1/chat/completions", { body, key, signal });
  for await (const data of serverSentEvents(response.body, signal)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Failure(503, sentence(chunk.error.message));
    const text = chunk.choices[0]?.delta.content;
    if (text) yield { text };
    if (chunk.almanac) yield { details: chunk.almanac };
  }
  throw new Failure(0, BROKEN_OFF);
}

/** Rate an answer; the last rating of a user stands. */
export async function rate({ key, ...vote }) {
  await call("v1/feedback", { body: vote, key });
}

/** Questions that the assistant's owner chose; throws Failure with status 401 where this key may not ask. */
export async function exampleQuestions(key) {
  const response = await call("v1/models", { key });
  return (await response.json()).data[0].almanac.questions ?? [];
}

/** Who asks: `{name, roles, rights, is_signed_in, sign_in}`; `sign_in` is where a person does, null where nobody can. */
export async function whoAsks(key) {
  return (await call("v1/me", { key })).json();
}

/** End the sign-in; the address to go on to, where the identity provider ends its own. */
export async function signOut() {
  return (await (await call("auth/sign-out", { body: {} })).json()).location;
}

/** What became of a document; throws Failure with status 404 where there is none for this asker. */
export async function inspect(document, key) {
  return (await call(`v1/inspection?${new URLSearchParams({ document })}`, { key })).json();
}

/** Documents that a name, a path or an address may mean: `[{document_id, title, uri}]`. */
export async function documentNames(wanted, key) {
  return (await (await call(`v1/inspection/names?${new URLSearchParams({ wanted })}`, { key })).json()).documents;
}

/** Drafts that wait for a person, with counts by status; throws Failure with status 401 or 403 where this key may not. */
export async function waitingDrafts(key) {
  return (await call("v1/review", { key })).json();
}

/** Decide on a draft: `verdict` is accept, drop or undo, with another question, answer or anchor where one is given. */
export async function judge({ key, id, ...decision }) {
  return (await call(`v1/review/${id}`, { body: decision, key })).json();
}

/** What serves now; `null` where no answer comes. */
export async function whatServes() {
  try {
    const response = await fetch("readyz", { cache: "no-store" });
    return await response.json();
  } catch {
    return null;
  }
}

async function call(path, { body, key, signal }) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const post = { method: "POST", body: JSON.stringify(body), headers: { ...headers, "Content-Type": "application/json" } };
  let response;
  try {
    response = await fetch(path, body ? { ...post, signal } : { headers, signal });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Failure(0, UNREACHABLE);
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const content = await response.json().catch(() => null);
  const message = content?.error?.message ?? `the server answered ${response.status}`;
  return new Failure(response.status, sentence(message), Number(response.headers.get("Retry-After")) || 0);
}

function sentence(message) {
  return `${message[0].toUpperCase()}${message.slice(1)}.`.replace(/\.+$/, ".");
}

async function* serverSentEvents(stream, signal) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      // Lines that begin with a colon only keep the connection alive.
      yield* events.filter((event) => event.startsWith("data: ")).map((event) => event.slice(6));
    }
  } catch (error) {
    throw signal.aborted ? error : new Failure(0, BROKEN_OFF);
  } finally {
    reader.cancel().catch(() => {});
  }
}
