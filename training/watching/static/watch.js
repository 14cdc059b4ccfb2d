// A run, from its own files: asked for again every few seconds while the tab is looked at.
import { chart } from "./charts.js";
import { byId, h } from "./dom.js";
import { exitColour, percent, significant } from "./format.js";

const EVERY = 3000;
let timer = 0;
let shown = "";

const number = (value, places = 2) => (value === null || value === undefined ? "–" : value.toFixed(places));
const epochs = { label: "epoch", value: (_, value) => (value === null || value === undefined ? "–" : String(value)) };
const whole = { size: 30, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] };
const scales = { x: { time: false, range: (_, low, high) => [low, high > low ? high : low + 1] } };

function perExit(title, note, unit) {
  return chart(title, note, 260,
    (colour, data) => ({
      scales,
      axes: [whole, { size: 52 }],
      series: [epochs, ...data.slice(1).map((_, place) => ({ label: `exit ${place + 1}`, stroke: exitColour(place, data.length - 1), width: 2, points: { show: data[0].length < 40, size: 5 }, spanGaps: true, value: (_, value) => number(value) + (value === null || value === undefined ? "" : unit) }))],
    }),
    (data) => `After epoch ${data[0].at(-1)}: ${data.slice(1).map((column, place) => `exit ${place + 1} ${number(column.at(-1))}${unit}`).join(", ")}.`,
  );
}

function single(title, note, ink) {
  return chart(title, note, 200,
    (colour) => ({ scales, axes: [whole, { size: 60 }], series: [epochs, { label: title.toLowerCase(), stroke: colour(ink), width: 2, points: { show: false }, spanGaps: true, value: (_, value) => (value === null || value === undefined ? "–" : significant(value)) }] }),
    (data) => `After epoch ${data[0].at(-1)}: ${number(data[1].at(-1), 4)}.`,
  );
}

const accuracy = perExit("Validation accuracy", "In percent, of every exit.", "%");
const loss = perExit("Training loss", "Mean over the epoch, of every exit.", "");
const rate = single("Learning rate", "At the end of the epoch.", "--accent");
const speed = single("Images a second", "Over all passes of the epoch.", "--second");
const fusion = single("Fusion deviation", "How far Meta-GF's fusion weights are from equal shares.", "--warm");
const kept = [accuracy, loss, rate, speed];

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

function tiles(run) {
  const last = run.records.at(-1);
  const mean = (record) => record.validation_accuracy.reduce((total, value) => total + value, 0) / record.validation_accuracy.length;
  const best = run.records.reduce((found, record) => (found && mean(found) >= mean(record) ? found : record), null);
  const rows = [
    ["Epoch", `${run.records.length} of ${run.epochs}`],
    ["Training time left", run.records.length >= run.epochs ? "none" : duration(run.seconds_left)],
    ["Last exit", last ? percent(last.validation_accuracy.at(-1)) : "–"],
    ["Mean of the exits", last ? percent(mean(last)) : "–"],
    ["Best epoch", best ? `${best.epoch} (${percent(mean(best))})` : "–"],
    ["An epoch", last ? duration(last.seconds) : "–"],
  ];
  byId("tiles").replaceChildren(...rows.map(([name, value]) => h("div", { class: "card" }, h("dt", {}, name), h("dd", {}, value))));
}

function status(run) {
  const place = byId("status");
  const over = run.records.length >= run.epochs;
  place.dataset.status = "ok";
  place.textContent = over ? "finished" : run.records.length ? `last epoch ${duration(run.quiet_seconds)} ago` : "in its first epoch";
}

// From blue, against each other, through the card's ground to red: along with each other.
function shade(cosine) {
  const share = Math.round(Math.min(1, Math.abs(cosine)) * 70);
  return `color-mix(in oklab, var(${cosine < 0 ? "--third" : "--warm"}) ${share}%, var(--card))`;
}

function heatMap(name, cosines) {
  const heads = cosines.map((_, place) => h("th", { scope: "col", class: "number" }, String(place + 1)));
  const rows = cosines.map((row, place) =>
    h("tr", {}, h("th", { scope: "row" }, `exit ${place + 1}`), row.map((value) => h("td", { class: "number", style: value === null ? {} : { background: shade(value) } }, number(value)))));
  return h("section", { class: "card", "aria-label": `Conflict of ${name}` },
    h("h2", {}, `Conflict: ${name}`), h("p", { class: "note" }, "Cosine between two exits' gradients of the parameters they share; below zero they conflict."),
    h("table", {}, h("thead", {}, h("tr", {}, h("td", {}), heads)), h("tbody", {}, rows)));
}

function draw(run) {
  byId("name").textContent = run.name;
  document.title = `${run.records.length}/${run.epochs} ${run.name}`;
  byId("settings").textContent = Object.entries(run.settings).map(([name, value]) => `${name} ${value}`).join(" · ");
  tiles(run);
  const records = run.records;
  const has = records.some((record) => "fusion_deviation" in record);
  const wanted = records.length ? [...kept, ...(has ? [fusion] : [])] : [];
  if (byId("charts").childElementCount !== wanted.length) byId("charts").replaceChildren(...wanted.map((each) => each.element));
  if (records.length) {
    const x = records.map((record) => record.epoch);
    const exits = records[0].validation_accuracy.length;
    const columns = (read) => Array.from({ length: exits }, (_, exit) => records.map((record) => read(record, exit)));
    accuracy.draw([x, ...columns((record, exit) => 100 * record.validation_accuracy[exit])], String(exits));
    loss.draw([x, ...columns((record, exit) => record.train_loss[exit] ?? null)], String(exits));
    rate.draw([x, records.map((record) => record.lr)]);
    speed.draw([x, records.map((record) => record.images_per_second)]);
    if (has) fusion.draw([x, records.map((record) => record.fusion_deviation ?? null)]);
  }
  byId("conflict").replaceChildren(...Object.entries(run.conflict).map(([name, cosines]) => heatMap(name, cosines)));
}

function report(message) {
  const place = byId("problem");
  place.hidden = !message;
  place.textContent = message;
}

async function look() {
  clearTimeout(timer);
  if (!document.hidden) {
    try {
      const answer = await fetch("run.json");
      const run = await answer.json();
      if (!answer.ok) throw new Error(run.detail);
      const now = JSON.stringify([run.records.length, run.records.at(-1), run.conflict]);
      if (now !== shown) draw(run);
      shown = now;
      status(run);
      report("");
    } catch (error) {
      report(error instanceof TypeError ? "The command that serves this page has ended." : error.message);
    }
  }
  timer = setTimeout(look, EVERY);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) look();
});
look();
