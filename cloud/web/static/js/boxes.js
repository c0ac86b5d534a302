// The page of boxes: each with its presence, its figures and what is wrong, the
// troubled ones first. The server searches, filters and sorts; the page has one
// part of what it found, and what was asked for in its address.
import { $, el } from "./dom.js";
import { applyTexts, label, language, locale, onLanguage, setLanguage, t } from "./i18n.js";
import { ago, clock, figure, full, now, offset, percent, setServerTime, setZone, span } from "./format.js";
import { explain, get } from "./net.js";

const every = 5000;
const limit = 30;
const silentAfter = 200_000; // ms, as the server judges

const states = ["online", "offline", "stopped", "unknown"];
const troubles = ["any", "bad", "warn", "never", "offline", "silent", "safe", "lost", "disk", "camera", "short", "stopped", "clock", "backlog", "gap", "none"];
const sorts = ["trouble", "name", "seen", "backlog", "disk"];

// asked is what the address says; nothing where it does not.
const asked = Object.fromEntries(["scope", "state", "trouble", "q", "sort"].map((k) => [k, new URLSearchParams(location.search).get(k) || ""]));
let start = 0;
let data = null;
let timer, request;

// size formats bytes in powers of ten, as disks are sold.
function size(n) {
  const k = Math.min(4, Math.max(0, Math.floor(Math.log10(Math.max(1, n)) / 3)));
  return `${(n / 1000 ** k).toLocaleString(locale(), { maximumSignificantDigits: 3 })} ${["B", "kB", "MB", "GB", "TB"][k]}`;
}

const or = (v, f) => (v == null ? t("boxes.nothing") : f(v));

// zoned is a moment by the store's clock, and which that is.
const zoned = (ms) => `${full(ms)} ${offset()}`;

function presence(b) {
  if (!b.state && b.seen && now() - b.seen < silentAfter) return el("span", { class: "pill ok" }, el("i"), el("span", {}, t("boxes.delivers")));
  const key = { online: "boxes.online", offline: "boxes.offline", stopped: "boxes.stopped" }[b.state] || "boxes.unknown";
  return el("span", { class: `pill ${b.state === "online" ? "ok" : "bad"}` }, el("i"), el("span", {}, t(key)));
}

function since(b) {
  if (b.state === "online") return t("boxes.since", { time: zoned(b.state_t), length: span(Math.max(0, (now() - b.state_t) / 1000)) });
  return b.seen ? t("boxes.seen", { time: zoned(b.seen), ago: ago(b.seen) }) : t(data.known ? "boxes.unseen" : "boxes.unasked");
}

function backlog(b) {
  return or(b.backlog_records, (n) => (n ? t("boxes.backlogof", { n: figure(n, 0), length: span(b.backlog_s || 0) }) : t("boxes.empty")));
}

function gaps(b) {
  const g = b.gaps_today;
  if (!g) return t("boxes.unread");
  if (!g.footage && !g.observation) return t("boxes.nogaps");
  return t("boxes.gapsof", { footage: g.footage, footageS: span(g.footage_s), watch: g.observation, watchS: span(g.observation_s) });
}

function disk(b) {
  if (!b.disk_bytes) return t("boxes.nothing");
  return t("boxes.diskof", { free: size(b.disk_free_bytes), size: size(b.disk_bytes), share: percent(b.disk_free_bytes / b.disk_bytes), footage: or(b.footage_bytes, size) });
}

function clockOf(b) {
  if (b.clock_synced == null) return t("boxes.nothing");
  const s = t(b.clock_synced ? "boxes.synced" : "boxes.unsynced");
  return b.clock_offset_s == null ? s : `${s} · ${t("boxes.off", { n: `${figure(b.clock_offset_s * 1000, 0)} ms` })}`;
}

function uploads(b) {
  return or(b.uploads_waiting, (n) => {
    if (!n) return t("boxes.empty");
    return b.uploads_waiting_bytes == null ? t("boxes.uploadsn", { n: figure(n, 0) }) : t("boxes.uploadsof", { n: figure(n, 0), size: size(b.uploads_waiting_bytes) });
  });
}

function facts(b) {
  const rows = [["boxes.version", b.version || t("boxes.nothing")], ["boxes.backlog", backlog(b)], ["boxes.gaps", gaps(b)],
    ["boxes.disk", disk(b)], ["boxes.clock", clockOf(b)], ["boxes.uploads", uploads(b)]];
  if (b.lost_records) rows.push(["boxes.lost", t("boxes.lostof", { n: figure(b.lost_records, 0) })]);
  if (b.notes.length) rows.push(["boxes.notes", b.notes.join("; ")]);
  return el("dl", {}, ...rows.flatMap(([k, v]) => [el("dt", {}, t(k)), el("dd", {}, v)]));
}

