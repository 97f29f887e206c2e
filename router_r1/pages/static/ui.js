// Preact, with tagged templates instead of a compiler. Whatever is put into a template is text, never markup.
import { h, render } from "./vendor/preact.mjs";
import htm from "./vendor/htm.module.js";

export { render };
export * from "./vendor/hooks.mjs";
export const html = htm.bind(h);
