// Trajectories: filtered, sorted and paged by the server, so that ten thousand are as quick as ten. What is chosen stands
// in the address: a link shows somebody else the same.
import { html, useEffect, useLayoutEffect, useState } from "./ui.js";
import { Candidate } from "./candidates.js";
import { count, seconds, short } from "./format.js";
import { addressWith, go, useLocation } from "./location.js";
import { get } from "./server.js";
import { Trajectory } from "./trajectory.js";

export const CONDITIONS = ["source", "data_source", "status", "candidate", "model", "right", "format_error", "feedback",
  "least_raw_cost", "most_raw_cost", "text", "sort", "descending"];
const SHELVES = { server: "this server", folders: "runs and benchmarks" };
const SORTS = { time: "newest", raw_cost: "dearest", seconds: "slowest", policy_tokens: "longest", em: "right first", reward: "best reward" };
const TYPING_MS = 250;

export function Trajectories({ about }) {
  const { query } = useLocation();
  const shelf = query.get("in") ?? about.shelves[0];
  const conditions = Object.fromEntries(CONDITIONS.filter((name) => query.has(name)).map((name) => [name, query.get(name)]));
  if (query.has("id")) return html`<${Trajectory} id=${query.get("id")} shelf=${shelf} conditions=${conditions} />`;
  return html`<${List} about=${about} shelf=${shelf} conditions=${conditions} offset=${Number(query.get("offset") ?? 0)} />`;
}

function List({ about, shelf, conditions, offset }) {
  const [found, setFound] = useState(null);
  const [fault, setFault] = useState(null);
  useEffect(() => {
    const controller = new AbortController();
    get("trajectories", { shelf, offset, ...conditions }, controller.signal).then(
      (reply) => {
        setFound(reply);
        setFault(null);
      },
      (error) => error.name === "AbortError" || setFault(error),
    );
    return () => controller.abort();
  }, [location.search]);
  useLayoutEffect(() => {
    addEventListener("keydown", moveBetweenRows);
    return () => removeEventListener("keydown", moveBetweenRows);
  }, []);
  const change = (changes) => go(addressWith({ offset: null, ...changes }), { replace: true });
  return html`
    <h1>Trajectories</h1>
    <${Filters} about=${about} shelf=${shelf} conditions=${conditions} choices=${found?.choices ?? {}} onChange=${change} />
    ${fault && html`<p class="fault" role="alert">${fault.message}</p>`}
    ${!found && !fault && html`<p class="hint">Reading trajectories …</p>`}
    ${found && html`
      <div class="bar">
        <p role="status"><b>${count(found.total, "trajectory", "trajectories")}</b></p>
        <${Pager} found=${found} />
      </div>
      <ol class="rows card" aria-label="Trajectories">
        ${found.rows.map((row) => html`<li key=${row.id}><${Row} row=${row} /></li>`)}
        ${!found.rows.length && html`<li class="hint empty">None that fits.</li>`}
      </ol>
      <p class="hint">Keys: <kbd>j</kbd> and <kbd>k</kbd> move between rows, and between trajectories once one is open.</p>
    `}
  `;
}

/** j and k, where nothing is typed into. */
function moveBetweenRows(event) {
  const step = { j: 1, k: -1 }[event.key];
  if (!step || isTyping(event)) return;
  const rows = [...document.querySelectorAll(".rows a")];
  rows[Math.min(rows.length - 1, Math.max(0, rows.indexOf(document.activeElement) + step))]?.focus();
}

export const isTyping = (event) => event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, select, textarea");

export function verdict({ em, status }) {
  if (em === null || em === undefined) return { sign: "·", name: status ?? "unknown", kind: "unknown" };
  return em >= 1 ? { sign: "✓", name: "right", kind: "right" } : { sign: "✗", name: "wrong", kind: "wrong" };
}

