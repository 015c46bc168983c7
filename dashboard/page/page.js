// The page: gets the facts, shows them, and keeps them new. It asks the process that it came from, and nobody else.
import { known, bytes, span, instant, utc, local, ago, region, place, verdicts, el, code, table, day, clock } from "./words.js";
import { view, intervals, near, gaps, draw, length } from "./window.js";
import { sparkline, trend } from "./charts.js";
import { usd, drill, bill, trade, lines } from "./details.js";

const $ = (id) => document.getElementById(id);
const state = {
  site: { clusters: [] }, name: "", reports: {}, errors: {}, lives: {}, past: null,
  aim: null, // the instant that is chosen, ms; null is the latest
  heard: 0, // when the agent was heard last, ms; 0 before
  opened: new Set(), // drills whose reports are shown
  skew: 0, // how far this clock is before the agent's, ms
};
/** silence is how long nothing may come before it is said that the agent is gone, ms. */
const silence = 20000;
const now = () => Date.now() - state.skew;
const chosen = () => state.site.clusters.find((c) => c.name === state.name) || {};
const query = () => `?cluster=${encodeURIComponent(state.name)}`;

async function ask(path) {
  const answer = await fetch(path, { headers: { Accept: "application/json" }, cache: "no-store" });
  let document = null;
  try { document = await answer.json(); } catch { /* it is none */ }
  if (!document) throw new Error(`${path}: ${answer.status}`);
  return document;
}

/** look gets the report of one cluster, or of all where several are shown. */
async function look(name) {
  const several = state.site.clusters.length > 1;
  const document = await ask("api/v1/status" + (name && several ? `?cluster=${encodeURIComponent(name)}` : ""));
  const all = Array.isArray(document) ? document : [{ cluster: name || state.name, ...document }];
  for (const one of all) {
    if (one.error) {
      state.errors[one.cluster] = one.error;
      continue;
    }
    delete state.errors[one.cluster];
    state.reports[one.cluster] = one;
  }
  show();
}

/** lookNow gets what the agents know by themselves, before they tell it. */
async function lookNow() {
  if (!state.site.clusters.some((c) => c.live)) return;
  const document = await ask("api/v1/live");
  for (const l of Array.isArray(document) ? document : [document]) state.lives[l.cluster] = l;
}

async function lookBack() {
  if (!chosen().live) { state.past = null; showPast(); return; }
  state.past = await ask("api/v1/history" + query());
  showPast();
}

/** listen takes what the agent tells by itself. The browser comes back by itself when the connection ends. */
function listen() {
  const events = new EventSource("api/v1/events");
  const on = (name, take) => events.addEventListener(name, (e) => { heard(); take(JSON.parse(e.data)); });
  on("live", (l) => {
    state.skew = Date.now() - Date.parse(l.now);
    state.lives[l.cluster] = l;
    if (l.cluster !== state.name) return;
    showLive();
    readLog(l).catch(missed);
  });
  on("status", (s) => look(s.cluster).catch(missed));
  on("job", (e) => { if (e.job.ended) look(e.cluster).catch(missed); });
  on("gap", (e) => look(e.cluster).catch(missed));
  events.addEventListener("site", () => location.reload()); // clusters came or went
  events.addEventListener("open", heard);
  events.addEventListener("error", () => showLink());
}

function heard() { state.heard = Date.now(); showLink(); }
function missed() { showLink(); }

const gone = () => !state.heard || Date.now() - state.heard > silence;

function showLink() {
  const link = $("link"), r = state.reports[state.name];
  const text = gone() && state.heard
    ? `not connected since ${clock(state.heard)} UTC: what is shown is old`
    : state.heard ? `live · looked at ${r ? instant(Date.parse(r.now)).slice(11) : "…"}` : "connecting…";
  link.className = "link" + (gone() ? (state.heard ? " away" : "") : " live");
  if (link.textContent !== text) link.textContent = text;
  if (gone() && state.heard) showVerdict();
}

/** put changes a text only where it is another one, so that a screen reader is not told again. */
function put(id, text) { const e = $(id); if (e.textContent !== text) e.textContent = text; }
function chip(id, text, kind = "") { put(id, text); $(id).className = "chip" + (kind ? " " + kind : ""); }

function show() {
  showFleet();
  showVerdict();
  const r = state.reports[state.name];
  if (!r) return;
  showCauses(r);
  showRTO(r);
  showWindow(r);
  showCopies(r);
  showBackups(r);
  showDrills(r);
  showLive();
  showLink();
}

