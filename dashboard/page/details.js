// What is opened: the report of a drill, what the archive costs, the agent's log. Each is made of facts alone; page.js gets them.
import { known, bytes, span, utc, el } from "./words.js";

/** usd writes an amount: cents up to a hundred. */
export const usd = (v) => known(v) ? (v >= 99.995 ? Math.round(v).toLocaleString("en") : v.toFixed(2)) : "not known";

const signs = { passed: ["✓", "okay"], failed: ["✗", "wrong"], off: ["○", "muted"], skipped: ["○", "muted"] };
const sign = (result) => { const [text, kind] = signs[result] || ["", "muted"]; return el("span." + kind, {}, text + (result === "failed" ? " failed" : "")); };

/** facts is a list of what is known: pairs of a word and what it says. */
function facts(pairs) {
  return el("dl.facts", {}, ...pairs.filter(([, v]) => known(v) && v !== "").flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, ...[v].flat())]));
}

const commit = (c) => c ? `last commit ${utc(Date.parse(c.time))} xid ${c.xid} at ${c.lsn}` : "no commit after the base backup";

/** check says what a check came to, as the command line does. */
function check(c) {
  const what = { pages: "page checksums", amcheck: "amcheck", sql: `sql ${c.name}` }[c.kind] || c.kind;
  let words = "";
  if (c.detail) words = `: ${c.detail.replaceAll("\n", "; ")}`;
  else if (c.kind === "sql") words = c.result === "passed" ? ` = “${c.want}”` : c.got ? ` = “${c.got}”, want “${c.want}”` : `: want “${c.want}”`;
  else if (c.result === "failed") words = ": what was found is not kept beside encrypted contents";
  else if (c.kind === "pages" && c.by === "base_backup") words = ` right in ${bytes(c.bytes)}, read by the server itself`;
  else if (c.kind === "pages") words = ` of ${(c.count || 0).toLocaleString("en")} pages right`;
  else if (c.kind === "amcheck") words = ` of ${(c.count || 0).toLocaleString("en")} relations ok${c.by === "sample" ? " (a sample)" : ""}`;
  return el("li", {}, sign(c.result), ` ${what}${words}`, c.seconds ? el("span.muted", {}, ` ${span(c.seconds)}`) : "");
}

/** drill shows the whole report of a drill, as `pgark drill show` prints it. */
export function drill(d) {
  const failedIn = d.result === "failed" ? d.phase : "";
  const phases = [
    ["plan", d.plan && d.plan.seconds, "what to restore was decided"],
    ["fetch", d.fetch.seconds, `base backup ${d.backup}, ${bytes(d.fetch.bytes)} in ${(d.fetch.files || 0).toLocaleString("en")} files (${bytes(d.fetch.stored)} stored)`],
    ["replay", d.replay.seconds, `${bytes(d.replay.bytes)} of WAL in ${d.replay.segments} segments, ${commit(d.last_commit)}`],
    ["open", d.open.seconds, `PostgreSQL ${d.server_version} accepts connections`],
  ];
  const steps = [];
  for (const [name, took, words] of phases) {
    const failed = failedIn === name;
    if (name !== "plan" || failed || took) steps.push(el("li", {}, sign(failed ? "failed" : "passed"), ` ${name}: ${failed ? d.failure : words}`, took ? el("span.muted", {}, ` ${span(took)}`) : ""));
    if (failed) break;
  }
  const target = d.target.latest ? "the end of the archive" : utc(Date.parse(d.target.time));
  const judged = (which, v, most) => most ? ` (target ${span(most)}, ${(d.missed || []).includes(which) ? "missed" : "ok"})` : "";
  const checks = d.checks || [], substitutes = d.substitutes || [], notes = d.notes || [];
  return el("div.report", {},
    facts([
      ["Drill", `${d.id}, on ${d.host}, took ${span((Date.parse(d.ended) - Date.parse(d.started)) / 1000)}`],
      ["Target", target + (d.target.asked === "random" ? " (random)" : "")],
      ["From", d.repository],
      ["WAL", d.until_lsn && d.until_lsn !== "0/0" ? `${d.start_lsn} to ${d.until_lsn}, timeline ${d.timeline}` : null],
      ["RTO", d.rto_seconds ? span(d.rto_seconds) + judged("rto", d.rto_seconds, d.rto_objective_seconds) : null],
      ["Data loss", known(d.data_loss_seconds) ? `${d.data_loss_seconds.toFixed(2)} s at the target` + judged("rpo", d.data_loss_seconds, d.rpo_objective_seconds) : null],
    ]),
    el("ul.steps-done", { "aria-label": "Phases" }, ...steps),
    checks.length ? el("ul.steps-done", { "aria-label": "Checks" }, ...checks.map(check)) : failedIn === "verify" ? el("p.wrong", {}, d.failure) : "",
    d.substituted ? el("p.muted", {}, `${d.substituted} ${d.substituted === 1 ? "object" : "objects"} came from another repository: `, ...substitutes.map((s) => `${s.object} from ${s.from} (${s.reason}) `)) : "",
    ...notes.map((n) => el("p.muted", {}, n)),
    el("p.muted.small", {}, `pgark drill show ${d.id}`));
}