function Row({ row }) {
  const { sign, name, kind } = verdict(row);
  return html`
    <a class="row" href=${addressWith({ id: row.id })}>
      <span class=${`verdict ${kind}`}><span aria-hidden="true">${sign}</span><span class="unseen">${name}</span></span>
      <span class="what">
        <span class="question">${row.question ?? "(texts are not kept)"}</span>
        <span class="hint">
          ${row.answer ? html`→ ${row.answer}` : row.status?.replaceAll("_", " ") ?? "no answer"}
          ${row.format_error ? html` · <span class="fault">format: ${row.format_error}</span>` : ""}
        </span>
      </span>
      <span class="asked">${Object.entries(row.candidates).map(([name, times]) => html`<span><${Candidate} name=${name} />${times > 1 ? ` ×${times}` : ""}</span>`)}</span>
      <span class="facts">
        ${row.data_source || row.model || ""}<br />
        cost ${short(row.raw_cost)}${row.seconds != null ? ` · ${seconds(row.seconds)}` : ""}
      </span>
    </a>
  `;
}

function Pager({ found: { offset, limit, total } }) {
  if (total <= limit) return null;
  const to = (place) => addressWith({ offset: place || null });
  const last = Math.min(total, offset + limit);
  return html`
    <nav class="pager" aria-label="Pages of the list">
      ${offset > 0 ? html`<a href=${to(Math.max(0, offset - limit))} rel="prev">← Back</a>` : html`<span class="hint">← Back</span>`}
      <span class="hint">${(offset + 1).toLocaleString("en")}–${last.toLocaleString("en")}</span>
      ${last < total ? html`<a href=${to(offset + limit)} rel="next">More →</a>` : html`<span class="hint">More →</span>`}
    </nav>
  `;
}

function Filters({ about, shelf, conditions, choices, onChange }) {
  const choose = (name) => (event) => onChange({ [name]: event.target.value });
  const of = (name) => ({ value: conditions[name] ?? "", onChange: choose(name) });
  const values = (name) => Object.fromEntries((choices[name] ?? []).map((value) => [value, value]));
  return html`
    <form class="card filters" role="search" onSubmit=${(event) => event.preventDefault()}>
      <${Search} value=${conditions.text ?? ""} onChange=${(text) => onChange({ text })} />
      ${about.shelves.length > 1 && html`
        <label>Kept by
          <select value=${shelf} onChange=${(event) => onChange({ in: event.target.value, source: null })}>
            ${about.shelves.map((name) => html`<option value=${name}>${SHELVES[name]}</option>`)}
          </select>
        </label>
      `}
      ${shelf === "folders" && html`<${Choice} ...${of("source")} label="File" options=${values("source")} />`}
      <${Choice} ...${of("data_source")} label="Data set" options=${values("data_source")} />
      <${Choice} ...${of("right")} label="Answer" options=${{ yes: "right", no: "wrong" }} />
      <${Choice} ...${of("candidate")} label="Candidate asked" options=${values("candidate")} />
      <${Choice} ...${of("status")} label="Status" options=${values("status")} />
      <${Choice} ...${of("format_error")} label="Format" options=${{ no: "kept", yes: "broken" }} />
      ${shelf === "server" && html`<${Choice} ...${of("feedback")} label="Feedback" options=${{ up: "thumbs up", down: "thumbs down", none: "none" }} />`}
      <${Amount} ...${of("least_raw_cost")} label="Cost from" />
      <${Amount} ...${of("most_raw_cost")} label="Cost to" />
      <label>Order
        <select value=${conditions.sort ?? "time"} onChange=${choose("sort")}>
          ${Object.entries(SORTS).map(([value, text]) => html`<option value=${value}>${text}</option>`)}
        </select>
      </label>
    </form>
  `;
}

const Choice = ({ label, options, value, onChange }) => html`
  <label>${label}
    <select value=${value} onChange=${onChange}>
      <option value="">any</option>
      ${Object.entries(options).map(([value, text]) => html`<option value=${value}>${text}</option>`)}
    </select>
  </label>
`;

/** What is being typed is its own: a list that arrives meanwhile draws the filters again. */
function Amount({ label, value, onChange }) {
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  return html`<label>${label} <input type="number" min="0" step="any" value=${text}
    onInput=${(event) => setText(event.target.value)} onChange=${onChange} /></label>`;
}

/** Asks when the typing pauses. */
function Search({ value, onChange }) {
  const [text, setText] = useState(value);
  useEffect(() => {
    if (text === value) return undefined;
    const timer = setTimeout(() => onChange(text), TYPING_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return html`<label class="wide">Search in question and answer
    <input type="search" value=${text} onInput=${(event) => setText(event.target.value)} /></label>`;
}
