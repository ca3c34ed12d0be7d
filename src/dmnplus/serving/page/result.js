// An answer, drawn: the answer, the runners-up, and every pass over the facts.

import { bar, el, percent } from "./dom.js";
import { drawRegions, strongestRegion } from "./picture.js";

/**
 * Draw `view` into `place`.
 *
 * view: asked {facts, question, pictures}; off, the places of facts left out; answer, the server's for the facts left;
 * base, its answer with every fact; without, the answers with each single fact left out (a Map by place, or null).
 * actions: toggle(place, isRead) and leaveEachOut().
 */
export function draw(place, view, actions) {
  const focused = place.contains(document.activeElement) ? document.activeElement.id : "";
  place.replaceChildren(...headline(view), ...runnersUp(view.answer), ...unknownWords(view.answer),
    passes(view, actions), details(view));
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

/** The answer in one sentence, for those who hear it. */
export function spoken({ answer, base, off, asked }) {
  const change = off.size ? ` With every fact it was ${base.answer}, ${percent(base.probability)}.` : "";
  const shares = byFact(answer, asked.facts, off);
  const looked = answer.attention.map((_, pass) => {
    const places = shares.map((share, i) => i).filter((i) => shares[i]);
    const most = places.reduce((a, b) => (shares[b][pass] > shares[a][pass] ? b : a));
    return `pass ${pass + 1} at fact ${most + 1}`;
  });
  return `Answer: ${answer.answer}, ${percent(answer.probability)}.${change} Looked most: ${looked.join(", ")}.`;
}

function headline({ asked, answer, base, off }) {
  const changed = answer.answer !== base.answer;
  const left = [...off].sort((a, b) => a - b).map((place) => place + 1).join(", ");
  return [
    el("p", { className: "asked", textContent: asked.question }),
    el("h2", { className: "answer-word", textContent: answer.answer }),
    el("p", { className: "sure" }, bar(answer.probability),
      el("span", { className: "number", textContent: percent(answer.probability) })),
    off.size === 0 ? null : el("div", { className: `before${changed ? " changed" : ""}` },
      el("p", { className: "before-title", textContent: changed ? "The answer changed" : "The answer stays" }),
      el("ul", { className: "ranked" }, rankedRow(base, "with every fact"), rankedRow(answer, `without fact ${left}`))),
  ].filter(Boolean);
}

function runnersUp({ ranked }) {
  if (ranked.length < 2) return [];
  return [
    el("h3", { textContent: "Runners-up" }),
    el("ol", { className: "ranked", start: 2 }, ...ranked.slice(1).map((runner) => rankedRow(runner))),
  ];
}

function rankedRow({ answer, probability }, note = "") {
  return el("li", {},
    note ? el("span", { className: "muted small", textContent: note }) : null,
    el("span", { className: "ranked-word", textContent: answer }), bar(probability),
    el("span", { className: "number", textContent: percent(probability) }));
}

function unknownWords({ unknown_words: words }) {
  if (!words.length) return [];
  return [el("p", { className: "notice" }, "Never seen in training, so the model can only guess at: ",
    ...words.flatMap((word, i) => [i ? ", " : "", el("strong", { textContent: word })]), ".")];
}

function passes(view, actions) {
  const { asked, answer, off, without } = view;
  const shares = byFact(answer, asked.facts, off);
  const list = el("ol", { className: "facts" },
    ...asked.facts.map((fact, i) => factRow(view, fact, i, shares[i], actions)));
  list.style.setProperty("--passes", answer.attention.length);
  list.classList.toggle("many-passes", answer.attention.length > 4);
  return el("section", { className: "passes", aria: { labelledby: "passes-title" } },
    el("h3", { id: "passes-title", textContent: "Where each pass looked" }),
    el("p", { className: "muted small", textContent:
      "The network goes over the facts several times. Each pass shares 100% among them. Switch a fact off to see " +
      "what the answer owes to it." }),
    list,
    // Not `disabled`, which would take the focus of the keyboard from it.
    asked.facts.length < 2 ? null : el("button", {
      id: "leave-out", type: "button", className: "button quiet", textContent: without
        ? "Each fact was left out once" : "Leave each fact out in turn", aria: { disabled: without !== null },
      onclick: without ? null : () => actions.leaveEachOut(),
    }));
}

function factRow({ asked, answer, base, off, without }, fact, place, share, actions) {
  const isPicture = fact.kind === "picture";
  const name = isPicture ? `Picture ${fact.index + 1}` : fact.text;
  const isOff = off.has(place);
  const box = el("input", {
    type: "checkbox", id: `fact-${place}`, className: "switch", checked: !isOff,
    onchange: (event) => actions.toggle(place, event.target.checked),
  });
  box.setAttribute("role", "switch");
  const text = el("span", { className: "fact-text", textContent: name });
  const label = el("label", { className: "fact", htmlFor: box.id }, el("span", { className: "fact-number",
    textContent: place + 1 }), " ", text);
  if (isPicture) label.append(" ", el("span", { className: "muted small", textContent: asked.pictures[fact.index].name }));
  const row = el("li", { className: isOff ? "off" : "" }, box, label);
  row.classList.toggle("shown", isPicture);
  if (!share) {
    row.append(el("span", { className: "unread muted small", textContent: isOff ? "left out" : "too far back: not read" }));
  } else {
    text.style.setProperty("--share", Math.max(...share));
    row.classList.toggle("looked-at", Math.max(...share) >= 0.1);
    row.append(el("ul", { className: "shares" }, ...share.map((value, pass) => isPicture
      ? pictureCell(asked.pictures[fact.index], answer, place, pass, value, asked.facts, off)
      : shareCell(pass, value))));
  }
  if (without?.has(place)) row.append(leftOut(without.get(place), base));
  return row;
}

function shareCell(pass, value) {
  return el("li", { className: "share", share: value }, el("span", { className: "pass-name",
    textContent: `Pass ${pass + 1} ` }), el("span", { className: "number", textContent: `${Math.round(100 * value)}%` }), bar(value));
}

function pictureCell(picture, answer, place, pass, value, facts, off) {
  const regions = answer.regions[readPlaces(answer, facts, off).indexOf(place)];
  const cell = shareCell(pass, value);
  if (!regions) return cell;
  const canvas = el("canvas", { ariaLabel: `Picture ${facts[place].index + 1}, pass ${pass + 1}: looked ` +
    strongestRegion(regions[pass]) });
  canvas.setAttribute("role", "img");
  // One scale a pass, over all pictures and sentences: a picture is dark where another fact was looked at.
  const sentences = answer.attention[pass].filter((_, i) => !(i in answer.regions));
  const highest = Math.max(...sentences, ...Object.values(answer.regions).flatMap((passes) => passes[pass].flat()));
  drawRegions(canvas, picture.image, regions[pass], highest);
  cell.prepend(canvas);
  return cell;
}

function leftOut(answer, base) {
  const changed = answer.answer !== base.answer;
  return el("p", { className: `without small${changed ? " changed" : ""}` },
    changed ? "Without it: " : "Without it, the same: ", el("strong", { textContent: answer.answer }),
    ` ${percent(answer.probability)}`);
}

function details({ answer: { model, timing } }) {
  const parts = [`model ${model.name} ${model.version}`, `${(timing.queue_ms + timing.compute_ms).toFixed(1)} ms`];
  if (timing.batch > 1) parts.push(`answered with ${timing.batch - 1} more`);
  return el("p", { className: "details muted small", textContent: parts.join(" · ") });
}

/** The places of the facts that were read; of a long story, the server reads the last ones. */
function readPlaces(answer, facts, off) {
  const sent = facts.map((_, i) => i).filter((i) => !off.has(i));
  return sent.slice(sent.length - answer.facts.length);
}

/** Each fact's share in every pass; null where it was left out or not read. */
function byFact(answer, facts, off) {
  const read = readPlaces(answer, facts, off);
  return facts.map((_, i) => {
    const at = read.indexOf(i);
    return at < 0 ? null : answer.attention.map((gates) => gates[at]);
  });
}
