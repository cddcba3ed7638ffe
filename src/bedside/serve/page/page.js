// The page. ask() sends the conversation to each model that is asked, a Voice shows what comes, a Turn holds question and
// voices, and the history keeps turns. One thing runs at a time: an answer (or two side by side), or a case that is invented.

import { call, events, isGone, key, reasonOf, setKey } from "./api.js";
import { fit, focus, invent, prepareComposer, write, written } from "./composer.js";
import { announce, complain, find } from "./dom.js";
import { askFeedback, prepareFeedback } from "./feedback.js";
import { kept, moveHistory, prepareHistory, remember, titleOf } from "./history.js";
import { asked, offerModels, prepareSettings, settings } from "./settings.js";
import { keep, recall, tab } from "./storage.js";
import { Turn } from "./turn.js";
import { Voice } from "./voice.js";

const OPEN = "bedside-open"; // the conversation that this tab shows
const [log, access] = ["log", "access"].map(find);
let models = [];
let conversation = fresh();
let running = null; // the AbortController of what is being written

function fresh() { return { id: crypto.randomUUID?.() ?? String(Math.random()), turns: [] }; }

const chosen = () => settings.model || models[0] || "bedside";
/** Whom to ask; side by side the base stands first. */
const audience = () => (find("compare").checked && models.length > 1 ? [models[1], models[0]] : [chosen()]);

/** With `old`, a turn of the same question, its answer is drawn anew; `old` is hidden until there is one. */
async function ask(text, old = null) {
  const turn = new Turn(text, audience().map((model) => new Voice(model)));
  const control = begin();
  turn.element.scrollIntoView();
  const errors = await Promise.all(turn.voices.map((voice) => converse(turn, voice, control.signal, old !== null)));
  if (turn.element.isConnected) conclude(turn, old, errors.find(Boolean));
  else turn.remove(); // a new conversation was begun
  if (running === control) rest();
}

/** Streams one voice's answer; returns what went wrong, if anything did. */
async function converse(turn, voice, signal, again) {
  try {
    const request = { model: voice.reply.model, messages: messagesFor(voice.reply.model, turn.text), stream: true, ...asked(again) };
    for await (const event of events(await call("v1/answer", request, signal))) {
      voice.take(event);
      if (event.type === "triage" && event.emergency) {
        turn.warn(event.flags);
        turn.element.scrollIntoView();
      }
    }
    voice.end();
    return null;
  } catch (error) {
    voice.breakOff(error.name === "AbortError" ? "Stopped." : whyBroken(voice, error));
    return error;
  }
}

const whyBroken = (voice, error) => (voice.begun && isGone(error) ? "The connection broke off." : reasonOf(error));

function messagesFor(model, text) {
  const past = conversation.turns.filter((turn) => turn.answered);
  const said = past.flatMap((turn) => [
    { role: "user", content: turn.text },
    { role: "assistant", content: turn.answerFor(model) },
  ]);
  return [...said, { role: "user", content: text }];
}

function conclude(turn, old, error) {
  turn.settle();
  if (old && !turn.answered) {
    turn.remove();
    old.element.hidden = false;
    conversation.turns.push(old);
    announce("There is no new answer; the one before it stays.");
  } else if (turn.begun) {
    old?.remove();
    conversation.turns.push(turn);
    save();
    announce(!turn.answered ? "There is no answer." : error ? "The answer is incomplete." : "The answer is complete.");
  } else {
    turn.remove();
    if (!written()) write(turn.text); // nothing is lost: Enter sends it again
  }
  if (error && error.name !== "AbortError") report(error);
}

function save() {
  if (!conversation.turns.length) return;
  keep(tab, OPEN, conversation.id);
  const turns = conversation.turns.map((turn) => turn.record);
  remember({ id: conversation.id, title: titleOf(conversation.turns[0].text), time: Date.now(), turns });
}

