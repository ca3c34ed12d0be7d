// The story as typed, as facts, and as a link.

const PICTURE = /\[picture (\d+)\]/gi;

/** How the story's text names the picture at `index`. */
export function pictureMark(index) {
  return `[picture ${index + 1}]`;
}

/**
 * The facts of a text, in order: {kind: "sentence", text} and {kind: "picture", index}.
 * Sentences are split as the package splits them: one a line, or ended by ".", "!" or "?" and white space.
 */
export function toFacts(text) {
  const facts = [];
  // A split by an expression with a group gives text and picture numbers in turn.
  text.split(PICTURE).forEach((part, place) => {
    if (place % 2) {
      facts.push({ kind: "picture", index: Number(part) - 1 });
      return;
    }
    for (const sentence of part.split(/(?<=[.!?])\s+|\n+/)) {
      if (sentence.trim()) facts.push({ kind: "sentence", text: sentence.trim() });
    }
  });
  return facts;
}

/** `text` with the picture at `index` on a line of its own after the character `place`. */
export function withPicture(text, place, index) {
  const before = text.slice(0, place);
  const after = text.slice(place);
  const mark = pictureMark(index);
  return `${before}${!before || before.endsWith("\n") ? "" : "\n"}${mark}\n${after.replace(/^\n/, "")}`;
}

/** `text` without the picture at `index`; those after it move up by one. */
export function withoutPicture(text, index) {
  const gone = new RegExp(`\\[picture ${index + 1}\\]\\n?`, "gi");
  return text.replace(gone, "").replace(PICTURE, (mark, number) => number - 1 > index ? pictureMark(number - 2) : mark);
}

/** The state as the part of an address after "#". */
export function toFragment({ story, question, model, off }) {
  const fields = new URLSearchParams({ story, question, model });
  if (off.size) fields.set("off", [...off].map((place) => place + 1).sort((a, b) => a - b).join("."));
  return fields.toString();
}

/** What `toFragment` wrote; null where there is no state in it. */
export function fromFragment(fragment) {
  const fields = new URLSearchParams(fragment);
  if (!fields.has("story")) return null;
  const off = (fields.get("off") || "").split(".").map(Number).filter((place) => Number.isInteger(place) && place > 0);
  return {
    story: fields.get("story"),
    question: fields.get("question") || "",
    model: fields.get("model") || "",
    off: new Set(off.map((place) => place - 1)),
  };
}
