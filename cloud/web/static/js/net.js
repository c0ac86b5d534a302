// Failure carries what the server said went wrong and what to do next.
export class Failure extends Error {
  constructor(status, what, hint) {
    super(what);
    this.status = status;
    this.hint = hint;
  }
}

export function address(path, params) {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(params)) if (v !== undefined && v !== "") q.set(k, v);
  return `${path}?${q}`;
}

export async function get(path, params = {}, signal) {
  const r = await fetch(address(path, params), { signal, headers: { Accept: "application/json" } });
  if (r.ok) return r.json();
  const body = await r.json().catch(() => ({}));
  throw new Failure(r.status, body.error || r.statusText, body.hint || "");
}

// listen opens the event stream and keeps it open: the browser reconnects by
// itself, and a stream that has been silent for 25 s is opened anew.
export function listen(handlers, onState) {
  let source, heard = Date.now();
  const open = () => {
    source?.close();
    source = new EventSource("/api/events");
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
}
