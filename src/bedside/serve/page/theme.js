// The theme: as the system has it, dark or light. No module, since it must run before the first thing is drawn.
"use strict";
{
  const KEY = "bedside-theme";
  const THEMES = ["auto", "dark", "light"];

  const stored = () => {
    try { return localStorage.getItem(KEY); } catch { return null; } // a browser may refuse all storage
  };
  let theme = THEMES.includes(stored()) ? stored() : "auto";

  const show = () => { document.documentElement.dataset.theme = theme; };
  const tell = () => { document.getElementById("theme-name").textContent = `Theme: ${theme}`; };

  show();
  document.addEventListener("DOMContentLoaded", () => {
    tell();
    document.getElementById("theme").addEventListener("click", () => {
      theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
      try { localStorage.setItem(KEY, theme); } catch { /* then it holds for this page */ }
      show();
      tell();
    });
  });
}
