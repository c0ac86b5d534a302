// The page of boxes: each with its presence, its figures and what is wrong, the
// troubled ones first, as the server sorts them.
import { $, el } from "./dom.js";
import { applyTexts, label, language, locale, onLanguage, setLanguage, t } from "./i18n.js";
import { ago, clock, figure, full, now, percent, setServerTime, setZone, span } from "./format.js";
import { explain, get } from "./net.js";

const every = 5000;

let data = null;

// size formats bytes in powers of ten, as disks are sold.
function size(n) {
  const k = Math.min(4, Math.max(0, Math.floor(Math.log10(Math.max(1, n)) / 3)));
  return `${(n / 1000 ** k).toLocaleString(locale(), { maximumSignificantDigits: 3 })} ${["B", "kB", "MB", "GB", "TB"][k]}`;
}

const or = (v, f) => (v == null ? t("boxes.nothing") : f(v));

function presence(b) {
  const key = { online: "boxes.online", offline: "boxes.offline", stopped: "boxes.stopped" }[b.state] || "boxes.unknown";
  return el("span", { class: `pill ${b.state === "online" ? "ok" : "bad"}` }, el("i"), el("span", {}, t(key)));
}

function since(b) {
  if (b.state === "online") return t("boxes.since", { time: full(b.state_t), length: span(Math.max(0, (now() - b.state_t) / 1000)) });
  return b.seen ? t("boxes.seen", { time: full(b.seen), ago: ago(b.seen) }) : t("boxes.unseen");
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
  const name = label({ name: b.edge, label: b.label });
  return el("section", { class: `card box ${b.troubles[0]?.level || ""}`, "aria-label": name, "data-box": `${b.store}/${b.edge}` },
    el("div", { class: "head" }, el("h2", {}, label({ name: b.store, label: b.store_label }), " ", el("small", {}, name)), el("span", { class: "grow" }), presence(b)),
    el("p", { class: "muted" }, since(b)),
    b.troubles.length ? el("ul", { class: "wrong" }, ...b.troubles.map((w) => el("li", { class: w.level }, t("wrong." + w.what)))) : null,
    el("p", { class: past ? "warn" : "muted" }, reported),
    ...(b.seen ? [facts(b), el("ul", { class: "cams" }, ...b.cameras.map(camera))] : []));
}

function draw() {
  $("lang").textContent = t("lang.other");
  $("lang").lang = language() === "zh" ? "en" : "zh-CN";
  document.title = t("boxes.pagetitle");
  if (!data) return;
  const n = data.boxes.length, online = data.boxes.filter((b) => b.state === "online").length, troubled = data.boxes.filter((b) => b.troubles.length).length;
  const whole = !n ? t("boxes.none") : online === n && !troubled ? t("boxes.allone", { n }) : t("boxes.all", { n, online, troubled });
  setZone(Intl.DateTimeFormat().resolvedOptions().timeZone);
  $("summary").textContent = n ? `${whole} ${t("boxes.read", { time: clock(data.t) })}` : whole;
  $("boxlist").replaceChildren(...data.boxes.map(card));
}

async function load() {
  try {
    data = await get("/api/boxes");
    setServerTime(data.t);
    $("trouble").hidden = true;
    draw();
  } catch (e) {
    $("trouble").hidden = false;
    $("trouble").textContent = explain(e);
  }
  setTimeout(next, every);
}

// next waits while nobody looks.
function next() {
  if (!document.hidden) return load();
  document.addEventListener("visibilitychange", next, { once: true });
}

applyTexts();
$("lang").onclick = () => setLanguage(language() === "zh" ? "en" : "zh");
onLanguage(draw);
draw();
load();
