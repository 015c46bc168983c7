// The recovery window: which instants can be restored, and the strip that shows it. A cell of the strip counts as covered only if it is covered entirely, and a
// gap too small for a cell of its own is drawn all the same.
import { svg, day, clock, utc, span, known } from "./words.js";

/** fresh is how old the newest instant may be before the strip goes on to now, so that an agent that is gone shows as a gap; ms. */
const fresh = 30000;

/** view is the time that the strip of a report shows, in ms; null where nothing can be restored. */
export function view(report) {
  if (!known(report.recoverable_from)) return null;
  const from = Date.parse(report.recoverable_from), now = Date.parse(report.now);
  let until = Date.parse(report.recoverable_until);
  if (now - until > fresh) until = now;
  return { from, until };
}

/** intervals are the runs of instants that can be restored, in ms. */
export const intervals = (report) => (report.window || []).map((w) => ({ from: Date.parse(w.from), until: Date.parse(w.until) }));

/** cells says of each of n cells of the strip whether all of it can be restored. */
export function cells(v, covered, n) {
  const edge = (i) => v.from + (v.until - v.from) * i / n;
  return Array.from({ length: n }, (_, i) => covered.some((c) => c.from <= edge(i) && edge(i + 1) <= c.until));
}

/** near says whether an instant can be restored, and if not the nearest ones that can. */
export function near(covered, at) {
  if (covered.some((c) => c.from <= at && at <= c.until)) return { ok: true };
  const before = covered.filter((c) => c.until < at).map((c) => c.until);
  const after = covered.filter((c) => c.from > at).map((c) => c.from);
  return { ok: false, before: before.length ? Math.max(...before) : null, after: after.length ? Math.min(...after) : null };
}

/** gaps are those of a report, the open one among them, in words. */
export function gaps(report) {
  const all = [...(report.gaps || [])];
  if (report.open_gap) all.push({ ...report.open_gap, open: true });
  return all.map((g) => {
    const from = Date.parse(g.from), until = Date.parse(g.until);
    return { from, until, open: g.open, seconds: (until - from) / 1000, why: [g.cause && g.cause.replaceAll("-", " "), g.detail].filter(Boolean).join("; ") };
  });
}

/** summary is the strip in words, for who does not see it. */
export function summary(report) {
  const v = view(report);
  if (!v) return "Nothing can be restored.";
  const found = gaps(report);
  const words = found.map((g) => `${utc(g.from)} to ${g.open ? "now" : utc(g.until)}`);
  return `Can be restored from ${utc(v.from)} to ${utc(Date.parse(report.recoverable_until))}` +
    (found.length ? `, but for ${found.length} ${found.length === 1 ? "gap" : "gaps"}: ${words.join("; ")}.` : ", without a gap.");
}

/** draw draws the strip into an element that is width wide. aim is the instant that is chosen, if one is. */
export function draw(into, report, width, { aim, small } = {}) {
  const v = view(report);
  if (!v || v.until <= v.from) { into.replaceChildren(); return; }
  const height = small ? 18 : 68, y = small ? 5 : 20, thick = small ? 8 : 14, pad = small ? 2 : 8;
  const x = (at) => pad + (width - 2 * pad) * (at - v.from) / (v.until - v.from);
  const covered = intervals(report);
  const n = Math.max(24, Math.min(192, Math.floor(width / 6)));
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": summary(report), preserveAspectRatio: "none" });
  root.append(svg("defs", {}, svg("pattern", { id: "hatch", width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    svg("rect", { class: "ground", width: 5, height: 5 }), svg("line", { class: "line", x1: 0, y1: 0, x2: 0, y2: 5 }))));
  const all = cells(v, covered, n), holes = [];
  for (let i = 0; i < n;) { // runs of cells that are alike
    let j = i;
    while (j < n && all[j] === all[i]) j++;
    const left = pad + (width - 2 * pad) * i / n, right = pad + (width - 2 * pad) * j / n;
    if (all[i]) root.append(svg("rect", { class: "there", x: left, y, width: right - left, height: thick }));
    else holes.push({ left, right });
    i = j;
  }
  if (!small) marks(root, report, x, y + thick / 2, holes);
  const over = small ? 2 : 5; // a gap stands out, and lies over all else
  for (const h of holes) root.append(svg("rect", { class: "gap", x: h.left, y: y - over, width: h.right - h.left, height: thick + 2 * over }));
  if (!small) axis(root, v, x, y + thick, width);
  if (known(aim)) {
    const at = x(Math.min(v.until, Math.max(v.from, aim)));
    root.append(svg("line", { class: "aim-line", x1: at, x2: at, y1: 6, y2: y + thick + 4 }), svg("path", { class: "aim", d: `M${at - 6} 2h12l-6 9z` }));
  }
  into.replaceChildren(root);
}

/** marks draws base backups, those that a drill proved as diamonds. One that ends a gap is drawn beside it. */
function marks(root, report, x, y, holes) {
  for (const b of report.backups || []) {
    if (!b.restorable) continue;
    const stopped = x(Date.parse(b.stopped)), hole = holes.find((h) => h.left - 1 <= stopped && stopped <= h.right + 8);
    const at = hole ? hole.right + 9 : stopped;
    const title = svg("title", {}, `${b.id}${b.drill ? `, proved by drill ${b.drill.id}` : ""}`);
    root.append(b.drill
      ? svg("path", { class: "base", d: `M${at} ${y - 9}l7 9-7 9-7-9z` }, title)
      : svg("circle", { class: "base", cx: at, cy: y, r: 6 }, title));
  }
}

/** axis writes times below the strip, as many as fit. */
function axis(root, v, x, y, width) {
  const total = v.until - v.from;
  const label = total > 3 * 86400e3 ? day : total > 86400e3 ? (ms) => `${day(ms)} ${clock(ms)}` : clock;
  const n = Math.max(2, Math.min(7, Math.floor(width / 130)));
  for (let i = 0; i <= n; i++) {
    const at = v.from + total * i / n;
    const anchor = i === 0 ? "start" : i === n ? "end" : "middle";
    root.append(svg("text", { x: x(at), y: y + 26, "text-anchor": anchor }, i === n ? "now" : label(at)));
  }
}

/** length is how long the window is, in words. */
export function length(report) {
  const v = view(report);
  return v ? span((Date.parse(report.recoverable_until) - v.from) / 1000) : "none";
}
