// el builds an element: el("a", {class: "csv", href: u, onclick: f}, "text", child).
export function el(name, attrs = {}, ...children) {
  return fill(document.createElement(name), attrs, children);
}

export function svg(name, attrs = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attrs, children);
}

function fill(e, attrs, children) {
  for (const [k, v] of Object.entries(attrs)) {
    if (v == null || v === false) continue;
    if (k.startsWith("on")) e.addEventListener(k.slice(2), v);
    else e.setAttribute(k, v === true ? "" : v);
  }
  e.append(...children.filter((c) => c != null));
  return e;
}

export const $ = (id) => document.getElementById(id);
