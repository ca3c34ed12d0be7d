// The page: what is typed, asked and shown.

import * as api from "./api.js";
import { el, percent } from "./dom.js";
import * as picture from "./picture.js";
import { draw, spoken } from "./result.js";
import { fromFragment, pictureMark, toFacts, toFragment, withoutPicture, withPicture } from "./story.js";

const $ = (id) => document.getElementById(id);
const RETRIES = 3;

let models = [];
let pictures = [];
// The last answer and what it is an answer to; null before the first.
let view = null;
let request = null;
let retryTimer = 0;
let retriesLeft = RETRIES;

// Asking

async function ask({ off = new Set() } = {}) {
  const question = $("question").value.trim();
  const facts = toFacts($("story").value);
  // With no story typed yet, what the address names.
  if (!models.length) return start(facts.length ? () => ask({ off }) : restore);
  const missing = facts.find((fact) => fact.kind === "picture" && !pictures[fact.index]);
  if (!facts.length) return complain("Write a story first: at least one sentence or picture.", $("story"));
  if (missing) {
    return complain(`The story names ${pictureMark(missing.index)}, which is not here. ` +
      "Add the picture, or take its mark out of the story.", $("story"));
  }
  if (!question) return complain("Write a question.", $("question"));
  if (facts.some((fact) => fact.kind === "picture") && !chosen()?.pictures) {
    return complain(`The model “${$("model").value}” reads no pictures; choose another.`, $("model"));
  }
  const kept = new Set([...off].filter((place) => place < facts.length));
  const asked = { facts, question, pictures: [...pictures], model: $("model").value };
  history.replaceState(null, "", `#${toFragment({ story: $("story").value, question, model: asked.model, off: kept })}`);
  await work(async (signal) => {
    // With facts left out, the answer with every fact is asked for, too: before and after stand side by side.
    const wanted = kept.size && kept.size < facts.length ? [new Set(), kept] : [new Set()];
    const given = await api.answers(wanted.map((out) => leaving(asked, out)), signal);
    view = { asked, off: wanted.at(-1), base: given[0], answer: given.at(-1), without: null, wanted: null };
    show();
    bringIntoView();
  }, () => ask({ off }));
}

function toggle(place, isRead) {
  // Of two switches in a row, the second must not undo the first, whose answer is not there yet.
  const off = new Set(view.wanted ?? view.off);
  if (isRead) off.delete(place);
  else off.add(place);
  if (off.size === view.asked.facts.length) {
    $(`fact-${place}`).checked = true;
    return complain("Nothing would be left to read; switch another fact on first.");
  }
  const asked = view.asked;
  view.wanted = off;
  return work(async (signal) => {
    const answer = off.size ? await api.answer(leaving(asked, off), signal) : view.base;
    view = { ...view, off, answer, wanted: null };
    const state = { story: $("story").value, question: asked.question, model: asked.model, off };
    if (!isStale()) history.replaceState(null, "", `#${toFragment(state)}`);
    show();
  }, () => toggle(place, isRead));
}

function leaveEachOut() {
  if (request) return null;
  const { asked } = view;
  return work(async (signal) => {
    const places = asked.facts.map((_, place) => place);
    const given = await api.answers(places.map((place) => leaving(asked, new Set([place]))), signal);
    view = { ...view, without: new Map(given.map((answer, i) => [places[i], answer])) };
    show();
    const changed = places.filter((place) => view.without.get(place).answer !== view.base.answer);
    $("status").textContent = changed.length
      ? `The answer changes without fact ${changed.map((place) => place + 1).join(", ")}.`
      : "The answer stays the same without any single fact.";
  }, leaveEachOut);
}

function leaving(asked, off) {
  return { ...asked, facts: asked.facts.filter((_, place) => !off.has(place)) };
}

/** Run `task`, one at a time: a new one ends the last. `again` is how to try it once more. */
async function work(task, again) {
  request?.abort();
  const mine = request = new AbortController();
  busy(true);
  notice();
  try {
    await task(mine.signal);
    retriesLeft = RETRIES;
  } catch (error) {
    if (error.name !== "AbortError") failed(error, again);
  } finally {
    if (request === mine) {
      request = null;
      busy(false);
    }
  }
}

function failed(error, again) {
  // A switch shows what the answer on the page was read with.
  if (view) draw($("answer"), view = { ...view, wanted: null }, { toggle, leaveEachOut });
  if (error.status === 401) return askForToken(again);
  if (error.status === 503 && retriesLeft > 0) return waitAndRetry(error, again);
  retriesLeft = RETRIES;
  return complain(error instanceof api.Problem ? error.message : `This page made a mistake: ${error.message}`, null, again);
}

