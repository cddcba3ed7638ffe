// Small words for the document, and what is said to those who do not see it.

/** The element of that id. */
export const find = (id) => document.getElementById(id);

/** A fresh copy of the one element of a template. */
export const copyOf = (id) => find(id).content.firstElementChild.cloneNode(true);

/** An element with text and class. */
export function make(name, text = "", className = "") {
  const element = document.createElement(name);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

/** Makes the children of `box` those of `made`; one that is the same stays, with its focus and what is selected in it. */
export function renew(box, made) {
  const wanted = [...made.childNodes];
  for (const [at, child] of wanted.entries()) {
    const old = box.childNodes[at];
    if (!old) box.append(child);
    else if (!old.isEqualNode(child)) old.replaceWith(child);
  }
  while (box.childNodes.length > wanted.length) box.lastChild.remove();
}

/** A line for screen readers; the text that streams is in no live region, or each word would be read out. */
export function announce(text) { find("status").textContent = text; }

/** The line above the question that says what went wrong; "" takes it away. */
export function complain(text) {
  find("failure").textContent = text;
  find("failure").hidden = !text;
}

/** Seconds as they are told. */
export const lasting = (seconds) => (seconds < 1 ? "under 1 s" : `${seconds} s`);
