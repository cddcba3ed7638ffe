// One model's answer as it streams: reasoning folded away, then cards or text, then what can be done with it.
// Only HTML that the server has rendered and cleaned is taken as markup; everything else is text. What has been shown
// does not move: each part is added below the last one.

import { announce, copyOf, lasting, make, renew } from "./dom.js";

const INCOMPLETE = "What stands here is incomplete.";

/** Reply: the answer as POST /v1/answer gives it. Where it was broken off, `id` is null and the rest what had come. */
export class Voice {
  constructor(model) {
    this.reply = {
      id: null, model, created: Math.round(Date.now() / 1000), answer: "", html: "", reasoning: "", sections: [],
      flags: [], finish: null, usage: null,
    };
    this.thought = null; // seconds of reasoning, once it has ended
    this.remark = "";
    this.took = null;
    this.rating = null; // "up" or "down"
    this.started = performance.now();
    this.thinking = this.started; // until the first word of reasoning comes, which may have waited for a seat
    this.element = copyOf("voice");
    this.element.dataset.model = model;
    this.part("speaker").textContent = `Answer of ${model}`;
    this.clock = setInterval(() => this.tick(), 1000);
  }

  /** A voice of the history. */
  static of(record) {
    const voice = new Voice(record.reply.model);
    Object.assign(voice, record);
    if (voice.reasoned) voice.unveil();
    voice.settle();
    return voice;
  }

  get record() {
    const { reply, thought, remark, took, rating } = this;
    return { reply, thought, remark, took, rating };
  }

  part(name) { return this.element.querySelector("." + name); }
  get details() { return this.element.querySelector("details"); }
  get seconds() { return secondsSince(this.started); }
  get reasoned() { return this.reply.reasoning.trim() !== ""; }
  get begun() { return Boolean(this.reply.answer || this.reasoned || this.reply.sections.length); }

  tick() {
    if (this.thought !== null) return;
    this.part("waiting").textContent = `Waiting for the model… ${this.seconds} s`;
    this.part("state").textContent = `: thinking… ${secondsSince(this.thinking)} s`;
  }

  take(event) {
    if (event.type === "triage") this.reply.flags = event.flags;
    if (event.type === "reasoning") this.reason(event.text);
    if (event.type === "answer") this.reply.answer += event.text;
    if (event.type === "rendered") this.showText(event.html);
    if (event.type === "sections") this.showSections(event.sections);
    if (event.type === "done") this.reply = event.answer;
  }

  reason(text) {
    if (this.details.hidden && text.trim()) {
      this.unveil();
      this.thinking = performance.now();
      this.element.classList.add("thinking");
      this.tick();
      announce("The model is thinking.");
    }
    const box = this.part("reasoning");
    const following = box.scrollTop + box.clientHeight >= box.scrollHeight - 20;
    this.reply.reasoning += text;
    box.append(text);
    if (following) box.scrollTop = box.scrollHeight;
  }

  unveil() {
    this.details.hidden = false;
    this.part("waiting").hidden = true;
  }

  endReasoning() {
    if (this.thought !== null) return;
    this.thought = secondsSince(this.thinking);
    this.element.classList.remove("thinking");
    clearInterval(this.clock);
  }

  showText(html) {
    this.endReasoning();
    this.tellThought();
    this.reply.html = html;
    const made = document.createElement("template");
    made.innerHTML = html;
    for (const link of made.content.querySelectorAll("a")) link.target = "_blank"; // the conversation stays open
    renew(this.part("answer"), made.content);
  }

  showSections(sections) {
    this.endReasoning();
    this.reply.sections = sections;
    this.tellThought();
    this.reply.answer = sections.map(({ name, items }) => [`## ${name}`, "", ...items.map((item) => `- ${item}`)].join("\n")).join("\n\n");
    this.part("rapid").hidden = false;
    const cards = this.part("cards");
    for (const [at, section] of sections.entries()) {
      const card = cards.children[at] ?? cards.appendChild(emptyCard());
      fillCard(card, section);
    }
    while (cards.children.length > sections.length) cards.lastElementChild.remove();
  }

  tellThought() {
    if (this.reasoned) this.part("state").textContent = `: ${lasting(this.thought)}`;
    else this.part("waiting").textContent = this.begun ? "Answered without visible reasoning." : "";
  }

  /** `remark` is what the reader must know about the answer; the model's own way to end gives it otherwise. */
  end(remark) {
    this.endReasoning();
    this.took = this.seconds;
    this.reply.answer = this.reply.answer.trim();
    this.reply.reasoning = this.reply.reasoning.trim();
    this.remark = [remark ?? this.ownRemark(), this.reply.answer ? "" : "Follow-up questions will not refer to this one."]
      .filter(Boolean).join(" ");
    this.settle();
  }

  breakOff(why) { this.end(this.begun ? `${why} ${INCOMPLETE}` : why); }

  /** Shows what is final. */
  settle() {
    clearInterval(this.clock);
    this.part("reasoning").textContent = this.reply.reasoning;
    if (this.reply.sections.length) this.showSections(this.reply.sections);
    else if (this.reply.html) this.showText(this.reply.html);
    else this.tellThought();
    this.part("note").textContent = this.remark;
    this.part("note").hidden = !this.remark;
    const count = this.reply.usage?.completion_tokens;
    this.part("facts").textContent = count && this.took !== null ? `${count} tokens in ${lasting(this.took)}` : "";
    for (const name of ["up", "down"]) this.part(name).hidden = this.reply.id === null;
    this.rate(this.rating);
    for (const name of ["copy", "print", "markdown", "json"]) this.part(name).hidden = !this.reply.answer;
    this.part("tools").hidden = false;
  }

  /** "up", "down", or null. */
  rate(rating) {
    this.rating = rating;
    for (const name of ["up", "down"]) this.part(name).setAttribute("aria-pressed", String(name === rating));
  }

  ownRemark() {
    const { finish, forced, answer } = this.reply;
    if (finish === "length" && answer) return "The answer was cut off at the token limit; it is incomplete.";
    if (finish === "length") return "The token limit was reached while the model was still reasoning, so there is no answer.";
    if (!answer) return "The model ended without an answer.";
    return forced ? "The reasoning was closed at its limit, before the model had ended it." : "";
  }
}

const secondsSince = (moment) => Math.round((performance.now() - moment) / 1000);

function emptyCard() {
  const card = make("section", "", "card");
  card.append(make("h5"), make("ul"));
  return card;
}

function fillCard(card, { name, items }) {
  card.dataset.kind = name.toLowerCase().replaceAll(" ", "-");
  card.firstElementChild.textContent = name;
  const list = card.lastElementChild;
  for (const [at, item] of items.entries()) {
    const line = list.children[at] ?? list.appendChild(make("li"));
    if (line.textContent !== item) line.textContent = item;
  }
  while (list.children.length > items.length) list.lastElementChild.remove();
}
