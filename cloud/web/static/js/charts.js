// The charts: four figures per zone, with what was not observed hatched. The
// library is loaded on its own, because a clone without npm has none.
import { $, el } from "./dom.js";
import { t } from "./i18n.js";
import { clock, day, figure, minute, now, percent, span, timeZone } from "./format.js";
import { address, explain, get } from "./net.js";
import { leastQuality, trust } from "./trust.js";
import { at, params, zoneClass, zoneColour, zoneLabel } from "./state.js";

const ranges = [900, 3600, 21600, 86400, 604800];
const kinds = [
  { key: "occupancy", column: "occupancy", def: "occupancy", digits: 1 },
  { key: "arrivals", column: "arrivals", def: "arrivals", digits: 0 },
  { key: "mean", column: "mean_stay_s", def: "mean", digits: 1 },
  { key: "p90", column: "p90_stay_s", def: "p90", digits: 1 },
];

const counts = [1, 2, 5].flatMap((n) => [1, 10, 100, 1000, 10000].map((k) => n * k)).sort((a, b) => a - b); // no half people

let range = ranges[0];
let uPlot = null, tried = false;
let data = null, failed = null;
let plots = [];
let turn = 0, last = 0;

export const chartRange = () => range;
export const chartLibrary = () => uPlot; // null where it is not built

export async function startCharts(onRange) {
  $("range").replaceChildren(...ranges.map((r) => el("button", {
    "data-range": r,
    onclick: () => { range = r; onRange(); },
  })));
  try {
    uPlot = (await import("/vendor/uPlot.esm.js")).default;
    document.head.append(el("link", { rel: "stylesheet", href: "/vendor/uPlot.min.css" }));
  } catch { /* said on the page by drawCharts */ }
  tried = true;
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawCharts);
  new ResizeObserver(() => {
    for (const p of plots) p.setSize({ width: Math.max(200, p.root.parentElement.clientWidth), height: 190 });
  }).observe($("charts"));
}

// loadCharts reads the series again, at most once in `every` ms.
export async function loadCharts(every = 0) {
  if (!at.camera || Date.now() - last < every) return;
  last = Date.now();
  const mine = ++turn;
  const to = Math.ceil(now());
  const got = await get("/api/series", { ...params(), ...trust(), from: to - range * 1000, to }).catch((e) => {
    if (mine === turn) failed = e;
    throw e;
  });
  if (mine !== turn) return;
  data = got;
  failed = null;
  drawCharts();
}

export const refreshEvery = () => Math.max(4000, (data?.step_s ?? 10) * 400);

export function clearCharts() {
  turn++;
  data = null;
  drawCharts();
}

export function drawCharts() {
  for (const b of $("range").children) {
    b.textContent = t("range." + b.dataset.range);
    b.setAttribute("aria-pressed", Number(b.dataset.range) === range);
  }
  for (const p of plots) p.destroy();
  plots = [];
  $("step").textContent = data ? t("charts.step", { step: span(data.step_s) }) : "";
  $("charts-note").hidden = !(tried && !uPlot) && !notes().length;
  $("charts-note").textContent = [...(tried && !uPlot ? [t("charts.missing")] : []), ...notes()].join(" ");
  $("legend").replaceChildren(...legend());
  $("charts").replaceChildren(...kinds.map(frame));
  if (data && uPlot) kinds.forEach(draw);
}

function notes() {
  const out = [];
  for (const z of data?.zones ?? []) {
    if (z.redrawn) out.push(t("charts.redrawn", { zone: zoneLabel(z.zone), time: `${day(z.redrawn)} ${clock(z.redrawn)}` }));
    if (leastQuality()) out.push(t("quality.leftzone", { zone: zoneLabel(z.zone), least: percent(leastQuality()), share: percent(mean(z.left_out) ?? 0), quality: percent(mean(z.quality)) }));
    if (z.p90_since) out.push(t("charts.p90since", { zone: zoneLabel(z.zone), time: `${day(z.p90_since)} ${clock(z.p90_since)}` }));
  }
  return out;
}

