// The live board. Python sends thinned curves (memlab.views.board.board_state) twice a second at most; this draws them.

const W = 900;

function render({ model, el: root }) {
  const status = el("p", { class: "memlab-status" }); // not a live region: twice a second would drown a screen reader
  const alarms = el("p", { class: "memlab-note", role: "status", "aria-live": "polite" });
  const main = el("div"), health = el("div", { class: "memlab-health" });
  root.replaceChildren(el("section", { class: "memlab memlab-board", "aria-label": "Live board" },
    el("p", { class: "memlab-title", text: "Training, live" }), status, main, health, alarms,
    el("p", { class: "memlab-legend" },
      el("span", { class: "memlab-legend-item" }, swatch("memlab-curve"), " running mean of the reward"),
      el("span", { class: "memlab-legend-item" }, swatch("memlab-raw"), " each step"),
      el("span", { class: "memlab-legend-item" }, swatch("memlab-band"), " recorded runs, low to high"))));

  function swatch(name) {
    const shape = name === "memlab-band" ? svg("rect", { x: 0, y: 2, width: 24, height: 8, class: name }) : svg("path", { d: "M0,6H24", class: name });
    const s = svg("svg", { viewBox: "0 0 24 12", "aria-hidden": "true" }, shape);
    s.style.width = "24px";
    return s;
  }

  /** A chart with axes from 0 (or the lowest value) to `top`; layers are drawn over each other. */
  function chart(label, width, height, last, low, top, percent, layers) {
    const left = 44, bottom = 22, right = 8, up = 8;
    const x = (v) => left + ((width - left - right) * v) / Math.max(1, last);
    const y = (v) => height - bottom - ((height - bottom - up) * (v - low)) / (top - low || 1);
    const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
    for (const part of [0, 0.5, 1]) {
      const value = low + part * (top - low);
      const name = svg("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" });
      name.textContent = percent ? `${Math.round(100 * value)} %` : value.toFixed(top - low < 10 ? 2 : 0);
      drawing.append(svg("line", { class: "memlab-axis", x1: left, x2: width - right, y1: y(value), y2: y(value) }), name);
    }
    for (const value of [0, last]) {
      const name = svg("text", { x: x(value), y: height - 6, "text-anchor": value ? "end" : "start" });
      name.textContent = value ? `step ${value}` : "0";
      drawing.append(name);
    }
    drawing.append(...layers(x, y));
    return drawing;
  }

  function draw() {
    const s = model.get("state");
    const all = [...s.reward.raw, ...(s.band ? [...s.band.low, ...s.band.high] : [])];
    const low = Math.min(0, ...all), top = Math.max(1, ...all);
    status.textContent = s.note;
    alarms.textContent = s.alarms.length ? `Watch out: ${s.alarms.join("; ")}.` : "";
    main.replaceChildren(chart(`mean reward against step: ${s.note}`, W, 220, s.last, low, top, false, (x, y) => [
      s.band && svg("path", { class: "memlab-band", d: linePath([...s.band.x.map((v, i) => [x(v), y(s.band.high[i])]),
        ...s.band.x.map((v, i) => [x(v), y(s.band.low[i])]).reverse()]) + "Z" }),
      s.window > 1 && svg("path", { class: "memlab-raw", d: linePath(s.reward.x.map((v, i) => [x(v), y(s.reward.raw[i])])) }),
      svg("path", { class: "memlab-curve", d: linePath(s.reward.x.map((v, i) => [x(v), y(s.reward.mean[i])])) }),
    ].filter(Boolean)));
    health.replaceChildren(...s.health.map((h) => {
      const most = h.share ? 1 : Math.max(...h.y, 1e-9), now = h.y.at(-1);
      const text = `${h.title}: ${h.share ? `${Math.round(100 * now)} %` : now.toFixed(2)}`;
      return el("div", {}, el("p", { class: "memlab-note", text }), chart(text, 260, 90, s.last, 0, most, h.share, (x, y) => [
        svg("path", { class: "memlab-curve", d: linePath(h.x.map((v, i) => [x(v), y(h.y[i])])) })]));
    }));
  }
  model.on("change:state", draw);
  draw();
  return () => model.off("change:state", draw);
}

export default { render };
