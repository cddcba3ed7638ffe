// How the next answer is asked for. Only what differs from the server's own way is sent.

import { find } from "./dom.js";
import { browser, keep, recall } from "./storage.js";

const KEY = "bedside-settings";
const DEFAULTS = { model: "", format: "sections", temperature: 0, max_tokens: null, thinking_budget: null, system: "", keep: false };
const REDRAWN_TEMPERATURE = 0.7; // at 0 the model would say the same again

export const settings = { ...DEFAULTS, ...recall(browser, KEY, {}) };
const [dialog, form] = ["settings", "settings-form"].map(find);

/** What a request of POST /v1/answer carries of the settings; `again` draws another answer. */
export function asked(again) {
  const { format, temperature, max_tokens, thinking_budget, system } = settings;
  return {
    format,
    temperature: again ? Math.max(temperature, REDRAWN_TEMPERATURE) : temperature,
    ...(again ? { seed: Math.floor(Math.random() * 2 ** 31) } : {}),
    ...(max_tokens === null ? {} : { max_tokens }),
    ...(thinking_budget === null ? {} : { thinking_budget }),
    ...(system.trim() ? { system } : {}),
  };
}

/** Lists the models. One that is no longer served is forgotten. */
export function offerModels(names) {
  if (!names.includes(settings.model)) settings.model = "";
  form.elements.model.replaceChildren(...names.map((name, at) => new Option(name, at === 0 ? "" : name)));
  show();
}

/** The dialog; `changed` is called after each change that is valid. */
export function prepareSettings(changed) {
  find("open-settings").addEventListener("click", () => {
    show(); // a value that was not taken is not shown again
    dialog.showModal();
  });
  form.addEventListener("change", ({ target }) => {
    if (!target.checkValidity()) return;
    save({ [target.name]: valueOf(target) }, changed);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    dialog.close();
  });
  find("reset-settings").addEventListener("click", () => {
    save(DEFAULTS, changed);
    show();
  });
  addEventListener("storage", ({ key }) => { // another tab has changed them; null where it cleared everything
    if (key !== KEY && key !== null) return;
    Object.assign(settings, DEFAULTS, recall(browser, KEY, {}));
    show();
    changed();
  });
  show();
}

function valueOf(field) {
  if (field.type === "checkbox") return field.checked;
  if (field.type === "number") return field.value === "" ? null : Number(field.value);
  return field.value;
}

function show() {
  for (const [name, value] of Object.entries(settings)) {
    const field = form.elements[name];
    if (field?.type === "checkbox") field.checked = value;
    else if (field) field.value = value ?? "";
  }
}

/** Keeps these settings alone, so that what another tab has changed meanwhile stands. */
function save(values, changed) {
  Object.assign(settings, values);
  keep(browser, KEY, { ...recall(browser, KEY, {}), ...values });
  changed();
}
