// Waits, for cameras that have queue zones: the present, the figures of a cohort,
// charts with the second measurement beside, and the list of waits as they end.
import { $, el } from "./dom.js";
import { t } from "./i18n.js";
import { clock, day, figure, now, percent, signed, span } from "./format.js";
import { address, get } from "./net.js";
import { at, isHere, params, zoneClass, zoneLabel } from "./state.js";
import { chartRange } from "./charts.js";
import { liveOf, quality } from "./live.js";
import { leastQuality, leftOut, leftOutOf, redrawnOf, trust } from "./trust.js";
import { playStay } from "./player.js";
import { drawStandard, judgement, loadStandard, rate, startStandard, takeStandard, whatIf } from "./standard.js";
import { clearWaitCharts, drawWaitCharts, loadWaitCharts, waitFrames } from "./waitcharts.js";

const most = 100; // rows
const outcomes = { served: "waits.served", abandoned: "waits.abandoned", left: "waits.left", unknown: "waits.unknown" };
let rows = [];
let left = null; // what min_quality kept out
let breaks = []; // zones that were redrawn
let known = new Map(); // zone -> summary
let cohort = "finished";
let turn = 0, last = 0;

export const queues = () => at.camera?.zones.filter((z) => z.role === "queue") ?? [];

export async function loadWaits(every = 0) {
  if (!queues().length || Date.now() - last < every) return;
  last = Date.now();
  const mine = ++turn;
  const to = Math.ceil(now());
  const from = to - chartRange() * 1000;
  const soon = to + 60000; // a record may carry a stamp slightly ahead of this clock
  const [list, ...sums] = await Promise.all([
    get("/api/waits", { ...params(), ...trust(), from: soon - 24 * 3600e3, to: soon, limit: most }),
    ...queues().map((z) => get("/api/waits/summary", { ...params(), ...trust(), zone: z.name, from, to, cohort, target: whatIf() })),
    loadWaitCharts(from, to, whatIf()),
    loadStandard(),
  ]);
  if (mine !== turn) return;
  [rows, left, breaks] = [list.waits, list.left_out, list.breaks];
  takeStandard(sums.at(-1));
  known = new Map(queues().map((z, i) => [z.name, sums[i]]));
  drawWaits();
}

export function takeWait(v) {
  if (leastQuality()) return; // its interval has not settled
  if (!isHere(v) || v.record.camera !== at.camera.name) return;
  const key = (x) => x.zone + "/" + x.id;
  if (rows.some((x) => key(x) === key(v.record))) return; // sent twice
  rows = [{ ...v.record, fresh: true }, ...rows].sort((a, b) => b.end - a.end).slice(0, most);
  drawList();
  for (const x of rows) x.fresh = false;
}

export function clearWaits() {
  turn++;
  last = 0;
  rows = [];
  known = new Map();
  takeStandard(null);
  clearWaitCharts();
  drawWaits();
}

export function startWaits() {
  $("wait-cohort").onchange = (e) => { cohort = e.target.value; loadWaits(); };
  startStandard(loadWaits);
}

export function drawWaits() {
  $("waits").hidden = !queues().length;
  if (!queues().length) return;
  drawChoices();
  drawStandard();
  $("waits-range").textContent = t("range." + chartRange());
  const held = document.activeElement?.closest("#queues [data-def]");
  const def = held?.dataset.def, zone = held?.closest(".queue").dataset.zone;
  $("queues").replaceChildren(...queues().map(block));
  drawQueueNow();
  drawWaitCharts();
  drawList();
  if (def) $("queues").querySelector(`[data-zone="${zone}"] [data-def="${def}"]`)?.focus();
}

// drawChoices fills the list anew only when its texts change: a list that is open
// would close.
function drawChoices() {
  const fill = (id, all, chosen) => {
    if ($(id).textContent !== all.map(([, text]) => text).join("")) $(id).replaceChildren(...all.map(([value, text]) => el("option", { value }, text)));
    $(id).value = chosen;
  };
  fill("wait-cohort", [["finished", t("waits.finished")], ["began", t("waits.began")]], cohort);
}

function block(z) {
  const s = known.get(z.name);
  return el("section", { class: `queue ${zoneClass(z.name)}`, "data-zone": z.name },
    el("h3", {}, zoneLabel(z.name)),
    el("div", { class: "figures now" }),
    el("p", { class: "note" }, s ? about(s) : t("charts.loading")),
    el("div", { class: "figures" }, ...(s ? tiles(s) : [])),
    ...waitFrames(z));
}

