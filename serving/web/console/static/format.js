// Numbers as people read them.
const UNITS = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]];

export function flops(value) {
  if (!Number.isFinite(value)) return "–";
  const [size, prefix] = UNITS.find(([least]) => value >= least) ?? UNITS.at(-1);
  return `${significant(value / size)} ${prefix}FLOPs`;
}

export function significant(value, digits = 3) {
  if (value === 0) return "0";
  const places = Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(value))));
  return value.toLocaleString("en", { minimumFractionDigits: Math.min(places, 6), maximumFractionDigits: Math.min(places, 6) });
}

export const percent = (share, places = 1) => (share === null || !Number.isFinite(share) ? "–" : `${(share * 100).toFixed(places)}%`);

export function seconds(value) {
  if (value === null || !Number.isFinite(value)) return "–";
  return value < 1 ? `${significant(value * 1000, value < 0.1 ? 2 : 3)} ms` : `${significant(value)} s`;
}

// Exits from the first to the last, from green through blue to magenta: even steps to the eye.
export function exitColour(index, exits) {
  const hue = 160 + (180 * index) / Math.max(1, exits - 1);
  const light = getComputedStyle(document.documentElement).getPropertyValue("--exit-light").trim() || "0.62";
  return `oklch(${light} 0.135 ${hue.toFixed(0)})`;
}
