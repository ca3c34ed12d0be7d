// The server's interface: requests, and every way they fail as one kind of error.

let token = "";

export class Problem extends Error {
  /** `code` is the server's, or "offline", "unreadable"; `retryAfter` is in seconds, null where the server gave none. */
  constructor(message, { code = "", status = 0, retryAfter = null } = {}) {
    super(message);
    this.code = code;
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** In memory only: a token in storage would outlive the page. Returns the last one, "" if there was none. */
export function useToken(value) {
  const last = token;
  token = value;
  return last;
}

export function models(signal) {
  return call("v1/models", { signal });
}

/** Answer `facts` (see story.js) and `question`; pictures go along as files. */
export function answer({ model, facts, question, pictures }, signal) {
  if (!facts.some((fact) => fact.kind === "picture")) {
    return call("v1/answer", { json: textQuestion({ model, facts, question }), signal });
  }
  const used = [...new Set(facts.filter((fact) => fact.kind === "picture").map((fact) => fact.index))];
  const form = new FormData();
  form.append("question", question);
  form.append("model", model);
  form.append("top", TOP);
  form.append("facts", JSON.stringify(facts.map(
    (fact) => fact.kind === "picture" ? { image: used.indexOf(fact.index) } : fact.text)));
  for (const index of used) form.append("images", pictures[index].file, pictures[index].name);
  return call("v1/answer/pictures", { form, signal });
}

/** Answers of several questions, in their order: those that are all text in as few requests as the server takes. */
export async function answers(questions, signal) {
  const isText = questions.every(({ facts }) => facts.every((fact) => fact.kind === "sentence"));
  const given = [];
  if (questions.length === 1 || !isText) {
    for (const question of questions) given.push(await answer(question, signal));
    return given;
  }
  const asked = questions.map(textQuestion);
  const longest = Math.max(...asked.map((one) => JSON.stringify(one).length));
  while (given.length < asked.length) {
    const atOnce = Math.max(1, Math.min(mostAtOnce, Math.floor(MOST_LETTERS / longest)));
    const json = { questions: asked.slice(given.length, given.length + atOnce) };
    try {
      given.push(...(await call("v1/answers", { json, signal })).answers);
    } catch (error) {
      if (error.code !== "too_many_questions" || json.questions.length === 1) throw error;
      mostAtOnce = Math.floor(json.questions.length / 2);
    }
  }
  return given;
}

const TOP = 5;
// Well below what a server takes in one request unless told otherwise (256 questions, 1 MiB). One that takes fewer
// questions refuses more and does not say how many: half of them are tried, and that is kept.
let mostAtOnce = 64;
const MOST_LETTERS = 200_000;

function textQuestion({ model, facts, question }) {
  return { model, facts: facts.map((fact) => fact.text), question, top: TOP };
}

async function call(path, { json, form, signal } = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  if (json) headers["Content-Type"] = "application/json";
  const request = { method: json || form ? "POST" : "GET", headers, body: json ? JSON.stringify(json) : form, signal };
  let response;
  try {
    response = await fetch(path, request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server does not answer. Check that it is still running and that you are connected.",
      { code: "offline" });
  }
  let body = null;
  try {
    body = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
  }
  if (response.ok && body !== null) return body;
  const wait = Number.parseInt(response.headers.get("Retry-After"), 10);
  throw new Problem(body?.error?.message || `The server gave no readable answer (status ${response.status}).`, {
    code: body?.error?.code || "unreadable",
    status: response.status,
    retryAfter: Number.isNaN(wait) ? null : wait,
  });
}