// owed says what a camera delivered of what it should have; nothing where it is
// not asked.
function owed(o) {
  if (!o) return null;
  const recorded = o.recorded_s == null ? "" : t("boxes.recorded", { length: span(o.recorded_s) });
  const short = Math.min(o.observed_s, o.recorded_s ?? o.observed_s) < 0.9 * o.expected_s;
  return el("small", { class: short ? "bad" : "muted" }, t("boxes.owed", { expected: span(o.expected_s), observed: span(o.observed_s), recorded }));
}

function camera(c) {
  const blind = c.sight != null ? c.sight < 0.5 : c.watching === false || c.frame_age_s > 30;
  let text = t("boxes.nocam");
  if (c.frame_age_s != null) text = blind ? t("boxes.noframe", { age: span(c.frame_age_s) }) : t("boxes.frame", { age: span(c.frame_age_s), coverage: percent(c.coverage) });
  return el("li", {}, el("span", {}, label(c)), el("span", { class: blind ? "bad" : "" }, text), owed(c.owed));
}

function card(b) {
  setZone(b.time_zone); // its times are those of its store
  const past = b.reported && (b.state !== "online" || b.troubles.some((w) => w.what === "silent"));
  const reported = b.reported ? t(past ? "boxes.past" : "boxes.reported", { ago: ago(b.reported) }) : t("boxes.noreport");
  const name = label({ name: b.edge, label: b.label }), hall = label({ name: b.store, label: b.store_label });
  const path = (b.path || []).map((n) => label({ name: n.id, label: n.label })).join(" › ");
  return el("section", { class: `card box ${b.troubles[0]?.level || ""}`, "aria-label": `${hall} ${name}`, "data-box": `${b.store}/${b.edge}` },
    el("div", { class: "head" }, el("h2", {}, el("a", { href: `/?${new URLSearchParams({ store: b.store, edge: b.edge })}`, title: t("boxes.hall", { hall }) }, hall), " ", el("small", {}, name)),
      el("span", { class: "grow" }), presence(b)),
    el("p", { class: "ids" }, path ? `${path} · ` : "", el("code", {}, `${b.store}/${b.edge}`)),
    el("p", { class: "muted" }, since(b)),
    b.troubles.length ? el("ul", { class: "wrong" }, ...b.troubles.map((w) => el("li", { class: w.level }, t("wrong." + w.what)))) : null,
    el("p", { class: past ? "warn" : "muted" }, reported),
    ...(b.seen ? [facts(b), el("ul", { class: "cams" }, ...b.cameras.map(camera))] : []));
}

// choose fills a select with what may be asked for; all stands for nothing. counts
// of 0 are left out, but for what is chosen.
function choose(id, of, all, text, counts) {
  const chosen = asked[of];
  const option = (value, words) => el("option", { value, selected: value === chosen }, words);
  const list = { state: states, trouble: troubles, sort: sorts }[of].filter((x) => !counts || counts(x) || x === chosen);
  $(id).replaceChildren(...(all ? [option("", all)] : []),
    ...list.map((x) => option(x, counts ? t("boxes.count", { what: t(text + x), n: figure(counts(x) || 0, 0) }) : t(text + x))));
}

// drawScope shows where we are in the org tree and what is below. What has not
// changed is left, as somebody may be choosing.
let shown;
function drawScope() {
  const { path, below } = data.scope;
  const what = JSON.stringify([path, below, language()]);
  if (what === shown || document.activeElement.matches("#scope select")) return;
  shown = what;
  const go = (scope) => ask({ scope });
  const name = (n) => label({ name: n.id, label: n.label });
  $("scope").hidden = !path.length && !below.length;
  const steps = [{ id: "", label: { zh: t("boxes.everywhere"), en: t("boxes.everywhere") } }, ...path];
  const pick = el("select", { "aria-label": t("boxes.below"), onchange: (e) => { e.target.blur(); go(e.target.value); } }, el("option", { value: asked.scope }, t("boxes.below")),
    ...below.map((n) => el("option", { value: n.id }, t(n.troubled ? "boxes.nodewrong" : "boxes.node", { name: name(n), n: figure(n.boxes, 0), troubled: figure(n.troubled, 0) }))));
  $("scope").replaceChildren(...steps.map((n, i) => el("button", { class: "small", type: "button", "aria-pressed": i === steps.length - 1 ? "true" : "false", onclick: () => go(n.id) }, name(n))),
    ...(below.length ? [pick] : []));
}