/** Asks the last question once more; a new answer takes the place of the old one. */
function askAgain(turn) {
  if (running || turn !== conversation.turns.at(-1)) return;
  conversation.turns.pop();
  focus(); // the button that was pressed is hidden with its answer
  turn.element.hidden = true;
  ask(turn.text, turn);
}

async function generate() {
  if (running) return;
  const control = begin();
  focus(); // the button is disabled now, and Esc stops from here
  try {
    const cut = await invent(control.signal);
    if (cut) complain("The case reached its token limit; it may end in the middle. Shorten it, or generate another one.");
    announce(cut ? "The case was cut off." : "The case is written.");
  } catch (error) {
    if (error.name !== "AbortError") report(error);
  }
  if (running === control) rest();
}

function begin() {
  running = new AbortController();
  complain("");
  update();
  return running;
}

function rest() {
  running = null;
  update();
}

function update() {
  if ([find("send"), find("stop")].includes(document.activeElement)) focus(); // it is about to be hidden
  find("send").hidden = running !== null;
  find("stop").hidden = running === null;
  find("generate").disabled = running !== null;
  find("fresh").disabled = log.childElementCount === 0;
  find("welcome").hidden = log.childElementCount > 0;
  nameOthers();
  fit();
}

/** An answer says whose it is where that is not the model that the header names. */
function nameOthers() {
  for (const voice of log.querySelectorAll(".voice"))
    voice.classList.toggle("other", models.length > 0 && voice.dataset.model !== chosen());
}

function submit() {
  const text = written();
  if (!text || running) return;
  if (!models.length) loadModels(); // they could not be had before
  write("");
  ask(text);
}

function startAfresh() {
  running?.abort();
  log.replaceChildren();
  conversation = fresh();
  keep(tab, OPEN, undefined);
  complain("");
  rest();
  focus();
}

function reopen({ id, turns }) {
  startAfresh();
  conversation = { id, turns: turns.map((record) => Turn.of(record)) };
  keep(tab, OPEN, id);
  update();
  log.lastElementChild.scrollIntoView();
}

function report(error) {
  if (error.status === 401) return askForKey();
  complain(reasonOf(error));
  if (!(error.status || isGone(error))) reportError(error); // a bug: the console has its place, and the page goes on
}

function askForKey() {
  if (key() !== null) find("access-why").textContent = "The server did not accept this key. Check it and try again.";
  setKey(null);
  if (!access.open) access.showModal();
}

async function loadModels() {
  try {
    const listed = await (await call("v1/models")).json();
    models = listed.data.map(({ id }) => id);
    offerModels(models);
    showModels();
  } catch (error) {
    report(error);
  }
}

function showModels() {
  find("model").textContent = chosen();
  nameOthers();
  find("compare-choice").hidden = models.length < 2;
  find("compare-name").textContent = models[1] === `${models[0]}-base` ? "Base against tuned" : "Two models side by side";
}

/** Header and footer stay in sight; the style sheet must know how much they cover. */
function measure() {
  for (const name of ["header", "footer"])
    document.documentElement.style.setProperty(`--${name}`, `${document.querySelector(name).offsetHeight}px`);
}

prepareComposer(submit, generate);
prepareSettings(() => { showModels(); moveHistory(); });
prepareHistory(reopen, (ids) => { if (ids.includes(conversation.id)) startAfresh(); });
prepareFeedback(save);
log.addEventListener("again", ({ detail }) => askAgain(detail.turn));
log.addEventListener("rate-up", ({ detail }) => askFeedback("up", detail));
log.addEventListener("rate-down", ({ detail }) => askFeedback("down", detail));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) running?.abort();
});
find("stop").addEventListener("click", () => running?.abort());
find("fresh").addEventListener("click", startAfresh);
find("access-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey(find("key").value.trim());
  find("key").value = "";
  access.close();
  complain("");
  focus();
  loadModels();
});
for (const name of ["header", "footer"]) new ResizeObserver(measure).observe(document.querySelector(name));
focus();
const open = kept(recall(tab, OPEN, null));
if (open) reopen(open);
loadModels();
