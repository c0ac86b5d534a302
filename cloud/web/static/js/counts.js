// Entries and exits of the store's lines and counters, and who is inside; shown
// where anything is counted.
import { $, el } from "./dom.js";
import { label, t } from "./i18n.js";
import { ago, clock, day, figure, now, percent, span } from "./format.js";
import { address, get } from "./net.js";
import { at, isHere } from "./state.js";
import { chartLibrary, chartRange, frameOf, hatchUnobserved, stairs } from "./charts.js";

let data = null;
let plots = [];
let live = new Map(); // name -> live figure of a counter
let turn = 0, last = 0;
let onChange = () => {};

const place = () => ({ store: at.store.name, edge: at.edge.name });
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const when = (ms) => `${day(ms) === day(now()) ? "" : day(ms) + " "}${clock(ms)}`;

// counted tells whether the page shows counts.
export const counted = () => !!data && data.lines.length + data.inside.length > 0;

// startCounts calls f when counts begin or cease to be shown.
export function startCounts(f) {
  onChange = f;
  addEventListener("resize", () => {
    for (const p of plots) p.setSize({ width: Math.max(200, p.root.parentElement.clientWidth), height: 190 });
  });
}

// loadCounts reads again, at most once in `every` ms.
export async function loadCounts(every = 0) {
  if (!at.camera || Date.now() - last < every) return;
  last = Date.now();
  const mine = ++turn;
  const to = Math.ceil(now());
  const got = await get("/api/counts", { ...place(), from: to - chartRange() * 1000, to });
  if (mine !== turn) return;
  const before = counted();
  data = got;
  if (counted() !== before) onChange();
  drawCounts();
}

// takeLevel takes the live figure of a counter.
export function takeLevel(v) {
  if (!isHere(v) || v.camera !== "counter") return;
  live.set(v.zone, v);
  drawInsideNow();
}

export function clearCounts() {
  turn++;
  last = 0;
  data = null;
  live = new Map();
  drawCounts();
}

// lineName says whose line it is where a name alone would not.
function lineName(l) {
  const known = at.edge.cameras.flatMap((c) => c.lines ?? []).concat(at.edge.counters ?? []).find((x) => x.name === l.line);
  const name = label(known ?? { name: l.line });
  return data.lines.some((o) => o !== l && o.line === l.line) ? `${name} (${l.camera})` : name;
}

export function drawCounts() {
  $("counts").hidden = !counted();
  for (const p of plots) p.destroy();
  plots = [];
  if (!counted()) return;
  $("counts-step").textContent = t("charts.step", { step: span(data.step_s) });
  $("counts-csv").href = address("/api/counts", { ...place(), from: data.from, to: data.to, step: data.step_s, format: "csv" });
  $("counts-tiles").replaceChildren(...data.inside.map((s) => el("div", { class: "fig now", "data-inside": s.name })), ...data.lines.flatMap(today));
  $("counts-charts").replaceChildren(...data.lines.map((l, i) => frame(`chart-line-${i}`, lineName(l), "entries", l, lineColumns())),
    ...data.inside.map((s, i) => frame(`chart-inside-${i}`, t("counts.chart", { name: s.name }), "inside", s, insideColumns())));
  drawInsideNow();
  if (!chartLibrary()) return;
  data.lines.forEach((l, i) => draw(`chart-line-${i}`, l, lineColumns()));
  data.inside.forEach((s, i) => draw(`chart-inside-${i}`, s, insideColumns()));
}

const lineColumns = () => [
  { column: "in", text: "counts.in", stroke: colour("--z0") },
  { column: "out", text: "counts.out", stroke: colour("--z1"), dash: [7, 4] },
];
const insideColumns = () => [{ column: "people", text: "counts.inside", stroke: colour("--z3") }];

function tile(name, def, value, note) {
  const about = t("defs.about", { term: t("def." + def) });
  return [el("span", {}, name, el("button", { class: "q", "data-def": def, "aria-label": about, title: about })), el("b", {}, value), el("small", {}, note)];
}

