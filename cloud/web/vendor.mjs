// Copies what the page needs out of node_modules into static/vendor, where the
// Go program embeds it. Only files named here are served.
import { copyFileSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const to = join(here, "static", "vendor");
mkdirSync(to, { recursive: true });
for (const [from, name] of [
  ["node_modules/uplot/dist/uPlot.esm.js", "uPlot.esm.js"],
  ["node_modules/uplot/dist/uPlot.min.css", "uPlot.min.css"],
  ["node_modules/uplot/LICENSE", "uPlot.LICENSE"],
]) copyFileSync(join(here, from), join(to, name));
console.log("charts: uPlot copied to static/vendor");
