// Drives Chromium over the page. It reads {folder, chromium, shots, states: [{name, url, flip}]} from standard input and prints, for each state, what it saw.
// It judges nothing but what only a browser can: the Go test that starts it compares with what the API says.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const job = JSON.parse(readFileSync(0, "utf8"));
const { chromium } = createRequire(job.folder + "/")("playwright-core");
const browser = await chromium.launch({
  executablePath: job.chromium,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

const text = (page, id) => page.locator("#" + id).innerText();
const texts = (page, selector) => page.locator(selector).allInnerTexts();

/** barriers are what would keep people from using the page: names, contrast, headings, ids, width. */
function barriers() {
  const found = [];
  const parse = (c) => { const m = c.match(/[\d.]+/g).map(Number); return { r: m[0], g: m[1], b: m[2], a: m.length > 3 ? m[3] : 1 }; };
  const light = ({ r, g, b }) => [r, g, b].map((v) => v / 255).map((v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
  const ground = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.a === 1) return c; } return { r: 255, g: 255, b: 255, a: 1 }; };
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility() || e.closest("svg") || e.closest(".skip") || e.tagName === "NOSCRIPT") continue;
    const a = light(parse(getComputedStyle(e).color)), b = light(ground(e));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) found.push(`contrast ${ratio.toFixed(2)} of ${e.tagName}.${e.className} "${e.textContent.slice(0, 40)}"`);
  }
  for (const e of document.querySelectorAll("button, a, input")) {
    const name = e.getAttribute("aria-label") || e.textContent.trim() || (e.labels && [...e.labels].map((l) => l.textContent.trim()).join(""));
    if (!name) found.push(`${e.tagName} #${e.id} has no name`);
  }
  for (const e of document.querySelectorAll("svg")) if (!e.getAttribute("aria-label") && !e.closest("[aria-hidden]")) found.push("a drawing says nothing");
  for (const e of document.querySelectorAll("[role=meter], [role=progressbar]")) if (!e.getAttribute("aria-label")) found.push("a meter has no name");
  for (const e of document.querySelectorAll("th")) if (!e.scope) found.push("a heading of a table has no scope");
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  const twice = ids.filter((id, i) => ids.indexOf(id) !== i && id !== "hatch");
  if (twice.length) found.push(`ids twice: ${twice}`);
  for (const e of document.querySelectorAll("[aria-labelledby], [aria-describedby]")) for (const id of (e.getAttribute("aria-labelledby") || e.getAttribute("aria-describedby")).split(" ")) if (!document.getElementById(id)) found.push(`no #${id}`);
  if (document.querySelectorAll("h1").length !== 1) found.push("not one h1");
  if (document.documentElement.lang !== "en") found.push("no language");
  const wide = document.documentElement.scrollWidth - innerWidth;
  if (wide > 0) found.push(`${wide} pixels wider than the window`);
  return found;
}

