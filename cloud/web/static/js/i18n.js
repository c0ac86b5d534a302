import { zh, en } from "./texts.js";

const tables = { zh, en };
const listeners = [];
let lang = first();

function first() {
  const asked = new URLSearchParams(location.search).get("lang") || stored();
  if (asked in tables) return asked;
  return (navigator.language || "").toLowerCase().startsWith("zh") ? "zh" : "en";
}

// Storage may be refused by the browser's settings; then the choice lasts as
// long as the page.
function stored() {
  try { return localStorage.getItem("lang") || ""; } catch { return ""; }
}

export const language = () => lang;
export const locale = () => (lang === "zh" ? "zh-CN" : "en-GB");
export const onLanguage = (f) => listeners.push(f);

export function setLanguage(l) {
  lang = l;
  try { localStorage.setItem("lang", l); } catch { /* see stored */ }
  applyTexts();
  for (const f of listeners) f();
}

// t returns the text of key with {name} filled in.
export function t(key, vars = {}) {
  const s = tables[lang][key] ?? key;
  return s.replace(/\{(\w+)\}/g, (m, k) => (k in vars ? String(vars[k]) : m));
}

export const has = (key) => key in tables[lang];

// label picks the language of a {zh, en} label, with the name as the last resort.
export const label = (x) => x?.label?.[lang] || x?.label?.[lang === "zh" ? "en" : "zh"] || x?.name || "";

// applyTexts fills every element that names a text.
export function applyTexts() {
  document.documentElement.lang = lang === "zh" ? "zh-CN" : "en";
  for (const e of document.querySelectorAll("[data-i18n]")) e.textContent = t(e.dataset.i18n);
  for (const e of document.querySelectorAll("[data-i18n-label]")) e.setAttribute("aria-label", t(e.dataset.i18nLabel));
  for (const e of document.querySelectorAll("[data-def]")) {
    const s = t("defs.about", { term: t("def." + e.dataset.def) });
    e.setAttribute("aria-label", s);
    e.title = s;
  }
}
