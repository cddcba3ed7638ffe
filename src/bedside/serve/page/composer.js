// Where a case is written: its length in characters and tokens, the examples, and a case that the model invents.

import { call, events, isFailure } from "./api.js";
import { find, make } from "./dom.js";
import { EXAMPLES } from "./examples.js";
import { settings } from "./settings.js";
import { keep, recall, tab } from "./storage.js";

const PAUSE_MS = 400; // of typing, before the tokens are counted
const DRAFT = "bedside-draft"; // a reload loses nothing
const box = find("question");
let pause = null;
let counted = 0; // which count is the latest

/** Puts a text into the box, which grows with it. */
export function write(text) {
  box.value = text;
  fit();
  count();
}

export const written = () => box.value.trim();
/** Without a scroll: the box is always in sight, and what is being read stays where it is. */
export const focus = () => box.focus({ preventScroll: true });

/** `submit` is called when the text is to be sent, `generate` when a case is wanted. */
export function prepareComposer(submit, generate) {
  box.addEventListener("input", () => { fit(); count(); });
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  });
  find("composer").addEventListener("submit", (event) => { event.preventDefault(); submit(); });
  find("generator").addEventListener("submit", (event) => { event.preventDefault(); generate(); });
  addEventListener("resize", fit);
  find("examples").append(...EXAMPLES.map(exampleOf));
  write(recall(tab, DRAFT, ""));
}

/** Puts a text in the place of what was typed, which Ctrl-Z brings back. */
function take(text) {
  focus();
  box.select();
  if (!document.execCommand("insertText", false, text)) write(text);
}

/** Streams an invented case into the box, in which nobody else writes meanwhile. Returns whether it was cut off. */
export async function invent(signal) {
  const typed = box.value;
  box.readOnly = true;
  find("count").textContent = "Inventing a case…";
  try {
    return await streamCase(signal);
  } finally {
    box.readOnly = false;
    const invented = box.value;
    box.value = typed;
    if (invented !== typed) take(invented);
    count();
  }
}

async function streamCase(signal) {
  const wanted = { specialty: find("specialty").value, difficulty: find("difficulty").value, stream: true, ...whom() };
  let text = "";
  let finish = null;
  for await (const event of events(await call("v1/case", wanted, signal))) {
    if (event.type === "answer") write(text += event.text);
    if (event.type === "done") {
      write(event.answer.answer);
      finish = event.answer.finish;
    }
  }
  return finish === "length";
}

const whom = () => (settings.model ? { model: settings.model } : {});

function exampleOf({ title, text }) {
  const item = make("li");
  const button = make("button");
  button.type = "button";
  button.append(make("span", title, "title"), make("span", text, "start"));
  button.addEventListener("click", () => take(text));
  item.append(button);
  return item;
}

/** The box is as high as its text, and higher before the first question. */
export function fit() {
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight + 2}px`;
}

/** Characters at once, tokens when the typing pauses; a server that cannot count leaves it at the characters. */
function count() {
  const text = box.value;
  const characters = `${text.length.toLocaleString("en")} character${text.length === 1 ? "" : "s"}`;
  find("count").textContent = characters;
  clearTimeout(pause);
  keep(tab, DRAFT, text || undefined);
  const mine = ++counted;
  if (text.trim()) pause = setTimeout(() => countTokens(text, mine, characters), PAUSE_MS);
}

async function countTokens(text, mine, characters) {
  try {
    const reply = await call("v1/tokens", { text, ...whom() });
    const { tokens } = await reply.json();
    if (mine === counted) find("count").textContent = `${characters}, ${tokens.toLocaleString("en")} token${tokens === 1 ? "" : "s"}`;
  } catch (error) {
    if (!isFailure(error)) throw error; // the count is a courtesy: what is wrong is told when the question is sent
  }
}