function showVerdict() {
  const r = state.reports[state.name], error = state.errors[state.name];
  put("name", state.name || "pgark");
  document.title = state.name ? `${state.name} · pgark` : "pgark";
  const parts = [];
  if (r && r.server) parts.push(`PostgreSQL ${r.server.version}`, r.server.address, `timeline ${r.server.timeline}`);
  else if (r) parts.push("the server was not asked or did not answer");
  const l = state.lives[state.name];
  if (l && l.state) parts.push(`${l.state}${l.since ? " " + span((now() - Date.parse(l.since)) / 1000) : ""}`);
  else if (r) parts.push(place(r.repository));
  put("server", parts.join(" · "));
  const word = $("word");
  let text = "looking…", kind = "";
  if (gone() && state.heard) { text = "NOT KNOWN: no connection"; kind = "bad"; }
  else if (error) { text = "NOT KNOWN: no look succeeds"; kind = "bad"; }
  else if (r && r.verdict) { const v = verdicts[r.verdict]; text = `${v.sign} ${v.word}`; kind = v.kind; }
  put("word", text);
  word.className = "word " + kind;
  if (error) showCauses({ verdict: "unprotected", causes: [{ what: error.message + (error.cause ? `: ${error.cause}` : ""), fix: error.fix || "" }] });
}

function showCauses(r) {
  const list = $("causes");
  const words = JSON.stringify(r.causes || []);
  if (list.dataset.words === words) return;
  list.dataset.words = words;
  list.className = "causes" + (r.verdict === "at_risk" ? " warn" : "");
  list.replaceChildren(...(r.causes || []).map((c) => {
    const since = c.since ? el("span.muted", {}, ` since ${utc(Date.parse(c.since))}`) : "";
    const fix = c.fix ? el("div.code", {}, ...code(c.fix, "Copy the fix")) : "";
    return el("li", {}, el("p", {}, c.what, since), fix);
  }));
}

/** showLive shows what changes from second to second. */
function showLive() {
  const r = state.reports[state.name] || {}, l = state.lives[state.name];
  const rpo = l && known(l.rpo_seconds) ? l.rpo_seconds : l ? undefined : r.rpo_seconds;
  const target = r.rpo_target_seconds;
  put("rpo", known(rpo) ? span(rpo) : "unknown");
  if (!known(rpo)) chip("rpo-word", "cannot be told", "warn");
  else if (known(target)) chip("rpo-word", rpo <= target ? "ok" : "missed", rpo <= target ? "ok" : "bad");
  const until = (l && l.recoverable_until) || r.recoverable_until;
  const all = l && l.caught_up ? "all that the server has is durable" : until ? `durable up to ${utc(Date.parse(until))}` : "nothing can be restored yet";
  put("rpo-note", `${known(target) ? `target ${span(target)} · ` : ""}${all}`);
  if (!l || !l.jobs.length) $("log-more").hidden = true;
  showSlot((l && l.slot) || (r.server && r.server.slot), r);
  showJobs(l);
  showVerdict();
}

function showPast() {
  const r = state.reports[state.name] || {}, site = chosen();
  if (!site.live) {
    $("rpo-line").replaceChildren();
    put("rpo-span", "no agent here keeps a history");
    return;
  }
  const p = state.past;
  if (!p) return;
  sparkline($("rpo-line"), p, r.rpo_target_seconds, now());
  const age = (now() - Date.parse(p.from)) / 1000;
  put("rpo-span", age >= 86300 ? "worst of each minute, last 24 h" : `worst of each minute, 24 h wide; this agent began ${span(age)} ago`);
}

function showRTO(r) {
  const drills = r.drills || [];
  const good = [...drills].reverse().find((d) => d.result === "passed" && known(d.rto_seconds));
  const last = drills[drills.length - 1];
  put("rto", good ? span(good.rto_seconds) : "unknown");
  const target = r.rto_target_seconds;
  if (!last) chip("rto-word", "no drill yet", "warn");
  else if (last.result !== "passed") chip("rto-word", "last drill failed", "bad");
  else if (known(target)) chip("rto-word", good.rto_seconds <= target ? "ok" : "missed", good.rto_seconds <= target ? "ok" : "bad");
  else chip("rto-word", "proved", "ok");
  const words = [];
  if (known(target)) words.push(`target ${span(target)}`);
  if (good) words.push(`drill ${utc(Date.parse(good.started))}`, bytes(good.plain_bytes));
  put("rto-note", words.join(" · ") || "how long a restore takes is not known before one was tried");
  trend($("rto-line"), drills, target);
  put("rto-span", drills.length ? `the last ${drills.length === 1 ? "drill" : `${drills.length} drills`}, oldest first` : "pgark drill run");
}

