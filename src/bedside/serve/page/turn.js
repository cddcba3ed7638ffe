// A question with its answer, or with one answer of each model side by side; above it the banner of an emergency.

import { announce, copyOf, find, make } from "./dom.js";
import { copyText, download, jsonOf, markdownOf, print, signed } from "./export.js";
import { Voice } from "./voice.js";

export class Turn {
  constructor(text, voices) {
    this.text = text;
    this.voices = voices;
    this.element = copyOf("turn");
    this.element.querySelector(".question").textContent = text;
    const row = this.element.querySelector(".voices");
    row.classList.toggle("compared", voices.length > 1);
    row.append(...voices.map((voice) => voice.element));
    for (const voice of voices) this.offer(voice);
    row.setAttribute("aria-busy", "true"); // the banner above it is heard at once
    find("log").append(this.element);
  }

  /** A turn of the history. */
  static of(record) {
    const turn = new Turn(record.text, record.voices.map((voice) => Voice.of(voice)));
    turn.warn(turn.flags);
    turn.settle();
    return turn;
  }

  get record() { return { text: this.text, voices: this.voices.map((voice) => voice.record) }; }
  get flags() { return this.voices.find((voice) => voice.reply.flags.length)?.reply.flags ?? []; }
  get begun() { return this.flags.length > 0 || this.voices.some((voice) => voice.begun); }
  get answered() { return this.voices.some((voice) => voice.reply.answer); }

  /** The answer that a follow-up to this model refers to: its own, or else the other's; "" if there is none. */
  answerFor(model) {
    const own = this.voices.find((voice) => voice.reply.model === model && voice.reply.answer);
    return (own ?? this.voices.find((voice) => voice.reply.answer))?.reply.answer ?? "";
  }

  /** Emergencies that the text speaks of; they come before the model is asked, and once for all voices. */
  warn(flags) {
    if (!flags.length || this.element.querySelector(".alarm")) return;
    const alarm = copyOf("alarm");
    alarm.append(...flags.map(alarmOf));
    this.element.prepend(alarm);
  }

  offer(voice) {
    const on = (name, act) => voice.part(name).addEventListener("click", act);
    const name = () => `bedside-${new Date(voice.reply.created * 1000).toISOString().slice(0, 19).replace(/\D/g, "-")}-${voice.reply.model.replace(/[^\w.-]+/g, "-")}`;
    const tell = (event) => this.element.dispatchEvent(new CustomEvent(event, { bubbles: true, detail: { turn: this, voice } }));
    on("copy", async () => {
      const button = voice.part("copy");
      button.textContent = (await copyText(signed(voice))) ? "Copied" : "Copying is not allowed here";
      announce(`${button.textContent}.`);
      setTimeout(() => { button.textContent = "Copy answer"; }, 2000);
    });
    on("print", () => print(this.element));
    on("markdown", () => download(`${name()}.md`, markdownOf(this.text, voice), "text/markdown"));
    on("json", () => download(`${name()}.json`, jsonOf(this.text, voice), "application/json"));
    on("again", () => tell("again"));
    on("up", () => tell("rate-up"));
    on("down", () => tell("rate-down"));
  }

  /** Nothing more comes. */
  settle() { this.element.querySelector(".voices").setAttribute("aria-busy", "false"); }

  remove() {
    for (const voice of this.voices) clearInterval(voice.clock);
    this.element.remove();
  }
}

/** The first one is told whole, of others the name until it is unfolded: the answer stays near. */
function alarmOf(flag, at) {
  const box = make(at ? "details" : "div", "", "flag");
  const source = make("p", "Source: ", "sign");
  const link = make("a", flag.source);
  link.href = flag.url;
  link.rel = "noopener noreferrer nofollow";
  link.target = "_blank";
  source.append(link);
  box.append(make(at ? "summary" : "p", flag.title, "flag-title"), make("p", flag.advice), make("p", `Signs read in the text: ${flag.matched.join(", ")}.`, "sign"), source);
  return box;
}
