// Gallery: the latest images that left at each exit, where the operator keeps them (--keep-recent).
import { ofModel } from "./api.js";
import { h } from "./dom.js";
import { percent } from "./format.js";
import { polling } from "./polling.js";

const EVERY = 5000;

export function gallery(section, context) {
  let model = null;
  const place = h("div", {});
  section.append(h("h1", { class: "visually-hidden" }, "Gallery"), place);

  const looks = polling(EVERY, async (current) => {
    const found = await ofModel(model, "recent");
    if (!current()) return;
    place.replaceChildren(...found.exits.map(exitCard));
    context.report(null);
  }, context.report);

  const exitCard = ({ exit, images }) => h("section", { class: "card", "aria-label": `Exit ${exit}` },
    h("h2", {}, h("span", { class: "exit" }, exit), images.length ? ` The latest ${images.length} that left here` : " Nothing left here yet"),
    h("ul", { class: "gallery" }, images.map((image) => h("li", {}, h("img", { src: image.picture, alt: "" }), image.class_name, " ", h("span", { class: "note" }, percent(image.confidence, 0))))));

  return {
    open(chosen) {
      model = chosen;
      looks.open();
    },
    close: looks.close,
  };
}
