import { language, locale, t } from "./i18n.js";

let zone = "UTC";
let skew = 0; // server clock - ours, ms

// setZone takes the store's time zone; a browser that does not know it shows UTC.
export function setZone(z) { zone = known(z); }

function known(z) {
  try { new Intl.DateTimeFormat("en", { timeZone: z }); return z || "UTC"; } catch { return "UTC"; }
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

// dayOf is the date of a moment in a time zone, as a date field wants it.
export const dayOf = (ms, z) => parts(ms, z).slice(0, 3).map((n) => String(n).padStart(2, "0")).join("-");

// parts are year, month, day, hour, minute and second of a moment in a time zone.
function parts(ms, z) {
  const f = new Intl.DateTimeFormat("en-GB", {
    timeZone: known(z), hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric",
  });
  const of = Object.fromEntries(f.formatToParts(ms).map((p) => [p.type, Number(p.value)]));
  return [of.year, of.month, of.day, of.hour, of.minute, of.second];
}

// instant is the moment of a full hour (24 ends the day) of a date in a time zone;
// an hour that the clock skips is the moment at which it does.
export function instant(date, hour, z) {
  const [y, m, d] = date.split("-").map(Number);
  const wall = Date.UTC(y, m - 1, d, hour);
  let ms = wall;
  for (let i = 0; i < 2; i++) {
    const [Y, M, D, h, min, s] = parts(ms, z);
    ms += wall - Date.UTC(Y, M - 1, D, h, min, s);
  }
  return ms;
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
