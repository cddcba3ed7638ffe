// Past conversations, in this browser only: for as long as the tab is open, or, if that is chosen, until they are cleared.
// A conversation is {id, title, time, turns: [Turn.record]}; the newest stands first.

import { find, make } from "./dom.js";
import { settings } from "./settings.js";
import { browser, keep, recall, tab } from "./storage.js";

const KEY = "bedside-history";
const MOST = 30;
const MOST_CHARACTERS = 2_000_000; // browsers give about five million to all of a site
const TITLE = 70;

const dialog = find("history");
const area = () => (settings.keep ? browser() : tab());
const all = () => recall(area, KEY, []);

/** Keeps a conversation, and forgets the oldest ones where there is no room for all. */
export function remember(conversation) {
  store([conversation, ...all().filter(({ id }) => id !== conversation.id)]);
}

/** A conversation of the history; undefined if it is not there. */
export const kept = (id) => all().find((one) => one.id === id);

/** What a conversation is called in the list. */
export function titleOf(text) {
  const line = text.replace(/\s+/g, " ").trim();
  return line.length > TITLE ? `${line.slice(0, TITLE).trimEnd()}…` : line;
}

/** Follows the setting: what is no longer to be kept is taken out of the browser at once, and stays in the tab. */
export function moveHistory() {
  const [from, to] = settings.keep ? [tab, browser] : [browser, tab];
  const moved = recall(from, KEY, []);
  keep(from, KEY, undefined);
  const there = recall(to, KEY, []).filter(({ id }) => moved.every((one) => one.id !== id));
  if (moved.length) store([...moved, ...there]);
}

/** The dialog: `reopen` gets a conversation that is wanted back, `gone` the ids of what was deleted. */
export function prepareHistory(reopen, gone) {
  const list = () => {
    find("history-where").textContent = settings.keep
      ? "Kept in this browser until it is cleared. Everybody who uses this browser profile can read it."
      : "Kept until this tab is closed. In the settings it can be kept for longer.";
    const past = all();
    const rows = past.map((one) => row(one, () => { dialog.close(); reopen(one); }, () => { forget(one.id); gone([one.id]); list(); }));
    find("past").replaceChildren(...(rows.length ? rows : [make("li", "Nothing yet.", "none")]));
    find("clear-history").disabled = !rows.length;
    find("clear-history").textContent = "Clear all";
  };
  find("open-history").addEventListener("click", () => { list(); dialog.showModal(); });
  find("close-history").addEventListener("click", () => dialog.close());
  find("clear-history").addEventListener("click", ({ target }) => {
    const sure = `Clear all ${all().length}: press again`;
    if (target.textContent !== sure) { target.textContent = sure; return; }
    gone(all().map(({ id }) => id));
    for (const where of [tab, browser]) keep(where, KEY, undefined);
    list();
    find("close-history").focus();
  });
}

function row({ title, time }, open, remove) {
  const item = make("li");
  const opener = make("button", "", "opener");
  opener.append(make("span", title, "title"), make("span", new Date(time).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }), "when"));
  opener.type = "button";
  opener.addEventListener("click", open);
  const remover = make("button", "Delete");
  remover.type = "button";
  remover.setAttribute("aria-label", `Delete: ${title}`);
  remover.addEventListener("click", () => { remove(); find("close-history").focus(); });
  item.append(opener, remover);
  return item;
}

function forget(id) { store(all().filter((one) => one.id !== id)); }

function store(conversations) {
  const kept = conversations.slice(0, MOST);
  while (kept.length && JSON.stringify(kept).length > MOST_CHARACTERS) kept.pop();
  while (!keep(area, KEY, kept) && kept.length) kept.pop();
}
