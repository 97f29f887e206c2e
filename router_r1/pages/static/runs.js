import { html } from "./ui.js";
export const Runs = () => html`<p>…</p>`;
