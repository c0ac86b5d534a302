// The page: reads what is configured, then keeps every part up to date from the
// event stream.
import { $, el } from "./dom.js";
import { applyTexts, label, language, onLanguage, setLanguage, t } from "./i18n.js";
import { offset, setServerTime, setZone, timeZone } from "./format.js";
import { explain, Failure, get, listen } from "./net.js";
import { at, isHere } from "./state.js";
import { clearLive, drawLive, takeLive } from "./live.js";
import { ageStill, drawScene, loadStill, redrawScene, renewStill, resetScene, startScene } from "./scene.js";
import { clearStays, drawStays, loadStays, takeStay } from "./stays.js";
import { clearCharts, drawCharts, loadCharts, refreshEvery, startCharts } from "./charts.js";
import { clearTimeline, drawTimeline, loadTimeline } from "./timeline.js";
import { redrawPlayer, startPlayer } from "./player.js";
import { startHolds } from "./holds.js";
import { clearWaits, drawQueueNow, drawWaits, loadWaits, queues, startWaits, takeWait } from "./waits.js";
import { drawTrust, leastQuality, startTrust } from "./trust.js";
import { clear as clearCompare, drawCompare, offerPlaces, startCompare } from "./compare.js";
import { clearCounts, counted, drawCounts, drawInsideNow, loadCounts, startCounts, takeLevel } from "./counts.js";

let choices = []; // every camera of every store, by names
const whole = new Map(); // store -> all that is known of it, once it was looked at
const few = 20; // stores of which all is read at once, and heard of as it changes
let many = false; // there are more
let follow = () => {}; // hears of the store that is looked at
let connected = null; // null: not yet
const edges = new Map(); // store/edge -> state

function trouble(e) {
  const box = $("trouble");
  box.hidden = !e;
  if (!e) return;
  box.textContent = explain(e);
}

// attempt runs a load and shows what stops it; the next success takes it back.
async function attempt(...loads) {
  const done = await Promise.allSettled(loads.map((f) => f()));
  trouble(done.find((d) => d.status === "rejected")?.reason);
}

async function loadSites() {
  const got = await get("/api/sites");
  setServerTime(got.t);
  choices = got.stores.flatMap((store) => store.edges.flatMap((edge) => edge.cameras.map((camera) => ({ store, edge, camera }))));
  many = got.stores.length > few;
  if (!many) await Promise.all(got.stores.map((s) => loadStore(s.name)));
}

async function loadStore(name) {
  const got = await get("/api/sites", { store: name });
  whole.set(name, got.stores[0]);
}

// find looks a camera up in what is known of its store.
function find({ store, edge, camera }) {
  const s = whole.get(store.name), e = s?.edges.find((x) => x.name === edge.name), c = e?.cameras.find((x) => x.name === camera.name);
  return c && { store: s, edge: e, camera: c };
}

// told takes up what a box has told anew of its cameras.
async function told({ store, edge }) {
  if (!whole.has(store)) return;
  await loadStore(store);
  const here = at.store?.name === store && at.edge.name === edge && find(at);
  if (!here) return;
  const redrawn = here.camera.rev !== at.camera.rev;
  Object.assign(at, here);
  offerPlaces(places(), at.camera);
  drawAll();
  if (redrawn) choose(choices.findIndex((c) => c.camera.name === at.camera.name && c.edge.name === edge && c.store.name === store));
}

const places = () => choices.map(find).filter(Boolean);

// asked is the camera that the address names, as far as it does.
function asked() {
  const q = new URLSearchParams(location.search);
  const fits = (c) => ["store", "edge", "camera"].every((k) => !q.get(k) || c[k].name === q.get(k));
  return choices.findIndex(fits); // -1: its box has told nothing yet
}

function remember() {
  const q = new URLSearchParams(location.search);
  for (const k of ["store", "edge", "camera"]) q.set(k, at[k].name);
  if (choices.length > 1) history.replaceState(null, "", "?" + q);
}

