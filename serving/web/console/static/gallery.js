// Gallery: the images that came last, by the exit they left at, where the operator keeps them.
import { get, send } from "./api.js";
import { h } from "./dom.js";
import { flops, percent } from "./format.js";

export function gallery(section, context) {
  let urls = [];
  const place = h("div", {});
  const again = h("button", { type: "button", class: "plain", onclick: () => show() }, "Look again");
  section.append(h("div", { class: "row spread" }, h("div", {}, h("h1", {}, "Gallery"), h("p", { class: "note" }, `The last ${context.keepsRecent} images of each model, kept in the server's memory alone (--keep-recent).`)), again), place);

  async function show() {
    try {
      const { images } = await get(`console/recent/${encodeURIComponent(context.model.name)}`);
      const pictures = await Promise.all(images.map(async (image) => URL.createObjectURL(await (await send(`console/recent/${encodeURIComponent(context.model.name)}/${image.number}`, {})).blob())));
      for (const url of urls) URL.revokeObjectURL(url);
      urls = pictures;
      place.replaceChildren(...context.model.exits.map((exit) => {
        const here = images.map((image, index) => [image, pictures[index]]).filter(([image]) => image.exit === exit.exit);
        return h("section", { class: "card shelf", "aria-label": `Exit ${exit.exit}` },
          h("h2", {}, h("span", { class: "exit" }, exit.exit), ` ${flops(exit.flops)}`, h("span", { class: "note" }, ` ${here.length} ${here.length === 1 ? "image" : "images"}`)),
          h("ul", { class: "pictures" }, here.map(([image, url]) => h("li", {}, h("img", { src: url, alt: "" }), h("span", {}, image.class_name), h("span", { class: "note" }, percent(image.confidence, 0))))));
      }));
    } catch (error) {
      context.report(error);
    }
  }

  return { open: show };
}
