"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const find = (id) => document.getElementById(id);
const MEASURED = " measured"; // no method has a name with a space

function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function fill(select, options, wanted) {
  select.replaceChildren(...options.map(([value, text]) => element("option", { value }, text)));
  const values = options.map(([value]) => String(value));
  select.value = values.includes(wanted) ? wanted : values[0];
}

// What is chosen.
const place = () => data.places[find("place").value];
const image = () => place().images[find("image").value];
const truth = () => data.truths[place().set][find("image").value];
const label = (method) => (method === MEASURED ? "measured" : data.methods[method]);

function choosePlace() {
  const names = Object.keys(place().images).sort();
  fill(find("image"), names.map((name) => [name, name]), find("image").value);
  chooseImage();
}

function chooseImage() {
  const methods = Object.keys(data.methods).filter((method) => method in image().results);
  const options = [...methods, MEASURED].map((method) => [method, label(method)]);
  const other = methods.find((method) => method !== data.reference) || MEASURED;
  fill(find("left"), options, find("left").value || other);
  fill(find("right"), options, find("right").value || data.reference);
  drawPanels();
  drawCurves();
}

// Two pictures, each over the truth, with one line that wipes both.
function drawPanels() {
  find("panels").replaceChildren(...["left", "right"].map((side) => panel(find(side).value)));
  wipe(find("panels").dataset.wipe || 50);
}

function panel(method) {
  const result = image().results[method] || { picture: image().measured };
  const name = label(method);
  const stack = element("div", { class: "stack" });
  for (const [source, kind, alt] of [
    [truth().picture, "back", "truth"],
    [result.picture, "front", name],
  ]) {
    if (!source) continue;
    const picture = element("img", { src: source, class: kind, alt });
    picture.onload = () => stack.classList.toggle("pixelated", picture.naturalWidth < 256);
    stack.append(picture);
  }
  if (!result.picture) stack.append(element("p", { class: "none" }, "no picture"));
  const range = element("input", {
    type: "range", min: 0, max: 100, step: "any", "aria-label": `${name}: how much is shown over the truth, percent`,
  });
  range.oninput = () => wipe(range.value);
  range.onkeydown = (event) => {
    const way = { ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2 }[event.key];
    if (!way) return;
    event.preventDefault();
    wipe(Math.min(100, Math.max(0, Number(range.value) + way)));
  };
  stack.append(
    range, element("span", { class: "tag name" }, name), element("span", { class: "tag truth" }, "truth"),
  );
  return element("figure", {}, stack, element("figcaption", {}, ...caption(name, result)));
}

function caption(name, result) {
  const known = [
    [result.psnr_db, (v) => `PSNR ${v.toFixed(2)} dB`], [result.ssim, (v) => `SSIM ${v.toFixed(3)}`],
    [result.steps, (v) => `${v} steps`], [result.seconds, (v) => `${Number(v.toPrecision(3))} s`],
  ].filter(([value]) => value !== null && value !== undefined);
  return [name, ...known.map(([value, write]) => element("small", {}, write(value)))];
}

function wipe(percent) {
  const panels = find("panels");
  panels.dataset.wipe = percent;
  panels.style.setProperty("--wipe", `${percent}%`);
  for (const range of panels.querySelectorAll("input")) range.value = percent;
}

// Curves: PSNR or NMSE over the steps, as SVG.
const SVG = "http://www.w3.org/2000/svg";
const edge = { left: 54, right: 22, top: 14, bottom: 40 };
let plot = null; // what is drawn, for the cursor

function svg(name, attributes, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function curves() {
  const nmse = find("quantity").value === "nmse";
  if (nmse && !truth().energy) return [];
  const convert = (psnr) => (nmse ? 10 ** (-psnr / 10) / truth().energy : psnr);
  return Object.entries(image().results).flatMap(([method, result]) => {
    const chosen = result.curves[find("curve").value] || Object.values(result.curves)[0];
    if (!chosen && typeof result.psnr_db !== "number") return [];
    const points = chosen ? chosen.map(([step, psnr]) => [step, convert(psnr)]) : null;
    return [{ method, points, level: chosen ? null : convert(result.psnr_db) }];
  });
}

function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high + 1e-9 * step; i++) found.push(i * step);
  return found;
}

