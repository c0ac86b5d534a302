// The still of the camera with its zones, and the drawing of a new one.
import { $, el, svg } from "./dom.js";
import { label, t } from "./i18n.js";
import { ago, figure } from "./format.js";
import { address } from "./net.js";
import { at, params, pictureSize, zoneClass } from "./state.js";
import { drawLive, whose } from "./live.js";

let taken = 0; // capture time of the still
let why = ""; // there is none that is newer
let asked = 0, asking = null; // when, and of which camera
let url = "";
let drawing = false, closed = false;
let points = [], cross = null;

export async function loadStill() {
  if (!at.camera || asking === at.camera) return;
  const want = asking = at.camera;
  asked = Date.now();
  const r = await fetch(address("/api/still.jpg", params())).catch(() => null);
  if (want !== at.camera) return;
  asking = null;
  if (!r || !r.ok && r.status !== 404) return;
  why = r.headers.get("Floorwatch-Why") || (r.ok ? "" : "none");
  if (!r.ok) return showStill(taken > 0); // the picture that we have grows old
  const img = $("still-img");
  taken = Date.parse(r.headers.get("X-Capture-Time"));
  const old = url;
  url = URL.createObjectURL(await r.blob());
  img.onload = () => {
    if (old) URL.revokeObjectURL(old);
    showStill(true);
    drawScene();
  };
  img.src = url;
}

// renewStill loads one when it is time: soon while there is none.
export function renewStill() {
  if (!document.hidden && (!taken || Date.now() - asked >= 10000)) loadStill();
}

function showStill(there) {
  $("still-img").hidden = !there;
  if (!there) taken = 0;
  ageStill();
}

export function resetScene() {
  asking = null;
  why = "";
  showStill(false);
  stopDrawing();
  drawScene();
}

// ageStill says how old the picture is, and over it why there is none, or none
// that is newer.
export function ageStill() {
  $("still-age").textContent = taken ? t("scene.age", { age: ago(taken) }) : "";
  const old = taken && why, say = $("still-empty");
  $("still").classList.toggle("old", !!old);
  say.hidden = !!taken && !why;
  const text = old ? t("scene.old", { age: ago(taken), why: t("why." + why) }) : t(why ? "scene.empty." + why : "scene.empty");
  if (say.textContent !== text) say.textContent = text;
}

export function drawScene() {
  const size = pictureSize($("still-img"));
  $("still").style.aspectRatio = `${size.width} / ${size.height}`;
  $("still-img").alt = t("scene.alt", { camera: at.camera.name });
  const o = $("overlay");
  o.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
  o.replaceChildren(...at.camera.zones.flatMap((z) => [
    svg("polygon", { points: z.polygon.join(" "), class: "halo" }),
    svg("polygon", { points: z.polygon.join(" "), class: zoneClass(z.name) }),
  ]), ...(at.camera.lines ?? []).flatMap((l) => gate(l, size)), ...draft(size));
  ageStill();
  drawLive();
}

// gate is a line with an arrow to its right, which is inwards.
function gate(line, size) {
  const { from: [x1, y1], to: [x2, y2] } = line;
  const long = Math.hypot(x2 - x1, y2 - y1) || 1, r = size.width / 40;
  const [ux, uy] = [(x2 - x1) / long, (y2 - y1) / long];
  const [mx, my] = [(x1 + x2) / 2, (y1 + y2) / 2];
  const tip = [[mx + ux * r * 0.7, my + uy * r * 0.7], [mx - ux * r * 0.7, my - uy * r * 0.7], [mx - uy * r, my + ux * r]];
  const name = svg("title", {}, [label(line), line.role && whose(line)].filter(Boolean).join(" · "));
  return [svg("line", { x1, y1, x2, y2, class: "gate" }, name), svg("polygon", { points: tip.join(" "), class: "inward" })];
}

function draft(size) {
  if (!drawing) return [];
  const shapes = [closed
    ? svg("polygon", { points: points.join(" "), class: "draft" })
    : svg("polyline", { points: [...points, ...(cross ? [cross] : [])].join(" "), class: "draft open" })];
  for (const [x, y] of points) shapes.push(svg("circle", { cx: x, cy: y, r: Math.max(4, size.width / 130), class: "corner" }));
  if (cross && !closed) {
    shapes.push(svg("line", { x1: cross[0], x2: cross[0], y1: 0, y2: size.height, class: "cross" }),
      svg("line", { x1: 0, x2: size.width, y1: cross[1], y2: cross[1], class: "cross" }));
  }
  return shapes;
}

function pixel(e) {
  const size = pictureSize($("still-img"));
  const box = $("overlay").getBoundingClientRect();
  const to = (v, from, length, n) => Math.min(n, Math.max(0, Math.round(((v - from) / length) * n)));
  return [to(e.clientX, box.left, box.width, size.width), to(e.clientY, box.top, box.height, size.height)];
}

function showPixel(p) {
  $("pixel").hidden = !p;
  if (p) $("pixel").textContent = `${p[0]}, ${p[1]} px`;
}

function add(p) {
  if (closed) { points = []; closed = false; }
  const size = pictureSize($("still-img"));
  const near = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]) < size.width / 60;
  if (points.length > 2 && near(p, points[0])) return close();
  if (points.length && near(p, points.at(-1))) return points.length > 2 ? close() : undefined; // a double click
  points.push(p);
  refresh();
}

function close() {
  if (points.length < 3) {
    $("draw-warn").textContent = t("draw.few");
    return;
  }
  closed = true;
  refresh();
}

function undo() {
  if (closed) closed = false;
  else points.pop();
  refresh();
}

function stopDrawing() {
  drawing = closed = false;
  points = [];
  cross = null;
  $("overlay").removeAttribute("tabindex");
  refresh();
}

