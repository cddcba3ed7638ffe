// Requests to this server: with the key, and with what it refuses turned into an error that has a line for the reader.

import { keep, recall, tab } from "./storage.js";

const KEY = "bedside-api-key";
let inMemory = null; // for a browser that keeps nothing

/** The server said no. `code` is OpenAI's, `retryAfter` the seconds as text. */
export class Refused extends Error {
  constructor(status, detail, retryAfter) {
    super(detail.message);
    this.status = status;
    this.code = detail.code;
    this.retryAfter = retryAfter;
  }
}

/** There is no server, or it went in the middle. */
class Gone extends Error {}

/** What is awaited of the network; unless the reader stopped it, a failure means that the server is gone. */
const reached = (promise) => promise.catch((error) => { throw error.name === "AbortError" ? error : new Gone(error.message); });

export const key = () => inMemory ?? recall(tab, KEY, null);

/** Keeps the key for this tab; null forgets it. */
export function setKey(value) {
  inMemory = value;
  keep(tab, KEY, value ?? undefined);
}

/** GET without a body, POST with one. Raises Refused, or Gone where there is no server. */
export async function call(path, body, signal) {
  const headers = { "Content-Type": "application/json", ...(key() ? { Authorization: `Bearer ${inBytes(key())}` } : {}) };
  const asked = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  const response = await reached(fetch(path, { ...asked, headers, signal }));
  if (response.ok) return response;
  const detail = (await response.json().catch(() => null))?.error;
  throw new Refused(response.status, detail ?? { message: `status ${response.status}` }, response.headers.get("Retry-After"));
}

/** A header carries bytes, each as the sign of its number; the server reads them as UTF-8. */
const inBytes = (text) => String.fromCharCode(...new TextEncoder().encode(text));

/** The events of a stream. An error among them is raised; so is an end before [DONE]. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  try {
    for (;;) {
      const { value, done } = await reached(reader.read());
      if (done) throw new Gone("the stream ended early");
      const lines = (held + value).split("\n\n");
      held = lines.pop();
      for (const line of lines) {
        const data = line.replace(/^data: /, "");
        if (data === "[DONE]") return;
        const event = JSON.parse(data);
        if (event.error) throw new Refused(500, event.error, event.retry_after ?? null);
        yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // whoever leaves early, by an error too, lets the server know
  }
}

/** Whether there is no server, or soon none. */
export const isGone = (error) => error.code === "server_stopping" || error instanceof Gone;

/** Whether the server or the way to it failed, and not the page. */
export const isFailure = (error) => error instanceof Refused || isGone(error);

/** What went wrong, in a line for the reader; an error of the page's own goes to the console as well. */
export function reasonOf(error) {
  if (error.code === "context_length_exceeded")
    return "The conversation is too long for this model. Shorten the question, or begin a new conversation.";
  if (error.code === "server_busy")
    return `The model is busy with other questions. Try again in ${error.retryAfter ?? 5} seconds.`;
  if (isGone(error))
    return "The server cannot be reached. It may have been stopped; when it runs again, press Enter to resend.";
  if (error.code === "rate_limit_exceeded")
    return `More was asked than this server allows. Try again in ${error.retryAfter ?? 60} seconds.`;
  if (error.code === "upstream_error")
    return "The server that runs the model does not answer as it should. Tell whoever runs this page.";
  if (error instanceof Refused) return `The server refused: ${error.message}.`;
  console.error(error);
  return "The page met an error of its own; reload it.";
}
