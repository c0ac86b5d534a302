// Recorded footage as a timeline with its gaps; a click plays it.
import { $, el } from "./dom.js";
import { has, t } from "./i18n.js";
import { clock, day, minute, now, span } from "./format.js";
import { get } from "./net.js";
import { at, params } from "./state.js";
import { chartRange } from "./charts.js";
import { playFrom } from "./player.js";
import { allowHolds, drawHeld, holdText, pickHold, pickedHold } from "./holds.js";

let data = null;
let turn = 0;
let chosen = null; // the gap whose cause is asked for

export async function loadTimeline() {
  if (!at.camera) return;
  const mine = ++turn;
  const to = Math.ceil(now());
  const got = await get("/api/timeline", { ...params(), from: to - chartRange() * 1000, to });
  if (mine !== turn) return;
  data = got;
  allowHolds(data.holds !== null);
  drawTimeline();
}

export function clearTimeline() {
  turn++;
  data = null;
  chosen = null;
  pickHold(null);
  $("gapinfo").textContent = "";
  drawTimeline();
}

export function drawTimeline() {
  const host = $("timeline");
  $("footage-hint").hidden = !data?.footage.length;
  drawHeld(data?.holds);
  if (!data) return host.replaceChildren();
  if (!data.footage.length && !data.footage_gaps.length && !data.record_gaps.length && !data.holds?.length) return host.replaceChildren(el("p", { class: "empty" }, t("footage.empty")));
  host.replaceChildren(
    lane(t("footage.lane"), "track", data.footage.map(piece), data.footage_gaps.map(gap)),
    ...(data.observation_gaps.length ? [lane(t("footage.watch"), "track thin", [], data.observation_gaps.map(gap))] : []),
    ...(data.record_gaps.length ? [lane(t("footage.records"), "track thin", [], data.record_gaps.map(gap))] : []),
    ...(data.holds?.length ? [lane(t("hold.lane"), "track thin", data.holds.map(held), [])] : []),
    el("div", { class: "lane" }, el("span"), ticks()));
  const real = data.footage_gaps.filter((g) => g.cause !== "open");
  $("gapinfo").textContent = chosen ? gapText(chosen)
    : t("footage.nogap", { n: real.length, length: span(real.reduce((s, g) => s + g.end - g.start, 0) / 1000) });
}

const lane = (name, cls, pieces, gaps) => el("div", { class: "lane" }, el("span", {}, name), el("div", { class: cls }, ...pieces, ...gaps));

function place(e, from, to) {
  const whole = data.to - data.from;
  e.style.left = `${(100 * (from - data.from)) / whole}%`;
  e.style.width = `${(100 * (to - from)) / whole}%`;
  return e;
}

function piece(s) {
  const time = (e) => {
    if (e.detail === 0) return s.start; // by keyboard
    const box = e.currentTarget.parentElement.getBoundingClientRect();
    return Math.max(s.start, Math.min(s.end - 1000, Math.round(data.from + ((e.clientX - box.left) / box.width) * (data.to - data.from))));
  };
  const name = t("footage.at", { time: clock(s.start) });
  const e = el("button", { class: "has", "aria-label": name, onclick: (e) => playFrom(time(e)) });
  e.onpointermove = (p) => { e.title = t("footage.at", { time: clock(time(p)) }); };
  return place(e, s.start, s.end);
}

// cause names a cause in the page's language; a cause that we do not know is
// shown as the record says it.
function cause(c) {
  const key = "cause." + (c || "none");
  return has(key) ? t(key) : c;
}

function gapText(g) {
  const stamp = (ms) => `${chartRange() > 86400 ? day(ms) + " " : ""}${clock(ms)}`;
  return t("footage.gap", { from: stamp(g.start), to: stamp(g.end), length: span((g.end - g.start) / 1000), cause: cause(g.cause) });
}

function gap(g) {
  const text = gapText(g);
  return place(el("button", {
    class: `gap ${g.cause === "open" ? "open" : ""}`, title: text, "aria-label": text,
    onclick: () => {
      chosen = g;
      $("gapinfo").textContent = text;
    },
  }), g.start, g.end);
}

function held(h) {
  const text = holdText(h);
  return place(el("button", {
    class: `held ${h.id === pickedHold() ? "here" : ""}`, title: text, "aria-label": text, "data-hold": h.id,
    onclick: () => {
      pickHold(h.id);
      drawTimeline();
      document.querySelector(`[data-hold="${h.id}"]`)?.focus();
    },
  }), Math.max(h.from, data.from), Math.min(h.to, data.to));
}

function ticks() {
  const n = innerWidth < 560 ? 3 : { 900: 5, 604800: 7 }[chartRange()] ?? 6;
  const out = el("div", { class: "ticks", "aria-hidden": "true" });
  for (let i = 0; i <= n; i++) {
    const ms = data.from + ((data.to - data.from) * i) / n;
    const e = el("span", {}, chartRange() > 86400 ? `${day(ms)} ${minute(ms)}` : minute(ms));
    e.style.left = `${(100 * i) / n}%`;
    out.append(e);
  }
  return out;
}