function refresh() {
  $("still").classList.toggle("drawing", drawing);
  offerRoles();
  $("drawbar").hidden = !drawing;
  $("draw").setAttribute("aria-pressed", drawing);
  $("draw").textContent = t(drawing ? "draw.stop" : "draw.start");
  const problem = closed ? fault() : "";
  const done = closed && !problem;
  $("draw-copy").disabled = !done;
  $("draw-yaml").hidden = !done;
  $("draw-yaml").textContent = done ? yaml() : "";
  $("draw-warn").textContent = problem || (done ? t("draw.done", { n: points.length, area: figure(area(points), 0) }) : "");
  if (at.camera) drawScene();
}

function fault() {
  if (!/^[a-z0-9_-]{1,40}$/.test($("draw-name").value)) return t("draw.badname");
  return selfCrossing(points) ? t("draw.selfcross") : "";
}

const area = (p) => Math.abs(p.reduce((s, a, i) => {
  const b = p[(i + 1) % p.length];
  return s + a[0] * b[1] - b[0] * a[1];
}, 0)) / 2;

function selfCrossing(p) {
  const side = (a, b, c) => (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
  const meet = (a, b, c, d) => side(a, b, c) * side(a, b, d) < 0 && side(c, d, a) * side(c, d, b) < 0;
  const n = p.length;
  for (let i = 0; i < n; i++) {
    for (let j = i + 2; j < n; j++) {
      if (!(i === 0 && j === n - 1) && meet(p[i], p[(i + 1) % n], p[j], p[(j + 1) % n])) return true;
    }
  }
  return false;
}

// yaml is the whole scene as a file of its own: what there is, with the new zone in
// place of one of its name.
function yaml() {
  const size = pictureSize($("still-img"));
  const name = $("draw-name").value, role = $("draw-role").value;
  const old = at.camera.zones.find((z) => z.name === name) ?? { label: { zh: name, en: name }, serves: [] };
  const zones = [...at.camera.zones.filter((z) => z.name !== name && z.name !== "all"), { ...old, name, role, polygon: points }];
  const quoted = (l) => `{zh: ${JSON.stringify(l?.zh ?? "")}, en: ${JSON.stringify(l?.en ?? "")}}`;
  const said = (key, l) => (l?.zh || l?.en ? `    ${key}: ${quoted(l)}\n` : "");
  const corner = ([x, y]) => `[${x}, ${y}]`;
  const time = (key, s) => (s == null ? "" : `    ${key}: ${s}s\n`);
  const zone = (z) => `  - name: ${z.name}
    label: ${quoted(z.label)}
    role: ${z.role}
${said("responsible", z.responsible)}${said("duty", z.duty)}    polygon: [${z.polygon.map(corner).join(", ")}]
${time("min_stay", z.min_stay_s)}${time("merge_gap", z.merge_gap_s)}${time("bridge", z.bridge_s)}${time("reach", z.reach_s)}${z.role === "service" && z.serves.length ? `    serves: [${z.serves.join(", ")}]\n` : ""}`;
  const line = (l) => `  - name: ${l.name}
${said("label", l.label)}${l.role ? `    role: ${l.role}\n` : ""}${said("responsible", l.responsible)}${said("duty", l.duty)}    from: ${corner(l.from)}
    to: ${corner(l.to)}
`;
  return `picture: {width: ${size.width}, height: ${size.height}}
zones:
${zones.map(zone).join("")}lines:${(at.camera.lines ?? []).length ? "\n" + at.camera.lines.map(line).join("") : " []\n"}`;
}

function offerRoles() {
  const roles = ["area", "queue", "service", "rest", "greet", "prepare", "self-service", "staff"];
  const chosen = $("draw-role").value || "queue";
  $("draw-role").replaceChildren(...roles.map((r) => el("option", { value: r, selected: r === chosen }, t("role." + r))));
}

async function copy() {
  try {
    await navigator.clipboard.writeText(yaml());
    $("draw-warn").textContent = t("draw.copied");
  } catch {
    $("draw-warn").textContent = t("draw.nocopy");
  }
}

function key(e) {
  if (!drawing) return;
  const step = e.shiftKey ? 1 : 10;
  const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[e.key];
  const size = pictureSize($("still-img"));
  if (move) {
    const [x, y] = cross || [Math.round(size.width / 2), Math.round(size.height / 2)];
    cross = [Math.min(size.width, Math.max(0, x + move[0])), Math.min(size.height, Math.max(0, y + move[1]))];
    showPixel(cross);
    drawScene();
  } else if (e.key === " " && cross) add(cross);
  else if (e.key === "Enter") close();
  else if (e.key === "Backspace") undo();
  else if (e.key === "Escape") stopDrawing();
  else return;
  e.preventDefault();
}

export function startScene() {
  const o = $("overlay");
  o.addEventListener("pointermove", (e) => {
    const p = pixel(e);
    showPixel(p);
    if (drawing && !closed) { cross = p; drawScene(); }
  });
  o.addEventListener("pointerleave", () => {
    showPixel(null);
    if (drawing && cross) { cross = null; drawScene(); }
  });
  o.addEventListener("click", (e) => { if (drawing) add(pixel(e)); });
  o.addEventListener("keydown", key);
  $("draw").onclick = () => {
    if (drawing) return stopDrawing();
    drawing = true;
    o.setAttribute("tabindex", "0");
    refresh();
    o.focus();
  };
  $("draw-undo").onclick = undo;
  $("draw-close").onclick = close;
  $("draw-copy").onclick = copy;
  $("draw-name").oninput = refresh;
  $("draw-role").onchange = refresh;
}

export const redrawScene = refresh;