function today(l) {
  const heard = l.today.coverage != null;
  const note = heard ? t("counts.since", { time: when(data.today_from), coverage: percent(l.today.coverage) }) : t("counts.unheard");
  return [["counts.intoday", l.today.in], ["counts.outtoday", l.today.out]].map(([text, n]) =>
    el("div", { class: "fig" }, ...tile(t(text, { name: lineName(l) }), "entries", heard ? figure(n, 0) : "–", note)));
}

// drawInsideNow writes who is inside: live, else as it was last told.
export function drawInsideNow() {
  if (!counted()) return;
  for (const s of data.inside) {
    const host = document.querySelector(`#counts-tiles [data-inside="${s.name}"]`);
    if (!host) continue;
    const held = host.contains(document.activeElement);
    host.replaceChildren(...tile(t("counts.now", { name: s.name }), "inside", ...insideNow(s)));
    if (held) host.querySelector("button").focus();
  }
}

function insideNow(s) {
  const v = live.get(s.name);
  const drift = s.drift ? " · " + t("counts.drift", { time: when(s.drift.t), n: figure(s.drift.people, 0) }) : "";
  if (v && now() - v.t <= v.valid_s * 1000) {
    if (v.coverage > 0) return [figure(v.occupancy, 0), ago(v.t) + drift];
    return ["–", t("counts.silent") + drift];
  }
  const told = s.latest;
  if (!told || now() - told.t > (2 * told.width_s + 600) * 1000) return ["–", (told ? t("tile.stale", { age: ago(told.t) }) : t("counts.unheard")) + drift];
  return [figure(told.people, 0), t("counts.told", { time: when(told.t), coverage: percent(told.coverage) }) + drift];
}

function frame(id, name, def, z, columns) {
  const about = t("defs.about", { term: t("def." + def) });
  const newest = (c) => z[c.column].findLast((v) => v != null) ?? null;
  const plot = el("div", { class: "plot", role: "img", "aria-label": `${name}: ${columns.map((c) => `${t(c.text)} ${figure(newest(c), 0)}`).join(", ")}` });
  if (!columns.some((c) => z[c.column].some((v) => v != null))) plot.append(el("p", { class: "empty" }, t("charts.empty")));
  const notes = z.redrawn ? [el("p", { class: "note" }, t("charts.redrawn", { zone: name, time: when(z.redrawn) }))] : [];
  return el("div", { class: "chart", id },
    el("div", { class: "head" }, el("h3", {}, name), el("button", { class: "q", "data-def": def, "aria-label": about, title: about })),
    ...notes, plot, el("div", { class: "read lines" }));
}

function draw(id, z, columns) {
  const host = $(id), plot = host.querySelector(".plot");
  if (plot.querySelector(".empty") || !z.t.length) return;
  const out = host.querySelector(".read");
  plots.push(new (chartLibrary())({
    ...frameOf(plot, data.from, data.to, 0),
    series: [{}, ...columns.map((c) => ({
      stroke: c.stroke, width: 2, dash: c.dash, fill: c.dash ? undefined : c.stroke + "2e", points: { show: false }, spanGaps: false,
    }))],
    hooks: { drawClear: [(u) => data && hatchUnobserved(u, [z], data.step_s)], setCursor: [(u) => read(u, z, columns, out)] },
  }, stairs(z.t, data.step_s, columns.map((c) => z[c.column])), plot));
  read(null, z, columns, out);
}

// read writes the figures under the cursor, or the newest ones.
function read(u, z, columns, out) {
  const i = u?.cursor.idx == null ? z.pending.lastIndexOf(false) : Math.floor(u.cursor.idx / 2);
  if (i < 0) return out.replaceChildren();
  const entry = (c) => {
    const key = el("i");
    key.style.borderTopColor = c.stroke;
    key.style.borderTopStyle = c.dash ? "dashed" : "solid";
    return el("span", { class: "key" }, key, `${t(c.text)} ${figure(z[c.column][i], 0)}`);
  };
  out.replaceChildren(el("span", { class: "plain" }, `${when(z.t[i])} – ${clock(z.t[i] + data.step_s * 1000)}`), ...columns.map(entry),
    el("span", { class: "plain" }, t("charts.coverage", { coverage: percent(z.coverage[i]) })));
}
