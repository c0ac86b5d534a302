import { language, locale, t } from "./i18n.js";

let zone = "UTC";
let skew = 0; // server clock - ours, ms

// setZone takes the store's time zone; a browser that does not know it shows UTC.
export function setZone(z) {
  try { new Intl.DateTimeFormat("en", { timeZone: z }); zone = z; } catch { zone = "UTC"; }
}
export const timeZone = () => zone;
export const setServerTime = (ms) => { skew = ms - Date.now(); };
export const now = () => Date.now() + skew;

const made = new Map();
function formatter(options) {
  const key = locale() + zone + JSON.stringify(options);
  if (!made.has(key)) made.set(key, new Intl.DateTimeFormat(locale(), { timeZone: zone, hourCycle: "h23", ...options }));
  return made.get(key);
}

const hms = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
export const clock = (ms) => formatter(hms).format(ms);
export const minute = (ms) => formatter({ hour: "2-digit", minute: "2-digit" }).format(ms);
export const day = (ms) => formatter({ month: "2-digit", day: "2-digit" }).format(ms);
export const full = (ms) => formatter({ year: "numeric", month: "2-digit", day: "2-digit", ...hms }).format(ms);

export function offset() {
  const part = formatter({ timeZoneName: "longOffset" }).formatToParts(now()).find((p) => p.type === "timeZoneName");
  return (part?.value || "UTC").replace("GMT", "UTC");
}

// span formats seconds for people: 4.2 s, 1 min 20 s, 2 h 5 min.
export function span(s) {
  const u = language() === "zh" ? ["秒", "分", "时", "天"] : ["s", "min", "h", "d"];
  const join = (a, x, b, y) => (b ? `${a} ${x} ${b} ${y}` : `${a} ${x}`);
  if (s < 60) return `${s < 10 ? Math.round(s * 10) / 10 : Math.round(s)} ${u[0]}`;
  s = Math.round(s);
  if (s < 3600) return join(Math.floor(s / 60), u[1], s % 60, u[0]);
  if (s < 86400) return join(Math.floor(s / 3600), u[2], Math.floor((s % 3600) / 60), u[1]);
  return join(Math.floor(s / 86400), u[3], Math.floor((s % 86400) / 3600), u[2]);
}

export function ago(ms) {
  const s = Math.max(0, (now() - ms) / 1000);
  return s < 1.5 ? t("ago.now") : t("ago", { n: span(Math.floor(s)) });
}

export const percent = (v) => (v == null ? "–" : `${Math.floor(v * 100 + 1e-6)} %`); // never rounds up to 100 %
export const figure = (v, digits = 1) => (v == null ? "–" : v.toLocaleString(locale(), { maximumFractionDigits: digits }));
export const signed = (v) => `${v < 0 ? "−" : "+"}${figure(Math.abs(v) * 100, 0)} %`; // a share, with its sign
