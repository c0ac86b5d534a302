// The player: footage with the boxes of the people drawn over it. Boxes are
// placed by capture time: the clip's time 0 is its start.
import { $ } from "./dom.js";
import { has, label, t } from "./i18n.js";
import { clock, figure, full, span } from "./format.js";
import { bring, explain, get } from "./net.js";
import { closeHold, drawHold, offerHold } from "./holds.js";
import { at, params, pictureSize, zoneColour, zoneLabel } from "./state.js";

const lead = 3000, tail = 3000; // ms shown before and after a stay
const part = 120000; // ms of one part of a long clip
const hold = 1000; // ms over which a box is interpolated between two frames

let clip = null; // {start, end, frames, ...} as the server said it
let job = null; // what is being played: {from, to, stay}
let turn = 0;
let stopFetch = null; // ends the fetch that runs
let shown = null; // media time of the frame on the screen, s

export function playStay(stay) {
  play({ from: stay.enter - lead, to: stay.exit + tail, stay, seek: stay.enter - lead });
}

export function playFrom(ms) {
  play({ from: ms, to: ms + part, stay: null, seek: ms });
}

async function play(next) {
  job = next;
  clip = null;
  const mine = ++turn;
  stopFetch?.();
  const v = $("video");
  v.removeAttribute("src");
  v.load();
  drawTitle();
  say("clip.loading");
  offerHold(job);
  $("clip-note").textContent = "";
  $("clip-save").hidden = true;
  if (!$("player").open) $("player").showModal();
  try {
    const got = await get("/api/clip", { ...shownSpan(), tracks: job.stay?.tracks?.slice(0, 64).join(","), at: job.stay?.enter });
    if (mine === turn) show(got);
  } catch (e) {
    if (mine !== turn) return;
    if (e.elsewhere) offerFetch("fetch.elsewhere");
    else if (e.soon) {
      say("clip.soon");
      setTimeout(() => { if (mine === turn && $("player").open) play({ ...job }); }, 10000);
    }
    else say("trouble", { what: explain(e), hint: "" });
  }
}

const shownSpan = () => ({ ...params(), from: job.from, to: Math.min(job.to, job.from + part) });

function offerFetch(key) {
  say(key);
  $("fetch-start").hidden = false;
}

// fetchClip brings what is shown from its box, then plays it.
function fetchClip() {
  const mine = turn, bar = $("fetch-bar");
  say("fetch.asking");
  bar.removeAttribute("value");
  bar.hidden = false;
  stopFetch = bring(shownSpan(), (p) => {
    if (mine !== turn) return;
    if (!p) return play({ ...job });
    say("fetch.coming", { done: figure(p.done / 1e6), total: figure(p.total / 1e6) });
    bar.hidden = false;
    if (p.total > 0) bar.value = p.done / p.total;
  }, (code) => {
    if (mine !== turn) return;
    const key = "fetch." + code;
    if (code === "none") say(key);
    else offerFetch(has(key) ? key : "fetch.broken");
  });
}

function show(got) {
  clip = got;
  $("clip-save").href = clip.url;
  $("clip-save").hidden = false;
  $("clip-next").disabled = !!job.stay && job.to <= job.from + part;
  drawNote();
  const v = $("video");
  if (clip.codec && v.canPlayType(`video/mp4; codecs="${clip.codec}"`) === "") return say("clip.codec", { codec: clip.codec });
  say(null);
  v.src = clip.url;
  v.playbackRate = Number($("clip-speed").value);
  v.currentTime = Math.max(0, (job.seek - clip.start) / 1000);
  v.play().catch(() => { /* the controls are there: a click starts it */ });
}

let said = [null];

// say shows a text over the picture, or takes it away.
function say(key, vars) {
  said = [key, vars];
  $("clip-empty").hidden = !key;
  $("video").controls = !key;
  $("fetch-bar").hidden = true;
  $("fetch-start").hidden = true;
  $("clip-say").textContent = key ? t(key, vars) : "";
}

function drawTitle() {
  $("h-player").textContent = job.stay
    ? t(job.stay.wait ? "clip.wait" : "clip.stay", { zone: zoneLabel(job.stay.zone), time: clock(job.stay.enter), length: span(job.stay.duration_s) })
    : t("clip.from", { camera: label(at.camera), time: clock(job.from) });
}

function drawNote() {
  const notes = clip.frames.length ? [t("clip.note")] : [];
  if (clip.missing) notes.push(t("clip.missing." + clip.missing));
  else if (!clip.frames.length) notes.push(t("clip.nobox"));
  if (job.stay && job.to > job.from + part) notes.push(t("clip.cut"));
  if (clip.start > job.seek + 500) notes.push(t("clip.start", { time: clock(clip.start) }));
  $("clip-note").textContent = notes.join(" ");
}

// peopleAt returns the boxes at capture time ms, interpolated between the two
// frames around it; across a longer break, or a new run of track ids, the
// nearest frame counts if it is close.
export function peopleAt(frames, ms) {
  let lo = 0, hi = frames.length; // first frame after ms
  while (lo < hi) {
    const m = (lo + hi) >> 1;
    if (frames[m].t > ms) hi = m;
    else lo = m + 1;
  }
  const a = frames[lo - 1], b = frames[lo];
  if (!a || !b || b.t - a.t > hold || a.run !== b.run) {
    const near = [a, b].find((f) => f && Math.abs(f.t - ms) <= hold / 2);
    return near ? { w: near.w, h: near.h, people: near.people } : null;
  }
  const k = (ms - a.t) / (b.t - a.t);
  const after = new Map(b.people.map((p) => [p.id, p]));
  const mix = (p, q, f) => p[f] + (q[f] - p[f]) * k;
  const people = a.people.flatMap((p) => {
    const q = after.get(p.id);
    if (q && p.id) return [{ ...p, x: mix(p, q, "x"), y: mix(p, q, "y"), w: mix(p, q, "w"), h: mix(p, q, "h") }];
    return k < 0.5 ? [p] : [];
  });
  if (k >= 0.5) people.push(...b.people.filter((q) => !q.id || !a.people.some((p) => p.id === q.id)));
  return { w: a.w, h: a.h, people };
}

