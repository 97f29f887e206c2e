// What is around every page: its navigation, the theme switch, and the question for a key.
import { html, useEffect, useRef, useState } from "./ui.js";
import { Ask } from "./ask.js";
import { Compare } from "./compare.js";
import { learn } from "./candidates.js";
import { followLinks, useLocation } from "./location.js";
import { Runs } from "./runs.js";
import { get, rememberKey } from "./server.js";
import { Trajectories } from "./trajectories.js";

const PAGES = [
  { path: "/", name: "Ask", page: Ask },
  { path: "/trajectories", name: "Trajectories", page: Trajectories },
  { path: "/runs", name: "Runs", page: Runs },
  { path: "/compare", name: "Compare", page: Compare },
];

export function Shell() {
  const { path } = useLocation();
  const [about, setAbout] = useState(null);
  const [fault, setFault] = useState(null);

  const load = () =>
    get("about").then((found) => {
      learn(found.candidates);
      setAbout(found);
      setFault(null);
    }, setFault);
  useEffect(() => void load(), []);

  const pages = PAGES.filter(({ path }) => path !== "/" || about?.asking);
  const current = pages.find((page) => page.path === path) ?? pages[0];
  useEffect(() => void (document.title = `${current.name} · Router-R1`), [current.name]);

  return html`
    <div class="shell" onClick=${followLinks}>
      <a class="skip" href="#main">Skip to the content</a>
      <header>
        <a class="brand" href=${pages[0].path}><img src="/pages/static/icon.svg" alt="" width="26" height="26" />Router-R1</a>
        <nav aria-label="Pages">
          ${about && pages.map(({ path, name }) => html`
            <a href=${path} aria-current=${path === current.path ? "page" : null}>${name}</a>
          `)}
        </nav>
        <${ThemeSwitch} />
      </header>
      <main id="main" tabindex="-1">
        ${about && html`<${current.page} key=${current.path} about=${about} />`}
        ${fault?.status === 401 && html`<${KeyQuestion} fault=${fault} onKey=${load} />`}
        ${fault && fault.status !== 401 && html`<p class="fault" role="alert">${fault.message}</p>`}
      </main>
    </div>
  `;
}

const THEMES = { auto: "Auto", light: "Light", dark: "Dark" };

function ThemeSwitch() {
  const [theme, setTheme] = useState(document.documentElement.dataset.theme);
  const choose = (event) => {
    const chosen = event.target.value;
    localStorage.setItem("theme", chosen);
    document.documentElement.dataset.theme = chosen;
    setTheme(chosen);
  };
  return html`
    <label class="theme">
      <span class="unseen">Theme</span>
      <select value=${theme} onChange=${choose}>
        ${Object.entries(THEMES).map(([value, name]) => html`<option value=${value}>${name}</option>`)}
      </select>
    </label>
  `;
}

function KeyQuestion({ fault, onKey }) {
  const input = useRef(null);
  useEffect(() => input.current.focus(), []);
  const send = (event) => {
    event.preventDefault();
    rememberKey(input.current.value);
    onKey();
  };
  const isWrong = fault.code === "invalid_api_key";
  return html`
    <form class="card key" onSubmit=${send}>
      <h1>This server asks for a key</h1>
      <p>It is kept in this tab until you close it, and sent to this server only.</p>
      <label>API key <input type="password" ref=${input} autocomplete="off" required aria-invalid=${isWrong} /></label>
      ${isWrong && html`<p class="fault" role="alert">${fault.message}</p>`}
      <button class="primary">Enter</button>
    </form>
  `;
}
