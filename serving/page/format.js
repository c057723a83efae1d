// Values as people read them: ages, quotes within their passage, addresses that open at a quote.

const UNITS = [["year", 31557600], ["month", 2629800], ["week", 604800], ["day", 86400], ["hour", 3600], ["minute", 60]];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const FRAGMENT_WORDS = 6;

/** "3 days ago"; null for no or an unreadable date. */
export function age(date, now = Date.now()) {
  const seconds = (now - Date.parse(date ?? "")) / 1000;
  if (Number.isNaN(seconds)) return null;
  const [unit, length] = UNITS.find(([, length]) => Math.abs(seconds) >= length) ?? [];
  return unit ? relative.format(-Math.round(seconds / length), unit) : "just now";
}

/** How fresh a source is, in words. */
export function freshness(source) {
  const known = age(source.updated_at);
  return known ? `updated ${known}` : "date not known";
}

/** The passage's text in parts `{text, quoted}`. Offsets of the API count code points, strings here UTF-16 units. */
export function quotedParts(passage, citations) {
  const signs = Array.from(passage.text);
  const quoted = new Array(signs.length).fill(false);
  for (const citation of citations) {
    const [start, end] = [citation.start - passage.start, citation.end - passage.start];
    if (signs.slice(start, end).join("") === citation.quote) quoted.fill(true, start, end);
  }
  const parts = [];
  signs.forEach((sign, place) => {
    const last = parts.at(-1);
    if (last?.quoted === quoted[place]) last.text += sign;
    else parts.push({ text: sign, quoted: quoted[place] });
  });
  return parts;
}

/** The source's address at the quote, for browsers that know text fragments; null where it is not on the web. */
export function addressAt(uri, quote) {
  const url = URL.canParse(uri) ? new URL(uri) : null;
  if (!url || !["http:", "https:"].includes(url.protocol)) return null;
  const words = (quote ?? "").split(/\s+/).filter(Boolean);
  if (words.length) url.hash = `${url.hash.slice(1)}:~:text=${textFragment(words)}`;
  return url.href;
}

function textFragment(words) {
  const parts =
    words.length > 2 * FRAGMENT_WORDS
      ? [words.slice(0, FRAGMENT_WORDS), words.slice(-FRAGMENT_WORDS)]
      : [words];
  return parts.map((part) => encodeURIComponent(part.join(" ")).replaceAll("-", "%2D")).join(",");
}

/** Where a source is, in short: its host, else its knowledge base. */
export function place(source) {
  return addressAt(source.uri) ? new URL(source.uri).host : source.knowledge_base;
}

/** The address of the page that says what became of a document; without one, of the page that asks for its name. */
export function inspectionAddress(document) {
  return document ? `document?${new URLSearchParams({ id: document })}` : "document";
}
