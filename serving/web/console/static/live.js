// Live: what the server does now, from one small answer every other second while the tab is looked at.
import { ofModel } from "./api.js";
import { chart, stacked } from "./charts.js";
import { h, scroller } from "./dom.js";
import { exitColour, flops, percent, seconds, significant } from "./format.js";
import { polling } from "./polling.js";

const EVERY = 2000;
const SHOWN = 180;
const COMPARE_EVERY = 5; // looks
const COLUMNS = ["spent_flops", "asked_flops", "p50_seconds", "p99_seconds", "batches", "batch_images", "waiting", "failed", "lowered"];
const sum = (list) => list.reduce((total, value) => total + (value ?? 0), 0);

export function live(section, context) {
  let model = null;
  let known = null;
  let asked = 0;

  const clock = { values: (_, ticks) => ticks.map((tick) => (tick === 0 ? "now" : `${tick} s`)), size: 30 };
  const scales = { x: { time: false }, y: { range: (_, low, high) => [0, Math.max(high * 1.1, 0.001)] } };
  const when = { label: "second", value: (_, value) => (value === null || value === undefined ? "–" : `${value}`) };
  const line = (label, stroke, value, more = {}) => ({ label, stroke, width: 2, points: { show: false }, value: (_, found) => (found === null || found === undefined ? "–" : value(found)), ...more });

  const exits = chart("Exits taken", "Images a second, by the exit they left at.", 220,
    (colour, data) => ({
      scales,
      axes: [clock, { size: 52 }],
      series: [when, ...data.slice(1).map((_, place) => ({ label: `exit ${data.length - 1 - place}`, stroke: exitColour(data.length - 2 - place, data.length - 1), fill: exitColour(data.length - 2 - place, data.length - 1), width: 1, points: { show: false }, value: (plot, total, series, index) => (index === null || index === undefined ? "–" : String(total - (plot.data[series + 1]?.[index] ?? 0))) }))],
      shown: (all) => [all[0], ...stacked(all.slice(1)).reverse()],
    }),
    (data) => data.slice(1).map((column, place) => `exit ${place + 1}: ${sum(column)}`).join(", "),
  );
  const spent = chart("Spent and asked", "Mean FLOPs an image over ten seconds, as a share of the full depth.", 220,
    (colour) => ({ scales, axes: [clock, { size: 52, values: (_, ticks) => ticks.map((tick) => `${significant(tick, 2)}%`) }], series: [when, line("asked", colour("--warm"), (value) => `${value.toFixed(1)}%`, { dash: [6, 4], spanGaps: true }), line("spent", colour("--accent"), (value) => `${value.toFixed(1)}%`, { spanGaps: true })] }),
    (data) => `Spent ${last(data[2])}% of the full depth, asked ${last(data[1])}%.`,
  );
  const latency = chart("Latency", "From admission to answer, in milliseconds.", 220,
    (colour) => ({ scales, axes: [clock, { size: 52 }], series: [when, line("p50", colour("--accent"), (value) => `${significant(value)} ms`, { spanGaps: true }), line("p99", colour("--second"), (value) => `${significant(value)} ms`, { spanGaps: true })] }),
    (data) => `Half of the requests within ${last(data[1])} ms, 99% within ${last(data[2])} ms.`,
  );
  const queue = chart("Queue and batches", "Images that wait for a stage, and images in one run of a stage.", 220,
    (colour) => ({ scales, axes: [clock, { size: 52 }], series: [when, line("waiting", colour("--warm"), (value) => significant(value)), line("in a batch", colour("--accent"), (value) => significant(value), { spanGaps: true })] }),
    (data) => `${last(data[1])} images wait, ${last(data[2])} in a batch.`,
  );
  exits.element.classList.add("reversed");
  const last = (column) => significant(column.findLast((value) => value !== null && value !== undefined) ?? 0);

  const tiles = h("dl", { class: "tiles" });
  const alarms = h("div", { "aria-live": "polite" });
  const health = scroller("Drift and agreement");
  const corrections = scroller("Corrections");
  const versions = scroller("Versions");
  const compared = h("div", { class: "card" }, h("h2", {}, "Versions"), h("p", { class: "note" }, "A canary answers a share of the requests, a shadow sees a sample of them: its difference to the current version, with the 95% interval."), versions);
  compared.hidden = true;
  section.append(
    h("h1", { class: "visually-hidden" }, "Live"),
    tiles, alarms,
    h("div", { class: "columns even" }, exits.element, spent.element, latency.element, queue.element),
    h("div", { class: "columns even" },
      h("div", { class: "card" }, h("h2", {}, "Drift and agreement"), h("p", { class: "note" }, "Recent answers against the calibration's, and early answers against the last exit's."), health),
      h("div", { class: "card" }, h("h2", {}, "Corrections"), h("p", { class: "note" }, "The factor that the closed loop puts on budgets, so that traffic unlike the calibration costs what it asked for."), corrections)),
    compared,
  );

  const looks = polling(EVERY, async (current) => {
    const found = await ofModel(model, `live?since=${known ? known.next : 0}`);
    if (!current()) return;
    known = joined(known, found);
    draw();
    if (asked++ % COMPARE_EVERY === 0) {
      const comparisons = await ofModel(model, "compare");
      if (!current()) return;
      drawVersions(comparisons);
    }
    context.report(null);
  }, (error) => {
    context.report(error);
    known = null; // A server that was started again counts its seconds anew.
  });

  // Old seconds and new ones, no more than are shown.
  function joined(before, found) {
    if (!before || found.first !== before.next || found.next < before.next) return found;
    const cut = (old, more) => [...old, ...more].slice(-SHOWN);
    const whole = { ...found, exits: found.exits.map((column, exit) => cut(before.exits[exit], column)) };
    for (const name of COLUMNS) whole[name] = cut(before[name], found[name]);
    whole.first = whole.next - whole.batches.length;
    return whole;
  }

  function draw() {
    const kept = known.batches.length;
    const from = Math.max(0, kept - SHOWN);
    const tail = (column) => column.slice(from);
    const x = Array.from({ length: kept - from }, (_, place) => place - (kept - from) + 1);
    const columns = known.exits.map(tail);
    const images = x.map((_, place) => sum(columns.map((column) => column[place])));
    const late = (column, place) => sum(column.slice(Math.max(0, place - 9), place + 1));
    const mean = (totals) => tail(totals).map((_, place) => (late(images, place) ? (100 * late(tail(totals), place)) / late(images, place) / known.full_flops : null));
    const size = tail(known.batch_images).map((rows, place) => (known.batches[from + place] ? rows / known.batches[from + place] : null));
    const thousand = (column) => tail(column).map((value) => (value === null ? null : value * 1000));
    exits.draw([x, ...columns], String(columns.length));
    spent.draw([x, mean(known.asked_flops), mean(known.spent_flops)]);
    latency.draw([x, thousand(known.p50_seconds), thousand(known.p99_seconds)]);
    queue.draw([x, tail(known.waiting), size]);
    drawTiles(images);
    drawHealth(known.health);
  }

  // Of the last ten seconds, or as many as there are.
  function drawTiles(images) {
    const late = (column) => column.slice(-10);
    const count = sum(late(images));
    const spentNow = count ? sum(late(known.spent_flops)) / count : null;
    const askedNow = count ? sum(late(known.asked_flops)) / count : null;
    const slowest = late(known.p99_seconds).filter((value) => value !== null);
    const rows = [
      ["Images a second", significant(count / Math.max(1, late(images).length))],
      ["Spent an image", spentNow === null ? "–" : flops(spentNow)],
      ["Asked an image", askedNow === null ? "–" : flops(askedNow)],
      ["Saved", spentNow === null ? "–" : percent(1 - spentNow / known.full_flops)],
      ["Slowest p99", slowest.length ? seconds(Math.max(...slowest)) : "–"],
      ["Failed", String(sum(known.failed))],
    ];
    const lowered = sum(late(known.lowered));
    if (lowered) rows.push(["Budgets lowered", percent(lowered / count)]);
    tiles.replaceChildren(...rows.map(([name, value]) => h("div", { class: "card" }, h("dt", {}, name), h("dd", {}, value))));
  }

  function drawHealth(state) {
    const wrong = [];
    if (state.status === "dead") wrong.push("The worker of this model has stopped: see the server's log.");
    for (const exit of state.exits) {
      if (exit.drift_alarm) wrong.push(`Exit ${exit.exit} drifts: the ${exit.drift_of} of the last ${exit.drift_images} images are unlike the calibration's.`);
      if (exit.agreement_alarm) wrong.push(`Exit ${exit.exit} agrees less with the last exit than chance explains.`);
    }
    const text = wrong.join("\n");
    if (alarms.dataset.text !== text) {
      alarms.dataset.text = text;
      alarms.replaceChildren(...wrong.map((line) => h("p", { class: "alarm" }, line)));
    }
    const mark = (alarm) => h("span", { class: alarm ? "pill bad" : "pill good" }, alarm ? "alarm" : "ok");
    const lastExit = state.exits.length;
    health.replaceChildren(table("Drift and agreement of each exit", ["Exit", "Drift", "Limit", "", "Agrees", "Expected", "Checked", ""],
      state.exits.map((exit) => [
        h("span", { class: "exit" }, exit.exit),
        exit.drift_score === null ? "–" : exit.drift_score.toFixed(3),
        exit.drift_limit === null ? "–" : exit.drift_limit.toFixed(3),
        exit.drift_score === null ? h("span", { class: "note" }, "not yet") : mark(exit.drift_alarm),
        percent(exit.agreement),
        percent(exit.agreement_expected),
        exit.exit === lastExit ? "–" : exit.watched.toLocaleString("en"),
        exit.agreement_expected === null ? "" : mark(exit.agreement_alarm),
      ])));
    corrections.replaceChildren(state.controller === "off" ? h("p", {}, "The closed loop is off (--controller off).")
      : state.corrections.length ? table("Corrections of budgets", ["Budgets from", "Factor", "Error of late"], state.corrections.map((each) => [each.budget_class, each.factor.toFixed(3), percent(each.error)]))
      : h("p", { class: "note" }, "No budget below the full depth was asked for yet."));
  }

  function drawVersions({ current, comparisons }) {
    compared.hidden = !comparisons.length;
    const within = (found, words) => (found === null || found.mean === null ? "–" : found.interval === null ? words(found.mean) : `${words(found.mean)} (${words(found.interval[0])} to ${words(found.interval[1])})`);
    const signed = (words) => (value) => `${value < 0 ? "−" : "+"}${words(Math.abs(value))}`;
    versions.replaceChildren(table(`Versions beside version ${current}`, ["Version", "Role", "Images", "FLOPs, difference", "Confidence, difference", "Agrees", "Failed"],
      comparisons.map((each) => [
        each.other.version,
        `${each.role}${each.running ? "" : ", over"}`,
        each.other.images.toLocaleString("en"),
        within(each.difference.flops, signed(flops)),
        within(each.difference.confidence, signed((value) => value.toFixed(3))),
        each.agreement === null ? "–" : percent(each.agreement.agreed),
        String(each.other.failed),
      ])));
  }

  const table = (caption, heads, rows) => h("table", {}, h("caption", { class: "visually-hidden" }, caption),
    h("thead", {}, h("tr", {}, heads.map((head, place) => h(head ? "th" : "td", { scope: head ? "col" : null, class: place ? "number" : null }, head)))),
    h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((cell, place) => (place ? h("td", { class: "number" }, cell) : h("th", { scope: "row" }, cell)))))));

  return {
    open(chosen) {
      [model, known, asked] = [chosen, null, 0];
      looks.open();
    },
    close: looks.close,
  };
}
