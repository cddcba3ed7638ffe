// What the browser keeps. A browser may refuse to keep anything, or be full; then the page forgets, and works.

/** The value that was kept, or `missing`. */
export function recall(area, key, missing) {
  try {
    return JSON.parse(area().getItem(key)) ?? missing;
  } catch {
    return missing;
  }
}

/** Keeps a value; whether that could be done. `undefined` removes it. */
export function keep(area, key, value) {
  try {
    if (value === undefined) area().removeItem(key);
    else area().setItem(key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

/** The areas are functions, since even to name one may be refused. `tab` ends with the tab, `browser` does not. */
export const tab = () => sessionStorage;
export const browser = () => localStorage;
