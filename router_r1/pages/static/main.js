// Starts the pages.
import { html, render } from "./ui.js";
import { Shell } from "./shell.js";

render(html`<${Shell} />`, document.body);