function paint() {
  const v = $("video"), c = $("boxes");
  if (!$("player").open || !clip) return;
  const r = devicePixelRatio || 1;
  const fit = Math.min(v.clientWidth / (v.videoWidth || 1), v.clientHeight / (v.videoHeight || 1));
  const w = v.videoWidth * fit, h = v.videoHeight * fit;
  c.style.width = `${w}px`;
  c.style.height = `${h}px`;
  if (c.width !== Math.round(w * r)) c.width = Math.round(w * r);
  if (c.height !== Math.round(h * r)) c.height = Math.round(h * r);
  const ctx = c.getContext("2d");
  ctx.setTransform(1, 0, 0, 1, 0, 0);
  ctx.clearRect(0, 0, c.width, c.height);
  if (!v.videoWidth) return;
  // The clock of the player runs ahead of the picture that is on the screen;
  // boxes belong to the picture.
  const ms = clip.start + (shown ?? v.currentTime) * 1000;
  $("clock").textContent = full(ms);
  const seen = peopleAt(clip.frames, ms);
  zone(ctx, c);
  if (!seen?.w) return;
  ctx.setTransform(c.width / seen.w, 0, 0, c.height / seen.h, 0, 0);
  const px = seen.w / w; // one CSS pixel in pixels of the stream
  for (const p of seen.people) if (!p.wanted) faint(ctx, p, px);
  for (const p of seen.people) if (p.wanted) marked(ctx, p, px);
}

function zone(ctx, c) {
  const z = job.stay && at.camera.zones.find((x) => x.name === job.stay.zone);
  if (!z) return;
  const size = pictureSize($("still-img"));
  ctx.setTransform(c.width / size.width, 0, 0, c.height / size.height, 0, 0);
  ctx.beginPath();
  z.polygon.forEach(([x, y], i) => (i ? ctx.lineTo(x, y) : ctx.moveTo(x, y)));
  ctx.closePath();
  ctx.strokeStyle = zoneColour(z.name);
  ctx.globalAlpha = 0.75;
  ctx.lineWidth = 2;
  ctx.stroke();
  ctx.globalAlpha = 1;
}

function faint(ctx, p, px) {
  ctx.strokeStyle = "rgba(255,255,255,.45)";
  ctx.lineWidth = 1.2 * px;
  ctx.strokeRect(p.x, p.y, p.w, p.h);
}

function marked(ctx, p, px) {
  ctx.lineWidth = 5 * px;
  ctx.strokeStyle = "rgba(0,0,0,.6)";
  ctx.strokeRect(p.x, p.y, p.w, p.h);
  ctx.lineWidth = 2.6 * px;
  ctx.strokeStyle = "#facc15";
  ctx.strokeRect(p.x, p.y, p.w, p.h);
  const text = t("person", { id: p.id });
  ctx.font = `600 ${12 * px}px system-ui, sans-serif`;
  const w = ctx.measureText(text).width + 10 * px, y = Math.max(0, p.y - 20 * px);
  ctx.fillStyle = "#facc15";
  ctx.fillRect(p.x, y, w, 18 * px);
  ctx.fillStyle = "#1c1600";
  ctx.fillText(text, p.x + 5 * px, y + 13 * px);
}

function follow(_, frame) {
  if (!$("player").open) return;
  shown = frame.mediaTime;
  $("video").requestVideoFrameCallback(follow);
}

function loop() {
  if (!$("player").open) return;
  paint();
  requestAnimationFrame(loop);
}

export function redrawPlayer() {
  if (!$("player").open || !job) return;
  drawTitle();
  if (said[0]) $("clip-say").textContent = t(...said);
  drawHold();
  if (clip) drawNote();
}

export function startPlayer() {
  const v = $("video"), d = $("player");
  d.addEventListener("close", () => {
    turn++;
    stopFetch?.();
    closeHold();
    clip = null;
    $("clock").textContent = "";
    v.pause();
    v.removeAttribute("src");
    v.load();
  });
  v.addEventListener("loadstart", () => {
    shown = null;
    if (!v.getAttribute("src")) return;
    v.requestVideoFrameCallback?.(follow);
    requestAnimationFrame(loop);
  });
  v.addEventListener("error", () => { if (clip && v.getAttribute("src")) say("clip.broken"); });
  $("fetch-start").onclick = fetchClip;
  $("clip-speed").onchange = (e) => { v.playbackRate = Number(e.target.value); };
  $("clip-back").onclick = () => {
    if (v.currentTime < 0.5 && clip && !job.stay) return playFrom(clip.start - 5000);
    v.currentTime = Math.max(0, v.currentTime - 5);
  };
  $("clip-next").onclick = () => {
    if (!job) return;
    const from = job.from + part;
    play(job.stay ? { ...job, from, seek: from } : { from, to: from + part, stay: null, seek: from });
  };
}