// about names the cohort, the span and the coverage that all figures below have.
function about(s) {
  const left = leftOut(s.left_out);
  if (!(s.coverage > 0)) return [t("waits.uncovered"), left].filter(Boolean).join(" · ");
  return [
    t(cohort === "began" ? "waits.aboutbegan" : "waits.aboutfinished", { from: when(s.from), to: when(s.settled_to), coverage: percent(s.coverage) }),
    t("quality.is", { quality: percent(s.quality) }), left,
  ].filter(Boolean).join(" · ");
}

const when = (ms) => `${day(ms) === day(now()) ? "" : day(ms) + " "}${clock(ms)}`;
const seconds = (v) => (v == null ? "–" : span(v));

function tile(name, value, note, def) {
  return el("div", { class: "fig" },
    el("span", {}, name, el("button", { class: "q", "data-def": def, "aria-label": t("defs.about", { term: t("def." + def) }), title: t("defs.about", { term: t("def." + def) }) })),
    el("b", {}, value), el("small", {}, note || ""));
}

// drawQueueNow writes the present, once a second.
export function drawQueueNow() {
  for (const z of queues()) {
    const host = document.querySelector(`#queues [data-zone="${z.name}"] .now`);
    if (!host) continue;
    const held = host.contains(document.activeElement) && document.activeElement.dataset.def;
    const { live, fresh } = liveOf(z.name);
    const n = fresh ? live.queue_length : null;
    host.replaceChildren(
      tile(t("waits.queue"), figure(n, 0), quality(live), "queue"),
      tile(t("waits.longest"), n > 0 && live.longest_wait_s > 0 ? span(live.longest_wait_s) : "–", "", "longestwait"));
    if (held) host.querySelector(`[data-def="${held}"]`)?.focus();
  }
}

function tiles(s) {
  const [first, ...rest] = cohort === "began" ? beganTiles(s) : finishedTiles(s);
  return first ? [first, realisedTile(s.realised), ...rest, ...commonTiles(s)] : commonTiles(s);
}

// realisedTile is the mean that these people really had.
function realisedTile(m) {
  if (m?.mean_s == null) return tile(t("waits.realised"), "–", "", "realised");
  const doubt = m.joined + m.partly > 0 ? t("waits.pieced", { n: figure(m.people, 0), joined: figure(m.joined, 0), partly: figure(m.partly, 0) }) : t("waits.people", { n: figure(m.people, 0) });
  const [low, high] = [span(m.low_s), span(m.high_s)];
  return tile(t("waits.realised"), low === high ? low : `${low} – ${high}`, `${t("waits.best", { mean: span(m.mean_s) })} · ${doubt}`, "realised");
}

// overTile is the share of those who waited longer than they were to.
const overTile = (s, of, share, n) => tile(of.target_s == null ? t("waits.overtarget") : t("waits.over", { target: span(of.target_s) }),
  rate(share), [n, judgement(s.judged, share)].filter(Boolean).join(" · "), "target");

function finishedTiles(s) {
  const { finished: f, service } = s;
  if (!f) return [];
  const w = f.waits;
  const out = [
    tile(t("waits.mean"), seconds(w.mean_s), `${t("waits.n", { n: figure(w.n, 0) })} · ${t("waits.nodirect", { mean: seconds(f.without_direct.mean_s) })}`, "waitmean"),
    tile(t("waits.median"), seconds(w.median_s), "", "waitquantile"),
    tile(t("waits.p90"), seconds(w.p90_s), "", "waitquantile"),
    overTile(s, f, w.over_target_share, w.over_target == null ? "" : t("waits.overn", { over: figure(w.over_target, 0), n: figure(w.n, 0) })),
  ];
  if (service || f.served || f.abandoned) {
    out.push(tile(t("waits.served"), figure(f.served, 0), t("waits.direct", { n: figure(f.direct, 0) }), "served"),
      tile(t("waits.abandoned"), figure(f.abandoned, 0), f.abandoned_waits.n ? t("waits.after", { mean: seconds(f.abandoned_waits.mean_s) }) : "", "abandoned"));
  } else out.push(tile(t("waits.left"), figure(f.left, 0), "", "left"));
  out.push(tile(t("waits.unknown"), figure(f.unknown, 0), t("waits.unseen", { n: figure(f.unseen, 0) }), "unknown"));
  return out;
}

