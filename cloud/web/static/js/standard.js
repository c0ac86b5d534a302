// The standard of the hall: how long people may wait there, who set it, and when the
// hall is open. Nothing here can change it; a number of the viewer's own is a what-if.
import { $, el } from "./dom.js";
import { label, t } from "./i18n.js";
import { full, span } from "./format.js";
import { get } from "./net.js";
import { at } from "./state.js";

const trials = [60, 120, 180, 300, 600, 900, 1800]; // s
let known = null; // what the server says
let trial = ""; // s; "": by the standard

// whatIf is what questions carry: the trial, or nothing.
export const whatIf = () => trial;

export const loadStandard = () => get("/api/standard", { store: at.store.name });
export const takeStandard = (x) => { known = x; };


// startStandard hears the choice; a trial is this page's alone, and of this visit.
export function startStandard(onChange) {
  $("wait-target").onchange = (e) => { trial = e.target.value && Number(e.target.value); drawStandard(); onChange(); };
}

// targetText says a target in words.
const targetText = (w) => t("target.is", { share: rate(w.share), within: span(w.within_s) });
// rate never rounds a miss down to a hit.
export const rate = (v) => (v == null ? "–" : `${Math.ceil(v * 1000 - 1e-6) / 10} %`);
const nodeName = (id) => label({ name: id, label: known.nodes[id] });

export function drawStandard() {
  const choices = [["", t("target.standard")], ...trials.map((s) => [s, t("target.whatif", { within: span(s) })])];
  if ($("wait-target").textContent !== choices.map(([, text]) => text).join("")) $("wait-target").replaceChildren(...choices.map(([value, text]) => el("option", { value }, text)));
  $("wait-target").value = trial;
  $("wait-trial").hidden = trial === "";
  $("wait-trial").textContent = trial === "" ? "" : t("target.trial", { within: span(trial) });
  $("wait-standard").replaceChildren(...(known ? lines() : []));
}

function lines() {
  const [now, ...later] = known.spans;
  const out = [el("span", {}, now.wait_target
    ? t("target.set", { target: targetText(now.wait_target), node: nodeName(now.wait_target.node), serial: now.wait_target.serial, from: full(now.wait_target.valid_from) })
    : t("target.none"))];
  let was = now.wait_target;
  for (const s of later) {
    if (s.wait_target?.hash === was?.hash) continue;
    was = s.wait_target;
    out.push(el("span", {}, t("target.later", { from: full(s.from), target: was ? targetText(was) : t("target.nothing") })));
  }
  out.push(el("span", {}, `${hours(now)} · ${t(known.open ? "hours.open" : "hours.closed")}`));
  return out;
}

// hours says when the hall is open, in a week without exceptions.
function hours(s) {
  if (!s.opening) return t("hours.unknown");
  return t("hours.are", { hours: s.opening.map((o) => `${days(o.days)} ${o.from}–${o.to}`).join(t("hours.and")) });
}

const days = (text) => text.replaceAll(" ", "").split(",").map((d) => d.split("-").map((x) => t("day." + x)).join("–")).join(t("hours.list"));

// judgement returns what stands below the share of those who waited longer: by what
// they were judged, and whether that was kept.
export function judgement(judged, over) {
  if (judged.what_if_s != null) return t("judged.whatif");
  if (judged.standard.length > 1) return t("judged.changed");
  const wait = judged.standard[0].wait_target;
  if (!wait) return t("judged.none");
  if (over == null) return "";
  return t(over <= 1 - wait.share + 1e-9 ? "judged.kept" : "judged.missed", { most: rate(1 - wait.share) });
}
