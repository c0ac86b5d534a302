// The list of stays as they end, newest first.
import { $, el } from "./dom.js";
import { t } from "./i18n.js";
import { clock, day, figure, now, span } from "./format.js";
import { address, get } from "./net.js";
import { at, isHere, params, zoneClass, zoneLabel } from "./state.js";
import { leastQuality, leftOutOf, redrawnOf, trust } from "./trust.js";
import { playStay } from "./player.js";

const most = 100; // rows
let rows = [];
let loading = 0;
let breaks = []; // zones that were redrawn
let left = null; // what min_quality kept out

export async function loadStays() {
  const turn = ++loading;
  const to = Date.now() + 60000; // a record may carry a stamp slightly ahead of this clock
  const got = await get("/api/stays", { ...params(), ...trust(), from: to - 24 * 3600e3, to, limit: most });
  if (turn !== loading) return;
  [rows, left, breaks] = [got.stays, got.left_out, got.breaks];
  drawStays();
}

export function takeStay(v) {
  if (leastQuality()) return; // its interval has not settled
  if (!isHere(v) || v.record.camera !== at.camera.name) return;
  const key = (x) => x.zone + "/" + x.id;
  if (rows.some((x) => key(x) === key(v.record))) return; // sent twice
  rows = [{ ...v.record, fresh: true }, ...rows].sort((a, b) => b.exit - a.exit).slice(0, most);
  drawStays();
  for (const x of rows) x.fresh = false;
}

export function clearStays() {
  rows = [];
  breaks = [];
  drawStays();
}

export function drawStays() {
  const here = document.activeElement?.closest("#stays li")?.dataset.key;
  $("stays").replaceChildren(...rows.map(row));
  $("stays-empty").hidden = rows.length > 0;
  $("stays-left").textContent = [leftOutOf(left), redrawnOf(breaks)].filter(Boolean).join(" ");
  if (here) [...$("stays").children].find((e) => e.dataset.key === here)?.querySelector("button")?.focus();
  const to = Date.now();
  $("stays-csv").href = at.camera ? address("/api/stays", { ...params(), ...trust(), from: to - 24 * 3600e3, to, format: "csv" }) : "#";
}

function row(x) {
  const time = clock(x.enter);
  const border = (seen, name, yes, no) => el("span", { class: seen ? "" : "no", title: t(seen ? yes : no) }, `${seen ? "✓" : "○"} ${name}`);
  return el("li", { class: `${zoneClass(x.zone)}${x.fresh ? " fresh" : ""}`, "data-key": x.zone + "/" + x.id },
    el("button", { class: "play", "aria-label": t("stays.play", { zone: zoneLabel(x.zone), time }), onclick: () => playStay(x) }, "▶"),
    el("div", { class: "who" }, el("strong", {}, zoneLabel(x.zone)), el("span", {}, `${day(x.enter) === day(now()) ? "" : day(x.enter) + " "}${time} – ${clock(x.exit)}`)),
    el("div", { class: "border", role: "img", "aria-label": `${t(x.enter_seen ? "stays.enter" : "stays.enterno")}; ${t(x.exit_seen ? "stays.exit" : "stays.exitno")}` },
      border(x.enter_seen, t("stays.in"), "stays.enter", "stays.enterno"), border(x.exit_seen, t("stays.out"), "stays.exit", "stays.exitno")),
    el("div", { class: "len", title: measured(x) }, span(x.duration_s), el("span", {}, measured(x))));
}

// measured says what a stay's length is made of.
const measured = (x) => [
  t("stays.seen", { seen: span(x.seen_s), merged: span(x.merged_s) }),
  ...(x.bridges ? [t("stays.bridged", { n: figure(x.bridges, 0), bridged: span(x.bridged_s) })] : []),
].join(" · ");
