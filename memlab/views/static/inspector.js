// The memory inspector. The overview comes with the model's state; a step comes when it is asked for, and is then kept.
//
//   model state   tracks: [Replay.overview(), ...], first: the records of step `step`, step, filter
//   we send       {ask: "step" | "tokens", step}
//   we receive    {reply: "step" | "tokens", step, tracks: [record or null, ...]}

const OPS = { keep: ["=", "kept"], write: ["+", "written"], rewrite: ["~", "rewritten"], delete: ["−", "deleted"] };
const PLAY_MS = 900;
const FILTERS = { all: "all steps", lost: "gold fact lost", deletions: "deletions" };

function render({ model, el: root }) {
  const tracks = model.get("tracks");
  const last = Math.max(1, ...tracks.map((t) => t.steps)) - 1;
  const top = Math.max(1, ...tracks.flatMap((t) => [...t.tokens, ...t.full])); // one scale, so that strips can be compared
  const cache = { step: new Map([[model.get("step"), model.get("first")]]), tokens: new Map() };
  let waiting = null; // the question that is on its way to the kernel: one at a time
  let pointed; // the step under the mouse: a click there finds it here already
  let shading = false, timer = null;

  // ---------------------------------------------------------------- controls

  const slider = el("input", { type: "range", min: 0, step: 1, class: "memlab-slider", oninput: () => go(steps()[+slider.value]) });
  const back = el("button", { type: "button", "aria-label": "previous step", text: "◀", onclick: () => move(-1) });
  const next = el("button", { type: "button", "aria-label": "next step", text: "▶", onclick: () => move(1) });
  const play = el("button", { type: "button", class: "memlab-play", text: "Play", onclick: () => (timer ? stop() : start()) });
  const filter = el("select", { onchange: () => choose(filter.value) },
    Object.entries(FILTERS).map(([value, text]) => el("option", { value, text: `${text} (${matching(value).length})` })));
  const shade = el("button", { type: "button", "aria-pressed": "false", text: "Token probabilities", onclick: () => {
    shading = !shading;
    shade.setAttribute("aria-pressed", String(shading));
    draw();
  } });
  const where = el("span", { class: "memlab-where" });
  const status = el("p", { class: "memlab-status", role: "status", "aria-live": "polite" });
  const panels = tracks.map((track, i) => panel(track, i));

  root.replaceChildren(el("section", { class: "memlab memlab-inspector", "aria-label": "Memory inspector" },
    el("div", { class: "memlab-head" },
      el("p", { class: "memlab-title", text: "Memory inspector" }),
      tracks[0].question && el("p", { class: "memlab-question" }, "Question: ", data(tracks[0].question, "q"),
        tracks[0].expected.length > 0 && [" Expected: ", data(tracks[0].expected.join(" or "), "b")]),
      el("div", { class: "memlab-controls" },
        el("span", { class: "memlab-buttons" }, back, play, next),
        labelFor("Step", slider), slider, where,
        labelFor("Show", filter), filter, shade),
      status),
    el("div", { class: "memlab-tracks" }, panels.map((p) => p.node)),
    legend()));

  // ---------------------------------------------------------------- moving

  function matching(value) {
    if (value === "all") return Array.from({ length: last + 1 }, (_, i) => i);
    return [...new Set(tracks.flatMap((t) => t[value]))].sort((a, b) => a - b);
  }
  function steps() {
    const found = matching(model.get("filter"));
    return found.length ? found : [model.get("step")];
  }
  function go(step) {
    if (step === undefined || step < 0 || step > last || step === model.get("step")) return;
    model.set("step", step);
    model.save_changes();
    if (!steps().includes(step)) choose("all");
  }
  function move(by) {
    const list = steps(), here = model.get("step");
    go(by > 0 ? list.find((s) => s > here) : list.findLast((s) => s < here));
  }
  function choose(value) {
    model.set("filter", value);
    model.save_changes();
    const list = steps();
    if (!list.includes(model.get("step"))) go(list.find((s) => s > model.get("step")) ?? list[0]);
    draw();
  }
  function start() {
    if (model.get("step") >= steps().at(-1)) go(steps()[0]);
    timer = setInterval(() => (model.get("step") >= steps().at(-1) ? stop() : move(1)), PLAY_MS);
    play.textContent = "Pause";
  }
  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  }

  // ---------------------------------------------------------------- one trajectory

  function panel(track, index) {
    const box = (title) => {
      const body = el("div", { class: "memlab-body", tabindex: 0, role: "group", "aria-label": title }); // it may scroll, so keys must reach it
      return [el("div", { class: "memlab-stage" }, el("p", { class: "memlab-stage-title", text: title }), body), body];
    };
    const [contextBox, context] = box("1  What the policy saw");
    const [wroteBox, wrote] = box("2  What it wrote");
    const [memoryBox, memory] = box("3  What became of its memory");
    memory.setAttribute("data-diff", index);
    const chips = el("p", { class: "memlab-chips" },
      el("span", { class: "memlab-chip", text: `reward ${track.reward}` }),
      track.advantage !== null && el("span", { class: "memlab-chip", text: `advantage ${track.advantage}` }),
      el("span", { class: "memlab-chip" }, "answer: ", data(track.answer || "(none)")));
    const cursor = el("div", { class: "memlab-cursor" });
    const point = (e) => { pointed = stepAt(e, track, map.querySelector(".memlab-lane")); ask(); };
    const map = el("div", { class: `memlab-map${track.steps > 64 ? " memlab-long" : ""}`, style: `--steps:${track.steps}`, onpointermove: point },
      el("div", { class: "memlab-roll" }, strip(track), timeline(track), cursor));
    const node = el("article", { class: "memlab-track", "aria-label": track.name || `trajectory ${index + 1}` },
      track.name && data(track.name, "p", { class: "memlab-name" }), chips, map,
      el("div", { class: "memlab-stages" }, contextBox, wroteBox, memoryBox));

    function show(record, step, tokens) {
      cursor.style.left = `calc(var(--key) + (100% - var(--key)) * ${Math.min(step, track.steps - 1) / track.steps})`;
      cursor.classList.toggle("memlab-ended", step >= track.steps);
      if (record === undefined) return; // on its way: the last step stays in sight until it is here
      if (record === null) {
        const text = `ended after step ${track.steps - 1}: reward ${track.reward}`;
        for (const part of [context, wrote, memory]) part.replaceChildren(el("p", { class: "memlab-note", text }));
        return;
      }
      context.replaceChildren(...contextOf(record));
      wrote.replaceChildren(...completionOf(record, tokens, track));
      memory.replaceChildren(...diffOf(record));
    }
    return { node, show };
  }

  const mark = (text) => el("span", { class: "memlab-gold", text });

  function contextOf(record) {
    const cost = el("p", { class: "memlab-note", text: record.read === null ? "" : `${record.read} tokens` });
    return [...record.context.map(({ role, parts }) => el("div", { class: "memlab-text" },
      role && data(role, "b", { class: "memlab-role" }),
      el("bdi", {}, parts.map(([text, marks]) => {
        if (!marks.length) return text;
        const inner = marks.includes("gold") ? el("mark", { class: "memlab-gold-text" }, el("span", { class: "memlab-star", text: "★ " }), text) : text;
        return marks.includes("memory") ? el("span", { class: "memlab-in-memory", title: "from memory" }, inner) : inner;
      })))), cost];
  }

  function completionOf(record, tokens, track) {
    const notes = record.notes.map((text) => el("p", { class: "memlab-note", text }));
    const cost = el("p", { class: "memlab-note", text: record.written === null ? "" : `${record.written} tokens` });
    if (shading && tokens === undefined) return [el("p", { class: "memlab-note", text: "…" })];
    if (shading && !tokens) notes.push(el("p", { class: "memlab-note", text: track.shading }));
    const body = shading && tokens
      ? el("p", { class: "memlab-tokens" }, tokens.map(([text, p]) =>
          el("span", { class: "memlab-token", style: `--p:${p}` }, data(text), el("small", { text: p >= 0.995 ? "1" : p.toFixed(2).slice(1) }))))
      : el("div", { class: "memlab-text" }, data(record.text || "(nothing)"));
    return [body, cost, ...notes];
  }

  function diffOf(record) {
    const items = record.items.map(({ op, text, gold, parts }) => {
      const [shape, word] = OPS[op] ?? ["?", op];
      const body = parts.length
        ? el("bdi", {}, parts.flatMap(([words, kind]) => [kind === "same" ? words : data(words, kind === "out" ? "del" : "ins"), " "]))
        : data(text, op === "delete" ? "del" : "bdi");
      return el("li", { class: `memlab-item memlab-${OPS[op] ? op : "other"}` },
        el("span", { class: "memlab-badge" }, el("span", { class: "memlab-shape", text: shape }), ` ${word}`),
        el("span", { class: "memlab-item-text" }, gold && [mark(gold), " "], body));
    });
    if (record.hidden) items.push(el("li", { class: "memlab-note", text: `and ${record.hidden} more items, kept unless counted above` }));
    return [el("p", { class: "memlab-note", text: counted(record) }),
      items.length ? el("ul", { class: "memlab-diff", role: "list" }, items) : el("p", { class: "memlab-note", text: "memory is empty" })];
  }

  function counted(record) {
    const parts = Object.entries(record.counts).map(([op, n]) => `${n} ${OPS[op]?.[1] ?? op}`);
    return parts.join(", ") || "memory is empty";
  }

  // ---------------------------------------------------------------- maps: steps from left to right

  function stepAt(event, track, box) {
    const { left, width } = box.getBoundingClientRect();
    return Math.max(0, Math.min(track.steps - 1, Math.floor((track.steps * (event.clientX - left)) / width)));
  }

  function strip(track) {
    const n = track.steps;
    const bar = (v) => (40 * v) / top;
    const steps = (values) => values.map((v, i) => `L${i},${40 - bar(v)}L${i + 1},${40 - bar(v)}`).join("");
    const peak = Math.max(0, ...track.tokens), full = Math.max(0, ...track.full);
    const text = `tokens in context: at most ${peak}; if nothing ever left it: ${full}`;
    const drawing = svg("svg", { viewBox: `0 0 ${n} 40`, preserveAspectRatio: "none", role: "img", "aria-label": text },
      svg("path", { class: "memlab-full", d: `M0,40${steps(track.full)}L${track.full.length},40Z` }),
      svg("path", { class: "memlab-own", d: track.tokens.map((v, i) => `M${i + 0.1},40V${40 - bar(v)}H${i + 0.9}V40Z`).join("") }));
    const box = el("div", { class: "memlab-lane", onclick: (e) => go(stepAt(e, track, box)) }, drawing);
    return el("div", { class: "memlab-row memlab-strip" },
      el("span", { class: "memlab-key" }, el("b", { text: "Tokens in context" }), el("span", { text: `peak ${peak}` }),
        el("span", { class: "memlab-key-full", text: `full context ${full}` })), box);
  }

  function timeline(track) {
    const rows = [...track.golds, ...track.facts].map((fact) => factRow(track, fact));
    rows.forEach((row, i) => row.button.setAttribute("tabindex", i ? -1 : 0));
    const list = el("ul", { class: "memlab-facts", role: "list", "aria-label": "Facts in memory, by step", onkeydown: (e) => {
      const at = rows.findIndex((r) => r.button === document.activeElement);
      const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[e.key];
      if (e.key === "ArrowRight" || e.key === "ArrowLeft") { e.preventDefault(); e.stopPropagation(); move(e.key === "ArrowRight" ? 1 : -1); }
      if (at < 0 || to === undefined) return;
      e.preventDefault();
      e.stopPropagation();
      const row = rows[Math.max(0, Math.min(rows.length - 1, to))];
      rows.forEach((r) => r.button.setAttribute("tabindex", r === row ? 0 : -1));
      row.button.focus();
    } }, rows.map((r) => r.node));
    return el("div", { class: "memlab-timeline" }, list);
  }

  function factRow(track, fact) {
    const at = (from, to) => `left:${(100 * from) / track.steps}%;width:${(100 * (to - from)) / track.steps}%`;
    const marks = [];
    for (const step of fact.seen ?? []) marks.push(el("i", { class: "memlab-seen", style: at(step, step + 1) }));
    for (const [from, to] of fact.spans) marks.push(el("i", { class: "memlab-span", style: at(from, to) }));
    for (const step of fact.rewritten) marks.push(el("i", { class: "memlab-tick", style: at(step, step + 1), text: "~" }));
    for (const step of fact.deleted) marks.push(el("i", { class: "memlab-tick memlab-cross", style: at(step, step + 1), text: "×" }));
    const spans = fact.spans.map(([from, to]) => (to - from > 1 ? `${from} to ${to - 1}` : from)).join(", ");
    const said = spans ? `in memory after step ${spans}` : "never in memory";
    const more = (fact.passed?.length ? `, passed over at step ${fact.passed.join(", ")}` : "") + (fact.deleted.length ? `, deleted at step ${fact.deleted.join(", ")}` : "");
    const lane = el("span", { class: "memlab-lane", "aria-hidden": "true" }, marks);
    const first = Math.min(...fact.spans.map((s) => s[0]), ...(fact.seen ?? []), ...fact.deleted);
    const button = el("button", { type: "button", class: `memlab-row memlab-fact${fact.seen ? " memlab-goldrow" : ""}`, onclick: (e) => {
      const box = lane.getBoundingClientRect(); // a click on the lane means that step; on the label, or by key, the fact's first step
      go(e.detail && e.clientX >= box.left ? stepAt(e, track, lane) : Number.isFinite(first) ? first : undefined);
    } }, el("span", { class: "memlab-key" }, fact.gold && el("span", { class: "memlab-star", text: "★ " }), data(fact.text)),
      el("span", { class: "memlab-hidden", text: `: ${fact.gold ? "gold, " : ""}${said}${more}` }), lane);
    return { node: el("li", {}, button), button };
  }

  function legend() {
    const item = (node, text) => el("span", { class: "memlab-legend-item" }, node, ` ${text}`);
    const sample = (name, text = "") => el("span", { class: "memlab-sample" }, el("i", { class: name, text }));
    return el("p", { class: "memlab-legend" },
      item(sample("memlab-span"), "in memory"), item(sample("memlab-span memlab-goldspan"), "gold, in memory"),
      item(sample("memlab-seen"), "gold, in sight"), item(sample("memlab-tick", "~"), "rewritten"), item(sample("memlab-tick memlab-cross", "×"), "deleted"),
      item(el("span", { class: "memlab-in-memory", text: "text" }), "came from memory"));
  }

  // ---------------------------------------------------------------- drawing the step

  /** Ask for what is missing of the step in sight, then for those that a click or a key would lead to: they are painted at once. */
  function ask() {
    const here = model.get("step"), list = steps(), i = list.indexOf(here);
    const kind = !cache.step.has(here) ? "step" : shading && !cache.tokens.has(here) ? "tokens" : null;
    const step = kind ? here : [pointed, list[i + 1], list[i - 1], list.at(-1), list[0]].find((near) => near !== undefined && !cache.step.has(near));
    if (step === undefined || waiting) return;
    waiting = setTimeout(() => {
      waiting = null;
      if (step === model.get("step")) status.textContent = "The kernel is busy; the step follows when it answers.";
      else if (!cache.step.has(model.get("step"))) ask();
    }, 3000);
    model.send({ ask: kind ?? "step", step });
  }

  function draw() {
    const step = model.get("step"), list = steps();
    slider.max = list.length - 1;
    slider.value = Math.max(0, list.indexOf(step));
    slider.setAttribute("aria-valuetext", `step ${step} of ${last}`);
    filter.value = model.get("filter");
    where.textContent = `${step} / ${last}`;
    back.disabled = step <= list[0];
    next.disabled = step >= list.at(-1);
    const records = cache.step.get(step), tokens = cache.tokens.get(step);
    panels.forEach((p, i) => p.show(records?.[i], step, tokens ? tokens[i] : undefined));
    if (records) {
      const filtered = matching(model.get("filter")).length ? "" : ` No step has ${FILTERS[model.get("filter")]}.`;
      status.textContent = `Step ${step} of ${last}. ` + tracks.map((t, i) => (t.name ? `${t.name}: ` : "") +
        (records[i] ? counted(records[i]) : "ended") + (t.lost.includes(step) ? `, gold fact ${t.golds.some((g) => g.deleted.includes(step)) ? "lost" : "passed over"}` : "")).join(". ") + "." + filtered;
    }
    ask();
  }

  const received = (message) => {
    if (!(message.reply in cache)) return;
    cache[message.reply].set(message.step, message.tracks);
    clearTimeout(waiting);
    waiting = null;
    if (message.step === model.get("step")) draw();
    else ask();
  };
  model.on("msg:custom", received);
  model.on("change:step", draw);
  model.on("change:filter", draw);
  draw();
  return () => {
    stop();
    clearTimeout(waiting);
    model.off("msg:custom", received);
    model.off("change:step", draw);
    model.off("change:filter", draw);
  };
}

export default { render };