function legend() {
  if (!data) return [];
  return [
    ...data.zones.map((z) => el("span", { class: zoneClass(z.zone) }, el("i"), `${zoneLabel(z.zone)} · ${t("charts.coverage", { coverage: percent(overall(z)) })}`)),
    el("span", {}, el("i", { class: "shade" }), t("charts.shade"), el("button", { class: "q", "data-def": "coverage", "aria-label": t("defs.about", { term: t("def.coverage") }) })),
  ];
}

// overall is the coverage of the settled part of the range.
const overall = (z) => mean(z.coverage);

function mean(column) {
  const known = column.filter((c) => c != null);
  return known.length ? known.reduce((a, b) => a + b, 0) / known.length : null;
}

const newest = (column) => column.findLast((v) => v != null) ?? null;

function frame(kind) {
  const zones = data?.zones ?? [];
  const name = t("chart." + kind.key);
  const summary = zones.map((z) => `${zoneLabel(z.zone)}: ${t("charts.label", {
    name, range: t("range." + range), latest: figure(newest(z[kind.column]), kind.digits), coverage: percent(overall(z)),
  })}`).join("; ");
  const csv = address("/api/series", { ...params(), ...trust(), from: data?.from ?? 0, to: data?.to ?? 1, step: data?.step_s ?? "", format: "csv" });
  const plot = el("div", { class: "plot", role: "img", "aria-label": summary || name });
  const empty = emptyText(zones, kind);
  if (empty) plot.append(el("p", { class: "empty" }, empty));
  return el("div", { class: "chart", id: "chart-" + kind.key },
    el("div", { class: "head" }, el("h3", {}, name),
      el("button", { class: "q", "data-def": kind.def, "aria-label": t("defs.about", { term: t("def." + kind.def) }) }),
      el("span", { class: "grow" }), data && el("a", { class: "csv", href: csv, download: true, "aria-label": `${name} CSV` }, t("csv"))),
    plot, el("div", { class: "read" }));
}

function emptyText(zones, kind) {
  if (!data) return failed ? explain(failed) : t("charts.loading");
  if (zones.some((z) => z[kind.column].some((v) => v != null))) return "";
  if (zones.every((z) => !z.rev)) return t("charts.empty"); // not one interval: a new camera
  const known = zones.flatMap((z) => z.coverage.filter((c) => c != null));
  return known.some((c) => c > 0) || !known.length ? t("charts.empty") : t("charts.uncovered");
}

// stairs turns buckets into the corners of a stair: each holds for its whole
// width, and a missing one leaves a hole.
export function stairs(t, step, columns) {
  const x = [], ys = columns.map(() => []);
  const edge = step - 0.001;
  t.forEach((ms, i) => {
    x.push(ms / 1000, ms / 1000 + edge);
    columns.forEach((c, k) => ys[k].push(c[i], c[i]));
  });
  return [x, ...ys];
}

function draw(kind) {
  const host = $("chart-" + kind.key);
  const plot = host.querySelector(".plot");
  if (!data.zones.length || !data.zones[0].t.length) return;
  plots.push(new uPlot({
    ...frameOf(plot, data.from, data.to, kind.digits),
    series: [{}, ...data.zones.map((z) => ({
      stroke: zoneColour(z.zone), width: 2, points: { show: false }, spanGaps: false,
      fill: kind.key === "arrivals" ? zoneColour(z.zone) + "2e" : undefined,
    }))],
    hooks: { drawClear: [(u) => data && hatchUnobserved(u, data.zones, data.step_s)], setCursor: [(u) => read(u, kind, host.querySelector(".read"))] },
  }, stairs(data.zones[0].t, data.step_s, data.zones.map((z) => z[kind.column])), plot));
  read(null, kind, host.querySelector(".read"));
}

