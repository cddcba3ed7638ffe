// Thumbs with a comment, for a file on the server's machine. The text goes along only if the box is ticked each time.

import { call, reasonOf } from "./api.js";
import { announce, find } from "./dom.js";

const dialog = find("feedback");
let given = null; // {rating, turn, voice} of the open dialog

/** Asks what somebody thinks of an answer. */
export function askFeedback(rating, { turn, voice }) {
  given = { rating, turn, voice };
  find("feedback-title").textContent = rating === "up" ? "What is good about this answer?" : "What is wrong with this answer?";
  find("feedback-form").reset();
  tell("");
  dialog.showModal();
}

/** `rated` is called when a rating was written down. */
export function prepareFeedback(rated) {
  find("close-feedback").addEventListener("click", () => dialog.close());
  find("feedback-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await send(given);
      rated();
    } catch (error) {
      tell(error.code === "no_feedback" ? "This server takes no feedback." : reasonOf(error));
    }
  });
}

async function send({ rating, turn, voice }) {
  const { id, model, answer } = voice.reply;
  const comment = find("comment").value.trim();
  const text = find("with-text").checked ? { question: turn.text, answer } : {};
  await call("v1/feedback", { id, rating, model, ...(comment ? { comment } : {}), ...text });
  voice.rate(rating);
  dialog.close();
  announce("Thank you; the feedback was written down.");
}

function tell(text) {
  find("feedback-failure").textContent = text;
  find("feedback-failure").hidden = !text;
}
