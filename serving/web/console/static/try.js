// Try it: ask about images, and see where they left, on a road whose length is FLOPs.
import { ofModel, send } from "./api.js";
import { h, later, scroller } from "./dom.js";
import { flops, percent, seconds } from "./format.js";
import { base64, pictures } from "./pictures.js";
import { promise } from "./promise.js";
import { drawRoad } from "./road.js";
import { samples } from "./samples.js";
import { thumbnails } from "./thumbnails.js";

export function tryIt(section, context) {
  let images = [];
  let answers = [];
  let chosen = 0;
  let planned = null;
  let took = null;
  let model = null;
  let asked = null;

  const road = h("div", { class: "roadway" });
  const strip = thumbnails("Images", (index) => { chosen = index; draw(true); });
  const result = h("div", { class: "result", "aria-live": "polite" });
  const exits = scroller("Exits");
  const command = h("code", {});
  const askLater = later(() => ask(), 180);
  const promised = promise(() => {
    draw(false);
    askLater();
  });
  const take = (added) => {
    [images, answers, chosen] = [added, [], 0];
    ask();
  };
  const shipped = samples(take);
  const drop = pictures((added) => { shipped.leave(); take(added); }, context.report);
  const copy = h("button", { type: "button", class: "plain", onclick: () => navigator.clipboard?.writeText(command.textContent) }, "Copy");
  section.append(
    h("div", { class: "trial" },
      h("div", { class: "card from" }, h("h1", {}, "Try it"), drop, strip.element, shipped.element),
      h("div", { class: "card promise" }, promised.element),
      h("div", { class: "card to" }, result, road, exits, h("details", { class: "shell" }, h("summary", {}, "The same from a shell"), h("div", { class: "row" }, command, copy))),
    ),
  );
  new ResizeObserver(() => draw(false)).observe(road);

  async function ask() {
    if (!model) return;
    asked?.abort();
    const mine = (asked = new AbortController());
    context.report(null);
    try {
      const query = `model=${encodeURIComponent(model.name)}&${promised.query}`;
      const [plan, answered] = await Promise.all([plans(), images.length ? classify(query, mine.signal) : null]);
      if (mine.signal.aborted) return;
      planned = plan;
      if (answered) answers = answered;
    } catch (error) {
      if (mine.signal.aborted) return;
      answers = [];
      context.report(error);
    }
    draw(true);
  }

  // What decides before any image has come: thresholds, where the promise has any.
  async function plans() {
    if (promised.mode === "hard" || promised.mode === "deadline") return null;
    return ofModel(model, `plan?${promised.query}`);
  }

  async function classify(query, signal) {
    const started = performance.now();
    const alone = images.length === 1;
    // A sum that must hold, or a deadline, leaves no room to run every exit.
    const explain = alone && context.explains && !/(^|&)(mode=hard|deadline_ms=)/.test(query) ? "&explain=1" : "";
    const type = alone ? "application/octet-stream" : "application/json";
    const body = alone ? images[0].file : JSON.stringify({ images: await Promise.all(images.map((image) => base64(image.file))) });
    const response = await send(`classify?${query}${explain}`, { method: "POST", body, signal, headers: { "Content-Type": type } });
    const found = await response.json();
    took = (performance.now() - started) / 1000;
    return alone ? [found] : found.results;
  }

  function draw(moving) {
    if (!model) return;
    const answer = answers[chosen];
    const counts = answers.length > 1 ? model.exits.map((exit) => answers.filter((each) => each.exit === exit.exit).length) : null;
    drawRoad(road, {
      exits: model.exits,
      taken: answer?.exit ?? null,
      budget: promised.budget ?? planned?.budget_flops,
      counts,
      thumbnail: moving && answer ? images[chosen].url : null,
    });
    drop.classList.toggle("filled", images.length > 0);
    result.replaceChildren(...(answer ? [summary(answer)] : welcome()));
    exits.replaceChildren(table(answer));
    strip.draw(images.length > 1 ? images.map(told) : [], chosen, (index) => answers[index] && h("span", { class: "exit" }, answers[index].exit));
    const file = images.length === 1 ? images[0].file.name || "image.png" : "image.png";
    command.textContent = `curl --data-binary @'${file.replaceAll("'", "")}' -H 'Content-Type: application/octet-stream' '${new URL("classify", document.baseURI)}?model=${encodeURIComponent(model.name)}&${promised.query}'`;
  }

  const welcome = () => [
    h("p", { class: "lead" }, "An easy image leaves the network early. A hard one goes on."),
    h("p", { class: "note" }, `${model.name} has ${model.exits.length} exits and knows ${model.classes} classes. Give it an image, and see where it leaves the road.`),
  ];

  function summary(answer) {
    const full = model.exits.at(-1).flops;
    const spent = answers.reduce((sum, each) => sum + each.flops, 0) / answers.length;
    const several = answers.length > 1;
    const facts = [
      ["Exit", `${answer.exit} of ${model.exits.length}`],
      ["Spent", flops(answer.flops)],
      [several ? "Mean of all" : "Saved", several ? flops(spent) : percent(1 - answer.flops / full)],
      [several ? "Saved by all" : "There and back", several ? percent(1 - spent / full) : seconds(took)],
    ];
    if (images[chosen].truth) facts.push(["True class", images[chosen].truth]);
    if (answer.deadline_met !== undefined && answer.deadline_met !== null) facts.push(["Deadline", answer.deadline_met ? "met" : "missed"]);
    return h("div", { class: "answer" },
      h("img", { src: images[chosen].url, alt: images[chosen].name, class: "picture" }),
      h("div", {},
        h("p", { class: "said" }, answer.class_name, h("span", { class: "sure" }, `confidence ${percent(answer.confidence)}`)),
        h("dl", { class: "facts" }, facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
      ),
    );
  }

  function told(image, index) {
    const answer = answers[index];
    return answer ? { ...image, name: `${image.name}: answered ${answer.class_name}, exit ${answer.exit}` } : image;
  }

  function table(answer) {
    const said = new Map((answer?.exits ?? []).map((each) => [each.exit, each]));
    const rows = model.exits.map((exit, index) => {
      const here = answer?.exit === exit.exit;
      const voice = said.get(exit.exit) ?? (here ? answer : null);
      const threshold = said.get(exit.exit)?.threshold ?? planned?.exits[index]?.threshold ?? null;
      const state = !answer ? "" : here ? "left here" : exit.exit < answer.exit ? "went on" : "not reached";
      return h("tr", { class: here ? "here" : answer && exit.exit > answer.exit ? "beyond" : null },
        h("th", { scope: "row" }, h("span", { class: "exit" }, exit.exit)),
        h("td", {}, voice ? h("span", { class: "class" }, voice.class_name) : null, state ? h("span", { class: "note" }, ` ${state}`) : null),
        h("td", {}, voice ? bar(voice.confidence) : "–"),
        h("td", { class: "number" }, compared(said.get(exit.exit), limit(threshold, exit, planned))),
        h("td", { class: "number wide" }, planned ? percent(planned.exits[index].share, 0) : "–"),
        h("td", { class: "number wide" }, flops(exit.flops)),
      );
    });
    const heads = ["Exit", "Says", "Confidence", "Threshold", "Expected share", "Cost"];
    return h("table", {}, h("caption", { class: "visually-hidden" }, "What each exit says of the image"),
      h("thead", {}, h("tr", {}, heads.map((head, place) => h("th", { scope: "col", class: place > 3 ? "number wide" : place > 2 ? "number" : null }, head)))), h("tbody", {}, rows));
  }

  function limit(threshold, exit, plan) {
    if (!plan) return "–";
    if (exit.exit === model.exits.length) return "all";
    return threshold === null || threshold > 1 ? "nobody" : threshold.toFixed(3);
  }

  function compared(explained, bound) {
    if (!explained || explained.threshold === null || explained.threshold > 1) return bound;
    return `${explained.score.toFixed(3)} ${explained.score >= explained.threshold ? "≥" : "<"} ${bound}`;
  }

  const bar = (share) => h("span", { class: "meter" }, h("span", { class: "meter-fill", style: { width: `${Math.round(share * 100)}%` } }), h("span", { class: "meter-text" }, percent(share)));

  return {
    open(now) {
      if (model !== now) [model, answers, planned] = [now, [], null];
      promised.of(model);
      draw(false);
      ask();
      shipped.of(model).catch(context.report);
    },
  };
}
