// What is asked for: a budget on average, a hard one, a deadline or a guarantee; as a query of /classify.
import { h, slider } from "./dom.js";
import { flops, percent } from "./format.js";

const MODES = {
  average: ["Average", "The budget holds on average over all requests that ask for it, so a hard image may cost more. The same image, asked for again and again, changes its exit until its mean meets the budget."],
  hard: ["Hard", "The images of one request never cost more than their number times the budget."],
  deadline: ["Deadline", "Each image is answered by the deepest exit that is done in time."],
  guarantee: ["Guarantee", "Leaving early loses at most this share of the answers, proven on calibration images."],
};
const drop = (place) => Number((0.002 * 50 ** (place / 100)).toPrecision(2)); // 0.2% to 10%, even in ratios
const time = (place) => Number((500 ** (place / 100)).toPrecision(2)); // 1 ms to 500 ms

export function promise(changed) {
  let mode = "average";
  let model = null;
  const say = h("p", { class: "note" });
  const sliders = {
    budget: slider("Budget for an image", { min: 1, max: 100, step: 0.5, value: 40, words: (share) => (model ? `${share}% · ${flops((share / 100) * full())}` : `${share}%`) }, changed),
    deadline: slider("Time for an answer", { min: 0, max: 100, step: 1, value: 60, words: (place) => `${time(place)} ms` }, changed),
    guarantee: slider("Answers that may be lost", { min: 0, max: 100, step: 1, value: 59, words: (place) => percent(drop(place), 2) }, changed),
  };
  const full = () => model.exits.at(-1).flops;
  const shown = () => (mode === "deadline" || mode === "guarantee" ? mode : "budget");
  const choose = (name) => {
    mode = name;
    say.textContent = MODES[name][1];
    for (const [other, each] of Object.entries(sliders)) each.element.hidden = other !== shown();
  };
  const radios = Object.entries(MODES).map(([name, [title]]) => {
    const radio = h("input", { type: "radio", name: "mode", value: name, onchange: () => { choose(name); changed(); } });
    radio.checked = name === mode;
    return h("label", {}, radio, h("span", {}, title));
  });
  choose(mode);
  return {
    element: h("fieldset", {}, h("legend", {}, "Promise"), h("div", { class: "segments" }, radios), say, ...Object.values(sliders).map((each) => each.element)),
    get mode() {
      return mode;
    },
    // The budget in FLOPs per image; null where something else decides.
    get budget() {
      return shown() === "budget" ? (sliders.budget.value / 100) * full() : null;
    },
    get query() {
      if (mode === "deadline") return `deadline_ms=${time(sliders.deadline.value)}`;
      if (mode === "guarantee") return `max_drop=${drop(sliders.guarantee.value)}`;
      return `budget=${sliders.budget.value}%25${mode === "hard" ? "&mode=hard" : ""}`;
    },
    of(chosen) {
      model = chosen;
      const least = Math.ceil((200 * model.exits[0].flops) / full()) / 2;
      sliders.budget.set({ min: least, value: Math.max(least, sliders.budget.value) });
    },
  };
}
