// The page's behaviour. A model's text is shown through text nodes only, never as markup, so nothing in it can act.
// Flow: ask() sends the conversation, readEvents() yields the stream's chunks, Turn shows one question with its answer.

const find = (id) => document.getElementById(id);
const [log, question, failure, access] = ["log", "question", "failure", "access"].map(find);
const KEY = "bedside-api-key";
const lasting = (seconds) => (seconds < 1 ? "under 1 s" : `${seconds} s`);

let conversation = []; // turns that were answered: what a follow-up question refers to
let running = null;    // the AbortController of the answer being written

class Refused extends Error {
  constructor(status, detail, retryAfter) {
    super(detail.message);
    this.status = status;
    this.code = detail.code;
    this.retryAfter = retryAfter;
  }
}

class Turn {
  constructor(text) {
    this.text = text;
    this.answer = "";
    this.started = performance.now();
    this.thought = null; // seconds of reasoning, once it has ended
    this.finish = null;
    this.usage = null;
    this.element = find("turn").content.firstElementChild.cloneNode(true);
    this.part("question").textContent = text;
    this.element.setAttribute("aria-busy", "true");
    log.append(this.element);
    this.clock = setInterval(() => this.tick(), 1000);
  }

  part(name) { return this.element.querySelector("." + name); }
  get seconds() { return Math.round((performance.now() - this.started) / 1000); }
  get details() { return this.element.querySelector("details"); }

  tick() {
    if (this.thought !== null) return;
    this.part("waiting").textContent = `Waiting for the model… ${this.seconds} s`;
    this.part("state").textContent = `: thinking… ${this.seconds} s`;
  }

  take(chunk) {
    this.usage = chunk.usage ?? this.usage;
    const choice = chunk.choices[0];
    if (!choice) return;
    this.finish = choice.finish_reason ?? this.finish;
    if (choice.delta.reasoning_content) this.reason(choice.delta.reasoning_content);
    if (choice.delta.content) this.say(choice.delta.content);
  }

  reason(text) {
    if (this.details.hidden) {
      this.details.hidden = false;
      this.part("waiting").hidden = true;
      this.tick();
      announce("The model is thinking.");
    }
    this.part("reasoning").append(text);
  }

  say(text) {
    this.endReasoning();
    this.answer += text;
    this.part("answer").append(text);
  }

  endReasoning() {
    if (this.thought !== null) return;
    this.thought = this.seconds;
    clearInterval(this.clock);
    this.part("waiting").hidden = true;
    this.part("state").textContent = `: ${lasting(this.thought)}`;
  }

  // `note` is what the reader must know about the answer; the model's own way to end gives it otherwise.
  end(note) {
    this.endReasoning();
    this.answer = this.answer.trim();
    this.part("answer").textContent = this.answer;
    this.part("reasoning").textContent = this.part("reasoning").textContent.trim();
    this.note([note ?? this.ownNote(), this.answer ? "" : "Follow-up questions will not refer to this one."]);
    if (this.answer) this.offerCopy();
    this.element.setAttribute("aria-busy", "false");
  }

  ownNote() {
    if (this.finish === "length" && this.answer) return "The answer was cut off at the token limit; it is incomplete.";
    if (this.finish === "length") return "The token limit was reached while the model was still reasoning, so there is no answer.";
    return this.answer ? "" : "The model ended without an answer.";
  }

  note(sentences) {
    this.part("note").textContent = sentences.filter(Boolean).join(" ");
    this.part("note").hidden = !this.part("note").textContent;
  }

  offerCopy() {
    const count = this.usage?.completion_tokens;
    this.part("facts").textContent = count ? `${count} tokens in ${lasting(this.seconds)}` : "";
    this.part("copy").addEventListener("click", () => this.copy());
    this.part("tools").hidden = false;
  }

  // The notice goes along, so that a pasted answer does not look like a colleague's.
  async copy() {
    const text = `${this.answer}\n\n[${find("model").textContent}, ${location.host}] ${find("notice").textContent}`;
    const done = await copyText(text);
    this.part("copy").textContent = done ? "Copied" : "Copying is not allowed here";
    setTimeout(() => { this.part("copy").textContent = "Copy answer"; }, 2000);
  }

  remove() {
    clearInterval(this.clock);
    this.element.remove();
  }
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { // without HTTPS only loopback has a clipboard
    const box = document.createElement("textarea");
    box.value = text;
    document.body.append(box);
    box.select();
    const done = document.execCommand("copy");
    box.remove();
    return done;
  }
}