async function visit(state) {
  const seen = { name: state.name, errors: [], barriers: [] };
  const context = await browser.newContext({ viewport: { width: 1240, height: 1000 }, colorScheme: "light", timezoneId: "UTC", reducedMotion: "reduce" });
  const page = await context.newPage();
  page.on("console", (m) => { if (["error", "warning"].includes(m.type()) && !(state.refused && m.text().includes("503"))) seen.errors.push(m.text()); });
  page.on("pageerror", (e) => seen.errors.push(String(e)));
  page.on("requestfailed", (r) => { if (!r.url().endsWith("/events")) seen.errors.push(`${r.url()}: ${r.failure().errorText}`); });
  page.on("request", (r) => { if (!r.url().startsWith(state.url)) seen.errors.push(`it asks ${r.url()}`); });
  if (state.stop) await page.clock.install();
  await page.goto(state.url);
  await page.waitForFunction(() => document.querySelector("#link").textContent.startsWith("live") && document.querySelector("#word").textContent !== "looking…");
  await page.waitForFunction(() => document.querySelector("#rpo").textContent !== "…" || document.querySelector("#word").textContent.startsWith("NOT KNOWN"));
  if (!state.fleet) await page.waitForFunction(() => document.querySelector("#rpo-span").textContent !== "");
  Object.assign(seen, {
    verdict: await text(page, "word"), rpo: await text(page, "rpo"), rto: await text(page, "rto"), slot: await text(page, "slot"), window: await text(page, "window-note"),
    title: await page.title(), server: await text(page, "server"),
    causes: await texts(page, "#causes li p"), gaps: await texts(page, "#gaps li:not(.legend)"), copies: await texts(page, "#copies tbody tr"),
    backups: await texts(page, "#backups tbody tr"), drills: await texts(page, "#drills > li"), jobs: await texts(page, "#jobs li"), fleet: await texts(page, "#fleet-table tbody tr"),
    strip: await page.locator("#strip svg").count() ? await page.locator("#strip svg").getAttribute("aria-label") : "", holes: await page.locator("#strip .gap").count(),
  });
  seen.cost = await texts(page, "#cost p");
  if (await page.locator("#restore").isVisible()) await aim(page, seen, state);
  await open(page, seen);
  await page.locator("h1").click();
  seen.barriers.push(...await page.evaluate(barriers));
  for (const [mode, change] of [["light", { width: 1240 }], ["dark", { width: 1240, colorScheme: "dark" }], ["phone", { width: 390 }]]) {
    await page.setViewportSize({ width: change.width, height: 900 });
    await page.emulateMedia({ colorScheme: change.colorScheme || "light", reducedMotion: "reduce" });
    seen.barriers.push(...(await page.evaluate(barriers)).map((b) => `${mode}: ${b}`));
    if (job.shots && state.shots.includes(mode)) await page.screenshot({ path: `${job.shots}/${state.name}-${mode}.png`, fullPage: true, animations: "disabled" });
  }
  if (state.flip) { // the facts change, and the page does by itself
    await fetch(state.flip);
    await page.waitForFunction((before) => document.querySelector("#rpo").textContent !== before, seen.rpo, { timeout: 10000 });
    seen.rpoAfter = await text(page, "rpo");
    await page.waitForFunction((before) => document.querySelector("#word").textContent !== before, seen.verdict, { timeout: 20000 });
    seen.verdictAfter = await text(page, "word");
  }
  if (state.stop) { // the agent goes away, and the page does not go on to say that all is well
    await fetch(state.stop);
    const before = seen.errors.length;
    await page.clock.fastForward(60000);
    await page.waitForFunction(() => document.querySelector("#word").textContent.startsWith("NOT KNOWN"), null, { timeout: 20000 });
    seen.verdictGone = await text(page, "word");
    seen.errors.length = before; // that nobody answers is told
  }
  await context.close();
  return seen;
}

/** open opens by the keyboard what can be opened: the newest drill, what upload intervals cost; the log of running jobs is open by itself. */
async function open(page, seen) {
  const drill = page.locator("#drills details").first(), more = page.locator("#cost-more");
  if (await drill.count()) {
    await drill.locator("summary").focus();
    await page.keyboard.press("Enter");
    await drill.locator(".report").waitFor();
    seen.report = await drill.locator(".report").innerText();
    await page.locator("#drills details").evaluateAll((all) => all.forEach((one) => { one.open = true; }));
    await page.waitForFunction(() => document.querySelectorAll("#drills .report").length === document.querySelectorAll("#drills details").length);
    seen.reports = await texts(page, "#drills .report");
    await page.locator("#drills details").evaluateAll((all) => all.slice(1).forEach((one) => { one.open = false; }));
  }
  if (await more.isVisible()) {
    await more.locator("summary").focus();
    await page.keyboard.press("Enter");
    seen.trade = await texts(page, "#trade tbody tr");
    seen.barriers.push(...(await page.evaluate(barriers)).map((b) => `opened: ${b}`));
    await page.keyboard.press("Enter");
  }
  if (await page.locator("#log-more").isVisible()) {
    await page.waitForFunction(() => document.querySelector("#log").textContent !== "");
    seen.log = await text(page, "log");
  }
}

/** aim moves the slider by the keyboard, and by an exact time. */
async function aim(page, seen, state) {
  seen.latest = await page.locator("#command code").innerText();
  await page.locator("#when").focus();
  await page.keyboard.press("ArrowLeft");
  seen.keyed = (await texts(page, "#command code")).join("");
  for (const [name, at] of Object.entries(state.aims || {})) {
    await page.locator("#exact").fill(at);
    await page.locator("#exact").press("Enter");
    seen["aim_" + name] = await text(page, "target") + "\n" + (await texts(page, "#command code")).join("");
  }
  if (state.aims) {
    await page.locator("#exact").blur();
    await page.locator("[data-step=latest]").click();
  }
  if (state.shot) { await page.locator("#exact").fill(state.shot); await page.locator("#exact").press("Enter"); }
  await page.locator("h1").click();
}

const all = [];
try {
  for (const state of job.states) all.push(await visit(state));
} finally {
  await browser.close();
}
console.log(JSON.stringify(all));
