// Shared by every widget (placed before its module). Text reaches the page as text nodes only: nothing here parses HTML.

/** An element. props: class, text, on* handlers, and attributes (true sets an empty one, null and false leave it out). */
function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "class") node.className = value;
    else if (key === "text") node.textContent = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  // JupyterLab takes keys before they get here (arrows move between cells, d d deletes one), unless the focused element says no.
  if (/^(button|input|select)$/.test(tag) || "tabindex" in props) node.setAttribute("data-lm-suppress-shortcuts", "true");
  node.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return node;
}

/** An SVG element with attributes. */
function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
  node.append(...children);
  return node;
}

/** Text from a model or a data set: kept from turning the direction of what stands around it. */
const data = (text, tag = "bdi", props = {}) => el(tag, { ...props, text });

/** A label and its control. */
let labelled = 0;
function labelFor(text, control) {
  control.id = `memlab-control-${++labelled}-${Math.random().toString(36).slice(2, 8)}`;
  return el("label", { for: control.id, class: "memlab-label", text });
}

/** An SVG path through points; NaN and null break the line. */
function linePath(points) {
  let path = "", pen = false;
  for (const [x, y] of points) {
    if (!Number.isFinite(x) || !Number.isFinite(y)) { pen = false; continue; }
    path += `${pen ? "L" : "M"}${x.toFixed(2)},${y.toFixed(2)}`;
    pen = true;
  }
  return path;
}
