// One scenario in a fresh headless Chromium: node drive.mjs SCENARIO '{"url": ..., "notebook": ..., "profile": ...}'.
// The last line of the output is a JSON report; every report says which requests went elsewhere and which errors the page had.

import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [, , scenario, json] = process.argv;
const given = JSON.parse(json);
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const context = await chromium.launchPersistentContext(given.profile, {
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  headless: true,
  viewport: { width: given.width ?? 1440, height: given.height ?? 1150 },
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
const page = context.pages()[0] ?? (await context.newPage());
page.setDefaultTimeout(120_000);

const elsewhere = [], errors = [];
const here = (url) => ["127.0.0.1", "localhost"].includes(url.hostname) || ["data:", "blob:", "about:", "file:"].includes(url.protocol);
await context.route((url) => !here(url), (route) => { elsewhere.push(route.request().url()); return route.abort(); });
page.on("pageerror", (error) => errors.push(String(error)));
page.on("websocket", (socket) => here(new URL(socket.url())) || elsewhere.push(socket.url()));
page.on("dialog", (dialog) => { errors.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });

// Bytes that the kernel's socket carries, for the traffic of one step.
let received = 0, sent = 0;
page.on("websocket", (socket) => {
  socket.on("framereceived", ({ payload }) => (received += payload.length));
  socket.on("framesent", ({ payload }) => (sent += payload.length));
});

// ---------------------------------------------------------------- JupyterLab

async function open(notebook = given.notebook) {
  await page.goto(`${given.url}/lab/tree/${notebook}.ipynb?reset`);
  await page.locator(".jp-Notebook .jp-CodeCell").first().waitFor();
  await page.getByText("Python 3 (ipykernel) | Idle").first().waitFor(); // a run before that asks which kernel to take
  const sidebar = page.locator(".jp-SideBar .lm-TabBar-tab.lm-mod-current");
  if (await sidebar.count()) await sidebar.first().click(); // room for the notebook
}

async function runAll() {
  await page.getByRole("menuitem", { name: "Run", exact: true }).click();
  await page.getByRole("menuitem", { name: "Run All Cells", exact: true }).click();
}

async function axe(selector) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate((s) => axe.run(s, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] }), selector);
  return violations.map((v) => ({ id: v.id, impact: v.impact, nodes: v.nodes.slice(0, 5).map((n) => `${n.html.slice(0, 200)} ${n.failureSummary?.slice(0, 300)}`) }));
}

const inspector = () => page.locator(".memlab-inspector").first();
const slider = () => inspector().getByRole("slider", { name: "Step" });
const at = () => slider().getAttribute("aria-valuetext");
const diff = async (track = 0) => {
  const list = page.locator(`.memlab-inspector [data-diff="${track}"]`);
  await list.scrollIntoViewIfNeeded(); // an item that was never on screen is laid out later, and has no innerText until then
  await page.waitForFunction((track) =>
    [...document.querySelectorAll(`.memlab-inspector [data-diff="${track}"] li`)].every((item) => item.innerText.trim()), track);
  return list.innerText();
};
const status = () => inspector().getByRole("status").innerText();
const expectStep = (step) => page.waitForFunction((s) =>
  document.querySelector(".memlab-inspector input[type=range]")?.getAttribute("aria-valuetext").startsWith(`step ${s} `) &&
  document.querySelector(".memlab-inspector [role=status]").textContent.startsWith(`Step ${s} `), step);

async function shot(path, selector = ".memlab-inspector") {
  if (path) await page.locator(selector).first().screenshot({ path });
}


/** Click the lane of a fact's row in the middle of `step`. */
async function clickFact(name, step, track = 0) {
  const article = page.locator(".memlab-track").nth(track);
  const steps = await article.locator(".memlab-map").evaluate((m) => +m.style.getPropertyValue("--steps"));
  const lane = article.getByRole("button", { name }).first().locator(".memlab-lane");
  const box = await lane.boundingBox();
  await lane.click({ position: { x: (box.width * (step + 0.5)) / steps, y: box.height / 2 } });
}

