// Holds: footage that is kept until someone releases it, made in the player and
// released on the timeline.
import { $, el } from "./dom.js";
import { t } from "./i18n.js";
import { full, span } from "./format.js";
import { change } from "./net.js";
import { params } from "./state.js";

// What of the time around a clip may be held with it, in ms on each side.
const spans = [["hold.clip", 0], ["hold.tenmin", 5 * 60e3], ["hold.hour", 30 * 60e3]];

let allowed = false; // the cloud can hold footage
let job = null; // what the player shows
let said = null; // the last word in the player: [key, vars]
let list = [];
let picked = null; // id of the hold that is shown below the timeline
let sure = false; // the release was asked for once
let failed = false;
let reload = () => {};

export function allowHolds(yes) {
  allowed = yes;
  if ($("player").open) $("hold-open").hidden = !allowed;
}

// offerHold is told what the player shows.
export function offerHold(next) {
  if (job && (job.from !== next.from || job.to !== next.to)) closeHold();
  job = next;
  $("hold-open").hidden = !allowed;
  drawHold();
}

export function closeHold() {
  said = null;
  open(false);
  $("hold-why").value = "";
  drawHold();
}

function open(yes) {
  $("hold-form").hidden = !yes;
  $("hold-open").setAttribute("aria-expanded", String(yes));
}

function wanted() {
  const side = Number($("hold-span").value) || 0;
  return { from: Math.max(1, Math.floor(job.from - side)), to: Math.ceil(job.to + side) };
}

const times = (w) => ({ from: full(w.from), to: full(w.to), length: span((w.to - w.from) / 1000) });

export function drawHold() {
  const held = $("hold-span").value;
  $("hold-span").replaceChildren(...spans.map(([key, side]) => el("option", { value: side, selected: String(side) === held }, t(key))));
  $("hold-about").textContent = job ? t("hold.about", times(wanted())) : "";
  $("hold-said").textContent = said ? t(...said) : "";
  $("hold-said").classList.toggle("bad", !!said && said[0] !== "hold.kept");
}

function say(...what) {
  said = what.length ? what : null;
  drawHold();
}

async function keep() {
  const why = $("hold-why").value.trim();
  if (!why) {
    say("hold.needwhy");
    return $("hold-why").focus();
  }
  const w = wanted();
  $("hold-keep").disabled = true;
  try {
    await change("POST", "/api/hold", {}, { ...params(), ...w, why });
    closeHold();
    say("hold.kept", times(w));
    $("hold-open").focus();
    reload();
  } catch {
    say("hold.failed");
  } finally {
    $("hold-keep").disabled = false;
  }
}

export const pickedHold = () => picked;

// pickHold chooses the hold that is shown below the timeline.
export function pickHold(id) {
  picked = id;
  sure = false;
  failed = false;
}

export function holdText(h) {
  const who = h.who === "page" ? t("hold.someone") : h.who;
  return t("hold.text", { ...times(h), why: h.why, who, at: full(h.at), told: t(h.told ? "hold.told" : "hold.untold") });
}

export function drawHeld(holds) {
  list = holds || [];
  const h = list.find((x) => x.id === picked);
  $("holdinfo").hidden = !h;
  if (!h) return;
  const text = failed ? t("hold.notreleased") : holdText(h);
  if ($("hold-text").textContent !== text) $("hold-text").textContent = text;
  $("hold-release").textContent = t(sure ? "hold.sure" : "hold.release");
}

async function release() {
  if (!sure) {
    sure = true;
    return drawHeld(list);
  }
  $("hold-release").disabled = true;
  try {
    await change("DELETE", "/api/hold", { id: picked });
    pickHold(null);
    reload();
  } catch {
    sure = false;
    failed = true;
  } finally {
    $("hold-release").disabled = false;
    drawHeld(list);
  }
}

// startHolds begins; changed is called when a hold was made or released.
export function startHolds(changed) {
  reload = changed;
  $("hold-open").onclick = () => {
    open($("hold-form").hidden);
    said = null;
    drawHold();
    if (!$("hold-form").hidden) $("hold-why").focus();
  };
  $("hold-span").onchange = drawHold;
  $("hold-why").oninput = () => say();
  $("hold-form").onsubmit = (e) => {
    e.preventDefault();
    keep();
  };
  $("hold-release").onclick = release;
  $("hold-release").onblur = () => {
    sure = false;
    drawHeld(list);
  };
}