function beganTiles(s) {
  const b = s.began;
  if (!b) return [];
  const share = (k) => (b.outcomes?.[k] == null ? "–" : percent(b.outcomes[k]));
  return [
    tile(t("waits.rmean"), `${b.last_censored ? "≥ " : ""}${seconds(b.restricted_mean_s)}`,
      `${t("waits.n", { n: figure(b.n, 0) })} · ${b.last_censored ? t("waits.upto", { limit: seconds(b.restricted_to_s) }) : t("waits.allended")}`, "began"),
    tile(t("waits.median"), seconds(b.median_s), "", "began"),
    tile(t("waits.p90"), seconds(b.p90_s), b.p90_s == null && b.n ? t("waits.notyet") : "", "began"),
    overTile(s, b, b.over_target_share, ""),
    tile(t("waits.served"), share("served"), t("waits.direct", { n: figure(b.direct, 0) }), "served"),
    tile(t("waits.abandoned"), share("abandoned"), "", "abandoned"),
    tile(t("waits.unknown"), figure(b.unknown, 0), t("waits.censored"), "unknown"),
  ];
}

function commonTiles(s) {
  const out = [];
  if (s.running) out.push(tile(t("waits.running"), figure(s.running.n, 0), s.running.longest_s == null ? "" : t("waits.since", { longest: `${s.running.placed ? "≈ " : ""}${span(s.running.longest_s)}` }), "running"));
  if (s.little?.crossing_wait_s != null) {
    const apart = s.little.crossing_disagreement;
    out.push(tile(t("waits.crossing"), span(s.little.crossing_wait_s), [t("waits.n", { n: figure(s.little.crossings, 0) }), ...(apart == null ? [] : [t("waits.apart", { apart: signed(apart) })])].join(" · "), "crossing"));
  }
  if (s.little) {
    const apart = s.little.disagreement;
    out.push(tile(t("waits.little"), seconds(s.little.wait_s), apart == null ? "" : t("waits.apart", { apart: signed(apart) }), "little"));
  }
  if (s.service) {
    out.push(tile(t("waits.service"), seconds(s.service.times.mean_s), t("waits.n", { n: figure(s.service.times.n, 0) }), "service"),
      tile(t("waits.perhour"), figure(s.service.served_per_hour, 1), t("waits.busy", { busy: span(s.service.busy_s) }), "throughput"));
  }
  return out;
}

function drawList() {
  const here = document.activeElement?.closest("#waitlist li")?.dataset.key;
  $("waitlist").replaceChildren(...rows.map(row));
  $("waits-empty").hidden = rows.length > 0;
  $("waits-left").textContent = [leftOutOf(left), redrawnOf(breaks)].filter(Boolean).join(" ");
  if (here) [...$("waitlist").children].find((e) => e.dataset.key === here)?.querySelector("button")?.focus();
  const to = Date.now();
  $("waits-csv").href = address("/api/waits", { ...params(), ...trust(), from: to - 24 * 3600e3, to, format: "csv" });
}

function row(x) {
  const time = clock(x.enter);
  const at2 = x.service_zone ? ` → ${zoneLabel(x.service_zone)}` : "";
  return el("li", { class: `${zoneClass(x.zone)}${x.fresh ? " fresh" : ""}`, "data-key": x.zone + "/" + x.id },
    el("button", { class: "play", "aria-label": t("waits.play", { zone: zoneLabel(x.zone), time }), onclick: () => play(x) }, "▶"),
    el("div", { class: "who" }, el("strong", {}, zoneLabel(x.zone) + at2), el("span", {}, `${when(x.enter)} – ${clock(x.end)}`)),
    el("div", { class: `outcome ${x.outcome}` }, t(outcomes[x.outcome] || "waits.unknown"), x.direct ? el("small", {}, t("waits.isdirect")) : null),
    el("div", { class: "len" }, span(x.wait_s), x.enter_seen ? null : el("span", {}, t("waits.notseen"))));
}

// play shows the footage of a wait. The stay behind it knows the tracks to mark:
// it has the wait's id, or of those who went to the counter directly its moment.
async function play(x) {
  const zone = x.direct ? x.service_zone : x.zone;
  let stay = null;
  try {
    const got = await get("/api/stays", { ...params(), zone, from: x.enter, to: Math.max(x.end, x.enter) + 30 * 60e3, limit: 2000 });
    stay = got.stays.find((s) => (x.direct ? s.enter === x.enter && s.id.endsWith(x.id.slice(x.id.lastIndexOf("-"))) : s.id === x.id));
  } catch { /* then nobody is marked */ }
  playStay({ zone: x.zone, enter: x.enter, exit: x.direct ? x.end + 5000 : x.end, duration_s: x.wait_s, tracks: stay?.tracks, wait: true });
}