async function choose(i) {
  if (!find(choices[i])) await loadStore(choices[i].store.name);
  Object.assign(at, find(choices[i]));
  follow();
  remember();
  setZone(at.store.time_zone);
  clearLive();
  resetScene();
  clearStays();
  clearWaits();
  clearCounts();
  clearCharts();
  clearTimeline();
  offerPlaces(places(), at.camera);
  drawWhere();
  drawDefs();
  await refreshAll();
}

const refreshAll = () => attempt(loadStill, loadLive, loadStays, loadWaits, loadCounts, loadCharts, loadTimeline);

const heard = () => (many ? { store: at.store?.name } : {});

async function loadLive() {
  const got = await get("/api/live", heard());
  setServerTime(got.t);
  for (const s of got.edges) edges.set(`${s.store}/${s.edge}`, s);
  for (const v of got.zones) { takeLive(v); takeLevel(v); }
  drawConnection();
}

function drawWhere() {
  const names = (c) => [label(c.store), label(c.edge), label(c.camera)];
  if (!choices.length) $("where").replaceChildren();
  else if (choices.length === 1) $("where").replaceChildren(...names(at).flatMap((n, i) => (i ? [el("i", {}, "/"), el("b", {}, n)] : [el("b", {}, n)])));
  else if (choices.length <= 200) {
    $("where").replaceChildren(el("select", { "aria-label": t("where.label"), onchange: (e) => attempt(() => choose(Number(e.target.value))) },
      ...choices.map((c, i) => el("option", { value: i, selected: isChosen(c) }, names(c).join(" / ")))));
  } else drawSearch(names);
  const notice = at.camera?.notice?.[language()] || at.camera?.notice?.en || at.camera?.notice?.zh || "";
  $("notice").textContent = notice;
  $("notice").hidden = !notice;
  $("zone-note").textContent = at.store ? t("tz", { zone: timeZone(), offset: offset() }) : "";
  document.title = at.camera ? t("title", { camera: label(at.camera) }) : "floorwatch";
}

const isChosen = (c) => ["store", "edge", "camera"].every((k) => c[k].name === at[k]?.name);

// drawSearch offers so many cameras by typing: the browser lists those that fit.
function drawSearch(names) {
  if (!$("where-list")) {
    const list = el("datalist", { id: "where-list" }, ...choices.map((c) => el("option", { value: names(c).join(" / ") })));
    const pick = (e) => {
      const i = choices.findIndex((c) => names(c).join(" / ") === e.target.value);
      if (i >= 0) attempt(() => choose(i));
    };
    $("where").replaceChildren(el("input", { id: "where-search", list: "where-list", "aria-label": t("where.search"), onchange: pick, onfocus: (e) => e.target.select() }), list);
  }
  if (at.camera && document.activeElement !== $("where-search")) $("where-search").value = names(at).join(" / ");
}

function drawConnection() {
  const s = at.store && edges.get(`${at.store.name}/${at.edge.name}`);
  let [cls, key] = ["", "conn.wait"];
  if (connected === false) [cls, key] = ["bad", "conn.lost"];
  else if (connected && s?.state === "offline") [cls, key] = ["bad", "conn.edge"];
  else if (connected && s?.state === "stopped") [cls, key] = ["bad", "conn.stopped"];
  else if (connected) [cls, key] = ["ok", "conn.ok"];
  $("conn").className = `pill ${cls}`;
  const text = t(key);
  if ($("conn").lastElementChild.textContent !== text) $("conn").lastElementChild.textContent = text;
}

const terms = ["stay", "seen", "border", "occupancy", "live", "longest", "arrivals", "mean", "p90", "coverage", "quality", "gap", "settle"];
// Said only where somebody queues.
const waitTerms = ["wait", "queue", "longestwait", "outcome", "served", "abandoned", "unknown", "left", "direct", "finished", "began", "waitmean", "realised", "waitquantile",
  "target", "running", "crossing", "little", "service", "throughput", "compare"];
// Said only where people are counted.
const countTerms = ["entries", "inside"];

function drawDefs() {
  $("deflist").replaceChildren(...[...terms, ...(queues().length ? waitTerms : []), ...(counted() ? countTerms : [])].flatMap((k) => [
    el("dt", { id: "def-" + k, tabindex: "-1" }, t("def." + k)), el("dd", {}, t("def." + k + ".text")),
  ]));
}

