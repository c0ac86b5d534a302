// The charts of waits, one pair per queue zone: how long, by both measurements,
// and what came of it.
import { $, el } from "./dom.js";
import { t } from "./i18n.js";
import { clock, day, figure, now, percent, signed, span } from "./format.js";
import { address, get } from "./net.js";
import { trust } from "./trust.js";
import { at, params, zoneColour, zoneLabel } from "./state.js";
import { chartLibrary, frameOf, hatchUnobserved, stairs } from "./charts.js";

let data = null;
let plots = [];
let turn = 0;

export async function loadWaitCharts(from, to, target) {
  const mine = ++turn;
  const got = await get("/api/waits/series", { ...params(), ...trust(), from, to, target });
  if (mine === turn) data = got;
}

export function clearWaitCharts() {
  turn++;
  data = null;
}

const zoneData = (name) => data?.zones.find((z) => z.zone === name);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// lines of each chart: column, text, look. Those of outcomes are stacked.
const waitLines = (z) => [
  { column: "mean_wait_s", text: "waits.mean", stroke: zoneColour(z.name), width: 2.5 },
  { column: "mean_wait_queue_s", text: "waits.meanqueue", stroke: zoneColour(z.name), width: 1 },
  { column: "p90_wait_s", text: "waits.p90", stroke: zoneColour(z.name), width: 1.5, dash: [7, 4] },
  { ...second(z), stroke: colour("--ink"), width: 1.5, dash: [2, 3] },
];
// second is the measurement without identities: by crossings, or by Little's law
// where a box tells none.
const second = (z) => (zoneData(z.name)?.crossing_wait_s.some((v) => v != null)
  ? { column: "crossing_wait_s", text: "waits.crossing", apart: "crossing_disagreement" }
  : { column: "little_wait_s", text: "waits.little", apart: "disagreement" });
const band = ["realised_low_s", "realised_high_s"];
const outcomeLines = () => [
  { column: "served", text: "waits.served", stroke: colour("--ok") },
  { column: "left", text: "waits.left", stroke: colour("--accent") },
  { column: "abandoned", text: "waits.abandoned", stroke: colour("--bad") },
  { column: "unknown", text: "waits.unknown", stroke: colour("--shade") },
];

// waitFrames returns the places of a zone's charts; drawWaitCharts fills them.
export function waitFrames(zone) {
  const z = zoneData(zone.name);
  return [el("div", { class: "charts" },
    place(zone, z, "wait", t("chart.wait"), "little", waitLines(zone)),
    place(zone, z, "outcome", t("chart.outcome"), "outcome", used(z, outcomeLines())))];
}

const used = (z, lines) => lines.filter((l) => l.column !== "left" || z?.left.some((v) => v > 0));

function place(zone, z, key, name, def, lines) {
  const csv = address("/api/waits/series", { ...params(), ...trust(), zone: zone.name, from: data?.from ?? 0, to: data?.to ?? 1, step: data?.step_s ?? "", format: "csv" });
  const newest = (column) => z?.[column].findLast((v) => v != null) ?? null;
  const summary = `${zoneLabel(zone.name)}, ${name}: ${lines.map((l) => `${t(l.text)} ${figure(newest(l.column), 1)}`).join(", ")}`;
  const about = t("defs.about", { term: t("def." + def) });
  const plot = el("div", { class: "plot", role: "img", "aria-label": summary });
  if (!data || !lines.some((l) => z?.[l.column].some((v) => v != null))) plot.append(el("p", { class: "empty" }, t(data ? "charts.empty" : "charts.loading")));
  return el("div", { class: "chart", id: `chart-${key}-${zone.name}` },
    el("div", { class: "head" }, el("h4", {}, name), el("button", { class: "q", "data-def": def, "aria-label": about, title: about }),
      data && el("span", { class: "muted" }, t("charts.step", { step: span(data.step_s) })),
      el("span", { class: "grow" }), data && el("a", { class: "csv", href: csv, download: true, "aria-label": `${name} CSV` }, t("csv"))),
    plot, el("div", { class: "read lines" }));
}