async function call(path, options = {}) {
  const key = sessionStorage.getItem(KEY);
  const headers = { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  const response = await fetch(path, { ...options, headers });
  if (response.ok) return response;
  const detail = (await response.json().catch(() => null))?.error;
  throw new Refused(response.status, detail ?? { message: `status ${response.status}` }, response.headers.get("Retry-After"));
}

async function* readEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new TypeError("the stream ended early");
    const events = (held + value).split("\n\n");
    held = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Refused(500, chunk.error);
      yield chunk;
    }
  }
}

async function ask(text) {
  const turn = new Turn(text);
  setRunning(new AbortController());
  complain("");
  keepInView(true);
  try {
    const messages = [...conversation, { role: "user", content: text }];
    const body = JSON.stringify({ messages, stream: true, stream_options: { include_usage: true } });
    const response = await call("v1/chat/completions", { method: "POST", body, signal: running.signal });
    for await (const chunk of readEvents(response)) {
      const following = isAtEnd();
      turn.take(chunk);
      find("model").textContent = chunk.model;
      keepInView(following);
    }
    finish(turn);
  } catch (error) {
    fail(turn, error);
  } finally {
    setRunning(null);
  }
}

function finish(turn, note) {
  const following = isAtEnd();
  turn.end(note);
  if (turn.answer) conversation.push({ role: "user", content: turn.text }, { role: "assistant", content: turn.answer });
  announce(turn.answer ? "The answer is complete." : "There is no answer.");
  keepInView(following);
}

function fail(turn, error) {
  const begun = turn.answer || !turn.details.hidden;
  if (error.name === "AbortError" && !turn.element.isConnected) return turn.remove(); // a new conversation was begun
  if (error.name === "AbortError" && begun) return finish(turn, "Stopped. What stands here is incomplete.");
  if (begun) finish(turn, "The connection broke off. What stands here is incomplete.");
  else turn.remove();
  if (!begun && !question.value) setQuestion(turn.text); // nothing is lost: Enter sends it again
  if (error.name !== "AbortError") report(error);
}

function report(error) {
  if (error.status === 401) return askForKey();
  if (error.code === "context_length_exceeded")
    return complain("The conversation is too long for this model. Shorten the question, or begin a new conversation.");
  if (error.code === "server_busy")
    return complain(`The model is busy with other questions. Try again in ${error.retryAfter ?? 5} seconds.`);
  if (error instanceof TypeError || error.code === "server_stopping")
    return complain("The server cannot be reached. It may have been stopped; when it runs again, press Enter to resend.");
  if (error instanceof Refused) return complain(`The server refused: ${error.message}.`);
  complain("The page met an error of its own; reload it.");
  throw error;
}

function complain(text) {
  failure.textContent = text;
  failure.hidden = !text;
}

function announce(text) { find("status").textContent = text; }

function askForKey() {
  const wrong = sessionStorage.getItem(KEY) !== null;
  if (wrong) find("access-why").textContent = "The server did not accept this key. Check it and try again.";
  sessionStorage.removeItem(KEY);
  if (!access.open) access.showModal();
}

async function showModel() {
  try {
    const models = await (await call("v1/models")).json();
    find("model").textContent = models.data[0].id;
  } catch (error) {
    report(error);
  }
}

function setRunning(controller) {
  running = controller;
  if ([find("send"), find("stop")].includes(document.activeElement)) question.focus(); // it is about to be hidden
  find("send").hidden = controller !== null;
  find("stop").hidden = controller === null;
  find("fresh").disabled = log.childElementCount === 0;
  find("welcome").hidden = log.childElementCount > 0;
}

function setQuestion(text) {
  question.value = text;
  question.style.height = "auto";
  question.style.height = `${question.scrollHeight + 2}px`;
}

function isAtEnd() {
  return innerHeight + scrollY >= document.documentElement.scrollHeight - 80;
}

function keepInView(following) {
  if (following) scrollTo(0, document.documentElement.scrollHeight);
}

function submit() {
  const text = question.value.trim();
  if (!text || running) return;
  setQuestion("");
  ask(text);
}

function begin() {
  running?.abort();
  log.replaceChildren();
  conversation = [];
  complain("");
  setQuestion("");
  setRunning(null);
  question.focus();
}

find("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
question.addEventListener("input", () => setQuestion(question.value));
question.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !access.open) running?.abort();
});
find("stop").addEventListener("click", () => running?.abort());
find("fresh").addEventListener("click", begin);
find("access-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, find("key").value.trim());
  find("key").value = "";
  access.close();
  complain("");
  showModel();
  question.focus();
});
showModel();
