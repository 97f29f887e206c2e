// Runs: the curves of trainings while they go on, several over each other, and in what two of them differ.
import { html, useEffect, useState } from "./ui.js";
import { AreaChart, LineChart } from "./chart.js";
import { Candidate, hueOf } from "./candidates.js";
import { useCurves } from "./following.js";
import { ago } from "./format.js";
import { addressWith, go, useLocation } from "./location.js";
import { get } from "./server.js";

const CURVES = [
  ["reward", "Reward"],
  ["em", "Exact match"],
  ["raw_cost", "Raw cost per question (micro-USD)"],
  ["entropy", "Policy entropy (nats per token)"],
  ["effective_candidates", "Effective number of candidates"],
  ["em_above_constant", "EM above the best constant"],
];
const MOST_PARTS = 9; // of an area chart, before the rest is one
const REST = "all others";
const LIST_MS = 5000;

export function Runs() {
  const { query } = useLocation();
  const [runs, setRuns] = useState(null);
  useEffect(() => {
    const list = () => get("runs").then((found) => setRuns(found.runs), () => {});
    list();
    const timer = setInterval(list, LIST_MS);
    return () => clearInterval(timer);
  }, []);
  if (!runs) return html`<p class="hint">Looking for runs …</p>`;
  if (!runs.length) return html`<h1>Runs</h1><p class="hint">No run yet. <code>bash train.sh</code> makes one in <code>runs/</code>; it appears here by itself.</p>`;
  const there = new Set(runs.map((run) => run.name));
  const named = query.getAll("run").filter((name) => there.has(name));
  return html`<${Chosen} runs=${runs} chosen=${named.length ? named : [newest(runs)]} />`;
}

const newest = (runs) => runs.reduce((a, b) => ((b.last_logged_s ?? 0) > (a.last_logged_s ?? 0) ? b : a)).name;

function Chosen({ runs, chosen }) {
  const curves = useCurves(chosen);
  const choose = (name, isOn) =>
    go(addressWith({ run: isOn ? [...chosen, name] : chosen.filter((other) => other !== name) }), { replace: true });
  const lines = (curve) =>
    chosen.flatMap((name, place) => {
      const rows = curves[name] ?? [];
      const line = { name, place, points: rows.map((row) => [row.step, row[curve]]) };
      const checks = rows.filter((row) => row.validation).map((row) => [row.step, row.validation[curve]]);
      return [line, { name: `${name}, validation`, place, points: checks, isDotted: true }];
    });
  return html`
    <h1>Runs</h1>
    <fieldset class="card choices">
      <legend class="unseen">Runs that are shown</legend>
      ${runs.map((run) => html`
        <label class="check">
          <input type="checkbox" checked=${chosen.includes(run.name)} disabled=${chosen.length === 1 && chosen[0] === run.name}
            onChange=${(event) => choose(run.name, event.target.checked)} />
          <span class=${`key-line line-${chosen.indexOf(run.name) % 6}`} hidden=${!chosen.includes(run.name)}></span>
          <b>${run.name}</b>
          <span class="hint">${[run.experiment, run.seed != null && `seed ${run.seed}`, run.last_logged_s && ago(run.last_logged_s)].filter(Boolean).join(" · ")}</span>
        </label>
      `)}
    </fieldset>
    <p class="hint">Lines are training batches, dots validations. New steps appear by themselves.</p>
    <div class="charts">
      ${CURVES.map(([curve, title]) => html`<${LineChart} key=${curve} title=${title} lines=${lines(curve)} />`)}
      ${chosen.map((name) => html`
        <${Shares} key=${`shares ${name}`} title=${titled("Candidates' shares of the routes", name, chosen)} rows=${curves[name] ?? []} />
        <${Phases} key=${`phases ${name}`} title=${titled("Seconds of a step, by phase", name, chosen)} rows=${curves[name] ?? []} />
      `)}
    </div>
    ${chosen.length === 2 && html`<${Difference} first=${chosen[0]} second=${chosen[1]} />`}
  `;
}

const titled = (title, name, chosen) => (chosen.length > 1 ? `${title}: ${name}` : title);

/** The largest parts over all rows, the rest as one. */
export function largest(rows, section, most) {
  const sums = {};
  for (const row of rows) for (const [name, value] of Object.entries(row[section])) sums[name] = (sums[name] ?? 0) + (value ?? 0);
  const names = Object.keys(sums).filter((name) => sums[name] > 0).sort((a, b) => sums[b] - sums[a]);
  if (names.length <= most) return { parts: names, valuesOf: (row) => row[section] };
  const parts = names.slice(0, most - 1), rest = names.slice(most - 1);
  const valuesOf = (row) => ({ ...row[section], [REST]: rest.reduce((sum, name) => sum + (row[section][name] ?? 0), 0) });
  return { parts: [...parts, REST], valuesOf };
}

const trained = (rows, section) => rows.filter((row) => Object.keys(row[section] ?? {}).length);

function Shares({ title, rows }) {
  const own = trained(rows, "shares");
  const { parts, valuesOf } = largest(own, "shares", MOST_PARTS);
  const look = (name) => (name === REST ? { "--hue": "260", "--mark": "var(--edge)" } : hueOf(name));
  const Name = ({ name }) => (name === REST ? html`<span>${name}</span>` : html`<${Candidate} name=${name} />`);
  return html`<${AreaChart} title=${title} parts=${parts} look=${look} Name=${Name} most=${1}
    rows=${own.map((row) => ({ step: row.step, values: valuesOf(row) }))} />`;
}

function Phases({ title, rows }) {
  const own = trained(rows, "seconds").filter((row) => row.reward !== undefined);
  const { parts, valuesOf } = largest(own, "seconds", MOST_PARTS);
  const look = (name) => ({ "--hue": String((250 + parts.indexOf(name) * 47) % 360) });
  const Name = ({ name }) => html`<span class="swatch" style=${look(name)}></span> ${name.replaceAll("_", " ")}`;
  return html`<${AreaChart} title=${title} parts=${parts} look=${look} Name=${Name} unit=" s"
    rows=${own.map((row) => ({ step: row.step, values: valuesOf(row) }))} />`;
}

function Difference({ first, second }) {
  const [found, setFound] = useState(null);
  useEffect(() => {
    setFound(null);
    get("config-difference", { first, second }).then(setFound, (fault) => setFound({ fault }));
  }, [first, second]);
  return html`
    <section class="card">
      <h2>In what their configurations differ</h2>
      ${found?.fault && html`<p class="fault">${found.fault.message}</p>`}
      ${found?.keys?.length === 0 && html`<p class="hint">In nothing.</p>`}
      ${found?.keys?.length > 0 && html`
        <div class="scroll" tabindex="0" role="region" aria-label="Differences">
          <table>
            <thead><tr><th scope="col">key</th><th scope="col">${first}</th><th scope="col">${second}</th></tr></thead>
            <tbody>${found.keys.map((row) => html`<tr><th scope="row"><code>${row.key}</code></th><td>${row.first}</td><td>${row.second}</td></tr>`)}</tbody>
          </table>
        </div>
      `}
    </section>
  `;
}