const nice = (hi) => (hi > 0 ? hi * 1.12 : 1);

// frameOf is what all charts share: size, axes in store time, no zoom.
export function frameOf(plot, from, to, digits) {
  const style = getComputedStyle(document.documentElement);
  const muted = style.getPropertyValue("--muted").trim(), line = style.getPropertyValue("--line").trim();
  const axis = { stroke: muted, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "11px system-ui, sans-serif" };
  const days = to - from > 2 * 86400e3;
  return {
    width: Math.max(200, plot.clientWidth), height: 190,
    tzDate: (s) => uPlot.tzDate(new Date(s * 1000), timeZone()),
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
    padding: [8, 20, 0, 0],
    scales: {
      x: { time: true, range: [from / 1000, to / 1000] },
      y: { range: (_, lo, hi) => [0, nice(hi)] },
    },
    axes: [
      { ...axis, size: 30, space: 64, values: (_, v) => v.map((s) => (days ? day(s * 1000) : minute(s * 1000))) },
      { ...axis, size: 40, space: 34, incrs: digits ? undefined : counts, values: (_, v) => v.map((n) => figure(n, 1)) },
    ],
  };
}

// hatchUnobserved hatches each bucket by how much of it was not observed; the
// worst of the zones counts.
export function hatchUnobserved(u, zones, step) {
  const { ctx } = u, box = u.bbox;
  const ink = getComputedStyle(document.documentElement).getPropertyValue("--shade").trim();
  ctx.save();
  ctx.beginPath();
  ctx.rect(box.left, box.top, box.width, box.height);
  ctx.clip();
  zones[0].t.forEach((ms, i) => {
    const worst = Math.min(...zones.map((z) => z.coverage[i] ?? (z.pending[i] ? 1 : 0)));
    if (worst > 0.995) return;
    const a = u.valToPos(ms / 1000, "x", true), b = u.valToPos(ms / 1000 + step, "x", true);
    hatch(ctx, a, box.top, b - a, box.height, ink, 0.25 + 0.75 * (1 - worst));
  });
  ctx.restore();
}

function hatch(ctx, x, y, w, h, ink, strength) {
  ctx.save();
  ctx.beginPath();
  ctx.rect(x, y, w, h);
  ctx.clip();
  ctx.globalAlpha = 0.13 * strength;
  ctx.fillStyle = ink;
  ctx.fillRect(x, y, w, h);
  ctx.globalAlpha = 0.6 * strength;
  ctx.strokeStyle = ink;
  ctx.lineWidth = devicePixelRatio;
  ctx.beginPath();
  const gap = 7 * devicePixelRatio;
  for (let d = Math.floor((x - h) / gap) * gap; d < x + w; d += gap) { // on one grid, so that neighbours join
    ctx.moveTo(d, y + h);
    ctx.lineTo(d + h, y);
  }
  ctx.stroke();
  ctx.restore();
}

// count says how many stays are behind a mean or a percentile.
const count = (z, kind, i) => (kind.def === "mean" || kind.def === "p90" ? ` (n = ${figure(z.stays[i], 0)})` : "");

// read writes the figures under the cursor, or the newest ones.
function read(u, kind, out) {
  const i = u?.cursor.idx == null ? data.zones[0].pending.lastIndexOf(false) : Math.floor(u.cursor.idx / 2);
  if (i < 0) return out.replaceChildren();
  const ms = data.zones[0].t[i];
  const when = `${range > 3600 ? day(ms) + " " : ""}${clock(ms)} – ${clock(ms + data.step_s * 1000)}`;
  out.replaceChildren(el("span", { class: "plain" }, when), ...data.zones.map((z) =>
    el("span", { class: zoneClass(z.zone) }, `${figure(z[kind.column][i], kind.digits)}${count(z, kind, i)} · ${t("charts.coverage", { coverage: percent(z.coverage[i]) })}`)));
}
