// The frame: which view is open, which model is looked at, light or dark.
import { get, ofModel } from "./api.js";
import { byId, h } from "./dom.js";
import { gallery } from "./gallery.js";
import { live } from "./live.js";
import { forgetPlans, plan } from "./plan.js";
import { polling } from "./polling.js";
import { tryIt } from "./try.js";

const EVERY = 15000;
const THEMES = { auto: "Auto", light: "Light", dark: "Dark" };
const TITLES = { try: "Try it", plan: "Plan", live: "Live", gallery: "Gallery" };
const told = document.documentElement.dataset;

export const context = {
  models: [],
  model: null,
  explains: told.explain === "yes",
  // Shows what went wrong above the view; nothing takes it away.
  report(error) {
    const place = byId("problem");
    if (error && error.name === "AbortError") return;
    place.hidden = !error;
    place.textContent = error ? error.message : "";
  },
};

const views = {};

function show(name) {
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  for (const [other, view] of Object.entries(views)) {
    const section = byId(`view-${other}`);
    if (!section.hidden && other !== name) view.close?.();
    section.hidden = other !== name;
  }
  document.title = `${TITLES[name]} – Offramp`;
  context.report(null);
  views[name].open(context.model);
}

const wanted = () => {
  const name = location.hash.slice(1);
  return name in views ? name : "try";
};

function showStatus(status) {
  const place = byId("status");
  place.dataset.status = status;
  if (place.textContent !== status) place.textContent = status;
}

// Models may be loaded, replaced and unloaded, and their health changes, while the page is open.
const news = polling(EVERY, async (current) => {
  const { models } = await get("models");
  if (!current()) return;
  if (JSON.stringify(models) !== JSON.stringify(context.models) && models.length) {
    forgetPlans();
    take(models, context.model.name);
    show(wanted());
  }
  const { status } = await ofModel(context.model, "health");
  if (current()) showStatus(status);
}, () => showStatus("no answer"));

// Offers models to choose from; one that is gone makes room for the first.
function take(models, chosen) {
  context.models = models;
  context.model = models.find((model) => model.name === chosen) ?? models[0];
  const select = byId("model");
  select.replaceChildren(...models.map((model) => h("option", { value: model.name }, model.name)));
  select.value = context.model.name;
}

function setTheme(theme) {
  const button = byId("theme");
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  localStorage.setItem("offramp-theme", theme);
  button.textContent = `◐ ${THEMES[theme]}`;
  button.setAttribute("aria-label", `Colours: ${THEMES[theme]}`);
  document.dispatchEvent(new Event("offramp-theme"));
}

function theming() {
  const names = Object.keys(THEMES);
  let theme = localStorage.getItem("offramp-theme");
  if (!(theme in THEMES)) theme = "auto";
  setTheme(theme);
  byId("theme").addEventListener("click", () => {
    theme = names[(names.indexOf(theme) + 1) % names.length];
    setTheme(theme);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("offramp-theme")));
}

async function start() {
  theming();
  try {
    const { models, default_model: chosen } = await get("models");
    if (!models.length) throw new Error("No model is loaded. Load one, then open this page again.");
    take(models, chosen);
  } catch (error) {
    context.report(error);
    return;
  }
  views.try = tryIt(byId("view-try"), context);
  views.plan = plan(byId("view-plan"), context);
  views.live = live(byId("view-live"), context);
  if (told.gallery === "yes") {
    views.gallery = gallery(byId("view-gallery"), context);
    document.querySelector('[data-view="gallery"]').hidden = false;
  }
  const select = byId("model");
  select.addEventListener("change", () => {
    context.model = context.models.find((model) => model.name === select.value);
    news.open();
    views[wanted()].close?.();
    show(wanted());
  });
  addEventListener("hashchange", () => {
    if (location.hash.slice(1) in views) show(wanted());
  });
  show(wanted());
  news.open();
}

start();
