// Charts over uPlot: colours of the theme, the width of their place, and words for those who do not see them.
import { h } from "./dom.js";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const charts = new Set();

document.addEventListener("offramp-theme", () => {
  for (const chart of charts) chart.rebuild();
});

// A figure with a chart. `options(colour)` gives uPlot's options but for the size; `words(data)` a sentence.
// `resting(data)` is the place that its legend tells while nobody points at it; the last where there is none.
export function chart(title, note, height, options, words, resting) {
  const place = h("div", { class: "plot" });
  const spoken = h("p", { class: "visually-hidden" });
  const element = h("figure", { class: "card" }, h("figcaption", {}, h("h2", {}, title), note ? h("p", { class: "note" }, note) : null), place, spoken);
  let plot = null;
  let data = null;
  let ids = "";

  const build = () => {
    plot?.destroy();
    plot = null;
    const width = place.clientWidth;
    if (!data || !width) return;
    const wanted = options(colour, data);
    plot = new window.uPlot({ ...wanted, width, height, axes: wanted.axes.map(axis), legend: { live: true, ...wanted.legend }, cursor: { points: { size: 7 }, ...wanted.cursor } }, wanted.shown?.(data) ?? data, place);
    plot.root.setAttribute("aria-hidden", "true");
    requestAnimationFrame(rest);
  };
  // While nobody points at the chart, its legend tells the last values.
  const rest = () => {
    if (plot && plot.cursor.left < 0) plot.setLegend({ idx: resting?.(data) ?? data[0].length - 1 });
  };
  const axis = (own) => ({
    stroke: colour("--quiet"),
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { stroke: colour("--line"), width: 1, size: 4 },
    font: "12px system-ui, sans-serif",
    ...own,
  });
  new ResizeObserver(() => {
    if (plot && place.clientWidth) plot.setSize({ width: place.clientWidth, height });
    else build();
  }).observe(place);
  const made = {
    element,
    rebuild: build,
    // Draws columns of numbers; `id` says when series have changed.
    draw(columns, id = "") {
      data = columns;
      spoken.textContent = words(columns);
      if (plot && id === ids) {
        plot.setData(options(colour, data).shown?.(data) ?? data);
        requestAnimationFrame(rest);
      } else build();
      ids = id;
    },
  };
  charts.add(made);
  return made;
}

// Sums of columns from the bottom up, for areas that lie on each other.
export function stacked(columns) {
  const sums = [];
  for (const column of columns) {
    const below = sums.at(-1);
    sums.push(column.map((value, place) => (value ?? 0) + (below ? below[place] : 0)));
  }
  return sums;
}

