// Every candidate has its colour and its monogram, the same on every page: its place in the server's list of all that are
// known makes its hue. The golden angle sets neighbours in that list far apart, however many there are.
import { html } from "./ui.js";

const GOLDEN_ANGLE = 137.508;
const FIRST_HUE = 265;
const places = new Map();

export const learn = (names) => names.forEach(placeOf);

function placeOf(name) {
  if (!places.has(name)) places.set(name, places.size);
  return places.get(name);
}

/** For the style of an element; the style sheet makes a colour of it that fits light and dark. */
export const hueOf = (name) => ({ "--hue": String(Math.round((FIRST_HUE + placeOf(name) * GOLDEN_ANGLE) % 360)) });

/** Two letters: the first of the first two words of a name, or of its only one. */
export function monogram(name) {
  const words = name.split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  return ((words[0]?.[0] ?? "?") + (words[1]?.[0] ?? words[0]?.[1] ?? "")).toUpperCase();
}

export const Candidate = ({ name }) => html`
  <span class="candidate" style=${hueOf(name)}>
    <span class="monogram" aria-hidden="true">${monogram(name)}</span>${name}
  </span>
`;
