import { html } from "./ui.js";
export const Compare = () => html`<p>…</p>`;
