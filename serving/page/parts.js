// A document's text in the passages that search can find, and what stands between them. Knows nothing of the page.

/** Parts `{number, headings, text}` in order; `number` is 0 where no passage holds the text. Offsets count code points. */
export function textParts(text, sections) {
  const signs = Array.from(text);
  const parts = [];
  let place = 0;
  const add = (start, end, number, headings) => {
    const part = signs.slice(start, end).join("").replace(/^\s*\n|\s+$/g, "");
    if (part) parts.push({ number, headings, text: part });
  };
  sections.forEach(({ start, end, headings }, index) => {
    if (start > place) add(place, start, 0, "");
    add(start, end, index + 1, headings);
    place = Math.max(place, end);
  });
  add(place, signs.length, 0, "");
  return parts;
}
