// A row of small images, one of which may be the chosen one: a single stop of the Tab key, arrows go along it.
import { h } from "./dom.js";

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

// `picked(index)` is called when an image is chosen, by pointer, Enter or Space.
export function thumbnails(label, picked) {
  const element = h("div", { class: "strip", role: "group", "aria-label": label });
  let stop = 0;
  const focus = (index) => {
    for (const [place, button] of [...element.children].entries()) button.tabIndex = place === index ? 0 : -1;
    stop = index;
    element.children[index].focus();
  };
  element.addEventListener("keydown", (event) => {
    const last = element.children.length - 1;
    const to = event.key === "Home" ? 0 : event.key === "End" ? last : event.key in STEPS ? stop + STEPS[event.key] : null;
    if (to === null || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    focus(Math.min(last, Math.max(0, to)));
  });
  return {
    element,
    // Each image has a `url` and a `name`; `chosen` is the place of the one that is looked at, or null; `badge` is text over it.
    draw(images, chosen = null, badge = () => null) {
      const focused = element.contains(document.activeElement);
      stop = chosen ?? Math.min(stop, Math.max(0, images.length - 1));
      element.replaceChildren(
        ...images.map((image, index) =>
          h("button", { type: "button", class: "thumb", tabindex: index === stop ? 0 : -1, "aria-pressed": String(index === chosen), "aria-label": image.name, title: image.name, onclick: () => { stop = index; picked(index); } },
            h("img", { src: image.url, alt: "" }), badge(index))),
      );
      if (focused) element.children[stop]?.focus();
    },
  };
}
