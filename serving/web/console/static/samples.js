// The images that came with the model, for those who have none at hand.
import { ofModel } from "./api.js";
import { h } from "./dom.js";
import { MOST } from "./pictures.js";
import { thumbnails } from "./thumbnails.js";

// `chosen(images)` is called with one of them, or with all.
export function samples(chosen) {
  let images = [];
  let wanted = null;
  const row = thumbnails("Images that came with the model", (index) => {
    row.draw(images, index);
    chosen([images[index]]);
  });
  const all = h("button", { type: "button", class: "link", onclick: () => { row.draw(images); chosen(images.slice(0, MOST)); } });
  const element = h("div", { class: "samples", hidden: true }, h("p", { class: "note" }, "Or take one that came with the model, or ", all), row.element);

  return {
    element,
    // Others were chosen: none of these is.
    leave: () => row.draw(images),
    async of(model) {
      if (wanted === model) return;
      wanted = model;
      images = [];
      element.hidden = true;
      const found = await ofModel(model, "samples");
      if (wanted !== model) return;
      images = found.samples.map(unpacked);
      element.hidden = !images.length;
      all.textContent = images.length > MOST ? `the first ${MOST}` : `all ${images.length}`;
      row.draw(images);
    },
  };
}

function unpacked({ image, media_type: type, class_name: truth }, index) {
  const number = index + 1;
  const bytes = Uint8Array.from(atob(image), (letter) => letter.charCodeAt(0));
  const file = new File([bytes], `sample-${number}.${type.split("/")[1]}`, { type });
  return { file, truth, name: truth === null ? `Sample ${number}` : `Sample ${number}: ${truth}`, url: `data:${type};base64,${image}` };
}
