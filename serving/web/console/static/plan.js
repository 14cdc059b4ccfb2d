// Plan: what budgets and guarantees buy, by the server's own plans, and what budgets so many cores can pay.
import { ofModel, Refused } from "./api.js";
import { chart } from "./charts.js";
import { h, later, scroller, slider } from "./dom.js";
import { exitColour, flops, percent, significant } from "./format.js";

const POINTS = 32;
const DROPS = [0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.0125, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.07, 0.1];
const ATONCE = 4;
const curves = new Map();
const prices = new Map();

// Of models that may have been replaced.
export function forgetPlans() {
  curves.clear();
  prices.clear();
}

const planOf = (model, query) => ofModel(model, `plan?${query}`);
const full = (model) => model.exits.at(-1).flops;

// Plans one after the other, a few at a time; those that the server refuses are left out.
async function ask(model, queries) {
  const found = new Array(queries.length).fill(null);
  let next = 0;
  const worker = async () => {
    while (next < queries.length) {
      const place = next++;
      try {
        found[place] = await planOf(model, queries[place]);
      } catch (error) {
        if (!(error instanceof Refused) || error.status !== 422) throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: ATONCE }, worker));
  return found;
}

function kept(store, model, make) {
  if (!store.has(model.name)) {
    const made = make();
    store.set(model.name, made);
    made.catch(() => store.delete(model.name));
  }
  return store.get(model.name);
}

const curve = (model) =>
  kept(curves, model, async () => {
    const least = model.exits[0].flops / full(model);
    const shares = Array.from({ length: POINTS }, (_, place) => least + ((1 - least) * place) / (POINTS - 1));
    const plans = await ask(model, shares.map((share) => `budget=${Math.ceil(share * full(model))}`));
    return plans.filter(Boolean);
  });

const price = (model) =>
  kept(prices, model, async () => {
    const plans = await ask(model, DROPS.map((most) => `max_drop=${most}`));
    return DROPS.map((most, place) => [most, plans[place]]).filter(([, plan]) => plan);
  });

