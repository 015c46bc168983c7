// Facts in words: sizes, lengths of time, instants. Nothing here touches the page.

export const known = (v) => v !== undefined && v !== null;

/** bytes writes a size in decimal units, as the command line does. */
export function bytes(n) {
  if (!known(n)) return "unknown";
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let i = 0, v = Math.abs(n);
  while (v >= 1000 && i < units.length - 1) { v /= 1000; i++; }
  const digits = i === 0 || v >= 100 ? 0 : v >= 10 ? 1 : 2;
  return `${n < 0 ? "-" : ""}${Number(v.toFixed(digits))} ${units[i]}`;
}

/** span writes a length of time given in seconds: two units at most. */
export function span(s) {
  if (!known(s) || Number.isNaN(s)) return "unknown";
  s = Math.max(0, s);
  if (s < 10) return `${Number(s.toFixed(1))} s`;
  s = Math.round(s);
  const parts = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];
  const out = [];
  for (const [size, unit] of parts) {
    if (s >= size || out.length) {
      const n = Math.floor(s / size);
      s -= n * size;
      if (n || out.length === 0) out.push(`${n}${unit}`);
      else break;
      if (out.length === 2) break;
    }
  }
  return out.join(" ");
}

/** instant writes a time in UTC to the second, as it is pasted: 2026-11-20T10:31:00Z. */
export const instant = (ms) => new Date(ms).toISOString().replace(/\.\d+Z$/, "Z");

/** utc writes a time in UTC for people. */
export const utc = (ms) => instant(ms).replace("T", " ");

const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
export function day(ms) {
  const d = new Date(ms);
  return `${months[d.getUTCMonth()]} ${String(d.getUTCDate()).padStart(2, "0")}`;
}
export const clock = (ms) => instant(ms).slice(11, 16);

/** local writes a time in the reader's zone, "" if that is UTC. */
export function local(ms) {
  const d = new Date(ms);
  if (d.getTimezoneOffset() === 0) return "";
  return d.toLocaleString([], { year: "numeric", month: "short", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" });
}

/** ago writes how long before now a time was. */
export const ago = (time, now) => known(time) ? `${span(Math.max(0, (now - Date.parse(time)) / 1000))} ago` : "never";

/** region is where a repository lies, as far as its URL says. */
export function region(url) {
  if (!url) return "";
  if (url.startsWith("file:")) return "this host";
  const found = /[?&]region=([^&]+)/.exec(url);
  if (found) return decodeURIComponent(found[1]);
  const host = /[?&]endpoint=(?:https?:\/\/)?([^&/]+)/.exec(url);
  return host ? decodeURIComponent(host[1]) : "";
}

/** place is a repository's URL without what follows the question mark. */
export const place = (url) => (url || "").split("?")[0];

export const verdicts = {
  protected: { word: "PROTECTED", kind: "ok", sign: "✓" },
  at_risk: { word: "AT RISK", kind: "warn", sign: "!" },
  unprotected: { word: "UNPROTECTED", kind: "bad", sign: "✗" },
};

/** el makes an element: el("p.muted", {id: "x"}, "text", child). Text is never read as markup. */
export function el(what, attributes = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const e = document.createElement(tag);
  if (classes.length) e.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes)) if (known(value) && value !== false) e.setAttribute(name, value === true ? "" : value);
  e.append(...children.filter((c) => known(c) && c !== ""));
  return e;
}

/** svg makes an element of a drawing. */
export function svg(tag, attributes = {}, ...children) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  e.append(...children);
  return e;
}

/** code shows a command with a button that copies it. */
export function code(text, label = "Copy") {
  const shown = el("code", {}, text);
  const button = el("button", { type: "button", "aria-label": `${label}: ${text}` }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(shown);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return [shown, button];
}

/** table fills a table: columns of [title, class], rows of cells that are text or elements. */
export function table(into, columns, rows, none) {
  if (!rows.length) {
    into.replaceChildren(el("tbody", {}, el("tr", {}, el("td.muted.wide", {}, none))));
    return;
  }
  const head = el("tr", {}, ...columns.map(([title, kind]) => el("th" + (kind ? "." + kind : ""), { scope: "col" }, title)));
  const body = rows.map((row) => {
    const tr = el("tr", row.attributes || {});
    row.cells.forEach((cell, i) => tr.append(cell instanceof HTMLTableCellElement ? cell : el("td" + (columns[i][1] ? "." + columns[i][1] : ""), {}, cell)));
    return tr;
  });
  into.replaceChildren(el("thead", {}, head), el("tbody", {}, ...body));
}
