// The network as a road: its length is FLOPs, each exit a ramp that leaves it where the exit's cost is.
import { flops } from "./format.js";
import { svg } from "./dom.js";

const [TOP, DOWN, EDGE] = [46, 112, 22];

const ramp = (x) => `M${x - 34} ${TOP} C${x - 12} ${TOP} ${x} ${TOP + 14} ${x} ${DOWN - 16}`;

// Draws the road into `place`; `taken` is an exit from 1, or null before anything was asked.
export function drawRoad(place, { exits, taken, budget, counts, thumbnail }) {
  const width = Math.max(300, place.clientWidth);
  const full = exits.at(-1).flops;
  const at = (cost) => EDGE + (cost / full) * (width - 2 * EDGE);
  const left = taken ? exits[taken - 1] : null;
  const drawn = svg("svg", { viewBox: `0 0 ${width} ${DOWN + 26}`, width, height: DOWN + 26, "aria-hidden": "true" });
  const road = (x1, x2, name) => svg("path", { d: `M${x1} ${TOP} H${x2}`, class: name });

  drawn.append(road(at(0), at(full), "road"));
  for (const exit of exits) drawn.append(svg("path", { d: ramp(at(exit.flops)), class: "ramp" }));
  drawn.append(road(at(0), at(full), "line"));
  let way = null;
  if (left) {
    way = `M${at(0)} ${TOP} H${at(left.flops) - 34} ${ramp(at(left.flops)).replace("M", "L")}`;
    drawn.append(svg("path", { d: way, class: "way" }));
  }
  let lastLabel = -Infinity;
  for (const exit of exits) {
    const x = at(exit.flops);
    const here = exit.exit === taken;
    drawn.append(
      svg("g", { class: here ? "sign here" : "sign", transform: `translate(${x} ${DOWN - 4})` },
        svg("rect", { x: -15, y: -13, width: 30, height: 26, rx: 5 }),
        svg("rect", { x: -13, y: -11, width: 26, height: 22, rx: 3.5, class: "inner" }),
        svg("text", { y: 5, "text-anchor": "middle" }, String(exit.exit)),
      ),
    );
    const count = counts?.[exit.exit - 1];
    if (count) drawn.append(svg("text", { x: x - 19, y: DOWN + 1, "text-anchor": "end", class: "count" }, `${count}×`));
    if (x - lastLabel > 46) {
      drawn.append(svg("text", { x: Math.min(x, width - EDGE), y: DOWN + 24, "text-anchor": "middle", class: "cost" }, flops(exit.flops).replace("FLOPs", "")));
      lastLabel = x;
    }
  }
  if (budget) {
    const x = at(Math.min(budget, full));
    const anchor = x > width - 110 ? "end" : x < 110 ? "start" : "middle";
    drawn.append(
      svg("path", { d: `M${x} 20 V${TOP + 10}`, class: "budget" }),
      svg("path", { d: `M${x - 5} 18 h10 l-5 7 z`, class: "budget-tip" }),
      svg("text", { x: anchor === "middle" ? x : anchor === "end" ? Math.min(width - 4, x + 8) : Math.max(4, x - 8), y: 12, "text-anchor": anchor, class: "cost" }, `budget ${flops(budget)}`),
    );
  }
  place.replaceChildren(drawn);
  if (way && thumbnail) drive(place, way, thumbnail);
}

function drive(place, way, thumbnail) {
  const car = document.createElement("img");
  Object.assign(car, { src: thumbnail, alt: "", className: "car" });
  car.style.offsetPath = `path("${way}")`;
  place.append(car);
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
    car.remove();
    return;
  }
  const run = car.animate([{ offsetDistance: "0%" }, { offsetDistance: "96%", opacity: 1, offset: 0.9 }, { offsetDistance: "100%", opacity: 0 }], { duration: 900, easing: "cubic-bezier(.4,0,.3,1)" });
  run.onfinish = () => car.remove();
}