function showSlot(slot, r) {
  const bar = $("slot-bar");
  if (!slot || !slot.exists) {
    put("slot", slot ? "no slot" : "unknown");
    chip("slot-word", slot ? "not kept" : "", "bad");
    put("slot-note", slot ? `the server has no slot ${slot.name}` : r.server_error || (r.server && r.server.slot_error) || "the server was not asked");
    bar.replaceChildren(); bar.hidden = true;
    put("slot-span", "");
    return;
  }
  put("slot", bytes(slot.retained_bytes));
  const b = slot.bound, share = b && b.limit_bytes > 0 ? 1 - b.left_bytes / b.limit_bytes : null;
  const kind = slot.wal_status === "lost" || share >= .8 ? "bad" : share >= .5 || slot.wal_status === "unreserved" ? "warn" : "ok";
  chip("slot-word", slot.wal_status === "lost" ? "lost" : slot.active === false ? "nobody receives" : kind === "ok" ? "ok" : "near its limit", slot.active === false ? "warn" : kind);
  put("slot-note", `kept for slot ${slot.name}` + (b ? `, limit ${bytes(b.limit_bytes)} (${b.by === "disk" ? "the disk" : b.by})` : ", without a limit"));
  bar.hidden = !b;
  if (b) {
    const percent = Math.max(0, Math.min(100, share * 100));
    bar.setAttribute("aria-valuenow", percent.toFixed(1));
    bar.setAttribute("aria-valuetext", `${bytes(slot.retained_bytes)} of ${bytes(b.limit_bytes)}`);
    if (!bar.firstChild) bar.append(el("i"));
    bar.firstChild.className = kind === "ok" ? "" : kind;
    bar.firstChild.style.width = `${Math.max(.6, percent)}%`;
  }
  const words = [];
  if (b && known(b.left_seconds) && b.left_bytes > 0) words.push(`full in about ${span(b.left_seconds)}`);
  else if (b) words.push(`${bytes(b.left_bytes)} left`);
  if (known(slot.disk_free_bytes)) words.push(`disk ${bytes(slot.disk_free_bytes)} free`);
  put("slot-span", words.join(" · ") || (b ? "" : "a long outage of the store could fill the disk"));
}