/** Milliseconds until the step that `action` leads to is painted: text in place, and two frames later. */
async function painted(action) {
  await page.evaluate(() => {
    window.paintedAt = new Promise((resolve, reject) => {
      setTimeout(() => reject(new Error("no new step was painted within 20 seconds")), 20_000);
      const shown = document.querySelector(".memlab-inspector [role=status]");
      const started = new Promise((go) => ["keydown", "click"].forEach((kind) =>
        addEventListener(kind, () => go(performance.now()), { once: true, capture: true })));
      const watch = new MutationObserver(() => {
        const step = document.querySelector(".memlab-inspector input[type=range]").getAttribute("aria-valuetext").match(/\d+/)[0];
        if (!shown.textContent.startsWith(`Step ${step} `)) return;
        watch.disconnect();
        requestAnimationFrame(() => setTimeout(async () => resolve(performance.now() - (await started))));
      });
      watch.observe(shown, { childList: true, characterData: true, subtree: true });
    });
  });
  await action();
  return page.evaluate(() => window.paintedAt);
}

const sorted = (values) => [...values].sort((a, b) => a - b);
const median = (values) => sorted(values)[Math.floor(values.length / 2)];

// ---------------------------------------------------------------- scenarios

const scenarios = {
  /** Look at a notebook: used to take pictures by hand. */
  async look() {
    await open();
    await runAll();
    await page.locator(given.wait ?? ".memlab").first().waitFor();
    for (const action of given.actions ?? []) await eval(`(async () => { ${action} })()`);
    await page.waitForTimeout(500);
    await shot(given.shot, given.selector);
    return {};
  },

  /** The inspector by mouse and by keyboard, in the theme that the server is set to. */
  async walk() {
    await open();
    await runAll();
    await expectStep(0);
    const seen = { theme: await page.evaluate(() => document.body.dataset.jpThemeLight === "true" ? "light" : "dark") };
    seen.start = await diff(0);

    await slider().scrollIntoViewIfNeeded();
    const box = await slider().boundingBox(); // mouse: click, then drag
    await page.mouse.click(box.x + box.width / 2, box.y + box.height / 2);
    await expectStep(4);
    seen.mouse = [await diff(0), await diff(1)];
    await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.9, box.y + box.height / 2, { steps: 8 });
    await page.mouse.move(box.x + box.width - 2, box.y + box.height / 2);
    await page.mouse.up();
    await expectStep(8);

    const cells = await page.locator(".jp-Notebook .jp-Cell").count(); // keyboard
    await slider().press("Home");
    await expectStep(0);
    await slider().press("ArrowRight");
    await expectStep(1);
    await slider().press("ArrowDown");
    await expectStep(0);
    await slider().press("End");
    await expectStep(8);
    for (const key of ["d", "d", "a", "x"]) await slider().press(key); // JupyterLab's keys for deleting and inserting cells
    assert.equal(await page.locator(".jp-Notebook .jp-Cell").count(), cells, "the keys of a widget reached the notebook");

    await clickFact(/ziggy lives in old tokyo/, 3); // a fact in the timeline
    await expectStep(3);
    await inspector().getByRole("button", { name: /simon adopted old patch/ }).locator(".memlab-key").click();
    await expectStep(1);
    const gold = page.locator(".memlab-track").nth(1).getByRole("button", { name: /^★ rex lives in oslo/ });
    seen.gold = await gold.innerText();
    await gold.focus();
    await page.keyboard.press("Enter");
    await expectStep(4);
    await page.keyboard.press("ArrowRight");
    await expectStep(5);
    await page.keyboard.press("Home");
    await page.keyboard.press("Enter");
    await expectStep(1);

    await inspector().getByRole("button", { name: "next step" }).click(); // buttons and filters
    await expectStep(2);
    seen.lostStatus = await status();
    seen.lost = await diff(0);
    if (given.shots) await shot(`${given.shots}/inspector-${seen.theme}.png`);
    await inspector().getByRole("combobox", { name: "Show" }).selectOption("lost");
    seen.filtered = [await at()];
    await slider().press("ArrowRight");
    await expectStep(5);
    seen.filtered.push(await at());
    await inspector().getByRole("combobox", { name: "Show" }).selectOption("deletions");
    seen.deletions = await inspector().getByRole("combobox", { name: "Show" }).locator("option:checked").innerText();
    await inspector().getByRole("combobox", { name: "Show" }).selectOption("all");
    await slider().press("Home");
    await expectStep(0);
    await inspector().getByRole("button", { name: "Play" }).click();
    await expectStep(2);
    await inspector().getByRole("button", { name: "Pause" }).click();

    await inspector().getByRole("button", { name: "Token probabilities" }).click();
    await inspector().locator(".memlab-token").first().waitFor();
    seen.tokens = await inspector().locator(".memlab-token").first().innerText();
    await clickFact(/^★ rex lives in oslo/, 5);
    await expectStep(5);
    await page.waitForFunction(() => document.querySelectorAll(".memlab-tokens").length === 2);
    if (given.shots) await shot(`${given.shots}/inspector-timeline-${seen.theme}.png`);
    seen.axe = await axe(".memlab-inspector");
    return seen;
  },

  /** 256 steps and 500 facts: milliseconds to open, milliseconds and bytes a step. */
  async measure() {
    await open();
    await page.locator(".jp-CodeCell .cm-content").first().click();
    await page.keyboard.press("Shift+Enter");
    await page.keyboard.press("Shift+Enter");
    await page.locator(".jp-CodeCell").nth(1).getByText("[2]:").waitFor();
    await page.waitForTimeout(1500);
    await page.evaluate(() => {
      window.openedAt = new Promise((resolve, reject) => {
        setTimeout(() => reject(new Error("no inspector was painted within 30 seconds")), 30_000);
        let started;
        addEventListener("keydown", (e) => e.key === "Enter" && (started ??= performance.now()), { capture: true });
        const poll = () => {
          const shown = document.querySelector(".memlab-inspector [role=status]");
          if (shown?.textContent.startsWith("Step 0 ")) requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - started)));
          else requestAnimationFrame(poll);
        };
        poll();
      });
    });
    received = 0;
    await page.keyboard.press("Shift+Enter");
    const open_ms = await page.evaluate(() => window.openedAt);
    await page.waitForTimeout(1000);
    const open_bytes = received, facts = await page.locator(".memlab-fact").count();
    await slider().focus();
    const times = [], bytes = [];
    const keys = [...Array(20).fill("ArrowRight"), "End", ...Array(19).fill("ArrowLeft")]; // every step for the first time
    for (const key of keys) {
      await page.waitForTimeout(120);
      received = 0;
      times.push(await painted(() => page.keyboard.press(key)));
      await page.waitForTimeout(60);
      bytes.push(received);
    }
    const jumps = []; // to steps that no key was near: the hand comes to rest over the strip, then clicks
    const lane = page.locator(".memlab-strip .memlab-lane").first(), { width, height } = await lane.boundingBox();
    for (let i = 1; i <= 9; i++) {
      const position = { x: (width * (25 * i + 3.5)) / 256, y: height / 2 };
      await lane.hover({ position });
      await page.waitForTimeout(400);
      jumps.push(await painted(() => lane.click({ position })));
    }
    await slider().focus();
    const again = [];
    for (let i = 0; i < 15; i++) {
      await page.waitForTimeout(60);
      again.push(await painted(() => page.keyboard.press("ArrowRight")));
    }
    return { open_ms, open_bytes, facts, steps: keys.length, step_ms_median: median(times), step_ms_max: Math.max(...times),
      jump_ms_median: median(jumps), jump_ms_max: Math.max(...jumps), step_bytes_median: median(bytes), step_bytes_max: Math.max(...bytes), seen_step_ms_median: median(again), axe: await axe(".memlab-inspector") };
  },

  /** Hostile text in every place: what elements there are, what text, and whether anything ran. */
  async hostile() {
    await open();
    await runAll();
    await expectStep(0);
    const texts = [], tags = new Set();
    const last = +(await slider().getAttribute("max"));
    await inspector().getByRole("button", { name: "Token probabilities" }).click();
    for (let step = 0; step <= last; step++) {
      await expectStep(step);
      await inspector().locator(".memlab-token").first().waitFor();
      texts.push(await inspector().evaluate((node) => node.textContent));
      for (const tag of await inspector().evaluate((node) => [...node.querySelectorAll("*")].map((n) => n.localName))) tags.add(tag);
      if (step < last) await slider().press("ArrowRight");
    }
    await page.waitForTimeout(500);
    return { texts: texts.map((t) => t.slice(0, 60_000)), tags: [...tags].sort(), hacked: await page.evaluate(() => window.HACKED ?? null),
      length: Math.max(...texts.map((t) => t.length)), axe: await axe(".memlab-inspector") };
  },

  /** Reward explorer, cost dial and live board. */
  async widgets() {
    await open();
    await runAll();
    await page.getByText(/^trained/).first().waitFor({ timeout: 120_000 });
    const seen = { theme: await page.evaluate(() => document.body.dataset.jpThemeLight === "true" ? "light" : "dark") };
    const rewards = page.locator(".memlab-rewards"), cost = page.locator(".memlab-cost"), board = page.locator(".memlab-board");
    const advantages = () => rewards.locator(".memlab-signed + span").allInnerTexts();
    seen.advantages = [await advantages()];
    await rewards.getByLabel("reward of rollout 0").fill("1");
    await page.waitForFunction(() => document.querySelector(".memlab-signed + span").textContent.includes("▲"));
    seen.advantages.push(await advantages());
    await rewards.getByRole("combobox").selectOption("group");
    await page.waitForFunction(() => !document.querySelector(".memlab-signed + span").textContent.includes("0.250"));
    seen.advantages.push(await advantages());
    await rewards.getByRole("button", { name: "All equal" }).click();
    await rewards.getByText("teaches nothing").waitFor();
    seen.month = [await cost.locator(".memlab-big").innerText()];
    await cost.getByLabel("Turns a conversation").press("ArrowRight"); // 8 turns: 36 turns' tokens instead of 28
    await cost.getByText("$162,000 a month").waitFor();
    seen.month.push(await cost.locator(".memlab-big").innerText());
    seen.rows = await cost.locator("tbody tr").allInnerTexts();
    await board.scrollIntoViewIfNeeded();
    seen.board = await board.locator(".memlab-status").innerText();
    seen.curves = await board.locator("svg[role=img]").evaluateAll((all) => all.map((s) => s.getAttribute("aria-label")));
    seen.axe = [...(await axe(".memlab-rewards")), ...(await axe(".memlab-cost")), ...(await axe(".memlab-board"))];
    return seen;
  },

  /** A notebook that nobody runs, or that a fresh kernel runs: the text of one element. */
  async read() {
    await open();
    if (given.run) await runAll();
    await page.locator(given.selector).first().waitFor();
    if (given.expect) await page.locator(given.selector).getByText(given.expect).first().waitFor();
    return { text: await page.locator(given.selector).first().innerText(), axe: given.axe ? await axe(given.selector) : [] };
  },

  /** An exported page: no script of ours, no text that runs. */
  async page() {
    await page.goto(given.file);
    await page.waitForTimeout(1000);
    if (given.shot) await page.screenshot({ path: given.shot, fullPage: true });
    const outside = elsewhere.splice(0).filter((url) => url.includes("evil")); // nbconvert's own template asks for MathJax
    errors.splice(0);
    return { text: await page.locator("body").innerText(), hacked: await page.evaluate(() => window.HACKED ?? null), outside,
      images: await page.locator(".jp-OutputArea img").count() };
  },

  /** The MemAgent notebook itself, at the smoke preset, from top to bottom; then its inspector. */
  async memagent() {
    await open();
    await runAll();
    await page.locator(".memlab-inspector").first().waitFor({ timeout: 400_000, state: "attached" });
    await inspector().scrollIntoViewIfNeeded();
    await expectStep(0);
    const before = await diff(0);
    await slider().press("ArrowRight");
    await expectStep(1);
    const byKey = await diff(0);
    await slider().scrollIntoViewIfNeeded();
    const box = await slider().boundingBox();
    await page.mouse.click(box.x + box.width - 3, box.y + box.height / 2);
    await page.waitForFunction(() => !document.querySelector(".memlab-inspector [role=status]").textContent.startsWith("Step 1 "));
    const byMouse = await at();
    const fact = inspector().locator(".memlab-fact:not(.memlab-goldrow)").first();
    await fact.locator(".memlab-key").click();
    await page.waitForTimeout(500);
    return { before, byKey, byMouse, clicked: await at(), status: await status(), axe: await axe(".memlab-inspector") };
  },
};

let report;
try {
  report = await scenarios[scenario]();
} catch (error) {
  await page.screenshot({ path: `${given.profile}.png` }).catch(() => {});
  console.error(`what the page showed: ${given.profile}.png`, errors);
  throw error;
} finally {
  await context.close().catch(() => {});
}
console.log(JSON.stringify({ ...report, elsewhere, errors }));