export function drawWaitCharts() {
  for (const p of plots) p.destroy();
  plots = [];
  if (!data || !chartLibrary()) return;
  for (const zone of at.camera.zones.filter((z) => z.role === "queue")) {
    const z = zoneData(zone.name);
    if (!z?.t.length) continue;
    draw(`chart-wait-${zone.name}`, z, waitLines(zone), 1, false);
    draw(`chart-outcome-${zone.name}`, z, used(z, outcomeLines()), 0, true);
  }
}

// draw plots lines; stacked ones from the top of the stack down, so that each
// covers what lies below it.
function draw(id, z, lines, digits, stacked) {
  const host = $(id), plot = host?.querySelector(".plot");
  if (!plot || plot.querySelector(".empty")) return;
  const columns = lines.map((l, i) => (stacked ? z.t.map((_, k) => (z[l.column][k] == null ? null : lines.slice(0, i + 1).reduce((s, m) => s + z[m.column][k], 0))) : z[l.column]));
  const order = lines.map((_, i) => i);
  if (stacked) order.reverse();
  if (!stacked) columns.push(...band.map((name) => z[name]));
  const edges = stacked ? [] : band.map(() => ({ width: 0, points: { show: false }, spanGaps: false }));
  const drawn = [...order, ...edges.map((_, i) => lines.length + i)];
  const out = host.querySelector(".read");
  plots.push(new (chartLibrary())({
    ...frameOf(plot, data.from, data.to, digits),
    series: [{}, ...order.map((i) => ({
      stroke: lines[i].stroke, width: lines[i].width ?? 1, dash: lines[i].dash, fill: stacked ? lines[i].stroke : undefined,
      points: { show: false }, spanGaps: false,
    })), ...edges],
    bands: stacked ? [] : [{ series: [lines.length + 2, lines.length + 1], fill: `${lines[0].stroke}26` }],
    hooks: { drawClear: [(u) => hatchUnobserved(u, [z], data.step_s)], setCursor: [(u) => read(u, z, lines, digits, out)] },
  }, stairs(z.t, data.step_s, drawn.map((i) => columns[i])), plot));
  read(null, z, lines, digits, out);
}

// read writes the figures under the cursor, or the newest ones, with a key to
// the lines.
function read(u, z, lines, digits, out) {
  const i = u?.cursor.idx == null ? z.pending.lastIndexOf(false) : Math.floor(u.cursor.idx / 2);
  if (i < 0) return out.replaceChildren();
  const ms = z.t[i];
  const entry = (l) => {
    const key = el("i");
    key.style.borderTopColor = l.stroke;
    key.style.borderTopWidth = `${Math.max(2, l.width ?? 3)}px`;
    key.style.borderTopStyle = l.dash ? (l.dash[0] > 4 ? "dashed" : "dotted") : "solid";
    return el("span", { class: "key" }, key, `${t(l.text)} ${figure(z[l.column][i], digits)}`);
  };
  out.replaceChildren(el("span", { class: "plain" }, `${day(ms) === day(now()) ? "" : day(ms) + " "}${clock(ms)} – ${clock(ms + data.step_s * 1000)}`),
    ...lines.map(entry),
    el("span", { class: "plain" }, [
      ...(lines[0].column === "mean_wait_s" ? [t("waits.n", { n: figure(z.n[i], 0) })] : []),
      ...lines.filter((l) => l.apart && z[l.apart][i] != null).map((l) => t("waits.apart", { apart: signed(z[l.apart][i]) })),
      ...(lines[0].column === "mean_wait_s" && z.realised_low_s[i] != null ? [t("waits.within", { low: figure(z.realised_low_s[i], 0), high: figure(z.realised_high_s[i], 0) })] : []),
      t("charts.coverage", { coverage: percent(z.coverage[i]) }),
    ].join(" · ")));
}

addEventListener("resize", () => {
  for (const p of plots) p.setSize({ width: Math.max(200, p.root.parentElement.clientWidth), height: 190 });
});
