// The console's requests to the server; it makes no others.
import { byId } from "./dom.js";

const KEPT = "offramp-key";
let asking = null;

export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export async function get(path) {
  return (await send(path, {})).json();
}

// What the server says of a model: `path` is below the model's own.
export const ofModel = (model, path) => get(`models/${encodeURIComponent(model.name)}/${path}`);

export async function send(path, options) {
  for (let again = false; ; again = true) {
    const key = sessionStorage.getItem(KEPT);
    const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
    let response;
    try {
      response = await fetch(path, { ...options, headers, cache: "no-store" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused(0, "The server does not answer.");
    }
    if (response.ok) return response;
    if (response.status === 401) {
      await askForKey(again);
      continue;
    }
    let detail = response.statusText;
    try {
      detail = (await response.json()).detail ?? detail;
    } catch {
      // Not a problem document: the status has to do.
    }
    throw new Refused(response.status, detail);
  }
}

// Several requests at a time may be refused; the key is asked for once.
function askForKey(again) {
  asking ??= new Promise((resolve) => {
    const [dialog, value] = [byId("key"), byId("key-value")];
    byId("key-refused").textContent = again ? "The server does not know this key." : "";
    value.value = "";
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.addEventListener(
      "close",
      () => {
        sessionStorage.setItem(KEPT, value.value.trim());
        asking = null;
        resolve();
      },
      { once: true },
    );
    dialog.showModal();
  });
  return asking;
}
