// Compare: benchmarks side by side, as a table that can be sorted and a picture of cost and EM.
import { html, useEffect, useState } from "./ui.js";
import { short } from "./format.js";
import { Scatter } from "./scatter.js";
import { get } from "./server.js";
import { addressWith, go, useLocation } from "./location.js";

export function Compare() {
  const { query } = useLocation();
  const [labels, setLabels] = useState(null);
  const [found, setFound] = useState(null);
  const [fault, setFault] = useState(null);
  useEffect(() => void get("benchmarks").then((reply) => setLabels(reply.benchmarks), setFault), []);
  const without = new Set(query.getAll("without"));
  const shown = labels?.filter((label) => !without.has(label)) ?? [];
  useEffect(() => {
    // All are compared if none is left: nothing would be nothing to see.
    if (labels?.length) get("comparison", { of: without.size ? shown : [] }).then(setFound, setFault);
  }, [labels, shown.join("\n")]);
  if (fault) return html`<p class="fault" role="alert">${fault.message}</p>`;
  if (labels && !labels.length) {
    return html`<h1>Compare</h1><p class="hint">No benchmark yet. <code>router-r1 bench</code> writes one.</p>`;
  }
  if (!found) return html`<p class="hint">Reading results …</p>`;
  return html`
    <h1>Compare</h1>
    <${Compared} found=${found} />
    ${labels.length > 1 && html`<${Choice} labels=${labels} without=${without} />`}
  `;
}

function Compared({ found }) {
  const [marked, setMarked] = useState(null);
  const rows = found.rows.map((row) => ({ ...row, name: row.weight === null ? row.name : `${row.name}, α ${row.weight}` }));
  return html`
    ${found.without_results.length > 0 && html`<p class="hint">Without results so far: ${found.without_results.join(", ")}.</p>`}
    <section class="card">
      <h2>Exact match against cost</h2>
      <p class="hint">Filled points are on the Pareto front: nothing else has as good an EM for as little money.${
        found.hulls.length > 0 && " The dashed line is the best that can be had for that money by asking candidates without looking at the question."}</p>
      <${Scatter} rows=${rows} hulls=${found.hulls} marked=${marked} onMark=${setMarked} />
    </section>
    <section class="card">
      <h2 id="table-name">Figures</h2>
      <${Table} found=${found} rows=${rows} marked=${marked} onMark=${setMarked} />
    </section>
  `;
}

function Choice({ labels, without }) {
  const toggle = (label, isOn) =>
    go(addressWith({ without: isOn ? [...without].filter((other) => other !== label) : [...without, label] }), { replace: true });
  return html`
    <details class="card">
      <summary>Choose what is compared</summary>
      <fieldset class="choices"><legend class="unseen">Benchmarks</legend>
        ${labels.map((label) => html`
          <label class="check"><input type="checkbox" checked=${!without.has(label)}
            onChange=${(event) => toggle(label, event.target.checked)} /> ${label}</label>
        `)}
      </fieldset>
    </details>
  `;
}

function Table({ found, rows, marked, onMark }) {
  const { query } = useLocation();
  const key = query.get("sort") ?? "em";
  const isUp = query.get("up") === "1";
  const columns = [
    ...found.columns.filter((column) => rows.some((row) => row.values[column.key] !== undefined)),
    ...found.datasets.map((name) => ({ heading: `EM ${name}`, key: `data ${name}` })),
  ];
  const value = (row, key) => (key === "name" ? row.name : key.startsWith("data ") ? row.datasets[key.slice(5)] : row.values[key]);
  const sorted = [...rows].sort((a, b) => {
    const [one, other] = [value(a, key), value(b, key)];
    if (one === undefined || other === undefined) return (one === undefined) - (other === undefined); // unknown: last
    return (one < other ? -1 : one > other ? 1 : 0) * (isUp ? 1 : -1);
  });
  const sort = (by) => go(addressWith({ sort: by, up: by === key && !isUp ? "1" : null }), { replace: true });
  const Heading = ({ by, children }) => html`
    <th scope="col" aria-sort=${by === key ? (isUp ? "ascending" : "descending") : null}>
      <button class="sort" onClick=${() => sort(by)}>${children}<span aria-hidden="true">${by === key ? (isUp ? " ▲" : " ▼") : ""}</span></button>
    </th>
  `;
  return html`
    <div class="scroll" tabindex="0" role="region" aria-labelledby="table-name">
      <table class="figures">
        <thead><tr><${Heading} by="name">benchmark<//>${columns.map((column) => html`<${Heading} by=${column.key}>${column.heading}<//>`)}</tr></thead>
        <tbody>
          ${sorted.map((row) => html`
            <tr key=${row.name} class=${row.name === marked ? "marked" : ""} onMouseEnter=${() => onMark(row.name)} onMouseLeave=${() => onMark(null)}>
              <th scope="row">${row.name}${row.on_front && html` <span class="badge">front</span>`}</th>
              ${columns.map(({ key }) => html`<td>${cell(row, key, value(row, key))}</td>`)}
            </tr>
          `)}
        </tbody>
      </table>
    </div>
  `;
}

function cell(row, key, value) {
  if (value === undefined || value === null) return "–";
  if (key !== "em") return key.startsWith("data ") ? value.toFixed(3) : short(value);
  const { em_low: low, em_high: high } = row.values;
  return html`<b>${value.toFixed(3)}</b>${low !== undefined && html` <span class="hint">${low.toFixed(2)}–${high.toFixed(2)}</span>`}`;
}