export function plan(section, context) {
  let model = null;
  let overlaid = new Set();
  let now = null;
  let costs = null;
  let curveNow = [];
  let priceNow = [];
  let fitting = 0;

  const chips = h("div", { class: "chips", role: "group", "aria-label": "Models to compare" });
  const accuracy = chart("What a budget buys", "Expected accuracy on held-out images. Points are the exits alone, on the validation images.", 340,
    (colour, data) => ({
      scales: { x: { time: false }, y: { range: (_, low, high) => [low - (high - low) * 0.1 - 0.1, high + (high - low) * 0.1 + 0.1] } },
      axes: [{ label: "MFLOPs an image", labelSize: 20, size: 36 }, { size: 52, values: (_, ticks) => ticks.map((tick) => `${significant(tick, 3)}%`) }],
      series: [{ label: "MFLOPs", value: (_, value) => (value === null ? "–" : significant(value)) }, ...data.slice(1).map((_, place) => ({ ...lines(colour)[place], value: (_, value) => (value === null || value === undefined ? "–" : `${value.toFixed(1)}%`) }))],
    }),
    () => (now ? `${model.name} is expected to be right on ${percent(now.expected_accuracy)} of images at ${flops(now.expected_flops)} an image.` : ""),
    (data) => data.at(-1).findIndex((value) => value !== null),
  );
  const guarantee = chart("What a guarantee costs", "FLOPs an image for the promise that leaving early loses at most so many answers.", 240,
    (colour) => ({
      scales: { x: { time: false, distr: 3 }, y: { range: (_, low, high) => [0, high * 1.08] } },
      axes: [{ label: "answers that may be lost", labelSize: 20, size: 36, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : `${significant(tick, 1)}%`)), splits: () => [0.2, 0.5, 1, 2, 5, 10], filter: (_, splits) => splits }, { size: 56, values: (_, ticks) => ticks.map((tick) => `${tick}%`) }],
      series: [{ label: "max_drop", value: (_, value) => (value === null ? "–" : `${value}%`) }, { label: "of the full depth", stroke: colour("--accent"), width: 2.5, fill: `color-mix(in oklab, ${colour("--accent")} 14%, transparent)`, points: { show: true, size: 6 }, value: (_, value) => (value === null ? "–" : `${value.toFixed(1)}%`) }],
    }),
    () => (priceNow.length ? `From ${percent(priceNow.at(-1)[1].expected_flops / full(model))} of the full depth to ${percent(priceNow[0][1].expected_flops / full(model))}.` : "No guarantee can be given: too few certifying images."),
    () => Math.max(0, priceNow.findIndex(([most]) => most === DROPS[promise.value])),
  );
  const capacity = chart("What these cores can pay", "Images a second that the server can compute, by its own timing of the stages. Decoding and HTTP come on top.", 240,
    (colour) => ({
      scales: { x: { time: false }, y: { range: (_, low, high) => [0, high * 1.08] } },
      axes: [{ label: "budget, % of the full depth", labelSize: 20, size: 36 }, { size: 56 }],
      series: [{ label: "budget", value: (_, value) => (value === null ? "–" : `${value.toFixed(0)}%`) }, { label: "images a second", stroke: colour("--accent"), width: 2.5, points: { show: false }, value: (_, value) => (value === null ? "–" : significant(value)) }, { label: "asked", stroke: colour("--warm"), width: 1.5, dash: [6, 4], points: { show: false }, value: (_, value) => (value === null ? "–" : significant(value)) }],
    }),
    () => fits.textContent,
    () => Math.max(0, fitting),
  );
  const bought = h("div", { class: "card" });
  const figures = h("div", { "aria-live": "polite" });
  const planLater = later(() => point(), 90);
  const budget = slider("Budget for an image", { min: 1, max: 100, step: 0.5, value: 40, words: (share) => (model ? `${share}% · ${flops((share / 100) * full(model))}` : "") }, planLater);
  bought.append(h("h1", {}, "Plan"), budget.element, figures);

  const certified = h("p", { class: "note", "aria-live": "polite" });
  const promise = slider("Answers that may be lost", { min: 0, max: DROPS.length - 1, step: 1, value: 8, words: (place) => percent(DROPS[place], 2) }, () => drawPrices().catch(context.report));
  guarantee.element.append(promise.element, certified);

  const asked = h("input", { type: "number", min: 1, step: "any", value: 500, oninput: () => plannedCapacity() });
  const cores = h("input", { type: "number", min: 1, step: 1, value: 1, oninput: () => plannedCapacity() });
  const load = h("input", { type: "number", min: 10, max: 100, step: 5, value: 70, oninput: () => plannedCapacity() });
  const fits = h("p", { class: "verdict", "aria-live": "polite" });
  capacity.element.append(h("div", { class: "fields" }, h("label", {}, "Images a second", asked), h("label", {}, "Cores", cores), h("label", {}, "Load, %", load)), fits);

  section.append(h("div", { class: "columns wide-left" }, accuracy.element, bought), h("div", { class: "columns even" }, guarantee.element, capacity.element));
  accuracy.element.querySelector("figcaption").append(chips);

  const shown = () => context.models.filter((each) => overlaid.has(each.name));
  const inks = ["--accent", "--second", "--third", "--fourth"];
  const lines = (colour) => [
    ...shown().map((each) => {
      const ink = colour(inks[context.models.indexOf(each) % inks.length]);
      return { label: each.name, stroke: ink, width: 2.5, spanGaps: true, points: { show: false } };
    }),
    { label: "exits alone", stroke: colour("--quiet"), paths: () => null, points: { show: true, size: 7, fill: colour("--card") } },
    { label: "budget", stroke: colour("--warm"), paths: () => null, points: { show: true, size: 12, fill: colour("--warm") } },
  ];

  async function drawCurves() {
    const [mine, found] = [model, await Promise.all(shown().map(curve))];
    if (mine !== model) return;
    curveNow = await curve(model);
    const points = new Map();
    const add = (cost, column, value) => {
      const key = cost / 1e6;
      if (!points.has(key)) points.set(key, new Array(found.length + 2).fill(null));
      points.get(key)[column] = value * 100;
    };
    found.forEach((plans, column) => plans.forEach((each) => add(each.expected_flops, column, each.expected_accuracy)));
    for (const exit of model.exits) add(exit.flops, found.length, exit.validation_accuracy);
    if (now) {
      add(now.expected_flops, found.length + 1, now.expected_accuracy);
      if (overlaid.has(model.name)) add(now.expected_flops, shown().indexOf(model), now.expected_accuracy);
    }
    const x = [...points.keys()].sort((one, other) => one - other);
    const columns = Array.from({ length: found.length + 2 }, (_, column) => x.map((key) => points.get(key)[column]));
    accuracy.draw([x, ...columns], shown().map((each) => each.name).join("\n"));
  }

  async function point() {
    try {
      const mine = model;
      const found = await planOf(model, `budget=${budget.value}%25`);
      if (mine !== model) return;
      now = found;
      figures.replaceChildren(h("p", { class: "note" }, now.truth === "own" ? "Expected of images like the calibration's; accuracy is agreement with the last exit:" : "Expected of images like the calibration's:"), ...described(now));
      await drawCurves();
    } catch (error) {
      context.report(error);
    }
  }

  function described(found) {
    const facts = [
      ["Accuracy", percent(found.expected_accuracy)],
      ["Cost of an image", flops(found.expected_flops)],
      ["Saved", percent(1 - found.expected_flops / full(model))],
    ];
    return [
      h("dl", { class: "facts" }, facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
      h("div", { class: "shares", "aria-hidden": "true" }, found.exits.filter((exit) => exit.share > 0).map((exit) => h("span", { style: { flexGrow: exit.share, background: exitColour(exit.exit - 1, found.exits.length) } }, exit.share > 0.08 ? String(exit.exit) : ""))),
      scroller("Exits", h("table", {}, h("caption", { class: "visually-hidden" }, "What the budget does at each exit"),
        h("thead", {}, h("tr", {}, ["Exit", "Share", "Threshold", "Cost"].map((head, place) => h("th", { scope: "col", class: place ? "number" : null }, head)))),
        h("tbody", {}, found.exits.map((exit) => h("tr", {}, h("th", { scope: "row" }, h("span", { class: "exit" }, exit.exit), h("span", { class: "swatch", style: { background: exitColour(exit.exit - 1, found.exits.length) } })), h("td", { class: "number" }, percent(exit.share)), h("td", { class: "number" }, exit.threshold === null ? "all" : exit.threshold > 1 ? "nobody" : exit.threshold.toFixed(3)), h("td", { class: "number" }, flops(exit.flops))))))),
    ];
  }

  async function drawPrices() {
    const mine = model;
    const found = await price(model);
    if (mine !== model) return;
    priceNow = found;
    guarantee.draw([found.map(([most]) => most * 100), found.map(([, each]) => (100 * each.expected_flops) / full(model))]);
    certificate();
  }

  function certificate() {
    const found = priceNow.find(([most]) => most === DROPS[promise.value]);
    if (!found) {
      certified.textContent = "The server refuses this promise: its calibration has too few certifying images for it.";
      return;
    }
    const { certificate: proof, ...bill } = found[1];
    certified.textContent = `${flops(bill.expected_flops)} an image (${percent(1 - bill.expected_flops / full(model))} saved), expected accuracy ${percent(bill.expected_accuracy)}. Of ${proof.images.toLocaleString("en")} certifying images ${percent(proof.risk, 2)} lose their answer; the promise fails with a chance of at most ${percent(proof.delta, 0)}.`;
  }

  function plannedCapacity() {
    if (!costs || !curveNow.length) return;
    const usable = (Number(load.value) / 100) * (Number(cores.value) / costs.threads);
    const rate = (each) => {
      let left = 1;
      let time = 0;
      each.exits.forEach((exit, stage) => {
        time += left * costs.image_seconds[stage];
        left -= exit.share;
      });
      return usable / time;
    };
    const wanted = Number(asked.value);
    const rates = curveNow.map(rate);
    fitting = rates.findLastIndex((each) => each >= wanted);
    const deepest = curveNow[fitting];
    const many = `${significant(wanted)} images a second on ${cores.value} ${Number(cores.value) === 1 ? "core" : "cores"}`;
    if (!(wanted > 0 && usable > 0)) fits.textContent = "";
    else if (deepest) fits.textContent = `${many} fit a budget of ${percent(deepest.budget_flops / full(model), 0)} (${flops(deepest.budget_flops)}), with an expected accuracy of ${percent(deepest.expected_accuracy)}.`;
    else fits.textContent = `${many} are too many: even exit 1 alone allows ${significant(Math.max(...rates))}.`;
    capacity.draw([curveNow.map((each) => (100 * each.budget_flops) / full(model)), rates, rates.map(() => (wanted > 0 ? wanted : null))]);
  }

  async function open(chosen) {
    const other = model !== chosen;
    model = chosen;
    if (other) {
      [overlaid, now, curveNow] = [new Set([model.name]), null, []];
      for (const each of context.models) if (each.data_set.name === model.data_set.name && overlaid.size < 3) overlaid.add(each.name);
      chips.replaceChildren(...(context.models.length > 1 ? context.models.map(chip) : []));
    }
    const least = Math.ceil((200 * model.exits[0].flops) / full(model)) / 2;
    budget.set({ min: least, value: Math.max(least, budget.value) });
    try {
      await point();
      const recent = await ofModel(model, "live?since=999999999");
      if (!costs || other) cores.value = recent.threads;
      costs = recent;
      plannedCapacity();
      await drawPrices();
    } catch (error) {
      context.report(error);
    }
  }

  function chip(each) {
    const box = h("input", { type: "checkbox", onchange: () => { if (box.checked) overlaid.add(each.name); else overlaid.delete(each.name); drawCurves().catch(context.report); } });
    box.checked = overlaid.has(each.name);
    return h("label", { class: "chip" }, box, h("span", {}, each.name));
  }

  return { open };
}
