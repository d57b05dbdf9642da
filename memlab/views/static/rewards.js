// The reward explorer. An edited reward goes to Python, which credits the group (memlab.views.rewards.credit) and sends the rows.

const signed = (v, digits) => (v > 0 ? "+" : v < 0 ? "−" : "") + Math.abs(v).toFixed(digits);

function render({ model, el: root }) {
  const recorded = model.get("recorded"), texts = model.get("texts");
  const inputs = recorded.map((reward, k) => el("input", { type: "number", step: 0.1, "aria-label": `reward of rollout ${k}`, oninput: edit }));
  const scale = el("select", { onchange: edit }, Object.entries(model.get("scales")).map(([value, text]) => el("option", { value, text })));
  const reset = el("button", { type: "button", text: "As recorded", onclick: () => set(recorded) });
  const invert = el("button", { type: "button", text: "All equal", onclick: () => set(recorded.map(() => 1)) });
  const status = el("p", { class: "memlab-status", role: "status", "aria-live": "polite" });
  const cells = recorded.map(() => ({ advantage: el("td"), each: el("td", { class: "memlab-number" }), all: el("td", { class: "memlab-number" }),
    tokens: el("td", { class: "memlab-number" }), text: el("td") }));
  const head = ["rollout", "reward", "advantage", "tokens", "weight of each token", "of the rollout", "what it wrote"];

  root.replaceChildren(el("section", { class: "memlab memlab-rewards", "aria-label": "Reward explorer" },
    el("p", { class: "memlab-title", text: "Reward explorer" }),
    model.get("question") && el("p", { class: "memlab-question" }, "Question: ", data(model.get("question"), "q")),
    el("div", { class: "memlab-controls" }, labelFor("Advantage", scale), scale, reset, invert), status,
    el("table", { class: "memlab-grid" }, el("caption", { text: "Edit a reward" }),
      el("thead", {}, el("tr", {}, head.map((text) => el("th", { scope: "col", text })))),
      el("tbody", {}, cells.map((c, k) => el("tr", {}, el("th", { scope: "row", text: k }), el("td", {}, inputs[k]), c.advantage, c.tokens, c.each, c.all, c.text))))));

  function set(rewards) {
    inputs.forEach((input, k) => (input.value = rewards[k]));
    edit();
  }
  function edit() {
    const rewards = inputs.map((input) => (input.value.trim() === "" ? NaN : +input.value));
    if (rewards.every(Number.isFinite)) model.send({ rewards, scale: scale.value });
  }
  function draw() {
    const rows = model.get("rows");
    const top = Math.max(1e-12, ...rows.map((r) => Math.abs(r.advantage)));
    scale.value = model.get("scale");
    rows.forEach((r, k) => {
      if (document.activeElement !== inputs[k]) inputs[k].value = r.reward;
      const share = (50 * Math.abs(r.advantage)) / top, down = r.advantage < 0;
      cells[k].advantage.replaceChildren(el("span", { class: "memlab-bar memlab-signed" },
        el("i", { class: down ? "memlab-down" : null, style: down ? `right:50%;width:${share}%` : `left:50%;width:${share}%` })),
        el("span", { text: `${r.advantage > 0 ? "▲ " : down ? "▼ " : "– "}${signed(r.advantage, 3)}` }));
      cells[k].tokens.textContent = r.tokens;
      cells[k].each.textContent = signed(r.each, 5);
      cells[k].all.textContent = signed(r.all, 3);
      cells[k].text.replaceChildren(...texts[k].flatMap((text) => [
        data(text || "(nothing)", "bdi", { class: "memlab-rollout", style: `--tint:var(${down ? "--delete" : "--write"});--weight:${Math.abs(r.advantage) / top}` }), " "]));
    });
    const flat = rows.every((r) => Math.abs(r.advantage) < 1e-9);
    const mean = rows.reduce((sum, r) => sum + r.reward, 0) / rows.length;
    status.textContent = flat ? "All rewards are equal: every advantage is 0, and the group teaches nothing."
      : `Mean reward ${mean.toFixed(3)}. ${rows.filter((r) => r.advantage > 0).length} rollouts become likelier, ${rows.filter((r) => r.advantage < 0).length} less likely.`;
  }
  model.on("change:rows", draw);
  draw();
  return () => model.off("change:rows", draw);
}

export default { render };