function drawPick() {
  const n = data.counts;
  const busy = (id) => document.activeElement === $(id); // it may be open
  if (!busy("state")) choose("state", "state", t("boxes.anystate"), "state.", (x) => n.states[x]);
  if (!busy("wrong")) choose("wrong", "trouble", t("boxes.anytrouble"), "fault.", (x) => (x === "none" ? n.healthy : n.troubles[x]));
  if (!busy("sort")) choose("sort", "sort", "", "sort.");
  $("clear").hidden = !["scope", "state", "trouble", "q"].some((k) => asked[k]);
  drawScope();
}

// drawList keeps the focus on the box that had it.
function drawList() {
  const held = document.activeElement?.closest?.("[data-box]")?.dataset.box;
  $("boxlist").replaceChildren(...data.boxes.map(card));
  if (held) [...$("boxlist").children].find((e) => e.dataset.box === held)?.querySelector("a")?.focus({ preventScroll: true });
  $("pager").hidden = data.found <= limit;
  $("place").textContent = t("boxes.place", { from: figure(Math.min(start + 1, data.found), 0), to: figure(Math.min(start + limit, data.found), 0), n: figure(data.found, 0) });
  $("prev").disabled = !start;
  $("next").disabled = start + limit >= data.found;
}

function summary() {
  const n = data.counts, narrowed = asked.q || asked.scope || asked.state || asked.trouble;
  if (!n.all && !narrowed) return t("boxes.none");
  setZone(Intl.DateTimeFormat().resolvedOptions().timeZone);
  const read = t("boxes.read", { time: clock(data.t), zone: offset() });
  if (!n.all) return `${t("boxes.nomatch")} ${read}`;
  const online = n.states.online, whole = online === n.all && n.healthy === n.all ? t("boxes.allone", { n: figure(n.all, 0) })
    : t("boxes.all", { n: figure(n.all, 0), online: figure(online, 0), troubled: figure(n.all - n.healthy, 0) });
  const found = !data.found ? t("boxes.nomatch") : asked.state || asked.trouble ? t("boxes.found", { n: figure(data.found, 0) }) : "";
  return [whole, found, read].filter(Boolean).join(" ");
}

function draw() {
  $("lang").textContent = t("lang.other");
  $("lang").lang = language() === "zh" ? "en" : "zh-CN";
  document.title = t("boxes.pagetitle");
  if (!data) return;
  $("summary").textContent = summary();
  drawPick();
  drawList();
}

// ask changes what is asked for, and begins at the first box of that.
function ask(change, from = 0) {
  Object.assign(asked, change);
  start = from;
  const address = new URLSearchParams(location.search);
  for (const [k, v] of Object.entries(asked)) v ? address.set(k, v) : address.delete(k);
  history.replaceState(null, "", `${location.pathname}${address.size ? `?${address}` : ""}`);
  return load();
}

async function load() {
  clearTimeout(timer);
  request?.abort();
  const mine = (request = new AbortController());
  try {
    const answer = await get("/api/boxes", { ...asked, offset: start || "", limit }, mine.signal);
    data = answer;
    setServerTime(data.t);
    $("trouble").hidden = true;
    if (start && start >= data.found) return ask({}, Math.max(0, Math.floor((data.found - 1) / limit) * limit)); // they became fewer
    draw();
  } catch (e) {
    if (mine.signal.aborted) return; // another question took its place
    $("trouble").hidden = false;
    $("trouble").textContent = explain(e);
  }
  timer = setTimeout(next, every);
}

// next waits while nobody looks.
function next() {
  if (!document.hidden) return load();
  document.addEventListener("visibilitychange", next, { once: true });
}

// turn shows another part of what was found, from its top.
function turn(by) {
  scrollTo({ top: 0 });
  ask({}, Math.max(0, start + by * limit));
}

let typed;
$("q").value = asked.q;
$("q").oninput = () => {
  clearTimeout(typed);
  typed = setTimeout(() => ask({ q: $("q").value.trim() }), 250);
};
$("pick").onsubmit = (e) => e.preventDefault();
$("state").onchange = (e) => ask({ state: e.target.value });
$("wrong").onchange = (e) => ask({ trouble: e.target.value });
$("sort").onchange = (e) => ask({ sort: e.target.value === "trouble" ? "" : e.target.value });
$("clear").onclick = () => {
  $("q").value = "";
  $("q").focus();
  ask({ scope: "", state: "", trouble: "", q: "" });
};
$("prev").onclick = () => turn(-1);
$("next").onclick = () => turn(1);

applyTexts();
$("lang").onclick = () => setLanguage(language() === "zh" ? "en" : "zh");
onLanguage(draw);
draw();
load();
