import { has, language, t } from "./i18n.js";

// Failure carries what the server said went wrong and what to do next.
export class Failure extends Error {
  constructor(status, what, hint, { elsewhere = false, soon = false } = {}) {
    super(what);
    this.status = status;
    this.hint = hint;
    this.elsewhere = elsewhere; // the footage is still on its box
    this.soon = soon; // it is being recorded
  }
}

export function address(path, params) {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(params)) if (v !== undefined && v !== "") q.set(k, v);
  return `${path}?${q}`;
}

// explain says in the reader's language what went wrong and what to do next. The
// server's own words are English, and more exact; in Chinese the status must do.
export function explain(e) {
  if (!(e instanceof Failure)) return t("trouble.net", { what: e.message });
  if (e.status === 0 || language() === "en") return t("trouble", { what: e.message, hint: e.hint || "" }).trim();
  return t(has("error." + e.status) ? "error." + e.status : "error.other", { status: e.status });
}

export async function get(path, params = {}, signal) {
  return answer(await fetch(address(path, params), { signal, headers: { Accept: "application/json" } }));
}

// change sends what changes something; the header tells the server that this page asks.
export async function change(method, path, params, body) {
  const headers = { Accept: "application/json", "X-Floorwatch": "1", ...(body && { "Content-Type": "application/json" }) };
  return answer(await fetch(address(path, params), { method, headers, body: body && JSON.stringify(body) }));
}

async function answer(r) {
  if (r.ok) return r.json();
  const body = await r.json().catch(() => ({}));
  throw new Failure(r.status, body.error || r.statusText, body.hint || "", body);
}

// bring has the footage of a span sent from its box. on hears {done, total} in
// bytes, then once null, or the code of what went wrong. Returns what stops it.
export function bring(params, on, failed) {
  const source = new EventSource(address("/api/fetch", params));
  const end = (f) => { source.close(); f(); };
  source.addEventListener("progress", (e) => on(JSON.parse(e.data)));
  source.addEventListener("end", () => end(() => on(null)));
  source.addEventListener("failed", (e) => end(() => failed(JSON.parse(e.data).code)));
  source.onerror = () => end(() => failed("line"));
  return () => source.close();
}

// listen opens the event stream of what of() names and keeps it open: the browser
// reconnects by itself, and a stream that has been silent for 25 s is opened anew.
// Returns what opens it anew when of() names something else.
export function listen(handlers, onState, of) {
  let source, heard = Date.now(), at;
  const open = () => {
    source?.close();
    at = address("/api/events", of());
    source = new EventSource(at);
    heard = Date.now();
    source.onopen = () => onState(true);
    source.onerror = () => onState(false);
    for (const [name, f] of Object.entries(handlers)) {
      source.addEventListener(name, (e) => {
        heard = Date.now();
        f(JSON.parse(e.data));
      });
    }
  };
  open();
  setInterval(() => {
    if (source.readyState === EventSource.CLOSED || Date.now() - heard > 25000) {
      onState(false);
      open();
    }
  }, 5000);
  return () => { if (at !== address("/api/events", of())) open(); };
}
