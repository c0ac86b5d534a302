// Two days, or two queues, beside each other: how far their waits are apart, and
// how far that can be chance.
import { $, el } from "./dom.js";
import { label, t } from "./i18n.js";
import { dayOf, figure, instant, now, percent, span } from "./format.js";
import { get } from "./net.js";
import { leftOut, trust } from "./trust.js";

let places = []; // every queue zone of every camera
let answer = null; // of the server, or null
let problem = "";
let turn = 0;

export function startCompare(attempt) {
  $("compare-form").onsubmit = (e) => {
    e.preventDefault();
    attempt(compare);
  };
}

// offerPlaces takes all cameras in; here is the one that is looked at.
export function offerPlaces(choices, here) {
  places = choices.flatMap((c) => c.camera.zones.filter((z) => z.role === "queue").map((zone) => ({ ...c, zone })));
  $("compare").hidden = !places.length;
  if (!places.length) return;
  const mine = Math.max(0, places.findIndex((p) => p.camera === here));
  fillPlaces("a", mine);
  fillPlaces("b", mine);
  const today = now();
  $("compare-a-day").value = dayOf(today - 86400e3, places[mine].store.time_zone);
  $("compare-b-day").value = dayOf(today, places[mine].store.time_zone);
  clear();
}

// clear takes an answer back that no longer fits the question.
export function clear() {
  turn++;
  answer = null;
  problem = "";
  drawCompare();
}

function fillPlaces(side, chosen) {
  const one = (f) => places.every((p) => f(p) === f(places[0]));
  const name = (p) => [
    ...(one((x) => x.store) ? [] : [label(p.store)]), ...(one((x) => x.camera) ? [] : [label(p.camera)]), label(p.zone),
  ].join(" / ");
  $(`compare-${side}-place`).replaceChildren(...places.map((p, i) => el("option", { value: i, selected: i === chosen }, name(p))));
}

function fillHours() {
  for (const [id, chosen] of [["compare-from", 0], ["compare-to", 24]]) {
    if ($(id).children.length) continue;
    for (let h = 0; h <= 24; h++) $(id).append(el("option", { value: h, selected: h === chosen }, `${String(h).padStart(2, "0")}:00`));
  }
}

// side is one side of the question; its end is no later than now.
function side(name) {
  const p = places[$(`compare-${name}-place`).value], date = $(`compare-${name}-day`).value;
  if (!p || !date) return null;
  const at = (id) => instant(date, Number($(id).value), p.store.time_zone);
  return {
    store: p.store.name, edge: p.edge.name, camera: p.camera.name, zone: p.zone.name,
    from: at("compare-from"), to: Math.min(at("compare-to"), Math.floor(now())),
  };
}

async function compare() {
  const a = side("a"), b = side("b");
  clear();
  if (!a || !b || a.from >= a.to || b.from >= b.to) {
    problem = t("compare.nospan");
    return drawCompare();
  }
  problem = t("charts.loading");
  drawCompare();
  const mine = turn;
  const other = Object.fromEntries(Object.entries(b).map(([k, v]) => ["b_" + k, v]));
  const got = await get("/api/compare", { ...a, ...other, ...trust() }).catch((e) => {
    if (mine === turn) clear();
    throw e;
  });
  if (mine !== turn) return;
  [answer, problem] = [got, ""];
  drawCompare();
}

export function drawCompare() {
  if ($("compare").hidden) return;
  fillHours();
  for (const s of ["a", "b"]) fillPlaces(s, Number($(`compare-${s}-place`).value));
  $("compare-say").textContent = problem;
  $("compare-out").replaceChildren(...(answer ? [...["mean", "median", "p90"].map(tile), sideNote("a"), sideNote("b")] : []));
}

const signedSpan = (s) => `${s < 0 ? "−" : "+"}${span(Math.abs(s))}`;

// tile says one difference and what it means, in words.
function tile(kind) {
  const d = answer[kind];
  const name = t("compare." + kind);
  const says = () => {
    if (d.by_s == null) return t("compare.nobody");
    if (d.low_s == null) return t("compare.short");
    const key = !d.clear ? "compare.same" : d.by_s > 0 ? "compare.longer" : "compare.shorter";
    return t(key, { by: span(Math.abs(d.by_s)), low: signedSpan(d.low_s), high: signedSpan(d.high_s) });
  };
  return el("div", { class: `fig${d.clear ? " clear" : ""}` }, el("span", {}, name), el("b", {}, d.by_s == null ? "–" : signedSpan(d.by_s)), el("small", {}, says()));
}

function sideNote(name) {
  const s = answer[name];
  const value = (v) => (v == null ? "–" : span(v));
  return el("p", { class: "note" }, [
    t("compare.side", { side: name.toUpperCase(), n: figure(s.n, 0), mean: value(s.mean_s), median: value(s.median_s), p90: value(s.p90_s) }),
    t("charts.coverage", { coverage: percent(s.coverage) }), t("quality.is", { quality: percent(s.quality) }),
    ...(leftOut(s.left_out) ? [leftOut(s.left_out)] : []), ...(s.redrawn ? [t("compare.redrawn")] : []),
  ].join(" · "));
}
