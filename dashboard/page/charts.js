// Two small charts. Each says in words what it shows, for who does not see it.
import { svg, span, known, utc } from "./words.js";

/** columns is how many the day is drawn in. */
const columns = 240, width = 480, height = 46;

/** sparkline draws the RPO of 24 hours: the worst of each six minutes, on a scale on which seconds and hours can be told. What nobody saw is left empty. */
export function sparkline(into, past, target, now) {
  const day = 86400e3, from = now - day, first = Date.parse(past.from), step = past.step_seconds * 1000;
  const worst = new Array(columns).fill(undefined);
  past.values.forEach((v, i) => {
    const at = Math.floor((first + i * step - from) / day * columns);
    if (at < 0 || at >= columns) return;
    if (v === null) { if (worst[at] === undefined) worst[at] = null; } else if (!known(worst[at]) || v > worst[at]) worst[at] = v;
  });
  const most = Math.max(known(target) ? target * 2 : 1, ...worst.filter(known));
  const scale = (v) => height * Math.log1p(v) / Math.log1p(most);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": words(worst, target) });
  const w = width / columns;
  worst.forEach((v, i) => {
    if (v === undefined) { root.append(svg("rect", { class: "none", x: i * w, y: height - 1, width: w, height: 1 })); return; }
    if (v === null) { root.append(svg("rect", { class: "none", x: i * w, y: 0, width: w, height })); return; }
    const h = Math.max(1.5, scale(v));
    root.append(svg("rect", { class: known(target) && v > target ? "over" : "area", x: i * w, y: height - h, width: w + .3, height: h }));
  });
  if (known(target)) { const y = height - scale(target); root.append(svg("line", { class: "target", x1: 0, x2: width, y1: y, y2: y })); }
  into.replaceChildren(root);
}

function words(worst, target) {
  const seen = worst.filter(known);
  if (!seen.length) return "RPO of the last 24 hours: not known yet";
  const over = known(target) ? seen.filter((v) => v > target).length * 6 : 0;
  return `RPO of the last 24 hours: worst ${span(Math.max(...seen))}` + (known(target) ? `, above the target of ${span(target)} for about ${over} minutes` : "");
}

/** trend draws how long the restore of each drill took, oldest first; one that failed is a cross. */
export function trend(into, drills, target) {
  if (!drills.length) { into.replaceChildren(); return; }
  const slots = Math.max(10, drills.length), w = width / slots;
  const most = Math.max(known(target) ? target * 1.1 : 1, ...drills.map((d) => d.rto_seconds || 0));
  const told = drills.map((d) => `${utc(Date.parse(d.started)).slice(0, 10)} ${d.result}${known(d.rto_seconds) ? " " + span(d.rto_seconds) : ""}`);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": `Drills: ${told.join(", ")}` });
  drills.forEach((d, i) => {
    const x = i * w + 3, inner = w - 6, title = svg("title", {}, told[i]);
    if (d.result !== "passed") {
      root.append(svg("rect", { class: "failed", x, y: 1, width: inner, height: height - 2 }, title), svg("path", { class: "cross", d: `M${x} 1L${x + inner} ${height - 1}M${x + inner} 1L${x} ${height - 1}` }));
      return;
    }
    const h = Math.max(2, height * (d.rto_seconds || 0) / most);
    root.append(svg("rect", { class: known(target) && d.rto_seconds > target ? "over" : "area", x, y: height - h, width: inner, height: h }, title));
  });
  if (known(target)) { const y = height - height * target / most; root.append(svg("line", { class: "target", x1: 0, x2: width, y1: y, y2: y })); }
  into.replaceChildren(root);
}