function showJobs(l) {
  const list = $("jobs");
  if (!l) { list.replaceChildren(el("li.muted", {}, "Only the page of the agent that does them shows jobs.")); return; }
  const names = { backup: "Base backup", drill: "Drill", verify: "Verification", prune: "Prune" };
  const running = l.jobs.map((j) => {
    const share = j.total_bytes > 0 ? Math.min(1, j.done_bytes / j.total_bytes) : null;
    const head = el("p.head", {}, el("strong", {}, `${names[j.kind] || j.kind}${j.phase ? ` · ${j.phase}` : ""}`), el("span.muted", {}, span((now() - Date.parse(j.began)) / 1000)));
    const bar = el("div.bar", { role: "progressbar", "aria-label": `${names[j.kind]}${j.phase ? `, ${j.phase}` : ""}`, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": share === null ? null : Math.round(share * 100) });
    if (share !== null) { const fill = el("i"); fill.style.width = `${share * 100}%`; bar.append(fill); }
    const done = j.done_bytes ? `${bytes(j.done_bytes)}${j.total_bytes ? ` of ${bytes(j.total_bytes)}, ${Math.floor((share || 0) * 100)} %` : ""}` : "";
    return el("li", { "data-job": j.id }, head, bar, el("p.muted.small", {}, done));
  });
  const ended = l.ended_jobs.slice(0, 6).map((j) => {
    const word = { done: ["✓", "okay"], failed: ["✗ failed", "wrong"], stopped: ["stopped", "muted"] }[j.result] || [j.result, ""];
    const head = el("p.head", {}, el("span", {}, el("span." + word[1], {}, word[0]), ` ${names[j.kind] || j.kind}`), el("span.muted", {}, ago(j.ended, now())));
    const detail = [known(j.rto_seconds) && `RTO ${span(j.rto_seconds)}`, j.subject, j.detail].filter(Boolean).join(" · ");
    return el("li", {}, head, detail ? el("p.muted.small", {}, detail) : "");
  });
  list.replaceChildren(...running, ...ended);
  if (!running.length && !ended.length) list.append(el("li.muted", {}, `None since this agent began, ${ago(l.began, now())}.`));
}

function showWindow(r) {
  const v = view(r), found = gaps(r);
  put("window-note", v ? `${length(r)} · ${utc(v.from)} → ${utc(Date.parse(r.recoverable_until))} · ${found.length ? `${found.length} ${found.length === 1 ? "gap" : "gaps"}, ${span(found.reduce((s, g) => s + g.seconds, 0))}` : "no gap"}` : "nothing can be restored");
  $("restore").hidden = !v;
  const list = $("gaps");
  list.replaceChildren(...found.map((g) => el("li", {}, el("b", {}, "gap "), `${utc(g.from)} → ${g.open ? "now" : utc(g.until)}, ${span(g.seconds)}`, g.why ? el("span.muted", {}, ` (${g.why})`) : "")));
  if (v) list.append(el("li.legend.small.muted", {}, el("span", { "data-sign": "●" }, "base backup"), el("span", { "data-sign": "◆" }, "proved by a drill"), el("span", { "data-sign": "▨" }, "gap: cannot be restored")));
  const slider = $("when");
  if (v) {
    slider.min = Math.ceil(v.from / 1000);
    slider.max = Math.floor(v.until / 1000);
    if (state.aim === null) slider.value = slider.max;
  }
  showStrip(r);
  showTarget(r);
}

function showStrip(r) { draw($("strip"), r, Math.max(280, $("strip").clientWidth), { aim: state.aim }); }

/** showTarget writes the command that restores what is chosen, or why nothing does. */
function showTarget(r) {
  const v = view(r), words = $("target"), command = $("command");
  if (!v) return;
  if (document.activeElement !== $("exact")) $("exact").value = utc(state.aim === null ? Date.parse(r.recoverable_until) : state.aim);
  $("when").setAttribute("aria-valuetext", state.aim === null ? "latest" : utc(state.aim));
  const found = state.aim === null ? { ok: true } : near(intervals(r), state.aim);
  words.className = "target" + (found.ok ? "" : " bad");
  if (!found.ok) {
    const nearest = [["before", found.before], ["after", found.after]].filter(([, at]) => at !== null);
    words.replaceChildren(`${utc(state.aim)} cannot be restored. The nearest that can: `, ...nearest.map(([name, at]) => {
      const safe = name === "before" ? Math.floor(at / 1000) * 1000 : Math.ceil(at / 1000) * 1000;
      const b = el("button", { type: "button" }, `${utc(safe)} (${name})`);
      b.addEventListener("click", () => aimAt(safe));
      return el("span", {}, b, " ");
    }));
    command.replaceChildren();
    delete command.dataset.text;
    return;
  }
  const here = state.aim === null ? "" : local(state.aim);
  put("target", state.aim === null ? "The latest: everything that is durable." : `${utc(state.aim)}${here ? ` (${here})` : ""}, ${ago(instant(state.aim), now())}. All commits up to then, and none after.`);
  const text = `${chosen().restore || "pgark restore"} --to '${state.aim === null ? "latest" : instant(state.aim)}' --into restored`;
  if (command.dataset.text !== text) {
    command.dataset.text = text;
    command.replaceChildren(...code(text, "Copy the command"));
  }
}

function aimAt(ms) {
  const r = state.reports[state.name], v = r && view(r);
  if (!v) return;
  state.aim = ms === null || ms >= v.until ? null : Math.max(Math.ceil(v.from / 1000) * 1000, ms);
  $("when").value = state.aim === null ? $("when").max : Math.floor(state.aim / 1000);
  showStrip(r);
  showTarget(r);
}

function showCopies(r) {
  const all = r.copies && r.copies.length ? r.copies : [{ name: "primary", repository: r.repository, stored: r.stored, recoverable_until: r.recoverable_until, restorable_backups: r.backups.filter((b) => b.restorable).length, lock: r.lock }];
  const priced = r.cost && r.cost.repositories.some((e) => e.usd_month > 0);
  const rows = all.map((c) => {
    const what = el("td", {}, c.name, el("span.sub", {}, place(c.repository)));
    if (c.error) return { cells: [what, region(c.repository), el("td.wide.wrong", { colspan: priced ? 5 : 4 }, c.error)] };
    const late = c.behind_seconds > 0;
    const lag = late ? el("td.n" + (c.behind_seconds > 30 ? ".warned" : ""), {}, span(c.behind_seconds), c.behind_bytes ? el("span.sub", {}, bytes(c.behind_bytes)) : "") : el("td.n.okay", {}, all.length > 1 ? "up to date" : "–");
    const s = c.stored || {};
    return { cells: [what, region(c.repository) || "–", lag, bytes(s.wal_bytes), bytes(s.backup_bytes), String(c.restorable_backups), ...(priced ? [usd((r.cost.repositories.find((e) => e.name === c.name) || {}).usd_month)] : [])] };
  });
  table($("copies"), [["Repository"], ["Region"], ["Behind", "n"], ["WAL", "n"], ["Base", "n"], ["Backups", "n"], ...(priced ? [["USD a month", "n"]] : [])], rows, "none");
  showCost(r.cost);
  const s = r.stored, total = s.wal_bytes + s.backup_bytes, bar = $("storage");
  if (!total) { bar.replaceChildren(); return; }
  const parts = el("div.bar", { role: "img", "aria-label": `Stored: WAL ${bytes(s.wal_bytes)}, base backups ${bytes(s.backup_bytes)}` }, el("i"), el("i.base"));
  parts.children[0].style.width = `${100 * s.wal_bytes / total}%`;
  parts.children[1].style.width = `${100 * s.backup_bytes / total}%`;
  bar.replaceChildren(parts, el("p.muted.small", {}, `${bytes(total)} stored${all.length > 1 ? " in each" : ""}: WAL ${bytes(s.wal_bytes)} (left), base backups ${bytes(s.backup_bytes)}` + (r.encryption ? " · encrypted" : "")));
}

/** showCost says what the repositories cost, and what other upload intervals would. */
function showCost(c) {
  const told = bill(c);
  $("cost").replaceChildren(...told);
  const choice = told.length > 0 && c.upload_trade.length > 0;
  $("cost-more").hidden = !choice;
  if (choice) $("trade").replaceChildren(...trade(c));
}

/** logLines is how many lines of the log are shown. */
const logLines = 40;

/** readLog shows what the agent logs while a job is at work. Who reads further up is left there. */
async function readLog(l) {
  const more = $("log-more"), log = $("log");
  if (!l.jobs.length || !more.open || document.hidden) { more.hidden = !l.jobs.length; return; }
  const answer = await fetch("api/v1/log", { cache: "no-store" });
  if (!answer.ok) throw new Error(`api/v1/log: ${answer.status}`);
  const text = lines(await answer.text(), l.cluster, logLines).join("\n");
  more.hidden = false;
  if (log.textContent === text) return;
  const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
  log.textContent = text;
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function showBackups(r) {
  const rows = [...r.backups].reverse().slice(0, 8).map((b) => {
    const status = !b.restorable ? el("td.wide.wrong", {}, "✗ cannot be restored") : b.checksums === "failed" ? el("td.wide.wrong", {}, "✗ wrong checksums") : el("td.wide", {}, b.drill ? "◆ proved, RTO " + span(b.drill.rto_seconds) : "● restorable", b.pinned ? el("span.sub", {}, b.kept_until ? `kept until ${b.kept_until.slice(0, 10)}` : "kept") : "");
    return { cells: [el("td", {}, utc(Date.parse(b.started)).slice(0, 16), el("span.sub", {}, b.id)), b.type, span((Date.parse(b.stopped) - Date.parse(b.started)) / 1000), bytes(b.plain_bytes), bytes(b.stored_bytes), status] };
  });
  table($("backups"), [["Started (UTC)"], ["Type"], ["Took", "n"], ["Size", "n"], ["Stored", "n"], ["Status"]], rows, "There is no base backup: nothing can be restored.");
}

/** showDrills lists the newest drills; each opens to its whole report. */
function showDrills(r) {
  const list = $("drills"), all = [...(r.drills || [])].reverse().slice(0, 8);
  const words = JSON.stringify([state.name, all]);
  if (list.dataset.words === words) return; // what is open stays open
  list.dataset.words = words;
  list.replaceChildren(...all.map((d) => {
    const passed = d.result === "passed";
    const more = el("details", { "data-drill": d.id, open: state.opened.has(d.id) }, el("summary", {},
      el("span", {}, utc(Date.parse(d.started)).slice(0, 16)), el("span" + (passed ? ".okay" : ".wrong"), {}, passed ? "✓ passed" : "✗ failed"),
      el("span.n", {}, known(d.rto_seconds) ? `RTO ${span(d.rto_seconds)}` : ""), el("span.n", {}, known(d.data_loss_seconds) ? `loss ${d.data_loss_seconds.toFixed(2)} s` : ""),
      passed ? "" : el("span.sub", {}, d.failure || "")));
    more.addEventListener("toggle", () => openDrill(more, d.id));
    return el("li", {}, more);
  }));
  if (!all.length) list.append(el("li.muted", {}, "No drill yet: pgark drill run proves that this archive can be restored, and how long it takes."));
}

/** openDrill gets the report of a drill that is opened, once. */
async function openDrill(more, id) {
  if (!more.open) { state.opened.delete(id); return; }
  state.opened.add(id);
  if (more.querySelector(".report")) return;
  let shown;
  try {
    shown = drill(await ask(`api/v1/drill${query()}&id=${encodeURIComponent(id)}`));
  } catch {
    shown = el("p.report.muted", {}, `The report is not here any more: pgark drill show ${id}`);
  }
  if (!more.querySelector(".report")) more.append(shown);
}

/** showFleet lists all clusters where there are several. */
function showFleet() {
  const all = state.site.clusters;
  $("fleet").hidden = all.length < 2;
  if (all.length < 2) return;
  const rows = all.map(({ name }) => {
    const r = state.reports[name], error = state.errors[name], link = el("a", { href: "#" + encodeURIComponent(name) }, name);
    const attributes = { "data-cluster": name, "aria-current": name === state.name ? "true" : null };
    if (error) return { attributes, cells: [el("td", {}, link), el("td.wide.wrong", { colspan: 4 }, `✗ not known: ${error.message}`)] };
    if (!r) return { attributes, cells: [el("td", {}, link), el("td.muted", { colspan: 4 }, "looking…")] };
    const v = verdicts[r.verdict] || { word: "not judged", kind: "", sign: "" };
    const good = [...(r.drills || [])].reverse().find((d) => d.result === "passed");
    const strip = el("div.strip");
    draw(strip, r, 220, { small: true });
    const found = gaps(r).length;
    return { attributes, cells: [
      el("td", {}, link), el("td", {}, el("span.chip." + v.kind, {}, `${v.sign} ${v.word}`)), known(r.rpo_seconds) ? span(r.rpo_seconds) : "unknown",
      good ? span(good.rto_seconds) : "no drill", el("td", {}, strip, el("span.sub", {}, `${length(r)}${found ? `, ${found} ${found === 1 ? "gap" : "gaps"}` : ""}`)),
    ] };
  });
  table($("fleet-table"), [["Cluster"], ["Verdict"], ["RPO", "n"], ["RTO", "n"], ["Window"]], rows, "none");
}

/** choose shows the cluster that the address names, or the first. */
function choose() {
  const wanted = decodeURIComponent(location.hash.slice(1));
  const all = state.site.clusters;
  state.name = (all.find((c) => c.name === wanted) || all[0] || { name: "" }).name;
  state.aim = null;
  state.past = null;
  state.opened.clear();
  delete $("causes").dataset.words;
  show();
  lookBack().catch(missed);
}

function begin() {
  $("when").addEventListener("input", (e) => aimAt(Number(e.target.value) >= Number(e.target.max) ? null : Number(e.target.value) * 1000));
  document.querySelectorAll("[data-step]").forEach((b) => b.addEventListener("click", () => {
    const r = state.reports[state.name];
    if (!r) return;
    aimAt(b.dataset.step === "latest" ? null : (state.aim ?? Math.floor(Date.parse(r.recoverable_until) / 1000) * 1000) + Number(b.dataset.step) * 1000);
  }));
  $("exact").addEventListener("change", (e) => {
    const at = Date.parse(e.target.value.trim().replace(" ", "T").replace(/Z?$/, "Z"));
    e.target.setAttribute("aria-invalid", String(Number.isNaN(at)));
    if (!Number.isNaN(at)) aimAt(at);
  });
  addEventListener("hashchange", choose);
  new ResizeObserver(() => { const r = state.reports[state.name]; if (r) showStrip(r); }).observe($("strip"));
  setInterval(showLink, 1000);
  setInterval(() => lookBack().catch(missed), 60000);
}

async function start() {
  try {
    state.site = await ask("api/v1/site");
  } catch {
    put("word", "no answer; trying again");
    setTimeout(start, 2000);
    return;
  }
  put("footer", `pgark ${state.site.version || ""} · only reads: to restore, run the command that is shown`);
  begin();
  choose();
  listen();
  await lookNow().catch(missed);
  if (state.lives[state.name]) await readLog(state.lives[state.name]).catch(missed);
  await look("").catch(missed);
  await lookBack().catch(missed);
}

start();
