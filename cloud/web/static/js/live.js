// Live figures: a badge in each zone over the still, and a tile per zone.
import { $, el } from "./dom.js";
import { has, label, t } from "./i18n.js";
import { ago, figure, now, percent, span } from "./format.js";
import { at, isHere, pictureSize, zoneClass, zoneLabel } from "./state.js";

const newest = new Map(); // zone -> live

export function clearLive() { newest.clear(); }

export function takeLive(v) {
  if (!isHere(v) || (v.camera && v.camera !== at.camera.name)) return;
  newest.set(v.zone, v);
  drawLive();
}

const stale = (v) => now() - v.t > v.valid_s * 1000;

// liveOf returns the newest live figure of a zone, and whether it may be shown.
export function liveOf(zone) {
  const live = newest.get(zone);
  return { live, fresh: !!live && !stale(live) };
}

export function quality(v) {
  if (!v) return t("tile.none");
  return stale(v) ? t("tile.stale", { age: ago(v.t) }) : t("tile.age", { age: ago(v.t), coverage: percent(v.coverage) });
}

export function drawLive() {
  if (!at.camera) return;
  const host = $("still");
  for (const b of host.querySelectorAll(".badge")) b.remove();
  const size = pictureSize($("still-img"));
  for (const z of at.camera.zones) host.append(badge(z, newest.get(z.name), size));
  const held = document.activeElement?.closest("#tiles .tile")?.dataset.zone;
  $("tiles").replaceChildren(...at.camera.zones.map((z) => tile(z, newest.get(z.name))));
  if (held) $("tiles").querySelector(`[data-zone="${held}"] button`)?.focus();
}

function badge(z, v, size) {
  const known = v && !stale(v);
  const e = el("div", { class: `badge ${zoneClass(z.name)}` }, zoneLabel(z.name),
    el("b", {}, known ? figure(v.occupancy, 0) : "–"), el("small", {}, v ? ago(v.t) : t("badge.none")));
  const [x, y] = middle(z.polygon);
  e.style.left = `${Math.min(92, Math.max(8, (100 * x) / size.width))}%`;
  e.style.top = `${Math.min(90, Math.max(10, (100 * y) / size.height))}%`;
  return e;
}

// middle is the centroid of the polygon's area (shoelace formula), or the mean
// of its corners when it has no area.
function middle(p) {
  let a = 0, x = 0, y = 0;
  p.forEach(([px, py], i) => {
    const [qx, qy] = p[(i + 1) % p.length];
    const c = px * qy - qx * py;
    a += c; x += (px + qx) * c; y += (py + qy) * c;
  });
  if (Math.abs(a) < 1) return [0, 1].map((k) => p.reduce((s, c) => s + c[k], 0) / Math.max(1, p.length));
  return [x / (3 * a), y / (3 * a)];
}

function tile(z, v) {
  const known = v && !stale(v);
  const queue = z.role === "queue"; // its longest is that of a wait
  const number = (value, name) => el("div", {}, el("b", {}, value), el("span", {}, name));
  return el("div", { class: `tile ${zoneClass(z.name)}${known ? "" : v ? " stale" : " none"}`, "data-zone": z.name },
    el("h3", {}, zoneLabel(z.name), el("button", { class: "q", "data-def": "live", "aria-label": t("defs.about", { term: t("def.live") }) })),
    el("div", { class: "nums" },
      number(known ? figure(v.occupancy, 0) : "–", t("tile.now")),
      number(known && v.occupancy > 0 && !(queue && !v.longest_wait_s) ? span(v.longest_wait_s) : "–", t(queue ? "waits.longest" : "tile.longest"))),
    el("div", { class: "foot" }, quality(v)),
    el("div", { class: "foot" }, whose(z)));
}

// whose says what a zone is for, who looks after it and what they do there.
export const whose = (z) => [
  has("role." + z.role) ? t("role." + z.role) : z.role, label({ label: z.responsible }), label({ label: z.duty }),
].filter(Boolean).join(" · ");
