// Gallery: the latest images that left at each exit, where the operator keeps them (--keep-recent).
import { get } from "./api.js";
import { h } from "./dom.js";
import { percent } from "./format.js";

const EVERY = 5000;

export function gallery(section, context) {
  let model = null;
  let timer = 0;
  let opened = 0;
  const place = h("div", {});
  section.append(h("h1", { class: "visually-hidden" }, "Gallery"), place);

  async function look() {
    clearTimeout(timer);
    const mine = opened;
    if (!document.hidden) {
      try {
        const found = await get(`models/${encodeURIComponent(model.name)}/recent`);
        if (mine !== opened) return;
        place.replaceChildren(...found.exits.map(exitCard));
        context.report(null);
      } catch (error) {
        if (mine !== opened) return;
        context.report(error);
      }
    }
    timer = setTimeout(look, EVERY);
  }

  const exitCard = ({ exit, images }) => h("section", { class: "card", "aria-label": `Exit ${exit}` },
    h("h2", {}, h("span", { class: "exit" }, exit), images.length ? ` The latest ${images.length} that left here` : " Nothing left here yet"),
    h("ul", { class: "gallery" }, images.map((image) => h("li", {}, h("img", { src: image.picture, alt: "" }), image.class_name, " ", h("span", { class: "note" }, percent(image.confidence, 0))))));

  return {
    open(chosen) {
      [model, opened] = [chosen, opened + 1];
      look();
    },
    close() {
      opened += 1;
      clearTimeout(timer);
    },
  };
}