/** reasons says once why something of repositories cannot be told, and of which. */
function reasons(all) {
  const words = [...new Set(all.map((e) => e.unknown).filter(Boolean))];
  return words.map((why) => `${all.filter((e) => e.unknown === why).map((e) => e.name).join(" and ")}: ${why}`).join("; ");
}

/** bill says what the archive costs; nothing where nothing is billed. Of what cannot be told the storage may be known, and why the rest is not stands below. */
export function bill(c) {
  if (!c || c.usd_month === 0) return [];
  const all = c.repositories, whole = known(c.usd_month), stored = all.every((e) => known(e.storage_usd_month));
  const why = whole ? [] : [el("p.muted.small", {}, `What ${stored ? "the rest" : "it"} costs cannot be told. ${reasons(all)}`)];
  if (!stored) return why;
  const total = (key) => all.reduce((sum, e) => sum + (e[key] || 0), 0);
  const parts = [
    ["base backups", "storage_base_usd_month", ""], ["WAL", "storage_wal_usd_month", ""],
    ...(whole ? [["requests", "requests_usd_month", c.at_most ? "at most " : ""], ["transfer", "transfer_usd_month", ""]] : []),
  ].filter(([, key]) => total(key) > 0).map(([name, key, most]) => `${name} ${most}${usd(total(key))}`);
  const week = known(c.another_week_usd_month) ? ` Another week of the window adds ${usd(c.another_week_usd_month)}.` : "";
  const sum = whole ? `${c.at_most ? "At most " : "About "}${usd(c.usd_month)} USD a month` : `Storage ${usd(total("storage_usd_month"))} USD a month`;
  return [el("p", {}, el("strong", {}, sum), `: ${parts.join(", ")}.${week}`), ...why, el("p.muted.small", {}, `${c.prices_text[0].toUpperCase()}${c.prices_text.slice(1)}.`)];
}

/** trade is the table of upload intervals: what each costs, and may lose. */
export function trade(c) {
  const head = el("tr", {}, ...["Upload every", "Lost with the host", "USD a month, at most"].map((t, i) => el("th" + (i ? ".n" : ""), { scope: "col" }, t)));
  const rows = c.upload_trade.map((t) => el("tr", { "aria-current": t.chosen ? "true" : null }, el("td", {}, `${t.every_seconds} s${t.chosen ? " (in force)" : ""}`), el("td.n", {}, `about ${t.rpo_seconds} s`), el("td.n", {}, usd(t.at_most_usd_month))));
  return [rows.length ? el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows)) : "", el("p.muted.small", {}, c.not_counted)];
}

/** lines are the last lines of a log that tell of a cluster, or of none, written for people. */
export function lines(log, cluster, most) {
  const mine = log.split("\n").filter((line) => {
    const named = /\bcluster(?:"\s*:\s*"|=)([\w-]+)/.exec(line);
    return line && (!named || named[1] === cluster);
  });
  return mine.slice(-most).map(readable);
}

/** readable writes a line of JSON as words; others are words already. */
function readable(line) {
  if (!line.startsWith("{")) return line;
  let fact;
  try { fact = JSON.parse(line); } catch { return line; }
  const { time, level, msg, cluster, ...rest } = fact;
  const more = Object.entries(rest).map(([k, v]) => `${k}=${typeof v === "string" ? v : JSON.stringify(v)}`);
  return [time ? String(time).slice(11, 19) : "", level, msg, ...more].filter(Boolean).join(" ");
}