function waitAndRetry(error, again) {
  retriesLeft -= 1;
  let seconds = Math.max(1, error.retryAfter ?? 2);
  // Counted for the eye alone: read aloud every second it would drown the rest.
  const told = el("span", { ariaHidden: "true" });
  const tell = () => { told.textContent = ` Trying again in ${seconds} s.`; };
  tell();
  notice("warning", el("p", {}, "The server is busy with other questions.", told), tryAgain("Try now", again));
  retryTimer = setInterval(() => {
    seconds -= 1;
    tell();
    if (seconds <= 0) again();
  }, 1000);
}

function askForToken(again) {
  const dialog = $("token-dialog");
  $("token").value = "";
  $("token-problem").textContent = api.useToken("") ? "That token was refused." : "";
  $("token-form").onsubmit = (event) => {
    event.preventDefault();
    const token = $("token").value.trim();
    // No header carries anything else.
    if (!/^[!-~]+$/.test(token)) {
      $("token-problem").textContent = "A token holds only plain letters, digits and signs. If this one was pasted, " +
        "something that cannot be seen may have come along: type it by hand.";
      $("token").select();
      return;
    }
    api.useToken(token);
    dialog.onclose = null;
    dialog.close();
    again();
  };
  $("token-cancel").onclick = () => dialog.close();
  dialog.onclose = () => complain("This server answers only with its token.", null, again);
  dialog.showModal();
}

// Showing

function show() {
  draw($("answer"), view, { toggle, leaveEachOut });
  $("status").textContent = spoken(view);
  markStale();
}

function isStale() {
  return JSON.stringify(toFacts($("story").value)) !== JSON.stringify(view.asked.facts) ||
    pictures.some((one, i) => one !== view.asked.pictures[i]) ||
    $("question").value.trim() !== view.asked.question || $("model").value !== view.asked.model;
}

function markStale() {
  $("result").classList.toggle("stale", view !== null && isStale());
}

function busy(isBusy) {
  $("result").setAttribute("aria-busy", String(isBusy));
  $("submit").textContent = isBusy ? "Reading…" : "Ask";
}

function complain(text, field = null, again = null) {
  notice("error", el("p", { textContent: text }), again ? tryAgain("Try again", again) : null);
  field?.focus();
}

function tryAgain(text, again) {
  return el("button", { type: "button", className: "button quiet", textContent: text, onclick: () => again() });
}

function notice(kind = "", ...children) {
  clearInterval(retryTimer);
  // Its button goes, and would take the focus of the keyboard with it.
  if ($("notice").contains(document.activeElement)) $("result").focus({ preventScroll: true });
  $("notice").className = kind ? `notice ${kind}` : "";
  $("notice").replaceChildren(...children.filter(Boolean));
}

function bringIntoView() {
  if ($("result").getBoundingClientRect().top < window.innerHeight * 0.8) return;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  $("result").scrollIntoView({ behavior: calm ? "auto" : "smooth" });
}

// Models and examples

function chosen() {
  return models.find(({ name }) => name === $("model").value);
}

/** Fetch the list of models, without which nothing can be asked, and do `next`. */
async function start(next = restore) {
  await work(async (signal) => {
    const given = await api.models(signal);
    models = given.models;
    $("model").replaceChildren(...models.map(({ name }) => el("option", { value: name, textContent: name })));
    $("model").value = given.default;
    $("model").disabled = false;
    $("picture-field").hidden = !models.some((model) => model.pictures);
    modelChosen();
  }, () => start(next));
  if (models.length) await next();
}

function modelChosen() {
  const model = chosen();
  if (!model) return;
  const error = typeof model.test_error === "number" ? `, test error ${percent(model.test_error)}` : "";
  const reads = model.pictures ? "; reads pictures" : "";
  $("model-note").textContent = `trained on ${model.data}${error}${reads}`;
  $("examples").replaceChildren(...model.examples.map(exampleRow));
  $("example-field").hidden = !model.examples.length;
  if (view) markStale();
}

/** A fact of an example is a sentence, or {picture: a data: address}. */
function exampleRow(example) {
  const sentences = example.facts.filter((fact) => typeof fact === "string").join(" ");
  const shown = example.facts.filter((fact) => typeof fact !== "string" && picture.isInline(fact.picture));
  return el("li", {}, el("button", { type: "button", className: "example", onclick: () => useExample(example) },
    ...shown.map((fact) => el("img", { src: fact.picture, alt: "a picture", className: "crisp" })),
    el("strong", { textContent: example.question }), " ",
    el("span", { className: "muted small", textContent: sentences })));
}

async function useExample({ facts, question }) {
  forgetPictures();
  $("story").value = "";
  const lines = [];
  for (const fact of facts) {
    if (typeof fact === "string") lines.push(fact);
    else {
      pictures.push(await picture.open(picture.fileOf(fact.picture, `example ${pictures.length + 1}.png`)));
      lines.push(pictureMark(pictures.length - 1));
    }
  }
  $("story").value = lines.join("\n");
  $("question").value = question;
  showPictures();
  await ask();
}

