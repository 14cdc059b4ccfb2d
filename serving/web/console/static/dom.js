// Elements without templates: what a server or a file says is only ever set as text.
const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(element.style, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
export const byId = (id) => document.getElementById(id);

// A region that is scrolled by itself, by keys, too: a table that may be wider than the screen.
export const scroller = (label, ...children) => h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, ...children);

// Calls `job` a while after the last of several calls.
export function later(job, milliseconds) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => job(...given), milliseconds);
  };
}

let sliders = 0;

// A slider with a label and its value in words.
export function slider(label, { min, max, step, value, words }, changed) {
  const id = `slider-${(sliders += 1)}`;
  const input = h("input", { type: "range", id, min, max, step });
  input.value = value;
  const output = h("output", { for: id });
  const show = () => {
    const text = words(Number(input.value));
    output.textContent = text;
    input.setAttribute("aria-valuetext", text);
  };
  input.addEventListener("input", () => {
    show();
    changed(Number(input.value));
  });
  show();
  // The label must not hold the output, or it would name that instead.
  const element = h("div", { class: "slider" }, h("div", { class: "slider-name" }, h("label", { for: id }, label), output), input);
  return {
    element,
    get value() {
      return Number(input.value);
    },
    set(limits) {
      for (const name of ["min", "max", "step"]) if (name in limits) input[name] = limits[name];
      if ("value" in limits) input.value = limits.value;
      show();
    },
  };
}
