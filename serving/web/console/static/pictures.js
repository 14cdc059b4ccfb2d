// Images on their way in: dropped, pasted or chosen. They stay in this tab until they are asked about.
import { h } from "./dom.js";

export const MOST = 24;

export function pictures(changed, refused) {
  let taken = [];
  const input = h("input", { type: "file", accept: "image/png,image/jpeg,image/webp", multiple: true, class: "visually-hidden", id: "files" });
  const label = h("label", { for: "files", class: "drop" },
    h("strong", {}, "Drop images here"),
    h("span", {}, h("span", { class: "more" }, "paste them, or "), h("span", { class: "link" }, "choose files")),
    h("span", { class: "note" }, "PNG, JPEG or WebP, sent to this server alone"),
  );
  const zone = h("div", { class: "drop-zone" }, input, label);

  const take = (files) => {
    const images = [...files].filter((file) => file.type.startsWith("image/"));
    if (!images.length) {
      refused(new Error("Expected PNG, JPEG or WebP images, found none."));
      return;
    }
    for (const image of taken) URL.revokeObjectURL(image.url);
    taken = images.slice(0, MOST).map((file) => ({ file, name: file.name || "pasted", url: URL.createObjectURL(file) }));
    changed(taken);
    if (images.length > MOST) refused(new Error(`Only the first ${MOST} images are asked about.`));
  };
  input.addEventListener("change", () => {
    if (input.files.length) take(input.files);
    input.value = "";
  });
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    take(event.dataTransfer.files);
  });
  // A file that misses the zone must not replace the page.
  for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length && zone.isConnected && zone.offsetParent) take(event.clipboardData.files);
  });
  return zone;
}

export async function base64(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  let text = "";
  for (let start = 0; start < bytes.length; start += 32768) text += String.fromCharCode(...bytes.subarray(start, start + 32768));
  return btoa(text);
}