function drawCurves() {
  const shown = curves();
  const nmse = find("quantity").value === "nmse";
  const log = find("log").checked;
  const width = Math.max(300, find("plot").clientWidth);
  const height = width < 600 ? 260 : 340;
  const values = shown.flatMap(({ points, level }) => (points ? points.map(([, v]) => v) : [level]));
  const last = Math.max(1, ...shown.flatMap(({ points }) => (points ? [points.at(-1)[0]] : [])));
  const scaled = nmse ? Math.log10 : (v) => v;
  const sorted = values.map(scaled).filter(Number.isFinite).sort((a, b) => a - b);
  if (!sorted.length) return void find("plot").replaceChildren();
  const pad = 0.04 * (sorted.at(-1) - sorted[0]) || 0.5;
  const [low, high] = [sorted[0] - pad, sorted.at(-1) + pad];
  const along = (step) => (log ? Math.log1p(step) / Math.log1p(last) : step / last);
  const inner = [width - edge.left - edge.right, height - edge.top - edge.bottom];
  plot = {
    shown, last, log, width, height, inner,
    x: (step) => edge.left + inner[0] * along(step),
    y: (value) => edge.top + (inner[1] * (high - scaled(value))) / (high - low),
  };
  const root = svg("svg", {
    viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `${nmse ? "NMSE" : "PSNR"} of each method over the steps; the values stand below`,
  });
  drawAxes(root, { low, high, nmse });
  for (const { method, points, level } of shown) {
    const way = points || [[0, level], [last, level]];
    const d = way.map(([s, v], i) => `${i ? "L" : "M"}${plot.x(s).toFixed(1)} ${plot.y(v).toFixed(1)}`);
    root.append(svg("path", {
      d: d.join(""), stroke: data.colours[method], ...(points ? {} : { "stroke-dasharray": "6 4" }),
    }));
  }
  root.append(svg("line", { class: "at", id: "at", y1: edge.top, y2: edge.top + inner[1] }));
  find("plot").replaceChildren(root);
  moveCursor();
}

function drawAxes(root, { low, high, nmse }) {
  const { x, y, last, log, width, height } = plot;
  const decades = Array.from({ length: Math.floor(Math.log10(last)) + 1 }, (_, i) => 10 ** i);
  for (const step of log ? [0, ...decades] : ticks(0, last, width < 600 ? 4 : 8)) {
    root.append(svg("line", { class: "grid", x1: x(step), x2: x(step), y1: edge.top, y2: height - edge.bottom }));
    root.append(svg("text", { x: x(step), y: height - edge.bottom + 17, "text-anchor": "middle" }, step));
  }
  const levels = nmse
    ? ticks(low, high, 5).map((v) => 10 ** v)
    : ticks(low, high, 6);
  for (const level of levels) {
    root.append(svg("line", { class: "grid", x1: edge.left, x2: width - edge.right, y1: y(level), y2: y(level) }));
    const text = nmse ? level.toExponential(1) : Number(level.toFixed(2));
    root.append(svg("text", { x: edge.left - 8, y: y(level) + 4, "text-anchor": "end" }, text));
  }
  const middle = edge.left + plot.inner[0] / 2;
  root.append(svg("text", { x: middle, y: height - 6, "text-anchor": "middle" }, "step (weight updates)"));
}

// The step under the cursor, and what each method has reached by then.
function moveCursor() {
  if (!plot) return;
  const part = find("cursor").value / find("cursor").max;
  const step = Math.round(plot.log ? Math.expm1(part * Math.log1p(plot.last)) : part * plot.last);
  const at = find("at");
  at.setAttribute("x1", plot.x(step));
  at.setAttribute("x2", plot.x(step));
  find("step").textContent = step;
  find("cursor").setAttribute("aria-valuetext", `step ${step}`);
  const nmse = find("quantity").value === "nmse";
  find("legend").replaceChildren(...plot.shown.map(({ method, points, level }) => {
    const value = points ? valueAt(points, step) : level;
    const line = element("i");
    line.style.borderColor = data.colours[method];
    const text = nmse ? value.toExponential(2) : `${value.toFixed(2)} dB`;
    return element("li", points ? {} : { class: "flat" }, line, data.methods[method], element("b", {}, text));
  }));
}

function valueAt(points, step) {
  const before = points.findLast(([s]) => s <= step) || points[0];
  const after = points.find(([s]) => s >= step) || points.at(-1);
  if (after[0] <= before[0]) return before[1];
  return before[1] + ((after[1] - before[1]) * (step - before[0])) / (after[0] - before[0]);
}

function pointCursor(event) {
  if (!plot) return;
  const box = find("plot").getBoundingClientRect();
  const px = ((event.clientX - box.left) / box.width) * plot.width;
  const part = Math.min(1, Math.max(0, (px - edge.left) / plot.inner[0]));
  find("cursor").value = part * find("cursor").max;
  moveCursor();
}

const title = ({ task, set }) => `${data.tasks[task]}, ${data.sets[set]}`;
fill(find("place"), data.places.map((entry, i) => [i, title(entry)]), "0");
choosePlace();
find("place").onchange = choosePlace;
find("image").onchange = chooseImage;
find("left").onchange = find("right").onchange = drawPanels;
for (const id of ["quantity", "curve", "log"]) find(id).onchange = drawCurves;
find("cursor").oninput = moveCursor;
find("plot").onpointermove = find("plot").onpointerdown = pointCursor;
addEventListener("resize", drawCurves);
