// How well something must be measured to be shown: one choice for the whole page.
import { $, el } from "./dom.js";
import { t } from "./i18n.js";
import { clock, day, figure, percent, span } from "./format.js";
import { zoneLabel } from "./state.js";

const steps = [0, 0.5, 0.7, 0.8, 0.9, 0.95];
let least = 0;

export const leastQuality = () => least;
// trust is the parameter of every question about figures and records.
export const trust = () => (least ? { min_quality: least } : {});

export function startTrust(onChange) {
  $("quality").onchange = (e) => { least = Number(e.target.value); onChange(); };
}

export function drawTrust() {
  $("quality").replaceChildren(...steps.map((q) => el("option", { value: q, selected: q === least }, q ? `≥ ${percent(q)}` : t("quality.all"))));
}

// leftOut says what was left out of figures, "" where nothing can be.
export function leftOut(left) {
  return least ? t("quality.left", { least: percent(least), n: figure(left.records, 0), time: span(left.observed_s) }) : "";
}

// leftOutOf says the same of a list.
export function leftOutOf(left) {
  return least ? t("quality.leftlist", { least: percent(least), n: figure(left?.records ?? 0, 0) }) : "";
}

// redrawnOf says which zones a list has only since they were redrawn.
export const redrawnOf = (breaks) => (breaks ?? []).map((b) => t("list.redrawn", { zone: zoneLabel(b.zone), time: `${day(b.t)} ${clock(b.t)}`, n: figure(b.left_out, 0) })).join(" ");