function openDefs(term) {
  $("defs").showModal();
  for (const d of $("deflist").querySelectorAll("dt")) d.classList.toggle("here", d.id === "def-" + term);
  const here = term && $("def-" + term);
  here?.focus();
  here?.scrollIntoView({ block: "start" });
}

function drawAll() {
  $("lang").textContent = t("lang.other");
  $("lang").lang = language() === "zh" ? "en" : "zh-CN";
  drawTrust();
  drawDefs();
  drawWhere();
  drawConnection();
  if (!at.camera) return;
  redrawScene();
  drawStays();
  drawWaits();
  drawCompare();
  drawCounts();
  drawCharts();
  drawTimeline();
  redrawPlayer();
}

function startControls() {
  $("lang").onclick = () => setLanguage(language() === "zh" ? "en" : "zh");
  $("defs-open").onclick = () => openDefs();
  document.addEventListener("click", (e) => {
    const q = e.target.closest("[data-def]");
    if (q) openDefs(q.dataset.def);
    if (e.target.closest("dialog .close") || e.target.matches("dialog")) e.target.closest("dialog").close();
  });
  onLanguage(drawAll);
}

function startEvents() {
  let charts = 0, counts = 0, footage = 0;
  const soon = (id, f) => id || setTimeout(f, 1500); // records come in batches
  follow = listen({
    ping: (v) => setServerTime(v.t),
    live: (v) => { takeLive(v); takeLevel(v); drawQueueNow(); },
    state: (v) => { edges.set(`${v.store}/${v.edge}`, v); drawConnection(); },
    stay: takeStay,
    wait: takeWait,
    interval: (v) => {
      if (isHere(v)) charts = soon(charts, () => { charts = 0; attempt(() => loadCharts(refreshEvery()), () => loadWaits(refreshEvery()), ...(leastQuality() ? [loadStays] : [])); });
    },
    count: (v) => { if (isHere(v)) counts = soon(counts, () => { counts = 0; attempt(() => loadCounts(2 * refreshEvery())); }); },
    scene: (v) => attempt(() => told(v)),
    segment: (v) => { if (isHere(v)) footage = soon(footage, () => { footage = 0; attempt(loadTimeline); }); },
    gap: (v) => { if (isHere(v)) footage = soon(footage, () => { footage = 0; attempt(loadTimeline); }); },
  }, (ok) => {
    const again = ok && connected === false;
    connected = ok;
    drawConnection();
    if (again) refreshAll(); // what was missed while we were cut off
  }, heard);
}

function startTimers() {
  setInterval(() => { drawLive(); drawQueueNow(); drawInsideNow(); ageStill(); drawConnection(); }, 1000);
  setInterval(renewStill, 1000);
  setInterval(() => { if (!document.hidden) attempt(() => loadCharts(refreshEvery()), () => loadWaits(refreshEvery()), () => loadCounts(2 * refreshEvery()), loadTimeline); }, 15000);
  document.addEventListener("visibilitychange", () => { if (!document.hidden && at.camera) refreshAll(); });
}

async function start() {
  applyTexts();
  startControls();
  startScene();
  startPlayer();
  startHolds(() => attempt(loadTimeline));
  startWaits();
  startCounts(drawDefs);
  startCompare(attempt);
  startTrust(() => { clearStays(); clearWaits(); clearCharts(); clearCompare(); attempt(loadStays, loadWaits, loadCharts); });
  drawAll();
  await startCharts(() => {
    clearCharts();
    clearTimeline();
    attempt(loadCharts, loadWaits, loadCounts, loadTimeline);
  });
  // Until the first camera is known: its box may be on its way.
  for (let wait = 1000; asked() < 0; wait = Math.min(wait * 2, 15000)) {
    try {
      await loadSites();
      if (asked() >= 0) break;
      trouble(new Failure(0, t(choices.length || new URLSearchParams(location.search).get("store") ? "none.here" : "none.sites"), ""));
      wait = 1000;
    } catch (e) {
      trouble(e);
    }
    await new Promise((f) => setTimeout(f, wait));
  }
  trouble(null);
  await choose(asked());
  drawScene();
  startEvents();
  startTimers();
}

start();