/** The state that the address names, if it names one. */
async function restore() {
  const state = fromFragment(location.hash.slice(1));
  if (!state) return;
  if (!models.length) return start();
  forgetPictures();
  $("story").value = state.story;
  $("question").value = state.question;
  if (state.model && !models.some(({ name }) => name === state.model)) {
    complain(`This server has no model “${state.model}”, which the link asks for.`);
    return;
  }
  if (state.model) $("model").value = state.model;
  modelChosen();
  if (toFacts(state.story).some((fact) => fact.kind === "picture")) {
    notice("warning", el("p", { textContent: "A link cannot hold pictures: add those of this story again, " +
      "then ask." }));
    return;
  }
  if (state.question) await ask({ off: state.off });
}

// Pictures

async function addPictures(files) {
  const images = [...files].filter((file) => !file.type || file.type.startsWith("image/"));
  if (!images.length) return complain("Only pictures can be added here; paste text into the story.");
  if (!models.length) return start(() => restore().then(() => addPictures(images)));
  const reader = models.find((model) => model.pictures);
  if (!reader) return complain("No model of this server reads pictures.");
  notice();
  for (const file of images) {
    try {
      pictures.push(await picture.open(file));
    } catch (error) {
      complain(error.message);
      continue;
    }
    // A mark that has no picture yet, of a link, takes the first one that comes.
    if (!$("story").value.includes(pictureMark(pictures.length - 1))) {
      const field = $("story");
      const place = field.value ? field.selectionEnd : 0;
      field.value = withPicture(field.value, place, pictures.length - 1);
      field.selectionEnd = field.selectionStart = place + withPicture("", 0, pictures.length - 1).length + 1;
    }
  }
  if (!chosen()?.pictures) {
    $("model").value = reader.name;
    modelChosen();
  }
  showPictures();
}

function showPictures() {
  $("pictures").replaceChildren(...pictures.map((shown, index) => {
    const image = el("img", { src: shown.url, alt: "" });
    image.classList.toggle("crisp", shown.image.naturalWidth < 200);
    return el("li", {}, image,
      el("span", { className: "small", textContent: `picture ${index + 1}` }),
      el("button", {
        type: "button", className: "remove", textContent: "×", ariaLabel: `Remove picture ${index + 1}, ${shown.name}`,
        onclick: () => removePicture(index),
      }));
  }));
  if (view) markStale();
}

function removePicture(index) {
  // Its address stays good while an answer on the page shows it.
  pictures.splice(index, 1);
  $("story").value = withoutPicture($("story").value, index);
  showPictures();
  $("files").focus();
}

function forgetPictures() {
  const shown = new Set(view?.asked.pictures);
  for (const one of pictures) if (!shown.has(one)) picture.close(one);
  pictures = [];
  showPictures();
}

// Links

async function copyLink() {
  const off = view && !isStale() ? view.off : new Set();
  const state = { story: $("story").value, question: $("question").value.trim(), model: $("model").value, off };
  const link = `${location.origin}${location.pathname}#${toFragment(state)}`;
  const warning = toFacts(state.story).some((fact) => fact.kind === "picture")
    ? " Pictures cannot go into a link: who opens it has to add them again." : "";
  try {
    await navigator.clipboard.writeText(link);
    $("link-text").hidden = true;
    $("link-note").textContent = `Link copied.${warning}`;
  } catch {
    // Browsers lend the clipboard to secure pages only.
    $("link-text").value = link;
    $("link-text").hidden = false;
    $("link-text").select();
    $("link-note").textContent = `Copy this link:${warning}`;
  }
}

function clear() {
  request?.abort();
  view = null;
  forgetPictures();
  $("ask").reset();
  $("answer").replaceChildren();
  $("status").textContent = $("link-note").textContent = "";
  $("link-text").hidden = true;
  notice();
  markStale();
  history.replaceState(null, "", location.pathname);
  if (models.length) modelChosen();
  else start();
  $("story").focus();
}

// Events

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !$("token-dialog").open) {
    event.preventDefault();
    ask();
  }
});
$("ask").addEventListener("input", markStale);
$("model").addEventListener("change", modelChosen);
$("link").addEventListener("click", copyLink);
$("clear").addEventListener("click", clear);
$("files").addEventListener("change", async (event) => {
  await addPictures(event.target.files);
  event.target.value = "";
});
document.addEventListener("paste", (event) => {
  const { files } = event.clipboardData;
  const text = event.clipboardData.getData("text/plain");
  if (!files.length) return;
  // Spreadsheets and word processors put a picture of the text beside it; file managers, the name of a picture.
  if (text && !text.includes(files[0].name) && event.target.matches("textarea, #question, #token")) return;
  event.preventDefault();
  addPictures(files);
});
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    $("ask").classList.add("dropping");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) $("ask").classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  $("ask").classList.remove("dropping");
  if (!event.dataTransfer.files.length) return;
  event.preventDefault();
  addPictures(event.dataTransfer.files);
});
addEventListener("hashchange", restore);

start();
