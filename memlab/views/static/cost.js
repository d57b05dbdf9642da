// The cost dial. The sliders send where they stand; the sums are done in Python (memlab.views.cost.bill) and come back as rows.

const money = (v, digits = 0) => "$" + v.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });

function render({ model, el: root }) {
  const dials = { ...model.get("dials") };
  const outputs = {};
  let timer = null;

  const sliders = Object.entries(model.get("spec")).map(([name, [text, min, max, step]]) => {
    const input = el("input", { type: "range", min, max, step, oninput: () => {
      dials[name] = +input.value;
      outputs[name].textContent = dials[name].toLocaleString("en-US");
      timer ??= setTimeout(() => { timer = null; model.send({ dials }); }, 60);
    } });
    input.value = dials[name];
    const label = labelFor(text, input);
    outputs[name] = el("output", { for: input.id, text: dials[name].toLocaleString("en-US") });
    return el("div", { class: "memlab-dial" }, label, outputs[name], input);
  });
  const body = el("tbody"), big = el("p", { class: "memlab-big", role: "status", "aria-live": "polite" });
  const head = ["policy", "tokens read", "a conversation", "a month", "of full context"];

  root.replaceChildren(el("section", { class: "memlab memlab-cost", "aria-label": "Cost dial" },
    el("p", { class: "memlab-title", text: "What does it cost to remember?" }),
    el("div", { class: "memlab-dials" }, sliders), big,
    el("table", { class: "memlab-grid" }, el("caption", { text: "Cost by policy" }),
      el("thead", {}, el("tr", {}, head.map((text, i) => el("th", { scope: "col", text, class: i && i < 4 ? "memlab-number" : null })))), body)));

  function draw() {
    const rows = model.get("rows");
    big.textContent = `Full context: ${money(rows[0].conversation, 2)} a conversation, ${money(rows[0].month)} a month`;
    body.replaceChildren(...rows.map((r) => el("tr", {},
      el("th", { scope: "row" }, data(r.policy)),
      el("td", { class: "memlab-number", text: Math.round(r.tokens).toLocaleString("en-US") }),
      el("td", { class: "memlab-number", text: money(r.conversation, r.conversation < 0.1 ? 4 : 2) }),
      el("td", { class: "memlab-number", text: money(r.month) }),
      el("td", {}, el("span", { class: "memlab-bar", role: "img", "aria-label": `${Math.round(100 * r.share)} %` },
        el("i", { style: `left:0;width:${Math.min(100, 100 * r.share)}%` })), el("small", { text: `${Math.round(100 * r.share)} %` })))));
  }
  model.on("change:rows", draw);
  draw();
  return () => { clearTimeout(timer); model.off("change:rows", draw); };
}

export default { render };
