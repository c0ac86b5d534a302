// What the modules share: where we look, and how zones are named and coloured.
import { label } from "./i18n.js";

export const at = { store: null, edge: null, camera: null };

export const params = () => ({ store: at.store.name, edge: at.edge.name, camera: at.camera.name });
export const isHere = (x) => x.store === at.store?.name && x.edge === at.edge?.name;

export function zoneClass(name) {
  const i = at.camera.zones.findIndex((z) => z.name === name);
  return "z" + ((i < 0 ? at.camera.zones.length : i) % 8);
}

export function zoneColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue("--" + zoneClass(name)).trim();
}

export const zoneLabel = (name) => label(at.camera.zones.find((z) => z.name === name) || { name });

// pictureSize is what polygons are measured in: the configured picture, else the
// stream, else the still itself.
export function pictureSize(img) {
  const c = at.camera;
  for (const s of [c.picture, c.stream]) if (s?.width > 0 && s?.height > 0) return s;
  if (img?.naturalWidth) return { width: img.naturalWidth, height: img.naturalHeight };
  return { width: 640, height: 480 };
}
